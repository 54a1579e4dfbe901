"""The one seam between SciPy and tensors: Level -> Data, network output -> values."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from neuprecond.features import LevelFeatures
from neuprecond.multilevel import INTERPOLATION_BOUND, SMOOTHER_BOUND, Values
from neuprecond.nets import LevelNetwork

__all__ = [
    "LevelData",
    "from_features",
    "interpolation_values",
    "on_device",
    "smoother_scaling",
]


class LevelData(Data):
    """A level as a torch_geometric graph; entries of P0 are a second set of edges."""

    def __inc__(self, key: str, value: object, *args: object, **kwargs: object) -> object:
        """Tell batching that both entry indices count nodes."""
        return (
            self.num_nodes if key == "entry_index" else super().__inc__(key, value, *args, **kwargs)
        )

    def __cat_dim__(self, key: str, value: object, *args: object, **kwargs: object) -> object:
        """Tell batching that entries stand side by side."""
        return 1 if key == "entry_index" else super().__cat_dim__(key, value, *args, **kwargs)


def from_features(features: LevelFeatures) -> LevelData:
    """The level's graph for the network: float32 features, int64 indices.

    Parameters
    ----------
    features : LevelFeatures
        From `neuprecond.features.level_features`.

    Returns
    -------
    LevelData
        ``x``, ``edge_index`` (row, column), ``edge_attr``, ``entry_index`` (row, root),
        ``entry_attr``.
    """
    n = len(features.indptr) - 1
    counts = torch.from_numpy(features.indptr).long().diff()
    rows = torch.repeat_interleave(torch.arange(n), counts)
    return LevelData(
        x=torch.from_numpy(features.nodes),
        edge_index=torch.stack([rows, torch.from_numpy(features.cols).long()]),
        edge_attr=torch.from_numpy(features.edges),
        entry_index=torch.stack(
            [
                torch.from_numpy(features.entry_rows).long(),
                torch.from_numpy(features.entry_roots).long(),
            ]
        ),
        entry_attr=torch.from_numpy(features.entries),
    )


def smoother_scaling(smoother: Float[Tensor, " nodes"]) -> Float[Tensor, " nodes"]:
    """The diagonal that the smoother scales A with, from the network's output; positive."""
    return torch.exp(SMOOTHER_BOUND * torch.tanh(smoother.double()))


def interpolation_values(
    entry: Float[Tensor, " entries"],
    weights: Float[Tensor, " entries"],
    rows: Tensor,
    n: int,
) -> Float[Tensor, " entries"]:
    """Interpolation weights after a bounded change that keeps every row's sum.

    Parameters
    ----------
    entry : Tensor, shape (entries,)
        Output of the network.
    weights : Tensor, shape (entries,)
        Weights of P0 against the near-null vector, P0_ic Bc_c / B_i.
    rows : Tensor of int64, shape (entries,)
        Row of each entry, sorted.
    n : int
        Number of rows.

    Returns
    -------
    Tensor, shape (entries,)
        New weights, float64. Rows with one entry do not change.
    """
    top = torch.zeros(n, dtype=weights.dtype, device=weights.device)
    top = top.scatter_reduce(0, rows, weights.abs(), "amax")
    size = torch.minimum((weights.abs() * top[rows]).sqrt(), 10.0 * weights.abs())
    change = INTERPOLATION_BOUND * size * torch.tanh(entry.double())
    zeros = torch.zeros(n, dtype=change.dtype, device=change.device)
    excess = zeros.index_add(0, rows, change) / zeros.index_add(0, rows, size).clamp(min=1e-300)
    return weights + change - excess[rows] * size


def on_device(weights: Mapping[str, np.ndarray], device: str) -> Values:
    """A network of the given weights, evaluated by torch on a device.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Of `LevelNetwork`, names as in its ``state_dict``.
    device : str
        "cpu" or "cuda".

    Raises
    ------
    ValueError
        If torch has no such device here.
    """
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        here = "cpu and cuda" if torch.cuda.is_available() else "cpu only"
        raise ValueError(f"device must be one that torch has here ({here}), got {device!r}.")
    width, node_features = weights["encode.weight"].shape
    net = LevelNetwork(
        node_features=node_features,
        edge_features=weights["rounds.0.edge.weight"].shape[1],
        entry_features=weights["entry_own.weight"].shape[1],
        width=width,
        rounds=1 + max(int(key.split(".")[1]) for key in weights if key.startswith("rounds.")),
    )
    net.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    net.to(device)

    def values(features: LevelFeatures) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            smoother, entry = net(from_features(features).to(device))
        return smoother.cpu().numpy(), entry.cpu().numpy()

    return values
