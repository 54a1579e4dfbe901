"""The inversion study: can a network learn A ↦ A⁻¹? Small dense matrices, apart from the solvers.

It tests the thesis that networks cannot invert matrices in general, for inversion is unbounded, but
can on restricted sets. It does not reproduce anyone's experiments. Needs torch (extra ``train``).
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["StudyRow", "experiments", "read_study", "run_study", "write_study"]

#: What the networks do with the pole.
NETWORKS = ("plain", "scaled", "newton", "newton, untrained")
NEWTON_STEPS = 6
TEST = 2000


@dataclass(frozen=True)
class StudyRow:
    """A network trained on one set of matrices and tested on others of the same set.

    Attributes
    ----------
    experiment : {"κ cap", "ball"}
        All matrices with ‖A‖ = 1 and κ up to a cap, or A0 + E with ‖E‖ = radius · σmin(A0).
    n : int
        Rows.
    matrices : {"general", "SPD"}
        Which.
    network : str
        "plain" outputs A⁻¹; "scaled" has the rows' sizes (the diagonal, for SPD) divided out;
        "newton" has six Newton–Schulz steps behind that; "newton, untrained" has no network.
    difficulty : float
        The cap, or the radius over σmin.
    error, worst : float
        Median and 95th percentile of ‖X − A⁻¹‖ / ‖A⁻¹‖, Frobenius, on 2000 unseen matrices.
    share : float
        Of them with ‖I − XA‖₂ < 1.
    departure : float
        Median ‖I − XA‖₂.
    budget : float
        Median of the norm budget 1 − σmin‖X‖, below which ‖I − XA‖₂ cannot be.
    lipschitz : float
        What the inverse needs on the set: sup 1/σmin², infinite where the set holds a singular
        matrix.
    measured : float
        Largest ‖X(A + εE) − X(A)‖ / ‖εE‖ seen.
    seconds : float
        Of the training.
    """

    experiment: str
    n: int
    matrices: str
    network: str
    difficulty: float
    error: float
    worst: float
    share: float
    departure: float
    budget: float
    lipschitz: float
    measured: float
    seconds: float


@dataclass(frozen=True)
class Experiment:
    """A set of matrices and a network.

    Attributes
    ----------
    kind, n, matrices, network, difficulty
        As in `StudyRow`.
    steps : int
        Of the training.
    """

    kind: str
    n: int
    matrices: str
    network: str
    difficulty: float
    steps: int


def experiments(*, small: bool = False) -> list[Experiment]:
    """List the experiments of the study.

    Parameters
    ----------
    small : bool
        3 × 3 only, the ends of the sweeps, short trainings.

    Examples
    --------
    >>> len(experiments(small=True)) < len(experiments())
    True
    """
    sizes, steps = ((3,), 200) if small else ((3, 8, 16), 1000)
    caps = (1.5, 100.0) if small else (1.5, 3.0, 10.0, 30.0, 100.0, 1000.0)
    radii = (0.05, 3.0) if small else (0.05, 0.2, 0.5, 0.8, 1.0, 1.3, 2.0, 3.0)
    found = [
        Experiment("κ cap", n, matrices, network, cap, steps)
        for n in sizes
        for matrices in ("general", "SPD")
        for network in NETWORKS
        for cap in caps
    ]
    found += [
        Experiment("ball", n, "general", network, radius, steps)
        for n in sizes[:2]
        for network in NETWORKS
        for radius in radii
    ]
    return found


def run_study(
    *, small: bool = False, seed: int = 5309, progress: Callable[[int, int], None] | None = None
) -> Iterator[StudyRow]:
    """Train and test every network of the study.

    Parameters
    ----------
    small : bool
        As in `experiments`.
    seed : int
        Decides on everything that is drawn.
    progress : callable or None
        Called with how many are done and how many there are.

    Yields
    ------
    StudyRow

    Raises
    ------
    ModuleNotFoundError
        If torch is missing.
    """
    wanted = experiments(small=small)
    for k, experiment in enumerate(wanted):
        if progress is not None:
            progress(k, len(wanted))
        yield _run(experiment, seed)
    if progress is not None:
        progress(len(wanted), len(wanted))


def write_study(path: Path, rows: Sequence[StudyRow]) -> None:
    """Write the rows as CSV, at once."""
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(column.name for column in fields(StudyRow))
        for row in rows:
            writer.writerow(f"{v:.5g}" if isinstance(v, float) else v for v in astuple(row))
    partial.replace(path)


def read_study(path: Path) -> list[StudyRow]:
    """Read what `write_study` wrote; nothing if there is no such file."""
    if not path.exists():
        return []
    parse: dict[Any, Callable[[str], Any]] = {str: str, int: int, float: float}
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        return [
            StudyRow(**{c.name: parse[c.type](cells[c.name]) for c in fields(StudyRow)})
            for cells in table
        ]


def _run(experiment: Experiment, seed: int) -> StudyRow:
    import torch

    # A generator of its own: nothing touches torch's global seed but the weights' start, forked.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rng = torch.Generator().manual_seed(seed)
        draw = _ball(experiment, rng) if experiment.kind == "ball" else _capped(experiment, rng)
        net = _network(experiment)
        start = perf_counter()
        if experiment.network != "newton, untrained":
            _train(net, draw, experiment)
        seconds = perf_counter() - start
        with torch.no_grad():
            A, inverse = draw(TEST)
            X = net(A)
            probes = torch.randn(A.shape, generator=rng)
            # The probes keep to the kind of matrix that the network knows.
            if experiment.matrices == "SPD":
                probes = probes + probes.mT
            probes = 1e-3 * probes / torch.linalg.matrix_norm(probes)[:, None, None]
            moved = torch.linalg.matrix_norm(net(A + probes) - X) / 1e-3
            error = torch.linalg.matrix_norm(X - inverse) / torch.linalg.matrix_norm(inverse)
            left = torch.linalg.matrix_norm(torch.eye(experiment.n) - X @ A, ord=2)
            smallest = 1.0 / torch.linalg.matrix_norm(inverse, ord=2)
            budget = 1.0 - smallest * torch.linalg.matrix_norm(X, ord=2)
    if experiment.kind == "ball":
        inside = (1.0 - experiment.difficulty) * SMALLEST
        needed = 1.0 / inside**2 if inside > 0.0 else np.inf
    else:
        needed = experiment.difficulty**2
    return StudyRow(
        experiment=experiment.kind,
        n=experiment.n,
        matrices=experiment.matrices,
        network=experiment.network,
        difficulty=experiment.difficulty,
        error=float(error.median()),
        worst=float(error.quantile(0.95)),
        share=float((left < 1.0).float().mean()),
        departure=float(left.median()),
        budget=float(budget.median()),
        lipschitz=needed,
        measured=float(moved.max()),
        seconds=seconds,
    )


Draw = Callable[[int], "tuple[Tensor, Tensor]"]
# σmin of the centre of the ball, with ‖A0‖ = 1.
SMALLEST = 0.2


def _orthogonal(count: int, n: int, rng: Any) -> "Tensor":
    """Draw orthogonal matrices, uniformly."""
    import torch

    Q, R = torch.linalg.qr(torch.randn(count, n, n, generator=rng, dtype=torch.float64))
    return Q * torch.sign(torch.diagonal(R, dim1=-2, dim2=-1))[:, None, :]


def _capped(experiment: Experiment, rng: Any) -> Draw:
    """A = U Σ Vᵀ with ‖A‖ = 1, κ log-uniform up to the cap; V = U for SPD."""
    import torch

    def draw(count: int) -> "tuple[Tensor, Tensor]":
        n = experiment.n
        uniform = torch.rand(count, n, generator=rng, dtype=torch.float64)
        kappa = experiment.difficulty ** uniform[:, :1]
        sigma = kappa**-uniform
        sigma[:, :1], sigma[:, 1:2] = 1.0, 1.0 / kappa
        U = _orthogonal(count, n, rng)
        V = U if experiment.matrices == "SPD" else _orthogonal(count, n, rng)
        A = (U * sigma[:, None, :]) @ V.mT
        return A.float(), ((V / sigma[:, None, :]) @ U.mT).float()

    return draw


def _ball(experiment: Experiment, rng: Any) -> Draw:
    """A0 + E, E random with ‖E‖₂ = radius · σmin(A0)."""
    import torch

    n = experiment.n
    sigma = torch.logspace(0.0, float(np.log10(SMALLEST)), n, dtype=torch.float64)
    A0 = (_orthogonal(1, n, rng) * sigma) @ _orthogonal(1, n, rng).mT

    def draw(count: int) -> "tuple[Tensor, Tensor]":
        E = torch.randn(count, n, n, generator=rng, dtype=torch.float64)
        size = torch.linalg.matrix_norm(E, ord=2)[:, None, None]
        A = A0 + E * (experiment.difficulty * SMALLEST / size)
        return A.float(), torch.linalg.inv(A).float()

    return draw


def _network(experiment: Experiment) -> Any:
    """Three hidden layers of 128; around them what the experiment puts in by hand."""
    import torch
    from torch import nn

    n = experiment.n
    body = nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(n * n, 128), nn.GELU()),
        *(nn.Linear(128, 128), nn.GELU()),
        *(nn.Linear(128, 128), nn.GELU()),
        nn.Linear(128, n * n),
        nn.Unflatten(1, (n, n)),
    )
    spd = experiment.matrices == "SPD"
    newton = experiment.network.startswith("newton")
    if newton:
        last: Any = body[-2]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    class Inverter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, A: "Tensor") -> "Tensor":
            if experiment.network == "plain":
                return self.body(A)
            if spd:
                left = torch.diagonal(A, dim1=-2, dim2=-1).clamp_min(1e-12).rsqrt()
                right = left
            else:
                left = 1.0 / torch.linalg.vector_norm(A, dim=2).clamp_min(1e-12)
                right = torch.ones_like(left)
            scaled = left[:, :, None] * A * right[:, None, :]
            X = self.body(scaled)
            if newton:
                # ‖A‖₂² ≤ ‖A‖₁ ‖A‖∞, so that the steps converge where the network adds nothing.
                bound = scaled.abs().sum(1).amax(1) * scaled.abs().sum(2).amax(1)
                X = (scaled.mT + torch.tanh(X)) / bound[:, None, None]
                for _ in range(NEWTON_STEPS):
                    X = 2.0 * X - X @ scaled @ X
            return right[:, :, None] * X * left[:, None, :]

    return Inverter()


def _train(net: Any, draw: Draw, experiment: Experiment) -> None:
    """Adam on the mean relative error, batches of 256 from a pool."""
    import torch

    A, inverse = draw(20_000)
    size = torch.linalg.matrix_norm(inverse)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, experiment.steps)
    for _ in range(experiment.steps):
        rows = torch.randint(len(A), (256,))
        off = torch.linalg.matrix_norm(net(A[rows]) - inverse[rows]) / size[rows]
        # Newton's steps may run away in the first steps of the training; such matrices wait.
        loss = off.nan_to_num(10.0, 10.0, 10.0).clamp_max(10.0).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for parameter in net.parameters():
            parameter.grad.nan_to_num_(0.0, 0.0, 0.0)
        optimiser.step()
        schedule.step()
