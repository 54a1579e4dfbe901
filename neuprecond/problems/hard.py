"""What breaks preconditioners: indefinite, nearly singular, nonsymmetric, and without any grid."""

import numpy as np
from numpy.random import Generator
from scipy import sparse, spatial

from neuprecond.problems.diffusion import diffusion_matrix
from neuprecond.problems.dominant import random_square
from neuprecond.problems.family import Problem, chosen, constant, log_uniform, made, started
from neuprecond.problems.flows import upwind
from neuprecond.problems.graphs import laplacian

__all__ = [
    "advection",
    "covariance",
    "gram",
    "helmholtz",
    "near_singular",
    "poisson1d",
    "saddle",
]


def poisson1d(size: int, rng: Generator) -> Problem:
    """Poisson on a line: 2 on the diagonal, -1 beside it.

    The smallest example of the light cone: an M that couples unknowns at most R steps apart needs
    n / (R + 1) iterations of CG or more, whatever its values.

    Parameters
    ----------
    size : int
        Unknowns, n = size.
    rng : Generator
        Draws b alone.

    Returns
    -------
    Problem
        κ(A) = cot²(π / 2(size + 1)).

    References
    ----------
    Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., SIAM 2003, section 2.2.

    Examples
    --------
    >>> poisson1d(3, np.random.default_rng(7)).A.toarray()
    array([[ 2., -1.,  0.],
           [-1.,  2., -1.],
           [ 0., -1.,  2.]])
    """
    size = started(size, rng)
    return made("poisson1d", diffusion_matrix(np.ones(size)), rng, {"size": size}, B=constant(size))


def helmholtz(size: int, rng: Generator, *, waves: float | None = None) -> Problem:
    """Helmholtz on a square with u = 0 around, 5-point: the Poisson matrix minus (k h)² I.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws the waves and b.
    waves : float or None
        Wavelengths along a side, k h = 2π waves / (size + 1). Drawn from 1 to size / 8 by default
        (and from 1 to 1.5 on small grids), so a wavelength has 8 points or more.

    Returns
    -------
    Problem
        Symmetric and indefinite for waves > 0.71; about π waves² negative eigenvalues. MINRES or
        GMRES, not CG.

    References
    ----------
    O. G. Ernst, M. J. Gander, Why it is difficult to solve Helmholtz problems with classical
    iterative methods, in Numerical Analysis of Multiscale Problems, Springer 2012.

    Examples
    --------
    >>> A = helmholtz(8, np.random.default_rng(7), waves=1.3).A.toarray()
    >>> np.linalg.eigvalsh(A)[0].item() < 0
    True
    """
    size = started(size, rng, least=4)
    waves = chosen("waves", waves, rng.uniform(1.0, max(1.5, size / 8)), least=0.0)
    shift = (2.0 * np.pi * waves / (size + 1)) ** 2
    A = diffusion_matrix(np.ones((size, size))) - shift * sparse.eye_array(size**2)
    return made("helmholtz", A, rng, {"size": size, "waves": waves})


def saddle(size: int, rng: Generator, *, viscosity: float | None = None) -> Problem:
    """Stokes flow in a closed square: a saddle point matrix [[V, Dᵀ], [D, 0]].

    Staggered (MAC) grid: horizontal velocities on vertical faces, vertical ones on horizontal
    faces, pressures in the cells; V is the viscosity times the 5-point matrix, D the divergence.
    Walls have no slip. One pressure is left out, since pressures are known up to a constant.

    Parameters
    ----------
    size : int
        Cells along a side, n = 3 size² - 2 size - 1.
    rng : Generator
        Draws the viscosity and b.
    viscosity : float or None
        Drawn from 0.01 to 1 (uniform in the logarithm) by default.

    Returns
    -------
    Problem
        Symmetric and indefinite, as many negative eigenvalues as pressures, zeros on their
        diagonal: Jacobi does not exist.

    References
    ----------
    M. Benzi, G. H. Golub, J. Liesen, Numerical solution of saddle point problems, Acta Numerica
    14, 2005.

    Examples
    --------
    >>> A = saddle(3, np.random.default_rng(7)).A
    >>> A.shape, int((A.diagonal() == 0).sum())
    ((20, 20), 8)
    """
    size = started(size, rng)
    viscosity = chosen("viscosity", viscosity, log_uniform(rng, 1e-2, 1.0), least=1e-12)
    # Across a wall that a velocity runs along, the wall is half a width away: 3 instead of 2.
    normal = _second_difference(size - 1, 2.0)
    tangential = _second_difference(size, 3.0)
    faces, cells = sparse.eye_array(size - 1), sparse.eye_array(size)
    horizontal = sparse.kron(normal, cells) + sparse.kron(faces, tangential)
    vertical = sparse.kron(cells, normal) + sparse.kron(tangential, faces)
    across = sparse.diags_array(
        [np.ones(size - 1), -np.ones(size - 1)], offsets=[0, -1], shape=(size, size - 1)
    )
    D = sparse.hstack([sparse.kron(across, cells), sparse.kron(cells, across)]).tocsr()[1:]
    V = viscosity * sparse.block_diag([horizontal, vertical])
    A = sparse.block_array([[V, D.T], [D, None]])
    return made("saddle", A, rng, {"size": size, "viscosity": viscosity})


def near_singular(size: int, rng: Generator, *, gap: float | None = None) -> Problem:
    """Poisson with insulated walls plus a tiny multiple of I: one eigenvalue next to zero.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws the gap and b.
    gap : float or None
        The smallest eigenvalue, drawn from 1e-10 to 1e-4 (uniform in the logarithm) by default.

    Returns
    -------
    Problem
        κ(A) = about 8 / gap; the eigenvector of the smallest eigenvalue is the constant. Without
        it κ is that of Poisson. x is dominated by that vector, so digits are lost.

    References
    ----------
    E. F. Kaasschieter, Preconditioned conjugate gradients for solving singular systems, J. Comput.
    Appl. Math. 24, 1988.

    Examples
    --------
    >>> A = near_singular(4, np.random.default_rng(7), gap=1e-6).A
    >>> np.allclose(A @ np.ones(16), 1e-6, rtol=0, atol=1e-14)
    True
    """
    size = started(size, rng)
    gap = chosen("gap", gap, log_uniform(rng, 1e-10, 1e-4), least=1e-12)
    number = np.arange(size**2).reshape(size, size)
    pairs = np.concatenate(
        [
            np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1),
            np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1),
        ]
    )
    A = laplacian(pairs, np.ones(len(pairs)), size**2) + gap * sparse.eye_array(size**2)
    return made("near_singular", A, rng, {"size": size, "gap": gap}, B=constant(size**2))


def gram(
    size: int, rng: Generator, *, alpha: float | None = None, degree: float | None = None
) -> Problem:
    """Regularised normal equations of a random sparse C: A = C Cᵀ + αI.

    The test matrix of many papers on learned preconditioners. It comes from no grid: nothing is
    local, nothing is smooth, no near-null vector is known.

    Parameters
    ----------
    size : int
        Unknowns, n = size.
    rng : Generator
        Draws α, the degree, C and b.
    alpha : float or None
        α, drawn from 1e-6 to 1 (uniform in the logarithm) by default.
    degree : float or None
        Mean number of standard normal entries in a row of C, drawn from 2 to 5 by default.

    Returns
    -------
    Problem
        Smallest eigenvalue α or a little above, so κ(A) is about degree² / α.

    References
    ----------
    P. Häusner, O. Öktem, J. Sjölund, Neural incomplete factorization: learning preconditioners
    for the conjugate gradient method, 2023, arXiv 2305.16368.

    Examples
    --------
    >>> A = gram(20, np.random.default_rng(7), alpha=0.5).A.toarray()
    >>> bool(np.linalg.eigvalsh(A)[0] > 0.499)
    True
    """
    size = started(size, rng, least=4)
    alpha = chosen("alpha", alpha, log_uniform(rng, 1e-6, 1.0), least=1e-12)
    degree = chosen("degree", degree, rng.uniform(2.0, 5.0), least=0.5)
    C = random_square(size, degree, rng)
    S = C @ C.T
    A = (S + S.T) / 2.0 + alpha * sparse.eye_array(size)
    return made("gram", A, rng, {"size": size, "alpha": alpha, "degree": degree})


def covariance(
    size: int, rng: Generator, *, neighbours: float | None = None, nugget: float | None = None
) -> Problem:
    """Covariance of a random field at random points, tapered so that far points do not count.

    Wendland's function (1 - r)⁴ (4 r + 1) of the distance r over the reach, in the unit square or
    cube, plus the variance of a measurement's error: the matrix of kriging and of Gaussian
    processes.

    Parameters
    ----------
    size : int
        Points, n = size.
    rng : Generator
        Draws the dimension, the neighbours, the nugget, the points and b.
    neighbours : float or None
        How many points lie within the reach, on average; drawn from 10 to 60 by default.
    nugget : float or None
        Added to the diagonal of ones; drawn from 1e-4 to 0.1 (uniform in the logarithm) by default.

    Returns
    -------
    Problem
        All entries positive; no elliptic operator but the inverse of one: smooth vectors have the
        largest eigenvalues. κ(A) is at most the largest row sum over the nugget, at every size.

    References
    ----------
    R. Furrer, M. G. Genton, D. Nychka, Covariance tapering for interpolation of large spatial
    datasets, J. Comput. Graph. Stat. 15(3), 2006.

    Examples
    --------
    >>> problem = covariance(50, np.random.default_rng(7), neighbours=8.0, nugget=0.5)
    >>> problem.A.shape, problem.A.diagonal()[:2].tolist()
    ((50, 50), [1.5, 1.5])
    """
    size = started(size, rng)
    dimension = int(rng.integers(2, 4))
    neighbours = chosen("neighbours", neighbours, rng.uniform(10.0, 60.0), least=1.0, most=1e3)
    nugget = chosen("nugget", nugget, log_uniform(rng, 1e-4, 0.1), least=1e-12)
    points = rng.random((size, dimension))
    ball = {2: np.pi, 3: 4.0 * np.pi / 3.0}[dimension]
    reach = float((neighbours / (ball * size)) ** (1.0 / dimension))
    pairs = spatial.cKDTree(points).query_pairs(reach, output_type="ndarray")
    i, j = pairs.T
    r = np.linalg.norm(points[i] - points[j], axis=1) / reach
    values = (1.0 - r) ** 4 * (4.0 * r + 1.0)
    upper = sparse.coo_array((values, (i, j)), shape=(size, size))
    A = upper + upper.T + (1.0 + nugget) * sparse.eye_array(size)
    parameters: dict[str, float | int | str] = {
        "size": size,
        "dimension": dimension,
        "neighbours": neighbours,
        "nugget": nugget,
    }
    return made("covariance", A, rng, parameters)


def advection(
    size: int,
    rng: Generator,
    *,
    peclet: float | None = None,
    wind: str | None = None,
) -> Problem:
    """Advection and diffusion, -Δu + w · grad u, first order upwind on a square, u = 0 around.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws the Péclet number, the wind, its direction and b.
    peclet : float or None
        Cell Péclet number max |w| h, drawn from 0.1 to 100 (uniform in the logarithm) by default;
        above 2 the wind is stronger than diffusion between two neighbours.
    wind : {"constant", "recirculating"} or None
        A straight wind of random direction, or one round vortex; drawn by default.

    Returns
    -------
    Problem
        Nonsymmetric M-matrix, weakly diagonally dominant by rows. GMRES, not CG. B is the constant,
        near-null for A but not for its transpose.

    Raises
    ------
    ValueError
        If wind is another word.

    References
    ----------
    H. C. Elman, D. J. Silvester, A. J. Wathen, Finite Elements and Fast Iterative Solvers, 2nd
    ed., Oxford 2014, section 6.1.

    Examples
    --------
    >>> A = advection(4, np.random.default_rng(7), peclet=10, wind="constant").A
    >>> bool(abs(A - A.T).max() > 1)
    True
    """
    size = started(size, rng)
    peclet = chosen("peclet", peclet, log_uniform(rng, 0.1, 100.0), least=0.0)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    drawn = ("constant", "recirculating")[rng.integers(2)]
    wind = drawn if wind is None else wind
    line = np.pi * np.arange(1, size + 1) / (size + 1)
    x, y = line[:, None], line[None, :]
    if wind == "constant":
        along = [np.full((size, size), np.cos(angle)), np.full((size, size), np.sin(angle))]
    elif wind == "recirculating":
        along = [np.sin(x) * np.cos(y), -np.cos(x) * np.sin(y)]
    else:
        raise ValueError(f"wind must be 'constant' or 'recirculating', got {wind!r}.")
    speed = np.sqrt(along[0] ** 2 + along[1] ** 2).max()
    A = upwind([component * (peclet / speed) for component in along], diffusion=1.0)
    parameters: dict[str, float | int | str] = {"size": size, "peclet": peclet, "wind": wind}
    if wind == "constant":
        parameters["angle"] = angle
    return made("advection", A, rng, parameters, B=constant(size**2))


def _second_difference(m: int, end: float) -> sparse.sparray:
    """Matrix (m × m) of 2 on the diagonal and -1 beside it, with ``end`` in both corners."""
    diagonal = np.full(m, 2.0)
    diagonal[[0, -1]] = end
    # A single cell between two walls feels both.
    if m == 1:
        diagonal[0] = 2.0 * end - 2.0
    beside = -np.ones(m - 1)
    return sparse.diags_array([beside, diagonal, beside], offsets=[-1, 0, 1], shape=(m, m))
