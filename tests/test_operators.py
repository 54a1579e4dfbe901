"""Laws of every operator handed out: what SciPy, pickle, threads and processes ask of it."""

import copy
import hashlib
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pyamg
import pytest
from cases import DEFINITE, poisson
from scipy import sparse
from scipy.sparse import linalg

import neuprecond
from neuprecond import checks, load_model, problems
from neuprecond.multilevel import PLANS, build_cycle
from neuprecond.nonsymmetric import FLOW_PLANS, build_two_sided
from neuprecond.operators.base import ApproximateInverse
from neuprecond.operators.wrapped import Fallback, Negated
from neuprecond.spai import build_factored
from neuprecond.zoo.choose import MULTILEVEL, ONE_LEVEL, fall_back


def grid():
    return problems.draw("anisotropic", 24, np.random.default_rng(2301)).A


def heat():
    return problems.draw("heat", 24, np.random.default_rng(2302)).A


def wind():
    return problems.draw("advection", 16, np.random.default_rng(2303)).A


def oscillating():
    return sparse.csr_array(poisson(14) * (1.0 + 0.5j) - 0.3 * sparse.eye_array(196))


def through(plan, *, learned=True):
    def make():
        A = grid()
        model = load_model(MULTILEVEL)
        return A, model.precondition(A, plan=plan, learned=learned)

    return make


def two_sided(plan):
    return lambda: (A := wind(), build_two_sided(A, plan, model="advection"))


#: Every kind of operator, with the matrix it was made for.
OPERATORS = {
    **{f"cycle-{plan}": through(plan) for plan in PLANS},
    "twin": through("min-w", learned=False),
    "inverted": lambda: (
        poisson(8),
        build_cycle(checks.as_csr(poisson(8)), None, plan=PLANS["rs10"]),
    ),
    "one": lambda: (A := sparse.csr_array([[4.0]]), build_cycle(A, None, plan=PLANS["rs10"])),
    "factored": lambda: (A := heat(), load_model(ONE_LEVEL).precondition(A)),
    "fsai": lambda: (A := heat(), build_factored(A, None)),
    **{f"flow-{plan}": two_sided(plan) for plan in FLOW_PLANS},
    "flow-one": lambda: (
        A := sparse.csr_array([[4.0]]),
        build_two_sided(A, "rs", model="advection"),
    ),
    "negated": lambda: (-heat(), Negated(load_model(ONE_LEVEL).precondition(heat()))),
    "negated-cycle": lambda: (
        sparse.csr_array(-poisson(20)),
        Negated(load_model(MULTILEVEL).precondition(poisson(20))),
    ),
    "fall-back": lambda: (A := wind(), fall_back(A)),
    "fall-back-complex": lambda: (A := oscillating(), fall_back(A)),
    "fall-back-diagonal": lambda: (A := sparse.csr_array((6, 6)), fall_back(A)),
}

REAL = sorted(set(OPERATORS) - {"fall-back-complex"})
SYMMETRIC = sorted(name for name in REAL if name != "fall-back" and not name.startswith("flow"))


@pytest.fixture(params=OPERATORS)
def pair(request):
    return OPERATORS[request.param]()


def vectors(M, columns=5, seed=2304):
    return np.random.default_rng(seed).standard_normal((M.shape[0], columns))


def close(X, Y, tolerance=1e-12):
    return np.abs(X - Y).max() <= tolerance * max(np.abs(X).max(), 1e-300)


def test_it_is_a_scipy_operator(pair):
    A, M = pair
    assert isinstance(M, ApproximateInverse)
    assert isinstance(M, linalg.LinearOperator)
    assert M.shape == A.shape
    assert M.dtype in (np.float64, np.complex128)
    assert linalg.aslinearoperator(M) is M
    assert M.aspreconditioner() is M


def test_columns(pair):
    """A block is its columns, whatever its order in memory; an empty one is empty."""
    _, M = pair
    R = vectors(M)
    expected = np.stack([M @ r for r in R.T], axis=1)
    assert close(expected, M @ R)
    assert np.array_equal(M @ R, M @ np.asfortranarray(R))
    wide = np.zeros((2 * len(R), 10))
    wide[::2, ::2] = R
    assert np.array_equal(M @ R, M @ wide[::2, ::2])
    assert np.array_equal(M @ R, M.matmat(R))
    assert np.array_equal(M @ R[:, :1], (M @ R)[:, :1]) or close(M @ R[:, :1], (M @ R)[:, :1])
    assert (M @ R[:, :0]).shape == (len(R), 0)
    # As many as a vector of the processor holds, some more, and twice as many.
    many = vectors(M, columns=16)
    expected = np.stack([M @ r for r in many.T], axis=1)
    for columns in (8, 11, 16):
        assert close(expected[:, :columns], M @ many[:, :columns])


def test_shapes_of_vectors(pair):
    _, M = pair
    r = vectors(M)[:, 0]
    z = M @ r
    assert z.shape == r.shape
    assert M.matvec(r[:, None]).shape == (len(r), 1)
    assert np.array_equal(M.matvec(r[:, None])[:, 0], z)
    assert np.array_equal(M(r), z)
    assert np.array_equal(M @ vectors(M)[:, 0].copy(), z)
    backwards = r[::-1].copy()[::-1]
    assert np.array_equal(M @ backwards, z)
    for wrong in (r[:-1] if len(r) > 1 else np.ones(2), np.ones((len(r) + 1, 2))):
        with pytest.raises(ValueError, match=r"dimension|shape"):
            M @ wrong


def test_double_precision_out(pair):
    """GMRES works in the precision of what M returns."""
    _, M = pair
    R = vectors(M)
    for dtype in (np.float32, np.float16, np.int32, np.bool_, np.longdouble):
        X = R.astype(dtype)
        assert (M @ X).dtype == M.dtype
        assert (M @ X[:, 0]).dtype == M.dtype
        assert close(M @ X, M @ X.astype(float))


def test_right_hand_sides_do_not_change(pair):
    _, M = pair
    R = vectors(M)
    kept = R.copy()
    z = M @ R[:, 0]
    Z = M @ R
    R.flags.writeable = False
    assert np.array_equal(M @ R, Z)
    assert np.array_equal(M @ R[:, 0], z)
    assert np.array_equal(R, kept)
    assert not np.shares_memory(z, R)


def test_complex_vectors(pair):
    _, M = pair
    R = vectors(M)
    Z = M @ (R + 1j * R[:, ::-1])
    assert Z.dtype == np.complex128
    assert close(Z, (M @ R) + 1j * (M @ R[:, ::-1]))
    r = R[:, 0] + 1j * R[:, 1]
    assert close(M @ r, (M @ R[:, 0]) + 1j * (M @ R[:, 1]))


def test_adjoint_and_transpose(pair):
    """The dot test: uᴴ M v = (Mᴴ u)ᴴ v, and uᵀ M v = (Mᵀ u)ᵀ v."""
    _, M = pair
    u, v, w = vectors(M, 3).T
    u = u + 1j * w
    z = M @ v
    size = np.linalg.norm(u) * np.linalg.norm(z)
    assert abs(np.vdot(u, z) - np.vdot(M.H @ u, v)) <= 1e-10 * size
    assert abs(u @ z - (M.T @ u) @ v) <= 1e-10 * size
    assert abs(np.vdot(u, z) - np.vdot(M.rmatvec(u), v)) <= 1e-10 * size
    U = np.stack([u, v], axis=1)
    assert close(M.H @ U, np.stack([M.H @ u, M.H @ v], axis=1), 1e-10)
    assert M.H.shape == M.T.shape == M.shape


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_ones_are_their_own_adjoint(name):
    _, M = OPERATORS[name]()
    if not isinstance(M, Fallback):
        assert M.T is M
        assert M.H is M
    u, v = vectors(M, 2).T
    assert u @ (M @ v) == pytest.approx(v @ (M @ u), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_at_every_protocol(pair, protocol):
    _, M = pair
    other = pickle.loads(pickle.dumps(M, protocol=protocol))
    R = vectors(M)
    assert np.array_equal(M @ R, other @ R)
    assert np.array_equal(M @ R[:, 0], other @ R[:, 0])
    assert (str(M), M.model, M.kind, M.learned) == (
        str(other),
        other.model,
        other.kind,
        other.learned,
    )


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies(pair, copied):
    _, M = pair
    other = copied(M)
    assert other is not M
    assert np.array_equal(M @ vectors(M), other @ vectors(M))


def test_it_tells_what_it_is(pair):
    A, M = pair
    text = str(M)
    assert f"{A.shape[0]} x {A.shape[0]}" in text
    assert repr(M.model) in text
    assert M.kind in ("multilevel", "spai", "nonsymmetric", "classical")
    assert M.kind in text
    assert "twin" not in text or not M.learned
    assert M.density >= 0.0
    assert M.levels >= 1
    assert M.operator_complexity > 0.0
    assert all(seconds >= 0.0 for seconds in M.setup_seconds.values())


def test_threads_share_one_operator(pair):
    """Eight threads at once, with vectors and blocks, get what one gets."""
    _, M = pair
    R = vectors(M, 8)
    expected = [(M @ R[:, k], M @ R[:, : k + 1]) for k in range(8)]
    start = threading.Barrier(8)

    def apply(k):
        start.wait()
        return all(
            np.array_equal(M @ R[:, k], expected[k][0])
            and np.array_equal(M @ R[:, : k + 1], expected[k][1])
            for _ in range(20)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(apply, range(8)))


def test_setup_in_eight_threads_is_the_serial_one():
    """PyAMG draws from NumPy's global state on the way."""
    names = ["lognormal", "anisotropic", "delaunay", "roads"]
    matrices = [DEFINITE[name].make() for name in names]
    model = load_model(MULTILEVEL)

    def setup(k):
        A = matrices[k % len(matrices)]
        return model.precondition(A, plan="min-f" if k % 2 else "min-w") @ np.ones(A.shape[0])

    expected = [setup(k) for k in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(pool.map(setup, range(8)), expected, strict=True):
            assert np.array_equal(one, other)


SCRIPT = """
import hashlib, pickle, sys
import numpy as np
import neuprecond
from neuprecond import problems

M = pickle.load(open(sys.argv[1], "rb"))
print(hashlib.sha256(np.ascontiguousarray(M @ np.eye(M.shape[0])[:, :20])).hexdigest())
for plan in ("rs-w", "min-f", "sa", "rs50/sa5-w"):
    A = problems.draw("anisotropic", 24, np.random.default_rng(2301)).A
    N = neuprecond.load_model("MODEL").precondition(A, plan=plan)
    print(hashlib.sha256(np.ascontiguousarray(N @ np.eye(N.shape[0])[:, :20])).hexdigest())
assert "torch" not in sys.modules
"""


def test_a_fresh_process_makes_the_same_bits(tmp_path):
    """Both by unpickling M and by making it again."""

    def fingerprint(M):
        block = np.ascontiguousarray(M @ np.eye(M.shape[0])[:, :20])
        return hashlib.sha256(block).hexdigest()

    A = grid()
    model = load_model(MULTILEVEL)
    M = model.precondition(A, plan="rs50/sa5-w")
    path = tmp_path / "M.pickle"
    path.write_bytes(pickle.dumps(M))
    command = [sys.executable, "-c", SCRIPT.replace("MODEL", MULTILEVEL), str(path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    plans = ("rs-w", "min-f", "sa", "rs50/sa5-w")
    expected = [fingerprint(M), *(fingerprint(model.precondition(A, plan=plan)) for plan in plans)]
    assert lines == expected


def test_spawned_workers_take_it():
    _, M = OPERATORS["factored"]()
    r = vectors(M)[:, 0]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert np.array_equal(pool.submit(M.matvec, r).result(timeout=120), M @ r)


def identity(b):
    return linalg.aslinearoperator(sparse.eye_array(len(b)))


FORK = """
import multiprocessing, pickle, sys
import numpy as np

M = pickle.load(open(sys.argv[1], "rb"))
r = np.ones(M.shape[0])
expected = M @ r

def apply(k):
    return np.array_equal(M @ r, expected)

with multiprocessing.get_context("fork").Pool(2) as pool:
    assert all(pool.map(apply, range(8)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_it_survives_a_fork(tmp_path):
    path = tmp_path / "M.pickle"
    path.write_bytes(pickle.dumps(OPERATORS["cycle-rs-w"]()[1]))
    subprocess.run([sys.executable, "-c", FORK, str(path)], check=True, timeout=120)


DEFINITE_SOLVERS = {
    "cg": lambda A, b, M: linalg.cg(A, b, M=M, rtol=1e-10),
    "minres": lambda A, b, M: linalg.minres(A, b, M=M, rtol=1e-12),
    "bicg": lambda A, b, M: linalg.bicg(A, b, M=M, rtol=1e-10),
    "pyamg-cg": lambda A, b, M: pyamg.krylov.cg(A, b, M=M, tol=1e-10),
}
GENERAL_SOLVERS = {
    "gmres": lambda A, b, M: linalg.gmres(A, b, M=M, rtol=1e-10),
    "bicgstab": lambda A, b, M: linalg.bicgstab(A, b, M=M, rtol=1e-10),
    "cgs": lambda A, b, M: linalg.cgs(A, b, M=M, rtol=1e-10),
    "lgmres": lambda A, b, M: linalg.lgmres(A, b, M=M, rtol=1e-10),
    "gcrotmk": lambda A, b, M: linalg.gcrotmk(A, b, M=M, rtol=1e-10),
    "qmr": lambda A, b, M: linalg.qmr(A, b, M1=M, M2=identity(b), rtol=1e-10),
    "pyamg-gmres": lambda A, b, M: pyamg.krylov.gmres(A, b, M=M, tol=1e-10, maxiter=200),
    "pyamg-fgmres": lambda A, b, M: pyamg.krylov.fgmres(A, b, M=M, tol=1e-10, maxiter=200),
}


@pytest.mark.parametrize("solver", [*DEFINITE_SOLVERS, *GENERAL_SOLVERS])
@pytest.mark.parametrize("name", ["cycle-evo", "twin", "factored", "fsai"])
def test_solvers_of_scipy_and_pyamg_take_it(name, solver):
    A, M = OPERATORS[name]()
    b = vectors(M, 1)[:, 0]
    x, info = {**DEFINITE_SOLVERS, **GENERAL_SOLVERS}[solver](A, b, M)
    assert info == 0
    assert np.linalg.norm(b - A @ x) <= 1e-8 * np.linalg.norm(b)


@pytest.mark.parametrize("solver", GENERAL_SOLVERS)
def test_solvers_for_general_matrices_take_the_fall_back(solver):
    A, M = OPERATORS["fall-back"]()
    b = vectors(M, 1)[:, 0]
    x, info = GENERAL_SOLVERS[solver](A, b, M)
    assert info == 0
    assert np.linalg.norm(b - A @ x) <= 1e-7 * np.linalg.norm(b)


def test_lobpcg_takes_it():
    """The smallest eigenvalues, M as the preconditioner."""
    A = poisson(30)
    M = neuprecond.load("auto", A)
    X = vectors(M, 4)
    values, _ = linalg.lobpcg(A, X, M=M, largest=False, tol=1e-8, maxiter=40)
    i = 2.0 - 2.0 * np.cos(np.pi * np.arange(1, 31) / 31)
    exact = np.sort((i[:, None] + i).ravel())[:4]
    assert np.allclose(np.sort(values), exact, rtol=1e-6)


def test_sums_and_products_of_operators():
    """SciPy's algebra of operators works on it."""
    _, M = OPERATORS["cycle-rs10"]()
    r = vectors(M, 1)[:, 0]
    assert np.allclose((2.0 * M) @ r, 2.0 * (M @ r))
    assert np.allclose((M + M) @ r, 2.0 * (M @ r))
    assert np.allclose((M * M) @ r, M @ (M @ r))
