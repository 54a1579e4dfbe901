"""Networks on level graphs (torch, torch_geometric)."""

from neuprecond.nets.model import LevelNetwork, Pick
from neuprecond.nets.spai import SpaiNetwork

__all__ = ["LevelNetwork", "Pick", "SpaiNetwork"]
