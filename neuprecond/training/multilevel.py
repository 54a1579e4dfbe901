"""Training of the multilevel kind: samples, the differentiable cycle, its loss."""

from dataclasses import dataclass, replace

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
from neuprecond.multilevel import (
    LARGEST_BOTTOM,
    MAX_LEVELS,
    Plan,
    Values,
    learns_on,
    on_matrix,
    reduce_exactly,
)
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
    levels : tuple of Level
        The unlearned hierarchy: its structure and interpolation are what is learned on.
    data : LevelData or None
        Graph of the finest level; None where nothing is learned on it.
    solutions : Tensor, shape (n, k)
        Exact solutions of the scaled system: half white, half with a white right-hand side.
    plan : Plan
        How it is coarsened.
    """

    levels: tuple[Level, ...]
    data: LevelData | None
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
    """The training sample of A, or None where A has no level that values are learned on.

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
        plan = replace(plan, bases=plan.bases[1:] or plan.bases, visits=(1, *plan.visits[2:]))
        level = coarsen(galerkin_product(level.A, level.P0), plan.base(0))
    levels = []
    while level is not None:
        levels.append(level)
        A = galerkin_product(level.A, level.P0)
        if A.shape[0] <= COARSEST or len(levels) == MAX_LEVELS:
            break
        level = coarsen(A, plan.base(len(levels)))
    if not any(learns_on(level.base) for level in levels):
        return None
    finest = levels[0]
    white = rng.standard_normal((finest.A.shape[0], vectors))
    half = vectors // 2
    white[:, :half] = sparse.linalg.splu(finest.A.tocsc()).solve(white[:, :half])
    data = _graph(finest)
    return Sample(tuple(levels), data, torch.from_numpy(white), plan)


def _graph(level: Level) -> LevelData | None:
    """What the network sees of a level; None where nothing is learned on it."""
    return from_features(level_features(level)) if learns_on(level.base) else None


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


def differentiable_cycle(net: LevelNetwork, sample: Sample) -> Operator:
    """The cycle of `neuprecond.multilevel.build_cycle` on torch values.

    Everything that depends on the network carries a gradient; the structure and the unlearned
    interpolation of all levels are the twin's, at training as in use.

    Parameters
    ----------
    net : LevelNetwork
        Gives every level's values.
    sample : Sample
        The problem.
    """
    finest = sample.levels[0]
    A_values, near_null = torch.from_numpy(finest.A.data), torch.from_numpy(finest.near_null)
    return _cycle(net, sample, finest, sample.data, A_values, near_null, 0)


def _cycle(
    net: LevelNetwork,
    sample: Sample,
    level: Level,
    data: LevelData | None,
    A_values: Tensor,
    near_null: Tensor,
    depth: int,
) -> Operator:
    """The cycle from a level down; its matrix and near-null vector carry the gradient so far."""
    A, P0 = level.A, level.P0
    device = next(net.parameters()).device
    if data is not None:
        smoother, entry = (out.cpu() for out in net(data.to(device)))
    else:
        smoother, entry = torch.zeros(A.shape[0]), torch.zeros(P0.nnz)

    p_rows = torch.from_numpy(row_indices(P0))
    coarse = torch.from_numpy(level.coarse_near_null[P0.indices, 0])
    # Weights do not depend on how the level is scaled, and so carry no gradient.
    weights = torch.from_numpy(P0.data) * coarse / torch.from_numpy(level.near_null)[p_rows]
    changed = interpolation_values(entry, weights, p_rows, A.shape[0])
    P_values = changed * near_null[p_rows] / coarse

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
    if depth + 1 == len(sample.levels):
        solve = _dense_solve(Ac, Ac_values)
    else:
        below = on_matrix(sample.levels[depth + 1], Ac)
        diagonal = torch.from_numpy(np.flatnonzero(row_indices(Ac) == Ac.indices))
        s = 1.0 / Ac_values[diagonal].sqrt()
        places = (row_indices(Ac), Ac.indices)
        c_rows, c_cols = (torch.from_numpy(x.astype(np.int64)) for x in places)
        below_values = Ac_values * s[c_rows] * s[c_cols]
        below_null = torch.from_numpy(below.near_null * below.s) / s
        inner = _cycle(net, sample, below, _graph(below), below_values, below_null, depth + 1)
        visits = sample.plan.visit(depth + 1)

        def solve(r: Tensor) -> Tensor:
            r = s[:, None] * r
            x = inner(r)
            if visits == 2:
                x = x + inner(r - matmul(below.A, below_values, x))
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
    A = sample.levels[0].A
    M = differentiable_cycle(net, sample)
    return pcg_loss(A, M, sample.solutions[:, torch.from_numpy(columns)].contiguous(), steps=steps)
