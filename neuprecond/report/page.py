"""map.html: the whole map on one page that needs nothing but itself."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np

from neuprecond.report.counts import MAXITER, Counts, Run
from neuprecond.report.families import MAP_FAMILIES, Place
from neuprecond.report.study import StudyRow
from neuprecond.report.verdict import (
    RULES,
    VERDICTS,
    Cell,
    Total,
    cells,
    invariances,
    slopes,
    summary,
    totals,
    transfers,
)

__all__ = ["Picture", "page"]


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes
    ----------
    name, title, alt : str
        An anchor, a heading, and words for those who cannot see it.
    light, dark : str
        SVG for either background.
    """

    name: str
    title: str
    alt: str
    light: str
    dark: str


Value = str | float | int
EXPECTED = {"works": "to work", "breaks": "to break"}

STUDY = (
    "Small dense matrices and small dense networks, apart from the solvers. It tests the thesis "
    "that networks cannot invert matrices in general but can on restricted sets; it does not "
    "reproduce anyone's experiments. A plain network outputs A⁻¹; the others have the pole put in "
    "by hand: the sizes of rows or the diagonal divided out, and Newton–Schulz steps behind a "
    "bounded output. Two proven lines stand beside the measurements: ‖I − MA‖ ≥ 1 − σmin‖M‖, and "
    "1/σmin², the Lipschitz constant of inversion. All networks are 128 wide: where one fails at κ "
    "near one already, its size fails and not the pole."
)


def page(
    counts: Counts,
    pictures: Sequence[Picture],
    *,
    trained_on: Mapping[str, Sequence[str]],
    study: Sequence[StudyRow] = (),
) -> str:
    """Write the page.

    Parameters
    ----------
    counts : Counts
        Rows, curves and what they depend on.
    pictures : sequence of Picture
        Drawn figures; those that are missing are left out.
    trained_on : mapping of str to sequence of str
        Families on each model's card.
    study : sequence of StudyRow
        Of the inversion study, if it was run.

    Returns
    -------
    str
        HTML with styles, script and pictures inside; it loads nothing.
    """
    drawn = {picture.name: picture for picture in pictures}
    judged = cells(counts.runs)
    sections = [
        _section("map", "The map", _figure(drawn, "map"), _rules(), _cells_table(judged)),
        _section("why", "Why it works or breaks", _families_table(judged)),
        _section(
            "growth",
            "How counts grow",
            _figure(drawn, "iterations-n"),
            _figure(drawn, "iterations-kappa"),
            _slopes_table(counts.runs),
        ),
        _section("convergence", "Convergence", _figure(drawn, "convergence")),
        _section(
            "transfer",
            "Trained here, tested there",
            _figure(drawn, "transfer"),
            _transfer_table(counts.runs, trained_on),
        ),
        _section(
            "totals",
            "Totals",
            "<p>Instances on which load gave a classical M, or refused, are left out: nothing "
            "learned was at work.</p>",
            _figure(drawn, "totals"),
            "<h3>All instances</h3>",
            _totals_table(totals(counts.runs), "totals-all"),
            "<h3>Where it is expected to work</h3>",
            _totals_table(totals(counts.runs, expected="works"), "totals-works"),
            "<h3>Where it is expected to break</h3>",
            _totals_table(totals(counts.runs, expected="breaks"), "totals-breaks"),
        ),
        _section(
            "laws",
            "Laws that must hold",
            "<p>M is made for cA (c = 1234.5), for PAPᵀ (a random renumbering) and for SAS (s over "
            "six decades) and changed back; the solve is that of A, so the count must be the same "
            "but for ties that the coarsening breaks another way. Scaling hides that constants "
            "were near-null in the unknowns of A: with B given, as S⁻¹ times them, it does not. "
            "Renumbering may cost what a good order gave, such as the red and black unknowns that "
            "a grid is eliminated by.</p>",
            _invariance_table(counts.runs),
            "<p>On a line with a source at its end no M that couples unknowns at most R apart can "
            "take fewer than n/(R + 1) iterations. R is read off M itself. A count below the bound "
            "stops the benchmark.</p>",
            _cone_table(counts.runs),
        ),
        _section("failures", "Every run that failed", _failures_table(counts.runs)),
    ]
    if study:
        sections.append(
            _section(
                "study",
                "The inversion study",
                f"<p>{html.escape(STUDY)}</p>",
                _figure(drawn, "why-cant"),
                _figure(drawn, "where-can"),
                _study_table(study),
            )
        )
    sections.append(_section("about", "What this was measured with", _about(counts)))
    links = "".join(
        f'<a href="#{name}">{html.escape(title)}</a>' for name, title in _titles(sections)
    )
    return Template(_template()).substitute(
        summary=html.escape(summary(judged)) if judged else "No rows yet.",
        rows=f"{len(counts.runs)}",
        failed=f"{sum(not run.converged for run in counts.runs)}",
        cap=f"{MAXITER}",
        links=links,
        sections="\n".join(text for _, _, text in sections),
    )


_Section = tuple[str, str, str]


def _section(name: str, title: str, *parts: str) -> _Section:
    text = f'<section id="{name}"><h2>{html.escape(title)}</h2>{"".join(parts)}</section>'
    return name, title, text


def _titles(sections: Sequence[_Section]) -> list[tuple[str, str]]:
    return [(name, title) for name, title, _ in sections]


def _figure(drawn: Mapping[str, Picture], name: str) -> str:
    if name not in drawn:
        return ""
    picture = drawn[name]
    images = "".join(
        f'<img class="{theme}" alt="{html.escape(picture.alt)}" src="data:image/svg+xml;base64,'
        f'{base64.b64encode(svg.encode()).decode()}">'
        for theme, svg in (("light", picture.light), ("dark", picture.dark))
    )
    caption = f"<figcaption>{html.escape(picture.title)}. {html.escape(picture.alt)}</figcaption>"
    return f'<figure id="figure-{name}"><div class="scroll">{images}</div>{caption}</figure>'


def _table(name: str, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> str:
    """A table that sorts; numbers are sorted as numbers."""
    if not rows:
        return "<p>No rows.</p>"
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{html.escape(column)}</button>'
        "</th>"
        for column in columns
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table id="table-{name}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(value: Value) -> str:
    if isinstance(value, str):
        kind = f' class="{value}"' if value in VERDICTS else ""
        return f"<td{kind}>{html.escape(value)}</td>"
    if np.isnan(value):
        return '<td class="number" data-v="">—</td>'
    return f'<td class="number" data-v="{float(value):.8g}">{_short(value)}</td>'


def _short(value: float) -> str:
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e6):
        return f"{int(value)}"
    return f"{value:.2f}" if 0.01 <= abs(value) < 1000 else f"{value:.2g}"


def _rules() -> str:
    items = "".join(f"<li><b>{name}</b>: {html.escape(rule)}.</li>" for name, rule in RULES.items())
    return (
        f"<p>The rules, the same for every cell:</p><ul>{items}</ul>"
        f"<p>A run that did not converge counts as {MAXITER} iterations. The best classical M is "
        "the one with the fewest iterations of all that converged with the same solver, instance "
        "by instance; ILU is not symmetric and runs with GMRES, so it is a rival on GMRES lines "
        "and stands in the totals. Work is iterations × (1 + multiplications of one M @ r ÷ "
        "nnz(A)), against the classical M with the least of it.</p>"
    )


def _where(line: str, place: Place) -> str:
    family = MAP_FAMILIES[line]
    return "" if place.value is None else f"{family.swept} = {place.value:g}"


def _cells_table(judged: Sequence[Cell]) -> str:
    columns = [
        "family", "n", "parameter", "verdict", "learned", "twin", "Jacobi", "none",
        "best classical", "which", "÷ best", "÷ twin", "work ÷ best", "κ", "converged", "model",
        "expected", "because",
    ]  # fmt: skip
    rows: list[list[Value]] = [
        [
            MAP_FAMILIES[c.line].title,
            c.n,
            _where(c.line, c.place),
            c.verdict,
            c.learned,
            c.twin,
            c.jacobi,
            c.none,
            c.best,
            c.best_name,
            c.over_best,
            c.over_twin,
            c.work_over_best,
            c.kappa,
            f"{c.converged}/{c.instances}",
            c.model,
            EXPECTED[MAP_FAMILIES[c.line].expected],
            c.reason,
        ]
        for c in judged
    ]
    return _table("cells", columns, rows)


def _families_table(judged: Sequence[Cell]) -> str:
    rows: list[list[Value]] = []
    for line in MAP_FAMILIES.values():
        own = [cell for cell in judged if cell.line == line.name]
        if own:
            found = [sum(cell.verdict == verdict for cell in own) for verdict in VERDICTS]
            rows.append([line.title, EXPECTED[line.expected], *found, line.why, line.reference])
    columns = ["family", "expected", "works", "helps", "breaks", "why", "bound or reference"]
    return _table("families", columns, rows).replace("<table", '<table class="prose"')


def _slopes_table(runs: Sequence[Run]) -> str:
    shown = ("none", "jacobi", "ic0", "fsai", "sa", "sa08", "rs")
    rows: list[list[Value]] = [
        [MAP_FAMILIES[s.line].title, s.preconditioner, s.kind, s.against, s.exponent, s.points]
        for s in slopes(runs)
        if s.kind != "classical" or s.preconditioner in shown
    ]
    columns = ["family", "preconditioner", "kind", "against", "exponent", "points"]
    return _table("slopes", columns, rows)


def _transfer_table(runs: Sequence[Run], trained_on: Mapping[str, Sequence[str]]) -> str:
    rows: list[list[Value]] = [
        [
            t.model,
            MAP_FAMILIES[t.line].title,
            "yes" if t.trained else "no",
            t.cell.learned,
            t.cell.over_best,
            t.cell.over_twin,
            t.cell.verdict,
        ]
        for t in transfers(runs, trained_on)
    ]
    columns = ["model", "tested on", "trained on it", "iterations", "÷ best", "÷ twin", "verdict"]
    return _table("transfer", columns, rows)


def _totals_table(found: Sequence[Total], name: str) -> str:
    rows: list[list[Value]] = [
        [
            t.rival,
            t.instances,
            round(100 * t.fewer),
            round(100 * t.equal),
            t.ratio,
            round(100 * t.solve),
            round(100 * t.total),
            round(100 * t.pays),
            t.after,
        ]
        for t in found
    ]
    columns = [
        "rival", "instances", "fewer iterations %", "equal %", "mean ratio", "faster solve %",
        "faster setup + solve %", "ever pays %", "after right-hand sides",
    ]  # fmt: skip
    return _table(name, columns, rows)


def _invariance_table(runs: Sequence[Run]) -> str:
    rows: list[list[Value]] = [
        [
            MAP_FAMILIES[i.line].title,
            i.variant,
            i.model,
            i.seed,
            i.before,
            i.after,
            i.allowed,
            "holds" if i.holds else "FAILS",
        ]
        for i in invariances(runs)
    ]
    columns = ["family", "change", "model", "seed", "A", "changed A", "allowed ±", "law"]
    return _table("laws", columns, rows)


def _cone_table(runs: Sequence[Run]) -> str:
    rows = [
        (r.preconditioner, r.kind, r.n, r.bound, r.iterations, r.status)
        for r in runs
        if r.bound > 0
    ]
    columns = ["preconditioner", "kind", "n", "bound", "iterations", "status"]
    return _table("cone", columns, list(dict.fromkeys(rows)))


def _failures_table(runs: Sequence[Run]) -> str:
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        if not run.converged:
            key = run.line, f"{run.unknowns}", _where(run.line, run.place), run.preconditioner
            groups.setdefault((*key, run.kind, run.status), []).append(run)
    rows: list[list[Value]] = [
        [MAP_FAMILIES[line].title, int(n), where, name, kind, len(of), status]
        for (line, n, where, name, kind, status), of in groups.items()
    ]
    columns = ["family", "unknowns", "parameter", "preconditioner", "kind", "runs", "status"]
    return _table("failures", columns, rows)


def _study_table(study: Sequence[StudyRow]) -> str:
    columns = [
        "experiment", "n", "matrices", "network", "κ cap or radius ÷ σmin", "median error",
        "‖I − MA‖ < 1, %", "median ‖I − MA‖", "norm budget", "Lipschitz needed", "seconds",
    ]  # fmt: skip
    rows: list[list[Value]] = [
        [
            r.experiment,
            r.n,
            r.matrices,
            r.network,
            r.difficulty,
            r.error,
            round(100 * r.share),
            r.departure,
            r.budget,
            r.lipschitz,
            r.seconds,
        ]
        for r in study
    ]
    return _table("study", columns, rows)


def _about(counts: Counts) -> str:
    facts = "".join(
        f"<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>"
        for key, value in counts.head.items()
        if key != "asked"  # the command says it
    )
    return (
        f"<dl>{facts}</dl><p>counts.csv beside this page holds every run. κ is estimated by "
        "Lanczos on the diagonally scaled matrix and is a lower bound. Seconds are of single runs. "
        "‖I − MA‖ is a lower bound from random vectors.</p>"
    )


def _template() -> str:
    return Path(__file__).with_name("map.html").read_text(encoding="utf-8")
