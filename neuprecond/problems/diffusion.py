"""Diffusion on regular grids, -div(k grad u) = f with u = 0 outside, in two and three dimensions.

The general matrix is the finite volume one with a coefficient for each cell and harmonic averages
on the faces. Every family takes ``size`` = unknowns along a side, so n = size² or size³.
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from pyamg.gallery import diffusion_stencil_2d, stencil_grid
from scipy import sparse

from neuprecond.problems.family import (
    Problem,
    chosen,
    chosen_whole,
    constant,
    log_uniform,
    made,
    started,
)

__all__ = [
    "anisotropic",
    "anisotropic3d",
    "channels",
    "checkerboard",
    "diffusion_matrix",
    "jumps",
    "lognormal",
    "lognormal3d",
    "matern",
    "poisson2d",
    "poisson2d_9point",
    "poisson3d",
    "poisson3d_27point",
    "smooth_field",
    "stretched",
    "twophase",
    "twophase3d",
]


def diffusion_matrix(
    coefficient: np.ndarray,
    *,
    widths: Sequence[np.ndarray] | None = None,
    axis_weights: Sequence[float] | None = None,
) -> sparse.csr_array:
    """Finite volume matrix of -div(k grad u): 3, 5 or 7 entries a row in 1, 2 or 3 dimensions.

    Cells i and j that share a face of area a are coupled by -a / (w_i / 2k_i + w_j / 2k_j), w the
    widths across the face: for unit widths this is the harmonic mean of k_i and k_j. Outside lies
    one more layer of cells with the coefficient of their neighbour and u = 0, so k = 1 on unit
    cells is the textbook Poisson matrix (the true half cell at the wall would only add to the
    diagonal there).

    Parameters
    ----------
    coefficient : ndarray, shape (n1,), (n1, n2) or (n1, n2, n3)
        k, one positive number a cell; the last axis runs fastest in A's numbering.
    widths : sequence of ndarray, of shapes (n1,), (n2,), ..., or None
        Cell widths along each axis, all 1 by default.
    axis_weights : sequence of float, or None
        Factor on k for fluxes along each axis, all 1 by default.

    Returns
    -------
    csr_array, shape (n, n)
        Symmetric positive definite; an irreducible M-matrix.

    Raises
    ------
    ValueError
        If a coefficient, width or weight is not positive and finite, or a shape does not fit.

    References
    ----------
    S. V. Patankar, Numerical Heat Transfer and Fluid Flow, Hemisphere 1980, section 4.2-3.

    Examples
    --------
    >>> diffusion_matrix(np.array([1.0, 3.0])).toarray()
    array([[ 2.5, -1.5],
           [-1.5,  4.5]])
    """
    k = np.asarray(coefficient, dtype=np.float64)
    if not 1 <= k.ndim <= 3 or k.size == 0:
        raise ValueError(f"coefficient must have 1, 2 or 3 axes, got shape {k.shape}.")
    cell = [np.ones(m) for m in k.shape] if widths is None else [np.asarray(w) for w in widths]
    if tuple(len(w) for w in cell) != k.shape:
        raise ValueError(f"widths must have lengths {k.shape}, got {tuple(map(len, cell))}.")
    weights = np.ones(k.ndim) if axis_weights is None else np.asarray(axis_weights, dtype=float)
    if weights.shape != (k.ndim,):
        raise ValueError(f"axis_weights must be {k.ndim} numbers, got shape {weights.shape}.")
    for what, values in (
        ("coefficient", k),
        ("axis_weights", weights),
        *(("widths", w) for w in cell),
    ):
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(
                f"{what} must be positive and finite, got a least of {values.min():g}."
            )

    number = np.arange(k.size, dtype=np.int32).reshape(k.shape)
    volume = np.ones(k.shape)
    for axis, w in enumerate(cell):
        volume = volume * w.reshape([-1 if a == axis else 1 for a in range(k.ndim)])
    diagonal = np.zeros(k.shape)
    pairs = []
    for axis, w in enumerate(cell):
        across = w.reshape([-1 if a == axis else 1 for a in range(k.ndim)])
        area = volume / across * weights[axis]
        resistance = across / (2.0 * k)
        low, high = _ends(k.ndim, axis, slice(None, -1), slice(1, None))
        flux = area[low] / (resistance[low] + resistance[high])
        diagonal[low] += flux
        diagonal[high] += flux
        for wall in _ends(k.ndim, axis, slice(None, 1), slice(-1, None)):
            diagonal[wall] += area[wall] / (2.0 * resistance[wall])
        pairs.append((number[low].ravel(), number[high].ravel(), -flux.ravel()))
    i, j, values = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    every = number.ravel()
    return sparse.coo_array(
        (
            np.concatenate([values, values, diagonal.ravel()]),
            (np.concatenate([i, j, every]), np.concatenate([j, i, every])),
        ),
        shape=(k.size, k.size),
    ).tocsr()


def smooth_field(shape: Sequence[int], rng: Generator, *, length: float) -> np.ndarray:
    """Gaussian random field of mean 0 and variance 1 over the grid, periodic and smooth.

    White noise is multiplied by exp(-(2π f length)² / 4) in Fourier space, f the frequency in
    cycles a cell, so two cells at distance r correlate as exp(-r² / (2 length²)).

    Parameters
    ----------
    shape : sequence of int
        Cells along each axis.
    rng : Generator
        Where the noise comes from.
    length : float
        Correlation length in cells; 0 leaves the noise white.

    Returns
    -------
    ndarray, shape ``shape``
        Shifted and scaled to mean 0 and variance 1 exactly (up to rounding).

    Examples
    --------
    >>> g = smooth_field((8, 8), np.random.default_rng(7), length=2.0)
    >>> bool(abs(g.mean()) < 1e-12), round(float(g.var()), 12)
    (True, 1.0)
    """
    noise = np.fft.rfftn(rng.standard_normal(tuple(shape)))
    frequencies = [np.fft.fftfreq(m) for m in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
    squared = sum(f**2 for f in np.meshgrid(*frequencies, indexing="ij", sparse=True))
    axes = tuple(range(len(shape)))
    g = np.fft.irfftn(noise * np.exp(-((np.pi * length) ** 2) * squared), s=tuple(shape), axes=axes)
    g -= g.mean()
    return g / max(g.std(), np.finfo(float).tiny)


def poisson2d(size: int, rng: Generator) -> Problem:
    """Poisson on a square, 5-point: 4 on the diagonal, -1 to each neighbour.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws b alone; A is the same for every seed.

    Returns
    -------
    Problem
        κ(A) = cot²(π / 2(size + 1)), about 0.4 size².

    References
    ----------
    Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., SIAM 2003, section 2.2.

    Examples
    --------
    >>> poisson2d(2, np.random.default_rng(7)).A.toarray()[0]
    array([ 4., -1., -1.,  0.])
    """
    size = started(size, rng)
    A = diffusion_matrix(np.ones((size, size)))
    return made("poisson2d", A, rng, {"size": size}, B=constant(size**2))


def poisson2d_9point(size: int, rng: Generator) -> Problem:
    """Poisson on a square, compact 9-point: 20/6 on the diagonal, -4/6 to sides, -1/6 to corners.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws b alone.

    Returns
    -------
    Problem
        κ(A) grows as size².

    References
    ----------
    L. Collatz, The Numerical Treatment of Differential Equations, Springer 1960, table VI.

    Examples
    --------
    >>> poisson2d_9point(3, np.random.default_rng(7)).A[[4]].nnz
    9
    """
    size = started(size, rng)
    stencil = np.array([[-1.0, -4.0, -1.0], [-4.0, 20.0, -4.0], [-1.0, -4.0, -1.0]]) / 6.0
    A = stencil_grid(stencil, (size, size), format="csr")
    return made("poisson2d_9point", A, rng, {"size": size}, B=constant(size**2))


def poisson3d(size: int, rng: Generator) -> Problem:
    """Poisson on a cube, 7-point: 6 on the diagonal, -1 to each neighbour.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size³.
    rng : Generator
        Draws b alone.

    Returns
    -------
    Problem
        κ(A) = cot²(π / 2(size + 1)), as in two dimensions.

    References
    ----------
    Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., SIAM 2003, section 2.2.

    Examples
    --------
    >>> poisson3d(3, np.random.default_rng(7)).A[[13]].nnz
    7
    """
    size = started(size, rng)
    A = diffusion_matrix(np.ones((size, size, size)))
    return made("poisson3d", A, rng, {"size": size}, B=constant(size**3))


def poisson3d_27point(size: int, rng: Generator) -> Problem:
    """Poisson on a cube, 27-point, as the HPCG benchmark has it: 26 on the diagonal, -1 around.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size³.
    rng : Generator
        Draws b alone.

    Returns
    -------
    Problem
        κ(A) grows as size².

    References
    ----------
    J. Dongarra, M. A. Heroux, P. Luszczek, High-performance conjugate-gradient benchmark,
    Int. J. High Perform. Comput. Appl. 30(1), 2016.

    Examples
    --------
    >>> poisson3d_27point(3, np.random.default_rng(7)).A[[13]].nnz
    27
    """
    size = started(size, rng)
    stencil = np.full((3, 3, 3), -1.0)
    stencil[1, 1, 1] = 26.0
    A = stencil_grid(stencil, (size, size, size), format="csr")
    return made("poisson3d_27point", A, rng, {"size": size}, B=constant(size**3))


def lognormal(
    size: int, rng: Generator, *, sigma: float | None = None, length: float | None = None
) -> Problem:
    """Diffusion through k = exp(σ g), g a smooth Gaussian field: ground water, porous rock.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws σ, the length, the field and b.
    sigma : float or None
        Standard deviation σ of log k; drawn from 0.5 to 2 by default.
    length : float or None
        Correlation length in cells; drawn from 1 to 8 (uniform in the logarithm) by default.

    Returns
    -------
    Problem
        κ(A) grows as size² and as the ratio of the largest k to the smallest.

    References
    ----------
    R. A. Freeze, A stochastic-conceptual analysis of one-dimensional groundwater flow in
    nonuniform homogeneous media, Water Resources Research 11(5), 1975.

    Examples
    --------
    >>> problem = lognormal(8, np.random.default_rng(7), sigma=1.5)
    >>> problem.A.shape, problem.parameters["sigma"]
    ((64, 64), 1.5)
    """
    size = started(size, rng)
    return _lognormal("lognormal", (size, size), rng, sigma, length)


def lognormal3d(
    size: int, rng: Generator, *, sigma: float | None = None, length: float | None = None
) -> Problem:
    """``lognormal`` in a cube, n = size³.

    Parameters
    ----------
    size : int
        Unknowns along a side.
    rng : Generator
        Draws σ, the length, the field and b.
    sigma, length : float or None
        As in ``lognormal``.

    Returns
    -------
    Problem

    Examples
    --------
    >>> lognormal3d(4, np.random.default_rng(7)).A.shape
    (64, 64)
    """
    size = started(size, rng)
    return _lognormal("lognormal3d", (size, size, size), rng, sigma, length)


def twophase(
    size: int, rng: Generator, *, contrast: float | None = None, length: float | None = None
) -> Problem:
    """Diffusion through two materials: k = contrast in random blobs, k = 1 between them.

    The blobs are where a smooth Gaussian field is positive, half of the square.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws the contrast, the length, the field and b.
    contrast : float or None
        Ratio of the two coefficients; drawn from 10 to 1e6 (uniform in the logarithm) by default.
    length : float or None
        Correlation length of the field in cells; drawn from 2 to 8 likewise by default.

    Returns
    -------
    Problem
        κ(A) grows as size² times the contrast; after diagonal scaling a few small eigenvalues,
        one for each blob that does not touch the boundary, carry the contrast.

    References
    ----------
    C. Vuik, A. Segal, J. A. Meijerink, An efficient preconditioned CG method for the solution of
    a class of layered problems with extreme contrasts in the coefficients, J. Comput. Phys. 152,
    1999.

    Examples
    --------
    >>> twophase(8, np.random.default_rng(7), contrast=1e4).parameters["contrast"]
    10000.0
    """
    size = started(size, rng)
    return _twophase("twophase", (size, size), rng, contrast, length)


def twophase3d(
    size: int, rng: Generator, *, contrast: float | None = None, length: float | None = None
) -> Problem:
    """``twophase`` in a cube, n = size³.

    Parameters
    ----------
    size : int
        Unknowns along a side.
    rng : Generator
        Draws the contrast, the length, the field and b.
    contrast, length : float or None
        As in ``twophase``.

    Returns
    -------
    Problem

    Examples
    --------
    >>> twophase3d(4, np.random.default_rng(7)).A.shape
    (64, 64)
    """
    size = started(size, rng)
    return _twophase("twophase3d", (size, size, size), rng, contrast, length)


def channels(size: int, rng: Generator, *, contrast: float | None = None) -> Problem:
    """Diffusion through thin winding channels of k = contrast in a background of k = 1.

    Each channel crosses the square from side to side, one or two cells wide, along a sloping
    sine; half of them run along the first axis and half along the second. There are
    3 + size // 16 of them.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws the contrast, the channels and b.
    contrast : float or None
        k in a channel; drawn from 10 to 1e6 (uniform in the logarithm) by default.

    Returns
    -------
    Problem
        κ(A) grows as size² times the contrast.

    References
    ----------
    Y. Efendiev, J. Galvis, T. Y. Hou, Generalized multiscale finite element methods (GMsFEM),
    J. Comput. Phys. 251, 2013.

    Examples
    --------
    >>> channels(8, np.random.default_rng(7), contrast=1e6).parameters["channels"]
    3
    """
    size = started(size, rng)
    contrast = chosen("contrast", contrast, log_uniform(rng, 1e1, 1e6), least=1.0)
    many = 3 + size // 16
    inside = np.zeros((size, size), dtype=bool)
    along = np.arange(size + 1) / size
    across = np.arange(size)
    for channel in range(many):
        start, slope, swing = rng.uniform(0.1, 0.9), rng.uniform(-0.4, 0.4), rng.uniform(0.0, 0.15)
        waves, phase, width = rng.uniform(0.5, 3.0), rng.uniform(0.0, 2 * np.pi), rng.integers(2)
        path = start + slope * (along - 0.5) + swing * np.sin(2 * np.pi * waves * along + phase)
        path = np.floor(path * size)
        # From the path's cell in this column to that in the next: no gap, however steep.
        low = np.minimum(path[:-1], path[1:])
        high = np.maximum(path[:-1], path[1:]) + width
        cells = (across >= low[:, None]) & (across <= high[:, None])
        inside |= cells if channel % 2 else cells.T
    A = diffusion_matrix(np.where(inside, contrast, 1.0))
    parameters: dict[str, float | int | str] = {
        "size": size,
        "contrast": contrast,
        "channels": many,
        "share": float(inside.mean()),
    }
    return made("channels", A, rng, parameters, B=constant(size**2))


def anisotropic(
    size: int, rng: Generator, *, epsilon: float | None = None, theta: float | None = None
) -> Problem:
    """Rotated anisotropic diffusion, bilinear finite elements: 9 entries a row.

    k = Q diag(1, ε) Qᵀ, Q a rotation by θ: strong coupling along θ, weak coupling across. The
    hard case of classical multigrid where θ is not a grid direction.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws ε, θ and b.
    epsilon : float or None
        ε, drawn from 1e-3 to 1 (uniform in the logarithm) by default.
    theta : float or None
        θ in radians, drawn from 0 to π by default.

    Returns
    -------
    Problem
        κ(A) grows as size², faster for small ε. Some off-diagonal entries are positive.

    References
    ----------
    J. B. Schroder, Smoothed aggregation solvers for anisotropic diffusion, Numer. Linear Algebra
    Appl. 19(2), 2012.

    Examples
    --------
    >>> problem = anisotropic(8, np.random.default_rng(7), epsilon=1e-3, theta=np.pi / 6)
    >>> problem.A.shape, problem.parameters["epsilon"]
    ((64, 64), 0.001)
    """
    size = started(size, rng)
    epsilon = chosen("epsilon", epsilon, log_uniform(rng, 1e-3, 1.0), least=1e-12)
    theta = chosen("theta", theta, rng.uniform(0.0, np.pi))
    stencil = diffusion_stencil_2d(type="FE", epsilon=epsilon, theta=theta)
    # Opposite entries agree up to rounding; the average makes A exactly symmetric.
    stencil = (stencil + stencil[::-1, ::-1]) / 2.0
    A = stencil_grid(stencil, (size, size), format="csr")
    parameters: dict[str, float | int | str] = {"size": size, "epsilon": epsilon, "theta": theta}
    return made("anisotropic", A, rng, parameters, B=constant(size**2))


def anisotropic3d(
    size: int, rng: Generator, *, epsilon: float | None = None, delta: float | None = None
) -> Problem:
    """Finite differences for -(u_xx + ε u_yy + δ u_zz) on a cube, 7-point, axes in random order.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size³.
    rng : Generator
        Draws ε, δ, the order of the axes and b.
    epsilon, delta : float or None
        The two weaker coefficients, each drawn from 1e-3 to 1 (uniform in the logarithm).

    Returns
    -------
    Problem
        κ(A) as for ``poisson3d``; what is hard is that smooth error is smooth along some axes only.

    References
    ----------
    U. Trottenberg, C. W. Oosterlee, A. Schüller, Multigrid, Academic Press 2001, section 5.1.

    Examples
    --------
    >>> anisotropic3d(3, np.random.default_rng(7), epsilon=0.1, delta=0.01).A.diagonal()[:1]
    array([2.22])
    """
    size = started(size, rng)
    epsilon = chosen("epsilon", epsilon, log_uniform(rng, 1e-3, 1.0), least=1e-12)
    delta = chosen("delta", delta, log_uniform(rng, 1e-3, 1.0), least=1e-12)
    weights = rng.permutation([1.0, epsilon, delta])
    A = diffusion_matrix(np.ones((size, size, size)), axis_weights=list(weights))
    parameters: dict[str, float | int | str] = {"size": size, "epsilon": epsilon, "delta": delta}
    return made("anisotropic3d", A, rng, parameters, B=constant(size**3))


def checkerboard(
    size: int, rng: Generator, *, contrast: float | None = None, blocks: int | None = None
) -> Problem:
    """Diffusion through a checkerboard: k = contrast on the black squares, 1 on the white ones.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws the contrast, the number of squares and b.
    contrast : float or None
        Drawn from 10 to 1e6 (uniform in the logarithm) by default.
    blocks : int or None
        Squares along a side, drawn from 2 to 8 by default; at most size are used.

    Returns
    -------
    Problem
        κ(A) grows as size² times the contrast. The corners, where four squares meet, are the
        classical singular points.

    References
    ----------
    R. B. Kellogg, On the Poisson equation with intersecting interfaces, Applicable Analysis 4,
    1974.

    Examples
    --------
    >>> checkerboard(4, np.random.default_rng(7), contrast=10, blocks=2).A.diagonal().max().item()
    40.0
    """
    size = started(size, rng)
    contrast = chosen("contrast", contrast, log_uniform(rng, 1e1, 1e6), least=1.0)
    many = min(size, chosen_whole("blocks", blocks, int(rng.integers(2, 9))))
    square = np.arange(size) * many // size
    A = diffusion_matrix(np.where((square[:, None] + square) % 2, contrast, 1.0))
    parameters: dict[str, float | int | str] = {"size": size, "contrast": contrast, "blocks": many}
    return made("checkerboard", A, rng, parameters, B=constant(size**2))


def jumps(
    size: int, rng: Generator, *, contrast: float | None = None, blocks: int | None = None
) -> Problem:
    """Diffusion through blocks of rock, each with its own k between 1 and the contrast.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws the contrast, the number of blocks, each block's k (uniform in the logarithm) and b.
    contrast : float or None
        Largest possible ratio of two coefficients; drawn from 10 to 1e6 likewise by default.
    blocks : int or None
        Blocks along a side, drawn from 4 to 12 by default; at most size are used.

    Returns
    -------
    Problem
        κ(A) grows as size² times the contrast.

    Examples
    --------
    >>> jumps(8, np.random.default_rng(7), contrast=100).A.shape
    (64, 64)
    """
    size = started(size, rng)
    contrast = chosen("contrast", contrast, log_uniform(rng, 1e1, 1e6), least=1.0)
    many = min(size, chosen_whole("blocks", blocks, int(rng.integers(4, 13))))
    rock = contrast ** rng.uniform(0.0, 1.0, (many, many))
    block = np.arange(size) * many // size
    A = diffusion_matrix(rock[block[:, None], block])
    parameters: dict[str, float | int | str] = {"size": size, "contrast": contrast, "blocks": many}
    return made("jumps", A, rng, parameters, B=constant(size**2))


def stretched(size: int, rng: Generator, *, ratio: float | None = None) -> Problem:
    """Poisson on a grid stretched towards one corner, as for a boundary layer.

    Cell widths grow geometrically along both axes, the last being ``ratio`` times the first: so
    cells are square near the diagonal and thin, one way and the other, away from it.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws the ratio and b.
    ratio : float or None
        Largest width over the smallest; drawn from 10 to 1000 (uniform in the logarithm).

    Returns
    -------
    Problem
        Anisotropy up to ratio² and of changing direction. The near-null vector is the constant.

    References
    ----------
    U. Trottenberg, C. W. Oosterlee, A. Schüller, Multigrid, Academic Press 2001, section 5.1.

    Examples
    --------
    >>> stretched(4, np.random.default_rng(7), ratio=8).A[0, 1].item()
    -0.6666666666666666
    """
    size = started(size, rng)
    ratio = chosen("ratio", ratio, log_uniform(rng, 1e1, 1e3), least=1.0)
    widths = ratio ** (np.arange(size) / (size - 1))
    A = diffusion_matrix(np.ones((size, size)), widths=(widths, widths))
    parameters: dict[str, float | int | str] = {"size": size, "ratio": ratio}
    return made("stretched", A, rng, parameters, B=constant(size**2))


def matern(
    size: int, rng: Generator, *, reach: float | None = None, sigma: float | None = None
) -> Problem:
    """Precision matrix of a Gaussian random field, (κ² - div k grad)², as statistics has it.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws the reach, σ, the field and b.
    reach : float or None
        Distance in cells at which two values hardly depend on each other, √8 / κ; drawn from 4 to
        200 (uniform in the logarithm) by default.
    sigma : float or None
        Standard deviation σ of log k, drawn from 0 to 1 by default; 0 is a stationary field.

    Returns
    -------
    Problem
        13 entries a row, some positive; of fourth order: κ(A) grows as the reach to the fourth
        power, up to size⁴.

    References
    ----------
    F. Lindgren, H. Rue, J. Lindström, An explicit link between Gaussian fields and Gaussian Markov
    random fields, J. R. Stat. Soc. B 73(4), 2011.

    Examples
    --------
    >>> matern(8, np.random.default_rng(7)).A.shape
    (64, 64)
    """
    size = started(size, rng)
    reach = chosen("reach", reach, log_uniform(rng, 4.0, 200.0), least=0.1, most=1e4)
    sigma = chosen("sigma", sigma, rng.uniform(0.0, 1.0), least=0.0, most=20.0)
    k = np.exp(sigma * smooth_field((size, size), rng, length=size / 8.0))
    root = diffusion_matrix(k) + 8.0 / reach**2 * sparse.eye_array(size**2)
    parameters: dict[str, float | int | str] = {"size": size, "reach": reach, "sigma": sigma}
    A = sparse.csr_array(root @ root)
    return made("matern", (A + A.T) / 2.0, rng, parameters, B=constant(size**2))


def _ends(ndim: int, axis: int, low: slice, high: slice) -> tuple[tuple[slice, ...], ...]:
    """Two index tuples that take ``low`` and ``high`` along axis and everything elsewhere."""
    return tuple(
        tuple(part if a == axis else slice(None) for a in range(ndim)) for part in (low, high)
    )


def _lognormal(
    name: str, shape: tuple[int, ...], rng: Generator, sigma: float | None, length: float | None
) -> Problem:
    sigma = chosen("sigma", sigma, rng.uniform(0.5, 2.0), least=0.0, most=50.0)
    length = chosen("length", length, log_uniform(rng, 1.0, 8.0), least=0.0)
    A = diffusion_matrix(np.exp(sigma * smooth_field(shape, rng, length=length)))
    parameters: dict[str, float | int | str] = {"size": shape[0], "sigma": sigma, "length": length}
    return made(name, A, rng, parameters, B=constant(A.shape[0]))


def _twophase(
    name: str, shape: tuple[int, ...], rng: Generator, contrast: float | None, length: float | None
) -> Problem:
    contrast = chosen("contrast", contrast, log_uniform(rng, 1e1, 1e6), least=1.0)
    length = chosen("length", length, log_uniform(rng, 2.0, 8.0), least=0.0)
    blobs = smooth_field(shape, rng, length=length) > 0.0
    A = diffusion_matrix(np.where(blobs, contrast, 1.0))
    parameters: dict[str, float | int | str] = {
        "size": shape[0],
        "contrast": contrast,
        "length": length,
    }
    return made(name, A, rng, parameters, B=constant(A.shape[0]))
