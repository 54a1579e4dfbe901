"""Loops over the rows of CSR matrices, each in place of several passes of SciPy's."""

from typing import Any

import numba
import numpy as np
from scipy import sparse

__all__ = [
    "asymmetry",
    "changed_values",
    "classical_strength",
    "csr",
    "drop_small",
    "eliminated_rows",
    "evolution_strength",
    "independent_set",
    "lanczos",
    "largest_row_sum",
    "paired_product",
    "permuted",
    "product",
    "product_bound",
    "relative_residual",
    "scaled_values",
    "schur_complement",
    "smoother_values",
    "spread",
    "unsigned",
]

# Memory for results is NumPy's: it asks the system for large pages, and the first touch of a large
# array costs a fraction of what it does where a compiled loop allocates. The public functions do
# that and hand on to loops.
#
# Indices come as unsigned numbers: of signed ones the compiler checks whether they count from the
# end, which doubles the time of a loop over a row.
OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "fastmath": {"contract"},
    "error_model": "numpy",
}
ONE = np.uint64(1)


def unsigned(index: np.ndarray) -> np.ndarray:
    """View an array of indices as unsigned numbers of the same width."""
    return index.view(np.dtype(f"u{index.itemsize}"))


def csr(A: sparse.csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row pointers and columns of A, both unsigned, and its values."""
    return unsigned(A.indptr), unsigned(A.indices), A.data


@numba.njit(**OPTIONS)
def largest_row_sum(indptr, values):  # type: ignore[no-untyped-def]
    """Find the largest absolute row sum."""
    largest = 0.0
    for i in range(len(indptr) - 1):
        total = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            total += abs(values[k])
        largest = max(largest, total)
    return largest


@numba.njit(**OPTIONS)
def asymmetry(indptr, indices, values, s):  # type: ignore[no-untyped-def]
    """Largest entries of abs(B - B.T) / top and of abs(B), top, for B = diag(s) A diag(s), sorted.

    The first is that of no asymmetry where top is zero or infinite.
    """
    n = len(indptr) - 1
    top = 0.0
    for i in range(n):
        for k in range(indptr[i], indptr[i + 1]):
            top = max(top, abs((values[k] * s[i]) * s[indices[k]]))
    if top == 0.0 or top == np.inf:
        return 0.0, top
    off = 0.0
    # Rows are sorted, so those above a row meet its entries left of the diagonal in their order.
    met = indptr[:-1].copy()
    for i in range(n):
        # What no row above has met has no partner.
        while met[i] < indptr[i + 1] and indices[met[i]] < i:
            off = max(off, abs((values[met[i]] * s[i]) * s[indices[met[i]]]) / top)
            met[i] += ONE
        for k in range(met[i], indptr[i + 1]):
            j = indices[k]
            if j == i:
                continue
            here, there = (values[k] * s[i]) * s[j], 0.0
            while met[j] < indptr[j + ONE] and indices[met[j]] < i:
                alone = (values[met[j]] * s[j]) * s[indices[met[j]]]
                off = max(off, abs(alone) / top)
                met[j] += ONE
            if met[j] < indptr[j + ONE] and indices[met[j]] == i:
                there = (values[met[j]] * s[j]) * s[i]
                met[j] += ONE
            off = max(off, abs(here / top - there / top))
    return off, top


@numba.njit(**OPTIONS)
def spread(indptr, indices):  # type: ignore[no-untyped-def]
    """Mean of |i - j| over all entries, as a share of n: a third for unknowns in random order."""
    n, total = len(indptr) - 1, 0.0
    for i in range(n):
        for k in range(indptr[i], indptr[i + 1]):
            total += abs(float(i) - float(indices[k]))
    return total / max(len(indices), 1) / max(n, 1)


def permuted(
    indptr: np.ndarray,
    indices: np.ndarray,
    values: np.ndarray,
    order: np.ndarray,
    number: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CSR arrays, unsorted, of A[order][:, order]; or with new numbers of its own for columns."""
    pointers, cols, result = np.empty_like(indptr), np.empty_like(indices), np.empty_like(values)
    if number is None:
        number = np.empty(len(order), dtype=indices.dtype)
        number[order] = np.arange(len(order), dtype=indices.dtype)
    _permuted(indptr, indices, values, order, number, pointers, cols, result)
    return pointers, cols, result


@numba.njit(**OPTIONS)
def _permuted(indptr, indices, values, order, number, pointers, cols, result):  # type: ignore[no-untyped-def]
    e = np.uint64(0)
    pointers[0] = 0
    for row in range(len(order)):
        i = order[row]
        for k in range(indptr[i], indptr[i + ONE]):
            cols[e], result[e] = number[indices[k]], values[k]
            e += ONE
        pointers[row + 1] = e


def scaled_values(
    indptr: np.ndarray, indices: np.ndarray, values: np.ndarray, left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Values of diag(left) A diag(right)."""
    return _scaled_values(indptr, indices, values, left, right, np.empty_like(values))


@numba.njit(**OPTIONS)
def _scaled_values(indptr, indices, values, left, right, result):  # type: ignore[no-untyped-def]
    for i in range(len(indptr) - 1):
        for k in range(indptr[i], indptr[i + 1]):
            result[k] = (values[k] * left[i]) * right[indices[k]]
    return result


def smoother_values(
    indptr: np.ndarray, indices: np.ndarray, values: np.ndarray, d: np.ndarray, c0: float, c1: float
) -> np.ndarray:
    """Values of c0 D - c1 D A D, on the pattern of A."""
    return _smoother_values(indptr, indices, values, d, c0, c1, np.empty_like(values))


@numba.njit(**OPTIONS)
def _smoother_values(indptr, indices, values, d, c0, c1, result):  # type: ignore[no-untyped-def]
    for i in range(len(d)):
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            result[k] = -c1 * d[i] * values[k] * d[j]
            if j == i:
                result[k] += c0 * d[i]
    return result


def changed_values(
    indptr: np.ndarray,
    indices: np.ndarray,
    values: np.ndarray,
    coarse: np.ndarray,
    change: np.ndarray,
) -> np.ndarray:
    """Values of P after a change relative to the row's weights, less what would change P coarse.

    Weights are values times ``coarse``. A weight w in a row whose largest is t may change by
    ``change`` times sqrt(w t), and where w is below t / 100 by ten w only.
    """
    return _changed_values(indptr, indices, values, coarse, change, np.empty_like(values))


@numba.njit(**OPTIONS)
def _changed_values(indptr, indices, values, coarse, change, result):  # type: ignore[no-untyped-def]
    for i in range(len(indptr) - 1):
        start, stop = indptr[i], indptr[i + 1]
        top, total, size = 0.0, 0.0, 0.0
        for k in range(start, stop):
            top = max(top, abs(values[k] * coarse[indices[k]]))
        for k in range(start, stop):
            weight = abs(values[k] * coarse[indices[k]])
            room = min(np.sqrt(weight * top), 10.0 * weight)
            result[k] = room
            size += room
            total += change[k] * room
        excess = total / max(size, 1e-300)
        for k in range(start, stop):
            weight = values[k] * coarse[indices[k]]
            result[k] = (weight + (change[k] - excess) * result[k]) / coarse[indices[k]]
    return result


@numba.njit(**OPTIONS)
def product_bound(indices, below):  # type: ignore[no-untyped-def]
    """Count the terms of a product from the left one's columns and the right one's pointers."""
    total = 0
    for j in indices:
        total += np.int64(below[j + ONE] - below[j])
    return total


def product(
    indptr: np.ndarray,
    indices: np.ndarray,
    values: np.ndarray,
    p_indptr: np.ndarray,
    p_indices: np.ndarray,
    p_values: np.ndarray,
    columns: int,
    bound: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CSR arrays of A P, unsorted; ``bound`` is no less than its number of entries."""
    pointers = np.empty_like(indptr)
    cols, result = np.empty(bound, dtype=indices.dtype), np.empty(bound)
    stop = _product(
        indptr, indices, values, p_indptr, p_indices, p_values, columns, pointers, cols, result
    )
    return pointers, cols[:stop], result[:stop]


@numba.njit(**OPTIONS)
def _product(  # type: ignore[no-untyped-def]
    indptr, indices, values, p_indptr, p_indices, p_values, columns, pointers, cols, result
):  # fmt: skip
    # Where a column was met last: in the current row if that is behind the row's start.
    place = np.full(columns, -1)
    stop = 0
    pointers[0] = 0
    for i in range(len(indptr) - 1):
        start = stop
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            for m in range(p_indptr[j], p_indptr[j + ONE]):
                c = p_indices[m]
                if place[c] >= start:
                    result[place[c]] += values[k] * p_values[m]
                else:
                    place[c], cols[stop] = stop, c
                    result[stop] = values[k] * p_values[m]
                    stop += 1
        pointers[i + 1] = stop
    return stop


def paired_product(
    indptr: np.ndarray,
    indices: np.ndarray,
    values: tuple[np.ndarray, np.ndarray],
    p_indptr: np.ndarray,
    p_indices: np.ndarray,
    p_values: tuple[np.ndarray, np.ndarray],
    columns: int,
    bound: int,
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """`product` of two pairs of matrices with the same two patterns: looked up once."""
    pointers = np.empty_like(indptr)
    cols = np.empty(bound, dtype=indices.dtype)
    results = np.empty(bound), np.empty(bound)
    stop = _paired_product(
        indptr, indices, *values, p_indptr, p_indices, *p_values, columns, pointers, cols, *results
    )
    return pointers, cols[:stop], (results[0][:stop], results[1][:stop])


@numba.njit(**OPTIONS)
def _paired_product(  # type: ignore[no-untyped-def]
    indptr, indices, values, others, p_indptr, p_indices, p_values, p_others, columns,
    pointers, cols, result, other,
):  # fmt: skip
    place = np.full(columns, -1)
    stop = 0
    pointers[0] = 0
    for i in range(len(indptr) - 1):
        start = stop
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            for m in range(p_indptr[j], p_indptr[j + ONE]):
                c = p_indices[m]
                if place[c] >= start:
                    result[place[c]] += values[k] * p_values[m]
                    other[place[c]] += others[k] * p_others[m]
                else:
                    place[c], cols[stop] = stop, c
                    result[stop] = values[k] * p_values[m]
                    other[stop] = others[k] * p_others[m]
                    stop += 1
        pointers[i + 1] = stop
    return stop


@numba.njit(**OPTIONS)
def drop_small(indptr, indices, values, rounding):  # type: ignore[no-untyped-def]
    """Drop, in place, entries below ``rounding`` of their two diagonals; returns how many stay."""
    n = len(indptr) - 1
    d = np.zeros(n)
    for i in range(n):
        for k in range(indptr[i], indptr[i + 1]):
            if indices[k] == i:
                d[i] = np.sqrt(abs(values[k]))
    kept = np.uint64(0)
    start = indptr[0]
    for i in range(n):
        stop = indptr[i + 1]
        for k in range(start, stop):
            j = indices[k]
            if abs(values[k]) > rounding * d[i] * d[j]:
                indices[kept], values[kept] = j, values[k]
                kept += ONE
        start = stop
        indptr[i + 1] = kept
    return kept


@numba.njit(**OPTIONS)
def relative_residual(indptr, indices, values, v):  # type: ignore[no-untyped-def]
    """Compute |A v| over |A| v, row by row, for a positive v."""
    result = np.empty(len(indptr) - 1)
    for i in range(len(result)):
        total, size = 0.0, 0.0
        for k in range(indptr[i], indptr[i + 1]):
            term = values[k] * v[indices[k]]
            total += term
            size += abs(term)
        result[i] = abs(total) / size if size > 0.0 else 0.0
    return result


@numba.njit(**OPTIONS)
def lanczos(indptr, indices, values, Q, diagonal, below, smallest):  # type: ignore[no-untyped-def]
    """Lanczos steps from Q's first row, of unit length: fill in the tridiagonal matrix.

    Q keeps as many of the last vectors as it has rows, three at least. Returns the number of steps
    taken, fewer than ``len(diagonal)`` where a vector is no longer than ``smallest``.
    """
    rows, n = Q.shape
    beta = 0.0
    for step in range(len(diagonal)):
        before, q, w = Q[(step - 1) % rows], Q[step % rows], Q[(step + 1) % rows]
        alpha = 0.0
        for i in range(n):
            total = 0.0
            for k in range(indptr[i], indptr[i + 1]):
                total += values[k] * q[indices[k]]
            if step > 0:
                total -= beta * before[i]
            w[i] = total
            alpha += q[i] * total
        diagonal[step] = alpha
        beta = _orthogonal(w, q, alpha)
        if beta <= smallest:
            return step + 1
        if step + 1 < len(diagonal):
            below[step] = beta
            for i in range(n):
                w[i] /= beta
    return len(diagonal)


@numba.njit(**{**OPTIONS, "fastmath": {"contract", "reassoc"}})
def _orthogonal(w, q, alpha):  # type: ignore[no-untyped-def]
    """Take alpha q off w; returns the length of what is left."""
    total = 0.0
    for i in range(len(w)):
        w[i] -= alpha * q[i]
        total += w[i] * w[i]
    return np.sqrt(total)


@numba.njit(**OPTIONS)
def independent_set(indptr, indices, most):  # type: ignore[no-untyped-def]
    """Choose, in order, rows of at most ``most`` entries that are coupled to no chosen one."""
    n = len(indptr) - 1
    chosen = np.zeros(n, dtype=np.bool_)
    for i in range(n):
        if indptr[i + 1] - indptr[i] > most:
            continue
        alone = True
        for k in range(indptr[i], indptr[i + 1]):
            alone = alone and not chosen[indices[k]]
        chosen[i] = alone
    return chosen


def classical_strength(
    indptr: np.ndarray, indices: np.ndarray, values: np.ndarray, theta: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pattern, as CSR arrays, of what is off the diagonal and theta times the row's largest."""
    pointers, cols = np.empty_like(indptr), np.empty_like(indices)
    stop = _classical_strength(indptr, indices, values, theta, pointers, cols)
    return pointers, cols[:stop]


@numba.njit(**OPTIONS)
def _classical_strength(indptr, indices, values, theta, pointers, cols):  # type: ignore[no-untyped-def]
    n = len(indptr) - 1
    pointers[0] = 0
    e = np.uint64(0)
    for i in range(n):
        # Zeros are never strong.
        least = np.finfo(np.float64).tiny
        for k in range(indptr[i], indptr[i + 1]):
            if indices[k] != i:
                least = max(least, theta * abs(values[k]))
        for k in range(indptr[i], indptr[i + 1]):
            if indices[k] != i and abs(values[k]) >= least:
                cols[e] = indices[k]
                e += ONE
        pointers[i + 1] = e
    return e


def evolution_strength(
    indptr: np.ndarray,
    indices: np.ndarray,
    values: np.ndarray,
    d: np.ndarray,
    step: float,
    epsilon: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Pattern, as CSR arrays, of what two steps of damped Jacobi from a unit vector call strong.

    With T = I - step D⁻¹ A the error of a unit vector e_i spreads to z = T² e_i, of which smooth
    error would be as large at a neighbour j as at i: |1 - z_i / z_j| is how far j is, and couplings
    less than epsilon times as far as the nearest are strong, on either side.
    """
    pointers, cols, far = np.empty_like(indptr), np.empty_like(indices), np.empty(len(indices))
    stop = _evolution_strength(indptr, indices, values, d, step, epsilon, far, pointers, cols)
    return pointers, cols[:stop]


@numba.njit(**OPTIONS)
def _evolution_strength(indptr, indices, values, d, step, epsilon, far, pointers, cols):  # type: ignore[no-untyped-def]
    n = len(indptr) - 1
    row, place = np.zeros(n), np.full(n, -1)
    for i in range(n):
        start, stop = indptr[i], indptr[i + 1]
        for k in range(start, stop):
            place[indices[k]] = i
            row[indices[k]] = 0.0
        for k in range(start, stop):
            j = indices[k]
            left = -step * values[k] / d[i]
            if j == i:
                left += 1.0
            scale = -step / d[j]
            for m in range(indptr[j], indptr[j + ONE]):
                c = indices[m]
                if place[c] == i:
                    right = scale * values[m]
                    if c == j:
                        right += 1.0
                    row[c] += left * right
        # D T² is symmetric: row i tells column i.
        nearest = np.inf
        for k in range(start, stop):
            j = indices[k]
            far[k] = np.inf
            if j == i or values[k] == 0.0:
                continue
            own, other = row[i], row[j] * (d[i] / d[j])
            # Of different signs, or far smaller here than there: not smooth.
            if own * other > 0.0 and own / other >= 1e-4:
                distance = abs(1.0 - own / other)
                # As far as PyAMG puts what is equal up to rounding.
                far[k] = 1e-4 if distance < 1.5e-8 else distance
                nearest = min(nearest, far[k])
        for k in range(start, stop):
            far[k] = 1.0 if far[k] < epsilon * nearest else 0.0
    # A coupling that is strong from one side is strong from the other.
    met = indptr[:-1].copy()
    for i in range(n):
        for k in range(met[i], indptr[i + 1]):
            j = indices[k]
            if j <= i:
                continue
            while met[j] < indptr[j + ONE] and indices[met[j]] < i:
                met[j] += ONE
            if met[j] < indptr[j + ONE] and indices[met[j]] == i:
                far[k] = far[met[j]] = max(far[k], far[met[j]])
                met[j] += ONE
    pointers[0] = 0
    e = np.uint64(0)
    for i in range(n):
        for k in range(indptr[i], indptr[i + 1]):
            if far[k] > 0.0:
                cols[e] = indices[k]
                e += ONE
        pointers[i + 1] = e
    return e


def eliminated_rows(
    indptr: np.ndarray,
    indices: np.ndarray,
    values: np.ndarray,
    is_kept: np.ndarray,
    number: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CSR arrays of P: the identity on kept rows, minus the off-diagonal on the others.

    The matrix has a unit diagonal, and the rows that go are coupled to kept ones only.
    """
    pointers = np.empty_like(indptr)
    total = _eliminated_pointers(indptr, indices, is_kept, pointers)
    cols, result = np.empty(total, dtype=indices.dtype), np.empty(total)
    _eliminated_rows(indptr, indices, values, is_kept, number, cols, result)
    return pointers, cols, result


@numba.njit(**OPTIONS)
def _eliminated_pointers(indptr, indices, is_kept, pointers):  # type: ignore[no-untyped-def]
    n = len(is_kept)
    pointers[0] = 0
    total = 0
    for i in range(n):
        if is_kept[i]:
            total += 1
        else:
            for k in range(indptr[i], indptr[i + 1]):
                total += indices[k] != i
        pointers[i + 1] = total
    return total


@numba.njit(**OPTIONS)
def _eliminated_rows(indptr, indices, values, is_kept, number, cols, result):  # type: ignore[no-untyped-def]
    e = np.uint64(0)
    for i in range(len(is_kept)):
        if is_kept[i]:
            cols[e], result[e] = number[i], 1.0
            e += ONE
            continue
        for k in range(indptr[i], indptr[i + 1]):
            if indices[k] != i:
                cols[e], result[e] = number[indices[k]], -values[k]
                e += ONE


def schur_complement(
    indptr: np.ndarray,
    indices: np.ndarray,
    values: np.ndarray,
    is_kept: np.ndarray,
    number: np.ndarray,
    kept: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CSR arrays of the Schur complement on kept rows, unsorted, without exact zeros."""
    bound = _schur_bound(indptr, indices, is_kept, kept)
    pointers = np.empty(len(kept) + 1, dtype=indptr.dtype)
    cols, result = np.empty(bound, dtype=indices.dtype), np.empty(bound)
    stop = _schur(indptr, indices, values, is_kept, number, kept, pointers, cols, result)
    return pointers, cols[:stop].copy(), result[:stop].copy()


@numba.njit(**OPTIONS)
def _schur_bound(indptr, indices, is_kept, kept):  # type: ignore[no-untyped-def]
    bound = 0
    for i in kept:
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            bound += 1 if is_kept[j] else np.int64(indptr[j + ONE] - indptr[j]) - 1
    return bound


@numba.njit(**OPTIONS)
def _schur(indptr, indices, values, is_kept, number, kept, pointers, cols, result):  # type: ignore[no-untyped-def]
    # Sums of the current row, and where in the row a column was met first.
    found_in, sums = np.full(len(kept), -1), np.empty(len(kept))
    start = 0
    pointers[0] = 0
    for row in range(len(kept)):
        i, count = kept[row], start
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if is_kept[j]:
                c = number[j]
                if found_in[c] != row:
                    found_in[c], sums[c] = row, 0.0
                    cols[count] = c
                    count += 1
                sums[c] += values[k]
                continue
            for m in range(indptr[j], indptr[j + ONE]):
                if indices[m] == j:
                    continue
                c = number[indices[m]]
                if found_in[c] != row:
                    found_in[c], sums[c] = row, 0.0
                    cols[count] = c
                    count += 1
                sums[c] -= values[k] * values[m]
        stop = start
        for k in range(start, count):
            c = cols[k]
            if sums[c] != 0.0:
                cols[stop], result[stop] = c, sums[c]
                stop += 1
        start = stop
        pointers[row + 1] = stop
    return start
