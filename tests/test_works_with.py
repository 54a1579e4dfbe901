"""M with the solvers that people call: SciPy's, PyAMG's; from threads, and in other processes."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pyamg.krylov
import pytest
from scipy.sparse import linalg

from neuprecond import load, problems, solve

SCIPY = ("cg", "minres", "gmres", "lgmres", "gcrotmk", "bicgstab", "cgs", "bicg", "qmr")
PYAMG = ("cg", "gmres", "fgmres", "bicgstab", "minimal_residual", "steepest_descent")
MODELS = {"diffusion2d": ("lognormal", 40), "heat": ("heat", 40)}


def system(model):
    family, size = MODELS[model]
    problem = problems.draw(family, size, np.random.default_rng(6601))
    return problem.A, problem.b, load(model, problem.A)


def applied(solver, A, b, **options):
    """The solution, and how often A was applied."""
    calls = 0

    def product(x):
        nonlocal calls
        calls += 1
        return A @ x

    operator = linalg.LinearOperator(A.shape, matvec=product, rmatvec=product, dtype=float)
    x = solver(operator, b, **options)[0]
    return x, calls


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SCIPY)
def test_scipy(name, model):
    """It converges, in fewer products with A than without M."""
    A, b, M = system(model)
    solver = getattr(linalg, name)
    given = {"rtol": 1e-10, "maxiter": 2000}
    # qmr takes a left and a right M, and their adjoints.
    identity = linalg.LinearOperator(A.shape, matvec=lambda x: x, rmatvec=lambda x: x, dtype=float)
    with_M = {"M1": M, "M2": identity} if name == "qmr" else {"M": M}
    x, calls = applied(solver, A, b, **with_M, **given)
    assert np.linalg.norm(b - A @ x) <= 1e-6 * np.linalg.norm(b)
    _, without = applied(solver, A, b, **given)
    assert calls < without


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", PYAMG)
def test_pyamg_krylov(name, model):
    A, b, M = system(model)
    x, info = getattr(pyamg.krylov, name)(A, b, M=M, tol=1e-9, maxiter=400)
    assert info == 0
    assert np.linalg.norm(b - A @ x) <= 1e-6 * np.linalg.norm(b)


def test_lobpcg():
    """The smallest eigenvalues, in few steps."""
    A, _, M = system("diffusion2d")
    X = np.random.default_rng(6602).standard_normal((A.shape[0], 4))
    values, _ = linalg.lobpcg(A, X, M=M, tol=1e-6, maxiter=40, largest=False)
    exact = np.linalg.eigvalsh(A.toarray())[:4]
    np.testing.assert_allclose(np.sort(values), exact, rtol=1e-6)


def test_eigsh_in_shift_mode_is_refused_in_docs():
    """It takes M as OPinv without a word and finds other eigenvalues; exact solves it needs."""
    A, _, M = system("diffusion2d")
    exact = np.linalg.eigvalsh(A.toarray())[0]
    wrong = linalg.eigsh(A, k=1, sigma=0.0, OPinv=M, return_eigenvectors=False)[0]
    assert abs(wrong / exact - 1.0) > 0.01
    solves = linalg.LinearOperator(
        A.shape, matvec=lambda b: solve(A, b, M=M, rtol=1e-12).x, dtype=float
    )
    right = linalg.eigsh(A, k=1, sigma=0.0, OPinv=solves, return_eigenvectors=False)[0]
    assert right == pytest.approx(exact, rel=1e-8)
    assert "``OPinv`` for eigsh" in " ".join(load.__doc__.split())


@pytest.mark.parametrize("model", MODELS)
def test_the_adjoint_is_m(model):
    A, _, M = system(model)
    rng = np.random.default_rng(6603)
    u, v = rng.standard_normal((2, A.shape[0]))
    assert np.array_equal(M.H @ v, M @ v)
    assert np.array_equal(M.T @ v, M @ v)
    assert u @ (M @ v) == pytest.approx(v @ (M @ u), rel=1e-10)


@pytest.mark.parametrize("model", MODELS)
def test_many_threads_at_once(model):
    A, _, M = system(model)
    R = np.random.default_rng(6604).standard_normal((64, A.shape[0]))
    alone = [M @ r for r in R]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda r: M @ r, R))
    assert all(np.array_equal(z, w) for z, w in zip(alone, together, strict=True))


@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_other_processes(start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} here")
    _, b, M = system("diffusion2d")
    context = multiprocessing.get_context(start)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        there = pool.submit(M.dot, b).result()
    assert np.array_equal(there, M @ b)


def test_setup_is_the_same_in_every_process():
    code = """
import hashlib, numpy as np
from neuprecond import load, problems, solve
for model, family in (("diffusion2d", "lognormal"), ("heat", "heat")):
    A = problems.draw(family, 40, np.random.default_rng(6601)).A
    z = load(model, A) @ np.linspace(-1.0, 1.0, A.shape[0])
    print(hashlib.sha256(z.tobytes()).hexdigest())
"""
    texts = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout.split()
        for seed in ("1", "2")
    ]
    here = []
    for model in MODELS:
        A, _, M = system(model)
        z = M @ np.linspace(-1.0, 1.0, A.shape[0])
        here.append(hashlib.sha256(z.tobytes()).hexdigest())
    assert texts[0] == texts[1] == here
