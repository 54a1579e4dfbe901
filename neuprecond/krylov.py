"""SciPy's Krylov solvers with honest counting: inner iterations and the true residual."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from time import perf_counter
from typing import cast

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import (
    LinearOperator,
    aslinearoperator,
    bicgstab,
    cg,
    cgs,
    gcrotmk,
    gmres,
    lgmres,
    minres,
)

from neuprecond.checks import SYMMETRY_TOLERANCE, as_csr, refuse_masked, require_symmetric
from neuprecond.classical import CLASSICAL, precondition
from neuprecond.errors import Interrupted, NotDefiniteError

__all__ = ["METHODS", "STATUSES", "SolveRecord", "solve"]

# SciPy's tfqmr is left out: with an M it stops far from the solution and says that it converged.
METHODS = ("cg", "minres", "gmres", "lgmres", "gcrotmk", "bicgstab", "cgs")

CONVERGED = "converged"
ZERO = "zero right-hand side"
AT_MAXITER = "stopped at maxiter"
STALLED = "stalled: the residual no longer falls"
A_INDEFINITE = "A is not definite"
M_INDEFINITE = "M is not definite"
A_NOT_FINITE = "broke down: A @ p is not finite"
M_NOT_FINITE = "broke down: M @ r is not finite"
M_ZERO = "broke down: M @ r is zero"
BROKE_DOWN = "broke down: division by zero in the method"
INTERRUPTED = "interrupted"

STATUSES = (
    CONVERGED,
    ZERO,
    AT_MAXITER,
    STALLED,
    A_INDEFINITE,
    M_INDEFINITE,
    A_NOT_FINITE,
    M_NOT_FINITE,
    M_ZERO,
    BROKE_DOWN,
    INTERRUPTED,
)

# A continued run that does not bring the residual below this share of the last one has stalled.
PROGRESS = 0.9

# Below this an inner product may be zero by underflow.
SMALLEST_PRODUCT = 1e-290


@dataclass(frozen=True)
class SolveRecord:
    """What came of one solve.

    Attributes
    ----------
    x : ndarray, shape of b
        The solution, or the last iterate; what the run began with if it ended in infinities.
    iterations : int
        Inner iterations, for the restarted methods too: steps with one new direction each (one
        product with A and one with M; two of each for bicgstab and cgs).
    residual : float
        The true relative residual ‖b - A x‖ / ‖b‖, computed again at the end.
    history : ndarray, shape (iterations + 1,), or empty
        Relative residual after each iteration, from iteration 0 on. For gmres it is the norm that
        the method itself reduces, ‖M (b - A x)‖ / ‖M b‖; for lgmres and gcrotmk it is known at
        the end of a cycle only and NaN between. Empty with ``history=False``.
    status : str
        One of ``STATUSES``.
    method, preconditioner : str
        Names of the solver and of M.
    setup_seconds : float
        Seconds of making M; NaN for an M that was made before and does not say.
    solve_seconds : float
        Seconds of the solver, without the setup and without what only the history needed.
    apply_seconds : float
        Mean seconds of one M @ r, part of ``solve_seconds``.
    """

    x: np.ndarray
    iterations: int
    residual: float
    history: np.ndarray
    status: str
    method: str
    preconditioner: str
    setup_seconds: float
    solve_seconds: float
    apply_seconds: float

    @property
    def converged(self) -> bool:
        """The true residual meets the tolerance."""
        return self.status in (CONVERGED, ZERO)

    def __str__(self) -> str:
        steps = f"{self.iterations} iteration{'' if self.iterations == 1 else 's'}"
        setup = "unknown" if np.isnan(self.setup_seconds) else f"{self.setup_seconds:.3g} s"
        return (
            f"{self.method} with {self.preconditioner}: {self.status}, {steps}, true residual "
            f"{self.residual:.1e}; setup {setup}, solve {self.solve_seconds:.3g} s "
            f"({self.apply_seconds:.2g} s an apply of M)"
        )


def solve(
    A: object,
    b: object,
    *,
    M: object = "auto",
    method: str = "cg",
    rtol: float = 1e-8,
    atol: float = 0.0,
    maxiter: int | None = None,
    restart: int = 50,
    x0: object | None = None,
    B: object | None = None,
    history: bool = True,
    callback: Callable[[int, float], None] | None = None,
) -> SolveRecord:
    """Solve A x = b by one of SciPy's Krylov methods and say truly how it went.

    It has converged when the true residual says so: ‖b - A x‖ <= max(rtol ‖b‖, atol). Where SciPy
    stops earlier, content with its recursive or preconditioned residual, the run goes on from x.

    Parameters
    ----------
    A : sparse array or matrix, or dense array, shape (n, n)
        Symmetric (Hermitian) for cg and minres, definite for cg; either sign will do. A complex A
        needs an M that is not a packaged model. Integer and float32 matrices are solved in float64.
    b : array, shape (n,) or (n, k)
        Right-hand side, or k of them, which are solved one after the other with the same M.
    M : str, LinearOperator, sparse array, dense array, or None
        Approximation of the *inverse* of A: "auto" or the name of a packaged model, the name of a
        classical preconditioner (a key of ``neuprecond.classical.CLASSICAL``), M itself, or None.
    method : str
        One of ``METHODS``. gmres and lgmres precondition from the left, gcrotmk from the right.
    rtol, atol : float
        Tolerance, relative and absolute.
    maxiter : int or None
        Most *inner* iterations, also where SciPy's maxiter counts restart cycles; None is
        min(10 n, 10 000). lgmres and gcrotmk give back x of their last whole cycle, and so does
        gmres when interrupted.
    restart : int
        Iterations of a cycle of gmres, lgmres and gcrotmk.
    x0 : array, shape of b, or None
        First guess; None is zero.
    B : array, shape (n, k), or None
        Near-null vectors, handed on to the making of M where that is named and has use for them.
    history : bool
        Record the residual of each iteration. Free for cg, minres and the gmres family; bicgstab
        and cgs need one more product with A an iteration.
    callback : callable or None
        Called as ``callback(iteration, residual)`` with each entry of the history, column by
        column.

    Returns
    -------
    SolveRecord
        For k right-hand sides x of shape (n, k), the most iterations and the largest residual of
        any column, seconds of all together, the status of the first column that did not converge,
        and the history of the column with the most iterations.

    Raises
    ------
    TypeError
        If A, b or M is of a kind that cannot be used.
    ValueError
        If a shape does not fit, a value is not finite, or a name or option is unknown.
    NotDefiniteError
        If cg or minres is asked for and A is not symmetric, or the named M needs a definite A.
    Interrupted
        At Ctrl-C during the iterations: a KeyboardInterrupt whose ``record`` holds x so far.

    References
    ----------
    Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., SIAM 2003, chapters 6, 7 and 9.

    Examples
    --------
    >>> A = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(50, 50)).tocsr()
    >>> record = solve(A, np.ones(50), M="ic0")  # IC(0) of a tridiagonal A is exact
    >>> record.status, record.iterations
    ('converged', 1)
    """
    if method not in METHODS:
        raise ValueError(f"no method {method!r}; there are {', '.join(METHODS)}.")
    _require_numbers(rtol=rtol, atol=atol)
    if not (rtol >= 0 and atol >= 0):
        raise ValueError(f"rtol and atol must not be negative or NaN, got {rtol} and {atol}.")
    _require_whole(maxiter=maxiter, restart=restart)
    if restart < 1:
        raise ValueError(f"restart must be at least 1, got {restart}.")
    csr = as_csr(A, allow_complex=True)
    n = csr.shape[0]
    if maxiter is None:
        maxiter = min(10 * n, 10_000)
    if maxiter < 0:
        raise ValueError(f"maxiter must not be negative, got {maxiter}.")
    right = _as_vectors(b, n, "b")
    guess = None if x0 is None else _as_vectors(x0, n, "x0")
    if guess is not None and guess.shape != right.shape:
        raise ValueError(f"x0 must have the shape of b, {right.shape}, got {guess.shape}.")
    if method in ("cg", "minres"):
        _require_hermitian(csr, method)
    if method == "minres" and np.iscomplexobj(csr):
        raise ValueError("SciPy's minres is for real A only. Use gmres for a complex A.")

    operator, name, setup_seconds = _preconditioner(M, csr, B)
    columns = right.reshape(n, -1)
    if columns.shape[1] == 0:
        raise ValueError(f"b must have at least one column, got shape {right.shape}.")
    unit = _unit(csr)
    scaled = csr * unit
    records: list[_Column] = []
    interrupted = False
    for c in range(columns.shape[1]):
        records.append(
            _solve_one(
                scaled,
                columns[:, c],
                operator,
                unit=unit,
                method=method,
                rtol=rtol,
                atol=atol,
                # After Ctrl-C the columns that are left stay where they began.
                maxiter=0 if interrupted else maxiter,
                restart=restart,
                x0=None if guess is None else guess.reshape(n, -1)[:, c],
                history=history or callback is not None,
                callback=None if interrupted else callback,
            )
        )
        interrupted = interrupted or records[-1].status == INTERRUPTED
    longest = max(records, key=lambda record: record.iterations)
    failed = [record for record in records if record.status not in (CONVERGED, ZERO)]
    applies = sum(record.applies for record in records)
    whole = SolveRecord(
        x=np.stack([record.x for record in records], axis=1).reshape(right.shape),
        iterations=longest.iterations,
        residual=max(record.residual for record in records),
        history=np.array(longest.history if history else []),
        status=INTERRUPTED if interrupted else (failed or records)[0].status,
        method=method,
        preconditioner=name,
        setup_seconds=setup_seconds,
        solve_seconds=sum(record.solve_seconds for record in records),
        apply_seconds=sum(record.apply_seconds for record in records) / max(applies, 1),
    )
    if interrupted:
        raise Interrupted(whole)
    return whole


def _require_numbers(**options: object) -> None:
    for name, value in options.items():
        if not isinstance(value, Real):
            raise TypeError(f"{name} must be a number, got {value!r}.")


def _require_whole(**options: object) -> None:
    for name, value in options.items():
        if value is not None and not isinstance(value, Integral):
            raise TypeError(f"{name} must be a whole number, got {value!r}.")


def _as_vectors(b: object, n: int, name: str) -> np.ndarray:
    """Return b as a finite float64 or complex128 array of shape (n,) or (n, k)."""
    if sparse.issparse(b):
        raise TypeError(f"{name} must be a dense array, got a sparse one; pass {name}.toarray().")
    refuse_masked(b, name)
    vectors = np.asarray(b)
    if vectors.dtype.kind not in "biufc":
        raise TypeError(f"{name} must hold numbers, got dtype {vectors.dtype}.")
    if vectors.ndim not in (1, 2) or vectors.shape[0] != n:
        raise ValueError(
            f"{name} must have shape ({n},) or ({n}, k) to fit A, got {vectors.shape}."
        )
    vectors = vectors.astype(np.complex128 if vectors.dtype.kind == "c" else np.float64)
    bad = np.argwhere(~np.isfinite(vectors))
    if len(bad):
        at = tuple(int(i) for i in bad[0])
        kind = "NaN" if np.isnan(vectors[at]) else "an infinity"
        raise ValueError(f"{name} must be finite, got {kind} in row {at[0]}.")
    return vectors


def _require_hermitian(A: sparse.csr_array, method: str) -> None:
    if not np.iscomplexobj(A):
        return require_symmetric(A, who=method)
    top = abs(A).max() or 1.0
    off = abs(A / top - (A / top).conj().T).max()
    if off > SYMMETRY_TOLERANCE:
        raise NotDefiniteError(
            f"{method} needs a Hermitian A; max |A - Aᴴ| / max |A| is {off:.1e}.", "Use gmres."
        )


def _preconditioner(
    M: object, A: sparse.csr_array, B: object | None
) -> tuple[LinearOperator | None, str, float]:
    """M as an operator (None for none), its name, and the seconds that making it took."""
    if M is None or (isinstance(M, str) and M == "none"):
        return None, "none", 0.0
    if isinstance(M, str):
        start = perf_counter()
        made: LinearOperator
        if M in CLASSICAL:
            made = precondition(M, A, B=B)
        else:
            # Only here, since zoo tries its fall-backs with this module.
            from neuprecond.zoo import load

            made = cast(LinearOperator, load(M, A, B=B))
        return made, getattr(made, "name", M), perf_counter() - start
    try:
        operator = aslinearoperator(M)
    except TypeError:
        raise TypeError(
            "M must be a name, a LinearOperator, a sparse or dense array, or None, got "
            f"{type(M).__name__}."
        ) from None
    if operator.shape != A.shape:
        raise ValueError(f"M must have the shape of A, {A.shape}, got {operator.shape}.")
    stages = getattr(M, "setup_seconds", None)
    seconds = sum(stages.values()) if isinstance(stages, dict) else float("nan")
    return operator, str(getattr(M, "name", type(M).__name__)), seconds


def _unit(A: sparse.csr_array) -> float:
    """Return the power of two that brings A's entries nearest to 1 without losing the smallest."""
    size = abs(A.data)
    if not size.any():
        return 1.0
    least, most = (int(e) for e in np.frexp([size[size > 0].min(), size.max()])[1])
    # A range too wide for the floating-point numbers loses its smallest entries.
    middle = min(-(least + most) // 2, 1000 - most)
    return float(np.ldexp(1.0, min(max(middle, -1000), 1000)))


@dataclass
class _Column:
    """What came of one right-hand side."""

    x: np.ndarray
    iterations: int
    residual: float
    history: list[float]
    status: str
    solve_seconds: float
    apply_seconds: float
    applies: int


class _Stop(Exception):  # noqa: N818 - no error: it leads out of SciPy's loop
    """Carries a status out of SciPy's loop, or None if the true residual is to decide."""

    def __init__(self, status: str | None) -> None:
        super().__init__(status)
        self.status = status


class _Watched:
    """A and M as SciPy sees them, with counts, clocks and the residuals that pass by.

    Right-hand side and matrix are scaled by powers of two to entries near 1, so that inner
    products neither overflow nor vanish: A and b here are the scaled ones, and ``unit`` is what A
    was multiplied by. ``tolerance`` and all residuals are relative to ‖b‖.
    """

    def __init__(
        self,
        A: sparse.csr_array,
        b: np.ndarray,
        M: LinearOperator | None,
        *,
        unit: float,
        method: str,
        tolerance: float,
        maxiter: int,
        keep_history: bool,
        callback: Callable[[int, float], None] | None,
    ) -> None:
        self.A, self.b, self.M, self.unit, self.method = A, b, M, unit, method
        self.b_norm = float(np.linalg.norm(b))
        self.tolerance, self.maxiter = tolerance, maxiter
        self.keep_history, self.callback = keep_history, callback
        self.iterations = self.applies = self.calls = self.cycles = 0
        self.apply_seconds = self.extra_seconds = 0.0
        self.history: list[float] = []
        self.signs: dict[str, float] = {}
        self.x = np.zeros_like(b)
        self.Mb_norm = 1.0
        # What gmres multiplied by A last, and after how many iterations.
        self.multiplied: tuple[np.ndarray, int] | None = None

    def residual(self, x: np.ndarray) -> float:
        """Return the true relative residual of x."""
        return float(np.linalg.norm(self.b - self.A @ x) / self.b_norm)

    def record(self, residual: float) -> None:
        """Set the residual of the present iteration; iterations left out are NaN."""
        if not self.keep_history:
            return
        known = len(self.history) > self.iterations
        self.history += [np.nan] * (self.iterations + 1 - len(self.history))
        self.history[self.iterations] = float(residual)
        if self.callback is not None and not known:
            self.callback(self.iterations, float(residual))

    def multiply(self, p: np.ndarray) -> np.ndarray:
        """Return A p; for cg with a look at the sign of pᴴAp."""
        q = self.A @ p.ravel()
        if self.method == "cg":
            self.look(np.vdot(p, q).real, p, q, A_INDEFINITE, A_NOT_FINITE)
        elif self.method == "gmres":
            # Each product begins an iteration, but the one at the start of a cycle, which is with
            # x itself: SciPy's array, that it goes on to add to.
            if self.multiplied is not None and self.multiplied[1] == self.iterations:
                self.x = self.multiplied[0]
            self.multiplied = p.ravel(), self.iterations
        return q

    def apply(self, r: np.ndarray) -> np.ndarray:
        """Return M r in double precision; for cg and minres with a look at the sign of rᴴMr."""
        r = r.ravel()
        if self.method == "cg":
            self.record(float(np.linalg.norm(r)) / self.b_norm)
        elif self.method in ("lgmres", "gcrotmk"):
            # lgmres also applies M once a cycle to the residual, which is no new direction.
            self.calls += 1
            self.iterations = self.calls - (self.cycles if self.method == "lgmres" else 0)
            if self.iterations > self.maxiter:
                self.iterations = self.maxiter
                raise _Stop(AT_MAXITER)
        start = perf_counter()
        z = r.copy() if self.M is None else self.M.matvec(r)
        self.apply_seconds += perf_counter() - start
        self.applies += 1
        z = np.asarray(z, dtype=np.result_type(z, np.float64)).ravel()
        if self.M is not None:
            z = z / self.unit
        product = np.vdot(r, z).real
        if self.method in ("cg", "minres"):
            self.look(product, r, z, M_INDEFINITE, M_NOT_FINITE)
        elif not np.isfinite(product) and not np.isfinite(z).all():
            raise _Stop(M_NOT_FINITE if np.isfinite(r).all() else BROKE_DOWN)
        elif product == 0.0 and r.any() and not z.any():
            raise _Stop(M_ZERO)
        if self.method == "gmres" and self.applies <= 2:
            # SciPy's gmres applies M to b before anything else, then to the first residual.
            norm = float(np.linalg.norm(z))
            if self.applies == 1:
                self.Mb_norm = norm or 1.0
            else:
                self.record(norm / self.Mb_norm)
        return z

    def look(
        self, product: float, v: np.ndarray, w: np.ndarray, indefinite: str, not_finite: str
    ) -> None:
        """Stop unless vᴴw keeps its sign: cg is right for A and M of either sign, not of both."""
        if not np.isfinite(product):
            raise _Stop(indefinite if np.isfinite(w).all() else not_finite)
        if product == 0.0:
            tiny = w.any() and abs(v).max() * abs(w).max() < SMALLEST_PRODUCT
            if tiny or not v.any():
                if self.method == "minres":
                    return  # its last step is still to come
                raise _Stop(None)
        sign = np.sign(product)
        # MINRES needs a positive M; cg takes what it meets first.
        expected = self.signs.setdefault(indefinite, 1.0 if self.method == "minres" else sign)
        if product == 0.0 or sign != expected:
            raise _Stop(indefinite)

    def after_step(self, x: np.ndarray) -> None:
        """Count an iteration of a method that shows x."""
        self.x = x
        self.iterations += 1
        if self.method == "minres":
            # SciPy's minres stops by ‖A‖ ‖x‖, not by ‖b‖, so the true residual is the test.
            residual = self.residual(x)
            self.record(residual)
            if residual <= self.tolerance:
                raise _Stop(None)
        elif self.keep_history and self.method in ("bicgstab", "cgs"):
            start = perf_counter()
            self.record(self.residual(x))
            self.extra_seconds += perf_counter() - start

    def after_cycle(self, x: np.ndarray) -> None:
        """Note x at the start of each cycle of lgmres and gcrotmk."""
        self.x = x.copy()
        if self.keep_history:
            start = perf_counter()
            self.record(self.residual(x))
            self.extra_seconds += perf_counter() - start
        self.cycles += 1

    def after_gmres_step(self, residual: float) -> None:
        """Count an inner iteration of gmres, which tells ‖M r‖ / ‖b‖."""
        self.iterations += 1
        self.record(residual * self.b_norm / self.Mb_norm)


def _solve_one(
    A: sparse.csr_array,
    b: np.ndarray,
    M: LinearOperator | None,
    *,
    unit: float,
    method: str,
    rtol: float,
    atol: float,
    maxiter: int,
    restart: int,
    x0: np.ndarray | None,
    history: bool,
    callback: Callable[[int, float], None] | None,
) -> _Column:
    start = perf_counter()
    top = abs(b).max()
    dtype = np.result_type(A.dtype, b.dtype, np.float64 if M is None else M.dtype, np.float64)
    if top == 0.0:
        zero = np.zeros(len(b), dtype=dtype)
        return _Column(zero, 0, 0.0, [0.0], ZERO, perf_counter() - start, 0.0, 0)
    # frexp, not the norm, so that scaling back is exact.
    scale = float(np.ldexp(1.0, min(int(np.frexp(top)[1]), 1023)))
    scaled = (b / scale).astype(dtype)
    b_norm = float(np.linalg.norm(scaled))
    watched = _Watched(
        A,
        scaled,
        M,
        unit=unit,
        method=method,
        tolerance=max(rtol, atol / scale / b_norm),
        maxiter=maxiter,
        keep_history=history,
        callback=callback,
    )
    if x0 is not None:
        watched.x = (x0 / scale / unit).astype(dtype)
    # Dividing by nothing is one of the statuses, not a warning.
    with np.errstate(all="ignore"):
        first = watched.x
        try:
            status = _run(watched, restart)
        except KeyboardInterrupt:
            status = INTERRUPTED
            if not np.isfinite(watched.residual(watched.x)):
                watched.x = first
        residual = watched.residual(watched.x)
        x = watched.x * unit * scale
    return _Column(
        x,
        watched.iterations,
        residual,
        watched.history,
        status,
        perf_counter() - start - watched.extra_seconds,
        watched.apply_seconds,
        watched.applies,
    )


def _run(watched: _Watched, restart: int) -> str:
    """Call SciPy until the true residual meets the tolerance or something ends it; the status."""
    last = watched.residual(watched.x)
    if watched.method != "gmres" or last <= watched.tolerance or watched.maxiter == 0:
        watched.record(last)
    while True:
        if last <= watched.tolerance:
            return CONVERGED
        if watched.iterations >= watched.maxiter:
            return AT_MAXITER
        start, steps, applied = watched.x, watched.iterations, watched.applies
        broken = False
        try:
            x, info = _call_scipy(watched, restart)
            watched.x = x
            broken = info < 0
            if watched.method == "bicgstab" and (watched.applies - applied) % 2:
                # It stopped after the first half of a step, without calling back.
                watched.iterations += 1
        except _Stop as stop:
            if stop.status is not None:
                residual = watched.residual(watched.x)
                if not np.isfinite(residual):
                    watched.x = start
                elif watched.method in ("lgmres", "gcrotmk"):
                    watched.record(residual)
                return CONVERGED if residual <= watched.tolerance else stop.status
        residual = watched.residual(watched.x)
        if not np.isfinite(residual):
            watched.x = start
            return BROKE_DOWN
        if watched.method != "gmres":
            watched.record(residual)
        if residual > watched.tolerance and watched.iterations < watched.maxiter:
            if watched.iterations == steps or not residual < PROGRESS * last:
                return BROKE_DOWN if broken else STALLED
        last = residual


def _call_scipy(watched: _Watched, restart: int) -> tuple[np.ndarray, int]:
    """One call of SciPy's solver from the present x, for at most the iterations left."""
    n, dtype = len(watched.b), watched.b.dtype
    A = LinearOperator((n, n), matvec=watched.multiply, dtype=dtype)
    M = LinearOperator((n, n), matvec=watched.apply, dtype=dtype)
    b, x0 = watched.b, watched.x.copy()
    left = watched.maxiter - watched.iterations
    atol = watched.tolerance * watched.b_norm
    cycle = min(restart, left, n)
    if watched.method == "gmres":
        return gmres(
            A,
            b,
            x0=x0,
            rtol=0.0,
            atol=atol,
            restart=cycle,
            maxiter=left // cycle,
            M=M,
            callback=watched.after_gmres_step,
            callback_type="pr_norm",
        )
    if watched.method == "minres":
        # after_step ends it; SciPy's own test is set to what rounding allows.
        return minres(A, b, x0=x0, rtol=1e-16, maxiter=left, M=M, callback=watched.after_step)
    if watched.method == "lgmres":
        return lgmres(
            A,
            b,
            x0=x0,
            rtol=0.0,
            atol=atol,
            inner_m=cycle,
            maxiter=left,
            M=M,
            callback=watched.after_cycle,
        )
    if watched.method == "gcrotmk":
        # Half of a cycle's directions are new, half are kept from the cycles before.
        return gcrotmk(
            A,
            b,
            x0=x0,
            rtol=0.0,
            atol=atol,
            m=max(cycle // 2, 1),
            maxiter=left,
            M=M,
            callback=watched.after_cycle,
        )
    solver = {"cg": cg, "bicgstab": bicgstab, "cgs": cgs}[watched.method]
    return solver(A, b, x0=x0, rtol=0.0, atol=atol, maxiter=left, M=M, callback=watched.after_step)
