"""Models: `load` makes M from A in one call, `load_model` gives the model itself. No torch."""

import warnings
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, gmres

from neuprecond import checks, classical
from neuprecond.errors import NeuprecondWarning, NotDefiniteError
from neuprecond.hierarchy import unit_diagonal
from neuprecond.operators.base import ApproximateInverse
from neuprecond.operators.wrapped import Fallback, Negated
from neuprecond.zoo.card import Card, read_card, write_card
from neuprecond.zoo.files import find, packaged, read_weights
from neuprecond.zoo.model import Model

__all__ = ["Card", "Model", "load", "load_model", "models", "save_model"]

#: What "auto" takes for matrices that one level is enough for, and for all other definite ones.
ONE_LEVEL, MULTILEVEL = "heat", "diffusion2d"
# With every row dominant by this share of its diagonal, κ ≤ 19 after scaling: one level does.
DOMINANT = 0.1


def models() -> list[Card]:
    """Cards of the packaged models: families, sizes trained on, kind, licence.

    Examples
    --------
    >>> [card.name for card in models()]
    ['diffusion2d', 'heat']
    """
    return [read_card(path.with_suffix(".toml")) for path in packaged().values()]


def load_model(name_or_path: str | Path, *, device: str | None = None) -> Model:
    """A packaged model, or one from a weights file.

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
    import hashlib
    from dataclasses import replace

    from safetensors.numpy import save

    from neuprecond.zoo.atomic import write_bytes

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
    check: bool = True,
) -> ApproximateInverse | Model:
    """M ≈ A⁻¹ as SciPy's solvers take it: M approximates the inverse of A, not A.

    ``M @ (A @ x)`` is near x: that is the two-line check of any preconditioner.

    Parameters
    ----------
    name_or_path : str or Path
        "auto", a packaged name (see `models`), or a path to a weights file. "auto" takes the
        one-level model ``heat`` where every row of A is dominant by a tenth of its diagonal, and
        ``diffusion2d`` for every other symmetric positive definite A. Where no model fits, it
        returns a classical M with a `NeuprecondWarning` that says why; M.model tells what it is.
    A : sparse array or matrix, or ndarray, shape (n, n), optional
        Never changed. Without A the model itself is returned.
    B : array_like, shape (n, k), optional
        Near-null vectors of A, such as rigid body modes; constants by default.
    learned : bool
        False gives the unlearned twin: the same plan with PyAMG's interpolation and a Chebyshev
        smoother of the same cost, or FSAI.
    device : str, optional
        "cpu" or "cuda": where torch evaluates the network; by default it is evaluated without
        torch.
    check : bool
        Try M on a random vector before it is returned: it must be finite and definite there.

    Returns
    -------
    ApproximateInverse, shape (n, n), or Model
        A SciPy LinearOperator, float64 in and out, for ``M=`` of cg and gmres.

    Raises
    ------
    ValueError
        If A is not square, empty or not finite, the name is unknown, or B does not fit.
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
    if A is None:
        if str(name_or_path) == "auto":
            raise ValueError('"auto" chooses a model by the matrix: give A, or name a model.')
        return load_model(name_or_path, device=device)
    if str(name_or_path) == "auto":
        return _auto(A, B, learned=learned, device=device, check=check)
    model = load_model(name_or_path, device=device)
    M = model.precondition(A, B, learned=learned)
    if check:
        _require_sound(M)
    return M


def _auto(
    A: object, B: object, *, learned: bool, device: str | None, check: bool
) -> ApproximateInverse:
    matrix = checks.as_csr(A, allow_complex=True)
    near_null = None if B is None else checks.require_near_null(B, matrix.shape[0])
    if matrix.dtype.kind == "c":
        return _fall_back(matrix, "A is complex and the models are real")
    d = matrix.diagonal()
    negative = bool((d < 0).all())
    try:
        checks.require_symmetric(matrix, who="a learned model")
        checks.require_definite_diagonal(-matrix if negative else matrix, who="a learned model")
        definite = -matrix if negative else matrix
        one_level = near_null is None and ONE_LEVEL in packaged() and _dominant(definite)
        name = ONE_LEVEL if one_level else MULTILEVEL
        model = load_model(name, device=device)
        M = model.precondition(definite, near_null, learned=learned)
        if check:
            _require_sound(M)
    except NotDefiniteError as reason:
        return _fall_back(matrix, str(reason))
    return Negated(M) if negative else M


def _dominant(A: sparse.csr_array) -> bool:
    scaled_A, _ = unit_diagonal(A)
    rows = np.asarray(abs(scaled_A).sum(axis=1)).ravel() - 1.0
    return bool(rows.max() <= 1.0 - DOMINANT)


def _require_sound(M: ApproximateInverse) -> None:
    r = np.random.default_rng(M.shape[0]).standard_normal(M.shape[0])
    z = M @ r
    if not np.isfinite(z).all() or r @ z <= 0:
        raise NotDefiniteError(
            f"M of model {M.model!r} is not positive definite on a random vector (rᵀMr = "
            f'{r @ z:.2e}), so A cannot be positive definite. Try load("auto", A) with GMRES.'
        )


def _fall_back(A: sparse.csr_array, reason: str) -> ApproximateInverse:
    """The better of incomplete LU and Jacobi for GMRES, by a trial of ten steps."""
    best: tuple[float, LinearOperator] | None = None
    rng = np.random.default_rng(A.shape[0])
    b = rng.standard_normal(A.shape[0]).astype(A.dtype)
    for make in (classical.ilu, _safe_jacobi):
        try:
            M = make(A)
            x, _ = gmres(A, b, M=M, rtol=1e-12, restart=10, maxiter=1)
            left = float(np.linalg.norm(b - A @ x))
        except (ValueError, RuntimeError, ArithmeticError, np.linalg.LinAlgError):
            continue
        if np.isfinite(left) and (best is None or left < best[0]):
            best = (left, M)
    M = _safe_jacobi(A) if best is None else best[1]
    warnings.warn(
        f"no learned model covers A: {reason} Returned instead: {M.name}. Use it with GMRES; a "
        "direct solver may be the better choice.",
        NeuprecondWarning,
        stacklevel=4,
    )
    return Fallback(M)


def _safe_jacobi(A: sparse.csr_array) -> LinearOperator:
    """Jacobi, with the identity in rows that have no diagonal."""
    d = A.diagonal()
    holes = d == 0
    if not holes.any():
        return classical.jacobi(A)
    return classical.jacobi(sparse.csr_array(sparse.diags_array(np.where(holes, 1.0, d))))
