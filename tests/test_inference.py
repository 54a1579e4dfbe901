"""The compiled network against torch."""

import subprocess
import sys
import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import sparse

from neuprecond.features import EDGE_FEATURES, ENTRY_FEATURES, NODE_FEATURES, level_features
from neuprecond.graph import from_features
from neuprecond.hierarchy import BASES, coarsen
from neuprecond.inference import BLOCK, level_network
from neuprecond.multilevel import PLANS, build_cycle
from neuprecond.nets import LevelNetwork
from neuprecond.problems import draw


def isolated(rng):
    """Some unknowns are coupled to nothing: nothing to take a mean or a maximum of."""
    A = draw("poisson2d", 12, rng).A.tolil()
    for i in (0, 17, 143):
        A[i, :] = 0.0
        A[:, i] = 0.0
        A[i, i] = 3.0
    return sparse.csr_array(A)


CASES = {
    "grid": lambda rng: draw("poisson2d", 16, rng).A,
    "log-normal": lambda rng: draw("lognormal", 23, rng).A,
    "positive off-diagonals": lambda rng: draw("anisotropic", 16, rng).A,
    "line": lambda rng: draw("poisson1d", 150, rng).A,
    "hubs": lambda rng: draw("attachment", 500, rng).A,
    "cube": lambda rng: draw("poisson3d", 8, rng).A,
    "isolated": isolated,
    "less than a block": lambda rng: draw("poisson2d", 5, rng).A,
    "two blocks": lambda rng: draw("poisson1d", 2 * BLOCK, rng).A,
}


def network(*, width: int = 16, rounds: int = 3, size: float = 1.0) -> LevelNetwork:
    """A network with random weights in every layer, the last ones too."""
    torch.manual_seed(width + rounds)
    net = LevelNetwork(
        node_features=len(NODE_FEATURES),
        edge_features=len(EDGE_FEATURES),
        entry_features=len(ENTRY_FEATURES),
        width=width,
        rounds=rounds,
    )
    with torch.no_grad():
        for last in (net.smoother_out, net.entry_out):
            last.weight.normal_(0.0, 0.3)
            last.bias.normal_(0.0, 0.3)
        for parameter in net.parameters():
            parameter *= size
    return net


def weights_of(net: LevelNetwork) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in net.state_dict().items()}


def features_of(name: str, base: str):
    level = coarsen(CASES[name](np.random.default_rng(len(name))), base)
    if level is None:
        pytest.skip("does not coarsen")
    return level_features(level)


def assert_same(net: LevelNetwork, features) -> None:
    with torch.no_grad():
        expected = [values.numpy() for values in net(from_features(features))]
    for actual, wanted in zip(level_network(weights_of(net))(features), expected, strict=True):
        assert actual.dtype == np.float32
        assert actual.shape == wanted.shape
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-5 * max(1, abs(wanted).max()))


@pytest.mark.parametrize("size", [1.0, 3.0])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", CASES)
def test_equal_to_torch(name, base, size):
    assert_same(network(size=size), features_of(name, base))


@pytest.mark.parametrize(("width", "rounds"), [(1, 1), (7, 2), (16, 0), (24, 1), (32, 4)])
def test_any_width_and_number_of_rounds(width, rounds):
    assert_same(network(width=width, rounds=rounds), features_of("hubs", "rs"))


def test_untrained_network_is_the_twin():
    net = network()
    with torch.no_grad():
        for last in (net.smoother_out, net.entry_out):
            last.weight.zero_()
            last.bias.zero_()
    smoother, entry = level_network(weights_of(net))(features_of("grid", "sa"))
    assert not smoother.any()
    assert not entry.any()


def test_the_same_bytes_every_time_and_from_every_thread():
    values, features = level_network(weights_of(network())), features_of("log-normal", "rs")
    results = [values(features)]
    threads = [threading.Thread(target=lambda: results.append(values(features))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 5
    for one, other in pairwise(results):
        for x, y in zip(one, other, strict=True):
            assert x.tobytes() == y.tobytes()


def test_weights_and_features_are_not_changed():
    weights, features = weights_of(network()), features_of("grid", "rs")
    before = [value.copy() for value in (*weights.values(), *vars(features).values())]
    level_network(weights)(features)
    for old, new in zip(before, (*weights.values(), *vars(features).values()), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_cycle_is_built_without_torch_as_with_it():
    net = network()
    A = draw("lognormal", 24, np.random.default_rng(31)).A

    def by_torch(features):
        with torch.no_grad():
            return tuple(values.numpy() for values in net(from_features(features)))

    r = np.random.default_rng(32).standard_normal(A.shape[0])
    plan = next(iter(PLANS.values()))
    one = build_cycle(A, by_torch, plan=plan) @ r
    other = build_cycle(A, level_network(weights_of(net)), plan=plan) @ r
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(one).max())


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("encode.bias", None, "must hold 'encode.bias'"),
        ("rounds.1.edge.weight", None, r"must hold 'rounds\.1\.edge\.weight'"),
        ("entry_mix.weight", lambda x: x[:, 1:], r"must have shape \(16, 16\), got \(16, 15\)"),
        ("entry_mix.bias", lambda x: x * np.nan, r"'entry_mix\.bias' must be finite"),
    ],
)
def test_wrong_weights(name, change, message):
    weights = weights_of(network())
    if change is None:
        del weights[name]
    else:
        weights[name] = change(weights[name])
    with pytest.raises(ValueError, match=message):
        level_network(weights)


@pytest.mark.parametrize("field", ["nodes", "edges", "entries"])
def test_features_of_another_kind(field):
    features = features_of("grid", "rs")
    features = replace(features, **{field: getattr(features, field)[:, 1:].copy()})
    with pytest.raises(ValueError, match=f"numbers in '{field}', got"):
        level_network(weights_of(network()))(features)


def test_no_torch():
    code = (
        "import neuprecond.inference, neuprecond.features, sys; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
