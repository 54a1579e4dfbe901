"""Classical interpolation that survives cancelling weights, and interpolation of least energy."""

import numba
import numpy as np
from scipy import sparse

from neuprecond import rows
from neuprecond.rows import ONE, OPTIONS

__all__ = [
    "classical_interpolation",
    "least_energy",
    "minimised_aggregates",
    "minimised_splitting",
]

# Sound weights sum to 1, with a few negative ones among them to little more. Where terms of both
# signs cancel in a denominator they are of any size, and the coarse matrix is rounding.
LARGEST_SUM = 2.0
# Steps of conjugate gradients on the energy; more gain nothing, see datasets/results/log.md.
ENERGY_STEPS = 3
# Sweeps of damped Jacobi on constants. Without them interpolation keeps constants up to where A
# ties unknowns down, as at a boundary, and takes twice as many iterations there.
RELAXED_SWEEPS = 4
# Weights smaller than this share of their row's largest are dropped where rows are split: a tenth
# of the work, at no more iterations.
LEAST_SHARE_OF_ROW = 0.1
# Patterns reach as far as they take no more multiplications than this many times A's entries to
# make: on random graphs two steps lead everywhere.
WIDEST = 10.0


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


def least_energy(
    A: sparse.csr_array,
    P: sparse.csr_array,
    pattern: sparse.csr_array,
    fixed: np.ndarray,
    *,
    steps: int = ENERGY_STEPS,
) -> sparse.csr_array:
    """Lower the energy of P's columns on a wider pattern, and keep its row sums.

    Conjugate gradients, with the diagonal of A as preconditioner, for the least trace of Pᵀ A P.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric, with a positive diagonal and near-null constants.
    P : csr_array, shape (n, nc)
        To start from, on a part of the pattern.
    pattern : csr_array, shape (n, nc)
        Where the result may have entries.
    fixed : ndarray of bool, shape (n,)
        Rows that stay as they are.
    steps : int
        Of conjugate gradients.

    Returns
    -------
    csr_array, shape (n, nc)
        Sorted. Absolute values of a row sum to 2 at most, or to what they summed to before.

    References
    ----------
    L. N. Olson, J. Schroder, R. S. Tuminaro, A general interpolation strategy for algebraic
    multigrid using energy minimization, SIAM J. Sci. Comput. 33, 2011.

    Examples
    --------
    >>> A = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(5, 5)).tocsr()
    >>> P = sparse.csr_array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> fixed = np.array([True, False, False, False, True])
    >>> least_energy(A, P, sparse.csr_array(np.ones((5, 2))), fixed).toarray().round(2)
    array([[1.  , 0.  ],
           [0.75, 0.25],
           [0.5 , 0.5 ],
           [0.25, 0.75],
           [0.  , 1.  ]])
    """
    # Entries that are zero in the result are there all the same, so the pattern is made of ones.
    free = np.repeat(~fixed, np.diff(pattern.indptr))
    starts = np.concatenate([[0], np.cumsum(free)])[pattern.indptr]
    ones = np.ones(int(free.sum()))
    wide = sparse.csr_array((ones, pattern.indices[free], starts), shape=P.shape)
    wide = sparse.csr_array(wide + _ones(P))
    wide.sort_indices()
    links = rows.unsigned(wide.indptr), rows.unsigned(wide.indices)
    x = np.zeros(wide.nnz)
    _placed(*rows.csr(P), *links, P.shape[1], x)
    start = x.copy()
    matrix = *rows.csr(A), *links
    residual, change = np.empty_like(x), np.empty_like(x)
    _energy_slope(*matrix, x, fixed, P.shape[1], residual)
    d = A.diagonal()
    weight = np.repeat(1.0 / np.where(d > 0.0, d, np.inf), np.diff(wide.indptr))
    direction, before = np.zeros_like(x), 1.0
    for step in range(steps):
        preconditioned = weight * residual
        now = float(residual @ preconditioned)
        if now <= 1e-28 * float(x @ x):
            break
        direction = preconditioned + (now / before if step else 0.0) * direction
        before = now
        _energy_slope(*matrix, direction, fixed, P.shape[1], change)
        energy = -float(direction @ change)
        # Not positive where A is not, by rounding or by nature.
        if energy <= 0.0:
            break
        x += now / energy * direction
        residual += now / energy * change
    result = sparse.csr_array((x, wide.indices, wide.indptr), shape=P.shape)
    # Where entries of A have either sign weights may grow without sense: such rows stay as they
    # were.
    ones = np.ones(P.shape[1])
    wild = abs(result) @ ones > np.maximum(LARGEST_SUM, abs(P) @ ones)
    result.data = np.where(np.repeat(wild, np.diff(wide.indptr)), start, x)
    return result


def minimised_aggregates(
    A: sparse.csr_array,
    tentative: sparse.csr_array,
    strong: sparse.csr_array,
    roots: np.ndarray,
    weight: float,
) -> sparse.csr_array:
    """Interpolate from aggregates with the least energy, from root to root.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric, with near-null constants.
    tentative : csr_array, shape (n, nc)
        Membership in aggregates, as ones.
    strong : csr_array, shape (n, n)
        Strong connections, the diagonal among them: weights reach two of them far.
    roots : ndarray of int, shape (nc,)
        An unknown of each aggregate, which takes its value alone.
    weight : float
        Of damped Jacobi's sweeps, in units of A's inverse diagonal.

    Returns
    -------
    csr_array, shape (n, nc)
    """
    n = A.shape[0]
    near_null, d = np.ones(n), A.diagonal()
    d = np.where(d > 0.0, d, np.inf)
    for _ in range(RELAXED_SWEEPS):
        near_null -= weight * (A @ near_null) / d
    start = tentative.copy()
    start.data = start.data * np.repeat(near_null, np.diff(start.indptr))
    near = _reached(A, strong, tentative)
    return least_energy(A, start, _reached(A, strong, near), _named(n, roots))


def minimised_splitting(
    A: sparse.csr_array, P: sparse.csr_array, strong: sparse.csr_array, roots: np.ndarray
) -> sparse.csr_array:
    """Interpolate from coarse unknowns up to distance two, with the least energy.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric, with near-null constants.
    P : csr_array, shape (n, nc)
        Interpolation from direct neighbours, the identity on coarse rows.
    strong : csr_array, shape (n, n)
        Strong connections without the diagonal.
    roots : ndarray of int, shape (nc,)
        The coarse unknowns.

    Returns
    -------
    csr_array, shape (n, nc)
        Without its smallest weights; row sums are P's.
    """
    wide = least_energy(A, P, _reached(A, strong, _ones(P)), _named(A.shape[0], roots))
    stop = _drop_small_weights(*rows.csr(wide), LEAST_SHARE_OF_ROW)
    return sparse.csr_array((wide.data[:stop], wide.indices[:stop], wide.indptr), shape=P.shape)


def _reached(
    A: sparse.csr_array, strong: sparse.csr_array, P: sparse.csr_array
) -> sparse.csr_array:
    """P's pattern, and what is a strong connection further, unless that is too much."""
    if rows.product_bound(strong.indices, rows.unsigned(P.indptr)) > WIDEST * A.nnz:
        return P
    return sparse.csr_array(_ones(strong) @ P + P)


def _ones(A: sparse.csr_array) -> sparse.csr_array:
    """Ones wherever a matrix has entries."""
    return sparse.csr_array((np.ones(A.nnz), A.indices, A.indptr), shape=A.shape)


def _named(n: int, some: np.ndarray) -> np.ndarray:
    flags = np.zeros(n, dtype=np.bool_)
    flags[some] = True
    return flags


@numba.njit(**OPTIONS)
def _placed(indptr, indices, values, pointers, cols, columns, result):  # type: ignore[no-untyped-def]
    """Write a matrix into the values of a pattern that holds its own."""
    place = np.zeros(columns, dtype=np.int64)
    for i in range(len(indptr) - 1):
        for k in range(pointers[i], pointers[i + 1]):
            place[cols[k]] = np.int64(k)
        for k in range(indptr[i], indptr[i + 1]):
            result[place[indices[k]]] = values[k]


@numba.njit(**OPTIONS)
def _energy_slope(  # type: ignore[no-untyped-def]
    indptr, indices, values, pointers, cols, X, fixed, columns, result
):  # fmt: skip
    """-A X on X's own pattern, less the mean of each row; zero in fixed rows."""
    place = np.full(columns, -1)
    for i in range(len(indptr) - 1):
        start, stop = np.int64(pointers[i]), np.int64(pointers[i + 1])
        for k in range(start, stop):
            result[k] = 0.0
            place[cols[k]] = k
        # A row of one entry has no other sum.
        if fixed[i] or stop - start < 2:
            continue
        for k in range(indptr[i], indptr[i + 1]):
            j, a = indices[k], values[k]
            for m in range(pointers[j], pointers[j + ONE]):
                p = place[cols[m]]
                # Places of rows before are further up.
                if p >= start and p < stop:
                    result[p] -= a * X[m]
        mean = 0.0
        for k in range(start, stop):
            mean += result[k]
        mean /= stop - start
        for k in range(start, stop):
            result[k] -= mean


@numba.njit(**OPTIONS)
def _drop_small_weights(indptr, indices, values, share):  # type: ignore[no-untyped-def]
    """Drop, in place, weights below a share of their row's largest; what is left keeps the sum.

    Gives the number of entries that are left.
    """
    kept, start = 0, np.int64(indptr[0])
    for i in range(len(indptr) - 1):
        stop = np.int64(indptr[i + 1])
        largest, total, size, left, left_size = 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(start, stop):
            largest = max(largest, abs(values[k]))
            total += values[k]
            size += abs(values[k])
        for k in range(start, stop):
            if abs(values[k]) >= share * largest:
                left += values[k]
                left_size += abs(values[k])
        # Weights of both signs may cancel: then nothing but zeros goes.
        scale = total / left if left != 0.0 else 0.0
        sound = scale > 0.0 and scale * left_size <= max(size, LARGEST_SUM)
        for k in range(start, stop):
            if values[k] != 0.0 and (not sound or abs(values[k]) >= share * largest):
                indices[kept] = indices[k]
                values[kept] = values[k] * (scale if sound else 1.0)
                kept += 1
        start = stop
        indptr[i + 1] = kept
    return kept
