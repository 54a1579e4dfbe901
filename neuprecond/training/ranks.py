"""Training on several processes: who does what, and what all of them must know."""

import atexit
import copy
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["World", "joined"]

Item = TypeVar("Item")

# Items of each process that travel together: a whole pool at once would be in memory three times.
AT_ONCE = 8
# Results of each process between two times that process 0 writes them down.
WRITTEN_AFTER = 20


@dataclass(frozen=True)
class World:
    """The processes of a training, and which of them this one is.

    Work is numbered, and item k is done by process k % size. What an item is depends on the seed
    and its number alone, so the number of processes changes who computes and not what.

    Attributes
    ----------
    rank, size : int
        This process, of how many. Process 0 alone writes files.
    device : str
        Where this process evaluates the network.
    exchange : str
        Where tensors must be to travel between processes.

    Examples
    --------
    >>> list(World(rank=1, size=3).mine(8))
    [1, 4, 7]
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    exchange: str = "cpu"

    def mine(self, count: int) -> range:
        """Numbers of this process's items out of so many."""
        return range(self.rank, count, self.size)

    def gathered(self, own: Sequence[Item], count: int) -> list[Item]:
        """All ``count`` items in their order, on every process, from each one's own. Collective.

        Parameters
        ----------
        own : sequence
            Of whatever pickles: the items that `mine` numbers.
        count : int
            Items of all processes together.
        """
        if self.size == 1:
            return list(own)
        lists: list[list[Item]] = [[] for _ in range(self.size)]
        for start in range(0, -(-count // self.size), AT_ONCE):
            parts: list[Any] = [None] * self.size
            dist.all_gather_object(parts, list(own[start : start + AT_ONCE]))
            for items, part in zip(lists, parts, strict=True):
                # Arrays come as views of what was received, which SciPy's indexing refuses.
                items.extend(copy.deepcopy(part))
        return [lists[k % self.size][k // self.size] for k in range(count)]

    def results(self, first: int, count: int, work: Callable[[int], Item]) -> Iterator[list[Item]]:
        """What ``work`` gives for the numbers from ``first`` on, some at a time. Collective.

        Parameters
        ----------
        first, count : int
            Numbers first, ..., count - 1.
        work : callable
            Called on one of the processes for each number.

        Yields
        ------
        list
            The next results in their order, on every process.
        """
        while first < count:
            some = min(WRITTEN_AFTER * self.size, count - first)
            yield self.gathered([work(first + k) for k in self.mine(some)], some)
            first += some

    def gathered_rows(self, own: Sequence[Tensor], count: int, width: int) -> list[Tensor]:
        """As `gathered`, for vectors of one length that change hands every step. Collective.

        Parameters
        ----------
        own : sequence of Tensor, each of shape (width,)
            Float64.
        count, width : int
            Vectors of all processes together, and their length.
        """
        if self.size == 1:
            return list(own)
        most = -(-count // self.size)
        buffer = torch.zeros((most, width), dtype=torch.float64, device=self.exchange)
        for row, vector in enumerate(own):
            buffer[row] = vector
        parts = [torch.empty_like(buffer) for _ in range(self.size)]
        dist.all_gather(parts, buffer)
        return [parts[k % self.size][k // self.size].to(self.device) for k in range(count)]

    def from_first(self, thing: Item) -> Item:
        """What process 0 has. Collective."""
        if self.size == 1:
            return thing
        things = [thing]
        dist.broadcast_object_list(things, src=0)
        return things[0]


def joined(device: str) -> World:
    """Join the processes that torchrun started, or those of a group that is there already.

    The group stays until the process ends: a second training goes on in it.

    Parameters
    ----------
    device : str
        "cpu" or "cuda"; of several GPUs each process of a machine takes its own.

    Returns
    -------
    World
        Of one process where nobody started several.
    """
    given = dist.is_available() and dist.is_initialized()
    started = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(os.environ)
    if not given and not (started and int(os.environ["WORLD_SIZE"]) > 1):
        return World(device=device, exchange=device)
    gpus = torch.cuda.device_count() if device == "cuda" else 0
    if gpus:
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % gpus}"
        torch.cuda.set_device(device)
    if not given:
        # NCCL refuses two processes on one GPU.
        enough = 0 < int(os.environ.get("LOCAL_WORLD_SIZE", "1")) <= gpus
        dist.init_process_group("cpu:gloo,cuda:nccl" if enough else "gloo")
        atexit.register(_leave)
    nccl = gpus > 0 and "nccl" in dist.get_backend_config()
    return World(dist.get_rank(), dist.get_world_size(), device, device if nccl else "cpu")


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
