"""The card of a model: what it is, what it was trained on, what it reached; plain TOML."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from neuprecond.errors import WeightsError
from neuprecond.features import EDGE_FEATURES, ENTRY_FEATURES, NODE_FEATURES
from neuprecond.multilevel import PLANS
from neuprecond.nonsymmetric import FLOW_PLANS, FLOW_STATISTICS
from neuprecond.spai import SPAI_EDGE_FEATURES, SPAI_ENTRY_FEATURES, SPAI_NODE_FEATURES
from neuprecond.statistics import STATISTICS

__all__ = ["FORMAT", "Card", "network_facts", "read_card", "write_card"]

#: Version of the weights format; a reader refuses newer ones.
FORMAT = 1
KINDS = ("multilevel", "spai", "nonsymmetric")


@dataclass(frozen=True)
class Card:
    """What a weights file cannot say of itself.

    Attributes
    ----------
    name : str
        Name of the model.
    kind : str
        "multilevel", "spai" or "nonsymmetric".
    summary : str
        One line: which matrices it is for.
    licence : str
        Of the weights.
    families : tuple of str
        Families trained on.
    unknowns : tuple of int
        Smallest and largest number of unknowns of the validation problems.
    sha256 : str
        Of the weights file; a damaged file is noticed.
    format : int
        Version of the format.
    network : dict
        Width, rounds and the names of the features that the weights expect.
    training : dict
        Seed, steps, seconds, device, versions, recipe.
    validation : dict
        Iteration counts of learned, twin and the best classical method.
    """

    name: str
    kind: str
    summary: str
    licence: str
    families: tuple[str, ...]
    unknowns: tuple[int, int]
    sha256: str
    format: int = FORMAT
    network: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """One line, as `neuprecond.models` lists it."""
        low, high = self.unknowns
        about = f"{self.kind}, validated on {low}-{high} unknowns, {self.licence}"
        return f"{self.name} ({about}): {self.summary}"


def write_card(card: Card) -> str:
    """Write the card as TOML text."""
    plain = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(card).items()}
    return tomli_w.dumps(plain)


def read_card(path: Path) -> Card:
    """Read the card beside a weights file.

    Raises
    ------
    WeightsError
        If it is missing, no TOML, lacks an entry, or is of a newer format.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError:
        raise WeightsError(
            f"weights need a card beside them, found no {path}. "
            "Copy NAME.toml together with NAME.safetensors."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"card {path} is not valid TOML: {error}.") from None
    number = table.get("format")
    if not isinstance(number, int) or isinstance(number, bool):
        raise WeightsError(f"card {path} must give the format as an integer, got {number!r}.")
    if number > FORMAT:
        raise WeightsError(
            f"card {path} has format {number}, this version of neuprecond reads up to {FORMAT}. "
            "Install a newer neuprecond."
        )
    expected = {
        "name": str,
        "kind": str,
        "summary": str,
        "licence": str,
        "families": list,
        "unknowns": list,
        "sha256": str,
        "network": dict,
    }
    for key, kind in expected.items():
        if not isinstance(table.get(key), kind):
            raise WeightsError(f"card {path} must hold {key!r} as {kind.__name__}.")
    if table["kind"] not in KINDS:
        raise WeightsError(f"card {path}: kind must be one of {KINDS}, got {table['kind']!r}.")
    if len(table["unknowns"]) != 2:
        raise WeightsError(f"card {path}: unknowns must be two numbers, got {table['unknowns']}.")
    table["families"] = tuple(table["families"])
    table["unknowns"] = tuple(table["unknowns"])
    unknown = sorted(set(table) - set(Card.__dataclass_fields__))
    if unknown:
        raise WeightsError(f"card {path} holds unknown entries: {', '.join(unknown)}.")
    return Card(**table)


def network_facts(kind: str) -> dict[str, list[str]]:
    """Names of what the network reads and picks from, in order: weights fit no other."""
    if kind == "spai":
        names = (SPAI_NODE_FEATURES, SPAI_EDGE_FEATURES, SPAI_ENTRY_FEATURES)
        return dict(zip(("nodes", "edges", "entries"), map(list, names), strict=True))
    if kind == "nonsymmetric":
        return {"statistics": list(FLOW_STATISTICS), "plans": list(FLOW_PLANS)}
    return {
        "nodes": list(NODE_FEATURES),
        "edges": list(EDGE_FEATURES),
        "entries": list(ENTRY_FEATURES),
        "statistics": list(STATISTICS),
        "plans": list(PLANS),
    }
