"""The pictures of the map; the only file that imports matplotlib."""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator

from neuprecond.classical import TUNED
from neuprecond.report.bench import MULTIGRID, Timing, slopes_of
from neuprecond.report.counts import RTOL, Counts, Run
from neuprecond.report.families import MAP_FAMILIES, Place
from neuprecond.report.page import Picture
from neuprecond.report.study import NETWORKS, StudyRow
from neuprecond.report.verdict import Cell, cells, cost, slopes, totals, transfers

__all__ = ["pictures", "speed_picture", "study_pictures"]


# Okabe and Ito's colours, told apart with any colour vision; learned is black or white.
COLOURS = {
    "none": "#999999",
    "jacobi": "#E69F00",
    "ic0": "#56B4E9",
    "fsai": "#CC79A7",
    "multigrid": "#009E73",
    "twin": "#0072B2",
    "learned": "currentColor",
}
LABELS = {
    "none": "none",
    "jacobi": "Jacobi",
    "ic0": "IC(0)",
    "fsai": "FSAI",
    "multigrid": "best PyAMG",
    "twin": "twin",
    "learned": "learned",
}
MARKS = {
    "none": "x",
    "jacobi": "^",
    "ic0": "s",
    "fsai": "v",
    "multigrid": "D",
    "twin": "o",
    "learned": "*",
}
# Of each cell of the map its instances: abscissa and rows.
_Points = Mapping[Place, Sequence[tuple[float, Sequence[Run]]]]
# Ratios are coloured from a quarter to four times.
WIDEST = 2.0
MISSING = "#8c8c8c"


def pictures(
    counts: Counts, folder: Path | None, *, trained_on: Mapping[str, Sequence[str]]
) -> list[Picture]:
    """Draw all figures of a map.

    Parameters
    ----------
    counts : Counts
        The rows and curves.
    folder : Path or None
        Where NAME.png and NAME.svg are written.
    trained_on : mapping of str to sequence of str
        Families on each model's card.

    Returns
    -------
    list of Picture
        Those for which there are rows.
    """
    runs = counts.runs
    judged = cells(runs)
    moved = transfers(runs, trained_on)
    found = []
    if judged:
        alt = (
            "Heat map. Each line is a family, each column a size or a value of its parameter, "
            "harder to the right. Colour is iterations of learned divided by the best classical "
            "preconditioner on the left and by the unlearned twin on the right; a cross marks "
            "cells where it breaks. The table below holds the same numbers."
        )
        found.append(_drawn("map", "The map", alt, folder, lambda: _map(judged)))
        alt = (
            "Small log-log plots, one a family: iterations against {what} for no "
            "preconditioner, Jacobi, IC(0), FSAI, the best of PyAMG, the twin and learned. Open "
            "symbols did not converge. The slopes are in the table."
        )
        for against, name, what in (
            ("n", "iterations-n", "the number of unknowns"),
            ("κ", "iterations-kappa", "the condition number"),
        ):
            # A single size, or a single value, is no line to draw.
            if any(slope.against == against for slope in slopes(runs)):
                title = f"Iterations against {against}"
                draw = partial(_growth, runs, against)
                found.append(_drawn(name, title, alt.format(what=what), folder, draw))
    if counts.curves:
        alt = (
            "Small plots, one a family: the relative residual on a logarithmic axis against "
            "iterations, for the same preconditioners on one instance. Where the solver is GMRES "
            "it is the preconditioned residual."
        )
        found.append(
            _drawn("convergence", "Convergence", alt, folder, lambda: _convergence(counts))
        )
    if moved:
        alt = (
            "Heat map. Lines are models, columns the families they are tested on, framed where the "
            "family was trained on. Colour and number are iterations divided by the best classical "
            "preconditioner's."
        )
        found.append(_drawn("transfer", "Transfer", alt, folder, lambda: _transfer(moved)))
    if judged:
        alt = (
            "Bars, one a rival: the share of instances on which learned needs fewer, equal or more "
            "iterations, and on which it is faster in the solve and in setup and solve together."
        )
        found.append(_drawn("totals", "Totals", alt, folder, lambda: _totals(runs)))
    return found


def study_pictures(study: Sequence[StudyRow], folder: Path | None) -> list[Picture]:
    """Draw "why can't" and "where can".

    Parameters
    ----------
    study : sequence of StudyRow
        All rows of the inversion study.
    folder : Path or None
        Where NAME.png and NAME.svg are written.
    """
    if not study:
        return []
    cant = (
        "Log-log plots, general matrices on the left, positive definite ones in the middle: median "
        "relative error of a network that outputs the inverse against the cap on the condition "
        "number. The plain network fails as κ grows, dividing by hand and Newton steps move the "
        "failure. Right: the Lipschitz constant that the inverse needs, 1/σmin², and what the "
        "plain networks reach."
    )
    can = (
        "Plots against the radius of a ball around one matrix, in units of its smallest singular "
        "value: error on the left, median and 95th percentile, and the share of matrices with "
        "‖I − MA‖ < 1 on the right. Beyond radius one the ball holds singular matrices."
    )
    return [
        _drawn("why-cant", "Why networks cannot invert", cant, folder, lambda: _why_cant(study)),
        _drawn("where-can", "Where networks can", can, folder, lambda: _where_can(study)),
    ]


# Text and axes; in the dark SVG every one of them is the other colour.
INK, DARK_INK = "#1a1a1b", "#e8e8e7"
_STYLE: dict[Any, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # Text stays text: smaller, and a browser finds it.
    "svg.fonttype": "none",
    "svg.hashsalt": "neuprecond",
    "legend.frameon": False,
}


def _drawn(
    name: str, title: str, alt: str, folder: Path | None, draw: Callable[[], Figure]
) -> Picture:
    with matplotlib.rc_context(_STYLE):
        figure = draw()
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        # A hundredth of a point is finer than any screen, and half the size.
        svg = re.sub(r"(\d\.\d\d)\d+", r"\1", buffer.getvalue())
        if folder is not None:
            (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
            # The layout is settled; settling it again would take as long as all the rest.
            figure.set_layout_engine("none")
            figure.savefig(folder / f"{name}.png", dpi=110, facecolor="white")
    return Picture(name, title, alt, svg, svg.replace(INK, DARK_INK))


def _colour(series: str) -> str:
    return INK if series == "learned" else COLOURS[series]


def _number(value: float) -> str:
    """Write a parameter or a number of unknowns as short as can be."""
    if value == 0:
        return "0"
    if 1000 <= value < 1e5 and float(value).is_integer() and value % 1000:
        return f"{value:.0f}"
    power = int(np.floor(np.log10(abs(value)) + 1e-9))
    rounded = value / 10.0**power
    if power >= 4 or power <= -3:
        return f"1e{power}" if abs(rounded - 1) < 0.005 else f"{rounded:.2g}e{power}"
    return f"{value:g}"


def _map(judged: Sequence[Cell]) -> Figure:
    lines = list(dict.fromkeys((cell.line, cell.model) for cell in judged))
    sizes = sorted({cell.place.unknowns for cell in judged})
    swept = max((len(MAP_FAMILIES[line].values) for line, _ in lines), default=0)
    height = 2.4 + 0.3 * len(lines)
    figure = Figure(figsize=(14.5, height), layout="constrained")
    widths = [len(sizes), max(swept, 1), len(sizes), max(swept, 1)]
    axes = figure.subplots(1, 4, sharey=True, width_ratios=widths)
    norm = Normalize(-WIDEST, WIDEST)
    colours = matplotlib.colormaps["PuOr_r"]
    at = {(cell.line, cell.model, cell.place): cell for cell in judged}
    for k, axis in enumerate(axes):
        by_size = k % 2 == 0
        for row, (name, model) in enumerate(lines):
            line = MAP_FAMILIES[name]
            reference = line.reference_size(tuple(sizes))
            places = (
                [Place(n, line.usual) for n in sizes]
                if by_size
                else [Place(reference, value) for value in line.values]
            )
            for column, place in enumerate(places):
                cell = at.get((name, model, place))
                if cell is not None:
                    ratio = cell.over_best if k < 2 else cell.over_twin
                    label = None if by_size else f"{line.swept}={_number(place.value or 0.0)}"
                    _square(axis, column, row, ratio, cell.verdict, colours, norm, label)
        columns = len(sizes) if by_size else max(swept, 1)
        axis.set_xlim(-0.5, columns - 0.5)
        axis.set_ylim(len(lines) - 0.5, -0.5)
        ticks = (
            [_number(n) for n in sizes] if by_size else ["easier", *[""] * (columns - 2), "harder"]
        )
        axis.set_xticks(range(columns), ticks[:columns])
        axis.tick_params(length=0)
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.set_xlabel("unknowns" if by_size else f"parameter, at {_number(reference)} unknowns")
        first_break = [i for i, (n, _) in enumerate(lines) if MAP_FAMILIES[n].expected == "breaks"]
        if first_break and first_break[0] > 0:
            axis.axhline(first_break[0] - 0.5, color=INK, linewidth=1.2)
    axes[0].set_title("learned ÷ best classical, iterations", loc="left")
    axes[2].set_title("learned ÷ twin, iterations", loc="left")
    plain = {model for _, model in lines} <= {"auto", "heat"}
    titles = [
        MAP_FAMILIES[name].title
        + ("" if plain and model == MAP_FAMILIES[name].models[0] else f" ({model})")
        for name, model in lines
    ]
    axes[0].set_yticks(range(len(lines)), titles)
    bar = figure.colorbar(
        matplotlib.cm.ScalarMappable(norm, colours), ax=list(axes), fraction=0.015, pad=0.01
    )
    bar.set_ticks([-2, -1, 0, 1, 2], labels=["≤ ¼", "½", "1", "2", "≥ 4"])
    bar.outline.set_visible(False)
    figure.suptitle(
        "above the line expected to work, below expected to break;   × breaks   ○ helps   ● works",
        fontsize=9,
        x=0.01,
        ha="left",
    )
    return figure


def _square(
    axis: Axes,
    column: int,
    row: int,
    ratio: float,
    verdict: str,
    colours: matplotlib.colors.Colormap,
    norm: Normalize,
    label: str | None,
) -> None:
    known = np.isfinite(ratio)
    colour = colours(norm(np.clip(np.log2(ratio), -WIDEST, WIDEST))) if known else MISSING
    axis.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, facecolor=colour))
    red, green, blue = matplotlib.colors.to_rgb(colour)
    ink = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.45 else "white"
    symbol = {"works": "●", "helps": "○", "breaks": "×"}[verdict]
    text = f"{symbol} {ratio:.2f}" if known else symbol
    axis.text(
        column,
        row if label is None else row - 0.16,
        text,
        ha="center",
        va="center",
        color=ink,
        fontsize=7.5,
        fontweight="bold" if verdict == "breaks" else "normal",
    )
    if label is not None:
        axis.text(column, row + 0.28, label, ha="center", va="center", color=ink, fontsize=5.5)


def _series(run: Run, model: str) -> str | None:
    """Which curve of the small plots a row belongs to."""
    if run.fell_back:
        return None
    if run.kind != "classical":
        return run.kind if run.preconditioner == model else None
    if run.preconditioner.removesuffix("+B") in TUNED:
        return "multigrid"
    return run.preconditioner if run.preconditioner in COLOURS else None


def _grid(count: int, *, height: float) -> tuple[Figure, list[Axes]]:
    columns = 4 if count > 3 else max(count, 1)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.2 * columns, 0.8 + height * rows), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).flat)
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    ordered = [label for label in [*LABELS.values(), "light cone"] if label in handles]
    figure.legend(  # type: ignore[call-overload]
        [handles[label] for label in ordered],
        ordered,
        loc="outside upper left",
        ncols=len(ordered),
    )


def _growth(runs: Sequence[Run], against: str) -> Figure:
    sizes = tuple({run.unknowns for run in runs})
    fitted = {(s.line, s.preconditioner, s.kind): s for s in slopes(runs) if s.against == against}
    names = [name for name in MAP_FAMILIES if any(key[0] == name for key in fitted)]
    figure, axes = _grid(len(names), height=2.3)
    for axis, name in zip(axes, names, strict=False):
        line, model = MAP_FAMILIES[name], MAP_FAMILIES[name].models[0]
        points: dict[str, dict[Place, dict[int, tuple[float, list[Run]]]]] = {}
        for run in runs:
            series = _series(run, model)
            if run.line != name or run.variant or series is None:
                continue
            if against == "n":
                here = run.place.value == line.usual
            else:
                here = run.unknowns == line.reference_size(sizes) and np.isfinite(run.kappa)
            if here:
                x = float(run.n if against == "n" else run.kappa)
                by_seed = points.setdefault(series, {}).setdefault(run.place, {})
                by_seed.setdefault(run.seed, (x, []))[1].append(run)
        for series in (series for series in COLOURS if series in points):
            _medians(axis, series, {p: list(of.values()) for p, of in points[series].items()})
        if against == "n" and any(run.bound > 1 for run in runs if run.line == name):
            bounds = sorted(
                {
                    (run.n, run.bound)
                    for run in runs
                    if run.line == name and run.bound > 1 and run.preconditioner == model
                }
            )
            axis.plot(*zip(*bounds, strict=True), ":", color=INK, label="light cone")
        axis.set(xscale="log", yscale="log", title=line.title)
        shown = [
            f"{LABELS[kind]} {against}^{fitted[key].exponent:.2f}"
            for kind, key in (
                ("jacobi", (name, "jacobi", "classical")),
                ("twin", (name, model, "twin")),
                ("learned", (name, model, "learned")),
            )
            if key in fitted
        ]
        axis.set_xlabel("\n".join([against, ", ".join(shown)]), fontsize=7)
        axis.minorticks_off()
        if against == "n":
            ticks = sorted({run.n for run in runs if run.line == name})[:: max(1, len(sizes) // 4)]
            axis.set_xticks(ticks, [_number(n) for n in ticks])
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.grid(alpha=0.2)
    for axis in axes[::4]:
        axis.set_ylabel("iterations")
    _legend(figure, axes)
    return figure


def _medians(axis: Axes, series: str, points: _Points) -> None:
    """Draw a line through the medians over seeds; of several methods the best of each instance."""
    levels = []
    for by_seed in points.values():
        best = [min(runs, key=cost) for _, runs in by_seed]
        x = float(np.median([abscissa for abscissa, _ in by_seed]))
        y = float(np.median([cost(run) for run in best]))
        levels.append((x, y, all(run.converged for run in best)))
    levels.sort()
    strong = series in ("learned", "twin")
    colour = _colour(series)
    axis.plot(
        [x for x, _, _ in levels],
        [y for _, y, _ in levels],
        color=colour,
        linestyle="--" if series == "twin" else "-",
        linewidth=1.8 if strong else 1.0,
        marker=MARKS[series],
        markersize=7 if series == "learned" else 4,
        label=LABELS[series],
        zorder=3 if series == "learned" else 2,
    )
    for x, y, converged in levels:
        if not converged:
            axis.plot(x, y, "o", markersize=9, markerfacecolor="none", color=colour)


def _convergence(counts: Counts) -> Figure:
    names = [name for name in MAP_FAMILIES if any(c.line == name for c in counts.curves)]
    figure, axes = _grid(len(names), height=2.1)
    for axis, name in zip(axes, names, strict=False):
        model = MAP_FAMILIES[name].models[0]
        fell_back = any(
            run.fell_back and run.line == name and run.preconditioner == model
            for run in counts.runs
        )
        best: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = {}
        for curve in counts.curves:
            if curve.line != name:
                continue
            series = curve.kind if curve.preconditioner == model else curve.preconditioner
            if curve.kind == "classical" and curve.preconditioner.removesuffix("+B") in TUNED:
                series = "multigrid"
            if series not in COLOURS or (fell_back and curve.kind != "classical"):
                continue
            mine = (curve.iterations, curve.residuals)
            if series not in best or _sooner(mine, best[series]):
                best[series] = mine
        for series in (series for series in COLOURS if series in best):
            iterations, residuals = best[series]
            axis.semilogy(
                [k + 1 for k in iterations],
                np.maximum(residuals, 1e-16),
                color=_colour(series),
                linestyle="--" if series == "twin" else "-",
                linewidth=1.8 if series in ("learned", "twin") else 1.0,
                label=LABELS[series],
            )
        axis.axhline(RTOL, color=INK, linewidth=0.6, alpha=0.5)
        axis.set(xscale="log", title=MAP_FAMILIES[name].title, ylim=(1e-10, 1e2))
        axis.set_xlabel("iterations + 1", fontsize=7)
        axis.minorticks_off()
        axis.grid(alpha=0.2)
    for axis in axes[::4]:
        axis.set_ylabel("relative residual")
    _legend(figure, axes)
    return figure


def _sooner(a: tuple, b: tuple) -> bool:
    """Whether curve a ends lower, or as low with fewer iterations."""
    done_a, done_b = a[1][-1] <= RTOL, b[1][-1] <= RTOL
    if done_a and done_b:
        return a[0][-1] < b[0][-1]
    return done_a or (not done_b and a[1][-1] < b[1][-1])


def _transfer(moved: Sequence) -> Figure:
    models = sorted({t.model for t in moved})
    names = [name for name in MAP_FAMILIES if any(t.line == name for t in moved)]
    figure = Figure(
        figsize=(4.0 + 0.6 * len(names), 3.2 + 0.45 * len(models)), layout="constrained"
    )
    axis = figure.subplots()
    norm, colours = Normalize(-WIDEST, WIDEST), matplotlib.colormaps["PuOr_r"]
    for t in moved:
        column, row = names.index(t.line), models.index(t.model)
        _square(axis, column, row, t.cell.over_best, t.cell.verdict, colours, norm, None)
        if t.trained:
            axis.add_patch(
                Rectangle(
                    (column - 0.48, row - 0.46), 0.96, 0.92, fill=False, color=INK, linewidth=2
                )
            )
    axis.set_xlim(-0.55, len(names) - 0.45)
    axis.set_ylim(len(models) - 0.45, -0.55)
    axis.set_xticks(
        range(len(names)), [MAP_FAMILIES[n].title for n in names], rotation=35, ha="right"
    )
    axis.set_yticks(range(len(models)), models)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title("iterations ÷ best classical; framed: trained on", loc="left")
    bar = figure.colorbar(
        matplotlib.cm.ScalarMappable(norm, colours), ax=axis, fraction=0.02, pad=0.01
    )
    bar.set_ticks([-2, -1, 0, 1, 2], labels=["≤ ¼", "½", "1", "2", "≥ 4"])
    bar.outline.set_visible(False)
    return figure


def _totals(runs: Sequence[Run]) -> Figure:
    found = totals(runs)
    figure = Figure(figsize=(11, 2.0 + 0.32 * len(found)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    y = np.arange(len(found))
    fewer = np.array([t.fewer for t in found])
    equal = np.array([t.equal for t in found])
    left.barh(y, fewer, color=COLOURS["multigrid"], label="fewer iterations")
    left.barh(y, equal, left=fewer, color="#BBBBBB", label="equal")
    left.barh(y, 1 - fewer - equal, left=fewer + equal, color=COLOURS["jacobi"], label="more")
    for k, total in enumerate(found):
        ratio = f"× {total.ratio:.2f}"
        left.text(1.01, k, ratio, va="center", fontsize=7.5)
    left.set_yticks(y, [f"{t.rival} ({t.instances})" for t in found])
    left.set_xlim(0, 1.12)
    right.barh(y - 0.2, [t.solve for t in found], 0.38, color=COLOURS["ic0"], label="faster solve")
    right.barh(
        y + 0.2, [t.total for t in found], 0.38, color=COLOURS["twin"], label="faster setup + solve"
    )
    for k, total in enumerate(found):
        after = "never" if np.isnan(total.after) else f"after {total.after:g}"
        right.text(1.01, k, after, va="center", fontsize=7.5)
    right.set_xlim(0, 1.2)
    for axis in (left, right):
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25 %", "50 %", "75 %", "100 %"])
        axis.invert_yaxis() if axis is left else None
        axis.grid(axis="x", alpha=0.2)
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, fontsize=8)
    right.set_xlabel("share of instances; right of the bars: right-hand sides until it pays")
    left.set_xlabel("share of instances; right of the bars: mean ratio of iterations")
    return figure


def speed_picture(rows: Sequence[Timing], folder: Path | None) -> Picture:
    """Draw seconds of setup and one solve against n, one plot a family.

    Parameters
    ----------
    rows : sequence of Timing
        Of several sizes.
    folder : Path or None
        Where speed.png and speed.svg are written.

    Returns
    -------
    Picture
    """
    alt = (
        "Small log-log plots, one a family: seconds of setup and one solve against the number of "
        "unknowns, for the preconditioners of the table, with the slope of each line. A dotted "
        "line is proportional to n."
    )
    return _drawn("speed", "Seconds against n", alt, folder, lambda: _seconds(rows))


def _seconds(rows: Sequence[Timing]) -> Figure:
    families = list(dict.fromkeys(row.family for row in rows))
    across = min(3, len(families))
    down = -(-len(families) // across)
    figure = Figure(figsize=(4.2 * across, 3.4 * down), layout="constrained")
    slopes = slopes_of(rows)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for family, axis in zip(families, axes, strict=False):
        mine = [row for row in rows if row.family == family]
        # Of all multigrid the one that is fastest at the largest size stands for the others.
        n = max(row.n for row in mine)
        fastest = min(
            (row for row in mine if row.n == n and row.M in MULTIGRID and row.converged),
            key=lambda row: row.total(1),
            default=None,
        )
        for name in dict.fromkeys(row.M for row in mine):
            series, label = _line_of(name, mine, fastest)
            if series is None:
                continue
            own = sorted((r for r in mine if r.M == name), key=lambda r: r.n)
            slope = slopes.get((family, name))
            axis.loglog(
                [row.n for row in own],
                [row.total(1) for row in own],
                marker=MARKS[series],
                markersize=4,
                color=_colour(series),
                linestyle="--" if series == "twin" else "-",
                linewidth=1.8 if series in ("learned", "twin") else 1.0,
                label=label if slope is None else f"{label}, slope {slope:.2f}",
            )
        ends = np.array([min(row.n for row in mine), n], dtype=float)
        least = min(row.total(1) for row in mine if row.converged)
        axis.loglog(ends, 0.6 * least * ends / ends[1], ":", color=INK, linewidth=0.8)
        axis.set(title=family, xlabel="n", ylabel="seconds, setup + solve")
        axis.legend(fontsize=6.5)
        axis.grid(alpha=0.2)
    for axis in axes[len(families) :]:
        axis.set_visible(False)
    return figure


def _line_of(name: str, rows: Sequence[Timing], fastest: Timing | None) -> tuple[str | None, str]:
    """Colour and label of a line; None for multigrid that is not the fastest."""
    kind = next(row.kind for row in rows if row.M == name)
    if kind != "classical":
        return kind, name
    if name in MULTIGRID:
        is_fastest = fastest is not None and name == fastest.M
        return ("multigrid" if is_fastest else None), name
    return name, LABELS[name]


# Networks of the study, again by Okabe and Ito.
_STUDY = dict(zip(NETWORKS, ("#D55E00", "#E69F00", "#0072B2", "#999999"), strict=True))
_DASHES = {3: "-", 8: "--", 16: ":"}


def _why_cant(study: Sequence[StudyRow]) -> Figure:
    capped = [row for row in study if row.experiment == "κ cap"]
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, matrices in zip(axes, ("general", "SPD"), strict=False):
        for name, n, own in _study_series(row for row in capped if row.matrices == matrices):
            x, y = [r.difficulty for r in own], [max(r.error, 1e-7) for r in own]
            label = f"{name}, {n} × {n}" if matrices == "general" else None
            axis.loglog(x, y, _DASHES[n], marker="o", ms=3, color=_STUDY[name], label=label)
        axis.set(title=f"{matrices} matrices", xlabel="cap on κ", ylim=(5e-8, 3))
    axes[0].set_ylabel("median relative error")
    caps = sorted({row.difficulty for row in capped})
    axes[2].loglog(caps, [cap**2 for cap in caps], color=INK, label="needed: 1/σmin²")
    for _, n, own in _study_series(r for r in capped if r.network == "plain"):
        for matrices, mark in (("general", "o"), ("SPD", "s")):
            kind = [row for row in own if row.matrices == matrices]
            axes[2].loglog(
                [r.difficulty for r in kind],
                [r.measured for r in kind],
                _DASHES[n],
                marker=mark,
                ms=3,
                color=_STUDY["plain"],
                label=f"plain, {matrices}, {n} × {n}",
            )
    axes[2].set(title="Lipschitz constant", xlabel="cap on κ")
    for axis in axes:
        axis.grid(alpha=0.2)
    axes[2].legend(fontsize=7)
    figure.legend(loc="outside lower left", ncols=4, fontsize=7, handles=axes[0].lines)
    return figure


def _where_can(study: Sequence[StudyRow]) -> Figure:
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, n, own in _study_series(row for row in study if row.experiment == "ball"):
        x = [r.difficulty for r in own]
        style: dict[str, Any] = {"color": _STUDY[name], "ms": 3}
        median = [max(r.error, 1e-7) for r in own]
        left.loglog(x, median, _DASHES[n], marker="o", label=f"{name}, {n} × {n}", **style)
        worst = [max(r.worst, 1e-7) for r in own]
        left.loglog(x, worst, _DASHES[n], marker="^", alpha=0.45, **style)
        right.semilogx(x, [100 * r.share for r in own], _DASHES[n], marker="o", **style)
    for axis in (left, right):
        axis.axvline(1.0, color=INK, linewidth=0.8)
        axis.set_xlabel("‖E‖ / σmin(A0)")
        axis.grid(alpha=0.2)
    left.set(ylabel="relative error: median ●, 95 % ▲", title="a ball around one matrix")
    right.set(ylabel="matrices with ‖I − MA‖ < 1, %", ylim=(0, 103))
    figure.legend(loc="outside lower left", ncols=4, fontsize=7)
    return figure


def _study_series(rows: Iterable[StudyRow]) -> Iterator[tuple[str, int, list[StudyRow]]]:
    groups: dict[tuple[str, int], list[StudyRow]] = {}
    for row in rows:
        groups.setdefault((row.network, row.n), []).append(row)
    for (name, n), own in groups.items():
        yield name, n, own
