"""Measure learned M, its twin and classical M side by side: ``python datasets/results/measure.py``.

Writes one row an instance and M to a CSV whose head tells versions, machine and date, and goes on
where it stopped when it is run again. ``table.py`` beside it puts the figures into the README.
"""

import os

# Vectors are too short here for threads of BLAS, which would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import csv
import hashlib
import multiprocessing
import platform
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Annotated, TypeVar

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy import sparse
from scipy.sparse.linalg import LinearOperator
from unseen import UNSEEN

import neuprecond
from neuprecond import checks, problems
from neuprecond.classical import precondition
from neuprecond.report.bench import OWN, own_cycle

HERE = Path(__file__).parent
MATRICES = HERE.parent / "matrices"
RTOL = 1e-8
MAXITER = 1000
LEARNED, TWIN = "learned", "twin"
# All of the head but this must be the same for a run to go on.
FREE = ("command", "date")


@dataclass(frozen=True)
class Case:
    """A column of problems: a family, with some parameters fixed, at some sizes.

    Attributes
    ----------
    name : str
        As the table shows it.
    family : str
        A key of ``problems.FAMILIES``, or the name of a file in ``datasets/matrices``.
    sizes : tuple of int
        Unknowns along a side of the square or cube; graphs get the square as their number of
        unknowns, files have theirs.
    parameters : mapping
        Fixed; the others are drawn.
    modes : str
        Name of the file of near-null vectors, for a file that has some and is to be given them.
    limit : float
        Seconds after which a setup is given up, tried first in a process of its own; 0 for none.
    make : callable or None
        Draws the matrix, where it is of no family that the package has.
    """

    name: str
    family: str
    sizes: tuple[int, ...]
    parameters: Mapping[str, float | str] = field(default_factory=dict)
    modes: str = ""
    limit: float = 0.0
    make: Callable[[np.random.Generator], sparse.csr_array] | None = None

    @property
    def is_family(self) -> bool:
        """Whether the package draws it."""
        return self.family in problems.FAMILIES

    def seeds(self, count: int) -> tuple[int, ...]:
        """The first test seeds."""
        family = self.family if self.is_family else "poisson2d"
        return tuple(problems.split(family, "test").seeds[:count])

    @property
    def power(self) -> str:
        """What a size is raised to for the number of unknowns."""
        if not self.is_family:
            return ""
        return "³" if problems.FAMILIES[self.family].dimension == "3-D" else "²"

    def draw(self, size: int, seed: int) -> problems.Problem:
        """Draw the problem of that size and seed; of a real one the right-hand side only."""
        if self.make is not None:
            rng = np.random.default_rng(seed)
            A = checks.as_csr(self.make(rng))
            A = checks.as_csr((A + A.T) / 2.0)
            return problems.Problem(A, rng.standard_normal(A.shape[0]), None, self.family)
        if not self.is_family:
            A = problems.read(MATRICES / f"{self.family}.npz")
            B = problems.read_vectors(MATRICES / self.modes) if self.modes else None
            b = np.random.default_rng(seed).standard_normal(A.shape[0])
            return problems.Problem(A, b, B, self.family)
        grid = problems.FAMILIES[self.family].dimension in ("2-D", "3-D")
        rng = np.random.default_rng(seed)
        return problems.draw(
            self.family, size if grid else size**2, rng, parameters=self.parameters
        )


@dataclass(frozen=True)
class Suite:
    """What is measured for one packaged model.

    Attributes
    ----------
    model : str
        The packaged model.
    cases : tuple of Case
        On which problems.
    bar : tuple of str
        Classical M that the issue's bar is made of: the best of them, instance by instance.
    panel : tuple of str
        All classical M, those of the bar included.
    method : str
        SciPy's solver.
    near_null : bool
        Whether all that can use them get the problem's near-null vectors.
    """

    model: str
    cases: tuple[Case, ...]
    bar: tuple[str, ...]
    panel: tuple[str, ...]
    method: str = "cg"
    near_null: bool = False


TUNED = ("sa", "sa08", "rs", "rs-evolution", "root-node")

# Every real matrix that is symmetric positive definite, with its number of unknowns.
REAL = {
    "494_bus": 494,
    "bcsstk13": 2003,
    "bcsstk16": 4884,
    "bar": 600,
    "local_disc_galerkin_diffusion": 966,
    "airfoil": 260,
    "knot": 239,
    "case118_dc": 117,
    "case1354pegase_dc": 1353,
    "case2869pegase_dc": 2868,
    "wntr_net6": 3240,
    "elbow2_elasticity": 5430,
    "elbow2_poisson": 1810,
    "perfusion_poisson": 3502,
    "digits_knn10": 1796,
}

SUITES = {
    "diffusion2d": Suite(
        model="diffusion2d",
        cases=(
            Case("Poisson", "poisson2d", (256,)),
            Case("log-normal, σ = 1.5", "lognormal", (256,), {"sigma": 1.5}),
            Case("two-phase, contrast 1e4", "twophase", (256,), {"contrast": 1e4}),
            Case("channels, contrast 1e4", "channels", (256,), {"contrast": 1e4}),
            Case("anisotropic, drawn", "anisotropic", (256,)),
            Case(
                "anisotropic, ε = 1e-3, θ = π/6",
                "anisotropic",
                (256,),
                {"epsilon": 1e-3, "theta": np.pi / 6},
            ),
            Case("Delaunay graph", "delaunay", (256,)),
        ),
        bar=("sa08", "rs"),
        panel=("sa", "sa08", "rs", "rs-evolution", "root-node"),
    ),
    "heat": Suite(
        model="heat",
        cases=tuple(
            Case(f"heat step, κ = {kappa}", "heat", (32, 64, 128, 256, 512), {"kappa": kappa})
            for kappa in (10, 100, 1000)
        ),
        bar=("jacobi", "ic0", "fsai"),
        panel=("jacobi", "ic0", "fsai"),
    ),
    "advection": Suite(
        model="advection",
        cases=tuple(
            Case(
                f"{wind}, Péclet {peclet:g}", "advection", (256,), {"wind": wind, "peclet": peclet}
            )
            for wind in ("constant", "recirculating")
            for peclet in (0.1, 1.0, 10.0, 100.0)
        ),
        bar=("ilu", "sa-nonsymmetric", "air"),
        panel=("ilu", "sa-nonsymmetric", "air"),
        method="gmres",
    ),
    "space": Suite(
        model="diffusion2d",
        cases=(
            Case("Poisson, 7-point", "poisson3d", (64,)),
            Case("Poisson, 27-point", "poisson3d_27point", (64,)),
            Case("log-normal, σ = 1.5", "lognormal3d", (64,), {"sigma": 1.5}),
            Case("two-phase, contrast 1e4", "twophase3d", (64,), {"contrast": 1e4}),
            Case("anisotropic, drawn", "anisotropic3d", (64,)),
            Case("tetrahedra", "fe3d", (48,)),
        ),
        bar=("sa08", "rs"),
        panel=TUNED,
    ),
    "graphs": Suite(
        model="diffusion2d",
        cases=(
            Case("geometric", "geometric", (316,)),
            Case("roads", "roads", (316,)),
            Case("hubs", "attachment", (316,), limit=60.0),
            Case("nearest neighbours", "knn", (316,)),
        ),
        bar=("sa08", "rs"),
        panel=TUNED,
    ),
    "large": Suite(
        model="diffusion2d",
        cases=(
            Case("Poisson", "poisson2d", (1024,)),
            Case("log-normal, σ = 1.5", "lognormal", (1024,), {"sigma": 1.5}),
        ),
        bar=("sa08", "rs"),
        panel=TUNED,
    ),
    "blocks": Suite(
        model="auto",
        cases=(
            Case("plane", "elasticity2d", (160,)),
            Case("space", "elasticity3d", (25,)),
        ),
        bar=("sa", "sa08"),
        panel=TUNED,
    ),
    "real": Suite(
        model="auto",
        cases=(
            *(Case(name.replace("_", " "), name, (n,)) for name, n in REAL.items()),
            Case("bar, with modes", "bar", (600,), modes="bar_B.npy"),
            Case("elbow2, with modes", "elbow2_elasticity", (5430,), modes="elbow2_B.npy"),
        ),
        bar=("sa08", "rs"),
        panel=TUNED,
        near_null=True,
    ),
    "kinds": Suite(
        model="auto",
        cases=(
            *(
                Case(f"elements {element}", "elements", (200,), {"element": element})
                for element in ("P2", "P3", "P4", "Q2")
            ),
            Case("bending fibres", "fibres", (230,)),
            Case("bending fibres in space", "fibres3d", (36,)),
            Case("pores", "pores", (190,)),
            Case("precision of a field", "matern", (170,)),
            Case("covariance", "covariance", (130,)),
        ),
        bar=("sa08", "rs"),
        panel=(*TUNED, "ic0", "fsai"),
    ),
    "unseen": Suite(
        model="auto",
        # Sizes differ from seed to seed: what is said is about the problem.
        cases=tuple(
            Case(name, name, (0,), make=make, limit=120.0) for name, make in UNSEEN.items()
        ),
        bar=("sa08", "rs"),
        panel=(*TUNED, "ic0", "fsai"),
    ),
    "elasticity": Suite(
        model="diffusion2d",
        cases=(
            Case("plane", "elasticity2d", (160,)),
            Case("space", "elasticity3d", (25,)),
        ),
        bar=("sa", "sa08"),
        panel=TUNED,
        near_null=True,
    ),
}


@dataclass(frozen=True)
class Row:
    """One M on one instance.

    Attributes
    ----------
    case, size, seed : str, int, int
        Which instance.
    unknowns, nnz : int
        Of its A.
    M : str
        Name of the preconditioner.
    iterations : int
        Of CG, to a true relative residual of 1e-8, or when it stopped.
    density, work : float
        Multiplications of one M @ r over nnz(A); iterations × (1 + density).
    setup_seconds, solve_seconds : float
        Medians over the repeats.
    residual : float
        The true one, relative.
    status : str
        "converged", or a sentence on what happened instead.
    own_seconds : float
        Of solve, once, where PyAMG itself runs its cycle over the same hierarchy: what its users
        wait for. Ours does the same in compiled loops and takes less. 0 where M is none of PyAMG's.
    """

    case: str
    size: int
    seed: int
    unknowns: int
    nnz: int
    M: str
    iterations: int
    density: float
    work: float
    setup_seconds: float
    solve_seconds: float
    residual: float
    status: str
    own_seconds: float = field(default=0.0, kw_only=True)

    @property
    def instance(self) -> tuple[str, int, int]:
        """Which matrix and right-hand side."""
        return self.case, self.size, self.seed

    @property
    def converged(self) -> bool:
        """The true residual met the tolerance."""
        return self.status == "converged"

    def cost(self, measure: str) -> float:
        """Iterations, work, solve seconds or total seconds; never below what a failure has cost."""
        if measure == "seconds, setup + solve":
            return self.setup_seconds + self.solve_seconds
        if measure == "seconds of solve":
            return self.solve_seconds
        if measure == OWN_CYCLE:
            return self.own_seconds or self.solve_seconds
        count = self.iterations if self.converged else max(self.iterations, MAXITER)
        return float(count) * (1 + self.density if measure == "work" else 1)


R = TypeVar("R", bound=Row)
LATE = "no setup: not done in"
OWN_CYCLE = "seconds of solve, PyAMG's own cycle"
MEASURES = ("iterations", "work", "seconds of solve", "seconds, setup + solve", OWN_CYCLE)


def measure(
    problem: problems.Problem,
    makers: Mapping[str, Callable[[problems.Problem], LinearOperator]],
    *,
    method: str = "cg",
    case: str,
    size: int,
    seed: int,
    repeats: int,
    B: np.ndarray | None = None,
    limit: float = 0.0,
) -> list[Row]:
    """Rows of one problem; each repeat runs every M once, so that noise hits all alike."""
    runs: dict[str, list[Row]] = {name: [] for name in makers}
    for _ in range(repeats):
        for name, make in makers.items():
            start = perf_counter()
            try:
                if limit and not runs[name]:
                    _require_in_time(make, problem, limit)
                    start = perf_counter()
                elif runs[name] and runs[name][0].status.startswith(LATE):
                    runs[name].append(runs[name][0])
                    continue
                M = make(problem)
            except (ValueError, RuntimeError, np.linalg.LinAlgError) as error:
                setup = perf_counter() - start
                row = {"iterations": 0, "density": np.nan, "work": np.nan, "residual": np.nan}
                row |= {"setup_seconds": setup, "solve_seconds": np.nan}
                row |= {"status": f"no setup: {error}".split("\n")[0]}
            else:
                setup = perf_counter() - start
                record = neuprecond.solve(
                    problem.A,
                    problem.b,
                    M=M,
                    method=method,
                    rtol=RTOL,
                    maxiter=MAXITER,
                    history=False,
                )
                row = {
                    "iterations": record.iterations,
                    "density": M.density,
                    "work": record.iterations * (1 + M.density),
                    "setup_seconds": setup,
                    "solve_seconds": record.solve_seconds,
                    "residual": record.residual,
                    "status": record.status,
                }
                if not runs[name] and f"pyamg {name}" in OWN and record.converged:
                    row["own_seconds"] = _own_seconds(problem, name, B, method)
            n, nnz = problem.A.shape[0], problem.A.nnz
            runs[name].append(Row(case, size, seed, n, nnz, name, **row))
    return [_median(several) for several in runs.values()]


def _require_in_time(
    make: Callable[[problems.Problem], LinearOperator], problem: problems.Problem, limit: float
) -> None:
    """Raise where a setup takes longer than that, or the process that tries it is killed."""
    trial = multiprocessing.get_context("fork").Process(target=make, args=(problem,))
    trial.start()
    trial.join(limit)
    late = trial.exitcode is None
    trial.kill()
    trial.join()
    if late or trial.exitcode == -signal.SIGKILL:
        raise RuntimeError(f"not done in {limit:g} seconds")


def _own_seconds(problem: problems.Problem, name: str, B: np.ndarray | None, method: str) -> float:
    """Seconds of solve with PyAMG's own cycle, infinite where that does not converge."""
    try:
        own = own_cycle(f"pyamg {name}", problem.A, B)
        how = {"method": method, "rtol": RTOL, "maxiter": MAXITER, "history": False}
        record = neuprecond.solve(problem.A, problem.b, M=own, **how)
    except (ValueError, RuntimeError, np.linalg.LinAlgError):
        return np.inf
    return float(record.solve_seconds) if record.converged else np.inf


def _median(several: list[Row]) -> Row:
    middle = {
        key: float(np.median([getattr(row, key) for row in several]))
        for key in ("setup_seconds", "solve_seconds")
    }
    return Row(**{**asdict(several[0]), **middle})


def makers(suite: Suite) -> dict[str, Callable[[problems.Problem], LinearOperator]]:
    """What makes each M, exactly as a user calls it."""

    def near_null(problem: problems.Problem) -> np.ndarray | None:
        return problem.B if suite.near_null else None

    def classical(name: str) -> Callable[[problems.Problem], LinearOperator]:
        return lambda problem: precondition(name, problem.A, B=near_null(problem))

    return {
        **{name: classical(name) for name in suite.panel},
        TWIN: lambda p: neuprecond.load(suite.model, p.A, B=near_null(p), learned=False),
        LEARNED: lambda p: neuprecond.load(suite.model, p.A, B=near_null(p)),
    }


def head(name: str, suite: Suite, repeats: int) -> dict[str, str]:
    """What the figures depend on."""
    packages = ("neuprecond", "numpy", "scipy", "pyamg", "numba")
    folder = Path(neuprecond.__file__).parent / "zoo" / "weights"
    name_of = "*" if suite.model == "auto" else suite.model
    weights = b"".join(p.read_bytes() for p in sorted(folder.glob(f"{name_of}.safetensors")))
    digest = hashlib.sha256(weights).hexdigest()[:12]
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return {
        "command": f"python datasets/results/measure.py {name}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{_processor()}, {os.cpu_count()} cores, OMP_NUM_THREADS {threads}",
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in packages)]
        ),
        "model": f"{suite.model}, sha256 {digest}",
        "solver": f"{suite.method}, rtol {RTOL:g} on the true residual, maxiter {MAXITER}, "
        "b white, x0 = 0",
        "seconds": f"medians of {repeats}, every M in turn",
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write(path: Path, about: Mapping[str, str], rows: Sequence[Row], kind: type[Row] = Row) -> None:
    """Write the CSV at once, so that whoever reads it never sees half of it."""
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in about.items())
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(column.name for column in fields(kind))
        for row in rows:
            writer.writerow(
                f"{value:.4g}" if isinstance(value, float) else value
                for value in asdict(row).values()
            )
    partial.replace(path)


def read(path: Path, kind: type[R] = Row) -> tuple[dict[str, str], list[R]]:
    """Read head and rows of a CSV that `write` has made."""
    lines = path.read_text(encoding="utf-8").splitlines()
    about = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    table = csv.DictReader(line for line in lines if not line.startswith("# "))
    kinds = {column.name: column.type for column in fields(kind)}
    # Earlier files have fewer columns.
    return about, [
        kind(**{key: kinds[key](value) for key, value in row.items()})  # type: ignore[operator]
        for row in table
    ]


@dataclass(frozen=True)
class Ratio:
    """A cost of the learned M over that of a rival.

    Attributes
    ----------
    rival, measure : str
        Over whom, of what.
    mean : float
        Geometric mean over all instances.
    worst : float
        Largest, at ``where``.
    """

    rival: str
    measure: str
    mean: float
    worst: float
    where: tuple[str, int, int]


def ratios(rows: Sequence[Row], suite: Suite) -> list[Ratio]:
    """Learned over twin, over the best of the bar and over the best of the panel.

    The best is taken instance by instance and measure by measure. A rival that did not converge is
    not the best of anything; a learned M that did not counts with at least ``MAXITER`` iterations.
    """
    rivals: dict[str, tuple[str, ...]] = {"twin": (TWIN,)}
    if suite.bar != suite.panel:
        rivals[f"best of {' and '.join(suite.bar)}"] = suite.bar
    rivals["best of all classical"] = suite.panel
    rivals["best of all classical and the twin"] = (*suite.panel, TWIN)
    by_instance = {key: {row.M: row for row in group} for key, group in instances(rows)}
    found = []
    own_cycle = any(row.own_seconds for row in rows)
    for rival, names in rivals.items():
        for what in MEASURES:
            if what == OWN_CYCLE and not (own_cycle and set(names) - {TWIN}):
                continue
            here = {
                instance: of[LEARNED].cost(what) / best
                for instance, of in by_instance.items()
                if np.isfinite(best := cheapest([of[name] for name in names if name in of], what))
            }
            if here:
                mean = float(np.exp(np.mean(np.log(list(here.values())))))
                worst = max(here, key=here.__getitem__)
                found.append(Ratio(rival, what, mean, here[worst], worst))
    return found


def cheapest(rows: Sequence[Row], what: str) -> float:
    """Least cost of those that converged; infinite if none did."""
    return min((row.cost(what) for row in rows if row.converged), default=np.inf)


def instances(rows: Sequence[Row]) -> Iterator[tuple[tuple[str, int, int], list[Row]]]:
    """Rows by instance, in the order of the file; instances without a learned row left out."""
    groups: dict[tuple[str, int, int], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.instance, []).append(row)
    for instance, group in groups.items():
        if any(row.M == LEARNED for row in group):
            yield instance, group


def show(rows: Sequence[Row], suite: Suite, console: Console) -> None:
    """Print mean iterations by case and size, then the ratios."""
    names = (*suite.panel, TWIN, LEARNED)
    table = Table(title="CG iterations, geometric means over seeds")
    for column in ("case", "size", *names):
        table.add_column(column, justify="left" if column == "case" else "right")
    for case, size in dict.fromkeys((row.case, row.size) for row in rows):
        here = [row for row in rows if (row.case, row.size) == (case, size)]
        table.add_row(
            case, str(size), *(mean_count([r for r in here if r.M == name]) for name in names)
        )
    console.print(table)
    table = Table(title="learned ÷ rival")
    for column in ("rival", "measure", "geometric mean", "worst", "where"):
        table.add_column(
            column, justify="right" if column in ("geometric mean", "worst") else "left"
        )
    for ratio in ratios(rows, suite):
        case, size, seed = ratio.where
        where = f"{case}, size {size}, seed {seed}"
        table.add_row(ratio.rival, ratio.measure, f"{ratio.mean:.3f}", f"{ratio.worst:.3f}", where)
    console.print(table)
    console.print(verdict(rows))


def verdict(rows: Sequence[Row]) -> str:
    """Say on how many instances learned converged and where it needs more than its twin + 1."""
    pairs = [{row.M: row for row in group} for _, group in instances(rows)]
    sound = sum(of[LEARNED].converged for of in pairs)
    behind = [
        of[LEARNED].instance
        for of in pairs
        if TWIN in of and of[LEARNED].cost("iterations") > of[TWIN].cost("iterations") + 1
    ]
    where = "".join(f"; {case}, size {size}, seed {seed}" for case, size, seed in behind)
    return (
        f"Learned converged on {sound} of {len(pairs)} instances. It needed more than its twin + 1 "
        f"iterations on {len(behind) or 'none'} of them{where}."
    )


def mean_count(rows: Sequence[Row]) -> str:
    """Geometric mean of the iterations, with the number of runs that failed, if any."""
    if not rows:
        return "—"
    counts = [max(row.cost("iterations"), 1.0) for row in rows]
    failed = sum(not row.converged for row in rows)
    mean = f"{np.exp(np.mean(np.log(counts))):.1f}"
    return f"≥ {mean} ({failed} of {len(rows)} failed)" if failed else mean


def main(
    suite: Annotated[str, typer.Argument(help=f"One of {', '.join(SUITES)}.")] = "diffusion2d",
    families: Annotated[str | None, typer.Option(help="Only these families, by commas.")] = None,
    seeds: Annotated[int, typer.Option(help="Test seeds a case.")] = 5,
    size: Annotated[int | None, typer.Option(help="Unknowns along a side, for all cases.")] = None,
    repeats: Annotated[int, typer.Option(help="Runs that the seconds are medians of.")] = 3,
    out: Annotated[Path | None, typer.Option(help="CSV; by default beside this script.")] = None,
    fresh: Annotated[bool, typer.Option(help="Start over instead of going on.")] = False,
) -> None:
    """Measure a packaged model; goes on with an interrupted run."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=150)
    if suite not in SUITES:
        raise typer.BadParameter(f"no suite {suite!r}; there are {', '.join(SUITES)}.")
    chosen = SUITES[suite]
    known = {case.family for case in chosen.cases}
    wanted = known if families is None else set(families.split(","))
    if wanted - known:
        raise typer.BadParameter(f"--families knows {', '.join(sorted(known))}.")
    path = out or HERE / (f"{suite}.csv" if size is None else f"{suite}-{size}.csv")
    about = head(suite, chosen, repeats)
    rows: list[Row] = []
    if path.exists() and not fresh:
        before, rows = read(path)
        other = [k for k in about if k not in FREE and before.get(k) != about[k]]
        if other:
            differ = "\n".join(f"  {k}: {before.get(k)}\n  now: {about[k]}" for k in other)
            raise typer.BadParameter(
                f"{path.name} was measured otherwise, so its rows and new ones do not compare. "
                f"--fresh starts over, --out writes elsewhere.\n{differ}"
            )
    done = {instance for instance, _ in instances(rows)}
    tasks = [
        (case, side, seed)
        for case in chosen.cases
        if case.family in wanted
        for side in (case.sizes if size is None else (size,))
        for seed in case.seeds(seeds)
        if (case.name, side, seed) not in done
    ]
    make = makers(chosen)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("compiling", total=len(tasks))
        if tasks:
            # Nobody's first call is to pay for compilation or for reading a cache of it.
            small = tasks[0][0].draw(12, 0)
            measure(small, make, method=chosen.method, case="", size=12, seed=0, repeats=1)
        for case, side, seed in tasks:
            bar.update(task, description=f"{case.name}, size {side}, seed {seed}")
            problem = case.draw(side, seed)
            about_it = {"case": case.name, "size": side, "seed": seed, "repeats": repeats}
            about_it |= {"B": problem.B if chosen.near_null else None, "limit": case.limit}
            rows += measure(problem, make, method=chosen.method, **about_it)
            write(path, about, rows)
            bar.advance(task)
    order = {case.name: k for k, case in enumerate(chosen.cases)}
    rows.sort(key=lambda row: (order[row.case], row.size, row.seed))
    write(path, about, rows)
    show(rows, chosen, console)
    console.print(f"{len(rows)} rows in {path.name}")


if __name__ == "__main__":
    typer.run(main)
