"""The cycle for nonsymmetric A as a SciPy operator: restriction is not prolongation's transpose."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from neuprecond.operators.base import ApproximateInverse

__all__ = ["Elimination", "Smoothed", "Stage", "TwoSidedCycle"]

#: What is applied to a coarser level's residuals, of shape (n,) or (n, k).
Below = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Elimination:
    """Unknowns that are coupled to kept ones only, solved for exactly; unit diagonal.

    Attributes
    ----------
    eliminated, kept : ndarray of int
        Unknowns on either side.
    upper : csr_array, shape (len(eliminated), len(kept))
        Couplings of eliminated rows to kept columns.
    lower : csr_array, shape (len(kept), len(eliminated))
        Couplings of kept rows to eliminated columns.
    left, right : ndarray, shape (len(kept),)
        Scaling of the matrix of kept unknowns, to a unit diagonal again.
    """

    eliminated: np.ndarray
    kept: np.ndarray
    upper: sparse.csr_array
    lower: sparse.csr_array
    left: np.ndarray
    right: np.ndarray

    @property
    def unknowns(self) -> int:
        """Unknowns on this level."""
        return len(self.eliminated) + len(self.kept)

    @property
    def multiplications(self) -> float:
        """Multiplications a visit."""
        return float(self.upper.nnz + self.lower.nnz)

    @property
    def stored(self) -> int:
        """Entries of this level's matrix."""
        return self.upper.nnz + self.lower.nnz + self.unknowns

    def apply(self, R: np.ndarray, below: Below) -> np.ndarray:
        """Solve by block elimination, the kept unknowns by what is below."""
        Z = np.empty_like(R)
        first = R.take(self.eliminated, axis=0)
        left, right = (x if R.ndim == 1 else x[:, None] for x in (self.left, self.right))
        last = right * below(left * (R.take(self.kept, axis=0) - self.lower @ first))
        Z[self.kept] = last
        Z[self.eliminated] = first - self.upper @ last
        return Z

    def adjoint(self) -> "Elimination":
        """The same for Aᵀ."""
        upper, lower = (sparse.csr_array(x.T.tocsr()) for x in (self.lower, self.upper))
        return Elimination(self.eliminated, self.kept, upper, lower, self.right, self.left)


@dataclass(frozen=True)
class Smoothed:
    """A level that is smoothed before and after its correction.

    Attributes
    ----------
    A : csr_array, shape (n, n)
        Matrix.
    S : LinearOperator, shape (n, n)
        Smoother, an approximate inverse of A.
    P, R : csr_array, shapes (n, nc) and (nc, n)
        Prolongation and restriction.
    cost : float
        Multiplications of S.
    """

    A: sparse.csr_array
    S: LinearOperator
    P: sparse.csr_array
    R: sparse.csr_array
    cost: float

    @property
    def unknowns(self) -> int:
        """Unknowns on this level."""
        return self.A.shape[0]

    @property
    def multiplications(self) -> float:
        """Multiplications a visit."""
        return 2.0 * self.cost + 2.0 * self.A.nnz + self.P.nnz + self.R.nnz

    @property
    def stored(self) -> int:
        """Entries of this level's matrix."""
        return self.A.nnz

    def apply(self, R: np.ndarray, below: Below) -> np.ndarray:
        """Smooth, correct, smooth, from zero."""
        X = _applied(self.S, R)
        X += self.P @ below(self.R @ (R - self.A @ X))
        X += _applied(self.S, R - self.A @ X)
        return X

    def adjoint(self) -> "Smoothed":
        """The same for Aᵀ; sweeps before and after are one each, so the order stays."""
        A, P, R = (sparse.csr_array(x.T.tocsr()) for x in (self.A, self.R, self.P))
        return Smoothed(A, self.S.H, P, R, self.cost)


def _applied(S: np.ndarray | LinearOperator, R: np.ndarray) -> np.ndarray:
    """S @ R; of ours without SciPy's checks, which take as long as a sweep on a small level."""
    own = getattr(S, "_apply", None)
    return S @ R if own is None else own(R)


#: A level of the cycle.
Stage = Elimination | Smoothed


class TwoSidedCycle(ApproximateInverse):
    """M ≈ A⁻¹ for a nonsymmetric A: exact elimination, levels, and an inverse at the bottom.

    Parameters
    ----------
    stages : sequence of Elimination or Smoothed
        From the finest down.
    bottom : ndarray or LinearOperator, shape (nc, nc)
        Inverse, or approximate inverse, of the last matrix.
    bottom_cost, bottom_entries : float, int
        Multiplications of the bottom, and entries of its matrix.
    left, right : ndarray, shape (n,)
        Scalings: M = diag(right) C diag(left), C made for diag(left) A diag(right).
    plan : str
        What it was built by.
    **about
        What M tells of itself, see `ApproximateInverse`.

    Notes
    -----
    M is fixed and linear, but not symmetric: for GMRES or BiCGStab, not CG.
    """

    symmetric = False

    def __init__(
        self,
        stages: Sequence[Stage],
        bottom: np.ndarray | LinearOperator,
        left: np.ndarray,
        right: np.ndarray,
        *,
        bottom_cost: float,
        bottom_entries: int,
        plan: str,
        model: str,
        learned: bool,
        nnz: int,
        setup_seconds: dict[str, float],
    ) -> None:
        self.plan = plan
        self._stages = tuple(stages)
        self._bottom, self._left, self._right = bottom, left, right
        self._nnz, self._bottom_cost, self._bottom_entries = nnz, bottom_cost, bottom_entries
        cost = sum(stage.multiplications for stage in self._stages) + bottom_cost
        stored = sum(stage.stored for stage in self._stages) + bottom_entries
        super().__init__(
            len(left),
            model=model,
            kind="nonsymmetric",
            learned=learned,
            density=cost / max(nnz, 1),
            levels=len(self._stages) + 1,
            operator_complexity=stored / max(nnz, 1),
            setup_seconds=setup_seconds,
        )

    def _apply_vector(self, r: np.ndarray) -> np.ndarray:
        return self._right * self._from(0, self._left * r)

    def _apply_block(self, R: np.ndarray) -> np.ndarray:
        return self._right[:, None] * self._from(0, self._left[:, None] * R)

    def _from(self, level: int, R: np.ndarray) -> np.ndarray:
        if level == len(self._stages):
            return _applied(self._bottom, R)
        return self._stages[level].apply(R, lambda coarse: self._from(level + 1, coarse))

    def _adjoint(self) -> "TwoSidedCycle":
        return self._kept_adjoint

    # M is real.
    _transpose = _adjoint

    @cached_property
    def _kept_adjoint(self) -> "TwoSidedCycle":
        bottom = self._bottom
        adjoint = bottom.T if isinstance(bottom, np.ndarray) else bottom.H
        return TwoSidedCycle(
            [stage.adjoint() for stage in self._stages],
            adjoint,
            self._right,
            self._left,
            bottom_cost=self._bottom_cost,
            bottom_entries=self._bottom_entries,
            plan=self.plan,
            model=self.model,
            learned=self.learned,
            nnz=self._nnz,
            setup_seconds=self.setup_seconds,
        )

    def _rmatvec(self, r: np.ndarray) -> np.ndarray:
        return self._kept_adjoint._matvec(r)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the adjoint, which is soon made again."""
        return {name: value for name, value in vars(self).items() if name != "_kept_adjoint"}

    def _level_lines(self) -> list[str]:
        lines = [f"  plan {self.plan!r}", "  level   unknowns     nonzeros"]
        for level, stage in enumerate(self._stages):
            note = "   eliminated in part" if isinstance(stage, Elimination) else ""
            lines.append(f"  {level:5d} {stage.unknowns:10d} {stage.stored:12d}{note}")
        bottom = self._bottom.shape[0]
        lines.append(f"  {len(self._stages):5d} {bottom:10d} {self._bottom_entries:12d}")
        return lines
