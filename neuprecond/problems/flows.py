"""Nonsymmetric matrices: wind through rough ground and in space, one-way streets."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from scipy import sparse, spatial

from neuprecond.problems.diffusion import diffusion_matrix, smooth_field
from neuprecond.problems.family import (
    Problem,
    chosen,
    chosen_whole,
    constant,
    log_uniform,
    made,
    started,
)

__all__ = ["advection3d", "oneway", "upwind", "vortices"]


def upwind(wind: Sequence[np.ndarray], diffusion: float = 0.0) -> sparse.csr_array:
    """First order upwind difference of -ν Δu + w · grad u on a grid of unit cells, u = 0 around.

    Parameters
    ----------
    wind : sequence of ndarray, each of the grid's shape
        Component of w along each axis, at the unknowns.
    diffusion : float
        ν.

    Returns
    -------
    csr_array, shape (n, n)
        Without diffusion row sums are zero but at the walls that the wind comes from; with any, it
        is an M-matrix.

    Examples
    --------
    >>> upwind([np.array([1.0, 1.0, -1.0])]).toarray()
    array([[ 1.,  0.,  0.],
           [-1.,  1.,  0.],
           [ 0.,  0.,  1.]])
    """
    shape = np.shape(wind[0])
    number = np.arange(int(np.prod(shape))).reshape(shape)
    diagonal = np.full(shape, 2.0 * len(wind) * diffusion)
    for component in wind:
        diagonal += np.abs(component)
    rows, cols, values = [number.ravel()], [number.ravel()], [diagonal.ravel()]
    for axis, component in enumerate(wind):
        here, w = np.moveaxis(number, axis, 0), np.moveaxis(component, axis, 0)
        # A row takes its wind from the side that the wind blows from.
        rows += [here[1:].ravel(), here[:-1].ravel()]
        cols += [here[:-1].ravel(), here[1:].ravel()]
        values += [(-diffusion - np.maximum(side, 0.0)).ravel() for side in (w[1:], -w[:-1])]
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols)))
    A = sparse.coo_array(entries, shape=(number.size, number.size)).tocsr()
    A.eliminate_zeros()
    return A


def vortices(
    size: int,
    rng: Generator,
    *,
    peclet: float | None = None,
    vortices: int | None = None,
    sigma: float | None = None,
) -> Problem:
    """Advection by several vortices and a breeze through log-normal ground, upwind on a square.

    -div(k grad u) + w · grad u with w the curl of a stream function: a grid of vortices that turn
    against each other, and a straight breeze over them.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws what is not given, the ground and b.
    peclet : float or None
        Cell Péclet number max |w| h / median k, drawn from 0.1 to 100 (log).
    vortices : int or None
        Along a side, drawn from 1 to 4.
    sigma : float or None
        Standard deviation of log k, drawn from 0 to 1.5.

    Returns
    -------
    Problem
        Nonsymmetric M-matrix.

    References
    ----------
    H. C. Elman, D. J. Silvester, A. J. Wathen, Finite Elements and Fast Iterative Solvers, 2nd
    ed., Oxford 2014, section 6.1.

    Examples
    --------
    >>> vortices(6, np.random.default_rng(7), peclet=10.0).A.shape
    (36, 36)
    """
    size = started(size, rng)
    peclet = chosen("peclet", peclet, log_uniform(rng, 0.1, 100.0), least=0.0)
    number = chosen_whole("vortices", vortices, int(rng.integers(1, 5)), least=1)
    sigma = chosen("sigma", sigma, rng.uniform(0.0, 1.5), least=0.0)
    ground = smooth_field((size, size), rng, length=float(np.exp(rng.uniform(0.0, np.log(8.0)))))
    angle, breeze = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.0, 0.5)
    line = number * np.pi * np.arange(1, size + 1) / (size + 1)
    x, y = line[:, None], line[None, :]
    wind = [
        np.sin(x) * np.cos(y) + breeze * np.cos(angle),
        -np.cos(x) * np.sin(y) + breeze * np.sin(angle),
    ]
    speed = np.sqrt(wind[0] ** 2 + wind[1] ** 2).max()
    A = diffusion_matrix(np.exp(sigma * ground)) + upwind([peclet / speed * w for w in wind])
    parameters: dict[str, float | int | str] = {
        "size": size,
        "peclet": peclet,
        "vortices": number,
        "sigma": sigma,
    }
    return made("vortices", A, rng, parameters, B=constant(size**2))


def advection3d(
    size: int, rng: Generator, *, peclet: float | None = None, wind: str | None = None
) -> Problem:
    """Advection and diffusion in a cube, -Δu + w · grad u, upwind, u = 0 around.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size³.
    rng : Generator
        Draws the Péclet number, the wind, its direction and b.
    peclet : float or None
        Cell Péclet number max |w| h, drawn from 0.1 to 100 (log).
    wind : {"constant", "recirculating"} or None
        Straight in a random direction, or round one axis and slowly along it; drawn by default.

    Returns
    -------
    Problem
        Nonsymmetric M-matrix.

    Raises
    ------
    ValueError
        If wind is another word.

    References
    ----------
    As for ``advection``.

    Examples
    --------
    >>> advection3d(4, np.random.default_rng(7), peclet=10.0).A.shape
    (64, 64)
    """
    size = started(size, rng)
    peclet = chosen("peclet", peclet, log_uniform(rng, 0.1, 100.0), least=0.0)
    direction = rng.standard_normal(3)
    drawn = ("constant", "recirculating")[rng.integers(2)]
    wind = drawn if wind is None else wind
    line = np.pi * np.arange(1, size + 1) / (size + 1)
    x, y, z = line[:, None, None], line[None, :, None], np.zeros((1, 1, size))
    if wind == "constant":
        along = [np.full((size, size, size), component) for component in direction]
    elif wind == "recirculating":
        along = [np.sin(x) * np.cos(y) + z, -np.cos(x) * np.sin(y) + z, 0.2 + 0.0 * (x + y) + z]
    else:
        raise ValueError(f"wind must be 'constant' or 'recirculating', got {wind!r}.")
    speed = np.sqrt(sum(component**2 for component in along)).max()
    A = diffusion_matrix(np.ones((size, size, size)))
    A = A + upwind([peclet / speed * component for component in along])
    parameters: dict[str, float | int | str] = {"size": size, "peclet": peclet, "wind": wind}
    return made("advection3d", A, rng, parameters, B=constant(size**3))


def oneway(
    size: int, rng: Generator, *, bias: float | None = None, leak: float | None = None
) -> Problem:
    """A random walk on points of a square joined when near, along streets that are partly one-way.

    Row i holds what leaves i: weights w_ij to its neighbours, -w_ij off the diagonal, their sum
    and a leak on it. log w_ij - log w_ji has the standard deviation 2 · bias.

    Parameters
    ----------
    size : int
        Unknowns, n = size.
    rng : Generator
        Draws the points, the weights and b.
    bias : float or None
        How unequal the two directions are, drawn from 0 to 2; 0 is a symmetric Laplacian.
    leak : float or None
        Share of a row's sum that leaves for good, drawn from 1e-4 to 0.1 (log).

    Returns
    -------
    Problem
        Nonsymmetric M-matrix, dominant by rows.

    References
    ----------
    J. G. Kemeny and J. L. Snell, Finite Markov Chains, Van Nostrand 1960, chapter 3.

    Examples
    --------
    >>> A = oneway(50, np.random.default_rng(7), leak=0.01).A
    >>> bool((A.sum(axis=1) > 0).all())
    True
    """
    size = started(size, rng, least=4)
    bias = chosen("bias", bias, rng.uniform(0.0, 2.0), least=0.0)
    leak = chosen("leak", leak, log_uniform(rng, 1e-4, 0.1), least=0.0)
    points = rng.random((size, 2))
    radius = np.sqrt(rng.uniform(6.0, 14.0) / (np.pi * size))
    pairs = spatial.cKDTree(points).query_pairs(radius, output_type="ndarray")
    tilt = np.exp(bias * rng.standard_normal(len(pairs)))
    i, j = pairs.T
    W = sparse.coo_array(
        (np.concatenate([tilt, 1.0 / tilt]), (np.concatenate([i, j]), np.concatenate([j, i]))),
        shape=(size, size),
    ).tocsr()
    # A point that nobody is near to leads nowhere but out.
    leaving = W.sum(axis=1)
    leaving = np.where(leaving > 0.0, leaving, 1.0)
    A = sparse.diags_array((1.0 + leak) * leaving) - W
    parameters: dict[str, float | int | str] = {"size": size, "bias": bias, "leak": leak}
    return made("oneway", A, rng, parameters, B=constant(size))
