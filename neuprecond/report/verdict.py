"""What the rows say: verdicts by fixed rules, ratios, slopes, totals. Nothing is judged by hand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neuprecond.report.counts import MAXITER, Run
from neuprecond.report.families import MAP_FAMILIES, Place

__all__ = [
    "RULES",
    "VERDICTS",
    "Cell",
    "Invariance",
    "Slope",
    "Total",
    "Transfer",
    "cells",
    "cost",
    "invariances",
    "slopes",
    "summary",
    "totals",
    "transfers",
]

VERDICTS = ("works", "helps", "breaks")

#: As the page shows them.
RULES = {
    "works": "learned needs at most half of Jacobi's iterations on the median over the "
    "instances, fewer than its twin in the geometric mean, and converges on every instance",
    "helps": "learned needs fewer iterations than Jacobi on the median, and on no instance more "
    "than no preconditioner at all",
    "breaks": "anything else; also where load refused the matrix, or warned and gave a classical "
    "M, so that nothing learned was at work",
}

# Counts may change by this much where the coarsening breaks ties another way: renumbering changes
# which of equal unknowns comes first, scaling changes rounding alone.
ALLOWED = {"cA": 1, "SAS": 1, "SAS, B given": 1, "PAPᵀ": 2}


def cost(run: Run) -> float:
    """Count iterations; a run that did not converge counts as the cap, or as what it took.

    Zero iterations (a zero right-hand side) count as one, since ratios are taken.
    """
    return float(max(run.iterations, 1 if run.converged else MAXITER))


@dataclass(frozen=True)
class Cell:
    """One cell of the map: a model on the instances of one place.

    Attributes
    ----------
    line, model : str
        Which line, which learned model.
    place : Place
        Unknowns and the swept value.
    instances, converged : int
        How many, and on how many of them learned converged.
    n, kappa : float
        Medians over the instances.
    learned, twin, jacobi, none, best : float
        Median iterations; failures count as the cap.
    best_name : str
        The classical M that was best most often.
    over_best, over_twin : float
        Geometric means of learned ÷ the best classical M of each instance that converged with the
        same solver, and ÷ twin; NaN where there is none, and where nothing learned was at work.
    work_over_best : float
        The same in work, iterations × (1 + density), against the cheapest.
    verdict, reason : str
        One of ``VERDICTS``, and what decided it.
    """

    line: str
    model: str
    place: Place
    instances: int
    converged: int
    n: float
    kappa: float
    learned: float
    twin: float
    jacobi: float
    none: float
    best: float
    best_name: str
    over_best: float
    over_twin: float
    work_over_best: float
    verdict: str
    reason: str


def cells(runs: Sequence[Run], *, own_only: bool = True) -> list[Cell]:
    """Judge every cell of the map.

    Parameters
    ----------
    runs : sequence of Run
        All rows.
    own_only : bool
        Only the models that each line is about, not those that ran for the transfer matrix.

    Returns
    -------
    list of Cell
        In the order of the map.
    """
    groups: dict[tuple[str, str, Place], list[str]] = {}
    at: dict[tuple[str, Place], dict[int, dict[tuple[str, str], Run]]] = {}
    for run in runs:
        if run.variant:
            continue
        by_seed = at.setdefault((run.line, run.place), {})
        by_seed.setdefault(run.seed, {})[run.preconditioner, run.kind] = run
        if run.kind == "learned":
            groups.setdefault((run.line, run.preconditioner, run.place), [])
    found = []
    for line, model, place in groups:
        everywhere = sum(key[:2] == (line, model) for key in groups) > 1
        own = model in MAP_FAMILIES[line].models or everywhere
        if own or not own_only:
            found.append(_cell(line, model, place, list(at[line, place].values())))
    order = {name: k for k, name in enumerate(MAP_FAMILIES)}
    found.sort(
        key=lambda cell: (order[cell.line], cell.model not in MAP_FAMILIES[cell.line].models)
    )
    return found


def _cell(
    line: str, model: str, place: Place, instances: Sequence[Mapping[tuple[str, str], Run]]
) -> Cell:
    # An interrupted run may have left an instance without its learned row.
    instances = [of for of in instances if (model, "learned") in of]
    learned = [of[model, "learned"] for of in instances]
    cap = float(MAXITER)

    def median(name: str, kind: str) -> float:
        return float(
            np.median([cost(of[name, kind]) for of in instances if (name, kind) in of] or [cap])
        )

    bests, ratios, work, twins = [], [], [], []
    for of, mine in zip(instances, learned, strict=True):
        rivals = _rivals(of.values(), MAP_FAMILIES[line].method)
        if rivals:
            best = min(rivals, key=cost)
            bests.append(best)
        if rivals and mine.is_learned:
            ratios.append(cost(mine) / cost(best))
            cheapest = min(cost(run) * (1.0 + run.density) for run in rivals)
            work.append(cost(mine) * (1.0 + mine.density) / cheapest)
        twin = of.get((model, "twin"))
        if twin is not None and mine.is_learned and (twin.converged or mine.converged):
            twins.append(cost(mine) / cost(twin))
    names = [run.preconditioner for run in bests]
    verdict, reason = _verdict(model, instances, learned, _mean(twins))
    return Cell(
        line=line,
        model=model,
        place=place,
        instances=len(learned),
        converged=sum(run.converged for run in learned),
        n=float(np.median([run.n for run in learned])),
        kappa=float(np.median([run.kappa for run in learned])),
        learned=median(model, "learned"),
        twin=median(model, "twin"),
        jacobi=median("jacobi", "classical"),
        none=median("none", "classical"),
        best=float(np.median([cost(run) for run in bests])) if bests else cap,
        best_name=max(dict.fromkeys(names), key=names.count) if names else "none converged",
        over_best=_mean(ratios),
        over_twin=_mean(twins),
        work_over_best=_mean(work),
        verdict=verdict,
        reason=reason,
    )


def _rivals(runs: Iterable[Run], solver: str) -> list[Run]:
    """Pick the classical runs that converged with a solver: steps of two solvers differ."""
    return [r for r in runs if r.kind == "classical" and r.converged and r.solver == solver]


def _verdict(
    model: str,
    instances: Sequence[Mapping[tuple[str, str], Run]],
    learned: Sequence[Run],
    over_twin: float,
) -> tuple[str, str]:
    for run in learned:
        if run.made and not run.is_learned:
            return "breaks", f"no learned M: load gave {run.made.removesuffix(' fall-back')}"
        if not run.made:
            return "breaks", f"no learned M: {run.status.removeprefix('no setup: ')}"
    mine = float(np.median([cost(run) for run in learned]))
    failed = [run for run in learned if not run.converged]
    of_jacobi = [cost(of[key]) for of in instances if (key := ("jacobi", "classical")) in of]
    jacobi = float(np.median(of_jacobi or [float(MAXITER)]))
    pairs = [
        (run, of.get(("none", "classical"))) for run, of in zip(learned, instances, strict=True)
    ]
    worse = [run for run, none in pairs if none is not None and cost(run) > cost(none)]
    if not failed and 2.0 * mine <= jacobi and over_twin < 1.0:
        return "works", f"{mine:g} iterations, Jacobi {jacobi:g}, {over_twin:.3f} of the twin's"
    stopped = f"; {failed[0].status} on {len(failed)} of {len(learned)}" if failed else ""
    if mine < jacobi and not worse:
        short = [] if 2.0 * mine <= jacobi else ["less than twice as good as Jacobi"]
        short += [] if over_twin < 1.0 else [f"not better than its twin ({over_twin:.3f})"]
        short += [f"{failed[0].status} on {len(failed)} of {len(learned)}"] if failed else []
        return "helps", "; ".join(short)
    if worse:
        return "breaks", f"more than without M on {len(worse)} of {len(learned)}{stopped}"
    return "breaks", f"{mine:g} iterations, Jacobi {jacobi:g}{stopped}"


def _mean(ratios: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios)))) if len(ratios) else float("nan")


@dataclass(frozen=True)
class Transfer:
    """A model on a line at the size where all models ran.

    Attributes
    ----------
    model, line : str
        Trained on, tested on.
    trained : bool
        The line's family is on the model's card.
    cell : Cell
        What came of it.
    """

    model: str
    line: str
    trained: bool
    cell: Cell


def transfers(runs: Sequence[Run], trained_on: Mapping[str, Sequence[str]]) -> list[Transfer]:
    """Judge every packaged model on every line, at one place each.

    Parameters
    ----------
    runs : sequence of Run
        All rows.
    trained_on : mapping of str to sequence of str
        Families on each model's card.
    """
    found = []
    sizes = tuple({run.unknowns for run in runs})
    for cell in cells(runs, own_only=False):
        line = MAP_FAMILIES[cell.line]
        at = Place(line.reference_size(sizes), line.usual)
        if cell.model in trained_on and cell.place == at:
            trained = line.family in trained_on[cell.model]
            found.append(Transfer(cell.model, cell.line, trained, cell))
    return found


@dataclass(frozen=True)
class Slope:
    """How counts grow: the exponent p of iterations ~ n^p or κ^p.

    Attributes
    ----------
    line, preconditioner, kind : str
        Of what.
    against : {"n", "κ"}
        Along the sizes at the usual value, or along the values at one size.
    exponent : float
        By least squares through the logarithms of converged runs.
    points : int
        Distinct abscissas behind it.
    """

    line: str
    preconditioner: str
    kind: str
    against: str
    exponent: float
    points: int


def slopes(runs: Sequence[Run]) -> list[Slope]:
    """Fit iterations against n and against κ, where there are two abscissas or more."""
    series: dict[tuple[str, str, str, str], list[tuple[float, float]]] = {}
    sizes = tuple({run.unknowns for run in runs})
    for run in runs:
        if run.variant or not run.converged or run.fell_back:
            continue
        line = MAP_FAMILIES[run.line]
        key = run.line, run.preconditioner, run.kind
        if run.place.value == line.usual:
            series.setdefault((*key, "n"), []).append((float(run.n), cost(run)))
        if line.values and run.unknowns == line.reference_size(sizes) and np.isfinite(run.kappa):
            series.setdefault((*key, "κ"), []).append((run.kappa, cost(run)))
    found = []
    for (line_name, name, kind, against), points in series.items():
        x, y = np.log(np.array(points)).T
        distinct = len(np.unique(x.round(9)))
        # Less than a doubling says nothing about growth.
        if distinct > 1 and np.ptp(x) > np.log(2.0):
            exponent = float(np.polyfit(x, y, 1)[0])
            found.append(Slope(line_name, name, kind, against, exponent, distinct))
    return found


@dataclass(frozen=True)
class Total:
    """Learned against one rival over all instances where both were tried.

    Attributes
    ----------
    rival : str
        A classical M, "twin" or "best classical".
    instances : int
        Where learned or the rival converged; the others have no winner.
    fewer, equal : float
        Share of them on which learned needs fewer iterations, or as many.
    solve, total : float
        Share on which it is faster in the solve, and in setup + solve.
    ratio : float
        Geometric mean of the iterations, learned ÷ rival.
    pays : float
        Share on which it pays at some number of right-hand sides.
    after : float
        Median number of right-hand sides from which on it pays, where it does.
    """

    rival: str
    instances: int
    fewer: float
    equal: float
    solve: float
    total: float
    ratio: float
    pays: float
    after: float


def totals(runs: Sequence[Run], *, expected: str | None = None) -> list[Total]:
    """Count how often learned wins, with the first model of each line.

    Instances on which nothing learned was at work are left out: the failures are listed apart.

    Parameters
    ----------
    runs : sequence of Run
        All rows.
    expected : str or None
        Only lines that are expected to work, or to break.
    """
    by_instance: dict[tuple[str, Place, int], dict[tuple[str, str], Run]] = {}
    for run in runs:
        line = MAP_FAMILIES[run.line]
        if not run.variant and expected in (None, line.expected):
            by_instance.setdefault(run.instance, {})[run.preconditioner, run.kind] = run
    pairs: dict[str, list[tuple[Run, Run]]] = {}
    for (name, _, _), of in by_instance.items():
        model = MAP_FAMILIES[name].models[0]
        mine = of.get((model, "learned"))
        if mine is None or not mine.is_learned:
            continue
        rivals = [run for run in of.values() if run.kind == "classical"]
        for run in rivals:
            if not run.status.startswith("not tried"):
                pairs.setdefault(run.preconditioner, []).append((mine, run))
        done = _rivals(rivals, MAP_FAMILIES[name].method)
        if done:
            pairs.setdefault("best classical", []).append((mine, min(done, key=cost)))
        if (model, "twin") in of:
            pairs.setdefault("twin", []).append((mine, of[model, "twin"]))
    order = ["twin", "best classical"]
    names = [*order, *(name for name in pairs if name not in order)]
    return [_total(name, pairs[name]) for name in names if name in pairs]


def _total(rival: str, pairs: Sequence[tuple[Run, Run]]) -> Total:
    decided = [(a, b) for a, b in pairs if a.converged or b.converged]
    count = max(len(decided), 1)
    after = [k for k in (_pays_after(a, b) for a, b in decided) if np.isfinite(k)]

    def share(wins: Sequence[bool]) -> float:
        return sum(wins) / count

    def faster(a: Run, b: Run, *, setup: bool) -> bool:
        if not (a.converged and b.converged):
            return a.converged
        return a.solve_seconds + setup * a.setup_seconds < b.solve_seconds + setup * b.setup_seconds

    return Total(
        rival=rival,
        instances=len(decided),
        fewer=share([cost(a) < cost(b) for a, b in decided]),
        equal=share([cost(a) == cost(b) for a, b in decided]),
        solve=share([faster(a, b, setup=False) for a, b in decided]),
        total=share([faster(a, b, setup=True) for a, b in decided]),
        ratio=_mean([cost(a) / cost(b) for a, b in decided]),
        pays=len(after) / count,
        after=float(np.median(after)) if after else float("nan"),
    )


def _pays_after(a: Run, b: Run) -> float:
    """Right-hand sides from which on a is faster than b in all; infinite if never."""
    if not (a.converged and b.converged):
        return 1.0 if a.converged else np.inf
    gain = b.solve_seconds - a.solve_seconds
    if gain <= 0.0:
        return np.inf
    return max(1.0, float(np.ceil((a.setup_seconds - b.setup_seconds) / gain)))


@dataclass(frozen=True)
class Invariance:
    """Whether a count stays when A is changed and M changed back.

    Attributes
    ----------
    line, variant : str
        Which, and what was done to A.
    model : str
        The learned model.
    seed : int
        The instance.
    before, after : int
        Iterations with M of A and with M of the changed A, changed back.
    allowed : int
        Difference that breaking ties another way explains.
    holds : bool
        Both converged and the difference is allowed.
    """

    line: str
    variant: str
    model: str
    seed: int
    before: int
    after: int
    allowed: int
    holds: bool


def invariances(runs: Sequence[Run]) -> list[Invariance]:
    """Compare the rows of cA, PAPᵀ and SAS with those of A."""
    plain = {run.key: run for run in runs if not run.variant}
    found = []
    for run in runs:
        before = plain.get((*run.key[:-1], "")) if run.variant else None
        if before is None:
            continue
        allowed = ALLOWED[run.variant]
        same = abs(run.iterations - before.iterations) <= allowed
        found.append(
            Invariance(
                run.line,
                run.variant,
                run.preconditioner,
                run.seed,
                before.iterations,
                run.iterations,
                allowed,
                same and run.converged and before.converged,
            )
        )
    return found


def summary(found: Sequence[Cell]) -> str:
    """Say in two sentences what the map shows."""
    counts = {verdict: sum(cell.verdict == verdict for cell in found) for verdict in VERDICTS}
    right = sum(
        (cell.verdict != "breaks") == (MAP_FAMILIES[cell.line].expected == "works")
        for cell in found
    )
    return (
        f"Of {len(found)} cells {counts['works']} work, {counts['helps']} help and "
        f"{counts['breaks']} break. Theory predicted {right} of them: works or helps where it was "
        "expected to work, breaks where it was expected to break."
    )
