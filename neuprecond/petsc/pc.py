"""PETSc's side: a preconditioner of type python, by call or by options."""

import atexit
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
from neuprecond.inference import level_network
from neuprecond.multilevel import PLANS, Plan
from neuprecond.petsc import multilevel
from neuprecond.petsc.cycle import DistributedCycle
from neuprecond.petsc.halo import Halo, agreed, largest, typical_residual
from neuprecond.petsc.one_level import Factored, factor
from neuprecond.spai import SpaiFeatures, SpaiValues
from neuprecond.zoo import VERY_FAR, Model, load_model
from neuprecond.zoo.choose import DOMINANT, MULTILEVEL, ONE_LEVEL
from neuprecond.zoo.model import FAR, LEAST_ROW_SUM, SEVERAL_NEAR_NULL, pick_plan

__all__ = ["PC", "setup"]

# petsc4py keeps objects that went out of scope until PETSc is finalised, which it does when the
# interpreter is gone: a PC of type python then calls into nothing. Finalise while Python is there.
atexit.register(PETSc._finalize)


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
    NotDefiniteError
        If A is not symmetric, has a diagonal entry that is not positive, or turns out to be
        indefinite; on every rank.

    Warns
    -----
    NeuprecondWarning
        On rank 0, where A is far from what the model was trained on.
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
        self._made_from: tuple[int, int] | None = None

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
        state = (A.handle, A.stateGet())
        if self.M is not None and state == self._made_from:
            return
        comm = A.getComm().tompi4py()
        if A.getType() not in ("seqaij", "mpiaij"):
            raise TypeError(
                f"A must be of PETSc's type aij, got {A.getType()!r}: A.convert('aij')."
            )
        halo = Halo(A, 1)
        _check(halo, comm)
        B = self._near_null(A, comm)
        name = str(self.model)
        if name == "auto":
            name = ONE_LEVEL if B is None and _dominant(halo, comm) else MULTILEVEL
        with agreed(comm):
            model = load_model(name)
        if self.M is not None:
            self.M.destroy()
            self.M = None
        self.name = model.card.name
        who, remarks = f"model {self.name!r}", []
        seen: list[np.ndarray] = []
        if model.card.kind == "spai":
            remarks = _one_level_remarks(self.name, halo, comm)
            if B is not None:
                remarks.append(f"{who} is of one level and has no use for B; it is ignored.")
            values = _one_level_values(model) if self.learned else None
            self.M = Factored(factor(A, values, _rounds(model)))
        elif model.card.kind == "multilevel":
            several = B is not None and B.shape[1] > 1
            self.M = multilevel.build(
                A,
                _network(model) if self.learned else None,
                plan=SEVERAL_NEAR_NULL if several else _pick(model, seen),
                B=B,
                rounds=_rounds(model),
            )
            # "auto" is meant for matrices of all kinds, as on one process.
            far = VERY_FAR if self.model == "auto" else FAR
            remarks = model._range_remarks(seen[0], who, far) if seen else []
            # There is no such check here.
            advice = 'check="probe" compares the two', "-neuprecond_twin takes that one"
            remarks = [remark.replace(*advice) for remark in remarks]
        else:
            raise ValueError(
                f"model {self.name!r} is of kind {model.card.kind!r}, which runs on one process "
                "only. Over ranks take a model of kind 'spai' or 'multilevel'."
            )
        self._made_from = state
        for remark in remarks if comm.Get_rank() == 0 else []:
            warnings.warn(remark, NeuprecondWarning, stacklevel=3)

    def _near_null(self, A: Any, comm: MPI.Comm) -> np.ndarray | None:
        """Near-null vectors at this rank's rows, or None where nobody gave any."""
        B, rows = self.B, A.getLocalSize()[0]
        if B is None:
            space = A.getNearNullSpace()
            vectors = list(space.getVecs()) if space.handle else []
            if space.handle and space.hasConstant():
                vectors.insert(0, None)
            if vectors:
                ones = np.ones(rows)
                B = np.stack([ones if v is None else v.getArray() for v in vectors], axis=1)
        if B is None:
            return None
        with agreed(comm):
            # A column may be zero on one rank.
            shape = np.shape(B)
            near_null = np.reshape(B, (rows, -1)) if shape and shape[0] == rows else B
            if rows:
                filled = np.asarray(near_null).copy()
                if filled.ndim == 2:
                    filled[:, ~filled.any(axis=0)] = 1.0
                require_near_null(filled, rows)
            return np.asarray(near_null, dtype=np.float64)

    def apply(self, pc: Any, r: Any, z: Any) -> None:
        """Z becomes M r. PETSc calls it."""
        assert self.M is not None
        self.M.apply(r, z)

    # M is symmetric.
    applyTranspose = apply  # noqa: N815

    def view(self, pc: Any, viewer: Any) -> None:
        """Print what M is, with -ksp_view. PETSc calls it."""
        viewer.printfASCII(f"  neuprecond {self.name!r}{'' if self.learned else ', its twin'}\n")
        for line in self.M.lines() if self.M else ["not set up"]:
            viewer.printfASCII(f"  {line}\n")

    def destroy(self, pc: Any) -> None:
        """Give memory back. PETSc calls it."""
        if self.M is not None:
            self.M.destroy()
            self.M = None


def _require_real(scalar: Any) -> None:
    if np.dtype(scalar).kind != "f" or np.dtype(scalar).itemsize != 8:
        raise TypeError(
            f"neuprecond.petsc needs a PETSc built for real double precision, got one for "
            f"{np.dtype(scalar)}. Set PETSC_ARCH or PETSC_DIR to a real build."
        )


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
    shares = [rows.sum(axis=1) * own * own, own * (rows @ s)]
    return 2.0 - min(largest(comm, share) for share in shares) >= DOMINANT


def _rounds(model: Model) -> int:
    return int(model.card.network["rounds"])


def _part(model: Model, prefix: str) -> dict[str, np.ndarray]:
    named = model.weights.items()
    return {name.removeprefix(prefix): w for name, w in named if name.startswith(prefix)}


def _network(model: Model) -> Any:
    return level_network(_part(model, "values."))


def _pick(model: Model, seen: list[np.ndarray]) -> Callable[[np.ndarray], Plan]:
    """The model's pick; what it picked from goes into ``seen``."""
    weights = _part(model, "pick.")

    def pick(statistics: np.ndarray) -> Plan:
        seen.append(statistics)
        return PLANS[pick_plan(weights, statistics)]

    return pick


def _one_level_remarks(name: str, halo: Halo, comm: MPI.Comm) -> list[str]:
    """Say so if the typical row of A maps constants to almost nothing, as a Laplacian's does."""
    scaled_A, s = unit_diagonal(halo.A)
    own = s[halo.own]
    candidates = [np.ones_like(own), -largest(comm, -own) / own]
    least = min(typical_residual(halo, scaled_A, v, comm) for v in candidates)
    if least >= LEAST_ROW_SUM:
        return []
    return [
        f"A lies outside of what model {name!r} was trained on: it is of one level, and the "
        f"typical row of A sums to {least:.1e} of its absolute sum (trained on 1e-3 and more). "
        'Steps will grow with the size of A: model "auto" takes several levels here.'
    ]


def _one_level_values(model: Model) -> SpaiValues:
    values = _network(model)

    def per_entry(features: SpaiFeatures) -> np.ndarray:
        # Diagonal entries of G are the nodes' numbers, the others the entries'.
        diagonal, entry = values(features)
        own = features.entry_rows == features.entry_roots
        return np.where(own, diagonal[features.entry_rows], entry)

    return per_entry
