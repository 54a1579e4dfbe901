"""M and conjugate gradients on torch's devices: ``M.torch(device)`` and ``cg``."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from neuprecond.operators.base import ApproximateInverse

__all__ = ["CGResult", "TorchInverse", "as_tensor", "cg"]


class TorchInverse:
    """M ≈ A⁻¹ on a torch device, made by `ApproximateInverse.torch`.

    Parameters
    ----------
    M : ApproximateInverse
        Of kind "multilevel" or "spai", or one that negates such an M.
    device : str or torch.device, optional
        By default torch's default device.
    dtype : torch.dtype, optional
        torch.float64 by default, or torch.float32.

    Attributes
    ----------
    shape : tuple of int
        (n, n).
    device : torch.device
        Where its matrices are and vectors must be.
    dtype : torch.dtype
        Of its matrices and of vectors.

    Examples
    --------
    >>> from neuprecond.operators.factored import FactoredInverse
    >>> G = sparse.csr_array([[0.5, 0.0], [-0.5, 1.0]])
    >>> M = FactoredInverse(G, model="twin", learned=False, nnz=4, setup_seconds={}).torch("cpu")
    >>> M @ torch.tensor([1.0, 0.0], dtype=torch.float64)
    tensor([ 0.5000, -0.5000], dtype=torch.float64)
    """

    def __init__(self, M: ApproximateInverse, *, device: Any = None, dtype: Any = None) -> None:
        dtype = torch.float64 if dtype is None else dtype
        if dtype not in (torch.float64, torch.float32):
            raise TypeError(f"dtype must be torch.float64 or torch.float32, got {dtype}.")
        try:
            self.device = torch.zeros(1, device=device).device
        except (RuntimeError, AssertionError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(f"torch finds no device {str(device)!r} here: {first}") from None
        self.shape = M.shape
        self.dtype = dtype
        self.name = M.name
        self._apply = M.on_arrays(
            lambda matrix: as_tensor(matrix, device=self.device, dtype=dtype),
            lambda array: torch.tensor(array, device=self.device, dtype=dtype),
        )

    def __call__(self, r: Tensor) -> Tensor:
        """M r, or M R for several columns."""
        if not isinstance(r, Tensor):
            raise TypeError(f"r must be a torch tensor, got {type(r).__name__}. Use M itself.")
        if r.ndim not in (1, 2) or r.shape[0] != self.shape[0]:
            n = self.shape[0]
            raise ValueError(f"r must have shape ({n},) or ({n}, k), got {tuple(r.shape)}.")
        if r.device != self.device or r.dtype != self.dtype:
            raise ValueError(
                f"r must be {self.dtype} on {self.device} as M is, got {r.dtype} on {r.device}. "
                "Move r, or make M there with M.torch(device, dtype)."
            )
        return self._apply(r)

    __matmul__ = __call__

    def __repr__(self) -> str:
        n = self.shape[0]
        return f"<{n}x{n} TorchInverse {self.name!r}, {self.dtype} on {self.device}>"


def as_tensor(
    A: sparse.sparray | sparse.spmatrix, *, device: Any = None, dtype: Any = None
) -> Tensor:
    """A SciPy sparse matrix as a torch CSR tensor.

    Parameters
    ----------
    A : sparse array or matrix, shape (m, n)
        Not changed; copied.
    device : str or torch.device, optional
        Where it goes.
    dtype : torch.dtype, optional
        torch.float64 by default.

    Returns
    -------
    Tensor
        With ``layout=torch.sparse_csr`` and int32 indices where they fit.

    Examples
    --------
    >>> as_tensor(sparse.csr_array([[0.0, 2.0]])) @ torch.ones(2, dtype=torch.float64)
    tensor([2.], dtype=torch.float64)
    """
    csr = sparse.csr_array(A)
    index = np.int32 if max(csr.nnz, *csr.shape) < np.iinfo(np.int32).max else np.int64
    with warnings.catch_warnings():
        # It says once that sparse CSR tensors are in beta.
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(
            torch.tensor(csr.indptr.astype(index)),
            torch.tensor(csr.indices.astype(index)),
            torch.tensor(csr.data),
            size=csr.shape,
            dtype=torch.float64 if dtype is None else dtype,
            device=device,
        )


class CGResult(NamedTuple):
    """What `cg` found.

    Attributes
    ----------
    x : Tensor, shape (n,)
        On b's device.
    info : int
        0 where the residual met the tolerance, the number of iterations where they ran out, -1
        where the residual was no longer finite.
    iterations : int
        Steps taken; each costs a product by A and one by M.
    """

    x: Tensor
    info: int
    iterations: int


@torch.no_grad()
def cg(
    A: Tensor | sparse.sparray | sparse.spmatrix | Callable[[Tensor], Tensor],
    b: Tensor,
    x0: Tensor | None = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: ApproximateInverse | TorchInverse | Callable[[Tensor], Tensor] | None = None,
) -> CGResult:
    """Solve A x = b by preconditioned conjugate gradients on b's device.

    It stops as SciPy's does, where ‖r‖ < max(rtol ‖b‖, atol), r the residual that is carried along.
    One number a step goes back to the host, that norm.

    Parameters
    ----------
    A : tensor, sparse array or matrix, or callable, shape (n, n)
        Symmetric positive definite. What comes from SciPy is copied to b's device.
    b : tensor, shape (n,)
        Real.
    x0 : tensor, shape (n,), optional
        First guess; zeros by default. Not changed.
    rtol, atol, maxiter
        As for `scipy.sparse.linalg.cg`; maxiter is 10 n by default.
    M : optional
        What `neuprecond.load` gives, which is copied to b's device; what its ``torch`` method
        gives; or any callable that applies an M ≈ A⁻¹ to a tensor.

    Returns
    -------
    CGResult
        x, info, iterations.

    Raises
    ------
    TypeError
        If b is no real tensor, or M cannot leave SciPy.
    ValueError
        If shapes do not fit.

    References
    ----------
    Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., SIAM 2003, algorithm 9.1.

    Examples
    --------
    >>> A = sparse.csr_array([[2.0, -1.0], [-1.0, 2.0]])
    >>> x, info, iterations = cg(A, torch.ones(2, dtype=torch.float64))
    >>> x, info, iterations
    (tensor([1., 1.], dtype=torch.float64), 0, 1)
    """
    if not isinstance(b, Tensor) or b.dtype not in (torch.float64, torch.float32):
        what = f"tensor of {b.dtype}" if isinstance(b, Tensor) else type(b).__name__
        raise TypeError(f"b must be a tensor of float64 or float32, got {what}.")
    if b.ndim != 1:
        raise ValueError(f"b must have shape (n,), got {tuple(b.shape)}; solve for one at a time.")
    n = len(b)
    for name, given in (("A", A), ("M", M)):
        shape = getattr(given, "shape", None)
        if shape is not None and tuple(shape) != (n, n):
            raise ValueError(f"{name} must have shape ({n}, {n}) as b has, got {tuple(shape)}.")
    multiply, precondition = _product(A, b), _inverse(M, b)
    if x0 is None:
        x = torch.zeros_like(b)
    elif x0.shape == b.shape:
        x = x0.to(b, copy=True)
    else:
        raise ValueError(f"x0 must have shape ({n},), got {tuple(x0.shape)}.")
    norm = float(torch.linalg.vector_norm(b))
    if norm == 0.0:
        return CGResult(torch.zeros_like(b), 0, 0)
    tolerance = max(float(atol), float(rtol) * norm)
    maxiter = 10 * n if maxiter is None else maxiter
    r = b - multiply(x) if x0 is not None else b.clone()
    p, rho = torch.zeros_like(b), torch.ones((), dtype=b.dtype, device=b.device)
    for iteration in range(maxiter):
        left = float(torch.linalg.vector_norm(r))
        if left < tolerance:
            return CGResult(x, 0, iteration)
        if not np.isfinite(left):
            return CGResult(x, -1, iteration)
        z = precondition(r)
        before, rho = rho, torch.dot(r, z)
        # p is zero in the first step, so that its factor does not matter.
        p = z + (rho / before) * p
        q = multiply(p)
        alpha = rho / torch.dot(p, q)
        x += alpha * p
        r -= alpha * q
    return CGResult(x, maxiter, maxiter)


def _product(A: Any, b: Tensor) -> Callable[[Tensor], Tensor]:
    if sparse.issparse(A):
        A = as_tensor(A, device=b.device, dtype=b.dtype)
    if isinstance(A, Tensor):
        if A.device != b.device or A.dtype != b.dtype:
            raise ValueError(
                f"A must be {b.dtype} on {b.device} as b is, got {A.dtype} on {A.device}."
            )
        return lambda p: A @ p
    if not callable(A):
        raise TypeError(
            f"A must be a tensor, a SciPy sparse array or a callable, got {type(A).__name__}."
        )
    return A


def _inverse(M: Any, b: Tensor) -> Callable[[Tensor], Tensor]:
    if M is None:
        return lambda r: r
    if isinstance(M, ApproximateInverse):
        return M.torch(b.device, b.dtype)
    if not callable(M):
        raise TypeError(
            f"M must be what neuprecond.load gives or a callable, got {type(M).__name__}."
        )
    return M
