"""Laws of the one-level M, run over many matrices and over weights of any size."""

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import cg

from neuprecond import checks
from neuprecond.classical import fsai, fsai_factor
from neuprecond.errors import NotDefiniteError
from neuprecond.graph import from_features
from neuprecond.hierarchy import unit_diagonal
from neuprecond.operators.factored import FactoredInverse
from neuprecond.problems.dominant import capped, dominant, heat, shifted
from neuprecond.spai import build_factored, corrected_factor, spai_features
from neuprecond.training import spai as training

EPS = np.finfo(float).eps


def random_definite(n, seed, *, floor=0.01):
    """C Cᵀ + floor I with a few random entries a row: entries of both signs, no structure."""
    rng = np.random.default_rng(seed)
    C = sparse.random_array((n, n), density=2.5 / n, rng=rng, data_sampler=rng.standard_normal)
    return checks.as_csr(C @ C.T + floor * sparse.eye_array(n))


def scaled(A, s):
    D = sparse.diags_array(s)
    return checks.as_csr(D @ A @ D)


def spread(n, decades):
    return 10.0 ** np.random.default_rng(n).uniform(-decades, decades, n)


def star(n):
    """A hub that all others hang on: one dense row at the end."""
    A = sparse.lil_array((n, n))
    A[-1, :] = A[:, -1] = -1.0
    A.setdiag(1.1)
    A[n - 1, n - 1] = n
    return checks.as_csr(A)


DEFINITE = {
    "one unknown": lambda: checks.as_csr([[3.0]]),
    "two unknowns": lambda: checks.as_csr([[4.0, 2.0], [2.0, 2.0]]),
    "diagonal": lambda: checks.as_csr(np.diag([1.0, 1e-8, 1e8, 2.0])),
    "dense": lambda: checks.as_csr(np.eye(12) + 0.9),
    "heat step": lambda: heat(9, np.random.default_rng(61), kappa=1000.0).A,
    "shifted grid": lambda: shifted(81, np.random.default_rng(62), shift=0.01, kind="grid").A,
    "shifted mesh": lambda: shifted(90, np.random.default_rng(63), shift=0.01, kind="delaunay").A,
    "dominant, both signs": lambda: dominant(90, np.random.default_rng(64), margin=1.01).A,
    "capped": lambda: capped(90, np.random.default_rng(65), kappa=1e3).A,
    "hub": lambda: star(60),
    "badly scaled": lambda: scaled(heat(8, np.random.default_rng(66)).A, spread(64, 100)),
    "disconnected": lambda: checks.as_csr(
        sparse.block_diag([random_definite(20, 67), random_definite(30, 68), np.eye(3)])
    ),
    "nearly singular": lambda: random_definite(80, 69, floor=1e-9),
} | {f"random {seed}": lambda seed=seed: random_definite(70, seed) for seed in range(70, 78)}


@pytest.fixture(name="A", params=DEFINITE, ids=lambda name: name.replace(" ", "-"))
def definite(request):
    return DEFINITE[request.param]()


def network(size, seed=6021):
    """A network whose weights, last layers too, are normal with the given deviation."""
    torch.manual_seed(seed)
    net = training.network(width=8, rounds=2)
    with torch.no_grad():
        for weights in net.parameters():
            weights.normal_(0.0, size)
    return net


WEIGHTS = {"small": 0.1, "middling": 1.0, "large": 100.0}


@pytest.fixture(params=WEIGHTS)
def values(request):
    return training.evaluate(network(WEIGHTS[request.param]))


def dense(M):
    return M @ np.eye(M.shape[0])


def close(X, Y, tolerance=1e-12):
    return np.abs(X - Y).max() <= tolerance * max(np.abs(X).max(), 1e-300)


def test_linear_symmetric_and_definite(A, values):
    M = build_factored(A, values)
    s = 1.0 / np.sqrt(A.diagonal())
    rng = np.random.default_rng(81)
    u, v = (s[:, None] ** -1 * rng.standard_normal((len(s), 2))).T
    assert close(M @ (2.0 * u - v), 2.0 * (M @ u) - M @ v)
    assert abs(u @ (M @ v) - v @ (M @ u)) <= 1e-12 * np.sqrt((u @ (M @ u)) * (v @ (M @ v)))
    assert u @ (M @ u) > 0
    assert (M.G.diagonal() > 0).all()
    assert sparse.triu(M.G, k=1).nnz == 0
    eigenvalues = np.linalg.eigvalsh(dense(M) / s[:, None] / s)
    # Definite by construction; what eigvalsh finds is exact up to rounding of the largest.
    assert eigenvalues[0] > -1e-12 * eigenvalues[-1]


def test_equals_the_dense_formula(A, values):
    """Row by row, with dense matrices: correction, then normalisation."""
    scaled_A, s = unit_diagonal(A)
    G0, X = fsai_factor(scaled_A), scaled_A.toarray()
    output = values(spai_features(A)).astype(float)
    G = np.zeros_like(X)
    place = 0
    for i in range(len(s)):
        row, cols = np.zeros(len(s)), G0.indices[G0.indptr[i] : G0.indptr[i + 1]]
        for j in cols:
            step, start = np.tanh(output[place]), G0[i, j]
            size = max(abs(start), G0[i, i] * abs(X[i, j]))
            row[j] = start * np.exp(step) if i == j else start + 0.5 * step * size
            place += 1
        square = row @ X @ row
        kept = square > 1e-10 * (np.abs(row) * np.abs(X @ row)).sum()
        G[i] = row / np.sqrt(square) if kept else G0[[i]].toarray()[0]
    twin = G @ np.diag(s)
    assert close(dense(build_factored(A, values)) / s[:, None] / s, G.T @ G, 1e-9)
    assert close(build_factored(A, values).G.toarray() / s, twin / s, 1e-9)


def test_normalised_product_has_a_unit_diagonal(A, values):
    scaled_A, _ = unit_diagonal(A)
    G = corrected_factor(scaled_A, fsai_factor(scaled_A), values(spai_features(A)))
    assert np.allclose((G @ scaled_A @ G.T).diagonal(), 1.0, atol=1e-5)


def test_without_a_network_or_with_an_untrained_one_it_is_fsai(A):
    expected = fsai(A).G
    twin = build_factored(A, None)
    torch.manual_seed(83)
    untrained = build_factored(A, training.evaluate(training.network(width=8, rounds=2)))
    assert (twin.learned, untrained.learned) == (False, True)
    assert twin.density == 2 * expected.nnz / A.nnz
    for M in (twin, untrained):
        assert np.array_equal(M.G.indices, expected.indices)
        assert np.array_equal(M.G.indptr, expected.indptr)
    assert np.array_equal(twin.G.data, expected.data)
    assert np.allclose(untrained.G.data, expected.data, rtol=4 * EPS, atol=0.0)


def test_a_multiple_has_the_inverse_divided_by_it(A, values):
    M, N = build_factored(A, values), build_factored(checks.as_csr(1024.0 * A), values)
    s = np.sqrt(A.diagonal())
    assert close(s[:, None] * dense(M) * s, s[:, None] * (1024.0 * dense(N)) * s)


def test_scaling_on_both_sides_is_undone(A):
    # Powers of two, so that features are the same to the bit: no layer can blow up their rounding.
    values = training.evaluate(network(1.0))
    s = 2.0 ** np.random.default_rng(84).integers(-20, 20, A.shape[0])
    M, N = build_factored(A, values), build_factored(scaled(A, s), values)
    d = np.sqrt(A.diagonal())
    assert close(d[:, None] * dense(M) * d, (d * s)[:, None] * dense(N) * (d * s), 1e-10)


def test_matrix_and_right_hand_side_do_not_change(A, values):
    before, r = copy.deepcopy(A), np.linspace(1.0, 2.0, A.shape[0])
    M = build_factored(A, values)
    kept = r.copy()
    M @ r
    M @ np.stack([r, r], axis=1)
    assert np.array_equal(r, kept)
    for name in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(A, name), getattr(before, name))


def test_blocks_equal_columns_and_copies_equal_the_original(A, values):
    M = build_factored(A, values)
    R = np.random.default_rng(85).standard_normal((A.shape[0], 5))
    columns = np.stack([M @ r for r in R.T], axis=1)
    assert close(M @ R, columns, 1e-14)
    assert np.array_equal(M @ np.asfortranarray(R), M @ R)
    copied = pickle.loads(pickle.dumps(M))
    assert np.array_equal(copied @ R, M @ R)
    assert str(copied) == str(M)
    assert close(M @ (R[:, 0] + 1j * R[:, 1]), columns[:, 0] + 1j * columns[:, 1], 1e-14)
    assert (M @ R.astype(np.float32)).dtype == np.float64


def test_features_are_bounded_and_do_not_depend_on_scale(A):
    one = spai_features(A)
    other = spai_features(scaled(A, spread(A.shape[0], 3)))
    for name in ("nodes", "edges", "entries"):
        x = getattr(one, name)
        assert x.dtype == np.float32
        assert np.isfinite(x).all()
        assert np.abs(x).max(initial=0.0) <= 4.0
    # Where FSAI itself is nearly singular, rounding shows.
    assert np.allclose(one.edges, other.edges, atol=1e-5)
    assert len(one.entries) == fsai_factor(A).nnz


def test_threads_share_one_operator():
    A = heat(60, np.random.default_rng(86)).A
    M = build_factored(A, training.evaluate(network(1.0)))
    R = np.random.default_rng(87).standard_normal((8, A.shape[0]))
    expected = [M @ r for r in R]
    wrong = []

    def apply(k):
        for _ in range(50):
            if not np.array_equal(M @ R[k], expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=apply, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_semidefinite_matrices_keep_it_finite():
    path = sparse.diags_array([np.full(19, -1.0), np.full(19, -1.0)], offsets=[-1, 1])
    A = checks.as_csr(path + sparse.diags_array(-path.sum(axis=1)))
    for size in WEIGHTS.values():
        M = dense(build_factored(A, training.evaluate(network(size))))
        assert np.isfinite(M).all()
        assert np.linalg.eigvalsh(M)[0] > 0


@pytest.mark.parametrize(
    "bad", [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]], [[-1.0, 0.0], [0.0, 1.0]]]
)
def test_indefinite_or_unsymmetric_matrices_are_refused(bad):
    with pytest.raises(NotDefiniteError):
        build_factored(checks.as_csr(bad), None)


def test_the_differentiable_factor_is_the_one_that_is_built(A, values):
    scaled_A, _ = unit_diagonal(A)
    G = fsai_factor(scaled_A)
    output = values(spai_features(A))
    built = corrected_factor(scaled_A, G, output)
    learned = training.differentiable_factor(scaled_A, G, torch.from_numpy(output))
    assert close(built.data, learned.numpy(), 1e-9)


def tiny():
    return random_definite(7, 88, floor=0.1)


def test_gradient_of_the_factor_against_finite_differences():
    A, _ = unit_diagonal(tiny())
    G = fsai_factor(A)
    values = torch.from_numpy(np.random.default_rng(89).standard_normal(G.nnz)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: training.differentiable_factor(A, G, v), (values,), eps=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("steps", [1, 3])
def test_gradient_of_the_loss_against_finite_differences(steps):
    sample = training.prepare(tiny(), np.random.default_rng(90), vectors=4)
    values = torch.from_numpy(np.random.default_rng(91).standard_normal(sample.G.nnz))

    class Given(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.values = torch.nn.Parameter(values.clone())

        def forward(self, data):
            return self.values

    net = Given()

    def value():
        return training.loss(net, sample, np.arange(4), steps=steps)

    value().backward()
    gradient = net.values.grad.clone()
    assert gradient.abs().max() > 0
    for k in range(len(values)):
        ends = []
        for h in (1e-5, -1e-5):
            with torch.no_grad():
                net.values[k] += h
                ends.append(value().item())
                net.values[k] -= h
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(gradient[k].item(), rel=1e-4, abs=1e-7)


def test_training_gains_on_what_it_trains_on():
    """A few steps lower the loss, and the iterations with it."""
    torch.manual_seed(92)
    rng = np.random.default_rng(93)
    A = shifted(900, rng, shift=0.05, kind="grid").A
    sample = training.prepare(A, rng)
    net = training.network(width=8, rounds=1)
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=30)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = training.loss(net, sample, np.arange(4))
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02
    counts = [0, 0]
    for k, values in enumerate((None, training.evaluate(net))):
        M = build_factored(A, values)
        for b in np.random.default_rng(96).standard_normal((4, 900)):

            def count(_, k=k):
                counts[k] += 1

            cg(A, b, M=M, rtol=1e-8, callback=count)
    assert counts[1] < counts[0]


def test_there_is_nothing_to_learn_from_a_diagonal_or_indefinite_matrix():
    rng = np.random.default_rng(94)
    assert training.prepare(checks.as_csr(np.eye(5)), rng) is None
    assert training.prepare(checks.as_csr([[1.0, 2.0], [2.0, 1.0]]), rng) is None


def test_batching_changes_nothing():
    from torch_geometric.data import Batch

    net = network(1.0)
    graphs = [from_features(spai_features(DEFINITE[name]())) for name in ("random 71", "hub")]
    with torch.no_grad():
        apart = torch.cat([net(graph) for graph in graphs])
        together = net(Batch.from_data_list(graphs))
    assert torch.allclose(apart, together, atol=1e-4)


def test_untrained_network_gives_zeros_and_is_small():
    torch.manual_seed(95)
    net = training.network(width=16, rounds=3)
    with torch.no_grad():
        assert not net(from_features(spai_features(tiny()))).any()
    assert sum(weights.numel() for weights in net.parameters()) < 10_000


def test_it_tells_what_it_is():
    A = tiny()
    M = build_factored(A, None, setup_seconds={"read": 1.0})
    assert isinstance(M, FactoredInverse)
    assert (M.kind, M.model, M.levels, M.operator_complexity) == ("spai", "twin", 1, 1.0)
    assert list(M.setup_seconds) == ["read", "local solves", "factor"]
    assert "unlearned twin" in str(M)
    assert M.T is M
    assert M.H is M
