"""Seconds and memory: setup by phase, apply and solve of learned M, twin and peers, in one run."""

import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyamg
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from neuprecond.classical import TUNED, precondition
from neuprecond.krylov import solve
from neuprecond.problems import FAMILIES, draw, seeds
from neuprecond.report.counts import processor
from neuprecond.zoo import load

__all__ = [
    "BENCH_FAMILIES",
    "OWN",
    "PEERS",
    "Bench",
    "Claim",
    "Timing",
    "bench_tables",
    "claims",
    "make_bench",
    "own_cycle",
    "read_bench",
    "slopes_of",
    "write_bench",
]

RTOL = 1e-8
MAXITER = 10_000
REPEATS = 5
# An M that takes longer than this is run once: the median of five would take the morning.
PATIENCE = 10.0
COLUMNS = 16
#: Numbers of unknowns, by default.
SIZES = (65_536, 262_144)
SMALL_SIZES = (1024, 4096)


@dataclass(frozen=True)
class _Line:
    """A family with the parameters that are not drawn."""

    family: str
    parameters: Mapping[str, float] = field(default_factory=dict)


#: What runs by default: planar problems, each of a difficulty that is met in practice. Any other
#: key of `neuprecond.problems.FAMILIES` can be asked for by its name.
BENCH_FAMILIES = {
    "poisson2d": _Line("poisson2d"),
    "lognormal": _Line("lognormal", {"sigma": 1.5}),
    "twophase": _Line("twophase", {"contrast": 1e4}),
    "channels": _Line("channels", {"contrast": 1e4}),
    "anisotropic": _Line("anisotropic"),
    "delaunay": _Line("delaunay"),
}

# PyAMG as its documentation calls it, with its own Gauss-Seidel cycle, beside our copies of these
# hierarchies, whose sweeps are compiled as a whole and take half the time.
OWN: dict[str, Callable[[Any, Any], Any]] = {
    "pyamg sa": lambda A, B: pyamg.smoothed_aggregation_solver(A, B=B),
    "pyamg sa08": lambda A, B: pyamg.smoothed_aggregation_solver(
        A, B=B, strength=("symmetric", {"theta": 0.08})
    ),
    "pyamg rs": lambda A, B: pyamg.ruge_stuben_solver(A),
    "pyamg rs-evolution": lambda A, B: pyamg.ruge_stuben_solver(
        A, strength=("evolution", {"epsilon": 4.0})
    ),
    "pyamg root-node": lambda A, B: pyamg.rootnode_solver(
        A,
        B=B,
        strength=("evolution", {"epsilon": 2.0}),
        smooth=("energy", {"degree": 2, "maxiter": 3}),
    ),
}
MULTIGRID = (*OWN, *TUNED)
ONE_LEVEL = ("jacobi", "fsai", "ic0")
#: Rivals that run in the same turn as ours. IC(0) is ilupp's where that is installed.
PEERS = (*MULTIGRID, *ONE_LEVEL)


@dataclass(frozen=True)
class Timing:
    """One preconditioner on one matrix; seconds are medians with their least and most.

    Attributes
    ----------
    family : str
        A key of ``BENCH_FAMILIES`` or of the problems' families.
    n, nnz, seed : int
        Of A; of the draw.
    M, kind : str
        Name; "learned", "twin" or "classical".
    repeats : int
        Over how many runs, each with another right-hand side.
    iterations : int
        Median of CG's, to a true relative residual of 1e-8.
    status : str
        "converged", or the sentence of the worst run.
    setup, solve : float
        Seconds.
    setup_min, setup_max, solve_min, solve_max : float
        Their ranges.
    apply, apply_min, apply_max : float
        Seconds of one ``M @ r``.
    block, block_min, block_max : float
        Seconds of one ``M @ R`` with 16 columns.
    density : float
        Multiplications of one ``M @ r`` over nnz(A).
    peak : float
        Largest resident set of a fresh process that reads A, makes M and solves once, in MiB; NaN
        where it was not asked for.
    before : float
        The same before M was made: the interpreter, the libraries and A.
    phases : dict of str to float
        Seconds of each phase of one setup; what is left over is "other".
    """

    family: str
    n: int
    nnz: int
    seed: int
    M: str
    kind: str
    repeats: int
    iterations: int
    status: str
    setup: float
    setup_min: float
    setup_max: float
    solve: float
    solve_min: float
    solve_max: float
    apply: float
    apply_min: float
    apply_max: float
    block: float
    block_min: float
    block_max: float
    density: float
    peak: float
    before: float
    phases: dict[str, float]

    @property
    def converged(self) -> bool:
        """Every run met the tolerance."""
        return self.status == "converged"

    def total(self, right_sides: int) -> float:
        """Seconds of one setup and so many median solves."""
        return self.setup + right_sides * self.solve


@dataclass(frozen=True)
class Bench:
    """Rows, and what they depend on.

    Attributes
    ----------
    about : dict of str to str
        Command, date, machine, versions.
    rows : list of Timing
        In the order measured.
    right_sides : tuple of int
        For how many right-hand sides totals are shown.
    """

    about: dict[str, str]
    rows: list[Timing]
    right_sides: tuple[int, ...] = (1, 10)


def make_bench(
    *,
    families: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    right_sides: Sequence[int] = (1, 10),
    models: Sequence[str] = ("auto",),
    peers: Sequence[str] = PEERS,
    repeats: int = REPEATS,
    small: bool = False,
    memory: bool = True,
    progress: Callable[[str, float, float], None] | None = None,
    keep: "Callable[[Bench], None] | None" = None,
) -> Bench:
    """Measure setup, apply, solve and memory of learned M, their twins and rivals.

    All preconditioners of a matrix take turns, so that what else the machine does hits all alike;
    the right-hand side of each turn is another. Matrices come from validation seeds.

    Parameters
    ----------
    families : sequence of str, or None
        Keys of ``BENCH_FAMILIES`` or of ``problems.FAMILIES``; None is the former.
    sizes : sequence of int, or None
        Unknowns, roughly; None is 65 536 and 262 144, or 1024 and 4096 if small.
    right_sides : sequence of int
        Totals are shown for so many right-hand sides.
    models : sequence of str
        Models, each with its twin.
    peers : sequence of str
        Of ``PEERS``.
    repeats : int
        Turns.
    small : bool
        Seconds instead of minutes.
    memory : bool
        Run each once more in a process of its own, for the peak of its memory.
    progress : callable or None
        Called as ``progress(what, done, of)``.
    keep : callable or None
        Called after each matrix with all rows so far, so that an interrupt loses one matrix only.

    Returns
    -------
    Bench

    Raises
    ------
    ValueError
        If a family, model or peer is unknown, or a number is not positive.
    """
    names = list(BENCH_FAMILIES) if families is None else list(families)
    for name in names:
        if name not in BENCH_FAMILIES and name not in FAMILIES:
            raise ValueError(f"no family {name!r}; there are {', '.join(FAMILIES)}.")
    for peer in peers:
        if peer not in PEERS:
            raise ValueError(f"no peer {peer!r}; there are {', '.join(PEERS)}.")
    chosen = tuple(sizes) if sizes is not None else (SMALL_SIZES if small else SIZES)
    if min((*chosen, *right_sides, repeats), default=0) < 1 or not chosen or not right_sides:
        raise ValueError("sizes, rhs and repeats must be positive numbers, at least one of each.")
    for model in models:
        if model != "auto":
            load(model)  # refuses an unknown name before minutes have gone by
    wanted = [*peers]
    for model in models:
        wanted += [_twin(model), model]
    about = _about(repeats)
    rows: list[Timing] = []
    done, of = 0, len(names) * sum(chosen)
    _warm_up(wanted)
    for name in names:
        for size in chosen:

            def tell(what: str, share: float, at: int = done, part: int = size) -> None:
                if progress is not None:
                    progress(what, at + share * part, of)

            rows += _measured(name, size, wanted, repeats=repeats, memory=memory, tell=tell)
            done += size
            if keep is not None:
                keep(Bench(about, list(rows), tuple(right_sides)))
    return Bench(about, rows, tuple(right_sides))


def _twin(model: str) -> str:
    return f"{model}, twin"


def maker(name: str) -> Callable[[Any], Any]:
    """What makes the M of that name from A, as a user calls it."""
    if name in OWN:
        return lambda A: own_cycle(name, A)
    if name == "ic0" and find_spec("ilupp") is not None:
        import ilupp

        return lambda A: ilupp.IChol0Preconditioner(A)
    if name in PEERS:
        return lambda A: precondition(name, A)
    if name.endswith(", twin"):
        return lambda A: load(name.removesuffix(", twin"), A, learned=False)
    return lambda A: load(name, A)


def own_cycle(name: str, A: Any, B: Any = None) -> LinearOperator:
    """PyAMG itself, one of ``OWN``; it draws from NumPy's global state, which is put back."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(1729)  # noqa: NPY002
    try:
        # PyAMG still uses * between matrices here and there, which arrays take for elementwise.
        return OWN[name](sparse.csr_matrix(A), B).aspreconditioner()
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _kind(name: str) -> str:
    return "classical" if name in PEERS else "twin" if name.endswith(", twin") else "learned"


def _warm_up(names: Iterable[str]) -> None:
    """Compile or load every loop before a clock runs."""
    A = draw("lognormal", 32, np.random.default_rng(seeds("validation")[0])).A
    with _quiet():
        for name in names:
            M = maker(name)(sparse.csr_matrix(A))
            M @ np.ones(A.shape[0])
            M @ np.ones((A.shape[0], COLUMNS))
            solve(A, np.ones(A.shape[0]), M=M, maxiter=5)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the library and PyAMG warn of."""
    with warnings.catch_warnings():
        for category in (UserWarning, RuntimeWarning):
            warnings.simplefilter("ignore", category)
        yield


@dataclass
class _Runs:
    """What was measured of one M so far."""

    setup: list[float] = field(default_factory=list)
    solve: list[float] = field(default_factory=list)
    apply: list[float] = field(default_factory=list)
    block: list[float] = field(default_factory=list)
    iterations: list[int] = field(default_factory=list)
    status: str = "converged"
    density: float = float("nan")
    phases: dict[str, float] = field(default_factory=dict)


def _measured(
    family: str,
    size: int,
    names: Sequence[str],
    *,
    repeats: int,
    memory: bool,
    tell: Callable[[str, float], None],
) -> Iterator[Timing]:
    seed = seeds("validation")[0]
    line = BENCH_FAMILIES.get(family, _Line(family))
    side = {"2-D": round(size**0.5), "3-D": round(size ** (1 / 3))}
    problem = draw(
        line.family,
        side.get(FAMILIES[line.family].dimension, size),
        np.random.default_rng(seed),
        parameters=line.parameters,
    )
    A = sparse.csr_matrix(problem.A)
    runs = {name: _Runs() for name in names}
    for turn in range(repeats):
        b = np.random.default_rng([seed, turn]).standard_normal(A.shape[0])
        for k, name in enumerate(names):
            tell(f"{family}, {A.shape[0]}, {name}", (turn + k / len(names)) / repeats)
            if runs[name].setup and runs[name].setup[0] + runs[name].solve[0] > PATIENCE:
                continue
            _one_turn(runs[name], name, A, b)
    for k, name in enumerate(names):
        peak, before = float("nan"), float("nan")
        if memory:
            tell(f"{family}, {A.shape[0]}, memory of {name}", k / len(names))
            peak, before = _memory(name, A, b)
        mine = runs[name]
        yield Timing(
            family=family,
            n=A.shape[0],
            nnz=A.nnz,
            seed=seed,
            M=name,
            kind=_kind(name),
            repeats=len(mine.setup),
            iterations=int(np.median(mine.iterations)),
            status=mine.status,
            density=mine.density,
            peak=peak,
            before=before,
            phases=mine.phases,
            **_ranges(mine),
        )


def _ranges(runs: _Runs) -> dict[str, float]:
    found = {}
    for what in ("setup", "solve", "apply", "block"):
        seconds = getattr(runs, what) or [float("nan")]
        found[what] = float(np.median(seconds))
        found[f"{what}_min"], found[f"{what}_max"] = min(seconds), max(seconds)
    return found


def _one_turn(runs: _Runs, name: str, A: sparse.csr_matrix, b: np.ndarray) -> None:
    start = time.perf_counter()
    try:
        with _quiet():
            M = maker(name)(A)
    except (ValueError, RuntimeError, np.linalg.LinAlgError) as error:
        runs.setup.append(time.perf_counter() - start)
        runs.solve.append(float("nan"))
        runs.iterations.append(0)
        runs.status = f"no setup: {error}".split("\n")[0]
        return
    runs.setup.append(time.perf_counter() - start)
    with _quiet():
        record = solve(A, b, M=M, rtol=RTOL, maxiter=MAXITER, history=False)
    runs.solve.append(record.solve_seconds)
    runs.iterations.append(record.iterations)
    if not record.converged:
        runs.status = record.status
    phases = dict(getattr(M, "setup_seconds", {}))
    phases["other"] = max(runs.setup[-1] - sum(phases.values()), 0.0)
    # Phases are those of the fastest setup, the one that was disturbed least.
    if runs.setup[-1] == min(runs.setup):
        runs.phases = phases
    runs.density = float(getattr(M, "density", float("nan")))
    runs.apply.append(_seconds(lambda: M @ b))
    R = np.random.default_rng(COLUMNS).standard_normal((A.shape[0], COLUMNS))
    runs.block.append(_seconds(lambda: M @ R))


def _seconds(call: Callable[[], object], least: int = 3) -> float:
    """Seconds of a call, the mean over a twentieth of a second, after one that is not timed."""
    call()
    start, count = time.perf_counter(), 0
    while True:
        call()
        count += 1
        passed = time.perf_counter() - start
        if count >= least and passed > 0.05:
            return passed / count


# What the fresh process runs: A, b and the name come in a folder, two numbers go out.
_CHILD = """
import sys, warnings
import numpy as np
from scipy import sparse
from neuprecond.report.bench import maker, peak_memory
from neuprecond.krylov import solve
warnings.simplefilter("ignore")
folder, name, rtol, maxiter = sys.argv[1:]
A = sparse.load_npz(folder + "/A.npz")
b = np.load(folder + "/b.npy")
before = peak_memory()
M = maker(name)(A)
solve(A, b, M=M, rtol=float(rtol), maxiter=int(maxiter), history=False)
print(before, peak_memory())
"""


def peak_memory() -> float:
    """Largest resident set of this process so far, in MiB; NaN where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux hands ru_maxrss of a parent on to what it starts, this figure not.
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 1024.0
    if find_spec("resource") is None:
        return float("nan")
    import resource

    largest = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return largest / (1024.0**2 if sys.platform == "darwin" else 1024.0)


def _memory(name: str, A: sparse.csr_matrix, b: np.ndarray) -> tuple[float, float]:
    """Peak resident set of a fresh process that makes M and solves once, and that before M."""
    with tempfile.TemporaryDirectory() as folder:
        sparse.save_npz(Path(folder) / "A.npz", A, compressed=False)
        np.save(Path(folder) / "b.npy", b)
        # A few steps show the memory of a solve; only the fast ones are run to the end.
        steps = "1000" if name not in ONE_LEVEL else "20"
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, folder, name, str(RTOL), steps],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    if done.returncode != 0:
        return float("nan"), float("nan")
    before, peak = map(float, done.stdout.split())
    return peak, before


def _about(repeats: int) -> dict[str, str]:
    packages = ["neuprecond", "numpy", "scipy", "pyamg", "numba"]
    if find_spec("ilupp") is not None:
        packages.append("ilupp")
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} unknown")
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{processor()}, {os.cpu_count()} cores, OMP_NUM_THREADS {threads}",
        "versions": ", ".join([f"Python {platform.python_version()}", *versions]),
        "solver": f"cg, rtol {RTOL:g} on the true residual, maxiter {MAXITER}, b white, x0 = 0",
        "seconds": f"medians of {repeats}, every M in turn; runs of over {PATIENCE:g} s once",
        "memory": "largest resident set of a fresh process that makes M and solves once",
        "gpu": "not measured on a GPU",
    }


def write_bench(bench: Bench, folder: str | Path) -> list[Path]:
    """Write speed.csv, the rows, and speed.md, what they say.

    Parameters
    ----------
    bench : Bench
        From `make_bench` or `read_bench`.
    folder : str or Path
        Made if it is not there.

    Returns
    -------
    list of Path
        The two files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "speed.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in bench.about.items())
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(column.name for column in fields(Timing))
        for row in bench.rows:
            writer.writerow(_cell(value) for value in asdict(row).values())
    page = folder / "speed.md"
    page.write_text("\n".join(_page(bench)) + "\n", encoding="utf-8")
    return [table, page]


def _cell(value: object) -> object:
    if isinstance(value, dict):
        return json.dumps({key: float(f"{seconds:.4g}") for key, seconds in value.items()})
    return f"{value:.4g}" if isinstance(value, float) else value


def read_bench(folder: str | Path) -> Bench:
    """Read what `write_bench` has written.

    Raises
    ------
    FileNotFoundError
        If there is no speed.csv in the folder.
    """
    lines = (Path(folder) / "speed.csv").read_text(encoding="utf-8").splitlines()
    about = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    kinds: dict[str, Any] = {column.name: column.type for column in fields(Timing)}
    kinds["phases"] = json.loads
    rows = [
        Timing(**{key: kinds[key](value) for key, value in row.items()})
        for row in csv.DictReader(line for line in lines if not line.startswith("# "))
    ]
    return Bench(about, rows)


def instances(rows: Sequence[Timing]) -> dict[tuple[str, int], dict[str, Timing]]:
    """Rows by matrix and name."""
    found: dict[tuple[str, int], dict[str, Timing]] = {}
    for row in rows:
        found.setdefault((row.family, row.n), {})[row.M] = row
    return found


def slopes_of(rows: Sequence[Timing], right_sides: int = 1) -> dict[tuple[str, str], float]:
    """Slope of log(setup + solves) over log n, for each family and M with two sizes or more."""
    found = {}
    for family, name in dict.fromkeys((row.family, row.M) for row in rows):
        mine = [r for r in rows if (r.family, r.M) == (family, name) and r.converged]
        if len({row.n for row in mine}) > 1:
            log_n = np.log([row.n for row in mine])
            log_t = np.log([row.total(right_sides) for row in mine])
            found[family, name] = float(np.polyfit(log_n, log_t, 1)[0])
    return found


@dataclass(frozen=True)
class Claim:
    """A figure that was asked for, as measured at one size.

    Attributes
    ----------
    what : str
        The figure.
    model : str
        Of which learned M.
    n : int
        Unknowns.
    asked : float
        Upper bound; NaN where none was set.
    mean, worst : float
        Geometric mean over families, and the largest.
    where : str
        Family of the largest.
    """

    what: str
    model: str
    n: int
    asked: float
    mean: float
    worst: float
    where: str

    @property
    def met(self) -> bool:
        """The mean is within what was asked for."""
        return self.mean <= self.asked


def claims(bench: Bench) -> list[Claim]:
    """Ratios of each learned M to its peers, by size, beside what was asked for."""
    by_instance = instances(bench.rows)
    models = list(dict.fromkeys(row.M for row in bench.rows if row.kind == "learned"))
    found = []
    for n in sorted({n for _, n in by_instance}):
        here = {family: own for (family, size), own in by_instance.items() if size == n}
        for model in models:
            for what, asked, ratio in _ratios(n, bench.right_sides):
                values = {}
                for family, own in here.items():
                    value = ratio(own, model) if model in own else None
                    if value is not None and np.isfinite(value):
                        values[family] = value
                if values:
                    worst = max(values, key=values.__getitem__)
                    mean = float(np.exp(np.mean(np.log(list(values.values())))))
                    found.append(Claim(what, model, n, asked, mean, values[worst], worst))
    return [*found, *_flatness(bench.rows, models)]


def _flatness(rows: Sequence[Timing], models: Sequence[str]) -> Iterator[Claim]:
    """Setup + solve an unknown at the larger sizes, over that at the smallest."""
    for model in models:
        mine = [row for row in rows if row.M == model and row.converged]
        smallest = {}
        for row in sorted(mine, key=lambda row: -row.n):
            smallest[row.family] = row
        ratios: dict[int, dict[str, float]] = {}
        for row in mine:
            first = smallest[row.family]
            if row.n > first.n:
                ratio = row.total(1) / row.n / (first.total(1) / first.n)
                ratios.setdefault(row.n, {})[row.family] = ratio
        for n, values in sorted(ratios.items()):
            worst = max(values, key=values.__getitem__)
            mean = float(np.exp(np.mean(np.log(list(values.values())))))
            what = "seconds an unknown ÷ those at the smallest n"
            yield Claim(what, model, n, 1.5, mean, values[worst], worst)


Ratio = Callable[[Mapping[str, Timing], str], float | None]


def _ratios(n: int, right_sides: Sequence[int]) -> Iterator[tuple[str, float, Ratio]]:
    """Name, bound and formula of each figure."""

    def over(what: str, rival: str) -> Ratio:
        def ratio(own: Mapping[str, Timing], model: str) -> float | None:
            if rival not in own:
                return None
            return float(getattr(own[model], what) / getattr(own[rival], what))

        return ratio

    def total(rivals: Sequence[str], k: int) -> Ratio:
        def ratio(own: Mapping[str, Timing], model: str) -> float | None:
            theirs = [own[r].total(k) for r in rivals if r in own and own[r].converged]
            if not theirs or not own[model].converged:
                return None
            return own[model].total(k) / min(theirs)

        return ratio

    def network(own: Mapping[str, Timing], model: str) -> float | None:
        # Nothing is asked of the network where no level is of aggregates.
        if not own[model].phases.get("network"):
            return None
        return own[model].phases["network"] / sum(own[model].phases.values())

    yield "setup ÷ PyAMG RS's setup", 3.0 if n < 500_000 else 2.0, over("setup", "pyamg rs")
    yield "network ÷ our setup", 0.4, network
    yield "M @ r ÷ a cycle of PyAMG SA V(1,1)", 0.6, over("apply", "pyamg sa")
    yield (
        "M @ R, 16 columns ÷ 16 applies",
        0.6,
        lambda own, model: own[model].block / (COLUMNS * own[model].apply),
    )
    for k in right_sides:
        asked = {1: 1.0, 10: 0.6}.get(k, float("nan"))
        sides = "1 right-hand side" if k == 1 else f"{k} right-hand sides"
        yield f"setup + solve, {sides} ÷ fastest PyAMG", asked, total(tuple(OWN), k)
        # Our copies of PyAMG's cycles, too: nobody's users have those but ours.
        what = f"setup + solve, {sides} ÷ fastest multigrid, ours too"
        yield what, float("nan"), total(MULTIGRID, k)
    yield "setup + solve ÷ IC(0)'s", 0.25, total(("ic0",), 1)
    yield "setup + solve ÷ fastest of all peers", float("nan"), total(PEERS, 1)


def bench_tables(bench: Bench) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Title, heads and cells of each table: what was asked for first, then a matrix each.

    A claim that was missed ends with " (missed)".
    """
    lines = []
    for claim in claims(bench):
        asked = "" if np.isnan(claim.asked) else f"≤ {claim.asked:g}"
        missed = " (missed)" if asked and not claim.met else ""
        mean, worst = f"{claim.mean:.2f}{missed}", f"{claim.worst:.2f}"
        lines.append([claim.what, claim.model, str(claim.n), asked, mean, worst, claim.where])
    heads = ["figure", "model", "n", "asked", "measured", "worst", "where"]
    yield "Asked and measured: geometric means over families", heads, lines
    slopes = slopes_of(bench.rows)
    heads = ["M", "iterations", "setup s", "apply ms", "16 columns ms", "solve s"]
    heads += [f"total {k} s" for k in bench.right_sides] + ["peak MiB", "slope"]
    for (family, n), own in instances(bench.rows).items():
        nnz = next(iter(own.values())).nnz
        lines = [_cells(row, bench.right_sides, slopes) for row in own.values()]
        yield f"{family}, n = {n}, {nnz / n:.1f} entries a row", heads, lines


def _page(bench: Bench) -> Iterator[str]:
    """Lines of speed.md."""
    yield "# Speed"
    yield ""
    yield "Written by `neuprecond bench --out`, not by hand; the rows are in speed.csv."
    yield "Totals are one setup and so many median solves; in brackets the least and the most."
    yield ""
    yield from (f"- {key}: {value}" for key, value in bench.about.items())
    for title, heads, lines in bench_tables(bench):
        yield ""
        yield f"## {title}"
        yield ""
        yield f"| {' | '.join(heads)} |"
        yield f"|---|{'---:|' * (len(heads) - 1)}"
        yield from (f"| {' | '.join(line)} |" for line in lines)
    yield ""
    yield "## Our setup by phase"
    yield ""
    yield "Seconds of the fastest setup."
    for row in bench.rows:
        if row.kind != "classical":
            parts = ", ".join(f"{key} {s:.3f}" for key, s in row.phases.items() if s >= 5e-4)
            yield ""
            yield f"{row.family}, n = {row.n}, {row.M}: {parts}."


def _cells(
    row: Timing, right_sides: Sequence[int], slopes: Mapping[tuple[str, str], float]
) -> list[str]:
    """One row of a table: medians, with least and most where they were repeated."""

    def spread(what: str, scale: float = 1.0) -> str:
        middle, low, high = (scale * getattr(row, f"{what}{end}") for end in ("", "_min", "_max"))
        if np.isnan(middle):
            return "—"
        return f"{middle:.3g} ({low:.3g}–{high:.3g})" if row.repeats > 1 else f"{middle:.3g}"

    count = str(row.iterations) if row.converged else f"{row.iterations}, {row.status}"
    slope = slopes.get((row.family, row.M))
    return [
        row.M,
        count,
        spread("setup"),
        spread("apply", 1e3),
        spread("block", 1e3),
        spread("solve"),
        *(f"{row.total(k):.3g}" for k in right_sides),
        "—" if np.isnan(row.peak) else f"{row.peak:.0f}",
        "—" if slope is None else f"{slope:.2f}",
    ]
