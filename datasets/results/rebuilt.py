"""Problems of published papers, rebuilt from their descriptions: what ``published.py`` measures on.

Diffusion in the plane as in arXiv 2405.15557 (PreCorrector), Poisson and heat on tetrahedra as in
arXiv 2510.27517 (a learned sparse approximate inverse, here GNN-SPAI). What could not be had, the
meshes, is named where it is replaced.
"""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import sparse

from neuprecond.problems import Problem
from neuprecond.problems.family import constant, made

__all__ = ["SIZES", "Instance", "diffusion", "heat", "poisson"]

#: Corners of the five meshes: the middles, in the logarithm, of five bands from 400 to 32 000.
SIZES = (620, 1489, 3577, 8592, 20638)
# The field's covariance is σ² exp(-(r / CORRELATION)²), r in sides of the square.
CORRELATION = 0.05
#: Cells along a side of the box that a body is grown in, and the share of them that it fills:
#: fitted, so that Jacobi on heat comes near its published count.
CELLS, SHARE = 10, 0.15


@dataclass(frozen=True, eq=False)
class Instance:
    """A problem with the right-hand side, first guess and stopping rule of its paper.

    Attributes
    ----------
    problem : Problem
        A, and our own right-hand side: white.
    b, x0 : ndarray, shape (n,)
        Theirs.
    rtol, atol : float
        Theirs, on the residual that CG updates.
    """

    problem: Problem
    b: np.ndarray
    x0: np.ndarray
    rtol: float
    atol: float


def diffusion(
    size: int,
    rng: Generator,
    *,
    variance: float,
    contrast: tuple[float, float] = (1.0, np.inf),
) -> Instance:
    """-div(k grad u) = f on the unit square, log k Gaussian, as PreCorrector's authors draw it.

    k is constant on (size + 1)² cells, u = 0 outside, and the unknowns lie at the cells' inner
    corners: two neighbours are coupled by the mean of the two cells on either side of their edge.
    f and x0 are white and CG stops at a residual of 1e-6, absolute, with the matrix multiplied by
    (size + 1)².

    Parameters
    ----------
    size : int
        Unknowns along a side.
    rng : Generator
        Draws field, f and x0.
    variance : float
        Of log k. The paper's tables and logs name their problems by it.
    contrast : tuple of two floats
        Fields are drawn until max k / min k lies between them.

    Returns
    -------
    Instance
        n = size², symmetric positive definite.
    """
    while True:
        log_k = np.sqrt(variance) * _gaussian(size + 1, CORRELATION * (size + 1), rng)
        if contrast[0] <= np.exp(np.ptp(log_k)) <= contrast[1]:
            break
    k = np.exp(log_k)
    n = size**2
    number = np.arange(n).reshape(size, size)
    down = (k[1:-1, :-1] + k[1:-1, 1:]) / 2
    right = (k[:-1, 1:-1] + k[1:, 1:-1]) / 2
    rows = np.concatenate([number[:-1].ravel(), number[:, :-1].ravel()])
    cols = np.concatenate([number[1:].ravel(), number[:, 1:].ravel()])
    values = np.concatenate([down.ravel(), right.ravel()])
    upper = sparse.coo_array((values, (rows, cols)), shape=(n, n)).tocsr()
    around = k[:-1, :-1] + k[1:, :-1] + k[:-1, 1:] + k[1:, 1:]
    A = sparse.diags_array(around.ravel()) - upper - upper.T
    parameters: dict[str, float | int | str] = {"size": size, "variance": variance}
    problem = made("published diffusion", A * (size + 1) ** 2, rng, parameters, B=constant(n))
    return Instance(problem, problem.b, rng.standard_normal(n), rtol=0.0, atol=1e-6)


def poisson(corners: int, rng: Generator) -> Instance:
    """Poisson by linear elements on tetrahedra, some corners of the surface held, as in GNN-SPAI.

    One corner of the surface and what is reached from it in two steps is held. A step goes along
    the pairs that their program reads off its list of surface triangles; these are not edges, so
    what is held lies scattered. Held rows and columns are removed, b = A 1, x0 = 0 and CG stops at
    a relative residual of 1e-8.

    Parameters
    ----------
    corners : int
        Of the mesh, about as many as unknowns.
    rng : Generator
        Draws the mesh, the corner and our own b.

    Returns
    -------
    Instance
        Symmetric positive definite.
    """
    points, tetrahedra = _mesh(corners, rng)
    A, _ = _elements(points, tetrahedra)
    triangles = _surface(tetrahedra)
    pairs = triangles.T[[0, 1, 1, 2, 0, 2]].reshape(-1, 2)
    n = len(points)
    step = sparse.coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    held = np.zeros(n)
    held[rng.choice(np.unique(triangles))] = 1.0
    for _ in range(2):
        held = held + step @ held + step.T @ held
    return _on_tetrahedra("published Poisson", A, rng.permutation(np.flatnonzero(held == 0)), rng)


def heat(corners: int, rng: Generator) -> Instance:
    """Heat by linear elements on tetrahedra, nothing held: A = L + diag(density · mass).

    As in GNN-SPAI, the density is a smooth Gaussian field scaled to [1e-4, 5e-4] on a body scaled
    to [-1, 1], the mass is lumped, b = A 1, x0 = 0 and CG stops at a relative residual of 1e-8.
    The solution of their b is constant, which is next to the null vector.

    Parameters
    ----------
    corners : int
        Of the mesh, as many as unknowns.
    rng : Generator
        Draws the mesh, the density and our own b.

    Returns
    -------
    Instance
        Symmetric positive definite.
    """
    points, tetrahedra = _mesh(corners, rng)
    L, mass = _elements(points, tetrahedra)
    # Covariance exp(-π r² / 4): a thousand waves with normal wave vectors.
    waves = np.sqrt(np.pi / 2) * rng.standard_normal((3, 1000))
    weights = rng.standard_normal((2, 1000))
    field = np.cos(points @ waves) @ weights[0] + np.sin(points @ waves) @ weights[1]
    density = 1e-4 + 4e-4 * (field - field.min()) / np.ptp(field)
    A = (L + sparse.diags_array(mass * density)).tocsr()
    return _on_tetrahedra("published heat", A, rng.permutation(len(points)), rng)


def _gaussian(m: int, length: float, rng: Generator) -> np.ndarray:
    """Gaussian field on m × m cells, variance 1, covariance exp(-(r / length)²).

    A corner of a periodic one twice as wide, so that opposite sides know nothing of each other.
    """
    along = np.exp(-((np.pi * length * np.fft.fftfreq(2 * m)) ** 2) / 2)
    filtered = np.outer(along, along)
    noise = np.fft.fft2(rng.standard_normal((2 * m, 2 * m)))
    return np.fft.ifft2(noise * filtered / np.sqrt(np.mean(filtered**2))).real[:m, :m]


def _mesh(corners: int, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points and tetrahedra of a body of cubes, finer near some spots of its surface, irregular.

    In place of the paper's 9 147 scanned and constructed bodies, which we do not have.
    """
    import skfem

    logging.getLogger("skfem").setLevel(logging.ERROR)
    line = np.arange(CELLS + 1.0)
    mesh = skfem.MeshTet.init_tensor(line, line, line)
    inside = _body(rng)[tuple(mesh.p[:, mesh.t].mean(axis=1).astype(int))]
    mesh = mesh.restrict(np.flatnonzero(inside))
    spots = mesh.p[:, rng.choice(np.unique(_surface(mesh.t.T)), 8)]
    while mesh.nvertices < corners:
        centres = mesh.p[:, mesh.t].mean(axis=1)
        away = np.linalg.norm(centres[:, :, None] - spots[:, None, :], axis=0).min(axis=1)
        wanted = 0.25 + away / CELLS
        coarse = np.argsort(wanted / np.cbrt(_volumes(mesh.p.T, mesh.t.T)), kind="stable")
        mesh = mesh.refined(coarse[: max(1, min(len(coarse) // 8, corners - mesh.nvertices))])
    points, tetrahedra = mesh.p.T - mesh.p.mean(axis=1), np.ascontiguousarray(mesh.t.T)
    points = points / np.abs(points).max()
    return points + _jitter(points, tetrahedra, rng), tetrahedra


def _body(rng: Generator) -> np.ndarray:
    """Cubes that a random walk has gone through."""
    filled = np.zeros((CELLS,) * 3, dtype=bool)
    at, way = rng.integers(CELLS, size=3), np.zeros(3, dtype=int)
    while filled.sum() < SHARE * filled.size:
        filled[tuple(at)] = True
        turned = rng.random() < 0.3 or not way.any()
        if turned or not ((at + way >= 0) & (at + way < CELLS)).all():
            way = np.zeros(3, dtype=int)
            way[rng.integers(3)] = rng.choice([-1, 1])
        at = np.clip(at + way, 0, CELLS - 1)
    return filled


def _jitter(points: np.ndarray, tetrahedra: np.ndarray, rng: Generator) -> np.ndarray:
    """Moves of a fifth of the shortest edge, less where a tetrahedron would become flat."""
    ends = np.concatenate([tetrahedra[:, [i, j]] for i in range(4) for j in range(i)])
    lengths = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1)
    shortest = np.full(len(points), np.inf)
    for end in ends.T:
        np.minimum.at(shortest, end, lengths)
    moves = rng.standard_normal(points.shape)
    moves *= (0.2 * shortest / np.linalg.norm(moves, axis=1))[:, None]
    before = _volumes(points, tetrahedra)
    while (flat := _volumes(points + moves, tetrahedra) < 0.1 * before).any():
        moves[np.unique(tetrahedra[flat])] /= 2
    return moves


def _volumes(points: np.ndarray, tetrahedra: np.ndarray) -> np.ndarray:
    """Volume of each tetrahedron; turned inside out it would not count."""
    p = points[tetrahedra]
    return np.abs(np.linalg.det(p[:, 1:] - p[:, :1])) / 6


def _surface(tetrahedra: np.ndarray) -> np.ndarray:
    """Triangles that one tetrahedron alone has, shape (m, 3), in the order of the tetrahedra."""
    faces = np.sort(tetrahedra[:, [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]], axis=2)
    faces = faces.reshape(-1, 3)
    _, first, times = np.unique(faces, axis=0, return_index=True, return_counts=True)
    return faces[np.sort(first[times == 1])]


def _elements(points: np.ndarray, tetrahedra: np.ndarray) -> tuple[sparse.csr_array, np.ndarray]:
    """Stiffness matrix of linear elements, and the lumped mass as a vector."""
    p = points[tetrahedra]
    # Column j of the inverse is the gradient of the j-th barycentric coordinate but the first.
    others = np.linalg.inv(p[:, 1:] - p[:, :1])
    gradients = np.concatenate([-others.sum(axis=2, keepdims=True), others], axis=2)
    volumes = _volumes(points, tetrahedra)
    local = np.einsum("mki,mkj,m->mij", gradients, gradients, volumes)
    rows, cols = np.repeat(tetrahedra, 4, axis=1).ravel(), np.tile(tetrahedra, 4).ravel()
    n = len(points)
    A = sparse.coo_array((local.ravel(), (rows, cols)), shape=(n, n)).tocsr()
    mass = np.bincount(tetrahedra.ravel(), np.repeat(volumes / 4, 4), minlength=n)
    return ((A + A.T) / 2).tocsr(), mass


def _on_tetrahedra(name: str, A: sparse.csr_array, order: np.ndarray, rng: Generator) -> Instance:
    """Unknowns in a given order.

    Theirs is not known and IC(0) depends on it. With a random one IC(0) over Jacobi comes nearer to
    their ratio, 0.39, than in reverse Cuthill-McKee order.
    """
    A = A[order][:, order]
    n = len(order)
    problem = made(name, A, rng, {"n": n}, B=constant(n))
    return Instance(problem, problem.A @ np.ones(n), np.zeros(n), rtol=1e-8, atol=0.0)
