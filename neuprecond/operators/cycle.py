"""The multigrid cycle as a SciPy operator: sparse products and one small dense solve."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, sparse

from neuprecond import rows
from neuprecond.errors import NotDefiniteError
from neuprecond.operators import kernels
from neuprecond.operators.base import ApproximateInverse
from neuprecond.operators.lanes import LANES

__all__ = ["COARSEST", "Cycle", "CycleLevel", "chebyshev_coefficients", "chebyshev_smoother"]

#: Below this many unknowns the matrix is inverted.
COARSEST = 100
# The smoother damps the upper part of the spectrum, [FRACTION λmax, λmax]: the best of
# 0.05, 0.1, 0.2 and 0.3 on validation problems of all families.
FRACTION = 0.2


def chebyshev_coefficients(largest: Any, fraction: float = FRACTION) -> tuple[Any, Any]:
    """c0 and c1 of the smoother S = c0 I - c1 A whose error 1 - λ S(λ) is a Chebyshev polynomial.

    Parameters
    ----------
    largest : float or Tensor
        Bound of A's eigenvalues.
    fraction : float
        The smoother damps eigenvalues in [fraction · largest, largest].

    Returns
    -------
    c0, c1 : like largest
        S is positive definite and the smoother converges for every spectrum in
        (0, (1 + fraction) largest).

    References
    ----------
    M. Adams, M. Brezina, J. Hu, R. Tuminaro, Parallel multigrid smoothing: polynomial versus
    Gauss-Seidel, J. Comput. Phys. 188, 2003.

    Examples
    --------
    >>> c0, c1 = chebyshev_coefficients(2.0)
    >>> round(c0, 3), round(c1, 3)
    (2.143, 0.893)
    """
    center = (1 + fraction) / (1 - fraction)
    slope = 2.0 / ((1 - fraction) * largest)
    top = 2 * center**2 - 1
    return 4 * center / top * slope, 2 / top * slope * slope


def chebyshev_smoother(
    A: sparse.csr_array, d: np.ndarray, largest: float, fraction: float = FRACTION
) -> sparse.csr_array:
    """S = D^(1/2) (c0 I - c1 D^(1/2) A D^(1/2)) D^(1/2), on A's pattern.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        With its whole diagonal stored.
    d : ndarray, shape (n,)
        Positive diagonal of D; ones give the unlearned smoother.
    largest : float
        Bound of the eigenvalues of D^(1/2) A D^(1/2).
    fraction : float
        Of `chebyshev_coefficients`.

    Returns
    -------
    csr_array, shape (n, n)
        Symmetric positive definite; one product a smoothing step.
    """
    c0, c1 = chebyshev_coefficients(largest, fraction)
    values = rows.smoother_values(*rows.csr(A), d, c0, c1)
    return sparse.csr_array((values, A.indices, A.indptr), shape=A.shape)


@dataclass(frozen=True)
class CycleLevel:
    """Matrices of one level.

    Attributes
    ----------
    A, S : csr_array, shape (n, n)
        Matrix of unit diagonal, smoother; S need not have A's pattern.
    P : csr_array, shape (n, nc)
        Prolongation to this level's unknowns from the scaled unknowns of the next.
    eliminated : bool
        The level is solved exactly by block elimination: P is the back substitution and S holds
        the inverse pivots, zero on kept unknowns.
    """

    A: sparse.csr_array
    S: sparse.csr_array
    P: sparse.csr_array
    eliminated: bool = False


def _bottom_inverse(A: np.ndarray) -> np.ndarray:
    """Inverse of a symmetric matrix; on its null space, if it has one, zero."""
    A = 0.5 * (A + A.T)
    if len(A) == 0:
        return A
    try:
        factor = linalg.cho_factor(A, lower=True)
        inverse = linalg.cho_solve(factor, np.eye(len(A)))
        d = np.abs(np.diag(factor[0]))
        # Far from singular the factor is trusted; near it, modes must be told apart.
        if d.min() > 1e-6 * d.max():
            return 0.5 * (inverse + inverse.T)
    except linalg.LinAlgError:
        pass
    values, vectors = linalg.eigh(A)
    if values[0] < -1e-8 * max(values[-1], 0.0):
        raise NotDefiniteError(
            f"A must be positive definite, a coarse matrix has the eigenvalue {values[0]:.2e} "
            f"beside {values[-1]:.2e}.",
            'Try load("auto", A) with GMRES or MINRES.',
        )
    keep = values > 1e-12 * max(values[-1], 1e-300)
    return (vectors[:, keep] / values[keep]) @ vectors[:, keep].T


def _schedule(levels: Sequence[CycleLevel], visits: Sequence[int]) -> np.ndarray:
    """Steps of one cycle; a level whose ``visits`` is 2 is run twice by the level above it."""

    def cycle(level: int) -> list[tuple[int, int]]:
        if level == len(levels):
            return [(kernels.BOTTOM, level)]
        below = cycle(level + 1)
        if levels[level].eliminated:
            return [(kernels.REDUCE, level), *below, (kernels.RESTORE, level)]
        if level + 1 < len(levels) and visits[level + 1] == 2:
            below = [*below, (kernels.AGAIN, level + 1), *below, (kernels.SUM, level + 1)]
        return [(kernels.DOWN, level), *below, (kernels.UP, level)]

    return np.array(cycle(0), dtype=np.int64)


def _starts(lengths: Iterable[int]) -> np.ndarray:
    """Where parts of these lengths start behind each other, and where the last one ends."""
    return np.cumsum([0, *lengths]).astype(np.int64)


def _same_pattern(A: sparse.csr_array, S: sparse.csr_array) -> bool:
    """Whether two matrices share their arrays of indices."""
    pairs = ((A.indices, S.indices), (A.indptr, S.indptr))
    return S.nnz > 0 and all(a.size == b.size and a.ctypes.data == b.ctypes.data for a, b in pairs)


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    """All parts behind each other, in one pass and without a copy in between."""
    return np.concatenate([np.empty(0, dtype), *parts], dtype=dtype, casting="unsafe")


class Cycle(ApproximateInverse):
    """One symmetric multigrid cycle from a zero start, M ≈ A⁻¹.

    Parameters
    ----------
    levels : sequence of CycleLevel
        From the finest down.
    bottom : csr_array, shape (nc, nc)
        The coarsest matrix, in scaled unknowns.
    s : ndarray, shape (n,)
        Scaling of the finest level: M = S C S, C the cycle on unit diagonals.
    visits : sequence of int
        How often each level is run by the one above it, 1 or 2; twice on every level is a W-cycle.
        The finest level and those below an eliminated one are run once.
    order : ndarray of unsigned integers, shape (n,), optional
        Which unknown of A is the i-th of the finest level and of s; all in place by default.
    kept : object, optional
        What the setup can use again for another matrix of A's pattern.
    **about
        What M tells of itself, see `ApproximateInverse`.

    Notes
    -----
    M is symmetric positive definite if every smoother S is and I - S A contracts in A's norm,
    whatever P is. Two visits keep that: 2 M - M A M is definite when M A has its spectrum
    in (0, 1].

    References
    ----------
    W. Hackbusch, Multi-Grid Methods and Applications, Springer 1985.
    """

    def __init__(
        self,
        levels: Sequence[CycleLevel],
        bottom: sparse.csr_array,
        s: np.ndarray,
        *,
        visits: Sequence[int],
        model: str,
        learned: bool,
        nnz: int,
        setup_seconds: dict[str, float],
        order: np.ndarray | None = None,
        kept: Any = None,
    ) -> None:
        self.kept = kept
        self._s = s
        self._order = np.empty(0, dtype=np.uint32) if order is None else order
        self._schedule = _schedule(levels, visits)
        sizes = [level.A.shape[0] for level in levels] + [bottom.shape[0]]
        self._rows = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        matrices = [matrix for level in levels for matrix in (level.A, level.S, level.P)]
        self._shapes = [matrix.shape for matrix in matrices]
        self._entries = _starts(m.nnz for m in matrices)
        index = np.uint32 if self._entries[-1] < np.iinfo(np.uint32).max else np.uint64
        # A smoother on A's pattern shares A's arrays of indices.
        as_before = [
            k % 3 == 1 and _same_pattern(*matrices[k - 1 : k + 1]) for k in range(len(matrices))
        ]
        own = [matrix for matrix, shared in zip(matrices, as_before, strict=True) if not shared]
        number = np.cumsum([not shared for shared in as_before], dtype=np.int64) - 1
        self._pointers = _starts(len(m.indptr) for m in own)[number]
        self._places = _starts(m.nnz for m in own)[number]
        self._indptr = _joined([m.indptr for m in own], index)
        self._indices = _joined([m.indices for m in own], index)
        self._values = _joined([m.data for m in matrices], np.float64)
        self._bottom = np.ascontiguousarray(_bottom_inverse(bottom.toarray()))
        self._visits = [1, *visits[1 : len(levels)]]
        self._eliminated = [level.eliminated for level in levels]
        self._nnz = max(nnz, 1)
        complexity = (sum(level.A.nnz for level in levels) + bottom.nnz) / self._nnz
        super().__init__(
            len(s),
            model=model,
            kind="multilevel",
            learned=learned,
            density=self._cost() / self._nnz,
            levels=len(levels) + 1,
            operator_complexity=complexity,
            setup_seconds=setup_seconds,
        )

    def _cost(self) -> float:
        """Multiplications of one cycle."""
        cost, times = 0.0, 1
        for level, eliminated in enumerate(self._eliminated):
            times *= self._visits[level]
            again = times // 2 if self._visits[level] == 2 else 0
            a, s, p = np.diff(self._entries)[3 * level : 3 * level + 3]
            if eliminated:
                cost += times * (s + 2 * p)
            else:
                cost += times * (2 * a + 2 * s + 2 * p) + again * a
        return float(cost + times * self._bottom.size)

    def revisited(self, visits: Sequence[int], kept: Any) -> "Cycle":
        """The same levels, run another number of times; nothing is set up anew or copied.

        Parameters
        ----------
        visits : sequence of int
            As for `Cycle`.
        kept : object
            As for `Cycle`.

        Returns
        -------
        Cycle
        """
        other = copy.copy(self)
        levels = [self.level(k) for k in range(self.levels - 1)]
        other._visits = [1, *visits[1 : len(levels)]]
        other._schedule = _schedule(levels, visits)
        other.kept = kept
        other.density = other._cost() / self._nnz
        return other

    def level(self, level: int) -> CycleLevel:
        """Views of the matrices of a level, 0 the finest, in the order of `order`."""
        A, S, P = (self._matrix(3 * level + k) for k in range(3))
        return CycleLevel(A, S, P, eliminated=self._eliminated[level])

    @property
    def s(self) -> np.ndarray:
        """Scaling of the finest level, in the order of `order`."""
        return self._s

    def visits(self, level: int) -> int:
        """How often a level is run by the one above it."""
        return self._visits[level]

    @property
    def order(self) -> np.ndarray | None:
        """Which unknown of A is the i-th of the finest level; None where all are in place."""
        return self._order if len(self._order) else None

    def _matrix(self, k: int) -> sparse.csr_array:
        p, q = self._pointers[k], self._places[k]
        e, f = self._entries[k : k + 2]
        signed = np.int32 if self._indices.dtype == np.uint32 else np.int64
        parts = (
            self._values[e:f],
            self._indices[q : q + f - e].view(signed),
            self._indptr[p : p + self._shapes[k][0] + 1].view(signed),
        )
        return sparse.csr_array(parts, shape=self._shapes[k])

    @property
    def _flat(self) -> tuple[np.ndarray, ...]:
        return (
            self._schedule,
            self._rows,
            self._pointers,
            self._places,
            self._entries,
            self._indptr,
            self._indices,
            self._values,
            self._bottom,
            self._s,
            self._order,
        )

    def _apply_vector(self, r: np.ndarray) -> np.ndarray:
        return kernels.run_vector(*self._flat, np.empty((4, self._rows[-1])), r)

    def _apply_block(self, R: np.ndarray) -> np.ndarray:
        if R.shape[1] == 1:
            return self._apply_vector(R[:, 0])[:, None]
        Z = np.empty_like(R)
        kernels.run_block(*self._flat, np.empty((4, self._rows[-1], LANES)), R, Z)
        return Z

    def on_arrays(
        self, matrix: Callable[[sparse.csr_array], Any], array: Callable[[np.ndarray], Any]
    ) -> Callable[[Any], Any]:
        """M on another library's arrays; see `ApproximateInverse.on_arrays`."""
        levels = []
        for level in range(self.levels - 1):
            A, S, P = (self._matrix(3 * level + k) for k in range(3))
            levels.append([matrix(each) for each in (A, S, P, sparse.csr_array(P.T.tocsr()))])
        # No library is sure to multiply by a matrix without columns.
        ends = [bool(self._shapes[3 * level + 2][1] == 0) for level in range(self.levels - 1)]
        bottom, s = array(self._bottom), array(self._s)
        schedule = [(int(what), int(level)) for what, level in self._schedule]

        turn = self._turn()
        there, back = (None, None) if turn is None else (matrix(turn), matrix(turn.T.tocsr()))

        def apply(r: Any) -> Any:
            scale = s if r.ndim == 1 else s[:, None]
            r = r if there is None else there @ r
            # Residual and solution of each level, and the solution before its second visit.
            R, X, before = {0: scale * r}, {}, {}
            for what, level in schedule:
                if what == kernels.BOTTOM:
                    if level in R:
                        X[level] = bottom @ R[level]
                    continue
                A, S, P, restriction = levels[level]
                if what == kernels.DOWN:
                    X[level] = S @ R[level]
                    if not ends[level]:
                        R[level + 1] = restriction @ (R[level] - A @ X[level])
                elif what == kernels.UP:
                    x = X[level] if ends[level] else X[level] + P @ X[level + 1]
                    X[level] = x + S @ (R[level] - A @ x)
                elif what == kernels.REDUCE:
                    R[level + 1] = restriction @ R[level]
                elif what == kernels.RESTORE:
                    X[level] = P @ X[level + 1] + S @ R[level]
                elif what == kernels.AGAIN:
                    before[level] = X[level]
                    R[level] = R[level] - A @ X[level]
                else:
                    X[level] = X[level] + before[level]
            return scale * X[0] if back is None else back @ (scale * X[0])

        return apply

    def _turn(self) -> sparse.csr_array | None:
        """The permutation from A's order to that of the finest level."""
        if self.order is None:
            return None
        n = len(self.order)
        parts = np.ones(n), self.order.astype(np.int32), np.arange(n + 1, dtype=np.int32)
        return sparse.csr_array(parts, shape=(n, n))

    def _level_lines(self) -> list[str]:
        lines = ["  level   unknowns     nonzeros   visits"]
        times = 1
        for level in range(self.levels - 1):
            times *= self._visits[level]
            part = self.level(level)
            nnz = part.P.nnz if part.eliminated else part.A.nnz
            how = "   eliminated" if part.eliminated else ""
            lines.append(f"  {level:5d} {part.A.shape[0]:10d} {nnz:12d} {times:8d}{how}")
        n = len(self._bottom)
        return [*lines, f"  {self.levels - 1:5d} {n:10d} {n * n:12d} {times:8d}   inverted"]
