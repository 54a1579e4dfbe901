"""Matrices with a seed: families of problems, each drawn from a size and a ``Generator``."""

import difflib
import inspect
from collections.abc import Mapping

from numpy.random import Generator

from neuprecond.problems import diffusion, dominant, flows, graphs, hard, meshes
from neuprecond.problems.family import Family, Problem
from neuprecond.problems.files import read, read_vectors
from neuprecond.problems.splits import Split, seeds, split

__all__ = [
    "FAMILIES",
    "Family",
    "Problem",
    "Split",
    "draw",
    "read",
    "read_vectors",
    "seeds",
    "split",
]

FAMILIES: dict[str, Family] = {
    "poisson2d": Family("poisson2d", diffusion.poisson2d, "2-D", True, "Poisson, 5-point"),
    "poisson2d_9point": Family(
        "poisson2d_9point", diffusion.poisson2d_9point, "2-D", True, "Poisson, compact 9-point"
    ),
    "poisson3d": Family("poisson3d", diffusion.poisson3d, "3-D", True, "Poisson, 7-point"),
    "poisson3d_27point": Family(
        "poisson3d_27point", diffusion.poisson3d_27point, "3-D", True, "Poisson, 27-point"
    ),
    "lognormal": Family("lognormal", diffusion.lognormal, "2-D", True, "log-normal diffusion"),
    "lognormal3d": Family(
        "lognormal3d", diffusion.lognormal3d, "3-D", True, "log-normal diffusion"
    ),
    "twophase": Family(
        "twophase", diffusion.twophase, "2-D", True, "two materials of high contrast"
    ),
    "twophase3d": Family(
        "twophase3d", diffusion.twophase3d, "3-D", True, "two materials of high contrast"
    ),
    "channels": Family(
        "channels", diffusion.channels, "2-D", True, "thin channels of high contrast"
    ),
    "anisotropic": Family(
        "anisotropic", diffusion.anisotropic, "2-D", True, "rotated anisotropy, 9-point"
    ),
    "anisotropic3d": Family(
        "anisotropic3d", diffusion.anisotropic3d, "3-D", True, "anisotropy along the axes"
    ),
    "checkerboard": Family(
        "checkerboard", diffusion.checkerboard, "2-D", True, "checkerboard of two materials"
    ),
    "jumps": Family("jumps", diffusion.jumps, "2-D", True, "blocks of rock, each its own"),
    "stretched": Family(
        "stretched", diffusion.stretched, "2-D", True, "Poisson on a stretched grid"
    ),
    "matern": Family("matern", diffusion.matern, "2-D", True, "precision of a random field"),
    "fe2d": Family("fe2d", meshes.fe2d, "2-D", True, "diffusion on random triangles"),
    "fibres": Family("fibres", meshes.fibres, "2-D", True, "anisotropy along bending fibres"),
    "fibres3d": Family("fibres3d", meshes.fibres3d, "3-D", True, "anisotropy along bending fibres"),
    "elements": Family(
        "elements", meshes.elements, "2-D", True, "finite elements of degree 2 to 4"
    ),
    "fe3d": Family("fe3d", meshes.fe3d, "3-D", True, "diffusion on irregular tetrahedra"),
    "elasticity2d": Family(
        "elasticity2d", meshes.elasticity2d, "2-D", True, "clamped plate, 2 unknowns a node"
    ),
    "elasticity3d": Family(
        "elasticity3d", meshes.elasticity3d, "3-D", True, "clamped cube, 3 unknowns a node"
    ),
    "delaunay": Family(
        "delaunay", graphs.delaunay, "graph", True, "Delaunay triangulation of points"
    ),
    "geometric": Family("geometric", graphs.geometric, "graph", True, "near points joined"),
    "attachment": Family("attachment", graphs.attachment, "graph", True, "network with hubs"),
    "knn": Family("knn", graphs.knn, "graph", True, "nearest neighbours in clusters"),
    "pores": Family("pores", graphs.pores, "graph", True, "network of pores in space"),
    "roads": Family("roads", graphs.roads, "graph", True, "planar network, nearly a tree"),
    "heat": Family("heat", dominant.heat, "2-D", True, "implicit heat step"),
    "shifted": Family("shifted", dominant.shifted, "graph", True, "Laplacian plus a shift"),
    "dominant": Family("dominant", dominant.dominant, "matrix", True, "random, dominant diagonal"),
    "capped": Family("capped", dominant.capped, "matrix", True, "random, κ capped by a shift"),
    "poisson1d": Family("poisson1d", hard.poisson1d, "matrix", True, "Poisson on a line"),
    "helmholtz": Family("helmholtz", hard.helmholtz, "2-D", False, "Helmholtz, indefinite"),
    "saddle": Family("saddle", hard.saddle, "2-D", False, "Stokes flow, saddle point"),
    "near_singular": Family(
        "near_singular", hard.near_singular, "2-D", True, "one eigenvalue next to zero"
    ),
    "gram": Family("gram", hard.gram, "matrix", True, "C Cᵀ + αI, no grid"),
    "covariance": Family(
        "covariance", hard.covariance, "matrix", True, "tapered covariance of points"
    ),
    "advection": Family(
        "advection", hard.advection, "2-D", False, "advection and diffusion, upwind"
    ),
    "advection3d": Family(
        "advection3d", flows.advection3d, "3-D", False, "advection and diffusion, upwind"
    ),
    "vortices": Family("vortices", flows.vortices, "2-D", False, "vortices over rough ground"),
    "oneway": Family("oneway", flows.oneway, "graph", False, "random walk, one-way streets"),
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
