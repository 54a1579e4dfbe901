"""Over MPI ranks beside PETSc's own preconditioners: steps, seconds and messages.

Started once for each number of ranks, with the environment of scripts/install-mpi.sh::

    for n in 1 2 4; do mpirun -n $n .venv-mpi/bin/python datasets/results/parallel.py; done
    .venv-mpi/bin/python datasets/results/parallel.py table

Each start replaces its number's rows in parallel.csv; the last line writes the tables of
docs/parallel.md from that file.
"""

import csv
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
CSV = HERE / "parallel.csv"
DOCS = HERE.parents[1] / "docs" / "parallel.md"
SEED = 31

# Strong scaling: the same problem on all ranks. Weak scaling: as many unknowns a rank.
STRONG = {
    "poisson2d": 256,
    "poisson3d": 36,
    "lognormal": 200,
    "anisotropic": 200,
    "elasticity2d": 100,
    "elasticity3d": 16,
    "heat": 256,
}
WEAK = {1: 128, 2: 181, 4: 256}
FIELDS = (
    "problem", "unknowns", "scaling", "ranks", "pc", "steps", "status", "setup_s", "solve_s",
    "apply_ms", "messages", "bytes", "halo",
)  # fmt: skip
OURS = ("learned", "twin", "learned, PCMG")
RIVALS = ("gamg", "boomeramg", "parasails", "bjacobi/icc", "jacobi")


def measure() -> list[dict[str, object]]:
    """Rows of this number of ranks."""
    import numpy as np
    import petsc4py

    petsc4py.init([sys.argv[0]])
    from petsc4py import PETSc

    from neuprecond import problems

    PETSc.Log.begin()
    # Compiled loops are loaded once and for all.
    for family in ("twophase", "lognormal", "poisson2d", "elasticity2d", "heat"):
        rows(problems.draw(family, 48, np.random.default_rng(SEED)), "warm")
    size = PETSc.COMM_WORLD.getSize()
    found = []
    for family, side in STRONG.items():
        found += rows(problems.draw(family, side, np.random.default_rng(SEED)), "strong")
    found += rows(problems.draw("poisson2d", WEAK[size], np.random.default_rng(SEED)), "weak")
    return found


def rows(problem, scaling: str) -> list[dict[str, object]]:
    """One problem, every preconditioner."""
    import numpy as np
    from petsc4py import PETSc

    from neuprecond.petsc.halo import distributed

    comm = PETSc.COMM_WORLD.tompi4py()
    rank, size = comm.Get_rank(), comm.Get_size()
    n = problem.A.shape[0]
    # Rows in the order they come, whole nodes to a rank.
    node = block_size(problem)
    cuts = node * np.linspace(0, n // node, size + 1).astype(int)
    mine = slice(cuts[rank], cuts[rank + 1])
    A = distributed(comm, problem.A[mine], mine.stop - mine.start)
    A.setBlockSize(node)
    if problem.B is not None and problem.B.shape[1] > 1:
        vectors = []
        for column in np.linalg.qr(problem.B)[0].T:
            vectors.append(A.createVecLeft())
            vectors[-1].setArray(column[mine])
        A.setNearNullSpace(PETSc.NullSpace().create(vectors=vectors, comm=A.getComm()))
    found = []
    # "auto" takes several levels for heat steps as long as these, which are here for one level.
    model = "heat" if problem.name == "heat" else "auto"
    for name in (*OURS, *RIVALS):
        row = one(A, problem.b[mine], name, model=model, three_dimensional="3d" in problem.name)
        about = {"problem": problem.name, "unknowns": n, "scaling": scaling, "ranks": size}
        found.append(about | {"pc": name} | row)
        if rank == 0:
            print(*found[-1].values(), flush=True)
    return found


def block_size(problem) -> int:
    """Unknowns a node."""
    return {"elasticity2d": 2, "elasticity3d": 3}.get(problem.name, 1)


def one(A, b, name: str, *, model: str, three_dimensional: bool) -> dict[str, object]:
    """Steps of CG to 1e-8 of the true residual, seconds, and what a single apply sends."""
    from petsc4py import PETSc

    import neuprecond.petsc
    from neuprecond.petsc.halo import Halo

    comm = PETSc.COMM_WORLD.tompi4py()
    ksp = PETSc.KSP().create(A.getComm())
    ksp.setOperators(A)
    ksp.setType("cg")
    ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
    ksp.setTolerances(rtol=1e-8, max_it=3000)
    pc, halo = ksp.getPC(), ""

    def make():
        if name == "learned, PCMG":
            return as_pcmg(A, ksp, model)
        if name in OURS:
            neuprecond.petsc.setup(ksp, model, learned=name != "twin")
            return True
        settings = {
            "gamg": {"pc_type": "gamg"},
            "boomeramg": {
                "pc_type": "hypre",
                "pc_hypre_type": "boomeramg",
                # What its manual advises in space.
                "pc_hypre_boomeramg_strong_threshold": 0.5 if three_dimensional else 0.25,
            },
            "parasails": {
                "pc_type": "hypre",
                "pc_hypre_type": "parasails",
                "pc_hypre_parasails_sym": "SPD",
            },
            "bjacobi/icc": {"pc_type": "bjacobi", "sub_pc_type": "icc"},
            "jacobi": {"pc_type": "jacobi"},
        }[name]
        options = PETSc.Options()
        for key, value in settings.items():
            options[key] = value
        pc.setFromOptions()
        pc.setUp()
        for key in settings:
            options.delValue(key)
        return True

    comm.Barrier()
    start = time.perf_counter()
    if not make():
        return dict.fromkeys(FIELDS[5:], "") | {"status": "one level"}
    ksp.setUp()
    pc.setUpOnBlocks()
    comm.Barrier()
    setup_seconds = time.perf_counter() - start
    x, right = A.createVecLeft(), A.createVecLeft()
    right.setArray(b)
    ksp.solve(right, x)
    comm.Barrier()
    start = time.perf_counter()
    ksp.solve(right, x)
    comm.Barrier()
    solve_seconds = time.perf_counter() - start
    steps, reason = ksp.getIterationNumber(), ksp.getConvergedReason()
    z = right.duplicate()
    pc.apply(right, z)
    event = PETSc.Log.Event("PCApply")
    before = event.getPerfInfo()
    comm.Barrier()
    start, applies = time.perf_counter(), 20
    for _ in range(applies):
        pc.apply(right, z)
    comm.Barrier()
    apply_seconds = (time.perf_counter() - start) / applies
    after = event.getPerfInfo()
    # The log counts a message where it leaves and where it arrives.
    messages = comm.allreduce(after["numMessages"] - before["numMessages"]) / applies / 2
    sent = comm.allreduce(after["messageLength"] - before["messageLength"]) / applies / 2
    if name == "learned":
        deep = Halo(A, neuprecond_depth(pc))
        halo = comm.allreduce(len(deep.ids) - (deep.stop - deep.start), max)
    hypre = name in ("boomeramg", "parasails")
    return {
        "steps": steps,
        "status": "converged" if reason > 0 else f"stopped: {reason}",
        "setup_s": round(setup_seconds, 3),
        "solve_s": round(solve_seconds, 3),
        "apply_ms": round(1000 * apply_seconds, 3),
        # hypre talks past PETSc's log.
        "messages": "" if hypre else round(messages),
        "bytes": "" if hypre else round(sent),
        "halo": halo,
    }


def neuprecond_depth(pc) -> int:
    """How deep the halo of the finest level is."""
    from neuprecond.petsc import multilevel, one_level
    from neuprecond.zoo import load_model

    name = pc.getPythonContext().name
    rounds = int(load_model(name).card.network["rounds"])
    return rounds + (one_level.BEYOND if name == "heat" else multilevel.BEYOND)


class _Scaled:
    """S C S, with a PC for C."""

    def __init__(self, inner, s):
        self.inner, self.s = inner, s
        self.r, self.x = s.duplicate(), s.duplicate()

    def setUp(self, pc):
        """Nothing is left to do. PETSc calls it."""

    def apply(self, pc, r, z):
        """Z becomes S C S r. PETSc calls it."""
        self.r.pointwiseMult(self.s, r)
        self.inner.apply(self.r, self.x)
        z.pointwiseMult(self.s, self.x)


class _Bottom:
    """The redundant bottom as a PC."""

    def __init__(self, bottom):
        self.bottom = bottom

    def setUp(self, pc):
        """Nothing is left to do. PETSc calls it."""

    def apply(self, pc, r, z):
        """Z becomes the solution for r. PETSc calls it."""
        self.bottom.apply(r, z)


def as_pcmg(A, ksp, model: str) -> bool:
    """Hand the levels of M to PCMG and that to the KSP; False where M has none."""
    from petsc4py import PETSc

    import neuprecond.petsc
    from neuprecond.petsc.cycle import DistributedCycle

    context = neuprecond.petsc.PC(model)
    context.build(A)
    M = context.M
    if not isinstance(M, DistributedCycle) or not M.levels:
        return False
    top = A.copy()
    top.diagonalScale(M.s, M.s)
    matrices = [top]
    for level in M.levels:
        matrices.append(matrices[-1].ptap(level.P))
    mg = PETSc.PC().create(A.getComm())
    mg.setOperators(top)
    mg.setType("mg")
    count = len(M.levels)
    mg.setMGLevels(count + 1)
    mg.setMGType(PETSc.PC.MGType.MULTIPLICATIVE)
    for k, level in enumerate(M.levels):
        number = count - k
        mg.setMGInterpolation(number, level.P)
        S = level.S
        if level.eliminated:
            S = PETSc.Mat().createAIJ(top.getSizes() if k == 0 else matrices[k].getSizes(), nnz=1)
            S.setUp()
            S.setDiagonal(level.S)
            S.assemble()
        down, up = mg.getMGSmootherDown(number), mg.getMGSmootherUp(number)
        for smoother, times in ((down, 1), (up, 0 if level.eliminated else 1)):
            smoother.setType("richardson")
            smoother.setNormType(PETSc.KSP.NormType.NONE)
            smoother.setTolerances(max_it=times)
            smoother.setOperators(matrices[k], S)
            smoother.getPC().setType("mat")
        if k and level.visits == 2:
            mg.setMGCycleTypeOnLevel(number + 1, PETSc.PC.MGCycleType.W)
    coarse = mg.getMGCoarseSolve()
    coarse.setType("preonly")
    coarse.setOperators(matrices[-1])
    coarse.getPC().setType("python")
    coarse.getPC().setPythonContext(_Bottom(M.bottom))
    mg.setUp()
    ksp.getPC().setType("python")
    ksp.getPC().setPythonContext(_Scaled(mg, M.s))
    ksp.getPC().setUp()
    return True


def write(found: list[dict[str, object]]) -> None:
    """Put rows in the place of those of the same number of ranks."""
    kept = [row for row in read() if row["ranks"] != str(found[0]["ranks"])] if CSV.exists() else []
    with CSV.open("w", newline="", encoding="utf-8") as file:
        file.write(head())
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept + found)


def read() -> list[dict[str, str]]:
    """The rows of parallel.csv."""
    with CSV.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def head() -> str:
    """What parallel.csv begins with."""
    from importlib.metadata import version

    import mpi4py
    import petsc4py

    versions = [f"{name} {version(name)}" for name in ("neuprecond", "numpy", "scipy", "numba")]
    versions += [f"PETSc {petsc4py.__version__}", f"mpi4py {mpi4py.__version__}"]
    return (
        "# command: mpirun -n 1, 2 and 4 python datasets/results/parallel.py\n"
        f"# date: {time.strftime('%Y-%m-%d')}\n"
        "# machine: AMD EPYC, 2 cores; 4 ranks share them\n"
        f"# versions: {', '.join(versions)}\n"
    )


def tables(found: list[dict[str, str]]) -> dict[str, str]:
    """Tables by the name they have in docs/parallel.md."""
    at = {(r["problem"], r["scaling"], r["ranks"], r["pc"]): r for r in found}

    def three(problem: str, pc: str, field: str, scaling: str = "strong") -> str:
        cells = []
        for ranks in ("1", "2", "4"):
            row = at[problem, scaling, ranks, pc]
            done = row["status"] == "converged"
            cells.append((row[field] if done else "–") or "–")
        return " / ".join(cells)

    def table(head: list[str], lines: list[list[str]]) -> str:
        rule = ["---"] + ["---:"] * (len(head) - 1)
        return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])

    names = [name for name in (*OURS, *RIVALS) if "PCMG" not in name]
    sizes = {problem: at[problem, "strong", "1", "learned"]["unknowns"] for problem in STRONG}
    made = {}
    for field in ("steps", "solve_s", "setup_s"):
        lines = [
            [f"{problem}, {sizes[problem]}"] + [three(problem, name, field) for name in names]
            for problem in STRONG
        ]
        made[field] = table(["problem, unknowns", *names], lines)
    several = [problem for problem in STRONG if problem != "heat"]
    made["pcmg"] = table(
        ["problem", "steps, ours", "steps, PCMG", "ms an apply, ours", "ms, PCMG", "messages, ours",
         "messages, PCMG"],
        [
            [problem]
            + [
                three(problem, name, field)
                for field in ("steps", "apply_ms", "messages")
                for name in ("learned", "learned, PCMG")
            ]
            for problem in several
        ],
    )  # fmt: skip
    talking = ("learned", "gamg", "bjacobi/icc")
    made["messages"] = table(
        ["problem", *(f"{what}, {name}" for what in ("messages", "bytes") for name in talking[:2]),
         "halo rows at setup"],
        [
            [problem]
            + [three(problem, name, what) for what in ("messages", "bytes") for name in talking[:2]]
            + [three(problem, "learned", "halo")]
            for problem in STRONG
        ],
    )  # fmt: skip
    weak = [
        [name]
        + [
            three("poisson2d", name, field, "weak")
            for field in ("steps", "solve_s", "messages", "bytes", "halo")
        ]
        for name in names
    ]
    what = ["messages an apply", "bytes an apply", "halo rows at setup"]
    made["weak"] = table(["pc", "steps", "seconds to solve", *what], weak)
    return made


def fill() -> None:
    """Write the tables between their marks in docs/parallel.md."""
    made = tables(read())
    text = DOCS.read_text(encoding="utf-8")
    for name, table in made.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"
    DOCS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["table"]:
        fill()
    else:
        found = measure()
        from petsc4py import PETSc

        if PETSc.COMM_WORLD.getRank() == 0:
            write(found)
