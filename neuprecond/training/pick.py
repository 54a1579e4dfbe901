"""Training of the pick: which plan costs least, learned from plans that were all measured."""

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse

from neuprecond.multilevel import PLANS, Values, build_cycle, reduce_exactly
from neuprecond.nets import Pick
from neuprecond.statistics import plan_statistics
from neuprecond.training.measure import fractional_count
from neuprecond.zoo.files import PICK_WIDTH as WIDTH

__all__ = ["DENSITY_SHARE", "WORST", "fit_pick", "measure_plans", "plan_cost"]

# Iterations matter, and so does work = iterations × (1 + density): by logarithm, two thirds of the
# one and a third of the other.
DENSITY_SHARE = 1 / 3
# Costs are compared up to this factor; beyond it a plan is simply wrong.
WORST = np.log(20.0)
# Plans this near to the best, by logarithm, are as good as it. Statistics are known to this share
# of their spread. A plan that is far off costs as much again as its squared regret times this: what
# training has not seen must not end in a plan that fails.
ALIKE, BLUR, RISK = 0.05, 0.3, 3.0
# Networks whose scores are averaged: where they disagree, nobody knows.
MEMBERS = 4


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
    epochs: int = 1000,
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
        Full-batch steps of Adam, for each of `MEMBERS` networks, twice.
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
    # What is held out tells what to expect; then all of it is learned from.
    net = _fitted(x[kept], regret[kept], seed, epochs, report)
    with torch.no_grad():
        picked = regret[held, net(x[held]).argmax(dim=1)].numpy()
    net = _fitted(x, regret, seed, epochs, report)
    single = regret[held][:, regret[kept].mean(dim=0).argmin()].numpy()
    figures = {
        "pick": float(np.exp(picked.mean())),
        "pick_worst": float(np.exp(picked.max())),
        "best_single_plan": float(np.exp(single.mean())),
        "held_out": len(held),
    }
    return {key: value.numpy() for key, value in net.state_dict().items()}, figures


def _fitted(
    x: torch.Tensor, regret: torch.Tensor, seed: int, epochs: int, report: Callable[[int], None]
) -> Pick:
    """The mean of several networks, as one of their widths together."""
    choices = regret.shape[1]
    target = torch.softmax(-regret / ALIKE, dim=1)
    members = []
    for member in range(MEMBERS):
        with torch.random.fork_rng():
            torch.manual_seed(MEMBERS * seed + member)
            net = Pick(statistics=x.shape[1], choices=choices, width=WIDTH // MEMBERS)
        net.mean.copy_(x.mean(dim=0))
        net.scale.copy_(x.std(dim=0).clamp(min=1e-3))
        optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=3e-2)
        generator = torch.Generator().manual_seed(MEMBERS * seed + member)
        for epoch in range(epochs):
            # Which plans are good, rather than what a soft pick would cost alone: that settles
            # early for what is never far off.
            scores = net(x + BLUR * net.scale * torch.randn(x.shape, generator=generator))
            likely = torch.log_softmax(scores, dim=1)
            loss = -(target * likely).sum(dim=1) + RISK * (likely.exp() * regret**2).sum(dim=1)
            optimiser.zero_grad()
            loss.mean().backward()
            optimiser.step()
            report(epoch)
        members.append(net)
    with torch.random.fork_rng(), torch.no_grad():
        whole = Pick(statistics=x.shape[1], choices=choices, width=WIDTH)
        whole.mean.copy_(members[0].mean)
        whole.scale.copy_(members[0].scale)
        whole.hidden.weight.copy_(torch.cat([net.hidden.weight for net in members]))
        whole.hidden.bias.copy_(torch.cat([net.hidden.bias for net in members]))
        whole.out.weight.copy_(torch.cat([net.out.weight for net in members], dim=1) / MEMBERS)
        whole.out.bias.copy_(torch.stack([net.out.bias for net in members]).mean(dim=0))
    return whole
