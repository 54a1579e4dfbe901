"""reuse: M for other values of the same pattern keeps what was decided, and promises the same."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse

import neuprecond
from neuprecond import checks, load, load_model, multilevel, problems, reuse, solve
from neuprecond.hierarchy import unit_diagonal
from neuprecond.multilevel import PLANS
from neuprecond.problems.diffusion import diffusion_matrix, smooth_field


def field(n, seed):
    return smooth_field((n, n), np.random.default_rng(seed), length=4.0)


def drifting(n, turn, sigma=1.0):
    """Diffusion through a log-normal field that turns into another one, at turn = π / 2."""
    g = np.cos(turn) * field(n, 8101) + np.sin(turn) * field(n, 8102)
    return diffusion_matrix(np.exp(sigma * g))


def heat_step(n, dt):
    L = diffusion_matrix(np.exp(field(n, 8103)))
    return sparse.csr_array(sparse.eye_array(n * n) + dt * L)


def graph(spread):
    """A Delaunay graph of 2500 nodes with a sink everywhere, weights spread more or less."""
    G = problems.draw("delaunay", 2500, np.random.default_rng(8104)).A
    W = sparse.csr_array(sparse.triu(G, 1))
    W.data *= np.exp(spread * np.random.default_rng(8105).standard_normal(W.nnz))
    W = sparse.csr_array(W + W.T)
    return sparse.csr_array(sparse.diags_array(1e-3 - W.sum(axis=1)) + W)


def wind(speed):
    """Upwind differences of a wind that grows: not symmetric."""
    A = problems.draw("poisson2d", 40, np.random.default_rng(8106)).A
    against = sparse.diags_array([1.0, -1.0], offsets=[0, -1], shape=A.shape)
    return sparse.csr_array(A + speed * A.data.max() * against)


MODES = {"interpolated": True, "kept": False}
PAIRS = {
    "log-normal": lambda: (drifting(48, 0.0), drifting(48, 0.5)),
    "heat": lambda: (heat_step(48, 10.0), heat_step(48, 40.0)),
    "graph": lambda: (graph(0.0), graph(0.5)),
    "small": lambda: (drifting(7, 0.0), drifting(7, 0.5)),
    "one": lambda: (sparse.csr_array([[2.0]]), sparse.csr_array([[3.0]])),
    "diagonal": lambda: tuple(
        sparse.diags_array(np.linspace(1.0, c, 300)).tocsr() for c in (2.0, 1e3)
    ),
}


def as_matrix(M):
    return M @ np.eye(M.shape[0])


@pytest.mark.parametrize("learned", [True, False], ids=["learned", "twin"])
@pytest.mark.parametrize("interpolate", MODES.values(), ids=MODES)
@pytest.mark.parametrize("plan", PLANS)
def test_on_the_same_matrix_it_is_the_same(plan, interpolate, learned):
    """To rounding, with every plan, down to three unknowns."""
    A = drifting(40, 0.3)
    M = load_model("diffusion2d").precondition(A, plan=plan, learned=learned)
    N = reuse(M, A, interpolate=interpolate)
    assert N.levels == M.levels
    assert N.learned == M.learned == learned
    assert N.density == M.density
    r = np.random.default_rng(8107).standard_normal(A.shape[0])
    if interpolate:
        assert np.array_equal(N @ r, M @ r)
    np.testing.assert_allclose(N @ r, M @ r, rtol=0, atol=1e-11 * np.abs(M @ r).max())


@pytest.mark.parametrize("interpolate", MODES.values(), ids=MODES)
@pytest.mark.parametrize("name", PAIRS)
def test_same_matrix_and_another(name, interpolate):
    """The same M for the same matrix; for another one symmetric, positive, and worth having."""
    A, other = PAIRS[name]()
    M = load("diffusion2d", A)
    before = as_matrix(M)
    same = as_matrix(reuse(M, A, interpolate=interpolate))
    assert np.abs(same - before).max() <= 1e-11 * np.abs(before).max()
    N = reuse(M, other, interpolate=interpolate)
    _, s = unit_diagonal(checks.as_csr(other))
    X = ((N @ np.diag(1.0 / s)).T / s).T
    assert np.abs(X - X.T).max() <= 1e-9 * np.abs(X).max()
    assert np.linalg.eigvalsh(0.5 * (X + X.T))[0] > 0.0
    assert np.array_equal(as_matrix(M), before)
    b = np.random.default_rng(8108).standard_normal(A.shape[0])
    fresh, old, new = (
        solve(other, b, M=each).iterations for each in (load("diffusion2d", other), M, N)
    )
    assert new <= max(1.5 * fresh + 2, 4)
    assert new <= old


def test_what_is_kept_takes_no_choosing_and_no_network():
    A, other = PAIRS["log-normal"]()
    # A plan of aggregates, which the network is asked on.
    M = load_model("diffusion2d").precondition(A, plan="sa5-w")
    N = reuse(M, other)
    assert set(N.setup_seconds) == {"check", "products"}
    again = reuse(M, other, interpolate=True)
    assert again.setup_seconds["pick"] == 0.0 < again.setup_seconds["network"]
    for level in range(M.levels - 1):
        for one in (N, again):
            assert np.array_equal(one.level(level).P.indices, M.level(level).P.indices)


@pytest.mark.parametrize("interpolate", MODES.values(), ids=MODES)
def test_far_away_it_is_still_sound(interpolate):
    """From one log-normal field of σ = 2 to an independent one, where the old M is lost."""
    A, other = drifting(48, 0.0, 2.0), drifting(48, np.pi / 2, 2.0)
    M = load("diffusion2d", A)
    b = np.random.default_rng(8109).standard_normal(A.shape[0])
    new = solve(other, b, M=reuse(M, other, interpolate=interpolate))
    assert new.converged
    assert new.iterations < 60
    assert solve(other, b, M=M, maxiter=300).iterations > 3 * new.iterations


@pytest.mark.parametrize("interpolate", MODES.values(), ids=MODES)
def test_step_by_step_it_does_not_wear_out(interpolate):
    """A chain of reuses is as good as one from the first to the last."""
    M = load("diffusion2d", drifting(48, 0.0))
    for turn in np.linspace(0.0, 0.5, 6):
        M = reuse(M, drifting(48, turn), interpolate=interpolate)
    first = load("diffusion2d", drifting(48, 0.0))
    at_once = reuse(first, drifting(48, 0.5), interpolate=interpolate)
    r = np.random.default_rng(8110).standard_normal(48**2)
    np.testing.assert_allclose(M @ r, at_once @ r, rtol=0, atol=1e-10 * np.abs(M @ r).max())


def test_in_the_order_of_the_unknowns_given():
    """Large graphs in random order are renumbered inside, and by the same order again."""
    A = problems.draw("delaunay", 22_000, np.random.default_rng(8111)).A
    order = np.random.default_rng(8112).permutation(A.shape[0])
    A = sparse.csr_array(A[order][:, order])
    M = load("diffusion2d", A)
    assert M.order is not None
    r = np.random.default_rng(8113).standard_normal(A.shape[0])
    assert np.array_equal(reuse(M, A, interpolate=True) @ r, M @ r)
    other = sparse.csr_array(A + 0.1 * sparse.diags_array(A.diagonal()))
    for interpolate in MODES.values():
        record = solve(other, r, M=reuse(M, other, interpolate=interpolate))
        assert record.converged
        assert record.iterations <= solve(other, r, M="diffusion2d").iterations + 3


@pytest.mark.parametrize("interpolate", MODES.values(), ids=MODES)
def test_with_rigid_body_modes(interpolate):
    pytest.importorskip("skfem")
    problem = problems.draw("elasticity2d", 24, np.random.default_rng(8114))
    M = load("diffusion2d", problem.A, B=problem.B)
    r = np.random.default_rng(8115).standard_normal(problem.A.shape[0])
    N = reuse(M, problem.A, interpolate=interpolate)
    np.testing.assert_allclose(N @ r, M @ r, rtol=0, atol=1e-9 * np.abs(M @ r).max())
    other = sparse.csr_array(2.0 * problem.A + 0.01 * sparse.diags_array(problem.A.diagonal()))
    record = solve(other, r, M=reuse(M, other, interpolate=interpolate))
    assert record.converged
    assert record.iterations <= solve(other, r, M="diffusion2d", B=problem.B).iterations + 3


def test_many_levels_and_levels_that_fill_up(monkeypatch):
    monkeypatch.setattr(multilevel, "COARSEST", 5)
    monkeypatch.setattr(multilevel, "LARGEST_GROWTH", 0.3)
    A, other = drifting(30, 0.0), drifting(30, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", neuprecond.NeuprecondWarning)
        M = load("diffusion2d", A)
    assert M.levels > 3
    r = np.random.default_rng(8116).standard_normal(A.shape[0])
    for interpolate in MODES.values():
        N = reuse(M, A, interpolate=interpolate)
        np.testing.assert_allclose(N @ r, M @ r, rtol=0, atol=1e-10 * np.abs(M @ r).max())
        assert solve(other, r, M=reuse(M, other, interpolate=interpolate)).converged


def test_negative_definite():
    A, other = PAIRS["log-normal"]()
    M, N = load("auto", A), load("auto", -A)
    r = np.random.default_rng(8117).standard_normal(A.shape[0])
    assert np.array_equal(reuse(N, -other) @ r, -(reuse(M, other) @ r))
    with pytest.raises(neuprecond.NotDefiniteError, match=r"negative diagonal|positive diagonal"):
        reuse(N, other)


def test_one_level_and_nonsymmetric():
    """Of these only the model and its plan are kept."""
    A, other = heat_step(30, 1.0), heat_step(30, 2.0)
    M = load("heat", A)
    r = np.random.default_rng(8118).standard_normal(A.shape[0])
    assert np.array_equal(reuse(M, other) @ r, load("heat", other) @ r)
    A, other = wind(0.5), wind(0.8)
    M = load("advection", A)
    N = reuse(M, other)
    assert N.plan == M.plan
    r = np.random.default_rng(8119).standard_normal(A.shape[0])
    assert np.array_equal(reuse(M, A) @ r, M @ r)
    assert solve(other, r, M=N, method="gmres").converged


@pytest.mark.parametrize("interpolate", MODES.values(), ids=MODES)
def test_another_pattern_is_refused(interpolate):
    A, other = PAIRS["log-normal"]()
    wider = sparse.csr_array(
        other + sparse.diags_array([1e-3, 1e-3], offsets=[-7, 7], shape=A.shape)
    )
    fewer = other.copy()
    fewer[0, 1] = fewer[1, 0] = 0.0
    for model in ("diffusion2d", "heat"):
        M = load(model, heat_step(48, 1.0), check=False)
        for changed in (wider, fewer, drifting(30, 0.0)):
            with pytest.raises(
                ValueError, match=r"^reuse needs an A of the pattern.*Load again\.$"
            ):
                reuse(M, changed, interpolate=interpolate)


def test_what_cannot_be_used_again():
    A, other = PAIRS["log-normal"]()
    M = load("diffusion2d", A)
    broken = other.copy()
    broken.data[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        reuse(M, broken)
    with pytest.raises(neuprecond.NotDefiniteError):
        reuse(M, other - 3.0 * sparse.diags_array(other.diagonal()))
    lopsided = other.copy()
    lopsided.data[1] *= 1.5
    with pytest.raises(neuprecond.NotDefiniteError, match="symmetric"):
        reuse(M, lopsided)
    with pytest.warns(neuprecond.NeuprecondWarning):
        fallen_back = load("auto", sparse.csr_array([[0.0, 1.0], [1.0, 0.0]]))
    for nothing in (fallen_back, None, sparse.eye_array(3), neuprecond.classical.jacobi(A)):
        with pytest.raises(TypeError, match=r"^reuse needs an M that a learned model made"):
            reuse(nothing, A)


@pytest.mark.parametrize("interpolate", MODES.values(), ids=MODES)
def test_it_pickles(interpolate):
    A, other = PAIRS["log-normal"]()
    M = load("diffusion2d", A)
    there = pickle.loads(pickle.dumps(M))
    r = np.random.default_rng(8120).standard_normal(A.shape[0])
    N = reuse(M, other, interpolate=interpolate)
    assert np.array_equal(reuse(there, other, interpolate=interpolate) @ r, N @ r)
    assert np.array_equal(pickle.loads(pickle.dumps(N)) @ r, N @ r)


def test_what_is_kept_is_small():
    """Less than a quarter of M, and no copy of the weights for each M."""
    M = load("diffusion2d", drifting(128, 0.0))
    kept = sum(
        level.indptr.nbytes + level.indices.nbytes + level.roots.nbytes for level in M.kept.levels
    )
    kept += sum(d.nbytes for d, _ in M.kept.smoothers if d is not None)
    whole = sum(part.nbytes for part in M._flat)
    assert kept < 0.25 * whole
    assert reuse(M, drifting(128, 0.1)).origin is M.origin


@pytest.mark.parametrize("interpolate", MODES.values(), ids=MODES)
@pytest.mark.parametrize("apart", [False, True], ids=["node-by-node", "apart"])
def test_blocks_stay_blocks(apart, interpolate):
    """What was found of unknowns that come together holds for other values too."""
    A = sparse.csr_array(problems.draw("elasticity2d", 22, np.random.default_rng(8120)).A)
    if apart:
        order = np.arange(A.shape[0]).reshape(-1, 2).T.ravel()
        A = sparse.csr_array(A[order][:, order])
    M = load("auto", A)
    same = reuse(M, A, interpolate=interpolate)
    r = np.random.default_rng(8121).standard_normal(A.shape[0])
    np.testing.assert_allclose(same @ r, M @ r, rtol=1e-8, atol=1e-11 * abs(M @ r).max())
    stiffer = sparse.csr_array(A + 0.1 * sparse.diags_array(A.diagonal()))
    new = reuse(M, stiffer, interpolate=interpolate)
    counts = [solve(stiffer, r, M=each).iterations for each in (new, load("auto", stiffer))]
    assert counts[0] <= counts[1] + 3
