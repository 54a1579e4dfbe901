"""The message-passing layer: no edge state is carried, so a round is one pass over the edges."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

__all__ = ["Round"]


class Round(MessagePassing):
    """One round: messages from node and edge features, their mean and maximum, a residual update.

    m_ij = relu(P h_i + Q h_j + R f_ij),
    h_i <- norm(h_i + U relu(V [h_i, mean_j m_ij, max_j m_ij])).

    Parameters
    ----------
    width : int
        Node state.
    edge_features : int
        Numbers an edge, read anew each round.
    """

    def __init__(self, width: int, edge_features: int) -> None:
        super().__init__(aggr=["mean", "max"], flow="target_to_source")
        self.receive = nn.Linear(width, width)
        self.send = nn.Linear(width, width, bias=False)
        self.edge = nn.Linear(edge_features, width, bias=False)
        self.gather = nn.Linear(3 * width, width)
        self.update_state = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def forward(
        self,
        h: Float[Tensor, "nodes width"],
        edge_index: Int[Tensor, "2 edges"],
        edge_attr: Float[Tensor, "edges features"],
    ) -> Float[Tensor, "nodes width"]:
        """Node states after one round; ``edge_index`` is (row, column), rows gather columns."""
        m = self.propagate(
            edge_index,
            receive=self.receive(h),
            send=self.send(h),
            edge=self.edge(edge_attr),
            size=(h.shape[0], h.shape[0]),
        )
        change = self.update_state(torch.relu(self.gather(torch.cat([h, m], dim=1))))
        return self.norm(h + change)

    def message(self, receive_i: Tensor, send_j: Tensor, edge: Tensor) -> Tensor:
        """One message an edge; ``_i`` is the gathering row, ``_j`` its column."""
        return torch.relu(receive_i + send_j + edge)
