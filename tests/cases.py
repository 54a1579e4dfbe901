"""The named matrices, each with a line on why it is there, and the lists that laws run over."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from neuprecond import problems

__all__ = [
    "DEFINITE",
    "FORMS",
    "NEAR_NULL",
    "OTHER",
    "REAL_DEFINITE",
    "REAL_OTHER",
    "REFUSED",
    "SINGULAR",
    "Case",
    "Refused",
    "grounded",
    "laplacian",
    "path",
    "poisson",
    "random_definite",
    "read_real",
    "rescaled",
    "spread",
]

MATRICES = Path(__file__).parents[1] / "datasets" / "matrices"


@dataclass(frozen=True)
class Case:
    """A matrix and the reason to try it."""

    why: str
    make: Callable[[], object]


@dataclass(frozen=True)
class Refused:
    """What load must refuse: how, and in which words."""

    why: str
    make: Callable[[], object]
    error: type[Exception]
    words: str


# Makers.


def path(n: int) -> sparse.csr_array:
    """Poisson on a line."""
    return sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)).tocsr()


def poisson(k: int) -> sparse.csr_array:
    """Five-point Poisson on k × k unknowns."""
    eye = sparse.eye_array(k)
    return sparse.csr_array(sparse.kron(eye, path(k)) + sparse.kron(path(k), eye))


def laplacian(edges: np.ndarray, n: int, weights: object = 1.0) -> sparse.csr_array:
    """Graph Laplacian: singular, constants are its null space."""
    i, j = np.asarray(edges).T
    w = np.broadcast_to(weights, len(i)).astype(float)
    W = sparse.coo_array((np.r_[w, w], (np.r_[i, j], np.r_[j, i])), shape=(n, n)).tocsr()
    return sparse.csr_array(sparse.diags_array(W.sum(axis=1)) - W)


def grounded(A: sparse.csr_array, shift: float = 0.01) -> sparse.csr_array:
    """A + shift I."""
    return sparse.csr_array(A + shift * sparse.eye_array(A.shape[0]))


def rescaled(A: sparse.csr_array, s: np.ndarray) -> sparse.csr_array:
    """S A S; one factor after the other, so that no product of two overflows on the way."""
    D = sparse.diags_array(s)
    return sparse.csr_array(D @ sparse.csr_array(A @ D))


def spread(n: int, decades: float, seed: int = 5417) -> np.ndarray:
    """Positive numbers over ± that many decades."""
    return 10.0 ** np.random.default_rng(seed).uniform(-decades, decades, n)


def random_definite(
    n: int, seed: int, *, floor: float = 0.01, entries: float = 2.5
) -> sparse.csr_array:
    """C Cᵀ + floor I: entries of both signs, no structure."""
    rng = np.random.default_rng(seed)
    C = sparse.random_array((n, n), density=entries / n, rng=rng, data_sampler=rng.standard_normal)
    return sparse.csr_array(C @ C.T + floor * sparse.eye_array(n))


def _draw(family: str, size: int, seed: int, **parameters: object) -> sparse.csr_array:
    return problems.draw(family, size, np.random.default_rng(seed), parameters=parameters).A


def _drawn(family: str, size: int, seed: int, **parameters: object) -> Callable[[], object]:
    return lambda: _draw(family, size, seed, **parameters)


def _star(n: int, shift: float) -> sparse.csr_array:
    spokes = np.column_stack([np.zeros(n - 1, dtype=int), np.arange(1, n)])
    return grounded(laplacian(spokes, n), shift)


def _two_hubs(n: int) -> sparse.csr_array:
    rng = np.random.default_rng(811)
    spokes = [(hub, i) for hub in (0, 1) for i in range(2, n)]
    chords = rng.integers(2, n, (n, 2))
    edges = np.array(spokes + [tuple(e) for e in chords if e[0] != e[1]])
    return grounded(laplacian(edges, n, rng.uniform(0.1, 10.0, len(edges))))


def _complete(n: int) -> sparse.csr_array:
    return sparse.csr_array((n + 0.5) * np.eye(n) - 1.0)


def _bipartite(n: int) -> sparse.csr_array:
    """Positive couplings only, so that alternating signs are nearly null."""
    A = abs(poisson(n))
    return grounded(A, 0.001)


def _penalty(k: int, size: float) -> sparse.csr_array:
    A = sparse.lil_array(poisson(k))
    for i in range(0, k * k, 7):
        A[i, i] = size
    return sparse.csr_array(A)


def _isolated(k: int) -> sparse.csr_array:
    return sparse.csr_array(sparse.block_diag([np.eye(9) * 3.0, poisson(k), np.eye(40) * 1e-3]))


def _weak_links(k: int) -> sparse.csr_array:
    A = sparse.block_diag([poisson(k), poisson(k)]).tolil()
    A[0, k * k] = A[k * k, 0] = -1e-14
    return sparse.csr_array(A)


def _neumann(k: int) -> sparse.csr_array:
    A = sparse.lil_array(poisson(k))
    A.setdiag(0.0)
    A = sparse.csr_array(A)
    return sparse.csr_array(A - sparse.diags_array(A.sum(axis=1)))


def _arrow(n: int) -> sparse.csr_array:
    A = np.eye(n) * 2.0
    A[0, 1:] = A[1:, 0] = 1.0 / np.sqrt(n)
    return sparse.csr_array(A)


def _hilbert(n: int) -> sparse.csr_array:
    i = np.arange(1, n + 1)
    return sparse.csr_array(1.0 / (i[:, None] + i - 1.0))


def read_real(name: str) -> sparse.csr_array:
    """A matrix of datasets/matrices."""
    return problems.read(MATRICES / f"{name}.npz")


def _real(name: str) -> Callable[[], object]:
    return lambda: read_real(name)


#: Symmetric positive definite.
DEFINITE: dict[str, Case] = {
    # Sizes where everything degenerates.
    "one": Case("1 × 1", lambda: sparse.csr_array([[3.0]])),
    "one-tiny": Case("1 × 1, almost zero", lambda: sparse.csr_array([[1e-300]])),
    "two": Case("2 × 2", lambda: sparse.csr_array([[2.0, -1.0], [-1.0, 2.0]])),
    "two-positive": Case("2 × 2, both signs equal", lambda: sparse.csr_array([[4.0, 2], [2, 2.0]])),
    "three-chain": Case("the smallest elimination", lambda: path(3)),
    "bottom-99": Case("one unknown fewer than is inverted", lambda: path(99)),
    "bottom-100": Case("as many unknowns as are inverted", lambda: path(100)),
    "bottom-101": Case("one unknown more than is inverted", lambda: path(101)),
    # No edges.
    "identity": Case("no edges, more than 3000 unknowns", lambda: sparse.eye_array(4000).tocsr()),
    "diagonal": Case(
        "no edges, twelve decades", lambda: sparse.diags_array(np.logspace(-6, 6, 4000)).tocsr()
    ),
    "isolated": Case("unknowns without neighbours around a grid", lambda: _isolated(12)),
    "disconnected": Case(
        "several components of different kinds",
        lambda: sparse.csr_array(
            sparse.block_diag([poisson(9), _complete(20), random_definite(60, 311), [[1e-9]]])
        ),
    ),
    "weak-links": Case("components joined by rounding", lambda: _weak_links(9)),
    # Graphs that coarsening trips over.
    "star": Case("one hub, all others hang on it", lambda: _star(400, 0.01)),
    "two-hubs": Case("two dense rows", lambda: _two_hubs(300)),
    "arrow": Case("a dense first row on a diagonal", lambda: _arrow(300)),
    "complete": Case("all coupled with all", lambda: _complete(130)),
    "chain": Case("elimination all the way down", lambda: grounded(path(700), 1e-6)),
    "positive": Case("all couplings positive", lambda: _bipartite(14)),
    "cycle": Case(
        "a ring, no boundary",
        lambda: grounded(laplacian([(i, (i + 1) % 500) for i in range(500)], 500), 1e-4),
    ),
    # Numbers.
    "scaled": Case("badly scaled rows and columns", lambda: rescaled(poisson(14), spread(196, 6))),
    "scaled-far": Case(
        "entries 1e-300 to 1e300", lambda: rescaled(poisson(14), spread(196, 149.5))
    ),
    "tiny": Case("entries near underflow", lambda: sparse.csr_array(poisson(13) * 1e-300)),
    "huge": Case("entries near overflow", lambda: sparse.csr_array(poisson(13) * 1e300)),
    "penalty": Case("penalty rows of 1e30", lambda: _penalty(14, 1e30)),
    "subnormal-couplings": Case(
        "couplings so small that their squares vanish",
        lambda: sparse.csr_array(
            sparse.eye_array(200)
            + 1e-200 * (poisson(20)[:200][:, :200] - 4 * sparse.eye_array(200))
        ),
    ),
    "nearly-singular": Case("κ of 1e10", lambda: random_definite(150, 312, floor=1e-9)),
    "hilbert": Case("singular to rounding", lambda: grounded(_hilbert(12), 1e-12)),
    "dense": Case("dense, κ of 20", lambda: sparse.csr_array(np.eye(120) + 19.0 / 120)),
    # The families, small.
    "poisson2d": Case("trained on", _drawn("poisson2d", 18, 320)),
    "poisson2d_9point": Case("corner couplings", _drawn("poisson2d_9point", 18, 321)),
    "poisson3d": Case("7 points", _drawn("poisson3d", 7, 322)),
    "poisson3d_27point": Case("27 points", _drawn("poisson3d_27point", 7, 323)),
    "lognormal": Case("trained on", _drawn("lognormal", 18, 324)),
    "lognormal3d": Case("smooth contrast in space", _drawn("lognormal3d", 7, 325)),
    "twophase": Case("trained on; jumps", _drawn("twophase", 18, 326)),
    "channels": Case("trained on; thin structures", _drawn("channels", 18, 327)),
    "anisotropic": Case("positive couplings", _drawn("anisotropic", 18, 328, epsilon=1e-3)),
    "checkerboard": Case("corners of contrast", _drawn("checkerboard", 18, 329)),
    "jumps": Case("trained on; blocks", _drawn("jumps", 18, 330)),
    "stretched": Case("trained on; long cells", _drawn("stretched", 18, 331)),
    "fe2d": Case("unstructured mesh", _drawn("fe2d", 16, 332)),
    "fibres": Case("bending directions", _drawn("fibres", 16, 397, epsilon=1e-3)),
    "fibres3d": Case("bending directions in space", _drawn("fibres3d", 6, 398, epsilon=1e-2)),
    "elements": Case("cubic elements", _drawn("elements", 16, 399, element="P3")),
    "matern": Case("of fourth order", _drawn("matern", 18, 400, reach=40.0)),
    "fe3d": Case("tetrahedra", _drawn("fe3d", 6, 333)),
    "elasticity2d": Case("two unknowns a node, without B", _drawn("elasticity2d", 10, 334)),
    "elasticity3d": Case("three unknowns a node, without B", _drawn("elasticity3d", 4, 335)),
    "delaunay": Case("planar graph", _drawn("delaunay", 300, 336)),
    "geometric": Case("clusters", _drawn("geometric", 300, 337)),
    "attachment": Case("network with hubs", _drawn("attachment", 300, 338)),
    "knn": Case("neighbour graph", _drawn("knn", 300, 339)),
    "pores": Case("irregular in space", _drawn("pores", 300, 401)),
    "roads": Case("nearly a tree", _drawn("roads", 300, 340)),
    "heat": Case("dominant", _drawn("heat", 15, 341)),
    "shifted": Case("dominant graph", _drawn("shifted", 250, 342)),
    "dominant": Case("random, dominant, both signs", _drawn("dominant", 250, 343)),
    "capped": Case("random, κ capped", _drawn("capped", 250, 344)),
    "near_singular": Case("one eigenvalue next to zero", _drawn("near_singular", 14, 345)),
    "covariance": Case("all entries positive", _drawn("covariance", 200, 402, neighbours=12.0)),
    "gram": Case("no grid, fills up", _drawn("gram", 200, 346)),
} | {
    f"random-{seed}": Case(
        "random sparse, entries of both signs",
        lambda seed=seed, n=n, entries=entries: random_definite(
            n, seed, floor=10.0 ** -(seed % 4), entries=entries
        ),
    )
    for seed, (n, entries) in enumerate(
        [(3, 1.0), (12, 2.0), (101, 1.5), (140, 2.5), (140, 6.0), (260, 1.2), (260, 3.5)], start=351
    )
}

#: Symmetric positive semidefinite, the null space of each component spanned by constants.
SINGULAR: dict[str, Case] = {
    "neumann": Case("pure Neumann Poisson", lambda: _neumann(15)),
    "neumann-small": Case("singular at the bottom at once", lambda: _neumann(4)),
    "tree": Case(
        "elimination ends in a zero row",
        lambda: laplacian([(i // 2, i) for i in range(1, 400)], 400),
    ),
    "ring": Case(
        "no end to start at", lambda: laplacian([(i, (i + 1) % 333) for i in range(333)], 333)
    ),
    "cliques": Case(
        "components, each singular",
        lambda: sparse.csr_array(sparse.block_diag([_neumann(8), _neumann(7), _neumann(3)])),
    ),
    "unit_square": Case("a real mesh without boundary values", _real("unit_square")),
}

#: Near-null vectors with the matrix they belong to: (A, B).
NEAR_NULL: dict[str, Case] = {
    "elasticity2d": Case(
        "rigid body modes, 2-D",
        lambda: (lambda p: (p.A, p.B))(
            problems.draw("elasticity2d", 12, np.random.default_rng(371))
        ),
    ),
    "elasticity3d": Case(
        "rigid body modes, 3-D",
        lambda: (lambda p: (p.A, p.B))(
            problems.draw("elasticity3d", 5, np.random.default_rng(372))
        ),
    ),
    "poisson-signs": Case(
        "a near-null vector of both signs",
        lambda: (
            rescaled(poisson(15), np.where(np.arange(225) % 3, 1.0, -1.0)),
            np.where(np.arange(225) % 3, 1.0, -1.0)[:, None],
        ),
    ),
    "poisson-zeros": Case(
        "a near-null vector with zeros",
        lambda: (poisson(15), (np.arange(225) % 5 > 0).astype(float)[:, None]),
    ),
    "poisson-two": Case(
        "two near-null vectors of a scalar problem",
        lambda: (poisson(15), np.column_stack([np.ones(225), np.arange(225) % 15])),
    ),
    "poisson-dependent": Case(
        "twice the same near-null vector", lambda: (poisson(15), np.ones((225, 2)))
    ),
}

#: What no learned model covers; "auto" gives a classical M for GMRES.
OTHER: dict[str, Case] = {
    "three": Case("symmetric case of a zero diagonal", lambda: [[0.0, 2, 0], [2, 0, 1], [0, 1, 3]]),
    "swap": Case("no diagonal at all", lambda: [[0.0, 1.0], [1.0, 0.0]]),
    "minus-and-plus": Case("indefinite, diagonal", lambda: sparse.diags_array([1.0, -2.0, 3.0])),
    "nonsymmetric-triangle": Case("CG cannot take it", lambda: np.eye(3) + np.eye(3, k=1)),
    "nonsymmetric-one": Case("nonsymmetric by one entry", lambda: _one_more(12)),
    "advection": Case("upwind", _drawn("advection", 14, 381)),
    "helmholtz": Case("indefinite with a positive diagonal", _drawn("helmholtz", 14, 382)),
    "saddle": Case("saddle point", _drawn("saddle", 6, 383)),
    "skew": Case("skew-symmetric part only", lambda: _skew(40)),
    "zero-row": Case("a row and column of zeros", lambda: _zero_row(10)),
    "zero-matrix": Case("nothing stored", lambda: sparse.csr_array((5, 5))),
    "singular-triangle": Case("structurally singular", lambda: np.eye(6, k=1)),
    "complex": Case("complex symmetric", lambda: poisson(8) * (1 + 0.5j)),
    "hermitian": Case("complex Hermitian", lambda: _hermitian(30)),
    "indefinite-hidden": Case("positive diagonal, one negative eigenvalue", lambda: _hidden(12)),
    "indefinite-small": Case("the same, inverted at once", lambda: _hidden(4)),
    "huge-nonsymmetric": Case("entries near overflow", lambda: _one_more(9) * 1e300),
    "tiny-nonsymmetric": Case("entries near underflow", lambda: _one_more(9) * 1e-300),
    "permutation": Case("a cycle of ones", lambda: np.roll(np.eye(50), 1, axis=0)),
}


def _one_more(k: int) -> sparse.csr_array:
    A = sparse.lil_array(poisson(k))
    A[0, k * k - 1] = 1.0
    return sparse.csr_array(A)


def _skew(n: int) -> sparse.csr_array:
    return sparse.diags_array([-1.0, 1.0], offsets=[-1, 1], shape=(n, n)).tocsr()


def _zero_row(k: int) -> sparse.csr_array:
    A = sparse.lil_array(poisson(k))
    A[3, :] = A[:, 3] = 0.0
    return sparse.csr_array(A)


def _hermitian(n: int) -> sparse.csr_array:
    return sparse.csr_array(path(n) + 1j * _skew(n) * 0.3)


def _hidden(k: int) -> sparse.csr_array:
    return sparse.csr_array(poisson(k) - 1.0 * sparse.eye_array(k * k))


#: One matrix, stored in every way: load must not care.
FORMS: dict[str, Case] = {
    "csr_array": Case("the library's own", lambda A: sparse.csr_array(A)),
    "csr_matrix": Case("`*` is a matrix product here", lambda A: sparse.csr_matrix(A)),
    "csc_array": Case("column-wise", lambda A: sparse.csc_array(A)),
    "coo_matrix": Case("triplets", lambda A: sparse.coo_matrix(A)),
    "bsr_array": Case("blocks", lambda A: sparse.bsr_array(A, blocksize=(2, 2))),
    "bsr_matrix": Case("blocks, old class", lambda A: sparse.bsr_matrix(A, blocksize=(4, 4))),
    "dia_array": Case("diagonals", lambda A: sparse.dia_array(A)),
    "lil_array": Case("lists", lambda A: sparse.lil_array(A)),
    "dok_array": Case("dictionary", lambda A: sparse.dok_array(A)),
    "ndarray": Case("dense", lambda A: A.toarray()),
    "np.matrix": Case("dense, `*` is a matrix product", lambda A: _matrix(A)),
    "fortran": Case("dense, by columns", lambda A: np.asfortranarray(A.toarray())),
    "nested-list": Case("lists of floats", lambda A: A.toarray().tolist()),
    "int64-indices": Case("wide indices", lambda A: _wide(A)),
    "unsorted": Case("columns out of order", lambda A: _unsorted(A)),
    "duplicates": Case("entries in two halves", lambda A: _duplicates(A)),
    "explicit-zeros": Case("stored zeros", lambda A: _explicit_zeros(A)),
    "read-only": Case("memory that may not be written", lambda A: _read_only(A)),
    "strided": Case("a view of every second row", lambda A: _strided(A)),
    "int": Case("integers", lambda A: sparse.csr_array(A.astype(np.int32))),
    "int8": Case("small integers, whose sums overflow", lambda A: A.astype(np.int8)),
    "float32": Case("single precision", lambda A: sparse.csr_array(A.astype(np.float32))),
    "longdouble": Case("extended precision", lambda A: A.astype(np.longdouble)),
    "big-endian": Case("bytes of another machine", lambda A: A.toarray().astype(">f8")),
}


def _matrix(A: sparse.csr_array) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.asmatrix(A.toarray())


def _wide(A: sparse.csr_array) -> sparse.csr_array:
    A = A.copy()
    A.indices, A.indptr = A.indices.astype(np.int64), A.indptr.astype(np.int64)
    return A


def _unsorted(A: sparse.csr_array) -> sparse.csr_array:
    indices, data = A.indices.copy(), A.data.copy()
    for start, stop in zip(A.indptr[:-1], A.indptr[1:], strict=True):
        indices[start:stop] = indices[start:stop][::-1]
        data[start:stop] = data[start:stop][::-1]
    return sparse.csr_array((data, indices, A.indptr), shape=A.shape)


def _duplicates(A: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array(
        (np.repeat(A.data / 2, 2), np.repeat(A.indices, 2), 2 * A.indptr), shape=A.shape
    )


def _explicit_zeros(A: sparse.csr_array) -> sparse.csr_array:
    coo = A.tocoo()
    rows, cols = (np.r_[c, np.arange(A.shape[0])] for c in coo.coords)
    cols[-A.shape[0] :] = cols[-A.shape[0] :][::-1]
    data = np.r_[coo.data, np.zeros(A.shape[0])]
    order = np.argsort(rows, kind="stable")
    indptr = np.r_[0, np.cumsum(np.bincount(rows, minlength=A.shape[0]))]
    return sparse.csr_array((data[order], cols[order], indptr), shape=A.shape)


def _read_only(A: sparse.csr_array) -> sparse.csr_array:
    A = A.copy()
    for part in (A.data, A.indices, A.indptr):
        part.flags.writeable = False
    return A


def _strided(A: sparse.csr_array) -> np.ndarray:
    big = np.zeros((2 * A.shape[0], 3 * A.shape[1]))
    big[::2, ::3] = A.toarray()
    return big[::2, ::3]


def _with(value: float) -> sparse.csr_array:
    A = poisson(6)
    A.data[7] = value
    return A


#: What load refuses, whichever the model.
REFUSED: dict[str, Refused] = {
    "wide": Refused("not square", lambda: np.ones((30, 40)), ValueError, r"square.*\(30, 40\)"),
    "empty": Refused("no rows", lambda: sparse.csr_array((0, 0)), ValueError, "at least one row"),
    "nan": Refused("NaN", lambda: _with(np.nan), ValueError, "NaN at row 2"),
    "infinity": Refused("infinity", lambda: _with(-np.inf), ValueError, "an infinity at row 2"),
    "nan-dense": Refused("NaN, dense", lambda: _with(np.nan).toarray(), ValueError, "NaN at row 2"),
    "vector": Refused("one dimension", lambda: np.ones(4), ValueError, "matrix"),
    "cube": Refused("three dimensions", lambda: np.ones((2, 2, 2)), ValueError, "matrix"),
    "scalar": Refused("a number", lambda: 3.0, TypeError, "sparse array or matrix"),
    "string": Refused("a file name", lambda: "plate.mtx", TypeError, "sparse array or matrix"),
    "objects": Refused("objects", lambda: np.array([[None]]), TypeError, "numbers"),
    "strings": Refused("strings", lambda: np.array([["a"]]), TypeError, "numbers"),
    "ragged": Refused("a ragged list", lambda: [[1.0], [1.0, 2.0]], ValueError, "nested lists"),
}

#: Real matrices, see datasets/matrices/SOURCES.md.
REAL_DEFINITE = (
    "494_bus",
    "airfoil",
    "bar",
    "bcsstk13",
    "bcsstk16",
    "case118_dc",
    "case1354pegase_dc",
    "case2869pegase_dc",
    "digits_knn10",
    "elbow2_elasticity",
    "elbow2_poisson",
    "knot",
    "local_disc_galerkin_diffusion",
    "perfusion_poisson",
    "wntr_net6",
)
REAL_OTHER = (
    "adder_dcop_05",
    "case2869pegase_jacobian",
    "case300_dc",
    "cryg2500",
    "hangGlider_2",
    "helmholtz_2D",
    "olm1000",
    "rajat19",
    "recirc_flow",
    "watt_2",
)
