"""The network of the one-level kind: a number an entry of the factor G."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from neuprecond.nets.model import LevelNetwork

__all__ = ["SpaiNetwork"]


class SpaiNetwork(LevelNetwork):
    """Matrix graph -> one number an entry of G.

    Its weights are those of `LevelNetwork`: the head of the nodes gives the diagonal entries of G,
    how far a row leans on its neighbours, and the head of the entries gives the others. Both start
    at zero, so that an untrained network is FSAI.
    """

    def forward(self, data: Data) -> Float[Tensor, " entries"]:  # type: ignore[override]
        """Output an entry of G; ``entry_index`` is (row, column)."""
        diagonal, entry = super().forward(data)
        row, col = data.entry_index
        return torch.where(row == col, diagonal[row], entry)
