"""The map from start to end: measure, keep every row, judge, draw, write the page."""

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from neuprecond.report.bench import Timing
from neuprecond.report.counts import PEERS, Counts, Task, about, measure, tasks
from neuprecond.report.families import MAP_FAMILIES, SIZES, Place
from neuprecond.report.page import page
from neuprecond.report.study import StudyRow, read_study, run_study, write_study
from neuprecond.zoo import models as packaged_models

__all__ = ["draw_map", "draw_speed", "make_map", "make_study"]

#: Called with what is being measured, how much of the work is done, and how much there is.
Progress = Callable[[str, float, float], None]


def make_map(
    out: str | Path,
    *,
    families: Sequence[str] | None = None,
    models: Sequence[str] = (),
    sizes: Sequence[int] | None = None,
    seeds: int | None = None,
    small: bool = False,
    resume: bool = False,
    fresh: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> Counts:
    """Measure families × sizes × preconditioners and draw the map.

    Every row is written as soon as it is known. If interrupted, what is there is drawn and the
    interrupt goes on to the caller; ``resume`` takes it up again.

    Parameters
    ----------
    out : str or Path
        Folder for counts.csv, curves.csv, map.html and the figures.
    families : sequence of str, or None
        Keys of ``MAP_FAMILIES``; None is all.
    models : sequence of str
        Models to measure everywhere, besides the one that each line of the map is about.
    sizes : sequence of int, or None
        Unknowns, roughly; None is 256 to 16 384, or 256 and 1024 if small.
    seeds : int or None
        Instances a cell; None is 3, or 2 if small.
    small : bool
        Minutes instead of hours: small sizes, the ends of the swept parameters.
    resume : bool
        Go on with the rows that are in the folder; with none of the settings above given, with
        those that are recorded there.
    fresh : bool
        Forget the rows that are in the folder.
    progress : callable or None
        Called as ``progress(what, done, of)``.
    command : str or None
        For the head of the CSV; the command line by default.

    Returns
    -------
    Counts
        All rows.

    Raises
    ------
    ValueError
        If a name is unknown, or the folder holds rows and neither ``resume`` nor ``fresh`` is set,
        or they were measured with other versions or models, or there is nothing to resume.
    ModuleNotFoundError
        If matplotlib or scikit-fem is missing.
    BenchmarkError
        If a count is lower than the light cone allows.
    """
    out = Path(out)
    asked: dict[str, Any] = {
        "families": None if families is None else list(families),
        "models": list(models),
        "sizes": None if sizes is None else [int(size) for size in sizes],
        "seeds": seeds,
        "small": small,
    }
    if resume and not any(asked.values()):
        asked = _recorded(out)
    models, small = asked["models"], asked["small"]
    wanted = tasks(
        asked["families"],
        models=models,
        sizes=tuple(asked["sizes"] or SIZES["small" if small else "middle"]),
        seeds=(2 if small else 3) if asked["seeds"] is None else asked["seeds"],
        ends_only=small,
    )
    _require("matplotlib", "plots", "the map draws figures")
    if any(task.line.family.startswith("elasticity") for task in wanted):
        _require("skfem", "problems", "elasticity needs finite elements")
    head = about(command or shlex.join(["neuprecond", *sys.argv[1:]]), models=models)
    if (out / "counts.csv").exists() and not fresh:
        counts = Counts.read(out)
        if not resume:
            raise ValueError(
                f"{counts.path} holds {len(counts.runs)} rows. Go on with --resume, start over "
                "with --fresh, or write elsewhere with --out."
            )
        counts.require_same(head)
        counts.head["asked"] = json.dumps(asked)
        counts.write()
    else:
        counts = Counts.start(out, {**head, "asked": json.dumps(asked)})
    done = {run.key for run in counts.runs}
    # A run costs about as the number of unknowns, the small ones something too.
    work = [len(task.keys()) * (task.place.unknowns + 2000.0) for task in wanted]
    total, so_far, clock = sum(work), 0.0, perf_counter()
    try:
        if wanted:
            _warm_up(wanted)
        for task, share in zip(wanted, work, strict=True):
            if progress is not None:
                what = f"{task.line.name}, {task.place.unknowns} unknowns, seed {task.seed}"
                progress(what, so_far, total)
            for run, curve in measure(task, skip=done.__contains__):
                counts.append(run, curve)
            so_far += share
            # Also when it is killed outright, the head tells how long it took.
            now = perf_counter()
            counts.add_seconds(now - clock)
            clock = now
            counts.write()
    finally:
        if progress is not None:
            progress("drawing what is there", so_far, total)
        # What was measured is shown, even if it is not all.
        order = {key: k for k, key in enumerate(key for task in wanted for key in task.keys())}
        counts.runs.sort(key=lambda run: order.get(run.key, len(order)))
        counts.write()
        # As the file has it: rounded, so that drawing it again gives the same page.
        counts = Counts.read(out)
        draw_map(out, counts=counts)
    return counts


def _recorded(out: Path) -> dict[str, Any]:
    """What the rows in a folder were asked for with, to go on with them."""
    if not (out / "counts.csv").exists():
        raise ValueError(f"{out} holds no rows to go on with: leave --resume out.")
    counts = Counts.read(out)
    if "asked" not in counts.head:
        raise ValueError(
            f"{counts.path} does not record what was asked for. Give the options again that it was "
            f"measured with; its command was: {counts.head.get('command', 'not recorded')}"
        )
    asked: dict[str, Any] = json.loads(counts.head["asked"])
    return asked


def _warm_up(wanted: Sequence[Task]) -> None:
    """Run everything once on small problems: no row is to pay for compilation."""
    asked = tuple(dict.fromkeys(model for task in wanted for model in task.models))
    for name in ("heat", "poisson2d"):
        line = MAP_FAMILIES[name]
        for _ in measure(Task(line, Place(400, line.usual), 0, asked, PEERS, (), False)):
            pass


def draw_map(out: str | Path, *, counts: Counts | None = None) -> Path:
    """Draw figures and map.html from the rows in a folder.

    Parameters
    ----------
    out : str or Path
        Folder with counts.csv, and study.csv if the inversion study was run.
    counts : Counts or None
        The rows, if they are at hand.

    Returns
    -------
    Path
        Of map.html.
    """
    from neuprecond.report.figures import pictures, study_pictures

    out = Path(out)
    counts = Counts.read(out) if counts is None else counts
    known = [run for run in counts.runs if run.line in MAP_FAMILIES]
    counts = Counts(counts.folder, counts.head, known, counts.curves)
    study = read_study(out / "study.csv")
    trained_on = {card.name: card.families for card in packaged_models()}
    drawn = [*pictures(counts, out, trained_on=trained_on), *study_pictures(study, out)]
    text = page(counts, drawn, trained_on=trained_on, study=study)
    path = out / "map.html"
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return path


def make_study(
    out: str | Path, *, small: bool = False, progress: Progress | None = None
) -> list[StudyRow]:
    """Run the inversion study, write study.csv and its figures, and put them on the map's page.

    Parameters
    ----------
    out : str or Path
        Folder; that of the map, or a new one.
    small : bool
        3 × 3 matrices and short trainings.
    progress : callable or None
        Called as ``progress(what, done, of)``.

    Raises
    ------
    ModuleNotFoundError
        If torch or matplotlib is missing.
    """
    _require("torch", "train", "the study trains networks")
    _require("matplotlib", "plots", "the study draws figures")
    from neuprecond.report.figures import study_pictures

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)

    def tell(done: int, of: int) -> None:
        if progress is not None:
            progress("trainings", done, of)

    rows = list(run_study(small=small, progress=tell))
    write_study(out / "study.csv", rows)
    if (out / "counts.csv").exists():
        draw_map(out)
    else:
        study_pictures(rows, out)
    return rows


def _require(module: str, extra: str, why: str) -> None:
    if find_spec(module) is None:
        raise ModuleNotFoundError(
            f"{why}: install {module} with pip install 'neuprecond[{extra}]'.", name=module
        )


def draw_speed(rows: Sequence[Timing], folder: str | Path) -> None:
    """Draw the rows of a benchmark as speed.png and speed.svg.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is missing.
    """
    _require("matplotlib", "plots", "--plot draws a figure")
    from neuprecond.report.figures import speed_picture

    speed_picture(rows, Path(folder))
