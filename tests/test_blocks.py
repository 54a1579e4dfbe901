"""Unknowns that come in blocks are found, and kept together, without B."""

import numpy as np
import pyamg
import pytest
from scipy import sparse

import neuprecond
from neuprecond import checks, problems
from neuprecond.hierarchy import block_size, components_apart, is_minimised
from neuprecond.multilevel import PLANS, build_cycle
from neuprecond.zoo.model import components

SCALAR = sorted(set(problems.FAMILIES) - {"elasticity2d", "elasticity3d", "saddle"})


def drawn(family, size, seed=5501):
    return problems.draw(family, size, np.random.default_rng(seed))


def elasticity(family):
    return drawn(family, 24 if family == "elasticity2d" else 8)


def apart(A, k):
    """All first components, then all second ones."""
    order = np.arange(A.shape[0]).reshape(-1, k).T.ravel()
    return sparse.csr_array(sparse.csr_array(A)[order][:, order]), order


@pytest.mark.parametrize("family", SCALAR)
def test_no_blocks_where_unknowns_are_single(family):
    space = problems.FAMILIES[family].dimension == "3-D"
    plane = problems.FAMILIES[family].dimension == "2-D"
    A = checks.as_csr(drawn(family, 12 if space else 40 if plane else 1500).A)
    assert block_size(A) == components_apart(A) == 1


@pytest.mark.parametrize("half", [1, 2, 3, 5, 9, 20])
def test_a_band_is_not_made_of_blocks(half):
    diagonals = [np.ones(600 - abs(k)) for k in range(-half, half + 1)]
    A = sparse.csr_array(sparse.diags_array(diagonals, offsets=range(-half, half + 1)))
    assert block_size(A) == 1


@pytest.mark.parametrize("k", [2, 3, 4, 5, 6])
def test_blocks_of_every_size(k):
    A = sparse.csr_array(pyamg.gallery.poisson((12, 12), format="csr"))
    blocks = sparse.csr_array(sparse.kron(A, np.ones((k, k)) + k * np.eye(k)))
    assert block_size(blocks) == k
    assert block_size(sparse.csr_array(blocks.tobsr((k, k)))) == k


@pytest.mark.parametrize(("family", "k"), [("elasticity2d", 2), ("elasticity3d", 3)])
def test_displacements(family, k):
    A = checks.as_csr(elasticity(family).A)
    assert block_size(A) == k
    assert components_apart(A) == 1
    turned = checks.as_csr(apart(A, k)[0])
    assert components_apart(turned) == k


@pytest.mark.parametrize("k", [2, 3, 6])
def test_dense_matrices_have_no_blocks(k):
    A = sparse.csr_array(np.ones((20 * k, 20 * k)) + 20 * k * np.eye(20 * k))
    assert block_size(A) == components_apart(A) == 1


@pytest.mark.parametrize(("family", "k"), [("elasticity2d", 2), ("elasticity3d", 3)])
def test_elasticity_without_modes(family, k):
    """Blocks that nobody told of save a fifth of the iterations of the best plan without them.

    A tenth where plans of least energy are among these.
    """
    problem = elasticity(family)
    A, b = checks.as_csr(problem.A), problem.b
    M = neuprecond.load("auto", A)
    found = neuprecond.solve(A, b, M=M)
    assert found.converged
    single = {
        plan: neuprecond.solve(A, b, M=build_cycle(A, None, plan=plan), maxiter=2000).iterations
        for plan in PLANS.values()
    }
    others = [plan for plan in single if not any(is_minimised(base) for base in plan.bases)]
    assert found.iterations <= 0.8 * min(single[plan] for plan in others)
    assert found.iterations <= 0.9 * min(single.values())
    turned, order = apart(A, k)
    other = neuprecond.load("auto", turned)
    r = np.random.default_rng(5502).standard_normal(A.shape[0])
    np.testing.assert_allclose(
        other @ r[order], (M @ r)[order], rtol=1e-9, atol=1e-12 * abs(r).max()
    )


@pytest.mark.parametrize("family", ["elasticity2d", "elasticity3d"])
def test_definite_and_symmetric(family):
    A = checks.as_csr(drawn(family, 14 if family == "elasticity2d" else 5).A)
    M = neuprecond.load("auto", A)
    X = M @ np.eye(A.shape[0])
    assert abs(X - X.T).max() <= 1e-10 * abs(X).max()
    assert np.linalg.eigvalsh(0.5 * (X + X.T))[0] > 0


def interior_penalty(size):
    """Linear discontinuous elements on triangles, the three unknowns of an element together."""
    skfem = pytest.importorskip("skfem")
    from skfem.helpers import dot, grad

    mesh = skfem.MeshTri.init_tensor(*[np.linspace(0.0, 1.0, size + 1)] * 2)
    element = skfem.ElementTriDG(skfem.ElementTriP1())

    @skfem.BilinearForm
    def inside(u, v, w):
        return dot(grad(u), grad(v))

    @skfem.BilinearForm
    def between(u, v, w):
        sides = [(-1.0) ** side for side in w.idx]
        jumps = sides[0] * sides[1] * u * v
        flux = sides[1] * v * dot(grad(u), w.n) + sides[0] * u * dot(grad(v), w.n)
        return 10.0 / w.h * jumps - 0.5 * flux

    @skfem.BilinearForm
    def around(u, v, w):
        return 10.0 / w.h * u * v - dot(grad(u), w.n) * v - dot(grad(v), w.n) * u

    faces = [skfem.InteriorFacetBasis(mesh, element, side=side) for side in (0, 1)]
    A = inside.assemble(skfem.Basis(mesh, element)) + skfem.asm(between, faces, faces)
    A = A + around.assemble(skfem.FacetBasis(mesh, element))
    return checks.as_csr((A + A.T) / 2.0)


def test_unknowns_of_a_discontinuous_element_are_no_components():
    A = interior_penalty(24)
    assert block_size(A) == 3
    assert components(A) == (None, None)
    for family in ("elasticity2d", "elasticity3d"):
        assert components(checks.as_csr(elasticity(family).A))[0] is not None
    b = np.random.default_rng(5502).standard_normal(A.shape[0])
    M = neuprecond.load("auto", A)
    assert neuprecond.solve(A, b, M=M, maxiter=25).converged


@pytest.mark.parametrize("together", [True, False])
def test_concentrations_that_react_are_no_components(together):
    """As blocks they took 39 iterations on a larger grid, each for itself 9."""
    rng = np.random.default_rng(5507)
    first, second = (drawn("lognormal", 40, seed).A for seed in (1, 2))
    rate = sparse.diags_array(10.0 ** rng.uniform(-3.0, 1.0, 1600))
    A = sparse.csr_array(sparse.block_array([[first + rate, -rate], [-rate, second + rate]]))
    if together:
        order = np.arange(3200).reshape(2, -1).T.ravel()
        A = sparse.csr_array(A[order][:, order])
    A = checks.as_csr(A)
    assert components(A) == (None, None)
    b = rng.standard_normal(3200)
    M = neuprecond.load("auto", A)
    assert neuprecond.solve(A, b, M=M, maxiter=20).converged


def test_modes_that_are_given_go_first():
    problem = elasticity("elasticity2d")
    given = neuprecond.load("auto", problem.A, B=problem.B)
    found = neuprecond.load("auto", problem.A)
    counts = [neuprecond.solve(problem.A, problem.b, M=M).iterations for M in (given, found)]
    assert counts[0] < counts[1]
