"""One pick from the trainings of several seeds: fitted to the labels of all of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from neuprecond.errors import WeightsError
from neuprecond.training.pick import fit_pick
from neuprecond.zoo.atomic import write_bytes
from neuprecond.zoo.card import read_card, write_card

__all__ = ["fit_together"]


def fit_together(path: Path, others: Sequence[Path]) -> None:
    """Fit a model's pick anew, to what it and the same training from other seeds have measured.

    Labels take most of a training's time, and three times as many of them are there when its spread
    over three seeds is known. The values stay.

    Parameters
    ----------
    path : Path
        Weights of the model, which are written anew, and so is the card beside them.
    others : sequence of Path
        Weights of the other trainings. NAME.labels is beside each of them.

    Raises
    ------
    WeightsError
        If labels are missing.
    """
    parts = []
    for each in (path, *others):
        labels = each.with_suffix(".labels")
        if not labels.exists():
            raise WeightsError(f"{labels} is missing: train again, it holds the measured plans.")
        parts.append(load_file(labels))
    statistics, costs = (np.concatenate([p[key] for p in parts]) for key in ("statistics", "costs"))
    card = read_card(path.with_suffix(".toml"))
    pick, figures = fit_pick(statistics, costs, seed=int(card.training["seed"]))
    tensors = load_file(path) | {f"pick.{key}": value for key, value in pick.items()}
    content = save({key: np.ascontiguousarray(value) for key, value in tensors.items()})
    card = replace(
        card,
        sha256=hashlib.sha256(content).hexdigest(),
        training={**card.training, "labels": len(costs)},
        validation={**card.validation, "pick": figures},
    )
    write_bytes(path, content)
    write_bytes(path.with_suffix(".toml"), write_card(card).encode())
