"""Checkpoints of a training run: safetensors, written whole; any of them can be gone on from."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from neuprecond.errors import WeightsError
from neuprecond.zoo.atomic import write_tensors

__all__ = ["Progress", "load_checkpoint", "save_checkpoint"]


@dataclass
class Progress:
    """What a run knows besides its weights.

    Attributes
    ----------
    step : int
        Steps done.
    seconds : float
        Spent so far, over all resumes.
    best : float
        Smallest validation ratio so far.
    history : list of [step, loss, ratio]
        One entry a validation.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    history: list[list[float]] = field(default_factory=list)


def save_checkpoint(
    path: Path,
    net: nn.Module,
    optimiser: torch.optim.Adam,
    best: dict[str, torch.Tensor],
    progress: Progress,
    *,
    recipe: str,
) -> None:
    """Weights, best weights, Adam's moments and progress in one file."""
    tensors = {f"net.{key}": value for key, value in net.state_dict().items()}
    tensors |= {f"best.{key}": value for key, value in best.items()}
    for name, parameter in net.named_parameters():
        for moment, value in optimiser.state.get(parameter, {}).items():
            tensors[f"adam.{moment}.{name}"] = torch.as_tensor(value)
    write_tensors(
        path,
        {key: value.detach().cpu().numpy() for key, value in tensors.items()},
        {"recipe": recipe, "progress": json.dumps(vars(progress))},
    )


def load_checkpoint(
    path: Path, net: nn.Module, optimiser: torch.optim.Adam, *, recipe: str
) -> tuple[dict[str, torch.Tensor], Progress]:
    """Put a checkpoint's state into the network and optimiser; best weights and progress.

    Raises
    ------
    WeightsError
        If the file is damaged or belongs to another recipe.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {key: torch.from_numpy(np.array(file.get_tensor(key))) for key in file.keys()}
        if metadata.get("recipe") != recipe:
            raise WeightsError(
                f"checkpoint {path} belongs to another recipe. Start anew in another folder, or "
                "give the options it was started with."
            )
        progress = Progress(**json.loads(metadata["progress"]))

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        net.load_state_dict(part("net."))
        for name, parameter in net.named_parameters():
            state = {
                moment: tensors[f"adam.{moment}.{name}"]
                for moment in ("step", "exp_avg", "exp_avg_sq")
                if f"adam.{moment}.{name}" in tensors
            }
            if state:
                optimiser.state[parameter] = state
        return part("best."), progress
    except (SafetensorError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise WeightsError(f"checkpoint {path} cannot be read: {error}.") from None
