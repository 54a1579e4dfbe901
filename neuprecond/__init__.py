"""Learned sparse approximate inverses as preconditioners for SciPy's Krylov solvers.

M approximates the inverse of A::

    M = neuprecond.load("auto", A)
    x, info = scipy.sparse.linalg.cg(A, b, M=M, rtol=1e-8)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from neuprecond.errors import Interrupted, NeuprecondWarning, NotDefiniteError, WeightsError

if TYPE_CHECKING:
    from neuprecond.diagnosis import Diagnosis, diagnose
    from neuprecond.fitting import fit
    from neuprecond.krylov import SolveRecord, solve
    from neuprecond.zoo import Model, load, load_model, models, reuse, save_model

__all__ = [
    "Diagnosis",
    "Interrupted",
    "Model",
    "NeuprecondWarning",
    "NotDefiniteError",
    "SolveRecord",
    "WeightsError",
    "diagnose",
    "fit",
    "load",
    "load_model",
    "models",
    "reuse",
    "save_model",
    "solve",
]
__version__ = "0.1.0"

# Where each public name lives; imported when it is first asked for, so that `import neuprecond`
# costs nothing.
_HOMES = {
    "Diagnosis": "neuprecond.diagnosis",
    "Model": "neuprecond.zoo",
    "SolveRecord": "neuprecond.krylov",
    "diagnose": "neuprecond.diagnosis",
    "fit": "neuprecond.fitting",
    "load": "neuprecond.zoo",
    "load_model": "neuprecond.zoo",
    "models": "neuprecond.zoo",
    "reuse": "neuprecond.zoo",
    "save_model": "neuprecond.zoo",
    "solve": "neuprecond.krylov",
}


def __getattr__(name: str) -> Any:
    if name == "torch":
        # Needs torch installed, and is no part of ``from neuprecond import *``.
        return import_module("neuprecond.torch")
    if name not in _HOMES:
        raise AttributeError(f"module 'neuprecond' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
