"""Whole-matrix statistics from which a model picks how to coarsen."""

import numpy as np
from scipy import sparse

from neuprecond.features import test_vectors
from neuprecond.hierarchy import unit_diagonal

__all__ = [
    "STATISTICS",
    "matrix_statistics",
    "plan_statistics",
    "row_statistics",
    "sampled_rows",
]

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Thresholds of strength that bases differ in, see `neuprecond.hierarchy.BASES`; just below round
# numbers, which stencils are made of: rounding is not to decide.
_SIZES, _RATIOS, _STRONG = (0.03, 0.05, 0.08), (0.099, 0.149, 0.249, 0.49), (0.249, 0.49)
# A neighbour is one of the nearest up to so many times the distance to the nearest of all.
_NEAR = 2.0
# Rows that quantiles are taken over.
SAMPLED_ROWS = 4096


def _names() -> tuple[str, ...]:
    quantiles = [
        f"{what} {int(100 * q)} %"
        for what in (
            "coupling",
            "coupling over row's largest",
            "jump of the diagonal",
            "distance over row's mean",
            "weakest of row",
            "row sum",
        )
        for q in _QUANTILES
    ]
    return (
        *quantiles,
        "share of positive couplings",
        "mass of positive couplings",
        "mean degree",
        "largest degree",
        "spread of degrees",
        "entropy of rows",
        "spread of entropies",
        "spread of the diagonal",
        "coupling and distance together",
        "unknowns",
        *(f"share of couplings below {threshold}" for threshold in _SIZES),
        *(f"share below {threshold} of row's largest" for threshold in _RATIOS),
        *(f"distance from {threshold} of row's largest on" for threshold in _STRONG),
        "coupling of the nearest",
        "share of the nearest",
        *(f"nearest below {threshold} of row's largest" for threshold in _STRONG),
        *(f"share of the nearest from {threshold} of row's largest on" for threshold in _STRONG),
    )


#: What each number is.
STATISTICS = _names()


def matrix_statistics(
    A: sparse.csr_array, u: np.ndarray, X: np.ndarray | None = None
) -> np.ndarray:
    """Numbers that tell high contrast from anisotropy, a mesh from a network.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Scaled to a unit diagonal.
    u : ndarray, shape (n,)
        Near-null vector of A; constants of a matrix before its scaling show its diagonal here.
    X : ndarray of shape (n, TEST_VECTORS), optional
        `neuprecond.features.test_vectors` of A, where they are known.

    Returns
    -------
    ndarray of float32, shape (len(STATISTICS),)
        Finite; independent of scale and of the order of unknowns up to the test vectors.

    Examples
    --------
    >>> import pyamg
    >>> A = sparse.csr_array(pyamg.gallery.poisson((8, 8), format="csr") / 4.0)
    >>> len(matrix_statistics(A, np.ones(64))) == len(STATISTICS)
    True
    """
    n = A.shape[0]
    degrees = np.diff(A.indptr)
    some = sampled_rows(n)
    counts = degrees[some]
    rows = np.repeat(some, counts)
    own = np.repeat(np.arange(len(some)), counts)
    first = np.cumsum(counts) - counts
    entries = np.arange(len(rows)) + np.repeat(A.indptr[some] - first, counts)
    off = A.indices[entries] != rows
    rows, own, entries = rows[off], own[off], entries[off]
    cols, values = A.indices[entries], A.data[entries]
    X = (test_vectors(A) if X is None else X) / u[:, None]
    return row_statistics(
        own,
        values,
        (u[rows], u[cols]),
        (X[rows], X[cols]),
        sampled=len(some),
        n=n,
        largest_degree=int(degrees.max()),
        spread=float(_log_diagonal(u).std()),
        largest=float(np.abs(X).max()),
    )


def sampled_rows(n: int) -> np.ndarray:
    """Rows enough to know quantiles by; all of a huge matrix would take longer than to coarsen."""
    if n <= SAMPLED_ROWS:
        return np.arange(n)
    return np.unique(np.random.default_rng(n).integers(n, size=SAMPLED_ROWS))


def _log_diagonal(u: np.ndarray) -> np.ndarray:
    return 2.0 * np.log10(np.maximum(np.abs(u), 1e-150))


def row_statistics(
    own: np.ndarray,
    values: np.ndarray,
    u: tuple[np.ndarray, np.ndarray],
    X: tuple[np.ndarray, np.ndarray],
    *,
    sampled: int,
    n: int,
    largest_degree: int,
    spread: float,
    largest: float,
) -> np.ndarray:
    """`matrix_statistics` from the off-diagonal entries of sampled rows, wherever they came from.

    Parameters
    ----------
    own : ndarray of int, shape (entries,)
        Which of the sampled rows an entry is in; sorted.
    values : ndarray, shape (entries,)
        Of the matrix of unit diagonal.
    u : tuple of ndarray, each of shape (entries,)
        The near-null vector at the row and at the column of each entry.
    X : tuple of ndarray, each of shape (entries, TEST_VECTORS)
        Test vectors over the near-null vector, likewise.
    sampled, n : int
        How many rows are sampled, and of how many.
    largest_degree : int
        Most entries in a row of the whole matrix.
    spread : float
        Standard deviation of log10 u², over the whole vector.
    largest : float
        Largest entry of the test vectors over the near-null vector.
    """
    if len(values) == 0:
        return np.zeros(len(STATISTICS), dtype=np.float32)
    counts = np.bincount(own, minlength=sampled)
    filled = counts > 0
    starts = (np.cumsum(counts) - counts)[filled]
    size = np.abs(values)
    top, least = np.zeros(sampled), np.zeros(sampled)
    top[filled] = np.maximum.reduceat(size, starts)
    least[filled] = np.minimum.reduceat(size, starts)
    share = size / np.maximum(np.bincount(own, size, sampled), 1e-300)[own]
    disorder = np.bincount(own, -share * np.log(share + 1e-300), sampled)[filled]
    entropy = disorder / np.log(np.maximum(counts[filled], 2))
    jump = np.abs(_log_diagonal(u[0]) - _log_diagonal(u[1]))
    scale = max(largest, 1e-300)
    distance = ((X[0] / scale - X[1] / scale) ** 2).sum(axis=1)
    mean = np.bincount(own, distance, sampled) / np.maximum(counts, 1)
    relative = distance / (distance + mean[own] + 1e-300)
    row_sum = 1.0 + np.bincount(own, values * (u[1] / u[0]), sampled)
    positive = values > 0
    ratio = size / np.maximum(top[own], 1e-300)
    together = np.corrcoef(ratio, relative)[0, 1] if ratio.std() > 1e-12 < relative.std() else 0.0
    log_degree = np.log1p(counts)
    # Where strong neighbours are far, as an oblique anisotropy has it, their size misleads.
    closest = np.full(sampled, np.inf)
    closest[filled] = np.minimum.reduceat(distance, starts)
    nearest = distance <= _NEAR * closest[own]
    strong = [ratio >= threshold for threshold in _STRONG]
    numbers = np.concatenate(
        [
            np.quantile(size, _QUANTILES),
            np.quantile(ratio, _QUANTILES),
            np.quantile(jump, _QUANTILES),
            np.quantile(relative, _QUANTILES),
            np.quantile((least / np.maximum(top, 1e-300))[filled], _QUANTILES),
            np.quantile(row_sum / (1.0 + np.abs(row_sum)), _QUANTILES),
            [
                positive.mean(),
                size[positive].sum() / size.sum(),
                log_degree.mean(),
                np.log(max(largest_degree, 1)),
                log_degree.std(),
                entropy.mean(),
                entropy.std(),
                spread,
                together,
                np.log10(n),
            ],
            [(size < threshold).mean() for threshold in _SIZES],
            [(ratio < threshold).mean() for threshold in _RATIOS],
            [relative[each].mean() for each in strong],
            [ratio[nearest].mean(), nearest.mean()],
            [1.0 - each[nearest].mean() for each in strong],
            [nearest[each].mean() for each in strong],
        ]
    )
    return np.nan_to_num(numbers, posinf=1e3, neginf=-1e3).clip(-1e3, 1e3).astype(np.float32)


def plan_statistics(A: sparse.csr_array, v: np.ndarray) -> np.ndarray:
    """`matrix_statistics` of a matrix that is not scaled yet and has the near-null vector v."""
    scaled_A, s = unit_diagonal(A)
    return matrix_statistics(scaled_A, v / s)
