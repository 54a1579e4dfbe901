"""Problems of kinds that no packaged model was trained on, for the suite ``unseen``.

Nonconforming, discontinuous and hierarchical elements, graded and adapted meshes, plates, trusses
and other solids, rock and reservoirs, time steps, statistics, and random graphs. Each takes a
``Generator`` and gives its matrix.
"""

from collections.abc import Callable, Sequence
from typing import Any

import networkx as nx
import numpy as np
import skfem
from numpy.random import Generator
from scipy import ndimage, sparse, spatial
from skfem.helpers import dd, ddot, dot, grad
from skfem.models.elasticity import lame_parameters, linear_elasticity
from sklearn.neighbors import kneighbors_graph

from neuprecond.problems.graphs import triangulated

__all__ = ["UNSEEN"]

Field = Callable[[np.ndarray], np.ndarray]


def _grid(kind: Any, size: int, dimension: int) -> Any:
    return kind.init_tensor(*[np.linspace(0.0, 1.0, size)] * dimension)


def _assembled(
    mesh: Any, element: Any, *, k: Field | None = None, angle: Field | None = None, across: float
) -> sparse.csr_array:
    """-div(K grad u), zero around; K = k, or weak by ``across`` but along a direction."""
    basis = skfem.Basis(mesh, element)

    @skfem.BilinearForm
    def form(u, v, w):  # type: ignore[no-untyped-def]
        if angle is None:
            return (1.0 if k is None else k(w.x)) * dot(grad(u), grad(v))
        c, s = np.cos(angle(w.x)), np.sin(angle(w.x))
        du, dv = grad(u), grad(v)
        along = (c * du[0] + s * du[1]) * (c * dv[0] + s * dv[1])
        return along + across * (-s * du[0] + c * du[1]) * (-s * dv[0] + c * dv[1])

    A = form.assemble(basis)
    inner = basis.complement_dofs(basis.get_dofs())
    return sparse.csr_array(A[inner][:, inner])


def _elements(mesh: Any, element: Any, k: Field | None = None) -> sparse.csr_array:
    return _assembled(mesh, element, k=k, across=1.0)


def _waves(rng: Generator, dimension: int, size: float) -> Field:
    """Log of a smooth coefficient."""
    waves, phases = rng.uniform(5.0, 12.0, dimension), rng.uniform(0.0, 6.0, dimension)

    def k(x: np.ndarray) -> np.ndarray:
        value = np.ones_like(x[0])
        for axis in range(dimension):
            value = value * np.sin(waves[axis] * x[axis] + phases[axis])
        return np.exp(size * value)

    return k


def _ring(x: np.ndarray) -> np.ndarray:
    """Angles around the middle of the square."""
    return np.arctan2(x[1] - 0.5, x[0] - 0.5) + np.pi / 2.0


def _fields(x: np.ndarray) -> np.ndarray:
    """Angles of a checkerboard."""
    return np.where((np.floor(6.0 * x[0]) + np.floor(6.0 * x[1])) % 2.0, np.pi / 4.0, 0.0)


def _graded(rng: Generator) -> sparse.csr_array:
    side = np.expm1(np.linspace(0.0, rng.uniform(4.0, 7.0), 230))
    side /= side[-1]
    return _elements(skfem.MeshQuad.init_tensor(side, side), skfem.ElementQuad1())


def _adapted(rng: Generator) -> sparse.csr_array:
    """Triangles that get smaller towards the corner of an L."""
    mesh = skfem.MeshTri.init_lshaped().refined(4)
    while mesh.p.shape[1] < 40_000:
        mesh = _refined(mesh, rng.uniform(0.7, 0.9))
    return _elements(mesh, skfem.ElementTriP1())


def _refined(mesh: Any, power: float) -> Any:
    """The fourth of the triangles cut that are the largest for their distance from the corner."""
    centres = mesh.p[:, mesh.t].mean(axis=1)
    sides = mesh.p[:, mesh.t[1:]] - mesh.p[:, mesh.t[:1]]
    areas = np.abs(np.linalg.det(sides.transpose(2, 0, 1)))
    wanted = np.sqrt(areas) / np.hypot(*centres) ** power
    return mesh.refined(np.argsort(wanted)[-len(wanted) // 4 :])


def _discontinuous(rng: Generator) -> sparse.csr_array:
    """Linear on each of the triangles, with jumps between them penalised."""
    mesh, element = _grid(skfem.MeshTri, 95, 2), skfem.ElementTriDG(skfem.ElementTriP1())
    penalty = rng.uniform(8.0, 20.0)

    @skfem.BilinearForm
    def inside(u, v, w):  # type: ignore[no-untyped-def]
        return dot(grad(u), grad(v))

    @skfem.BilinearForm
    def between(u, v, w):  # type: ignore[no-untyped-def]
        sides = [(-1.0) ** side for side in w.idx]
        flux = sides[1] * v * dot(grad(u), w.n) + sides[0] * u * dot(grad(v), w.n)
        return penalty / w.h * sides[0] * sides[1] * u * v - 0.5 * flux

    @skfem.BilinearForm
    def around(u, v, w):  # type: ignore[no-untyped-def]
        return penalty / w.h * u * v - dot(grad(u), w.n) * v - dot(grad(v), w.n) * u

    faces = [skfem.InteriorFacetBasis(mesh, element, side=side) for side in (0, 1)]
    A = inside.assemble(skfem.Basis(mesh, element)) + skfem.asm(between, faces, faces)
    return A + around.assemble(skfem.FacetBasis(mesh, element))


def _cells(k: np.ndarray) -> sparse.csr_array:
    """Two-point fluxes between cells of coefficient k; one side is held."""
    A = _fluxes([k] * k.ndim, np.ones(k.ndim))
    held = np.zeros(k.shape)
    held[0] = 2.0 * k[0]
    return sparse.csr_array(A + sparse.diags_array(held.ravel()))


def _fluxes(along: Sequence[np.ndarray], widths: np.ndarray) -> sparse.csr_array:
    """Between cells of some widths, with a coefficient for each axis; nothing flows out."""
    shape, size = along[0].shape, along[0].size
    number = np.arange(size).reshape(shape)
    ends, values = [], []
    for axis, k in enumerate(along):
        low, high = (np.delete(number, end, axis=axis).ravel() for end in (-1, 0))
        ends.append((low, high))
        harmonic = 2.0 / (1.0 / k.flat[low] + 1.0 / k.flat[high])
        values.append(harmonic * widths.prod() / widths[axis] ** 2)
    return _laplacian(np.concatenate(ends, axis=1), np.concatenate(values), size)


def _laplacian(ends: np.ndarray, weights: np.ndarray, n: int) -> sparse.csr_array:
    W = sparse.coo_array((weights, (ends[0], ends[1])), shape=(n, n)).tocsr()
    W = sparse.csr_array(W + W.T)
    return sparse.csr_array(sparse.diags_array(W.sum(axis=1)) - W)


def _smooth(rng: Generator, shape: Sequence[int], length: float | Sequence[float]) -> np.ndarray:
    g = ndimage.gaussian_filter(rng.standard_normal(shape), length, mode="wrap")
    return g / g.std()


def _plate(rng: Generator) -> sparse.csr_array:
    """The square of a Laplacian: bending of a plate, supported around."""
    n = int(rng.integers(150, 170))
    line = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n))
    A = _on_square(line)
    return sparse.csr_array(A @ A)


def _grounded(graph: Any) -> sparse.csr_array:
    """A graph's Laplacian without one of its nodes."""
    L = nx.laplacian_matrix(graph, weight="weight").astype(float)
    return sparse.csr_array(sparse.csr_array(L)[1:, 1:])


def _largest_part(graph: Any) -> Any:
    return graph.subgraph(max(nx.connected_components(graph), key=len))


def _tree(rng: Generator) -> sparse.csr_array:
    """A random tree and a twentieth more edges."""
    graph = nx.random_labeled_tree(50_000, seed=int(rng.integers(1 << 30)))
    graph.add_edges_from(map(tuple, rng.integers(0, 50_000, (2500, 2))))
    graph.remove_edges_from(nx.selfloop_edges(graph))
    return _grounded(graph)


def _small_world(rng: Generator) -> sparse.csr_array:
    seed = int(rng.integers(1 << 30))
    return _grounded(nx.connected_watts_strogatz_graph(50_000, 6, 0.02, seed=seed))


def _resistors(rng: Generator) -> sparse.csr_array:
    graph = nx.grid_2d_graph(230, 230)
    for edge in graph.edges:
        graph.edges[edge]["weight"] = float(np.exp(2.5 * rng.standard_normal()))
    return _grounded(graph)


def _near_in_space(rng: Generator) -> sparse.csr_array:
    W = sparse.csr_array(kneighbors_graph(rng.random((40_000, 3)), 8))
    W = W.maximum(W.T)
    L = sparse.diags_array(W.sum(axis=1)) - W
    return sparse.csr_array(L + 1e-6 * sparse.eye_array(W.shape[0]))


def _links(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the links of a grid, n a side."""
    number = np.arange(n * n).reshape(n, n)
    low = np.concatenate([number[:-1].ravel(), number[:, :-1].ravel()])
    return low, np.concatenate([number[1:].ravel(), number[:, 1:].ravel()])


def _picture(rng: Generator) -> sparse.csr_array:
    """A random walker's matrix on a picture of two grey levels with noise; twenty pixels known."""
    n = 230
    grey = (_smooth(rng, (n, n), 12.0) > 0.0) + 0.15 * _smooth(rng, (n, n), 1.0)
    low, high = _links(n)
    weights = np.exp(-60.0 * (grey.flat[low] - grey.flat[high]) ** 2) + 1e-6
    L = _laplacian(np.stack([low, high]), weights, n * n)
    free = np.delete(np.arange(n * n), rng.choice(n * n, 20, replace=False))
    return sparse.csr_array(L[free][:, free])


def _morley(rng: Generator) -> sparse.csr_array:
    """Bending of a clamped plate by elements of degree two that do not conform."""
    basis = skfem.Basis(
        _grid(skfem.MeshTri, int(rng.integers(90, 110)), 2), skfem.ElementTriMorley()
    )

    @skfem.BilinearForm
    def form(u, v, w):  # type: ignore[no-untyped-def]
        return ddot(dd(u), dd(v))

    inner = basis.complement_dofs(basis.get_dofs())
    return sparse.csr_array(form.assemble(basis)[inner][:, inner])


def _solid(mesh: Any, element: Any, poisson: float) -> sparse.csr_array:
    """Linear elasticity, clamped on the left, free elsewhere; nobody tells the rotations."""
    basis = skfem.Basis(mesh, skfem.ElementVector(element))
    A = linear_elasticity(*lame_parameters(1.0, poisson)).assemble(basis)
    free = basis.complement_dofs(basis.get_dofs(lambda x: x[0] < 1e-9))
    return sparse.csr_array(A[free][:, free])


def _truss(rng: Generator) -> sparse.csr_array:
    """Bars between random points, held on the left; a little stiffness keeps loose ones there."""
    n = 14_000
    points = rng.random((n, 2))
    i, j = triangulated(points).T
    along = points[j] - points[i]
    length = np.linalg.norm(along, axis=1)
    short = length < 5.0 / np.sqrt(n)
    i, j, along, length = i[short], j[short], along[short], length[short]
    along /= length[:, None]
    bar = np.arange(len(i))
    columns = np.concatenate([2 * i, 2 * i + 1, 2 * j, 2 * j + 1])
    values = np.concatenate([-along[:, 0], -along[:, 1], along[:, 0], along[:, 1]])
    stretch = sparse.coo_array(
        (values, (np.tile(bar, 4), columns)), shape=(len(bar), 2 * n)
    ).tocsr()
    A = sparse.csr_array(stretch.T @ sparse.diags_array(1.0 / length) @ stretch)
    free = np.flatnonzero(np.repeat(points[:, 0], 2) > 0.05)
    A = sparse.csr_array(A[free][:, free])
    return sparse.csr_array(A + 1e-8 * A.diagonal().mean() * sparse.eye_array(len(free)))


def _reservoir(rng: Generator) -> sparse.csr_array:
    """Flat cells, layers of rock that let through a tenth to a thousandth as much upwards."""
    shape, widths = (28, 60, 25), np.array([2.0, 20.0, 10.0])
    k = np.exp(3.7 * _smooth(rng, shape, (1.0, 6.0, 2.0)) + 0.75 * rng.standard_normal(shape))
    upwards = k * 10.0 ** (-1.0 - 2.0 * rng.random(shape))
    A = _fluxes([upwards, k, k], widths)
    wells = np.zeros(k.size)
    wells[[0, -1]] = A.diagonal().max()
    return sparse.csr_array(A + sparse.diags_array(wells))


def _discs(rng: Generator) -> sparse.csr_array:
    n = 240
    x, y = np.meshgrid(*[np.linspace(0.0, 1.0, n)] * 2)
    k = np.ones((n, n))
    for cx, cy, radius in rng.random((120, 3)):
        k[(x - cx) ** 2 + (y - cy) ** 2 < (0.01 + 0.03 * radius) ** 2] = 1e6
    return _cells(k)


def _caves(rng: Generator) -> sparse.csr_array:
    """Cliques of twenty, one link in twenty led elsewhere."""
    seed = int(rng.integers(1 << 30))
    graph = nx.relaxed_caveman_graph(2000, 20, 0.05, seed=seed)
    return _grounded(_largest_part(graph))


def _signed(rng: Generator) -> sparse.csr_array:
    """A grid on which one coupling in ten has the other sign; rows sum to 1e-4 by size."""
    n = 220
    low, high = _links(n)
    sign = np.where(rng.random(len(low)) < 0.1, -1.0, 1.0)
    weights = sign * np.exp(rng.standard_normal(len(low)))
    W = sparse.coo_array((weights, (low, high)), shape=(n * n, n * n)).tocsr()
    W = sparse.csr_array(W + W.T)
    return sparse.csr_array(sparse.diags_array(abs(W).sum(axis=1) + 1e-4) - W)


def _sphere(rng: Generator) -> sparse.csr_array:
    """Cotangents of a bumpy sphere's triangles, many obtuse, and a little of the identity."""
    n = 30_000
    points = rng.standard_normal((n, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    triangles = spatial.ConvexHull(points).simplices
    points *= 1.0 + 0.05 * rng.standard_normal((n, 1))
    ends, weights = [], []
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        u, v = (points[triangles[:, end]] - points[triangles[:, c]] for end in (a, b))
        weights.append(0.5 * (u * v).sum(axis=1) / np.linalg.norm(np.cross(u, v), axis=1))
        ends.append(triangles[:, [a, b]].T)
    A = _laplacian(np.concatenate(ends, axis=1), np.concatenate(weights), n)
    return sparse.csr_array(A + 1e-3 * sparse.eye_array(n))


def _layer(rng: Generator) -> sparse.csr_array:
    """Triangles that get a thousand times as flat towards a wall."""
    n = 220
    heights = np.geomspace(rng.uniform(0.5e-3, 2e-3) / n, 1.0 / n, n - 1)
    side = np.concatenate([[0.0], np.cumsum(heights)])
    mesh = skfem.MeshTri.init_tensor(np.linspace(0.0, 1.0, n), side)
    return _elements(mesh, skfem.ElementTriP1())


def _on_square(line: sparse.sparray) -> sparse.csr_array:
    one = sparse.eye_array(line.shape[0])
    return sparse.csr_array(sparse.kron(line, one) + sparse.kron(one, line))


def _fourth_order(rng: Generator) -> sparse.csr_array:
    n = int(rng.integers(220, 240))
    weights = np.array([1.0, -16.0, 30.0, -16.0, 1.0]) / 12.0
    return _on_square(sparse.diags_array(weights, offsets=[-2, -1, 0, 1, 2], shape=(n, n)))


def _cahn_hilliard(rng: Generator) -> sparse.csr_array:
    """A step of phase separation: I + dt (ε² L² + L), no flow through the walls."""
    n, step = 170, 10.0 ** rng.uniform(-4.0, -2.0)
    ends = np.full(n, 2.0)
    ends[[0, -1]] = 1.0
    beside = -np.ones(n - 1)
    L = n**2 * _on_square(sparse.diags_array([beside, ends, beside], offsets=[-1, 0, 1]))
    return sparse.csr_array(sparse.eye_array(n * n) + step * (4e-4 * (L @ L) + L))


def _flow_network(rng: Generator) -> sparse.csr_array:
    """What an interior point method solves for flows on a network: weights of eight decades."""
    n = 20_000
    pairs = spatial.cKDTree(rng.random((n, 2))).query_pairs(np.sqrt(8.0 / n / np.pi))
    graph = nx.Graph(sorted(pairs))
    for edge in graph.edges:
        graph.edges[edge]["weight"] = 10.0 ** rng.uniform(-4.0, 4.0)
    return _grounded(_largest_part(graph))


def _two_species(rng: Generator) -> sparse.csr_array:
    """Two concentrations that diffuse each in its own way and turn into each other."""
    n = 150
    first, second = (_cells(np.exp(s * _smooth(rng, (n, n), 5.0))) for s in (1.0, 2.0))
    rate = sparse.diags_array(10.0 ** rng.uniform(-3.0, 1.0, n * n))
    blocks = [[first + rate, -rate], [-rate, second + rate]]
    return sparse.csr_array(sparse.block_array(blocks))


def _stone(rng: Generator) -> sparse.csr_array:
    shape = (34, 34, 34)
    k = np.where(_smooth(rng, shape, 1.5) > 0.3, 1.0, 1e-4) * np.exp(rng.standard_normal(shape))
    return _cells(k)


def _decay(rng: Generator) -> sparse.csr_array:
    """Diffusion and a decay that is a million times as fast in some places as in others."""
    n = 230
    rate = 10.0 ** (-6.0 + 3.0 * (1.0 + np.tanh(2.0 * _smooth(rng, (n, n), 15.0).ravel())))
    return sparse.csr_array(_cells(np.exp(_smooth(rng, (n, n), 6.0))) + sparse.diags_array(rate))


def _spherical(rng: Generator) -> sparse.csr_array:
    """Spherical covariance of points in space, as in mining, with a nugget."""
    n = 20_000
    points, reach = rng.random((n, 3)), (40.0 * 3.0 / (4.0 * np.pi * n)) ** (1.0 / 3.0)
    i, j = spatial.cKDTree(points).query_pairs(reach, output_type="ndarray").T
    r = np.linalg.norm(points[i] - points[j], axis=1) / reach
    upper = sparse.coo_array((1.0 - 1.5 * r + 0.5 * r**3, (i, j)), shape=(n, n))
    return sparse.csr_array(upper + upper.T + (1.0 + 1e-2) * sparse.eye_array(n))


def _precision(rng: Generator) -> sparse.csr_array:
    """(κ² - Δ)² on triangles that get smaller towards a corner, masses lumped."""
    mesh = skfem.MeshTri().refined(4)
    while mesh.p.shape[1] < 20_000:
        mesh = _refined(mesh, 0.7)
    basis = skfem.Basis(mesh, skfem.ElementTriP1())

    @skfem.BilinearForm
    def stiffness(u, v, w):  # type: ignore[no-untyped-def]
        return dot(grad(u), grad(v))

    @skfem.BilinearForm
    def mass(u, v, w):  # type: ignore[no-untyped-def]
        return u * v

    lumped = np.asarray(mass.assemble(basis).sum(axis=1)).ravel()
    kappa = rng.uniform(5.0, 50.0)
    root = stiffness.assemble(basis) + kappa**2 * sparse.diags_array(lumped)
    return sparse.csr_array(root @ sparse.diags_array(1.0 / lumped) @ root)


def _edge_laplacian(rng: Generator) -> sparse.csr_array:
    """Differences along the edges of a triangulation, times their transpose, plus a hundredth."""
    n = 13_000
    i, j = triangulated(rng.random((n, 2))).T
    edge, one = np.arange(len(i)), np.ones(len(i))
    ends = np.tile(edge, 2), np.concatenate([i, j])
    D = sparse.coo_array((np.concatenate([-one, one]), ends), shape=(len(i), n)).tocsr()
    return sparse.csr_array(D @ D.T + 1e-2 * sparse.eye_array(len(i)))


#: Name -> what draws the matrix.
UNSEEN: dict[str, Callable[[Generator], sparse.csr_array]] = {
    "Crouzeix–Raviart": lambda rng: _elements(
        _grid(skfem.MeshTri, 130, 2), skfem.ElementTriCR(), _waves(rng, 2, 1.0)
    ),
    "discontinuous, linear": _discontinuous,
    "hierarchical, degree 5": lambda rng: _elements(
        _grid(skfem.MeshQuad, 24, 2), skfem.ElementQuadP(5), _waves(rng, 2, 1.0)
    ),
    "graded squares": _graded,
    "adapted triangles": _adapted,
    "around a ring, squares, 1e-3": lambda rng: _assembled(
        _grid(skfem.MeshQuad, 230, 2), skfem.ElementQuad1(), angle=_ring, across=1e-3
    ),
    "around a ring, triangles, 1e-2": lambda rng: _assembled(
        _grid(skfem.MeshTri, 230, 2), skfem.ElementTriP1(), angle=_ring, across=1e-2
    ),
    "checkerboard of directions, 1e-3": lambda rng: _assembled(
        _grid(skfem.MeshQuad, 230, 2), skfem.ElementQuad1(), angle=_fields, across=1e-3
    ),
    "boundary layer": _layer,
    "differences of fourth order": _fourth_order,
    "plate": _plate,
    "plate, Morley": _morley,
    "solid, triangles": lambda rng: _solid(
        _grid(skfem.MeshTri, 110, 2), skfem.ElementTriP1(), rng.uniform(0.2, 0.35)
    ),
    "solid, hardly compressible": lambda rng: _solid(
        _grid(skfem.MeshTri, 80, 2), skfem.ElementTriP1(), rng.uniform(0.47, 0.49)
    ),
    "solid, quadratic triangles": lambda rng: _solid(
        _grid(skfem.MeshTri, 60, 2), skfem.ElementTriP2(), rng.uniform(0.2, 0.35)
    ),
    "solid, quadratic tetrahedra": lambda rng: _solid(
        _grid(skfem.MeshTet, 9, 3), skfem.ElementTetP2(), rng.uniform(0.2, 0.35)
    ),
    "truss": _truss,
    "sphere, cotangents": _sphere,
    "white noise, σ = 2": lambda rng: _cells(np.exp(2.0 * rng.standard_normal((250, 250)))),
    "rock, σ = 3": lambda rng: _cells(np.exp(3.0 * _smooth(rng, (250, 250), 6.0))),
    "islands of 1e6": lambda rng: _cells(np.where(_smooth(rng, (250, 250), 4.0) > 0.5, 1e6, 1.0)),
    "holes of 1e-6": lambda rng: _cells(np.where(_smooth(rng, (250, 250), 5.0) > 0.8, 1e-6, 1.0)),
    "trilinear cubes": lambda rng: _elements(
        _grid(skfem.MeshHex, 30, 3), skfem.ElementHex1(), _waves(rng, 3, 1.0)
    ),
    "quadratic tetrahedra": lambda rng: _elements(
        _grid(skfem.MeshTet, 17, 3), skfem.ElementTetP2(), _waves(rng, 3, 1.0)
    ),
    "layers, σ = 1.5": lambda rng: _cells(
        np.exp(1.5 * _smooth(rng, (40, 40, 40), (1.0, 4.0, 4.0)))
    ),
    "islands of 1e5 in space": lambda rng: _cells(
        np.where(_smooth(rng, (40, 40, 40), 3.0) > 0.7, 1e5, 1.0)
    ),
    "porous stone": _stone,
    "reservoir": _reservoir,
    "discs of 1e6": _discs,
    "decay that varies": _decay,
    "two species": _two_species,
    "phase separation, a step": _cahn_hilliard,
    "precision on triangles": _precision,
    "spherical covariance": _spherical,
    "tree and more": _tree,
    "caves": _caves,
    "flows of eight decades": _flow_network,
    "signed couplings": _signed,
    "edges of a triangulation": _edge_laplacian,
    "small world": _small_world,
    "resistors, σ = 2.5": _resistors,
    "near in space": _near_in_space,
    "picture": _picture,
}
