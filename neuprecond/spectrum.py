"""The ends of a spectrum by Lanczos, with what is known of their errors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

__all__ = ["Ends", "ends"]

# Dense up to so many unknowns.
DENSE = 400
# A direction this small is rounding: the Krylov space is exhausted.
EXHAUSTED = 1e-14


@dataclass(frozen=True)
class Ends:
    """The outermost eigenvalues of a symmetric matrix, as far as they were found.

    Attributes
    ----------
    low, high : float
        Ritz values: the smallest eigenvalue is not above ``low``, the largest not below ``high``.
    low_error, high_error : float
        Some eigenvalue is this near to them (the residual of the Ritz vector); 0 where they were
        computed densely.
    steps : int
        Lanczos steps; as many as unknowns where they were computed densely.
    settled : bool
        The smaller one changed by less than a percent while the steps doubled, or is exact.
    jacobi : int
        CG steps that reduce the residual of a random right-hand side by 1e-8; 0 if they were not
        reached. With A scaled to a unit diagonal: what Jacobi takes.
    """

    low: float
    high: float
    low_error: float
    high_error: float
    steps: int
    settled: bool
    jacobi: int


def ends(
    A: sparse.csr_array,
    *,
    most: int = 1600,
    project: Callable[[np.ndarray], np.ndarray] | None = None,
    count: bool = False,
) -> Ends:
    """Estimate the smallest and the largest eigenvalue from inside.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric, or Hermitian.
    most : int
        Lanczos steps; fewer on very large A.
    project : callable, optional
        Takes the components along known null vectors out of a vector: then they count as absent.
    count : bool
        Go on until ``jacobi`` is known too, if the steps suffice.

    Returns
    -------
    Ends

    References
    ----------
    Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., SIAM 2003, section 6.7.3.
    B. N. Parlett, The Symmetric Eigenvalue Problem, SIAM 1998, theorem 4.5.1: the error bound.

    Examples
    --------
    >>> found = ends(sparse.csr_array(np.diag([1.0, 2.0, 4.0])))
    >>> found.low, found.high, found.low_error
    (1.0, 4.0, 0.0)
    """
    n = A.shape[0]
    if n <= DENSE and project is None:
        values = np.linalg.eigvalsh(A.toarray())
        return Ends(float(values[0]), float(values[-1]), 0.0, 0.0, n, True, _count(A))
    steps = min(n, most, max(200, 10**8 // n))
    alpha, beta = np.zeros(steps), np.zeros(steps)
    q, before = np.random.default_rng(n).standard_normal(n).astype(A.dtype), np.zeros(n)
    if project is not None:
        q = project(q)
    norm = float(np.linalg.norm(q))
    if norm <= EXHAUSTED * np.sqrt(n):
        return Ends(0.0, 0.0, 0.0, 0.0, 0, True, 0)
    q = q / norm
    smallest, check, residual = np.inf, 50, _Residual()
    for k in range(steps):
        w = A @ q - (beta[k - 1] if k else 0.0) * before
        alpha[k] = np.vdot(q, w).real
        w = w - alpha[k] * q
        if project is not None:
            w = project(w)
        beta[k] = np.linalg.norm(w)
        residual.step(alpha[k], beta[k])
        exhausted = beta[k] <= EXHAUSTED
        last = k + 1 == steps or exhausted
        if k + 1 == check or last:
            (low, low_last), (high, high_last) = _ritz_ends(alpha[: k + 1], beta[:k])
            settled = exhausted or low > 0.99 * smallest
            enough = settled and not (count and residual.open)
            if last or low <= 0.0 or enough:
                errors = beta[k] * low_last, beta[k] * high_last
                return Ends(low, high, *errors, k + 1, settled, residual.steps)
            smallest, check = low, 2 * check
        before, q = q, w / beta[k]
    raise AssertionError("the loop returns")


class _Residual:
    """What CG's relative residual would be, from the numbers of Lanczos: LDLᵀ of the T matrix."""

    def __init__(self) -> None:
        self.steps, self._taken = 0, 0
        self._pivot, self._beta, self._y, self._lost = 0.0, 0.0, 1.0, False

    @property
    def open(self) -> bool:
        """Whether more steps may tell."""
        return not (self.steps or self._lost)

    def step(self, alpha: float, beta: float) -> None:
        """Take in the numbers of one Lanczos step."""
        if not self.open:
            return
        self._taken += 1
        if self._taken == 1:
            self._pivot = alpha
        else:
            share = self._beta / self._pivot
            self._pivot = alpha - share * self._beta
            self._y *= -share
        if self._pivot <= 0.0:
            self._lost = True
            return
        # The last entry of T⁻¹ e₁ times the next direction's length.
        if abs(beta * self._y / self._pivot) <= 1e-8:
            self.steps = self._taken
        self._beta = beta


def _count(A: sparse.csr_array) -> int:
    """CG steps on a random right-hand side, for a small A."""
    n = A.shape[0]
    r = np.random.default_rng(n).standard_normal(n).astype(A.dtype)
    p, first = r.copy(), float(np.linalg.norm(r))
    product = first**2
    for step in range(1, 10 * n + 1):
        q = A @ p
        curvature = np.vdot(p, q).real
        if not 0.0 < curvature < np.inf:
            return 0
        r = r - (product / curvature) * q
        before, product = product, np.vdot(r, r).real
        # Next to the overflow limit nothing can be told.
        if not 0.0 < before < np.inf or not product < np.inf:
            return 0
        if np.sqrt(product) <= 1e-8 * first:
            return step
        p = r + (product / before) * p
    return 0


def _ritz_ends(
    alpha: np.ndarray, beta: np.ndarray
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Smallest and largest eigenvalue of T, each with the last entry of its vector."""
    last = len(alpha) - 1
    found = []
    for place in (0, last):
        value, vector = linalg.eigh_tridiagonal(
            alpha, beta, select="i", select_range=(place, place)
        )
        found.append((float(value[0]), float(abs(vector[-1, 0]))))
    return found[0], found[1]
