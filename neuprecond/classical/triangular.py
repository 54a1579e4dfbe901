"""Sparse triangles and their solves, for one right-hand side or for many at once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit
from scipy import sparse

from neuprecond.rows import ONE, csr

__all__ = ["Triangle"]


@dataclass(frozen=True)
class Triangle:
    """A sparse triangular matrix T, ready for T⁻¹ R.

    SciPy's ``spsolve_triangular`` checks and converts at each call, which costs many times the
    solve itself; hence these kernels.

    Attributes
    ----------
    strict : csr_array, shape (n, n)
        The entries off the diagonal.
    inverse_diagonal : ndarray, shape (n,)
        One over each diagonal entry.
    upper : bool
        T is upper triangular and solved from the last row up.

    Examples
    --------
    >>> T = Triangle.of(sparse.csr_array([[2.0, 0.0], [1.0, 4.0]]))
    >>> T.solve(np.array([2.0, 9.0]))
    array([1., 2.])
    """

    strict: sparse.csr_array
    inverse_diagonal: np.ndarray
    upper: bool = False

    @classmethod
    def of(cls, T: sparse.sparray, *, upper: bool = False) -> "Triangle":
        """Split a triangular T, which has no zero on its diagonal."""
        strict = sparse.csr_array(sparse.triu(T, k=1) if upper else sparse.tril(T, k=-1))
        strict.sort_indices()
        return cls(strict, 1.0 / T.diagonal(), upper)

    @property
    def multiplications(self) -> int:
        """Multiplications of one solve."""
        return self.strict.nnz + len(self.inverse_diagonal)

    def adjoint(self) -> "Triangle":
        """Take Tᴴ, the triangle of the other kind; made at the first call and kept."""
        return self._adjoint

    @cached_property
    def _adjoint(self) -> "Triangle":
        return Triangle(self.strict.conj().T.tocsr(), self.inverse_diagonal.conj(), not self.upper)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the adjoint, which is soon made again."""
        return {name: value for name, value in vars(self).items() if name != "_adjoint"}

    def solve(self, R: np.ndarray) -> np.ndarray:
        """Return T⁻¹ R for R of shape (n,) or (n, k); R keeps its values."""
        X = np.array(R, order="C")
        kernel = _solve_one if X.ndim == 1 else _solve_many
        # Indices that cannot be negative are looked up in two thirds of the time.
        kernel(*csr(self.strict), self.inverse_diagonal, self.upper, X)
        return X


# Two kernels, since the one for many columns takes half as long again on a single one.
@njit(cache=True, nogil=True)
def _solve_one(indptr, indices, data, inverse, upper, x):  # type: ignore[no-untyped-def]
    n = len(inverse)
    if not upper:
        for i in range(n):
            total = x[i]
            for p in range(indptr[i], indptr[i + 1]):
                total -= data[p] * x[indices[p]]
            x[i] = total * inverse[i]
        return
    # From the last entry to the first: that one waits for the row just solved, the others do not.
    for t in range(n):
        i = np.uint64(n - 1 - t)
        total, last = x[i], indptr[i + ONE] - ONE
        for p in range(indptr[i + ONE] - indptr[i]):
            total -= data[last - p] * x[indices[last - p]]
        x[i] = total * inverse[i]


@njit(cache=True, nogil=True)
def _solve_many(indptr, indices, data, inverse, upper, X):  # type: ignore[no-untyped-def]
    n = len(inverse)
    for t in range(n):
        i = n - 1 - t if upper else t
        for p in range(indptr[i], indptr[i + 1]):
            value, j = data[p], indices[p]
            for c in range(X.shape[1]):
                X[i, c] -= value * X[j, c]
        for c in range(X.shape[1]):
            X[i, c] *= inverse[i]
