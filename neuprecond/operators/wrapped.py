"""Operators around others: the sign of a negative definite A, and classical fall-backs."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from neuprecond.operators.base import ApproximateInverse

__all__ = ["Fallback", "Negated"]


class Negated(ApproximateInverse):
    """-M, for a negative definite A whose negative M was made for.

    Parameters
    ----------
    M : ApproximateInverse
        Approximate inverse of -A.
    """

    def __init__(self, M: ApproximateInverse) -> None:
        super().__init__(
            M.shape[0],
            model=M.model,
            kind=M.kind,
            learned=M.learned,
            density=M.density,
            levels=M.levels,
            operator_complexity=M.operator_complexity,
            setup_seconds=M.setup_seconds,
        )
        self._M = M

    @property
    def inner(self) -> ApproximateInverse:
        """The approximate inverse of -A."""
        return self._M

    def _apply_vector(self, r: np.ndarray) -> np.ndarray:
        return -self._M._apply_vector(r)

    def _apply_block(self, R: np.ndarray) -> np.ndarray:
        return -self._M._apply_block(R)

    def on_arrays(
        self, matrix: Callable[[sparse.csr_array], Any], array: Callable[[np.ndarray], Any]
    ) -> Callable[[Any], Any]:
        """M on another library's arrays; see `ApproximateInverse.on_arrays`."""
        apply = self._M.on_arrays(matrix, array)
        return lambda r: -apply(r)

    def _level_lines(self) -> list[str]:
        return ["  of -A, negated", *self._M._level_lines()]


class Fallback(ApproximateInverse):
    """A classical M where no model fits; need not be symmetric.

    Parameters
    ----------
    M : LinearOperator
        With the attributes of `neuprecond.classical`'s preconditioners.
    """

    symmetric = False

    def __init__(self, M: LinearOperator) -> None:
        super().__init__(
            M.shape[0],
            model=M.name,
            kind="classical",
            learned=False,
            density=M.density,
            levels=1,
            operator_complexity=1.0,
            setup_seconds=M.setup_seconds,
            dtype=M.dtype,
        )
        self._M = M

    def _matvec(self, r: np.ndarray) -> np.ndarray:
        return self._M.matvec(np.asarray(r).reshape(-1))

    def _matmat(self, R: np.ndarray) -> np.ndarray:
        return self._M.matmat(R)

    def _apply_vector(self, r: np.ndarray) -> np.ndarray:
        return self._M.matvec(r)

    def _apply_block(self, R: np.ndarray) -> np.ndarray:
        return self._M.matmat(R)

    def _rmatvec(self, r: np.ndarray) -> np.ndarray:
        return self._M.rmatvec(np.asarray(r).reshape(-1))

    def _adjoint(self) -> LinearOperator:
        return self._M.adjoint()

    def _transpose(self) -> LinearOperator:
        return LinearOperator(
            self.shape,
            matvec=lambda r: self._M.rmatvec(np.conj(r)).conj(),
            rmatvec=lambda r: self._M.matvec(np.conj(r)).conj(),
            dtype=self.dtype,
        )
