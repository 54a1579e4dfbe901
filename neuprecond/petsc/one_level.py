"""The one-level M = GᵀG over ranks: the same values as on one, whatever their number."""

from functools import partial
from typing import Any

from scipy import sparse

from neuprecond.classical import fsai_factor
from neuprecond.hierarchy import unit_diagonal
from neuprecond.petsc.halo import Halo, Temporary, agreed, distributed, largest
from neuprecond.spai import SpaiValues, learned_factor, smooth_vector

__all__ = ["Factored", "factor"]

# Beyond the rounds of message passing: an entry of G ends one coupling away, its features know the
# neighbours of both ends.
BEYOND = 2


def factor(A: Any, values: SpaiValues | None, rounds: int) -> Any:
    """G of M = GᵀG as a distributed AIJ matrix.

    Each rank runs the network on its own rows and a halo around them, so the values are those that
    one process finds on the whole matrix.

    Parameters
    ----------
    A : Mat
        Symmetric positive definite, distributed AIJ.
    values : callable or None
        The network; None gives FSAI.
    rounds : int
        Of message passing.
    """
    comm = A.getComm().tompi4py()
    with Temporary() as used:
        halo = used(Halo(A, rounds + BEYOND))
        v = None
        if values is not None:
            scaled_A, _ = unit_diagonal(halo.A)
            of_all = partial(largest, comm)
            v = halo.bring(smooth_vector(scaled_A[halo.own], halo.bring, of_all))
    with agreed(comm):
        if len(halo.ids) == 0:
            G = sparse.csr_array((0, 0))
        elif values is None or v is None:
            G = fsai_factor(halo.A)
        else:
            G = learned_factor(halo.A, values, v)
        part = G[halo.own]
        parts = part.data, halo.ids[part.indices], part.indptr
        rows = sparse.csr_array(parts, shape=(part.shape[0], A.getSize()[1]))
    return distributed(comm, rows, rows.shape[0])


class Factored:
    """M = GᵀG over ranks.

    Parameters
    ----------
    G : Mat
        From `factor`.
    """

    def __init__(self, G: Any) -> None:
        self.G = G
        self._between = G.createVecLeft()

    def apply(self, r: Any, z: Any) -> None:
        """Z becomes M r."""
        self.G.mult(r, self._between)
        self.G.multTranspose(self._between, z)

    def lines(self) -> list[str]:
        """What a view shows: size and entries of G."""
        n, nnz = self.G.getSize()[0], round(self.G.getInfo()["nz_used"])
        return [f"one level, {n} unknowns, {nnz} entries in G"]

    def destroy(self) -> None:
        """Give memory back to PETSc."""
        for each in (self.G, self._between):
            each.destroy()
