"""Write what docs/ takes from code and measurements: ``python scripts/docs.py``.

docs/api.md comes from the docstrings, the table of docs/choosing.md from the rows of the map, and
docs/pictures/how-it-works.svg is drawn. Tests compare what is committed with what this makes.
"""

import ast
import csv
import importlib
import inspect
import math
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from neuprecond import report

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# As a cell says where no classical M converged.
NOBODY = "none converged"
START, END = "<!-- table: {} -->", "<!-- end -->"
RIGHT_HAND_SIDES = (1, 2, 3, 5, 10, 20)
# Iterations after which a run is given up, in datasets/results/reuse.py.
MOST = 1000

# Modules of the reference, and which of their names are in it: None is all of __all__.
MODULES: dict[str, tuple[str, ...] | None] = {
    "neuprecond": None,
    "neuprecond.operators.base": None,
    "neuprecond.zoo": ("Card",),
    "neuprecond.classical": None,
    "neuprecond.problems": None,
    "neuprecond.torch": None,
    "neuprecond.training.recipes": ("Ingredient", "Recipe"),
    "neuprecond.training.loop": ("train",),
}
SECTIONS = (
    "Parameters",
    "Attributes",
    "Returns",
    "Yields",
    "Raises",
    "Warns",
    "Notes",
    "References",
    "Examples",
)
# Sections whose entries are a name, a type and an indented text.
ENTRIES = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns")


def main() -> None:
    """Write all of it."""
    (DOCS / "api.md").write_text(api(), encoding="utf-8")
    page = DOCS / "choosing.md"
    page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    draw(DOCS / "pictures" / "how-it-works.svg")


def api() -> str:
    """All public names as Markdown."""
    at = anchors()
    parts = [
        "# API reference",
        "[Documentation](index.md)",
        "Made from the docstrings by `python scripts/docs.py`. In them A is the matrix, b the "
        "right-hand side, M ≈ A⁻¹, B near-null vectors of A.",
        "\n".join(
            f"- [`{name}`](#{at[name]}): "
            + ", ".join(f"[`{one}`](#{at[f'{name}.{one}']})" for one in listed(name))
            for name in MODULES
        ),
    ]
    for name in MODULES:
        module = importlib.import_module(name)
        parts += [f"## `{name}`", first_paragraph(inspect.getdoc(module) or "")]
        for public in listed(name):
            parts += entry(name, public, getattr(module, public))
    return "\n\n".join(parts) + "\n"


def listed(name: str) -> list[str]:
    """Names of a module, functions before classes."""
    module = importlib.import_module(name)
    wanted = MODULES[name]
    names = module.__all__ if wanted is None else wanted
    return sorted(names, key=lambda one: inspect.isclass(getattr(module, one)))


def entry(module: str, name: str, value: object) -> list[str]:
    """A public name: its signature, its docstring, and the methods of a class."""
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        kind = type(value).__name__
        keys = ", ".join(f"`{key}`" for key in value) if isinstance(value, dict | tuple) else ""
        return [f"### `{module}.{name}`", f"A {kind}: {keys}." if keys else f"A {kind}."]
    parts = [f"### `{module}.{name}`", code(signature(value, name), "text")]
    parts += markdown(inspect.getdoc(value) or "")
    if inspect.isclass(value):
        for method, of in methods(value):
            parts += [f"**`{name}.{method}`**"]
            if inspect.isfunction(of):
                parts += [code(signature(of, method), "text")]
            parts += markdown(inspect.getdoc(of) or "")
    return parts


def methods(of: type) -> Iterator[tuple[str, object]]:
    """Public methods and properties that have a docstring of their own."""
    for name, value in vars(of).items():
        if name.startswith("_"):
            continue
        value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if (inspect.isfunction(value) or isinstance(value, property)) and value.__doc__:
            yield name, value


def signature(of: object, name: str) -> str:
    """As it is written in the source, so that no Python version changes it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(of))).body[0]  # type: ignore[arg-type]
    if isinstance(tree, ast.ClassDef):
        made = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        if not made:
            # The fields of a record are told as its attributes.
            bases = ", ".join(ast.unparse(base) for base in tree.bases)
            return f"class {name}({bases})" if bases else f"class {name}"
        function, lead = made[0], f"class {name}"
    else:
        assert isinstance(tree, ast.FunctionDef)
        function, lead = tree, name
    args = function.args
    words = [ast.unparse(arg) for arg in args.args]
    for k, default in enumerate(reversed(args.defaults), start=1):
        words[-k] += f" = {ast.unparse(default)}"
    words = [arg for arg in words if arg not in ("self", "cls")]
    if args.vararg:
        words.append(f"*{ast.unparse(args.vararg)}")
    elif args.kwonlyargs:
        words.append("*")
    for arg, value in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        words.append(ast.unparse(arg) + ("" if value is None else f" = {ast.unparse(value)}"))
    back = "" if function.returns is None or "class" in lead else ast.unparse(function.returns)
    back = back.strip("'")
    return wrapped(lead, words, f" -> {back}" if back else "")


def wrapped(lead: str, words: list[str], back: str) -> str:
    """Put one line if it fits, else an argument a line."""
    line = f"{lead}({', '.join(words)}){back}"
    if len(line) <= 88:
        return line
    return "\n".join([f"{lead}(", *(f"    {arg}," for arg in words), f"){back}"])


def markdown(doc: str) -> list[str]:
    """A numpydoc docstring as paragraphs, lists and blocks."""
    pattern = rf"^({'|'.join(SECTIONS)})\n-+\n"
    pieces = re.split(pattern, doc, flags=re.MULTILINE)
    parts = [text(pieces[0])] if pieces[0].strip() else []
    for heading, body in zip(pieces[1::2], pieces[2::2], strict=True):
        parts.append(f"*{heading}*")
        if heading in ENTRIES:
            parts.append(entries(body))
        elif heading == "Examples":
            parts.append(code(body.strip("\n"), "pycon"))
        else:
            parts.append(text(body))
    return parts


def entries(body: str) -> str:
    """Names, types and texts as a list."""
    lines: list[str] = []
    for line in textwrap.dedent(body).strip().splitlines():
        if not line.strip():
            continue
        if not line.startswith(" "):
            name, _, kind = line.partition(" : ")
            lines.append(f"- `{name}`" + (f" ({escaped(kind)}):" if kind else ""))
        else:
            lines.append(f"  {escaped(unquoted(line.strip()))}")
    return "\n".join(lines)


def text(body: str) -> str:
    """Running text; an indented block after two colons is code."""
    blocks = []
    for block in re.split(r"\n\s*\n", body.strip("\n")):
        if block.startswith("    "):
            blocks.append(code(textwrap.dedent(block), "text"))
        else:
            blocks.append(escaped(unquoted(re.sub(r"::$", ":", textwrap.dedent(block)))))
    return "\n\n".join(blocks)


def unquoted(line: str) -> str:
    """Markdown's quotes for code instead of reStructuredText's and numpydoc's."""
    return re.sub(r":func:`([^`]*)`", r"`\1`", line).replace("``", "`")


def escaped(line: str) -> str:
    """Keep stars and angle brackets outside of code what they are."""
    pieces = re.split(r"(`[^`]*`)", line)
    pieces[::2] = [re.sub(r"([*_<>])", r"\\\1", piece) for piece in pieces[::2]]
    return "".join(pieces)


def first_paragraph(doc: str) -> str:
    """Return what comes before the first empty line."""
    return text(doc.split("\n\n")[0])


def code(block: str, language: str) -> str:
    """Fence a block."""
    return f"```{language}\n{block}\n```"


def anchors() -> dict[str, str]:
    """Give the anchors that GitHub makes of the headings; the second of two alike ends in -1."""
    headings = []
    for name in MODULES:
        headings += [name, *(f"{name}.{public}" for public in listed(name))]
    plain = [re.sub(r"[^\w-]", "", heading.lower()) for heading in headings]
    before = [plain[:k].count(one) for k, one in enumerate(plain)]
    made = [f"{one}-{times}" if times else one for one, times in zip(plain, before, strict=True)]
    return dict(zip(headings, made, strict=True))


def filled(page: str) -> str:
    """Put the tables where they belong."""
    for name, rows in (("map", table()), ("sides", sides()), ("reuse", changes())):
        start = START.format(name)
        before, rest = page.split(start)
        _, after = rest.split(END, 1)
        page = f"{before}{start}\n{rows}\n{END}{after}"
    return page


def table() -> str:
    """One line of the map a row, at the largest size that all of them have."""
    counts = report.Counts.read(ROOT / "datasets" / "results" / "map")
    found = report.cells(counts.runs)
    lines = {cell.line for cell in found}
    sizes = {cell.place.unknowns for cell in found}
    size = max(n for n in sizes if lines == {c.line for c in found if c.place.unknowns == n})
    rows = [
        f"Median iterations of CG to 1e-8 on about {size} unknowns over five test seeds, of GMRES "
        "where there is a star; 1000 is the cap.",
        "",
        "| matrix | κ | Jacobi | best classical | twin | learned | verdict | take |",
        "|---|---:|---:|---:|---:|---:|---|---|",
    ]
    for cell in found:
        family = report.MAP_FAMILIES[cell.line]
        if cell.place.unknowns != size or cell.place.value != family.usual:
            continue
        star = " \\*" if family.method == "gmres" else ""
        kappa = "—" if cell.kappa != cell.kappa else f"{cell.kappa:.0e}".replace("e+0", "e")
        # No ratio to the twin: load gave a classical M.
        at_work = cell.over_twin == cell.over_twin
        model = "" if cell.model == "auto" else f", `{cell.model}`"
        columns = (
            f"{family.title}{model}{star}",
            kappa,
            f"{cell.jacobi:.0f}",
            "none" if cell.best_name == NOBODY else f"{cell.best:.0f} ({cell.best_name})",
            f"{cell.twin:.0f}" if at_work else "—",
            f"{cell.learned:.0f}" if at_work else f"{cell.learned:.0f}, fallen back",
            cell.verdict,
            take(cell),
        )
        rows.append("| " + " | ".join(columns) + " |")
    return "\n".join(rows)


def sides() -> str:
    """After how many right-hand sides learned is ahead, by the measured seconds."""
    path = ROOT / "datasets" / "results" / "diffusion2d.csv"
    measured = [line for line in path.read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    problems: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in csv.DictReader(measured):
        problems.setdefault((row["case"], row["seed"]), {})[row["M"]] = row
    rows = [
        "| right-hand sides | learned ÷ best classical, setup + solves | learned is first on |",
        "|---:|---:|---:|",
    ]
    for count in RIGHT_HAND_SIDES:
        ratios = []
        for of in problems.values():
            seconds = {
                name: float(row["setup_seconds"]) + count * float(row["solve_seconds"])
                for name, row in of.items()
                if row["status"] == "converged"
            }
            # One that failed is never ahead.
            mine = seconds.pop("learned", math.inf)
            seconds.pop("twin", None)
            ratios.append(mine / min(seconds.values()))
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        first = sum(ratio < 1 for ratio in ratios)
        rows.append(f"| {count} | {mean:.2f} | {first} of {len(ratios)} |")
    return "\n".join(rows)


def changes() -> str:
    """Iterations after a change of A by way, and what each way takes beside a new `load`."""
    lines = (ROOT / "datasets" / "results" / "reuse.csv").read_text(encoding="utf-8").splitlines()
    about = dict(line[2:].split(": ", 1) for line in lines if line[0] == "#")
    measured = list(csv.DictReader(line for line in lines if line[0] != "#"))
    ways = list(dict.fromkeys(row["way"] for row in measured))
    rows = [
        f"CG iterations to 1e-8, {measured[0]['n']} unknowns, M of `diffusion2d`.",
        "",
        "| what changes | by | " + " | ".join(ways) + " |",
        "|---|---|" + "---:|" * len(ways),
    ]
    cells: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in measured:
        cells.setdefault((row["family"], row["change"]), {})[row["way"]] = row
    for (family, change), of in cells.items():
        counts = [
            of[way]["iterations"] if of[way]["converged"] == "True" else f"> {MOST}" for way in ways
        ]
        rows.append(f"| {family} | {change} | " + " | ".join(counts) + " |")
    for title, parts in (
        ("setup", ("setup_seconds",)),
        ("setup + one solve", ("setup_seconds", "solve_seconds")),
    ):
        means = []
        for way in ways:
            seconds, loads = (
                [sum(float(of[name][part]) for part in parts) for of in cells.values()]
                for name in (way, "load")
            )
            ratios = [mine / other for mine, other in zip(seconds, loads, strict=True)]
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios)) if all(ratios) else 0.0
            means.append(f"{mean:.2f}, at most {max(ratios):.2f}" if mean else "0")
        rows.append(
            f"| **{title}, seconds ÷ load's** | geometric mean | " + " | ".join(means) + " |"
        )
    rows += [
        "",
        f"Measured {about['date']} by `{about['command']}`: {about['machine']}; seconds are "
        f"{about['seconds']}.",
    ]
    return "\n".join(rows)


def take(cell: object) -> str:
    """What the row advises by iterations alone, by one rule for all rows."""
    over = cell.over_best  # type: ignore[attr-defined]
    best = cell.best_name  # type: ignore[attr-defined]
    if best == NOBODY:
        return "a direct solver"
    if over != over:
        return best
    if over <= 0.95:
        return "learned"
    return f"either, learned or {best}" if over <= 1.05 else best


def draw(path: Path) -> None:
    """Draw how M is made and used."""
    picture: ModuleType = importlib.import_module("picture")
    picture.draw(path)


if __name__ == "__main__":
    main()
