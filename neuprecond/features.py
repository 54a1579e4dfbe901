"""What the network sees of a level: bounded numbers a node, an edge and an entry of P0."""

from dataclasses import dataclass

import numba
import numpy as np
from scipy import sparse

from neuprecond.hierarchy import Level
from neuprecond.rows import ONE, OPTIONS, csr, largest_row_sum, unsigned

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
    "slope",
    "slope over weight",
)

TEST_VECTORS = 4
SWEEPS = 4
# Weights this close to a row's largest are equal to it: rounding must not pick the parent.
TIE = 1.0 - 1e-9
# What loops look up of a neighbour, side by side in one line of the cache: the test vectors, its
# near-null entry, one over its largest entry, its mean distance, and twice the number of its parent
# (from 1; 0: none), plus one if it is coarse.
NEAR_NULL, OVER_LARGEST, MEAN_DISTANCE, KIN = range(TEST_VECTORS, TEST_VECTORS + 4)
LINE = 64


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
    X, Y = (aligned(A.shape[0], TEST_VECTORS, np.float64) for _ in range(2))
    np.random.default_rng(A.shape[0]).standard_normal(out=X)
    matrix = csr(A)
    # Half of Gershgorin's bound damps every mode and needs no eigenvalue estimate.
    weight = 1.0 / max(1.0, 0.5 * largest_row_sum(matrix[0], matrix[2]))
    for _ in range(SWEEPS):
        _sweep(*matrix, weight, X, Y)
        X, Y = Y, X
    return X


def aligned(n: int, columns: int, dtype: type) -> np.ndarray:
    """An empty array of n rows that begins at a line of the cache.

    Rows of graphs are looked up in any order: none of up to 64 bytes is to lie on two lines.
    """
    size = n * columns * np.dtype(dtype).itemsize
    raw = np.empty(size + LINE, dtype=np.uint8)
    start = -raw.__array_interface__["data"][0] % LINE
    return raw[start : start + size].view(dtype).reshape(n, columns)


def level_features(level: Level, X: np.ndarray | None = None) -> LevelFeatures:
    """Everything the network may know of a level; all of it bounded, none of it depends on scale.

    Parameters
    ----------
    level : Level
        With sorted rows.
    X : ndarray of shape (n, TEST_VECTORS), optional
        `test_vectors` of a larger matrix that the level is a part of.

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
    n = level.A.shape[0]
    A, P = csr(level.A), csr(level.P0)
    roots = unsigned(level.roots.astype(np.int32))
    is_coarse = np.zeros(n)
    is_coarse[level.roots] = 1.0
    table = aligned(n, KIN + 1, np.float64)
    _fill_vectors(test_vectors(level.A) if X is None else X, level.near_null, table)

    indptr = np.empty(n + 1, dtype=np.int32)
    nodes = np.empty((n, len(NODE_FEATURES)), dtype=np.float32)
    _fill_nodes(*A, is_coarse, table, indptr, nodes)

    coarse_near_null = np.ascontiguousarray(level.coarse_near_null[:, 0])
    entry_rows, entry_roots = (np.empty(level.P0.nnz, dtype=np.int32) for _ in range(2))
    entries = np.empty((level.P0.nnz, len(ENTRY_FEATURES)), dtype=np.float32)
    _fill_entries(
        *A, *P, roots, is_coarse, coarse_near_null, table, entry_rows, entry_roots, entries
    )  # fmt: skip

    cols = np.empty(indptr[-1], dtype=np.int32)
    edges = np.empty((len(cols), len(EDGE_FEATURES)), dtype=np.float32)
    _fill_edges(*A, *csr(level.strong)[:2], table, cols, edges)
    return LevelFeatures(indptr, cols, nodes, edges, entry_rows, entry_roots, entries)


@numba.njit(**OPTIONS)
def _squash(x):  # type: ignore[no-untyped-def]
    """Map the real line to (-1, 1), almost the identity for small numbers."""
    return x / (1.0 + abs(x))


@numba.njit(**OPTIONS)
def _over(distance, mean):  # type: ignore[no-untyped-def]
    return distance / (distance + mean + 1e-300)


@numba.njit(**OPTIONS)
def _distance(X, i, j):  # type: ignore[no-untyped-def]
    """How far the test vectors differ between two unknowns, squared."""
    total = 0.0
    for c in range(TEST_VECTORS):
        total += (X[i, c] - X[j, c]) ** 2
    return total


@numba.njit(**OPTIONS)
def _fill_vectors(X, u, table):  # type: ignore[no-untyped-def]
    """Test vectors over the near-null vector, and that."""
    top = 1e-300
    for i in range(len(u)):
        table[i, NEAR_NULL] = u[i]
        for c in range(TEST_VECTORS):
            table[i, c] = X[i, c] / u[i]
            top = max(top, abs(table[i, c]))
    # Rows are compared with each other only, so one size for all keeps overflow away.
    scale = 1.0 / top
    for i in range(len(u)):
        for c in range(TEST_VECTORS):
            table[i, c] *= scale


@numba.njit(**OPTIONS)
def _sweep(indptr, indices, values, weight, X, Y):  # type: ignore[no-untyped-def]
    """Y = X - weight A X."""
    for i in range(len(indptr) - 1):
        # One number a vector, written out: what is kept in memory cannot be kept in a register.
        y0, y1, y2, y3 = X[i, 0], X[i, 1], X[i, 2], X[i, 3]
        for k in range(indptr[i], indptr[i + 1]):
            step, j = weight * values[k], indices[k]
            y0 -= step * X[j, 0]
            y1 -= step * X[j, 1]
            y2 -= step * X[j, 2]
            y3 -= step * X[j, 3]
        Y[i, 0], Y[i, 1], Y[i, 2], Y[i, 3] = y0, y1, y2, y3


@numba.njit(**OPTIONS)
def _fill_nodes(indptr, indices, values, is_coarse, table, pointers, nodes):  # type: ignore[no-untyped-def]
    """Numbers a node; row pointers without the diagonal; per row what edges are measured against.

    That is one over its largest off-diagonal entry (1 where there is none) and its mean distance.
    """
    pointers[0] = 0
    for i in range(len(nodes)):
        row_sum, positive, top, total, count = 0.0, 0.0, 0.0, 0.0, 0
        inverse = 1.0 / table[i, NEAR_NULL]
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            against = values[k] * table[j, NEAR_NULL] * inverse
            row_sum += against
            if j != i:
                count += 1
                positive += max(against, 0.0)
                top = max(top, abs(values[k]))
                total += _distance(table, i, j)
        pointers[i + 1] = pointers[i] + count
        table[i, OVER_LARGEST] = 1.0 / top if top > 0.0 else 1.0
        table[i, MEAN_DISTANCE] = total / max(count, 1)
        nodes[i, 0] = _squash(row_sum)
        nodes[i, 1] = np.log1p(count) / 3.0
        nodes[i, 2] = is_coarse[i]
        nodes[i, 3] = _squash(positive)


@numba.njit(**OPTIONS)
def _fill_edges(indptr, indices, values, strong_indptr, strong_indices, table, cols, edges):  # type: ignore[no-untyped-def]
    """Columns and numbers of the off-diagonal entries, row by row."""
    e = np.uint64(0)
    for i in range(len(table)):
        inverse, over_largest = 1.0 / table[i, NEAR_NULL], table[i, OVER_LARGEST]
        parent = np.int64(table[i, KIN]) >> 1
        # Both rows are sorted.
        m, strong_end = np.uint64(strong_indptr[i]), np.uint64(strong_indptr[i + 1])
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if j == i:
                continue
            while m < strong_end and strong_indices[m] < j:
                m += ONE
            between, kin = _distance(table, i, j), np.int64(table[j, KIN])
            cols[e] = j
            edges[e, 0] = values[k]
            edges[e, 1] = _squash(values[k] * table[j, NEAR_NULL] * inverse)
            edges[e, 2] = abs(values[k]) * over_largest
            edges[e, 3] = abs(values[k]) * table[j, OVER_LARGEST]
            edges[e, 4] = m < strong_end and strong_indices[m] == j
            edges[e, 5] = kin & 1
            edges[e, 6] = parent == kin >> 1 and parent > 0
            edges[e, 7] = _over(between, table[i, MEAN_DISTANCE])
            edges[e, 8] = _over(between, table[j, MEAN_DISTANCE])
            e += ONE


@numba.njit(**OPTIONS)
def _fill_entries(  # type: ignore[no-untyped-def]
    indptr, indices, values, p_indptr, p_indices, p_values, roots,
    is_coarse, coarse_near_null, table, rows, entry_roots, entries,
):  # fmt: skip
    """Kin of each unknown, its parent being the coarse one it takes most from; numbers an entry."""
    # Row i of A and of A P0, spread out; only sound where row i of P0 has entries. A P0 is the
    # derivative of the energy of interpolation, which says where weights are off.
    direct, slope = np.zeros(len(table)), np.zeros(len(coarse_near_null))
    for i in range(len(table)):
        start, stop = p_indptr[i], p_indptr[i + 1]
        table[i, KIN] = is_coarse[i]
        if start == stop:
            continue
        for k in range(start, stop):
            direct[roots[p_indices[k]]] = 0.0
            slope[p_indices[k]] = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            direct[j] = values[k]
            for m in range(p_indptr[j], p_indptr[j + ONE]):
                slope[p_indices[m]] += values[k] * p_values[m]
        top, total = 0.0, 0.0
        for k in range(start, stop):
            top = max(top, abs(p_values[k] * coarse_near_null[p_indices[k]]))
            total += _distance(table, i, roots[p_indices[k]])
        count, parent, u = stop - start, False, table[i, NEAR_NULL]
        mean = total / count
        for k in range(start, stop):
            c = p_indices[k]
            root = roots[c]
            weight = p_values[k] * coarse_near_null[c]
            is_parent = not parent and abs(weight) >= TIE * top
            if is_parent:
                parent = True
                table[i, KIN] += 2.0 * (c + 1)
            rows[k] = i
            entry_roots[k] = root
            entries[k, 0] = _squash(weight / u)
            entries[k, 1] = _squash(direct[root] * (table[root, NEAR_NULL] / u))
            entries[k, 2] = 1.0 / count
            entries[k, 3] = root == i
            entries[k, 4] = is_parent
            entries[k, 5] = _over(_distance(table, i, root), mean)
            gradient = slope[c] * coarse_near_null[c] / u
            entries[k, 6] = _squash(gradient)
            entries[k, 7] = _squash(gradient / (abs(weight / u) + 1e-12))
