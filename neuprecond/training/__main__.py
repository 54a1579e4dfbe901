"""python -m neuprecond.training NAME: train a packaged model anew."""

import os
from pathlib import Path
from typing import Annotated

import typer

from neuprecond.training.recipes import RECIPES, changed


def main(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(RECIPES)}.")],
    out: Annotated[Path, typer.Option(help="Folder for weights, card and checkpoint.")] = Path(
        "runs"
    ),
    seed: Annotated[int, typer.Option(help="Decides on everything that is drawn.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    steps: Annotated[int | None, typer.Option(help="Instead of the recipe's number.")] = None,
    pool: Annotated[int | None, typer.Option(help="Problems, instead of the recipe's.")] = None,
    labels: Annotated[int | None, typer.Option(help="For the pick, likewise.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in the folder.")] = False,
    spread: Annotated[
        str,
        typer.Option(
            help="More seeds, by commas, to train from and note on the card; what they measured "
            "goes into the pick."
        ),
    ] = "",
) -> None:
    """Train a model; writes NAME.safetensors and NAME.toml, and a checkpoint on the way."""
    from neuprecond.training.loop import train
    from neuprecond.training.output import note_spread
    from neuprecond.training.ranks import joined
    from neuprecond.training.together import fit_together

    if name not in RECIPES:
        raise typer.BadParameter(f"unknown recipe {name!r}; known are {', '.join(RECIPES)}.")
    try:
        recipe = changed(RECIPES[name], steps=steps, pool=pool, labels=labels)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        more = [int(number) for number in spread.split(",") if number]
    except ValueError:
        raise typer.BadParameter(f"--spread takes seeds like 2,3, got {spread!r}.") from None
    path = train(recipe, out, seed=seed, device=device, resume=resume)
    if more:
        others = [
            train(recipe, out / f"seed-{other}", seed=other, device=device, resume=resume)
            for other in more
        ]
        if joined(device).rank == 0:
            note_spread(path, others)
            if recipe.kind == "multilevel" and recipe.labels:
                fit_together(path, others)
    # Of the processes that torchrun started one wrote, and says so.
    if os.environ.get("RANK", "0") == "0":
        typer.echo(f"wrote {path} and {path.with_suffix('.toml')}")


if __name__ == "__main__":
    typer.run(main)
