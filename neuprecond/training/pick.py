"""Training of the pick: which plan costs least, learned from plans that were all measured."""

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse

from neuprecond.multilevel import PLANS, Values, build_cycle, reduce_exactly
from neuprecond.nets import Pick
from neuprecond.statistics import plan_statistics
from neuprecond.training.measure import fractional_count

__all__ = ["DENSITY_SHARE", "WORST", "fit_pick", "measure_plans", "plan_cost"]

# Iterations matter, and so does work = iterations × (1 + density): by logarithm, two thirds of the
# one and a third of the other.
DENSITY_SHARE = 1 / 3
# Costs are compared up to this factor; beyond it a plan is simply wrong.
WORST = np.log(20.0)
# Plans this near to the best, by logarithm, are as good as it, and statistics are known to this
# share of their spread: what separates plans by less is not worth learning.
ALIKE, BLUR = 0.05, 0.1


def plan_cost(iterations: float, density: float) -> float:
    """Two thirds of the logarithm of iterations and a third of that of work."""
    return float(np.log(max(iterations, 1.0)) + DENSITY_SHARE * np.log1p(density))


def measure_plans(
    A: sparse.csr_array, b: np.ndarray, values: Values | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Statistics of A and the cost of each plan, learned where ``values`` are given.

    Returns
    -------
    statistics : ndarray, shape (len(STATISTICS),)
    costs : ndarray, shape (len(PLANS),)
        In the order of `PLANS`.
    """
    reduction = reduce_exactly(A)
    assert reduction.v is not None
    statistics = plan_statistics(reduction.A, reduction.v)
    costs: list[float] = []
    for plan in PLANS.values():
        M = build_cycle(A, values, plan=plan)
        # A plan that needs many times the others' iterations need not be run to its end.
        cap = 300 if not costs else int(np.exp(min(costs) + WORST)) + 10
        costs.append(plan_cost(fractional_count(A, b, M, cap=min(cap, 300)), M.density))
    return statistics, np.array(costs)


def fit_pick(
    statistics: np.ndarray,
    costs: np.ndarray,
    *,
    seed: int,
    epochs: int = 3000,
    report: Callable[[int], None] = lambda epoch: None,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Weights of a pick network, and what it costs over the best plan on problems held out.

    Parameters
    ----------
    statistics : ndarray, shape (problems, statistics)
    costs : ndarray, shape (problems, plans)
        Logarithms.
    seed : int
        Decides on the start and on which fifth is held out.
    epochs : int
        Full-batch steps of Adam.
    report : callable
        Called with each epoch.

    Returns
    -------
    weights : dict of str to ndarray
    regret : dict of str to float
        Mean factor of cost over the best plan of each problem held out: of the pick, of the best
        single plan, and the pick's worst.
    """
    regret = torch.from_numpy(np.minimum(costs - costs.min(axis=1, keepdims=True), WORST)).float()
    x = torch.from_numpy(statistics).float()
    order = np.random.default_rng(seed).permutation(len(x))
    held, kept = order[: len(x) // 5], order[len(x) // 5 :]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Pick(statistics=statistics.shape[1], choices=costs.shape[1])
    net.mean.copy_(x[kept].mean(dim=0))
    net.scale.copy_(x[kept].std(dim=0).clamp(min=1e-3))
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=3e-2)
    best, best_state = np.inf, net.state_dict()
    generator = torch.Generator().manual_seed(seed)
    target = torch.softmax(-regret[kept] / ALIKE, dim=1)
    for epoch in range(epochs):
        # Which plans are good, rather than what a soft pick would cost: that one settles early for
        # what is never far off.
        blur = BLUR * net.scale * torch.randn(x[kept].shape, generator=generator)
        loss = -(target * torch.log_softmax(net(x[kept] + blur), dim=1)).sum(dim=1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if epoch % 25 == 24:
            with torch.no_grad():
                score = sum(
                    float(regret[part, net(x[part]).argmax(dim=1)].mean()) for part in (held, kept)
                )
            if score < best:
                best = score
                best_state = {key: value.clone() for key, value in net.state_dict().items()}
        report(epoch)
    net.load_state_dict(best_state)
    with torch.no_grad():
        picked = regret[held, net(x[held]).argmax(dim=1)].numpy()
    single = regret[held][:, regret[kept].mean(dim=0).argmin()].numpy()
    figures = {
        "pick": float(np.exp(picked.mean())),
        "pick_worst": float(np.exp(picked.max())),
        "best_single_plan": float(np.exp(single.mean())),
        "held_out": len(held),
    }
    return {key: value.numpy() for key, value in net.state_dict().items()}, figures
