"""Classical preconditioners in one call shape, ``f(A) -> M ≈ A⁻¹``: what a learned M must beat."""

from collections.abc import Callable

from neuprecond.classical.base import Preconditioner
from neuprecond.classical.fsai import fsai, fsai_factor
from neuprecond.classical.incomplete import ic0, ilu, mic0
from neuprecond.classical.jacobi import jacobi, none, ssor
from neuprecond.classical.multigrid import (
    root_node,
    ruge_stuben,
    ruge_stuben_evolution,
    smoothed_aggregation,
)
from neuprecond.classical.nonsymmetric import air, ilu0, smoothed_aggregation_nonsymmetric

__all__ = [
    "CLASSICAL",
    "NONSYMMETRIC",
    "TUNED",
    "Preconditioner",
    "air",
    "fsai",
    "fsai2",
    "fsai_factor",
    "ic0",
    "ilu",
    "ilu0",
    "jacobi",
    "mic0",
    "none",
    "precondition",
    "root_node",
    "ruge_stuben",
    "ruge_stuben_evolution",
    "sa08",
    "smoothed_aggregation",
    "smoothed_aggregation_nonsymmetric",
    "ssor",
]


def fsai2(A: object) -> Preconditioner:
    """FSAI on the lower triangle of A²; see :func:`fsai`.

    Examples
    --------
    >>> fsai2([[4.0, 2.0], [2.0, 2.0]]).name
    'fsai2'
    """
    return fsai(A, pattern="A2")


def sa08(A: object, *, B: object | None = None) -> Preconditioner:
    """Smoothed aggregation with strength threshold 0.08; see :func:`smoothed_aggregation`.

    Examples
    --------
    >>> sa08([[4.0, 2.0], [2.0, 2.0]]).name
    'sa08'
    """
    return smoothed_aggregation(A, theta=0.08, B=B)


CLASSICAL: dict[str, Callable[..., Preconditioner]] = {
    "none": none,
    "jacobi": jacobi,
    "ssor": ssor,
    "ic0": ic0,
    "mic0": mic0,
    "fsai": fsai,
    "fsai2": fsai2,
    "ilu": ilu,
    "sa": smoothed_aggregation,
    "sa08": sa08,
    "rs": ruge_stuben,
    "rs-evolution": ruge_stuben_evolution,
    "root-node": root_node,
}

#: For nonsymmetric A only, besides "ilu": known to `precondition` by these names.
NONSYMMETRIC: dict[str, Callable[..., Preconditioner]] = {
    "ilu0": ilu0,
    "sa-nonsymmetric": smoothed_aggregation_nonsymmetric,
    "air": air,
}

# Multigrid as a person would tune it: the best of these, per matrix, is the bar.
TUNED = ("sa", "sa08", "rs", "rs-evolution", "root-node")

TAKES_NEAR_NULL = ("sa", "sa08", "root-node")


def precondition(name: str, A: object, *, B: object | None = None) -> Preconditioner:
    """Make the classical preconditioner of that name for A.

    Parameters
    ----------
    name : str
        A key of ``CLASSICAL`` or ``NONSYMMETRIC``.
    A : sparse array or matrix, or dense array, shape (n, n)
        What the named function needs.
    B : array, shape (n, k), or None
        Near-null vectors; those that have no use for them ignore them.

    Returns
    -------
    Preconditioner, shape (n, n)
        With its default options.

    Raises
    ------
    ValueError
        If there is no such name, or A is not what the named function needs.

    Examples
    --------
    >>> precondition("jacobi", [[2.0, 0.0], [0.0, 4.0]]) @ [1.0, 1.0]
    array([0.5 , 0.25])
    """
    known = CLASSICAL | NONSYMMETRIC
    if name not in known:
        raise ValueError(f"no classical preconditioner {name!r}; there are {', '.join(known)}.")
    if B is not None and name in TAKES_NEAR_NULL:
        return CLASSICAL[name](A, B=B)
    return known[name](A)
