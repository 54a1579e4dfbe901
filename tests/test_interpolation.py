"""Classical interpolation: PyAMG's where that is sound, bounded where it is not."""

import numpy as np
import pytest
from cases import DEFINITE, REAL_DEFINITE, read_real
from pyamg.classical import interpolate, split
from scipy import sparse

from neuprecond import checks
from neuprecond.hierarchy import BASES, _strength, is_aggregated, unit_diagonal
from neuprecond.interpolation import LARGEST_SUM, classical_interpolation

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
