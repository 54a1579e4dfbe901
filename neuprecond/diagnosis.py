"""What kind of matrix is this, which model covers it, and what to solve with: `diagnose`."""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from neuprecond import checks, expected, rows, spectrum, zoo
from neuprecond.expected import Expected
from neuprecond.hierarchy import (
    are_displacements,
    block_size,
    near_null_scaling,
    unit_diagonal,
)
from neuprecond.multilevel import reduce_exactly
from neuprecond.operators.cycle import COARSEST
from neuprecond.plain import as_plain
from neuprecond.spectrum import Ends
from neuprecond.zoo import VERY_FAR
from neuprecond.zoo.choose import MULTILEVEL, NONSYMMETRIC, choose
from neuprecond.zoo.model import FAR, Outside, least_dominance

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Bound", "Coverage", "Diagnosis", "NearNull", "diagnose"]

# Eigenvalues and row sums this small, relative to the largest, are zero to rounding.
ROUNDING = 1e-12
# A direct solver is done before any setup is.
SMALL = 2000
# IC(0) or Jacobi with so few steps leave no room for a better M to pay for its setup.
FEW_IC0, FEW_JACOBI = 20.0, 25.0
# PyAMG is foretold as the best of five settings, which nobody knows beforehand: so much more is
# forgiven.
FORGIVEN = 1.15
# More steps than this promise nothing of a method.
MANY = 100.0
# A bound on iterations is told from here on: below, nobody would wait for it.
BITES = 20
RTOL = 1e-8
# Breadth-first search over larger graphs would take longer than all the rest.
LARGEST_GRAPH = 300_000


@dataclass(frozen=True)
class NearNull:
    """A vector that A nearly maps to zero.

    Attributes
    ----------
    name : str
        "constants", "constants of the scaled matrix" or "B, column k".
    residual : float
        Median over the rows of abs(A v) / (abs(A) abs(v)): 0 for an exact one in the interior.
    quotient : float
        vᵀAv / vᵀDv, D the diagonal of A: an upper bound of the smallest eigenvalue.
    """

    name: str
    residual: float
    quotient: float


@dataclass(frozen=True)
class Coverage:
    """Whether a packaged model is meant for a matrix like A.

    Attributes
    ----------
    model, kind : str
        Name and kind.
    covers : bool
        A is symmetric positive definite (or its negative is) and inside the trained range.
    chosen : bool
        What ``load("auto", A)`` takes.
    outside : tuple of Outside
        Statistics outside of the trained range, the farthest first.
    reason : str
        Why it does not cover A; empty where it does.
    """

    model: str
    kind: str
    covers: bool
    chosen: bool
    outside: tuple[Outside, ...]
    reason: str


@dataclass(frozen=True)
class Bound:
    """Something proven: no M of a kind can do better on A.

    Attributes
    ----------
    name : str
        "norm budget" or "light cone".
    holds_for : str
        What kind of M.
    value : float
        ‖M‖ at least, or iterations at least.
    sentence : str
        What it says.
    """

    name: str
    holds_for: str
    value: float
    sentence: str


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found; print it, or take `to_dict` for JSON.

    Attributes
    ----------
    n, nnz : int
        Unknowns and stored nonzeros.
    is_complex : bool
        Whether A has an imaginary part.
    asymmetry : float
        max abs(A - Aᵀ) / max abs(A), with Aᴴ for a complex A.
    symmetric : bool
        Up to rounding, after scaling too (Hermitian for a complex A).
    positive_diagonal, negative_diagonal, zero_diagonal : int
        Rows by the sign of their diagonal entry (its real part).
    empty_rows : int
        Rows without an entry.
    dominant_rows : float
        Share of rows with a diagonal at least as large as the others of the row together.
    dominance : float
        By what share of its diagonal the least dominant row is dominant, of A or of A scaled to a
        unit diagonal, whichever is more; negative if it is not.
    block_size : int
        Unknowns that come together, as the displacements of a node: 1, or 2 to 6 where rows have
        entries in whole blocks and constants of each component have little energy.
    components, isolated : int
        Parts of A's graph, and those of a single unknown.
    largest_component : int
        Unknowns of the largest part.
    definiteness : str
        "positive definite", "positive semidefinite", "negative definite", "negative semidefinite",
        "indefinite" or "unknown". Of (A + Aᴴ) / 2 where A is not symmetric.
    evidence : str
        What that rests on.
    smallest_eigenvalue, largest_eigenvalue : float
        Of A (or -A) scaled to a unit diagonal, by Lanczos: from above and from below. NaN where
        unknown. Where known null vectors are the constants, those are left out.
    kappa, kappa_low, kappa_high : float
        Condition number of the scaled matrix: estimate, what it is at least (up to rounding), and
        at most if Lanczos has not missed an eigenvalue.
    null_vectors : int
        Components on which constants are in the null space.
    diagonal_decades, entry_decades : float
        log10 of largest over smallest in size, of those that are not zero.
    near_null : tuple of NearNull
        Vectors tried.
    models : tuple of Coverage
        All packaged ones.
    expected : tuple of Expected
        Iterations foretold; empty where A is not definite.
    expected_from : str
        What they rest on, or why there are none.
    bounds : tuple of Bound
        Proven ones that bite.
    recommendation : str
        What to do, in a sentence.
    """

    n: int
    nnz: int
    is_complex: bool
    asymmetry: float
    symmetric: bool
    positive_diagonal: int
    negative_diagonal: int
    zero_diagonal: int
    empty_rows: int
    dominant_rows: float
    dominance: float
    block_size: int
    components: int
    isolated: int
    largest_component: int
    definiteness: str
    evidence: str
    smallest_eigenvalue: float
    largest_eigenvalue: float
    kappa: float
    kappa_low: float
    kappa_high: float
    null_vectors: int
    diagonal_decades: float
    entry_decades: float
    near_null: tuple[NearNull, ...]
    models: tuple[Coverage, ...]
    expected: tuple[Expected, ...]
    expected_from: str
    bounds: tuple[Bound, ...]
    recommendation: str

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and words, as JSON takes them; None for what is not finite."""
        plain: dict[str, Any] = as_plain(asdict(self))
        return plain

    def lines(self) -> list[tuple[str, str]]:
        """What is printed: a name and what there is to say, line by line."""
        n = self.n
        symmetric = "Hermitian" if self.is_complex else "symmetric"
        parts = f"{self.components}, the largest of {self.largest_component}"
        parts += f", {self.isolated} isolated" if self.isolated else ""
        signs = (
            f"{self.positive_diagonal} positive, {self.negative_diagonal} negative, "
            f"{self.zero_diagonal} zero"
        )
        found = [
            ("shape", f"{n} × {n}, {self.nnz} nonzeros, {self.nnz / n:.1f} a row"),
            (symmetric, f"{'yes' if self.symmetric else 'no'}, off by {self.asymmetry:.1e}"),
            ("diagonal", signs),
            ("dominant rows", f"{self.dominant_rows:.0%}, the least by {self.dominance:.2g}"),
            ("blocks", "none" if self.block_size == 1 else f"of {self.block_size} unknowns"),
            ("components", "1" if self.components == 1 else parts),
            ("definiteness", f"{self.definiteness}: {self.evidence}"),
            (
                "scaling",
                f"diagonal over {self.diagonal_decades:.1f} decades, "
                f"entries over {self.entry_decades:.1f}",
            ),
        ]
        if np.isfinite(self.kappa):
            high = f"{self.kappa_high:.3g}" if np.isfinite(self.kappa_high) else "unknown"
            apart = ", null vectors apart" if self.null_vectors else ""
            range_ = f"{self.kappa:.3g} (from {self.kappa_low:.3g} to {high}){apart}"
            found.append(("condition number, scaled", range_))
        for v in self.near_null:
            text = f"{v.name}: residual {v.residual:.1e}, quotient {v.quotient:.1e}"
            found.append(("near-null vector", text))
        for model in self.models:
            text = ("covers A" if model.covers else f"no: {model.reason}") + (
                '; "auto" takes it' if model.chosen else ""
            )
            found.append((f"model {model.model}", text))
            found += [
                (
                    "  outside",
                    f"{o.statistic} {o.value:.2g}, trained on {o.mean:.2g} ± {o.spread:.2g}",
                )
                for o in model.outside[:3]
            ]
        for told in self.expected:
            text = f"{told.iterations:.0f} (from {told.low:.0f} to {told.high:.0f})"
            found.append((f"iterations, {told.method}", text))
        found.append(("foretold", self.expected_from))
        found += [(bound.name, bound.sentence) for bound in self.bounds]
        return [*found, ("advice", self.recommendation)]

    def __str__(self) -> str:
        lines = self.lines()
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:{width}}  {text}" for name, text in lines)

    def __rich__(self) -> "Table":
        from rich.table import Table
        from rich.text import Text

        table = Table(show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for name, text in self.lines():
            table.add_row(Text(name), Text(text))
        return table


def diagnose(A: object, B: object = None) -> Diagnosis:
    """Tell what kind of matrix A is, which packaged model covers it, and what to solve with.

    Costs up to some hundred products with A and the setup of no preconditioner.

    Parameters
    ----------
    A : sparse array or matrix, or ndarray, shape (n, n)
        Never changed.
    B : array_like, shape (n, k), optional
        Near-null vectors that would be given to `load`.

    Returns
    -------
    Diagnosis
        Print it, or take its ``recommendation`` or ``to_dict()``.

    Raises
    ------
    ValueError
        If A is not square, empty or not finite, or B does not fit.
    TypeError
        If A is no matrix of numbers.

    Examples
    --------
    >>> import pyamg
    >>> found = diagnose(pyamg.gallery.poisson((60, 60), format="csr"))
    >>> found.definiteness, round(found.kappa)
    ('positive definite', 1507)
    >>> [model.model for model in found.models if model.covers]
    ['diffusion2d']
    """
    matrix = checks.as_csr(A, allow_complex=True)
    if matrix.dtype.kind == "c" and not matrix.data.imag.any():
        matrix = sparse.csr_array((matrix.data.real, matrix.indices, matrix.indptr), matrix.shape)
    near_null = None if B is None else checks.require_near_null(B, matrix.shape[0])
    is_complex = matrix.dtype.kind == "c"
    d = matrix.diagonal()
    signs = np.sign(d.real)
    off, symmetric = _symmetry(matrix)
    negative = bool((signs < 0).all())
    positive = -matrix if negative else matrix
    parts, labels = sparse.csgraph.connected_components(_pattern(matrix), directed=False)
    sizes = np.bincount(labels)
    kind = _definiteness(positive, labels, symmetric=symmetric)
    word = kind.word.replace("positive", "negative") if negative else kind.word
    covered = symmetric and not is_complex and (signs > 0).all() | negative
    covered = covered and kind.word.startswith("positive")
    models = _models(positive, near_null, kind, covered=covered, symmetric=symmetric)
    told, source = _foretold(positive, near_null, kind, models, covered=covered)
    bounds = _bounds(positive, kind) if covered else ()
    lengths = np.diff(matrix.indptr)
    diagnosis = Diagnosis(
        n=matrix.shape[0],
        nnz=matrix.nnz,
        is_complex=is_complex,
        asymmetry=off,
        symmetric=symmetric,
        positive_diagonal=int((signs > 0).sum()),
        negative_diagonal=int((signs < 0).sum()),
        zero_diagonal=int((signs == 0).sum()),
        empty_rows=int((lengths == 0).sum()),
        dominant_rows=_dominant_rows(matrix),
        dominance=least_dominance(abs(positive)) if (d != 0).all() else -math.inf,
        block_size=_displacements(matrix),
        components=int(parts),
        isolated=int((sizes == 1).sum()),
        largest_component=int(sizes.max()),
        definiteness=word,
        evidence=kind.evidence,
        smallest_eigenvalue=kind.low,
        largest_eigenvalue=kind.high,
        kappa=kind.kappa,
        kappa_low=kind.kappa,
        kappa_high=kind.kappa_high,
        null_vectors=kind.null_vectors,
        diagonal_decades=_decades(d),
        entry_decades=_decades(matrix.data),
        near_null=_near_null(positive, near_null) if covered else (),
        models=models,
        expected=told,
        expected_from=source,
        bounds=bounds,
        recommendation="",
    )
    advice = _recommend(diagnosis, positive, has_B=near_null is not None)
    return Diagnosis(**{**vars(diagnosis), "recommendation": advice})


def _pattern(A: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array((np.ones(A.nnz), A.indices, A.indptr), shape=A.shape)


def _symmetry(A: sparse.csr_array) -> tuple[float, bool]:
    """How far A is from its (conjugate) transpose, and whether that is rounding."""
    if A.dtype.kind != "c":
        try:
            checks.require_symmetric(A, who="diagnose")
        except checks.NotDefiniteError:
            return checks.asymmetry(A), False
        return checks.asymmetry(A), True
    top = abs(A.data).max(initial=0.0)
    if top == 0.0:
        return 0.0, True
    scaled = sparse.csr_array((A.data / top, A.indices, A.indptr), shape=A.shape)
    off = float(abs(scaled - scaled.conj().T).max())
    return off, off <= checks.SYMMETRY_TOLERANCE


def _displacements(A: sparse.csr_array) -> int:
    size, unknown = block_size(A), np.arange(A.shape[0])
    return size if size == 1 or are_displacements(A, unknown // size, unknown % size) else 1


def _dominant_rows(A: sparse.csr_array) -> float:
    with np.errstate(under="ignore"):
        # Divided by n, lest a row of entries near overflow sums up to infinity.
        size = sparse.csr_array((abs(A.data) / A.shape[0], A.indices, A.indptr), shape=A.shape)
        own = size.diagonal()
        others = size.sum(axis=1) - own
    return float((own >= others * (1 - ROUNDING)).mean())


def _decades(values: np.ndarray) -> float:
    size = abs(values[values != 0])
    if len(size) == 0:
        return 0.0
    # Subnormal entries have no exact logarithm, but a finite one.
    return float(np.log10(size.max()) - np.log10(size.min()))


@dataclass(frozen=True)
class _Kind:
    """Definiteness of A with a diagonal that is positive, or of its scaled Hermitian part."""

    word: str
    evidence: str
    ends: Ends | None = None
    low: float = math.nan
    high: float = math.nan
    kappa: float = math.nan
    kappa_high: float = math.nan
    null_vectors: int = 0


def _definiteness(A: sparse.csr_array, labels: np.ndarray, *, symmetric: bool) -> _Kind:
    d = A.diagonal().real
    lengths = np.diff(A.indptr)
    of = "" if symmetric else " of the Hermitian part"
    if symmetric and (d == 0).any() and (lengths[d == 0] > 0).any():
        i = int(np.flatnonzero((d == 0) & (lengths > 0))[0])
        return _Kind("indefinite", f"row {i} has entries and a zero diagonal")
    if (d > 0).any() and (d < 0).any():
        i, j = int(np.argmax(d > 0)), int(np.argmax(d < 0))
        return _Kind("indefinite", f"diagonal entries{of} {d[i]:.2g} and {d[j]:.2g}, rows {i}, {j}")
    if not A.nnz:
        return _Kind("positive semidefinite", "A is zero")
    size = np.sqrt(np.where(d != 0, abs(d), abs(A).max(axis=1).toarray().ravel()))
    s = 1.0 / np.where(size > 0, size, 1.0)
    with np.errstate(all="ignore"):
        values = A.data * np.repeat(s, lengths) * s[A.indices]
    scaled = sparse.csr_array((values, A.indices, A.indptr), shape=A.shape)
    if not np.isfinite(values).all():
        if symmetric:
            return _Kind("indefinite", "an entry is far larger than its two diagonal entries")
        return _Kind("unknown", "entries overflow when A is scaled to a unit diagonal")
    if not symmetric:
        scaled = sparse.csr_array(0.5 * (scaled + scaled.conj().T))
    singular, project = _null_space(scaled, s, labels, symmetric=symmetric)
    found = spectrum.ends(scaled, project=project, count=symmetric)
    tolerance = ROUNDING * max(found.high, 0.0)
    dense = found.steps == A.shape[0] and found.low_error == 0.0
    how = "eigenvalues" if dense else f"{found.steps} Lanczos steps"
    facts: dict[str, Any] = {
        "ends": found,
        "low": found.low,
        "high": found.high,
        "null_vectors": singular,
    }
    if found.low < -tolerance or found.high <= 0.0 < singular < len(np.unique(labels)):
        said = f"a quotient xᴴAx / xᴴDx{of} is {found.low:.1e}, by {how}"
        return _Kind("indefinite", said, **facts)
    # What is left beside known null vectors.
    rest = found.low > tolerance or found.steps == 0
    if not rest:
        said = f"the smallest eigenvalue{of} is zero to rounding, by {how}"
        return _Kind("positive semidefinite", said, **facts)
    kappa = found.high / found.low if found.low > 0.0 else 1.0
    surely = found.low - found.low_error
    high = (found.high + found.high_error) / surely if surely > 0.0 else math.inf
    facts |= {"kappa": kappa, "kappa_high": high if found.steps else 1.0}
    if singular:
        said = f"constants are in the null space{of} on {singular} of its components"
        return _Kind("positive semidefinite", said, **facts)
    said = f"no eigenvalue{of} below {found.low:.2e} of the scaled matrix, by {how}"
    said += "" if found.settled else ", which had not settled"
    return _Kind("positive definite", said, **facts)


def _null_space(
    A: sparse.csr_array, s: np.ndarray, labels: np.ndarray, *, symmetric: bool
) -> tuple[int, Any]:
    """Components that map constants to zero, and what takes these out of a vector."""
    if not symmetric or A.dtype.kind == "c" or (A.diagonal() <= 0).any():
        return 0, None
    v = near_null_scaling(A, s)
    left = rows.relative_residual(*rows.csr(A), v)
    count = int(labels.max()) + 1
    worst = np.zeros(count)
    np.maximum.at(worst, labels, left)
    null = worst <= ROUNDING
    if not null.any():
        return 0, None
    inside = null[labels]
    w = np.where(inside, v, 0.0)
    squares = np.bincount(labels, w * w, count)
    squares[squares == 0.0] = 1.0

    def project(x: np.ndarray) -> np.ndarray:
        shares = np.bincount(labels, w * x, count) / squares
        return x - shares[labels] * w

    return int(null.sum()), project


def _near_null(A: sparse.csr_array, B: np.ndarray | None) -> tuple[NearNull, ...]:
    scaled, s = unit_diagonal(A)
    tried: list[tuple[str, np.ndarray]] = []
    constants = s.min() / s
    if constants.min() > 1e-100:
        tried.append(("constants", constants))
    if B is None:
        if s.max() > (1 + 1e-8) * s.min():
            tried.append(("constants of the scaled matrix", np.ones_like(s)))
    else:
        tried += [
            (f"B, column {k}", B[:, k] / s / abs(B[:, k] / s).max()) for k in range(B.shape[1])
        ]
    found = []
    for name, v in tried:
        product = scaled @ v
        size = abs(scaled) @ abs(v)
        here = size > 0
        left = abs(product[here]) / size[here]
        residual = float(np.median(left)) if len(left) else 0.0
        found.append(NearNull(name, residual, float(v @ product / (v @ v))))
    return tuple(found)


def _models(
    A: sparse.csr_array, B: np.ndarray | None, kind: _Kind, *, covered: bool, symmetric: bool
) -> tuple[Coverage, ...]:
    chosen = None
    if covered:
        chosen = choose(A) if B is None else MULTILEVEL
    found = []
    for card in zoo.models():
        outside: list[Outside] = []
        if A.dtype.kind == "c":
            reason = "A is complex"
        elif card.kind == "nonsymmetric":
            outside, reason = _flow_coverage(A, card.name)
        elif not symmetric:
            reason = "A is not symmetric"
        elif not covered:
            reason = f"A is {kind.word}"
        else:
            far = VERY_FAR if card.name == chosen else FAR
            outside, remarks = zoo.load_model(card.name).outside(A, far=far)
            reason = remarks[0] if remarks else ""
            if not remarks:
                outside = []
            if B is not None and B.shape[1] > 1:
                several = "nothing was learned for several near-null vectors: M is its twin"
                one = "it is of one level and has no use for B"
                outside, reason = [], several if card.kind == "multilevel" else one
        found.append(
            Coverage(
                model=card.name,
                kind=card.kind,
                covers=(covered or card.kind == "nonsymmetric") and not reason,
                chosen=card.name == chosen or (card.kind == "nonsymmetric" and not reason),
                outside=tuple(outside),
                reason=reason,
            )
        )
    return tuple(found)


def _flow_coverage(A: sparse.csr_array, name: str) -> tuple[list[Outside], str]:
    """What speaks against a model for nonsymmetric matrices."""
    if not checks.one_sign(A.diagonal()):
        return [], "the diagonal has zeros or both signs"
    outside, remarks = zoo.load_model(name).outside(A, far=VERY_FAR)
    return (outside, remarks[0]) if remarks else ([], "")


def _foretold(
    A: sparse.csr_array,
    B: np.ndarray | None,
    kind: _Kind,
    models: tuple[Coverage, ...],
    *,
    covered: bool,
) -> tuple[tuple[Expected, ...], str]:
    if not covered or kind.ends is None:
        return (), "nothing: the map knows iterations of CG on definite matrices only"
    found = kind.ends
    told = []
    if found.jacobi:
        steps = float(found.jacobi)
        told.append(Expected("jacobi", steps, steps / expected.COUNTED, steps * expected.COUNTED))
    elif np.isfinite(kind.kappa):
        told.append(expected.uncounted(found))
    if not np.isfinite(kind.kappa):
        return tuple(told), "nothing but Jacobi: A is singular to rounding"
    x = expected.features(A, found)
    names = ["ic0", "pyamg", "twin", "learned"]
    if any(model.chosen and model.kind == "spai" for model in models):
        names[2:] = ["heat, twin", "heat"]
    elif B is not None and B.shape[1] > 1:
        names = ["ic0"]
    told += [expected.foretell(x, name) for name in names]
    told = [Expected(*(t.method, *_whole(t, A.shape[0]))) for t in told]
    return tuple(told), (
        "CG to 1e-8, from the map's problems: nine in ten of a family lie in the band when it is "
        "left out; Jacobi is counted on a random right-hand side"
    )


def _whole(told: Expected, n: int) -> tuple[float, float, float]:
    """At least one step, and no more than exact arithmetic would need, twice over."""
    low, middle, high = (
        min(max(round(steps, 1), 1.0), 2.0 * n) for steps in (told.low, told.iterations, told.high)
    )
    return middle, low, high


def _bounds(A: sparse.csr_array, kind: _Kind) -> tuple[Bound, ...]:
    """Proven lower bounds, those that bite."""
    found: list[Bound] = []
    if kind.ends is None or not np.isfinite(kind.kappa) or kind.low <= 0.0:
        return ()
    needed = 0.5 / kind.low
    if needed > BITES:
        found.append(
            Bound(
                "norm budget",
                "any M",
                needed,
                f"‖I − MA‖ ≥ 1 − σmin‖M‖: to halve every error M must have a norm of {needed:.1e} "
                "or more (A scaled to a unit diagonal). Jacobi has 1; one level learned has a few.",
            )
        )
    surely = kind.low - kind.ends.low_error
    if kind.null_vectors or surely <= 0.0 or A.shape[0] > LARGEST_GRAPH:
        return tuple(found)
    for name, reach in (("jacobi", 0), ("heat", 2)):
        steps = light_cone(A, surely, reach=reach)
        if steps >= BITES:
            found.append(
                Bound(
                    "light cone",
                    name,
                    float(steps),
                    f"for b = A v, v the near-null vector, CG with {name} needs {steps} iterations "
                    f"or more: each carries b {reach + 1} unknowns farther at most.",
                )
            )
    return tuple(found)


def light_cone(A: sparse.csr_array, smallest: float, *, reach: int, rtol: float = RTOL) -> int:
    """Least CG iterations for b = A v, v the near-null vector, by how far b must travel.

    After k steps x is zero farther than k (reach + 1) − 1 edges from the unknowns where b is not,
    and there the error is v itself: ‖r‖ ≥ λmin ‖v there‖.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric positive definite.
    smallest : float
        At most the smallest eigenvalue of A scaled to a unit diagonal.
    reach : int
        How far apart two unknowns are that M couples, in edges of A's graph.
    rtol : float
        Tolerance of ‖r‖ / ‖b‖, in the unknowns of unit diagonal.

    Returns
    -------
    int
        0 where nothing is known.

    Examples
    --------
    >>> A = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(200, 200)).tocsr()
    >>> light_cone(A, 0.0001, reach=0)  # b is at the two ends: they meet in the middle
    100
    """
    scaled, s = unit_diagonal(A)
    v = near_null_scaling(scaled, s)
    left = rows.relative_residual(*rows.csr(scaled), v)
    sources = np.flatnonzero(left > ROUNDING)
    if len(sources) == 0 or len(sources) > len(s) // 2:
        return 0
    b = np.zeros_like(v)
    b[sources] = (scaled @ v)[sources]
    distance = sparse.csgraph.dijkstra(
        _pattern(scaled), directed=False, indices=sources, unweighted=True, min_only=True
    )
    distance[~np.isfinite(distance)] = -1
    farthest = int(distance.max())
    # Σ v² over unknowns at distance d or more.
    beyond = np.cumsum(np.bincount(np.maximum(distance, 0).astype(int), v * v)[::-1])[::-1]
    # Rounding in b, which was set to zero elsewhere, may stand for so much of the residual.
    threshold = rtol * float(np.linalg.norm(b)) + ROUNDING * np.sqrt(float(v @ v))
    steps = 0
    for k in range(1, farthest // (reach + 1) + 1):
        if smallest * np.sqrt(beyond[k * (reach + 1)]) <= threshold:
            break
        steps = k + 1
    return steps


def _recommend(found: Diagnosis, A: sparse.csr_array, *, has_B: bool) -> str:
    """One sentence; the first rule that holds."""
    n = found.n
    told = {t.method: t for t in found.expected}
    direct = "scipy.sparse.linalg.splu" if n <= 20_000 else "a sparse direct solver"
    if found.empty_rows:
        return (
            f"A has {found.empty_rows} rows without an entry and is singular: take these unknowns "
            "out first, then diagnose again."
        )
    if found.is_complex:
        return (
            f"Use a direct solver ({direct}): A is complex and the models are real; where it does "
            'not fit into memory, GMRES with load("auto", A), which gives incomplete LU or Jacobi.'
        )
    if not found.symmetric and any(m.covers for m in found.models if m.model == NONSYMMETRIC):
        if n <= SMALL:
            return f"Use a direct solver ({direct}): n = {n} is small, and A is not symmetric."
        return (
            f'Use load("{NONSYMMETRIC}", A) with GMRES: A is not symmetric, and CG would go wrong.'
        )
    if not found.symmetric:
        return (
            f"Use a direct solver ({direct}) or GMRES with incomplete LU: A is not symmetric, and "
            "unlike the flows that something was learned for."
        )
    if not found.models or not (found.positive_diagonal == n or found.negative_diagonal == n):
        return (
            f"Use a direct solver ({direct}) or MINRES: A is {found.definiteness}, and no model "
            "covers that."
        )
    if not found.definiteness.startswith(("positive", "negative")):
        return (
            f'Use a direct solver ({direct}) or GMRES with load("auto", A), which falls back on '
            f"incomplete LU: A is {found.definiteness}, CG may fail and no model covers it."
        )
    if found.isolated == n:
        return "Divide by the diagonal: A is diagonal."
    if n <= SMALL:
        return f"Use a direct solver ({direct}): n = {n} is small, nothing beats it there."
    if has_B:
        return 'Use load("auto", A, B=B) with CG: several levels that keep the near-null vectors.'
    left = reduce_exactly(A).A.shape[0]
    if left <= COARSEST:
        return (
            f"Use a direct solver ({direct}): A's graph is nearly a tree or a line, elimination "
            "meets no fill."
        )
    if "jacobi" in told and told["jacobi"].iterations <= FEW_JACOBI:
        return (
            f"Use Jacobi or IC(0): they need some {told['jacobi'].iterations:.0f} and "
            f"{told['ic0'].iterations:.0f} steps, and any larger setup costs more than it saves."
        )
    if "ic0" in told and told["ic0"].iterations <= FEW_IC0:
        return (
            f"Use IC(0): it needs some {told['ic0'].iterations:.0f} steps; "
            'load("auto", A) where triangular solves are slow.'
        )
    if found.block_size > 1:
        return (
            f"Give near-null vectors: unknowns come {found.block_size} at a time, as in "
            'elasticity. With rigid body modes B use load("auto", A, B=B), or PyAMG with B; '
            "without, load keeps constants of each component, at about twice the steps."
        )
    if "learned" not in told:
        return f"Use a direct solver ({direct}) or PyAMG: A is {found.definiteness}."
    learned, pyamg = told["learned"].iterations, told["pyamg"].iterations
    if min(learned, pyamg) > MANY:
        return (
            f"Use a direct solver ({direct}): no preconditioner on the map does well on problems "
            f"like this (some {min(learned, pyamg):.0f} steps)."
        )
    covers = any(model.covers and model.chosen for model in found.models)
    if not covers or learned > FORGIVEN * pyamg:
        why = (
            f"it is expected to take {pyamg:.0f} steps and the learned M {learned:.0f}"
            if covers
            else "A lies outside of what the models were trained on"
        )
        return f'Use PyAMG: {why}; load("auto", A, check="probe") tells what ours is worth here.'
    return (
        f'Use load("auto", A) with CG, some {learned:.0f} steps; for a single right-hand side '
        f"PyAMG (some {pyamg:.0f}) has the shorter setup."
    )
