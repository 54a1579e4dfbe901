"""The map's counts as a small table that `neuprecond.diagnose` foretells from.

``python -m neuprecond.report.distil [FOLDER]`` reads counts.csv of the map in the folder, writes
the table of the package anew, and tells how well it foretells families that are left out.
"""

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from neuprecond import expected
from neuprecond.expected import FEATURES, METHODS
from neuprecond.hierarchy import unit_diagonal
from neuprecond.report.counts import Counts, Run
from neuprecond.report.families import MAP_FAMILIES, Place
from neuprecond.spectrum import ends

__all__ = ["coverage", "distil"]

# Instances a cell; of the largest problems one.
INSTANCES, LARGE = 2, 100_000
# Lines that are the same problems as another's, seen with another question.
SAME = {
    "kappa-one-level": "heat",
    "contrast-one-level": "two-phase",
    "mild": "two-phase",
    "one-level": "poisson2d",
    "crossing": "poisson2d",
    "ball": "heat",
    "elasticity-no-B": "elasticity",
}
# Given near-null vectors, counts say nothing about a matrix without them.
LEFT_OUT = ("elasticity",)
PYAMG = ("sa", "sa08", "rs", "rs-evolution", "root-node")


def distil(folder: str | Path) -> list[dict[str, str]]:
    """Make the rows of the table from a map.

    Parameters
    ----------
    folder : str or Path
        With counts.csv.

    Returns
    -------
    list of dict
        A problem each: family, line, unknowns, value, seed, features, counts.
    """
    runs: dict[tuple[str, Place, int], dict[tuple[str, str], Run]] = {}
    for run in Counts.read(folder).runs:
        line = MAP_FAMILIES[run.line]
        if line.method == "cg" and run.line not in LEFT_OUT and not run.variant:
            runs.setdefault(run.instance, {})[run.preconditioner, run.kind] = run
    seen: dict[tuple[str, Place], int] = {}
    rows = []
    for (name, place, seed), found in runs.items():
        seen[name, place] = seen.get((name, place), 0) + 1
        if seen[name, place] > (1 if place.unknowns > LARGE else INSTANCES):
            continue
        if not np.isfinite(found["jacobi", "classical"].kappa):
            continue
        A = MAP_FAMILIES[name].draw(place, seed).A
        x = expected.features(A, ends(unit_diagonal(A)[0], count=True))
        counts = {method: _count(method, found) for method in METHODS}
        rows.append(
            {
                "family": SAME.get(name, name),
                "line": name,
                "unknowns": str(place.unknowns),
                "value": "" if place.value is None else f"{place.value:g}",
                "seed": str(seed),
                **{key: f"{number:.4g}" for key, number in zip(FEATURES, x, strict=True)},
                **{key: "" if count is None else str(count) for key, count in counts.items()},
            }
        )
    return rows


def _count(method: str, found: Mapping[tuple[str, str], Run]) -> int | None:
    """Iterations of a method on a problem; None where it did not run or did not converge."""
    if method == "pyamg":
        of_pyamg = [found[name, "classical"] for name in PYAMG if (name, "classical") in found]
        return min((max(run.iterations, 1) for run in of_pyamg if run.converged), default=None)
    model, _, twin = method.partition(", ")
    key, made = {
        "ic0": (("ic0", "classical"), "ic0"),
        "heat": (("heat", "twin" if twin else "learned"), "spai"),
        "learned": (("auto", "learned"), "multilevel"),
        "twin": (("auto", "twin"), "multilevel"),
    }[model]
    run = found.get(key)
    if run is None or not run.converged or made not in run.made:
        return None
    return max(run.iterations, 1)


def write(rows: list[dict[str, str]], head: Mapping[str, str]) -> None:
    """Replace the table of the package."""
    with expected.TABLE.open("w", newline="", encoding="utf-8") as file:
        file.write("# written by: python -m neuprecond.report.distil\n")
        file.writelines(f"# {key}: {head[key]}\n" for key in ("date", "versions", "models"))
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    expected.read_table.cache_clear()
    expected._fit.cache_clear()


def coverage() -> dict[str, tuple[int, float, float]]:
    """Leave each family out and foretell it from the others.

    Returns
    -------
    dict of str to tuple
        By method: how many problems, the share of them inside their band, and the median factor
        between foretold and counted.
    """
    families, X, counts = expected.read_table()
    found = {}
    for method in METHODS:
        known = np.flatnonzero(np.isfinite(counts[method]))
        inside, factors = 0, []
        for k in known:
            told = expected.foretell(X[k], method, left_out=str(families[k]))
            count = counts[method][k]
            inside += bool(told.low <= count <= told.high)
            factors.append(abs(np.log(told.iterations / count)))
        found[method] = len(known), inside / len(known), float(np.exp(np.median(factors)))
    return found


def main(folder: str) -> None:
    """Write the table and print how well it foretells."""
    write(distil(folder), Counts.read(folder).head)
    print(f"wrote {expected.TABLE}")
    for method, (problems, share, factor) in coverage().items():
        print(
            f"{method}: {problems} problems; with their family left out {share:.0%} lie in the "
            f"band, and half of them are foretold to within a factor of {factor:.2f}"
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "datasets/results/map")
