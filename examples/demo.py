"""Does a learned M pay? One large problem and four real matrices against the classical rivals.

Run by ``make demo``. Prints a table a problem and a verdict on each, and writes
demo-output/demo.csv and demo-output/convergence.png.
"""

import csv
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import matplotlib
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy.sparse.linalg import LinearOperator

import neuprecond
from neuprecond import problems
from neuprecond.classical import precondition

matplotlib.use("Agg")  # draws into files, wants no window
import matplotlib.pyplot as plt

MATRICES = Path(__file__).parents[1] / "datasets" / "matrices"
OUTPUT = Path("demo-output")
# Without a coarse level the large problem needs thousands of iterations: those rows may fail.
LARGE, MAXITER_LARGE, MAXITER = 100_000, 1000, 10_000

# Title of a row and what is behind it.
CLASSICAL = {
    "none": "none",
    "Jacobi": "jacobi",
    "IC(0)": "ic0",
    "FSAI": "fsai",
    "PyAMG SA θ = 0": "sa",
    "PyAMG SA θ = 0.08": "sa08",
    "PyAMG RS": "rs",
    "tuned: RS evolution": "rs-evolution",
    "tuned: root-node": "root-node",
}
TWIN, LEARNED = "twin (unlearned)", "learned"


@dataclass(frozen=True)
class Run:
    """One M on one problem; no numbers where M could not be made."""

    problem: str
    M: str
    iterations: int | None
    setup_seconds: float
    solve_seconds: float
    density: float
    residual: float
    status: str
    history: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def converged(self) -> bool:
        """The true residual met the tolerance."""
        return self.status == "converged"

    @property
    def seconds(self) -> float:
        """Setup and solve."""
        return self.setup_seconds + self.solve_seconds


def main(small: bool = False) -> dict[str, float]:
    """Run the demo.

    Parameters
    ----------
    small : bool
        A 48 × 48 problem and two of the matrices.

    Returns
    -------
    dict
        Iterations of the twin and of learned by problem, and the largest true residual of learned.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)
    systems = draw_systems(small)
    runs: list[Run] = []
    with Progress(console=console, transient=True) as bar:
        warming = bar.add_task("compiling, once on this machine", total=None)
        warm_up()
        bar.remove_task(warming)
        for title, (A, b) in systems.items():
            own: list[Run] = []
            makers = made_by()
            task = bar.add_task(title, total=len(makers))
            for name, make in makers.items():
                bar.update(task, description=f"{title}: {name}")
                own.append(run(title, name, make, A, b))
                bar.advance(task)
            bar.remove_task(task)
            show(title, A.shape[0], A.nnz, own, bar.console)
            runs += own
    OUTPUT.mkdir(exist_ok=True)
    write_csv(runs, OUTPUT / "demo.csv")
    plot(runs, OUTPUT / "convergence.png")
    console.print(f"wrote {OUTPUT / 'demo.csv'} and {OUTPUT / 'convergence.png'}")
    numbers = {
        f"{run.problem}: {run.M}": float(run.iterations or np.nan)
        for run in runs
        if run.M in (TWIN, LEARNED)
    }
    return numbers | {"worst residual": max(run.residual for run in runs if run.M == LEARNED)}


def draw_systems(small: bool) -> dict[str, tuple]:
    """A and b of every problem, by title."""
    size = 48 if small else 512
    seed = problems.split("lognormal", "test").seeds[0]
    diffusion = problems.draw(
        "lognormal", size, np.random.default_rng(seed), parameters={"sigma": 1.5}
    )
    systems = {f"log-normal diffusion, {size} × {size}": (diffusion.A, diffusion.b)}
    names = ["bcsstk16", "494_bus", "case2869pegase_dc", "perfusion_poisson"]
    for name in names[1::2] if small else names:
        A = problems.read(MATRICES / f"{name}.npz")
        # A known solution of white noise: b has all the frequencies that A has.
        systems[name] = (A, A @ np.random.default_rng(seed).standard_normal(A.shape[0]))
    return systems


def made_by() -> dict[str, Callable[[object], LinearOperator]]:
    """What makes each M from A."""

    def classical(name: str) -> Callable[[object], LinearOperator]:
        return lambda A: precondition(name, A)

    return {
        **{title: classical(name) for title, name in CLASSICAL.items()},
        TWIN: lambda A: neuprecond.load("auto", A, learned=False),
        LEARNED: lambda A: neuprecond.load("auto", A),
    }


def warm_up() -> None:
    """Make and apply every M once, so that no run pays for compilation."""
    for name in ("heat", "lognormal"):
        problem = problems.draw(
            name, 24, np.random.default_rng(problems.split(name, "train").seeds[0])
        )
        for title, make in made_by().items():
            run(name, title, make, problem.A, problem.b)


def run(
    title: str, name: str, make: Callable[[object], LinearOperator], A: object, b: np.ndarray
) -> Run:
    """Make M and solve by CG; what fails is a row that says so."""
    start = perf_counter()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", neuprecond.NeuprecondWarning)
            M = make(A)
    except (ValueError, RuntimeError) as error:
        sentence = f"no setup: {str(error).splitlines()[0]}"
        seconds = perf_counter() - start
        nan = float("nan")
        return Run(title, name, None, seconds, nan, nan, nan, sentence, np.empty(0))
    setup = perf_counter() - start
    maxiter = MAXITER_LARGE if len(b) > LARGE else MAXITER
    record = neuprecond.solve(A, b, M=M, rtol=1e-8, maxiter=maxiter)
    return Run(
        title,
        name,
        record.iterations,
        setup,
        record.solve_seconds,
        M.density,
        record.residual,
        record.status,
        record.history,
        tuple(str(warning.message) for warning in caught),
    )


def show(title: str, n: int, nnz: int, runs: list[Run], console: Console) -> None:
    """Print a problem's table and its verdict."""
    table = Table(title=f"{title}: {n} unknowns, {nnz} entries")
    table.add_column("M")
    for column in ("iterations", "setup s", "solve s", "density", "true residual"):
        table.add_column(column, justify="right")
    table.add_column("status")
    for one in runs:
        style = "" if one.converged else "red"
        table.add_row(
            one.M,
            "—" if one.iterations is None else str(one.iterations),
            f"{one.setup_seconds:.3f}",
            f"{one.solve_seconds:.3f}",
            f"{one.density:.2f}",
            f"{one.residual:.1e}",
            one.status,
            style="bold" if one.M == LEARNED else style,
        )
    console.print(table)
    for note in dict.fromkeys(note for one in runs for note in one.notes):
        console.print(f"Note: {note}", highlight=False)
    console.print(verdict(runs) + "\n", highlight=False)


def verdict(runs: list[Run]) -> str:
    """Say plainly where learned wins and where it loses against the best classical M."""
    learned = next(run for run in runs if run.M == LEARNED)
    if not learned.converged:
        return f"Learned loses: {learned.status}."
    twin = next(run for run in runs if run.M == TWIN)
    rivals = [run for run in runs if run.M not in (LEARNED, TWIN) and run.converged]
    lines = []
    measures: dict[str, tuple[Callable[[Run], float], str]] = {
        "iterations": (lambda run: float(run.iterations or 0), ".0f"),
        "work, iterations × (1 + density)": (
            lambda run: (run.iterations or 0) * (1 + run.density),
            ".0f",
        ),
        "seconds, setup + solve": (lambda run: run.seconds, ".3f"),
    }
    for what, (cost, form) in measures.items():
        best = min(rivals, key=cost, default=None)
        if best is None:
            continue
        mine, theirs = f"{cost(learned):{form}}", f"{cost(best):{form}}"
        outcome = "wins" if cost(learned) < cost(best) else "LOSES"
        outcome = "draws" if mine == theirs else outcome
        lines.append(
            f"  {what:33} learned {mine:>7}, best classical {theirs:>7} ({best.M}): "
            f"learned {outcome}"
        )
    needs = str(twin.iterations) if twin.converged else twin.status
    return "\n".join([*lines, f"  {'iterations of its unlearned twin':33} twin    {needs:>7}"])


def write_csv(runs: list[Run], path: Path) -> None:
    """Write the tables as one CSV."""
    columns = ["problem", "M", "iterations", "setup_seconds", "solve_seconds", "density"]
    columns += ["residual", "status"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([getattr(run, column) for column in columns] for run in runs)


def plot(runs: list[Run], path: Path) -> None:
    """Draw the relative residual against iterations, a panel a problem."""
    titles = list(dict.fromkeys(run.problem for run in runs))
    rows = (len(titles) + 1) // 2
    figure, panels = plt.subplots(rows, 2, figsize=(12, 4 * rows), squeeze=False)
    colours = plt.get_cmap("tab10").colors
    for panel, title in zip(panels.flat, titles, strict=False):
        own = [run for run in runs if run.problem == title and len(run.history) > 1]
        for k, one in enumerate(own):
            strong = one.M in (TWIN, LEARNED)
            colour = {TWIN: "0.45", LEARNED: "black"}.get(one.M, colours[k % 10])
            panel.loglog(
                np.arange(1, len(one.history)),
                one.history[1:],
                color=colour,
                linewidth=2.2 if strong else 1.2,
                linestyle="--" if one.M == TWIN else "-",
                # One iteration is a point, not a line.
                marker="o" if len(one.history) == 2 else "",
                label=one.M,
            )
        panel.axhline(1e-8, color="0.8", linewidth=0.8, zorder=0)
        panel.set(title=title, xlabel="iterations", ylabel="‖b − A x‖ / ‖b‖")
    for panel in panels.flat[len(titles) :]:
        panel.axis("off")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    if len(titles) < panels.size:
        panels.flat[-1].legend(handles, labels, loc="center", frameon=False)
    else:
        panels.flat[0].legend(handles, labels, fontsize="x-small")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
