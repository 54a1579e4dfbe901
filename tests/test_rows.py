"""Row loops against dense NumPy and SciPy."""

from itertools import pairwise

import numpy as np
import pyamg
import pytest
from scipy import sparse

from neuprecond import rows
from neuprecond.hierarchy import (
    eliminate,
    galerkin,
    galerkin_pair,
    largest_eigenpair,
    largest_eigenvalue,
    renumbered,
)
from neuprecond.problems import draw


def small(rng):
    """No structure, empty rows and columns among them."""
    A = sparse.random_array((40, 40), density=0.08, rng=rng, data_sampler=rng.standard_normal)
    return sparse.csr_array(A + A.T)


CASES = {
    "grid": lambda rng: draw("poisson2d", 11, rng).A,
    "hubs": lambda rng: draw("attachment", 200, rng).A,
    "tree": lambda rng: draw("roads", 200, rng).A,
    "line": lambda rng: draw("poisson1d", 90, rng).A,
    "space": lambda rng: draw("lognormal3d", 6, rng).A,
    "small": small,
    "one": lambda rng: sparse.csr_array([[2.0]]),
    "nothing": lambda rng: sparse.csr_array((5, 5)),
}


@pytest.fixture(params=CASES, name="A")
def matrix(request):
    A = CASES[request.param](np.random.default_rng(71))
    A.sort_indices()
    return A


def dense(parts, shape):
    indptr, indices, values = parts
    indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
    return sparse.csr_array((values, indices, indptr), shape=shape).toarray()


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_product(A, index):
    rng = np.random.default_rng(72)
    P = sparse.csr_array(sparse.random_array((A.shape[0], 30), density=0.2, rng=rng))
    for matrix in (A, P):
        matrix.indptr, matrix.indices = matrix.indptr.astype(index), matrix.indices.astype(index)
    left, right = rows.csr(A), rows.csr(P)
    bound = rows.product_bound(left[1], right[0])
    parts = rows.product(*left, *right, 30, bound)
    np.testing.assert_allclose(dense(parts, P.shape), (A @ P).toarray(), atol=1e-13)
    assert len(parts[1]) == len(parts[2]) == parts[0][-1] <= bound


def test_sums_and_scales(A):
    rng = np.random.default_rng(73)
    left, right = rng.uniform(0.5, 2.0, A.shape[0]), rng.uniform(0.5, 2.0, A.shape[0])
    indptr, indices, values = rows.csr(A)
    assert rows.largest_row_sum(indptr, values) == pytest.approx(abs(A).sum(axis=1).max())
    scaled = rows.scaled_values(indptr, indices, values, left, right)
    expected = left[:, None] * A.toarray() * right
    np.testing.assert_allclose(dense((indptr, indices, scaled), A.shape), expected)
    smoother = rows.smoother_values(indptr, indices, values, left, 3.0, 2.0)
    stored = np.diag(A.toarray()) != 0
    expected = 3.0 * np.diag(left * stored) - 2.0 * left[:, None] * A.toarray() * left
    np.testing.assert_allclose(dense((indptr, indices, smoother), A.shape), expected, atol=1e-13)


def test_relative_residual(A):
    v = np.random.default_rng(74).uniform(0.5, 2.0, A.shape[0])
    size = abs(A) @ v
    expected = np.divide(abs(A @ v), size, out=np.zeros_like(v), where=size > 0)
    np.testing.assert_allclose(rows.relative_residual(*rows.csr(A), v), expected, atol=1e-14)


def test_rounding_is_dropped(A):
    A = A.copy()
    A.data[A.indices.size // 2 :] *= 1e-18
    d = np.sqrt(abs(A.diagonal()))
    expected = np.where(abs(A.toarray()) > 1e-14 * np.outer(d, d), A.toarray(), 0.0)
    kept = rows.drop_small(*rows.csr(A), 1e-14)
    assert kept == A.indptr[-1] == np.count_nonzero(expected)
    A.prune()
    np.testing.assert_array_equal(A.toarray(), expected)


@pytest.mark.parametrize("name", ["grid", "hubs", "tree", "line"])
def test_galerkin_is_sorted_and_equals_the_dense_product(name):
    A = CASES[name](np.random.default_rng(75))
    rng = np.random.default_rng(76)
    P = sparse.csr_array(sparse.random_array((A.shape[0], 30), density=0.1, rng=rng))
    Ac = galerkin(A, P)
    expected = P.toarray().T @ A.toarray() @ P.toarray()
    np.testing.assert_allclose(Ac.toarray(), expected, atol=1e-13 * abs(expected).max())
    assert all((np.diff(Ac.indices[p:q]) > 0).all() for p, q in pairwise(Ac.indptr))


@pytest.mark.parametrize("name", ["grid", "hubs", "tree", "line", "space"])
def test_elimination_is_the_schur_complement(name):
    elimination = eliminate(CASES[name](np.random.default_rng(77)))
    if elimination is None:
        pytest.skip("too many neighbours")
    A, P = elimination.A.toarray(), elimination.P.toarray()
    E, K = elimination.eliminated, elimination.kept
    # Independent: what is left among the eliminated is the unit diagonal.
    np.testing.assert_allclose(A[np.ix_(E, E)], np.eye(len(E)), atol=1e-14)
    expected = A[np.ix_(K, K)] - A[np.ix_(K, E)] @ A[np.ix_(E, K)]
    np.testing.assert_allclose(elimination.schur.toarray(), expected, atol=1e-14)
    np.testing.assert_allclose(P[K], np.eye(len(K)), atol=1e-14)
    np.testing.assert_allclose(P[E], -A[np.ix_(E, K)], atol=1e-14)
    np.testing.assert_allclose(P.T @ A @ P, expected, atol=1e-13)


@pytest.mark.parametrize("family", ["poisson3d", "lognormal3d", "twophase3d"])
def test_seven_points_in_space_are_halved(family):
    A = sparse.csr_array(draw(family, 12, np.random.default_rng(81)).A)
    elimination = eliminate(A)
    assert elimination is not None
    assert len(elimination.kept) <= 0.51 * A.shape[0]
    assert elimination.schur.nnz <= 1.4 * A.nnz
    assert eliminate(elimination.schur) is None


@pytest.mark.parametrize("family", ["delaunay", "fe2d", "fe3d", "poisson3d_27point"])
def test_where_less_would_go_nothing_is_added(family):
    size = 900 if family == "delaunay" else 9
    A = sparse.csr_array(draw(family, size, np.random.default_rng(82)).A)
    elimination = eliminate(A)
    assert elimination is None or elimination.schur.nnz <= A.nnz


def test_independent_set():
    A = CASES["tree"](np.random.default_rng(78))
    indptr, indices, _ = rows.csr(A)
    chosen = rows.independent_set(indptr, indices, 5)
    pattern = A.toarray() != 0
    np.fill_diagonal(pattern, False)
    low = np.diff(A.indptr) <= 5
    assert not chosen[~low].any()
    assert not pattern[np.ix_(chosen, chosen)].any()
    # None is left out that could have been chosen.
    assert pattern[np.ix_(low & ~chosen, chosen)].any(axis=1).all()


@pytest.mark.parametrize("name", ["grid", "line", "tree"])
def test_lanczos_finds_the_largest_eigenvalue_from_above(name):
    A = CASES[name](np.random.default_rng(79))
    exact = np.linalg.eigvalsh(A.toarray())[-1]
    value, vector = largest_eigenpair(A)
    assert exact <= value <= 1.06 * exact
    assert largest_eigenvalue(A) == pytest.approx(value, rel=1e-12)
    assert np.linalg.norm(vector) == pytest.approx(1.0)
    assert vector @ A.toarray() @ vector == pytest.approx(exact, rel=0.05)


def test_lanczos_stops_where_the_space_is_exhausted():
    A = sparse.csr_array(sparse.diags_array(np.repeat([1.0, 3.0], 20)))
    assert largest_eigenvalue(A) == pytest.approx(3.0)


def test_changed_values_keep_row_sums_against_the_coarse_vector():
    rng = np.random.default_rng(80)
    P = sparse.csr_array(sparse.random_array((60, 20), density=0.2, rng=rng))
    coarse = rng.uniform(0.5, 2.0, 20)
    change = rng.uniform(-0.5, 0.5, P.nnz)
    values = rows.changed_values(*rows.csr(P), coarse, change)
    changed = sparse.csr_array((values, P.indices, P.indptr), shape=P.shape)
    np.testing.assert_allclose(changed @ coarse, P @ coarse, atol=1e-14)
    several = np.repeat(np.diff(P.indptr) > 1, np.diff(P.indptr))
    assert (values != P.data)[several].all()
    np.testing.assert_allclose(values[~several], P.data[~several])


def pattern(parts, shape):
    indptr, indices = (x.astype(np.int64) for x in parts)
    return sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=shape).toarray()


def test_asymmetry(A):
    rng = np.random.default_rng(77)
    # Some entries without a partner, some with another one.
    changed = A.copy()
    changed.data = changed.data * (1.0 + 1e-3 * rng.standard_normal(A.nnz))
    keep = rng.random(A.nnz) < 0.8
    rows_of = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    lost = sparse.coo_array((changed.data[keep], (rows_of[keep], A.indices[keep])), shape=A.shape)
    for matrix in (A, changed, sparse.csr_array(lost)):
        s = rng.uniform(0.5, 2.0, A.shape[0])
        dense = s[:, None] * matrix.toarray() * s
        top = np.abs(dense).max(initial=0.0)
        off, found = rows.asymmetry(*rows.csr(matrix), s)
        assert found == pytest.approx(top)
        assert off == pytest.approx(np.abs(dense - dense.T).max() / max(top, 1e-300), abs=1e-14)


def test_classical_strength_is_that_of_pyamg(A):
    parts = rows.classical_strength(*rows.csr(A), 0.25)
    expected = pyamg.strength.classical_strength_of_connection(
        sparse.csr_matrix(A), theta=0.25, norm="abs"
    ).toarray()
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_array_equal(pattern(parts, A.shape), expected != 0)


@pytest.mark.parametrize("family", ["lognormal", "anisotropic", "delaunay", "fe2d", "elasticity2d"])
def test_evolution_strength_is_that_of_pyamg(family, monkeypatch):
    rng = np.random.default_rng(78)
    A = sparse.csr_array(draw(family, 900 if family == "delaunay" else 24, rng).A)
    A.sort_indices()
    largest = 1.9
    monkeypatch.setattr(pyamg.strength, "approximate_spectral_radius", lambda matrix: largest)
    expected = pyamg.strength.evolution_strength_of_connection(
        A.copy(), B=np.ones((A.shape[0], 1)), epsilon=4.0
    ).toarray()
    np.fill_diagonal(expected, 0.0)
    parts = rows.evolution_strength(*rows.csr(A), A.diagonal(), 1.0 / largest, 4.0)
    np.testing.assert_array_equal(pattern(parts, A.shape), expected != 0)


def test_spread(A):
    where = sparse.coo_array(A)
    apart = np.abs(where.coords[0] - where.coords[1])
    expected = apart.mean() / A.shape[0] if A.nnz else 0.0
    assert rows.spread(*rows.csr(A)[:2]) == pytest.approx(expected)


def test_permuted(A):
    order = np.random.default_rng(79).permutation(A.shape[0]).astype(np.uint32)
    expected = A.toarray()[np.ix_(order, order)]
    np.testing.assert_array_equal(dense(rows.permuted(*rows.csr(A), order), A.shape), expected)
    np.testing.assert_array_equal(renumbered(A, order).toarray(), expected)
    assert renumbered(A, order).has_canonical_format
    number = np.random.default_rng(80).permutation(A.shape[1])
    moved = dense(rows.permuted(*rows.csr(A), order, number), A.shape)
    np.testing.assert_array_equal(moved[:, number], A.toarray()[order])


@pytest.mark.parametrize("same", [True, False])
def test_galerkin_pair_is_two_of_one(A, same):
    rng = np.random.default_rng(80)
    P = sparse.csr_array(sparse.random_array((A.shape[0], 30), density=0.2, rng=rng))
    P.sort_indices()
    other, other_P = A.copy(), P.copy()
    other.data = other.data * (1.0 if same else rng.uniform(0.5, 2.0))
    other_P.data = other_P.data * rng.uniform(0.5, 2.0, P.nnz)
    if not same and P.nnz:
        # Another pattern: both are made apart.
        other_P.data[0] = 0.0
        other_P.eliminate_zeros()
    pair = galerkin_pair((A, P), (other, other_P))
    for made, expected in zip(pair, (galerkin(A, P), galerkin(other, other_P)), strict=True):
        assert made.has_canonical_format
        np.testing.assert_array_equal(made.indptr, expected.indptr)
        np.testing.assert_array_equal(made.indices, expected.indices)
        np.testing.assert_array_equal(made.data, expected.data)
