"""PETSc's side: a preconditioner of type python, by call or by options."""

import atexit
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc
from scipy import sparse

from neuprecond.checks import SYMMETRY_TOLERANCE, require_near_null
from neuprecond.errors import NeuprecondWarning, NotDefiniteError
from neuprecond.hierarchy import unit_diagonal
from neuprecond.multilevel import PLANS, Plan
from neuprecond.petsc import multilevel
from neuprecond.petsc.cycle import DistributedCycle
from neuprecond.petsc.halo import (
    Halo,
    Temporary,
    agreed,
    distributed,
    largest,
    owned_rows,
    total,
    typical_residual,
)
from neuprecond.petsc.one_level import Factored, factor
from neuprecond.zoo import VERY_FAR, Model, load_model
from neuprecond.zoo.choose import DOMINANT, MULTILEVEL, ONE_LEVEL, outweigh
from neuprecond.zoo.model import FAR, LEAST_ROW_SUM, SEVERAL_NEAR_NULL, pick_plan

__all__ = ["PC", "setup"]


def _finalise() -> None:
    """Finalise PETSc while Python is there.

    petsc4py does so when the interpreter is gone, and a PC of type python that was kept until then
    calls into nothing. After an error other ranks may never come here: PETSc would wait for them,
    and mpi4py.run, which ends them, comes after PETSc.
    """
    if getattr(sys, "last_value", None) is None:
        PETSc._finalize()
    elif "mpi4py.run" in sys.modules and MPI.COMM_WORLD.Get_size() > 1:
        MPI.COMM_WORLD.Abort(1)


atexit.register(_finalise)


def setup(ksp_or_A: Any, model: str | Path = "auto", *, learned: bool = True, B: Any = None) -> Any:
    """Make a PETSc preconditioner from a learned model. Collective.

    Parameters
    ----------
    ksp_or_A : KSP or Mat
        A KSP with its operators set: its own PC is set up and returned. Or a symmetric positive
        definite AIJ matrix, on any number of ranks.
    model : str or Path
        "auto", a packaged name, or a path to a weights file, as for `neuprecond.load`.
    learned : bool
        False builds the unlearned twin.
    B : array_like of shape (rows of this rank, k), optional
        Near-null vectors; by default the matrix's own near null space, as
        ``Mat.setNearNullSpace`` sets it.

    Returns
    -------
    PC
        Of type python, set up. It is set up again where the operators change.

    Raises
    ------
    TypeError
        If the matrix is not AIJ, or PETSc was built for complex numbers.
    ValueError
        If A is not square, not assembled, not finite or not laid out like its vectors, or B does
        not fit it; on every rank.
    NotDefiniteError
        If A is not symmetric, has a diagonal entry that is not positive, or turns out to be
        indefinite; on every rank.

    Warns
    -----
    NeuprecondWarning
        On rank 0, where A is far from what the model was trained on, or coarsening stalled.
    """
    if isinstance(ksp_or_A, PETSc.KSP):
        pc = ksp_or_A.getPC()
    elif isinstance(ksp_or_A, PETSc.Mat):
        pc = PETSc.PC().create(ksp_or_A.getComm())
        pc.setOperators(ksp_or_A)
    else:
        raise TypeError(f"needed a KSP or a Mat of petsc4py, got {type(ksp_or_A).__name__}.")
    _require_real(PETSc.ScalarType)
    context = PC(model, learned=learned, B=B)
    # PETSc prints errors of a context and reports a number: build here, so that ours are raised.
    context.build(pc.getOperators()[1])
    pc.setType(PETSc.PC.Type.PYTHON)
    pc.setPythonContext(context)
    pc.setUp()
    return pc


class PC:
    """The context of a PETSc PC of type python; `setup` makes it, or options do.

    With ``-pc_type python -pc_python_type neuprecond.petsc.PC`` these options are read, each after
    the PC's own prefix:

    - ``-neuprecond_model``: "auto" (the default), a packaged name or a path to a weights file;
    - ``-neuprecond_twin``: the unlearned twin instead.

    Parameters
    ----------
    model, learned, B
        As for `setup`.

    Attributes
    ----------
    name : str
        The model that was taken.
    M : Factored, DistributedCycle or None
        What is applied; None before it is set up.
    """

    def __init__(self, model: str | Path = "auto", *, learned: bool = True, B: Any = None) -> None:
        self.model, self.learned, self.B = model, learned, B
        self.name = ""
        self.M: Factored | DistributedCycle | None = None
        self._made_from: tuple[Any, int, str, bool] | None = None

    def setFromOptions(self, pc: Any) -> None:  # noqa: N802
        """Read the options above. PETSc calls it."""
        options = PETSc.Options(pc.getOptionsPrefix() or "")
        self.model = options.getString("neuprecond_model", str(self.model))
        self.learned = not options.getBool("neuprecond_twin", not self.learned)

    def setUp(self, pc: Any) -> None:
        """Make M, unless it was made from the very same matrix. PETSc calls it."""
        self.build(pc.getOperators()[1])

    def build(self, A: Any) -> None:
        """Make M from a distributed AIJ matrix. Collective."""
        _require_real(PETSc.ScalarType)
        if self.M is not None and self._is_made_from(A):
            return
        comm = A.getComm().tompi4py()
        _require_matrix(A, comm)
        # What was for another matrix makes room.
        self._forget()
        B = self._near_null(A, comm)
        with Temporary() as used:
            matrix = _without_zeros(A, comm, used)
            halo = used(Halo(matrix, 1))
            _check(halo, comm)
            name, learned = str(self.model), self.learned
            if name == "auto":
                covariance = B is None and _is_covariance(halo, comm)
                learned = learned and not covariance
                one_level = covariance or (B is None and _dominant(halo, comm))
                name = ONE_LEVEL if one_level else MULTILEVEL
            with agreed(comm):
                model = load_model(name)
            self.name = model.card.name
            self.M, remarks = self._make(model, matrix, halo, B, learned, comm)
        self._made_from = (A, A.stateGet(), str(self.model), self.learned)
        # A filter of warnings may raise them, on one rank.
        with agreed(comm):
            for remark in remarks if comm.Get_rank() == 0 else []:
                warnings.warn(remark, NeuprecondWarning, stacklevel=3)

    def _make(
        self,
        model: Model,
        A: Any,
        halo: Halo,
        B: np.ndarray | None,
        learned: bool,
        comm: MPI.Comm,
    ) -> tuple[Factored | DistributedCycle, list[str]]:
        """M, and what there is to remark on."""
        who = f"model {self.name!r}"
        if model.card.kind not in ("spai", "multilevel"):
            raise ValueError(
                f"{who} is of kind {model.card.kind!r}, which runs on one process only. Over ranks "
                "take a model of kind 'spai' or 'multilevel'."
            )
        rounds = int(model.card.network["rounds"])
        if model.card.kind == "spai":
            remarks = _one_level_remarks(self.name, halo, comm)
            if B is not None:
                remarks.append(f"{who} is of one level and has no use for B; it is ignored.")
            values = model._spai_values() if learned else None
            return Factored(factor(A, values, rounds)), remarks
        seen: list[np.ndarray] = []
        several = B is not None and B.shape[1] > 1
        M = multilevel.build(
            A,
            model._values() if learned else None,
            plan=SEVERAL_NEAR_NULL if several else _pick(model, seen),
            B=B,
            rounds=rounds,
        )
        # "auto" is meant for matrices of all kinds, as on one process.
        far = VERY_FAR if self.model == "auto" else FAR
        remarks = model._range_remarks(seen[0], who, far) if seen else []
        # There is no such check here.
        advice = 'check="probe" compares the two', "-neuprecond_twin takes that one"
        remarks = [remark.replace(*advice) for remark in remarks]
        n = M.bottom.cycle.shape[0]
        if n > multilevel.LARGE_BOTTOM:
            remarks.append(
                f"coarsening rank by rank came no further than {n} unknowns, which every rank now "
                "holds and solves for: that costs each apply more the more ranks there are."
            )
        return M, remarks

    def _is_made_from(self, A: Any) -> bool:
        """Whether nothing has changed; the matrix is held, so that none takes its address."""
        if self._made_from is None:
            return False
        matrix, *asked = self._made_from
        same = matrix.handle == A.handle
        return same and asked == [A.stateGet(), str(self.model), self.learned]

    def _forget(self) -> None:
        if self.M is not None:
            self.M.destroy()
        self.M = self._made_from = None

    def _near_null(self, A: Any, comm: MPI.Comm) -> np.ndarray | None:
        """Near-null vectors at this rank's rows, or None where nobody gave any."""
        B = _attached(A) if self.B is None else self.B
        with agreed(comm):
            own = None if B is None else _own_near_null(B, A.getLocalSize()[0])
        columns = 0 if own is None else own.shape[1]
        fewest, most = (comm.allreduce(columns, op=op) for op in (MPI.MIN, MPI.MAX))
        if fewest != most:
            raise ValueError(
                "B (near-null vectors) must have as many columns on each rank, also on those "
                f"without rows, got from {fewest} to {most}."
            )
        if own is None:
            return None
        empty = np.flatnonzero(comm.allreduce(own.any(axis=0).astype(int)) == 0)
        if len(empty):
            raise ValueError(
                f"B (near-null vectors) must have no zero column, got one at {empty[0]}."
            )
        return own

    def apply(self, pc: Any, r: Any, z: Any) -> None:
        """Z becomes M r. PETSc calls it."""
        assert self.M is not None
        self.M.apply(r, z)

    # M is symmetric.
    applyTranspose = apply  # noqa: N815

    def view(self, pc: Any, viewer: Any) -> None:
        """Print what M is, with -ksp_view. PETSc calls it."""
        if viewer.getType() != PETSc.Viewer.Type.ASCII:
            return
        viewer.printfASCII(f"  neuprecond {self.name!r}{'' if self.learned else ', its twin'}\n")
        for line in self.M.lines() if self.M else ["not set up"]:
            viewer.printfASCII(f"  {line}\n")

    def destroy(self, pc: Any) -> None:
        """Give memory back. PETSc calls it."""
        self._forget()


def _require_real(scalar: Any) -> None:
    if np.dtype(scalar).kind != "f" or np.dtype(scalar).itemsize != 8:
        raise TypeError(
            f"neuprecond.petsc needs a PETSc built for real double precision, got one for "
            f"{np.dtype(scalar)}. Set PETSC_ARCH or PETSC_DIR to a real build."
        )


def _require_matrix(A: Any, comm: MPI.Comm) -> None:
    """Raise on every rank unless A is a square assembled AIJ matrix, its rows laid out like x."""
    if A.getType() is None:
        raise ValueError("there is no matrix yet: setOperators of the KSP comes first.")
    if A.getType() not in ("seqaij", "mpiaij"):
        raise TypeError(f"A must be of PETSc's type aij, got {A.getType()!r}: A.convert('aij').")
    if not A.assembled:
        raise ValueError("A must be assembled: A.assemble() comes first.")
    shape = A.getSize()
    if shape[0] != shape[1]:
        raise ValueError(f"A must be square, got shape {shape}.")
    if shape[0] == 0:
        raise ValueError("A must have at least one row, got shape (0, 0).")
    with agreed(comm):
        rows, columns = A.getLocalSize()
        if rows != columns:
            raise ValueError(
                "A must have as many columns as rows on each rank, got "
                f"{rows} rows and {columns} columns on rank {comm.Get_rank()}."
            )


def _without_zeros(A: Any, comm: MPI.Comm, used: Temporary) -> Any:
    """A itself, or without its explicit zeros, as on one process: couplings are counted."""
    own = owned_rows(A)
    if total(comm, int(np.count_nonzero(own.data == 0.0))) == 0.0:
        return A
    own.eliminate_zeros()
    return used(distributed(comm, own, A.getLocalSize()[1]))


def _attached(A: Any) -> np.ndarray | None:
    """Near-null vectors that A carries, at this rank's rows."""
    space = A.getNearNullSpace()
    if not space.handle:
        return None
    columns = [vector.getArray(readonly=True).copy() for vector in space.getVecs()]
    if space.hasConstant():
        columns.insert(0, np.ones(A.getLocalSize()[0]))
    return np.stack(columns, axis=1) if columns else None


def _own_near_null(B: Any, rows: int) -> np.ndarray:
    """Near-null vectors of so many rows, as float64 and checked."""
    near_null = B if sparse.issparse(B) else np.asarray(B)
    if rows == 0:
        return np.zeros((0, near_null.shape[1] if near_null.ndim == 2 else 1))
    # A column may be zero on one rank.
    filled = near_null
    if not sparse.issparse(near_null):
        filled = np.where(near_null.any(axis=0), near_null, 1)
    require_near_null(filled, rows)
    return near_null.astype(np.float64).reshape(rows, -1)


def _check(halo: Halo, comm: MPI.Comm) -> None:
    """Raise on every rank unless A is finite, symmetric and of a positive diagonal."""
    with agreed(comm):
        if not np.isfinite(halo.A.data).all():
            raise ValueError("A must be finite, got a NaN or an infinity.")
        d = halo.A.diagonal()
        bad = np.flatnonzero(~(d[halo.own] > 0.0))
        if len(bad):
            i = bad[0]
            raise NotDefiniteError(
                f"a learned model needs a positive diagonal, got {d[halo.own][i]:.3g} in row "
                f"{halo.start + i} ({len(bad)} of the rows of this rank)."
            )
        scaled_A, _ = unit_diagonal(halo.A)
        rows, columns = scaled_A[halo.own], sparse.csr_array(scaled_A.T)[halo.own]
        difference = abs(rows - columns)
        off = float(difference.max()) if difference.nnz else 0.0
        if off > SYMMETRY_TOLERANCE:
            raise NotDefiniteError(
                "a learned model needs a symmetric A; max |A - Aᵀ| / max |A|, after scaling A to a "
                f"unit diagonal, is {off:.1e}."
            )


def _dominant(halo: Halo, comm: MPI.Comm) -> bool:
    """Whether every row is dominant enough for one level, as "auto" asks on one process."""
    _, s = unit_diagonal(halo.A)
    rows = abs(halo.A)[halo.own]
    own = s[halo.own]
    with np.errstate(all="ignore"):
        shares = [rows.sum(axis=1) * own * own, own * (rows @ s)]
        worst = [largest(comm, np.nan_to_num(share, nan=np.inf)) for share in shares]
    return 2.0 - min(worst) >= DOMINANT


def _is_covariance(halo: Halo, comm: MPI.Comm) -> bool:
    """What `neuprecond.zoo.choose.is_covariance` says on one process."""
    scaled_A, _ = unit_diagonal(halo.A)
    values = scaled_A[halo.own].data
    n = int(total(comm, halo.own.stop - halo.own.start))
    with np.errstate(all="ignore"):
        size = total(comm, float(np.abs(values).sum())) - n
        positive = total(comm, float(values[values > 0.0].sum())) - n
    return outweigh(positive, size, n)


def _pick(model: Model, seen: list[np.ndarray]) -> Callable[[np.ndarray], Plan]:
    """The model's pick; what it picked from goes into ``seen``."""
    weights = model._part("pick.")

    def pick(statistics: np.ndarray) -> Plan:
        seen.append(statistics)
        return PLANS[pick_plan(weights, statistics)]

    return pick


def _one_level_remarks(name: str, halo: Halo, comm: MPI.Comm) -> list[str]:
    """Say so if the typical row of A maps constants to almost nothing, as a Laplacian's does."""
    scaled_A, s = unit_diagonal(halo.A)
    own = s[halo.own]
    candidates = [np.ones_like(own), -largest(comm, -own) / own]
    sound = [v for v in candidates if -largest(comm, -v) > 1e-100]
    least = min(typical_residual(halo, scaled_A, v, comm) for v in sound)
    if least >= LEAST_ROW_SUM:
        return []
    return [
        f"A lies outside of what model {name!r} was trained on: it is of one level, and the "
        f"typical row of A sums to {least:.1e} of its absolute sum (trained on 1e-3 and more). "
        'Steps will grow with the size of A: model "auto" takes several levels here.'
    ]
