"""Fine-tuning: a packaged model's values and pick, fitted to a user's own matrices."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order

from neuprecond.fitting import Given, told
from neuprecond.multilevel import PLANS, build_cycle
from neuprecond.operators.base import ApproximateInverse
from neuprecond.spai import build_factored
from neuprecond.training import multilevel, spai
from neuprecond.training.labels import measured
from neuprecond.training.loop import KINDS, Own, checked, learn, rivals
from neuprecond.training.measure import fractional_count
from neuprecond.training.output import Check, progress_bar, provenance
from neuprecond.training.pick import measure_plans, plan_cost, refit_pick, widened
from neuprecond.training.ranks import World, joined
from neuprecond.training.recipes import Recipe
from neuprecond.zoo import Card, Model, save_model
from neuprecond.zoo.model import pick_plan

__all__ = ["tune"]

# Against 3e-3 from scratch: the start is good already.
RATE = 1e-3
VALIDATIONS = 8
# Samples at least, also of few matrices: other plans, other solutions, other pieces.
SAMPLES = 24
# Larger matrices are trained on by pieces of so many unknowns; first coarse matrices are that of
# pieces so many times as large.
PIECE, COARSENING = 4000, 4
# Share of the samples that is a first coarse matrix, where the matrix is large enough for one.
COARSE_SHARE, WITH_COARSE = 0.3, 1500
# Plans are measured on so many of the matrices trained on, and on all that are held out.
LABELS = 32

#: Names and weights of picks; the start's comes last.
_Picks = list[tuple[str, dict[str, np.ndarray]]]


def tune(
    given: Sequence[Given],
    out: Path,
    start: Model,
    *,
    source: str,
    steps: int,
    hold_out: float,
    seed: int,
    device: str,
    resume: bool,
    console: Console | None,
) -> Path:
    """`neuprecond.fit`, once its matrices are read and checked.

    Parameters
    ----------
    given : sequence of Given
        At least two.
    out : Path
        The weights file to write.
    start : Model
        What to start from, of kind "multilevel" or "spai".
    source : str
        Where the matrices are from, for the card.
    steps, hold_out, seed, device, resume, console
        As for `neuprecond.fit`.

    Returns
    -------
    Path
        Of the weights file.
    """
    console = console or Console(stderr=True)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    world = joined(device)
    if world.rank > 0:
        console = Console(quiet=True)
    number = min(max(1, round(hold_out * len(given))), len(given) - 1)
    order = np.random.default_rng([seed, 11]).permutation(len(given))
    held, kept = ([given[k] for k in sorted(part)] for part in (order[:number], order[number:]))
    console.print(f"{len(kept)} matrices of {source} to train on, {len(held)} held out")
    recipe = Recipe(
        name=out.stem,
        kind=start.card.kind,
        summary=f"{start.card.name}, fitted to {len(given)} matrices of {source}",
        mix=(),
        steps=steps,
        rate=RATE,
        width=start.card.network["width"],
        rounds=start.card.network["rounds"],
        pool=max(len(kept), SAMPLES),
        pcg_steps=12 if start.card.kind == "spai" else 8,
        labels=0 if start.card.kind == "spai" else LABELS,
        every=max(1, -(-steps // VALIDATIONS)),
        coarse_share=0.0 if start.card.kind == "spai" else COARSE_SHARE,
    )
    facts = [asdict(recipe), seed, hold_out, start.card.sha256, _digest(given)]
    fingerprint = json.dumps(facts, sort_keys=True)
    before, net = (_network(recipe, start, world) for _ in range(2))
    learned = learn(
        recipe,
        net,
        out.with_suffix(".checkpoint"),
        fingerprint,
        lambda: _samples(recipe, seed, kept, console, world),
        lambda: _checks(recipe, source, held, net, console, world),
        seed=seed,
        resume=resume,
        console=console,
        world=world,
        start_counts=True,
    )
    picks: _Picks = [("", {})]
    statistics = np.zeros((len(held), 0), dtype=np.float32)
    if recipe.labels:
        picks, statistics = _picks(
            recipe, seed, start, net, [*held, *kept[:LABELS]], len(held), out, fingerprint,
            resume, console, world,
        )  # fmt: skip
    if world.rank > 0:
        # Choosing takes as long as a validation or two.
        return world.from_first(out)
    trial = _Trial(recipe.kind, {"start": before, "fitted": net}, held, statistics)
    begin = trial.candidate("the start", "start", picks[-1][1])
    best = trial.best(picks, begin)
    values = {f"values.{key}": v.cpu().numpy() for key, v in best.net.state_dict().items()}
    tensors = values | {f"pick.{key}": value for key, value in best.pick.items()}
    twin = np.array([trial.count(None, k, plan)[0] for k, plan in enumerate(best.plans)])
    classical = np.array([check.classical for check in learned.checks])
    table = {
        "start": begin.counts,
        "learned": best.counts,
        "twin": twin,
        "classical": classical,
    }
    over = {
        f"learned_over_{name}": round(float(np.exp(np.log(best.counts / table[name]).mean())), 4)
        for name in ("start", "twin", "classical")
    }
    unknowns, sizes = ([one.A.shape[0] for one in part] for part in (given, held))
    names = {"trained_on": [one.name for one in kept], "held_out": [one.name for one in held]}
    card = Card(
        name=recipe.name,
        kind=recipe.kind,
        summary=recipe.summary,
        licence=start.card.licence,
        families=(source,),
        unknowns=(min(sizes), max(sizes)),
        sha256="",
        network=start.card.network,
        training={
            "start": {
                "model": start.card.name,
                "sha256": start.card.sha256,
                "families": list(start.card.families),
            },
            "problems": {
                "from": source,
                "count": len(given),
                "unknowns": [min(unknowns), max(unknowns)],
                "held_out_count": len(held),
                # Numbers of draws or of entries of a list would tell nothing.
                **(names if given[0].from_file else {}),
            },
            "seed": seed,
            "steps": steps,
            "seconds": round(time.perf_counter() - learned.clock),
            **provenance(device, world),
            "history": learned.history,
        },
        validation={
            **over,
            "classical": list(rivals(recipe)),
            "kept": best.name,
            "iterations": {
                source: {name: round(float(counts.mean()), 2) for name, counts in table.items()}
            },
        },
    )
    save_model(Model(card, tensors), out)
    console.print(told(card))
    return world.from_first(out)


def _digest(given: Sequence[Given]) -> str:
    """Changes with any number of any matrix or right-hand side."""
    digest = hashlib.sha256()
    for one in given:
        for array in (one.A.indptr, one.A.indices, one.A.data, one.b):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _network(recipe: Recipe, start: Model, world: World) -> Any:
    """The start's network in torch."""
    with torch.random.fork_rng():
        net = KINDS[recipe.kind].module.network(width=recipe.width, rounds=recipe.rounds)
    weights = {
        key.removeprefix("values."): torch.from_numpy(np.array(value))
        for key, value in start.weights.items()
        if key.startswith("values.")
    }
    net.load_state_dict(weights)
    return net.to(world.device)


def _piece(A: sparse.csr_array, most: int, rng: np.random.Generator) -> sparse.csr_array:
    """A, or of a large one the rows and columns of neighbouring unknowns: definite too."""
    n = A.shape[0]
    if n <= most:
        return A
    order = breadth_first_order(A, int(rng.integers(n)), return_predecessors=False)
    inside = np.sort(order[:most])
    piece = sparse.csr_array(A[inside, :][:, inside])
    piece.sort_indices()
    return piece


def _samples(
    recipe: Recipe, seed: int, kept: Sequence[Given], console: Console, world: World
) -> list[Any]:
    """The samples to train on: of each matrix in turn, until there are enough."""
    kind, own = KINDS[recipe.kind], []
    with progress_bar(console) as bar:
        numbers = world.mine(recipe.pool)
        for number in bar.track(numbers, description="preparing matrices"):
            one, rng = kept[number % len(kept)], np.random.default_rng([seed, 7, number])
            descend = rng.random() < recipe.coarse_share and one.A.shape[0] >= WITH_COARSE
            A = _piece(one.A, PIECE * COARSENING if descend else PIECE, rng)
            whole = A is one.A
            b = one.b if whole else rng.standard_normal(A.shape[0])
            own.append(kind.sample(A, b, rng, descend=descend))
    samples = [sample for sample in world.gathered(own, recipe.pool) if sample is not None]
    if not samples:
        raise ValueError(
            f"none of the matrices coarsens ({', '.join(one.name for one in kept[:3])}, ...), so "
            "there is nothing to learn from: give larger ones."
        )
    return samples


def _checks(
    recipe: Recipe,
    source: str,
    held: Sequence[Given],
    net: torch.nn.Module,
    console: Console,
    world: World,
) -> tuple[list[Check], list[Own]]:
    """The held-out matrices, and those of them that this process solves."""
    found: list[tuple[Check, Own]] = []
    with progress_bar(console) as bar:
        for number in bar.track(world.mine(len(held)), description="matrices held out"):
            one = held[number]
            found.append(checked(recipe, source, one.A, one.b, net))
    return world.gathered([check for check, _ in found], len(held)), [own for _, own in found]


def _picks(
    recipe: Recipe,
    seed: int,
    start: Model,
    net: Any,
    given: Sequence[Given],
    held: int,
    out: Path,
    fingerprint: str,
    resume: bool,
    console: Console,
    world: World,
) -> tuple[_Picks, np.ndarray]:
    """One refitted if it is of use, the start's with wider moments, the start's; statistics."""
    values = multilevel.evaluate(net)
    digest = hashlib.sha256(fingerprint.encode())
    for value in net.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    labels = measured(
        out.with_suffix(".labels"),
        json.dumps([list(PLANS), digest.hexdigest()]),
        lambda number: measure_plans(given[number].A, given[number].b, values),
        len(given),
        resume=resume,
        console=console,
        world=world,
    )
    pick = {
        key.removeprefix("pick."): np.array(value)
        for key, value in start.weights.items()
        if key.startswith("pick.")
    }
    wide = widened(pick, labels.statistics[held:])
    fitted = refit_pick(wide, labels.statistics, labels.costs, held=held)
    picks = [("the start's pick", wide), ("the start's pick", pick)]
    if fitted is not None:
        picks.insert(0, ("a refitted pick", fitted))
    return picks, labels.statistics[:held]


@dataclass(frozen=True, eq=False)
class _Candidate:
    """Values and a pick, and what they take on the held-out matrices."""

    name: str
    net: Any
    pick: Mapping[str, np.ndarray]
    plans: list[str]
    counts: np.ndarray
    cost: float


class _Trial:
    """Measures combinations of old and new values and picks on the held-out matrices."""

    def __init__(
        self, kind: str, nets: dict[str, Any], held: Sequence[Given], statistics: np.ndarray
    ) -> None:
        self.kind, self.nets, self.held, self.statistics = kind, nets, held, statistics
        # Plans often agree, and then nothing need be solved twice.
        self.count = cache(self._count)

    def _count(self, values: str | None, number: int, plan: str) -> tuple[float, float]:
        """Iterations and cost; of the twin without values."""
        A, b = self.held[number].A, self.held[number].b
        net = None if values is None else self.nets[values]
        if self.kind == "spai":
            factored = None if net is None else spai.evaluate(net)
            M: ApproximateInverse = build_factored(A, factored)
        else:
            cycle = None if net is None else multilevel.evaluate(net)
            M = build_cycle(A, cycle, plan=PLANS[plan])
        count = fractional_count(A, b, M)
        return count, plan_cost(count, M.density)

    def candidate(self, name: str, values: str, pick: Mapping[str, np.ndarray]) -> _Candidate:
        """Count what values and a pick take; a kind without plans has an empty pick."""
        plans = [pick_plan(pick, x) for x in self.statistics] if pick else [""] * len(self.held)
        found = [self.count(values, number, plan) for number, plan in enumerate(plans)]
        counts, costs = np.array(found).T
        return _Candidate(name, self.nets[values], pick, plans, counts, float(costs.mean()))

    def best(self, picks: _Picks, begin: _Candidate) -> _Candidate:
        """The cheapest of those that take no more iterations than the start, by geometric mean.

        Parameters
        ----------
        picks : list of (name, weights)
            What values are tried with.
        begin : _Candidate
            The start.

        Returns
        -------
        _Candidate
            The first of equals.
        """
        candidates = []
        for values, what in (("fitted", "fitted values"), ("start", "the start's values")):
            for name, pick in picks:
                said = f"{what} with {name}" if pick else what
                candidates.append(self.candidate(said, values, pick))
        most = np.log(begin.counts).mean() + 1e-12
        sound = [one for one in candidates if np.log(one.counts).mean() <= most]
        return min(sound, key=lambda one: one.cost)
