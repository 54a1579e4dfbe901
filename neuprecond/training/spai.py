"""Training of the one-level kind: samples, the differentiable factor, its loss."""

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import Tensor

from neuprecond.classical import fsai_factor
from neuprecond.errors import NotDefiniteError
from neuprecond.graph import LevelData, from_features
from neuprecond.hierarchy import unit_diagonal
from neuprecond.nets import SpaiNetwork
from neuprecond.spai import (
    DIAGONAL_BOUND,
    ENTRY_BOUND,
    ROUNDING,
    SPAI_EDGE_FEATURES,
    SPAI_ENTRY_FEATURES,
    SPAI_NODE_FEATURES,
    SpaiFeatures,
    SpaiValues,
    entry_scale,
    row_products,
    spai_features,
)
from neuprecond.training.losses import pcg_loss
from neuprecond.training.products import matmul, row_indices

__all__ = ["Sample", "differentiable_factor", "evaluate", "loss", "network", "prepare"]

# Natural logarithm of the error reduction that a solve asks for, 1e8.
REDUCTION = 8.0 * np.log(10.0)
# Eigenvalues averaged at each end of the spectrum: one alone would train one vector's unknowns.
EXTREMES = 3
# Up to this many unknowns LAPACK finds them faster than ARPACK.
DENSE = 200


@dataclass(frozen=True)
class Sample:
    """A training problem of unit diagonal, with what never changes.

    Attributes
    ----------
    A : csr_array, shape (n, n)
        The scaled matrix.
    G : csr_array, shape (n, n)
        Its FSAI factor.
    data : LevelData
        Its graph.
    solutions : Tensor, shape (n, k)
        Exact solutions of the scaled system: half white, half with a white right-hand side.
    name : str
        Family.
    """

    A: sparse.csr_array
    G: sparse.csr_array
    data: LevelData
    solutions: Tensor
    name: str


def prepare(
    A: sparse.csr_array, rng: np.random.Generator, *, vectors: int = 16, name: str = ""
) -> Sample | None:
    """Make the training sample of A, or None where A is diagonal or not positive definite.

    Examples
    --------
    >>> A = sparse.csr_array([[4.0, 2.0], [2.0, 2.0]])
    >>> prepare(A, np.random.default_rng(7)).solutions.shape
    torch.Size([2, 16])
    """
    scaled_A, _ = unit_diagonal(A)
    try:
        G = fsai_factor(scaled_A)
    except NotDefiniteError:
        return None
    if G.nnz == G.shape[0]:
        return None
    white = rng.standard_normal((A.shape[0], vectors))
    half = vectors // 2
    white[:, :half] = sparse.linalg.splu(scaled_A.tocsc()).solve(white[:, :half])
    data = from_features(spai_features(scaled_A))
    return Sample(scaled_A, G, data, torch.from_numpy(white), name)


class _RowSquares(torch.autograd.Function):
    """diag(G A Gᵀ), and the sums of its terms' sizes, which tell what of it is rounding."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, A: sparse.csr_array, G: sparse.csr_array
    ) -> tuple[Tensor, Tensor]:
        h = torch.from_numpy(
            row_products(A.indptr, A.indices, A.data, G.indptr, G.indices, g.detach().numpy())
        )
        rows = torch.from_numpy(row_indices(G))
        zero = g.new_zeros(G.shape[0])
        squares, sizes = (zero.index_add(0, rows, terms) for terms in (g * h, (g * h).abs()))
        ctx.save_for_backward(rows, h)
        ctx.mark_non_differentiable(sizes)
        return squares, sizes

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        rows, h = ctx.saved_tensors
        return 2.0 * grad[rows] * h, None, None


def differentiable_factor(A: sparse.csr_array, G: sparse.csr_array, values: Tensor) -> Tensor:
    """Entries of `neuprecond.spai.corrected_factor`, differentiable in the network's output.

    Parameters
    ----------
    A, G : csr_array, shape (n, n)
        Matrix of unit diagonal, its FSAI factor.
    values : Tensor, shape (nnz(G),)
        Output of the network.

    Returns
    -------
    Tensor, shape (nnz(G),)
        Float64, on G's pattern.
    """
    step = torch.tanh(values.double())
    rows = torch.from_numpy(row_indices(G))
    start = torch.from_numpy(G.data)
    g = torch.where(
        rows == torch.from_numpy(G.indices.astype(np.int64)),
        start * torch.exp(DIAGONAL_BOUND * step),
        start + ENTRY_BOUND * step * torch.from_numpy(entry_scale(A, G)),
    )
    squares, sizes = _RowSquares.apply(g, A, G)
    sound = squares > ROUNDING * sizes
    norm = torch.where(sound, squares, 1.0).sqrt()
    return torch.where(sound[rows], g / norm[rows], start)


def network(*, width: int, rounds: int) -> SpaiNetwork:
    """Make an untrained network of the given size; draws from torch's generator."""
    return SpaiNetwork(
        node_features=len(SPAI_NODE_FEATURES),
        edge_features=len(SPAI_EDGE_FEATURES),
        entry_features=len(SPAI_ENTRY_FEATURES),
        width=width,
        rounds=rounds,
    )


def loss(net: SpaiNetwork, sample: Sample, columns: np.ndarray, *, steps: int = 12) -> Tensor:
    """Logarithm of the iterations that PCG will need to reduce the error by 1e8, as predicted.

    The first ``steps`` are run, as in `pcg_loss`, on some of the sample's solutions; where they are
    more than enough, only their share counts. The others would take too long and barely depend on
    the solution: their rate comes from the extreme eigenvalues of G A Gᵀ. So problems of 10
    iterations and of 100 train alike; the error after few steps alone is blind to the smooth errors
    that make the latter long.

    Parameters
    ----------
    net : SpaiNetwork
        The network.
    sample : Sample
        From `prepare`.
    columns : ndarray of int
        Which solutions.
    steps : int
        Iterations that are run.

    References
    ----------
    Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., SIAM 2003, section 6.11.3.
    """
    A, G = sample.A, sample.G
    values = net(sample.data.to(next(net.parameters()).device)).cpu()
    g = differentiable_factor(A, G, values)

    def apply(r: Tensor) -> Tensor:
        return matmul(G, g, matmul(G, g, r), transpose=True)

    solutions = sample.solutions[:, torch.from_numpy(columns)].contiguous()
    done = -steps * pcg_loss(A, apply, solutions, steps=steps)

    numeric = sparse.csr_array((g.detach().numpy(), G.indices, G.indptr), shape=G.shape)
    vectors = matmul(
        G, g, torch.from_numpy(_extreme_vectors(numeric @ A @ numeric.T)), transpose=True
    )
    # Rayleigh quotients have the derivatives of the eigenvalues.
    logs = torch.log((vectors * matmul(A, torch.from_numpy(A.data), vectors)).sum(dim=0))
    low, high = logs.chunk(2)
    root = torch.exp(0.5 * (high.mean() - low.mean()))
    rate = torch.log((root + 1.0) / (root - 1.0).clamp(min=1e-9))
    run = steps * (REDUCTION / done.clamp(min=REDUCTION))
    return torch.log(run + (REDUCTION - done).clamp(min=0.0) / rate)


def _extreme_vectors(K: sparse.csr_array) -> np.ndarray:
    """Eigenvectors of the smallest eigenvalues of a definite K, then of as many of the largest."""
    n = K.shape[0]
    some = min(EXTREMES, n // 2)
    start = np.ones(n)
    if n > DENSE:
        # Shifted a little below zero, so that a K that is singular to rounding can be factored.
        with contextlib.suppress(ArpackNoConvergence):
            low = eigsh(K.tocsc(), some, sigma=-1e-10, v0=start, tol=1e-3)[1]
            high = eigsh(K, some, which="LA", v0=start, tol=1e-2)[1]
            return np.concatenate([low, high], axis=1)
    vectors = np.linalg.eigh(K.toarray())[1]
    return np.concatenate([vectors[:, :some], vectors[:, n - some :]], axis=1)


def evaluate(net: SpaiNetwork) -> SpaiValues:
    """Wrap the network as `neuprecond.spai.build_factored` takes it: features in, values out."""

    def values(features: SpaiFeatures) -> np.ndarray:
        with torch.no_grad():
            data = from_features(features).to(next(net.parameters()).device)
            return net(data).cpu().numpy()

    return values
