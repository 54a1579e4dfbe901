"""One level of a multigrid hierarchy: strength, splitting and interpolation by PyAMG -> Level."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyamg
from pyamg import amg_core
from scipy import linalg, sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

from neuprecond import rows
from neuprecond.errors import NotDefiniteError
from neuprecond.interpolation import (
    classical_interpolation,
    minimised_aggregates,
    minimised_splitting,
)

__all__ = [
    "BASES",
    "LUMPED",
    "WITHOUT_EVOLUTION",
    "Base",
    "Elimination",
    "KeptLevel",
    "Level",
    "are_displacements",
    "block_size",
    "by_evolution",
    "coarsen",
    "components_apart",
    "eliminate",
    "galerkin",
    "galerkin_pair",
    "has_hubs",
    "is_aggregated",
    "is_minimised",
    "largest_eigenpair",
    "largest_eigenvalue",
    "largest_of",
    "local_order",
    "near_null_scaling",
    "renumbered",
]


@dataclass(frozen=True)
class Base:
    """A way to coarsen.

    Attributes
    ----------
    measure : str
        Of strength: "classical", entries over their row's largest; "symmetric", entries over their
        two diagonals; or "evolution".
    threshold : float
        Couplings are strong from here on; of evolution strength, less than so many times as far as
        the nearest.
    aggregates : bool
        Coarse unknowns stand for aggregates; otherwise rows are split by Ruge and Stüben.
    minimised : bool
        Interpolation of least energy on a wider pattern, instead of one damped Jacobi step on
        aggregates, or instead of Ruge and Stüben's from direct neighbours.
    """

    measure: str
    threshold: float
    aggregates: bool = False
    minimised: bool = False


#: Ways to coarsen, by name. Which threshold is right depends on the matrix: what elimination leaves
#: of a five-point star has couplings of .17 and .08, so .08 lies just where they vary. One is half
#: of the other, and rounding is not to decide on that.
BASES = {
    "rs10": Base("classical", 0.1),
    "rs": Base("classical", 0.25),
    "rs50": Base("classical", 0.49),
    "evo": Base("evolution", 4.0),
    "sa": Base("symmetric", 0.08, aggregates=True),
    "sa5": Base("symmetric", 0.05, aggregates=True),
    "sa3": Base("symmetric", 0.03, aggregates=True),
    "sa0": Base("symmetric", 0.0, aggregates=True),
    "root": Base("evolution", 4.0, aggregates=True, minimised=True),
    "min": Base("evolution", 4.0, minimised=True),
}
#: Aggregates as they are: a coarse matrix has never more entries than its fine one. What is left
#: where the others fill up.
LUMPED = "lumped"
#: What stands in for evolution strength where `has_hubs` holds: there it is not to be had.
WITHOUT_EVOLUTION = "rs"
_STRENGTHS = {**BASES, LUMPED: Base("symmetric", 0.0, aggregates=True)}

# Ritz values approach the largest eigenvalue from below; this covers what few steps leave out.
EIGENVALUE_SAFETY = 1.05
# Elimination: no more neighbours than this (it replaces d edges by d (d - 1) / 2), and no pass
# over the matrix for fewer unknowns than this share.
MOST_NEIGHBOURS = 4
LEAST_SHARE = 0.2
# What to eliminate, the first that will do: neighbours at most, share of the unknowns at least,
# entries left over entries before. Seven-point stars in space lose every second unknown, and a
# third more entries on half as many unknowns are coarsened to less: a cycle costs 0.7 of what it
# did, at as many steps. Where less goes, added entries are not worth it.
ELIMINATIONS = ((MOST_NEIGHBOURS, LEAST_SHARE, 1.0), (6, 0.4, 1.4))
# Entries this small relative to the diagonal are rounding left by a Galerkin product, and so is a
# diagonal relative to the square of its column of P.
ROUNDING = 1e-14

# Steps of Lanczos' from which evolution strength takes the length of its own step.
EVOLUTION_STEPS = 20

# Unknowns, entries a row and spread from which on unknowns are put in another order. Grids have
# a spread of at most n^(-1/3), a random order has a third.
ORDER_FROM, LEAST_ENTRIES, SCATTERED = 20_000, 3.5, 0.1

# Rows of 3-D elasticity have 120 entries in the mean of entries, of random graphs 300.
HUBS = 500

# Symmetric strength between blocks: of 0, .02, .04, .06, .08, .1 and .15 on validation problems of
# elasticity, the fewest iterations over contrasts from 1 to 80.
BETWEEN_NODES = 0.08


# Unknowns come in blocks, of this many at most, where this share of the entries of all blocks that
# rows touch is there, as far as some rows show it, and so much more than where blocks start an
# unknown later: a band has whole blocks wherever one starts.
LARGEST_BLOCK, BLOCK_FILL, SAMPLED_BLOCKS, CLEARLY = 6, 0.6, 2048, 0.18
# Energy of constants of one component over that of unknowns that are not coupled: .003 to .1 of
# displacements, also where few nodes are far from what holds them; .5 of discontinuous elements.
MOST_ENERGY = 0.3
# Couplings between components of different nodes over those within a component, of unit diagonal:
# .3 to 1.4 of displacements, none where two concentrations react.
LEAST_PULL = 0.1


@dataclass(frozen=True)
class Level:
    """A matrix, its scaling and the start of its interpolation.

    Attributes
    ----------
    A : csr_array, shape (n, n)
        The matrix scaled to a unit diagonal, S A S.
    s : ndarray, shape (n,)
        The scaling, diag(A)^(-1/2).
    near_null : ndarray, shape (n,)
        What the scaled matrix nearly maps to zero; no entry is zero.
    P0 : csr_array, shape (n, nc)
        Interpolation by PyAMG, in scaled unknowns on the fine side, unscaled on the coarse side.
    coarse_near_null : ndarray, shape (nc, k)
        The near-null vectors of the coarse matrix: ``P0 @ coarse_near_null`` is what P must keep.
    roots : ndarray of int, shape (nc,)
        The unknown that each coarse unknown stands for.
    strong : csr_array, shape (n, n), or between nodes
        Nonzero where PyAMG's measure calls a connection strong.
    base : str
        One of `BASES`.
    coarse_nodes : ndarray of int, shape (nc,)
        The node that each coarse unknown belongs to; several of one aggregate share theirs.
    """

    A: sparse.csr_array
    s: np.ndarray
    near_null: np.ndarray
    P0: sparse.csr_array
    coarse_near_null: np.ndarray
    roots: np.ndarray
    strong: sparse.csr_array
    base: str
    coarse_nodes: np.ndarray


@dataclass(frozen=True)
class KeptLevel:
    """What coarsening decided on, for another matrix of the same pattern: all but the values.

    Attributes
    ----------
    base : str
        One of `BASES`, or `LUMPED`.
    indptr, indices : ndarray of int
        The pattern of strong connections.
    roots : ndarray of int, shape (nc,)
        The unknown that each coarse unknown stands for.
    several : bool
        Several near-null vectors were kept.
    """

    base: str
    indptr: np.ndarray
    indices: np.ndarray
    roots: np.ndarray
    several: bool

    @staticmethod
    def of(level: Level) -> "KeptLevel":
        """What to keep of a level."""
        several = level.coarse_near_null.shape[1] > 1
        return KeptLevel(
            level.base, level.strong.indptr, level.strong.indices, level.roots, several
        )

    @property
    def strong(self) -> sparse.csr_array:
        """Strong connections, as ones."""
        n = len(self.indptr) - 1
        parts = np.ones(len(self.indices)), self.indices, self.indptr
        return sparse.csr_array(parts, shape=(n, n))


@dataclass(frozen=True)
class Elimination:
    """Unknowns that are coupled to kept ones only, solved for exactly.

    Attributes
    ----------
    A : csr_array, shape (n, n)
        The matrix scaled to a unit diagonal.
    s : ndarray, shape (n,)
        The scaling.
    eliminated, kept : ndarray of int
        Unknowns on either side.
    P : csr_array, shape (n, len(kept))
        Back substitution: the identity on kept unknowns, -A_ij on eliminated ones.
    schur : csr_array
        The Schur complement, Pᵀ A P.
    """

    A: sparse.csr_array
    s: np.ndarray
    eliminated: np.ndarray
    kept: np.ndarray
    P: sparse.csr_array
    schur: sparse.csr_array


def unit_diagonal(A: sparse.csr_array) -> tuple[sparse.csr_array, np.ndarray]:
    """S A S with a unit diagonal, and s; unknowns with no positive diagonal keep s = 1."""
    s = diagonal_scaling(A)
    return scaled(A, s), s


def diagonal_scaling(A: sparse.csr_array) -> np.ndarray:
    """The s of `unit_diagonal` alone."""
    d = A.diagonal()
    s = np.ones_like(d)
    # The square root first: 1 / d may overflow where 1 / sqrt(d) does not.
    np.divide(1.0, np.sqrt(d, where=d > 0, out=np.ones_like(d)), out=s, where=d > 0)
    return s


def scaled(A: sparse.csr_array, s: np.ndarray) -> sparse.csr_array:
    """Diag(s) A diag(s), on A's pattern."""
    values = rows.scaled_values(*rows.csr(A), s, s)
    return sparse.csr_array((values, A.indices, A.indptr), shape=A.shape)


def largest_eigenvalue(A: sparse.csr_array, *, steps: int = 12) -> float:
    """An estimate from above of the largest eigenvalue of a symmetric A.

    Lanczos from a fixed start; the few steps taken here do not lose orthogonality.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric positive semidefinite.
    steps : int
        Lanczos steps; one product each.

    Returns
    -------
    float
        The largest Ritz value with a margin of 5 %, but never more than the largest absolute row
        sum, which bounds every eigenvalue (Gershgorin).

    References
    ----------
    Y. Saad, Numerical Methods for Large Eigenvalue Problems, 2nd ed., SIAM 2011, section 6.6.

    Examples
    --------
    >>> round(largest_eigenvalue(sparse.csr_array(np.diag([1.0, 2.0, 4.0]))), 6)
    4.0
    """
    return _ritz(A, steps=steps, vector=False)[0]


def largest_eigenpair(A: sparse.csr_array, *, steps: int = 12) -> tuple[float, np.ndarray]:
    """`largest_eigenvalue` and the Ritz vector that belongs to it, of unit length.

    Raises
    ------
    NotDefiniteError
        If a Ritz value shows that A is indefinite.
    """
    return _ritz(A, steps=steps, vector=True)


def largest_of(product: Callable[[np.ndarray], np.ndarray], n: int, *, steps: int = 12) -> float:
    """`largest_eigenvalue` of a symmetric matrix that is only given by its products.

    Parameters
    ----------
    product : callable
        Maps a vector of shape (n,) to its product.
    n : int
        Rows of the matrix.
    steps : int
        Lanczos steps; one product each.

    Examples
    --------
    >>> round(largest_of(lambda x: np.array([1.0, 2.0]) * x, 2), 6)
    2.1
    """
    q = np.random.default_rng(n).standard_normal(n)
    q /= np.linalg.norm(q)
    before, beta = np.zeros(n), 0.0
    diagonal: list[float] = []
    below: list[float] = []
    while True:
        w = product(q) - beta * before
        diagonal.append(float(q @ w))
        w -= diagonal[-1] * q
        beta = float(np.linalg.norm(w))
        if len(diagonal) == min(steps, n) or beta <= 1e-10 * abs(diagonal[0]):
            break
        below.append(beta)
        before, q = q, w / beta
    values = linalg.eigh_tridiagonal(diagonal, below, eigvals_only=True)
    return EIGENVALUE_SAFETY * float(values[-1])


def _ritz(
    A: sparse.csr_array, *, steps: int, vector: bool, safety: float = EIGENVALUE_SAFETY
) -> tuple[float, np.ndarray]:
    """Largest Ritz value with its margin, and its vector; an empty one where none is wanted."""
    n = A.shape[0]
    bound = rows.largest_row_sum(rows.unsigned(A.indptr), A.data)
    if n <= steps:
        values, vectors = np.linalg.eigh(A.toarray())
        _require_not_indefinite(values)
        return min(bound, float(values[-1]) * (1 + 1e-12)), vectors[:, -1]
    Q = np.empty((steps + 1 if vector else 3, n))
    Q[0] = np.random.default_rng(n).standard_normal(n)
    Q[0] /= np.linalg.norm(Q[0])
    diagonal, below = np.empty(steps), np.empty(steps - 1)
    # Where the Krylov space is exhausted, its Ritz values are eigenvalues.
    k = rows.lanczos(*rows.csr(A), Q, diagonal, below, 1e-10 * bound)
    values, vectors = linalg.eigh_tridiagonal(diagonal[:k], below[: k - 1])
    _require_not_indefinite(values)
    largest = min(bound, safety * float(values[-1]))
    if not vector:
        return largest, np.empty(0)
    ritz = vectors[:, -1] @ Q[:k]
    return largest, ritz / np.linalg.norm(ritz)


def _require_not_indefinite(ritz_values: np.ndarray) -> None:
    """Raise where a Rayleigh quotient found on the way is negative beyond rounding."""
    if ritz_values[0] < -1e-8 * max(ritz_values[-1], 0.0):
        raise NotDefiniteError(
            f"A must be positive definite, found xᵀAx / xᵀx = {ritz_values[0]:.2e} after scaling A "
            "to a unit diagonal.",
            'Try load("auto", A) with GMRES or MINRES.',
        )


def local_order(A: sparse.csr_array) -> np.ndarray | None:
    """An order in which neighbours are near each other, where that of A is as good as random.

    Loops over a large matrix wait for memory wherever a row's columns lie far apart: on 262 144
    points of a Delaunay graph in random order, setup and solve take twice as long.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric.

    Returns
    -------
    ndarray of uint32 or uint64, or None
        The unknowns in their new order (reverse Cuthill-McKee); None for a small A, a tree, which
        elimination takes apart in any order, and wherever the order is better than random.

    References
    ----------
    A. George, J. W. H. Liu, Computer Solution of Large Sparse Positive Definite Systems,
    Prentice-Hall 1981, chapter 4.

    Examples
    --------
    >>> local_order(sparse.csr_array(pyamg.gallery.poisson((8, 8), format="csr"))) is None
    True
    """
    n = A.shape[0]
    if n < ORDER_FROM or A.nnz < LEAST_ENTRIES * n:
        return None
    if rows.spread(*rows.csr(A)[:2]) < SCATTERED:
        return None
    order = reverse_cuthill_mckee(A, symmetric_mode=True)
    return rows.unsigned(np.ascontiguousarray(order))


def renumbered(A: sparse.csr_array, order: np.ndarray) -> sparse.csr_array:
    """A[order][:, order] of a symmetric A, sorted."""
    parts = rows.permuted(*rows.csr(A), order)
    # Transposing sorts a symmetric matrix in one pass.
    return sparse.csr_array(_csr(parts, A.shape[0]).T.tocsr())


def near_null_scaling(A: sparse.csr_array, s: np.ndarray) -> np.ndarray:
    """The near-null vector of the scaled matrix: constants of A, or constants of S A S.

    A matrix from a PDE or a graph maps constants to almost zero in the unknowns it was written
    in; one that somebody has scaled does so in the unknowns of unit diagonal. The residual of most
    rows tells which.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Scaled to unit diagonal.
    s : ndarray, shape (n,)
        Its scaling.

    Returns
    -------
    ndarray, shape (n,)
        1 / s (constants of the matrix before scaling) or ones.
    """
    ones = np.ones_like(s)
    candidate = s.min() / s
    if candidate.min() < 1e-100:
        return ones

    def typical_residual(v: np.ndarray) -> float:
        # The median, since rows at a boundary or a sink are no fault of v.
        return float(np.median(rows.relative_residual(*rows.csr(A), v)))

    return candidate if typical_residual(candidate) <= typical_residual(ones) else ones


def is_aggregated(base: str) -> bool:
    """Whether a base, or `LUMPED`, takes aggregates for coarse unknowns."""
    return _STRENGTHS[base].aggregates


def is_minimised(base: str) -> bool:
    """Whether the interpolation of a base has the least energy that its pattern allows."""
    return _STRENGTHS[base].minimised


def by_evolution(base: str) -> bool:
    """Whether a base measures strength by evolution, which asks for an eigenvalue."""
    return _STRENGTHS[base].measure == "evolution"


def _strength(
    A: sparse.csr_array,
    base: str,
    scaled_A: sparse.csr_array | None = None,
    largest: float | None = None,
) -> sparse.csr_array:
    """Strong connections; those that are split by Ruge and Stüben without a diagonal.

    Of a part of a matrix, ``largest`` is an eigenvalue of the whole.
    """
    measure, threshold = _STRENGTHS[base].measure, _STRENGTHS[base].threshold
    if measure == "classical":
        return _pattern(rows.classical_strength(*rows.csr(A), threshold), A.shape)
    if measure == "symmetric":
        return pyamg.strength.symmetric_strength_of_connection(A, theta=threshold)
    # D⁻¹A has the eigenvalues of the matrix of unit diagonal. Ritz values are taken as they are:
    # a step too long by a percent is none too long for the measure.
    if largest is None:
        flat = unit_diagonal(A)[0] if scaled_A is None else scaled_A
        largest, _ = _ritz(flat, steps=EVOLUTION_STEPS, vector=False, safety=1.0)
    d = A.diagonal()
    d[d == 0.0] = 1.0
    parts = rows.evolution_strength(*rows.csr(A), d, 1.0 / max(largest, 1e-300), threshold)
    strong = _pattern(parts, A.shape)
    if _STRENGTHS[base].aggregates:
        strong = sparse.csr_array(strong + sparse.eye_array(A.shape[0], format="csr"))
    return strong


def _pattern(parts: tuple[np.ndarray, np.ndarray], shape: tuple[int, int]) -> sparse.csr_array:
    indptr, indices = (x.view(f"i{x.itemsize}") for x in parts)
    return sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=shape)


def has_hubs(A: sparse.csr_array) -> bool:
    """Whether rows are so unequal that evolution strength, of cost Σ (row length)², takes ages."""
    lengths = np.diff(A.indptr).astype(np.float64)
    return bool(lengths @ lengths > HUBS * A.nnz)


def _split_and_interpolate(
    A: sparse.csr_array, strong: sparse.csr_array, roots: np.ndarray | None = None
) -> tuple[sparse.csr_array, np.ndarray]:
    """Ruge-Stüben splitting, unless it is known, and modified classical interpolation."""
    n = A.shape[0]
    if roots is None:
        splitting, influence = (np.zeros(n, dtype=strong.indices.dtype) for _ in range(2))
        turned = strong.T.tocsr()
        links = strong.indptr, strong.indices, turned.indptr, turned.indices
        amg_core.rs_cf_splitting(n, *links, influence, splitting)
        roots = np.flatnonzero(splitting == 1)
    if len(roots) == 0:
        return sparse.csr_array((n, 0)), roots
    is_coarse = np.zeros(n, dtype=np.bool_)
    is_coarse[roots] = True
    return classical_interpolation(A, strong, is_coarse), roots


def block_size(A: sparse.csr_array) -> int:
    """How many unknowns come together, as the displacements of a node do; 1 where none do.

    Parameters
    ----------
    A : csr_array, shape (n, n)

    Returns
    -------
    int
        The largest k up to 6 for which rows, k by k, have most entries of the k × k blocks that
        they touch.

    Examples
    --------
    >>> A = sparse.csr_array(pyamg.gallery.poisson((8, 8), format="csr"))
    >>> block_size(A), block_size(sparse.csr_array(sparse.kron(A, [[2.0, 1.0], [1.0, 2.0]])))
    (1, 2)
    """
    n, found = A.shape[0], 1
    for k in range(2, LARGEST_BLOCK + 1):
        if n % k or n < 3 * k:
            continue
        nodes = np.unique(np.linspace(0, n // k - 2, SAMPLED_BLOCKS).astype(np.int64))
        some = nodes[:, None] * k + np.arange(k)
        fill = _fill(A, k, some, np.arange(n) // k)
        if fill < BLOCK_FILL:
            continue
        later = (_fill(A, k, some + shift, (np.arange(n) - shift) // k) for shift in range(1, k))
        if all(fill >= other + CLEARLY for other in later):
            found = k
    return found


def components_apart(A: sparse.csr_array) -> int:
    """`block_size` where all first components come first, then all second ones; 1 elsewhere.

    Examples
    --------
    >>> A = sparse.csr_array(pyamg.gallery.poisson((8, 8), format="csr"))
    >>> components_apart(A), components_apart(sparse.csr_array(sparse.kron(np.ones((2, 2)), A)))
    (1, 2)
    """
    n = A.shape[0]
    for k in (3, 2):
        count = n // k
        if n % k or n < 3 * k:
            continue
        nodes = np.unique(np.linspace(0, count - 1, SAMPLED_BLOCKS).astype(np.int64))
        if _fill(A, k, nodes[:, None] + count * np.arange(k), np.arange(n) % count) >= BLOCK_FILL:
            return k
    return 1


def are_displacements(A: sparse.csr_array, node: np.ndarray, component: np.ndarray) -> bool:
    """Whether unknowns that come together behave as a node's displacements do.

    Constants of each component have little energy, which those of a discontinuous element's
    unknowns have not, and components pull at each other between nodes, which concentrations that
    react with each other where they are do not: those are best coarsened each for itself.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        With a positive diagonal.
    node, component : ndarray of int, shape (n,)
        Of each unknown.

    Examples
    --------
    >>> A = sparse.csr_array(pyamg.gallery.poisson((20, 20), format="csr"))
    >>> pulling = sparse.csr_array(sparse.kron(A, [[2.0, 1.0], [1.0, 2.0]]))
    >>> reacting = sparse.csr_array(sparse.kron(A, np.eye(2)) + sparse.eye_array(800) * 1e-3)
    >>> unknown = np.arange(800)
    >>> [are_displacements(M, unknown // 2, unknown % 2) for M in (pulling, reacting)]
    [True, False]
    """
    B = (component[:, None] == np.arange(component.max() + 1)).astype(np.float64)
    diagonal = np.abs(A.diagonal())
    if abs(np.vdot(B, A @ B)) > MOST_ENERGY * diagonal.sum():
        return False
    entries = A.tocoo()
    i, j = entries.coords
    with np.errstate(all="ignore"):
        size = np.abs(entries.data) / np.sqrt(diagonal)[i] / np.sqrt(diagonal)[j]
    size[(node[i] == node[j]) | ~np.isfinite(size)] = 0.0
    across = component[i] != component[j]
    return bool(size[across].sum() >= LEAST_PULL * size[~across].sum())


def _fill(A: sparse.csr_array, k: int, some: np.ndarray, node: np.ndarray) -> float:
    """Share of the k × k blocks' entries that are there; 0 where every node has all the others.

    Parameters
    ----------
    A : csr_array, shape (n, n)
    k : int
    some : ndarray of int, shape (m, k)
        Rows of some nodes.
    node : ndarray of int, shape (n,)
        The node of each unknown.
    """
    n, part = A.shape[0], A[some.ravel()].tocoo()
    row, column = part.coords
    places = len(np.unique(row.astype(np.int64) // k * (n + k) + node[column]))
    # In a dense matrix every size would do.
    if places >= len(some) * (n // k - 1):
        return 0.0
    return len(column) / (k * k * max(places, 1))


def node_numbers(B: np.ndarray) -> np.ndarray:
    """Which node each unknown belongs to, read off rigid body modes.

    Unknowns that come node by node show it in the translations: column c of B is zero but on each
    node's unknown c. Without such columns every unknown is a node of its own.

    Parameters
    ----------
    B : ndarray, shape (n, k)
        Near-null vectors.

    Returns
    -------
    ndarray of int, shape (n,)

    Examples
    --------
    >>> node_numbers(np.array([[1.0, 0, 2], [0, 1, 3], [1, 0, 4], [0, 1, 5]]))
    array([0, 0, 1, 1])
    """
    n, k = B.shape
    for size in range(min(k, LARGEST_BLOCK), 1, -1):
        if n % size:
            continue
        component = np.arange(n) % size
        if all(np.array_equal(B[:, c] != 0, component == c) for c in range(size)):
            return np.arange(n) // size
    return np.arange(n)


def _members(nodes: np.ndarray) -> sparse.csr_array:
    """Unknowns × nodes, ones where an unknown belongs to a node."""
    n = len(nodes)
    parts = np.ones(n), nodes, np.arange(n + 1)
    return sparse.csr_array(parts, shape=(n, int(nodes.max()) + 1))


def _node_strength(
    A: sparse.csr_array, nodes: np.ndarray
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Symmetric strength between nodes, by Frobenius norms of blocks; unknowns × nodes, ones."""
    member = _members(nodes)
    squares = sparse.csr_array((A.data**2, A.indices, A.indptr), shape=A.shape)
    blocks = sparse.csr_array(member.T @ squares @ member)
    blocks.data = np.sqrt(blocks.data)
    blocks.sort_indices()
    strong = pyamg.strength.symmetric_strength_of_connection(blocks, theta=BETWEEN_NODES)
    return sparse.csr_array(strong), member


def _aggregate(
    A: sparse.csr_array,
    scaled_A: sparse.csr_array,
    strong: sparse.csr_array,
    B: np.ndarray,
    member: sparse.csr_array | None = None,
    *,
    smooth: bool = True,
    minimised: bool = False,
) -> tuple[sparse.csr_array, np.ndarray, np.ndarray, np.ndarray]:
    """Aggregate the standard way, fit to B and smooth by one damped Jacobi step.

    Or, where that is asked for and constants are near-null, minimise the energy. Returns P, roots,
    coarse B, and the aggregate that each coarse unknown belongs to.
    """
    aggregates, roots = pyamg.aggregation.standard_aggregation(strong)
    nc = aggregates.shape[1]
    k = B.shape[1]
    none = np.empty(0, dtype=np.int64)
    # Where nothing is strong PyAMG gives one aggregate of nothing.
    if nc == 0 or aggregates.nnz == 0:
        return sparse.csr_array((A.shape[0], 0)), none, np.empty((0, k)), none
    aggregates = sparse.csr_array(aggregates)
    owner = np.arange(nc)
    if member is not None:
        first = np.zeros(member.shape[1], dtype=np.int64)
        first[member.indices[::-1]] = np.arange(member.shape[0])[::-1]
        aggregates, roots = sparse.csr_array(member @ aggregates), first[roots]
        aggregates.sort_indices()
    if k == 1:
        tentative = sparse.csr_array(
            (
                B[np.repeat(np.arange(A.shape[0]), np.diff(aggregates.indptr)), 0],
                aggregates.indices,
                aggregates.indptr,
            ),
            shape=aggregates.shape,
        )
        Bc = np.ones((nc, 1))
    else:
        aggregates.data = aggregates.data.astype(np.int8)
        tentative, Bc = pyamg.aggregation.fit_candidates(aggregates, B)
        # In an aggregate of few unknowns some near-null vectors depend on the others: no column.
        independent = np.flatnonzero(Bc.any(axis=1))
        tentative = sparse.csr_array(tentative.tocsr())[:, independent]
        roots, owner = np.repeat(roots, k)[independent], np.repeat(owner, k)[independent]
        Bc = Bc[independent]
    if not smooth:
        return tentative, np.asarray(roots), Bc, owner
    weight = 4.0 / 3.0 / largest_eigenvalue(scaled_A)
    if minimised:
        P = minimised_aggregates(A, tentative, strong, np.asarray(roots), weight)
        return P, np.asarray(roots), Bc, owner
    step = sparse.csr_array(A @ tentative)
    d = A.diagonal()
    step.data *= np.repeat(-weight / np.where(d > 0.0, d, np.inf), np.diff(step.indptr))
    return sparse.csr_array(tentative + step), np.asarray(roots), Bc, owner


def coarsen(
    A: sparse.csr_array,
    base: str,
    *,
    B: np.ndarray | None = None,
    v: np.ndarray | None = None,
    nodes: np.ndarray | None = None,
    kept: KeptLevel | None = None,
) -> Level | None:
    """One step of coarsening, or None where there is nothing left to coarsen.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric, with a positive diagonal, sorted.
    base : str
        One of `BASES`, or `LUMPED`.
    B : ndarray of shape (n, k), optional
        Near-null vectors of A, k > 1; every base but `LUMPED` is "sa" then.
    v : ndarray of shape (n,), optional
        The near-null vector of A when there is one only; ones by default. No entry may be zero.
    nodes : ndarray of int, shape (n,), optional
        With several near-null vectors, the node of each unknown: then nodes are aggregated.
    kept : KeptLevel, optional
        What was decided for another matrix of this pattern, instead of looking at A's values.

    Returns
    -------
    Level or None
        None if no connection is strong or the coarse matrix would not be smaller.

    References
    ----------
    J. W. Ruge and K. Stüben, Algebraic multigrid, in Multigrid Methods, SIAM 1987.
    P. Vaněk, J. Mandel, M. Brezina, Algebraic multigrid by smoothed aggregation,
    Computing 56, 1996.
    L. N. Olson, J. Schroder, R. S. Tuminaro, A new perspective on strength measures in algebraic
    multigrid, Numer. Linear Algebra Appl. 17, 2010.
    L. N. Olson, J. Schroder, R. S. Tuminaro, A general interpolation strategy for algebraic
    multigrid using energy minimization, SIAM J. Sci. Comput. 33, 2011.

    Examples
    --------
    >>> A = sparse.csr_array(pyamg.gallery.poisson((8, 8), format="csr"))
    >>> coarsen(A, "rs").P0.shape
    (64, 32)
    """
    scaled_A, s = unit_diagonal(A)
    if B is not None and B.shape[1] > 1:
        near_null = np.ones_like(s)
        nodes = np.arange(len(s)) if nodes is None else nodes
        known = None if kept is None else (kept.strong, _members(nodes))
        strong, member = known or _node_strength(scaled_A, nodes)
        P, roots, Bc, owner = _aggregate(A, scaled_A, strong, B, member, smooth=base != LUMPED)
        base = LUMPED if base == LUMPED else "sa"
    else:
        # In the unknowns x / v, constants are near-null: the textbook case PyAMG is written for.
        flat = A if v is None else scaled(A, v)
        near_null = 1.0 / s if v is None else v / s
        if kept is None and by_evolution(base) and has_hubs(A):
            base = WITHOUT_EVOLUTION
        strong = sparse.csr_array(_strength(flat, base, scaled_A)) if kept is None else kept.strong
        minimised = is_minimised(base)
        if is_aggregated(base):
            ones, smooth = np.ones((A.shape[0], 1)), base != LUMPED
            P, roots, Bc, owner = _aggregate(
                flat, scaled_A, strong, ones, smooth=smooth, minimised=minimised
            )
        else:
            known_roots = None if kept is None else kept.roots
            P, roots = _split_and_interpolate(flat, strong, known_roots)
            if minimised and len(roots):
                P = minimised_splitting(flat, P, strong, roots)
            Bc, owner = np.ones((len(roots), 1)), np.arange(len(roots))
        if v is not None:
            P.data *= np.repeat(v, np.diff(P.indptr))
    nc = P.shape[1]
    if nc == 0 or (nc > 0.9 * P.shape[0] and kept is None):
        return None
    P.data *= np.repeat(1.0 / s, np.diff(P.indptr))
    P.sort_indices()
    strong.sort_indices()
    return Level(scaled_A, s, near_null, P, Bc, roots, strong, base, owner)


def galerkin(A: sparse.csr_array, P: sparse.csr_array) -> sparse.csr_array:
    """The coarse matrix Pᵀ A P, sorted, without entries that are rounding only."""
    return _without_rounding(_product(sparse.csr_array(P.T.tocsr()), _product(A, P)), P)


def galerkin_pair(
    first: tuple[sparse.csr_array, sparse.csr_array],
    second: tuple[sparse.csr_array, sparse.csr_array],
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """`galerkin` of two pairs of A and P, to the last bit.

    Where both A have the same pattern, and both P, it costs little more than one: most of a product
    is looking up columns.
    """
    (A, P), (other_A, other_P) = first, second
    bound = rows.product_bound(rows.unsigned(A.indices), rows.unsigned(P.indptr))
    alike = _same_pattern(A, other_A) and _same_pattern(P, other_P)
    if not alike or bound > np.iinfo(np.int32).max:
        return galerkin(A, P), galerkin(other_A, other_P)
    nc = P.shape[1]
    p_indptr, p_indices, _ = rows.csr(P)
    indptr, indices, values = rows.paired_product(
        *rows.csr(A)[:2],
        (A.data, other_A.data),
        p_indptr,
        p_indices,
        (P.data, other_P.data),
        nc,
        bound,
    )
    R, other_R = P.T.tocsr(), other_P.T.tocsr()
    r_indptr, r_indices, _ = rows.csr(R)
    bound = rows.product_bound(r_indices, indptr)
    if bound > np.iinfo(np.int32).max:
        return galerkin(A, P), galerkin(other_A, other_P)
    indptr, indices, values = rows.paired_product(
        r_indptr, r_indices, (R.data, other_R.data), indptr, indices, values, nc, bound
    )
    # What is rounding is dropped in place, from each its own.
    other = _csr((indptr.copy(), indices.copy(), values[1]), nc)
    coarse = _csr((indptr, indices, values[0]), nc)
    return _without_rounding(coarse, P), _without_rounding(other, other_P)


def _same_pattern(A: sparse.csr_array, B: sparse.csr_array) -> bool:
    """Whether two sorted matrices store the same places."""
    return np.array_equal(A.indptr, B.indptr) and np.array_equal(A.indices, B.indices)


def _without_rounding(Ac: sparse.csr_array, P: sparse.csr_array) -> sparse.csr_array:
    """A product Pᵀ A P, sorted, without what is rounding; the product itself is used up."""
    _clear_null_rows(Ac, ROUNDING * np.bincount(P.indices, P.data**2, P.shape[1]))
    rows.drop_small(*rows.csr(Ac), ROUNDING)
    Ac.prune()
    # Transposing sorts a symmetric matrix in one pass.
    return sparse.csr_array(Ac.T.tocsr())


def _product(A: sparse.csr_array, P: sparse.csr_array) -> sparse.csr_array:
    """A P, unsorted: one pass where SciPy takes two, for more memory."""
    bound = rows.product_bound(rows.unsigned(A.indices), rows.unsigned(P.indptr))
    if bound > np.iinfo(np.int32).max:
        return sparse.csr_array(A @ P)
    return _csr(rows.product(*rows.csr(A), *rows.csr(P), P.shape[1], bound), P.shape[1])


def eliminate(A: sparse.csr_array) -> Elimination | None:
    """Eliminate an independent set of unknowns with few neighbours, exactly.

    A grid of five-point stars loses every second unknown, a road or power network its dead ends
    and its chains; what is left has fewer entries than before, so nothing cheaper than this can
    be done for the finest level. Seven-point stars in space are halved too, at a third more
    entries.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric, with a positive diagonal, sorted.

    Returns
    -------
    Elimination or None
        None where less than a fifth of the unknowns can go, or entries would be added for less
        than two fifths.

    References
    ----------
    O. E. Livne, A. Brandt, Lean algebraic multigrid, SIAM J. Sci. Comput. 34, 2012, section 3.2.

    Examples
    --------
    >>> A = sparse.csr_array(pyamg.gallery.poisson((8, 8), format="csr"))
    >>> len(eliminate(A).kept)
    32
    """
    for neighbours, share, growth in ELIMINATIONS:
        found = _eliminate(A, neighbours, share, growth)
        if found is not None:
            return found
    return None


def _eliminate(
    A: sparse.csr_array, neighbours: int, share: float, growth: float
) -> Elimination | None:
    """`eliminate` by one of `ELIMINATIONS`."""
    n = A.shape[0]
    if np.count_nonzero(np.diff(A.indptr) <= neighbours + 1) < share * n:
        return None
    indptr, indices, _ = rows.csr(A)
    is_kept = ~rows.independent_set(indptr, indices, neighbours + 1)
    eliminated, kept = np.flatnonzero(~is_kept), np.flatnonzero(is_kept)
    if len(eliminated) < share * n:
        return None
    scaled_A, s = unit_diagonal(A)
    number = (np.cumsum(is_kept) - 1).astype(np.uint32)
    matrix = rows.csr(scaled_A)
    schur = _csr(rows.schur_complement(*matrix, is_kept, number, kept), len(kept))
    if schur.nnz > growth * A.nnz:
        return None
    schur.sort_indices()
    _clear_null_rows(schur, 1e-13)
    P = _csr(rows.eliminated_rows(*matrix, is_kept, number), len(kept))
    return Elimination(scaled_A, s, eliminated, kept, P, schur)


def _csr(parts: tuple[np.ndarray, np.ndarray, np.ndarray], columns: int) -> sparse.csr_array:
    indptr, indices, values = parts
    indptr, indices = (x.view(f"i{x.itemsize}") for x in (indptr, indices))
    return sparse.csr_array((values, indices, indptr), shape=(len(indptr) - 1, columns))


def _clear_null_rows(A: sparse.csr_array, smallest: np.ndarray | float) -> None:
    """Set to zero the rows whose diagonal is rounding: the end of a component without a sink."""
    null = np.abs(A.diagonal()) <= smallest
    if null.any():
        in_null_row = np.repeat(null, np.diff(A.indptr))
        A.data[in_null_row | null[A.indices]] = 0.0
