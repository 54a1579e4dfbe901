"""The ends of a spectrum: Ritz values lie inside, error bounds hold, CG's steps are counted."""

import numpy as np
import pytest
from cases import poisson, random_definite
from scipy import sparse
from scipy.sparse.linalg import eigsh

from neuprecond import problems, solve
from neuprecond.hierarchy import unit_diagonal
from neuprecond.spectrum import ends

DRAWN = {
    "poisson2d": 32,
    "lognormal": 30,
    "anisotropic": 28,
    "delaunay": 900,
    "heat": 30,
    "attachment": 800,
    "gram": 600,
}


def scaled(family: str) -> sparse.csr_array:
    A = problems.draw(family, DRAWN[family], np.random.default_rng(3117)).A
    return unit_diagonal(A)[0]


@pytest.mark.parametrize("family", DRAWN)
def test_ritz_values_lie_inside_and_their_errors_outside(family):
    A = scaled(family)
    found = ends(A)
    values = np.linalg.eigvalsh(A.toarray())
    rounding = 1e-10 * values[-1]
    assert values[0] <= found.low + rounding
    assert found.high <= values[-1] + rounding
    for ritz, error in ((found.low, found.low_error), (found.high, found.high_error)):
        assert abs(values - ritz).min() <= error + rounding
    if found.settled:
        assert found.low <= 1.05 * values[0] + rounding


@pytest.mark.parametrize("family", DRAWN)
def test_jacobis_steps_are_those_of_cg(family):
    A = scaled(family)
    found = ends(A, count=True)
    b = np.random.default_rng(A.shape[0]).standard_normal(A.shape[0])
    record = solve(A, b, M=None, rtol=1e-8)
    if record.iterations > A.shape[0]:
        # As many steps as unknowns were not enough: so it says.
        assert found.jacobi == 0
    else:
        assert found.jacobi == pytest.approx(record.iterations, rel=0.02, abs=1)


def test_small_matrices_are_exact():
    A = random_definite(40, 901)
    found = ends(A, count=True)
    values = np.linalg.eigvalsh(A.toarray())
    np.testing.assert_allclose([found.low, found.high], values[[0, -1]], rtol=1e-10)
    assert found.low_error == found.high_error == 0.0
    assert found.settled


def test_known_null_vectors_are_left_out():
    n = 500
    ring = sparse.lil_array(sparse.diags_array([-1.0, 2, -1], offsets=[-1, 0, 1], shape=(n, n)))
    ring[0, n - 1] = ring[n - 1, 0] = -1.0
    A = sparse.csr_array(ring)
    found = ends(A, project=lambda x: x - x.mean())
    assert found.low == pytest.approx(2 - 2 * np.cos(2 * np.pi / n), rel=0.01)


def test_an_indefinite_matrix_ends_early():
    A = sparse.csr_array(poisson(40) - 1.0 * sparse.eye_array(1600))
    found = ends(A)
    assert found.low < 0.0
    assert found.steps < 200
    assert found.jacobi == 0


def test_hermitian_matrices():
    n = 600
    A = sparse.diags_array(
        [np.full(n - 1, -1j), np.full(n, 3.0), np.full(n - 1, 1j)], offsets=[-1, 0, 1]
    ).tocsr()
    found = ends(A)
    top = eigsh(A, k=1, return_eigenvectors=False, v0=np.ones(n))[0]
    assert found.high == pytest.approx(top, rel=1e-2)
    assert found.low > 0.99


def test_the_same_each_time():
    A = scaled("lognormal")
    assert ends(A, count=True) == ends(A, count=True)
