"""Training of the pick: which plan costs least, learned from plans that were all measured."""

from collections.abc import Mapping

import numpy as np
import torch
from scipy import sparse
from scipy.cluster import hierarchy

from neuprecond.multilevel import PLANS, Values, build_cycle, reduce_exactly, revisited
from neuprecond.nets import Pick
from neuprecond.operators.cycle import Cycle
from neuprecond.statistics import plan_statistics
from neuprecond.training.measure import fractional_count
from neuprecond.zoo.files import PICK_WIDTH as WIDTH
from neuprecond.zoo.model import LEAST_SPREAD

__all__ = [
    "DENSITY_SHARE",
    "WORST",
    "fit_pick",
    "groups_of",
    "measure_plans",
    "plan_cost",
    "refit_pick",
    "widened",
]

# Iterations matter, and so does work = iterations × (1 + density): by logarithm, two thirds of the
# one and a third of the other.
DENSITY_SHARE = 1 / 3
# Costs are compared up to this factor; beyond it a plan is simply wrong.
WORST = np.log(20.0)
# The plan that is measured first, and how many times as many iterations another may take until it
# is given up.
SAFE, LATE = "min", 8.0
# Plans this near to the best, by logarithm, are as good as it. Statistics are known to this share
# of their spread. A plan that is far off costs as much again as its squared regret times this: what
# training has not seen must not end in a plan that fails.
ALIKE, BLUR, RISK = 0.05, 0.3, 3.0
# Networks whose scores are averaged: where they disagree, nobody knows.
MEMBERS = 4
# What was trained on is known by so many groups of alike problems, of this many each at least, each
# by mean and spread of its statistics; a spread is never less than this share of that of all.
GROUPS, LEAST_IN_GROUP, LEAST_SHARE = 24, 10, 0.4
# A refit: plans that cost this much more (as a logarithm) are e times less wanted; what pulls the
# weights back to where they were, as much as so many problems push.
SOFTNESS, PULL = 0.1, 1.0


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
    costs: dict[str, float] = {}
    # Plans that differ in visits only share their levels.
    made: dict[tuple[tuple[str, ...], str], Cycle] = {}
    # A plan that needs many times the others' iterations need not be run to its end, so one that is
    # seldom far off goes first.
    for name in (SAFE, *(name for name in PLANS if name != SAFE)):
        plan = PLANS[name]
        before = made.get((plan.bases, plan.smoother))
        M = build_cycle(A, values, plan=plan) if before is None else revisited(before, plan)
        made[plan.bases, plan.smoother] = M
        cap = 300 if not costs else int(np.exp(min(costs.values())) * LATE) + 10
        costs[name] = plan_cost(fractional_count(A, b, M, cap=min(cap, 300)), M.density)
    return statistics, np.array([costs[name] for name in PLANS])


def fit_pick(
    statistics: np.ndarray,
    costs: np.ndarray,
    *,
    seed: int,
    epochs: int = 1000,
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

    Returns
    -------
    weights : dict of str to ndarray
        Of the network, and `groups_of` the statistics.
    regret : dict of str to float
        Mean factor of cost over the best plan of each problem held out: of the pick, of the best
        single plan, and the pick's worst.
    """
    regret = torch.from_numpy(np.minimum(costs - costs.min(axis=1, keepdims=True), WORST)).float()
    x = torch.from_numpy(statistics).float()
    order = np.random.default_rng(seed).permutation(len(x))
    held, kept = order[: len(x) // 5], order[len(x) // 5 :]
    # What is held out tells what to expect; then all of it is learned from.
    net = _fitted(x[kept], regret[kept], seed, epochs)
    with torch.no_grad():
        picked = regret[held, net(x[held]).argmax(dim=1)].numpy()
    net = _fitted(x, regret, seed, epochs)
    single = regret[held][:, regret[kept].mean(dim=0).argmin()].numpy()
    figures = {
        "pick": float(np.exp(picked.mean())),
        "pick_worst": float(np.exp(picked.max())),
        "best_single_plan": float(np.exp(single.mean())),
        "held_out": len(held),
    }
    weights = {key: value.numpy() for key, value in net.state_dict().items()}
    return weights | groups_of(statistics), figures


def groups_of(statistics: np.ndarray) -> dict[str, np.ndarray]:
    """What a model was trained on, as groups of alike problems, joined as Ward has it.

    Families lie apart: between two of them, where the mean over all may be, there is nothing that
    the model knows.

    Parameters
    ----------
    statistics : ndarray, shape (problems, statistics)

    Returns
    -------
    dict of str to ndarray
        ``"centres"`` and ``"spreads"``, shape (groups, statistics), float32.

    Examples
    --------
    >>> sorted(groups_of(np.repeat([[0.0], [8.0]], 10, axis=0))["centres"].ravel().tolist())
    [0.0, 8.0]
    """
    x = statistics.astype(np.float64)
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), LEAST_SPREAD)
    z = (x - mean) / scale
    count = max(1, min(GROUPS, len(x) // LEAST_IN_GROUP))
    group = hierarchy.fcluster(hierarchy.linkage(z, "ward"), count, "maxclust")
    parts = [z[group == k] for k in range(1, group.max() + 1)]
    centres = np.array([part.mean(axis=0) for part in parts])
    spreads = np.array([part.std(axis=0) for part in parts])
    return {
        "centres": (mean + scale * centres).astype(np.float32),
        "spreads": (scale * np.maximum(spreads, LEAST_SHARE)).astype(np.float32),
    }


def _fitted(x: torch.Tensor, regret: torch.Tensor, seed: int, epochs: int) -> Pick:
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
        for _ in range(epochs):
            # Which plans are good, rather than what a soft pick would cost alone: that settles
            # early for what is never far off.
            scores = net(x + BLUR * net.scale * torch.randn(x.shape, generator=generator))
            likely = torch.log_softmax(scores, dim=1)
            loss = -(target * likely).sum(dim=1) + RISK * (likely.exp() * regret**2).sum(dim=1)
            optimiser.zero_grad()
            loss.mean().backward()
            optimiser.step()
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


def widened(weights: Mapping[str, np.ndarray], statistics: np.ndarray) -> dict[str, np.ndarray]:
    """The same pick with mean and scale of its training and of other problems together.

    Half of each, so that few problems count for as much as all of the training: neither the old
    families nor the new one then lie outside of what the model knows. No scale shrinks. The hidden
    layer makes up for it: scores differ only where statistics were clipped. They become one more of
    the groups that the model knows.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Of `neuprecond.nets.Pick`.
    statistics : ndarray, shape (problems, statistics)

    Examples
    --------
    >>> rng = np.random.default_rng(7)
    >>> old = {"mean": np.zeros(3), "scale": np.ones(3)}
    >>> old |= {"hidden.weight": rng.standard_normal((2, 3)), "hidden.bias": np.zeros(2)}
    >>> new = widened(old, np.array([[0.0, 10.0, 0.0], [0.0, 12.0, 0.0]]))
    >>> new["mean"].tolist(), new["scale"].astype(float).round(2).tolist()
    ([0.0, 5.5, 0.0], [1.0, 5.59, 1.0])
    """
    mean, scale = (weights[key].astype(np.float64) for key in ("mean", "scale"))
    theirs = statistics.astype(np.float64)
    middle = 0.5 * (mean + theirs.mean(axis=0))
    spread = 0.5 * (scale**2 + theirs.var(axis=0)) + 0.25 * (mean - theirs.mean(axis=0)) ** 2
    wider = np.maximum(scale, np.sqrt(spread))
    hidden = weights["hidden.weight"].astype(np.float64)
    changed = {
        "mean": middle,
        "scale": wider,
        "hidden.weight": hidden * (wider / scale),
        "hidden.bias": weights["hidden.bias"] + hidden @ ((middle - mean) / scale),
    }
    if "centres" in weights:
        own = np.maximum(theirs.std(axis=0), LEAST_SHARE * wider)
        changed["centres"] = np.vstack([weights["centres"], theirs.mean(axis=0)])
        changed["spreads"] = np.vstack([weights["spreads"], own])
    return dict(weights) | {key: value.astype(np.float32) for key, value in changed.items()}


def refit_pick(
    weights: Mapping[str, np.ndarray],
    statistics: np.ndarray,
    costs: np.ndarray,
    *,
    held: int,
    epochs: int = 400,
) -> dict[str, np.ndarray] | None:
    """A pick after it has seen a few more problems.

    Ridge regression towards the weights it had: problems push, and the fewer they are, the more the
    old weights pull. Of all epochs, the start among them, the one is taken whose picks cost least.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Of `neuprecond.nets.Pick`.
    statistics : ndarray, shape (problems, statistics)
    costs : ndarray, shape (problems, plans)
        Logarithms.
    held : int
        How many problems, the first ones, are not trained on but decide whether it was of use.
    epochs : int
        Full-batch steps of Adam.

    Returns
    -------
    dict of str to ndarray, or None
        None unless picks for the held-out problems cost less by more than a standard error: a few
        lucky picks of a few problems do not carry to others.
    """
    regret = torch.from_numpy(np.minimum(costs - costs.min(axis=1, keepdims=True), WORST)).float()
    x = torch.from_numpy(statistics).float()
    with torch.random.fork_rng():
        net = Pick(
            statistics=statistics.shape[1],
            choices=costs.shape[1],
            width=len(weights["hidden.bias"]),
        )
    known = {key: value for key, value in weights.items() if key not in net.state_dict()}
    own = {key: value for key, value in weights.items() if key not in known}
    net.load_state_dict({key: torch.from_numpy(value) for key, value in own.items()})
    old = [parameter.detach().clone() for parameter in net.parameters()]
    wanted = torch.softmax(-regret[held:] / SOFTNESS, dim=1)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    first = best = np.zeros(0)
    best_state = net.state_dict()
    for epoch in range(epochs + 1):
        if epoch % 10 == 0:
            with torch.no_grad():
                found = regret.gather(1, net(x).argmax(dim=1)[:, None])[:, 0].numpy()
            if epoch == 0:
                first = best = found
            if found.mean() < best.mean() - 1e-9:
                best = found
                best_state = {key: value.clone() for key, value in net.state_dict().items()}
        # Cross entropy moves a pick that is sure of the wrong plan; expected regret would not.
        error = -(wanted * torch.log_softmax(net(x[held:]), dim=1)).sum(dim=1).sum()
        moved = sum(((p - q) ** 2).sum() for p, q in zip(net.parameters(), old, strict=True))
        loss = (error + PULL * moved) / len(x[held:])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    gain = (first - best)[:held]
    doubt = gain.std(ddof=1) / np.sqrt(held) if held > 1 else np.inf
    if not gain.mean() > doubt:
        return None
    return {key: value.numpy() for key, value in best_state.items()} | known
