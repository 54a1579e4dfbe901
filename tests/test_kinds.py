"""The users' cases and their whole kind, for every kind of model: storage, numbers, odd systems."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from cases import FORMS
from scipy import sparse

from neuprecond import NeuprecondWarning, load, problems, reuse, solve
from neuprecond.nonsymmetric import FLOW_PLANS

SIZE = 256
MODELS = ("auto", "diffusion2d", "heat", "advection")


def poisson(k):
    return problems.draw("poisson2d", k, np.random.default_rng(9201)).A


def matrix(model):
    """One that the model is for, of small integers."""
    A = poisson(16)
    if model == "advection":
        behind = sparse.diags_array([1.0, -1.0], offsets=[0, -1], shape=A.shape)
        return sparse.csr_array(A + 3.0 * behind)
    return sparse.csr_array(A + 4.0 * sparse.eye_array(SIZE)) if model == "heat" else A


def quiet(model, A, **options):
    """M, without our warnings and with every other one an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", NeuprecondWarning)
        return load(model, A, **options)


def solved(A, M, b=None, **options):
    """By what M is for, which must converge."""
    b = np.ones(M.shape[0]) if b is None else b
    record = solve(A, b, M=M, method="cg" if M.symmetric else "gmres", **options)
    assert record.converged, record
    return record


# Storage: that `load` gives the same M is in test_zoo.py.


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("form", FORMS)
def test_storage_changes_nothing_for_solve_and_reuse(form, model):
    A = matrix(model)
    other = FORMS[form].make(A)
    before = pickle.dumps(other)
    M = quiet(model, A)
    r = np.random.default_rng(9203).standard_normal(SIZE)
    again = reuse(M, other) @ r
    np.testing.assert_allclose(again, M @ r, rtol=0, atol=1e-11 * np.abs(M @ r).max())
    ours, theirs = solved(A, M), solved(other, M)
    assert np.array_equal(ours.x, theirs.x)
    assert pickle.dumps(other) == before


@pytest.mark.parametrize("model", MODELS)
def test_truth_values_are_ones(model):
    A = sparse.csr_array(np.tri(60) if model == "advection" else np.eye(60))
    assert np.array_equal(quiet(model, A.astype(bool)) @ np.ones(60), quiet(model, A) @ np.ones(60))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shape", [(SIZE,), (SIZE, 1), (SIZE, 4)])
@pytest.mark.parametrize(
    "view",
    [
        lambda b: b,
        lambda b: np.asfortranarray(b),
        lambda b: b[::-1],
        lambda b: np.repeat(b, 2, axis=0)[::2],
        lambda b: b.astype(np.float32),
        lambda b: (10 * b).astype(np.int64),
        lambda b: b.astype(">f8"),
        lambda b: b + 1j * b[::-1],
        lambda b: b.tolist(),
    ],
    ids=["plain", "Fortran", "back", "strided", "float32", "int", "endian", "complex", "list"],
)
def test_right_hand_sides(view, shape, model):
    """Of each shape and storage; the solution has b's shape, and b is left alone."""
    A = matrix(model)
    M = quiet(model, A)
    b = view(np.random.default_rng(9204).standard_normal(shape))
    kept = np.array(b)
    record = solved(A, M, b, rtol=1e-9)
    assert record.x.shape == shape
    assert np.linalg.norm(kept - A @ record.x) <= 1e-8 * np.linalg.norm(kept)
    assert np.array_equal(np.array(b), kept)
    if isinstance(b, np.ndarray):
        assert np.array_equal(M @ b, M @ np.ascontiguousarray(b))


# Odd systems: M is finite, and the solver for it gets there.


def isolated(A):
    """Unknown 7 stands alone."""
    A = A.tolil()
    A[7, :], A[:, 7] = 0.0, 0.0
    A[7, 7] = 3.0
    return A.tocsr()


def penalty(A):
    """Dirichlet values by a large number on the diagonal."""
    A = A.tolil()
    for i in (0, 100, 224):
        A[i, i] = 1e30
    return A.tocsr()


SYSTEMS = {
    "as it is": lambda A: A,
    "two parts": lambda A: sparse.block_diag([A, 1e5 * A], format="csr"),
    "many parts": lambda A: sparse.block_diag([A[:9][:, :9]] * 30, format="csr"),
    "isolated": isolated,
    "penalty": penalty,
    **{f"times {c:.0e}": lambda A, c=c: sparse.csr_array(c * A) for c in (1e-300, 1e-150, 1e300)},
    "first two": lambda A: A[:2][:, :2],
    "first": lambda A: A[:1][:, :1],
    "diagonal": lambda A: sparse.diags_array(A.diagonal()).tocsr(),
    "identity": lambda A: sparse.eye_array(4000, format="csr"),
    "wide diagonal": lambda A: sparse.diags_array(np.logspace(-140, 140, 400)).tocsr(),
    "scaled on both sides": lambda A: sparse.csr_array(
        sparse.diags_array(np.logspace(-6, 6, SIZE))
        @ A
        @ sparse.diags_array(np.logspace(-6, 6, SIZE))
    ),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SYSTEMS)
def test_odd_systems(name, model):
    A = sparse.csr_array(SYSTEMS[name](matrix(model)))
    M = quiet(model, A)
    n = A.shape[0]
    with np.errstate(over="raise", invalid="raise"):
        z = M @ (A @ np.ones(n))
    assert np.isfinite(z).all()
    if name == "scaled on both sides":
        # With what a user of such a matrix has: a right-hand side of its size.
        solved(A, M, A @ np.logspace(6, -6, SIZE), rtol=1e-6)
    elif name != "wide diagonal":
        solved(A, M, A @ np.ones(n))
    assert np.array_equal(quiet(model, A) @ np.ones(n), M @ np.ones(n))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dense"])
@pytest.mark.parametrize(
    ("value", "word"), [(np.nan, "NaN"), (np.inf, "an infinity"), (-np.inf, "an infinity")]
)
def test_the_first_bad_number_is_named(value, word, form, model):
    A = matrix(model).tolil()
    A[3, 4] = A[100, 99] = value
    A = A.tocsr()
    A = A.toarray() if form == "dense" else A.asformat(form)
    with pytest.raises(ValueError, match=rf"{word} at row 3, column 4 \(2 non-finite"):
        load(model, A)


# Threads and processes, for the kinds that test_works_with.py leaves out.


@pytest.mark.parametrize("plan", [*FLOW_PLANS, None])
def test_a_nonsymmetric_m_in_many_threads_and_elsewhere(plan):
    from neuprecond import load_model

    A = problems.draw("advection", 40, np.random.default_rng(9205)).A
    M = load_model("advection").precondition(A, plan=plan)
    R = np.random.default_rng(9206).standard_normal((32, A.shape[0]))
    alone = [M @ r for r in R]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(M.dot, R))
        makers = list(pool.map(lambda _: load_model("advection").precondition(A, plan=plan), R[:4]))
    assert all(map(np.array_equal, alone, together))
    assert all(np.array_equal(N @ R[0], alone[0]) for N in makers)
    if plan is None:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            assert np.array_equal(pool.submit(M.dot, R[0]).result(), alone[0])


@pytest.mark.parametrize("model", ["auto", "diffusion2d", "heat"])
def test_setups_in_many_threads_are_the_same(model):
    A = matrix(model)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: quiet_in_thread(model, A), range(16)))
    assert all(np.array_equal(M @ np.ones(SIZE), made[0] @ np.ones(SIZE)) for M in made)


def quiet_in_thread(model, A):
    # The filters of warnings are the process's own: no catching in threads.
    return load(model, A, check=False)


def test_nonsymmetric_setup_and_reuse_are_the_same_in_every_process():
    code = """
import hashlib, numpy as np
from neuprecond import load, problems, reuse
for model, family in (("advection", "advection"), ("diffusion2d", "lognormal"), ("heat", "heat")):
    A = problems.draw(family, 30, np.random.default_rng(9207)).A
    M = load(model, A)
    for N in (M, reuse(M, 2 * A), reuse(M, 2 * A, interpolate=True)):
        print(hashlib.sha256((N @ np.linspace(-1.0, 1.0, A.shape[0])).tobytes()).hexdigest())
"""
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("3", "4")
    }
    assert len(texts) == 1
