"""Whole-matrix statistics from which a model picks how to coarsen."""

import numpy as np
from scipy import sparse

from neuprecond.features import test_vectors
from neuprecond.hierarchy import unit_diagonal

__all__ = ["STATISTICS", "matrix_statistics", "plan_statistics"]

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
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
    )


#: What each number is.
STATISTICS = _names()


def matrix_statistics(A: sparse.csr_array, u: np.ndarray) -> np.ndarray:
    """Numbers that tell high contrast from anisotropy, a mesh from a network.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Scaled to a unit diagonal.
    u : ndarray, shape (n,)
        Near-null vector of A; constants of a matrix before its scaling show its diagonal here.

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
    # Rows enough to know quantiles by; all of a huge matrix would take longer than to coarsen.
    some = np.arange(n)
    if n > SAMPLED_ROWS:
        some = np.unique(np.random.default_rng(n).integers(n, size=SAMPLED_ROWS))
    counts = degrees[some]
    rows = np.repeat(some, counts)
    own = np.repeat(np.arange(len(some)), counts)
    first = np.cumsum(counts) - counts
    entries = np.arange(len(rows)) + np.repeat(A.indptr[some] - first, counts)
    off = A.indices[entries] != rows
    rows, own, entries = rows[off], own[off], entries[off]
    cols, values = A.indices[entries], A.data[entries]
    if len(values) == 0:
        return np.zeros(len(STATISTICS), dtype=np.float32)
    counts = np.bincount(own, minlength=len(some))
    filled = counts > 0
    starts = (np.cumsum(counts) - counts)[filled]
    size = np.abs(values)
    top, least = np.zeros(len(some)), np.zeros(len(some))
    top[filled] = np.maximum.reduceat(size, starts)
    least[filled] = np.minimum.reduceat(size, starts)
    share = size / np.maximum(np.bincount(own, size, len(some)), 1e-300)[own]
    disorder = np.bincount(own, -share * np.log(share + 1e-300), len(some))[filled]
    entropy = disorder / np.log(np.maximum(counts[filled], 2))
    log_diagonal = 2.0 * np.log10(np.maximum(np.abs(u), 1e-150))
    X = test_vectors(A) / u[:, None]
    X /= max(float(np.abs(X).max()), 1e-300)
    distance = ((X[rows] - X[cols]) ** 2).sum(axis=1)
    mean = np.bincount(own, distance, len(some)) / np.maximum(counts, 1)
    relative = distance / (distance + mean[own] + 1e-300)
    row_sum = 1.0 + np.bincount(own, values * (u[cols] / u[rows]), len(some))
    positive = values > 0
    ratio = size / np.maximum(top[own], 1e-300)
    together = np.corrcoef(ratio, relative)[0, 1] if ratio.std() > 1e-12 < relative.std() else 0.0
    log_degree = np.log1p(counts)
    numbers = np.concatenate(
        [
            np.quantile(size, _QUANTILES),
            np.quantile(ratio, _QUANTILES),
            np.quantile(np.abs(log_diagonal[rows] - log_diagonal[cols]), _QUANTILES),
            np.quantile(relative, _QUANTILES),
            np.quantile((least / np.maximum(top, 1e-300))[filled], _QUANTILES),
            np.quantile(row_sum / (1.0 + np.abs(row_sum)), _QUANTILES),
            [
                positive.mean(),
                size[positive].sum() / size.sum(),
                log_degree.mean(),
                np.log(max(degrees.max(), 1)),
                log_degree.std(),
                entropy.mean(),
                entropy.std(),
                log_diagonal.std(),
                together,
                np.log10(n),
            ],
        ]
    )
    return np.nan_to_num(numbers, posinf=1e3, neginf=-1e3).clip(-1e3, 1e3).astype(np.float32)


def plan_statistics(A: sparse.csr_array, v: np.ndarray) -> np.ndarray:
    """`matrix_statistics` of a matrix that is not scaled yet and has the near-null vector v."""
    scaled_A, s = unit_diagonal(A)
    return matrix_statistics(scaled_A, v / s)
