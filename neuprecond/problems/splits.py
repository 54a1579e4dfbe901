"""Which sizes, seeds and parameters are for training, and which are kept for tests."""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["SPLITS", "Split", "seeds", "split"]

SPLITS = ("train", "validation", "test", "out_of_range")


@dataclass(frozen=True)
class Split:
    """The problems of one family that one purpose may use.

    Attributes
    ----------
    family, name : str
        Of which family; one of ``SPLITS``.
    seeds : range
        Seeds for ``numpy.random.default_rng``; those of two splits never meet.
    sizes : tuple of int
        Sizes for ``problems.draw``, smallest first.
    parameters : dict
        Values to fix instead of drawing them: empty but out of range.

    Examples
    --------
    >>> Split("poisson2d", "test", range(3, 5), (8, 16)).parameters
    {}
    """

    family: str
    name: str
    seeds: range
    sizes: tuple[int, ...]
    parameters: dict[str, float | int | str] = field(default_factory=dict)


def split(family: str, name: str) -> Split:
    """Look up a split in ``families.toml``, which lies beside this file.

    Parameters
    ----------
    family : str
        A key of ``problems.FAMILIES``.
    name : {"train", "validation", "test", "out_of_range"}
        ``out_of_range`` has larger sizes, harder parameters than are ever drawn, or both.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        If there is no such family or split.

    Examples
    --------
    >>> import numpy as np
    >>> from neuprecond import problems
    >>> test = split("twophase", "out_of_range")
    >>> test.parameters
    {'contrast': 100000000.0}
    >>> rng = np.random.default_rng(test.seeds[0])
    >>> problems.draw(test.family, 16, rng, parameters=test.parameters).A.shape
    (256, 256)
    """
    own_seeds = seeds(name)
    table = _table()
    if family not in table["family"]:
        raise ValueError(f"no family {family!r}. Known: {', '.join(table['family'])}.")
    entry = table["family"][family]
    parameters = dict(entry.get("parameters", {})) if name == "out_of_range" else {}
    return Split(family, name, own_seeds, tuple(entry[name]), parameters)


def seeds(name: str) -> range:
    """Seeds of a split: the same for every family, those of a user too.

    Raises
    ------
    ValueError
        If there is no such split.

    Examples
    --------
    >>> len(seeds("test"))
    1000
    """
    if name not in SPLITS:
        raise ValueError(f"no split {name!r}. Known: {', '.join(SPLITS)}.")
    first, last = _table()["seeds"][name]
    return range(first, last)


@cache
def _table() -> dict[str, Any]:
    path = Path(__file__).with_name("families.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))
