"""Models: `load` makes M from A in one call, `load_model` gives the model itself. No torch."""

import hashlib
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from scipy import sparse

from neuprecond import checks
from neuprecond.errors import Interrupted, NeuprecondWarning, NotDefiniteError
from neuprecond.operators.base import ApproximateInverse
from neuprecond.operators.wrapped import Negated
from neuprecond.zoo.atomic import write_bytes
from neuprecond.zoo.card import Card, read_card, write_card
from neuprecond.zoo.choose import (
    MULTILEVEL,
    NONSYMMETRIC,
    ONE_LEVEL,
    choose,
    fall_back,
    is_covariance,
    is_covered,
    settled,
)
from neuprecond.zoo.files import find, packaged, read_weights
from neuprecond.zoo.model import FAR, Model
from neuprecond.zoo.probe import probed, probed_two_sided, require_finite, require_sound

__all__ = ["Card", "Model", "load", "load_model", "models", "reuse", "save_model"]

# "auto" is meant for matrices of all kinds and speaks up only where A is unlike anything seen.
VERY_FAR = 3.0 * FAR


def models() -> list[Card]:
    """Cards of the packaged models: families, sizes trained on, kind, licence.

    Examples
    --------
    >>> [card.name for card in models()]
    ['advection', 'diffusion2d', 'heat']
    """
    return [read_card(path.with_suffix(".toml")) for path in packaged().values()]


def load_model(name_or_path: str | Path, *, device: str | None = None) -> Model:
    """Read a packaged model, or one from a weights file.

    Parameters
    ----------
    name_or_path : str or Path
        A name from `models`, or a path to a ``.safetensors`` file with its card beside it.
    device : str, optional
        "cpu" or "cuda": where torch evaluates the network; by default it is evaluated without
        torch.

    Raises
    ------
    ValueError
        If no packaged model has this name.
    WeightsError
        If the file is missing, damaged, of a newer format or made for other features.

    Examples
    --------
    >>> load_model("diffusion2d").card.kind
    'multilevel'
    """
    card, weights = read_weights(find(name_or_path))
    return Model(card, weights, device)


def save_model(model: Model, path: str | Path) -> None:
    """Write a model's weights and card, each whole or not at all.

    Parameters
    ----------
    model : Model
        From `load_model` or a training.
    path : str or Path
        Ends in ``.safetensors``; the card goes beside it.
    """
    if not isinstance(model, Model):
        raise TypeError(
            f"save_model needs a Model, as load_model gives it, got {type(model).__name__}."
        )
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {path}.")
    content = save({key: np.ascontiguousarray(value) for key, value in model.weights.items()})
    card = replace(model.card, sha256=hashlib.sha256(content).hexdigest())
    write_bytes(path, content)
    write_bytes(path.with_suffix(".toml"), write_card(card).encode())


def load(
    name_or_path: str | Path,
    A: object = None,
    *,
    B: object = None,
    learned: bool = True,
    device: str | None = None,
    check: bool | str = True,
) -> ApproximateInverse | Model:
    """M ≈ A⁻¹ as SciPy's solvers take it: M approximates the inverse of A, not A.

    ``M @ (A @ x)`` is near x: that is the two-line check of any preconditioner.

    Parameters
    ----------
    name_or_path : str or Path
        "auto", a packaged name (see `models`), or a path to a weights file. "auto" takes the
        one-level model ``heat`` where every row of A is dominant by a tenth of its diagonal, and
        ``diffusion2d`` for every other symmetric positive definite A, or for -A if that is
        positive definite. For a nonsymmetric A with a diagonal of one sign it takes ``advection``,
        whose M is for GMRES, and a `NeuprecondWarning` says so. Where no model fits, it returns a
        classical M for GMRES with a warning that says why; M.model tells what it is.
    A : sparse array or matrix, or ndarray, shape (n, n), optional
        Never changed. Without A the model itself is returned.
    B : array_like, shape (n, k), optional
        Near-null vectors of A, such as rigid body modes; constants by default.
    learned : bool
        False gives the unlearned twin: the same plan with PyAMG's interpolation and a Chebyshev
        smoother of the same cost, or FSAI. For nonsymmetric A what is learned is the plan, and the
        twin has the one that is best on average.
    device : str, optional
        "cpu" or "cuda": where torch evaluates the network; by default it is evaluated without
        torch.
    check : bool or str
        True: A must be near what the model was trained on, else a `NeuprecondWarning` says what is
        how far outside; M must be finite and definite on a random vector. "probe": besides, a few
        steps of CG compare M with its twin; where learning has made it worse, M is the twin, or
        Jacobi where that is better still, with a warning. "strict": like "probe", but what would
        be a warning is raised. False: neither; A itself is checked always.

    Returns
    -------
    ApproximateInverse, shape (n, n), or Model
        A SciPy LinearOperator, float64 in and out, for ``M=`` of cg, gmres and lobpcg. It is no
        ``OPinv`` for eigsh, which needs exact solves and would give other eigenvalues without a
        word. It stays valid as it is when A changes a little: load again when the number of steps
        has grown, or let `reuse` fit it to the new values.

    Raises
    ------
    ValueError
        If A is not square, empty or not finite, the name is unknown, B does not fit, or a strict
        check fails.
    TypeError
        If A is no matrix of numbers.
    NotDefiniteError
        If a named model does not cover A.
    WeightsError
        If the weights file cannot be used.

    Examples
    --------
    >>> import pyamg
    >>> from scipy.sparse.linalg import cg
    >>> A = pyamg.gallery.poisson((30, 30), format="csr")
    >>> M = load("auto", A)
    >>> x, info = cg(A, np.ones(900), M=M, rtol=1e-8)
    >>> info
    0
    """
    if not any(check is option for option in (True, False)) and check not in ("probe", "strict"):
        raise ValueError(f'check must be True, False, "probe" or "strict", got {check!r}.')
    is_auto = isinstance(name_or_path, str) and name_or_path == "auto"
    if A is None:
        if is_auto:
            raise ValueError('"auto" chooses a model by the matrix: give A, or name a model.')
        return load_model(name_or_path, device=device)
    try:
        if is_auto:
            M, remarks = _auto(A, B, learned=learned, device=device, check=check)
        else:
            model = load_model(name_or_path, device=device)
            matrix = checks.as_csr(A)
            M, remarks = _checked(model, matrix, B, learned=learned, check=check, far=FAR)
    except Interrupted:
        # What a trial had of its x is nothing that a caller asked for.
        raise KeyboardInterrupt from None
    for remark in remarks:
        if check == "strict":
            raise ValueError(remark)
        warnings.warn(remark, NeuprecondWarning, stacklevel=2)
    return M


def reuse(
    M: ApproximateInverse, A: object, *, interpolate: bool = False, check: bool = True
) -> ApproximateInverse:
    """M for a matrix of the same pattern with other values, in a third of the time of `load`.

    The model, its plan, and on every level splitting or aggregates and the interpolation between
    them are those of M, what the network said of them too. Scaling, exact elimination, Galerkin
    products, smoothers and the coarsest inverse are made of A's values. M itself stays as it is.

    Parameters
    ----------
    M : ApproximateInverse
        From `load`, `Model.precondition` or `reuse`. What was made by a model of one level
        (``heat``) keeps only that choice and gains nothing; what was made by ``advection`` keeps
        its plan.
    A : sparse array or matrix, or ndarray, shape (n, n)
        With entries where the matrix had them that M was made for; zeros are no entries. Never
        changed.
    interpolate : bool
        True interpolates anew, and the network sees the new values. That takes four fifths of the
        time of `load` and is for coefficients that change by their own size and more: those that
        change by a few percent need no other interpolation.
    check : bool
        M must be finite and definite on a random vector. A is not compared with what the model was
        trained on: `load` did that.

    Returns
    -------
    ApproximateInverse, shape (n, n)
        Symmetric positive definite where M is. For the very matrix that M was made for it equals M
        up to rounding.

    Raises
    ------
    ValueError
        If A has another pattern or shape, or is not finite.
    TypeError
        If M is none of ours, or a classical fall-back, which keeps nothing.
    NotDefiniteError
        If the model does not cover A.

    Examples
    --------
    >>> import pyamg
    >>> A = pyamg.gallery.poisson((30, 30), format="csr")
    >>> M = load("diffusion2d", A)
    >>> N = reuse(M, A + 0.1 * sparse.diags_array(A.diagonal()))
    >>> N.model, sorted(N.setup_seconds)
    ('diffusion2d', ['check', 'products'])
    """
    if isinstance(M, Negated):
        negative = -checks.as_csr(A)
        return Negated(reuse(M.inner, negative, interpolate=interpolate, check=check))
    origin = getattr(M, "origin", None)
    if origin is None:
        what = M.model if isinstance(M, ApproximateInverse) else type(M).__name__
        raise TypeError(
            f"reuse needs an M that a learned model made, got {what!r}: it keeps nothing that "
            "another matrix could use. Make it anew."
        )
    model: Model = origin.model
    new = model.rebuild(M, A, interpolate=interpolate)
    if check:
        matrix = checks.as_csr(A)
        two_sided = model.card.kind == "nonsymmetric"
        require_finite(matrix, new) if two_sided else require_sound(matrix, new)
    return new


def _checked(
    model: Model,
    A: sparse.csr_array,
    B: object,
    *,
    learned: bool,
    check: bool | str,
    far: float,
) -> tuple[ApproximateInverse, list[str]]:
    """M of a model and remarks on it, after the checks that were asked for."""
    M, remarks = model.build(A, B, learned=learned, far=far if check else np.inf)
    two_sided = model.card.kind == "nonsymmetric"
    if check:
        require_finite(A, M) if two_sided else require_sound(A, M)
        remarks += _overflow_remarks(A)
    if check in ("probe", "strict") and learned:
        twin, _ = model.build(A, B, learned=False, far=np.inf)
        M, remark = (probed_two_sided if two_sided else probed)(A, M, twin)
        remarks += remark
    return M, remarks


def _overflow_remarks(A: sparse.csr_array) -> list[str]:
    """Say so if A is so small that its inverse is beyond the largest number."""
    d = np.abs(A.diagonal())
    with np.errstate(all="ignore"):
        rows = np.flatnonzero(np.isinf(1.0 / d))
    if len(rows) == 0:
        return []
    return [
        f"one over the diagonal of A overflows, it is {d[rows[0]]:.1e} in row {rows[0]}: M @ r may "
        "be infinite. Multiply A and b by a power of two first."
    ]


def _auto(
    A: object, B: object, *, learned: bool, device: str | None, check: bool | str
) -> tuple[ApproximateInverse, list[str]]:
    matrix = checks.as_csr(A, allow_complex=True)
    if matrix.dtype.kind == "c" and not matrix.data.imag.any():
        matrix = sparse.csr_array((matrix.data.real, matrix.indices, matrix.indptr), matrix.shape)
    near_null = None if B is None else checks.require_near_null(B, matrix.shape[0])
    try:
        if matrix.dtype.kind == "c":
            raise NotDefiniteError("A is complex and the models are real.")
        is_negative = bool((matrix.diagonal() < 0).all())
        definite = -matrix if is_negative else matrix
        checks.require_symmetric(definite, who="a learned model")
        checks.require_definite_diagonal(definite, who="a learned model")
        # Only a model of several levels has use for near-null vectors.
        name = choose(definite) if near_null is None else MULTILEVEL
        # Nothing was learned about covariances: M is the twin, FSAI.
        learned = learned and not (name == ONE_LEVEL and is_covariance(definite))
        model = load_model(name, device=device)
        M, remarks = _checked(
            model, definite, near_null, learned=learned, check=check, far=VERY_FAR
        )
    except NotDefiniteError as reason:
        why = reason
        if is_covered(matrix):
            try:
                return _for_gmres(matrix, B, learned=learned, device=device, check=check)
            except NotDefiniteError as other:
                why = other
        # Its advice is to do what was done here.
        if check == "strict":
            raise NotDefiniteError(
                f"no learned model covers A: {why.fact}",
                "Use a direct solver; without strict checks a classical M for GMRES is returned.",
            ) from why
        M = fall_back(matrix)
        return M, [
            f"no learned model covers A: {why.fact} Returned instead: {M.model}. Use it with "
            "GMRES; a direct solver may be the better choice."
        ]
    return (Negated(M) if is_negative else M), remarks


def _for_gmres(
    A: sparse.csr_array, B: object, *, learned: bool, device: str | None, check: bool | str
) -> tuple[ApproximateInverse, list[str]]:
    """M of the nonsymmetric model, if a few steps of GMRES get on with it."""
    model = load_model(NONSYMMETRIC, device=device)
    M, remarks = _checked(model, A, B, learned=learned, check=check, far=VERY_FAR)
    if check and not settled(A, M):
        raise NotDefiniteError(
            f"GMRES hardly gets on with M of model {model.card.name!r}, made for advection."
        )
    told = (
        f"A is not symmetric: M of model {model.card.name!r} is for GMRES or BiCGStab, CG would go "
        f"wrong. load({model.card.name!r}, A) takes it without this warning."
    )
    return M, [told, *remarks]
