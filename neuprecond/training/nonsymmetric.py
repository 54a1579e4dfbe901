"""Training of the nonsymmetric kind: its pick, from plans that were all measured by GMRES."""

import json
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from neuprecond.classical import precondition
from neuprecond.krylov import solve
from neuprecond.nonsymmetric import FLOW_PLANS, build_two_sided, flow_statistics, reduce_flow
from neuprecond.training.batches import draw_problem
from neuprecond.training.labels import measured_labels
from neuprecond.training.measure import fractional
from neuprecond.training.output import Check, progress_bar, provenance, write_model
from neuprecond.training.pick import DENSITY_SHARE, WORST, fit_pick, plan_cost
from neuprecond.training.ranks import World
from neuprecond.training.recipes import Recipe
from neuprecond.zoo.model import pick_plan

__all__ = ["gmres_count", "measure_flow_plans", "train_pick"]

# What a person would try on such a matrix.
RIVALS = ("ilu", "sa-nonsymmetric", "air")
CAP = 150


def gmres_count(A: sparse.csr_array, b: np.ndarray, M: LinearOperator, *, cap: int = CAP) -> float:
    """GMRES iterations to a relative residual of 1e-8, the last one in part.

    Parameters
    ----------
    A : csr_array, shape (n, n)
    b : ndarray, shape (n,)
        Not zero.
    M : LinearOperator, shape (n, n)
        Preconditioner.
    cap : int
        Iterations after which the count is the cap.

    Examples
    --------
    >>> A = sparse.csr_array(np.diag([1.0, 2.0, 3.0]))
    >>> 2.0 < gmres_count(A, np.ones(3), sparse.linalg.aslinearoperator(np.eye(3))) <= 3.0
    True
    """
    record = solve(A, b, M=M, method="gmres", maxiter=cap)
    if not record.converged:
        return float(cap)
    return fractional(record.history, cap)


def measure_flow_plans(A: sparse.csr_array, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Statistics of A and the cost of each plan.

    Returns
    -------
    statistics : ndarray, shape (len(FLOW_STATISTICS),)
    costs : ndarray, shape (len(FLOW_PLANS),)
        In the order of `FLOW_PLANS`.
    """
    statistics = flow_statistics(reduce_flow(A).A)
    costs: list[float] = []
    for plan in FLOW_PLANS:
        M = build_two_sided(A, plan)
        cap = CAP if not costs else int(np.exp(min(costs) + WORST)) + 10
        costs.append(plan_cost(gmres_count(A, b, M, cap=min(cap, CAP)), M.density))
    return statistics, np.array(costs)


def train_pick(
    recipe: Recipe,
    folder: Path,
    *,
    seed: int,
    resume: bool,
    console: Console,
    world: World,
) -> Path:
    """Measure plans, fit the pick, validate it, and write weights and card.

    Parameters
    ----------
    recipe : Recipe
        Of kind "nonsymmetric".
    folder : Path
        Gets NAME.safetensors, NAME.toml, and NAME.labels on the way.
    seed : int
        Decides on everything that is drawn.
    resume : bool
        Go on from the labels in the folder.
    console : Console
        Where progress goes.
    world : World
        The processes that measure.

    Returns
    -------
    Path
        Of the weights file.
    """
    labels = measured_labels(
        recipe,
        folder,
        json.dumps([recipe.labels, seed, list(FLOW_PLANS), DENSITY_SHARE]),
        measure_flow_plans,
        seed=seed,
        after=0,
        resume=resume,
        console=console,
        world=world,
    )
    clock = time.perf_counter()
    if world.rank > 0:
        # The rest is a minute's work of process 0.
        return world.from_first(folder)
    pick, figures = fit_pick(labels.statistics, labels.costs, seed=seed)
    regret = np.minimum(labels.costs - labels.costs.min(axis=1, keepdims=True), WORST)
    pick["cost"] = regret.mean(axis=0).astype(np.float32)
    tensors = {f"pick.{name}": value for name, value in pick.items()}

    single = list(FLOW_PLANS)[int(pick["cost"].argmin())]
    checks: list[Check] = []
    counts: list[float] = []
    rng = np.random.default_rng([seed, 2])
    with progress_bar(console) as bar:
        checked = [part for part in recipe.mix for _ in range(4)]
        for number, part in bar.track(list(enumerate(checked)), description="validation problems"):
            size = (part.validation_size, part.validation_size)
            problem = draw_problem(part, "validation", number, rng, size).problem
            A, b = problem.A, problem.b
            learned = build_two_sided(
                A,
                lambda left: pick_plan(pick, flow_statistics(left.A, order=left.order), FLOW_PLANS),
            )
            twin = build_two_sided(A, single)
            classical = min(gmres_count(A, b, precondition(name, A)) for name in RIVALS)
            counts.append(gmres_count(A, b, learned))
            checks.append(Check(part.family, A.shape[0], gmres_count(A, b, twin), classical))
    weights = write_model(
        recipe,
        folder,
        tensors,
        checks,
        counts,
        network={},
        training={
            "seed": seed,
            "problems": recipe.labels,
            "seconds": round(labels.seconds + time.perf_counter() - clock),
            **provenance("cpu", world),
        },
        sizes=[part.label_sizes for part in recipe.mix],
        rivals=RIVALS,
        facts={"twin_plan": single, "pick": figures},
    )
    return world.from_first(weights)
