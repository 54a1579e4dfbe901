"""A model in memory: its card, its weights, and how it preconditions a matrix. No torch."""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from neuprecond import checks
from neuprecond.errors import NeuprecondWarning
from neuprecond.inference import level_network
from neuprecond.multilevel import PLANS, Pick, Plan, Values, build_cycle
from neuprecond.operators.base import ApproximateInverse
from neuprecond.spai import SpaiFeatures, SpaiValues, build_factored
from neuprecond.statistics import plan_statistics
from neuprecond.zoo.card import Card

__all__ = ["Model", "pick_plan"]

# Statistics are clipped to what training saw, this many standard deviations from its mean.
CLIP = 4.0
# Rigid body modes and the like: only aggregates carry several near-null vectors.
SEVERAL_NEAR_NULL = Plan(("sa",), (1, 2, 1))


def pick_plan(weights: Mapping[str, np.ndarray], statistics: np.ndarray) -> str:
    """Name of the plan that the pick network expects to cost least.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Of `neuprecond.nets.Pick`, names without prefix.
    statistics : ndarray
        From `neuprecond.statistics.matrix_statistics`.
    """
    x = ((statistics - weights["mean"]) / weights["scale"]).clip(-CLIP, CLIP)
    hidden = np.maximum(weights["hidden.weight"] @ x + weights["hidden.bias"], 0.0)
    scores = weights["out.weight"] @ hidden + weights["out.bias"]
    return list(PLANS)[int(np.argmax(scores))]


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

        Parameters
        ----------
        A : sparse array or matrix, or ndarray, shape (n, n)
            Symmetric with a positive diagonal; not changed.
        B : array_like, shape (n, k), optional
            Near-null vectors, for example rigid body modes; constants by default. Only the
            multilevel kind uses them.
        learned : bool
            False builds the unlearned twin: the same plan with PyAMG's interpolation and a
            Chebyshev smoother, or FSAI.
        plan : str, optional
            One of `neuprecond.multilevel.PLANS` instead of the model's own pick.

        Returns
        -------
        Cycle or FactoredInverse

        Raises
        ------
        NotDefiniteError
            If A is not symmetric, has a diagonal entry that is not positive, or turns out to be
            indefinite.
        """
        start = time.perf_counter()
        matrix = checks.as_csr(A)
        who = f"model {self.card.name!r}"
        checks.require_symmetric(matrix, who=who)
        checks.require_definite_diagonal(matrix, who=who)
        near_null = None if B is None else checks.require_near_null(B, matrix.shape[0])
        seconds = {"check": time.perf_counter() - start}
        if self.card.kind == "spai":
            if near_null is not None:
                warnings.warn(
                    f"{who} is of one level and has no use for B; it is ignored.",
                    NeuprecondWarning,
                    stacklevel=2,
                )
            return build_factored(
                matrix,
                self._spai_values() if learned else None,
                model=self.card.name,
                setup_seconds=seconds,
            )
        if plan is not None and plan not in PLANS:
            raise ValueError(f"plan must be one of {', '.join(PLANS)}, got {plan!r}.")
        chosen: Plan | Pick = self.pick if plan is None else PLANS[plan]
        if near_null is not None and near_null.shape[1] > 1:
            chosen = SEVERAL_NEAR_NULL
        return build_cycle(
            matrix,
            self._values() if learned else None,
            plan=chosen,
            B=near_null,
            model=self.card.name,
            setup_seconds=seconds,
        )

    def pick(self, A: sparse.csr_array, v: np.ndarray) -> Plan:
        """The plan for a matrix (after elimination) with the near-null vector v."""
        return PLANS[pick_plan(self._part("pick."), plan_statistics(A, v))]

