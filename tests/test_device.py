"""On other devices the network, M and CG give what they give here."""

import sys
import warnings
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import cg as scipy_cg
from scipy.sparse.linalg import spsolve

import neuprecond
from neuprecond import problems
from neuprecond.torch import as_tensor, cg

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here"),
    ),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("model", "family"), [("diffusion2d", "lognormal"), ("heat", "heat")])
def test_devices_agree(device: str, model: str, family: str) -> None:
    A = problems.draw(family, 32, np.random.default_rng(31)).A
    r = np.random.default_rng(1).standard_normal(A.shape[0])
    here = neuprecond.load(model, A) @ r
    there = neuprecond.load(model, A, device=device) @ r
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-4 * np.abs(here).max())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_missing_device_is_named() -> None:
    A = problems.draw("poisson2d", 12, np.random.default_rng(1)).A
    with pytest.raises(ValueError, match="cuda"):
        neuprecond.load("diffusion2d", A, device="cuda")


# M on tensors.


def negated():
    A = problems.draw("lognormal", 24, np.random.default_rng(17)).A
    return neuprecond.load("auto", -A)


def of_plan(plan: str, family: str = "lognormal", size: int = 40, learned: bool = True):
    A = problems.draw(family, size, np.random.default_rng(31)).A
    return neuprecond.load_model("diffusion2d").precondition(A, learned=learned, plan=plan)


def nothing_to_coarsen():
    """More unknowns than are inverted, no couplings: the bottom is empty."""
    A = sparse.diags_array(np.linspace(1.0, 2.0, 900)).tocsr()
    return neuprecond.load_model("diffusion2d").precondition(A)


INVERSES = {
    "eliminated first": lambda: of_plan("rs10"),
    "nothing eliminated": lambda: of_plan("rs-w", "anisotropic"),
    "W-cycle": lambda: of_plan("rs50/sa5-w", size=64),
    "W-cycle below": lambda: of_plan("min-w", "delaunay", 4000),
    "twin": lambda: of_plan("sa5-w", learned=False),
    "inverted at once": lambda: of_plan("rs10", size=6),
    "nothing to coarsen": nothing_to_coarsen,
    "negated": negated,
    "one level": lambda: neuprecond.load(
        "heat", problems.draw("heat", 24, np.random.default_rng(3)).A
    ),
}


@pytest.fixture(params=INVERSES, scope="module")
def inverse(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", neuprecond.NeuprecondWarning)
        return INVERSES[request.param]()


@pytest.mark.parametrize("device", DEVICES)
def test_tensors_get_what_arrays_get(device, inverse):
    n = inverse.shape[0]
    R = np.random.default_rng(n).standard_normal((n, 3))
    expected = inverse @ R
    M = inverse.torch(device)
    assert M.shape == inverse.shape
    assert M.device.type == device
    assert M.dtype == torch.float64
    kept = torch.tensor(R, device=device)
    block, one = M @ kept, M(kept[:, 1])
    tolerance = 1e-12 * np.abs(expected).max()
    np.testing.assert_allclose(block.cpu(), expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(one.cpu(), expected[:, 1], rtol=0, atol=tolerance)
    assert one.device.type == device
    assert torch.equal(kept.cpu(), torch.tensor(R))
    single = inverse.torch(device, torch.float32) @ kept.float()
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.cpu(), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", ["tensor", "scipy", "callable"])
def test_cg_takes_the_steps_that_scipy_takes(device, form):
    A = problems.draw("lognormal", 48, np.random.default_rng(5)).A
    b = np.random.default_rng(6).standard_normal(A.shape[0])
    M = neuprecond.load("diffusion2d", A)
    there = M.torch(device)
    for options in (
        {"maxiter": 12},
        {"M": M},
        {"M": M, "rtol": 1e-10},
        {"M": M, "atol": 3.0, "rtol": 0.0},
    ):
        steps = []
        x, info = scipy_cg(A, b, callback=steps.append, **options)
        on_device = as_tensor(A, device=device)
        forms = {"tensor": on_device, "scipy": A, "callable": lambda p, A=on_device: A @ p}
        chosen = {**options, "M": there if form == "callable" else M} if "M" in options else options
        found = cg(forms[form], torch.tensor(b, device=device), **chosen)
        assert found.info == info
        assert found.iterations == len(steps)
        assert found.x.device.type == device
        np.testing.assert_allclose(found.x.cpu(), x, rtol=0, atol=1e-9 * np.abs(x).max())


def test_cg_begins_and_ends_as_scipy_does():
    A = problems.draw("poisson2d", 12, np.random.default_rng(5)).A
    b = torch.ones(A.shape[0], dtype=torch.float64)
    exact = torch.tensor(spsolve(A.tocsc(), b.numpy()))
    kept = exact.clone()
    assert cg(A, b, exact).iterations == 0
    assert torch.equal(exact, kept)
    near = cg(A, b, exact + 1e-3)
    assert near.info == 0
    assert 0 < near.iterations < cg(A, b).iterations
    short = cg(A, b, rtol=1e-12, maxiter=3)
    assert (short.info, short.iterations) == (3, 3)
    x, info, iterations = cg(A, torch.zeros_like(b), exact)
    assert (info, iterations, x.abs().max()) == (0, 0, 0.0)
    assert cg(A, b, maxiter=0).info == 0 == cg(A, b, maxiter=0).iterations
    broken = cg(A, b, M=lambda r: r * float("nan"))
    assert (broken.info, broken.iterations) == (-1, 1)
    assert not cg(A, b.clone().requires_grad_()).x.requires_grad


def test_neuprecond_torch_is_there_when_it_is_asked_for():
    assert neuprecond.torch.cg is cg
    assert "torch" not in neuprecond.__all__


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda M, A, b: M.torch("cpu") @ b.numpy(), TypeError, "must be a torch tensor"),
        (lambda M, A, b: M.torch("cpu") @ b[:-1], ValueError, "must have shape"),
        (lambda M, A, b: M.torch("cpu") @ b.float(), ValueError, "torch.float64 on cpu"),
        (lambda M, A, b: M.torch(dtype=torch.int32), TypeError, "got torch.int32"),
        (lambda M, A, b: M.torch("nowhere"), ValueError, "finds no device 'nowhere'"),
        (lambda M, A, b: cg(A, b.numpy()), TypeError, "b must be a tensor"),
        (lambda M, A, b: cg(A, b.to(torch.complex128)), TypeError, "complex128"),
        (lambda M, A, b: cg(A, torch.stack([b, b], 1)), ValueError, "one at a time"),
        (lambda M, A, b: cg(A, b[:-1]), ValueError, "A must have shape"),
        (lambda M, A, b: cg(lambda p: p, b[:-1], M=M), ValueError, "M must have shape"),
        (lambda M, A, b: cg(A, b, b[:-1]), ValueError, "x0 must have shape"),
        (lambda M, A, b: cg(as_tensor(A), b.float()), ValueError, "A must be torch.float32"),
        (lambda M, A, b: cg("A", b), TypeError, "A must be a tensor"),
        (lambda M, A, b: cg(A, b, M=1.0), TypeError, "M must be what neuprecond.load gives"),
    ],
)
def test_what_does_not_fit_is_named(call, error, words):
    A = problems.draw("poisson2d", 12, np.random.default_rng(5)).A
    M, b = neuprecond.load("diffusion2d", A), torch.ones(A.shape[0], dtype=torch.float64)
    with pytest.raises(error, match=words):
        call(M, A, b)


@pytest.mark.usefixtures("stand_in")
def test_what_is_no_sparse_product_stays_with_scipy():
    A = problems.draw("helmholtz", 12, np.random.default_rng(71)).A
    with pytest.warns(neuprecond.NeuprecondWarning):
        M = neuprecond.load("auto", A)
    for leave in (M.torch, M.cupy):
        with pytest.raises(TypeError, match=r"sparse products alone.*kind 'classical'"):
            leave()


# M on CuPy's arrays: there is no CUDA here, so NumPy stands in for CuPy and SciPy for cupyx.


@pytest.fixture
def stand_in(monkeypatch):
    class Operator:
        """The part of SciPy's LinearOperator that cupyx copies."""

        def __init__(self, shape, matvec, rmatvec=None, matmat=None, dtype=None, rmatmat=None):
            self.shape, self.dtype = shape, dtype
            self.matvec, self.rmatvec = matvec, rmatvec
            self.matmat, self.rmatmat = matmat, rmatmat

    names = ("cupy", "cupyx", "cupyx.scipy", "cupyx.scipy.sparse", "cupyx.scipy.sparse.linalg")
    cupy, *_, of_sparse, of_linalg = modules = [ModuleType(name) for name in names]
    cupy.asarray = np.array
    of_sparse.csr_matrix = sparse.csr_matrix
    of_linalg.LinearOperator = Operator
    for name, module in zip(names, modules, strict=True):
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("stand_in")
def test_cupy_gets_what_numpy_gets(inverse):
    n = inverse.shape[0]
    R = np.random.default_rng(n).standard_normal((n, 3))
    expected = inverse @ R
    M = inverse.cupy()
    tolerance = 1e-12 * np.abs(expected).max()
    assert M.shape == inverse.shape
    assert M.dtype == np.float64
    for several in (M.matmat, M.rmatmat):
        np.testing.assert_allclose(several(R), expected, rtol=0, atol=tolerance)
    for one in (M.matvec, M.rmatvec):
        np.testing.assert_allclose(one(R[:, 0]), expected[:, 0], rtol=0, atol=tolerance)
        assert one(R[:, :1]).shape == (n, 1)


def test_missing_cupy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    A = problems.draw("poisson2d", 12, np.random.default_rng(1)).A
    with pytest.raises(ModuleNotFoundError, match=r"neuprecond\[gpu\]"):
        neuprecond.load("diffusion2d", A).cupy()
