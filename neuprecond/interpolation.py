"""Classical interpolation that survives rows whose weights cancel, in compiled row loops."""

import numba
import numpy as np
from scipy import sparse

from neuprecond import rows
from neuprecond.rows import ONE, OPTIONS

__all__ = ["classical_interpolation"]

# Sound weights sum to 1, with a few negative ones among them to little more. Where terms of both
# signs cancel in a denominator they are of any size, and the coarse matrix is rounding.
LARGEST_SUM = 2.0


def classical_interpolation(
    A: sparse.csr_array, strong: sparse.csr_array, is_coarse: np.ndarray
) -> sparse.csr_array:
    """Interpolate from coarse unknowns at distance one: modified classical interpolation.

    The formula is PyAMG's. It differs where that one divides by zero or nearly so, as in rows whose
    entries have both signs: weights of such a row are in proportion to the size of its entries.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        With near-null constants.
    strong : csr_array, shape (n, n)
        Strong connections on a part of A's pattern, sorted.
    is_coarse : ndarray of bool, shape (n,)
        Which unknowns are coarse.

    Returns
    -------
    csr_array, shape (n, nc)
        The identity on coarse rows; absolute values of a row sum to 2 at most.

    References
    ----------
    H. De Sterck, R. D. Falgout, J. W. Nolting, U. M. Yang, Distance-two interpolation for parallel
    algebraic multigrid, Numer. Linear Algebra Appl. 15, 2008, equation (5).

    Examples
    --------
    >>> A = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(3, 3)).tocsr()
    >>> classical_interpolation(A, A, np.array([True, False, True])).toarray()
    array([[1. , 0. ],
           [0.5, 0.5],
           [0. , 1. ]])
    """
    n = A.shape[0]
    number = np.cumsum(is_coarse) - 1
    strong_rows = rows.csr(strong)[:2]
    indptr = np.empty(n + 1, dtype=np.int32)
    total = _count(*strong_rows, is_coarse, indptr)
    indices, values = np.empty(total, dtype=np.int32), np.empty(total)
    _weights(*rows.csr(A), *strong_rows, is_coarse, number, A.diagonal(), indptr, indices, values)
    return sparse.csr_array((values, indices, indptr), shape=(n, int(is_coarse.sum())))


@numba.njit(**OPTIONS)
def _count(s_indptr, s_indices, is_coarse, pointers):  # type: ignore[no-untyped-def]
    """Row pointers of P; gives how many entries it has."""
    pointers[0] = 0
    for i in range(len(is_coarse)):
        count = 1 if is_coarse[i] else 0
        if not is_coarse[i]:
            for k in range(s_indptr[i], s_indptr[i + 1]):
                count += is_coarse[s_indices[k]]
        pointers[i + 1] = pointers[i] + count
    return pointers[len(is_coarse)]


@numba.njit(**OPTIONS)
def _weights(  # type: ignore[no-untyped-def]
    indptr, indices, values, s_indptr, s_indices, is_coarse, number, diagonal,
    pointers, cols, result,
):  # fmt: skip
    """Fill in columns and values of P."""
    n = len(is_coarse)
    # Place in the row of P of a coarse unknown, and a_ij of a strong one; both for the row that is
    # named beside them.
    place, placed = np.empty(n, dtype=np.int64), np.full(n, -1)
    is_strong = np.full(n, -1)
    for i in range(n):
        start, stop = np.int64(pointers[i]), np.int64(pointers[i + 1])
        if is_coarse[i]:
            cols[start], result[start] = number[i], 1.0
            continue
        if start == stop:
            continue
        p = start
        for k in range(s_indptr[i], s_indptr[i + 1]):
            j = s_indices[k]
            is_strong[j] = i
            if is_coarse[j]:
                place[j], placed[j] = p, i
                cols[p], result[p] = number[j], 0.0
                p += 1
        below = diagonal[i]
        for k in range(indptr[i], indptr[i + 1]):
            j, a = indices[k], values[k]
            if j == i:
                continue
            if placed[j] == i:
                result[place[j]] += a
                continue
            if is_strong[j] != i or not _common(s_indptr, s_indices, j, placed, i):
                # Weak, or no strong coarse unknown in common: it moves with unknown i.
                below += a
                continue
            total = 0.0
            for m in range(indptr[j], indptr[j + ONE]):
                if placed[indices[m]] == i and values[m] * diagonal[j] < 0.0:
                    total += values[m]
            if abs(total) > 1e-15 * abs(a):
                for m in range(indptr[j], indptr[j + ONE]):
                    if placed[indices[m]] == i and values[m] * diagonal[j] < 0.0:
                        result[place[indices[m]]] += a * (values[m] / total)
        size = 0.0
        for p in range(start, stop):
            size += abs(result[p])
        # Where all of it cancels, both sides are zero.
        if below != 0.0 and size <= LARGEST_SUM * abs(below):
            for p in range(start, stop):
                result[p] = -result[p] / below
            continue
        for p in range(start, stop):
            result[p] = 0.0
        size = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if placed[j] == i:
                result[place[j]] = abs(values[k])
                size += abs(values[k])
        # Nothing to interpolate from is left to the smoother.
        for p in range(start, stop):
            result[p] /= max(size, 1e-300)


@numba.njit(**OPTIONS)
def _common(s_indptr, s_indices, j, placed, i):  # type: ignore[no-untyped-def]
    """Whether a strong neighbour of j is placed in row i."""
    for k in range(s_indptr[j], s_indptr[j + ONE]):
        if placed[s_indices[k]] == i:
            return True
    return False
