"""Networks on level graphs (torch, torch_geometric)."""

from neuprecond.nets.model import LevelNetwork, Pick

__all__ = ["LevelNetwork", "Pick"]
