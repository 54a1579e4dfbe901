"""Laws of the multilevel M: every plan, many matrices, weights of any size."""

import copy
import pickle

import numpy as np
import pytest
from cases import DEFINITE, NEAR_NULL, SINGULAR, grounded, laplacian, poisson, rescaled
from scipy import sparse
from scipy.sparse.linalg import cg

from neuprecond import checks, hierarchy, load_model, problems, solve
from neuprecond.classical import jacobi
from neuprecond.errors import NotDefiniteError
from neuprecond.hierarchy import (
    BASES,
    LUMPED,
    coarsen,
    galerkin,
    is_aggregated,
    unit_diagonal,
)
from neuprecond.inference import level_network
from neuprecond.multilevel import LARGEST_COMPLEXITY, PLANS, Plan, build_cycle, revisited
from neuprecond.operators.cycle import COARSEST, Cycle
from neuprecond.zoo.choose import MULTILEVEL

EPS = np.finfo(float).eps


def network(size):
    """A network with the shapes of the packaged one, all weights normal with this deviation."""
    rng = np.random.default_rng(2207)
    shapes = {
        key.removeprefix("values."): value.shape
        for key, value in sorted(load_model(MULTILEVEL).weights.items())
        if key.startswith("values.")
    }
    weights = {
        key: (size * rng.standard_normal(shape)).astype(np.float32) for key, shape in shapes.items()
    }
    return level_network(weights)


def packaged():
    return load_model(MULTILEVEL)._values()


def noise(features):
    """Outputs that have nothing to do with the matrix, far outside of what a network gives."""
    rng = np.random.default_rng(len(features.cols))
    return (
        1e3 * rng.standard_normal(len(features.nodes)),
        1e3 * rng.standard_normal(len(features.entry_rows)),
    )


VALUES = {
    "twin": lambda: None,
    "packaged": packaged,
    "random": lambda: network(1.0),
    "random-5": lambda: network(5.0),
    "noise": lambda: noise,
}

# Small matrices with something left to coarsen, one a kind of trouble.
SMALL = (
    "bottom-101",
    "disconnected",
    "two-hubs",
    "positive",
    "scaled-far",
    "penalty",
    "nearly-singular",
    "twophase",
    "anisotropic",
    "elasticity2d",
    "roads",
    "random-357",
)


def made(name):
    return checks.as_csr(DEFINITE[name].make())


def built(A, values="packaged", plan="rs10", **options):
    return build_cycle(A, VALUES[values](), plan=PLANS[plan], **options)


def dense(M):
    return M @ np.eye(M.shape[0])


def scaled_dense(A, M):
    """M in the unknowns where A has a unit diagonal: its entries are near 1."""
    s = unit_diagonal(A)[1]
    return (dense(M) / s[:, None]) / s


def require_definite(A, M):
    """Linear, symmetric, positive; a block is its columns."""
    n = A.shape[0]
    s = unit_diagonal(A)[1]
    rng = np.random.default_rng(n)
    U = rng.standard_normal((n, 3))
    Z = (M @ (U / s[:, None])) / s[:, None]
    assert np.isfinite(Z).all()
    top = np.abs(Z).max()
    columns = np.stack([(M @ (u / s)) / s for u in U.T], axis=1)
    assert np.abs(Z - columns).max() <= 1e-12 * top
    u, v, w = U.T
    combined = (M @ ((2.0 * u - 0.5 * v) / s)) / s
    # Rounding is amplified by no more than the condition number of M.
    assert np.abs(combined - 2.0 * Z[:, 0] + 0.5 * Z[:, 1]).max() <= 1e-11 * top
    symmetric = np.sqrt((u @ Z[:, 0]) * (w @ Z[:, 2]))
    assert abs(u @ Z[:, 2] - w @ Z[:, 0]) <= 1e-7 * symmetric
    assert (np.einsum("ik,ik->k", U, Z) > 0).all()
    if n <= 260:
        X = scaled_dense(A, M)
        assert np.abs(X - X.T).max() <= 1e-7 * np.abs(X).max()
        eigenvalues = np.linalg.eigvalsh(0.5 * (X + X.T))
        assert eigenvalues[0] > 0


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", SMALL)
def test_definite_under_every_plan(name, plan, values):
    A = made(name)
    require_definite(A, built(A, values, plan))


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("name", sorted(set(DEFINITE) - set(SMALL)))
def test_definite(name, values):
    """All other matrices, the plans by turns."""
    A = made(name)
    plan = list(PLANS)[(len(name) + len(values)) % len(PLANS)]
    require_definite(A, built(A, values, plan))


def pseudo_inverse(A):
    values, vectors = np.linalg.eigh(0.5 * (A + A.T))
    keep = values > 1e-12 * max(values[-1], 1e-300)
    return (vectors[:, keep] / values[keep]) @ vectors[:, keep].T


def dense_cycle(M, A, plan):
    """The cycle written down with dense matrices: A itself, and S and P of each level."""
    s = 1.0 / np.sqrt(A.diagonal())

    def inverse(level, A, depth):
        if level == M.levels - 1:
            return pseudo_inverse(A)
        part = M.level(level)
        S, P = part.S.toarray(), part.P.toarray()
        coarse = P.T @ A @ P
        if part.eliminated:
            return P @ inverse(level + 1, coarse, depth) @ P.T + S
        assert np.abs(part.A.toarray() - A).max() <= 1e-8
        C = inverse(level + 1, coarse, depth + 1)
        if level + 1 < M.levels - 1 and plan.visit(depth + 1) == 2:
            C = 2.0 * C - C @ coarse @ C
        X = S
        X = X + P @ C @ P.T @ (np.eye(len(A)) - A @ X)
        return X + S @ (np.eye(len(A)) - A @ X)

    scaled_A = (A.toarray() * s[:, None]) * s
    return inverse(0, scaled_A, 0)


@pytest.mark.parametrize("values", ["twin", "packaged", "random-5"])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    "name", ["lognormal", "anisotropic", "scaled-far", "delaunay", "roads", "isolated", "fe3d"]
)
def test_equals_the_dense_formula(name, plan, values):
    A = made(name)
    M = built(A, values, plan)
    expected = dense_cycle(M, A, PLANS[plan])
    assert np.abs(scaled_dense(A, M) - expected).max() <= 1e-8 * np.abs(expected).max()


def test_the_dense_formula_is_tried_on_deep_cycles():
    """Else the law above says nothing about W-cycles."""
    A = checks.as_csr(poisson(40))
    plan = Plan(("rs",), (1, 2, 2, 2))
    M = build_cycle(A, None, plan=plan)
    assert M.levels >= 4
    expected = dense_cycle(M, A, plan)
    assert np.abs(scaled_dense(A, M) - expected).max() <= 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("values", ["twin", "packaged", "random-5"])
@pytest.mark.parametrize("name", DEFINITE)
def test_a_multiple_has_the_inverse_divided_by_it(name, values):
    """To the last bit for a power of four, whose root and products are exact."""
    A = made(name)
    down = 4.0**-20 if abs(A).max() > 1.0 else 4.0**20
    plan = list(PLANS)[len(name) % len(PLANS)]
    r = np.random.default_rng(2208).standard_normal(A.shape[0])
    M, N = built(A, values, plan), built(checks.as_csr(down * A), values, plan)
    with np.errstate(over="ignore"):
        assert np.array_equal(M @ r, down * (N @ r))


@pytest.mark.parametrize("values", ["twin", "packaged", "random-5"])
@pytest.mark.parametrize(
    "name", ["lognormal", "anisotropic", "delaunay", "roads", "attachment", "fe2d", "random-357"]
)
@pytest.mark.parametrize("plan", ["rs10", "min-w", "sa", "rs50/sa5-w"])
def test_scaling_on_both_sides_is_undone(name, plan, values):
    """With the near-null vector scaled along, to the last bit for powers of two."""
    A = made(name)
    n = A.shape[0]
    t = 2.0 ** np.random.default_rng(2209).integers(-20, 20, n)
    ones = np.ones((n, 1))
    r = np.random.default_rng(2210).standard_normal(n)
    M = built(A, values, plan, B=ones)
    N = built(checks.as_csr(rescaled(A, t)), values, plan, B=ones / t[:, None])
    assert np.array_equal(M @ r, t * (N @ (t * r)))


@pytest.mark.parametrize("plan", PLANS)
def test_learned_and_twin_cost_the_same(plan):
    A = made("lognormal")
    M, twin = built(A, "packaged", plan), built(A, "twin", plan)
    assert (M.learned, twin.learned) == (True, False)
    assert M.levels == twin.levels
    assert M.density == pytest.approx(twin.density, rel=0.05)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", SMALL)
def test_without_a_network_and_with_zeros_it_is_the_twin(name, plan):
    A = made(name)

    def zeros(features):
        return np.zeros(len(features.nodes)), np.zeros(len(features.entry_rows))

    twin, other = built(A, "twin", plan), build_cycle(A, zeros, plan=PLANS[plan])
    X, Y = scaled_dense(A, twin), scaled_dense(A, other)
    assert np.abs(X - Y).max() <= 1e-6 * np.abs(X).max()


# With κ = 1e10 and more CG of 64-bit numbers gets nowhere, whatever M is.
HOPELESS = ("nearly-singular", "hilbert")


@pytest.mark.parametrize("values", ["twin", "packaged", "random"])
@pytest.mark.parametrize("name", sorted(set(DEFINITE) - set(HOPELESS)))
def test_cg_converges(name, values):
    A, _ = unit_diagonal(made(name))
    b = np.random.default_rng(2211).standard_normal(A.shape[0])
    plan = list(PLANS)[len(name) % len(PLANS)]
    M = built(A, values, plan)
    record = solve(A, b, M=M, rtol=1e-6, maxiter=2 * A.shape[0] + 10)
    assert record.converged, record


FAMILIES = ("poisson2d", "lognormal", "twophase", "channels", "anisotropic", "fe2d", "delaunay")


@pytest.mark.parametrize("family", FAMILIES)
def test_many_times_fewer_steps_than_jacobi(family):
    size = 2500 if family == "delaunay" else 50
    problem = problems.draw(family, size, np.random.default_rng(3_000_900))
    count = {
        name: solve(problem.A, problem.b, M=M, maxiter=5000).iterations
        for name, M in {
            "jacobi": jacobi(problem.A),
            "twin": load_model(MULTILEVEL).precondition(problem.A, learned=False),
            "learned": load_model(MULTILEVEL).precondition(problem.A),
        }.items()
    }
    assert count["learned"] < count["jacobi"] / 4
    assert count["learned"] <= 1.1 * count["twin"] + 1


@pytest.mark.parametrize("values", ["twin", "packaged", "random-5"])
@pytest.mark.parametrize("name", SINGULAR)
def test_singular_but_consistent(name, values):
    A = checks.as_csr(SINGULAR[name].make())
    b = A @ np.random.default_rng(2212).standard_normal(A.shape[0])
    for plan in PLANS:
        M = built(A, values, plan)
        assert np.isfinite(M @ np.ones(A.shape[0])).all()
        record = solve(A, b, M=M, rtol=1e-8, maxiter=A.shape[0])
        assert record.converged, (plan, str(record))


def test_components_that_end_in_one_unknown():
    """A part without boundary shrinks to a row of rounding, beside parts that go on."""
    chains = [laplacian([(i, i + 1) for i in range(k)], k + 1) for k in (1, 2, 5, 30)]
    grid = laplacian([(i, i + 1) for i in range(899)] + [(i, i + 30) for i in range(870)], 900)
    A = checks.as_csr(sparse.block_diag([*chains, grid, poisson(12), *chains]))
    b = A @ np.random.default_rng(2213).standard_normal(A.shape[0])
    for plan in PLANS:
        for values in ("twin", "packaged", "random"):
            record = solve(A, b, M=built(A, values, plan), rtol=1e-8, maxiter=200)
            assert record.converged, (plan, values, str(record))
            assert np.abs(record.x).max() <= 1e6


@pytest.mark.parametrize("values", ["twin", "packaged"])
@pytest.mark.parametrize("name", NEAR_NULL)
def test_near_null_vectors_are_used(name, values):
    A, B = NEAR_NULL[name].make()
    A = checks.as_csr(A)
    plan = "sa5-w" if B.shape[1] > 1 else "rs10"
    M = built(A, values, plan, B=B)
    require_definite(A, M)
    b = np.random.default_rng(2214).standard_normal(A.shape[0])
    assert solve(A, b, M=M, maxiter=30).converged


@pytest.mark.parametrize("name", DEFINITE)
def test_the_matrix_does_not_change(name):
    A = made(name)
    kept = copy.deepcopy(A)
    for plan in ("rs10", "min-f", "sa"):
        built(A, "packaged", plan)
    for part in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(A, part), getattr(kept, part))


@pytest.mark.parametrize("name", DEFINITE)
@pytest.mark.parametrize("base", BASES)
def test_interpolation_is_bounded(name, base, capfd):
    """And PyAMG prints nothing, whatever the signs of the entries."""
    A, _ = unit_diagonal(made(name))
    level = coarsen(A, base)
    assert capfd.readouterr().out == ""
    if level is None:
        return
    assert np.isfinite(level.P0.data).all()
    assert level.P0.shape[1] < A.shape[0]
    assert np.diff(level.P0.tocsc().indptr).min() > 0
    if not is_aggregated(base):
        assert abs(level.P0).sum(axis=1).max() <= 2.0
    assert level.P0.has_sorted_indices
    assert len(level.roots) == level.P0.shape[1]


@pytest.mark.parametrize("n", [1, 2, COARSEST - 1, COARSEST, COARSEST + 1])
def test_what_is_small_is_inverted(n):
    rng = np.random.default_rng(2215)
    C = rng.standard_normal((n, n))
    A = checks.as_csr(C @ C.T + 0.1 * np.eye(n))
    M = build_cycle(A, None, plan=PLANS["rs10"])
    if n <= COARSEST:
        assert M.levels == 1
        assert np.allclose(M @ A.toarray(), np.eye(n), atol=1e-8)
    assert isinstance(M, Cycle)


def test_indefinite_matrices_are_refused():
    for k in (5, 11, 30):
        for shift in (0.6, 2.0, 3.9):
            A = checks.as_csr(poisson(k) - shift * sparse.eye_array(k * k))
            for plan in PLANS.values():
                with pytest.raises(NotDefiniteError, match="positive definite"):
                    build_cycle(A, None, plan=plan)


def test_hubs_do_not_fool_the_eigenvalue_estimate():
    """Stars of all sizes: the largest eigenvalue belongs to a single unknown among thousands."""
    sizes = [3, 10, 100, 1000, 5000]
    stars = []
    for k in sizes:
        stars.append(laplacian([(0, i) for i in range(1, k)], k))
    A = checks.as_csr(sparse.block_diag(stars) + 1e-3 * sparse.eye_array(sum(sizes)))
    for plan in PLANS:
        for values in VALUES:
            require_definite(A, built(A, values, plan))


def random_network(n, degree, seed):
    edges = np.random.default_rng(seed).integers(0, n, (n * degree // 2, 2))
    return grounded(laplacian(edges[edges[:, 0] != edges[:, 1]], n), 1e-3)


def network_with_hubs(n, seed):
    rng = np.random.default_rng(seed)
    edges = np.column_stack([rng.integers(0, n, 4 * n), (n * rng.random(4 * n) ** 3).astype(int)])
    return grounded(laplacian(edges[edges[:, 0] != edges[:, 1]], n), 1e-3)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: random_network(4000, 3, 2216),
        lambda: random_network(3000, 6, 2217),
        lambda: random_network(1500, 20, 2218),
        lambda: network_with_hubs(5000, 2219),
    ],
    ids=["degree-3", "degree-6", "degree-20", "hubs"],
)
def test_graphs_that_fill_up_stay_sparse(make, plan):
    """Coarse matrices of random graphs are dense unless something is done: 50 times A's entries."""
    A = checks.as_csr(make())
    for values in ("twin", "packaged"):
        M = built(A, values, plan)
        assert M.operator_complexity <= LARGEST_COMPLEXITY + 1.0
        b = np.random.default_rng(2220).standard_normal(A.shape[0])
        assert solve(A, b, M=M, maxiter=40).converged


@pytest.mark.parametrize("name", SMALL)
def test_aggregates_as_they_are(name):
    A, _ = unit_diagonal(made(name))
    level = coarsen(A, LUMPED)
    assert level is None or np.diff(level.P0.indptr).max() <= 1
    assert level is None or galerkin(level.A, level.P0).nnz <= A.nnz


# Unknowns in random order


def scattered(family, size, seed):
    A = problems.draw(family, size, np.random.default_rng(seed)).A
    order = np.random.default_rng(seed + 1).permutation(A.shape[0])
    A = sparse.csr_array(A)
    return checks.as_csr(A), checks.as_csr(A[order][:, order])


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize(("family", "size"), [("lognormal", 24), ("delaunay", 700)])
def test_random_order_is_undone(monkeypatch, family, size, values):
    _, A = scattered(family, size, 91)
    assert built(A, values, "rs10").order is None
    monkeypatch.setattr(hierarchy, "ORDER_FROM", 100)
    M = built(A, values, "rs10")
    n = A.shape[0]
    np.testing.assert_array_equal(np.sort(M.order), np.arange(n))
    assert "order" in M.setup_seconds
    # The finest level is A in that order, scaled, and its neighbours are near.
    bandwidth = np.abs(np.subtract(*np.nonzero(A.toarray()[np.ix_(M.order, M.order)]))).mean()
    assert bandwidth < 0.5 * np.abs(np.subtract(*np.nonzero(A.toarray()))).mean()
    Z = M @ np.eye(n)
    np.testing.assert_allclose(Z, Z.T, atol=1e-12 * np.abs(Z).max())
    assert np.linalg.eigvalsh(Z)[0] > 0
    # One column at a time, eight and more at once, and on torch: the same M.
    R = np.random.default_rng(92).standard_normal((n, 11))
    expected = Z @ R
    tolerance = 1e-12 * np.abs(expected).max()
    np.testing.assert_allclose(M @ R, expected, atol=tolerance)
    np.testing.assert_allclose(M @ R[:, 3], expected[:, 3], atol=tolerance)
    there = M.on_arrays(lambda matrix: matrix, lambda array: array)
    np.testing.assert_allclose(there(R), expected, atol=tolerance)
    np.testing.assert_allclose(there(R[:, 3]), expected[:, 3], atol=tolerance)
    again = pickle.loads(pickle.dumps(M))
    np.testing.assert_array_equal(again @ R, M @ R)
    x, info = cg(A, R[:, 0], M=M, rtol=1e-8, maxiter=40)
    assert info == 0
    assert np.linalg.norm(A @ x - R[:, 0]) < 1e-6 * np.linalg.norm(R[:, 0])


def test_good_orders_trees_and_nodes_stay(monkeypatch):
    monkeypatch.setattr(hierarchy, "ORDER_FROM", 100)
    ordered, A = scattered("lognormal", 24, 93)
    assert hierarchy.local_order(ordered) is None
    assert hierarchy.local_order(A) is not None
    assert built(A, "twin", "sa", B=np.ones((A.shape[0], 2)) + np.eye(A.shape[0], 2)).order is None
    tree = scattered("attachment", 400, 94)[1]
    assert hierarchy.local_order(tree) is None
    # A near-null vector goes along.
    B = np.random.default_rng(95).uniform(1.0, 2.0, (A.shape[0], 1))
    one, other = built(A, "twin", "rs10", B=B), built(A, "twin", "rs10", B=3.0 * B)
    r = np.random.default_rng(96).standard_normal(A.shape[0])
    np.testing.assert_allclose(one @ r, other @ r, rtol=1e-9)
    assert one.order is not None


@pytest.mark.parametrize("name", ["lognormal", "anisotropic", "fe3d", "attachment", "random-357"])
def test_other_visits_need_no_setup(name):
    """Plans of the same bases and smoother differ in how often levels are run only."""
    A = made(name)
    r = np.random.default_rng(2230).standard_normal(A.shape[0])
    for plan in ("rs10", "sa5", "root", "min"):
        for start, end in ((plan, f"{plan}-w"), (f"{plan}-w", plan)):
            M = built(A, "packaged", start)
            before = M @ r
            other, expected = revisited(M, PLANS[end]), built(A, "packaged", end)
            assert np.array_equal(other @ r, expected @ r)
            assert other.density == expected.density
            assert other.kept.plan == PLANS[end]
            assert np.array_equal(M @ r, before)
