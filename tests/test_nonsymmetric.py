"""The two-sided cycle for nonsymmetric A: laws, promises, and matrices that hurt."""

import pickle
import threading
import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import bicg, bicgstab, gmres, qmr

import neuprecond
from neuprecond import NeuprecondWarning, checks, classical, nonsymmetric, problems
from neuprecond.classical.nonsymmetric import (
    air,
    flow_order,
    ilu0,
    smoothed_aggregation_nonsymmetric,
)
from neuprecond.nonsymmetric import (
    FLOW_PLANS,
    FLOW_STATISTICS,
    build_two_sided,
    flow_statistics,
    reduce_flow,
)
from neuprecond.operators.two_sided import Elimination, Factors, Smoothed, TwoSidedCycle

FLOWS = {
    "straight": ("advection", 20, {"wind": "constant", "peclet": 10.0}),
    "vortex": ("advection", 20, {"wind": "recirculating", "peclet": 30.0}),
    "calm": ("advection", 24, {"peclet": 0.1}),
    "vortices": ("vortices", 24, {"vortices": 3}),
    "space": ("advection3d", 8, {}),
    "streets": ("oneway", 500, {}),
}


def flow(name: str, seed: int = 2_000_700) -> problems.Problem:
    family, size, parameters = FLOWS[name]
    return problems.draw(family, size, np.random.default_rng(seed), parameters=parameters)


every_flow = pytest.mark.parametrize("name", FLOWS)
every_plan = pytest.mark.parametrize("plan", FLOW_PLANS)


@every_flow
@every_plan
def test_m_is_linear_fixed_and_takes_blocks(name, plan):
    A = flow(name).A
    M = build_two_sided(A, plan)
    rng = np.random.default_rng(1)
    X = rng.standard_normal((A.shape[0], 3))
    Y = M @ X
    assert np.allclose(M @ (X[:, 0] - 2.0 * X[:, 1]), Y[:, 0] - 2.0 * Y[:, 1], atol=1e-11)
    assert np.allclose(np.stack([M @ x for x in X.T], axis=1), Y, rtol=1e-12, atol=1e-13)
    assert np.array_equal(M @ X, Y)


def solved(S, r):
    """S r by dense matrices."""
    one = np.eye(len(r))
    y = np.linalg.solve(one + S.lower.toarray(), r[S.order])
    return np.linalg.solve(one + S.upper.toarray(), S.d * y)[S.place]


def level_by_level(stages, bottom, left, right, r):
    """The cycle as it is meant, in the order of A."""

    def below(level, r):
        if level == len(stages):
            return solved(bottom, r) if isinstance(bottom, Factors) else bottom @ r
        stage = stages[level]
        if isinstance(stage, Elimination):
            first = r[stage.eliminated]
            last = stage.left * (r[stage.kept] - stage.lower @ first)
            x = np.empty_like(r)
            x[stage.kept] = last = stage.right * below(level + 1, last)
            x[stage.eliminated] = first - stage.upper @ last
            return x
        R = stage.P.T if stage.R is None else stage.R
        x = solved(stage.S, r)
        x = x + stage.P @ below(level + 1, R @ (r - stage.A @ x))
        return x + solved(stage.S, r - stage.A @ x)

    return right * below(0, left * r)


@pytest.mark.parametrize("eliminate", [True, False])
@every_flow
@every_plan
def test_one_compiled_call_is_the_cycle_level_by_level(name, plan, eliminate, monkeypatch):
    parts = []

    def noted(*args, **about):
        parts.extend(args)
        return TwoSidedCycle(*args, **about)

    monkeypatch.setattr(nonsymmetric, "TwoSidedCycle", noted)
    if not eliminate:
        monkeypatch.setattr(nonsymmetric, "_eliminated", lambda A: None)
    problem = flow(name)
    M = build_two_sided(problem.A, plan)
    expected = level_by_level(*parts, problem.b)
    # In space and along streets too few unknowns can go.
    found = any(isinstance(stage, Elimination) for stage in parts[0])
    assert found == (eliminate and name not in ("space", "streets"))
    # Along streets ILU(0) has tiny pivots, which multiply rounding too.
    tolerance = 1e-12 if name == "streets" else 1e-13
    assert np.abs(M @ problem.b - expected).max() <= tolerance * np.abs(expected).max()


@every_flow
def test_factors_in_a_level_are_those_by_themselves(name):
    A, r = flow(name).A, flow(name).b
    made, order = ilu0(A), ilu0(A).order
    S = nonsymmetric._factors(made.lower, made.upper, order, np.argsort(order))
    other = classical.ilu(A)
    T = nonsymmetric._factors(other.lower, other.upper, other.rows, other.cols)
    assert np.allclose(solved(S, r), made @ r, rtol=1e-11, atol=1e-12 * np.abs(made @ r).max())
    assert np.allclose(solved(T, r), other @ r, rtol=1e-11, atol=1e-12 * np.abs(other @ r).max())


def _sparse(rng, *shape):
    return sparse.csr_array(np.where(rng.random(shape) < 0.4, rng.standard_normal(shape), 0.0))


def _factors(rng, n, *, in_place):
    dense = _sparse(rng, n, n).toarray() / 4.0
    L, U = sparse.csr_array(np.tril(dense, -1)), sparse.csr_array(np.triu(dense, 1))
    order = rng.permutation(n)
    place = np.argsort(order) if in_place else rng.permutation(n)
    return Factors(L, U, rng.standard_normal(n), order, place)


def _elimination(rng, n, nc):
    kept, eliminated = np.split(rng.permutation(n), [nc])
    upper, lower = _sparse(rng, n - nc, nc), _sparse(rng, nc, n - nc)
    return Elimination(eliminated, kept, upper, lower, *rng.standard_normal((2, nc)))


def _smoothed(rng, n, nc, *, own):
    S = _factors(rng, n, in_place=True)
    return Smoothed(
        _sparse(rng, n, n), S, _sparse(rng, n, nc), _sparse(rng, nc, n) if own else None
    )


#: Kinds of levels, "r" one with a restriction of its own; unknowns of each; kind of the bottom.
CYCLES = {
    "one": ("", (1,), "inverse"),
    "none": ("e", (4, 0), "inverse"),
    "factors": ("", (7,), "factors"),
    "all of it": ("eesrs", (30, 22, 16, 9, 5, 3), "inverse"),
    "eliminated below": ("ses", (20, 12, 8, 4), "factors"),
    "nothing eliminated": ("e", (6, 6), "factors"),
    "smoothed above factors": ("es", (20, 14, 6), "factors"),
    "restricted to factors": ("r", (12, 6), "factors"),
    "no coarse unknowns": ("es", (9, 5, 0), "inverse"),
    "of one unknown each": ("ss", (1, 1, 1), "inverse"),
}


@pytest.mark.parametrize("name", CYCLES)
def test_any_levels_and_any_bottom(name):
    """Numbers without meaning: patterns, restrictions and orders of no symmetry at all."""
    kinds, sizes, last = CYCLES[name]
    rng = np.random.default_rng(2_000_711)
    stages = [
        _elimination(rng, n, nc) if kind == "e" else _smoothed(rng, n, nc, own=kind == "r")
        for kind, n, nc in zip(kinds, sizes, sizes[1:], strict=False)
    ]
    bottom = rng.standard_normal((sizes[-1], sizes[-1]))
    if last == "factors":
        bottom = _factors(rng, sizes[-1], in_place=False)
    n = sizes[0]
    scales = rng.standard_normal((2, n))
    M = TwoSidedCycle(
        stages,
        bottom,
        *scales,
        bottom_cost=1.0,
        bottom_entries=1,
        plan="any",
        model="any",
        learned=False,
        nnz=1,
        setup_seconds={},
    )
    dense = np.stack([level_by_level(stages, bottom, *scales, e) for e in np.eye(n)], axis=1)
    tolerance = 1e-12 * np.abs(dense).max()
    # With 64 bits, as matrices of more entries than 32 count need.
    wide = pickle.loads(pickle.dumps(M))
    wide._flat._indptr = wide._flat._indptr.astype(np.uint64)
    wide._flat._indices = wide._flat._indices.astype(np.uint64)
    for one in (M, pickle.loads(pickle.dumps(M)), wide):
        assert np.allclose(one @ np.eye(n), dense, rtol=0.0, atol=tolerance)
        assert np.allclose(one.H @ np.eye(n), dense.T, rtol=0.0, atol=tolerance)
        assert np.allclose(one.H.H @ np.eye(n), dense, rtol=0.0, atol=tolerance)
    assert (M @ np.empty((n, 0))).shape == (n, 0)


@every_flow
@every_plan
def test_the_adjoint_is_the_transpose(name, plan):
    A = flow(name).A
    M = build_two_sided(A, plan)
    dense = M @ np.eye(A.shape[0])
    turned = M.H @ np.eye(A.shape[0])
    assert np.allclose(turned, dense.T, atol=1e-12 * np.abs(dense).max())
    assert np.allclose(M.rmatvec(np.ones(A.shape[0])), dense.T @ np.ones(A.shape[0]))


@every_flow
@every_plan
def test_gmres_gets_there(name, plan):
    problem = flow(name)
    record = neuprecond.solve(
        problem.A, problem.b, M=build_two_sided(problem.A, plan), method="gmres", maxiter=150
    )
    assert record.converged
    # Levels by the symmetric part are no good where no direction is like the other.
    assert record.iterations <= (100 if name == "streets" else 30)


@every_flow
def test_the_model_needs_no_more_steps_than_what_a_person_would_try(name):
    problem = flow(name)
    M = neuprecond.load("advection", problem.A)
    mine = neuprecond.solve(problem.A, problem.b, M=M, method="gmres").iterations
    rivals = []
    for make in (classical.ilu, smoothed_aggregation_nonsymmetric, air):
        record = neuprecond.solve(
            problem.A, problem.b, M=make(problem.A), method="gmres", maxiter=100
        )
        if record.converged:
            rivals.append(record.iterations)
    assert mine <= 1.3 * min(rivals) + 1


@every_flow
def test_auto_takes_it_and_says_that_cg_would_go_wrong(name):
    problem = flow(name)
    with pytest.warns(NeuprecondWarning, match="not symmetric.*GMRES") as caught:
        M = neuprecond.load("auto", problem.A)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        neuprecond.load("advection", problem.A)
    assert (M.model, M.kind, M.learned) == ("advection", "nonsymmetric", True)
    assert not M.symmetric
    assert M.plan in FLOW_PLANS
    assert M.plan in str(M)


@pytest.mark.parametrize("method", [gmres, bicgstab, qmr, bicg])
def test_scipys_solvers_take_it(method):
    problem = flow("vortices")
    M = neuprecond.load("advection", problem.A)
    same = sparse.linalg.aslinearoperator(sparse.eye_array(problem.A.shape[0]))
    how = {"M1": M, "M2": same} if method is qmr else {"M": M}
    x, info = method(problem.A, problem.b, rtol=1e-8, atol=0.0, **how)
    assert info == 0
    assert np.linalg.norm(problem.b - problem.A @ x) <= 1e-6 * np.linalg.norm(problem.b)


@every_flow
def test_rows_and_columns_may_be_scaled(name):
    problem = flow(name)
    rng = np.random.default_rng(5)
    n = problem.A.shape[0]
    left, right = np.exp(3.0 * rng.standard_normal((2, n)))
    B = checks.as_csr(sparse.diags_array(left) @ problem.A @ sparse.diags_array(right))
    M, scaled = (neuprecond.load("advection", A) for A in (problem.A, 1e30 * problem.A))
    x = rng.standard_normal(n)
    assert np.allclose(1e30 * (scaled @ x), M @ x, rtol=1e-9, atol=1e-12)
    with warnings.catch_warnings():
        # Far from what it was trained on, and it says so.
        warnings.simplefilter("ignore", NeuprecondWarning)
        other = neuprecond.load("auto", B)
    assert np.isfinite(other @ x).all()


@every_flow
def test_renumbering_changes_little(name):
    problem = flow(name)
    order = np.random.default_rng(11).permutation(problem.A.shape[0])
    B = checks.as_csr(problem.A[order][:, order])
    counts = [
        neuprecond.solve(A, b, M=neuprecond.load("advection", A), method="gmres").iterations
        for A, b in ((problem.A, problem.b), (B, problem.b[order]))
    ]
    assert abs(counts[0] - counts[1]) <= 2


def test_it_pickles_and_is_the_same_every_time():
    problem = flow("vortex")
    M, again = (neuprecond.load("advection", problem.A) for _ in range(2))
    assert np.array_equal(M @ problem.b, again @ problem.b)
    assert np.array_equal(pickle.loads(pickle.dumps(M)) @ problem.b, M @ problem.b)


def test_the_adjoint_is_made_once_and_left_out_of_pickles():
    M, r = build_two_sided(flow("vortex").A, "rs"), flow("vortex").b
    before = len(pickle.dumps(M))
    products = [M.rmatvec(r), M.H @ r, M.T @ r]
    assert M.H is M.H
    assert all(np.array_equal(products[0], product) for product in products)
    assert len(pickle.dumps(M)) == before
    assert np.array_equal(pickle.loads(pickle.dumps(M)).rmatvec(r), products[0])

    fresh, found = build_two_sided(flow("vortex").A, "rs"), []
    threads = [threading.Thread(target=lambda: found.append(fresh.rmatvec(r))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(product, products[0]) for product in found)


def test_a_is_not_changed():
    A = flow("streets").A
    before = A.copy()
    neuprecond.load("advection", A)
    assert (A != before).nnz == 0


def test_a_negative_diagonal_is_treated_as_minus_a():
    problem = flow("straight")
    M = neuprecond.load("advection", -problem.A)
    assert np.allclose(M @ problem.b, -(neuprecond.load("advection", problem.A) @ problem.b))


def test_a_symmetric_a_is_sent_elsewhere():
    A = problems.draw("poisson2d", 16, np.random.default_rng(3)).A
    with pytest.warns(NeuprecondWarning, match='load\\("auto", A\\)'):
        neuprecond.load("advection", A)


def test_a_zero_on_the_diagonal_is_refused_by_name_and_falls_back_by_auto():
    A = sparse.csr_array([[0.0, 2.0, 0.0], [4.0, 1.0, 0.5], [0.0, 1.0, 1.0]])
    with pytest.raises(neuprecond.NotDefiniteError, match="diagonal of one sign"):
        neuprecond.load("advection", A)
    with pytest.warns(NeuprecondWarning):
        M = neuprecond.load("auto", A)
    assert M.kind == "classical"
    assert not M.symmetric


@pytest.mark.parametrize("A", [[[3.0]], [[2.0, 1.0], [0.0, 3.0]], np.triu(np.ones((150, 150)))])
def test_small_and_triangular_matrices_are_solved_at_once(A):
    A = sparse.csr_array(A)
    b = np.ones(A.shape[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NeuprecondWarning)
        M = neuprecond.load("advection", A)
    assert neuprecond.solve(A, b, M=M, method="gmres").iterations <= 2


def test_a_factorisation_that_breaks_down_gives_way_to_levels(monkeypatch):
    def broken(*args: object, **options: object) -> None:
        raise ValueError("zero pivot")

    monkeypatch.setattr("neuprecond.nonsymmetric.ilu", broken)
    problem = flow("calm")
    M = build_two_sided(problem.A, "ilu")
    assert M.plan == "rs"
    assert neuprecond.solve(problem.A, problem.b, M=M, method="gmres").converged


def test_the_probe_gives_the_twin_where_that_is_better():
    problem = flow("vortex")
    M = neuprecond.load("advection", problem.A, check="probe")
    twin = neuprecond.load("advection", problem.A, learned=False)
    counts = [
        neuprecond.solve(problem.A, problem.b, M=each, method="gmres").iterations
        for each in (M, twin)
    ]
    assert counts[0] <= counts[1]
    assert not twin.learned


def test_elimination_leaves_the_schur_complement():
    A = flow("straight").A
    left = reduce_flow(A)
    stage = left.stages[0]
    unit = (sparse.diags_array(left.left) @ A @ sparse.diags_array(left.right)).toarray()
    e, k = stage.eliminated, stage.kept
    schur = unit[np.ix_(k, k)] - unit[np.ix_(k, e)] @ np.linalg.solve(
        unit[np.ix_(e, e)], unit[np.ix_(e, k)]
    )
    again = stage.left[:, None] * schur * stage.right
    assert len(left.stages) == 1
    assert np.allclose(left.A.toarray(), again)


def test_statistics_do_not_depend_on_scale_or_order():
    A = flow("vortices").A
    numbers = [flow_statistics(reduce_flow(checks.as_csr(B)).A) for B in (A, 1e-200 * A)]
    assert np.allclose(*numbers, atol=1e-6)
    left = reduce_flow(A).A
    order = np.random.default_rng(2).permutation(left.shape[0])
    turned = flow_statistics(checks.as_csr(left[order][:, order]))
    steady = [k for k, name in enumerate(FLOW_STATISTICS) if name != "share against the order"]
    assert np.allclose(turned[steady], numbers[0][steady], atol=1e-5)


@every_flow
def test_the_order_is_one(name):
    A = flow(name).A
    assert np.array_equal(np.sort(flow_order(A)), np.arange(A.shape[0]))


def test_along_a_strong_wind_ilu0_is_nearly_exact():
    problem = problems.draw(
        "advection", 32, np.random.default_rng(3), parameters={"wind": "constant", "peclet": 1e4}
    )
    record = neuprecond.solve(problem.A, problem.b, M=ilu0(problem.A), method="gmres")
    assert record.iterations <= 3


def test_ilu0_has_no_fill_and_is_exact_where_none_is_needed():
    A = sparse.diags_array([-2.0, 3.0, -0.5], offsets=[-1, 0, 1], shape=(40, 40)).tocsr()
    M = ilu0(A, order=np.arange(40))
    x = np.random.default_rng(1).standard_normal(40)
    assert np.allclose(M @ (A @ x), x)
    B = flow("vortices").A
    assert ilu0(B).lower.strict.nnz + ilu0(B).upper.strict.nnz + B.shape[0] == B.nnz
    with pytest.raises(ValueError, match="zero in row 1"):
        ilu0(np.array([[1.0, 2.0], [3.0, 0.0]]))


def test_the_card_keeps_its_word():
    card = next(card for card in neuprecond.models() if card.name == "advection")
    for family, promised in card.validation["iterations"].items():
        problem = problems.draw(
            family,
            {"oneway": 4000, "advection3d": 14}.get(family, 64),
            np.random.default_rng(2_000_900),
        )
        M = neuprecond.load("advection", problem.A)
        counted = neuprecond.solve(problem.A, problem.b, M=M, method="gmres").iterations
        assert counted <= 2 * promised["learned"] + 2
