"""The command line: each command calls one public function and shows what it gave.

Exit codes: 0 done; 1 it ran and did not converge; 2 it could not be run as asked for; 130 Ctrl-C.
Results go to stdout, all else to stderr; nothing moves or is coloured when piped.
"""

import ctypes
import io
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import neuprecond
from neuprecond.plain import as_plain

__all__ = ["app"]


class _App(typer.Typer):
    """Typer, with a sentence where results cannot be written."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        try:
            return super().__call__(*args, **options)
        except OSError as error:
            typer.echo(f"error: results could not be written: {error}", err=True)
            # What is still held back would fail again at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(NOT_RUN)


app = _App(
    name="neuprecond",
    help="Learned sparse preconditioners for SciPy's CG and GMRES, and the map of where they work.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done; 1 it ran and did not converge; 2 it could not be run as asked for; "
    "130 Ctrl-C. Results go to stdout, all else to stderr.",
)

DONE, NOT_CONVERGED, NOT_RUN, INTERRUPTED = 0, 1, 2, 130

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"neuprecond {neuprecond.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Learned sparse preconditioners for SciPy's CG and GMRES, and the map of where they work."""


def _models(given: str) -> list[str]:
    """Complete the name of a model or a classical preconditioner."""
    from neuprecond.classical import CLASSICAL

    names = ["auto", *(card.name for card in neuprecond.models()), *CLASSICAL]
    return [name for name in names if name.startswith(given)]


def _methods(given: str) -> list[str]:
    """Complete the name of a solver."""
    from neuprecond import krylov

    return [name for name in ("auto", *krylov.METHODS) if name.startswith(given)]


Matrix = Annotated[Path, typer.Argument(help="A: .mtx, .npz, .rb and the like.")]
Vectors = Annotated[
    Path | None, typer.Option(help="B, near-null vectors such as rigid body modes: .npy.")
]
RightSide = Annotated[Path | None, typer.Option(help="b: .npy or .mtx; all ones by default.")]


@app.command()
def diagnose(matrix: Matrix, near_null: Vectors = None, as_json: AsJson = False) -> None:
    """Tell what kind of matrix A is, which model covers it, and what to solve with."""
    with _plainly():
        from neuprecond import problems

        A = problems.read(matrix)
        B = None if near_null is None else problems.read_vectors(near_null)
        with _spinner(f"n = {A.shape[0]}"):
            found = neuprecond.diagnose(A, B)
    if as_json:
        _print_json(found.to_dict())
    elif _on_terminal():
        Console().print(found)
    else:
        typer.echo(str(found))


@app.command()
def bench(
    matrix: Annotated[
        Path | None,
        typer.Argument(help="A: .mtx, .npz, .rb and the like; without one, families are drawn."),
    ] = None,
    rhs: Annotated[
        str | None,
        typer.Option(
            help="With a matrix its b: .npy or .mtx. Without one, for how many right-hand sides "
            "to show totals, by commas; 1,10 by default."
        ),
    ] = None,
    names: Annotated[
        str,
        typer.Option(
            "--with",
            help="With a matrix: preconditioners to compare, by commas; 'twin' is that of auto.",
        ),
    ] = "none,jacobi,ic0,sa08,rs,twin,auto",
    near_null: Vectors = None,
    rtol: Annotated[float, typer.Option(help="Relative tolerance, on the true residual.")] = 1e-8,
    maxiter: Annotated[int | None, typer.Option(help="Most inner iterations.")] = None,
    families: Annotated[str | None, typer.Option(help="Families to draw, by commas.")] = None,
    sizes: Annotated[str | None, typer.Option(help="Numbers of unknowns, by commas.")] = None,
    models: Annotated[str, typer.Option(help="Models to measure, by commas.")] = "auto",
    peers: Annotated[str | None, typer.Option(help="Only these rivals, by commas.")] = None,
    repeats: Annotated[int, typer.Option(help="Turns; medians are shown.")] = 5,
    small: Annotated[bool, typer.Option(help="Small families, in half a minute.")] = False,
    memory: Annotated[bool, typer.Option(help="Peak memory, each in a fresh process.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for speed.csv and speed.md.")] = None,
    plot: Annotated[bool, typer.Option(help="Draw seconds against n into --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare preconditioners: on one matrix, or seconds and memory over families and sizes.

    With a matrix: iterations, true residual, seconds of setup and solve; exit code 1 if none
    converged. Without one: setup by phase, apply, solve, totals and peak memory over families.
    """
    if matrix is None:
        with _plainly():
            chosen: dict[str, Any] = {
                "families": None if families is None else _words(families),
                "sizes": None if sizes is None else [_whole(word) for word in _words(sizes)],
                "right_sides": [_whole(word) for word in _words(rhs or "1,10")],
                "models": _words(models),
                "peers": None if peers is None else _words(peers),
            }
        _bench_families(
            **chosen,
            repeats=repeats,
            small=small,
            memory=memory,
            out=out,
            plot=plot,
            as_json=as_json,
        )
        return
    with _plainly() as progress:
        from neuprecond import problems

        A = problems.read(matrix)
        b = np.ones(A.shape[0]) if rhs is None else problems.read_vectors(rhs)
        B = None if near_null is None else problems.read_vectors(near_null)
        found: list[dict[str, Any]] = []
        wanted = _words(names)
        # What is wrong with b or an option is no fault of a preconditioner.
        neuprecond.solve(A, b, M=None, method="gmres", rtol=rtol, maxiter=min(maxiter or 0, 0))
        stopped = False
        try:
            for k, name in enumerate(wanted):
                progress(name, k, len(wanted))
                found.append(_measured(name, A, b, B, rtol=rtol, maxiter=maxiter))
        except KeyboardInterrupt:
            stopped = True
    if as_json:
        _print_json(found)
    else:
        _print_bench(found)
    if stopped:
        typer.echo(f"interrupted after {len(found)} of {len(wanted)} preconditioners.", err=True)
        raise typer.Exit(INTERRUPTED)
    converged = any(row["converged"] for row in found)
    raise typer.Exit(DONE if converged else NOT_CONVERGED)


def _bench_families(
    *, peers: list[str] | None, out: Path | None, plot: bool, as_json: bool, **options: Any
) -> None:
    """Measure families × sizes × preconditioners, and show or write the rows."""
    kept: list[Any] = []
    stopped = False
    with _plainly(hint="Nothing was measured yet, so nothing is kept.") as progress:
        from neuprecond import report

        def keep(found: report.Bench) -> None:
            kept[:] = [found]
            if out is not None:
                about = {"command": shlex.join(["neuprecond", *sys.argv[1:]]), **found.about}
                report.write_bench(replace(found, about=about), out)

        if plot and out is None:
            raise ValueError("--plot needs a folder to draw into: give --out.")
        if peers is not None:
            options["peers"] = peers
        try:
            found = report.make_bench(progress=progress, keep=keep, **options)
        except KeyboardInterrupt:
            if not kept:
                raise
            found, stopped = kept[0], True
        if plot and out is not None:
            report.draw_speed(found.rows, out)
    if as_json:
        claims = [asdict(claim) for claim in report.claims(found)]
        rows = [asdict(row) for row in found.rows]
        _print_json({"about": found.about, "rows": rows, "claims": claims})
    console = Console(width=None if _on_terminal() else 150)
    for title, heads, lines in [] if as_json else report.bench_tables(found):
        table = Table(
            title=title, title_justify="left", box=None if not console.is_terminal else SIMPLE
        )
        for head in heads:
            table.add_column(head, justify="left" if head == heads[0] else "right")
        for line in lines:
            table.add_row(*line)
        console.print(table)
    if stopped:
        where = "shown, --out would have kept it" if out is None else f"shown and in {out}"
        typer.echo(f"interrupted; what was measured is {where}.", err=True)
        raise typer.Exit(INTERRUPTED)


def _measured(
    name: str, A: Any, b: Any, B: Any, *, rtol: float, maxiter: int | None
) -> dict[str, Any]:
    """A row of the comparison; what refuses A is a row with its sentence."""
    row: dict[str, Any] = {"preconditioner": name, "method": "", "converged": False}
    setups, records = [], []
    try:
        # Twice, and the faster counts: the first time loads compiled loops.
        for _ in range(2):
            with _notes() as notes:
                start = perf_counter()
                M: Any = None
                if name == "twin":
                    M = neuprecond.load("auto", A, B=B, learned=False)
                elif name != "none":
                    M = _preconditioner(name, A, B)
                setups.append(perf_counter() - start)
                method = _method(A, M)
                records.append(
                    neuprecond.solve(A, b, M=M, method=method, rtol=rtol, maxiter=maxiter)
                )
    except (ValueError, TypeError) as error:
        refused = isinstance(error, neuprecond.NotDefiniteError) or name in (*_models(""), "twin")
        if not refused:
            raise
        return row | {"status": str(error), "notes": []}
    record = min(records, key=lambda record: record.solve_seconds)
    return row | {
        "method": method,
        "made": record.preconditioner,
        "converged": record.converged,
        "iterations": record.iterations,
        "residual": record.residual,
        "setup_seconds": min(setups),
        "solve_seconds": record.solve_seconds,
        "apply_seconds": record.apply_seconds,
        "density": float(getattr(M, "density", 0.0)),
        "status": record.status,
        "notes": notes,
    }


def _print_bench(found: list[dict[str, Any]]) -> None:
    heads = ("preconditioner", "method", "iterations", "residual", "setup s", "solve s", "status")
    lines = [
        (
            row["preconditioner"],
            row["method"],
            str(row.get("iterations", "")),
            f"{row['residual']:.1e}" if "residual" in row else "",
            f"{row['setup_seconds']:.3g}" if "setup_seconds" in row else "",
            f"{row['solve_seconds']:.3g}" if "solve_seconds" in row else "",
            row["status"],
        )
        for row in found
    ]
    if _on_terminal():
        table = Table(*heads)
        for line in lines:
            table.add_row(*line)
        Console().print(table)
    else:
        widths = [max(len(line[k]) for line in (heads, *lines)) for k in range(len(heads))]
        for line in (heads, *lines):
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            typer.echo("  ".join(cells).rstrip())
    _tell(list(dict.fromkeys(note for row in found for note in row["notes"])))


@app.command()
def solve(
    matrix: Matrix,
    rhs: RightSide = None,
    model: Annotated[
        str,
        typer.Option(
            help="auto, a packaged model, a weights file, or a classical name as jacobi.",
            autocompletion=_models,
        ),
    ] = "auto",
    method: Annotated[
        str,
        typer.Option(
            help="auto, cg, gmres, minres, ...; auto is cg, or gmres where cg cannot be.",
            autocompletion=_methods,
        ),
    ] = "auto",
    near_null: Vectors = None,
    rtol: Annotated[float, typer.Option(help="Relative tolerance, on the true residual.")] = 1e-8,
    maxiter: Annotated[int | None, typer.Option(help="Most inner iterations.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write x there, as .npy.")] = None,
    as_json: AsJson = False,
) -> None:
    """Solve A x = b with a learned preconditioner and say truly how it went."""
    stopped = False
    with _plainly(hint="Nothing was solved yet, so nothing is kept."):
        from neuprecond import krylov, problems

        if out is not None:
            # Not only after a long solve.
            _require_writable(out)
        if method not in ("auto", *krylov.METHODS):
            raise ValueError(f"no method {method!r}; there are auto, {', '.join(krylov.METHODS)}.")
        A = problems.read(matrix)
        b = np.ones(A.shape[0]) if rhs is None else problems.read_vectors(rhs)
        B = None if near_null is None else problems.read_vectors(near_null)
        with _notes() as notes, _spinner(f"n = {A.shape[0]}"):
            M = _preconditioner(model, A, B)
            chosen = _method(A, M) if method == "auto" else method
            try:
                record = neuprecond.solve(A, b, M=M, method=chosen, rtol=rtol, maxiter=maxiter)
            except neuprecond.Interrupted as interrupted:
                record, stopped = interrupted.record, True
        setup = sum(getattr(M, "setup_seconds", {}).values())
        record = replace(record, setup_seconds=setup)
    if as_json:
        facts = asdict(record)
        del facts["x"], facts["history"]
        facts |= {"converged": record.converged, "n": A.shape[0], "nnz": A.nnz, "notes": notes}
        _print_json(facts)
    else:
        _tell(notes)
        typer.echo(str(record))
    if out is not None:
        try:
            _write_vectors(out, record.x)
        except OSError as error:
            typer.echo(f"error: x is not in {out}: {error}", err=True)
            raise typer.Exit(NOT_RUN) from None
    if stopped:
        kept = "--out would have kept x so far" if out is None else f"x so far is in {out}"
        typer.echo(
            f"interrupted after {record.iterations} iterations at a true residual of "
            f"{record.residual:.1e}; {kept}.",
            err=True,
        )
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(DONE if record.converged else NOT_CONVERGED)


def _require_writable(path: Path) -> None:
    """Raise ``OSError`` where there is a folder in place of the file, or no folder for it."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a file to write to.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} to.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"{path} must not be written to.")


def _write_vectors(path: Path, x: np.ndarray) -> None:
    """Write x as .npy: a file whole or not at all, anything else, such as a pipe, as it is."""
    from neuprecond.zoo.atomic import write_bytes

    content = io.BytesIO()
    np.save(content, x)
    if path.exists() and not path.is_file():
        path.write_bytes(content.getbuffer())
    else:
        write_bytes(path.resolve(), content.getbuffer())


def _preconditioner(model: str, A: Any, B: Any) -> Any:
    from neuprecond.classical import CLASSICAL, precondition

    if model in CLASSICAL:
        return precondition(model, A, B=B)
    return neuprecond.load(model, A, B=B)


def _method(A: Any, M: Any) -> str:
    """Choose cg where both are symmetric and not indefinite to the eye, else gmres."""
    from neuprecond.checks import SYMMETRY_TOLERANCE, asymmetry, one_sign

    definite = not np.iscomplexobj(A) and one_sign(A.diagonal())
    symmetric = (M is None or M.symmetric) and asymmetry(A) <= SYMMETRY_TOLERANCE
    return "cg" if definite and symmetric else "gmres"


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the packaged models."""
    with _plainly():
        cards = neuprecond.models()
    if as_json:
        _print_json([asdict(card) for card in cards])
        return
    if not _on_terminal():
        for card in cards:
            typer.echo(str(card))
        return
    table = Table(title="packaged models")
    for column in ("name", "kind", "unknowns validated on", "families", "licence", "what for"):
        table.add_column(column)
    for card in cards:
        low, high = card.unknowns
        families = ", ".join(card.families)
        size = f"{low} to {high}"
        table.add_row(card.name, card.kind, size, families, card.licence, card.summary)
    Console().print(table)


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="A recipe, as diffusion2d or heat.")],
    out: Annotated[Path, typer.Option(help="Folder for weights, card and checkpoint.")] = Path(
        "runs"
    ),
    seed: Annotated[int, typer.Option(help="Decides on everything that is drawn.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    steps: Annotated[int | None, typer.Option(help="Instead of the recipe's number.")] = None,
    pool: Annotated[int | None, typer.Option(help="Problems, instead of the recipe's.")] = None,
    labels: Annotated[int | None, typer.Option(help="For the pick, likewise.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in the folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model anew; needs the extra "train"."""
    with _plainly(hint=lambda: _kept(out / name)):
        from neuprecond.training.loop import train as run
        from neuprecond.training.recipes import RECIPES, changed

        if name not in RECIPES:
            raise ValueError(f"unknown recipe {name!r}; known are {', '.join(RECIPES)}.")
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device must be auto, cpu or cuda, got {device!r}.")
        recipe = changed(RECIPES[name], steps=steps, pool=pool, labels=labels)
        console = Console(stderr=True, quiet=not sys.stderr.isatty())
        path = run(recipe, out, seed=seed, device=device, resume=resume, console=console)
    if as_json:
        _print_json({"weights": str(path), "card": str(path.with_suffix(".toml"))})
    else:
        typer.echo(f"wrote {path} and {path.with_suffix('.toml')}")


def _kept(stem: Path) -> str:
    """Where a training that was interrupted can be gone on from."""
    files = [path for end in ("checkpoint", "labels") if (path := Path(f"{stem}.{end}")).exists()]
    if not files:
        return "No checkpoint was written yet, so nothing is kept."
    there = " and ".join(str(path) for path in files)
    return f"What was trained is in {there}; the same command with --resume goes on."


@app.command()
def fit(
    folder: Annotated[Path, typer.Argument(help="Folder of matrices: .mtx, .npz, .rb and such.")],
    out: Annotated[Path, typer.Option(help="Weights file to write: NAME.safetensors.")],
    start: Annotated[
        str, typer.Option(help="diffusion2d, heat or a weights file.", autocompletion=_models)
    ] = "diffusion2d",
    steps: Annotated[int, typer.Option(help="Of fine-tuning; 0 fits the pick only.")] = 200,
    count: Annotated[int | None, typer.Option(help="Take so many of the matrices.")] = None,
    hold_out: Annotated[float, typer.Option(help="Share that is not trained on.")] = 0.25,
    seed: Annotated[int, typer.Option(help="Decides on everything that is drawn.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint beside --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fit a packaged model to matrices of your own, in minutes; needs the extra "train".

    A share of the matrices is held out. What is written takes no more iterations on these than the
    start does, by geometric mean.
    """
    with _plainly(hint=lambda: _kept(out.with_suffix(""))):
        from neuprecond.fitting import told

        path = neuprecond.fit(
            folder,
            out,
            start=start,
            steps=steps,
            count=count,
            hold_out=hold_out,
            seed=seed,
            device=device,
            resume=resume,
            console=Console(stderr=True, quiet=not sys.stderr.isatty()),
        )
        card = neuprecond.load_model(path).card
    if as_json:
        files = {"weights": str(path), "card": str(path.with_suffix(".toml"))}
        _print_json(files | {"training": card.training, "validation": card.validation})
    else:
        typer.echo(f"wrote {path} and {path.with_suffix('.toml')}")
        typer.echo(told(card))


@app.command("map")
def map_(
    families: Annotated[
        str | None, typer.Option(help="Only these lines of the map, by commas.")
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Models to measure on every line besides its own, by commas.")
    ] = None,
    sizes: Annotated[str | None, typer.Option(help="Numbers of unknowns, by commas.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Instances a cell.")] = None,
    small: Annotated[bool, typer.Option(help="Small sizes, in a minute or two.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the rows, figures and page.")] = Path("map"),
    resume: Annotated[
        bool, typer.Option(help="Go on with the rows in the folder, as they were asked for.")
    ] = False,
    fresh: Annotated[bool, typer.Option(help="Forget the rows in the folder.")] = False,
    draw_only: Annotated[bool, typer.Option(help="Draw the rows in the folder again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure learned, twin and classical preconditioners over families, and draw the map.

    On one core --small takes a minute or two, no options about twenty. The committed map, about an
    hour: neuprecond map --sizes 256,1024,4096,16384,1000000 --seeds 5
    """
    go_on = shlex.join(["neuprecond", "map", "--out", str(out), "--resume"])
    with _plainly(hint=f"What was measured is kept and drawn; {go_on} goes on.") as progress:
        from neuprecond import report

        if draw_only:
            counts = report.Counts.read(out)
            report.draw_map(out, counts=counts)
        else:
            counts = report.make_map(
                out,
                families=None if families is None else _words(families),
                models=() if models is None else _words(models),
                sizes=None if sizes is None else [_whole(word) for word in _words(sizes)],
                seeds=seeds,
                small=small,
                resume=resume,
                fresh=fresh,
                progress=progress,
            )
        found = report.cells(counts.runs)
    verdicts = [cell.verdict for cell in found]
    facts = {
        "page": str(out / "map.html"),
        "counts": str(counts.path),
        "runs": len(counts.runs),
        "failed": sum(not run.converged for run in counts.runs),
        **{verdict: verdicts.count(verdict) for verdict in ("works", "helps", "breaks")},
    }
    if as_json:
        _print_json(facts)
    else:
        typer.echo(
            "{runs} runs, {failed} of them failed; {works} cells work, {helps} help, {breaks} "
            "break. Wrote {page} and {counts}.".format(**facts)
        )


@app.command()
def study(
    small: Annotated[bool, typer.Option(help="3 × 3 matrices only, short trainings.")] = False,
    out: Annotated[Path, typer.Option(help="Folder; that of a map puts it on its page.")] = Path(
        "map"
    ),
    as_json: AsJson = False,
) -> None:
    """Train small networks to invert small matrices: why they cannot, where they can."""
    with _plainly() as progress:
        from neuprecond import report

        rows = report.make_study(out, small=small, progress=progress)
    if as_json:
        _print_json([asdict(row) for row in rows])
    else:
        typer.echo(f"{len(rows)} networks; wrote {out / 'study.csv'} and its figures.")


@contextmanager
def _stdout_for_results() -> Iterator[None]:
    """Let what libraries print go to stderr: PyAMG's compiled code writes lines to stdout."""
    _flush()
    try:
        saved = os.dup(1)
    except OSError:
        # There is no stdout.
        yield
        return
    try:
        os.dup2(2, 1)
        yield
    finally:
        _flush()
        os.dup2(saved, 1)
        os.close(saved)


def _flush() -> None:
    """Write out what Python and what compiled code hold back for stdout."""
    if sys.stdout is not None:
        sys.stdout.flush()
    with suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).fflush(None)


@contextmanager
def _plainly(hint: str | Callable[[], str] = "") -> Iterator[Callable[[str, float, float], None]]:
    """Turn what can go wrong into a sentence and an exit code; gives a progress bar to call."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task: list[Any] = []

    def progress(what: str, done: float, of: float) -> None:
        if not task:
            bar.start()
            task.append(bar.add_task(what, total=of))
        bar.update(task[0], description=what, completed=done, total=of)

    try:
        with _stdout_for_results():
            yield progress
    except KeyboardInterrupt:
        bar.stop()
        said = hint if isinstance(hint, str) else hint()
        typer.echo(f"interrupted. {said}".strip(), err=True)
        raise typer.Exit(INTERRUPTED) from None
    except MemoryError as error:
        bar.stop()
        typer.echo(f"error: not enough memory: {error}".rstrip(": "), err=True)
        raise typer.Exit(NOT_RUN) from None
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        bar.stop()
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(NOT_RUN) from None
    finally:
        bar.stop()


@contextmanager
def _spinner(what: str) -> Iterator[None]:
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        yield


@contextmanager
def _notes() -> Iterator[list[str]]:
    """Collect the library's warnings as sentences."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", neuprecond.NeuprecondWarning)
        yield found
    found += dict.fromkeys(
        str(w.message) for w in caught if issubclass(w.category, neuprecond.NeuprecondWarning)
    )


def _tell(notes: list[str]) -> None:
    for note in notes:
        typer.echo(f"warning: {note}", err=True)


def _on_terminal() -> bool:
    """Whether results are read by a person."""
    return sys.stdout is not None and sys.stdout.isatty()


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise ValueError(f"an option that takes names or numbers by commas got none, {text!r}.")
    return words


def _whole(word: str) -> int:
    try:
        number = float(word)
    except ValueError:
        raise ValueError(f"sizes must be whole numbers, got {word!r}.") from None
    if not number.is_integer():
        raise ValueError(f"sizes must be whole numbers, got {word!r}.")
    return int(number)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(as_plain(value), ensure_ascii=False, allow_nan=False))


if __name__ == "__main__":
    app()
