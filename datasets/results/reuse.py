"""When the matrix changes: the old M, `neuprecond.reuse` and a new `load`, by steps and seconds.

``python datasets/results/reuse.py`` writes reuse.csv; ``python scripts/docs.py`` puts it into
docs/choosing.md.
"""

import csv
import shlex
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from scipy import sparse

import neuprecond
from neuprecond import problems
from neuprecond.problems.diffusion import diffusion_matrix, smooth_field
from neuprecond.report.counts import about

HERE = Path(__file__).parent
CSV = HERE / "reuse.csv"
SIZE, MAXITER, TURNS = 256, 1000, 3
FIELDS = (
    "family",
    "change",
    "n",
    "way",
    "iterations",
    "converged",
    "setup_seconds",
    "solve_seconds",
)


def lognormal(sigma: float) -> Callable[[float], sparse.csr_array]:
    """Diffusion through a log-normal field that turns into an independent one."""
    g, h = (smooth_field((SIZE, SIZE), np.random.default_rng(s), length=4.0) for s in (941, 942))

    def matrix(turn: float) -> sparse.csr_array:
        return diffusion_matrix(np.exp(sigma * (np.cos(turn) * g + np.sin(turn) * h)))

    return matrix


def heat(factor: float) -> sparse.csr_array:
    """One implicit step of the heat equation, the step longer and longer."""
    field = smooth_field((SIZE, SIZE), np.random.default_rng(943), length=4.0)
    step = 10.0 * factor * diffusion_matrix(np.exp(field))
    return sparse.csr_array(sparse.eye_array(SIZE**2) + step)


def disc(cells: float) -> sparse.csr_array:
    """A disc that conducts a thousand times better wanders through the square."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    inside = (x - 0.3 - cells / SIZE) ** 2 + (y - 0.5) ** 2 < 0.04
    return diffusion_matrix(np.where(inside, 1e3, 1.0))


def graph(spread: float) -> sparse.csr_array:
    """A Delaunay graph whose weights spread log-normally."""
    G = problems.draw("delaunay", SIZE**2, np.random.default_rng(944)).A
    sink = G.diagonal() + sparse.triu(G, 1).sum(axis=1) + sparse.tril(G, -1).sum(axis=1)
    W = sparse.csr_array(sparse.triu(G, 1))
    W.data *= np.exp(spread * np.random.default_rng(945).standard_normal(W.nnz))
    W = sparse.csr_array(W + W.T)
    return sparse.csr_array(sparse.diags_array(np.maximum(sink, 0.0) - W.sum(axis=1)) + W)


#: What changes, by how much, and how to say so.
SERIES: tuple[tuple[str, Callable[[float], sparse.csr_array], dict[str, float]], ...] = (
    (
        "log-normal, σ = 1",
        lognormal(1.0),
        {"log k by 0.02": 0.02, "by 0.1": 0.1, "by 0.5": 0.5, "independent": np.pi / 2},
    ),
    (
        "log-normal, σ = 2",
        lognormal(2.0),
        {"log k by 0.04": 0.02, "by 0.2": 0.1, "by 1": 0.5, "independent": np.pi / 2},
    ),
    ("heat step", heat, {"dt × 1.1": 1.1, "× 2": 2.0, "× 8": 8.0, "× 32": 32.0}),
    ("disc of contrast 1e3", disc, {"by 1 cell": 1.0, "by 4": 4.0, "by 16": 16.0}),
    ("Delaunay graph", graph, {"log weight by 0.03": 0.03, "by 0.3": 0.3, "by 1": 1.0}),
)


def rows() -> Iterator[tuple[object, ...]]:
    """Measure everything; a row a way."""
    b = np.random.default_rng(946).standard_normal(SIZE**2)
    for family, matrix, changes in SERIES:
        old = neuprecond.load("diffusion2d", matrix(1.0 if family == "heat step" else 0.0))
        for change, amount in changes.items():
            A = matrix(amount)
            ways: dict[str, Callable[[], object]] = {
                "old M": partial(_same, old),
                "reuse": partial(neuprecond.reuse, old, A),
                "reuse, interpolate=True": partial(neuprecond.reuse, old, A, interpolate=True),
                "load": partial(neuprecond.load, "diffusion2d", A),
            }
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            made: dict[str, object] = {}
            for _ in range(TURNS):
                for way, make in ways.items():
                    start = perf_counter()
                    made[way] = make()
                    seconds[way].append(perf_counter() - start)
            for way, M in made.items():
                trials = [
                    neuprecond.solve(A, b, M=M, maxiter=MAXITER, history=False)
                    for _ in range(1 if way == "old M" else TURNS)
                ]
                record = trials[0]
                setup = statistics.median(seconds[way])
                yield (
                    family,
                    change,
                    SIZE**2,
                    way,
                    record.iterations,
                    record.converged,
                    0 if way == "old M" else f"{setup:.4g}",
                    f"{statistics.median(trial.solve_seconds for trial in trials):.4g}",
                )


def _same(M: object) -> object:
    return M


def main() -> None:
    """Write reuse.csv, whole or not at all."""
    head = about(shlex.join(["python", *sys.argv]))
    kept = ("command", "date", "machine", "versions", "models")
    unfinished = CSV.with_suffix(".partial")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        file.writelines(f"# {key}: {head[key]}\n" for key in kept)
        file.write(f"# seconds: medians of {TURNS}, every way in turn\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for row in rows():
            writer.writerow(row)
            print(*row, sep=", ", flush=True)
    unfinished.replace(CSV)


if __name__ == "__main__":
    main()
