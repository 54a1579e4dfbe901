"""The multigrid cycle over ranks: distributed products, and one process's cycle at the bottom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from petsc4py import PETSc
from scipy import sparse

from neuprecond.operators.cycle import Cycle

__all__ = ["DistributedCycle", "DistributedLevel", "Redundant"]


@dataclass(frozen=True)
class DistributedLevel:
    """Matrices of one level over ranks; as `neuprecond.operators.cycle.CycleLevel`.

    Attributes
    ----------
    A : Mat or None
        Of unit diagonal; None where the level is eliminated.
    S : Mat or Vec
        Smoother; a Vec of inverse pivots, zero on kept unknowns, where the level is eliminated.
    P : Mat
        Prolongation to this level's unknowns from the scaled unknowns of the next.
    visits : int
        How often the level is run by the one above it.
    """

    A: Any
    S: Any
    P: Any
    visits: int = 1

    @property
    def eliminated(self) -> bool:
        """Whether its unknowns were solved for exactly."""
        return self.A is None


class Redundant:
    """The coarsest matrix on every rank, with the cycle of one process for it.

    Parameters
    ----------
    A : Mat
        The coarsest matrix, distributed.
    cycle : Cycle
        M for it, the same on every rank.
    matrix : csr_array
        All of it.
    visits : int
        How often it is run by the level above it.
    """

    def __init__(self, A: Any, cycle: Cycle, matrix: sparse.csr_array, visits: int) -> None:
        self.cycle, self._matrix, self._visits = cycle, matrix, visits
        self.start, self.stop = A.getOwnershipRange()
        some = A.createVecLeft()
        self._gather, self._all = PETSc.Scatter.toAll(some)
        some.destroy()

    def apply(self, r: Any, z: Any) -> None:
        """Z becomes the solution for r: one gather, no other message."""
        self._gather.scatter(r, self._all, mode=PETSc.ScatterMode.FORWARD)
        whole = self._all.getArray(readonly=True)
        x = self.cycle @ whole
        if self._visits == 2:
            x = x + self.cycle @ (whole - self._matrix @ x)
        z.setArray(x[self.start : self.stop])

    def destroy(self) -> None:
        """Give memory back to PETSc."""
        self._gather.destroy()
        self._all.destroy()


class DistributedCycle:
    """One symmetric cycle over ranks, M ≈ A⁻¹; the steps are those of one process's `Cycle`.

    Parameters
    ----------
    levels : sequence of DistributedLevel
        From the finest down.
    bottom : Redundant
        What solves below them.
    s : Vec
        Scaling of the finest level.
    plan : str
        How it was coarsened, to show.
    """

    def __init__(
        self, levels: Sequence[DistributedLevel], bottom: Redundant, s: Any, plan: str
    ) -> None:
        self.levels, self.bottom, self.s, self.plan = list(levels), bottom, s, plan
        # Residual and solution of each level, a product, the solution before a second visit.
        self._r, self._x, self._t, self._first = (
            [level.P.createVecLeft() for level in self.levels] for _ in range(4)
        )
        last = self.levels[-1].P.createVecRight() if self.levels else s.duplicate()
        self._r.append(last)
        self._x.append(last.duplicate())

    def apply(self, r: Any, z: Any) -> None:
        """Z becomes M r."""
        self._r[0].pointwiseMult(self.s, r)
        self._run(0)
        z.pointwiseMult(self.s, self._x[0])

    def _run(self, k: int) -> None:
        """X of level k becomes the cycle applied to its r, which stays."""
        r, x = self._r[k], self._x[k]
        if k == len(self.levels):
            self.bottom.apply(r, x)
            return
        level, t = self.levels[k], self._t[k]
        if level.eliminated:
            level.P.multTranspose(r, self._r[k + 1])
            self._run(k + 1)
            x.pointwiseMult(level.S, r)
            level.P.multAdd(self._x[k + 1], x, x)
            return
        level.S.mult(r, x)
        level.A.mult(x, t)
        t.aypx(-1.0, r)
        level.P.multTranspose(t, self._r[k + 1])
        self._run(k + 1)
        if k + 1 < len(self.levels) and self.levels[k + 1].visits == 2:
            self._again(k + 1)
        level.P.multAdd(self._x[k + 1], x, x)
        level.A.mult(x, t)
        t.aypx(-1.0, r)
        level.S.multAdd(t, x, x)

    def _again(self, k: int) -> None:
        """The second visit: x grows by the cycle applied to what is left of r."""
        r, x, first = self._r[k], self._x[k], self._first[k]
        x.copy(first)
        self.levels[k].A.mult(first, self._t[k])
        r.axpy(-1.0, self._t[k])
        self._run(k)
        x.axpy(1.0, first)

    def lines(self) -> list[str]:
        """What a view shows: unknowns, entries and visits an apply of each level. Collective."""
        lines = [f"plan {self.plan}", "level   unknowns     nonzeros   visits"]
        times = 1
        for k, level in enumerate(self.levels):
            times *= level.visits
            matrix = level.P if level.eliminated else level.A
            n, nnz = matrix.getSize()[0], round(matrix.getInfo()["nz_used"])
            how = "   eliminated" if level.eliminated else ""
            lines.append(f"{k:5d} {n:10d} {nnz:12d} {times:8d}{how}")
        below = self.bottom.cycle
        n = below.shape[0]
        lines.append(f"{len(self.levels):5d} {n:10d}   on every rank, {below.levels} levels")
        return lines

    def parts(self) -> list[Any]:
        """The PETSc objects it was given."""
        given = [each for level in self.levels for each in (level.A, level.S, level.P)]
        return [each for each in (*given, self.s) if each is not None]

    def destroy(self) -> None:
        """Give memory back to PETSc."""
        for each in (*self.parts(), *self._r, *self._x, *self._t, *self._first):
            each.destroy()
        self.bottom.destroy()
