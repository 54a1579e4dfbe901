"""What "auto" takes: which learned model fits a matrix, and a classical M where none does."""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from neuprecond import checks, classical
from neuprecond.hierarchy import unit_diagonal
from neuprecond.krylov import solve
from neuprecond.operators.cycle import COARSEST
from neuprecond.operators.wrapped import Fallback
from neuprecond.zoo.model import least_dominance

__all__ = ["choose", "fall_back", "is_covariance", "is_covered", "outweigh", "settled"]

# Models for matrices that one level is enough for, for all other definite ones, and for
# nonsymmetric ones.
ONE_LEVEL, MULTILEVEL, NONSYMMETRIC = "heat", "diffusion2d", "advection"
# With every row dominant by this share of its diagonal, κ ≤ 19 after scaling: one level does.
DOMINANT = 0.1
# Couplings are a covariance's where so much of them is positive and they come to so many times the
# diagonal; an M-matrix with its signs turned has positive ones too, but never more than that.
POSITIVE, OUTWEIGHED = 0.9, 1.1
# GMRES steps that decide between classical methods, and what residual they must come to for the
# learned M to be kept without looking at those.
TRIAL, GETS_ON = 10, 1e-2
# What is added to the diagonal, relative to the row, where ILU meets a zero pivot.
SHIFT = 1e-3


def choose(A: sparse.csr_array) -> str:
    """Name the packaged model for a symmetric A with a positive diagonal."""
    one_level = least_dominance(A) >= DOMINANT or is_covariance(A)
    return ONE_LEVEL if one_level else MULTILEVEL


def is_covariance(A: sparse.csr_array) -> bool:
    """Whether A is like a covariance: nearly all couplings are positive and outweigh the diagonal.

    Its smooth vectors have the largest eigenvalues, so coarse levels have nothing to do, and its
    inverse is nearly sparse: FSAI alone takes as many steps as levels around it, at a fifth of
    their work, and what was learned of time steps does not help it. No small matrix is called one:
    several levels invert it at once.

    Examples
    --------
    >>> distance = np.abs(np.subtract.outer(np.arange(300), np.arange(300)))
    >>> is_covariance(sparse.csr_array(0.8**distance))
    True
    >>> is_covariance(sparse.csr_array(2.0 * np.eye(300) - (distance == 1)))
    False
    """
    scaled, _ = unit_diagonal(A)
    with np.errstate(all="ignore"):
        size = float(np.abs(scaled.data).sum()) - A.shape[0]
        positive = float(scaled.data[scaled.data > 0.0].sum()) - A.shape[0]
    return outweigh(positive, size, A.shape[0])


def outweigh(positive: float, size: float, n: int) -> bool:
    """`is_covariance` from sums over a matrix of unit diagonal and n rows.

    Parameters
    ----------
    positive, size : float
        Of the positive couplings, and of the absolute values of all.
    n : int
    """
    return n > COARSEST and positive >= POSITIVE * size and size >= OUTWEIGHED * n


def is_covered(A: sparse.csr_array) -> bool:
    """Whether the nonsymmetric model takes A: real, nonsymmetric, a whole diagonal of one sign."""
    return (
        A.dtype.kind == "f"
        and checks.one_sign(A.diagonal())
        and checks.asymmetry(A) > checks.SYMMETRY_TOLERANCE
    )


def settled(A: sparse.csr_array, M: LinearOperator) -> bool:
    """Whether ten steps of GMRES with M show that it works."""
    b = np.random.default_rng(A.shape[0]).standard_normal(A.shape[0])
    trial = solve(A, b, M=M, method="gmres", maxiter=TRIAL, history=False)
    return trial.residual <= GETS_ON


def fall_back(A: sparse.csr_array) -> Fallback:
    """Make the best of a few classical M for GMRES, as ten steps of it show.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Any finite matrix, real or complex.

    Returns
    -------
    Fallback
        Finite and linear.
    """
    b = np.random.default_rng(A.shape[0]).standard_normal(A.shape[0])
    best: tuple[tuple[bool, float], LinearOperator] | None = None
    for make in (classical.ilu, _shifted_ilu, _safe_jacobi):
        if make is _shifted_ilu and best is not None:
            continue
        try:
            with np.errstate(all="ignore"):
                M = make(A)
                sound = bool(np.isfinite(M @ b).all())
        except ValueError:
            continue
        if sound:
            trial = solve(A, b, M=M, method="gmres", maxiter=TRIAL, history=False)
            done = trial.converged
            score = (not done, float(trial.iterations) if done else trial.residual)
            if best is None or score < best[0]:
                best = score, M
    return Fallback(_safe_jacobi(A) if best is None else best[1])


def _shifted_ilu(A: sparse.csr_array) -> LinearOperator:
    """ILU of A with something on the diagonal, for a singular A or an unlucky pivot."""
    return classical.ilu(sparse.csr_array(A + sparse.diags_array(SHIFT * _row_sizes(A))))


def _safe_jacobi(A: sparse.csr_array) -> LinearOperator:
    """Jacobi; rows with no diagonal to divide by are divided by their largest entry."""
    d = A.diagonal()
    with np.errstate(all="ignore"):
        holes = ~np.isfinite(1.0 / d)
        if not holes.any():
            return classical.jacobi(A)
        filled = np.where(holes, _row_sizes(A), d)
        filled[~np.isfinite(1.0 / filled)] = 1.0
    return classical.jacobi(sparse.csr_array(sparse.diags_array(filled)))


def _row_sizes(A: sparse.csr_array) -> np.ndarray:
    """Largest entry of each row, 1 for an empty one."""
    size = abs(A).max(axis=1).toarray().ravel()
    return np.where(size > 0.0, size, 1.0)
