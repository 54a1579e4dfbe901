"""Reading weights: safetensors and TOML, checked before they are believed. No pickle, no code."""

import difflib
import hashlib
import os
from importlib.resources import files
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse

from neuprecond.errors import WeightsError
from neuprecond.zoo.card import Card, network_facts, read_card

__all__ = ["PICK_WIDTH", "find", "packaged", "read_weights"]

# The largest packaged model is a tenth of a megabyte.
LARGEST_FILE = 64 * 2**20

# Hidden width of the network that picks a plan.
PICK_WIDTH = 128


def packaged() -> dict[str, Path]:
    """Weights files that came with the package, by name."""
    folder = Path(str(files("neuprecond.zoo") / "weights"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def find(name_or_path: str | Path) -> Path:
    """Find the weights file of a packaged name or a path.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If there is no such model; names the known and the nearest.
    WeightsError
        If it is a path and no file is there.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(
            "a model is named by 'auto', a packaged name or a path, got "
            f'{type(name_or_path).__name__}. The name comes first: load("auto", A).'
        )
    known = packaged()
    text = str(name_or_path)
    if text in known:
        return known[text]
    path = Path(name_or_path)
    is_path = path.suffix == ".safetensors" or isinstance(name_or_path, Path)
    if is_path or (text and os.path.lexists(path)):
        if not os.path.isfile(path):
            raise WeightsError(f"no weights file at {path}.")
        return path
    near = difflib.get_close_matches(text, [*known, "auto"], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"unknown model {text!r}; packaged are {', '.join(known)}, besides 'auto' and paths to "
        f".safetensors files.{hint}"
    )


def read_weights(path: Path) -> tuple[Card, dict[str, np.ndarray]]:
    """Card and tensors of a weights file.

    Raises
    ------
    WeightsError
        If the file is damaged, foreign, of a newer format, or made for other features.
    """
    card = read_card(path.with_suffix(".toml"))
    if path.stat().st_size > LARGEST_FILE:
        raise WeightsError(
            f"weights file {path} has {path.stat().st_size} bytes, more than any model of this "
            f"library can need ({LARGEST_FILE})."
        )
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.sha256:
        raise WeightsError(
            f"weights file {path} is not the one its card describes (sha256 {digest[:12]}…, the "
            f"card says {card.sha256[:12]}…): damaged, or of another version. Copy both again."
        )
    try:
        tensors = parse(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"weights file {path} is no valid safetensors: {error}.") from None
    facts = network_facts(card.kind)
    for key, names in facts.items():
        if list(card.network.get(key, [])) != names:
            raise WeightsError(
                f"weights {path} were trained on other {key} than this version of neuprecond "
                "gives. Install the version on its card, or train again."
            )
    expected = _shapes(card, groups=len(tensors.get("pick.centres", ())))
    if set(tensors) != set(expected):
        missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
        raise WeightsError(f"weights {path} lack {missing[:3]} and hold unknown {extra[:3]}.")
    for key, shape in expected.items():
        if tensors[key].shape != shape or tensors[key].dtype != np.float32:
            raise WeightsError(
                f"weights {path}: {key} must be float32 of shape {shape}, got "
                f"{tensors[key].dtype} of {tensors[key].shape}."
            )
        if not np.isfinite(tensors[key]).all():
            raise WeightsError(f"weights {path}: {key} holds a NaN or an infinity.")
    return card, tensors


def _shapes(card: Card, *, groups: int) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a model, from its card; groups of problems that it knows, if any."""
    facts = network_facts(card.kind)
    shapes: dict[str, tuple[int, ...]] = {}
    if "plans" in facts:
        hidden, statistics, plans = PICK_WIDTH, len(facts["statistics"]), len(facts["plans"])
        shapes |= {
            "pick.mean": (statistics,),
            "pick.scale": (statistics,),
            "pick.hidden.weight": (hidden, statistics),
            "pick.hidden.bias": (hidden,),
            "pick.out.weight": (plans, hidden),
            "pick.out.bias": (plans,),
        }
        if groups:
            shapes |= {key: (groups, statistics) for key in ("pick.centres", "pick.spreads")}
    if card.kind == "nonsymmetric":
        return shapes | {"pick.cost": (plans,)}
    width, rounds = card.network.get("width"), card.network.get("rounds")
    for name, value in (("width", width), ("rounds", rounds)):
        if not isinstance(value, int) or not 0 < value <= 256:
            raise WeightsError(f"card of {card.name!r}: {name} must be 1 to 256, got {value!r}.")
    assert isinstance(width, int)
    assert isinstance(rounds, int)
    nodes, edges, entries = (len(facts[key]) for key in ("nodes", "edges", "entries"))
    linear: dict[str, tuple[int, int, bool]] = {
        "encode": (width, nodes, True),
        "smoother_hidden": (width, width, True),
        "smoother_out": (1, width, True),
        "entry_row": (width, width, True),
        "entry_root": (width, width, False),
        "entry_own": (width, entries, False),
        "entry_mix": (width, width, True),
        "entry_out": (1, width, True),
    }
    for k in range(rounds):
        linear |= {
            f"rounds.{k}.receive": (width, width, True),
            f"rounds.{k}.send": (width, width, False),
            f"rounds.{k}.edge": (width, edges, False),
            f"rounds.{k}.gather": (width, 3 * width, True),
            f"rounds.{k}.update_state": (width, width, True),
        }
    for name, (out, into, bias) in linear.items():
        shapes[f"values.{name}.weight"] = (out, into)
        if bias:
            shapes[f"values.{name}.bias"] = (out,)
    return shapes
