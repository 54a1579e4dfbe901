"""Problems of a recipe: the same for the same seed, whatever runs beside."""

from dataclasses import dataclass

import numpy as np

from neuprecond import problems
from neuprecond.training.recipes import Ingredient, Recipe

__all__ = ["Drawn", "draw_problem", "draw_size", "ingredients"]


@dataclass(frozen=True)
class Drawn:
    """A problem and the seed that drew it."""

    problem: problems.Problem
    ingredient: Ingredient
    seed: int


def ingredients(
    recipe: Recipe, count: int, rng: np.random.Generator, *, labels: bool = False
) -> list[Ingredient]:
    """A pool's ingredients: shares by weight, each at least once if there is room, shuffled.

    Those of the labelled problems by their own weights, where they have some, and more of them.
    """
    parts = (*recipe.mix, *recipe.labelled) if labels else recipe.mix
    weights = np.array([part.share(labels=labels) for part in parts])
    shares = np.floor(count * weights / weights.sum()).astype(int)
    missing = count - shares.sum()
    shares[np.argsort(shares)[:missing]] += 1
    chosen = [part for part, times in zip(parts, shares, strict=True) for _ in range(times)]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def draw_size(sizes: tuple[int, int], rng: np.random.Generator) -> int:
    """Draw a size between two; large and small ones equally often by their logarithm."""
    low, high = np.log(sizes)
    return round(float(np.exp(rng.uniform(low, high))))


def draw_problem(
    part: Ingredient, split: str, number: int, rng: np.random.Generator, sizes: tuple[int, int]
) -> Drawn:
    """Problem ``number`` of a split, of a size between the two.

    Parameters
    ----------
    part : Ingredient
        Family and parameters.
    split : str
        "train" or "validation": which seeds may be used.
    number : int
        Counts problems; decides on the seed.
    rng : Generator
        Draws the size.
    sizes : tuple of int
        Smallest and largest size.
    """
    allowed = problems.seeds(split)
    seed = allowed[number % len(allowed)]
    size = draw_size(sizes, rng)
    drawn = problems.draw(
        part.family, size, np.random.default_rng(seed), parameters=part.parameters
    )
    return Drawn(drawn, part, seed)
