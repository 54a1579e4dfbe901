"""The networks: one that reads a level and writes its values, one that picks how to coarsen."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from neuprecond.nets.layers import Round

__all__ = ["LevelNetwork", "Pick"]


class LevelNetwork(nn.Module):
    """Level graph -> one number a node (smoother) and one an entry of P0 (interpolation).

    Parameters
    ----------
    node_features, edge_features, entry_features : int
        Numbers the graph carries.
    width : int
        Node state.
    rounds : int
        Message-passing rounds; the values of a row depend on that many hops.

    Notes
    -----
    The last layer of each head starts at zero: an untrained network is the unlearned twin.
    """

    def __init__(
        self,
        *,
        node_features: int,
        edge_features: int,
        entry_features: int,
        width: int = 16,
        rounds: int = 3,
    ) -> None:
        super().__init__()
        self.encode = nn.Linear(node_features, width)
        self.rounds = nn.ModuleList(Round(width, edge_features) for _ in range(rounds))
        self.smoother_hidden = nn.Linear(width, width)
        self.smoother_out = nn.Linear(width, 1)
        self.entry_row = nn.Linear(width, width)
        self.entry_root = nn.Linear(width, width, bias=False)
        self.entry_own = nn.Linear(entry_features, width, bias=False)
        self.entry_mix = nn.Linear(width, width)
        self.entry_out = nn.Linear(width, 1)
        for last in (self.smoother_out, self.entry_out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, data: Data) -> tuple[Float[Tensor, " nodes"], Float[Tensor, " entries"]]:
        """Smoother output a node and interpolation output an entry of P0."""
        h = torch.relu(self.encode(data.x))
        for one_round in self.rounds:
            h = one_round(h, data.edge_index, data.edge_attr)
        smoother = self.smoother_out(torch.relu(self.smoother_hidden(h)))[:, 0]
        row, root = data.entry_index
        hidden = torch.relu(
            self.entry_row(h)[row] + self.entry_root(h)[root] + self.entry_own(data.entry_attr)
        )
        entry = self.entry_out(torch.relu(self.entry_mix(hidden)))[:, 0]
        return smoother, entry


class Pick(nn.Module):
    """Whole-graph statistics -> one score a way to coarsen; the largest wins.

    Parameters
    ----------
    statistics : int
        Numbers a matrix.
    choices : int
        Ways to coarsen.
    width : int
        Hidden layer.
    """

    def __init__(self, *, statistics: int, choices: int, width: int = 32) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(statistics))
        self.register_buffer("scale", torch.ones(statistics))
        self.hidden = nn.Linear(statistics, width)
        self.out = nn.Linear(width, choices)

    def forward(self, x: Float[Tensor, "matrices statistics"]) -> Float[Tensor, "matrices choices"]:
        """Scores; statistics far outside those of training are clipped to the edge of them."""
        seen = ((x - self.mean) / self.scale).clamp(-4.0, 4.0)
        return self.out(torch.relu(self.hidden(seen)))
