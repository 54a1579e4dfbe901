"""What a problem and a family are, and the small helpers that every family shares."""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.random import Generator
from scipy import sparse

from neuprecond import checks

__all__ = [
    "Dimension",
    "Family",
    "Problem",
    "chosen",
    "chosen_whole",
    "constant",
    "log_uniform",
    "made",
    "started",
]

Dimension = Literal["2-D", "3-D", "graph", "matrix"]


@dataclass(frozen=True, eq=False)
class Problem:
    """One linear system A x = b and what is known about it.

    Attributes
    ----------
    A : csr_array, shape (n, n)
        float64 with int32 indices: sorted rows, no duplicates, no stored zeros. Equal to its
        transpose to the last bit where the family says that it is symmetric positive definite.
    b : ndarray, shape (n,)
        Right-hand side, white (independent standard normal) unless the family says otherwise.
    B : ndarray, shape (n, k), or None
        Near-null vectors: constants for scalar diffusion, rigid body modes for elasticity.
        None where nobody knows any.
    name : str
        The family.
    parameters : dict
        Every number that was chosen or drawn, ``size`` among them.

    Examples
    --------
    >>> problem = Problem(sparse.csr_array([[2.0]]), np.ones(1), None, "tiny")
    >>> problem.A.shape, problem.parameters
    ((1, 1), {})
    """

    A: sparse.csr_array
    b: np.ndarray
    B: np.ndarray | None
    name: str
    parameters: dict[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """A way to draw problems: a size and a ``Generator`` go in, a ``Problem`` comes out.

    Attributes
    ----------
    name : str
        The key in ``FAMILIES``.
    draw : callable
        ``draw(size, rng) -> Problem``; its keyword-only options fix a parameter instead of drawing
        it. ``size`` is the number of unknowns along a side for a 2-D or 3-D family, and the number
        of vertices or unknowns for a graph or matrix family.
    dimension : {"2-D", "3-D", "graph", "matrix"}
        What ``size`` counts.
    spd : bool
        True if every problem drawn is symmetric positive definite.
    summary : str
        One line for tables.

    Examples
    --------
    >>> def eye(size, rng):
    ...     return made("eye", sparse.eye_array(size), rng, {"size": size})
    >>> Family("eye", eye, "matrix", True, "The identity.").draw(3, np.random.default_rng(7)).A.nnz
    3
    """

    name: str
    draw: Callable[..., Problem]
    dimension: Dimension
    spd: bool
    summary: str


def made(
    name: str,
    A: object,
    rng: Generator,
    parameters: dict[str, float | int | str],
    *,
    B: np.ndarray | None = None,
) -> Problem:
    """Make a ``Problem``: A is brought to canonical form and a white b drawn from rng.

    Parameters
    ----------
    name : str
        The family.
    A : sparse array, shape (n, n)
        Real and finite.
    rng : Generator
        Where b comes from. Families draw A first, so b never changes A.
    parameters : dict
        What was chosen or drawn.
    B : ndarray, shape (n, k), or None
        Near-null vectors.

    Returns
    -------
    Problem

    Raises
    ------
    ValueError
        If A is not square or not finite.

    Examples
    --------
    >>> made("eye", sparse.eye_array(2), np.random.default_rng(7), {}).b.shape
    (2,)
    """
    canonical = checks.as_csr(A)
    return Problem(canonical, rng.standard_normal(canonical.shape[0]), B, name, parameters)


def started(size: int, rng: Generator, *, least: int = 2) -> int:
    """Check the two arguments that every family takes and return the size as a plain int.

    Raises
    ------
    TypeError
        If size is not a whole number or rng is not a ``numpy.random.Generator``.
    ValueError
        If size is below ``least``.

    Examples
    --------
    >>> started(np.int64(8), np.random.default_rng(7))
    8
    """
    if not isinstance(rng, Generator):
        raise TypeError(
            f"rng must be a numpy.random.Generator, got {type(rng).__name__}. "
            "Pass numpy.random.default_rng(seed)."
        )
    try:
        whole = operator.index(size)
    except TypeError:
        raise TypeError(f"size must be a whole number, got {size!r}.") from None
    if whole < least:
        raise ValueError(f"size must be at least {least}, got {whole}.")
    return whole


def chosen(
    name: str,
    given: float | None,
    drawn: float,
    *,
    least: float = -np.inf,
    most: float = np.inf,
) -> float:
    """Take the value that the caller gave, or else the drawn one.

    The drawn value is an argument and not a function, so a family consumes the same random numbers
    either way: the same seed with another contrast is the same geometry with another contrast.

    Raises
    ------
    ValueError
        If the given value is not a number in [least, most].

    Examples
    --------
    >>> chosen("sigma", None, 0.7), chosen("sigma", 2, 0.7)
    (0.7, 2.0)
    """
    value = float(drawn if given is None else given)
    if not least <= value <= most or not np.isfinite(value):
        bounds = f"at least {least:g}" if most == np.inf else f"from {least:g} to {most:g}"
        raise ValueError(f"{name} must be {bounds}, got {value:g}.")
    return value


def chosen_whole(
    name: str, given: int | None, drawn: int, *, least: int = 1, most: int = 2**31 - 1
) -> int:
    """Take the whole number that the caller gave, or else the drawn one.

    Raises
    ------
    ValueError
        If the given value is not a whole number from ``least`` to ``most``.

    Examples
    --------
    >>> chosen_whole("links", None, 3), chosen_whole("links", 2, 3)
    (3, 2)
    """
    value = chosen(name, given, drawn, least=least, most=most)
    if value != int(value):
        raise ValueError(f"{name} must be a whole number, got {value:g}.")
    return int(value)


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform between those of low and high.

    Examples
    --------
    >>> 10 <= log_uniform(np.random.default_rng(7), 10, 1000) <= 1000
    True
    """
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def constant(n: int) -> np.ndarray:
    """Constants as the one near-null vector, shape (n, 1).

    Examples
    --------
    >>> constant(3).shape
    (3, 1)
    """
    return np.ones((n, 1))
