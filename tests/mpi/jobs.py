"""What mpirun starts: `jobs.py NAME,ARGUMENT,... NAME,...`; rank 0 prints a line of JSON a job."""

import json
import os
import signal
import sys
import time
import warnings

import numpy as np
import petsc4py

# Options for PETSc come behind a dash; a job's own come before.
petsc4py.init(sys.argv)

from petsc4py import PETSc  # noqa: E402
from scipy import sparse  # noqa: E402

import neuprecond  # noqa: E402
import neuprecond.petsc  # noqa: E402
from neuprecond import problems  # noqa: E402
from neuprecond.petsc.halo import Halo, distributed, owned_rows  # noqa: E402

comm = PETSc.COMM_WORLD.tompi4py()
rank, size = comm.Get_rank(), comm.Get_size()
SEED = 31


def draw(family, n):
    return problems.draw(family, int(n), np.random.default_rng(SEED))


def spread(A, cuts=None):
    """A as a distributed matrix, and the rows of this rank."""
    n = A.shape[0]
    cuts = np.linspace(0, n, size + 1).astype(int) if cuts is None else cuts
    mine = slice(cuts[rank], cuts[rank + 1])
    return distributed(comm, sparse.csr_array(A)[mine], mine.stop - mine.start), mine


def solve(A, b, pc_of):
    """Steps of CG on the true residual to 1e-8, and the true residual at the end."""
    ksp = PETSc.KSP().create(A.getComm())
    ksp.setOperators(A)
    ksp.setType("cg")
    ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
    ksp.setTolerances(rtol=1e-8, max_it=2000)
    pc_of(ksp)
    x, right = A.createVecLeft(), A.createVecLeft()
    right.setArray(b)
    ksp.solve(right, x)
    residual = right.duplicate()
    A.mult(x, residual)
    residual.aypx(-1.0, right)
    return {
        "steps": ksp.getIterationNumber(),
        "residual": residual.norm() / right.norm(),
        "reason": ksp.getConvergedReason(),
    }


def serial(A, b, model, B=None):
    """What one process needs, without PETSc."""
    M = neuprecond.load(model, A, B=B, check=False)
    return neuprecond.solve(A, b, M=M, method="cg", rtol=1e-8).iterations


def one_level(family, n):
    """Steps, and how far G is from the one of a single process."""
    problem = draw(family, n)
    A, mine = spread(problem.A)
    found = solve(A, problem.b[mine], lambda ksp: neuprecond.petsc.setup(ksp, "heat"))
    pc = neuprecond.petsc.setup(A, "heat")
    M = neuprecond.load("heat", problem.A, check=False)
    whole = M.G.tocsr()
    difference = abs(owned_rows(pc.getPythonContext().M.G) - whole[mine])
    found["difference"] = comm.allreduce(difference.max() if difference.nnz else 0.0, max)
    found["largest"] = float(abs(whole).max())
    return found | {"serial": serial(problem.A, problem.b, "heat")}


def several_levels(family, n):
    """Steps of the learned M and of its twin, here and on one process; whether M is definite."""
    problem = draw(family, n)
    A, mine = spread(problem.A)
    several = problem.B is not None and problem.B.shape[1] > 1
    B, whole = (problem.B[mine], problem.B) if several else (None, None)
    found = {}
    for name, learned in (("learned", True), ("twin", False)):
        contexts = []

        def make(ksp, learned=learned, contexts=contexts):
            pc = neuprecond.petsc.setup(ksp, "diffusion2d", learned=learned, B=B)
            contexts.append(pc)

        found[name] = solve(A, problem.b[mine], make)
        M = neuprecond.load("diffusion2d", problem.A, B=whole, learned=learned, check=False)
        solved = neuprecond.solve(problem.A, problem.b, M=M, method="cg", rtol=1e-8)
        found[name]["serial"] = solved.iterations
        found[name]["laws"] = _laws(A, contexts[0])
    return found


def _laws(A, pc):
    """vᵀMu over uᵀMv, and uᵀMu, for random u and v."""
    u, v, Mu, Mv = (A.createVecLeft() for _ in range(4))
    rng = np.random.default_rng([SEED, rank])
    for x in (u, v):
        x.setArray(rng.standard_normal(x.getLocalSize()))
    pc.apply(u, Mu)
    pc.apply(v, Mv)
    return [v.dot(Mu) / u.dot(Mv), u.dot(Mu)]


def deeper(family, n, plan):
    """How far interpolation and smoother are from those with a deeper halo and a shallow one."""
    from neuprecond.multilevel import PLANS
    from neuprecond.petsc import multilevel
    from neuprecond.zoo import load_model

    problem = draw(family, n)
    A, _ = spread(problem.A)
    model = load_model("diffusion2d")
    values, rounds = model._values(), int(model.card.network["rounds"])
    made = []
    for more in (0, 3, -4):
        multilevel.BEYOND += more
        M = multilevel.build(A, values, plan=PLANS[plan], B=None, rounds=rounds)
        level = next(level for level in M.levels if not level.eliminated)
        made.append([owned_rows(level.P), owned_rows(level.S)])
        multilevel.BEYOND -= more
    whole, *others = made
    return {
        name: comm.allreduce(max(abs(a - b).max() for a, b in zip(whole, other, strict=True)), max)
        for name, other in zip(("deeper", "shallow"), others, strict=True)
    }


def statistics(family, n):
    """Statistics over ranks beside those of one process, but for the test vectors."""
    from neuprecond.petsc import multilevel
    from neuprecond.statistics import STATISTICS, plan_statistics

    multilevel.EDGE, edge = 0, multilevel.EDGE
    problem = draw(family, n)
    A, mine = spread(problem.A)
    v = np.random.default_rng(SEED).uniform(0.5, 2.0, problem.A.shape[0])
    found = multilevel._statistics(A, v[mine], comm)
    multilevel.EDGE = edge
    expected = plan_statistics(problem.A, v)
    return {
        name: [float(a), float(b)]
        for name, a, b in zip(STATISTICS, found, expected, strict=True)
        if "distance" not in name and "nearest" not in name
    }


def near_null(n):
    """Steps on elasticity with rigid body modes from the matrix, as PETSc has it, and without."""
    problem = draw("elasticity2d", n)
    A, mine = spread(problem.A)
    vectors = []
    # PETSc wants them orthonormal.
    for column in np.linalg.qr(problem.B)[0].T:
        vectors.append(A.createVecLeft())
        vectors[-1].setArray(column[mine])
    A.setNearNullSpace(PETSc.NullSpace().create(vectors=vectors, comm=A.getComm()))
    plain, _ = spread(problem.A)
    return {
        name: solve(X, problem.b[mine], lambda ksp: neuprecond.petsc.setup(ksp, "auto"))["steps"]
        for name, X in (("with modes", A), ("without", plain))
    }


def auto():
    """What "auto" takes of several matrices, and what one process takes."""
    from neuprecond.zoo.choose import choose

    drawn = (("heat", 12), ("dominant", 200), ("poisson2d", 12), ("covariance", 300))
    matrices = [draw(*pair).A for pair in drawn]
    for shift in (0.4, 0.5):
        matrices.append(sparse.csr_array(matrices[2] + shift * sparse.eye_array(144)))
    return {
        "here": [neuprecond.petsc.setup(spread(A)[0]).getPythonContext().name for A in matrices],
        "serial": [choose(A) for A in matrices],
    }


def remarks():
    """What is said on each rank of matrices far from training, and of one that is not."""
    far = problems.draw(
        "lognormal", 48, np.random.default_rng(SEED), parameters={"sigma": 9.0}
    ).A  # fmt: skip
    said = {}
    for name, A, model in (
        ("one level", draw("poisson2d", 60).A, "heat"),
        ("far", far, "diffusion2d"),
        ("near", draw("poisson2d", 48).A, "diffusion2d"),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            neuprecond.petsc.setup(spread(A)[0], model)
            with_one = len(caught)
            neuprecond.load(model, A)
        mine = [str(w.message) for w in caught[:with_one]]
        one = [str(w.message) for w in caught[with_one:]]
        said[name] = {"ranks": comm.allgather(mine), "serial": one}
    from neuprecond.petsc import multilevel

    multilevel.LARGE_BOTTOM, limit = 100, multilevel.LARGE_BOTTOM
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        neuprecond.petsc.setup(spread(draw("poisson2d", 48).A)[0], "diffusion2d")
    multilevel.LARGE_BOTTOM = limit
    said["bottom"] = {"ranks": comm.allgather([str(w.message) for w in caught])}
    return said


def page():
    """The snippet of docs/parallel.md, and its line of options, on a small problem."""
    import re
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs" / "parallel.md").read_text(encoding="utf-8")
    problem = draw("poisson2d", 48)
    A, mine = spread(problem.A)
    snippet = re.search(r"```py\n(.*?)```", text, re.DOTALL).group(1)
    line = re.search(r"^-pc_type python.*$", text, re.MULTILINE).group()

    def by_snippet(ksp):
        x, b = A.createVecLeft(), A.createVecLeft()
        b.setArray(problem.b[mine])
        exec(snippet, {"ksp": ksp, "b": b, "x": x})

    def by_line(ksp):
        PETSc.Options().insertString(line)
        ksp.setFromOptions()

    return {
        "snippet": solve(A, problem.b[mine], by_snippet)["steps"],
        "line": solve(A, problem.b[mine], by_line)["steps"],
    }


def shallow(n):
    """How far G is from that of one process where the halo is two couplings short."""
    from neuprecond.petsc import one_level

    one_level.BEYOND -= 2
    try:
        return globals()["one_level"]("heat", n)
    finally:
        one_level.BEYOND += 2


def another_build(n):
    """Which numbers this PETSc was built for, and what it makes of a matrix."""
    built = {"scalar": np.dtype(PETSc.ScalarType).name, "index": np.dtype(PETSc.IntType).name}
    if np.dtype(PETSc.ScalarType).kind == "c":
        A = PETSc.Mat().createAIJ((4, 4), comm=PETSc.COMM_WORLD)
        A.setUp()
        A.assemble()
        try:
            neuprecond.petsc.setup(A, "heat")
        except TypeError as error:
            return built | {"message": str(error)}
    return built | one_level("heat", n) | {"several": several_levels("poisson2d", 50)}


def by_options(family, n, model):
    """The same by options alone; PETSc imports the context itself."""
    problem = draw(family, n)
    A, mine = spread(problem.A)
    options = PETSc.Options()
    options["pc_type"] = "python"
    options["pc_python_type"] = "neuprecond.petsc.PC"
    options["neuprecond_model"] = model
    found = solve(A, problem.b[mine], lambda ksp: ksp.setFromOptions())
    called = solve(A, problem.b[mine], lambda ksp: neuprecond.petsc.setup(ksp, model))
    return found | {"called": called["steps"]}


def empty_ranks(family, n, model):
    """All rows on the last rank, and all but a few on the first."""
    problem = draw(family, n)
    steps = []
    whole = problem.A.shape[0]
    for cuts in (
        [0] * size + [whole],
        [0, *[whole] * size],
        [0, *[whole // 2] * (size - 1), whole],
    ):
        A, mine = spread(problem.A, cuts)
        setup = lambda ksp: neuprecond.petsc.setup(ksp, model)  # noqa: E731
        steps.append(solve(A, problem.b[mine], setup)["steps"])
    return {"steps": steps, "serial": serial(problem.A, problem.b, model)}


def empty_with_modes(n):
    """Elasticity with rigid body modes, all rows on the last rank; and fewer rows than ranks."""
    problem = draw("elasticity2d", n)
    A, mine = spread(problem.A, [0] * size + [problem.A.shape[0]])
    B = problem.B[mine]
    setup = lambda ksp: neuprecond.petsc.setup(ksp, "auto", B=B)  # noqa: E731
    found = {"steps": solve(A, problem.b[mine], setup)["steps"]}
    two = sparse.csr_array([[2.0, -1.0], [-1.0, 2.0]])
    for model in ("heat", "diffusion2d"):
        A, mine = spread(two)
        setup = lambda ksp, model=model: neuprecond.petsc.setup(ksp, model)  # noqa: E731
        found[model] = solve(A, np.array([1.0, 3.0])[mine], setup)["residual"]
    return found | {"serial": serial(problem.A, problem.b, "auto", B=problem.B)}


def zeros(n):
    """Steps where A stores zeros between random pairs of unknowns too, and where it does not."""
    problem = draw("poisson2d", n)
    N = problem.A.shape[0]
    i, j = np.random.default_rng(SEED).integers(N, size=(2, 2 * N))
    pattern = sparse.coo_array((np.ones(2 * N), (i, j)), shape=(N, N)).tocsr()
    stored = sparse.csr_array(problem.A + 1e-300 * (pattern + pattern.T))
    stored.data[np.abs(stored.data) < 1e-200] = 0.0
    assert stored.nnz > problem.A.nnz
    views = []
    for matrix in (stored, problem.A):
        A, mine = spread(matrix)
        pc = neuprecond.petsc.setup(A, "diffusion2d")
        z, r = A.createVecLeft(), A.createVecLeft()
        r.setArray(problem.b[mine])
        pc.apply(r, z)
        views.append(z.copy())
    views[0].axpy(-1.0, views[1])
    return {"difference": views[0].norm(), "size": views[1].norm()}


def degenerate():
    """A diagonal matrix, of which nothing is left, and one with a null space."""
    whole = sparse.csr_array(sparse.diags_array(np.linspace(1.0, 5.0, 3000)))
    A, mine = spread(whole)
    setup = lambda ksp: neuprecond.petsc.setup(ksp, "diffusion2d")  # noqa: E731
    found = {"diagonal": solve(A, np.ones(3000)[mine], setup)["steps"]}
    n = 50
    line = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)).tolil()
    line[0, 0] = line[-1, -1] = 1.0
    one = sparse.eye_array(n)
    whole = sparse.csr_array(sparse.kron(line, one) + sparse.kron(one, line))
    b = np.random.default_rng(SEED).standard_normal(n * n)
    b -= b.mean()
    A, mine = spread(whole)
    A.setNullSpace(PETSc.NullSpace().create(constant=True, comm=A.getComm()))
    found["singular"] = solve(A, b[mine], setup)
    return found | {"serial": serial(whole, b, "diffusion2d")}


def several_at_once(n):
    """Three PCs with prefixes of their own, the last one block by block: what each one is."""
    problem = draw("poisson2d", n)
    A, mine = spread(problem.A)
    python = "pc_type python -{0}pc_python_type neuprecond.petsc.PC -{0}neuprecond_model"
    settings = {
        "a_": "-a_" + python.format("a_") + " heat",
        "b_": "-b_" + python.format("b_") + " diffusion2d -b_neuprecond_twin",
        "c_": "-c_pc_type bjacobi -c_sub_" + python.format("c_sub_") + " diffusion2d",
    }
    found, solvers = {}, []
    warnings.simplefilter("ignore", neuprecond.NeuprecondWarning)
    for prefix, text in settings.items():
        PETSc.Options().insertString(text)
        ksp = PETSc.KSP().create(A.getComm())
        ksp.setOptionsPrefix(prefix)
        ksp.setOperators(A)
        ksp.setType("cg")
        ksp.setFromOptions()
        ksp.setUp()
        ksp.setUpOnBlocks()
        solvers.append(ksp)
    x, b = A.createVecLeft(), A.createVecLeft()
    b.setArray(problem.b[mine])
    for prefix, ksp in zip(settings, solvers, strict=True):
        ksp.setTolerances(rtol=1e-8)
        ksp.solve(b, x)
        found[prefix] = [ksp.getConvergedReason() > 0, ksp.getIterationNumber()]
        if prefix != "c_":
            context = ksp.getPC().getPythonContext()
            found[prefix] += [context.name, context.learned]
    return found


def apart(n):
    """Steps on the two halves of the ranks, each with a matrix of its own at the same time."""
    half = comm.Split(rank % 2)
    problem = draw(("poisson2d", "lognormal")[rank % 2], n)
    cuts = np.linspace(0, problem.A.shape[0], half.Get_size() + 1).astype(int)
    mine = slice(*cuts[half.Get_rank() : half.Get_rank() + 2])
    A = distributed(half, sparse.csr_array(problem.A)[mine], mine.stop - mine.start)
    setup = lambda ksp: neuprecond.petsc.setup(ksp, "diffusion2d")  # noqa: E731
    found = solve(A, problem.b[mine], setup)["steps"]
    return {"steps": comm.allgather([found, serial(problem.A, problem.b, "diffusion2d")])}


def refusals():
    """The message that every rank gets where only one of them has the fault."""
    good = draw("heat", 12).A.tolil()
    n, messages = good.shape[0], {}

    def refused(name, A, model="auto", **words):
        try:
            neuprecond.petsc.setup(A, model, **words)
        except (TypeError, ValueError, neuprecond.NeuprecondWarning) as error:
            said = [type(error).__name__, str(error)]
        else:
            said = ["nothing", ""]
        messages[name] = comm.allgather(said)

    def changed(i, j, value):
        A = good.copy()
        A[i, j] = value
        return spread(sparse.csr_array(A))[0]

    def empty(*layout):
        A = PETSc.Mat().createAIJ(layout, comm=PETSc.COMM_WORLD)
        A.setUp()
        return A

    refused("nonsymmetric", changed(n - 1, n - 2, 0.3))
    refused("negative", changed(n - 1, n - 1, -1.0))
    refused("not finite", changed(0, 0, np.nan))
    whole = draw("heat", 12).A
    wrong = PETSc.Mat().createDense((4, 4), comm=PETSc.COMM_WORLD)
    wrong.setUp()
    wrong.assemble()
    refused("dense", wrong)
    refused("no matrix", whole)
    refused("no operators", PETSc.KSP().create(PETSc.COMM_WORLD))
    refused("not assembled", empty(8, 8))
    for name, columns in (("rectangular", 4), ("layout", 2 + rank)):
        A = empty((3, None), (columns, None))
        A.assemble()
        refused(name, A)
    A, mine = spread(sparse.csr_array(whole))
    m = mine.stop - mine.start
    ones = np.ones((m, 2 if rank == 0 else 1))
    refused("columns of B", A, B=ones)
    refused("B on one rank", A, B=ones if rank == 0 else None)
    refused("rows of B", A, B=np.ones(m + (rank == 1)))
    refused("zero B", A, B=np.zeros(m))
    refused("model", A, "advection")
    # Warnings are errors here, and only rank 0 warns.
    refused("warning", spread(draw("poisson2d", 20).A)[0], "heat")
    refused("nothing", A)
    return messages


def faults():
    """What ranks are told of an error that cannot travel."""
    from neuprecond.petsc.halo import agreed

    class OddError(Exception):
        def __init__(self, left, right):
            super().__init__(f"{left} and {right}")

    try:
        with agreed(comm):
            if rank == size - 1:
                raise OddError("this", "that")
    except Exception as error:
        return {"said": comm.allgather(str(error))}
    return {}


def anew():
    """A matrix that changes is set up again, one that does not is not."""
    found = {}
    for model, family in (("heat", "heat"), ("diffusion2d", "lognormal")):
        problem = draw(family, 48)
        A, mine = spread(problem.A)
        pc = neuprecond.petsc.setup(A, model)
        context = pc.getPythonContext()
        first = context.M
        context.setUp(pc)
        same = context.M is first
        r, before, after = (A.createVecLeft() for _ in range(3))
        r.setArray(problem.b[mine])
        pc.apply(r, before)
        A.scale(4.0)
        pc.setOperators(A)
        pc.setUp()
        pc.apply(r, after)
        after.axpy(-0.25, before)
        # Others follow at what may be the same address.
        steps = []
        for side in (20, 50):
            other = draw(family, side)
            A.destroy()
            A, mine = spread(other.A)
            ksp = PETSc.KSP().create(A.getComm())
            ksp.setPC(pc)
            steps.append([solve_with(ksp, A, other.b[mine]), serial(other.A, other.b, model)])
        found[model] = {"same": same, "off": after.norm() / before.norm(), "steps": steps}
    return found


def solve_with(ksp, A, b):
    """Steps of a KSP whose PC was used for another matrix before."""
    pc = ksp.getPC()
    pc.reset()
    ksp.setOperators(A)
    ksp.setType("cg")
    ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
    ksp.setTolerances(rtol=1e-8)
    x, right = A.createVecLeft(), A.createVecLeft()
    right.setArray(b)
    ksp.solve(right, x)
    return ksp.getIterationNumber()


def shown():
    """What -ksp_view tells, whether a binary viewer is left alone, and Mᵀ against M."""
    import tempfile
    from pathlib import Path

    problem = draw("lognormal", 60)
    A, mine = spread(problem.A)
    pc = neuprecond.petsc.setup(A, "diffusion2d")
    r, z, turned = (A.createVecLeft() for _ in range(3))
    r.setArray(problem.b[mine])
    pc.apply(r, z)
    pc.applyTranspose(r, turned)
    turned.axpy(-1.0, z)
    folder = comm.bcast(tempfile.mkdtemp())
    text = Path(folder) / "view.txt"
    for viewer in (
        PETSc.Viewer().createASCII(str(text), comm=A.getComm()),
        PETSc.Viewer().createBinary(f"{folder}/view", "w", comm=A.getComm()),
    ):
        pc.view(viewer)
        viewer.destroy()
    comm.Barrier()
    return {"view": text.read_text(), "transposed": turned.norm()}


def memory(family, n, model):
    """Megabytes that each rank has more after twenty setups, and one of its part of A."""
    import ctypes
    from pathlib import Path

    def megabytes():
        # What was freed is not kept for later.
        ctypes.CDLL(None).malloc_trim(0)
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    A, _ = spread(draw(family, n).A)
    pc = neuprecond.petsc.setup(A, model)
    for k in range(30):
        if k == 10:
            before = megabytes()
        A.scale(1.01)
        pc.setOperators(A)
        pc.setUp()
    entries = A.getInfo()["nz_used"] / size
    return {"more": comm.allreduce(megabytes() - before, max), "matrix": 12e-6 * entries}


def raised():
    """A program's own fault on one rank; the others are in the middle of a setup."""
    A, _ = spread(draw("poisson2d", 40).A)
    if rank == 1:
        raise OverflowError("a fault of rank 1 alone")
    for _ in range(100):
        neuprecond.petsc.setup(A, "diffusion2d")
    return {}


def killed():
    """Rank 1 dies in the middle; the others wait for it."""
    problem = draw("heat", 24)
    A, _ = spread(problem.A)
    pc = neuprecond.petsc.setup(A, "heat")
    r, z = A.createVecLeft(), A.createVecLeft()
    for step in range(10_000_000):
        if rank == 1 and step == 100:
            os.kill(os.getpid(), signal.SIGKILL)
        pc.apply(r, z)
        r.norm()
        time.sleep(1e-4)
    return {}


def halo(n, depth):
    """What the halo of each rank holds, beside the whole matrix."""
    whole = draw("delaunay", n).A
    A, mine = spread(whole)
    found = Halo(A, int(depth))
    part = abs(whole[found.ids][:, found.ids] - found.A)
    reach = np.zeros(whole.shape[0])
    reach[mine] = 1.0
    for _ in range(int(depth)):
        reach = np.minimum(1.0, abs(whole) @ reach + reach)
    numbers = found.bring(np.arange(mine.start, mine.stop))
    return {
        "difference": comm.allreduce(part.max() if part.nnz else 0.0, max),
        "right rows": comm.allgather(bool(np.array_equal(found.ids, np.flatnonzero(reach)))),
        "right numbers": comm.allgather(bool(np.array_equal(numbers, found.ids))),
    }


if __name__ == "__main__":
    for word in (word for word in sys.argv[1:] if not word.startswith("-")):
        name, *arguments = word.split(",")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = globals()[name](*arguments)
        if rank == 0:
            print(json.dumps(result), flush=True)
