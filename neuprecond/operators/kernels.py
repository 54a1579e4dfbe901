"""The whole cycle in one compiled call: levels are small near the bottom, and Python is slow there.

Matrices of all levels lie behind each other in flat arrays. A cycle is a list of steps (what, at
which level), written once at setup; V- and W-cycles differ in that list only.
"""

from typing import Any

import numba
import numpy as np

__all__ = [
    "AGAIN",
    "BOTTOM",
    "DOWN",
    "REDUCE",
    "RESTORE",
    "SUM",
    "TOGETHER",
    "UP",
    "run_block",
    "run_vector",
]

# Steps of a schedule. REDUCE and RESTORE are DOWN and UP of an eliminated level, where S holds
# the pivots and nothing is smoothed.
DOWN, BOTTOM, UP, AGAIN, SUM, REDUCE, RESTORE = 0, 1, 2, 3, 4, 5, 6
# Matrices of a level, in the order they are stored.
A_, S_, P_, R_ = 0, 1, 2, 3

#: Columns of a block that run at once: more leave the cache, and their work arrays are given back
#: to the system and fetched anew at every call.
TOGETHER = 4

# Rows are short: reordering their sums for vector registers costs more than it gives.
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"contract"}}


@numba.njit(**OPTIONS)
def _product(indptr, indices, values, x, y):  # type: ignore[no-untyped-def]
    """Y = A x."""
    for i in range(len(indptr) - 1):
        total = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            total += values[k] * x[indices[k]]
        y[i] = total


@numba.njit(**OPTIONS)
def _add_product(indptr, indices, values, x, y):  # type: ignore[no-untyped-def]
    """Y += A x."""
    for i in range(len(indptr) - 1):
        total = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            total += values[k] * x[indices[k]]
        y[i] += total


@numba.njit(**OPTIONS)
def _residual(indptr, indices, values, x, r, t):  # type: ignore[no-untyped-def]
    """T = r - A x; t may be r."""
    for i in range(len(indptr) - 1):
        total = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            total += values[k] * x[indices[k]]
        t[i] = r[i] - total


@numba.njit(**OPTIONS)
def _block_product(indptr, indices, values, X, Y, sign):  # type: ignore[no-untyped-def]
    """Y += sign * A X, for several columns at once."""
    columns = X.shape[1]
    if columns == 4:
        # Written out, so that a row's sums stay in registers.
        for i in range(len(indptr) - 1):
            y0, y1, y2, y3 = Y[i, 0], Y[i, 1], Y[i, 2], Y[i, 3]
            for k in range(indptr[i], indptr[i + 1]):
                v, j = sign * values[k], indices[k]
                y0 += v * X[j, 0]
                y1 += v * X[j, 1]
                y2 += v * X[j, 2]
                y3 += v * X[j, 3]
            Y[i, 0], Y[i, 1], Y[i, 2], Y[i, 3] = y0, y1, y2, y3
        return
    for i in range(len(indptr) - 1):
        for k in range(indptr[i], indptr[i + 1]):
            v = sign * values[k]
            j = indices[k]
            for c in range(columns):
                Y[i, c] += v * X[j, c]


@numba.njit(**OPTIONS)
def _dense_product(C, x, y):  # type: ignore[no-untyped-def]
    for i in range(C.shape[0]):
        total = 0.0
        for j in range(C.shape[1]):
            total += C[i, j] * x[j]
        y[i] = total


@numba.njit(**OPTIONS)
def run_vector(schedule, rows, pointers, entries, indptr, indices, values, bottom, b):  # type: ignore[no-untyped-def]
    """One cycle on a vector.

    Parameters
    ----------
    schedule : int64 array, shape (steps, 2)
        What to do at which level.
    rows : int64 array, shape (levels + 2,)
        Where each level's vectors start in the work arrays.
    pointers, entries : int64 array, shape (4 * levels,)
        Where each matrix's row pointers and entries start.
    indptr, indices, values : arrays
        All matrices.
    bottom : float64 array, shape (nc, nc)
        Inverse of the coarsest matrix.
    b : float64 array, shape (n,)
        Scaled right-hand side.
    """
    size = rows[-1]
    R, X, T, H = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    R[: len(b)] = b
    for step in range(len(schedule)):
        what, level = schedule[step, 0], schedule[step, 1]
        lo, mid, hi = rows[level], rows[level + 1], rows[min(level + 2, len(rows) - 1)]
        r, x, t = R[lo:mid], X[lo:mid], T[lo:mid]
        n, nc = mid - lo, hi - mid
        if what == BOTTOM:
            _dense_product(bottom, r, x)
            continue
        p, e = pointers[4 * level + A_], entries[4 * level + A_]
        a_ptr, a_idx, a_val = indptr[p : p + n + 1], indices[e:], values[e:]
        if what == AGAIN:
            H[lo:mid] = x
            _residual(a_ptr, a_idx, a_val, x, r, r)
            continue
        if what == SUM:
            for i in range(n):
                x[i] += H[lo + i]
            continue
        p, e = pointers[4 * level + S_], entries[4 * level + S_]
        s_ptr, s_idx, s_val = indptr[p : p + n + 1], indices[e:], values[e:]
        if what == REDUCE:
            p, e = pointers[4 * level + R_], entries[4 * level + R_]
            _product(indptr[p : p + nc + 1], indices[e:], values[e:], r, R[mid:hi])
        elif what == RESTORE:
            p, e = pointers[4 * level + P_], entries[4 * level + P_]
            _product(indptr[p : p + n + 1], indices[e:], values[e:], X[mid:hi], x)
            _add_product(s_ptr, s_idx, s_val, r, x)
        elif what == DOWN:
            _product(s_ptr, s_idx, s_val, r, x)
            _residual(a_ptr, a_idx, a_val, x, r, t)
            p, e = pointers[4 * level + R_], entries[4 * level + R_]
            _product(indptr[p : p + nc + 1], indices[e:], values[e:], t, R[mid:hi])
        else:
            p, e = pointers[4 * level + P_], entries[4 * level + P_]
            _add_product(indptr[p : p + n + 1], indices[e:], values[e:], X[mid:hi], x)
            _residual(a_ptr, a_idx, a_val, x, r, t)
            _add_product(s_ptr, s_idx, s_val, t, x)
    return X[: len(b)].copy()


@numba.njit(**OPTIONS)
def run_block(schedule, rows, pointers, entries, indptr, indices, values, bottom, B):  # type: ignore[no-untyped-def]
    """One cycle on several columns at once; like `run_vector`, with B of shape (n, k)."""
    size, columns = rows[-1], B.shape[1]
    R, X = np.empty((size, columns)), np.empty((size, columns))
    T, H = np.empty((size, columns)), np.empty((size, columns))
    R[: len(B)] = B
    for step in range(len(schedule)):
        what, level = schedule[step, 0], schedule[step, 1]
        lo, mid, hi = rows[level], rows[level + 1], rows[min(level + 2, len(rows) - 1)]
        r, x, t = R[lo:mid], X[lo:mid], T[lo:mid]
        n, nc = mid - lo, hi - mid
        if what == BOTTOM:
            for i in range(n):
                for c in range(columns):
                    x[i, c] = 0.0
                for j in range(n):
                    for c in range(columns):
                        x[i, c] += bottom[i, j] * r[j, c]
            continue
        p, e = pointers[4 * level + A_], entries[4 * level + A_]
        a_ptr, a_idx, a_val = indptr[p : p + n + 1], indices[e:], values[e:]
        if what == AGAIN:
            H[lo:mid] = x
            _block_product(a_ptr, a_idx, a_val, x, r, -1.0)
            continue
        if what == SUM:
            x += H[lo:mid]
            continue
        p, e = pointers[4 * level + S_], entries[4 * level + S_]
        s_ptr, s_idx, s_val = indptr[p : p + n + 1], indices[e:], values[e:]
        if what == REDUCE:
            p, e = pointers[4 * level + R_], entries[4 * level + R_]
            R[mid:hi] = 0.0
            _block_product(indptr[p : p + nc + 1], indices[e:], values[e:], r, R[mid:hi], 1.0)
        elif what == RESTORE:
            p, e = pointers[4 * level + P_], entries[4 * level + P_]
            x[:] = 0.0
            _block_product(indptr[p : p + n + 1], indices[e:], values[e:], X[mid:hi], x, 1.0)
            _block_product(s_ptr, s_idx, s_val, r, x, 1.0)
        elif what == DOWN:
            x[:] = 0.0
            _block_product(s_ptr, s_idx, s_val, r, x, 1.0)
            t[:] = r
            _block_product(a_ptr, a_idx, a_val, x, t, -1.0)
            p, e = pointers[4 * level + R_], entries[4 * level + R_]
            R[mid:hi] = 0.0
            _block_product(indptr[p : p + nc + 1], indices[e:], values[e:], t, R[mid:hi], 1.0)
        else:
            p, e = pointers[4 * level + P_], entries[4 * level + P_]
            _block_product(indptr[p : p + n + 1], indices[e:], values[e:], X[mid:hi], x, 1.0)
            t[:] = r
            _block_product(a_ptr, a_idx, a_val, x, t, -1.0)
            _block_product(s_ptr, s_idx, s_val, t, x, 1.0)
    return X[: len(B)].copy()
