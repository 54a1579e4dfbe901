"""Setup of the multilevel M: coarsen, ask the network for values, build the cycle."""

import time
from collections.abc import Callable

import numpy as np
from scipy import sparse

from neuprecond.features import LevelFeatures, level_features
from neuprecond.hierarchy import (
    Level,
    coarsen,
    galerkin,
    largest_eigenvalue,
    near_null_scaling,
    scaled,
    unit_diagonal,
)
from neuprecond.operators.cycle import COARSEST, Cycle, CycleLevel, chebyshev_smoother

__all__ = ["Values", "build_cycle", "changed_interpolation", "smoother_diagonal"]

#: A network's outputs for a level: one number a node, one an entry of P0.
Values = Callable[[LevelFeatures], tuple[np.ndarray, np.ndarray]]

# Bounds of what the network may change: a factor exp(±1) a row, half a weight.
SMOOTHER_BOUND = 1.0
INTERPOLATION_BOUND = 0.5
MAX_LEVELS = 20
# Where coarsening stalls, up to this many unknowns are inverted all the same.
LARGEST_BOTTOM = 600


def smoother_diagonal(smoother: np.ndarray) -> np.ndarray:
    """The diagonal that the smoother scales A with, from the network's output; positive."""
    return np.exp(SMOOTHER_BOUND * np.tanh(smoother.astype(np.float64)))


def changed_interpolation(level: Level, entry: np.ndarray) -> sparse.csr_array:
    """P0 after a bounded change that keeps P Bc = P0 Bc in every row.

    Parameters
    ----------
    level : Level
        With one near-null vector.
    entry : ndarray, shape (nnz(P0),)
        Output of the network.
    """
    P0 = level.P0
    n = P0.shape[0]
    counts = np.diff(P0.indptr)
    rows = np.repeat(np.arange(n), counts)
    change = INTERPOLATION_BOUND * np.tanh(entry.astype(np.float64))
    mean = np.bincount(rows, change, n) / np.maximum(counts, 1)
    change -= mean[rows]
    back = level.near_null[rows] / level.coarse_near_null[P0.indices, 0]
    return sparse.csr_array((P0.data + change * back, P0.indices, P0.indptr), shape=P0.shape)


def build_cycle(
    A: sparse.csr_array,
    values: Values | None,
    *,
    base: str,
    B: np.ndarray | None = None,
    model: str = "twin",
    setup_seconds: dict[str, float] | None = None,
) -> Cycle:
    """The multilevel approximate inverse of A.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric positive (semi)definite with a positive diagonal, as `checks.as_csr` gives it.
    values : callable or None
        The network; None builds the unlearned twin.
    base : str
        How to coarsen, one of `hierarchy.BASES`.
    B : ndarray of shape (n, k), optional
        Near-null vectors; constants by default.
    model : str
        Name to show.
    setup_seconds : dict, optional
        Phases that were timed before.

    Returns
    -------
    Cycle
    """
    seconds = {"coarsen": 0.0, "features": 0.0, "network": 0.0, "products": 0.0}
    seconds = {**(setup_seconds or {}), **seconds}
    clock = time.perf_counter()

    def lap(phase: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[phase] += now - clock
        clock = now

    n, nnz = A.shape[0], A.nnz
    scaled_A, s0 = unit_diagonal(A)
    v: np.ndarray | None = None
    if B is not None and B.shape[1] == 1:
        v = np.where(B[:, 0] == 0.0, 1e-8 * np.abs(B).max(), B[:, 0])
        v = v / s0
        B = None
    elif B is None:
        v = near_null_scaling(scaled_A, s0)
    else:
        B = B / s0[:, None]
    lap("coarsen")
    # From here on the finest matrix is the scaled one too: its entries neither over- nor underflow.
    current, levels, scales = scaled_A, [], []
    while current.shape[0] > COARSEST and len(levels) < MAX_LEVELS:
        level = coarsen(current, base, B=B, v=v)
        lap("coarsen")
        if level is None:
            break
        P, d = level.P0, np.ones(current.shape[0])
        if values is not None and level.coarse_near_null.shape[1] == 1:
            features = level_features(level)
            lap("features")
            smoother, entry = values(features)
            lap("network")
            P, d = changed_interpolation(level, entry), smoother_diagonal(smoother)
        levels.append((level.A, _smoother(level.A, d), P))
        scales.append(level.s)
        current = galerkin(level.A, P)
        v = None
        B = level.coarse_near_null if level.coarse_near_null.shape[1] > 1 else None
        lap("products")
    bottom, s = unit_diagonal(current)
    if bottom.shape[0] > LARGEST_BOTTOM:
        # Nothing left to coarsen, too much to invert: this level is smoothed only.
        nothing = sparse.csr_array((bottom.shape[0], 0))
        levels.append((bottom, _smoother(bottom, np.ones(bottom.shape[0])), nothing))
        scales.append(s)
        bottom, s = sparse.csr_array((0, 0)), np.empty(0)
    cycle_levels = []
    for (A_l, S_l, P_l), below in zip(levels, [*scales[1:], s], strict=True):
        # The next level's scaling goes into P: the cycle itself scales once, at the top.
        P_scaled = sparse.csr_array(
            (P_l.data * below[P_l.indices], P_l.indices, P_l.indptr), shape=P_l.shape
        )
        cycle_levels.append(CycleLevel(A_l, S_l, P_scaled))
    lap("products")
    return Cycle(
        cycle_levels,
        bottom,
        s0 if levels else s0 * s,
        visits=[1, 1] + [2] * len(levels),
        model=model,
        learned=values is not None,
        nnz=nnz,
        setup_seconds=seconds,
    )


def _smoother(A: sparse.csr_array, d: np.ndarray) -> sparse.csr_array:
    return chebyshev_smoother(A, d, largest_eigenvalue(scaled(A, np.sqrt(d))))
