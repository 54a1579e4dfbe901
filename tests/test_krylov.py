"""The solvers: true residuals, inner iterations, and a sentence for all that can go wrong."""

import pickle
import warnings

import numpy as np
import pyamg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, gmres, spilu

from neuprecond import load
from neuprecond.classical import CLASSICAL, ic0, jacobi, precondition
from neuprecond.errors import Interrupted, NotDefiniteError
from neuprecond.krylov import METHODS, STATUSES, SolveRecord, solve

RTOL = 1e-8


def poisson(k):
    return sparse.csr_array(pyamg.gallery.poisson((k, k), format="csr"))


def draw(n, seed=17):
    return np.random.default_rng(seed).standard_normal(n)


def true_residual(A, b, x):
    return np.linalg.norm(b - A @ x) / np.linalg.norm(b)


SYMMETRIC = poisson(14)
CONVECTION = sparse.csr_array(poisson(12) + sparse.diags_array(np.full(143, 0.7), offsets=1))
INDEFINITE = sparse.csr_array(poisson(12) - 3 * sparse.eye_array(144))
# S08 of the users' cases: rows scaled over eight orders of magnitude.
ROWS_SCALED = sparse.csr_array(sparse.diags_array(np.logspace(0, 8, 256)) @ poisson(16))
UNSYMMETRIC_METHODS = [method for method in METHODS if method not in ("cg", "minres")]


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.mark.parametrize("name", CLASSICAL)
def test_each_method_with_each_m(method, name):
    if method in ("cg", "minres") and name == "ilu":
        pytest.skip("ilu is not symmetric")
    b = draw(196)
    record = solve(SYMMETRIC, b, M=name, method=method)
    assert record.status == "converged"
    assert record.converged
    assert record.residual <= RTOL
    assert record.residual == pytest.approx(true_residual(SYMMETRIC, b, record.x), rel=1e-3)
    assert record.method == method
    assert record.preconditioner == name
    assert record.setup_seconds >= 0
    assert record.solve_seconds >= record.apply_seconds >= 0


@pytest.mark.parametrize("method", UNSYMMETRIC_METHODS)
@pytest.mark.parametrize("name", ["none", "jacobi", "ssor", "ilu", "rs"])
def test_unsymmetric(method, name):
    b = draw(144)
    record = solve(CONVECTION, b, M=name, method=method, maxiter=2000)
    assert record.converged
    assert true_residual(CONVECTION, b, record.x) <= RTOL


@pytest.mark.parametrize(
    ("name", "expected"), [("none", 119), ("jacobi", 119), ("ic0", 52), ("fsai", 84)]
)
def test_counts_on_poisson(name, expected):
    assert solve(poisson(64), np.ones(4096), M=name).iterations == expected


class Counting(LinearOperator):
    """M that counts its applications."""

    def __init__(self, M):
        super().__init__(np.float64, M.shape)
        self.M, self.count = M, 0

    def _matvec(self, r):
        self.count += 1
        return self.M @ r


def test_iterations_are_applications_of_m():
    b = draw(196)
    # Beside one an iteration gmres applies M to b and to the first residual of each cycle.
    for method, each, more in (("cg", 1, 0), ("minres", 1, 1), ("gmres", 1, 2), ("cgs", 2, 0)):
        M = Counting(jacobi(SYMMETRIC))
        record = solve(SYMMETRIC, b, M=M, method=method, restart=200)
        assert M.count == each * record.iterations + more, method
    for restart in (5, 13):
        M = Counting(ic0(SYMMETRIC))
        record = solve(SYMMETRIC, b, M=M, method="gmres", restart=restart)
        cycles = -(-record.iterations // restart)
        assert cycles <= M.count - record.iterations - 1 <= cycles + 2


def test_gmres_counts_inner_iterations_as_scipy_does():
    steps = []
    b, M = draw(144), jacobi(CONVECTION)
    gmres(
        CONVECTION,
        b,
        rtol=RTOL,
        M=M,
        restart=11,
        maxiter=100,
        callback=steps.append,
        callback_type="pr_norm",
    )
    record = solve(CONVECTION, b, M=M, method="gmres", restart=11)
    assert record.iterations == len(steps)
    steps = np.array(steps) * np.linalg.norm(b) / np.linalg.norm(M @ b)
    np.testing.assert_allclose(record.history[1:], steps, rtol=1e-6)


def test_maxiter_means_inner_iterations(method):
    for maxiter in (0, 1, 7, 20):
        record = solve(
            poisson(30), draw(900), M="jacobi", method=method, maxiter=maxiter, restart=8
        )
        assert record.status == "stopped at maxiter"
        assert not record.converged
        assert record.iterations == maxiter
        assert len(record.history) == maxiter + 1


def test_default_maxiter_is_ten_n():
    # rtol = 0 can only be met by chance, so this ends by itself or at 10 n.
    record = solve(SYMMETRIC, draw(196), M=None, rtol=0.0)
    assert record.status in ("stopped at maxiter", "stalled: the residual no longer falls")
    assert record.iterations <= 1960
    assert record.residual < 1e-13


def test_history_ends_at_the_true_residual(method):
    record = solve(SYMMETRIC, draw(196), M="ic0", method=method)
    assert len(record.history) == record.iterations + 1
    if method != "gmres":
        assert record.history[0] == pytest.approx(1.0)
        assert record.history[-1] == pytest.approx(record.residual)
    else:
        assert record.history[0] == pytest.approx(1.0)
        assert record.history[-1] < 10 * RTOL
    without = solve(SYMMETRIC, draw(196), M="ic0", method=method, history=False)
    assert len(without.history) == 0
    assert without.iterations == record.iterations
    np.testing.assert_array_equal(without.x, record.x)


def test_cg_history_is_that_of_cg():
    b = draw(196)
    record = solve(SYMMETRIC, b, M="ic0")
    x = solve(SYMMETRIC, b, M="ic0", maxiter=5).x
    assert record.history[5] == pytest.approx(true_residual(SYMMETRIC, b, x), rel=1e-6)


def test_callback_sees_the_history(method):
    seen = []
    record = solve(
        SYMMETRIC, draw(196), M="jacobi", method=method, callback=lambda k, r: seen.append((k, r))
    )
    steps = [k for k, _ in seen]
    assert steps == sorted(set(steps))
    for k, residual in seen[:-1]:
        assert record.history[k] == residual


@pytest.mark.parametrize("method", UNSYMMETRIC_METHODS)
@pytest.mark.parametrize("name", ["jacobi", "ilu"])
def test_true_residual_where_the_preconditioned_one_misleads(method, name):
    b = np.ones(256)
    record = solve(ROWS_SCALED, b, M=name, method=method)
    # CGS squares what rounding does: on some processors it stagnates with Jacobi.
    assert record.converged or (name, method) == ("jacobi", "cgs")
    assert record.converged == (true_residual(ROWS_SCALED, b, record.x) <= RTOL)


def test_what_scipy_calls_done_is_checked_again(method):
    # The recursive residual leaves the true one behind at this tolerance.
    A = sparse.diags_array(np.logspace(0, 7, 60)).tocsr()
    record = solve(A, draw(60), M=None, method=method, rtol=1e-11, maxiter=3000)
    assert record.converged == (record.residual <= 1e-11)
    assert record.residual == pytest.approx(true_residual(A, draw(60), record.x), rel=1e-2)


def test_out_of_reach_of_rounding_is_a_stall():
    record = solve(SYMMETRIC, draw(196), M="ic0", rtol=1e-17)
    assert record.status == "stalled: the residual no longer falls"
    assert record.residual < 1e-14


def test_zero_right_hand_side(method):
    record = solve(SYMMETRIC, np.zeros(196), M="jacobi", method=method)
    assert record.status == "zero right-hand side"
    assert record.converged
    assert (record.iterations, record.residual) == (0, 0.0)
    np.testing.assert_array_equal(record.x, np.zeros(196))


def test_first_guess(method):
    b = draw(196)
    x = solve(SYMMETRIC, b, M="rs", method=method, rtol=1e-12).x
    again = solve(SYMMETRIC, b, M="rs", method=method, x0=x)
    assert again.iterations == 0
    assert again.status == "converged"
    near = solve(SYMMETRIC, b, M="ic0", method=method, x0=x + 1e-4 * draw(196, 18))
    assert near.converged
    assert near.iterations < solve(SYMMETRIC, b, M="ic0", method=method).iterations
    assert len(near.history) == near.iterations + 1


def test_shapes_of_b(method):
    b = draw(196)
    x = solve(SYMMETRIC, b, M="ic0", method=method).x
    column = solve(SYMMETRIC, b[:, None], M="ic0", method=method)
    assert column.x.shape == (196, 1)
    np.testing.assert_array_equal(column.x[:, 0], x)
    three = np.stack([b, 0 * b, draw(196, 5)], axis=1)
    record = solve(SYMMETRIC, three, M="ic0", method=method, x0=np.zeros((196, 3)))
    assert record.x.shape == (196, 3)
    np.testing.assert_array_equal(record.x[:, 0], x)
    np.testing.assert_array_equal(record.x[:, 1], 0.0)
    assert record.converged
    alone = [solve(SYMMETRIC, c, M="ic0", method=method).iterations for c in three.T]
    assert record.iterations == max(alone)
    assert len(record.history) == record.iterations + 1


def test_status_of_many_is_the_first_that_failed():
    record = solve(SYMMETRIC, np.stack([0 * draw(196), draw(196)], 1), M="ic0", maxiter=2)
    assert record.status == "stopped at maxiter"


@pytest.mark.parametrize(
    "M",
    [
        None,
        jacobi(SYMMETRIC),
        sparse.diags_array(np.full(196, 0.25)),
        np.diag(np.full(196, 0.25)),
        LinearOperator((196, 196), matvec=lambda r: r / 4, dtype=float),
        LinearOperator((196, 196), matvec=lambda r: (r / 4).astype(np.float32), dtype=np.float32),
    ],
    ids=["None", "Preconditioner", "sparse", "dense", "LinearOperator", "float32"],
)
def test_kinds_of_m(M, method):
    record = solve(SYMMETRIC, draw(196), M=M, method=method)
    assert record.converged
    assert record.x.dtype == np.float64


def test_setup_seconds_of_a_ready_m():
    M = ic0(SYMMETRIC)
    assert solve(SYMMETRIC, draw(196), M=M).setup_seconds == sum(M.setup_seconds.values())
    unknown = solve(SYMMETRIC, draw(196), M=np.eye(196))
    assert np.isnan(unknown.setup_seconds)
    assert "setup unknown" in str(unknown)


def test_near_null_vectors_reach_m():
    A, B = pyamg.gallery.linear_elasticity((12, 12))
    b = draw(A.shape[0])
    with_them = solve(A, b, M="sa", B=B).iterations
    assert with_them < solve(A, b, M="sa").iterations


def test_float32_matrix_reaches_float64_accuracy(method):
    A = poisson(12).astype(np.float32)
    record = solve(A, np.ones(144), M="jacobi", method=method, rtol=1e-12, maxiter=1000)
    assert record.converged
    assert record.x.dtype == np.float64


def test_integers_and_lists():
    record = solve([[2, -1], [-1, 2]], [1, 1], M="jacobi")
    np.testing.assert_allclose(record.x, 1.0)


@pytest.mark.parametrize("scale", [1e-300, 1e-140, 1e140, 1e300])
@pytest.mark.parametrize("name", ["none", "jacobi", "ic0", "rs"])
def test_tiny_and_huge_systems(method, scale, name):
    plain = solve(SYMMETRIC, np.ones(196), M=name, method=method)
    if name != "none" or method in ("cg", "minres"):
        record = solve(SYMMETRIC * scale, np.ones(196), M=name, method=method)
        assert record.converged
        assert abs(record.iterations - plain.iterations) <= 1
    record = solve(SYMMETRIC, np.full(196, scale), M=name, method=method)
    assert record.converged
    assert abs(record.iterations - plain.iterations) <= 1
    np.testing.assert_allclose(record.x / scale, plain.x, rtol=1e-6)


def test_absolute_tolerance():
    b = 1e3 * draw(196)
    record = solve(SYMMETRIC, b, M="ic0", rtol=0.0, atol=1e-2)
    assert record.converged
    assert 1e-4 < np.linalg.norm(b - SYMMETRIC @ record.x) <= 1e-2


@pytest.mark.parametrize("method", ["cg"])
@pytest.mark.parametrize("name", ["none", "jacobi"])
def test_negative_definite_a_takes_as_long_as_its_negative(method, name):
    positive = solve(SYMMETRIC, draw(196), M=name, method=method)
    negative = solve(-SYMMETRIC, draw(196), M=name, method=method)
    assert negative.iterations == positive.iterations
    np.testing.assert_allclose(negative.x, -positive.x)


def test_indefinite_a_is_said():
    record = solve(INDEFINITE, np.ones(144), M="jacobi")
    assert record.status == "A is not definite"
    assert not record.converged
    assert solve(INDEFINITE, np.ones(144), M="jacobi", method="minres").converged
    assert solve(INDEFINITE, np.ones(144), M="jacobi", method="gmres").converged


@pytest.mark.parametrize("method", ["cg", "minres"])
def test_indefinite_m_is_said(method):
    M = np.diag(np.where(np.arange(196) % 3, 1.0, -1.0))
    record = solve(SYMMETRIC, draw(196), M=M, method=method)
    assert record.status == "M is not definite"
    assert np.isfinite(record.residual)
    assert solve(SYMMETRIC, draw(196), M=0 * M, method=method).status == "M is not definite"


@pytest.mark.parametrize("method", UNSYMMETRIC_METHODS)
def test_singular_m_is_said(method):
    M = np.zeros((196, 196))
    record = solve(SYMMETRIC, draw(196), M=M, method=method)
    assert record.status == "broke down: M @ r is zero"
    assert record.residual == pytest.approx(1.0)


def test_nan_from_m_is_said(method):
    M = LinearOperator((196, 196), matvec=lambda r: np.nan * r, dtype=float)
    record = solve(SYMMETRIC, draw(196), M=M, method=method)
    assert record.status == "broke down: M @ r is not finite"
    assert record.residual == pytest.approx(1.0)


def test_m_that_fails_late(method):
    calls = []

    def late(r):
        calls.append(0)
        return r / 4 if len(calls) < 12 else np.inf * r

    M = LinearOperator((196, 196), matvec=late, dtype=float)
    record = solve(SYMMETRIC, draw(196), M=M, method=method)
    assert record.status == "broke down: M @ r is not finite"
    assert np.isfinite(record.x).all()


@pytest.mark.parametrize("b", [[1.0, 1.0], [1.0, 0.0]])
def test_singular(method, b):
    A = sparse.csr_array([[1.0, 0.0], [0.0, 0.0]])
    record = solve(A, np.array(b), M=None, method=method)
    assert record.status in STATUSES
    assert record.converged == (b[1] == 0)


def test_consistent_neumann(method):
    A = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(60, 60)).tolil()
    A[0, 0] = A[-1, -1] = 1.0
    b = draw(60)
    b -= b.mean()
    record = solve(A.tocsr(), b, M="jacobi", method=method, maxiter=2000, restart=60)
    assert record.converged


def test_zero_on_the_diagonal():
    A = sparse.csr_array([[0.0, 2, 0], [2, 0, 1], [0, 1, 3]])
    record = solve(A, np.array([2.0, 3, 4]), M="ilu", method="gmres")
    assert record.converged
    np.testing.assert_allclose(record.x, 1.0)
    assert solve(A, np.array([2.0, 3, 4]), M=None, method="gmres").iterations == 3


@pytest.mark.parametrize("method", UNSYMMETRIC_METHODS)
@pytest.mark.parametrize("M", [None, "ilu", "theirs"])
def test_complex_systems(method, M):
    A = (CONVECTION + 1j * sparse.eye_array(144)).tocsr()
    b = draw(144) - 1j * draw(144, 3)
    if M == "theirs":
        M = LinearOperator(A.shape, spilu(A.tocsc()).solve, dtype=complex)
    record = solve(A, b, M=M, method=method)
    assert record.converged
    assert record.x.dtype == np.complex128
    assert true_residual(A, b, record.x) <= RTOL


def test_hermitian_cg_and_complex_b():
    A = poisson(8).astype(complex)
    A = (A + sparse.diags_array([np.full(63, 0.2j), np.full(63, -0.2j)], offsets=[1, -1])).tocsr()
    assert solve(A, draw(64), M=None).converged
    record = solve(SYMMETRIC, draw(196) + 1j * draw(196, 4), M="ic0")
    assert record.converged
    assert record.x.dtype == np.complex128
    with pytest.raises(NotDefiniteError, match="Hermitian"):
        solve((A + 1j * sparse.eye_array(64)).tocsr(), draw(64), M=None)
    with pytest.raises(ValueError, match="real"):
        solve(A, draw(64), M=None, method="minres")


@pytest.mark.parametrize("method", ["cg", "minres"])
def test_nonsymmetric_a_is_refused_where_it_must_be_symmetric(method):
    A = sparse.csr_array([[1.0, 1.0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    with pytest.raises(NotDefiniteError, match="symmetric"):
        solve(A, np.ones(3), M="jacobi", method=method)
    np.testing.assert_allclose(
        solve(A, np.ones(3), M="jacobi", method="gmres").x, [0, 1, 1], atol=1e-12
    )


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "sor"}, ValueError, "cg, minres"),
        ({"rtol": -1.0}, ValueError, "negative"),
        ({"rtol": np.nan}, ValueError, "negative"),
        ({"atol": -1.0}, ValueError, "negative"),
        ({"maxiter": -1}, ValueError, "maxiter"),
        ({"restart": 0}, ValueError, "restart"),
        ({"b": np.ones(5)}, ValueError, r"b must have shape \(196,\)"),
        ({"b": np.ones((196, 0))}, ValueError, "column"),
        ({"b": np.ones((196, 1, 1))}, ValueError, "shape"),
        ({"b": np.r_[np.nan, np.ones(195)]}, ValueError, "NaN in row 0"),
        ({"b": np.r_[np.ones(195), np.inf]}, ValueError, "infinity in row 195"),
        ({"b": ["a"] * 196}, TypeError, "numbers"),
        ({"b": sparse.csr_array(np.ones((196, 1)))}, TypeError, "toarray"),
        ({"x0": np.ones((196, 1))}, ValueError, "shape of b"),
        ({"M": np.eye(5)}, ValueError, "shape of A"),
        ({"M": 3.0}, TypeError, "M must be"),
        ({"A": np.ones((2, 3))}, ValueError, "square"),
        ({"A": np.full((196, 196), np.nan)}, ValueError, "NaN"),
    ],
)
def test_what_is_refused(options, error, words):
    arguments = {"A": SYMMETRIC, "b": draw(196), "M": None, **options}
    with pytest.raises(error, match=words):
        solve(arguments.pop("A"), arguments.pop("b"), **arguments)


def test_arguments_and_globals_stay(method):
    A, b, x0 = SYMMETRIC.copy(), draw(196), draw(196, 9)
    state, filters = np.random.get_state()[1].copy(), list(warnings.filters)  # noqa: NPY002
    solve(A, b, M="rs", x0=x0, method=method)
    np.testing.assert_array_equal(A.data, SYMMETRIC.data)
    np.testing.assert_array_equal(b, draw(196))
    np.testing.assert_array_equal(x0, draw(196, 9))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert warnings.filters == filters


def test_one_m_serves_slowly_changing_systems():
    L = poisson(20)
    systems = [
        sparse.csr_array(sparse.eye_array(400) + 0.1 * (1 + 0.02 * t) * L) for t in range(20)
    ]
    M = precondition("ic0", systems[0])
    counts = [solve(A, np.ones(400), M=M).iterations for A in systems]
    assert max(counts) <= counts[0] + 5


def test_record_reads_well():
    record = solve(SYMMETRIC, draw(196), M="ic0")
    assert isinstance(record, SolveRecord)
    text = str(record)
    assert text.startswith(f"cg with ic0: converged, {record.iterations} iterations")
    assert "an apply of M" in text
    with pytest.raises(AttributeError):
        record.status = "better"
    assert "1 iteration," in str(solve(sparse.eye_array(3).tocsr(), np.ones(3), M=None))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(0, 10**6), st.sampled_from(METHODS))
def test_the_status_tells_the_truth(n, seed, method):
    rng = np.random.default_rng(seed)
    W = sparse.random_array((n, n), density=0.4, rng=rng, data_sampler=rng.standard_normal)
    A = (W + W.T + sparse.diags_array(rng.standard_normal(n))).tocsr()
    b = rng.standard_normal(n)
    signs = np.diag(rng.choice([-1.0, 0.0, 1.0, 3.0], n))
    M = [None, signs, rng.standard_normal((n, n))][rng.integers(3)]
    record = solve(A, b, M=M, method=method, rtol=1e-6)
    assert record.status in STATUSES
    assert record.converged == bool(record.residual <= 1e-6)
    assert np.isfinite(record.x).all()
    if record.converged:
        assert true_residual(A, b, record.x) <= 1.01e-6


# Ctrl-C


class Impatient(LinearOperator):
    """The identity, until it is applied once too often: then as if by Ctrl-C."""

    def __init__(self, n, patience):
        super().__init__(np.float64, (n, n))
        self.patience = patience

    def _matvec(self, r):
        self.patience -= 1
        if self.patience < 0:
            raise KeyboardInterrupt
        return r


def test_ctrl_c_keeps_what_there_is_of_x(method):
    b = draw(196)
    with pytest.raises(KeyboardInterrupt) as caught:
        solve(SYMMETRIC, b, M=Impatient(196, 34), method=method, rtol=1e-12, restart=10)
    assert isinstance(caught.value, Interrupted)
    record = caught.value.record
    assert record.status == "interrupted"
    assert not record.converged
    assert 15 <= record.iterations <= 35
    assert record.residual == pytest.approx(true_residual(SYMMETRIC, b, record.x), rel=1e-6)
    # Of whole cycles, where there are cycles; cgs falls late and by leaps.
    assert record.residual < (1.0 if method != "cgs" else np.inf)
    assert record.x.any()
    assert len(record.history) > 0
    assert f"after {record.iterations} iterations" in str(caught.value)
    assert "interrupted" in str(record)


def test_ctrl_c_keeps_the_columns_that_are_done():
    B = np.stack([draw(196, seed) for seed in (1, 2, 3)], axis=1)
    first = solve(SYMMETRIC, B[:, 0], M=Impatient(196, 1000))
    with pytest.raises(Interrupted) as caught:
        solve(SYMMETRIC, B, M=Impatient(196, first.iterations + 20), x0=np.ones((196, 3)))
    record = caught.value.record
    assert record.x.shape == (196, 3)
    residuals = [true_residual(SYMMETRIC, B[:, c], record.x[:, c]) for c in range(3)]
    assert residuals[0] <= 1e-8 < residuals[1] < residuals[2]
    assert np.array_equal(record.x[:, 2], np.ones(196))
    assert record.residual == pytest.approx(residuals[2], rel=1e-6)


def test_ctrl_c_goes_on_from_x():
    b = draw(196)
    with pytest.raises(Interrupted) as caught:
        solve(SYMMETRIC, b, M=Impatient(196, 30))
    kept = caught.value.record
    last = solve(SYMMETRIC, b, M=None, x0=kept.x)
    assert last.converged
    assert last.iterations < solve(SYMMETRIC, b, M=None).iterations
    again = pickle.loads(pickle.dumps(caught.value))
    assert np.array_equal(again.record.x, kept.x)


def test_ctrl_c_while_m_is_made_has_no_record(monkeypatch):
    """Load tries fall-backs with solve: what those have of an x is not that of A x = b."""
    from neuprecond import classical

    monkeypatch.setattr(classical, "ilu", lambda A: Impatient(144, 3))
    for how in (
        lambda: load("auto", INDEFINITE),
        lambda: solve(INDEFINITE, draw(144), method="gmres"),
    ):
        with pytest.raises(KeyboardInterrupt) as caught:
            how()
        assert not isinstance(caught.value, Interrupted)


@pytest.mark.parametrize(
    "options", [{"maxiter": 1.5}, {"maxiter": "3"}, {"restart": 2.0}, {"rtol": "a"}, {"atol": None}]
)
def test_options_of_another_kind_are_a_type_error(options):
    name = next(iter(options))
    with pytest.raises(TypeError, match=f"^{name} must be a (whole )?number, got"):
        solve(SYMMETRIC, draw(196), **options)
