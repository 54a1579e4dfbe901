"""Counting: one row a run, appended to counts.csv as it ends; failures are rows like all others."""

import contextlib
import csv
import hashlib
import io
import json
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from neuprecond.checks import SYMMETRY_TOLERANCE, asymmetry
from neuprecond.classical import TUNED, precondition
from neuprecond.errors import NeuprecondWarning
from neuprecond.krylov import solve
from neuprecond.problems import Problem, split
from neuprecond.report.families import MAP_FAMILIES, MapFamily, Place
from neuprecond.spectrum import DENSE, ends
from neuprecond.zoo import Model, load
from neuprecond.zoo.files import packaged

__all__ = [
    "MAXITER",
    "PEERS",
    "RTOL",
    "VARIANTS",
    "BenchmarkError",
    "Counts",
    "Curve",
    "Run",
    "Task",
    "about",
    "condition",
    "departure",
    "light_cone",
    "measure",
    "reach",
    "tasks",
]

RTOL, MAXITER = 1e-8, 1000
#: Classical preconditioners on every problem.
PEERS = ("none", "jacobi", "ic0", "mic0", "fsai", "ilu", *TUNED)
#: Those that take near-null vectors, run with them too where a problem has several.
PEERS_WITH_B = ("sa", "sa08", "root-node")
#: Above so many unknowns these are a row that says "not tried".
MOST_UNKNOWNS = {"ilu": 300_000}
#: What A is changed into, and M back, to see whether the count stays.
VARIANTS = ("cA", "PAPᵀ", "SAS", "SAS, B given")
#: Lines on which that is tried.
INVARIANT = ("heat", "poisson2d", "delaunay", "lognormal", "anisotropic")

# All of the head but this must be the same for a run to go on.
FREE = ("command", "asked", "date", "wall")
CONVERGED = ("converged", "zero right-hand side")
LONGEST_SENTENCE = 160
# Residuals kept of a curve.
CURVE_POINTS = 60

Key = tuple[str, int, str, int, str, str, str]


class BenchmarkError(AssertionError):
    """A count that cannot be: the benchmark itself is wrong."""


@dataclass(frozen=True)
class Run:
    """One preconditioner on one instance.

    Attributes
    ----------
    line, family : str
        A key of ``MAP_FAMILIES``, and the family of problems behind it.
    parameters : str
        All of the problem's, as JSON.
    unknowns : int
        As asked for; the column of the map.
    value : float
        Of the swept parameter; NaN without one.
    n, nnz : int
        Of A.
    kappa : float
        Condition number of the diagonally scaled matrix, by Lanczos: a lower bound, within a
        percent where it settled. NaN where A is indefinite or nonsymmetric and not small.
    solver, preconditioner : str
        Names; the model's for learned and twin, with "+B" where near-null vectors were given.
    kind : str
        "learned", "twin" or "classical": what was asked for.
    made : str
        What came: "diffusion2d multilevel", "heat spai twin", "ilu fall-back".
    variant : str
        Empty, or one of ``VARIANTS``: M was made for a changed A and changed back.
    iterations : int
        Inner iterations until the true residual was met or the run ended.
    status : str
        A sentence.
    residual : float
        The true relative residual.
    setup_seconds, solve_seconds : float
        Of this one run.
    density : float
        Multiplications of one M @ r over nnz(A).
    departure : float
        ‖I − MA‖ as probe vectors see it: a lower bound.
    bound : int
        Least iterations that the light cone allows; 0 where none is known.
    seed : int
        What the problem was drawn with.
    note : str
        What the library warned of.
    """

    line: str
    family: str
    parameters: str
    unknowns: int
    value: float
    n: int
    nnz: int
    kappa: float
    solver: str
    preconditioner: str
    kind: str
    made: str
    variant: str
    iterations: int
    status: str
    residual: float
    setup_seconds: float
    solve_seconds: float
    density: float
    departure: float
    bound: int
    seed: int
    note: str

    @property
    def converged(self) -> bool:
        """The true residual met the tolerance."""
        return self.status in CONVERGED

    @property
    def fell_back(self) -> bool:
        """A model was asked for and a classical M came."""
        return self.made.endswith("fall-back")

    @property
    def is_learned(self) -> bool:
        """A learned M was asked for, and M is of a model's kind."""
        return self.kind == "learned" and bool(self.made) and not self.fell_back

    @property
    def place(self) -> Place:
        """The cell of the map."""
        return Place(self.unknowns, None if np.isnan(self.value) else self.value)

    @property
    def instance(self) -> tuple[str, Place, int]:
        """Which matrix and right-hand side."""
        return self.line, self.place, self.seed

    @property
    def key(self) -> Key:
        """What tells this run from all others."""
        value = f"{self.value:.6g}"
        start = self.line, self.unknowns, value, self.seed
        return (*start, self.preconditioner, self.kind, self.variant)


@dataclass(frozen=True)
class Curve:
    """Residuals of one run, at most 60 of them.

    Attributes
    ----------
    line, preconditioner, kind : str
        As in `Run`.
    iterations, residuals : tuple
        Of equal length.
    """

    line: str
    preconditioner: str
    kind: str
    iterations: tuple[int, ...]
    residuals: tuple[float, ...]


@dataclass(frozen=True)
class Task:
    """One instance of the map with all that is to run on it.

    Attributes
    ----------
    line : MapFamily
        The line of the map.
    place : Place
        The cell.
    seed : int
        Of the instance.
    models, peers, variants : tuple of str
        What runs on it.
    curves : bool
        Keep the residuals.
    """

    line: MapFamily
    place: Place
    seed: int
    models: tuple[str, ...]
    peers: tuple[str, ...]
    variants: tuple[str, ...]
    curves: bool

    def keys(self) -> list[Key]:
        """Keys of the rows that this task gives, in order."""
        value = f"{np.nan if self.place.value is None else self.place.value:.6g}"
        start = self.line.name, self.place.unknowns, value, self.seed
        names = [*self.peers]
        if self.line.several:
            names += [f"{name}+B" for name in PEERS_WITH_B if name in self.peers]
        keys: list[Key] = [(*start, name, "classical", "") for name in names]
        for model in self.models:
            keys += [(*start, model, "twin", ""), (*start, model, "learned", "")]
        return keys + [(*start, self.models[0], "learned", variant) for variant in self.variants]


def tasks(
    lines: Sequence[str] | None = None,
    *,
    models: Sequence[str] = (),
    sizes: Sequence[int],
    seeds: int,
    ends_only: bool = False,
) -> list[Task]:
    """List the instances of a map.

    Parameters
    ----------
    lines : sequence of str, or None
        Keys of ``MAP_FAMILIES``; None is all.
    models : sequence of str
        Names or paths of models to measure on every line besides the line's own.
    sizes : sequence of int
        Unknowns, roughly.
    seeds : int
        Instances a cell, from the test split.
    ends_only : bool
        Of each swept parameter only the easiest and the hardest value.

    Returns
    -------
    list of Task
        At one size of each line all packaged models run, so that there is a transfer matrix.

    Raises
    ------
    ValueError
        If a line or model is unknown, or there is no size or seed.

    Examples
    --------
    >>> [task.place.unknowns for task in tasks(["poisson2d"], sizes=(64, 256), seeds=1)]
    [64, 256]
    """
    chosen = list(MAP_FAMILIES) if lines is None else list(lines)
    unknown = [name for name in chosen if name not in MAP_FAMILIES]
    if unknown:
        raise ValueError(f"no line {unknown[0]!r} on the map; there are {', '.join(MAP_FAMILIES)}.")
    if not sizes or min(sizes) < 64:
        raise ValueError(f"sizes must be numbers of unknowns, at least 64, got {tuple(sizes)}.")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}.")
    for model in models:
        if model != "auto":
            load(model)  # refuses unknown names before hours have gone by
    found = []
    for name in chosen:
        line = MAP_FAMILIES[name]
        reference = Place(line.reference_size(tuple(sizes)), line.usual)
        first = split(line.family, "test").seeds[0]
        for place in line.places(tuple(sizes), ends_only=ends_only):
            for seed in range(first, first + seeds):
                at_reference = place == reference
                names = [*line.models, *models]
                if at_reference and line.method == "cg":
                    names += list(packaged())
                found.append(
                    Task(
                        line,
                        place,
                        seed,
                        models=tuple(dict.fromkeys(names)),
                        peers=PEERS,
                        variants=VARIANTS if at_reference and name in INVARIANT else (),
                        curves=at_reference and seed == first,
                    )
                )
    return found


def measure(
    task: Task, *, skip: Callable[[Key], bool] = lambda key: False
) -> Iterator[tuple[Run, Curve | None]]:
    """Run a task; every row comes as soon as it is known.

    Parameters
    ----------
    task : Task
        What to run.
    skip : callable
        True for the keys that are not wanted, since they are there.

    Yields
    ------
    Run, Curve or None

    Raises
    ------
    BenchmarkError
        If a count lies below what the light cone allows.
    """
    wanted = [key for key in task.keys() if not skip(key)]
    if not wanted:
        return
    problem = task.line.draw(task.place, task.seed)
    kappa = condition(problem.A)
    for key in wanted:
        run, curve = _run(task, problem, kappa, key)
        if run.bound and run.converged and run.iterations < run.bound:
            raise BenchmarkError(
                f"{run.line} with {run.preconditioner}: {run.iterations} iterations on "
                f"{run.n} unknowns, and the light cone allows no fewer than {run.bound}."
            )
        yield run, curve


def _run(task: Task, problem: Problem, kappa: float, key: Key) -> tuple[Run, Curve | None]:
    """Make M and solve; whatever goes wrong is in the row."""
    name, kind, variant = key[4:]
    A, n = problem.A, problem.A.shape[0]
    missing = float("nan")
    M: LinearOperator | None = None
    made, curve, bound = "", None, 0
    iterations, residual, solving, density, left = 0, missing, missing, missing, missing
    start = perf_counter()
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            if n > MOST_UNKNOWNS.get(name, n):
                raise _NotTriedError(f"not tried on more than {MOST_UNKNOWNS[name]} unknowns")
            with _quiet():
                M, made = _made(problem, name, kind, variant, near_null=task.line.near_null)
            setup = perf_counter() - start
            # A rival that CG cannot use takes GMRES, and so does a fall-back. A model takes the
            # solver of the line, away from its home too: steps of two solvers do not compare.
            suited = M is None or kind != "classical" or M.symmetric
            suited = suited and not made.endswith("fall-back")
            method = task.line.method if suited else "gmres"
            record = solve(
                A,
                problem.b,
                M=M,
                method=method,
                rtol=RTOL,
                maxiter=MAXITER,
                history=task.curves and not variant,
            )
        except Exception as error:  # any failure of a rival or of ours is a row
            setup, method = perf_counter() - start, task.line.method
            said = str(error) or type(error).__name__
            untried = isinstance(error, _NotTriedError)
            status = _sentence(said if untried or made else f"no setup: {said}")
        else:
            iterations, residual, status = record.iterations, record.residual, record.status
            solving = record.solve_seconds
            density = 0.0 if M is None else float(getattr(M, "density", missing))
            left = departure(A, M)
            if "source" in problem.parameters and not variant:
                bound = light_cone(n, reach(M, n))
            if len(record.history) > 1:
                curve = _thinned(task.line.name, name, kind, record.history)
    notes = [str(w.message) for w in caught if issubclass(w.category, NeuprecondWarning)]
    value = task.place.value
    run = Run(
        line=task.line.name,
        family=problem.name,
        parameters=json.dumps(problem.parameters, ensure_ascii=False),
        unknowns=task.place.unknowns,
        value=missing if value is None else value,
        n=n,
        nnz=A.nnz,
        kappa=kappa,
        solver=method,
        preconditioner=name,
        kind=kind,
        made=made,
        variant=variant,
        iterations=iterations,
        status=status,
        residual=residual,
        setup_seconds=setup,
        solve_seconds=solving,
        density=density,
        departure=left,
        bound=bound,
        seed=task.seed,
        note=_sentence(notes[0]) if notes else "",
    )
    return run, curve


class _NotTriedError(Exception):
    """A run that is left out on purpose."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyAMG's compiled code from printing a line a row."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _made(
    problem: Problem, name: str, kind: str, variant: str, *, near_null: bool
) -> tuple[LinearOperator | None, str]:
    """M and what it is; None stands for the identity."""
    if kind == "classical":
        if name == "none":
            return None, "none"
        with_B = name.endswith("+B")
        return precondition(
            name.removesuffix("+B"), problem.A, B=problem.B if with_B else None
        ), name
    changed = _varied(problem, variant)
    B = changed.B if near_null or variant.endswith("B given") else None
    M = load(name, changed.A, B=B, learned=kind == "learned")
    assert not isinstance(M, Model)
    made = f"{M.model} fall-back" if M.kind == "classical" else f"{M.model} {M.kind}"
    if M.kind != "classical" and not M.learned:
        made += " twin"
    return changed.back(M), made


@dataclass(frozen=True)
class _Varied:
    """A changed A with its near-null vectors, and what makes an M for A of an M for it."""

    A: sparse.csr_array
    B: np.ndarray | None
    back: Callable[[LinearOperator], LinearOperator]


def _varied(problem: Problem, variant: str) -> _Varied:
    A, B, n = problem.A, problem.B, problem.A.shape[0]
    rng = np.random.default_rng(n)
    if not variant:
        return _Varied(A, B, lambda M: M)
    if variant == "cA":
        c = 1234.5
        return _Varied(sparse.csr_array(c * A), B, lambda M: _changed(M, lambda r: c * (M @ r)))
    if variant == "PAPᵀ":
        order = rng.permutation(n)
        place = np.argsort(order)
        renumbered = sparse.csr_array(A[order][:, order])
        return _Varied(
            renumbered,
            None if B is None else B[order],
            lambda M: _changed(M, lambda r: (M @ r[order])[place]),
        )
    s = 10.0 ** rng.uniform(-3.0, 3.0, n)
    S = sparse.diags_array(s)
    return _Varied(
        sparse.csr_array(S @ A @ S),
        None if B is None else B / s[:, None],
        lambda M: _changed(M, lambda r: s * (M @ (s * r))),
    )


def _changed(M: LinearOperator, apply: Callable[[np.ndarray], np.ndarray]) -> LinearOperator:
    changed = LinearOperator(M.shape, matvec=lambda r: apply(np.ravel(r)), dtype=M.dtype)
    changed.density = M.density
    return changed


def _sentence(text: str) -> str:
    first = " ".join(text.split())
    return first if len(first) <= LONGEST_SENTENCE else first[: LONGEST_SENTENCE - 1] + "…"


def _thinned(line: str, name: str, kind: str, history: np.ndarray) -> Curve:
    known = np.flatnonzero(np.isfinite(history))
    if len(known) > CURVE_POINTS:
        known = known[np.unique(np.linspace(0, len(known) - 1, CURVE_POINTS).round().astype(int))]
    residuals = tuple(float(r) for r in history[known])
    return Curve(line, name, kind, tuple(int(k) for k in known), residuals)


def condition(A: sparse.csr_array, *, most: int = 1600) -> float:
    """Condition number of the diagonally scaled A.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Up to 400 unknowns anything; above, symmetric and definite.
    most : int
        Lanczos steps; fewer on very large A.

    Returns
    -------
    float
        Exact up to 400 unknowns. Above, the ratio of the outermost Ritz values once the smaller
        one has settled to a percent, or after the last step: never more than the truth. NaN where
        a Ritz value is not positive or A is not symmetric; infinite for a singular A.

    References
    ----------
    Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., SIAM 2003, section 6.7.3.

    Examples
    --------
    >>> condition(sparse.csr_array([[4.0, 0.0], [0.0, 1.0]]))
    1.0
    """
    n, d = A.shape[0], np.abs(A.diagonal())
    s = 1.0 / np.sqrt(np.where(d > 0.0, d, 1.0))
    S = sparse.diags_array(s)
    scaled_A = sparse.csr_array(S @ A @ S)
    symmetric = asymmetry(scaled_A) <= SYMMETRY_TOLERANCE
    if n <= DENSE:
        dense = scaled_A.toarray()
        if not symmetric:
            return float(np.linalg.cond(dense))
        size = np.abs(np.linalg.eigvalsh(dense))
        return float(size.max() / size.min()) if size.min() > 0.0 else np.inf
    if not symmetric:
        return float("nan")
    found = ends(scaled_A, most=most)
    return found.high / found.low if found.low > 0.0 else float("nan")


def departure(
    A: sparse.csr_array, M: LinearOperator | None, *, probes: int = 4, rounds: int = 4
) -> float:
    """Estimate ‖I − MA‖ in the 2-norm from below, by a few powers of it on random vectors.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        The matrix.
    M : LinearOperator or None
        Its approximate inverse; None is the identity.
    probes, rounds : int
        Vectors, and how often I − MA is applied to each.

    Examples
    --------
    >>> A = sparse.csr_array(np.diag([2.0, 4.0]))
    >>> departure(A, sparse.linalg.aslinearoperator(np.diag([0.5, 0.25])))
    0.0
    """
    n = A.shape[0]
    if n > 200_000:
        probes, rounds = 1, min(rounds, 3)
    V = np.random.default_rng(n).standard_normal((n, probes))
    most = 0.0
    for _ in range(rounds):
        norms = np.linalg.norm(V, axis=0)
        V = V[:, norms > 0.0] / norms[norms > 0.0]
        if V.shape[1] == 0:
            break
        AV = A @ V
        V = V - (AV if M is None else M @ AV)
        most = max(most, float(np.linalg.norm(V, axis=0).max()))
        if not np.isfinite(most):
            return float("nan")
    return most


def reach(M: LinearOperator | None, n: int) -> int:
    """How far apart two unknowns of a line can be that M couples; 0 for the identity.

    Parameters
    ----------
    M : LinearOperator or None
        An approximate inverse of a tridiagonal matrix.
    n : int
        Unknowns, few enough for an n × n array.

    Examples
    --------
    >>> reach(sparse.linalg.aslinearoperator(np.eye(3)), 3)
    0
    """
    if M is None:
        return 0
    rows, cols = np.nonzero(M @ np.eye(n))
    return int(np.abs(rows - cols).max(initial=0))


def light_cone(n: int, reach: int) -> int:
    """Least CG iterations on Poisson on a line with a source at its end: n / (reach + 1).

    x after k steps is zero farther than k (reach + 1) − 1 unknowns from the source, and with the
    last unknown at zero the relative residual is about 1/n or more.

    Examples
    --------
    >>> light_cone(100, 1)
    50
    """
    return -(-n // (reach + 1))


@dataclass
class Counts:
    """counts.csv with its head, and curves.csv beside it; whole after every row.

    Attributes
    ----------
    folder : Path
        Where they are.
    head : dict of str to str
        What the figures depend on: versions, machine, date, command.
    runs : list of Run
        All rows.
    curves : list of Curve
        Of the runs whose residuals were kept.
    """

    folder: Path
    head: dict[str, str]
    runs: list[Run]
    curves: list[Curve]

    @property
    def path(self) -> Path:
        """The CSV."""
        return self.folder / "counts.csv"

    @classmethod
    def start(cls, folder: Path, head: Mapping[str, str]) -> "Counts":
        """Begin with no rows."""
        folder.mkdir(parents=True, exist_ok=True)
        counts = cls(folder, dict(head), [], [])
        counts.write()
        return counts

    @classmethod
    def read(cls, folder: str | Path) -> "Counts":
        """Read what is there; a last row that was cut off is left out.

        Raises
        ------
        FileNotFoundError
            If there is no counts.csv.
        ValueError
            If it has other columns.
        """
        folder = Path(folder)
        head, runs = _read(folder / "counts.csv", Run)
        curves = (
            _read(folder / "curves.csv", _CurveRow)[1] if (folder / "curves.csv").exists() else []
        )
        latest = {(c.line, c.preconditioner, c.kind): c.curve for c in curves}
        return cls(folder, head, runs, list(latest.values()))

    def write(self) -> None:
        """Write all anew, at once."""
        for path, kind, rows in (
            (self.path, Run, self.runs),
            (self.folder / "curves.csv", _CurveRow, [_CurveRow.of(c) for c in self.curves]),
        ):
            partial = path.with_suffix(".partial")
            with partial.open("w", newline="", encoding="utf-8") as file:
                file.writelines(f"# {key}: {value}\n" for key, value in self.head.items())
                file.write(_line([column.name for column in fields(kind)]))
                file.writelines(_line(_cells(row)) for row in rows)
            partial.replace(path)

    def append(self, run: Run, curve: Curve | None = None) -> None:
        """Add a row, the curve first: a row that is there is whole."""
        if curve is not None:
            self.curves.append(curve)
            with (self.folder / "curves.csv").open("a", newline="", encoding="utf-8") as file:
                file.write(_line(_cells(_CurveRow.of(curve))))
        self.runs.append(run)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(_line(_cells(run)))

    def add_seconds(self, seconds: float) -> None:
        """Add to the wall time in the head."""
        before = float(self.head.get("wall", "0").partition(" ")[0])
        self.head["wall"] = f"{before + seconds:.1f} s of measuring"

    def require_same(self, head: Mapping[str, str]) -> None:
        """Raise ``ValueError`` if rows of now would not compare with those that are there."""
        other = [key for key in head if key not in FREE and self.head.get(key) != head[key]]
        if other:
            key = other[0]
            raise ValueError(
                f"{self.path} was measured with {key} = {self.head.get(key)}, now it is "
                f"{head[key]}: rows would not compare. Write elsewhere with --out, or measure all "
                "anew with --fresh."
            )


@dataclass(frozen=True)
class _CurveRow:
    """A curve as a line of a CSV."""

    line: str
    preconditioner: str
    kind: str
    iterations: str
    residuals: str

    @classmethod
    def of(cls, curve: Curve) -> "_CurveRow":
        residuals = " ".join(f"{r:.3e}" for r in curve.residuals)
        iterations = " ".join(map(str, curve.iterations))
        return cls(curve.line, curve.preconditioner, curve.kind, iterations, residuals)

    @property
    def curve(self) -> Curve:
        iterations = tuple(int(k) for k in self.iterations.split())
        residuals = tuple(float(r) for r in self.residuals.split())
        return Curve(self.line, self.preconditioner, self.kind, iterations, residuals)


def _cells(row: object) -> list[str]:
    cells = []
    for column in fields(row):  # type: ignore[arg-type]
        value = getattr(row, column.name)
        if isinstance(value, float):
            cells.append("" if np.isnan(value) else f"{value:.6g}")
        else:
            cells.append(str(value))
    return cells


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _read(path: Path, kind: type) -> tuple[dict[str, str], list]:
    text = path.read_text(encoding="utf-8")
    # No cell holds a line break, so a last line without one was cut off.
    lines = text[: text.rfind("\n") + 1].splitlines()
    head = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    table = list(csv.reader(line for line in lines if not line.startswith("# ")))
    names = [column.name for column in fields(kind)]
    if not table or table[0] != names:
        raise ValueError(f"{path} must have the columns {', '.join(names)}.")
    parse: dict[type, Callable[[str], Any]] = {
        str: str,
        int: int,
        float: lambda cell: float(cell or "nan"),
    }
    kinds = [parse[column.type] for column in fields(kind)]  # type: ignore[index]
    rows = [
        kind(*(convert(cell) for convert, cell in zip(kinds, cells, strict=True)))
        for cells in table[1:]
    ]
    return head, rows


def about(command: str, *, models: Sequence[str] = ()) -> dict[str, str]:
    """Tell what the figures depend on, for the head of the CSV.

    Parameters
    ----------
    command : str
        As typed.
    models : sequence of str
        Weights files besides the packaged ones.
    """
    packages = ("neuprecond", "numpy", "scipy", "pyamg", "numba")
    files = {**packaged(), **{m: Path(m) for m in models if m not in packaged() and m != "auto"}}
    weights = [
        f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        for name, path in files.items()
    ]
    return {
        "command": command,
        "wall": "0 s",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{processor()}, {os.cpu_count()} cores, OMP_NUM_THREADS "
        f"{os.environ.get('OMP_NUM_THREADS', 'not set')}",
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in packages)]
        ),
        "models": ", ".join(weights),
        "solver": f"rtol {RTOL:g} on the true residual, at most {MAXITER} inner iterations, x0 = 0",
    }


def processor() -> str:
    """Name the processor, as far as the system knows it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
