"""Factored sparse approximate inverse: the best unlearned G with G A Gᵀ ≈ I on a given pattern."""

from time import perf_counter

import numpy as np
from numba import njit
from scipy import sparse

from neuprecond.checks import as_csr, require_definite_diagonal, require_symmetric
from neuprecond.classical.base import Preconditioner
from neuprecond.errors import NotDefiniteError

__all__ = ["FactoredSparseInverse", "fsai", "fsai_factor"]

# A hub of a graph would ask for a dense solve with all its neighbours: m³/3 multiplications.
ROW_LIMIT = 512

# Entries of |A| are lifted to this before squaring, so that no path of A² underflows to nothing.
SMALLEST_STEP = 1e-150

# How far below zero a pivot of a unit-diagonal matrix may fall by rounding alone.
ROUNDING = 1e-8


class FactoredSparseInverse(Preconditioner):
    """M = GᵀG from a sparse lower triangular G; made by :func:`fsai`.

    Attributes
    ----------
    G : csr_array, shape (n, n)
        The factor, lower triangular with a positive diagonal.
    """

    def __init__(
        self, G: sparse.csr_array, *, nnz: int, name: str, setup_seconds: dict[str, float]
    ) -> None:
        super().__init__(
            G.shape[0],
            nnz=nnz,
            name=name,
            multiplications=2 * G.nnz,
            setup_seconds=setup_seconds,
        )
        self.G = G
        self._Gt = G.T.tocsr()

    def _apply(self, R: np.ndarray) -> np.ndarray:
        return self._Gt @ (self.G @ R)


def fsai(
    A: object, *, pattern: "str | sparse.sparray" = "A", row_limit: int = ROW_LIMIT
) -> FactoredSparseInverse:
    """Factored sparse approximate inverse: M = GᵀG with G on a fixed lower triangular pattern.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Symmetric positive definite; only its lower triangle is read.
    pattern : {"A", "A2"} or sparse array of shape (n, n)
        Where G may have entries: as for :func:`fsai_factor`.
    row_limit : int
        Most entries in a row of G.

    Returns
    -------
    FactoredSparseInverse, shape (n, n)
        Symmetric positive definite whatever A is. Apply costs 2 nnz(G) multiplications, all in
        sparse products.

    Raises
    ------
    NotDefiniteError
        If A is not symmetric, or a local matrix shows that it is not positive definite.
    ValueError
        If A is not square and finite, or the pattern is unknown or of another shape.

    References
    ----------
    L. Yu. Kolotilina and A. Yu. Yeremin, Factorized sparse approximate inverse preconditionings I,
    SIAM J. Matrix Anal. Appl. 14 (1993), pp. 45-58.

    Examples
    --------
    >>> A = sparse.csr_array([[4.0, 2.0], [2.0, 2.0]])
    >>> (fsai(A) @ np.eye(2)).round(12)  # the pattern is full, so M is the inverse
    array([[ 0.5, -0.5],
           [-0.5,  1. ]])
    """
    csr = as_csr(A)
    seconds: dict[str, float] = {}
    G = _factor(csr, pattern, row_limit, seconds)
    name = {"A": "fsai", "A2": "fsai2"}.get(pattern, "fsai") if isinstance(pattern, str) else "fsai"
    return FactoredSparseInverse(G, nnz=csr.nnz, name=name, setup_seconds=seconds)


def fsai_factor(
    A: object,
    pattern: "str | sparse.sparray" = "A",
    *,
    row_limit: int = ROW_LIMIT,
    least_pivot: float = 0.0,
) -> sparse.csr_array:
    """Compute the factor G of FSAI: lower triangular, on a fixed pattern, with G A Gᵀ ≈ I.

    Among all G on the pattern with diag(G A Gᵀ) = 1 it has the least Kaporin number of G A Gᵀ.
    Row i of G comes from one small dense solve with A[J, J], J the pattern of the row: with the
    Cholesky factor A[J, J] = L Lᵀ it is L⁻ᵀ times the last unit vector.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Symmetric positive definite. It is scaled to unit diagonal first, and the scaling is undone
        in G, so entries from 1e-300 to 1e300 do no harm.
    pattern : {"A", "A2"} or sparse array of shape (n, n)
        Where G may have entries: the lower triangle of A, of A², or of a given array (its values
        are used only to choose where ``row_limit`` cuts). The diagonal always belongs to it.
        In A², paths through an unknown with more than ``row_limit`` neighbours are not followed.
    row_limit : int
        Most entries in a row of G: the diagonal and the largest others are kept.
    least_pivot : float
        A row whose local matrix, scaled to unit diagonal, has a smaller pivot keeps only its
        diagonal entry. Entries of GᵀG are at most of the size of its inverse.

    Returns
    -------
    csr_array, shape (n, n)
        Lower triangular, sorted rows, the diagonal positive and last in its row. A row whose local
        matrix is singular to rounding (A is semidefinite) keeps only its diagonal entry too.

    Raises
    ------
    NotDefiniteError
        If A is not symmetric, or a local matrix shows that it is not positive definite.
    ValueError
        If A is not square and finite, or the pattern is unknown or of another shape.

    References
    ----------
    L. Yu. Kolotilina and A. Yu. Yeremin, Factorized sparse approximate inverse preconditionings I,
    SIAM J. Matrix Anal. Appl. 14 (1993), pp. 45-58.

    Examples
    --------
    >>> G = fsai_factor(sparse.csr_array([[4.0, 2.0], [2.0, 2.0]]))
    >>> G.toarray()
    array([[ 0.5,  0. ],
           [-0.5,  1. ]])
    """
    return _factor(as_csr(A), pattern, row_limit, {}, least_pivot)


def _factor(
    A: sparse.csr_array,
    pattern: "str | sparse.sparray",
    row_limit: int,
    seconds: dict[str, float],
    least_pivot: float = 0.0,
) -> sparse.csr_array:
    """G as ``fsai_factor`` gives it; the seconds of each stage go into ``seconds``."""
    if row_limit < 1:
        raise ValueError(f"row_limit must be at least 1, got {row_limit}.")
    start = perf_counter()
    require_symmetric(A, who="FSAI")
    require_definite_diagonal(A, who="FSAI")
    s = 1.0 / np.sqrt(A.diagonal())
    rows = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    with np.errstate(over="ignore"):  # an infinity fails at its pivot
        values = (s[rows] * A.data) * s[A.indices]
    scaled = sparse.csr_array((values, A.indices, A.indptr), A.shape)
    seconds["scale"] = perf_counter() - start

    start = perf_counter()
    where = _lower_pattern(scaled, pattern, row_limit)
    seconds["pattern"] = perf_counter() - start

    start = perf_counter()
    lower = sparse.tril(scaled, format="csr")
    lower.sort_indices()
    values = np.empty(where.nnz)
    row, pivot = _local_solves(
        lower.indptr, lower.indices, lower.data, where.indptr, where.indices, values, least_pivot
    )
    if row >= 0:
        raise NotDefiniteError(
            f"FSAI needs a positive definite A; the local matrix of row {row} has the pivot "
            f"{pivot:.2e} (its diagonal scaled to 1).",
            'Try load("auto", A) with MINRES or GMRES.',
        )
    values *= s[where.indices]
    seconds["values"] = perf_counter() - start
    return sparse.csr_array((values, where.indices, where.indptr), where.shape)


def _lower_pattern(
    A: sparse.csr_array, pattern: "str | sparse.sparray", row_limit: int
) -> sparse.csr_array:
    """Take the lower triangle of the pattern with its whole diagonal, no row above the limit."""
    n = A.shape[0]
    if isinstance(pattern, str):
        if pattern not in ("A", "A2"):
            raise ValueError(
                f'pattern must be "A", "A2" or a sparse array of shape ({n}, {n}), got {pattern!r}.'
            )
        size = abs(A)
        if pattern == "A2":
            size.data = np.maximum(size.data, SMALLEST_STEP)
            followed = np.diff(A.indptr) <= row_limit
            size = size[:, followed] @ size[followed, :] + size
    else:
        size = abs(as_csr(pattern))
        if size.shape != A.shape:
            raise ValueError(f"pattern must have shape ({n}, {n}) to fit A, got {size.shape}.")
    lower = (sparse.tril(size, k=-1) + sparse.eye_array(n)).tocsr()
    lower.sort_indices()
    long = np.flatnonzero(np.diff(lower.indptr) > row_limit)
    if len(long):
        keep = np.ones(lower.nnz, dtype=bool)
        for i in long:
            # The diagonal entry, last in its row, stays; ties go to the nearer unknown.
            off = slice(lower.indptr[i], lower.indptr[i + 1] - 1)
            largest = np.argsort(-lower.data[off][::-1], kind="stable")
            keep[off.stop - 1 - largest[row_limit - 1 :]] = False
        counts = np.add.reduceat(keep.astype(lower.indptr.dtype), lower.indptr[:-1])
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(lower.indptr.dtype)
        lower = sparse.csr_array((lower.data[keep], lower.indices[keep], indptr), lower.shape)
    return lower


@njit(cache=True, nogil=True)
def _local_solves(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    g_indptr: np.ndarray,
    g_indices: np.ndarray,
    g_data: np.ndarray,
    least_pivot: float,
) -> tuple[int, float]:
    """Fill ``g_data`` row by row; the first row of a negative pivot and that pivot, or (-1, 1)."""
    n = len(indptr) - 1
    most = 1
    for i in range(n):
        most = max(most, g_indptr[i + 1] - g_indptr[i])
    place = np.full(n, -1, dtype=np.int64)
    local = np.empty((most, most))
    for i in range(n):
        start = g_indptr[i]
        m = g_indptr[i + 1] - start
        for k in range(m):
            place[g_indices[start + k]] = k
        for k in range(m):
            local[k, : k + 1] = 0.0
            j = g_indices[start + k]
            for p in range(indptr[j], indptr[j + 1]):
                if place[indices[p]] >= 0:
                    local[k, place[indices[p]]] = data[p]
        for k in range(m):
            place[g_indices[start + k]] = -1

        # Cholesky in place: A[J, J] = L Lᵀ.
        singular = False
        for k in range(m):
            for h in range(k):
                dot = 0.0
                for q in range(h):
                    dot += local[k, q] * local[h, q]
                local[k, h] = (local[k, h] - dot) / local[h, h]
            dot = 0.0
            for q in range(k):
                dot += local[k, q] * local[k, q]
            pivot = local[k, k] - dot
            if not pivot >= -ROUNDING:  # NaN is refused too
                return i, pivot
            if pivot <= max(m * 2.3e-16, least_pivot):
                singular = True
                break
            local[k, k] = np.sqrt(pivot)

        # The row solves Lᵀ g = e_m, from the last entry up.
        if singular:
            g_data[start : start + m] = 0.0
            g_data[start + m - 1] = 1.0
            continue
        for k in range(m - 1, -1, -1):
            total = 1.0 if k == m - 1 else 0.0
            for q in range(k + 1, m):
                total -= local[q, k] * g_data[start + q]
            g_data[start + k] = total / local[k, k]
    return -1, 1.0
