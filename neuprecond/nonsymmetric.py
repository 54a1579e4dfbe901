"""Setup of M for a nonsymmetric A: eliminate exactly, then levels or a factorisation, as picked."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg, sparse

from neuprecond import rows
from neuprecond.classical.incomplete import ilu
from neuprecond.classical.nonsymmetric import flow_order, ilu0
from neuprecond.classical.triangular import Triangle
from neuprecond.errors import NotDefiniteError
from neuprecond.hierarchy import LEAST_SHARE, MOST_NEIGHBOURS, coarsen, near_null_scaling
from neuprecond.operators.cycle import COARSEST
from neuprecond.operators.two_sided import Elimination, Factors, Smoothed, Stage, TwoSidedCycle

__all__ = [
    "FLOW_PLANS",
    "FLOW_STATISTICS",
    "FlowPlan",
    "FlowReduction",
    "build_two_sided",
    "flow_statistics",
    "reduce_flow",
]

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MAX_LEVELS = 20
# A coarse matrix of more entries than this over its fine one's is not worth having.
LARGEST_GROWTH = 3.0
# Where coarsening stalls, up to this many unknowns are inverted all the same.
LARGEST_BOTTOM = 600


@dataclass(frozen=True)
class FlowPlan:
    """What is done with the matrix that elimination leaves.

    Attributes
    ----------
    bases : tuple of str
        `hierarchy.BASES` of the levels' symmetric parts, the last for all below; empty for a
        factorisation instead of levels.
    drop : float
        Entries below this fraction of their column are dropped from the factors.
    fill : float
        Most entries of the factors over those of the matrix.
    """

    bases: tuple[str, ...] = ()
    drop: float = 0.0
    fill: float = 0.0


#: What the network picks from.
FLOW_PLANS = {
    "rs": FlowPlan(("rs",)),
    "sa": FlowPlan(("sa",)),
    "rs/sa0": FlowPlan(("rs", "sa0")),
    "ilu": FlowPlan(drop=1e-4, fill=20.0),
    "ilu-loose": FlowPlan(drop=1e-3, fill=20.0),
}


@dataclass(frozen=True)
class FlowReduction:
    """A scaled to unit diagonal and reduced by exact elimination.

    Attributes
    ----------
    A : csr_array
        What is left, of unit diagonal again.
    v : ndarray
        Its near-null vector.
    stages : tuple of Elimination
    left, right : ndarray, shape (n,)
        Scalings of the rows and columns of the matrix one started from.
    """

    A: sparse.csr_array
    v: np.ndarray
    stages: tuple[Elimination, ...]
    left: np.ndarray
    right: np.ndarray

    @cached_property
    def order(self) -> np.ndarray:
        """What is left, ordered along the flow: found once, for statistics and smoother."""
        return flow_order(self.A)


#: Decides on a plan, by name, from what is left after elimination.
FlowPick = Callable[[FlowReduction], str]


def _unit_diagonal(A: sparse.csr_array) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
    """Diag(left) A diag(right) with a diagonal of ones; where it is zero, the row is left alone."""
    d = A.diagonal()
    size = np.sqrt(np.abs(d))
    right = np.divide(1.0, size, out=np.ones_like(size), where=size > 0.0)
    left = np.where(d < 0.0, -right, right)
    return _scaled(A, left, right), left, right


def _scaled(A: sparse.csr_array, left: np.ndarray, right: np.ndarray) -> sparse.csr_array:
    values = rows.scaled_values(*rows.csr(A), left, right)
    return sparse.csr_array((values, A.indices, A.indptr), shape=A.shape)


def reduce_flow(A: sparse.csr_array) -> FlowReduction:
    """Scale A and eliminate exactly what couples to few others, in either direction.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        With a whole diagonal, sorted.

    Returns
    -------
    FlowReduction
    """
    current, left, right = _unit_diagonal(A)
    v = near_null_scaling(current, right)
    stages: list[Elimination] = []
    while current.shape[0] > COARSEST:
        stage = _eliminated(current)
        if stage is None:
            break
        current, elimination = stage
        stages.append(elimination)
        v = v[elimination.kept] / elimination.right
    return FlowReduction(current, v, tuple(stages), left, right)


def _eliminated(A: sparse.csr_array) -> tuple[sparse.csr_array, Elimination] | None:
    """Eliminate an independent set of unknowns with few neighbours: the Schur complement, scaled.

    None where too few can go, entries would be added, or a diagonal entry would vanish.
    """
    pattern = sparse.csr_array(abs(A) + abs(A.T))
    pattern.sort_indices()
    indptr, indices, _ = rows.csr(pattern)
    is_kept = ~rows.independent_set(indptr, indices, MOST_NEIGHBOURS + 1)
    eliminated, kept = np.flatnonzero(~is_kept), np.flatnonzero(is_kept)
    if len(eliminated) < LEAST_SHARE * A.shape[0]:
        return None
    of_kept = sparse.csr_array(A[kept])
    upper = sparse.csr_array(A[eliminated][:, kept])
    lower = sparse.csr_array(of_kept[:, eliminated])
    schur = sparse.csr_array(of_kept[:, kept] - lower @ upper)
    schur.sort_indices()
    # From 1 down to rounding: such a pivot is no number to divide by.
    if schur.nnz > A.nnz or not (np.abs(schur.diagonal()) > 1e-12).all():
        return None
    scaled, left, right = _unit_diagonal(schur)
    return scaled, Elimination(eliminated, kept, upper, lower, left, right)


def build_two_sided(
    A: sparse.csr_array,
    plan: str | FlowPick,
    *,
    model: str = "twin",
    learned: bool = True,
) -> TwoSidedCycle:
    """The approximate inverse of a nonsymmetric A.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        With a whole diagonal, as `checks.as_csr` gives it.
    plan : str or callable
        One of `FLOW_PLANS`, or what picks one from what is left after elimination. Where a
        factorisation breaks down, the first plan is taken.
    model : str
        Name to show.
    learned : bool
        Whether the plan was picked by a network.

    Returns
    -------
    TwoSidedCycle

    Raises
    ------
    NotDefiniteError
        If A has a zero on its diagonal.
    """
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(phase: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[phase] = seconds.get(phase, 0.0) + now - clock
        clock = now

    if not A.diagonal().all():
        raise NotDefiniteError(
            f"the models for nonsymmetric matrices need a whole diagonal, got a zero in row "
            f"{int(np.flatnonzero(A.diagonal() == 0.0)[0])}. Try ilu, which exchanges rows."
        )
    reduction = reduce_flow(A)
    lap("eliminate")
    if reduction.A.shape[0] <= COARSEST:
        name = next(iter(FLOW_PLANS))
    else:
        name = plan(reduction) if callable(plan) else plan
    lap("pick")
    stages: list[Stage] = list(reduction.stages)
    bottom: np.ndarray | Factors
    chosen = FLOW_PLANS[name]
    if not chosen.bases:
        try:
            factors = ilu(reduction.A, drop_tol=chosen.drop, fill_factor=chosen.fill)
        except ValueError:
            name, chosen = next(iter(FLOW_PLANS.items()))
        else:
            bottom = _factors(factors.lower, factors.upper, factors.rows, factors.cols)
            cost = bottom.multiplications
            entries = reduction.A.nnz
        lap("factor")
    if chosen.bases:
        levels, last = _levels(reduction, chosen)
        stages += levels
        bottom, cost = _bottom(last, reduction)
        entries = last.nnz
        lap("levels")
    M = TwoSidedCycle(
        stages,
        bottom,
        reduction.left,
        reduction.right,
        bottom_cost=cost,
        bottom_entries=entries,
        plan=name,
        model=model,
        learned=learned,
        nnz=A.nnz,
        setup_seconds=seconds,
    )
    lap("number")
    M.setup_seconds = seconds
    return M


def _levels(reduction: FlowReduction, plan: FlowPlan) -> tuple[list[Smoothed], sparse.csr_array]:
    """Coarsen by the symmetric part, smooth by ILU(0) along the flow; levels and the last matrix.

    Diffusion is what needs coarse levels, and it is in the symmetric part. Wind is carried by the
    smoother.
    """
    A: sparse.csr_array = reduction.A
    v: np.ndarray | None = reduction.v
    levels: list[Smoothed] = []
    while A.shape[0] > COARSEST and len(levels) < MAX_LEVELS:
        if not (A.diagonal() > 0.0).all():
            break
        half = sparse.csr_array(0.5 * (A + A.T))
        half.sort_indices()
        try:
            level = coarsen(half, plan.bases[min(len(levels), len(plan.bases) - 1)], v=v)
        except NotDefiniteError:
            # The symmetric part need not be definite.
            break
        if level is None:
            break
        P = sparse.csr_array(sparse.diags_array(level.s) @ level.P0)
        R = sparse.csr_array(P.T.tocsr())
        coarse = sparse.csr_array(R @ (A @ P))
        if coarse.nnz > LARGEST_GROWTH * A.nnz or not np.isfinite(coarse.data).all():
            break
        coarse.sort_indices()
        levels.append(Smoothed(A, _along_flow(A, reduction), P))
        A, v = coarse, None
    return levels, A


def _along_flow(A: sparse.csr_array, reduction: FlowReduction) -> Factors:
    """ILU(0) of a level's matrix; of the finest the order is known."""
    made = ilu0(A, order=reduction.order if A is reduction.A else None)
    place = np.empty_like(made.order)
    place[made.order] = np.arange(len(place))
    return _factors(made.lower, made.upper, made.order, place)


def _factors(lower: Triangle, upper: Triangle, order: np.ndarray, place: np.ndarray) -> Factors:
    """Scale both triangles to a unit diagonal: no row's value waits for a multiplication then."""
    first, last = lower.inverse_diagonal, upper.inverse_diagonal
    ones = np.ones(len(first))
    L, U = _scaled(lower.strict, ones, first), _scaled(upper.strict, last, ones)
    return Factors(L, U, first * last, order, place)


def _bottom(A: sparse.csr_array, reduction: FlowReduction) -> tuple[np.ndarray | Factors, float]:
    """Invert the last matrix, or factor it incompletely where it is too large; with its cost."""
    n = A.shape[0]
    if n <= LARGEST_BOTTOM:
        inverse = linalg.pinv(A.toarray())
        return inverse, float(inverse.size)
    if A.diagonal().all():
        factors = _along_flow(A, reduction)
        return factors, factors.multiplications
    d = np.where(A.diagonal() == 0.0, 1.0, A.diagonal())
    nothing, order = sparse.csr_array((n, n)), np.arange(n)
    return Factors(nothing, nothing, 1.0 / d, order, order), float(n)


def _names() -> tuple[str, ...]:
    quantiles = [
        f"{what} {round(100 * q)} %"
        for what in ("one way", "coupling", "row sum", "column sum")
        for q in _QUANTILES
    ]
    return (
        *quantiles,
        "one way, by size",
        "share against the order",
        "share of positive couplings",
        "mean degree",
        "spread of degrees",
        "unknowns",
    )


#: What each number is.
FLOW_STATISTICS = _names()


def flow_statistics(A: sparse.csr_array, *, order: np.ndarray | None = None) -> np.ndarray:
    """Numbers that tell wind from diffusion, and a wind that goes round from one that passes.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Of unit diagonal.
    order : ndarray of int, shape (n,), or None
        `flow_order` of A, where it is known.

    Returns
    -------
    ndarray of float32, shape (len(FLOW_STATISTICS),)
        Finite; independent of scale and, up to ties, of the order of unknowns.

    Examples
    --------
    >>> A = sparse.diags_array([-0.9, 1.0, -0.1], offsets=[-1, 0, 1], shape=(9, 9)).tocsr()
    >>> numbers = flow_statistics(sparse.csr_array(A))
    >>> round(float(numbers[FLOW_STATISTICS.index("one way, by size")]), 3)
    0.8
    """
    n = A.shape[0]
    off = sparse.csr_array(A - sparse.diags_array(A.diagonal()))
    off.eliminate_zeros()
    if off.nnz == 0:
        return np.zeros(len(FLOW_STATISTICS), dtype=np.float32)
    size = abs(off)
    both = sparse.csr_array(size + size.T)
    difference = sparse.csr_array(size - size.T)
    both.sort_indices()
    difference.sort_indices()
    # Entries that cancel are stored as zeros by one and left out by the other.
    one_way = np.concatenate(
        [np.abs(difference.data) / _entries(both, difference), np.zeros(both.nnz - difference.nnz)]
    )
    weight = float(np.abs(difference.data).sum() / both.data.sum())
    place = np.empty(n, dtype=np.int64)
    place[flow_order(A) if order is None else order] = np.arange(n)
    # In row i, what flows in from j: it should come before i.
    row = np.repeat(np.arange(n), np.diff(difference.indptr))
    inflow = np.maximum(difference.data, 0.0)
    against = inflow[place[difference.indices] > place[row]].sum() / max(inflow.sum(), 1e-300)
    sums = [1.0 + off.sum(axis=1), 1.0 + off.sum(axis=0)]
    sums = [x / (1.0 + np.abs(x)) for x in sums]
    degree = np.log1p(np.diff(both.indptr))
    numbers = np.concatenate(
        [
            np.quantile(one_way, _QUANTILES),
            np.quantile(size.data, _QUANTILES),
            np.quantile(sums[0], _QUANTILES),
            np.quantile(sums[1], _QUANTILES),
            [
                weight,
                against,
                (off.data > 0.0).mean(),
                degree.mean(),
                degree.std(),
                np.log10(n),
            ],
        ]
    )
    return np.nan_to_num(numbers, posinf=1e3, neginf=-1e3).clip(-1e3, 1e3).astype(np.float32)


def _entries(A: sparse.csr_array, pattern: sparse.csr_array) -> np.ndarray:
    """Entries of A at the places of a pattern within its own."""
    place = np.repeat(np.arange(A.shape[0]), np.diff(pattern.indptr))
    return np.asarray(A[place, pattern.indices]).ravel()
