"""Matrices with a seed: families of problems, each drawn from a size and a ``Generator``."""

import difflib
import inspect
from collections.abc import Mapping

from numpy.random import Generator

from neuprecond.problems import diffusion, graphs
from neuprecond.problems.family import Family, Problem

__all__ = ["FAMILIES", "Family", "Problem", "draw"]

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("poisson2d", diffusion.poisson2d, "2-D", True, "Poisson, 5-point"),
        Family("poisson2d_9point", diffusion.poisson2d_9point, "2-D", True, "Poisson, 9-point"),
        Family("poisson3d", diffusion.poisson3d, "3-D", True, "Poisson, 7-point"),
        Family("poisson3d_27point", diffusion.poisson3d_27point, "3-D", True, "Poisson, 27-point"),
        Family("lognormal", diffusion.lognormal, "2-D", True, "log-normal diffusion"),
        Family("lognormal3d", diffusion.lognormal3d, "3-D", True, "log-normal diffusion"),
        Family("twophase", diffusion.twophase, "2-D", True, "two materials, high contrast"),
        Family("twophase3d", diffusion.twophase3d, "3-D", True, "two materials, high contrast"),
        Family("channels", diffusion.channels, "2-D", True, "thin channels of high contrast"),
        Family("anisotropic", diffusion.anisotropic, "2-D", True, "rotated anisotropy"),
        Family("anisotropic3d", diffusion.anisotropic3d, "3-D", True, "anisotropy along the axes"),
        Family(
            "checkerboard", diffusion.checkerboard, "2-D", True, "checkerboard of two materials"
        ),
        Family("jumps", diffusion.jumps, "2-D", True, "blocks of rock, each its own"),
        Family("stretched", diffusion.stretched, "2-D", True, "Poisson on a stretched grid"),
        Family("delaunay", graphs.delaunay, "graph", True, "Delaunay triangulation"),
        Family("geometric", graphs.geometric, "graph", True, "near points joined"),
        Family("attachment", graphs.attachment, "graph", True, "network with hubs"),
        Family("knn", graphs.knn, "graph", True, "nearest neighbours of clustered points"),
        Family("roads", graphs.roads, "graph", True, "planar network, nearly a tree"),
    )
}


def draw(
    name: str,
    size: int,
    rng: Generator,
    *,
    parameters: Mapping[str, float | int | str] | None = None,
) -> Problem:
    """Draw a problem of a family.

    Parameters
    ----------
    name : str
        A key of ``FAMILIES``.
    size : int
        Unknowns along a side for a 2-D or 3-D family; vertices or unknowns for a graph or matrix
        family.
    rng : Generator
        The only source of randomness: the same state draws the same bytes.
    parameters : mapping, or None
        Values for the family's keyword-only options, which are drawn where not given.

    Returns
    -------
    Problem

    Raises
    ------
    ValueError
        If there is no such family, the family has no such option, or a value is out of range.
    TypeError
        If rng is not a ``Generator`` or size is not a whole number.

    Examples
    --------
    >>> import numpy as np
    >>> problem = draw("lognormal", 16, np.random.default_rng(7), parameters={"sigma": 1.0})
    >>> problem.A.shape, problem.parameters["sigma"]
    ((256, 256), 1.0)
    """
    if name not in FAMILIES:
        near = difflib.get_close_matches(str(name), FAMILIES, n=3, cutoff=0.5)
        guess = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"no family {name!r}.{guess} Known: {', '.join(FAMILIES)}.")
    family = FAMILIES[name]
    given = dict(parameters or {})
    options = [
        option.name
        for option in inspect.signature(family.draw).parameters.values()
        if option.kind is option.KEYWORD_ONLY
    ]
    unknown = sorted(set(given) - set(options))
    if unknown:
        has = f"has {', '.join(options)}" if options else "has none"
        raise ValueError(f"family {name!r} has no option {', '.join(unknown)}; it {has}.")
    return family.draw(size, rng, **given)
