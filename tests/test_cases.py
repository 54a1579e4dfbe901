"""What users of other libraries ran into: each case once, called as they would call us."""

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla

import neuprecond
from neuprecond import NeuprecondWarning, load, reuse, solve
from neuprecond.classical import CLASSICAL, jacobi


def path(n):
    return sp.diags([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1])


def poisson(k):
    return sp.csr_matrix(sp.kron(sp.eye(k), path(k)) + sp.kron(path(k), sp.eye(k)))


def steps(A, b, M, *, method=spla.cg, **options):
    """Iterations of SciPy's own solver, which must converge."""
    count = [0]

    def note(_):
        count[0] += 1

    if method is spla.gmres:
        options["callback_type"] = "pr_norm"
    x, info = method(A, b, M=M, callback=note, **{"rtol": 1e-8, **options})
    assert info == 0
    assert np.linalg.norm(b - A @ x) <= 1e-7 * np.linalg.norm(b)
    return count[0]


@pytest.fixture(autouse=True)
def _no_warnings():
    """A warning on a matrix that is covered is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_s01_csr_array():
    """Same M and same count for both classes; no `*` between sparse objects inside."""
    old = poisson(20)
    b = np.ones(400)
    M, N = load("auto", old), load("auto", sp.csr_array(old))
    assert np.array_equal(M @ np.eye(400), N @ np.eye(400))
    assert steps(old, b, M) == steps(sp.csr_array(old), b, N)


def test_s02_dtype():
    """M.dtype is set, floating and real; a float64 solve of a float32 A is accurate."""
    A = poisson(12).astype(np.float32)
    b = np.ones(144)
    M = load("auto", A)
    assert M.dtype == np.float64
    assert (M @ b.astype(np.float32)).dtype == np.float64
    double = A.astype(np.float64)
    for method in (spla.cg, spla.gmres):
        x, info = method(double, b, M=M, rtol=1e-13, atol=0.0)
        assert info == 0
        assert x.dtype == np.float64
        assert np.linalg.norm(b - double @ x) <= 1e-12 * np.linalg.norm(b)
    assert steps(double, b, M, method=spla.gmres) <= 2 * steps(double, b, M)


def test_s03_an_inverse():
    """M @ (A @ x) is near x, and the docs say so in their first lines."""
    A = poisson(16)
    x = np.ones(256)
    M = load("auto", A)
    assert np.linalg.norm(M @ (A @ x) - x) <= 0.3 * np.linalg.norm(x)
    rng = np.random.default_rng(2401)
    for x in rng.standard_normal((5, 256)):
        assert np.linalg.norm(M @ (A @ x) - x) < 0.6 * np.linalg.norm(x)
    for text in (neuprecond.__doc__, load.__doc__):
        assert "approximates the inverse of A" in " ".join(text.split("\n")[:6])
    assert "M @ (A @ x)" in load.__doc__


def test_s04_no_gain():
    """Setup, time an apply and iterations apart, beside Jacobi and none."""
    A = poisson(128)
    b = np.random.default_rng(0).standard_normal(128**2)
    records = {name: solve(A, b, M=name) for name in ("none", "jacobi", "auto")}
    for record in records.values():
        assert record.converged
        assert record.solve_seconds > record.apply_seconds >= 0.0
        for word in ("iterations", "setup", "solve", "an apply of M", "true residual"):
            assert word in str(record)
    assert records["none"].setup_seconds == 0.0
    assert records["auto"].setup_seconds > 0.0
    assert records["auto"].iterations < records["jacobi"].iterations / 5


def test_s04_where_nothing_is_gained_the_record_shows_it():
    """On a diagonal matrix one step of Jacobi is all there is to have."""
    A = sp.diags_array(np.linspace(1.0, 2.0, 500)).tocsr()
    b = np.ones(500)
    assert solve(A, b, M="auto").iterations >= solve(A, b, M="jacobi").iterations == 1


def test_s05_zero_on_the_diagonal():
    """Finite M with a reason, and GMRES needs three steps; a named model names the row."""
    A = sp.csr_matrix([[0.0, 2, 0], [2, 0, 1], [0, 1, 3]])
    b = np.array([2.0, 3, 4])
    with pytest.warns(NeuprecondWarning, match="diagonal.*row 0"):
        M = load("auto", A)
    assert np.isfinite(M @ np.eye(3)).all()
    assert steps(A, b, M, method=spla.gmres) <= 3
    with pytest.raises(ValueError, match="row 0"):
        load("diffusion2d", A)
    with pytest.raises(ValueError, match="row 0"):
        jacobi(A)


def test_s06_pure_neumann():
    """CG converges for a consistent b, and M is finite."""
    A = poisson(15).tolil()
    A.setdiag(0)
    A = sp.csr_matrix(A)
    A = sp.csr_matrix(A - sp.diags(np.asarray(A.sum(axis=1)).ravel()))
    b = np.random.default_rng(0).standard_normal(225)
    b -= b.mean()
    M = load("auto", A)
    assert np.isfinite(M @ np.ones(225)).all()
    assert steps(A, b, M) <= 20


@pytest.mark.parametrize("n", [1, 2, 100, 101, 2999, 3001, 4000])
def test_s07_diagonal_matrices(n):
    """A graph without edges works at every size."""
    for A in (
        sp.identity(n, format="csr"),
        sp.csr_matrix(sp.diags(np.logspace(-6, 6, n))),
        sp.csr_matrix(sp.diags(np.logspace(6, -6, n))),
    ):
        M = load("auto", A)
        assert np.isfinite(M @ np.ones(n)).all()
        record = solve(A, np.ones(n), M=M)
        assert record.converged
        assert record.iterations <= 3
        for name in ("diffusion2d", "heat"):
            record = solve(A, np.ones(n), M=load(name, A))
            assert record.converged
            assert record.iterations <= 8


def test_s08_which_residual():
    """The record gives the true residual, also where the preconditioned one is far from it."""
    A = sp.csr_matrix(sp.diags(np.logspace(0, 8, 256)) @ poisson(16))
    b = np.ones(256)
    with pytest.warns(NeuprecondWarning, match="symmetric"):
        M = load("auto", A)
    record = solve(A, b, M=M, method="gmres", rtol=1e-8)
    true = np.linalg.norm(b - A @ record.x) / np.linalg.norm(b)
    # Rounding in b - A x alone is a part of it.
    assert record.residual == pytest.approx(true, rel=0.05, abs=1e-10)
    assert record.converged
    assert true <= 1e-8
    assert "true relative residual" in neuprecond.SolveRecord.__doc__


def test_s09_nan():
    """ValueError from load that says NaN, and where it stands."""
    A = poisson(6)
    A.data[7] = np.nan
    row = int(np.searchsorted(A.indptr, 7, side="right")) - 1
    for name in ("auto", "diffusion2d", "heat"):
        with pytest.raises(ValueError, match=f"NaN at row {row}, column {A.indices[7]}"):
            load(name, A)
    with pytest.raises(ValueError, match="NaN"):
        solve(poisson(6), np.full(36, np.nan))


def test_s10_cg_on_a_nonsymmetric_matrix():
    """M works with GMRES, and both load and solve tell that A is not symmetric."""
    A = sp.lil_matrix(np.eye(3))
    A[0, 1] = 1.0
    A = sp.csr_matrix(A)
    b = np.ones(3)
    with pytest.warns(NeuprecondWarning, match=r"symmetric.*GMRES"):
        M = load("auto", A)
    assert steps(A, b, M, method=spla.gmres) <= 3
    with pytest.raises(neuprecond.NotDefiniteError, match="symmetric"):
        solve(A, b, M=M, method="cg")
    assert solve(A, b, M=M, method="gmres").converged


def test_s11_dense_input():
    """An ndarray is accepted; what is no matrix gets the conversion to write."""
    A = poisson(8).toarray()
    b = np.ones(64)
    M = load("auto", A)
    assert np.array_equal(M @ b, load("auto", sp.csr_array(A)) @ b)
    assert steps(A, b, M) <= 20
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        assert np.array_equal(load("auto", np.asmatrix(A)) @ b, M @ b)
    with pytest.raises(TypeError, match=r"scipy\.sparse\.csr_array"):
        load("auto", "A.mtx")


def test_s12_pickling():
    """The same numbers for every protocol, also in a fresh process."""
    A = poisson(10)
    b = np.ones(100)
    M = load("auto", A)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert np.array_equal(pickle.loads(pickle.dumps(M, protocol)) @ b, M @ b)
    code = (
        "import sys, pickle; import numpy as np; M = pickle.load(sys.stdin.buffer); "
        "sys.stdout.buffer.write((M @ np.ones(100)).tobytes())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(M), capture_output=True, check=True
    ).stdout
    assert np.array_equal(np.frombuffer(out), M @ b)


def test_s13_reuse():
    """One M serves 20 systems that drift; the docs say when to load again."""
    L = poisson(20)
    b = np.ones(400)
    systems = [sp.csr_matrix(sp.identity(400) + 0.1 * (1 + 0.02 * t) * L) for t in range(20)]
    M = load("auto", systems[0])
    kept = M @ b
    counts = [steps(A, b, M) for A in systems]
    fresh = [steps(A, b, load("auto", A)) for A in systems]
    assert np.array_equal(M @ b, kept)
    assert max(np.subtract(counts, fresh)) <= 6
    assert "load again" in load.__doc__
    # Explicit too, and cheaper than load: the same levels with the new values.
    several = load("diffusion2d", systems[0], check=False)
    for A in systems[1::6]:
        again = steps(A, b, reuse(several, A))
        assert again <= steps(A, b, load("diffusion2d", A, check=False)) + 1
        assert steps(A, b, reuse(M, A)) == steps(A, b, load("auto", A))


def test_s14_negative_definite():
    """load(-A) acts like -load(A); the count is the same."""
    A = sp.csr_matrix(-poisson(14))
    b = np.ones(196)
    M, N = load("auto", A), load("auto", -A)
    assert np.array_equal(M @ b, -(N @ b))
    assert steps(A, b, M) == steps(-A, b, N)
    with pytest.raises(neuprecond.NotDefiniteError, match="-A"):
        load("diffusion2d", A)


def test_s15_weight_files():
    """No CUDA, no torch, no warning; that nothing is unpickled is in test_zoo."""
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "import sys\n"
        "import neuprecond\n"
        "assert not {'torch', 'torch_geometric', 'scipy', 'numba'} & set(sys.modules)\n"
        "import numpy as np, scipy.sparse as sp\n"
        "from scipy.sparse.linalg import cg\n"
        "A = sp.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(150, 150)).tocsr()\n"
        "cards = [card for card in neuprecond.models() if card.kind != 'nonsymmetric']\n"
        "for name in ('auto', *(card.name for card in cards)):\n"
        "    M = neuprecond.load(name, A)\n"
        "    x, info = cg(A, np.ones(150), M=M, rtol=1e-8)\n"
        "    assert info == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "NUMBA_DISABLE_JIT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""


def test_every_classical_name_solves_the_model_problem():
    """The rivals that a report sets beside M are all there."""
    A = poisson(12)
    b = np.ones(144)
    for name in CLASSICAL:
        assert solve(A, b, M=name, method="gmres").converged
