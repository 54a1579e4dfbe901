"""Seconds of a short training, by the clock and of CPU time, in each of its processes.

Alone and by torchrun, with torch's environment::

    python datasets/results/training_speed.py diffusion2d
    torchrun --nproc_per_node=2 datasets/results/training_speed.py diffusion2d

The recipe's own problems, batches and networks, but fewer of them and small validation problems.
Where other programs run at the same time, CPU seconds say more than the clock's.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from neuprecond.training import loop
from neuprecond.training.recipes import RECIPES

PHASES = {"_pool": "drawing", "_step": "steps", "_labels": "labelling"}
COUNTS = {"drawing": 80, "steps": 20, "labelling": 40}


def timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """The function, adding to seconds by the clock and of CPU time."""

    def inner(*arguments: Any) -> Any:
        clock, cpu = time.perf_counter(), time.process_time()
        result = function(*arguments)
        spent[0] += time.perf_counter() - clock
        spent[1] += time.process_time() - cpu
        return result

    return inner


def main(name: str) -> None:
    """Train for a little while and print a line of JSON."""
    recipe = RECIPES[name]
    mix = tuple(replace(p, validation_size=min(p.sizes[0], 100)) for p in recipe.mix)
    recipe = replace(
        recipe,
        mix=mix,
        pool=COUNTS["drawing"],
        steps=COUNTS["steps"],
        labels=COUNTS["labelling"] if recipe.labels else 0,
        every=1000,
        cautious=0,
    )
    spent: dict[str, list[float]] = {phase: [0.0, 0.0] for phase in PHASES.values()}
    for function, phase in PHASES.items():
        setattr(loop, function, timed(getattr(loop, function), spent[phase]))
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        loop.train(recipe, Path(folder), seed=3, device="cpu", console=Console(quiet=True))
    about = {"rank": int(os.environ.get("RANK", "0")), "load": [before, os.getloadavg()[0]]}
    rates = {
        phase: {
            "a second": round(COUNTS[phase] / clock, 2),
            "CPU seconds each": round(cpu / COUNTS[phase], 3),
        }
        for phase, (clock, cpu) in spent.items()
        if clock
    }
    print(json.dumps(about | rates), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
