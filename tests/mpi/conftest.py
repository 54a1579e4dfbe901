"""How a job is started: by mpirun, with a time limit that no hang survives."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Done:
    """What mpirun left."""

    code: int
    out: str
    err: str

    @property
    def results(self):
        assert self.code == 0, self.out + self.err
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]


def start(ranks, *words, limit=400, petsc=None, options=(), script=HERE / "jobs.py"):
    """Run a job of jobs.py, or another program; fails where the time limit ends it."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        # Ranks share two cores: one that waits must give way.
        "OMPI_MCA_mpi_yield_when_idle": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
    }
    if petsc is not None:
        environment["PETSC_DIR"] = petsc
    command = ["mpirun", "-n", str(ranks), sys.executable, *options, str(script)]
    command += map(str, words)
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"{' '.join(command)} did not end in {limit} s\n{out}\n{err}")
    return Done(process.returncode, out, err)


@pytest.fixture(scope="session")
def mpirun():
    """Run a job, whatever it leaves."""
    return start


@pytest.fixture(scope="session")
def builds():
    """Where the builds of PETSc are, by name; `scripts/install-mpi.sh` writes the list."""
    listed = (Path(sys.prefix) / "petsc-builds").read_text(encoding="utf-8")
    return dict(line.split(maxsplit=1) for line in listed.splitlines())


# Starting ranks takes longer than most jobs: all those of a number of ranks run in one go.
LEVELS = (
    "several_levels,poisson2d,100",
    "several_levels,lognormal,70",
    "several_levels,twophase,100",
    "several_levels,anisotropic,60",
    "several_levels,poisson3d,16",
    "several_levels,elasticity2d,30",
    "several_levels,delaunay,3000",
)
JOBS = {
    1: ("one_level,heat,40", "one_level,dominant,900", *LEVELS),
    2: (
        "one_level,heat,40",
        "one_level,dominant,900",
        *LEVELS,
        "shallow,40",
        "by_options,heat,24,heat",
        "by_options,poisson2d,40,diffusion2d",
        "anew",
        "page",
        "remarks",
        "several_at_once,50",
        "zeros,60",
        "memory,poisson2d,100,diffusion2d",
        "memory,elasticity2d,60,diffusion2d",
        "memory,heat,100,heat",
    ),
    3: (
        "empty_ranks,heat,24,heat",
        "empty_ranks,poisson2d,40,diffusion2d",
        "empty_with_modes,30",
        "refusals",
        "faults",
        "degenerate",
        "shown",
        "near_null,30",
        "auto",
    ),
    4: (
        "one_level,heat,40",
        "one_level,dominant,900",
        *LEVELS,
        "halo,300,1",
        "halo,300,3",
        "deeper,lognormal,60,sa5-w",
        "deeper,poisson2d,60,sa",
        "deeper,anisotropic,60,sa5",
        "deeper,delaunay,9000,sa3-w",
        "statistics,lognormal,80",
        "statistics,delaunay,900",
        "apart,50",
    ),
}


@pytest.fixture(scope="session")
def job():
    """Look up what a job of `JOBS` gave."""
    done = {}

    def result(ranks, *words):
        if ranks not in done:
            done[ranks] = start(ranks, *JOBS[ranks]).results
        return done[ranks][JOBS[ranks].index(",".join(map(str, words)))]

    return result
