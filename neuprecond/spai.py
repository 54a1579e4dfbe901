"""Setup of the one-level M = S GᵀG S: start from FSAI, ask the network for a correction."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
from scipy import sparse

from neuprecond.classical import fsai_factor
from neuprecond.features import LevelFeatures
from neuprecond.hierarchy import unit_diagonal
from neuprecond.operators.factored import FactoredInverse

__all__ = [
    "SPAI_EDGE_FEATURES",
    "SPAI_ENTRY_FEATURES",
    "SPAI_NODE_FEATURES",
    "SpaiFeatures",
    "SpaiValues",
    "build_factored",
    "corrected_factor",
    "learned_factor",
    "row_products",
    "spai_features",
]

SPAI_NODE_FEATURES = (
    "row sum",
    "row sum, logarithm",
    "dominance",
    "degree",
    "positive off-diagonals",
    "entries in the row of G",
    "share of the row explained",
)
SPAI_EDGE_FEATURES = (
    "entry",
    "entry against near-null",
    "entry over row's largest",
    "entry over column's largest",
    "column comes first",
)
SPAI_ENTRY_FEATURES = ("FSAI's entry", "entry of A", "diagonal")

# Bounds of what the network may change: the diagonal of G by a factor exp(±1) against the rest of
# its row, each entry off the diagonal by half.
DIAGONAL_BOUND = 1.0
ENTRY_BOUND = 0.5
# gᵀA g of a row this small against its terms is rounding; such a row stays FSAI's.
ROUNDING = 1e-10
SWEEPS = 8


@dataclass(frozen=True)
class SpaiFeatures(LevelFeatures):
    """The graph of a matrix, with the entries of G as the second edge set.

    Like `neuprecond.features.LevelFeatures`, but ``entry_rows`` and ``entry_roots`` are the row and
    the column of each entry of G, sorted; the pattern is that of tril(A). The columns of ``nodes``,
    ``edges`` and ``entries`` are named in `SPAI_NODE_FEATURES` and its siblings.
    """


#: A network's output: one number an entry of G.
SpaiValues = Callable[[SpaiFeatures], np.ndarray]


def _squash(x: np.ndarray) -> np.ndarray:
    """Map the real line to (-1, 1), almost the identity for small numbers."""
    return x / (1.0 + np.abs(x))


def _rows(A: sparse.csr_array) -> np.ndarray:
    return np.repeat(np.arange(A.shape[0], dtype=np.int32), np.diff(A.indptr))


def _scaled_columns(G: sparse.csr_array, s: np.ndarray) -> sparse.csr_array:
    return sparse.csr_array((G.data * s[G.indices], G.indices, G.indptr), shape=G.shape)


def smooth_vector(
    A: sparse.csr_array,
    whole: Callable[[np.ndarray], np.ndarray] = np.asarray,
    largest: Callable[[np.ndarray], float] = np.max,
) -> np.ndarray:
    """Ones after a few damped Jacobi sweeps on A x = 0: the near-null vector, seen locally.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        With a unit diagonal; or some rows of such a matrix.
    whole : callable
        Brings numbers at A's rows to its columns; they are the same by default.
    largest : callable
        The largest of numbers at all rows.

    Returns
    -------
    ndarray, shape (n,)
        No entry is zero. It depends on A and not on the unknowns that A was written in, so that
        scaling A on both sides changes nothing.
    """
    v = np.ones(A.shape[0])
    weight = 1.0 / max(1.0, 0.5 * float(largest(abs(A).sum(axis=1))))
    for _ in range(SWEEPS):
        v = v - weight * (A @ whole(v))
        v /= max(float(largest(np.abs(v))), 1e-300)
    small = np.abs(v) < 1e-3
    v[small] = np.where(v[small] < 0.0, -1e-3, 1e-3)
    return v


def _features(
    A: sparse.csr_array, G: sparse.csr_array, v: np.ndarray | None = None
) -> SpaiFeatures:
    """Features of a matrix of unit diagonal and its FSAI factor."""
    n = A.shape[0]
    v = smooth_vector(A) if v is None else v
    rows = _rows(A)
    off = rows != A.indices
    rows, cols, values = rows[off], A.indices[off].astype(np.int32), A.data[off]
    counts = np.bincount(rows, minlength=n)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    size = np.abs(values)
    top = np.zeros(n)
    filled = counts > 0
    if len(values):
        top[filled] = np.maximum.reduceat(size, indptr[:-1][filled])
    top[top == 0.0] = 1.0
    against = values * (v[cols] / v[rows])

    g_rows = _rows(G)
    ends = G.indptr[1:] - 1
    g_diagonal = G.data[ends]
    own = g_rows == G.indices
    a_entries = np.asarray(A[g_rows, G.indices]).ravel()

    row_sum = (A @ v) / v
    nodes = np.stack(
        [
            _squash(row_sum),
            # -1 for a row sum of 1e-8 and below, 0 for 1: how long the smooth error is, in decades.
            np.log10(np.clip(np.abs(row_sum), 1e-8, 1.0)) / 4.0 + 1.0,
            _squash(1.0 - np.bincount(rows, size, n)),
            np.log1p(counts) / 3.0,
            _squash(np.bincount(rows, np.maximum(against, 0.0), n)),
            np.log(np.diff(G.indptr)) / 3.0,
            1.0 - 1.0 / g_diagonal**2,
        ],
        axis=1,
    )
    edges = np.stack(
        [values, _squash(against), size / top[rows], size / top[cols], cols < rows], axis=1
    )
    entries = np.stack([_squash(G.data / g_diagonal[g_rows]), a_entries, own], axis=1)
    return SpaiFeatures(
        indptr,
        cols,
        nodes.astype(np.float32),
        edges.astype(np.float32),
        g_rows,
        G.indices.astype(np.int32),
        entries.astype(np.float32),
    )


def spai_features(A: sparse.csr_array) -> SpaiFeatures:
    """Everything the network may know of a matrix; all of it bounded, none of it depends on scale.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric positive definite, as `checks.as_csr` gives it.

    Returns
    -------
    SpaiFeatures
        The same for D A D with a positive diagonal D, up to rounding.

    Raises
    ------
    NotDefiniteError
        If A is not symmetric or FSAI finds that it is not positive definite.

    Examples
    --------
    >>> A = sparse.csr_array([[4.0, 2.0], [2.0, 2.0]])
    >>> spai_features(A).entries.shape == (3, len(SPAI_ENTRY_FEATURES))
    True
    """
    scaled_A, s = unit_diagonal(A)
    return _features(scaled_A, _scaled_columns(fsai_factor(A), 1.0 / s))


def learned_factor(A: sparse.csr_array, values: SpaiValues, v: np.ndarray) -> sparse.csr_array:
    """G of a part of a larger matrix, for its inner rows as if made of the whole.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Rows and columns of the same unknowns, in the order of the whole matrix.
    values : callable
        The network.
    v : ndarray, shape (n,)
        `smooth_vector` of the whole matrix, at these unknowns.
    """
    scaled_A, s = unit_diagonal(A)
    unit = _scaled_columns(fsai_factor(A), 1.0 / s)
    output = values(_features(scaled_A, unit, v))
    return _scaled_columns(corrected_factor(scaled_A, unit, output), s)


@numba.njit(cache=True, nogil=True)
def row_products(  # type: ignore[no-untyped-def]
    indptr, indices, values, g_indptr, g_indices, g_values
):
    """Entries of G A on the pattern of G.

    Parameters
    ----------
    indptr, indices, values : arrays
        The symmetric A.
    g_indptr, g_indices, g_values : arrays
        G.

    Returns
    -------
    ndarray, shape (nnz(G),)
        h with h_ij = Σ_k g_ik a_kj. diag(G A Gᵀ) is the row sums of g h, and its derivative 2 h.
    """
    n = len(g_indptr) - 1
    place = np.zeros(n)
    h = np.empty(len(g_values))
    for i in range(n):
        for k in range(g_indptr[i], g_indptr[i + 1]):
            place[g_indices[k]] = g_values[k]
        for k in range(g_indptr[i], g_indptr[i + 1]):
            j = g_indices[k]
            total = 0.0
            for p in range(indptr[j], indptr[j + 1]):
                total += values[p] * place[indices[p]]
            h[k] = total
        for k in range(g_indptr[i], g_indptr[i + 1]):
            place[g_indices[k]] = 0.0
    return h


def entry_scale(A: sparse.csr_array, G: sparse.csr_array) -> np.ndarray:
    """How large an entry of FSAI is, at least the first term of its series, g_ii |a_ij|.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Of unit diagonal.
    G : csr_array, shape (n, n)
        FSAI's factor.

    Returns
    -------
    ndarray, shape (nnz(G),)
    """
    rows = _rows(G)
    first = G.data[G.indptr[1:] - 1][rows] * np.abs(np.asarray(A[rows, G.indices]).ravel())
    return np.maximum(np.abs(G.data), first)


def corrected_factor(
    A: sparse.csr_array, G: sparse.csr_array, values: np.ndarray
) -> sparse.csr_array:
    """FSAI's factor after a bounded change that keeps diag(G A Gᵀ) = 1.

    The diagonal is multiplied by exp(tanh v), entry ij is moved by tanh(v) / 2 times its scale, and
    each row is divided by the root of gᵀA g. Rows that meet A's null space stay FSAI's.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric positive definite of unit diagonal.
    G : csr_array, shape (n, n)
        From `neuprecond.classical.fsai_factor`: sorted, the diagonal last in its row.
    values : ndarray, shape (nnz(G),)
        Output v of the network; zeros give G back.

    Returns
    -------
    csr_array, shape (n, n)
        Lower triangular with a positive diagonal.
    """
    rows = _rows(G)
    step = np.tanh(values.astype(np.float64))
    g = G.data + ENTRY_BOUND * step * entry_scale(A, G)
    ends = G.indptr[1:] - 1
    g[ends] = G.data[ends] * np.exp(DIAGONAL_BOUND * step[ends])
    terms = g * row_products(A.indptr, A.indices, A.data, G.indptr, G.indices, g)
    squares = np.add.reduceat(terms, G.indptr[:-1])
    sound = squares > ROUNDING * np.add.reduceat(np.abs(terms), G.indptr[:-1])
    # FSAI's own rows have gᵀA g = 1: dividing by it would only round.
    sound &= np.add.reduceat(np.abs(step), G.indptr[:-1]) > 0.0
    norm = np.sqrt(np.where(sound, squares, 1.0))
    g = np.where(sound[rows], g / norm[rows], G.data)
    return sparse.csr_array((g, G.indices, G.indptr), shape=G.shape)


def build_factored(
    A: sparse.csr_array,
    values: SpaiValues | None,
    *,
    model: str = "twin",
    setup_seconds: dict[str, float] | None = None,
) -> FactoredInverse:
    """Build the one-level approximate inverse of A, M = S GᵀG S with G on the pattern of tril(A).

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric positive definite, as `checks.as_csr` gives it.
    values : callable or None
        The network; None builds the unlearned twin, FSAI.
    model : str
        Name to show.
    setup_seconds : dict, optional
        Phases that were timed before.

    Returns
    -------
    FactoredInverse
        Symmetric positive definite, whatever the network gives.

    Raises
    ------
    NotDefiniteError
        If A is not symmetric, or a local matrix shows that it is not positive definite.

    References
    ----------
    L. Yu. Kolotilina and A. Yu. Yeremin, Factorized sparse approximate inverse preconditionings I,
    SIAM J. Matrix Anal. Appl. 14 (1993), pp. 45-58.

    Examples
    --------
    >>> A = sparse.csr_array([[4.0, 2.0], [2.0, 2.0]])
    >>> (build_factored(A, None) @ np.eye(2)).round(12)  # the pattern is full: M is the inverse
    array([[ 0.5, -0.5],
           [-0.5,  1. ]])
    """
    seconds = dict(setup_seconds or {})
    clock = time.perf_counter()

    def lap(phase: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[phase] = now - clock
        clock = now

    G = fsai_factor(A)
    lap("local solves")
    if values is not None:
        scaled_A, s = unit_diagonal(A)
        unit = _scaled_columns(G, 1.0 / s)
        features = _features(scaled_A, unit)
        lap("features")
        output = values(features)
        lap("network")
        G = _scaled_columns(corrected_factor(scaled_A, unit, output), s)
    lap("factor")
    return FactoredInverse(
        G, model=model, learned=values is not None, nnz=A.nnz, setup_seconds=seconds
    )
