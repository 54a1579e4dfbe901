"""What a learned M for nonsymmetric A must beat: ILU(0), and PyAMG's multigrid for such A."""

from time import perf_counter

import numpy as np
import pyamg
from numba import njit
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

from neuprecond.checks import as_csr
from neuprecond.classical.base import Preconditioner
from neuprecond.classical.multigrid import GaussSeidelCycle, _alone_with_pyamg, _build
from neuprecond.classical.triangular import Triangle

__all__ = ["OrderedFactors", "air", "flow_order", "ilu0", "smoothed_aggregation_nonsymmetric"]

# A coupling that is so many times the one in the other direction says where the flow comes from.
ONE_WAY = 1.5
# Pivots smaller than this share of their row are replaced by it: a wrong row is better than one
# of 1e300.
LEAST_PIVOT = 1e-4


class OrderedFactors(Preconditioner):
    """M = Qᵀ (L U)⁻¹ Q, Q an order of the unknowns; made by :func:`ilu0`.

    Attributes
    ----------
    lower, upper : Triangle
        L, of unit diagonal, and U.
    order : ndarray of int, shape (n,)
        The unknowns as they were factored.
    """

    def __init__(
        self,
        lower: Triangle,
        upper: Triangle,
        order: np.ndarray,
        *,
        nnz: int,
        name: str,
        setup_seconds: dict[str, float],
    ) -> None:
        super().__init__(
            len(order),
            nnz=nnz,
            name=name,
            multiplications=lower.multiplications + upper.multiplications,
            setup_seconds=setup_seconds,
            symmetric=False,
        )
        self.lower, self.upper, self.order = lower, upper, order

    def _apply(self, R: np.ndarray) -> np.ndarray:
        Z = np.empty_like(R)
        # Taking is twice as fast as indexing.
        Z[self.order] = self.upper.solve(self.lower.solve(R.take(self.order, axis=0)))
        return Z

    def _apply_adjoint(self, R: np.ndarray) -> np.ndarray:
        Z = np.empty_like(R)
        Z[self.order] = self.lower.adjoint().solve(self.upper.adjoint().solve(R[self.order]))
        return Z


def ilu0(A: object, *, order: np.ndarray | None = None) -> OrderedFactors:
    """Incomplete LU without fill: L and U on the pattern of A.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Real, with a whole diagonal.
    order : ndarray of int, shape (n,), or None
        How unknowns are eliminated; by default they follow the flow, see :func:`flow_order`, which
        for a strong wind makes A nearly triangular.

    Returns
    -------
    OrderedFactors, shape (n, n)
        For GMRES or BiCGStab. Apply costs nnz(A) multiplications and n more.

    Raises
    ------
    ValueError
        If A is not square and finite, or has a zero on its diagonal.

    References
    ----------
    Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., SIAM 2003, section 10.3.2.

    Examples
    --------
    >>> A = sparse.csr_array([[4.0, 1.0], [2.0, 5.0]])
    >>> ilu0(A) @ (A @ np.array([1.0, 2.0]))
    array([1., 2.])
    """
    csr = as_csr(A)
    start = perf_counter()
    holes = np.flatnonzero(csr.diagonal() == 0.0)
    if len(holes):
        raise ValueError(
            f"ILU(0) needs a whole diagonal, got a zero in row {holes[0]} ({len(holes)} of "
            f"{csr.shape[0]} rows). Try ilu, which exchanges rows."
        )
    order = flow_order(csr) if order is None else np.asarray(order)
    seconds = {"order": perf_counter() - start}
    start = perf_counter()
    B = sparse.csr_array(csr[order][:, order])
    B.sort_indices()
    values = B.data.copy()
    _factor(B.indptr, B.indices, values)
    factors = sparse.csr_array((values, B.indices, B.indptr), shape=B.shape)
    unit = sparse.csr_array(sparse.tril(factors, k=-1) + sparse.eye_array(B.shape[0]))
    lower = Triangle.of(unit)
    upper = Triangle.of(sparse.csr_array(sparse.triu(factors)), upper=True)
    seconds["factor"] = perf_counter() - start
    return OrderedFactors(lower, upper, order, nnz=csr.nnz, name="ilu0", setup_seconds=seconds)


@njit(cache=True, nogil=True)
def _factor(indptr, indices, values):  # type: ignore[no-untyped-def]
    """Turn A into L and U on its own pattern, row by row; L's unit diagonal is not stored."""
    n = len(indptr) - 1
    place = np.full(n, -1)
    diagonal = np.empty(n, np.int64)
    for i in range(n):
        largest = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            place[indices[p]] = p
            largest = max(largest, abs(values[p]))
            if indices[p] == i:
                diagonal[i] = p
        for p in range(indptr[i], indptr[i + 1]):
            k = indices[p]
            if k >= i:
                break
            multiplier = values[p] / values[diagonal[k]]
            values[p] = multiplier
            for q in range(diagonal[k] + 1, indptr[k + 1]):
                t = place[indices[q]]
                if t >= 0:
                    values[t] -= multiplier * values[q]
        for p in range(indptr[i], indptr[i + 1]):
            place[indices[p]] = -1
        # (Written so that NaN is replaced as well.)
        if not abs(values[diagonal[i]]) > LEAST_PIVOT * largest:
            values[diagonal[i]] = max(largest, 1e-300)


def flow_order(A: sparse.csr_array) -> np.ndarray:
    """Order unknowns such that each comes after those that it takes its value from.

    Row i of an upwind difference has its large entry in the column that the wind blows from. Where
    the wind goes round, some unknown comes too early; where there is none, the order is that of
    Cuthill and McKee. So it does not depend on how A was numbered, up to ties.

    Parameters
    ----------
    A : csr_array, shape (n, n)

    Returns
    -------
    ndarray of int, shape (n,)

    References
    ----------
    J. Bey, G. Wittum, Downwind numbering: robust multigrid for convection-diffusion problems, Appl.
    Numer. Math. 23, 1997.

    Examples
    --------
    >>> A = sparse.csr_array([[2.0, -2.0, 0.0], [0.0, 2.0, -2.0], [0.0, 0.0, 2.0]])
    >>> flow_order(A)
    array([2, 1, 0])
    """
    n = A.shape[0]
    size = abs(A)
    pattern = sparse.csr_array(size + size.T)
    # SciPy's routine knows 32-bit indices only, as all of its graph routines.
    base = reverse_cuthill_mckee(sparse.csr_matrix(pattern), symmetric_mode=True)
    upstream = sparse.csr_array(size - ONE_WAY * size.T)
    upstream.data[upstream.data < 0.0] = 0.0
    upstream.eliminate_zeros()
    rows = np.repeat(np.arange(n), np.diff(upstream.indptr))
    # The strongest first: what closes a circle is then more likely to be weak.
    strongest = np.lexsort((-upstream.data, rows))
    return _visit(
        base.astype(np.int64),
        upstream.indptr.astype(np.int64),
        upstream.indices[strongest].astype(np.int64),
    )


@njit(cache=True, nogil=True)
def _visit(base, indptr, indices):  # type: ignore[no-untyped-def]
    """Depth first from each unknown to those upstream of it; one is listed when they all are."""
    n = len(indptr) - 1
    seen = np.zeros(n, np.bool_)
    listed = np.empty(n, np.int64)
    stack, next_entry = np.empty(n, np.int64), np.empty(n, np.int64)
    count = 0
    for start in base:
        if seen[start]:
            continue
        top = 0
        stack[0], next_entry[0], seen[start] = start, indptr[start], True
        while top >= 0:
            i = stack[top]
            if next_entry[top] == indptr[i + 1]:
                listed[count] = i
                count += 1
                top -= 1
                continue
            j = indices[next_entry[top]]
            next_entry[top] += 1
            if not seen[j]:
                top += 1
                stack[top], next_entry[top], seen[j] = j, indptr[j], True
    return listed


def smoothed_aggregation_nonsymmetric(A: object) -> GaussSeidelCycle:
    """Smoothed aggregation by PyAMG with a restriction of its own, for nonsymmetric A.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Real.

    Returns
    -------
    GaussSeidelCycle, shape (n, n)
        One V(1,1) cycle.

    Raises
    ------
    ValueError
        If PyAMG cannot build a hierarchy, or A is not square and finite.

    References
    ----------
    M. Sala and R. S. Tuminaro, A new Petrov-Galerkin smoothed aggregation preconditioner for
    nonsymmetric linear systems, SIAM J. Sci. Comput. 31 (2008), pp. 143-166.

    Examples
    --------
    >>> A = sparse.diags_array([-2.0, 3.0, -1.0], offsets=[-1, 0, 1], shape=(50, 50)).tocsr()
    >>> smoothed_aggregation_nonsymmetric(A).sizes[0]
    50
    """
    return _build(
        as_csr(A),
        lambda matrix: pyamg.smoothed_aggregation_solver(
            matrix, symmetry="nonsymmetric", strength=("symmetric", {"theta": 0.0})
        ),
        name="sa-nonsymmetric",
    )


class PyAMGCycle(Preconditioner):
    """One cycle of a hierarchy as PyAMG applies it itself."""

    def __init__(
        self,
        made: pyamg.MultilevelSolver,
        *,
        nnz: int,
        name: str,
        multiplications: int,
        setup_seconds: dict[str, float],
    ) -> None:
        super().__init__(
            made.levels[0].A.shape[0],
            nnz=nnz,
            name=name,
            multiplications=multiplications,
            setup_seconds=setup_seconds,
            symmetric=False,
        )
        self.operator = made.aspreconditioner()

    def _apply(self, R: np.ndarray) -> np.ndarray:
        return self.operator @ R

    def _apply_adjoint(self, R: np.ndarray) -> np.ndarray:
        raise NotImplementedError("PyAMG's cycle has no adjoint; take a solver that needs none.")


def air(A: object) -> PyAMGCycle:
    """Multigrid with local approximate ideal restriction (AIR) by PyAMG, made for advection.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Real.

    Returns
    -------
    PyAMGCycle, shape (n, n)
        One V(0,1) cycle with PyAMG's defaults: FFC Jacobi.

    Raises
    ------
    ValueError
        If PyAMG cannot build a hierarchy, or A is not square and finite.

    References
    ----------
    T. A. Manteuffel, J. Ruge, B. S. Southworth, Nonsymmetric algebraic multigrid based on local
    approximate ideal restriction (lAIR), SIAM J. Sci. Comput. 40 (2018), pp. A4105-A4130.

    Examples
    --------
    >>> A = sparse.diags_array([-2.0, 3.0, -1.0], offsets=[-1, 0, 1], shape=(50, 50)).tocsr()
    >>> air(A).shape
    (50, 50)
    """
    csr = as_csr(A)
    start = perf_counter()
    with _alone_with_pyamg():
        try:
            made = pyamg.air_solver(sparse.csr_matrix(csr))
        except Exception as error:
            raise ValueError(
                f"PyAMG could not build a hierarchy for 'air': {type(error).__name__}: {error}. "
                "Try another preconditioner, for example jacobi or ilu."
            ) from error
    # A residual, two sweeps over F rows and one over C rows: at most three products a level.
    work = sum(3 * level.A.nnz + level.P.nnz + level.R.nnz for level in made.levels[:-1])
    work += made.levels[-1].A.shape[0] ** 2
    seconds = {"hierarchy": perf_counter() - start}
    return PyAMGCycle(made, nnz=csr.nnz, name="air", multiplications=work, setup_seconds=seconds)
