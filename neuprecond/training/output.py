"""What a training shows and leaves behind: a bar, and weights with their card."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.numpy import save

from neuprecond.training.ranks import World
from neuprecond.training.recipes import Recipe
from neuprecond.zoo.atomic import write_bytes
from neuprecond.zoo.card import Card, network_facts, read_card, write_card

__all__ = ["Check", "note_spread", "progress_bar", "provenance", "versions", "write_model"]


@dataclass(frozen=True)
class Check:
    """A validation problem: what it takes the twin and the best classical method.

    Attributes
    ----------
    family : str
        Where the problem is from.
    unknowns : int
        Its size.
    twin, classical : float
        Iterations, the last one in part.
    """

    family: str
    unknowns: int
    twin: float
    classical: float


def progress_bar(console: Console) -> Progress:
    """How far a loop is, and how long it will take; gone when it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


def versions() -> dict[str, str]:
    """Versions of what decides on the weights."""
    names = ("neuprecond", "torch", "torch-geometric", "numpy", "scipy", "pyamg", "numba")
    return {name: version(name) for name in names} | {"python": platform.python_version()}


def provenance(device: str, world: World) -> dict[str, Any]:
    """Where a model was trained, for its card."""
    return {
        "device": device,
        "processes": world.size,
        "machine": platform.machine(),
        "versions": versions(),
    }


def write_model(
    recipe: Recipe,
    folder: Path,
    tensors: Mapping[str, np.ndarray],
    checks: Sequence[Check],
    counts: Sequence[float] | np.ndarray,
    *,
    network: Mapping[str, Any],
    training: Mapping[str, Any],
    sizes: Sequence[tuple[int, int]],
    rivals: Sequence[str],
    facts: Mapping[str, Any],
) -> Path:
    """Write NAME.safetensors and its card NAME.toml, each whole or not at all.

    Parameters
    ----------
    recipe : Recipe
        What was trained.
    folder : Path
        Where they go.
    tensors : mapping of str to ndarray
        Weights.
    checks : sequence of Check
        Validation problems.
    counts : sequence of float
        Iterations of the learned M on each of them.
    network : mapping
        Facts of the network besides the names of what it reads.
    training : mapping
        Facts of the training besides the mix.
    sizes : sequence of tuple of int, int
        Smallest and largest size trained on of each ingredient of the mix.
    rivals : sequence of str
        The classical methods of which the best was taken.
    facts : mapping
        Facts of the validation besides iterations.

    Returns
    -------
    Path
        Of the weights file.
    """
    content = save({key: np.ascontiguousarray(value) for key, value in tensors.items()})
    unknowns = [check.unknowns for check in checks]
    table = np.array([[x, c.twin, c.classical] for x, c in zip(counts, checks, strict=True)])
    over_twin, over_classical = np.exp(np.log(table[:, :1] / table[:, 1:]).mean(axis=0))
    by_family = {}
    for family in sorted({check.family for check in checks}):
        means = table[[check.family == family for check in checks]].mean(axis=0)
        named = zip(("learned", "twin", "classical"), means, strict=True)
        by_family[family] = {name: round(float(mean), 2) for name, mean in named}
    card = Card(
        name=recipe.name,
        kind=recipe.kind,
        summary=recipe.summary,
        licence="Apache-2.0",
        families=tuple(dict.fromkeys(part.family for part in (*recipe.mix, *recipe.labelled))),
        unknowns=(min(unknowns), max(unknowns)),
        sha256=hashlib.sha256(content).hexdigest(),
        network={**network, **network_facts(recipe.kind)},
        training={
            **training,
            "mix": [
                {"family": p.family, "sizes": list(size), "weight": p.weight, **p.parameters}
                for p, size in zip(recipe.mix, sizes, strict=True)
            ],
            "labelled": [
                {"family": p.family, "sizes": list(p.label_sizes)} for p in recipe.labelled
            ],
        },
        validation={
            "learned_over_twin": round(float(over_twin), 4),
            "learned_over_classical": round(float(over_classical), 4),
            "classical": list(rivals),
            **facts,
            "iterations": by_family,
        },
    )
    path = folder / f"{recipe.name}.safetensors"
    write_bytes(path, content)
    write_bytes(path.with_suffix(".toml"), write_card(card).encode())
    return path


def note_spread(path: Path, others: Sequence[Path]) -> None:
    """Note on a model's card what the same training reached from other seeds.

    Parameters
    ----------
    path : Path
        Weights of the model; its card is written anew, whole or not at all.
    others : sequence of Path
        Weights of the other trainings.
    """
    cards = [read_card(each.with_suffix(".toml")) for each in (path, *others)]
    spread = {"seed": [card.training["seed"] for card in cards]} | {
        ratio: [card.validation[ratio] for card in cards]
        for ratio in ("learned_over_twin", "learned_over_classical")
    }
    card = replace(cards[0], validation={**cards[0].validation, "seeds": spread})
    write_bytes(path.with_suffix(".toml"), write_card(card).encode())
