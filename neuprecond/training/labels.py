"""Measured plans on disk: a training that was killed while measuring goes on where it was."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from neuprecond.errors import WeightsError
from neuprecond.zoo.atomic import write_tensors

__all__ = ["read_labels", "write_labels"]


def write_labels(
    path: Path, key: str, statistics: list[np.ndarray], costs: list[np.ndarray], seconds: float
) -> None:
    """Write statistics and plan costs, whole or not at all, with what they were measured for."""
    arrays = {
        "statistics": np.array(statistics),
        "costs": np.array(costs),
        "seconds": np.array([seconds]),
    }
    write_tensors(path, arrays, {"key": key})


def read_labels(path: Path, key: str) -> tuple[list[np.ndarray], list[np.ndarray], float]:
    """Statistics, plan costs and seconds spent; empty where there are none for this key.

    Raises
    ------
    WeightsError
        If the file is damaged.
    """
    if not path.exists():
        return [], [], 0.0
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("key") != key:
                return [], [], 0.0
            seconds = float(file.get_tensor("seconds")[0])
            return list(file.get_tensor("statistics")), list(file.get_tensor("costs")), seconds
    except SafetensorError as error:
        raise WeightsError(f"{path} cannot be read ({error}); delete it to measure anew.") from None
