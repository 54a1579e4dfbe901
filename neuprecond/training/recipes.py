"""What each packaged model is trained on and for how long."""

from dataclasses import dataclass, field, replace

__all__ = ["RECIPES", "Ingredient", "Recipe", "changed"]


@dataclass(frozen=True)
class Ingredient:
    """One family of a recipe.

    Attributes
    ----------
    family : str
        One of `neuprecond.problems.FAMILIES`.
    sizes, coarse_sizes : tuple of int
        Smallest and largest size, as the family counts it, where the problem itself is trained on
        and where its first coarse matrix is.
    weight : float
        Share of the pool, relative to the other ingredients.
    parameters : dict
        Fixed parameters; the rest is drawn.
    label_sizes, validation_size : tuple of int, int
        Sizes for measuring plans or for being cautious, and for validation.
    label_weight : float or None
        Share of the labelled problems, relative to the other ingredients; ``weight`` by default.
    """

    family: str
    sizes: tuple[int, int]
    coarse_sizes: tuple[int, int]
    label_sizes: tuple[int, int]
    validation_size: int
    weight: float = 1.0
    parameters: dict[str, float | str] = field(default_factory=dict)
    label_weight: float | None = None

    def share(self, *, labels: bool) -> float:
        """Weight among the labelled problems or in the pool."""
        return self.label_weight if labels and self.label_weight is not None else self.weight


@dataclass(frozen=True)
class Recipe:
    """A model's training.

    Attributes
    ----------
    name, kind, summary : str
        As on the card.
    mix : tuple of Ingredient
        Families.
    steps, batch, rate : int, int, float
        Of Adam; one cycle of the learning rate up to ``rate``.
    width, rounds : int
        Of the network.
    pool : int
        Problems drawn once and trained on again and again.
    pcg_steps : int
        Steps the loss looks at.
    labels : int
        Problems on which all plans are measured, to train the pick; 0 where there is none.
    every : int
        Steps between validations.
    coarse_share : float
        Share of the pool that is the first coarse matrix of a problem some times as large: coarse
        matrices look unlike fine ones, and small problems have too small ones to learn from.
    labelled : tuple of Ingredient
        Families besides the mix that plans are measured on: what the pick alone learns from.
    cautious : int
        Small validation problems an ingredient on none of which M may need more iterations than its
        twin: what the network says is shrunk until that holds. 0 leaves it as it was learned.
    """

    name: str
    kind: str
    summary: str
    mix: tuple[Ingredient, ...]
    steps: int
    rate: float = 3e-3
    batch: int = 4
    width: int = 16
    rounds: int = 3
    pool: int = 320
    pcg_steps: int = 8
    labels: int = 320
    every: int = 200
    coarse_share: float = 0.4
    labelled: tuple[Ingredient, ...] = ()
    cautious: int = 0


def _plane(family: str, weight: float = 1.0, **parameters: float | str) -> Ingredient:
    return Ingredient(family, (24, 56), (64, 144), (40, 240), 96, weight, parameters)


def _plane_graph(family: str, weight: float = 1.0, **parameters: float | str) -> Ingredient:
    return Ingredient(family, (600, 3000), (4000, 16000), (1600, 30000), 9000, weight, parameters)


def _space(family: str, weight: float = 1.0, **parameters: float | str) -> Ingredient:
    return Ingredient(family, (8, 14), (16, 24), (12, 38), 24, weight, parameters)


def _one_level(
    family: str,
    sizes: tuple[int, int],
    checked: tuple[int, int],
    validation_size: int,
    weight: float = 1.0,
    **parameters: float | str,
) -> Ingredient:
    return Ingredient(family, sizes, sizes, checked, validation_size, weight, parameters)


DIFFUSION_2D = (
    _plane("poisson2d", 0.7),
    _plane("lognormal", 1.5),
    _plane("twophase", 1.5),
    _plane("channels", 1.5),
    # Which plan is right changes with direction and strength: one family with many faces.
    replace(_plane("anisotropic", 2.0), label_weight=8.0),
    replace(_plane("fibres", 1.0), label_weight=2.5),
    _plane("jumps", 0.7),
    _plane("stretched", 0.5),
    _plane("fe2d", 0.7),
    _plane_graph("delaunay", 1.0),
)

#: A third of the pool is from elsewhere: "auto" meets other matrices too, and the pick must know
#: them when it sees them.
ELSEWHERE = (
    _space("poisson3d", 0.4),
    _space("poisson3d_27point", 0.3),
    replace(_space("lognormal3d", 0.5), label_weight=0.8),
    replace(_space("twophase3d", 0.5), label_weight=0.9),
    replace(_space("anisotropic3d", 0.5), label_weight=0.8),
    replace(_space("fe3d", 0.5), label_weight=0.8),
    _plane_graph("geometric", 0.5),
    _plane_graph("roads", 0.5),
    _plane_graph("attachment", 0.4),
    _plane_graph("knn", 0.5),
    # Without their rigid body modes, as users have them.
    Ingredient("elasticity2d", (14, 32), (32, 70), (20, 80), 50, 0.5),
    Ingredient("elasticity3d", (5, 8), (8, 12), (6, 12), 10, 0.4),
)

#: What Laplacians do not prepare for. Each plan takes its time there, so problems are smaller.
UNLIKE = (
    Ingredient("fibres3d", (8, 14), (16, 24), (10, 24), 24, 2.0),
    Ingredient("elements", (24, 56), (64, 144), (40, 120), 96, 3.0),
    Ingredient("pores", (600, 3000), (4000, 16000), (1600, 12000), 9000, 2.0),
    Ingredient("matern", (24, 56), (64, 144), (40, 100), 96, 1.5),
    Ingredient("covariance", (600, 3000), (4000, 16000), (1000, 6000), 4000, 1.0),
)

FLOWS = (
    Ingredient("advection", (16, 160), (16, 160), (16, 160), 128, 2.0),
    Ingredient("vortices", (16, 160), (16, 160), (16, 160), 128, 2.0),
    Ingredient("advection3d", (8, 24), (8, 24), (8, 24), 20, 0.7),
    Ingredient("oneway", (300, 16000), (300, 16000), (300, 16000), 8000, 0.7),
)

#: The packaged models, by name.
RECIPES = {
    "diffusion2d": Recipe(
        name="diffusion2d",
        kind="multilevel",
        summary="diffusion in the plane: Poisson, log-normal, two-phase, channels, anisotropic, "
        "bending fibres, Delaunay Laplacians; a third of its training in space and on graphs",
        mix=(*DIFFUSION_2D, *ELSEWHERE),
        steps=1000,
        pool=400,
        labels=800,
        labelled=UNLIKE,
    ),
    "heat": Recipe(
        name="heat",
        kind="spai",
        summary="implicit heat steps, shifted Laplacians, diagonally dominant matrices",
        mix=(
            _one_level("heat", (24, 40), (32, 64), 64, 1.5),
            _one_level("heat", (24, 40), (32, 64), 64, 0.5, kappa=10.0),
            _one_level("shifted", (600, 1600), (1000, 4000), 4000),
            _one_level("dominant", (600, 1600), (1000, 4000), 4000),
            _one_level("capped", (300, 800), (1000, 2000), 2000),
        ),
        steps=500,
        rate=7e-3,
        width=8,
        rounds=2,
        pool=160,
        pcg_steps=12,
        labels=0,
        every=100,
        coarse_share=0.0,
        cautious=40,
    ),
    "advection": Recipe(
        name="advection",
        kind="nonsymmetric",
        summary="advection and diffusion, upwind, for GMRES: straight winds and vortices in the "
        "plane and in space, random walks; what is learned is which plan to take",
        mix=FLOWS,
        steps=0,
        pool=0,
        labels=600,
    ),
}


# What a kind of model has no use for: it learns no plan, or nothing but the plan.
UNUSED = {
    "spai": {"labels": "has one plan, so there is nothing to label"},
    "nonsymmetric": {
        "steps": "learns which plan to take and no values, so it takes no steps",
        "pool": "learns which plan to take and no values, so it has no pool",
    },
}


def changed(
    recipe: Recipe,
    *,
    steps: int | None = None,
    pool: int | None = None,
    labels: int | None = None,
) -> Recipe:
    """A recipe with other numbers, None for its own.

    Parameters
    ----------
    recipe : Recipe
    steps, pool, labels : int or None
        Instead of the recipe's.

    Raises
    ------
    ValueError
        If the kind of model has no use for one of them, or it is too small.

    Examples
    --------
    >>> changed(RECIPES["heat"], steps=7).steps
    7
    """
    asked = {"steps": steps, "pool": pool, "labels": labels}
    given = {option: number for option, number in asked.items() if number is not None}
    for option, number in given.items():
        if why := UNUSED.get(recipe.kind, {}).get(option):
            raise ValueError(
                f"recipe {recipe.name!r} of kind {recipe.kind!r} {why}: leave out --{option}."
            )
        # A fifth of the labelled problems tells what the pick is worth.
        least = 5 if option == "labels" else 1
        if number < least:
            raise ValueError(f"{option} must be at least {least}, got {number}.")
    return replace(recipe, **given)  # type: ignore[arg-type]
