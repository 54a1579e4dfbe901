"""PyAMG's multigrid as a person would tune it: the panel that a learned M has to beat."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import pyamg
from numba import njit
from pyamg.util.utils import get_block_diag
from scipy import linalg, sparse
from scipy.sparse.linalg import splu

from neuprecond.checks import SYMMETRY_TOLERANCE, as_csr, asymmetry, require_near_null
from neuprecond.classical.base import Preconditioner
from neuprecond.classical.incomplete import TriangularFactors

__all__ = [
    "GaussSeidelCycle",
    "root_node",
    "ruge_stuben",
    "ruge_stuben_evolution",
    "smoothed_aggregation",
]

# Above this many unknowns the coarsest level is solved by sparse LU instead of a dense inverse.
DENSE_LIMIT = 1000

# Any fixed number serves: PyAMG starts its eigenvalue estimates from random vectors.
SEED = 20110411

_pyamg_lock = threading.Lock()


@dataclass(frozen=True)
class SmoothedLevel:
    """One level but the coarsest: its matrix, its interpolation and what the smoother divides by.

    Attributes
    ----------
    A : csr_array or bsr_array, shape (n, n)
    P, R : csr_array, shapes (n, n_c) and (n_c, n)
    inverse : ndarray, shape (n,) or (n // k, k, k)
        Inverses of the diagonal entries, or of the k × k diagonal blocks.
    """

    A: "sparse.csr_array | sparse.bsr_array"
    P: sparse.csr_array
    R: sparse.csr_array
    inverse: np.ndarray

    def transpose(self) -> "SmoothedLevel":
        """Return the level of Aᵀ."""
        block = self.inverse.ndim == 3
        inverse = self.inverse.transpose(0, 2, 1).copy() if block else self.inverse
        A = self.A.T
        A = sparse.bsr_array(A, blocksize=inverse.shape[1:]) if block else A.tocsr()
        A.sort_indices()
        return SmoothedLevel(A, self.R.T.tocsr(), self.P.T.tocsr(), inverse)

    def smooth(self, B: np.ndarray, X: np.ndarray) -> None:
        """One symmetric Gauss-Seidel sweep for A X = B, forward and back, changing X."""
        A = self.A
        if self.inverse.ndim == 3:
            columns = (-1, 1) if X.ndim == 1 else X.shape
            kernel, B, X = _sweep_blocks, B.reshape(columns), X.reshape(columns)
        else:
            kernel = _sweep_one if X.ndim == 1 else _sweep_many
        for backward in (False, True):
            kernel(A.indptr, A.indices, A.data, self.inverse, backward, B, X)


class GaussSeidelCycle(Preconditioner):
    """M = one V(1,1) cycle with symmetric Gauss-Seidel over PyAMG's levels.

    PyAMG builds the hierarchy; the cycle is applied here, with the same result as PyAMG's
    ``aspreconditioner()`` but to many vectors at once, without its residual norms, and picklable.

    Attributes
    ----------
    levels : list of SmoothedLevel
        All levels but the coarsest, finest first.
    coarsest : ndarray or Preconditioner
        Inverse of the coarsest matrix.
    sizes : list of int
        Unknowns of each level.
    operator_complexity : float
        Stored entries of all levels' matrices over those of A.
    """

    def __init__(
        self,
        levels: list[SmoothedLevel],
        coarsest: "np.ndarray | Preconditioner",
        *,
        scale: float,
        nnz: int,
        name: str,
        multiplications: int,
        operator_complexity: float,
        symmetric: bool,
        setup_seconds: dict[str, float],
    ) -> None:
        self.sizes = [level.A.shape[0] for level in levels] + [coarsest.shape[0]]
        super().__init__(
            self.sizes[0],
            nnz=nnz,
            name=name,
            multiplications=multiplications,
            setup_seconds=setup_seconds,
            symmetric=symmetric,
        )
        self.levels, self.coarsest, self.scale = levels, coarsest, scale
        self.operator_complexity = operator_complexity

    def _apply(self, R: np.ndarray) -> np.ndarray:
        return _cycle(self.levels, self.coarsest, R) * self.scale

    def _apply_adjoint(self, R: np.ndarray) -> np.ndarray:
        if self.symmetric:
            return self._apply(R)
        levels = [level.transpose() for level in self.levels]
        return _cycle(levels, self.coarsest.T, R) * self.scale


def smoothed_aggregation(
    A: object, *, theta: float = 0.0, B: object | None = None
) -> GaussSeidelCycle:
    """Smoothed aggregation multigrid by PyAMG.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Symmetric positive definite (or semidefinite).
    theta : float
        Strength threshold: a_ij counts where |a_ij| >= theta sqrt(a_ii a_jj). 0 is PyAMG's
        default and takes all entries; 0.08 is Vaněk's choice.
    B : array, shape (n, k), or None
        Near-null vectors, for elasticity the rigid body modes; None is the constant.

    Returns
    -------
    GaussSeidelCycle, shape (n, n)
        Symmetric if A is. Apply is one V(1,1) cycle.

    Raises
    ------
    ValueError
        If PyAMG cannot build a hierarchy, A is not square and finite, or B does not fit.

    References
    ----------
    P. Vaněk, J. Mandel and M. Brezina, Algebraic multigrid by smoothed aggregation for second and
    fourth order elliptic problems, Computing 56 (1996), pp. 179-196.

    Examples
    --------
    >>> A = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(50, 50)).tocsr()
    >>> x = np.ones(50)
    >>> bool(np.linalg.norm(smoothed_aggregation(A) @ (A @ x) - x) < 0.5 * np.linalg.norm(x))
    True
    """
    strength = ("symmetric", {"theta": theta})
    csr = as_csr(A)
    near_null = None if B is None else require_near_null(B, csr.shape[0])
    return _build(
        csr,
        lambda matrix: pyamg.smoothed_aggregation_solver(matrix, B=near_null, strength=strength),
        name="sa" + f"{theta:g}".removeprefix("0").removeprefix("."),
    )


def ruge_stuben(A: object) -> GaussSeidelCycle:
    """Classical (Ruge-Stüben) multigrid by PyAMG, strength 0.25.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Best an M-matrix: positive diagonal, no large positive entries off it.

    Returns
    -------
    GaussSeidelCycle, shape (n, n)
        Symmetric if A is. Apply is one V(1,1) cycle.

    Raises
    ------
    ValueError
        If PyAMG cannot build a hierarchy, or A is not square and finite.

    References
    ----------
    J. W. Ruge and K. Stüben, Algebraic multigrid, in: Multigrid Methods, SIAM 1987, pp. 73-130.

    Examples
    --------
    >>> A = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(50, 50)).tocsr()
    >>> ruge_stuben(A).sizes
    [50, 25, 12, 6]
    """
    return _build(as_csr(A), pyamg.ruge_stuben_solver, name="rs")


def ruge_stuben_evolution(A: object, *, epsilon: float = 4.0) -> GaussSeidelCycle:
    """Classical multigrid with PyAMG's evolution measure of strength, which sees anisotropy.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Symmetric positive definite.
    epsilon : float
        Drop tolerance of the measure, above 1: larger keeps more entries.

    Returns
    -------
    GaussSeidelCycle, shape (n, n)
        Symmetric if A is. Apply is one V(1,1) cycle.

    Raises
    ------
    ValueError
        If PyAMG cannot build a hierarchy, or A is not square and finite.

    References
    ----------
    L. N. Olson, J. Schroder and R. S. Tuminaro, A new perspective on strength measures in
    algebraic multigrid, Numer. Linear Algebra Appl. 17 (2010), pp. 713-733.

    Examples
    --------
    >>> A = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(50, 50)).tocsr()
    >>> ruge_stuben_evolution(A).sizes[0]
    50
    """
    strength = ("evolution", {"epsilon": epsilon})
    return _build(
        as_csr(A),
        lambda matrix: pyamg.ruge_stuben_solver(matrix, strength=strength),
        name="rs-evolution",
    )


def root_node(A: object, *, B: object | None = None, epsilon: float = 2.0) -> GaussSeidelCycle:
    """Root-node multigrid by PyAMG: evolution strength and energy-minimising interpolation.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Symmetric positive definite (or semidefinite).
    B : array, shape (n, k), or None
        Near-null vectors, for elasticity the rigid body modes; None is the constant.
    epsilon : float
        Drop tolerance of the strength measure, above 1: larger keeps more entries.

    Returns
    -------
    GaussSeidelCycle, shape (n, n)
        Symmetric if A is. Apply is one V(1,1) cycle.

    Raises
    ------
    ValueError
        If PyAMG cannot build a hierarchy, A is not square and finite, or B does not fit.

    References
    ----------
    T. A. Manteuffel, L. N. Olson, J. B. Schroder and B. S. Southworth, A root-node-based algebraic
    multigrid method, SIAM J. Sci. Comput. 39 (2017), pp. S723-S756.

    Examples
    --------
    >>> A = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(50, 50)).tocsr()
    >>> root_node(A).sizes[0]
    50
    """
    csr = as_csr(A)
    near_null = None if B is None else require_near_null(B, csr.shape[0])
    return _build(
        csr,
        lambda matrix: pyamg.rootnode_solver(
            matrix,
            B=near_null,
            strength=("evolution", {"epsilon": epsilon}),
            smooth=("energy", {"degree": 2, "maxiter": 3}),
        ),
        name="root-node",
    )


def _build(
    A: sparse.csr_array,
    make: Callable[[sparse.csr_matrix], pyamg.MultilevelSolver],
    *,
    name: str,
) -> GaussSeidelCycle:
    """Let PyAMG make the hierarchy and take from it what the cycle needs."""
    start = perf_counter()
    # A power of two near the largest entry: exact, and PyAMG never sees 1e-300 or 1e300.
    scale = 2.0 ** min(-float(np.frexp(abs(A).max() or 1.0)[1]), 1023.0)
    # PyAMG still uses * between matrices here and there, which csr_array takes for elementwise.
    matrix = sparse.csr_matrix(A * scale)
    with _alone_with_pyamg():
        try:
            made = make(matrix)
            entries = [int(level.A.nnz) for level in made.levels]
            work = sum(5 * level.A.nnz + 2 * level.P.nnz for level in made.levels[:-1])
            levels = [_smoothed_level(level) for level in made.levels[:-1]]
        except Exception as error:
            raise ValueError(
                f"PyAMG could not build a hierarchy for {name!r}: {type(error).__name__}: {error}. "
                "Try another preconditioner, for example jacobi or ilu."
            ) from error
    for level in levels:
        if not (np.isfinite(level.A.data).all() and np.isfinite(level.P.data).all()):
            raise ValueError(
                f"PyAMG's hierarchy for {name!r} holds a NaN or an infinity. A is far from what "
                "it is made for; try another preconditioner, for example jacobi or ilu."
            )
    symmetric = asymmetry(A) <= SYMMETRY_TOLERANCE
    seconds = {"hierarchy": perf_counter() - start}

    start = perf_counter()
    last = sparse.csr_array(made.levels[-1].A)
    coarsest = _coarsest_inverse(last, symmetric)
    work += round(
        coarsest.size if isinstance(coarsest, np.ndarray) else coarsest.density * last.nnz
    )
    seconds["coarsest"] = perf_counter() - start
    return GaussSeidelCycle(
        levels,
        coarsest,
        scale=scale,
        nnz=A.nnz,
        name=name,
        multiplications=work,
        operator_complexity=sum(entries) / max(A.nnz, 1),
        symmetric=symmetric,
        setup_seconds=seconds,
    )


@contextmanager
def _alone_with_pyamg() -> Iterator[None]:
    """Keep PyAMG's random numbers and warnings from reaching the caller, or changing with him.

    PyAMG draws from NumPy's global generator: it is seeded here and put back. Both that state and
    the filters of ``warnings`` belong to the whole process, so only one setup runs at a time; a
    thread that draws global random numbers or warns during a setup is still disturbed.
    """
    with _pyamg_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(SEED)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _smoothed_level(level: "pyamg.MultilevelSolver.Level") -> SmoothedLevel:
    P, R = sparse.csr_array(level.P), sparse.csr_array(level.R)
    if level.A.format == "bsr" and level.A.blocksize[0] > 1:
        A = sparse.bsr_array(level.A)
        A.sort_indices()
        k = A.blocksize[0]
        return SmoothedLevel(A, P, R, get_block_diag(level.A, blocksize=k, inv_flag=True))
    A = sparse.csr_array(level.A)
    A.sort_indices()
    d = A.diagonal()
    # Like PyAMG, the sweep leaves out a row without diagonal.
    return SmoothedLevel(A, P, R, np.divide(1.0, d, out=np.zeros_like(d), where=d != 0))


def _coarsest_inverse(A: sparse.csr_array, symmetric: bool) -> "np.ndarray | Preconditioner":
    """Invert densely, by pseudo-inverse as PyAMG does, or by sparse LU where that is too large."""
    if A.shape[0] <= DENSE_LIMIT:
        inverse = linalg.pinv(A.toarray())
        return 0.5 * (inverse + inverse.T) if symmetric else inverse
    try:
        lu = splu(A.tocsc())
    except RuntimeError:
        # A singular A that did not coarsen: the smallest shift that sparse LU can work with.
        lu = splu((A + 1e-12 * abs(A).max() * sparse.eye_array(A.shape[0])).tocsc())
    return TriangularFactors(lu, nnz=A.nnz, name="coarsest", setup_seconds={})


def _cycle(
    levels: list[SmoothedLevel], coarsest: "np.ndarray | Preconditioner", B: np.ndarray
) -> np.ndarray:
    """One V(1,1) cycle for A X = B from X = 0, B of shape (n,) or (n, k)."""
    if not levels:
        return coarsest @ B
    level = levels[0]
    X = np.zeros_like(B)
    level.smooth(B, X)
    X += level.P @ _cycle(levels[1:], coarsest, level.R @ (B - level.A @ X))
    level.smooth(B, X)
    return X


# As for triangles: the kernel for many columns would slow down a single one.
@njit(cache=True, nogil=True)
def _sweep_one(indptr, indices, data, inverse, backward, b, x):  # type: ignore[no-untyped-def]
    n = len(inverse)
    for t in range(n):
        i = n - 1 - t if backward else t
        total = b[i]
        for p in range(indptr[i], indptr[i + 1]):
            total -= data[p] * x[indices[p]]
        x[i] += total * inverse[i]


@njit(cache=True, nogil=True)
def _sweep_many(indptr, indices, data, inverse, backward, B, X):  # type: ignore[no-untyped-def]
    n, columns = X.shape
    total = np.empty(columns)
    for t in range(n):
        i = n - 1 - t if backward else t
        total[:] = B[i]
        for p in range(indptr[i], indptr[i + 1]):
            value, j = data[p], indices[p]
            for c in range(columns):
                total[c] -= value * X[j, c]
        for c in range(columns):
            X[i, c] += total[c] * inverse[i]


@njit(cache=True, nogil=True)
def _sweep_blocks(indptr, indices, data, inverse, backward, B, X):  # type: ignore[no-untyped-def]
    m, k, _ = inverse.shape
    columns = X.shape[1]
    total = np.empty((k, columns))
    for t in range(m):
        i = m - 1 - t if backward else t
        for u in range(k):
            total[u] = B[i * k + u]
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            # The own block is left out, not subtracted: a singular one has only a pseudo-inverse.
            if j == i:
                continue
            for u in range(k):
                for v in range(k):
                    for c in range(columns):
                        total[u, c] -= data[p, u, v] * X[j * k + v, c]
        for u in range(k):
            for c in range(columns):
                value = 0.0
                for v in range(k):
                    value += inverse[i, u, v] * total[v, c]
                X[i * k + u, c] = value
