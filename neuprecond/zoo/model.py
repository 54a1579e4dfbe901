"""A model in memory: its card, its weights, and how it preconditions a matrix. No torch."""

import hashlib
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from neuprecond import checks, rows
from neuprecond.errors import NeuprecondWarning, NotDefiniteError
from neuprecond.hierarchy import are_displacements, block_size, components_apart, unit_diagonal
from neuprecond.inference import level_network
from neuprecond.multilevel import (
    PLANS,
    Pick,
    Plan,
    Values,
    build_cycle,
    interpolated_as_before,
    reduce_exactly,
)
from neuprecond.nonsymmetric import (
    FLOW_PLANS,
    FLOW_STATISTICS,
    FlowReduction,
    build_two_sided,
    flow_statistics,
    reduce_flow,
)
from neuprecond.operators.base import ApproximateInverse
from neuprecond.operators.cycle import COARSEST, Cycle
from neuprecond.spai import SpaiFeatures, SpaiValues, build_factored
from neuprecond.statistics import STATISTICS, matrix_statistics, plan_statistics
from neuprecond.zoo.card import Card

__all__ = ["Model", "Origin", "Outside", "components", "least_dominance", "pick_plan"]

# Statistics are clipped to what training saw, this many standard deviations from its mean.
CLIP = 4.0
# So many standard deviations from the mean at several statistics, a matrix is unlike a group of
# those of training. Unlike all groups is no problem of a family trained on (of 800 labelled ones
# from a seed that was left out), while Gram matrices and random dominant ones are. With a floor for
# statistics that hardly vary in training.
FAR, SEVERAL, LEAST_SPREAD = 5.0, 2, 0.05
# One level was trained on heat steps up to a condition number of a thousand.
LEAST_ROW_SUM = 5e-4
# Rigid body modes and the like: only aggregates carry several near-null vectors.
SEVERAL_NEAR_NULL = Plan(("sa",), (1, 2, 1))
# Constants of each component do not know of rotations: the smoother has more to do.
COMPONENTS = Plan(("sa",), (1,), "fsai")


def pick_plan(
    weights: Mapping[str, np.ndarray], statistics: np.ndarray, plans: Iterable[str] = PLANS
) -> str:
    """Name of the plan that the pick network expects to cost least.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Of `neuprecond.nets.Pick`, names without prefix.
    statistics : ndarray
        From `neuprecond.statistics.matrix_statistics`, or what the kind of model has instead.
    plans : iterable of str
        What there is to pick from.
    """
    x = ((statistics - weights["mean"]) / weights["scale"]).clip(-CLIP, CLIP)
    hidden = np.maximum(weights["hidden.weight"] @ x + weights["hidden.bias"], 0.0)
    scores = weights["out.weight"] @ hidden + weights["out.bias"]
    return list(plans)[int(np.argmax(scores))]


@dataclass(frozen=True)
class Model:
    """A learned preconditioner for a kind of matrix.

    Attributes
    ----------
    card : Card
        What it was trained on and what it reached.
    weights : mapping of str to ndarray
        All tensors of the weights file.
    device : str or None
        Where torch evaluates the network; None evaluates it here, without torch.
    """

    card: Card
    weights: Mapping[str, np.ndarray]
    device: str | None = None

    def _part(self, prefix: str) -> dict[str, np.ndarray]:
        return {
            key.removeprefix(prefix): value
            for key, value in self.weights.items()
            if key.startswith(prefix)
        }

    @property
    def _statistics(self) -> tuple[str, ...]:
        return FLOW_STATISTICS if self.card.kind == "nonsymmetric" else STATISTICS

    def _values(self) -> Values:
        weights = self._part("values.")
        if self.device is None:
            return level_network(weights)
        from neuprecond.graph import on_device

        return on_device(weights, self.device)

    def _spai_values(self) -> SpaiValues:
        values = self._values()

        def per_entry(features: SpaiFeatures) -> np.ndarray:
            # Diagonal entries of G are the nodes' numbers, the others the entries'.
            diagonal, entry = values(features)
            own = features.entry_rows == features.entry_roots
            return np.where(own, diagonal[features.entry_rows], entry)

        return per_entry

    def precondition(
        self,
        A: object,
        B: object = None,
        *,
        learned: bool = True,
        plan: str | None = None,
    ) -> ApproximateInverse:
        """M ≈ A⁻¹ for a symmetric positive definite A.

        Warns with `NeuprecondWarning` where A is far from what the model was trained on.

        Parameters
        ----------
        A : sparse array or matrix, or ndarray, shape (n, n)
            Symmetric with a positive diagonal; not changed.
        B : array_like, shape (n, k), optional
            Near-null vectors, for example rigid body modes. By default constants, one vector for
            each component where unknowns come in blocks, as displacements do. Only the multilevel
            kind uses them.
        learned : bool
            False builds the unlearned twin: the same plan with PyAMG's interpolation and a
            Chebyshev smoother, or FSAI.
        plan : str, optional
            One of `neuprecond.multilevel.PLANS` instead of the model's own pick; of
            `neuprecond.nonsymmetric.FLOW_PLANS` for a nonsymmetric model.

        Returns
        -------
        Cycle or FactoredInverse

        Raises
        ------
        NotDefiniteError
            If A is not symmetric, has a diagonal entry that is not positive, or turns out to be
            indefinite.
        """
        M, remarks = self.build(A, B, learned=learned, plan=plan)
        for remark in remarks:
            warnings.warn(remark, NeuprecondWarning, stacklevel=2)
        return M

    def rebuild(
        self, M: ApproximateInverse, A: object, *, interpolate: bool = False
    ) -> ApproximateInverse:
        """M for another matrix of the same pattern; see `neuprecond.reuse`.

        Parameters
        ----------
        M : ApproximateInverse
            Made by this model.
        A, interpolate
            As for `neuprecond.reuse`.
        """
        start = time.perf_counter()
        origin: Origin = M.origin
        matrix = checks.as_csr(A)
        if matrix.shape != M.shape or _digest(matrix) != origin.pattern:
            was = "another pattern" if matrix.shape == M.shape else f"shape {M.shape}"
            raise ValueError(
                f"reuse needs an A of the pattern that M was made for, got {matrix.nnz} entries of "
                f"shape {matrix.shape}, and M is for {was} (entries that are zero do not count). "
                "Load again."
            )
        if not isinstance(M, Cycle):
            plan = origin.plan
            return self.build(matrix, None, learned=M.learned, plan=plan, far=np.inf)[0]
        who = f"model {self.card.name!r}"
        checks.require_symmetric(matrix, who=who)
        checks.require_definite_diagonal(matrix, who=who)
        seconds = {"check": time.perf_counter() - start}
        if not interpolate:
            new = interpolated_as_before(M, matrix, setup_seconds=seconds)
        else:
            new = build_cycle(
                matrix,
                self._values() if M.learned else None,
                plan=M.kept.plan,
                B=origin.B,
                model=self.card.name,
                setup_seconds=seconds,
                like=M,
            )
        new.origin = origin
        return new

    def build(
        self,
        A: object,
        B: object = None,
        *,
        learned: bool = True,
        plan: str | None = None,
        far: float = FAR,
    ) -> tuple[ApproximateInverse, list[str]]:
        """`precondition` without its warnings: M, and what they would say.

        Parameters
        ----------
        A, B, learned, plan
            As for `precondition`.
        far : float
            How many standard deviations from the mean of training, or of the nearest group of
            alike problems, are called outside.
        """
        start = time.perf_counter()
        matrix = checks.as_csr(A)
        who = f"model {self.card.name!r}"
        if self.card.kind == "nonsymmetric":
            return self._build_two_sided(matrix, B, who, learned=learned, plan=plan, far=far)
        pattern = _digest(matrix)
        checks.require_symmetric(matrix, who=who)
        checks.require_definite_diagonal(matrix, who=who)
        near_null = None if B is None else checks.require_near_null(B, matrix.shape[0])
        remarks: list[str] = []
        seconds = {"check": time.perf_counter() - start}
        if self.card.kind == "spai":
            M: ApproximateInverse = build_factored(
                matrix,
                self._spai_values() if learned else None,
                model=self.card.name,
                setup_seconds=seconds,
            )
            M.origin = Origin(self, pattern)
            remarks += _one_level_remarks(matrix, who) if far < np.inf else []
            if near_null is not None:
                remarks.append(f"{who} is of one level and has no use for B; it is ignored.")
            return M, remarks
        if plan is not None and plan not in PLANS:
            raise ValueError(f"plan must be one of {', '.join(PLANS)}, got {plan!r}.")
        seen: list[np.ndarray] = []

        def pick(A: sparse.csr_array, u: np.ndarray, X: np.ndarray) -> Plan:
            seen.append(matrix_statistics(A, u, X))
            return PLANS[pick_plan(self._part("pick."), seen[0])]

        chosen: Plan | Pick = pick if plan is None else PLANS[plan]
        order = None
        if near_null is None and plan is None:
            near_null, order = components(matrix)
            chosen = pick if near_null is None else COMPONENTS
        elif near_null is not None and near_null.shape[1] > 1:
            chosen = SEVERAL_NEAR_NULL
        M = build_cycle(
            matrix,
            self._values() if learned else None,
            plan=chosen,
            B=near_null,
            model=self.card.name,
            setup_seconds=seconds,
            remarks=remarks,
            order=order,
        )
        M.origin = Origin(self, pattern, B=near_null)
        if far == np.inf:
            return M, []
        return M, remarks + (self._range_remarks(seen[0], who, far) if seen else [])

    def _build_two_sided(
        self,
        A: sparse.csr_array,
        B: object,
        who: str,
        *,
        learned: bool,
        plan: str | None,
        far: float,
    ) -> tuple[ApproximateInverse, list[str]]:
        if plan is not None and plan not in FLOW_PLANS:
            raise ValueError(f"plan must be one of {', '.join(FLOW_PLANS)}, got {plan!r}.")
        if not checks.one_sign(A.diagonal()):
            raise NotDefiniteError(
                f"{who} needs a diagonal of one sign and without zeros, as advection with "
                "diffusion has.",
                'Try load("auto", A) with GMRES, or a direct solver.',
            )
        part, remarks = self._part("pick."), []
        seen: list[np.ndarray] = []

        def pick(left: FlowReduction) -> str:
            seen.append(flow_statistics(left.A, order=left.order))
            return pick_plan(part, seen[0], FLOW_PLANS)

        # Unlearned is the one plan that costs least on average over the problems of training.
        chosen = pick if learned else list(FLOW_PLANS)[int(np.argmin(part["cost"]))]
        M = build_two_sided(A, plan or chosen, model=self.card.name, learned=learned)
        M.origin = Origin(self, _digest(A), plan=M.plan)
        if B is not None:
            remarks.append(f"{who} has no use for B; it is ignored.")
        if far < np.inf:
            symmetric = _symmetric_remarks(A, who)
            remarks += symmetric
            if seen and not symmetric:
                remarks += self._range_remarks(seen[0], who, far)
        return M, remarks

    def pick(self, A: sparse.csr_array, v: np.ndarray) -> Plan:
        """Pick the plan for a matrix (after elimination) with the near-null vector v."""
        return PLANS[pick_plan(self._part("pick."), plan_statistics(A, v))]

    def outside(
        self, A: sparse.csr_array, *, far: float = FAR
    ) -> "tuple[list[Outside], list[str]]":
        """Statistics of A that lie outside of what training saw, and what `build` would say.

        Parameters
        ----------
        A : csr_array, shape (n, n)
            Symmetric, with a positive diagonal; for the nonsymmetric kind any with a whole one.
        far : float
            How many standard deviations from the mean of training, or of the nearest group of
            alike problems, are called outside.

        Returns
        -------
        list of Outside
            The farthest first; empty for a model of one level, which knows no statistics.
        list of str
            Empty where the model covers A.
        """
        who = f"model {self.card.name!r}"
        if self.card.kind == "spai":
            return [], _one_level_remarks(A, who)
        if self.card.kind == "nonsymmetric":
            remarks = _symmetric_remarks(A, who)
            left = reduce_flow(A).A
            if remarks or left.shape[0] <= COARSEST:
                return [], remarks
            statistics = flow_statistics(left)
            return self._outside(statistics, far), self._range_remarks(statistics, who, far)
        reduction = reduce_exactly(A)
        if reduction.A.shape[0] <= COARSEST or reduction.v is None:
            return [], []
        statistics = plan_statistics(reduction.A, reduction.v)
        return self._outside(statistics, far), self._range_remarks(statistics, who, far)

    def _outside(self, statistics: np.ndarray, far: float) -> "list[Outside]":
        part = self._part("pick.")
        # Models from before there were groups know one of all.
        centres = part.get("centres", part["mean"][None])
        spreads = np.maximum(part.get("spreads", part["scale"][None]), LEAST_SPREAD)
        distances = np.abs(statistics - centres) / spreads
        # Larger problems than those of training are what a model is for, larger hubs with them.
        names = self._statistics
        for name in ("unknowns", "largest degree"):
            if name in names:
                distances[:, names.index(name)] = 0.0
        # The group that most of the statistics are near to.
        nearest = np.lexsort((distances.max(axis=1), (distances > far).sum(axis=1)))[0]
        distance, mean, spread = distances[nearest], centres[nearest], spreads[nearest]
        return [
            Outside(names[k], float(statistics[k]), float(mean[k]), float(spread[k]))
            for k in np.argsort(-distance, kind="stable")
            if distance[k] > far
        ]

    def _range_remarks(self, statistics: np.ndarray, who: str, far: float) -> list[str]:
        """Say so if several statistics of A lie outside of what training saw."""
        outside = self._outside(statistics, far)
        if len(outside) < SEVERAL:
            return []
        named = ", ".join(
            f"{o.statistic!r} {o.value:.2g} (trained on {o.mean:.2g} ± {o.spread:.2g})"
            for o in outside[:3]
        )
        return [
            f"A lies outside of what {who} was trained on, in {len(outside)} of "
            f"{len(self._statistics)} statistics; farthest are {named}. M is sound, but may take "
            'more steps than its unlearned twin: check="probe" compares the two.'
        ]


@dataclass(frozen=True)
class Origin:
    """How an M was made, as far as another matrix of the same pattern is concerned.

    Attributes
    ----------
    model : Model
        What made it.
    pattern : bytes
        A digest of A's pattern.
    plan : str or None
        Of a nonsymmetric model.
    B : ndarray or None
        Near-null vectors as given.
    """

    model: Model
    pattern: bytes
    plan: str | None = None
    B: np.ndarray | None = None


def _digest(A: sparse.csr_array) -> bytes:
    """Some bytes that tell patterns apart."""
    digest = hashlib.sha256()
    digest.update(A.indptr.data)
    digest.update(A.indices.data)
    return digest.digest()


@dataclass(frozen=True)
class Outside:
    """A statistic of A far from what a model was trained on.

    Attributes
    ----------
    statistic : str
        One of `neuprecond.statistics.STATISTICS`.
    value, mean, spread : float
        Of A; mean and standard deviation in training, of the nearest group of alike problems.
    """

    statistic: str
    value: float
    mean: float
    spread: float


def components(A: sparse.csr_array) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Constants of each component, where unknowns come in blocks, and the order node by node.

    None and None where they do not, and no order where they come node by node already. Unknowns of
    a discontinuous element come in blocks too, and so do concentrations that react with each other,
    but they are no displacements.
    """
    n, order = A.shape[0], None
    if n <= COARSEST:
        return None, None
    size, unknown = block_size(A), np.arange(n)
    node, component = unknown // size, unknown % size
    if size == 1:
        size = components_apart(A)
        if size == 1:
            return None, None
        node, component = unknown % (n // size), unknown // (n // size)
        order = unknown.astype(np.uint32).reshape(size, -1).T.ravel()
    if not are_displacements(A, node, component):
        return None, None
    return (component[:, None] == np.arange(size)).astype(np.float64), order


def _symmetric_remarks(A: sparse.csr_array, who: str) -> list[str]:
    """Say so if a model for nonsymmetric matrices gets a symmetric one."""
    if checks.asymmetry(A) > checks.SYMMETRY_TOLERANCE:
        return []
    return [
        f"A is symmetric, and M of {who} is not: use it with GMRES. For CG, "
        'load("auto", A) takes a model whose M is symmetric.'
    ]


def _one_level_remarks(A: sparse.csr_array, who: str) -> list[str]:
    """Say so if the typical row of A maps constants to almost nothing, as a Laplacian's does."""
    scaled_A, s = unit_diagonal(A)
    candidates = [np.ones_like(s), s.min() / s]
    residuals = [
        float(np.median(rows.relative_residual(*rows.csr(scaled_A), v)))
        for v in candidates
        if v.min() > 1e-100
    ]
    if min(residuals) >= LEAST_ROW_SUM:
        return []
    return [
        f"A lies outside of what {who} was trained on: it is of one level, and the typical row of "
        f"A sums to {min(residuals):.1e} of its absolute sum (trained on 1e-3 and more). Steps "
        'will grow with the size of A: load("auto", A) takes a model of several levels here.'
    ]


def least_dominance(A: sparse.csr_array) -> float:
    """By what share of its diagonal the least dominant row is dominant; negative if it is not.

    Of A or of S A S, whichever is the more dominant: either bounds the condition number of S A S.

    Examples
    --------
    >>> least_dominance(sparse.csr_array([[4.0, 1.0], [1.0, 4.0]]))
    0.75
    """
    _, s = unit_diagonal(A)
    size = abs(A)
    with np.errstate(all="ignore"):
        shares = [size.sum(axis=1) * s * s, s * (size @ s)]
    return float(2.0 - min(np.nan_to_num(share, nan=np.inf).max() for share in shares))
