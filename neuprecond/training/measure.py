"""Counting iterations in training: fractions of a step, so that small gains show."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

__all__ = ["CAP", "RTOL", "fractional", "fractional_count"]

RTOL = 1e-8
CAP = 300


def fractional_count(
    A: sparse.csr_array, b: np.ndarray, M: LinearOperator, *, cap: int = CAP
) -> float:
    """CG iterations to a relative residual of 1e-8, the last one in part.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric positive definite.
    b : ndarray, shape (n,)
        Right-hand side, not zero.
    M : LinearOperator, shape (n, n)
        Preconditioner.
    cap : int
        Iterations after which the count is the cap.

    Returns
    -------
    float
        Steps before the tolerance was met plus the share of the last step that, on a logarithmic
        scale of residuals, would have sufficed.

    Examples
    --------
    >>> A = sparse.csr_array(np.diag([1.0, 2.0, 3.0]))
    >>> 2.0 < fractional_count(A, np.ones(3), sparse.linalg.aslinearoperator(np.eye(3))) <= 3.0
    True
    """
    norm = float(np.linalg.norm(b))
    residuals = [1.0]

    def record(x: np.ndarray) -> None:
        residuals.append(float(np.linalg.norm(b - A @ x)) / norm)

    _, info = cg(A, b, rtol=RTOL, maxiter=cap, M=M, callback=record)
    if info != 0 or not residuals[-1] <= 10 * RTOL:
        return float(cap)
    return fractional(residuals, cap)


def fractional(residuals: Sequence[float] | np.ndarray, cap: int) -> float:
    """Steps before the tolerance was met and the share of the last one that would have sufficed.

    Parameters
    ----------
    residuals : sequence of float
        Relative residual before the first step and after each; the last one met the tolerance.
    cap : int
        What is returned where there was no step.

    Examples
    --------
    >>> fractional([1.0, 1e-4, 1e-12], 9)
    1.5
    """
    if len(residuals) < 2:
        return float(min(cap, 1))
    before, after = np.log(residuals[-2]), np.log(max(residuals[-1], 1e-300))
    share = (before - np.log(RTOL)) / max(before - after, 1e-300)
    return len(residuals) - 2 + float(np.clip(share, 0.0, 1.0))
