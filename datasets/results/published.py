"""Beside published figures, on their problems rebuilt: ``python datasets/results/published.py``.

Measures on the problems of ``rebuilt.py``, by the papers' own rules and by ours, writes
published.csv whole or not at all, and from it published.md and the README's table. What others
published is cited, with its source; what we measured is ours, on problems like theirs.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import rebuilt
import typer
from measure import HERE, MAXITER, TUNED, Suite, head, read, write
from measure import Row as Measured
from numpy.random import Generator
from rich.console import Console
from rich.progress import Progress
from scipy.sparse.csgraph import reverse_cuthill_mckee
from scipy.sparse.linalg import LinearOperator, cg
from table import README, filled

import neuprecond
from neuprecond import problems
from neuprecond.classical import precondition

CSV, PAGE = HERE / "published.csv", HERE / "published.md"
START = "<!-- table: published -->"
THEIRS, OURS = "theirs", "ours"
RTOL, MOST = 1e-8, 10 * MAXITER
PANEL = ("jacobi", "ic0", "ic0, renumbered", "mic0", "fsai", *TUNED)
LEARNED, TWIN, ONE_LEVEL = "auto", "auto, twin", "heat"


@dataclass(frozen=True)
class Cited:
    """Iterations that others published; we did not measure them.

    Attributes
    ----------
    system : str
        Name of their learned preconditioner.
    jacobi, ic0, theirs : float or None
        Of CG; None where we found none.
    more : str
        What else they published that a reader should know.
    source : str
        Where the figures stand.
    """

    system: str
    jacobi: float | None
    ic0: float
    theirs: float
    more: str
    source: str


@dataclass(frozen=True)
class Case:
    """A problem of a paper, and what the paper says of it.

    Attributes
    ----------
    name, unknowns : str
        As the tables show them.
    draw : callable
        ``draw(size, rng) -> rebuilt.Instance``.
    sizes : tuple of int
        Sizes; one instance a size and seed.
    cited : Cited
        The published figures.
    rule : str
        Their right-hand side, first guess and tolerance.
    seeds : int
        How many seeds a size.
    """

    name: str
    unknowns: str
    draw: Callable[[int, Generator], rebuilt.Instance]
    sizes: tuple[int, ...]
    cited: Cited
    rule: str
    seeds: int


LOGS = "logs kept in the notebooks of github.com/vltrifonov/PreCorrector"
PRECORRECTOR = "arXiv 2405.15557; " + LOGS
SPAI = "arXiv 2510.27517, table of GPU results at 1e-8"
ABSOLUTE = "f and x0 white, residual 1e-6 absolute"
SMOOTH = "b = A 1, x0 = 0, residual 1e-8 relative"

CASES = (
    Case(
        "diffusion, variance 1.1",
        "65 536",
        partial(rebuilt.diffusion, variance=1.1, contrast=(400.0, 1200.0)),
        (256,),
        Cited(
            "PreCorrector",
            None,
            425.2,
            179.1,
            "with one more entry a row in the factor 131.1, its start, ICt, 258.7",
            PRECORRECTOR,
        ),
        ABSOLUTE,
        seeds=5,
    ),
    Case(
        "diffusion, variance 0.5",
        "1 024",
        partial(rebuilt.diffusion, variance=0.5),
        (32,),
        Cited("PreCorrector", None, 47.8, 32.6, "its start, ICt, 28.9", PRECORRECTOR),
        ABSOLUTE,
        seeds=5,
    ),
    Case(
        "Poisson, tetrahedra",
        "620–20 638",
        rebuilt.poisson,
        rebuilt.SIZES,
        Cited(
            "GNN-SPAI",
            320,
            128,
            128,
            "the paper's own AMG + CG takes 9; on a CPU Jacobi 331 and IC 135",
            SPAI,
        ),
        SMOOTH,
        seeds=3,
    ),
    Case(
        "heat, tetrahedra",
        "620–20 638",
        rebuilt.heat,
        rebuilt.SIZES,
        Cited(
            "GNN-SPAI",
            520,
            204,
            197,
            "the paper's own AMG + CG takes 27; on a CPU Jacobi 511 and IC 205",
            SPAI,
        ),
        SMOOTH,
        seeds=3,
    ),
)


@dataclass(frozen=True)
class Row(Measured):
    """One M on one instance by one rule.

    Attributes
    ----------
    rule : str
        Whose right-hand side, first guess and tolerance: "theirs" or "ours".
    model : str
        Packaged model behind M, empty for a classical one.
    """

    rule: str
    model: str


class Renumbered(LinearOperator):
    """IC(0) of A with its unknowns in reverse Cuthill-McKee order, which suits it best."""

    def __init__(self, A: object) -> None:
        self.order = reverse_cuthill_mckee(A, symmetric_mode=True)
        self.inner = precondition("ic0", A[self.order][:, self.order])
        self.density = self.inner.density
        super().__init__(np.dtype(float), A.shape)

    def _matvec(self, r: np.ndarray) -> np.ndarray:
        z = np.empty(self.shape[0])
        z[self.order] = self.inner @ np.ravel(r)[self.order]
        return z

    def _adjoint(self) -> "Renumbered":
        return self


def makers() -> dict[str, Callable[[object], LinearOperator]]:
    """What makes each M from A alone, as a user calls it."""
    return {
        **{name: partial(precondition, name) for name in PANEL},
        "ic0, renumbered": Renumbered,
        ONE_LEVEL: partial(neuprecond.load, "heat"),
        TWIN: partial(neuprecond.load, "auto", learned=False),
        LEARNED: partial(neuprecond.load, "auto"),
    }


def measure(case: Case, size: int, seed: int, repeats: int) -> list[Row]:
    """Rows of one instance; each repeat runs every M once, so that noise hits all alike.

    Their rule is run in the first of them only: its count is what matters there.
    """
    instance = case.draw(size, np.random.default_rng(seed))
    A, b = instance.problem.A, instance.problem.b
    runs: dict[tuple[str, str], list[Row]] = {}
    for repeat in range(repeats):
        for name, make in makers().items():
            start = perf_counter()
            with warnings.catch_warnings():
                # `heat` is asked for by name outside of its training; the page says so.
                warnings.simplefilter("ignore", neuprecond.NeuprecondWarning)
                M = make(A)
            setup = perf_counter() - start
            record = neuprecond.solve(A, b, M=M, rtol=RTOL, maxiter=MOST, history=False)
            row = Row(
                case=case.name,
                size=size,
                seed=seed,
                unknowns=A.shape[0],
                nnz=A.nnz,
                M=name,
                iterations=record.iterations,
                density=M.density,
                work=record.iterations * (1 + M.density),
                setup_seconds=setup,
                solve_seconds=record.solve_seconds,
                residual=record.residual,
                status=record.status,
                rule=OURS,
                model=getattr(M, "model", "") or "",
            )
            runs.setdefault((OURS, name), []).append(row)
            if repeat == 0:
                runs[THEIRS, name] = [by_their_rule(instance, M, row)]
    return [
        replace(
            rows[0],
            setup_seconds=float(np.median([row.setup_seconds for row in rows])),
            solve_seconds=float(np.median([row.solve_seconds for row in rows])),
        )
        for rows in runs.values()
    ]


def by_their_rule(instance: rebuilt.Instance, M: LinearOperator, ours: Row) -> Row:
    """Run SciPy's cg until the residual that it updates is small enough for them."""
    A, b = instance.problem.A, instance.b
    count = 0

    def step(_: np.ndarray) -> None:
        nonlocal count
        count += 1

    start = perf_counter()
    x, info = cg(
        A,
        b,
        x0=instance.x0,
        rtol=instance.rtol,
        atol=instance.atol,
        maxiter=MOST,
        M=M,
        callback=step,
    )
    return replace(
        ours,
        rule=THEIRS,
        iterations=count,
        work=count * (1 + M.density),
        solve_seconds=perf_counter() - start,
        residual=float(np.linalg.norm(b - A @ x) / np.linalg.norm(b)),
        status="stopped at maxiter" if info else "converged",
    )


def mean(rows: Sequence[Row], names: Sequence[str], what: str = "iterations") -> float:
    """Arithmetic mean, as the papers take it, over instances of the best of the named M."""
    best: dict[tuple[int, int], float] = {}
    for row in rows:
        if row.M in names:
            cost = row.cost(what) if row.converged else np.inf
            key = row.size, row.seed
            best[key] = min(best.get(key, np.inf), cost)
    return float(np.mean(list(best.values())))


def counted(value: float) -> str:
    """Show a mean count in a table."""
    return f"{value:.1f}" if np.isfinite(value) else "some failed"


def row_of(*cells: str) -> str:
    """Line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def both(published: float | None, measured: float) -> str:
    """Set a published count beside the measured one."""
    return counted(measured) if published is None else f"{published:g} / {counted(measured)}"


def iterations_table(rows: Sequence[Row]) -> str:
    """Render published and measured iterations, a line a problem and rule."""
    columns = (
        "problem",
        "unknowns",
        "rule",
        "Jacobi, published / measured",
        "IC(0), published / measured",
        "MIC(0)",
        "theirs, **published**",
        "`heat`",
        "PyAMG, best",
        "twin",
        "**learned**",
    )
    lines = [row_of(*columns), "|---|---:|---|" + "---:|" * (len(columns) - 3)]
    for case in CASES:
        for rule in (THEIRS, OURS):
            here = [row for row in rows if (row.case, row.rule) == (case.name, rule)]
            if not here:
                continue
            cited = case.cited if rule == THEIRS else None
            lines.append(
                row_of(
                    case.name,
                    case.unknowns,
                    rule,
                    both(cited and cited.jacobi, mean(here, ["jacobi"])),
                    both(cited and cited.ic0, mean(here, ["ic0"])),
                    counted(mean(here, ["mic0"])),
                    f"**{cited.system} {cited.theirs:g}**" if cited else "—",
                    counted(mean(here, [ONE_LEVEL])),
                    counted(mean(here, TUNED)),
                    counted(mean(here, [TWIN])),
                    f"**{counted(mean(here, [LEARNED]))}**",
                )
            )
    return "\n".join(lines)


def ratios_table(rows: Sequence[Row]) -> str:
    """Render iterations over those of IC(0) on the same matrices, by their rule."""
    names = {
        "Jacobi": ["jacobi"],
        "IC(0), renumbered": ["ic0, renumbered"],
        "MIC(0)": ["mic0"],
        "FSAI": ["fsai"],
        "`heat`": [ONE_LEVEL],
        "PyAMG, best": TUNED,
        "twin": [TWIN],
        "**learned**": [LEARNED],
    }
    lines = [
        row_of("iterations ÷ IC(0)'s", "**theirs, published**", *names),
        "|---|" + "---:|" * (1 + len(names)),
    ]
    for case in CASES:
        here = [row for row in rows if (row.case, row.rule) == (case.name, THEIRS)]
        if here:
            ic0 = mean(here, ["ic0"])
            lines.append(
                row_of(
                    case.name,
                    f"**{case.cited.theirs / case.cited.ic0:.2f}**",
                    *(f"{mean(here, of) / ic0:.2f}" for of in names.values()),
                )
            )
    return "\n".join(lines)


def costs_table(rows: Sequence[Row]) -> str:
    """Render work and milliseconds, setup and solve, by our rule."""
    names = {
        "Jacobi": ["jacobi"],
        "IC(0)": ["ic0"],
        "`heat`": [ONE_LEVEL],
        "PyAMG, best": TUNED,
        "twin": [TWIN],
        "learned": [LEARNED],
    }
    lines = [row_of("problem", "cost", *names), "|---|---|" + "---:|" * len(names)]
    for case in CASES:
        here = [row for row in rows if (row.case, row.rule) == (case.name, OURS)]
        if not here:
            continue
        work = [f"{mean(here, of, 'work'):.0f}" for of in names.values()]
        lines.append(row_of(case.name, "work", *work))
        for what in ("seconds of solve", "seconds, setup + solve"):
            cells = [f"{1e3 * mean(here, of, what):.1f}" for of in names.values()]
            lines.append(row_of(case.name, what.replace("seconds", "ms"), *cells))
    return "\n".join(lines)


def behind(rows: Sequence[Row]) -> str:
    """Say where we lose, by whose rule."""
    found = []
    for case in CASES:
        here = [row for row in rows if (row.case, row.rule) == (case.name, THEIRS)]
        if not here:
            continue
        ic0, heat, learned = (mean(here, [name]) for name in ("ic0", ONE_LEVEL, LEARNED))
        cited = case.cited.theirs / case.cited.ic0
        if heat / ic0 > cited:
            found.append(
                f"`heat`, one level, takes {heat / ic0:.2f} times IC(0)'s iterations; "
                f"{case.cited.system} publishes {cited:.2f} times ({case.name})"
            )
        if learned > mean(here, [TWIN]):
            found.append(f"learned takes more than its twin ({case.name})")
        if learned > mean(here, TUNED):
            found.append(
                f"the best of five PyAMG, taken instance by instance, takes "
                f"{mean(here, TUNED):.1f} and learned {learned:.1f} ({case.name})"
            )
        slow = [row for row in rows if (row.case, row.rule) == (case.name, OURS)]
        total = "seconds, setup + solve"
        ours = mean(slow, [LEARNED], total)
        quick = {name: mean(slow, names, total) for name, names in FASTER.items()}
        quicker = [f"{name} {1e3 * s:.1f}" for name, s in quick.items() if s < ours]
        if quicker:
            found.append(
                f"with its setup, for one right-hand side, learned takes {1e3 * ours:.1f} ms: "
                f"{', '.join(quicker)} ({case.name})"
            )
    return "\n".join(f"- {line}." for line in found) or "Nowhere here."


FASTER = {"Jacobi": ["jacobi"], "IC(0)": ["ic0"], "the best PyAMG": list(TUNED)}


def nearness(rows: Sequence[Row]) -> str:
    """Say how near the rebuilt problems come to the papers' by Jacobi and IC(0)."""
    lines = []
    for case in CASES:
        here = [row for row in rows if (row.case, row.rule) == (case.name, THEIRS)]
        if not here:
            continue
        counts = [row.iterations for row in here if row.M == "ic0"]
        text = f"{case.name}: IC(0) {np.mean(counts):.1f} for {case.cited.ic0:g} published"
        if len(case.sizes) == 1:
            text += f" (from {min(counts)} to {max(counts)} over {len(counts)} seeds)"
        if case.cited.jacobi is not None:
            text += f", Jacobi {mean(here, ['jacobi']):.1f} for {case.cited.jacobi:g}"
        lines.append(f"- {text}.")
    return "\n".join(lines)


def instances(rows: Sequence[Row]) -> str:
    """Say over how many problems each mean is."""
    counts = {
        case.name: len({(row.size, row.seed) for row in rows if row.case == case.name})
        for case in CASES
    }
    return ", ".join(f"{count} ({name})" for name, count in counts.items() if count)


def short(about: Mapping[str, str], rows: Sequence[Row]) -> str:
    """What the README shows."""
    return "\n".join(
        [
            iterations_table(rows),
            "",
            f"CG iterations, arithmetic means over draws: {instances(rows)}. "
            "Published figures are cited, not measured by us: PreCorrector from arXiv 2405.15557 "
            "and the logs in its authors' repository, GNN-SPAI from arXiv 2510.27517. The rest is "
            "measured on problems rebuilt from their descriptions; the meshes are not theirs, so "
            "there compare ratios to IC(0). PyAMG is the best of five, taken instance by "
            "instance; learned and twin are `auto`, several levels where theirs and `heat` have "
            "one; MIC(0) learns nothing and costs what IC(0) does. By our rule b is white, x0 = 0 "
            "and the true residual 1e-8, relative. "
            "[published.md](datasets/results/published.md) has the ratios, work, seconds, "
            f"where we lose, and how near IC(0) comes. Measured {about['date']}.",
        ]
    )


def page(about: Mapping[str, str], rows: Sequence[Row]) -> str:
    """The whole of published.md."""
    rules = "\n".join(
        f"- {case.name} ({case.unknowns} unknowns): {case.rule}. Published: {case.cited.system} "
        f"{case.cited.theirs:g}, IC(0) {case.cited.ic0:g}; {case.cited.more}. "
        f"Source: {case.cited.source}."
        for case in CASES
    )
    models = ", ".join(
        f"{case.name}: {' or '.join(sorted(found))}"
        for case in CASES
        if (found := {row.model for row in rows if (row.case, row.M) == (case.name, LEARNED)})
    )
    return f"""# Beside published figures

Written by `{about["command"]}`, not by hand; the rows are in published.csv. Published figures are
cited, not measured by us, and their networks were not run: we have neither their weights nor their
data. What we measured is on problems rebuilt from their descriptions by
[rebuilt.py](rebuilt.py), new draws of the same kind.

## Iterations

{iterations_table(rows)}

Arithmetic means, as the papers take them, over draws: {instances(rows)}. Learned and
twin are `auto` ({models}). They have several levels where PreCorrector, GNN-SPAI
and `heat` have one: this is what a user of each gets, not a comparison of equal M. `heat` was asked
for by name and warns on what is not as well conditioned as its training: here on most. Its twin is
FSAI.

## How near the rebuilt problems come

{nearness(rows)}

What the papers' figures name 0.5 and 1.1 is the variance of log k. PreCorrector's field has the
covariance of the generator that its authors' program calls, with that generator's length; its
contrast is kept between 400 and 1 200, their bounds, for 1.1; for 0.5 at 1 024 unknowns we found no
bounds and put none. GNN-SPAI's meshes are 9 147 bodies of 400 to 32 000 corners, which we do not
have: ours are bodies of cubes grown at random, refined and moved, in five sizes. How many cubes was
fitted, so that Jacobi on heat comes near its published count. The order of their unknowns is not
known and IC(0) depends on it: ours is random, with which IC(0) over Jacobi comes nearer to their
ratio than renumbered (the table below has both). So on tetrahedra the ratio to IC(0) on the same
matrices is the fair comparison, not the count.

## Ratios to IC(0), by their rule

{ratios_table(rows)}

MIC(0) learns nothing, and setup and apply cost what IC(0)'s do: it belongs beside every one-level
learned factor on diffusion.

## Work and milliseconds, by our rule

{costs_table(rows)}

Work is iterations × (1 + multiplications of one M @ r ÷ nnz(A)). Each is the mean over instances;
PyAMG's is the best for that cost. Their published seconds are of other machines and are not set
beside ours.

## Where we lose

{behind(rows)}

## Rules and sources

{rules}
- ours: b white, x0 = 0, true residual 1e-8, relative.

## Measured by

{chr(10).join(f"- {key}: {value}" for key, value in about.items())}
"""


def publish(csv: Path, page_to: Path, readme: Path) -> None:
    """Write the page and the README's table from a CSV."""
    about, rows = read(csv, Row)
    page_to.write_text(page(about, rows), encoding="utf-8")
    text = readme.read_text(encoding="utf-8")
    readme.write_text(filled(text, short(about, rows), START), encoding="utf-8")


def main(
    seeds: Annotated[int | None, typer.Option(help="Seeds a problem and size.")] = None,
    repeats: Annotated[int, typer.Option(help="Runs that the seconds are medians of.")] = 3,
    cases: Annotated[str | None, typer.Option(help="Only these problems, by semicolons.")] = None,
    size: Annotated[int | None, typer.Option(help="This size for all, for a trial.")] = None,
    out: Annotated[Path, typer.Option(help="CSV; the page and README only for its default.")] = CSV,
    note: Annotated[str | None, typer.Option(help="A line for the head of the CSV.")] = None,
    only_write: Annotated[
        bool, typer.Option("--only-write", help="Measure nothing, write from the CSV.")
    ] = False,
) -> None:
    """Measure on rebuilt problems of published papers and set ours beside theirs."""
    if not only_write:
        wanted = None if cases is None else cases.split(";")
        unknown = set(wanted or ()) - {case.name for case in CASES}
        if unknown:
            raise typer.BadParameter(f"--cases knows {'; '.join(case.name for case in CASES)}.")
        chosen = [case for case in CASES if wanted is None or case.name in wanted]
        about = {
            **head("", Suite("auto", (), (), PANEL), repeats),
            "command": "python datasets/results/published.py",
            "solver": "cg; by their rule SciPy's own, on the residual that it updates; by ours "
            f"rtol {RTOL:g} on the true residual, b white, x0 = 0; maxiter {MOST}",
            "load": f"{os.getloadavg()[0]:.0f} jobs on the cores at the start: seconds depend on "
            "it, counts do not",
            **({"note": note} if note else {}),
        }
        tasks = [
            (case, side, seed)
            for case in chosen
            for side in (case.sizes if size is None else (size,))
            for seed in problems.seeds("test")[: seeds or case.seeds]
        ]
        rows: list[Row] = []
        with Progress(console=Console(), transient=True) as bar:
            task = bar.add_task("compiling", total=len(tasks))
            # Nobody's first call is to pay for compilation or for reading a cache of it.
            for case in chosen:
                on_grid = isinstance(case.draw, partial)
                measure(case, 16 if on_grid else rebuilt.SIZES[0], problems.seeds("test")[0], 1)
            for case, side, seed in tasks:
                bar.update(task, description=f"{case.name}, size {side}, seed {seed}")
                rows += measure(case, side, seed, repeats)
                bar.advance(task)
        write(out, about, rows, Row)
    if out == CSV:
        publish(CSV, PAGE, README)
    typer.echo(iterations_table(read(out, Row)[1]))


if __name__ == "__main__":
    typer.run(main)
