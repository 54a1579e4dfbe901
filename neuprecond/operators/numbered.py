"""Levels of the two-sided cycle in the order of their factors, behind each other in flat arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from scipy import sparse

from neuprecond import rows
from neuprecond.operators import sweeps
from neuprecond.operators.lanes import LANES

__all__ = ["Factored", "FlatCycle", "Reduced", "Swept", "moved", "reduced"]


@dataclass(frozen=True)
class Reduced:
    """A level that is solved exactly but for a smaller one: x = up x_c + d r, with r_c = down r.

    Attributes
    ----------
    down, up : csr_array, shapes (nc, n) and (n, nc)
    d : ndarray, shape (n,)
    """

    down: sparse.csr_array
    up: sparse.csr_array
    d: np.ndarray

    def adjoint(self) -> "Reduced":
        """The same for Aᵀ."""
        return Reduced(_transpose(self.up), _transpose(self.down), self.d)


@dataclass(frozen=True)
class Factored:
    """An approximate inverse (I + U)⁻¹ diag(d) (I + L)⁻¹.

    Attributes
    ----------
    lower, upper : csr_array, shape (n, n)
        Strict triangles L and U, sorted.
    d : ndarray, shape (n,)
    """

    lower: sparse.csr_array
    upper: sparse.csr_array
    d: np.ndarray

    def adjoint(self) -> "Factored":
        """The same for Aᵀ."""
        return Factored(_transpose(self.upper), _transpose(self.lower), self.d)


@dataclass(frozen=True)
class Swept:
    """A level that is smoothed, corrected and smoothed, in the order of its factors.

    Attributes
    ----------
    A : csr_array, shape (n, n)
    S : Factored
    P, T : csr_array, shape (n, nc)
        Prolongation and transpose of the restriction; stored once where they are one object.
    """

    A: sparse.csr_array
    S: Factored
    P: sparse.csr_array
    T: sparse.csr_array

    def adjoint(self) -> "Swept":
        """The same for Aᵀ; sweeps before and after are one each, so the order stays."""
        return Swept(_transpose(self.A), self.S.adjoint(), self.T, self.P)


def _transpose(A: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array(A.T.tocsr())


def moved(A: sparse.csr_array, order: np.ndarray, place: np.ndarray) -> sparse.csr_array:
    """A whose i-th row is row order[i] of A and whose column place[j] is column j; unsorted."""
    indptr, indices, values = rows.permuted(*rows.csr(A), order, place)
    signed = A.indptr.dtype
    return _array((indptr.view(signed), indices.view(signed), values), (len(order), A.shape[1]))


def reduced(
    eliminated: np.ndarray,
    kept: np.ndarray,
    upper: sparse.csr_array,
    lower: sparse.csr_array,
    left: np.ndarray,
    right: np.ndarray,
    *,
    order: np.ndarray,
    place: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
) -> Reduced:
    """Block elimination with everything that scales or moves vectors put into its matrices.

    Parameters
    ----------
    eliminated, kept, upper, lower, left, right
        As of `two_sided.Elimination`.
    order : ndarray of int, shape (len(kept),)
        Which kept unknown the i-th residual below belongs to.
    place : ndarray of int, shape (len(kept),)
        Where the solution for each kept unknown stands below.
    before, after : ndarray, shape (n,)
        What residuals are multiplied by at first, and solutions at last.
    """
    n, index = len(before), sparse.get_index_dtype(maxval=len(before) + upper.nnz + lower.nnz)

    def room(height: int, nnz: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.empty(height + 1, index), np.empty(nnz, index), np.empty(nnz)

    down, up = room(len(kept), len(kept) + lower.nnz), room(n, len(kept) + upper.nnz)
    _fill_down(*rows.csr(lower), eliminated, kept, left, before, order, *down)
    # Which row of upper an unknown has; below zero, which of the kept ones it is.
    owner, d = np.empty(n, np.int64), np.empty(n)
    owner[eliminated], owner[kept] = np.arange(len(eliminated)), -1 - np.arange(len(kept))
    _fill_up(*rows.csr(upper), owner, right, before, after, place, *up, d)
    shape = len(kept), n
    return Reduced(_array(down, shape), _array(up, shape[::-1]), d)


@numba.njit(**rows.OPTIONS)
def _fill_down(  # type: ignore[no-untyped-def]
    indptr, indices, values, eliminated, kept, left, before, order, pointers, cols, result
):  # fmt: skip
    """Row by row, left (r_kept - lower r_eliminated), where r is scaled before."""
    e = 0
    pointers[0] = 0
    for row in range(len(order)):
        i = order[row]
        own = kept[i]
        cols[e], result[e] = own, left[i] * before[own]
        e += 1
        for k in range(indptr[i], indptr[i + 1]):
            j = eliminated[indices[k]]
            cols[e], result[e] = j, -left[i] * values[k] * before[j]
            e += 1
        pointers[row + 1] = e


@numba.njit(**rows.OPTIONS)
def _fill_up(  # type: ignore[no-untyped-def]
    indptr, indices, values, owner, right, before, after, place, pointers, cols, result, d
):  # fmt: skip
    """Row by row, right x for a kept unknown and r - upper right x for others, scaled after."""
    e = 0
    pointers[0] = 0
    for i in range(len(owner)):
        row = owner[i]
        if row < 0:
            own = -1 - row
            cols[e], result[e], d[i] = place[own], right[own] * after[i], 0.0
            e += 1
        else:
            d[i] = before[i] * after[i]
            for k in range(indptr[row], indptr[row + 1]):
                j = indices[k]
                cols[e], result[e] = place[j], -values[k] * right[j] * after[i]
                e += 1
        pointers[i + 1] = e


class FlatCycle:
    """All levels in flat arrays, for one compiled call.

    Parameters
    ----------
    levels : sequence of Reduced or Swept
        From the finest down; the first one is a reduced one.
    bottom : ndarray, shape (nc, nc), or Factored
        Inverse of the last matrix, or what stands for it.
    """

    def __init__(self, levels: Sequence[Reduced | Swept], bottom: np.ndarray | Factored) -> None:
        matrices: list[sparse.csr_array] = []
        slots = np.zeros((len(levels) + 1, sweeps.SLOTS), dtype=np.int64)

        def store(level: int, *parts: sparse.csr_array) -> None:
            for slot, matrix in enumerate(parts):
                if slot == sweeps.T_ and matrix is parts[sweeps.P_]:
                    slots[level, slot] = slots[level, sweeps.P_]
                    continue
                slots[level, slot] = len(matrices)
                matrices.append(matrix)

        kinds, d = [], []
        for number, level in enumerate(levels):
            if isinstance(level, Reduced):
                kinds.append(sweeps.REDUCED)
                d.append(level.d)
                store(number, level.down, level.up)
            else:
                kinds.append(sweeps.SWEPT)
                d.append(level.S.d)
                store(number, level.S.lower, level.S.upper, level.A, level.P, level.T)
        if isinstance(bottom, Factored):
            kinds.append(sweeps.FACTORED)
            d.append(bottom.d)
            store(len(levels), bottom.lower, bottom.upper)
            self._inverse = np.empty((0, 0))
        else:
            kinds.append(sweeps.INVERTED)
            # Nothing is read of these.
            d.append(np.zeros(len(bottom)))
            self._inverse = np.array(bottom.T, dtype=np.float64, order="C")
        self._kinds, self._slots = np.array(kinds, dtype=np.int64), slots
        self._shapes = [matrix.shape for matrix in matrices]
        self._starts = _starts([len(part) for part in d])
        self._pointers = _starts([len(matrix.indptr) for matrix in matrices])
        self._entries = _starts([matrix.nnz for matrix in matrices])
        # As in `operators.cycle`: half the memory where that will do.
        index = np.uint32 if self._entries[-1] < np.iinfo(np.uint32).max else np.uint64
        self._indptr = _joined([matrix.indptr for matrix in matrices], index)
        self._indices = _joined([matrix.indices for matrix in matrices], index)
        self._values = _joined([matrix.data for matrix in matrices], np.float64)
        self._d = _joined(d, np.float64)

    @property
    def _flat(self) -> tuple[np.ndarray, ...]:
        return (
            self._kinds,
            self._slots,
            self._starts,
            self._pointers,
            self._entries,
            self._indptr,
            self._indices,
            self._values,
            self._d,
            self._inverse,
        )

    def vector(self, r: np.ndarray) -> np.ndarray:
        """M r for a contiguous r of shape (n,)."""
        z = np.empty_like(r)
        # NumPy's memory is cheaper than what a compiled loop allocates: it comes in large pages.
        sweeps.run_vector(*self._flat, np.empty((2, self._starts[-1] - len(r))), r, z)
        return z

    def block(self, R: np.ndarray) -> np.ndarray:
        """M R for R of shape (n, k)."""
        if R.shape[1] == 1:
            return self.vector(R[:, 0])[:, None]
        Z = np.empty_like(R)
        sweeps.run_block(*self._flat, np.empty((2, self._starts[-1], LANES)), R, Z)
        return Z

    def adjoint(self) -> "FlatCycle":
        """The same for Aᵀ, with arrays of its own."""
        levels: list[Reduced | Swept] = []
        for number in range(len(self._kinds) - 1):
            if self._kinds[number] == sweeps.REDUCED:
                down, up = (self._matrix(number, slot) for slot in (sweeps.DOWN_, sweeps.UP_))
                levels.append(Reduced(down, up, self._pivots(number)).adjoint())
            else:
                A, P, T = (self._matrix(number, slot) for slot in (sweeps.A_, sweeps.P_, sweeps.T_))
                if self._slots[number, sweeps.P_] == self._slots[number, sweeps.T_]:
                    T = P
                levels.append(Swept(A, self._factors(number), P, T).adjoint())
        last = len(self._kinds) - 1
        if self._kinds[last] == sweeps.FACTORED:
            return FlatCycle(levels, self._factors(last).adjoint())
        # It is stored as its transpose.
        return FlatCycle(levels, self._inverse)

    def _factors(self, level: int) -> Factored:
        lower, upper = (self._matrix(level, slot) for slot in (sweeps.LOWER_, sweeps.UPPER_))
        return Factored(lower, upper, self._pivots(level))

    def _pivots(self, level: int) -> np.ndarray:
        return self._d[self._starts[level] : self._starts[level + 1]]

    def _matrix(self, level: int, slot: int) -> sparse.csr_array:
        k = self._slots[level, slot]
        start, stop = self._entries[k : k + 2]
        signed = np.int32 if self._indices.dtype == np.uint32 else np.int64
        parts = (
            self._indptr[self._pointers[k] : self._pointers[k + 1]].view(signed),
            self._indices[start:stop].view(signed),
            self._values[start:stop],
        )
        return _array(parts, self._shapes[k])


def _array(
    parts: tuple[np.ndarray, np.ndarray, np.ndarray], shape: tuple[int, int]
) -> sparse.csr_array:
    """Matrix of row pointers, columns and values."""
    indptr, indices, values = parts
    return sparse.csr_array((values, indices, indptr), shape=shape)


def _starts(lengths: Sequence[int]) -> np.ndarray:
    """Where parts of these lengths start behind each other, and where the last one ends."""
    return np.cumsum([0, *lengths]).astype(np.int64)


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    """All parts behind each other, in one pass and without a copy in between."""
    return np.concatenate([np.empty(0, dtype), *parts], dtype=dtype, casting="unsafe")
