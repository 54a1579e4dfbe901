"""Classical interpolation and that of least energy: PyAMG's where sound, bounded elsewhere."""

import itertools

import numpy as np
import pyamg
import pytest
from cases import DEFINITE, REAL_DEFINITE, read_real
from pyamg.aggregation.smooth import energy_prolongation_smoother
from pyamg.classical import interpolate, split
from pyamg.gallery import poisson
from pyamg.util.utils import get_Cpt_params, scale_T
from scipy import sparse

from neuprecond import checks
from neuprecond.hierarchy import (
    BASES,
    _split_and_interpolate,
    _strength,
    coarsen,
    is_aggregated,
    unit_diagonal,
)
from neuprecond.interpolation import (
    LARGEST_SUM,
    classical_interpolation,
    least_energy,
    minimised_splitting,
)

MATRICES = {
    **{name: case.make for name, case in DEFINITE.items()},
    **{name: lambda name=name: read_real(name) for name in REAL_DEFINITE},
}


@pytest.mark.parametrize("base", [name for name in BASES if not is_aggregated(name)])
@pytest.mark.parametrize("name", MATRICES)
def test_against_pyamg(name, base):
    A, _ = unit_diagonal(checks.as_csr(MATRICES[name]()))
    strong = sparse.csr_array(_strength(A, base))
    splitting = split.RS(strong)
    splitting = splitting[0] if isinstance(splitting, tuple) else splitting
    is_coarse = np.asarray(splitting) == 1
    kept = A.copy()
    P = classical_interpolation(A, strong, is_coarse)
    assert np.array_equal(A.data, kept.data)
    assert P.shape == (A.shape[0], is_coarse.sum())
    assert np.isfinite(P.data).all()
    sums = abs(P).sum(axis=1)
    assert (sums <= LARGEST_SUM + 1e-12).all()
    assert np.array_equal(P[np.flatnonzero(is_coarse)].toarray(), np.eye(is_coarse.sum()))
    if not is_coarse.any():
        return
    with np.errstate(all="ignore"):
        other = sparse.csr_array(interpolate.classical_interpolation(A, strong, splitting))
    other.data[~np.isfinite(other.data)] = 1e9
    sound = np.flatnonzero(abs(other).sum(axis=1) <= LARGEST_SUM - 1e-9)
    if len(sound):
        difference = abs(P[sound] - other[sound]).max(axis=1).toarray()
        # Where terms cancel in part, PyAMG's order of summing them is the worse.
        assert (difference <= 1e-9).mean() >= 0.995
        assert difference.max() <= 0.25
    # Elsewhere weights are positive and sum to one.
    broken = np.flatnonzero(abs(other).sum(axis=1) > LARGEST_SUM + 1e-9)
    if len(broken):
        rows = P[broken]
        assert rows.data.min() >= 0.0
        assert np.allclose(rows.sum(axis=1), 1.0)


def test_weights_that_would_be_infinite():
    """Weak couplings of the other sign cancel the diagonal of the last row."""
    A = sparse.csr_array([[1.0, 0.0, -0.6], [0.0, 1.0, -1.0], [-0.6, -1.0, 1.0]])
    strong = sparse.csr_array(([1.0, 1.0, 1.0], ([0, 1, 2], [2, 2, 0])), shape=(3, 3))
    P = classical_interpolation(A, strong, np.array([True, True, False]))
    assert P.toarray().tolist() == [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]


def test_weights_that_would_be_zero_over_zero():
    """All that the last row couples to cancels, and so does what it is divided by."""
    A = sparse.csr_array(
        [
            [1.0, 0.0, 0.5, 0.0],
            [0.0, 1.0, 0.0, 0.5],
            [0.5, 0.0, 1.0, -1.0],
            [0.0, 0.5, -1.0, 1.0],
        ]
    )
    # The last row's one strong neighbour is gone from A; the other takes its diagonal away.
    A = sparse.csr_array(A + sparse.csr_array(([-0.5], ([3], [1])), shape=(4, 4)))
    strong = sparse.csr_array(([1.0, 1.0], ([2, 3], [0, 1])), shape=(4, 4))
    P = classical_interpolation(A, strong, np.array([True, True, False, False]))
    assert np.isfinite(P.data).all()
    assert abs(P).sum(axis=1).max() <= LARGEST_SUM


# Interpolation of least energy.

ENERGY = {
    "lognormal": lambda: DEFINITE["lognormal"].make(),
    "anisotropic": lambda: DEFINITE["anisotropic"].make(),
    "fibres": lambda: DEFINITE["fibres"].make(),
    "delaunay": lambda: DEFINITE["delaunay"].make(),
    "fe3d": lambda: DEFINITE["fe3d"].make(),
    "elasticity2d": lambda: DEFINITE["elasticity2d"].make(),
}


def aggregated(name):
    """A matrix of unit diagonal, aggregates, strong connections with the diagonal, and roots."""
    A, _ = unit_diagonal(checks.as_csr(ENERGY[name]()))
    strong = sparse.csr_array(_strength(A, "root"))
    aggregates, roots = pyamg.aggregation.standard_aggregation(strong)
    return A, sparse.csr_array(aggregates).astype(float), strong, np.asarray(roots)


def fixed_rows(A, roots):
    fixed = np.zeros(A.shape[0], dtype=bool)
    fixed[roots] = True
    return fixed


def energy(A, P):
    return (P.T @ A @ P).diagonal().sum()


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", ["lognormal", "anisotropic", "fibres", "delaunay", "fe3d"])
def test_least_energy_is_that_of_pyamg(name, steps):
    """Where no row runs wild: the same steps on the same pattern."""
    A, T, strong, roots = aggregated(name)
    ones = np.ones((A.shape[0], 1))
    amalgamated = sparse.bsr_array(T, blocksize=(1, 1))
    points = get_Cpt_params(sparse.csr_matrix(A), roots, T, amalgamated)
    expected = energy_prolongation_smoother(
        sparse.csr_matrix(A),
        scale_T(amalgamated, points["P_I"], points["I_F"]),
        sparse.csr_matrix(strong),
        np.ones((T.shape[1], 1)),
        ones,
        (True, points),
        krylov="cg",
        degree=2,
        maxiter=steps,
        weighting="diagonal",
    )
    links = sparse.csr_array((np.ones(strong.nnz), strong.indices, strong.indptr), shape=A.shape)
    P = least_energy(A, T, sparse.csr_array(links @ (links @ T)), fixed_rows(A, roots), steps=steps)
    assert abs(P).sum(axis=1).max() < LARGEST_SUM
    assert abs(P - sparse.csr_array(expected)).max() < 1e-10


@pytest.mark.parametrize("name", ENERGY)
def test_energy_falls_and_row_sums_stay(name):
    A, T, strong, roots = aggregated(name)
    fixed = fixed_rows(A, roots)
    pattern = sparse.csr_array(abs(strong) @ abs(strong) @ T)
    kept = [x.copy() for x in (A.data, T.data, pattern.data, pattern.indices)]
    found = [energy(A, T)]
    for steps in (1, 2, 3, 6):
        P = least_energy(A, T, pattern, fixed, steps=steps)
        assert np.allclose(P.sum(axis=1), T.sum(axis=1))
        assert abs(P[fixed] - T[fixed]).max() == 0.0
        assert P.has_sorted_indices
        assert abs(P).sum(axis=1).max() <= max(LARGEST_SUM, abs(T).sum(axis=1).max()) + 1e-12
        found.append(energy(A, P))
    assert found[1] < found[0]
    if name != "elasticity2d":
        # There rows that would run wild stay as they came, which is not where energy is least.
        assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(found))
    for before, after in zip(kept, (A.data, T.data, pattern.data, pattern.indices), strict=True):
        assert np.array_equal(before, after)


def test_many_steps_reach_the_least_energy():
    """That of the dense problem with the row sums as constraints."""
    A, T, strong, roots = aggregated("delaunay")
    A, T, strong = A[:80, :80], T[:80], strong[:80, :80]
    columns = np.flatnonzero(T.sum(axis=0))
    T = sparse.csr_array(T[:, columns])
    fixed = fixed_rows(A, [r for r in roots if r < 80])
    pattern = sparse.csr_array(abs(strong) @ abs(strong) @ T)
    P = least_energy(sparse.csr_array(A), T, pattern, fixed, steps=400)
    dense, reach = A.toarray(), pattern.toarray() + T.toarray() > 0.0
    unknowns = [(i, j) for i, j in np.argwhere(reach) if not fixed[i]]
    rows = sorted({i for i, _ in unknowns})
    # The slope of the energy, for each unknown, and one multiplier a row.
    count, start = len(unknowns), (T.toarray() * fixed[:, None])
    system = np.zeros((count + len(rows),) * 2)
    right = np.zeros(count + len(rows))
    for a, (i, j) in enumerate(unknowns):
        for b, (k, m) in enumerate(unknowns):
            system[a, b] = dense[i, k] if j == m else 0.0
        system[a, count + rows.index(i)] = system[count + rows.index(i), a] = 1.0
        right[a] = -dense[i] @ start[:, j]
    right[count:] = T.sum(axis=1)[rows]
    least = np.linalg.lstsq(system, right, rcond=None)[0][:count]
    result = start.copy()
    for value, (i, j) in zip(least, unknowns, strict=True):
        result[i, j] = value
    assert np.allclose(P.toarray(), result, atol=1e-7)


@pytest.mark.parametrize("name", ENERGY)
def test_small_weights_are_dropped_and_sums_stay(name):
    A, _ = unit_diagonal(checks.as_csr(ENERGY[name]()))
    strong = sparse.csr_array(_strength(A, "min"))
    P, roots = _split_and_interpolate(A, strong)
    wide = minimised_splitting(A, P, strong, roots)
    assert np.allclose(wide.sum(axis=1), P.sum(axis=1))
    assert np.array_equal(wide[roots].toarray(), np.eye(len(roots)))
    if name in ("fibres", "delaunay", "fe3d"):
        # Others have no fine neighbours that are worth reaching over.
        assert wide.nnz > P.nnz
    sizes = abs(wide)
    assert sizes.sum(axis=1).max() <= LARGEST_SUM + 1e-12
    share = sizes.data / np.repeat(sizes.max(axis=1).toarray(), np.diff(wide.indptr))
    # But in rows where weights of both signs would grow by it.
    assert (share >= 0.1).mean() > 0.9
    if name != "elasticity2d":
        assert energy(A, wide) <= energy(A, P) * (1 + 1e-12)


def test_patterns_of_random_graphs_stay_small():
    """Two steps from everywhere lead everywhere: there interpolation takes what is near."""
    rng = np.random.default_rng(2905)
    ends = rng.integers(0, 3000, (2, 45000))
    W = sparse.coo_array((np.ones(45000), (ends[0], ends[1])), shape=(3000, 3000)).tocsr()
    W = W + W.T
    A = checks.as_csr(sparse.diags_array(W.sum(axis=1) + 0.1) - W)
    for base in ("root", "min"):
        level = coarsen(A, base)
        assert level.P0.nnz < 12 * A.nnz
        assert np.isfinite(level.P0.data).all()


def test_constants_are_relaxed_where_a_boundary_ties_them_down():
    """Row sums of P fall off towards the boundary and are one inside."""
    A = checks.as_csr(poisson((40, 40), type="FE"))
    sums = coarsen(A, "root").P0.sum(axis=1) / np.sqrt(A.diagonal()[0])
    inside = sums.reshape(40, 40)[10:-10, 10:-10]
    assert np.allclose(inside, 1.0, atol=1e-12)
    assert sums[0] < 0.5
    assert sums.max() < 1.0 + 1e-12


def test_no_step_along_a_direction_of_no_energy():
    """An indefinite matrix: the loop stops instead of climbing."""
    A = sparse.csr_array([[1.0, 3.0, 0.0], [3.0, 1.0, 3.0], [0.0, 3.0, 1.0]])
    T = sparse.csr_array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    P = least_energy(A, T, sparse.csr_array(np.ones((3, 2))), np.zeros(3, dtype=bool), steps=50)
    assert np.isfinite(P.data).all()
    assert abs(P).sum(axis=1).max() <= LARGEST_SUM
