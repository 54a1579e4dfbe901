"""Measured plans, kept on disk: a training that was killed while measuring goes on where it was."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from safetensors import SafetensorError, safe_open
from scipy import sparse

from neuprecond.errors import WeightsError
from neuprecond.training.batches import draw_problem, ingredients
from neuprecond.training.output import progress_bar
from neuprecond.training.ranks import World
from neuprecond.training.recipes import Recipe
from neuprecond.zoo.atomic import write_tensors

__all__ = ["Labels", "measured", "measured_labels"]


@dataclass(frozen=True)
class Labels:
    """What a pick is trained on.

    Attributes
    ----------
    statistics : ndarray, shape (problems, statistics)
    costs : ndarray, shape (problems, plans)
        Logarithms.
    seconds : float
        Spent on measuring, over all resumes.
    """

    statistics: np.ndarray
    costs: np.ndarray
    seconds: float


def measured_labels(
    recipe: Recipe,
    folder: Path,
    key: str,
    measure: Callable[[sparse.csr_array, np.ndarray], tuple[np.ndarray, np.ndarray]],
    *,
    seed: int,
    after: int,
    resume: bool,
    console: Console,
    world: World,
) -> Labels:
    """Measure all plans on the recipe's labelled problems. Collective.

    Parameters
    ----------
    recipe : Recipe
        Its mix and its number of labels.
    folder : Path
        Gets NAME.labels, written again as results come in; process 0 alone need be able to read and
        write there.
    key : str
        What decides on the results: a file with another key is not gone on from.
    measure : callable
        Gives statistics and plan costs of a matrix and a right-hand side.
    seed : int
        Decides on the problems.
    after : int
        Number of the training split's problem before the first labelled one's.
    resume : bool
        Go on from the file in the folder.
    console : Console
        Where progress goes.
    world : World
        The processes that measure.

    Returns
    -------
    Labels

    Raises
    ------
    WeightsError
        If the file is damaged.
    """
    parts = ingredients(recipe, recipe.labels, np.random.default_rng([seed, 4]), labels=True)

    def one(number: int) -> tuple[np.ndarray, np.ndarray]:
        part, own = parts[number], np.random.default_rng([seed, 5, number])
        problem = draw_problem(part, "train", after + number, own, part.label_sizes).problem
        return measure(problem.A, problem.b)

    path = folder / f"{recipe.name}.labels"
    return measured(path, key, one, len(parts), resume=resume, console=console, world=world)


def measured(
    path: Path,
    key: str,
    one: Callable[[int], tuple[np.ndarray, np.ndarray]],
    count: int,
    *,
    resume: bool,
    console: Console,
    world: World,
) -> Labels:
    """Measure all plans on numbered problems. Collective.

    Parameters
    ----------
    path : Path
        File of results, written again as they come in.
    key : str
        What decides on the results.
    one : callable
        Gives statistics and plan costs of a problem, by its number.
    count : int
        Problems.
    resume, console, world
        As for `measured_labels`.

    Returns
    -------
    Labels
    """
    clock = time.perf_counter()
    found = _read(path, key) if resume and world.rank == 0 else ([], [], 0.0)
    statistics, costs, before = world.from_first(found)
    with progress_bar(console) as bar:
        task = bar.add_task("measuring plans", total=count, completed=len(costs))

        def shown(number: int) -> tuple[np.ndarray, np.ndarray]:
            bar.advance(task, world.size)
            return one(number)

        for results in world.results(len(costs), count, shown):
            for x, cost in results:
                statistics.append(x)
                costs.append(cost)
            if world.rank == 0:
                arrays = {"statistics": np.array(statistics), "costs": np.array(costs)}
                arrays["seconds"] = np.array([before + time.perf_counter() - clock])
                write_tensors(path, arrays, {"key": key})
    seconds = before + time.perf_counter() - clock
    return Labels(np.array(statistics), np.array(costs), seconds)


def _read(path: Path, key: str) -> tuple[list[np.ndarray], list[np.ndarray], float]:
    """Statistics, plan costs and seconds spent; empty where there are none for this key."""
    if not path.exists():
        return [], [], 0.0
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("key") != key:
                return [], [], 0.0
            # Earlier versions did not always write it.
            seconds = float(file.get_tensor("seconds")[0]) if "seconds" in file.keys() else 0.0
            return list(file.get_tensor("statistics")), list(file.get_tensor("costs")), seconds
    except SafetensorError as error:
        raise WeightsError(f"{path} cannot be read ({error}); delete it to measure anew.") from None
