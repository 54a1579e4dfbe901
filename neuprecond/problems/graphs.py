"""Laplacians of graphs, made definite by grounding: one vertex is held at 0, its row removed.

L = D - W, W the symmetric edge weights and D their row sums. Every family takes ``size`` = unknowns
wanted: size + 1 vertices are drawn, the largest connected part is kept and one random vertex of it
is grounded, so n = size for a graph in one piece and less for others.
"""

import numpy as np
from numpy.random import Generator
from scipy import sparse, spatial
from scipy.sparse import csgraph

from neuprecond.problems.family import Problem, chosen, chosen_whole, constant, made, started

__all__ = [
    "attachment",
    "delaunay",
    "geometric",
    "grounded",
    "knn",
    "laplacian",
    "largest_part",
    "pores",
    "roads",
    "triangulated",
]


def laplacian(pairs: np.ndarray, weights: np.ndarray, n: int) -> sparse.csr_array:
    """Graph Laplacian L = D - W of a list of edges.

    Parameters
    ----------
    pairs : ndarray of int, shape (edges, 2)
        The two ends of each edge, each edge once; no loops.
    weights : ndarray, shape (edges,)
        Positive weights.
    n : int
        Vertices.

    Returns
    -------
    csr_array, shape (n, n)
        Symmetric positive semidefinite; L @ ones is 0 up to rounding.

    References
    ----------
    D. A. Spielman, Spectral graph theory, in Combinatorial Scientific Computing, CRC 2012.

    Examples
    --------
    >>> laplacian(np.array([[0, 1]]), np.array([2.0]), 2).toarray()
    array([[ 2., -2.],
           [-2.,  2.]])
    """
    i, j = np.asarray(pairs).T
    degree = np.bincount(i, weights, n) + np.bincount(j, weights, n)
    every = np.arange(n)
    return sparse.coo_array(
        (
            np.concatenate([-weights, -weights, degree]),
            (np.concatenate([i, j, every]), np.concatenate([j, i, every])),
        ),
        shape=(n, n),
    ).tocsr()


def largest_part(L: sparse.csr_array) -> sparse.csr_array:
    """Rows and columns of the largest connected part of a symmetric pattern.

    Parameters
    ----------
    L : csr_array, shape (n, n)
        Symmetric pattern; values are not looked at.

    Returns
    -------
    csr_array
        L itself if it is in one piece.

    Examples
    --------
    >>> largest_part(sparse.csr_array(sparse.block_diag([np.ones((1, 1)), np.ones((2, 2))]))).shape
    (2, 2)
    """
    parts, label = csgraph.connected_components(L, directed=False)
    if parts == 1:
        return L
    keep = np.flatnonzero(label == np.bincount(label).argmax())
    return L[keep][:, keep]


def grounded(L: sparse.csr_array, vertex: int) -> sparse.csr_array:
    """L without one row and column: the potential of that vertex is held at 0.

    Parameters
    ----------
    L : csr_array, shape (n, n)
        A Laplacian of a connected graph.
    vertex : int
        Which vertex.

    Returns
    -------
    csr_array, shape (n - 1, n - 1)
        Symmetric positive definite, whether or not the rest is still connected: each part of the
        rest has an edge to the grounded vertex.

    Examples
    --------
    >>> grounded(laplacian(np.array([[0, 1]]), np.array([2.0]), 2), 0).toarray()
    array([[2.]])
    """
    keep = np.delete(np.arange(L.shape[0]), vertex)
    return L[keep][:, keep]


def triangulated(points: np.ndarray) -> np.ndarray:
    """Edges of the Delaunay triangulation, each once, shape (edges, 2).

    Parameters
    ----------
    points : ndarray, shape (vertices, dimension)
        No two equal.

    Returns
    -------
    ndarray of int, shape (edges, 2)
        The lower number first, sorted.

    Examples
    --------
    >>> triangulated(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).tolist()
    [[0, 1], [0, 2], [1, 2]]
    """
    simplices = spatial.Delaunay(points).simplices
    corners = simplices.shape[1]
    pairs = [simplices[:, [a, b]] for a in range(corners) for b in range(a)]
    return _once(np.concatenate(pairs), len(points))


def delaunay(size: int, rng: Generator, *, spread: float = 0.0) -> Problem:
    """Grounded Laplacian of the Delaunay triangulation of random points in a square.

    Parameters
    ----------
    size : int
        Unknowns, n = size.
    rng : Generator
        Draws the points, the weights, the grounded vertex and b.
    spread : float
        Standard deviation of the logarithm of the edge weights; 0 makes all of them 1.

    Returns
    -------
    Problem
        Mean degree just below 6. κ(A) grows as n log n: one grounded vertex holds a sheet in place.

    References
    ----------
    F. Aurenhammer, R. Klein, D.-T. Lee, Voronoi Diagrams and Delaunay Triangulations, World
    Scientific 2013.

    Examples
    --------
    >>> delaunay(50, np.random.default_rng(7)).A.shape
    (50, 50)
    """
    size = started(size, rng, least=4)
    spread = chosen("spread", spread, 0.0, least=0.0)
    pairs = triangulated(rng.random((size + 1, 2)))
    weights = np.exp(spread * rng.standard_normal(len(pairs)))
    return _grounded("delaunay", pairs, weights, size, rng, {"spread": spread})


def geometric(
    size: int, rng: Generator, *, degree: float | None = None, spread: float = 0.0
) -> Problem:
    """Grounded Laplacian of a random geometric graph: points of a square joined when near.

    Parameters
    ----------
    size : int
        Unknowns wanted, n ≤ size.
    rng : Generator
        Draws the degree, the points, the weights, the grounded vertex and b.
    degree : float or None
        Mean degree away from the boundary, which sets the radius: π r² (size + 1) = degree.
        Drawn from 6 to 14 by default; below 4.5 the graph falls into small parts.
    spread : float
        Standard deviation of the logarithm of the edge weights; 0 makes all of them 1.

    Returns
    -------
    Problem
        Degrees vary as a Poisson variable does.

    References
    ----------
    M. Penrose, Random Geometric Graphs, Oxford 2003.

    Examples
    --------
    >>> geometric(50, np.random.default_rng(7), degree=12).A.shape
    (50, 50)
    """
    size = started(size, rng, least=4)
    degree = chosen("degree", degree, rng.uniform(6.0, 14.0), least=1.0)
    spread = chosen("spread", spread, 0.0, least=0.0)
    points = rng.random((size + 1, 2))
    radius = np.sqrt(degree / (np.pi * (size + 1)))
    pairs = spatial.cKDTree(points).query_pairs(radius, output_type="ndarray")
    pairs = _once(pairs, size + 1)
    weights = np.exp(spread * rng.standard_normal(len(pairs)))
    return _grounded("geometric", pairs, weights, size, rng, {"degree": degree, "spread": spread})


def attachment(
    size: int, rng: Generator, *, links: int | None = None, spread: float = 0.0
) -> Problem:
    """Grounded Laplacian of a network with hubs, grown by preferential attachment.

    Each new vertex is linked to ``links`` earlier ones, chosen in proportion to their degree.
    Links drawn twice count once.

    Parameters
    ----------
    size : int
        Unknowns, n = size.
    rng : Generator
        Draws the links, the weights, the grounded vertex and b.
    links : int or None
        Links of a new vertex, drawn from 1 (a tree) to 4 by default.
    spread : float
        Standard deviation of the logarithm of the edge weights; 0 makes all of them 1.

    Returns
    -------
    Problem
        Degrees follow a power law: the largest is of order √n. One link makes a tree, badly
        conditioned. With two or more the graph is an expander: diagonal scaling alone converges in
        some fifty iterations, while coarse levels fill up, and classical interpolation can break
        down there (PyAMG: zero denominators, then NaN).

    References
    ----------
    A.-L. Barabási, R. Albert, Emergence of scaling in random networks, Science 286, 1999.
    V. Batagelj, U. Brandes, Efficient generation of large random networks, Phys. Rev. E 71, 2005.

    Examples
    --------
    >>> problem = attachment(50, np.random.default_rng(7), links=2)
    >>> problem.A.shape, problem.parameters["links"]
    ((50, 50), 2)
    """
    size = started(size, rng, least=4)
    links = chosen_whole("links", links, int(rng.integers(1, 5)))
    spread = chosen("spread", spread, 0.0, least=0.0)
    # Batagelj and Brandes: a list of ends, two for each edge, the new vertex at the even place. An
    # end taken at random from the list is a vertex taken in proportion to its degree. Odd places
    # copy another place, so follow the copies until all of them point to an even one.
    source = np.repeat(np.arange(1, size + 1), links)
    known = 2 * links * (source - 1)
    place = (rng.random(len(source)) * known).astype(np.int64)
    first = known == 0
    copies = (place % 2 == 1) & ~first
    while copies.any():
        edge = place[copies] // 2
        # Edges of vertex 1 all end at vertex 0, which has no place of its own.
        first[copies] = first[edge]
        place[copies] = place[edge]
        copies = (place % 2 == 1) & ~first
    target = np.where(first, 0, source[place // 2])
    pairs = _once(np.stack([target, source], axis=1), size + 1)
    weights = np.exp(spread * rng.standard_normal(len(pairs)))
    return _grounded("attachment", pairs, weights, size, rng, {"links": links, "spread": spread})


def knn(size: int, rng: Generator, *, neighbours: int | None = None, dimension: int = 3) -> Problem:
    """Grounded Laplacian of the nearest-neighbour graph of clustered points, as in learning.

    Four fifths of the points lie in eight Gaussian clusters, the rest anywhere in the unit cube.
    Each point is joined to its nearest ones with weight exp(-r² / (r_i r_j)), r_i the distance of
    point i to the last of its own; an edge found from both ends counts once.

    Parameters
    ----------
    size : int
        Unknowns wanted, n ≤ size.
    rng : Generator
        Draws the neighbours, the points, the grounded vertex and b.
    neighbours : int or None
        How many nearest points, drawn from 6 to 14 by default.
    dimension : int
        Of the space that the points lie in.

    Returns
    -------
    Problem
        Weights from e⁻¹ to 1 in dense regions, smaller between clusters, whose weak links make a
        few very small eigenvalues.

    References
    ----------
    L. Zelnik-Manor, P. Perona, Self-tuning spectral clustering, NIPS 2004.

    Examples
    --------
    >>> knn(60, np.random.default_rng(7), neighbours=10).A.shape
    (60, 60)
    """
    size = started(size, rng, least=4)
    neighbours = chosen_whole("neighbours", neighbours, int(rng.integers(6, 15)))
    dimension = chosen_whole("dimension", dimension, 3)
    neighbours = min(neighbours, size)
    centres, radii = rng.random((8, dimension)), rng.uniform(0.03, 0.1, 8)
    cluster = rng.integers(10, size=size + 1)
    points = rng.random((size + 1, dimension))
    clustered = np.flatnonzero(cluster < 8)
    cluster = cluster[clustered]
    noise = rng.standard_normal((len(clustered), dimension))
    points[clustered] = centres[cluster] + radii[cluster, None] * noise
    distance, found = spatial.cKDTree(points).query(points, k=neighbours + 1)
    reach = distance[:, -1]
    # Column 0 is the point itself.
    pairs = np.stack([np.repeat(np.arange(size + 1), neighbours), found[:, 1:].ravel()], axis=1)
    pairs = _once(pairs, size + 1)
    i, j = pairs.T
    weights = np.exp(-((points[i] - points[j]) ** 2).sum(axis=1) / (reach[i] * reach[j]))
    # A far point may sit beside a dense cluster: keep its link above what rounding would lose.
    weights = np.maximum(weights, 1e-6)
    return _grounded(
        "knn", pairs, weights, size, rng, {"neighbours": neighbours, "dimension": dimension}
    )


def roads(
    size: int, rng: Generator, *, loops: float | None = None, spread: float | None = None
) -> Problem:
    """Grounded Laplacian of a planar, nearly tree-like network: roads, pipes, power lines.

    The shortest spanning tree of random points with a share of the other edges of their Delaunay
    triangulation. An edge's weight is a log-normal number over its length.

    Parameters
    ----------
    size : int
        Unknowns, n = size.
    rng : Generator
        Draws the share, the spread, the points, the edges, the weights, the grounded vertex and b.
    loops : float or None
        Share of the edges outside the tree that are kept, drawn from 0.1 to 0.4 by default.
    spread : float or None
        Standard deviation of the logarithm of the edge weights, drawn from 0.5 to 1.5 by default.

    Returns
    -------
    Problem
        Mean degree from 2.4 to 3.6, long chains, badly scaled; κ(A) grows faster than n.

    References
    ----------
    M. Barthélemy, Spatial networks, Physics Reports 499, 2011.

    Examples
    --------
    >>> roads(50, np.random.default_rng(7), loops=0.0).A.nnz < 3 * 50
    True
    """
    size = started(size, rng, least=4)
    loops = chosen("loops", loops, rng.uniform(0.1, 0.4), least=0.0, most=1.0)
    spread = chosen("spread", spread, rng.uniform(0.5, 1.5), least=0.0)
    points = rng.random((size + 1, 2))
    pairs = triangulated(points)
    i, j = pairs.T
    length = np.hypot(*(points[i] - points[j]).T)
    shape = (size + 1, size + 1)
    tree = csgraph.minimum_spanning_tree(sparse.csr_array((length, (i, j)), shape=shape)).tocoo()
    in_tree = np.isin(i.astype(np.int64) * (size + 1) + j, _keys(tree.coords, size + 1))
    keep = in_tree | (rng.random(len(pairs)) < loops)
    weights = np.exp(spread * rng.standard_normal(len(pairs))) / (length * np.sqrt(size))
    return _grounded(
        "roads", pairs[keep], weights[keep], size, rng, {"loops": loops, "spread": spread}
    )


def pores(size: int, rng: Generator, *, spread: float | None = None) -> Problem:
    """Grounded Laplacian of a network of pores in space, throats of log-normal conductance.

    Random points of the unit cube are joined as their Delaunay tetrahedra have it; edges longer
    than three mean distances, which only the hull has, are left out.

    Parameters
    ----------
    size : int
        Unknowns wanted, n ≤ size.
    rng : Generator
        Draws the spread, the points, the weights, the grounded vertex and b.
    spread : float or None
        Standard deviation of the logarithm of the conductances, drawn from 0 to 3 by default.

    Returns
    -------
    Problem
        Mean degree 15; κ(A) grows with the spread.

    References
    ----------
    J. Gostick et al., OpenPNM: a pore network modeling package, Comput. Sci. Eng. 18(4), 2016.

    Examples
    --------
    >>> pores(60, np.random.default_rng(7)).A.shape
    (60, 60)
    """
    size = started(size, rng, least=8)
    spread = chosen("spread", spread, rng.uniform(0.0, 3.0), least=0.0, most=20.0)
    points = rng.random((size + 1, 3))
    pairs = triangulated(points)
    length = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    pairs = pairs[length < 3.0 * size ** (-1.0 / 3.0)]
    weights = np.exp(spread * rng.standard_normal(len(pairs)))
    return _grounded("pores", pairs, weights, size, rng, {"spread": spread})


def _keys(pair: tuple[np.ndarray, ...], n: int) -> np.ndarray:
    """One number for each edge, whichever end comes first."""
    i, j = (np.asarray(end, dtype=np.int64) for end in pair)
    return np.minimum(i, j) * n + np.maximum(i, j)


def _once(pairs: np.ndarray, n: int) -> np.ndarray:
    """Each edge once, the lower vertex first, sorted: the same graph makes the same bytes."""
    keys = np.unique(_keys((pairs[:, 0], pairs[:, 1]), n))
    return np.stack([keys // n, keys % n], axis=1)


def _grounded(
    name: str,
    pairs: np.ndarray,
    weights: np.ndarray,
    size: int,
    rng: Generator,
    parameters: dict[str, float | int | str],
) -> Problem:
    L = largest_part(laplacian(pairs, weights, size + 1))
    if L.shape[0] < 2:
        raise ValueError(f"{name}: a graph of {size + 1} vertices came out without an edge.")
    A = grounded(L, int(rng.integers(L.shape[0])))
    return made(name, A, rng, {"size": size, **parameters}, B=constant(A.shape[0]))
