"""The training loop: batches, steps, validations by iteration count, checkpoints, the card."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from rich.console import Console
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from neuprecond.classical import precondition
from neuprecond.errors import NotDefiniteError, WeightsError
from neuprecond.inference import level_network
from neuprecond.multilevel import PLANS, Plan, build_cycle, learns_on
from neuprecond.spai import build_factored
from neuprecond.training import multilevel, spai
from neuprecond.training.batches import draw_problem, draw_size, ingredients
from neuprecond.training.checkpoints import Progress as State
from neuprecond.training.checkpoints import load_checkpoint, save_checkpoint
from neuprecond.training.labels import Labels, measured_labels
from neuprecond.training.measure import CAP, fractional_count
from neuprecond.training.nonsymmetric import train_pick
from neuprecond.training.output import Check, progress_bar, provenance, write_model
from neuprecond.training.pick import DENSITY_SHARE, fit_pick, measure_plans
from neuprecond.training.ranks import World, joined
from neuprecond.training.recipes import Recipe

__all__ = ["KINDS", "Learned", "Own", "checked", "learn", "rivals", "train", "validate"]

# A plan is trained on where its cost is within this factor (as a logarithm) of the best plan's.
WORTH_TRAINING = 0.3
# Right-hand sides a sample, out of those it carries.
COLUMNS, VECTORS = 4, 16
# Shares of what was learned that a cautious recipe tries.
SHARES = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.0)
# Share of the steps over which the learning rate rises.
WARM_UP = 0.15


class Kind(Protocol):
    """What the loop needs of a kind of model; ``module`` makes networks and losses."""

    module: Any

    def sample(
        self, A: sparse.csr_array, b: np.ndarray, rng: np.random.Generator, *, descend: bool
    ) -> Any:
        """A training sample of A or of its first coarse matrix, or None where A gives none."""

    def operators(
        self, A: sparse.csr_array, b: np.ndarray, net: Any
    ) -> tuple[Callable[[], LinearOperator], LinearOperator]:
        """What builds the learned M of a validation problem, and its twin."""


class _Multilevel:
    module: Any = multilevel

    def sample(
        self, A: sparse.csr_array, b: np.ndarray, rng: np.random.Generator, *, descend: bool
    ) -> Any:
        _, costs = measure_plans(A, b)
        # Values are learned on aggregates, beside the smoother that has a say in them.
        learned_with = np.array(
            [
                plan.smoother == "chebyshev" and any(learns_on(base) for base in plan.bases)
                for plan in PLANS.values()
            ]
        )
        least = costs[learned_with].min()
        good = np.flatnonzero(learned_with & (costs <= least + WORTH_TRAINING))
        plan = list(PLANS.values())[rng.choice(good)]
        return multilevel.prepare(A, plan, rng, vectors=VECTORS, descend=descend)

    def operators(
        self, A: sparse.csr_array, b: np.ndarray, net: Any
    ) -> tuple[Callable[[], LinearOperator], LinearOperator]:
        _, costs = measure_plans(A, b)
        plan: Plan = list(PLANS.values())[int(costs.argmin())]
        values = multilevel.evaluate(net)
        return (lambda: build_cycle(A, values, plan=plan)), build_cycle(A, None, plan=plan)


class _Spai:
    module: Any = spai

    def sample(
        self, A: sparse.csr_array, b: np.ndarray, rng: np.random.Generator, *, descend: bool
    ) -> Any:
        return spai.prepare(A, rng, vectors=VECTORS)

    def operators(
        self, A: sparse.csr_array, b: np.ndarray, net: Any
    ) -> tuple[Callable[[], LinearOperator], LinearOperator]:
        values = spai.evaluate(net)
        return (lambda: build_factored(A, values)), build_factored(A, None)


KINDS: dict[str, Kind] = {"multilevel": _Multilevel(), "spai": _Spai()}

#: A validation problem of this process: A, b and what builds the learned M.
Own = tuple[sparse.csr_array, np.ndarray, Callable[[], LinearOperator]]


def _rate(recipe: Recipe, step: int) -> float:
    """One cycle: a cosine up to the rate, a cosine down to nothing; depends on the step alone."""
    rise = max(1.0, WARM_UP * recipe.steps)
    if step < rise:
        return recipe.rate * (0.04 + 0.96 * 0.5 * (1 - np.cos(np.pi * step / rise)))
    share = (step - rise) / max(recipe.steps - rise, 1)
    return recipe.rate * max(0.5 * (1 + np.cos(np.pi * share)), 1e-4)


def _pool(recipe: Recipe, seed: int, console: Console, world: World) -> list[Any]:
    """The samples to train on; each process makes its share, all get all of them."""
    parts = ingredients(recipe, recipe.pool, np.random.default_rng([seed, 1]))
    kind, own = KINDS[recipe.kind], []
    with progress_bar(console) as bar:
        for number in bar.track(world.mine(len(parts)), description="drawing problems"):
            part, rng = parts[number], np.random.default_rng([seed, 7, number])
            descend = rng.random() < recipe.coarse_share
            sizes = part.coarse_sizes if descend else part.sizes
            problem = draw_problem(part, "train", number, rng, sizes).problem
            own.append(kind.sample(problem.A, problem.b, rng, descend=descend))
    return [sample for sample in world.gathered(own, len(parts)) if sample is not None]


def _checks(
    recipe: Recipe, seed: int, net: torch.nn.Module, console: Console, world: World
) -> tuple[list[Check], list[Own]]:
    """All validation problems, and those that this process solves."""
    rng = np.random.default_rng([seed, 2])
    checks: list[Check] = []
    own: list[Own] = []
    parts = [part for part in recipe.mix for _ in range(2)]
    with progress_bar(console) as bar:
        for number in bar.track(world.mine(len(parts)), description="validation problems"):
            part = parts[number]
            size = (part.validation_size, part.validation_size)
            problem = draw_problem(part, "validation", number, rng, size).problem
            check, solved = checked(recipe, part.family, problem.A, problem.b, net)
            checks.append(check)
            own.append(solved)
    return world.gathered(checks, len(parts)), own


def checked(
    recipe: Recipe, family: str, A: sparse.csr_array, b: np.ndarray, net: torch.nn.Module
) -> tuple[Check, Own]:
    """A validation problem: what the others take on it, and how to see what the network takes."""
    learned, twin = KINDS[recipe.kind].operators(A, b, net)
    classical = min(_rival_count(A, b, name) for name in rivals(recipe))
    return Check(family, A.shape[0], fractional_count(A, b, twin), classical), (A, b, learned)


def _rival_count(A: sparse.csr_array, b: np.ndarray, name: str) -> float:
    """Iterations with a classical M; the cap where it cannot be made."""
    try:
        return fractional_count(A, b, precondition(name, A))
    except ValueError:
        return float(CAP)


def rivals(recipe: Recipe) -> tuple[str, ...]:
    """Classical methods of which a validation problem's best is shown."""
    return ("sa08", "rs") if recipe.kind == "multilevel" else ("ic0", "fsai")


def validate(checks: list[Check], own: list[Own], world: World) -> tuple[float, np.ndarray]:
    """Geometric mean of learned over twin, with the worst problem counted once more; all counts."""
    solved = [fractional_count(A, b, learned()) for A, b, learned in own]
    counts = np.array(world.gathered(solved, len(checks)))
    logs = np.log(counts / np.array([c.twin for c in checks]))
    return float(np.exp(logs.mean() + max(logs.max(), 0.0) / 4)), counts


def train(
    recipe: Recipe,
    folder: Path,
    *,
    seed: int = 1,
    device: str = "auto",
    resume: bool = False,
    console: Console | None = None,
) -> Path:
    """Train a model and write its weights and card.

    Started by torchrun, the processes share the work and end with the weights that one would have:
    a batch is split among them, and its gradients are added in the batch's order.

    Parameters
    ----------
    recipe : Recipe
        What to train, on what, for how long.
    folder : Path
        Gets ``NAME.safetensors`` and ``NAME.toml`` at the end, and ``NAME.checkpoint`` and
        ``NAME.labels`` on the way.
    seed : int
        Decides on everything that is drawn.
    device : str
        "cpu", "cuda", or "auto" for a GPU if there is one. The network runs there; the cycle's
        sparse products run on the CPU.
    resume : bool
        Go on from the checkpoint in the folder, if there is one.
    console : rich Console, optional
        Where progress goes.

    Returns
    -------
    Path
        Of the weights file.

    Raises
    ------
    WeightsError
        If the checkpoint is damaged or of another recipe.
    """
    console = console or Console(stderr=True)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    world = joined(device)
    if world.rank > 0:
        console = Console(quiet=True)
    if recipe.kind == "nonsymmetric":
        return train_pick(recipe, folder, seed=seed, resume=resume, console=console, world=world)
    return _train(recipe, folder, seed, device, resume, console, world)


def _train(
    recipe: Recipe,
    folder: Path,
    seed: int,
    device: str,
    resume: bool,
    console: Console,
    world: World,
) -> Path:
    """`train`, by one of the processes."""
    module = KINDS[recipe.kind].module
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = module.network(width=recipe.width, rounds=recipe.rounds).to(world.device)
    learned = learn(
        recipe,
        net,
        folder / f"{recipe.name}.checkpoint",
        json.dumps([_of_steps(recipe), seed], sort_keys=True),
        lambda: _pool(recipe, seed, console, world),
        lambda: _checks(recipe, seed, net, console, world),
        seed=seed,
        resume=resume,
        console=console,
        world=world,
    )
    checks, own = learned.checks, learned.own
    share = _shrink(recipe, seed, net, console, world) if recipe.cautious else 1.0
    _, counts = validate(checks, own, world)
    tensors = {f"values.{key}": value.cpu().numpy() for key, value in net.state_dict().items()}
    figures: dict[str, float] = {}
    earlier = 0.0
    if recipe.labels:
        clock = time.perf_counter()
        weights = {key: value.cpu().numpy() for key, value in net.state_dict().items()}
        labels = _labels(recipe, seed, weights, folder, console, world)
        # What a run before this one measured took its time too.
        earlier = labels.seconds - (time.perf_counter() - clock)
        pick, figures = fit_pick(labels.statistics, labels.costs, seed=seed)
        tensors |= {f"pick.{key}": value for key, value in pick.items()}
    path = folder / f"{recipe.name}.safetensors"
    if world.rank == 0:
        write_model(
            recipe,
            folder,
            tensors,
            checks,
            counts,
            network={"width": recipe.width, "rounds": recipe.rounds},
            training={
                "seed": seed,
                "steps": recipe.steps,
                "seconds": round(time.perf_counter() - learned.clock + earlier),
                **provenance(device, world),
                "history": learned.history,
            },
            sizes=[part.sizes for part in recipe.mix],
            rivals=rivals(recipe),
            facts={"share": share, "pick": figures},
        )
    # Nobody says that the file is there before it is.
    return world.from_first(path)


@dataclass(frozen=True)
class Learned:
    """What is left of the steps, besides the weights.

    Attributes
    ----------
    checks : list of Check
        The validation problems.
    own : list
        What of them this process solves.
    best : float
        Smallest validation ratio.
    history : list of [step, loss, ratio]
        One entry a validation.
    clock : float
        When it would have begun, had it not been interrupted.
    """

    checks: list[Check]
    own: list[Own]
    best: float
    history: list[list[float]]
    clock: float


def learn(
    recipe: Recipe,
    net: torch.nn.Module,
    checkpoint: Path,
    fingerprint: str,
    pool: Callable[[], list[Any]],
    checks: Callable[[], tuple[list[Check], list[Own]]],
    *,
    seed: int,
    resume: bool,
    console: Console,
    world: World,
    start_counts: bool = False,
) -> Learned:
    """Take the recipe's steps and leave the network with the weights that validated best.

    Parameters
    ----------
    recipe : Recipe
        Steps, batch, rate, and what the loss looks at; its mix is not looked at.
    net : Module
        With the weights to start from.
    checkpoint : Path
        File that is gone on from and written at every validation.
    fingerprint : str
        What decides on the weights: a checkpoint with another one is refused.
    pool, checks : callable
        Give the samples to train on, and the validation problems with those that this process
        solves; the first is not called where no step is left.
    seed : int
        Decides on the batches.
    resume : bool
        Go on from the checkpoint, if there is one.
    console : Console
        Where progress goes.
    world : World
        The processes that share the work.
    start_counts : bool
        The weights at the start are validated too, and kept where no step improves on them.

    Returns
    -------
    Learned
    """
    optimiser = torch.optim.Adam(net.parameters(), lr=recipe.rate)
    best = {key: value.clone() for key, value in net.state_dict().items()}
    state = State()
    if resume:
        best, state = _resumed(checkpoint, net, optimiser, best, fingerprint, world)
    if state.step > 0:
        console.print(f"going on from step {state.step} of {recipe.steps}")
    clock = time.perf_counter() - state.seconds
    samples = pool() if state.step < recipe.steps else []
    problems, own = checks()
    if start_counts and state.step == 0:
        state.best, _ = validate(problems, own, world)
        console.print(f"before the first step: learned / twin {state.best:.4f}")

    def save_state() -> None:
        state.seconds = time.perf_counter() - clock
        if world.rank == 0:
            save_checkpoint(checkpoint, net, optimiser, best, state, recipe=fingerprint)

    losses: list[float] = []
    with progress_bar(console) as bar:
        task = bar.add_task("training", total=recipe.steps, completed=state.step)
        while state.step < recipe.steps:
            losses.append(_step(recipe, net, optimiser, samples, seed, state.step, world))
            state.step += 1
            bar.update(task, completed=state.step)
            if state.step % recipe.every == 0 or state.step == recipe.steps:
                ratio, _ = validate(problems, own, world)
                state.history.append([state.step, float(np.mean(losses)), ratio])
                if ratio < state.best:
                    state.best = ratio
                    best = {key: value.clone() for key, value in net.state_dict().items()}
                bar.console.print(
                    f"step {state.step}: loss {np.mean(losses):.4f}, validation iterations "
                    f"learned / twin {ratio:.4f} (best {state.best:.4f}), "
                    f"{time.perf_counter() - clock:.0f} s"
                )
                losses = []
                save_state()
    net.load_state_dict(best)
    return Learned(problems, own, state.best, state.history, clock)


def _resumed(
    checkpoint: Path,
    net: torch.nn.Module,
    optimiser: torch.optim.Adam,
    best: dict[str, torch.Tensor],
    fingerprint: str,
    world: World,
) -> tuple[dict[str, torch.Tensor], State]:
    """Put all processes where the checkpoint was, which process 0 alone need be able to read."""
    state, error = State(), None
    if world.rank == 0 and checkpoint.exists():
        try:
            best, state = load_checkpoint(checkpoint, net, optimiser, recipe=fingerprint)
        except WeightsError as caught:
            error = caught
    error = world.from_first(error)
    if error is not None:
        raise error
    if world.size > 1:
        parts = (net.state_dict(), optimiser.state_dict(), best, state)
        on_cpu = _moved(parts, "cpu")
        weights, moments, best, state = _moved(world.from_first(on_cpu), world.device)
        net.load_state_dict(weights)
        optimiser.load_state_dict(moments)
    return best, state


def _moved(thing: Any, device: str) -> Any:
    """Nested dicts, lists and tuples with their tensors on a device."""
    if isinstance(thing, torch.Tensor):
        return thing.detach().to(device)
    if isinstance(thing, dict):
        return {key: _moved(value, device) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return type(thing)(_moved(value, device) for value in thing)
    return thing


def _shrink(recipe: Recipe, seed: int, net: Any, console: Console, world: World) -> float:
    """Scale the last layers until no small validation problem needs more steps than its twin.

    Returns
    -------
    float
        The share of the network's outputs that is left, the largest of `SHARES` that will do.
    """
    rng = np.random.default_rng([seed, 6])
    kind, problems = KINDS[recipe.kind], []
    with progress_bar(console) as bar:
        parts = [part for part in recipe.mix for _ in range(recipe.cautious)]
        for number, part in bar.track(list(enumerate(parts)), description="twin's iterations"):
            if number not in world.mine(len(parts)):
                draw_size(part.label_sizes, rng)
                continue
            # Behind the problems that checkpoints are chosen by.
            after = 2 * len(recipe.mix) + number
            problem = draw_problem(part, "validation", after, rng, part.label_sizes).problem
            learned, twin = kind.operators(problem.A, problem.b, net)
            steps = np.ceil(fractional_count(problem.A, problem.b, twin))
            problems.append((problem.A, problem.b, learned, steps))
    last: list[torch.nn.Linear] = [net.smoother_out, net.entry_out]
    whole = [(layer.weight.detach().clone(), layer.bias.detach().clone()) for layer in last]
    for share in SHARES:
        with torch.no_grad():
            for layer, (weight, bias) in zip(last, whole, strict=True):
                layer.weight.copy_(share * weight)
                layer.bias.copy_(share * bias)
        own = [
            bool(np.ceil(fractional_count(A, b, learned())) > steps)
            for A, b, learned, steps in problems
        ]
        worse = sum(world.gathered(own, len(parts)))
        console.print(f"share {share} of what was learned: worse on {worse} of {len(parts)}")
        if worse == 0:
            break
    return share


def _step(
    recipe: Recipe,
    net: torch.nn.Module,
    optimiser: torch.optim.Adam,
    pool: list[Any],
    seed: int,
    step: int,
    world: World,
) -> float:
    """One optimiser step on a batch that depends on seed and step alone; its loss."""
    rng = np.random.default_rng([seed, 3, step])
    for group in optimiser.param_groups:
        group["lr"] = _rate(recipe, step)
    batch = [
        (pool[number], rng.choice(VECTORS, COLUMNS, replace=False))
        for number in rng.integers(len(pool), size=recipe.batch)
    ]
    own = [_gradient(recipe, net, *batch[k]) for k in world.mine(len(batch))]
    parameters = list(net.parameters())
    width = 1 + sum(parameter.numel() for parameter in parameters)
    # Every process adds the same numbers in the same order, so that however many there are, the sum
    # is the same to the last bit; a sum by pairs of processes would not be.
    total, gradient = 0.0, None
    for row in world.gathered_rows(own, len(batch), width):
        if torch.isfinite(row[0]):
            total += float(row[0]) / recipe.batch
            part = row[1:].to(parameters[0].dtype)
            gradient = part if gradient is None else gradient + part
    optimiser.zero_grad()
    if gradient is not None:
        start = 0
        for parameter in parameters:
            stop = start + parameter.numel()
            parameter.grad = gradient[start:stop].view_as(parameter).clone()
            start = stop
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    return total


def _gradient(
    recipe: Recipe, net: torch.nn.Module, sample: Any, columns: np.ndarray
) -> torch.Tensor:
    """A sample's loss and its share of the batch's gradient, in float64; NaN where it has none."""
    parameters = list(net.parameters())
    try:
        loss = KINDS[recipe.kind].module.loss(net, sample, columns, steps=recipe.pcg_steps)
    except (torch.linalg.LinAlgError, NotDefiniteError):
        # A coarse matrix came out singular, on a network with hubs for example.
        loss = torch.tensor(torch.nan)
    device = parameters[0].device
    # A sample whose cycle broke down teaches nothing: it is left out of its step.
    if not torch.isfinite(loss):
        width = 1 + sum(parameter.numel() for parameter in parameters)
        return torch.full((width,), torch.nan, dtype=torch.float64, device=device)
    gradients = torch.autograd.grad(
        loss / recipe.batch, parameters, allow_unused=True, materialize_grads=True
    )
    parts = [loss.detach().reshape(1).to(device), *(g.reshape(-1) for g in gradients)]
    return torch.cat([part.double() for part in parts])


def _of_steps(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides on values: all but what plans are measured on.

    A training is gone on from where only that has changed.
    """
    facts = asdict(recipe)
    for name in ("labels", "labelled"):
        del facts[name]
    for part in facts["mix"]:
        for name in ("label_sizes", "label_weight"):
            del part[name]
    return facts


def _of_labels(recipe: Recipe) -> list[Any]:
    """What of a recipe decides on the labelled problems."""
    parts = [
        [part.family, part.share(labels=True), part.label_sizes, part.parameters]
        for part in (*recipe.mix, *recipe.labelled)
    ]
    return [recipe.labels, recipe.pool, parts]


def _labels(
    recipe: Recipe,
    seed: int,
    weights: dict[str, np.ndarray],
    folder: Path,
    console: Console,
    world: World,
) -> Labels:
    """Statistics and plan costs of the labelled problems, with the values just learned."""
    values = level_network(weights)
    digest = hashlib.sha256(b"".join(weights[name].tobytes() for name in sorted(weights)))
    return measured_labels(
        recipe,
        folder,
        json.dumps([_of_labels(recipe), seed, list(PLANS), DENSITY_SHARE, digest.hexdigest()]),
        lambda A, b: measure_plans(A, b, values),
        seed=seed,
        # Behind the pool's problems, so that none is seen twice.
        after=recipe.pool,
        # The key tells whether a file is of these values.
        resume=True,
        console=console,
        world=world,
    )
