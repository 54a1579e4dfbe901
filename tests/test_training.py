"""Training: the differentiable cycle is the cycle, gradients are right, runs resume to the bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from recipes import TINY
from rich.console import Console
from safetensors import safe_open
from safetensors.numpy import load_file
from scipy import sparse

from neuprecond import problems
from neuprecond.errors import WeightsError
from neuprecond.multilevel import PLANS, build_cycle, learns_on, reduce_exactly
from neuprecond.training import multilevel
from neuprecond.training.batches import draw_problem, ingredients
from neuprecond.training.loop import train
from neuprecond.training.losses import pcg_loss
from neuprecond.training.measure import fractional_count
from neuprecond.training.output import note_spread
from neuprecond.training.pick import DENSITY_SHARE, fit_pick, measure_plans
from neuprecond.training.products import galerkin, matmul
from neuprecond.training.recipes import RECIPES
from neuprecond.training.together import fit_together
from neuprecond.zoo import load_model
from neuprecond.zoo.atomic import write_tensors
from neuprecond.zoo.card import read_card
from neuprecond.zoo.files import read_weights

SILENT = Console(quiet=True)


# Values are learned on aggregates, beside the smoother that they have a say in.
LEARNED_WITH = [
    name
    for name, plan in PLANS.items()
    if plan.smoother == "chebyshev" and any(learns_on(base) for base in plan.bases)
]


def lively(width: int = 8, seed: int = 5) -> torch.nn.Module:
    """A network whose heads do something."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = multilevel.network(width=width, rounds=2)
        for last in (net.smoother_out, net.entry_out):
            torch.nn.init.normal_(last.weight, std=0.5)
    return net


@pytest.mark.parametrize("plan", LEARNED_WITH)
@pytest.mark.parametrize("family", ["lognormal", "anisotropic", "delaunay"])
def test_differentiable_cycle_is_the_cycle(plan: str, family: str) -> None:
    rng = np.random.default_rng(77)
    size = 1600 if family == "delaunay" else 44
    A = problems.draw(family, size, rng).A
    # What is left of A after elimination is what training sees: compare on that.
    reduced = reduce_exactly(A)
    net = lively()
    sample = multilevel.prepare(A, PLANS[plan], rng)
    level = sample.levels[0]
    assert (sample.data is None) == (not learns_on(level.base))
    with torch.no_grad():
        M = multilevel.differentiable_cycle(net, sample)
        R = rng.standard_normal((level.A.shape[0], 3))
        ours = M(torch.from_numpy(R)).numpy()
    B = reduced.v[:, None]
    C = build_cycle(reduced.A, multilevel.evaluate(net), plan=PLANS[plan], B=B)
    if C.level(0).eliminated:
        pytest.fail("the reduced matrix was reduced again")
    theirs = (C @ (R / level.s[:, None])) / level.s[:, None]
    # Below a level that nothing is learned on matrices differ by rounding, and slopes over weights
    # that are rounding themselves by more.
    near = 1e-7 if sample.data is not None else 1e-5
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=near * np.abs(theirs).max())


def test_a_plan_without_aggregates_gives_no_sample() -> None:
    A = problems.draw("lognormal", 30, np.random.default_rng(78)).A
    for name, plan in PLANS.items():
        if not any(learns_on(base) for base in plan.bases):
            assert multilevel.prepare(A, plan, np.random.default_rng(79)) is None, name


def test_products_have_right_gradients() -> None:
    rng = np.random.default_rng(3)
    A = sparse.csr_array(sparse.random_array((7, 7), density=0.4, rng=rng))
    A = sparse.csr_array(A + A.T + sparse.eye_array(7))
    P = sparse.csr_array(sparse.random_array((7, 3), density=0.6, rng=rng))
    for M in (A, P):
        M.sort_indices()
    X = torch.from_numpy(rng.standard_normal((7, 2))).requires_grad_()
    a = torch.from_numpy(A.data.copy()).requires_grad_()
    p = torch.from_numpy(P.data.copy()).requires_grad_()
    assert torch.autograd.gradcheck(lambda v, x: matmul(A, v, x), (a, X))
    assert torch.autograd.gradcheck(lambda v, x: matmul(P, v, x, transpose=True), (p, X))

    def symmetric_coarse(scale: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        # The derivative in A is asked for along symmetric changes only.
        return galerkin(A, scale * torch.from_numpy(A.data), P, w)[1]

    scale = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(symmetric_coarse, (scale, p))


def test_loss_is_better_for_a_better_inverse() -> None:
    rng = np.random.default_rng(8)
    A = problems.draw("poisson2d", 10, rng).A
    inverse = torch.from_numpy(np.linalg.inv(A.toarray()))
    x = torch.from_numpy(rng.standard_normal((100, 3)))
    exact = pcg_loss(A, lambda r: inverse @ r, x, steps=1)
    none = pcg_loss(A, lambda r: r, x, steps=1)
    assert exact < -20.0 < none < 0.0


def test_untrained_network_is_the_twin() -> None:
    A = problems.draw("lognormal", 24, np.random.default_rng(4)).A
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = multilevel.network(width=4, rounds=1)
    r = np.random.default_rng(0).standard_normal(A.shape[0])
    for plan in PLANS.values():
        learned = build_cycle(A, multilevel.evaluate(net), plan=plan)
        twin = build_cycle(A, None, plan=plan)
        np.testing.assert_allclose(learned @ r, twin @ r, rtol=1e-10)


def test_run_resumes_to_the_same_weights(tmp_path) -> None:
    whole = train(TINY, tmp_path / "whole", seed=9, device="cpu", console=SILENT)
    # Stopped after four of six steps: the schedule must be that of the whole run.
    import neuprecond.training.loop as loop

    calls = 0
    step = loop._step

    def stopping(*args: object) -> float:
        nonlocal calls
        calls += 1
        if calls > 4:
            raise KeyboardInterrupt
        return step(*args)

    loop._step = stopping
    try:
        with pytest.raises(KeyboardInterrupt):
            train(TINY, tmp_path / "parts", seed=9, device="cpu", console=SILENT)
    finally:
        loop._step = step
    parts = train(TINY, tmp_path / "parts", seed=9, device="cpu", resume=True, console=SILENT)
    _, ours = read_weights(parts)
    _, theirs = read_weights(whole)
    assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)


def test_seconds_of_labels_measured_before_are_on_the_card(tmp_path) -> None:
    train(TINY, tmp_path, seed=9, device="cpu", console=SILENT)
    path = tmp_path / "tiny.labels"
    with safe_open(path, framework="numpy") as file:
        about = file.metadata()
    write_tensors(path, load_file(path) | {"seconds": np.array([1000.0])}, about)
    weights = train(TINY, tmp_path, seed=9, device="cpu", resume=True, console=SILENT)
    assert 1000 <= read_card(weights.with_suffix(".toml")).training["seconds"] < 1500


def test_checkpoint_of_another_recipe_is_refused(tmp_path) -> None:
    train(TINY, tmp_path, seed=9, device="cpu", console=SILENT)
    other = replace(TINY, steps=8)
    with pytest.raises(WeightsError, match="another recipe"):
        train(other, tmp_path, seed=9, device="cpu", resume=True, console=SILENT)
    (tmp_path / "tiny.checkpoint").write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="cannot be read"):
        train(TINY, tmp_path, seed=9, device="cpu", resume=True, console=SILENT)


def test_other_labels_keep_the_values(tmp_path) -> None:
    """What plans are measured on may change: a finished run is gone on from, and labels are new."""
    small = replace(TINY, steps=2, pool=2)
    first = load_file(train(small, tmp_path, seed=9, device="cpu", console=SILENT))
    labels = load_file(tmp_path / "tiny.labels")
    more = replace(small.mix[0], family="poisson2d", label_sizes=(10, 12))
    other = replace(small, labelled=(more,))
    path = train(other, tmp_path, seed=9, device="cpu", resume=True, console=SILENT)
    second = load_file(path)
    for name, weights in first.items():
        if name.startswith("values."):
            assert np.array_equal(second[name], weights)
    new = load_file(tmp_path / "tiny.labels")
    assert len(new["costs"]) == TINY.labels
    assert not np.array_equal(new["statistics"], labels["statistics"])
    card = read_card(path.with_suffix(".toml"))
    assert list(card.families) == ["lognormal", "poisson2d"]
    assert [dict(part) for part in card.training["labelled"]] == [
        {"family": "poisson2d", "sizes": [10, 12]}
    ]


def test_training_leaves_global_state_alone(tmp_path) -> None:
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads = torch.get_num_threads()
    train(replace(TINY, steps=1, labels=0, pool=2), tmp_path, device="cpu", console=SILENT)
    assert torch.equal(torch_state, torch.random.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
    assert torch.get_num_threads() == threads


def test_spread_over_seeds_goes_on_the_card(tmp_path) -> None:
    small = replace(TINY, steps=1, labels=0, pool=2)
    paths = [
        train(small, tmp_path / str(seed), seed=seed, device="cpu", console=SILENT)
        for seed in (4, 5)
    ]
    weights = paths[0].read_bytes()
    note_spread(paths[0], paths[1:])
    cards = [read_card(path.with_suffix(".toml")) for path in paths]
    spread = cards[0].validation["seeds"]
    assert list(spread["seed"]) == [4, 5]
    for ratio in ("learned_over_twin", "learned_over_classical"):
        assert list(spread[ratio]) == [card.validation[ratio] for card in cards]
    assert paths[0].read_bytes() == weights


def test_labels_of_all_seeds_go_into_the_pick(tmp_path) -> None:
    small = replace(TINY, steps=1, labels=8, pool=2)
    paths = [
        train(small, tmp_path / str(seed), seed=seed, device="cpu", console=SILENT)
        for seed in (4, 5)
    ]
    before, card = load_file(paths[0]), read_card(paths[0].with_suffix(".toml"))
    fit_together(paths[0], paths[1:])
    after, together = load_file(paths[0]), read_card(paths[0].with_suffix(".toml"))
    assert before.keys() == after.keys()
    for name, weights in before.items():
        if name.startswith("values."):
            assert np.array_equal(after[name], weights)
    assert any(not np.array_equal(after[name], before[name]) for name in before)
    assert together.training["labels"] == 16
    assert together.validation["pick"]["held_out"] > card.validation["pick"]["held_out"]
    # The digest on the card is that of the file: load_model would refuse another.
    assert load_model(paths[0]).card.sha256 == together.sha256 != card.sha256
    labels = [load_file(path.with_suffix(".labels")) for path in paths]
    expected, _ = fit_pick(
        *(np.concatenate([part[key] for part in labels]) for key in ("statistics", "costs")), seed=4
    )
    for name, weights in expected.items():
        assert np.array_equal(after[f"pick.{name}"], weights)
    paths[1].with_suffix(".labels").unlink()
    with pytest.raises(WeightsError, match="missing"):
        fit_together(paths[0], paths[1:])


def test_pick_learns_what_separates_problems() -> None:
    rng = np.random.default_rng(12)
    from neuprecond.statistics import STATISTICS

    x = rng.standard_normal((400, len(STATISTICS))).astype(np.float32)
    costs = np.full((400, len(PLANS)), 1.0)
    best = np.where(x[:, 3] > 0, 1, 2)
    costs[np.arange(400), best] = 0.0
    _, figures = fit_pick(x, costs, seed=1, epochs=600)
    assert figures["pick"] < 1.2 < figures["best_single_plan"]


def test_pool_follows_the_weights_and_splits_do_not_meet() -> None:
    rng = np.random.default_rng(2)
    recipe = RECIPES["diffusion2d"]
    parts = ingredients(recipe, 100, rng)
    assert len(parts) == 100
    assert {part.family for part in parts} == {part.family for part in recipe.mix}
    labelled = ingredients(recipe, 100, rng, labels=True)
    faces = [sum(part.family == "anisotropic" for part in drawn) for drawn in (parts, labelled)]
    assert faces[0] < faces[1]
    also = {part.family for part in (*recipe.mix, *recipe.labelled)}
    assert {part.family for part in labelled} == also > {part.family for part in recipe.mix}
    part = recipe.mix[0]
    drawn = {s: draw_problem(part, s, 0, rng, (8, 12)).seed for s in ("train", "validation")}
    assert drawn["train"] != drawn["validation"]


def test_plans_are_measured_alike() -> None:
    A = problems.draw("anisotropic", 32, np.random.default_rng(6), parameters={"epsilon": 1e-3}).A
    b = np.random.default_rng(1).standard_normal(A.shape[0])
    _, costs = measure_plans(A, b)
    assert costs.shape == (len(PLANS),)
    assert np.isfinite(costs).all()
    M = build_cycle(A, None, plan=PLANS["evo"])
    count = fractional_count(A, b, M)
    assert costs[list(PLANS).index("evo")] == pytest.approx(
        np.log(count) + DENSITY_SHARE * np.log1p(M.density)
    )
