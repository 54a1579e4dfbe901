"""A training of a second, for the tests of training."""

from neuprecond.training.recipes import Ingredient, Recipe

# An odd batch, so that several processes have unequal shares of it.
TINY = Recipe(
    name="tiny",
    kind="multilevel",
    summary="for tests",
    mix=(Ingredient("lognormal", (14, 18), (24, 30), (14, 18), 20),),
    steps=6,
    batch=5,
    width=4,
    rounds=1,
    pool=6,
    labels=6,
    every=2,
    pcg_steps=3,
)
