"""Incomplete factorisations: IC(0), relaxed modified IC(0), and ILU with a drop tolerance."""

from time import perf_counter
from typing import Any

import numpy as np
from numba import njit
from scipy import sparse
from scipy.sparse.linalg import SuperLU, spilu

from neuprecond.checks import (
    SYMMETRY_TOLERANCE,
    as_csr,
    asymmetry,
    require_definite_diagonal,
    require_symmetric,
)
from neuprecond.classical.base import Preconditioner
from neuprecond.classical.triangular import Triangle
from neuprecond.errors import NotDefiniteError

__all__ = ["IncompleteCholesky", "TriangularFactors", "ic0", "ilu", "mic0"]

# The first shift after a breakdown, relative to a unit diagonal; each further one is twice that.
FIRST_SHIFT = 1e-3


class IncompleteCholesky(Preconditioner):
    """M = (L Lᵀ)⁻¹ from a sparse lower triangular L; made by :func:`ic0` and :func:`mic0`.

    Attributes
    ----------
    lower, upper : Triangle
        L and Lᵀ.
    shift : float
        What was added to the diagonal of A (scaled to 1) so that the factorisation did not break
        down; 0 if nothing.
    keeps : str
        Which row sums L Lᵀ has in common with A (up to the relaxation); empty for IC(0).
    """

    def __init__(
        self,
        lower: Triangle,
        upper: Triangle,
        *,
        shift: float,
        keeps: str,
        nnz: int,
        name: str,
        setup_seconds: dict[str, float],
    ) -> None:
        super().__init__(
            lower.strict.shape[0],
            nnz=nnz,
            name=name,
            multiplications=lower.multiplications + upper.multiplications,
            setup_seconds=setup_seconds,
        )
        self.lower, self.upper, self.shift, self.keeps = lower, upper, shift, keeps

    def _apply(self, R: np.ndarray) -> np.ndarray:
        return self.upper.solve(self.lower.solve(R))

    def __repr__(self) -> str:
        shifted = f", diagonal shifted by {self.shift:g}" if self.shift else ""
        return super().__repr__()[:-1] + shifted + ">"


class TriangularFactors(Preconditioner):
    """M = Q (L U)⁻¹ P from SuperLU's factors, P and Q permutations; made by :func:`ilu`.

    SuperLU's own object cannot be pickled and solves in one order only, so we keep its factors.
    """

    def __init__(
        self, lu: SuperLU, *, nnz: int, name: str, setup_seconds: dict[str, float]
    ) -> None:
        lower, upper = Triangle.of(lu.L), Triangle.of(lu.U, upper=True)
        super().__init__(
            lu.shape[0],
            nnz=nnz,
            name=name,
            # L has a unit diagonal, which costs nothing in principle and n in our kernel.
            multiplications=lower.multiplications + upper.multiplications,
            setup_seconds=setup_seconds,
            symmetric=False,
            dtype=upper.strict.dtype.type,
        )
        self.lower, self.upper = lower, upper
        self.rows, self.cols = np.argsort(lu.perm_r), lu.perm_c.copy()

    def _apply(self, R: np.ndarray) -> np.ndarray:
        # Taking is twice as fast as indexing.
        first = self.lower.solve(R.take(self.rows, axis=0))
        return self.upper.solve(first).take(self.cols, axis=0)

    def _apply_adjoint(self, R: np.ndarray) -> np.ndarray:
        moved = np.empty_like(R)
        moved[self.cols] = R
        solved = self.lower.adjoint().solve(self.upper.adjoint().solve(moved))
        result = np.empty_like(solved)
        result[self.rows] = solved
        return result


def ic0(A: object) -> IncompleteCholesky:
    """Incomplete Cholesky without fill: A ≈ L Lᵀ, L on the lower triangle of A.

    A is scaled to unit diagonal first and the scaling is undone in L. If a pivot is not positive,
    the factorisation is repeated on A + α diag(A) with α = 0.001, 0.002, 0.004, ... until it
    succeeds; the result's ``shift`` is the α used.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Symmetric with a positive diagonal.

    Returns
    -------
    IncompleteCholesky, shape (n, n)
        Symmetric positive definite. Apply costs 2 nnz(L) multiplications in two triangular solves.

    Raises
    ------
    NotDefiniteError
        If A is not symmetric or a diagonal entry is not positive.
    ValueError
        If A is not square and finite.

    References
    ----------
    J. A. Meijerink and H. A. van der Vorst, An iterative solution method for linear systems of
    which the coefficient matrix is a symmetric M-matrix, Math. Comp. 31 (1977), pp. 148-162; for
    the shift T. A. Manteuffel, Math. Comp. 34 (1980), pp. 473-497.

    Examples
    --------
    >>> A = sparse.csr_array([[4.0, 2.0], [2.0, 5.0]])
    >>> ic0(A) @ (A @ np.array([1.0, 2.0]))  # no fill was dropped, so M is the inverse
    array([1., 2.])
    """
    return _cholesky(A, relaxation=0.0, name="ic0")


def mic0(A: object, *, relaxation: float = 0.99) -> IncompleteCholesky:
    """Relaxed modified incomplete Cholesky: the dropped fill goes to the diagonal.

    Each dropped entry of row i, times the relaxation, is added to the diagonal entry instead, so
    that with relaxation 1 the product L Lᵀ has the row sums of A. On smooth elliptic problems this
    turns O(1/h) iterations into O(h^-1/2); slightly below 1 it also stands rough coefficients.
    If that breaks down, which a badly scaled A can bring about, the row sums of A scaled to unit
    diagonal are kept instead, and then the diagonal is shifted as in :func:`ic0`; the result's
    ``keeps`` and ``shift`` tell.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Symmetric with a positive diagonal.
    relaxation : float
        From 0, which is IC(0), to 1.

    Returns
    -------
    IncompleteCholesky, shape (n, n)
        Symmetric positive definite, at the cost of IC(0).

    Raises
    ------
    NotDefiniteError
        If A is not symmetric or a diagonal entry is not positive.
    ValueError
        If the relaxation is out of range, or A is not square and finite.

    References
    ----------
    I. Gustafsson, A class of first order factorization methods, BIT 18 (1978), pp. 142-156;
    Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., SIAM 2003, section 10.3.5.

    Examples
    --------
    >>> A = sparse.csr_array([[4.0, 2.0], [2.0, 5.0]])
    >>> mic0(A) @ (A @ np.array([1.0, 2.0]))
    array([1., 2.])
    """
    if not 0.0 <= relaxation <= 1.0:
        raise ValueError(f"relaxation must lie between 0 and 1, got {relaxation}.")
    return _cholesky(A, relaxation=relaxation, name="mic0")


def ilu(A: object, *, drop_tol: float = 1e-4, fill_factor: float = 10.0) -> TriangularFactors:
    """Incomplete LU with a drop tolerance, by SuperLU.

    A symmetric A with a positive diagonal is factored in SuperLU's symmetric mode: ordered by
    minimum degree on A + Aᵀ and without exchange of rows. With SciPy's default, made for
    unsymmetric matrices, CG on the 64 × 64 Poisson problem does not converge at all (and GMRES
    takes 80 iterations); in symmetric mode both take 5, and the factors are smaller.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Any nonsingular matrix, real or complex.
    drop_tol : float
        Entries below this fraction of their column's norm are dropped, 0 to 1.
    fill_factor : float
        Most entries of the factors over the entries of A, at least 1.

    Returns
    -------
    TriangularFactors, shape (n, n)
        Symmetric at best up to the drop tolerance: meant for GMRES or BiCGStab, and for CG only
        where the drop tolerance is small. Apply costs nnz(L) + nnz(U) multiplications in two
        triangular solves.

    Raises
    ------
    ValueError
        If SuperLU meets a zero pivot, an option is out of range, or A is not square and finite.

    References
    ----------
    X. S. Li and M. Shao, A supernodal approach to incomplete LU factorization with partial
    pivoting, ACM Trans. Math. Softw. 37 (2011), article 43.

    Examples
    --------
    >>> A = sparse.csr_array([[0.0, 2.0], [4.0, 1.0]])
    >>> ilu(A) @ (A @ np.array([1.0, 2.0]))
    array([1., 2.])
    """
    if not 0.0 <= drop_tol <= 1.0:
        raise ValueError(f"drop_tol must lie between 0 and 1, got {drop_tol}.")
    if fill_factor < 1.0:
        raise ValueError(f"fill_factor must be at least 1, got {fill_factor}.")
    csr = as_csr(A, allow_complex=True)
    start = perf_counter()
    settings: dict[str, Any] = {}
    if asymmetry(csr) <= SYMMETRY_TOLERANCE and np.all(csr.diagonal() > 0):
        settings = {
            "permc_spec": "MMD_AT_PLUS_A",
            "diag_pivot_thresh": 0.0,
            "options": {"SymmetricMode": True},
        }
    try:
        lu = spilu(csr.tocsc(), drop_tol=drop_tol, fill_factor=fill_factor, **settings)
    except RuntimeError as error:
        raise ValueError(
            f"ILU broke down: SuperLU says {str(error)!r}. A is singular or nearly so; "
            "try a smaller drop_tol, or add a small multiple of the identity to A."
        ) from error
    seconds = {"factor": perf_counter() - start}
    return TriangularFactors(lu, nnz=csr.nnz, name="ilu", setup_seconds=seconds)


def _cholesky(A: object, *, relaxation: float, name: str) -> IncompleteCholesky:
    """Scale, factor, shift and repeat where that breaks down, unscale."""
    csr = as_csr(A)
    who = {"ic0": "IC(0)", "mic0": "MIC(0)"}[name]
    start = perf_counter()
    require_symmetric(csr, who=who)
    require_definite_diagonal(csr, who=who)
    n = csr.shape[0]
    root = np.sqrt(csr.diagonal())
    # Row k of the strict upper triangle is column k of L, in the order the kernel needs it.
    pattern = sparse.csr_array(sparse.triu(csr, k=1))
    pattern.sort_indices()
    rows = np.repeat(np.arange(n), np.diff(pattern.indptr))
    with np.errstate(over="ignore"):
        scaled = (pattern.data / root[rows]) / root[pattern.indices]
    if not np.isfinite(scaled).all():
        i = rows[np.flatnonzero(~np.isfinite(scaled))[0]]
        raise NotDefiniteError(
            f"{who} needs a positive definite A; row {i} has an entry that is infinite beside its "
            "diagonal (scaled to 1).",
            'Try load("auto", A) with MINRES or GMRES.',
        )
    seconds = {"scale": perf_counter() - start}

    start = perf_counter()
    # What (L Lᵀ) v = A v is kept for: v = 1, which the scaling has turned into ``root``.
    shift, v, keeps = 0.0, root, "row sums of A" if relaxation > 0.0 else ""
    while True:
        values, diagonal = scaled.copy(), np.full(n, 1.0 + shift)
        if _factor(pattern.indptr, pattern.indices, values, diagonal, v, relaxation):
            break
        if keeps == "row sums of A":
            v, keeps = np.ones(n), "row sums of A scaled to unit diagonal"
        else:
            # This ends, at the latest when the pivots are so large that all fill is small.
            shift = max(FIRST_SHIFT, 2.0 * shift)
    seconds["factor"] = perf_counter() - start

    strict = sparse.csr_array(
        (values * root[pattern.indices], pattern.indices, pattern.indptr), (n, n)
    )
    inverse = 1.0 / (diagonal * root)
    upper = Triangle(strict, inverse, upper=True)
    return IncompleteCholesky(
        upper.adjoint(),
        upper,
        shift=shift,
        keeps=keeps,
        nnz=csr.nnz,
        name=name,
        setup_seconds=seconds,
    )


# Always our own kernel, also where the faster ilupp is installed: one count on every machine.
@njit(cache=True, nogil=True)
def _factor(indptr, indices, data, diagonal, v, relaxation):  # type: ignore[no-untyped-def]
    """Turn columns of A's lower triangle into columns of L in place; whether all pivots were sound.

    Right-looking: when column k is done, it is subtracted from all later ones, where the pattern
    has room; what has none goes to the diagonal, times the relaxation, so that (L Lᵀ) v stays
    what it was.
    """
    n = len(diagonal)
    column = np.zeros(n)
    kept = np.zeros(n)
    for k in range(n):
        # Below n ulps of the unit diagonal a pivot is rounding, and its inverse would be noise.
        # (Written so that NaN, from a sum that overflowed, fails as well.)
        if not diagonal[k] > n * 2.3e-16:
            return False
        pivot = np.sqrt(diagonal[k])
        diagonal[k] = pivot
        start, stop = indptr[k], indptr[k + 1]
        total = 0.0
        for p in range(start, stop):
            data[p] /= pivot
            column[indices[p]] = data[p]
            total += data[p] * v[indices[p]]
        for p in range(start, stop):
            j = indices[p]
            diagonal[j] -= data[p] * data[p]
            for q in range(indptr[j], indptr[j + 1]):
                i = indices[q]
                if column[i] != 0.0:
                    update = data[p] * column[i]
                    data[q] -= update
                    kept[i] += update * v[j]
                    kept[j] += update * v[i]
        for p in range(start, stop):
            j = indices[p]
            # The whole row of fill from column k, less its diagonal and what had room.
            if relaxation > 0.0:
                moved = data[p] * (total - data[p] * v[j]) - kept[j]
                diagonal[j] -= relaxation * moved / v[j]
            column[j] = 0.0
            kept[j] = 0.0
    return True
