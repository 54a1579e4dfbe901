"""Put the measured figures into README.md and breadth.md: ``python datasets/results/table.py``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from measure import (
    HERE,
    LEARNED,
    MEASURES,
    SUITES,
    TWIN,
    Ratio,
    Row,
    Suite,
    mean_count,
    ratios,
    verdict,
)
from measure import read as read_rows

README = HERE.parents[1] / "README.md"
START, END = "<!-- table: results -->", "<!-- end -->"
TITLES = {
    "diffusion2d": "CG iterations on 65 536 unknowns, `diffusion2d`",
    "heat": "CG iterations on implicit heat steps, `heat` (its twin is FSAI)",
    "advection": "GMRES iterations on 65 536 unknowns, `advection` (its twin has one plan for all)",
    "space": "CG iterations in space, `diffusion2d`",
    "graphs": "CG iterations on graphs of 99 856 nodes, `diffusion2d`",
    "large": "CG iterations on 1 048 576 unknowns, `diffusion2d`",
    "blocks": "CG iterations on elasticity without modes, `auto` (blocks of unknowns are found; "
    "nothing is learned: learned is the twin)",
    "real": "CG iterations on real matrices, never trained on, `auto`",
    "kinds": "CG iterations on kinds of problems that the pick alone is fitted to, and on "
    "`fibres`, `auto`",
    "unseen": "CG iterations on kinds of problems that no model was trained on, `auto`, 12 000 to "
    "64 000 unknowns",
    "elasticity": "CG iterations on elasticity with rigid body modes given to all, `diffusion2d` "
    "(nothing is learned there: learned is the twin)",
}
#: What the README shows; the others have a page of their own.
SHOWN = ("diffusion2d", "heat", "advection")
#: Of these suites only some sizes; breadth.md has them all.
SHOWN_SIZES = {"heat": (64, 256, 512)}
BREADTH = HERE / "breadth.md"
HEADINGS = {
    "sa": "SA",
    "sa08": "SA θ = .08",
    "rs": "RS",
    "rs-evolution": "RS evolution",
    "root-node": "root-node",
    "jacobi": "Jacobi",
    "ic0": "IC(0)",
    "fsai": "FSAI",
    "ilu": "ILU",
    "sa-nonsymmetric": "SA",
    "air": "AIR",
    LEARNED: "**learned**",
}


def render(
    folder: Path = HERE,
    names: Sequence[str] = SHOWN,
    shown: Mapping[str, Sequence[int]] = SHOWN_SIZES,
) -> str:
    """Measured suites as Markdown.

    Parameters
    ----------
    folder : Path
        Where the CSV files of ``measure.py`` are.
    names : sequence of str
        Which suites.
    shown : mapping of str to sequence of int
        Sizes to show of a suite; all of those that are not named.
    """
    parts = []
    for name in names:
        suite = SUITES[name]
        path = folder / f"{name}.csv"
        if path.exists():
            about, rows = read_rows(path)
            parts.append(section(TITLES[name], suite, about, rows, shown.get(name)))
    return "\n\n".join(parts) or "Not measured yet."


def section(
    title: str,
    suite: Suite,
    about: Mapping[str, str],
    rows: Sequence[Row],
    shown: Sequence[int] | None = None,
) -> str:
    """One suite: counts by case, ratios of all sizes, and where the figures come from."""
    names = (*suite.panel, TWIN, LEARNED)
    sizes = {row.size for row in rows}
    seeds = len({row.seed for row in rows})
    power = {case.name: case.power for case in suite.cases}
    lines = [
        f"**{title}**, to a true relative residual of 1e-8; geometric means over {seeds} test "
        f"seed{'s' if seeds > 1 else ''}.",
        "",
        _row("family", *(["n"] if len(sizes) > 1 else []), *(HEADINGS.get(n, n) for n in names)),
        "|---" + ("|---:" if len(sizes) > 1 else "") + "|---:" * len(names) + "|",
    ]
    for case, size in dict.fromkeys((row.case, row.size) for row in rows):
        if shown is not None and size not in shown:
            continue
        here = [row for row in rows if (row.case, row.size) == (case, size)]
        counts = [mean_count([row for row in here if row.M == name]) for name in names]
        counts[-1] = f"**{counts[-1]}**"
        lines.append(_row(case, *([f"{size}{power[case]}"] if len(sizes) > 1 else []), *counts))
    left_out = sorted(sizes - set(sizes if shown is None else shown))
    if left_out:
        named = " and ".join(f"{size}²" for size in left_out)
        page = "datasets/results/breadth.md"
        lines += ["", f"{named} are in [{page}]({page}); what follows is over all sizes."]
    found = ratios(rows, suite)
    measures = list(dict.fromkeys(ratio.measure for ratio in found[::-1]))[::-1]
    lines += [
        "",
        _in_short(found),
        "",
        "Geometric mean of learned ÷ rival over all instances, in brackets the worst of them. Work "
        "is iterations × (1 + multiplications of one M @ r ÷ nnz(A)).",
        "",
        _row("learned ÷", *measures),
        "|---" + "|---:" * len(measures) + "|",
    ]
    for rival in dict.fromkeys(ratio.rival for ratio in found):
        here = {r.measure: f"{r.mean:.2f} ({r.worst:.2f})" for r in found if r.rival == rival}
        cells = [here.get(measure, "—") for measure in measures]
        named = " and ".join(HEADINGS[name] for name in suite.bar)
        lines.append(_row(rival.replace(" and ".join(suite.bar), named), *cells))
    lines += [
        "",
        f"{verdict(rows)} Measured {about['date']} by `{about['command']}`: {about['machine']}; "
        f"{about['versions']}. Seconds are {about['seconds']}.",
    ]
    return "\n".join(lines)


def _in_short(found: Sequence[Ratio]) -> str:
    """Say in a sentence what the ratios mean to a user, losses too."""
    means = {(ratio.rival, ratio.measure): ratio.mean for ratio in found}
    best = "best of all classical"

    def more(rival: str, measure: str) -> str:
        share = 100 * (means[rival, measure] - 1)
        return f"{abs(share):.0f} % {'fewer' if share < 0 else 'more'} {measure}"

    total = means[best, MEASURES[3]]
    return (
        f"In short: learned needs {more('twin', MEASURES[0])} than its twin, and "
        f"{more(best, MEASURES[0])} and {means[best, MEASURES[2]]:.2f} times the {MEASURES[2]} of "
        "the best classical M, taken instance by instance; with its setup, for a single right-hand "
        f"side, it takes {total:.1f} times as long as the fastest of them."
    )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def filled(text: str, table: str, start_at: str = START) -> str:
    """Replace what stands between the README's two comments."""
    before, start, rest = text.partition(start_at)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"README.md must hold {start_at} and, behind it, {END}.")
    return f"{before}{start_at}\n{table}\n{END}{after}"


def main() -> None:
    """Fill the README's table, and the page of the other suites, from the CSV files."""
    README.write_text(filled(README.read_text(encoding="utf-8"), render()), encoding="utf-8")
    others = [*(name for name in SUITES if name not in SHOWN), *SHOWN_SIZES]
    page = f"# Beyond the plane, and all sizes\n\n{render(names=others, shown={})}\n"
    BREADTH.write_text(page, encoding="utf-8")
    print(f"wrote {README.name} and {BREADTH.name}")


if __name__ == "__main__":
    main()
