"""Learned preconditioners for PETSc's solvers, over any number of MPI ranks.

From a program::

    pc = neuprecond.petsc.setup(ksp, model="auto")

or from options::

    -pc_type python -pc_python_type neuprecond.petsc.PC -neuprecond_model heat

Needs petsc4py and mpi4py; the rest of neuprecond does without.
"""

try:
    import mpi4py
    import petsc4py
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"neuprecond.petsc needs petsc4py and mpi4py, {error.name} is not installed. On Debian: "
        "apt-get install python3-petsc4py python3-mpi4py; see docs/parallel.md.",
        name=error.name,
    ) from None
del mpi4py, petsc4py

from neuprecond.petsc.pc import PC, setup  # noqa: E402

__all__ = ["PC", "setup"]
