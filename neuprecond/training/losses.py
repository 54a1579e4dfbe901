"""The loss: how fast PCG converges with M, differentiable from end to end."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor

from neuprecond.training.products import matmul

__all__ = ["Operator", "pcg_loss"]

Operator = Callable[[Tensor], Tensor]


def pcg_loss(
    A: sparse.csr_array, M: Operator, solutions: Float[Tensor, "n k"], *, steps: int = 8
) -> Tensor:
    """Mean natural logarithm of the error reduction a step of PCG, in A's norm.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric positive definite.
    M : callable
        Tensor (n, k) -> (n, k), symmetric positive definite.
    solutions : Tensor, shape (n, k)
        Exact solutions; PCG starts from zero.
    steps : int
        Iterations.
    """
    constant = torch.from_numpy(A.data)

    def product(X: Tensor) -> Tensor:
        return matmul(A, constant, X)

    r = product(solutions)
    first = (solutions * r).sum(dim=0)
    x = torch.zeros_like(r)
    z = M(r)
    p, rz = z, (r * z).sum(dim=0)
    for step in range(steps):
        Ap = product(p)
        alpha = rz / ((p * Ap).sum(dim=0) + 1e-300)
        x = x + alpha * p
        if step == steps - 1:
            break
        r = r - alpha * Ap
        z = M(r)
        rz, before = (r * z).sum(dim=0), rz
        p = z + rz / (before + 1e-300) * p
    error = solutions - x
    last = (error * product(error)).sum(dim=0).abs()
    return 0.5 * torch.log((last + 1e-300) / first).mean() / steps
