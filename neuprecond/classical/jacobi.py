"""No preconditioner, Jacobi and SSOR: the cheapest M, and the ones each other must beat."""

from time import perf_counter

import numpy as np
from scipy import sparse

from neuprecond.checks import SYMMETRY_TOLERANCE, as_csr, asymmetry
from neuprecond.classical.base import Preconditioner
from neuprecond.classical.triangular import Triangle

__all__ = ["jacobi", "none", "ssor"]


class Diagonal(Preconditioner):
    """M = diag(values), or the identity if there are none; made by :func:`jacobi`."""

    def __init__(
        self,
        n: int,
        values: np.ndarray | None,
        *,
        nnz: int,
        name: str,
        setup_seconds: dict[str, float],
        dtype: type = np.float64,
    ) -> None:
        super().__init__(
            n,
            nnz=nnz,
            name=name,
            multiplications=0 if values is None else n,
            setup_seconds=setup_seconds,
            symmetric=values is None or not np.iscomplexobj(values),
            dtype=dtype,
        )
        self.values = values

    def _apply_adjoint(self, R: np.ndarray) -> np.ndarray:
        return self._apply(R.conj()).conj()

    def _apply(self, R: np.ndarray) -> np.ndarray:
        if self.values is None:
            return R.copy()
        return self.values * R if R.ndim == 1 else self.values[:, None] * R


class SymmetricSweep(Preconditioner):
    """M = (D/ω + U)⁻¹ D (D/ω + L)⁻¹ (2 - ω)/ω; made by :func:`ssor`."""

    def __init__(
        self,
        lower: Triangle,
        upper: Triangle,
        middle: np.ndarray,
        *,
        nnz: int,
        symmetric: bool,
        setup_seconds: dict[str, float],
    ) -> None:
        super().__init__(
            len(middle),
            nnz=nnz,
            name="ssor",
            multiplications=lower.multiplications + upper.multiplications + len(middle),
            setup_seconds=setup_seconds,
            symmetric=symmetric,
        )
        self.lower, self.upper, self.middle = lower, upper, middle

    def _sweep(self, first: Triangle, second: Triangle, R: np.ndarray) -> np.ndarray:
        half = first.solve(R)
        half *= self.middle if R.ndim == 1 else self.middle[:, None]
        return second.solve(half)

    def _apply(self, R: np.ndarray) -> np.ndarray:
        return self._sweep(self.lower, self.upper, R)

    def _apply_adjoint(self, R: np.ndarray) -> np.ndarray:
        return self._sweep(self.upper.adjoint(), self.lower.adjoint(), R)


def none(A: object) -> Preconditioner:
    """Keep r as it is: M = I, so that a table has a row without preconditioner.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Only its shape matters.

    Returns
    -------
    Preconditioner, shape (n, n)
        The identity. Apply costs no multiplication.

    Raises
    ------
    ValueError
        If A is not square and finite.

    Examples
    --------
    >>> none(np.eye(2)) @ np.array([1.0, 2.0])
    array([1., 2.])
    """
    csr = as_csr(A, allow_complex=True)
    return Diagonal(
        csr.shape[0], None, nnz=csr.nnz, name="none", setup_seconds={}, dtype=csr.dtype.type
    )


def jacobi(A: object, *, omega: float = 1.0) -> Preconditioner:
    """Damped Jacobi: M = ω D⁻¹, D the diagonal of A.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        No zero on the diagonal; real or complex.
    omega : float
        Damping ω, above 0.

    Returns
    -------
    Preconditioner, shape (n, n)
        Definite if D is positive. Apply costs n multiplications.

    Raises
    ------
    ValueError
        If a diagonal entry is zero, ω is not positive, or A is not square and finite.

    References
    ----------
    Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., SIAM 2003, section 4.1.

    Examples
    --------
    >>> M = jacobi(sparse.diags_array([2.0, 4.0]).tocsr())
    >>> M @ np.array([1.0, 1.0])
    array([0.5 , 0.25])
    """
    if not omega > 0:
        raise ValueError(f"omega must be above 0, got {omega}.")
    csr = as_csr(A, allow_complex=True)
    start = perf_counter()
    d = _full_diagonal(csr, who="Jacobi")
    values = omega / d
    seconds = {"diagonal": perf_counter() - start}
    dtype = csr.dtype.type
    return Diagonal(len(d), values, nnz=csr.nnz, name="jacobi", setup_seconds=seconds, dtype=dtype)


def ssor(A: object, *, omega: float = 1.0) -> Preconditioner:
    """Symmetric successive over-relaxation: M = (D/ω + U)⁻¹ D (D/ω + L)⁻¹ (2 - ω)/ω.

    A = L + D + U, L and U strictly triangular. With ω = 1 it is symmetric Gauss-Seidel.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        No zero on the diagonal.
    omega : float
        Relaxation ω, between 0 and 2 (both excluded).

    Returns
    -------
    Preconditioner, shape (n, n)
        Symmetric if A is, definite if D is positive too. Apply costs nnz(A) + 2 n
        multiplications in two triangular solves.

    Raises
    ------
    ValueError
        If a diagonal entry is zero, ω is out of range, or A is not square and finite.

    References
    ----------
    Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., SIAM 2003, section 10.2.

    Examples
    --------
    >>> M = ssor(sparse.csr_array([[2.0, -1.0], [-1.0, 2.0]]))
    >>> M @ np.array([2.0, 0.0])
    array([1.25, 0.5 ])
    """
    if not 0 < omega < 2:
        raise ValueError(f"omega must lie between 0 and 2 (both excluded), got {omega}.")
    csr = as_csr(A)
    start = perf_counter()
    d = _full_diagonal(csr, who="SSOR")
    lower, upper = Triangle.of(csr), Triangle.of(csr, upper=True)
    pivots = omega / d
    lower = Triangle(lower.strict, pivots)
    upper = Triangle(upper.strict, pivots, upper=True)
    symmetric = asymmetry(csr) <= SYMMETRY_TOLERANCE
    seconds = {"triangles": perf_counter() - start}
    return SymmetricSweep(
        lower,
        upper,
        (2.0 - omega) / omega * d,
        nnz=csr.nnz,
        symmetric=symmetric,
        setup_seconds=seconds,
    )


def _full_diagonal(A: sparse.csr_array, *, who: str) -> np.ndarray:
    """Return the diagonal of A, all of which can be divided by."""
    d = A.diagonal()
    with np.errstate(divide="ignore", over="ignore"):
        bad = np.flatnonzero(~np.isfinite(1.0 / d))
    if len(bad):
        i = bad[0]
        raise ValueError(
            f"{who} divides by the diagonal, got {d[i]:.3g} in row {i} "
            f"({len(bad)} of {len(d)} rows). Use M=None, or ilu, which exchanges rows."
        )
    return d
