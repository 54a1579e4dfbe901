"""The whole cycle in one compiled call: levels are small near the bottom, and Python is slow there.

Matrices of all levels lie behind each other in flat arrays. A cycle is a list of steps (what, at
which level), written once at setup; V- and W-cycles differ in that list only.
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
    "AGAIN",
    "BOTTOM",
    "DOWN",
    "REDUCE",
    "RESTORE",
    "SUM",
    "UP",
    "run_block",
    "run_vector",
]

# Steps of a schedule. REDUCE and RESTORE are DOWN and UP of an eliminated level, where S holds
# the pivots and nothing is smoothed.
DOWN, BOTTOM, UP, AGAIN, SUM, REDUCE, RESTORE = 0, 1, 2, 3, 4, 5, 6
# Matrices of a level, in the order they are stored. Pᵀ is not among them: its product is a pass
# over the rows of P. S has the row pointers and columns of A, which are stored once.
A_, S_, P_ = 0, 1, 2

# Rows are short: reordering their sums for vector registers costs more than it gives.
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"contract"}}


@numba.njit(**OPTIONS)
def _matrix(k, n, pointers, places, entries, indptr, indices, values):  # type: ignore[no-untyped-def]
    """Row pointers of matrix k of n rows; arrays that start with its columns and its values."""
    p = pointers[k]
    return indptr[p : p + n + 1], indices[places[k] :], values[entries[k] :]


@numba.njit(**OPTIONS)
def _row(values, indices, start, stop, x):  # type: ignore[no-untyped-def]
    """Entry of A x: the product of one row."""
    total = 0.0
    for k in range(start, stop):
        total += values[k] * x[indices[k]]
    return total


@numba.njit(**OPTIONS)
def _scatter(values, indices, start, stop, t, y):  # type: ignore[no-untyped-def]
    """Add to y what one row of P hands down of t."""
    for k in range(start, stop):
        y[indices[k]] += values[k] * t


@numba.njit(**OPTIONS)
def _residual(indptr, indices, values, x, r, t):  # type: ignore[no-untyped-def]
    """T = r - A x; t may be r."""
    for i in range(len(indptr) - 1):
        t[i] = r[i] - _row(values, indices, indptr[i], indptr[i + 1], x)


@numba.njit(**OPTIONS)
def _add_product(indptr, indices, values, x, y):  # type: ignore[no-untyped-def]
    """Y += A x."""
    for i in range(len(indptr) - 1):
        y[i] += _row(values, indices, indptr[i], indptr[i + 1], x)


@numba.njit(**OPTIONS)
def _dense_product(C, x, y):  # type: ignore[no-untyped-def]
    for i in range(C.shape[0]):
        total = 0.0
        for j in range(C.shape[1]):
            total += C[i, j] * x[j]
        y[i] = total


@numba.njit(**OPTIONS)
def run_vector(  # type: ignore[no-untyped-def]
    schedule, rows, pointers, places, entries, indptr, indices, values, bottom, s, order, work, b
):  # fmt: skip
    """One cycle on a vector, scaled before and after.

    Parameters
    ----------
    schedule : int64 array, shape (steps, 2)
        What to do at which level.
    rows : int64 array, shape (levels + 2,)
        Where each level's vectors start in the work arrays.
    pointers, places, entries : int64 array, shape (3 * levels,)
        Where each matrix's row pointers, columns and values start.
    indptr, indices, values : arrays
        All matrices.
    bottom : float64 array, shape (nc, nc)
        Inverse of the coarsest matrix.
    s : float64 array, shape (n,)
        Scaling, in the order of the matrices.
    order : array of unsigned integers, shape (n,) or (0,)
        Which unknown of the right-hand side is the i-th here; empty where all are in place.
    work : float64 array, shape (4, rows[-1])
        What is in it does not matter. NumPy asks the system for large pages, which makes new memory
        several times cheaper than what a compiled loop allocates.
    b : float64 array, shape (n,)
        Right-hand side.
    """
    flat = (pointers, places, entries, indptr, indices, values)
    R, X, T, H = work[0], work[1], work[2], work[3]
    if len(order) > 0:
        for i in range(len(b)):
            R[i] = s[i] * b[order[i]]
    else:
        for i in range(len(b)):
            R[i] = s[i] * b[i]
    for step in range(len(schedule)):
        what, level = schedule[step, 0], schedule[step, 1]
        lo, mid, hi = rows[level], rows[level + 1], rows[min(level + 2, len(rows) - 1)]
        r, x, t = R[lo:mid], X[lo:mid], T[lo:mid]
        n, below = mid - lo, R[mid:hi]
        if what == BOTTOM:
            _dense_product(bottom, r, x)
            continue
        a_ptr, a_idx, a_val = _matrix(3 * level + A_, n, *flat)
        if what == AGAIN:
            H[lo:mid] = x
            _residual(a_ptr, a_idx, a_val, x, r, r)
            continue
        if what == SUM:
            for i in range(n):
                x[i] += H[lo + i]
            continue
        s_ptr, s_idx, s_val = _matrix(3 * level + S_, n, *flat)
        p_ptr, p_idx, p_val = _matrix(3 * level + P_, n, *flat)
        if what == REDUCE:
            below[:] = 0.0
            for i in range(n):
                _scatter(p_val, p_idx, p_ptr[i], p_ptr[i + 1], r[i], below)
        elif what == RESTORE:
            for i in range(n):
                x[i] = _row(p_val, p_idx, p_ptr[i], p_ptr[i + 1], X[mid:hi])
            _add_product(s_ptr, s_idx, s_val, r, x)
        elif what == DOWN:
            for i in range(n):
                x[i] = _row(s_val, s_idx, s_ptr[i], s_ptr[i + 1], r)
            below[:] = 0.0
            for i in range(n):
                left = r[i] - _row(a_val, a_idx, a_ptr[i], a_ptr[i + 1], x)
                _scatter(p_val, p_idx, p_ptr[i], p_ptr[i + 1], left, below)
        else:
            _add_product(p_ptr, p_idx, p_val, X[mid:hi], x)
            _residual(a_ptr, a_idx, a_val, x, r, t)
            _add_product(s_ptr, s_idx, s_val, t, x)
    z = np.empty(len(b))
    if len(order) > 0:
        for i in range(len(b)):
            z[order[i]] = s[i] * X[i]
    else:
        for i in range(len(b)):
            z[i] = s[i] * X[i]
    return z


@numba.njit(**OPTIONS)
def _lanes(  # type: ignore[no-untyped-def]
    schedule, rows, pointers, places, entries, indptr, indices, values, bottom, s, order, work,
    B, first, Z,
):  # fmt: skip
    """One cycle on columns of B from ``first`` on, LANES of them or what is left, into Z's."""
    flat = (pointers, places, entries, indptr, indices, values)
    columns = min(LANES, B.shape[1] - first)
    R, X, T, H = work[0], work[1], work[2], work[3]
    for i in range(len(B)):
        own = np.int64(order[i]) if len(order) > 0 else i
        for c in range(columns):
            R[i, c] = s[i] * B[own, first + c]
        for c in range(columns, LANES):
            R[i, c] = 0.0
    for step in range(len(schedule)):
        what, level = schedule[step, 0], schedule[step, 1]
        lo, mid, hi = rows[level], rows[level + 1], rows[min(level + 2, len(rows) - 1)]
        r, x, t = R[lo:mid], X[lo:mid], T[lo:mid]
        n, below, above = mid - lo, R[mid:hi], X[mid:hi]
        if what == BOTTOM:
            for i in range(n):
                put(x, i, dense_row(bottom, i, r))
            continue
        a_ptr, a_idx, a_val = _matrix(3 * level + A_, n, *flat)
        if what == AGAIN:
            H[lo:mid] = x
            for i in range(n):
                put(r, i, sparse_row(a_val, a_idx, a_ptr[i], a_ptr[i + 1], -1.0, x, get(r, i)))
            continue
        if what == SUM:
            for i in range(n):
                put(x, i, more(get(x, i), 1.0, get(H, lo + i)))
            continue
        s_ptr, s_idx, s_val = _matrix(3 * level + S_, n, *flat)
        p_ptr, p_idx, p_val = _matrix(3 * level + P_, n, *flat)
        if what == REDUCE:
            below[:] = 0.0
            for i in range(n):
                scatter_row(p_val, p_idx, p_ptr[i], p_ptr[i + 1], get(r, i), below)
        elif what == RESTORE:
            for i in range(n):
                a = sparse_row(p_val, p_idx, p_ptr[i], p_ptr[i + 1], 1.0, above, NOTHING)
                put(x, i, sparse_row(s_val, s_idx, s_ptr[i], s_ptr[i + 1], 1.0, r, a))
        elif what == DOWN:
            for i in range(n):
                put(x, i, sparse_row(s_val, s_idx, s_ptr[i], s_ptr[i + 1], 1.0, r, NOTHING))
            below[:] = 0.0
            for i in range(n):
                a = sparse_row(a_val, a_idx, a_ptr[i], a_ptr[i + 1], -1.0, x, get(r, i))
                scatter_row(p_val, p_idx, p_ptr[i], p_ptr[i + 1], a, below)
        else:
            for i in range(n):
                a = sparse_row(p_val, p_idx, p_ptr[i], p_ptr[i + 1], 1.0, above, get(x, i))
                put(x, i, a)
            for i in range(n):
                a = sparse_row(a_val, a_idx, a_ptr[i], a_ptr[i + 1], -1.0, x, get(r, i))
                put(t, i, a)
            for i in range(n):
                a = sparse_row(s_val, s_idx, s_ptr[i], s_ptr[i + 1], 1.0, t, get(x, i))
                put(x, i, a)
    for i in range(len(B)):
        own = np.int64(order[i]) if len(order) > 0 else i
        for c in range(columns):
            Z[own, first + c] = s[i] * X[i, c]


@numba.njit(**OPTIONS)
def run_block(  # type: ignore[no-untyped-def]
    schedule, rows, pointers, places, entries, indptr, indices, values, bottom, s, order, work, B, Z
):  # fmt: skip
    """One cycle on several columns into Z; like `run_vector`, with B and Z of shape (n, k).

    The work array is of shape (4, rows[-1], LANES).
    """
    for first in range(0, B.shape[1], LANES):
        _lanes(
            schedule, rows, pointers, places, entries, indptr, indices, values, bottom, s, order,
            work, B, first, Z,
        )  # fmt: skip
