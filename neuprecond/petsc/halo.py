"""A rank's rows with the rows around them, and what ranks must agree on."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc
from scipy import sparse

from neuprecond import rows
from neuprecond.statistics import sampled_rows

__all__ = [
    "Halo",
    "Temporary",
    "agreed",
    "distributed",
    "largest",
    "owned_rows",
    "total",
    "typical_residual",
]

Thing = TypeVar("Thing")


@contextmanager
def agreed(comm: MPI.Comm) -> Iterator[None]:
    """Let an error of one rank be raised on all of them; nothing inside may communicate.

    A rank that raised alone would leave the others waiting for it for ever.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    size = comm.Get_size()
    first = comm.allreduce(size if error is None else comm.Get_rank(), op=MPI.MIN)
    if first == size:
        return
    theirs = comm.bcast(_sent(error) if comm.Get_rank() == first else None, root=first)
    raise theirs if error is None else error


def _sent(error: Exception | None) -> Exception | None:
    """An error as other ranks can read it: those that do not pickle become their text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class Temporary:
    """PETSc objects that are destroyed where a block ends, the last one first. Collective.

    petsc4py keeps an object over several ranks that went out of scope until PETSc is finalised:
    without this every setup would take memory for good.
    """

    def __init__(self) -> None:
        self._things: list[Any] = []

    def __enter__(self) -> "Temporary":
        return self

    def __call__(self, thing: Thing) -> Thing:
        """Destroy it at the end of the block; gives it back."""
        self._things.append(thing)
        return thing

    def keep(self, *things: Any) -> None:
        """Do not destroy these after all: they have an owner now."""
        owned = {id(thing) for thing in things}
        self._things = [thing for thing in self._things if id(thing) not in owned]

    def __exit__(self, *error: object) -> None:
        for thing in reversed(self._things):
            thing.destroy()


def largest(comm: MPI.Comm, values: Any) -> float:
    """Largest number that any rank has; negative infinity where none has one."""
    own = np.max(values) if np.size(values) else -np.inf
    return float(comm.allreduce(float(own), op=MPI.MAX))


def total(comm: MPI.Comm, value: float) -> float:
    """Sum over ranks."""
    return float(comm.allreduce(float(value), op=MPI.SUM))


def typical_residual(
    halo: "Halo", scaled_A: sparse.csr_array, v: np.ndarray, comm: MPI.Comm
) -> float:
    """Median of |A v| over |A| |v|, row by row, for a positive v given at each rank's own rows.

    Of the rows that one process samples too, since all of a huge matrix need not be gathered.
    """
    some = sampled_rows(int(total(comm, halo.stop - halo.start)))
    some = some[(some >= halo.start) & (some < halo.stop)] - halo.start
    own = rows.relative_residual(*rows.csr(scaled_A), halo.bring(v))[halo.own]
    return float(np.median(np.concatenate(comm.allgather(own[some]))))


def owned_rows(A: Any) -> sparse.csr_array:
    """Rows of this rank of a distributed AIJ matrix, columns with their global numbers, sorted."""
    start, stop = A.getOwnershipRange()
    indptr, indices, values = A.getValuesCSR()
    parts = values.copy(), indices.astype(np.int64), indptr.astype(np.int64)
    matrix = sparse.csr_array(parts, shape=(stop - start, A.getSize()[1]))
    matrix.sort_indices()
    return matrix


def distributed(comm: MPI.Comm, own_rows: sparse.csr_array, own_columns: int) -> Any:
    """Distributed AIJ matrix from each rank's rows.

    Parameters
    ----------
    comm : Comm
        Of all ranks that hold rows.
    own_rows : csr_array, shape (m, n)
        Columns with their global numbers.
    own_columns : int
        How many of the columns belong to this rank.
    """
    index = PETSC_INDEX
    sizes = ((own_rows.shape[0], PETSc.DECIDE), (own_columns, PETSc.DECIDE))
    parts = own_rows.indptr.astype(index), own_rows.indices.astype(index), own_rows.data
    return PETSc.Mat().createAIJ(size=sizes, csr=parts, comm=comm)


#: int32, or int64 in a PETSc built with 64-bit indices.
PETSC_INDEX = np.dtype(PETSc.IntType)


class Halo:
    """A rank's rows of a square matrix with all rows that are at most ``depth`` couplings away.

    Parameters
    ----------
    A : Mat
        Distributed AIJ, its pattern symmetric.
    depth : int
        How far to reach.

    Attributes
    ----------
    ids : ndarray of int64, shape (m,)
        Global numbers of the rows, sorted: the order of unknowns is that of the whole matrix.
    own : slice
        Where in ``ids`` this rank's own rows are.
    A : csr_array, shape (m, m)
        These rows and columns of the matrix. Rows less than ``depth`` away are whole.

    Notes
    -----
    A `Temporary` gives its memory back to PETSc.
    """

    def __init__(self, A: Any, depth: int) -> None:
        self.start, self.stop = A.getOwnershipRange()
        own = np.arange(self.start, self.stop, dtype=PETSC_INDEX)
        self._set = PETSc.IS().createGeneral(own, comm=PETSc.COMM_SELF)
        A.increaseOverlap(self._set, depth)
        self._set.sort()
        self.ids = self._set.getIndices().astype(np.int64)
        first = int(np.searchsorted(self.ids, self.start))
        self.own = slice(first, first + len(own))
        self.A = self.part(A)
        self._global = A.createVecLeft()
        self._local = PETSc.Vec().createSeq(len(self.ids), comm=PETSc.COMM_SELF)
        self._scatter = PETSc.Scatter().create(self._global, self._set, self._local, None)

    def part(self, A: Any) -> sparse.csr_array:
        """Entries between ``ids`` of a matrix distributed like the halo's own."""
        # PETSc asks every rank for as many parts; one without rows asks for an empty one.
        (sub,) = A.createSubMatrices([self._set], [self._set])
        indptr, indices, values = sub.getValuesCSR()
        m = len(self.ids)
        parts = values.copy(), indices.astype(np.int32), indptr.astype(np.int32)
        sub.destroy()
        matrix = sparse.csr_array(parts, shape=(m, m))
        matrix.sort_indices()
        return matrix

    def bring(self, values: np.ndarray) -> np.ndarray:
        """Numbers at ``ids``, from each rank's at its own rows; several columns one by one."""
        if values.ndim == 2:
            columns = [self.bring(values[:, c]) for c in range(values.shape[1])]
            return np.ascontiguousarray(np.stack(columns, axis=1))
        self._global.setArray(values.astype(np.float64))
        self._scatter.scatter(self._global, self._local, mode=PETSc.ScatterMode.FORWARD)
        return self._local.getArray(readonly=True).copy()

    def destroy(self) -> None:
        """Give memory back to PETSc. Collective."""
        for each in (self._scatter, self._local, self._global, self._set):
            each.destroy()
