"""Trying M on A before a user does: is it definite, how many steps of CG will it take."""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from neuprecond import classical
from neuprecond.errors import NotDefiniteError
from neuprecond.hierarchy import diagonal_scaling, unit_diagonal
from neuprecond.krylov import solve
from neuprecond.operators.base import ApproximateInverse
from neuprecond.operators.wrapped import Fallback

__all__ = [
    "expected_steps",
    "probed",
    "probed_two_sided",
    "require_finite",
    "require_sound",
]

# Steps are counted up to this reduction of the error, or foretold from as many as were taken.
REDUCTION = 1e-8
STEPS = 10
# More steps foretold than so many times the other's are no gain but rounding and luck.
BETTER = 0.98


def require_sound(A: sparse.csr_array, M: ApproximateInverse) -> None:
    """Raise `NotDefiniteError` unless M is finite and positive on a random vector.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        With a positive diagonal.
    M : ApproximateInverse, shape (n, n)
        Made for it.
    """
    s = diagonal_scaling(A)
    v = np.random.default_rng(len(s)).standard_normal(len(s))
    # In the unknowns of unit diagonal, where no product overflows.
    product = v @ ((M @ (v / s)) / s)
    if not 0.0 < product < np.inf:
        raise NotDefiniteError(
            f"M of model {M.model!r} is not positive definite on a random vector (vᵀMv = "
            f"{product:.2e}), so A cannot be positive definite.",
            'Try load("auto", A) with GMRES.',
        )


def require_finite(A: sparse.csr_array, M: ApproximateInverse) -> None:
    """Raise `NotDefiniteError` unless M is finite on a random vector.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        With a whole diagonal.
    M : ApproximateInverse, shape (n, n)
        Made for it.
    """
    v = np.random.default_rng(A.shape[0]).standard_normal(A.shape[0])
    if not np.isfinite(M @ (v * np.sqrt(np.abs(A.diagonal())))).all():
        raise NotDefiniteError(
            f"M of model {M.model!r} overflows on a random vector: A is singular, or too far from "
            "what the model was trained on.",
            "A direct solver may be the better choice.",
        )


def probed_two_sided(
    A: sparse.csr_array, M: ApproximateInverse, twin: ApproximateInverse
) -> tuple[ApproximateInverse, list[str]]:
    """Give M, or what a few steps of GMRES show to be better: its twin, or Jacobi; and why.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        With a whole diagonal.
    M, twin : ApproximateInverse, shape (n, n)
        With the learned plan and with the one that is best on average.
    """
    b = np.random.default_rng(A.shape[0]).standard_normal(A.shape[0])
    jacobi = classical.jacobi(A)
    expected = []
    for operator in (M, twin, jacobi):
        trial = solve(A, b, M=operator, method="gmres", maxiter=STEPS, history=False)
        gained = min(np.log10(max(trial.residual, 1e-300)), -1e-3)
        expected.append(
            float(trial.iterations) if trial.converged else STEPS * np.log10(REDUCTION) / gained
        )
    learned, unlearned, diagonal = expected
    if diagonal <= STEPS and _fewer(diagonal, min(learned, unlearned)):
        return Fallback(jacobi), [
            f"Jacobi needs {diagonal:.0f} steps of GMRES on this A, M of model {M.model!r} "
            f"{learned:.1f} and its twin {unlearned:.1f}: M is Jacobi."
        ]
    if not _fewer(unlearned, learned):
        return M, []
    return twin, [
        f"M of model {M.model!r} promises {learned:.1f} steps of GMRES and its twin "
        f"{unlearned:.1f} on this A (residual down to 1e-8, after {STEPS} steps on a random "
        "vector): M is the twin."
    ]


def probed(
    A: sparse.csr_array, M: ApproximateInverse, twin: ApproximateInverse
) -> tuple[ApproximateInverse, list[str]]:
    """Give M, or what a few steps of CG show to be better: its twin, or Jacobi; with a sentence.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric, with a positive diagonal.
    M, twin : ApproximateInverse, shape (n, n)
        The learned and the unlearned inverse.

    Raises
    ------
    NotDefiniteError
        If CG shows that A is not positive definite.
    """
    s = diagonal_scaling(A)
    v = np.random.default_rng(len(s)).standard_normal(len(s))
    # M v ≈ A⁻¹ v: a solution whose right-hand side is nearly white, and consistent for singular A.
    x = (twin @ (v / s)) / s
    learned = expected_steps(A, M, x, steps=STEPS)
    unlearned = expected_steps(A, twin, x, steps=STEPS)
    diagonal = expected_steps(A, None, x, steps=STEPS)
    # What Jacobi will take is only known once it is there: its first steps flatter. It cannot be
    # had where a diagonal is so small that one over it overflows.
    known = diagonal <= STEPS and s.max() < 1e150
    if known and _fewer(diagonal, min(learned, unlearned)):
        return Fallback(classical.jacobi(A)), [
            f"Jacobi needs {diagonal:.1f} steps of CG on this A, the learned M of model "
            f"{M.model!r} {learned:.1f} and its unlearned twin {unlearned:.1f}: M is Jacobi."
        ]
    if not _fewer(unlearned, learned):
        return M, []
    return twin, [
        f"the learned M of model {M.model!r} promises {learned:.1f} steps of CG and its unlearned "
        f"twin {unlearned:.1f} on this A (error down to 1e-8, after {STEPS} steps on a random "
        "vector): M is the twin."
    ]


def _fewer(these: float, those: float) -> bool:
    """Whether the first are clearly fewer, and there is a step to save."""
    if these <= STEPS and those <= STEPS:
        return max(these, 1.0) < those - 0.25
    return these < BETTER * those


def expected_steps(
    A: sparse.csr_array, M: LinearOperator | None, x: np.ndarray, *, steps: int
) -> float:
    """Foretell how many steps CG takes to reduce the error in A's norm by 1e-8, from a few.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric, with a positive diagonal.
    M : LinearOperator, shape (n, n), or None
        Symmetric positive definite; None is Jacobi.
    x : ndarray, shape (n,)
        The solution, in the unknowns where A has a unit diagonal; CG starts at zero.
    steps : int
        At most this many are taken.

    Returns
    -------
    float
        Steps, with a fraction.

    Raises
    ------
    NotDefiniteError
        If CG meets a direction in which A or M is not positive.

    Examples
    --------
    >>> A = sparse.diags_array([1.0, 2.0, 4.0]).tocsr()
    >>> M = sparse.diags_array([1.0, 0.5, 0.25])
    >>> bool(expected_steps(A, M, np.ones(3), steps=5) <= 1.0)
    True
    """
    wanted = np.log10(REDUCTION)
    # Products of the unscaled matrix may overflow, and CG is the same in either unknowns.
    scaled_A, s = unit_diagonal(A)
    error, r = x.copy(), scaled_A @ x
    first = error @ r
    if not 0.0 < first < np.inf:
        _refuse("xᵀAx", first)
    p, before, last = np.zeros_like(x), np.inf, 0.0
    for step in range(1, steps + 1):
        z = r if M is None else (M @ (r / s)) / s
        product = r @ z
        if not 0.0 <= product < np.inf:
            _refuse("rᵀMr", product)
        p = z + (product / before) * p
        q = scaled_A @ p
        curvature = p @ q
        if not 0.0 <= curvature < np.inf:
            _refuse("pᵀAp", curvature)
        if product == 0.0 or curvature == 0.0:
            return float(step - 1)
        alpha = product / curvature
        error -= alpha * p
        r -= alpha * q
        before = product
        energy = error @ r
        if energy < -1e-8 * first:
            _refuse("eᵀAe", energy)
        reached = 0.5 * np.log10(max(energy / first, 1e-300))
        if reached <= wanted:
            return step - 1 + (wanted - last) / (reached - last)
        last = reached
    return steps * wanted / min(last, -1e-3)


def _refuse(what: str, product: float) -> None:
    raise NotDefiniteError(
        f"A must be positive definite, CG found {what} = {product:.2e}.",
        'Try load("auto", A) with GMRES or MINRES.',
    )
