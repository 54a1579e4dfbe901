"""Setup of the multilevel M over ranks: coarsen rank by rank, ask the network, multiply by PETSc.

What differs from one process: a rank coarsens its own rows only, as GAMG and BoomerAMG do, and
eliminated unknowns are chosen rank by rank. What is the same, given that: every value, since
interpolation and the network see a halo of the rows of other ranks, and eigenvalues, weights and
statistics are those of the whole matrix. Only the lengths of the steps to interpolation of least
energy are those of a rank's halo.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pyamg
from mpi4py import MPI
from petsc4py import PETSc
from scipy import linalg, sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

from neuprecond import rows
from neuprecond.features import SWEEPS, TEST_VECTORS, level_features
from neuprecond.hierarchy import (
    EIGENVALUE_SAFETY,
    ELIMINATIONS,
    EVOLUTION_STEPS,
    HUBS,
    LUMPED,
    ROUNDING,
    WITHOUT_EVOLUTION,
    Level,
    _aggregate,
    _node_strength,
    _require_not_indefinite,
    _split_and_interpolate,
    _strength,
    by_evolution,
    is_aggregated,
    is_minimised,
    node_numbers,
    scaled,
    unit_diagonal,
)
from neuprecond.interpolation import (
    classical_interpolation,
    minimised_aggregates,
    minimised_splitting,
)
from neuprecond.multilevel import (
    FRACTION_OF_BLOCKS,
    LARGEST_COMPLEXITY,
    LARGEST_GROWTH,
    LARGEST_WORK,
    MAX_LEVELS,
    Plan,
    Values,
    build_cycle,
    changed_interpolation,
    learns_on,
    on_matrix,
    smoother_diagonal,
)
from neuprecond.operators.cycle import FRACTION, Cycle, chebyshev_coefficients
from neuprecond.petsc.cycle import DistributedCycle, DistributedLevel, Redundant
from neuprecond.petsc.halo import (
    Halo,
    Temporary,
    agreed,
    distributed,
    largest,
    owned_rows,
    total,
    typical_residual,
)
from neuprecond.statistics import matrix_statistics, row_statistics, sampled_rows

__all__ = ["build"]

#: Decides on a plan from the numbers of `neuprecond.statistics`.
Pick = Callable[[np.ndarray], Plan]

# Of so few unknowns every rank keeps the whole matrix and runs one process's cycle: one gather
# costs less than the messages of the levels it stands for.
REDUNDANT = 1000
# More unknowns than these on every rank are remarked on.
LARGE_BOTTOM = 50_000
# Beyond the rounds of message passing: a root is up to three couplings from its aggregate's edge,
# and features of a row know its neighbours'.
BEYOND = 4
EIGENVALUE_STEPS = 12
# How often ranks go over their rows for unknowns to eliminate, each time with what others chose.
PASSES = 2
# So near to another rank a row may have been changed by how ranks eliminate.
EDGE = 3


def build(
    A: Any, values: Values | None, *, plan: Plan | Pick, B: np.ndarray | None, rounds: int
) -> DistributedCycle:
    """The multilevel approximate inverse of a distributed matrix. Collective.

    Parameters
    ----------
    A : Mat
        Symmetric positive (semi)definite with a positive diagonal, AIJ.
    values : callable or None
        The network; None builds the unlearned twin.
    plan : Plan or callable
        How to coarsen and cycle, or what decides on it from statistics of the whole matrix.
    B : ndarray of shape (rows of this rank, k), optional
        Near-null vectors; constants by default.
    rounds : int
        Of message passing.
    """
    with Temporary() as used:
        cycle = _build(A, values, plan, B, rounds, used)
        used.keep(*cycle.parts())
    return cycle


def _build(
    A: Any,
    values: Values | None,
    plan: Plan | Pick,
    B: np.ndarray | None,
    rounds: int,
    used: Temporary,
) -> DistributedCycle:
    """`build`; all that is made on the way is in ``used``."""
    comm = A.getComm().tompi4py()
    s = used(_scaling(A))
    current = used(_scaled(A, s))
    v: np.ndarray | None = None
    stages: list[_Stage] = []
    if B is not None and B.shape[1] > 1:
        B = B / s.getArray(readonly=True)[:, None]
    else:
        v, B = _near_null(current, s.getArray(readonly=True), B, comm), None
        while current.getSize()[0] > REDUNDANT:
            eliminated = _eliminated(current, comm)
            if eliminated is None:
                break
            stage, current, kept = eliminated
            stages.append(stage)
            for each in (stage.level.S, stage.level.P, stage.s, current):
                used(each)
            v = (v / stage.s.getArray(readonly=True))[kept]
    nodes = None if B is None else _nodes(B, comm)
    if not isinstance(plan, Plan) and current.getSize()[0] > REDUNDANT:
        plan = plan(_statistics(current, v, comm))
    # What the twin would have here decides on the structure, as on one process.
    plain, depth, entries, finest = current, 0, _nnz(current), _nnz(A)
    while current.getSize()[0] > REDUNDANT and depth < MAX_LEVELS:
        assert isinstance(plan, Plan)
        room = min(LARGEST_GROWTH * _nnz(plain), LARGEST_COMPLEXITY * finest - entries)
        scaling = used(_scaling(current))
        scaled_A = used(_scaled(current, scaling))
        if B is None:
            coarsened = _coarsened(plain, plan.base(depth), room, v, rounds, comm, used)
            if coarsened is None:
                break
            part, coarse = coarsened
            level = part.level if current is plain else None
            asked = values if learns_on(part.level.base) else None
            P, d = _valued(part, current, level, asked, comm)
            used(P)
            alike = asked is None and current is plain
            following = coarse if alike else used(_galerkin(scaled_A, P))
        else:
            blocks = _blocks(current, scaled_A, scaling, B, nodes, room, comm)
            if blocks is None:
                break
            P, B, nodes, coarse = blocks
            used(P)
            d, following = np.ones(current.getLocalSize()[0]), used(coarse)
        entries += _nnz(coarse)
        S = used(_smoother(scaled_A, d, FRACTION if B is None else FRACTION_OF_BLOCKS, comm))
        stages.append(_Stage(DistributedLevel(scaled_A, S, P, plan.visit(depth)), scaling))
        current, plain, v = following, coarse, None
        depth += 1
    for k, stage in enumerate(stages[:-1]):
        # The next level's scaling goes into P: the cycle itself scales once, at the top.
        stage.level.P.diagonalScale(None, stages[k + 1].s)
    bottom = _bottom(current, values, plan, depth, v, B, comm)
    first = used(s.duplicate())
    s.copy(first)
    if stages:
        first.pointwiseMult(s, stages[0].s)
    shown = _name(plan) if isinstance(plan, Plan) else "of one process"
    return DistributedCycle([stage.level for stage in stages], bottom, first, shown)


def _name(plan: Plan) -> str:
    return f"{'/'.join(plan.bases)}, visits {', '.join(map(str, plan.visits))}"


@dataclass(frozen=True)
class _Stage:
    """A level of the cycle with its scaling, a Vec."""

    level: DistributedLevel
    s: Any


@dataclass(frozen=True)
class _Part:
    """A rank's share of a level: the level on its halo, and which coarse unknowns those are.

    Attributes
    ----------
    halo : Halo
        Of the matrix that was coarsened.
    level : Level
        Of the halo's rows; right for rows far enough inside.
    coarse_ids : ndarray of int64
        Global numbers of the level's coarse unknowns.
    own_coarse : int
        How many of them belong to this rank.
    """

    halo: Halo
    level: Level
    coarse_ids: np.ndarray
    own_coarse: int

    def spread(self, P: sparse.csr_array, comm: MPI.Comm) -> Any:
        """The rows of this rank of an interpolation on the halo, as a distributed matrix."""
        own = P[self.halo.own]
        columns = int(comm.allreduce(self.own_coarse))
        parts = own.data, self.coarse_ids[own.indices], own.indptr
        return distributed(
            comm, sparse.csr_array(parts, shape=(own.shape[0], columns)), self.own_coarse
        )


def _nnz(A: Any) -> float:
    """Entries over all ranks. Collective."""
    return float(A.getInfo()["nz_used"])


def _scaling(A: Any) -> Any:
    """diag(A)^(-1/2) as a Vec; 1 where the diagonal is not positive."""
    s = A.getDiagonal()
    d = s.getArray()
    d[:] = np.where(d > 0.0, 1.0 / np.sqrt(np.where(d > 0.0, d, 1.0)), 1.0)
    return s


def _scaled(A: Any, s: Any) -> Any:
    """S A S, a copy."""
    scaled_A = A.copy()
    scaled_A.diagonalScale(s, s)
    return scaled_A


def _start(count: int, comm: MPI.Comm) -> int:
    """Number of the first of a rank's ``count`` things, counted over all ranks."""
    return int(comm.scan(count)) - count


def _pattern(A: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array((np.ones(A.nnz), A.indices, A.indptr), shape=A.shape)


def _normal(ids: np.ndarray, column: int) -> np.ndarray:
    """Normally distributed numbers that depend on an unknown's number alone, not on its rank."""
    uniform = []
    for salt in (2 * column + 1, 2 * column + 2):
        # The finaliser of SplitMix64.
        x = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x += np.uint64(salt * 0xD1342543DE82EF95 % 2**64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        uniform.append(((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2.0**53)
    return np.sqrt(-2.0 * np.log1p(-uniform[0])) * np.cos(2.0 * np.pi * uniform[1])


def _near_null(A: Any, s: np.ndarray, B: np.ndarray | None, comm: MPI.Comm) -> np.ndarray:
    """The near-null vector of a matrix of unit diagonal: constants before or after its scaling."""
    if B is not None:
        vector = B[:, 0]
        return np.where(vector == 0.0, 1e-8 * largest(comm, np.abs(vector)), vector) / s
    candidate = -largest(comm, -s) / s
    ones = np.ones_like(s)
    if -largest(comm, -candidate) < 1e-100:
        return ones
    with Temporary() as used:
        halo = used(Halo(A, 1))
        residuals = [typical_residual(halo, halo.A, v, comm) for v in (candidate, ones)]
    return candidate if residuals[0] <= residuals[1] else ones


@numba.njit(**rows.OPTIONS)
def _greedy(indptr, indices, may, chosen, order, first):  # type: ignore[no-untyped-def]
    """Choose, in order, rows that may be and are coupled to no chosen one; in place."""
    for own in order:
        i = first + own
        free = may[own] and not chosen[i]
        for k in range(indptr[i], indptr[i + 1]):
            free = free and not chosen[indices[k]]
        chosen[i] = chosen[i] or free


def _outwards(halo: Halo) -> np.ndarray:
    """A rank's own rows from one of them outwards: every row but the first comes next to another.

    In the order they come, the rows of half a grid line and of those below it do not.
    """
    block = sparse.csr_array(halo.A[halo.own][:, halo.own])
    if block.shape[0] == 0:
        return np.empty(0, dtype=np.int64)
    return reverse_cuthill_mckee(block, symmetric_mode=True)[::-1].astype(np.int64)


def _matching(halo: Halo, few: np.ndarray, order: np.ndarray, comm: MPI.Comm) -> np.ndarray:
    """The unknowns a rank would eliminate, chosen so that they go together with other ranks'.

    Of a grid either colour of a chessboard will do inside of a rank, but not where ranks meet. Each
    rank offers two sets; all ranks make the same choice among them, rank by rank.
    """
    own, local = halo.own, halo.A
    graph = rows.csr(local)[:2]
    sets: list[np.ndarray] = []
    for other in (False, True):
        around = np.zeros(len(halo.ids), dtype=bool)
        if other:
            _greedy(*graph, few & ~sets[0], around, order, own.start)
        _greedy(*graph, few, around, order, own.start)
        sets.append(around[own])
    starts = np.array(comm.allgather(halo.start))
    # Among empty ranks that start where another does, the last one has the rows.
    owner = np.searchsorted(starts, halo.ids, side="right") - 1
    theirs = [halo.bring(offered) for offered in sets]
    rank, clashes = comm.Get_rank(), {}
    mine = _pattern(local)[own]
    for q in np.unique(owner[owner < rank]):
        at = owner == q
        clashes[int(q)] = [
            [float(offered @ (mine @ (offer * at))) for offer in theirs] for offered in sets
        ]
    taken: list[int] = []
    for lower in comm.allgather(clashes):
        cost = [sum(counts[k][taken[q]] for q, counts in lower.items()) for k in (0, 1)]
        taken.append(int(cost[1] < cost[0]))
    return sets[taken[rank]]


def _eliminated(A: Any, comm: MPI.Comm) -> tuple[_Stage, Any, np.ndarray] | None:
    """Eliminate an independent set exactly: the level, what is left, and which rows are kept.

    Ranks choose on their own; where two chose neighbours, the lower rank has its way.
    """
    with Temporary() as used:
        halo = used(Halo(A, 1))
        for neighbours, share, growth in ELIMINATIONS:
            found = _eliminated_by(A, halo, comm, neighbours, share, growth)
            if found is not None:
                return found
    return None


def _eliminated_by(
    A: Any, halo: Halo, comm: MPI.Comm, neighbours: int, share: float, growth: float
) -> tuple[_Stage, Any, np.ndarray] | None:
    """`_eliminated` by one of `ELIMINATIONS`; the halo is one coupling deep."""
    n = A.getSize()[0]
    own, local = halo.own, halo.A
    with Temporary() as used:
        few = np.diff(local.indptr)[own] <= neighbours + 1
        if total(comm, few.sum()) < share * n:
            return None
        chosen = np.zeros(len(few), dtype=bool)
        order = _outwards(halo)
        first = _matching(halo, few, order, comm)
        for turn in range(PASSES):
            around = halo.bring(chosen) > 0.0
            before = chosen
            if turn:
                _greedy(*rows.csr(local)[:2], few, around, order, own.start)
            else:
                around[own] = first
            new = around[own] & ~before
            lower = halo.bring(new)
            lower[own.start :] = 0.0
            chosen = before | (new & ((_pattern(local) @ lower)[own] == 0.0))
        if total(comm, chosen.sum()) < share * n:
            return None
        kept = np.flatnonzero(~chosen)
        number = np.full(len(few), -1.0)
        number[kept] = _start(len(kept), comm) + np.arange(len(kept))
        numbers = halo.bring(number).astype(np.int64)
        mine = unit_diagonal(local)[0][own]
        of = np.repeat(np.arange(len(few)), np.diff(mine.indptr))
        gone = chosen[of] & (mine.indices != of + own.start)
        entries = np.concatenate([-mine.data[gone], np.ones(len(kept))])
        at = np.concatenate([of[gone], kept])
        to = np.concatenate([numbers[mine.indices[gone]], number[kept].astype(np.int64)])
        parts, shape = (entries, (at, to)), (len(few), int(comm.allreduce(len(kept))))
        P = used(distributed(comm, sparse.coo_array(parts, shape=shape).tocsr(), len(kept)))
        s = used(_scaling(A))
        below = used(_galerkin(used(_scaled(A, s)), P))
        if _nnz(below) > growth * _nnz(A):
            return None
        pivots = s.duplicate()
        pivots.setArray(chosen.astype(np.float64))
        used.keep(P, s, below)
    return _Stage(DistributedLevel(None, pivots, P), s), below, kept


def _galerkin(A: Any, P: Any) -> Any:
    """The coarse matrix Pᵀ A P without entries that are rounding only."""
    comm = A.getComm().tompi4py()
    with Temporary() as used:
        product = used(A.ptap(P))
        halo = used(Halo(product, 1))
        squares = owned_rows(P)
        squares.data **= 2
        squared = used(distributed(comm, squares, P.getLocalSize()[1]))
        ones, sizes = used(squared.createVecLeft()), used(squared.createVecRight())
        ones.set(1.0)
        squared.multTranspose(ones, sizes)
        smallest = ROUNDING * halo.bring(sizes.getArray(readonly=True))
    d = np.abs(halo.A.diagonal())
    # The end of a component without a sink: a diagonal of nothing but rounding.
    d[d <= smallest] = np.inf
    mine = halo.A[halo.own]
    of = np.repeat(np.arange(mine.shape[0]) + halo.own.start, np.diff(mine.indptr))
    size = np.sqrt(d[of]) * np.sqrt(d[mine.indices])
    stays = (np.abs(mine.data) > ROUNDING * size) | (of == mine.indices)
    entries = np.where(np.isfinite(size), mine.data, 0.0)[stays]
    counts = np.bincount(of[stays] - halo.own.start, minlength=mine.shape[0])
    indptr = np.concatenate([[0], np.cumsum(counts)])
    parts = entries, halo.ids[mine.indices[stays]], indptr
    shape = mine.shape[0], P.getSize()[1]
    return distributed(comm, sparse.csr_array(parts, shape=shape), P.getLocalSize()[1])


def _coarsened(
    A: Any,
    base: str,
    room: float,
    v: np.ndarray | None,
    rounds: int,
    comm: MPI.Comm,
    used: Temporary,
) -> tuple[_Part, Any] | None:
    """One step of coarsening with the twin's coarse matrix, of ``room`` entries at most."""
    halo = used(Halo(A, rounds + BEYOND))
    around = None if v is None else halo.bring(v)
    part = _split(halo, base, around, comm)
    if part is None:
        # Couplings of many neighbours are all weak by an absolute measure.
        part = _split(halo, "rs", around, comm)
    if part is None:
        return None
    s = used(_scaling(A))
    scaled_A = used(_scaled(A, s))

    def coarse(part: _Part) -> Any:
        return used(_galerkin(scaled_A, used(part.spread(part.level.P0, comm))))

    def fits(part: _Part) -> Any | None:
        lengths = np.diff(part.level.P0.indptr)[halo.own]
        reached = _pattern(halo.A)[halo.own] @ halo.bring(lengths)
        work = total(comm, lengths @ np.minimum(total(comm, part.own_coarse), reached))
        if work > LARGEST_WORK * _nnz(A):
            return None
        full = coarse(part)
        return full if _nnz(full) <= room else None

    full = fits(part)
    if full is None and is_aggregated(part.level.base) and not _has_hubs(halo, comm):
        # As on one process: what fills up as smoothed aggregates may not as a splitting.
        other = _split(halo, "rs", around, comm)
        part, full = (part, None) if other is None else (other, fits(other))
    if full is not None:
        return part, full
    part = _split(halo, LUMPED, around, comm)
    return None if part is None else (part, coarse(part))


def _split(halo: Halo, base: str, v: np.ndarray | None, comm: MPI.Comm) -> _Part | None:
    """Coarsen a rank's own rows; interpolate those of the halo. None where nothing is gained."""
    local, own = halo.A, halo.own
    scaled_A, s = unit_diagonal(local)
    flat = local if v is None else scaled(local, v)
    if by_evolution(base) and _has_hubs(halo, comm):
        base = WITHOUT_EVOLUTION
    largest = None
    if by_evolution(base):
        largest = _largest_eigenvalue(halo, scaled_A[own], comm, steps=EVOLUTION_STEPS, safety=1.0)
    with agreed(comm):
        strong = sparse.csr_array(local.shape)
        if len(halo.ids):
            strong = sparse.csr_array(_strength(flat, base, scaled_A, largest))
            strong.sort_indices()
        block = sparse.csr_array(strong[own][:, own])
    by_aggregates = is_aggregated(base)
    choose = _aggregated if by_aggregates else _split_by_strength
    number, root, count = choose(halo, flat, strong, block, comm)
    coarse = total(comm, count)
    if coarse == 0 or coarse > 0.9 * total(comm, own.stop - own.start):
        return None
    first = _start(count, comm)
    number[number >= 0] += first
    if by_aggregates:
        _join(halo, strong, number, root)
    numbers, ids = (halo.bring(x).astype(np.int64) for x in (number, root))
    weight = 0.0
    if by_aggregates and base != LUMPED:
        weight = 4.0 / 3.0 / _largest_eigenvalue(halo, scaled_A[own], comm)
    with agreed(comm):
        member = np.flatnonzero(numbers >= 0)
        if by_aggregates:
            P, coarse_ids, example = _tentative(numbers, member)
            # A root outside of the halo is that of a row far from this rank's own: any row does.
            place = np.minimum(np.searchsorted(halo.ids, ids[example]), len(halo.ids) - 1)
            roots = np.where(halo.ids[place] == ids[example], place, example)
            if is_minimised(base):
                P = minimised_aggregates(flat, P, strong, roots, weight)
            elif weight:
                step = sparse.csr_array(flat @ P)
                d = flat.diagonal()
                step.data *= np.repeat(-weight / np.where(d > 0, d, np.inf), np.diff(step.indptr))
                P = sparse.csr_array(P + step)
        else:
            coarse_ids, roots = numbers[member], member
            P = classical_interpolation(flat, strong, numbers >= 0)
            if is_minimised(base) and len(roots):
                P = minimised_splitting(flat, P, strong, roots)
        near_null = 1.0 / s if v is None else v / s
        P.data *= np.repeat(near_null, np.diff(P.indptr))
        P.sort_indices()
        Bc, owner = np.ones((len(roots), 1)), np.arange(len(roots))
        level = Level(scaled_A, s, near_null, P, Bc, roots, strong, base, owner)
    return _Part(halo, level, coarse_ids, count)


def _has_hubs(halo: Halo, comm: MPI.Comm) -> bool:
    """Whether rows of the whole matrix are as unequal as `neuprecond.hierarchy` asks."""
    lengths = np.diff(halo.A.indptr)[halo.own].astype(np.float64)
    return total(comm, lengths @ lengths) > HUBS * total(comm, lengths.sum())


def _split_by_strength(
    halo: Halo,
    flat: sparse.csr_array,
    strong: sparse.csr_array,
    block: sparse.csr_array,
    comm: MPI.Comm,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Ruge-Stüben splitting of a rank's rows: their numbers or -1, their own ids, how many."""
    own = halo.own
    is_coarse = np.zeros(own.stop - own.start, dtype=bool)
    with agreed(comm):
        if len(is_coarse):
            _, roots = _split_and_interpolate(sparse.csr_array(flat[own][:, own]), block)
            is_coarse[roots] = True
    around = halo.bring(is_coarse) > 0.0
    with agreed(comm):
        _cover(*rows.csr(strong)[:2], around, own.start, own.stop)
    roots = np.flatnonzero(around[own])
    number = np.full(len(is_coarse), -1.0)
    number[roots] = np.arange(len(roots))
    return number, np.arange(halo.start, halo.stop).astype(np.float64), len(roots)


@numba.njit(**rows.OPTIONS)
def _cover(indptr, indices, is_coarse, first, last):  # type: ignore[no-untyped-def]
    """Make coarse, in place, the rows of this rank that a higher rank's row cannot do without.

    Between two ranks nobody has seen to it that strongly coupled fine rows share a coarse one. The
    lower rank does, where they do not; each rank's own couplings stay as they are.
    """
    for i in range(first, last):
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            if is_coarse[i] or j < last or is_coarse[j]:
                continue
            common = False
            for m in range(indptr[i], indptr[i + 1]):
                if is_coarse[indices[m]]:
                    for p in range(indptr[j], indptr[j + rows.ONE]):
                        common = common or indices[p] == indices[m]
            is_coarse[i] = not common


def _aggregated(
    halo: Halo,
    flat: sparse.csr_array,
    strong: sparse.csr_array,
    block: sparse.csr_array,
    comm: MPI.Comm,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Aggregates of a rank's rows: their numbers or -1, ids of their roots, how many."""
    n, count = block.shape[0], 0
    number, root = np.full(n, -1.0), np.full(n, -1.0)
    with agreed(comm):
        if n:
            aggregates, roots = pyamg.aggregation.standard_aggregation(block)
            aggregates = sparse.csr_array(aggregates)
            # Where nothing is strong PyAMG gives one aggregate of nothing.
            if aggregates.nnz:
                member = np.flatnonzero(np.diff(aggregates.indptr))
                count = aggregates.shape[1]
                number[member] = aggregates.indices
                root[member] = halo.start + np.asarray(roots)[aggregates.indices]
    links = _links(strong, halo.own)
    # Rows whose strong neighbours are all on other ranks and have no aggregate either.
    alone = (number < 0) & (np.diff(links.indptr) > 0) & (links @ halo.bring(number >= 0) == 0.0)
    new = np.flatnonzero(alone)
    number[new], root[new] = count + np.arange(len(new)), halo.start + new
    return number, root, count + len(new)


def _join(halo: Halo, strong: sparse.csr_array, number: np.ndarray, root: np.ndarray) -> None:
    """Let rows without an aggregate join that of a strong neighbour on another rank, in place."""
    numbers, roots = halo.bring(number), halo.bring(root)
    links = _links(strong, halo.own)
    for i in np.flatnonzero((number < 0) & (np.diff(links.indptr) > 0)):
        near = links.indices[links.indptr[i] : links.indptr[i + 1]]
        j = near[numbers[near] >= 0][0]
        number[i], root[i] = numbers[j], roots[j]


def _links(strong: sparse.csr_array, own: slice) -> sparse.csr_array:
    """Strong connections of a rank's rows to other rows, as ones."""
    mine = strong[own].tocoo()
    other = (mine.row + own.start != mine.col) & (mine.data != 0.0)
    parts = np.ones(int(other.sum())), (mine.row[other], mine.col[other])
    return sparse.coo_array(parts, shape=mine.shape).tocsr()


def _tentative(
    numbers: np.ndarray, member: np.ndarray
) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
    """Membership in aggregates as ones, their global numbers, and a row of each."""
    coarse_ids, example, column = np.unique(numbers[member], return_index=True, return_inverse=True)
    parts = np.ones(len(member)), (member, column)
    P = sparse.coo_array(parts, shape=(len(numbers), len(coarse_ids))).tocsr()
    return P, coarse_ids, member[example]


def _valued(
    part: _Part, A: Any, level: Level | None, values: Values | None, comm: MPI.Comm
) -> tuple[Any, np.ndarray]:
    """P of A and the smoother's diagonal at this rank's rows, by the network."""
    halo = part.halo
    if level is None:
        level = on_matrix(part.level, halo.part(A))
    P, d = level.P0, np.ones(A.getLocalSize()[0])
    if values is not None:
        X = _test_vectors(halo, level.A, comm)
        with agreed(comm):
            # A rank without rows has nothing to ask the network.
            if len(halo.ids):
                smoother, entry = values(level_features(level, X))
                P, d = changed_interpolation(level, entry), smoother_diagonal(smoother)[halo.own]
    return part.spread(P, comm), d


def _test_vectors(halo: Halo, scaled_A: sparse.csr_array, comm: MPI.Comm) -> np.ndarray:
    """Samples of smooth error at a halo's rows, as `neuprecond.features.test_vectors`."""
    mine = scaled_A[halo.own]
    weight = 1.0 / max(1.0, 0.5 * largest(comm, abs(mine).sum(axis=1)))
    ids = np.arange(halo.start, halo.stop)
    X = np.stack([_normal(ids, column) for column in range(TEST_VECTORS)], axis=1)
    for _ in range(SWEEPS):
        X = X - weight * (mine @ halo.bring(X))
    return halo.bring(X)


def _blocks(
    A: Any,
    scaled_A: Any,
    scaling: Any,
    B: np.ndarray,
    nodes: np.ndarray | None,
    room: float,
    comm: MPI.Comm,
) -> tuple[Any, np.ndarray, np.ndarray, Any] | None:
    """Smoothed aggregates of nodes with several near-null vectors, aggregated rank by rank.

    Gives P, coarse near-null vectors and nodes, and the coarse matrix.
    """
    n = A.getLocalSize()[0]
    tentative = sparse.csr_array((n, 0))
    Bc, owner = np.empty((0, B.shape[1])), np.empty(0, dtype=np.int64)
    with Temporary() as used:
        halo = used(Halo(A, 1))
        with agreed(comm):
            if n:
                assert nodes is not None
                block = sparse.csr_array(halo.A[halo.own][:, halo.own])
                scaled_block, _ = unit_diagonal(block)
                strong, member = _node_strength(scaled_block, nodes)
                tentative, _, Bc, owner = _aggregate(
                    block, scaled_block, strong, B, member, smooth=False
                )
                tentative = sparse.csr_array(tentative)
        count = tentative.shape[1]
        coarse = int(comm.allreduce(count))
        if coarse == 0 or coarse > 0.9 * A.getSize()[0]:
            return None
        parts = tentative.data, tentative.indices + _start(count, comm), tentative.indptr
        T = used(distributed(comm, sparse.csr_array(parts, shape=(n, coarse)), count))
        local, _ = unit_diagonal(halo.A)
        weight = 4.0 / 3.0 / _largest_eigenvalue(halo, local[halo.own], comm)
        P, step, back = used(A.matMult(T)), used(A.getDiagonal()), used(scaling.duplicate())
        d = step.getArray()
        d[:] = -weight / np.where(d > 0.0, d, np.inf)
        P.diagonalScale(step)
        P.axpy(1.0, T, structure=PETSc.Mat.Structure.DIFFERENT)
        back.setArray(1.0 / scaling.getArray(readonly=True))
        P.diagonalScale(back)
        following = used(_galerkin(scaled_A, P))
        if _nnz(following) > room:
            # Aggregates as they are never have more entries.
            T.diagonalScale(back)
            P, following = T, used(_galerkin(scaled_A, T))
        used.keep(P, following)
    return P, Bc, owner, following


def _nodes(B: np.ndarray, comm: MPI.Comm) -> np.ndarray:
    """`node_numbers` of each rank's rows, if all ranks agree on how many unknowns a node has."""
    mine = node_numbers(B) if len(B) else np.empty(0, dtype=np.int64)
    size = len(B) // (int(mine.max()) + 1) if len(B) else 0
    sizes = {other for other in comm.allgather(size) if other}
    return mine if len(sizes) <= 1 else np.arange(len(B))


def _largest_eigenvalue(
    halo: Halo,
    mine: sparse.csr_array,
    comm: MPI.Comm,
    d: np.ndarray | None = None,
    *,
    steps: int = EIGENVALUE_STEPS,
    safety: float = EIGENVALUE_SAFETY,
) -> float:
    """`neuprecond.hierarchy.largest_eigenvalue` of D^(1/2) A D^(1/2), from each rank's rows."""
    root = np.ones(mine.shape[0]) if d is None else np.sqrt(d)
    entries = mine.data * np.repeat(root, np.diff(mine.indptr)) * halo.bring(root)[mine.indices]
    matrix = sparse.csr_array((entries, mine.indices, mine.indptr), shape=mine.shape)
    bound = largest(comm, abs(matrix).sum(axis=1))
    q = _normal(np.arange(halo.start, halo.stop), TEST_VECTORS)
    q /= np.sqrt(total(comm, q @ q))
    before, beta = np.zeros_like(q), 0.0
    diagonal, below = [], []
    for _ in range(steps):
        w = matrix @ halo.bring(q) - beta * before
        diagonal.append(total(comm, q @ w))
        w -= diagonal[-1] * q
        beta = float(np.sqrt(total(comm, w @ w)))
        below.append(beta)
        if beta <= 1e-10 * bound:
            break
        before, q = q, w / beta
    ritz = linalg.eigh_tridiagonal(np.array(diagonal), np.array(below[: len(diagonal) - 1]))[0]
    _require_not_indefinite(ritz)
    return min(bound, safety * float(ritz[-1]))


def _smoother(A: Any, d: np.ndarray, fraction: float, comm: MPI.Comm) -> Any:
    """S = c0 D - c1 D A D on A's pattern, as `neuprecond.operators.cycle.chebyshev_smoother`."""
    with Temporary() as used:
        halo = used(Halo(A, 1))
        bound = _largest_eigenvalue(halo, halo.A[halo.own], comm, d)
        c0, c1 = chebyshev_coefficients(bound, fraction)
        D = used(A.createVecLeft())
        D.setArray(d)
        S = _scaled(A, D)
        S.scale(-c1)
        D.scale(c0)
        S.setDiagonal(D, addv=PETSc.InsertMode.ADD_VALUES)
    return S


def _statistics(A: Any, v: np.ndarray | None, comm: MPI.Comm) -> np.ndarray:
    """`neuprecond.statistics.plan_statistics` of the whole matrix, on every rank.

    The sampled rows are those of one process; their entries are gathered from all ranks.
    """
    n = A.getSize()[0]
    with Temporary() as used:
        halo = used(Halo(A, 1))
        scaled_A, s = unit_diagonal(halo.A)
        u = halo.bring(np.ones(halo.stop - halo.start) if v is None else v) / s
        X = _test_vectors(halo, scaled_A, comm) / u[:, None]
    logarithm = 2.0 * np.log10(np.maximum(np.abs(u[halo.own]), 1e-150))
    mean = total(comm, logarithm.sum()) / n
    spread = np.sqrt(total(comm, ((logarithm - mean) ** 2).sum()) / n)
    sampled = sampled_rows(n)
    some = sampled[(sampled >= halo.start) & (sampled < halo.stop)] - halo.start + halo.own.start
    inner = some[~_edge(halo)[some]]
    # Elimination rank by rank leaves rows of another kind where ranks meet, which are not A's.
    if total(comm, len(inner)) > 0.5 * len(sampled):
        some = inner
    mine = scaled_A[some]
    of = np.repeat(np.arange(len(some)), np.diff(mine.indptr))
    off = mine.indices != some[of]
    of, cols, entries = of[off], mine.indices[off], mine.data[off]
    at = some[of]
    columns = [of + _start(len(some), comm), entries, u[at], u[cols], *X[at].T, *X[cols].T]
    table = np.concatenate(comm.allgather(np.stack(columns, axis=1)))
    middle = 4 + TEST_VECTORS
    return row_statistics(
        table[:, 0].astype(np.int64),
        table[:, 1],
        (table[:, 2], table[:, 3]),
        (table[:, 4:middle], table[:, middle:]),
        sampled=int(comm.allreduce(len(some))),
        n=n,
        largest_degree=int(largest(comm, np.diff(halo.A.indptr)[halo.own])),
        spread=float(spread),
        largest=largest(comm, np.abs(X[halo.own])),
    )


def _edge(halo: Halo) -> np.ndarray:
    """Which of a halo's rows are up to `EDGE` couplings from a row of another rank, or are one."""
    edge = np.ones(len(halo.ids))
    edge[halo.own] = 0.0
    for _ in range(EDGE):
        edge = np.minimum(1.0, _pattern(halo.A) @ edge + edge)
    return edge > 0.0


def _bottom(
    A: Any,
    values: Values | None,
    plan: Plan | Pick,
    depth: int,
    v: np.ndarray | None,
    B: np.ndarray | None,
    comm: MPI.Comm,
) -> Redundant:
    """The coarsest matrix on every rank, with one process's cycle for what is left of the plan."""
    n = A.getSize()[0]
    everything = PETSc.IS().createStride(n, first=0, step=1, comm=PETSc.COMM_SELF)
    (whole,) = A.createSubMatrices([everything], [everything])
    indptr, indices, entries = whole.getValuesCSR()
    parts = entries.copy(), indices.astype(np.int32), indptr.astype(np.int32)
    for each in (whole, everything):
        each.destroy()
    matrix = sparse.csr_array(parts, shape=(n, n))
    matrix.sort_indices()
    # Below the first level constants are near-null.
    own = B if B is not None else np.ones((A.getLocalSize()[0], 1)) if v is None else v[:, None]
    near_null = np.concatenate(comm.allgather(own))
    visits = plan.visit(depth) if isinstance(plan, Plan) and depth else 1
    with agreed(comm):
        if n == 0 or (B is not None and n <= REDUNDANT):
            # Nothing is left of a diagonal matrix. Which unknowns of a coarse level share a node
            # is not gathered: invert it.
            bottom, s = unit_diagonal(matrix)
            about: dict[str, Any] = {"model": "", "learned": False, "setup_seconds": {}}
            cycle = Cycle([], bottom, s, visits=[], nnz=matrix.nnz, **about)
        else:
            cycle = build_cycle(matrix, values, plan=_rest(plan, depth), B=near_null)
    return Redundant(A, cycle, matrix, visits)


def _rest(plan: Plan | Pick, depth: int) -> Any:
    """What one process makes of a plan from a depth on; a pick picks from the matrix it gets."""
    if not isinstance(plan, Plan):
        return lambda A, u, X: plan(matrix_statistics(A, u, X))
    below = range(depth, depth + MAX_LEVELS)
    visits = (1, *(plan.visit(k) for k in below[1:]))
    return Plan(tuple(plan.base(k) for k in below), visits, plan.smoother)
