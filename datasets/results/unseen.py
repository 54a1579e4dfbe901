"""Problems of kinds that no packaged model was trained on, for the suite ``unseen``.

Elements of higher order, discontinuous and nonconforming ones, graded and adapted meshes, plates,
porous rock and random graphs. Each takes a ``Generator`` and gives its matrix.
"""

from collections.abc import Callable, Sequence
from typing import Any

import networkx as nx
import numpy as np
import skfem
from numpy.random import Generator
from scipy import ndimage, sparse
from skfem.helpers import dot, grad
from sklearn.neighbors import kneighbors_graph

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
        centres = mesh.p[:, mesh.t].mean(axis=1)
        sides = mesh.p[:, mesh.t[1:]] - mesh.p[:, mesh.t[:1]]
        areas = np.abs(np.linalg.det(sides.transpose(2, 0, 1)))
        wanted = np.sqrt(areas) / np.hypot(*centres) ** rng.uniform(0.7, 0.9)
        mesh = mesh.refined(np.argsort(wanted)[-len(wanted) // 4 :])
    return _elements(mesh, skfem.ElementTriP1())


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
    number = np.arange(k.size).reshape(k.shape)
    ends, values = [], []
    for axis in range(k.ndim):
        low, high = (np.delete(number, end, axis=axis).ravel() for end in (-1, 0))
        ends.append((low, high))
        values.append(2.0 / (1.0 / k.flat[low] + 1.0 / k.flat[high]))
    A = _laplacian(np.concatenate(ends, axis=1), np.concatenate(values), k.size)
    held = np.zeros(k.size)
    held[number[0].ravel()] = 2.0 * k[0].ravel()
    return sparse.csr_array(A + sparse.diags_array(held))


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
    one = sparse.eye_array(n)
    A = sparse.csr_array(sparse.kron(line, one) + sparse.kron(one, line))
    return sparse.csr_array(A @ A)


def _grounded(graph: Any) -> sparse.csr_array:
    """A graph's Laplacian without one of its nodes."""
    L = nx.laplacian_matrix(graph, weight="weight").astype(float)
    return sparse.csr_array(sparse.csr_array(L)[1:, 1:])


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


def _picture(rng: Generator) -> sparse.csr_array:
    """A random walker's matrix on a picture of two grey levels with noise; twenty pixels known."""
    n = 230
    grey = (_smooth(rng, (n, n), 12.0) > 0.0) + 0.15 * _smooth(rng, (n, n), 1.0)
    number = np.arange(n * n).reshape(n, n)
    low = np.concatenate([number[:-1].ravel(), number[:, :-1].ravel()])
    high = np.concatenate([number[1:].ravel(), number[:, 1:].ravel()])
    weights = np.exp(-60.0 * (grey.flat[low] - grey.flat[high]) ** 2) + 1e-6
    L = _laplacian(np.stack([low, high]), weights, n * n)
    free = np.delete(np.arange(n * n), rng.choice(n * n, 20, replace=False))
    return sparse.csr_array(L[free][:, free])


#: Name -> what draws the matrix.
UNSEEN: dict[str, Callable[[Generator], sparse.csr_array]] = {
    "quadratic triangles": lambda rng: _elements(
        _grid(skfem.MeshTri, 110, 2), skfem.ElementTriP2(), _waves(rng, 2, 1.0)
    ),
    "biquadratic squares": lambda rng: _elements(
        _grid(skfem.MeshQuad, 110, 2), skfem.ElementQuad2(), _waves(rng, 2, 1.0)
    ),
    "Crouzeix–Raviart": lambda rng: _elements(
        _grid(skfem.MeshTri, 130, 2), skfem.ElementTriCR(), _waves(rng, 2, 1.0)
    ),
    "discontinuous, linear": _discontinuous,
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
    "plate": _plate,
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
    "tree and more": _tree,
    "small world": _small_world,
    "resistors, σ = 2.5": _resistors,
    "near in space": _near_in_space,
    "picture": _picture,
}
