"""Training of the multilevel kind: samples, the differentiable cycle, its loss."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from neuprecond.features import (
    EDGE_FEATURES,
    ENTRY_FEATURES,
    NODE_FEATURES,
    LevelFeatures,
    level_features,
)
from neuprecond.graph import LevelData, from_features, interpolation_values, smoother_scaling
from neuprecond.hierarchy import Level, coarsen, largest_eigenpair
from neuprecond.hierarchy import galerkin as galerkin_product
from neuprecond.multilevel import LARGEST_BOTTOM, Plan, Values, reduce_exactly
from neuprecond.nets import LevelNetwork
from neuprecond.operators.cycle import COARSEST, chebyshev_coefficients
from neuprecond.training.losses import Operator, pcg_loss
from neuprecond.training.products import galerkin, matmul, row_indices

__all__ = ["Sample", "differentiable_cycle", "evaluate", "loss", "network", "prepare"]


@dataclass(frozen=True)
class Sample:
    """A training problem, scaled, with the parts of its finest level that never change.

    Attributes
    ----------
    level : Level
        The finest level.
    data : LevelData
        Its graph.
    solutions : Tensor, shape (n, k)
        Exact solutions of the scaled system: half white, half with a white right-hand side.
    plan : Plan
        How it is coarsened.
    """

    level: Level
    data: LevelData
    solutions: Tensor
    plan: Plan


def prepare(
    A: sparse.csr_array,
    plan: Plan,
    rng: np.random.Generator,
    *,
    vectors: int = 16,
    descend: bool = False,
) -> Sample | None:
    """The training sample of A, or None where A does not coarsen.

    Elimination is exact, so PCG on A converges as PCG on the Schur complement does: that is what
    is trained on.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric positive definite.
    plan : Plan
        How to coarsen and cycle.
    rng : Generator
        Draws the solutions.
    vectors : int
        How many.
    descend : bool
        Take the first coarse matrix (unlearned interpolation) for the problem.
    """
    reduction = reduce_exactly(A)
    level = coarsen(reduction.A, plan.base(0), v=reduction.v)
    if level is not None and descend:
        plan = Plan(plan.bases[1:] or plan.bases, (1, *plan.visits[2:]))
        level = coarsen(galerkin_product(level.A, level.P0), plan.base(0))
    if level is None:
        return None
    white = rng.standard_normal((level.A.shape[0], vectors))
    half = vectors // 2
    white[:, :half] = sparse.linalg.splu(level.A.tocsc()).solve(white[:, :half])
    return Sample(level, from_features(level_features(level)), torch.from_numpy(white), plan)


def _dense_solve(A: sparse.csr_array, values: Tensor) -> Operator:
    n = A.shape[0]
    if n > LARGEST_BOTTOM:
        raise torch.linalg.LinAlgError(f"coarsening stalled at {n} unknowns")
    index = (torch.from_numpy(row_indices(A)), torch.from_numpy(A.indices.astype(np.int64)))
    dense = torch.zeros(n, n, dtype=values.dtype).index_put(index, values)
    # A whisper of the identity keeps a singular coarse matrix factorisable.
    ridge = 1e-12 * dense.diagonal().detach().max() * torch.eye(n, dtype=values.dtype)
    factor = torch.linalg.cholesky(0.5 * (dense + dense.T) + ridge)
    return lambda r: torch.cholesky_solve(r, factor)


def differentiable_cycle(
    net: LevelNetwork,
    level: Level,
    data: LevelData,
    A_values: Tensor,
    plan: Plan,
    *,
    depth: int = 0,
) -> Operator:
    """The V/W-cycle of `neuprecond.operators.Cycle` on torch values, from this level down.

    Parameters
    ----------
    net : LevelNetwork
        Gives every level's values.
    level, data : Level, LevelData
        The level and its graph.
    A_values : Tensor, shape (nnz(A),)
        Values of the level's scaled matrix; carry the gradient of the levels above.
    plan : Plan
        How to coarsen and cycle.
    depth : int
        Levels above this one.
    """
    A, P0 = level.A, level.P0
    device = next(net.parameters()).device
    smoother, entry = (out.cpu() for out in net(data.to(device)))

    p_rows = torch.from_numpy(row_indices(P0))
    fine, coarse = (torch.from_numpy(x) for x in (level.near_null, level.coarse_near_null[:, 0]))
    to_weight = coarse[torch.from_numpy(P0.indices.astype(np.int64))] / fine[p_rows]
    weights = torch.from_numpy(P0.data) * to_weight
    P_values = interpolation_values(entry, weights, p_rows, A.shape[0]) / to_weight

    rows, cols = (torch.from_numpy(x.astype(np.int64)) for x in (row_indices(A), A.indices))
    d = smoother_scaling(smoother)
    root = d.sqrt()
    scaled_values = root[rows] * A_values * root[cols]
    numeric = sparse.csr_array((scaled_values.detach().numpy(), A.indices, A.indptr), shape=A.shape)
    bound, ritz = largest_eigenpair(numeric)
    v = torch.from_numpy(ritz)
    quotient = (v[rows] * scaled_values * v[cols]).sum()
    c0, c1 = chebyshev_coefficients(bound * quotient / quotient.detach())
    S_values = torch.where(rows == cols, c0 * d[rows], 0.0) - c1 * d[rows] * A_values * d[cols]

    Ac, Ac_values = galerkin(A, A_values, P0, P_values)
    s = 1.0 / Ac_values[torch.from_numpy(np.flatnonzero(row_indices(Ac) == Ac.indices))].sqrt()
    next_level = coarsen(Ac, plan.base(depth + 1)) if Ac.shape[0] > COARSEST else None
    if next_level is None:
        solve = _dense_solve(Ac, Ac_values)
    else:
        c_rows, c_cols = (
            torch.from_numpy(x.astype(np.int64)) for x in (row_indices(Ac), Ac.indices)
        )
        below = Ac_values * s[c_rows] * s[c_cols]
        inner = differentiable_cycle(
            net,
            next_level,
            from_features(level_features(next_level)),
            below,
            plan,
            depth=depth + 1,
        )
        pattern = next_level.A

        def solve(r: Tensor) -> Tensor:
            r = s[:, None] * r
            x = inner(r)
            if plan.visit(depth + 1) == 2:
                x = x + inner(r - matmul(pattern, below, x))
            return s[:, None] * x

    def cycle(r: Tensor) -> Tensor:
        x = matmul(A, S_values, r)
        coarse_r = matmul(P0, P_values, r - matmul(A, A_values, x), transpose=True)
        x = x + matmul(P0, P_values, solve(coarse_r))
        return x + matmul(A, S_values, r - matmul(A, A_values, x))

    return cycle


def network(*, width: int, rounds: int) -> LevelNetwork:
    """An untrained network of the given size; draws from torch's generator."""
    return LevelNetwork(
        node_features=len(NODE_FEATURES),
        edge_features=len(EDGE_FEATURES),
        entry_features=len(ENTRY_FEATURES),
        width=width,
        rounds=rounds,
    )


def evaluate(net: LevelNetwork) -> Values:
    """The network as `neuprecond.multilevel.build_cycle` takes it."""

    def values(features: LevelFeatures) -> tuple[np.ndarray, np.ndarray]:
        device = next(net.parameters()).device
        with torch.no_grad():
            smoother, entry = net(from_features(features).to(device))
        return smoother.cpu().numpy(), entry.cpu().numpy()

    return values


def loss(net: LevelNetwork, sample: Sample, columns: np.ndarray, *, steps: int = 8) -> Tensor:
    """`pcg_loss` of the cycle on some of the sample's solutions."""
    A = sample.level.A
    values = torch.from_numpy(A.data)
    M = differentiable_cycle(net, sample.level, sample.data, values, sample.plan)
    return pcg_loss(A, M, sample.solutions[:, torch.from_numpy(columns)].contiguous(), steps=steps)
