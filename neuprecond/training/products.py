"""Sparse products by SciPy's kernels that torch can differentiate."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor

__all__ = ["galerkin", "matmul", "row_indices"]


def row_indices(A: sparse.csr_array) -> np.ndarray:
    """Row of each stored entry."""
    return np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))


def _with_values(pattern: sparse.csr_array, values: Tensor) -> sparse.csr_array:
    return sparse.csr_array(
        (values.detach().numpy(), pattern.indices, pattern.indptr), shape=pattern.shape
    )


def _sample(A: sparse.csr_array, pattern: sparse.csr_array) -> Tensor:
    """Entries of A at the places of another pattern, zero where A has none."""
    return torch.from_numpy(np.asarray(A[row_indices(pattern), pattern.indices]).ravel())


class _MatMul(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, X: Tensor, pattern: sparse.csr_array, transpose: bool
    ) -> Tensor:
        A = _with_values(pattern, values)
        ctx.save_for_backward(X)
        ctx.A, ctx.transpose = A, transpose
        return torch.from_numpy((A.T if transpose else A) @ X.detach().numpy())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (X,) = ctx.saved_tensors
        A, g = ctx.A, grad.numpy()
        grad_values = grad_X = None
        if ctx.needs_input_grad[0]:
            # d/da_ij of gᵀ(A x) is g_i x_j, of gᵀ(Aᵀ x) it is x_i g_j.
            left, right = (X.numpy(), g) if ctx.transpose else (g, X.numpy())
            grad_values = torch.from_numpy(
                np.einsum("ek,ek->e", left[row_indices(A)], right[A.indices])
            )
        if ctx.needs_input_grad[1]:
            grad_X = torch.from_numpy((A if ctx.transpose else A.T) @ g)
        return grad_values, grad_X, None, None


def matmul(
    pattern: sparse.csr_array,
    values: Float[Tensor, " entries"],
    X: Float[Tensor, "cols k"],
    *,
    transpose: bool = False,
) -> Float[Tensor, "rows k"]:
    """A X, or Aᵀ X, for A with the pattern's places and the given values."""
    return _MatMul.apply(values, X, pattern, transpose)


class _Galerkin(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        A_values: Tensor,
        P_values: Tensor,
        A: sparse.csr_array,
        P: sparse.csr_array,
        coarse: list[sparse.csr_array],
    ) -> Tensor:
        ctx.A, ctx.P = _with_values(A, A_values), _with_values(P, P_values)
        Ac = sparse.csr_array(ctx.P.T.tocsr() @ (ctx.A @ ctx.P))
        Ac.sort_indices()
        coarse.append(Ac)
        ctx.coarse = Ac
        return torch.from_numpy(Ac.data)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        A, P = ctx.A, ctx.P
        g = _with_values(ctx.coarse, grad)
        grad_A = grad_P = None
        if ctx.needs_input_grad[0]:
            grad_A = _sample(sparse.csr_array(P @ g @ P.T), A)
        if ctx.needs_input_grad[1]:
            grad_P = _sample(sparse.csr_array((A @ P) @ (g + g.T)), P)
        return grad_A, grad_P, None, None, None


def galerkin(
    A: sparse.csr_array,
    A_values: Float[Tensor, " entries"],
    P: sparse.csr_array,
    P_values: Float[Tensor, " weights"],
) -> tuple[sparse.csr_array, Tensor]:
    """Pᵀ A P for a symmetric A: its pattern (with its present values) and its values."""
    coarse: list[sparse.csr_array] = []
    values = _Galerkin.apply(A_values, P_values, A, P, coarse)
    return coarse[0], values
