"""The two-sided cycle in one compiled call, on matrices that lie behind each other in flat arrays.

Each level is numbered such that nothing is moved on the way: `operators.numbered` sees to that.
"""

from typing import Any

import numba
import numpy as np

from neuprecond.operators.lanes import (
    LANES,
    NOTHING,
    dense_row,
    get,
    more,
    put,
    scatter_row,
    sparse_row,
)

__all__ = [
    "A_",
    "DOWN_",
    "FACTORED",
    "INVERTED",
    "LOWER_",
    "P_",
    "REDUCED",
    "SLOTS",
    "SWEPT",
    "T_",
    "UPPER_",
    "UP_",
    "run_block",
    "run_vector",
]

# What a level is.
REDUCED, SWEPT, INVERTED, FACTORED = 0, 1, 2, 3
# Its matrices, in the order they are stored: of a reduced level what hands residuals down and
# corrections up; of a swept level and of factors the strict triangles of L and U, both of unit
# diagonal, and of a swept level A, P and the transpose of R.
DOWN_, UP_ = 0, 1
LOWER_, UPPER_, A_, P_, T_ = 0, 1, 2, 3, 4
SLOTS = 5

ONE = np.uint64(1)
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"contract"}}


@numba.njit(**OPTIONS)
def _matrix(k, pointers, entries, indptr, indices, values):  # type: ignore[no-untyped-def]
    """Row pointers, columns and values of matrix k."""
    start, stop = entries[k], entries[k + 1]
    return indptr[pointers[k] : pointers[k + 1]], indices[start:stop], values[start:stop]


@numba.njit(**OPTIONS)
def _row(values, indices, start, stop, x):  # type: ignore[no-untyped-def]
    """Entry of A x: the product of one row."""
    total = 0.0
    for k in range(start, stop):
        total += values[k] * x[indices[k]]
    return total


@numba.njit(**OPTIONS)
def _reduce(indptr, indices, values, r, below):  # type: ignore[no-untyped-def]
    """Hand the residual of a reduced level down."""
    for i in range(len(indptr) - 1):
        below[i] = _row(values, indices, indptr[i], indptr[i + 1], r)


@numba.njit(**OPTIONS)
def _restore(indptr, indices, values, d, r, above, x):  # type: ignore[no-untyped-def]
    """Solve a reduced level when what is below has been."""
    for i in range(len(indptr) - 1):
        x[i] = d[i] * r[i] + _row(values, indices, indptr[i], indptr[i + 1], above)


@numba.njit(**OPTIONS)
def _backward(indptr, indices, values, d, x):  # type: ignore[no-untyped-def]
    """Solve (I + U) x = diag(d) y, with y in x at the start.

    Each row waits for the one below it. So that one's entry, the first, is taken last: all others
    are summed up before it is there.
    """
    n = len(d)
    for t in range(n):
        # Unsigned, like the row pointers: see `rows`.
        i = np.uint64(n - 1 - t)
        total = d[i] * x[i]
        last = indptr[i + ONE] - ONE
        for k in range(indptr[i + ONE] - indptr[i]):
            total -= values[last - k] * x[indices[last - k]]
        x[i] = total


@numba.njit(**OPTIONS)
def _forward(indptr, indices, values, r, x):  # type: ignore[no-untyped-def]
    """Solve (I + L) x = r."""
    for i in range(len(indptr) - 1):
        total = r[i]
        for k in range(indptr[i], indptr[i + 1]):
            total -= values[k] * x[indices[k]]
        x[i] = total


@numba.njit(**OPTIONS)
def run_vector(  # type: ignore[no-untyped-def]
    kinds, slots, starts, pointers, entries, indptr, indices, values, d, inverse, work, b, z
):  # fmt: skip
    """One cycle on a vector, into z.

    Parameters
    ----------
    kinds : int64 array, shape (levels,)
        What each level is; the first is a reduced one.
    slots : int64 array, shape (levels, SLOTS)
        Which matrix is which of a level's.
    starts : int64 array, shape (levels + 1,)
        Where each level's numbers start in d.
    pointers, entries : int64 array, shape (matrices + 1,)
        Where each matrix's row pointers, and its columns and values, start.
    indptr, indices, values : arrays
        All matrices.
    d : float64 array, shape (starts[-1],)
        Of a reduced level what is added to the correction, times its residual; of a swept level and
        of factors the inverse pivots.
    inverse : float64 array, shape (nc, nc)
        Transpose of the inverse of the last matrix, of shape (0, 0) where that is factored.
    work : float64 array, shape (2, starts[-1] - n)
        What is in it does not matter.
    b, z : float64 array, shape (n,)
        Right-hand side, which keeps its values, and result.
    """
    flat = (pointers, entries, indptr, indices, values)
    R, X = work[0], work[1]
    n, last = len(b), len(kinds) - 1
    # The first level works on b and z themselves.
    ptr, idx, val = _matrix(slots[0, DOWN_], *flat)
    _reduce(ptr, idx, val, b, R)
    for level in range(1, last):
        lo, hi, end = starts[level] - n, starts[level + 1] - n, starts[level + 2] - n
        r, below = R[lo:hi], R[hi:end]
        if kinds[level] == REDUCED:
            ptr, idx, val = _matrix(slots[level, DOWN_], *flat)
            _reduce(ptr, idx, val, r, below)
            continue
        x = X[lo:hi]
        ptr, idx, val = _matrix(slots[level, LOWER_], *flat)
        _forward(ptr, idx, val, r, x)
        ptr, idx, val = _matrix(slots[level, UPPER_], *flat)
        _backward(ptr, idx, val, d[lo + n : hi + n], x)
        ptr, idx, val = _matrix(slots[level, A_], *flat)
        t_ptr, t_idx, t_val = _matrix(slots[level, T_], *flat)
        below[:] = 0.0
        for i in range(hi - lo):
            left = r[i] - _row(val, idx, ptr[i], ptr[i + 1], x)
            for k in range(t_ptr[i], t_ptr[i + 1]):
                below[t_idx[k]] += t_val[k] * left

    r, x = R[starts[last] - n :], X[starts[last] - n :]
    if kinds[last] == INVERTED:
        # Column by column: that needs no sum over a row, which cannot be in vector registers.
        x[:] = 0.0
        for j in range(len(r)):
            for i in range(len(r)):
                x[i] += inverse[j, i] * r[j]
    else:
        ptr, idx, val = _matrix(slots[last, LOWER_], *flat)
        _forward(ptr, idx, val, r, x)
        ptr, idx, val = _matrix(slots[last, UPPER_], *flat)
        _backward(ptr, idx, val, d[starts[last] :], x)

    for level in range(last - 1, 0, -1):
        lo, hi, end = starts[level] - n, starts[level + 1] - n, starts[level + 2] - n
        r, x, own, above = R[lo:hi], X[lo:hi], d[lo + n : hi + n], X[hi:end]
        if kinds[level] == REDUCED:
            ptr, idx, val = _matrix(slots[level, UP_], *flat)
            _restore(ptr, idx, val, own, r, above, x)
            continue
        ptr, idx, val = _matrix(slots[level, P_], *flat)
        for i in range(hi - lo):
            x[i] += _row(val, idx, ptr[i], ptr[i + 1], above)
        # The new residual is needed by one row of L only, and what comes of it takes r's place.
        ptr, idx, val = _matrix(slots[level, A_], *flat)
        l_ptr, l_idx, l_val = _matrix(slots[level, LOWER_], *flat)
        for i in range(hi - lo):
            total = r[i] - _row(val, idx, ptr[i], ptr[i + 1], x)
            for k in range(l_ptr[i], l_ptr[i + 1]):
                total -= l_val[k] * r[l_idx[k]]
            r[i] = total
        ptr, idx, val = _matrix(slots[level, UPPER_], *flat)
        _backward(ptr, idx, val, own, r)
        for i in range(hi - lo):
            x[i] += r[i]
    ptr, idx, val = _matrix(slots[0, UP_], *flat)
    _restore(ptr, idx, val, d, b, X, z)


@numba.njit(**OPTIONS)
def _forward_lanes(indptr, indices, values, R, X):  # type: ignore[no-untyped-def]
    for i in range(len(indptr) - 1):
        start, stop = indptr[i], indptr[i + 1]
        put(X, i, sparse_row(values, indices, start, stop, -1.0, X, get(R, i)))


@numba.njit(**OPTIONS)
def _backward_lanes(indptr, indices, values, d, X):  # type: ignore[no-untyped-def]
    n = len(d)
    for t in range(n):
        i = np.uint64(n - 1 - t)
        a = more(NOTHING, d[i], get(X, i))
        put(X, i, sparse_row(values, indices, indptr[i], indptr[i + ONE], -1.0, X, a))


@numba.njit(**OPTIONS)
def _lanes(  # type: ignore[no-untyped-def]
    kinds, slots, starts, pointers, entries, indptr, indices, values, d, inverse, work, B, first, Z
):  # fmt: skip
    """One cycle on columns of B from ``first`` on, LANES of them or what is left, into Z's."""
    flat = (pointers, entries, indptr, indices, values)
    columns = min(LANES, B.shape[1] - first)
    R, X = work[0], work[1]
    last = len(kinds) - 1
    for i in range(len(B)):
        for c in range(columns):
            R[i, c] = B[i, first + c]
        for c in range(columns, LANES):
            R[i, c] = 0.0
    for level in range(last):
        lo, hi, end = starts[level], starts[level + 1], starts[level + 2]
        r, x, below = R[lo:hi], X[lo:hi], R[hi:end]
        if kinds[level] == REDUCED:
            ptr, idx, val = _matrix(slots[level, DOWN_], *flat)
            for i in range(end - hi):
                put(below, i, sparse_row(val, idx, ptr[i], ptr[i + 1], 1.0, r, NOTHING))
            continue
        ptr, idx, val = _matrix(slots[level, LOWER_], *flat)
        _forward_lanes(ptr, idx, val, r, x)
        ptr, idx, val = _matrix(slots[level, UPPER_], *flat)
        _backward_lanes(ptr, idx, val, d[lo:hi], x)
        ptr, idx, val = _matrix(slots[level, A_], *flat)
        t_ptr, t_idx, t_val = _matrix(slots[level, T_], *flat)
        below[:] = 0.0
        for i in range(hi - lo):
            a = sparse_row(val, idx, ptr[i], ptr[i + 1], -1.0, x, get(r, i))
            scatter_row(t_val, t_idx, t_ptr[i], t_ptr[i + 1], a, below)

    r, x = R[starts[last] :], X[starts[last] :]
    if kinds[last] == INVERTED:
        for i in range(len(r)):
            put(x, i, dense_row(inverse.T, i, r))
    else:
        ptr, idx, val = _matrix(slots[last, LOWER_], *flat)
        _forward_lanes(ptr, idx, val, r, x)
        ptr, idx, val = _matrix(slots[last, UPPER_], *flat)
        _backward_lanes(ptr, idx, val, d[starts[last] :], x)

    for level in range(last - 1, -1, -1):
        lo, hi, end = starts[level], starts[level + 1], starts[level + 2]
        r, x, own, above = R[lo:hi], X[lo:hi], d[lo:hi], X[hi:end]
        if kinds[level] == REDUCED:
            ptr, idx, val = _matrix(slots[level, UP_], *flat)
            for i in range(hi - lo):
                a = more(NOTHING, own[i], get(r, i))
                put(x, i, sparse_row(val, idx, ptr[i], ptr[i + 1], 1.0, above, a))
            continue
        ptr, idx, val = _matrix(slots[level, P_], *flat)
        for i in range(hi - lo):
            put(x, i, sparse_row(val, idx, ptr[i], ptr[i + 1], 1.0, above, get(x, i)))
        ptr, idx, val = _matrix(slots[level, A_], *flat)
        l_ptr, l_idx, l_val = _matrix(slots[level, LOWER_], *flat)
        for i in range(hi - lo):
            a = sparse_row(val, idx, ptr[i], ptr[i + 1], -1.0, x, get(r, i))
            put(r, i, sparse_row(l_val, l_idx, l_ptr[i], l_ptr[i + 1], -1.0, r, a))
        ptr, idx, val = _matrix(slots[level, UPPER_], *flat)
        _backward_lanes(ptr, idx, val, own, r)
        for i in range(hi - lo):
            put(x, i, more(get(x, i), 1.0, get(r, i)))
    for i in range(len(B)):
        for c in range(columns):
            Z[i, first + c] = X[i, c]


@numba.njit(**OPTIONS)
def run_block(  # type: ignore[no-untyped-def]
    kinds, slots, starts, pointers, entries, indptr, indices, values, d, inverse, work, B, Z
):  # fmt: skip
    """One cycle on several columns into Z; like `run_vector`, with B and Z of shape (n, k).

    The work array is of shape (2, starts[-1], LANES).
    """
    for first in range(0, B.shape[1], LANES):
        _lanes(
            kinds, slots, starts, pointers, entries, indptr, indices, values, d, inverse, work,
            B, first, Z,
        )  # fmt: skip
