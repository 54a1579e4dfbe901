"""What the network sees of a level: bounded numbers a node, an edge and an entry of P0."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from neuprecond.hierarchy import Level

__all__ = ["EDGE_FEATURES", "ENTRY_FEATURES", "NODE_FEATURES", "LevelFeatures", "level_features"]

NODE_FEATURES = ("row sum", "degree", "coarse", "positive off-diagonals")
EDGE_FEATURES = (
    "entry",
    "entry against near-null",
    "entry over row's largest",
    "entry over column's largest",
    "strong",
    "to coarse",
    "same parent",
    "distance over row's mean",
    "distance over column's mean",
)
ENTRY_FEATURES = (
    "weight",
    "direct entry",
    "one over row's entries",
    "own root",
    "parent",
    "distance over row's mean",
)

TEST_VECTORS = 4
SWEEPS = 4
# Weights this close to a row's largest are equal to it.
TIE = 1.0 - 1e-9


@dataclass(frozen=True)
class LevelFeatures:
    """The graph of a level: off-diagonal entries as edges, entries of P0 as a second edge set.

    Attributes
    ----------
    indptr, cols : ndarray of int32
        Row pointers (n + 1) and columns of the off-diagonal entries of A, row by row.
    nodes : ndarray of float32, shape (n, len(NODE_FEATURES))
        Numbers a node.
    edges : ndarray of float32, shape (len(cols), len(EDGE_FEATURES))
        Numbers an off-diagonal entry.
    entry_rows, entry_roots : ndarray of int32
        Fine unknown and root of each entry of P0, row by row.
    entries : ndarray of float32, shape (nnz(P0), len(ENTRY_FEATURES))
        Numbers an entry of P0.
    """

    indptr: np.ndarray
    cols: np.ndarray
    nodes: np.ndarray
    edges: np.ndarray
    entry_rows: np.ndarray
    entry_roots: np.ndarray
    entries: np.ndarray


def _squash(x: np.ndarray) -> np.ndarray:
    """Map the real line to (-1, 1), almost the identity for small numbers."""
    return x / (1.0 + np.abs(x))


def test_vectors(A: sparse.csr_array) -> np.ndarray:
    """Random vectors after a few damped Jacobi sweeps on A x = 0: samples of smooth error.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        With a unit diagonal.

    Returns
    -------
    ndarray, shape (n, TEST_VECTORS)
        The same for the same n: the start vectors come from a fixed generator.
    """
    X = np.random.default_rng(A.shape[0]).standard_normal((A.shape[0], TEST_VECTORS))
    # Half of Gershgorin's bound damps every mode and needs no eigenvalue estimate.
    weight = 1.0 / max(1.0, 0.5 * float(abs(A).sum(axis=1).max()))
    for _ in range(SWEEPS):
        X = X - weight * (A @ X)
    return X


def _row_mean(values: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    counts = np.diff(indptr)
    total = np.bincount(np.repeat(np.arange(len(counts)), counts), values, len(counts))
    return total / np.maximum(counts, 1)


def _first_largest(values: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Position of each row's largest entry in size, the first of equals; -1 for an empty row."""
    counts = np.diff(indptr)
    found = np.full(len(counts), -1)
    filled = counts > 0
    if len(values):
        size = np.abs(values)
        starts = indptr[:-1][filled]
        top = np.repeat(np.maximum.reduceat(size, starts), counts[filled])
        # Rounding must not decide which of two equal weights is the parent.
        position = np.where(size >= TIE * top, np.arange(len(size)), len(size))
        found[filled] = np.minimum.reduceat(position, starts)
    return found


def _over(distance: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return distance / (distance + mean + 1e-300)


def level_features(level: Level) -> LevelFeatures:
    """Everything the network may know of a level; all of it bounded, none of it depends on scale.

    Parameters
    ----------
    level : Level

    Returns
    -------
    LevelFeatures

    Examples
    --------
    >>> import pyamg
    >>> from neuprecond.hierarchy import coarsen
    >>> level = coarsen(sparse.csr_array(pyamg.gallery.poisson((8, 8), format="csr")), "sa")
    >>> level_features(level).edges.shape[1] == len(EDGE_FEATURES)
    True
    """
    A, u = level.A, level.near_null
    n = A.shape[0]
    rows = np.repeat(np.arange(n, dtype=A.indices.dtype), np.diff(A.indptr))
    off = rows != A.indices
    rows, cols, values = rows[off], A.indices[off], A.data[off]
    counts = np.bincount(rows, minlength=n)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    size = np.abs(values)
    top = np.zeros(n)
    filled = counts > 0
    if len(values):
        top[filled] = np.maximum.reduceat(size, indptr[:-1][filled])
    top[top == 0] = 1.0
    against = values * (u[cols] / u[rows])
    coarse = np.zeros(n)
    coarse[level.roots] = 1.0

    strong = (
        np.asarray((_indicator(A) + 2.0 * _indicator(level.strong)).tocsr()[rows, cols]).ravel()
        > 2.5
        if len(values)
        else np.zeros(0, dtype=bool)
    )

    P = level.P0
    p_counts = np.diff(P.indptr)
    weights = P.data * level.coarse_near_null[P.indices, 0]
    # The parent of an unknown is the coarse unknown it takes most from.
    parent_entry = _first_largest(weights, P.indptr)
    fed = parent_entry >= 0
    parent = np.full(n, -1)
    parent[fed] = P.indices[parent_entry[fed]]

    X = test_vectors(A) / u[:, None]
    # Rows are compared with each other only, so one size for all keeps overflow away.
    X /= max(float(np.abs(X).max()), 1e-300)
    distance = ((X[rows] - X[cols]) ** 2).sum(axis=1)
    mean = _row_mean(distance, indptr)

    nodes = np.stack(
        [
            _squash((A @ u) / u),
            np.log1p(counts) / 3.0,
            coarse,
            _squash(np.bincount(rows, np.maximum(against, 0.0), n)),
        ],
        axis=1,
    )
    edges = np.stack(
        [
            values,
            _squash(against),
            size / top[rows],
            size / top[cols],
            strong,
            coarse[cols],
            (parent[rows] == parent[cols]) & (parent[rows] >= 0),
            _over(distance, mean[rows]),
            _over(distance, mean[cols]),
        ],
        axis=1,
    )

    p_rows = np.repeat(np.arange(n, dtype=np.int32), p_counts)
    p_roots = level.roots[P.indices].astype(np.int32)
    direct = np.asarray(A[p_rows, p_roots]).ravel() * (u[p_roots] / u[p_rows])
    is_parent = np.zeros(P.nnz)
    is_parent[parent_entry[fed]] = 1.0
    p_distance = ((X[p_rows] - X[p_roots]) ** 2).sum(axis=1)
    p_mean = _row_mean(p_distance, P.indptr)
    entries = np.stack(
        [
            _squash(weights / u[p_rows]),
            _squash(direct),
            1.0 / p_counts[p_rows],
            p_rows == p_roots,
            is_parent,
            _over(p_distance, p_mean[p_rows]),
        ],
        axis=1,
    )
    return LevelFeatures(
        indptr,
        cols.astype(np.int32),
        nodes.astype(np.float32),
        edges.astype(np.float32),
        p_rows,
        p_roots,
        entries.astype(np.float32),
    )


def _indicator(A: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array((np.ones(A.nnz), A.indices, A.indptr), shape=A.shape)
