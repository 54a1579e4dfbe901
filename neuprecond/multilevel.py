"""Setup of the multilevel M: coarsen, ask the network for values, build the cycle."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from neuprecond import rows
from neuprecond.classical.fsai import fsai_factor
from neuprecond.features import LevelFeatures, level_features, test_vectors
from neuprecond.hierarchy import (
    LUMPED,
    Elimination,
    KeptLevel,
    Level,
    coarsen,
    eliminate,
    galerkin,
    galerkin_pair,
    has_hubs,
    is_aggregated,
    largest_eigenvalue,
    largest_of,
    local_order,
    near_null_scaling,
    node_numbers,
    renumbered,
    scaled,
    unit_diagonal,
)
from neuprecond.operators.cycle import (
    COARSEST,
    FRACTION,
    Cycle,
    CycleLevel,
    chebyshev_smoother,
)

__all__ = [
    "PLANS",
    "Kept",
    "Pick",
    "Plan",
    "Reduction",
    "Values",
    "build_cycle",
    "changed_interpolation",
    "interpolated_as_before",
    "learns_on",
    "on_matrix",
    "reduce_exactly",
    "revisited",
    "smoother_diagonal",
]

#: A network's outputs for a level: one number a node, one an entry of P0.
Values = Callable[[LevelFeatures], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Plan:
    """How to coarsen, level by level, and which cycle to run.

    Attributes
    ----------
    bases : tuple of str
        `hierarchy.BASES` of the first levels; the last holds for all below.
    visits : tuple of int
        How often each level is run by the one above it, the first never more than once; the last
        holds for all below.
    smoother : str
        "chebyshev", a polynomial in A, or "fsai", a factored sparse approximate inverse: twice the
        work and half the steps where neighbours pull as much as they push, as in elasticity; no
        better than the polynomial on a Laplacian.
    """

    bases: tuple[str, ...]
    visits: tuple[int, ...]
    smoother: str = "chebyshev"

    def base(self, depth: int) -> str:
        """How the level at this depth is coarsened."""
        return self.bases[min(depth, len(self.bases) - 1)]

    def visit(self, depth: int) -> int:
        """How often the level at this depth is run."""
        return self.visits[min(depth, len(self.visits) - 1)]


#: Decides on a plan from a matrix of unit diagonal, its near-null vector and its test vectors.
Pick = Callable[[sparse.csr_array, np.ndarray, np.ndarray], Plan]

#: What the network picks from: of twenty-six combinations measured on problems like those that the
#: pick is fitted to, a set of which the best is within a percent of the best of all, and which can
#: be told apart; see datasets/results/log.md.
PLANS = {
    "rs10": Plan(("rs10",), (1,)),
    "rs10-w": Plan(("rs10",), (1, 2, 1)),
    "rs-w": Plan(("rs",), (1, 1, 2)),
    "rs50/sa5-w": Plan(("rs50", "sa5"), (1, 2, 1)),
    "sa": Plan(("sa",), (1,)),
    "sa5": Plan(("sa5",), (1,)),
    "sa5-w": Plan(("sa5",), (1, 2, 1)),
    "sa3-w": Plan(("sa3",), (1, 2, 1)),
    "sa0-w": Plan(("sa0",), (1, 2, 1)),
    "sa5-f": Plan(("sa5",), (1,), "fsai"),
    "evo": Plan(("evo",), (1,)),
    "root": Plan(("root",), (1,)),
    "root-w": Plan(("root",), (1, 2, 1)),
    "root-f": Plan(("root",), (1,), "fsai"),
    "min": Plan(("min",), (1,)),
    "min-w": Plan(("min",), (1, 2, 1)),
    "min-f": Plan(("min",), (1,), "fsai"),
}
#: For what is inverted at once.
FOR_SMALL = Plan(("rs",), (1,))


@dataclass(frozen=True)
class Kept:
    """What can be used again for another matrix of the same pattern.

    Attributes
    ----------
    plan : Plan
        How it was coarsened and cycled.
    levels : tuple of KeptLevel
        Of the levels below the eliminated ones.
    smoothers : tuple of (ndarray, float)
        Diagonal and fraction of the smoothers of `levels` and, where that is smoothed only, of what
        is left.
    """

    plan: Plan
    levels: tuple[KeptLevel, ...]
    smoothers: tuple[tuple[np.ndarray | None, float], ...]


# Bounds of what the network may change: a factor exp(±1) a row; half the geometric mean of a weight
# and its row's largest, less for weights below a hundredth of it. Across a jump of the coefficient
# by c, weights are of size 1/c and a change by δ costs the energy c δ²: with a change that does not
# shrink, two-phase problems took half as many iterations again as the twin.
SMOOTHER_BOUND = 1.0
INTERPOLATION_BOUND = 0.5
# Aggregates of nodes with all their near-null vectors leave less of the spectrum to the coarse
# matrix than those of unknowns do: the smoother must reach lower.
FRACTION_OF_BLOCKS = 0.1
MAX_LEVELS = 20
# Bounds of a coarse matrix's entries over its fine one's, of all levels' over the finest's, and of
# multiplications of a Galerkin product over the fine entries. Grids and meshes in space have 2, 3
# and 100; where more is asked for, aggregates are taken as they are.
LARGEST_GROWTH, LARGEST_COMPLEXITY, LARGEST_WORK = 3.0, 6.0, 300.0
# Entries a row of an FSAI smoother's factor; coarse rows of hubs are long.
FSAI_ROW_LIMIT = 64
# What is nearer to singular than this is left to coarser levels: its inverse in a smoother would
# only amplify rounding.
FSAI_LEAST_PIVOT = 1e-5
# Where coarsening stalls, up to this many unknowns are inverted all the same.
LARGEST_BOTTOM = 600


def learns_on(base: str) -> bool:
    """Whether values are learned where a level is coarsened in this way.

    On aggregates they save a tenth of the iterations. Ruge and Stüben's interpolation is as good as
    its pattern allows: two percent, and the network would take as long as the rest of the setup.
    """
    return is_aggregated(base)


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
    change = INTERPOLATION_BOUND * np.tanh(entry.astype(np.float64))
    coarse = np.ascontiguousarray(level.coarse_near_null[:, 0])
    values = rows.changed_values(*rows.csr(P0), coarse, change)
    return sparse.csr_array((values, P0.indices, P0.indptr), shape=P0.shape)


def build_cycle(
    A: sparse.csr_array,
    values: Values | None,
    *,
    plan: Plan | Pick,
    B: np.ndarray | None = None,
    model: str = "twin",
    setup_seconds: dict[str, float] | None = None,
    remarks: list[str] | None = None,
    order: np.ndarray | None = None,
    like: Cycle | None = None,
) -> Cycle:
    """The multilevel approximate inverse of A.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric positive (semi)definite with a positive diagonal, as `checks.as_csr` gives it.
    values : callable or None
        The network, asked on levels of aggregates; None builds the unlearned twin.
    plan : Plan or callable
        How to coarsen and cycle, or what decides on it from the matrix that is left after
        elimination.
    B : ndarray of shape (n, k), optional
        Near-null vectors; constants by default.
    model : str
        Name to show.
    setup_seconds : dict, optional
        Phases that were timed before.
    remarks : list of str, optional
        Gets a sentence where coarse matrices would have filled up.
    order : ndarray of int, shape (n,), optional
        Unknowns in the order to work in; by default as they come, or another where they come in
        random order. With several near-null vectors the unknowns of a node must come together.
    like : Cycle, optional
        Made for another matrix of A's pattern: its order, its plan and all that was decided level
        by level are taken over, and the values are A's own.

    Returns
    -------
    Cycle

    Raises
    ------
    ValueError
        If elimination leaves other unknowns than it left to ``like``.
    """
    seconds = {"pick": 0.0, "coarsen": 0.0, "features": 0.0, "network": 0.0, "products": 0.0}
    seconds = {**(setup_seconds or {}), **seconds}
    clock = time.perf_counter()

    def lap(phase: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[phase] = seconds.get(phase, 0.0) + now - clock
        clock = now

    # Nodes of several unknowns stay together as they come.
    if like is not None:
        order, plan = like.order, like.kept.plan
    elif order is None and (B is None or B.shape[1] == 1):
        order = local_order(A)
    if order is not None:
        A, B = renumbered(A, order), None if B is None else B[order]
        lap("order")
    reduction = reduce_exactly(A, B)
    current, v, B, stages = reduction.A, reduction.v, reduction.B, list(reduction.stages)
    if like is not None:
        before = [like.level(k) for k in range(like.levels - 1)]
        eliminated = [level for level in before if level.eliminated]
        _require_same_elimination(eliminated, [stage.level for stage in stages])
    lap("coarsen")
    # Samples of smooth error on the finest level: the pick looks at them, and so does the network.
    X = None
    if callable(plan) and current.shape[0] <= COARSEST:
        # What is inverted at once needs no plan.
        plan = FOR_SMALL
    elif callable(plan):
        flat, flat_s = unit_diagonal(current)
        X = test_vectors(flat)
        plan = plan(flat, (1.0 if v is None else v) / flat_s, X)
        lap("pick")
    nodes = None if B is None else node_numbers(B)
    # What the unlearned twin would have here: it alone decides on the structure. Strength measures
    # jump at small changes of a matrix, and a learned coarse matrix must not end up with another,
    # perhaps worse, hierarchy than its twin.
    plain = current
    depth, total, lumped = 0, current.nnz, 0
    kept: list[KeptLevel] = []
    smoothers: list[tuple[np.ndarray | None, float]] = []
    last = MAX_LEVELS if like is None else len(like.kept.levels)
    while current.shape[0] > COARSEST and depth < last:
        room = min(LARGEST_GROWTH * plain.nnz, LARGEST_COMPLEXITY * A.nnz - total)
        decided = None if like is None else like.kept.levels[depth]
        for level in _candidates(plain, plan.base(depth), B=B, v=v, nodes=nodes, kept=decided):
            lap("coarsen")
            fine = level if current is plain else on_matrix(level, current)
            P, d = fine.P0, np.ones(current.shape[0])
            single = level.coarse_near_null.shape[1] == 1
            if values is not None and single and learns_on(level.base):
                features = level_features(fine, X if depth == 0 else None)
                lap("features")
                smoother, entry = values(features)
                lap("network")
                P, d = changed_interpolation(fine, entry), smoother_diagonal(smoother)
            if P is level.P0:
                coarse = learned = galerkin(level.A, level.P0)
            else:
                coarse, learned = galerkin_pair((level.A, level.P0), (fine.A, P))
            lap("products")
            # Nothing fills up less than aggregates of constants.
            if coarse.nnz <= room or (single and level.base == LUMPED) or decided is not None:
                break
        else:
            break
        total += coarse.nnz
        lumped += level.base == LUMPED
        fraction = FRACTION if single else FRACTION_OF_BLOCKS
        S = _smoother(fine.A, d, fraction, plan.smoother)
        kept.append(KeptLevel.of(level))
        smoothers.append((None if P is level.P0 else d, fraction))
        stages.append(_Stage(CycleLevel(fine.A, S, P), fine.s, plan.visit(depth)))
        current, plain = learned, coarse
        v, nodes = None, level.coarse_nodes
        B = level.coarse_near_null if level.coarse_near_null.shape[1] > 1 else None
        depth += 1
        lap("products")
    if lumped and remarks is not None and like is None:
        remarks.append(
            "the coarse matrices of A fill up: all levels would hold more than "
            f"{LARGEST_COMPLEXITY:.0f} times A's entries, one of them {LARGEST_GROWTH:.0f} times "
            f"its fine one's, or cost as much to make. On {lumped} of {depth} levels plain "
            f"aggregates were taken instead ({total / A.nnz:.1f} times A's entries in all): M is "
            "sound but takes more steps. neuprecond.diagnose(A) tells what else there is."
        )
    bottom, s = unit_diagonal(current)
    if bottom.shape[0] > LARGEST_BOTTOM:
        # Nothing left to coarsen, too much to invert: this level is smoothed only.
        nothing = sparse.csr_array((bottom.shape[0], 0))
        end = CycleLevel(bottom, _smoother(bottom, np.ones(bottom.shape[0])), nothing)
        stages.append(_Stage(end, s, 1))
        smoothers.append((None, FRACTION))
        bottom, s = sparse.csr_array((0, 0)), np.empty(0)
    levels = []
    for k, stage in enumerate(stages):
        below = stages[k + 1].s if k + 1 < len(stages) else s
        # The next level's scaling goes into P: the cycle itself scales once, at the top.
        P = stage.level.P
        scaled_P = sparse.csr_array((P.data * below[P.indices], P.indices, P.indptr), shape=P.shape)
        levels.append(replace(stage.level, P=scaled_P))
    lap("products")
    return Cycle(
        levels,
        bottom,
        reduction.s if levels else reduction.s * s,
        visits=[stage.visits for stage in stages],
        model=model,
        learned=values is not None,
        nnz=A.nnz,
        order=order,
        kept=Kept(plan, tuple(kept), tuple(smoothers)),
        setup_seconds=seconds,
    )


def _require_same_elimination(before: Sequence[CycleLevel], now: Sequence[CycleLevel]) -> None:
    """Raise where unknowns were eliminated that were not before, or the other way round.

    The pattern decides on them but for entries of a Schur complement that cancel to zero.
    """
    same = len(before) == len(now) and all(
        np.array_equal(old.S.indptr, new.S.indptr) for old, new in zip(before, now, strict=True)
    )
    if not same:
        raise ValueError(
            "elimination leaves other unknowns of A than of the matrix that M was made for, since "
            "entries cancel in one of them: load again."
        )


def interpolated_as_before(
    M: Cycle, A: sparse.csr_array, *, setup_seconds: dict[str, float] | None = None
) -> Cycle:
    """M for another matrix of the same pattern, with M's interpolation and smoother diagonals.

    Scaling, elimination, Galerkin products, bounds of the smoothers and the coarsest inverse are
    A's own; no network runs. Whatever the interpolation is, M is positive definite if A is.

    Parameters
    ----------
    M : Cycle
        From `build_cycle`.
    A : csr_array, shape (n, n)
        Symmetric, with a positive diagonal and the pattern of the matrix that M was made for.
    setup_seconds : dict, optional
        Phases that were timed before.

    Returns
    -------
    Cycle

    Raises
    ------
    ValueError
        If elimination leaves other unknowns than it left to M.
    """
    clock = time.perf_counter()
    nnz = A.nnz
    A = A if M.order is None else renumbered(A, M.order)
    current, s = unit_diagonal(A)
    # M's levels work in scaled unknowns: what the scaling of the present one was, over what it is.
    ratio = M.s / s
    smoothers = iter(M.kept.smoothers)
    levels: list[CycleLevel] = []
    for k in range(M.levels - 1):
        old = M.level(k)
        if old.eliminated:
            elimination = eliminate(current)
            made = [] if elimination is None else [_eliminated(elimination).level]
            _require_same_elimination([old], made)
            assert elimination is not None
            level, coarse, kept = made[0], elimination.schur, elimination.kept
            # Kept unknowns have one entry, and it is the next level's scaling.
            before = ratio[kept] * old.P.data[old.P.indptr[kept]]
        else:
            d, fraction = next(smoothers)
            d = np.ones(current.shape[0]) if d is None else d
            values = old.P.data * np.repeat(ratio, np.diff(old.P.indptr))
            P = sparse.csr_array((values, old.P.indices, old.P.indptr), shape=old.P.shape)
            # What is left where coarsening stalls is smoothed by the polynomial on every plan.
            kind = M.kept.plan.smoother if P.shape[1] else "chebyshev"
            level = CycleLevel(current, _smoother(current, d, fraction, kind), P)
            if P.shape[1] == 0:
                levels.append(level)
                current = sparse.csr_array((0, 0))
                break
            coarse, before = galerkin(current, P), np.ones(P.shape[1])
        current, below = unit_diagonal(coarse)
        P = level.P
        scaled_P = sparse.csr_array((P.data * below[P.indices], P.indices, P.indptr), shape=P.shape)
        levels.append(replace(level, P=scaled_P))
        ratio = before / below
    seconds = {**(setup_seconds or {}), "products": time.perf_counter() - clock}
    return Cycle(
        levels,
        current,
        s,
        visits=[M.visits(k) for k in range(len(levels))],
        model=M.model,
        learned=M.learned,
        nnz=nnz,
        order=M.order,
        kept=M.kept,
        setup_seconds=seconds,
    )


def revisited(M: Cycle, plan: Plan) -> Cycle:
    """M with the visits of another plan, of the same bases and smoother, without a setup.

    Examples
    --------
    >>> A = sparse.csr_array(sparse.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1],
    ...                                         shape=(900, 900)))
    >>> M = build_cycle(A, None, plan=PLANS["sa5"])
    >>> revisited(M, PLANS["sa5-w"]).density >= M.density
    True
    """
    eliminated = sum(M.level(k).eliminated for k in range(M.levels - 1))
    coarsened = len(M.kept.levels)
    smoothed_only = M.levels - 1 - eliminated - coarsened
    visits = [1] * eliminated + [plan.visit(k) for k in range(coarsened)] + [1] * smoothed_only
    return M.revisited(visits, replace(M.kept, plan=plan))


def _candidates(
    A: sparse.csr_array,
    base: str,
    *,
    B: np.ndarray | None,
    v: np.ndarray | None,
    nodes: np.ndarray | None,
    kept: KeptLevel | None = None,
) -> Iterator[Level]:
    """Ways to coarsen A, the wanted one first, each to be taken if its coarse matrix does not fill.

    Random graphs and networks with hubs fill up under any interpolation that is worth its name.
    """
    if kept is not None:
        B = B if kept.several else None
        level = coarsen(A, kept.base, B=B, v=v, nodes=nodes, kept=kept)
        if level is not None:
            yield level
        return
    level = coarsen(A, base, B=B, v=v, nodes=nodes)
    if level is None and B is None:
        # Couplings of many neighbours are all weak by an absolute measure.
        level = coarsen(A, "rs", v=v)
    if level is None:
        return
    # Blocks of several near-null vectors take more work an entry, and few of them are left.
    if B is not None or _work(A, level) <= LARGEST_WORK * A.nnz:
        yield level
    if B is None and is_aggregated(level.base) and not has_hubs(A):
        # Smoothed aggregates of few unknowns fill up sooner than Ruge and Stüben's splitting.
        level = coarsen(A, "rs", v=v)
        if level is not None and _work(A, level) <= LARGEST_WORK * A.nnz:
            yield level
    if B is not None:
        level = coarsen(A, LUMPED, B=B, nodes=nodes)
        if level is None:
            return
        yield level
        # Blocks of several vectors fill up even so: from here on constants have to do.
    level = coarsen(A, LUMPED, v=v)
    if level is not None:
        yield level


def _work(A: sparse.csr_array, level: Level) -> float:
    """Multiplications of the Galerkin product, from above."""
    lengths = np.diff(level.P0.indptr)
    pattern = sparse.csr_array((np.ones(A.nnz), A.indices, A.indptr), shape=A.shape)
    return float(lengths @ np.minimum(level.P0.shape[1], pattern @ lengths))


def reduce_exactly(A: sparse.csr_array, B: np.ndarray | None = None) -> "Reduction":
    """Scale A and eliminate exactly what can be: where every multilevel setup starts.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric, with a positive diagonal.
    B : ndarray of shape (n, k), optional
        Near-null vectors; with several of them nothing is eliminated.

    Returns
    -------
    Reduction
    """
    # From here on even the finest matrix is scaled: its entries neither over- nor underflow.
    current, s = unit_diagonal(A)
    if B is not None and B.shape[1] > 1:
        return Reduction(current, None, B / s[:, None], s, ())
    if B is None:
        v = near_null_scaling(current, s)
    else:
        v = np.where(B[:, 0] == 0.0, 1e-8 * np.abs(B).max(), B[:, 0]) / s
    stages = []
    while current.shape[0] > COARSEST:
        elimination = eliminate(current)
        if elimination is None:
            break
        stages.append(_eliminated(elimination))
        current, v = elimination.schur, (v / elimination.s)[elimination.kept]
    return Reduction(current, v, None, s, tuple(stages))


@dataclass(frozen=True)
class Reduction:
    """What is left of a matrix after scaling and exact elimination.

    Attributes
    ----------
    A : csr_array
        The matrix that is left, not scaled again.
    v : ndarray or None
        Its near-null vector, if there is one only.
    B : ndarray or None
        Its near-null vectors, if there are several.
    s : ndarray, shape (n,)
        Scaling of the matrix one started from.
    stages : tuple
        Eliminated levels.
    """

    A: sparse.csr_array
    v: np.ndarray | None
    B: np.ndarray | None
    s: np.ndarray
    stages: "tuple[_Stage, ...]"


@dataclass(frozen=True)
class _Stage:
    """A level of the cycle with its scaling and visits."""

    level: CycleLevel
    s: np.ndarray
    visits: int


def on_matrix(level: Level, A: sparse.csr_array) -> Level:
    """The structure and interpolation of a level, for another matrix of the same unknowns."""
    scaled_A, s = unit_diagonal(A)
    P0 = level.P0
    values = P0.data * np.repeat(level.s / s, np.diff(P0.indptr))
    return replace(
        level,
        A=scaled_A,
        s=s,
        near_null=level.near_null * (level.s / s),
        P0=sparse.csr_array((values, P0.indices, P0.indptr), shape=P0.shape),
    )


def _eliminated(elimination: Elimination) -> _Stage:
    n = elimination.A.shape[0]
    pivots = np.zeros(n + 1, dtype=np.int64)
    pivots[elimination.eliminated + 1] = 1
    ones = np.ones(len(elimination.eliminated))
    S = sparse.csr_array((ones, elimination.eliminated, np.cumsum(pivots)), shape=(n, n))
    level = CycleLevel(sparse.csr_array((n, n)), S, elimination.P, eliminated=True)
    return _Stage(level, elimination.s, 1)


def _smoother(
    A: sparse.csr_array, d: np.ndarray, fraction: float = FRACTION, kind: str = "chebyshev"
) -> sparse.csr_array:
    """S of a level; Chebyshev's too where FSAI meets a diagonal entry that is rounding only."""
    if kind == "fsai" and A.diagonal().min() > 0.0:
        return _fsai_smoother(A)
    return chebyshev_smoother(A, d, largest_eigenvalue(scaled(A, np.sqrt(d))), fraction)


def _fsai_smoother(A: sparse.csr_array) -> sparse.csr_array:
    """S = ω GᵀG with G of FSAI, which a diagonal from the network would not change."""
    G = fsai_factor(A, row_limit=FSAI_ROW_LIMIT, least_pivot=FSAI_LEAST_PIVOT)
    Gt = sparse.csr_array(G.T.tocsr())
    largest = largest_of(lambda x: G @ (A @ (Gt @ x)), A.shape[0])
    S = sparse.csr_array(Gt @ G)
    S = sparse.csr_array(S + S.T)
    # A polynomial of degree zero over [f λmax, λmax]; the half makes up for the sum above.
    S.data *= 0.5 * 2.0 / (largest * (1.0 + FRACTION))
    S.sort_indices()
    return S
