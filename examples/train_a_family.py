"""Can I train a model for my own kind of matrix? A family, a recipe, a weights file.

Needs the extra ``train`` (torch and torch-geometric). A handful of steps is enough to see how it
is done, not to gain much: the packaged models took 2000.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from pyamg.gallery import diffusion_stencil_2d, stencil_grid
from rich.console import Console

import neuprecond
from neuprecond import problems
from neuprecond.problems.family import Family, Problem, made


def wood(size: int, rng: np.random.Generator) -> Problem:
    """Draw heat in a board: it runs along the grain 50 to 200 times as well as across."""
    angle, across = rng.uniform(np.pi / 8, np.pi / 4), 1.0 / rng.uniform(50, 200)
    stencil = diffusion_stencil_2d(epsilon=across, theta=angle, type="FE")
    A = stencil_grid(stencil, (size, size), format="csr")
    return made("wood", A, rng, {"size": size, "angle": angle, "across": across})


def main(small: bool = False, folder: Path | None = None) -> dict[str, float]:
    """Train on the family, write the file, load it by its path, and compare.

    Parameters
    ----------
    small : bool
        6 steps instead of 80, and one small test problem.
    folder : Path, optional
        Gets the weights and their card; a temporary one by default.

    Returns
    -------
    dict
        Iterations of PyAMG's SA, of the twin and of the new model on boards not trained on, and the
        largest true residual.
    """
    from neuprecond.training.loop import train
    from neuprecond.training.recipes import Ingredient, Recipe

    # Recipes name their families, so ours gets a name.
    problems.FAMILIES["wood"] = Family("wood", wood, "2-D", True, "board with a grain")
    recipe = Recipe(
        name="wood",
        kind="multilevel",
        summary="boards with a grain",
        mix=(
            Ingredient(
                "wood",
                sizes=(20, 32),
                coarse_sizes=(40, 60),
                label_sizes=(24, 80),
                validation_size=64,
            ),
        ),
        steps=80,
        pool=24,
        labels=24,
        every=20,
    )
    if small:
        recipe = replace(recipe, steps=6, pool=4, labels=6, every=3)
    with tempfile.TemporaryDirectory() as temporary:
        console = Console(stderr=True, quiet=small)
        path = train(recipe, folder or Path(temporary), seed=17, device="cpu", console=console)
        model = neuprecond.load_model(path)
    print(model.card)

    # Near the sizes that were trained on, and far beyond: there a short training may not carry.
    numbers = {}
    for size in (48,) if small else (64, 256):
        A, b = unseen(size)
        print(f"{size} × {size}:")
        for name, M in (
            ("sa", "sa"),
            ("twin", model.precondition(A, learned=False)),
            ("learned", model.precondition(A)),
        ):
            record = neuprecond.solve(A, b, M=M)
            print(f"  {record}")
            numbers[f"{name}, {size}²"] = float(record.iterations)
            numbers["residual"] = max(record.residual, numbers.get("residual", 0.0))
    return numbers


def unseen(size: int) -> tuple:
    """A and b with a seed that training never uses."""
    problem: Problem = wood(size, np.random.default_rng(problems.seeds("test")[0]))
    return problem.A, problem.b


if __name__ == "__main__":
    main(folder=Path("runs"))
