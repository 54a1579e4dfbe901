"""The cycle for nonsymmetric A as a SciPy operator: restriction is not prolongation's transpose."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from neuprecond.operators.base import ApproximateInverse
from neuprecond.operators.numbered import Factored, FlatCycle, Reduced, Swept, moved, reduced

__all__ = ["Elimination", "Factors", "Smoothed", "Stage", "TwoSidedCycle"]


@dataclass(frozen=True)
class Factors:
    """S = (I + U)⁻¹ diag(d) (I + L)⁻¹ between two permutations.

    Attributes
    ----------
    lower, upper : csr_array, shape (n, n)
        Strict triangles L and U, sorted.
    d : ndarray, shape (n,)
    order : ndarray of int, shape (n,)
        Which unknown's residual is the i-th that L is solved with.
    place : ndarray of int, shape (n,)
        Where in what U gives an unknown's value stands.
    """

    lower: sparse.csr_array
    upper: sparse.csr_array
    d: np.ndarray
    order: np.ndarray
    place: np.ndarray

    @property
    def multiplications(self) -> float:
        """Multiplications of S."""
        return float(self.lower.nnz + self.upper.nnz + 2 * len(self.d))

    @property
    def flat(self) -> Factored:
        """What is between the permutations."""
        return Factored(self.lower, self.upper, self.d)


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


@dataclass(frozen=True)
class Smoothed:
    """A level that is smoothed before and after its correction.

    Attributes
    ----------
    A : csr_array, shape (n, n)
        Matrix.
    S : Factors
        Smoother, an approximate inverse of A; its ``place`` is the inverse of its ``order``.
    P : csr_array, shape (n, nc)
        Prolongation.
    R : csr_array, shape (nc, n), or None
        Restriction; None for P's transpose, which needs no arrays of its own.
    """

    A: sparse.csr_array
    S: Factors
    P: sparse.csr_array
    R: sparse.csr_array | None = None

    @property
    def unknowns(self) -> int:
        """Unknowns on this level."""
        return self.A.shape[0]

    @property
    def multiplications(self) -> float:
        """Multiplications a visit."""
        restriction = self.P if self.R is None else self.R
        return 2.0 * (self.S.multiplications + self.A.nnz) + self.P.nnz + restriction.nnz

    @property
    def stored(self) -> int:
        """Entries of this level's matrix."""
        return self.A.nnz


#: A level of the cycle.
Stage = Elimination | Smoothed


class TwoSidedCycle(ApproximateInverse):
    """M ≈ A⁻¹ for a nonsymmetric A: exact elimination, levels, and an inverse at the bottom.

    Parameters
    ----------
    stages : sequence of Elimination or Smoothed
        From the finest down.
    bottom : ndarray, shape (nc, nc), or Factors
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
    M is fixed and linear, but not symmetric: for GMRES or BiCGStab, not CG. A level is smoothed,
    corrected and smoothed again, from zero; elimination is exact.
    """

    symmetric = False

    def __init__(
        self,
        stages: Sequence[Stage],
        bottom: np.ndarray | Factors,
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
        self._flat = _flat(stages, bottom, left, right)
        # Unknowns and entries of each level, for the table, and whether it is eliminated in part.
        size = len(bottom) if isinstance(bottom, np.ndarray) else len(bottom.d)
        self._table = [
            *((stage.unknowns, stage.stored, isinstance(stage, Elimination)) for stage in stages),
            (size, bottom_entries, False),
        ]
        cost = sum(stage.multiplications for stage in stages) + bottom_cost
        stored = sum(entries for _, entries, _ in self._table)
        super().__init__(
            len(left),
            model=model,
            kind="nonsymmetric",
            learned=learned,
            density=cost / max(nnz, 1),
            levels=len(self._table),
            operator_complexity=stored / max(nnz, 1),
            setup_seconds=setup_seconds,
        )

    def _apply_vector(self, r: np.ndarray) -> np.ndarray:
        return self._flat.vector(r)

    def _apply_block(self, R: np.ndarray) -> np.ndarray:
        return self._flat.block(R)

    def _adjoint(self) -> "TwoSidedCycle":
        return self._kept_adjoint

    # M is real.
    _transpose = _adjoint

    @cached_property
    def _kept_adjoint(self) -> "TwoSidedCycle":
        adjoint = copy.copy(self)
        adjoint._flat = self._flat.adjoint()
        return adjoint

    def _rmatvec(self, r: np.ndarray) -> np.ndarray:
        return self._kept_adjoint._matvec(r)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the adjoint, which is soon made again."""
        return {name: value for name, value in vars(self).items() if name != "_kept_adjoint"}

    def _level_lines(self) -> list[str]:
        lines = [f"  plan {self.plan!r}", "  level   unknowns     nonzeros"]
        for level, (unknowns, entries, eliminated) in enumerate(self._table):
            note = "   eliminated in part" if eliminated else ""
            lines.append(f"  {level:5d} {unknowns:10d} {entries:12d}{note}")
        return lines


def _flat(
    stages: Sequence[Stage], bottom: np.ndarray | Factors, left: np.ndarray, right: np.ndarray
) -> FlatCycle:
    """Number each level such that its factors need no permutation, and scale nothing on the way."""
    levels: list[Reduced | Swept] = []
    size = len(bottom) if isinstance(bottom, np.ndarray) else len(bottom.d)
    # Of what is below: which unknown's residual is the i-th, and where an unknown's solution is.
    order = place = np.arange(size)
    if isinstance(bottom, Factors):
        order, place = bottom.order, bottom.place
    for level, stage in reversed(list(enumerate(stages))):
        if isinstance(stage, Elimination):
            ones = np.ones(stage.unknowns)
            before, after = (left, right) if level == 0 else (ones, ones)
            levels.append(_reduced(stage, order, place, before, after))
            order = place = np.arange(stage.unknowns)
        else:
            S = stage.S
            P = T = moved(stage.P, S.order, place)
            residual = _inverse(order)
            if stage.R is not None:
                T = moved(sparse.csr_array(stage.R.T.tocsr()), S.order, residual)
            elif not np.array_equal(residual, place):
                T = moved(stage.P, S.order, residual)
            levels.append(Swept(moved(stage.A, S.order, S.place), S.flat, P, T))
            order, place = S.order, S.place
    if not stages or isinstance(stages[0], Smoothed):
        # Nothing is eliminated: what is left to do is to scale and to renumber.
        n = len(left)
        ones, everything = np.ones(n), np.arange(n)
        none, of_none = sparse.csr_array((0, n)), sparse.csr_array((n, 0))
        nothing = Elimination(np.arange(0), everything, none, of_none, ones, ones)
        levels.append(_reduced(nothing, order, place, left, right))
    return FlatCycle(levels[::-1], bottom.flat if isinstance(bottom, Factors) else bottom)


def _reduced(
    stage: Elimination,
    order: np.ndarray,
    place: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
) -> Reduced:
    return reduced(
        stage.eliminated,
        stage.kept,
        stage.upper,
        stage.lower,
        stage.left,
        stage.right,
        order=order,
        place=place,
        before=before,
        after=after,
    )


def _inverse(order: np.ndarray) -> np.ndarray:
    """The place of each unknown in an order."""
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place
