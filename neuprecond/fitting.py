"""A user's own matrices to a model file: `fit` checks what it is given, training does the rest."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from neuprecond import checks, problems
from neuprecond.errors import NotDefiniteError
from neuprecond.hierarchy import unit_diagonal
from neuprecond.multilevel import reduce_exactly
from neuprecond.operators.cycle import COARSEST
from neuprecond.problems.files import SUFFIXES
from neuprecond.spectrum import ends
from neuprecond.zoo import Card, Model, load_model
from neuprecond.zoo.model import components

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Given", "Matrices", "collect", "fit", "told"]

#: What `fit` takes: a folder, matrices with or without b, or a function that draws one.
Matrices = str | Path | Sequence[Any] | Callable[[np.random.Generator], Any]

# Matrices drawn from a function.
DRAWN = 48
# All plans are measured on every matrix, which at more unknowns takes longer than "minutes".
LARGEST = 200_000
# Up to this many unknowns a factorisation tells for sure whether a matrix is definite.
FACTORED = 20_000
# A pivot this small is zero to rounding.
LEAST_PIVOT = 1e-13


@dataclass(frozen=True, eq=False)
class Given:
    """A matrix that was given, after its checks.

    Attributes
    ----------
    name : str
        File, or number in the list or of the draw.
    A : csr_array, shape (n, n)
        Symmetric positive definite.
    b : ndarray, shape (n,)
        Right-hand side; white where none was given.
    from_file : bool
        Whether the name is a file's.
    """

    name: str
    A: sparse.csr_array
    b: np.ndarray
    from_file: bool


def fit(
    problems: Matrices,
    out: str | Path,
    *,
    start: str | Path = "diffusion2d",
    steps: int = 200,
    count: int | None = None,
    hold_out: float = 0.25,
    seed: int = 1,
    device: str = "auto",
    resume: bool = False,
    console: "Console | None" = None,
) -> Path:
    """Fit a packaged model to matrices of your own, in minutes; needs the extra ``train``.

    Fine-tuning: the network's weights start from the packaged ones and take small steps, then the
    pick of a plan is taught which plans are cheap on these matrices. Some matrices are held out,
    and what takes no more iterations on them than the start does is kept: on these the result is
    never worse than what it started from, on average. They chose the result, so for honest figures
    keep a few matrices back from all of this. Values carry to larger matrices; which plan is cheap
    depends on the size, so let some matrices be as large as those to be solved.

    Parameters
    ----------
    problems : path, sequence or callable
        A folder of matrix files (`neuprecond.problems.read` tells which), a sequence of matrices or
        of pairs (A, b), or a function ``draw(rng)`` that returns A, (A, b) or a
        `neuprecond.problems.Problem` and draws from ``rng`` alone. At least two matrices, each real
        and symmetric positive definite with at most 200 000 unknowns. Sizes may differ. Of large
        matrices pieces are trained on; what is learned is local.
    out : path
        The weights file to write, ``NAME.safetensors``; its card ``NAME.toml`` goes beside it, and
        ``NAME.checkpoint`` and ``NAME.labels`` on the way.
    start : str or Path
        A packaged model of several levels or of one ("diffusion2d" or "heat"), or a model file.
    steps : int
        Of fine-tuning; 0 fits the pick only.
    count : int, optional
        Matrices to take: 48 draws of a function and all of a folder or sequence by default. Where
        there are more, the seed chooses.
    hold_out : float
        Share of the matrices that is not trained on, at least one.
    seed : int
        Decides on everything that is drawn; the same seed gives the same weights on one machine.
    device : str
        "cpu", "cuda", or "auto" for a GPU if there is one.
    resume : bool
        Go on from the checkpoint beside ``out``, if there is one.
    console : rich Console, optional
        Where progress goes; stderr by default.

    Returns
    -------
    Path
        Of the weights file, for `neuprecond.load`.

    Raises
    ------
    ValueError
        If there are fewer than two matrices, or one is not square, not finite, too large, or too
        small to learn from; the message names it.
    NotDefiniteError
        If one is not symmetric positive definite.
    TypeError
        If ``problems`` is none of the above, or holds what is no matrix of real numbers.
    WeightsError
        If the start cannot be read, or the checkpoint is of other matrices or options.
    ModuleNotFoundError
        If torch or torch-geometric is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import pyamg
    >>> from rich.console import Console
    >>> def plate(rng):
    ...     return pyamg.gallery.poisson((20, 20), format="csr") + sparse.diags_array(
    ...         rng.uniform(0.1, 0.2, 400)
    ...     )
    >>> with tempfile.TemporaryDirectory() as folder:  # two steps, to be quick
    ...     silent = Console(quiet=True)
    ...     out = f"{folder}/plate.safetensors"
    ...     path = fit(plate, out, start="heat", steps=2, count=3, console=silent)
    ...     model = load_model(path)
    >>> model.card.training["start"]["model"], model.card.training["problems"]["count"]
    ('heat', 3)
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise ValueError(f"out must end in .safetensors, got {str(out)!r}.")
    if out.is_dir():
        raise ValueError(f"out must be a file to write, {out} is a folder.")
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}.")
    if not 0.0 < hold_out < 1.0:
        raise ValueError(f"hold_out must be a share between 0 and 1, got {hold_out:g}.")
    model = load_model(start)
    if model.card.kind == "nonsymmetric":
        raise ValueError(
            f"model {model.card.name!r} is of kind 'nonsymmetric', which learns no values to fine-"
            "tune. Start from 'diffusion2d' or 'heat', or train anew: neuprecond train advection."
        )
    try:
        from neuprecond.training.tune import tune
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"neuprecond.fit needs {error.name}, which is not installed. "
            "Install the extra 'train': pip install 'neuprecond[train]'.",
            name=error.name,
        ) from None
    out.parent.mkdir(parents=True, exist_ok=True)
    source, given = collect(problems, model, count=count, seed=seed)
    return tune(
        given,
        out,
        model,
        source=source,
        steps=steps,
        hold_out=hold_out,
        seed=seed,
        device=device,
        resume=resume,
        console=console,
    )


def collect(
    matrices: Matrices, model: Model, *, count: int | None = None, seed: int = 1
) -> tuple[str, list[Given]]:
    """Read or draw the matrices and check each.

    Parameters
    ----------
    matrices, count, seed
        As for `fit`.
    model : Model
        What is to be fitted.

    Returns
    -------
    str
        Where they are from: the folder's name, the function's, or "matrices".
    list of Given
        At least two.

    Raises
    ------
    ValueError, TypeError, NotDefiniteError
        As for `fit`.
    """
    if count is not None and count < 2:
        raise ValueError(
            f"count must be at least 2, one to train on and one held out, got {count}."
        )
    from_folder = isinstance(matrices, str | Path)
    if isinstance(matrices, str | Path):
        source, named = Path(matrices).resolve().name, _files(Path(matrices))
    elif callable(matrices):
        source = getattr(matrices, "__name__", type(matrices).__name__).strip("<>")
        named = _draws(matrices, source, DRAWN if count is None else count, seed)
    elif isinstance(matrices, Sequence):
        source, named = (
            "matrices",
            [(f"matrix {k}", partial(_given, A)) for k, A in enumerate(matrices)],
        )
    else:
        raise TypeError(
            "problems must be a folder, a list of at least two matrices, or a function that takes "
            f"a generator and returns a matrix, got {type(matrices).__name__}."
        )
    if len(named) < 2:
        raise ValueError(
            f"fit needs at least two matrices, one to train on and one held out, got {len(named)} "
            f"from {source}. Give more of the family, of other sizes or coefficients, or pieces of "
            "a large one: A[:k, :k]."
        )
    if count is not None and count < len(named):
        chosen = np.random.default_rng([seed, 9]).choice(len(named), count, replace=False)
        named = [named[k] for k in sorted(chosen)]
    given = [
        _checked(name, make(), model, np.random.default_rng([seed, 10, k]), from_folder)
        for k, (name, make) in enumerate(named)
    ]
    if callable(matrices) and all(_same(given[0].A, other.A) for other in given[1:]):
        raise ValueError(
            f"{source} returned the same matrix {len(given)} times: what is held out would be what "
            "is trained on. Draw something of it from the generator that it is given."
        )
    return source, given


def told(card: Card) -> str:
    """What a fit reached on the matrices held out, in a sentence.

    Parameters
    ----------
    card : Card
        Of a fitted model.
    """
    (counts,) = card.validation["iterations"].values()
    words = {"start": card.training["start"]["model"], "learned": "fitted", "twin": "twin"}
    words["classical"] = f"best of {' and '.join(card.validation['classical'])}"
    said = ", ".join(f"{words[name]} {count:.1f}" for name, count in counts.items())
    held = card.training["problems"]["held_out_count"]
    return f"kept {card.validation['kept']}; mean iterations on {held} held out: {said}"


def _files(folder: Path) -> list[tuple[str, Callable[[], Any]]]:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ValueError(f"problems must be a folder of matrix files, {folder} {what}.")
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and Path(path.name.lower().removesuffix(".gz")).suffix in SUFFIXES
    )
    if not paths:
        raise ValueError(f"no matrix files in {folder}: looked for {', '.join(SUFFIXES)}.")
    return [(path.name, partial(problems.read, path)) for path in paths]


def _draws(
    draw: Callable[[np.random.Generator], Any], source: str, count: int, seed: int
) -> list[tuple[str, Callable[[], Any]]]:
    try:
        inspect.signature(draw).bind(None)
    except TypeError:
        raise TypeError(
            f"{source} must take one argument, a numpy.random.Generator, and return a matrix."
        ) from None
    except ValueError:
        # Compiled functions tell nothing of their arguments.
        pass
    return [(f"{source}, draw {k},", partial(_drawn, draw, [seed, 8, k])) for k in range(count)]


def _drawn(draw: Callable[[np.random.Generator], Any], seeds: list[int]) -> Any:
    return draw(np.random.default_rng(seeds))


def _given(A: Any) -> Any:
    return A


def _checked(
    name: str, item: Any, model: Model, rng: np.random.Generator, from_file: bool
) -> Given:
    """A matrix and its right-hand side, or an error that names it."""
    b: Any = None
    if isinstance(item, problems.Problem):
        A, b = item.A, item.b
    elif isinstance(item, tuple) and len(item) == 2:
        A, b = item
    else:
        A = item
    try:
        A = checks.as_csr(A)
        _require_fit(A, model)
        b = rng.standard_normal(A.shape[0]) if b is None else _right_side(b, A.shape[0])
    except NotDefiniteError as error:
        raise NotDefiniteError(
            f"{name}: {error.fact}", "fit is for symmetric positive definite matrices."
        ) from None
    except (ValueError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from None
    return Given(name, A, b, from_file)


def _right_side(b: Any, n: int) -> np.ndarray:
    b = np.asarray(b)
    if b.dtype.kind not in "biuf" or b.shape not in ((n,), (n, 1)):
        raise ValueError(f"b must hold {n} real numbers, got dtype {b.dtype}, shape {b.shape}.")
    b = b.astype(np.float64).ravel()
    if not np.isfinite(b).all() or not b.any():
        raise ValueError("b must be finite and not zero.")
    return b


def _require_fit(A: sparse.csr_array, model: Model) -> None:
    """Raise unless A is definite, and of a size and kind that there is something to learn of."""
    who, n = "fit", A.shape[0]
    if n > LARGEST:
        raise ValueError(
            f"it has {n} unknowns, fit takes up to {LARGEST}. Cut a piece of neighbouring unknowns "
            "out, A[k, :][:, k], or take a coarser grid: what is learned is local and carries to "
            "larger matrices."
        )
    checks.require_symmetric(A, who=who)
    checks.require_definite_diagonal(A, who=who)
    scaled, _ = unit_diagonal(A)
    least = _least_pivot(scaled) if n <= FACTORED else ends(scaled, most=200).low
    if least < LEAST_PIVOT:
        word = "singular" if least > -LEAST_PIVOT else "indefinite"
        raise NotDefiniteError(f"fit needs a positive definite A, this one is {word}.")
    if model.card.kind == "spai":
        if A.nnz == n:
            raise ValueError("it is diagonal: there is nothing to learn.")
        return
    near_null, _ = components(A)
    if near_null is not None:
        raise ValueError(
            f"its unknowns come in blocks of {near_null.shape[1]}, as displacements do: there "
            "models take fixed plans and nothing learned, so there is nothing to fit."
        )
    left = reduce_exactly(A).A.shape[0]
    if left <= COARSEST:
        raise ValueError(
            f"of its {n} unknowns {left} are left after exact elimination, and up to {COARSEST} "
            "are inverted at once: it is too small to coarsen, so there is nothing to learn."
        )


def _least_pivot(A: sparse.csr_array) -> float:
    """Smallest pivot of A with a unit diagonal, factored along the diagonal; < 0 if indefinite."""
    options = {"SymmetricMode": True}
    try:
        lu = sparse.linalg.splu(
            A.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options
        )
    except RuntimeError:
        # A pivot of zero; which sign the others have is as little good.
        return 0.0
    return float(lu.U.diagonal().min())


def _same(A: sparse.csr_array, C: sparse.csr_array) -> bool:
    return (
        A.shape == C.shape
        and np.array_equal(A.indices, C.indices)
        and np.array_equal(A.data, C.data)
    )
