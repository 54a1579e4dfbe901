"""Laws of the classical preconditioners, run over all of them, and their known counts."""

import pickle
import threading

import numpy as np
import pyamg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg, spilu, spsolve

from neuprecond.classical import (
    CLASSICAL,
    TUNED,
    fsai,
    fsai_factor,
    ic0,
    ilu,
    jacobi,
    mic0,
    precondition,
    smoothed_aggregation,
    ssor,
)
from neuprecond.classical import multigrid as multigrid_module
from neuprecond.errors import NotDefiniteError

EPS = np.finfo(float).eps


def poisson(k):
    return sparse.csr_array(pyamg.gallery.poisson((k, k), format="csr"))


def grid_diffusion(k, coefficient):
    """Five-point diffusion on a k × k grid from a coefficient a cell, Dirichlet all around."""
    padded = np.pad(coefficient, 1, mode="edge")
    number = np.full((k + 2, k + 2), -1)
    number[1:-1, 1:-1] = np.arange(k * k).reshape(k, k)
    rows, cols, values = [], [], []
    for step in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        there = np.roll(padded, step, (0, 1))[1:-1, 1:-1]
        face = (2 / (1 / coefficient + 1 / there)).ravel()
        i, j = number[1:-1, 1:-1].ravel(), np.roll(number, step, (0, 1))[1:-1, 1:-1].ravel()
        rows += [i, i[j >= 0]]
        cols += [i, j[j >= 0]]
        values += [face, -face[j >= 0]]
    coords = (np.concatenate(rows), np.concatenate(cols))
    return sparse.coo_array((np.concatenate(values), coords), (k * k, k * k)).tocsr()


def lognormal(k, sigma=1.5):
    return grid_diffusion(k, np.exp(sigma * np.random.default_rng(907).standard_normal((k, k))))


def badly_scaled(k):
    D = sparse.diags_array(10.0 ** np.random.default_rng(11).uniform(-3, 3, k * k))
    return (D @ poisson(k) @ D).tocsr()


def graph_with_hub(n):
    rng = np.random.default_rng(5)
    rows = np.concatenate([np.zeros(n - 1, dtype=int), rng.integers(0, n, n)])
    cols = np.concatenate([np.arange(1, n), rng.integers(0, n, n)])
    apart = rows != cols
    W = sparse.coo_array((np.ones(apart.sum()), (rows[apart], cols[apart])), (n, n)).tocsr()
    W = W + W.T
    return (sparse.diags_array(W.sum(axis=1) + 0.1) - W).tocsr()


def neumann(k):
    A = poisson(k)
    A.setdiag(0)
    A.eliminate_zeros()
    return (sparse.diags_array(-A.sum(axis=1)) + A).tocsr()


DEFINITE = {
    "1 x 1": sparse.csr_array([[3.0]]),
    "diagonal": sparse.diags_array(np.logspace(-6, 6, 40)).tocsr(),
    "poisson": poisson(9),
    "log-normal, all fill and drops": lognormal(9),
    "badly scaled": badly_scaled(8),
    "graph with a hub": graph_with_hub(90),
    "disconnected": sparse.csr_array(sparse.block_diag([poisson(4), poisson(6)])),
}
CONVECTION = sparse.csr_array(poisson(8) + sparse.diags_array(np.full(63, 0.7), offsets=1))

SYMMETRIC = [name for name in CLASSICAL if name != "ilu"]
FOR_ANY = ["none", "jacobi", "ssor", "ilu", *TUNED]


def count(A, M, rtol=1e-8):
    steps = []
    x, info = cg(A, np.ones(A.shape[0]), rtol=rtol, maxiter=3000, M=M, callback=steps.append)
    assert info == 0
    assert np.linalg.norm(A @ x - 1) <= 10 * rtol * np.sqrt(A.shape[0])
    return len(steps)


def dense(M):
    return M @ np.eye(M.shape[0])


@pytest.fixture(params=DEFINITE)
def A(request):  # noqa: N802
    return DEFINITE[request.param].copy()


@pytest.fixture(params=CLASSICAL)
def name(request):
    return request.param


def test_m_is_linear_and_columns_agree(A, name):
    rng = np.random.default_rng(3)
    M = precondition(name, A)
    R = rng.standard_normal((A.shape[0], 4))
    Z = M @ R
    top = abs(dense(M)).max()
    columns = np.stack([M @ r for r in R.T], axis=1)
    np.testing.assert_allclose(Z, columns, rtol=1e-10, atol=1e-12 * top)
    combined = M @ (R @ [1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(combined, Z @ [1.0, -2.0, 0.5, 3.0], rtol=1e-8, atol=1e-10 * top)
    np.testing.assert_array_equal(M @ np.zeros(A.shape[0]), 0.0)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_m_is_symmetric_and_definite(A, name):
    D = dense(precondition(name, A))
    # Judged after scaling to unit diagonal, or a bad scale would hide everything.
    s = 1 / np.sqrt(np.diag(D))
    scaled = s[:, None] * D * s
    assert abs(scaled - scaled.T).max() < 1e-8
    assert np.linalg.eigvalsh(scaled).min() > 0


def test_adjoint_is_the_transpose(name):
    for A in [DEFINITE["log-normal, all fill and drops"], *([CONVECTION] * (name in FOR_ANY))]:
        M = precondition(name, A)
        D, eye = dense(M), np.eye(A.shape[0])
        np.testing.assert_allclose(M.T @ eye, D.T, rtol=1e-9, atol=1e-12 * abs(D).max())
        np.testing.assert_allclose(M.H @ eye[0], D[0], rtol=1e-9, atol=1e-12 * abs(D).max())


@pytest.mark.parametrize("factor", [2.0**-990, 1e-200, 3.7, 1e250])
def test_scaling_a_scales_m(name, factor):
    A = DEFINITE["log-normal, all fill and drops"]
    M, scaled = precondition(name, A), precondition(name, A * factor)
    if name == "none":
        factor = 1.0
    D = dense(M)
    np.testing.assert_allclose(dense(scaled) * factor, D, rtol=1e-6, atol=1e-9 * abs(D).max())


@pytest.mark.parametrize("name", ["jacobi", "ssor", "ic0", "fsai", "fsai2"])
def test_scaling_both_sides(name):
    A = lognormal(8)
    s = 2.0 ** np.random.default_rng(23).integers(-400, 400, A.shape[0])
    S = sparse.diags_array(s)
    D, scaled = dense(precondition(name, A)), dense(precondition(name, (S @ A @ S).tocsr()))
    np.testing.assert_allclose(s[:, None] * scaled * s, D, rtol=1e-10, atol=1e-13 * abs(D).max())


def test_a_keeps_its_bits_and_its_type_does_not_matter(name):
    A = sparse.csr_matrix(poisson(6))
    before = A.data.copy(), A.indices.copy(), A.indptr.copy()
    D = dense(precondition(name, A))
    for kept, now in zip(before, (A.data, A.indices, A.indptr), strict=True):
        np.testing.assert_array_equal(kept, now)
    for other in (sparse.csr_array(A), A.tocsc(), A.tocoo(), A.toarray(), A.astype(np.float32)):
        np.testing.assert_array_equal(dense(precondition(name, other)), D)


def test_pickles_with_every_protocol(name):
    A = poisson(8)
    M = precondition(name, A)
    r = np.random.default_rng(2).standard_normal(64)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(M, protocol))
        np.testing.assert_array_equal(again @ r, M @ r)
        assert (again.name, again.density) == (M.name, M.density)


def test_record_of_cost(name):
    M = precondition(name, poisson(20))
    assert isinstance(M, LinearOperator)
    assert M.name == name
    assert M.dtype == np.float64
    assert name in repr(M)
    assert M.density >= 0
    assert all(seconds >= 0 for seconds in M.setup_seconds.values())


def test_float32_vectors_come_back_in_float64(name):
    M = precondition(name, poisson(5))
    assert (M @ np.ones(25, dtype=np.float32)).dtype == np.float64
    assert (M @ np.ones((25, 2), dtype=np.float32)).dtype == np.float64
    assert (M @ (1j * np.ones(25))).dtype == np.complex128


def test_global_random_state_and_warnings_stay(name):
    before = np.random.get_state()  # noqa: NPY002
    first = dense(precondition(name, lognormal(12)))
    after = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]
    np.random.seed(99)  # noqa: NPY002
    np.testing.assert_array_equal(dense(precondition(name, lognormal(12))), first)


def test_setups_in_threads_agree(name):
    A, results = lognormal(10), {}

    def work(k):
        results[k] = dense(precondition(name, A))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(3):
        np.testing.assert_array_equal(results[k], results[0])


# Counts on the 64 × 64 Poisson problem, b = ones, rtol 1e-8.
POISSON_COUNTS = {
    "none": 119,
    "jacobi": 119,
    "ssor": 60,
    "ic0": 52,
    "mic0": 30,
    "fsai": 84,
    "fsai2": 63,
    "ilu": 5,
}


@pytest.mark.parametrize(("name", "expected"), POISSON_COUNTS.items())
def test_counts_on_poisson(name, expected):
    A = poisson(64)
    assert count(A, precondition(name, A)) == expected


@pytest.mark.parametrize("name", TUNED)
def test_multigrid_counts_on_poisson_are_small(name):
    A = poisson(64)
    assert count(A, precondition(name, A)) <= 12


def test_order_of_strength_on_log_normal():
    A = lognormal(48)
    counts = {name: count(A, precondition(name, A)) for name in CLASSICAL}
    assert counts["mic0"] < counts["ic0"] < counts["fsai"] < counts["jacobi"] < counts["none"]
    assert counts["fsai2"] < counts["fsai"]
    assert counts["sa"] < counts["mic0"]


@pytest.mark.parametrize("omega", [0.4, 1.0, 1.7])
def test_formulas_of_the_sweeps(omega):
    for A in (DEFINITE["log-normal, all fill and drops"], CONVECTION):
        full = A.toarray()
        D, L, U = np.diag(np.diag(full)), np.tril(full, -1), np.triu(full, 1)
        np.testing.assert_allclose(dense(jacobi(A, omega=omega)), omega * np.linalg.inv(D))
        inverse = np.linalg.solve(D / omega + U, D @ np.linalg.inv(D / omega + L))
        inverse *= (2 - omega) / omega
        np.testing.assert_allclose(
            dense(ssor(A, omega=omega)), inverse, rtol=1e-9, atol=1e-12 * abs(inverse).max()
        )


@pytest.mark.parametrize("k", [3, 8])
def test_incomplete_cholesky_meets_its_definition(k):
    A = lognormal(k)
    L = np.linalg.cholesky(np.linalg.inv(dense(ic0(A))))
    on = A.toarray() != 0
    np.testing.assert_allclose((L @ L.T)[on], A.toarray()[on], rtol=1e-9)
    modified = np.linalg.inv(dense(mic0(A, relaxation=1.0)))
    off = on & ~np.eye(k * k, dtype=bool)
    np.testing.assert_allclose(modified[off], A.toarray()[off], rtol=1e-9)
    np.testing.assert_allclose(modified.sum(1), A.sum(1), atol=1e-9 * abs(A).max())


def test_relaxation_zero_is_ic0():
    A = lognormal(8)
    np.testing.assert_array_equal(dense(mic0(A, relaxation=0.0)), dense(ic0(A)))


def test_ic0_agrees_with_ilupp():
    ilupp = pytest.importorskip("ilupp")
    A = lognormal(12)
    theirs = ilupp.IChol0Preconditioner(sparse.csr_matrix(A))
    r = np.random.default_rng(8).standard_normal(144)
    np.testing.assert_allclose(ic0(A) @ r, theirs @ r, rtol=1e-9)


def kershaw(copies=3):
    """Kershaw's definite matrix on which IC(0) meets a negative pivot."""
    block = np.array([[3, -2, 0, 2], [-2, 3, -2, 0], [0, -2, 3, -2], [2, 0, -2, 3.0]])
    return sparse.csr_array(sparse.block_diag([block] * copies))


@pytest.mark.parametrize(
    ("make", "A"),
    [(ic0, kershaw()), (mic0, (poisson(12) - 0.5 * sparse.eye_array(144)).tocsr())],
    ids=["Kershaw", "indefinite"],
)
def test_breakdown_is_shifted_and_said(make, A):
    M = make(A)
    assert M.shift > 0
    assert f"shifted by {M.shift:g}" in repr(M)
    assert np.linalg.eigvalsh(dense(M)).min() > 0
    assert make(poisson(8)).shift == 0
    assert "shift" not in repr(make(poisson(8)))


def test_mic0_keeps_other_row_sums_where_a_is_scaled_badly():
    A = poisson(16)
    S = sparse.diags_array(10.0 ** np.random.default_rng(4).uniform(-140, 140, 256))
    bad = mic0((S @ A @ S).tocsr())
    assert mic0(A).keeps == "row sums of A"
    assert bad.keeps == "row sums of A scaled to unit diagonal"
    assert bad.shift == 0
    A = badly_scaled(24)
    assert count(A, mic0(A)) < count(A, ic0(A))


def test_fsai_meets_its_definition():
    A = lognormal(9)
    for pattern in ("A", "A2", sparse.eye_array(81)):
        G = fsai_factor(A, pattern)
        # On its pattern G A is lower triangular, up to that: (G A)_ij = 0 for j < i, j in the row.
        GA = (G @ A).toarray()
        inside = np.tril(G.toarray() != 0, -1)
        assert abs(GA[inside]).max(initial=0.0) < 1e-12 * abs(GA).max()
        np.testing.assert_allclose((G @ A @ G.T).diagonal(), 1.0, rtol=1e-12)
        assert G.has_sorted_indices
        assert (G.diagonal() > 0).all()
        assert sparse.triu(G, k=1).nnz == 0


def test_fsai_on_a_full_pattern_is_the_inverse_cholesky_factor():
    A = lognormal(5)
    G = fsai_factor(A, np.ones((25, 25)))
    np.testing.assert_allclose(G.toarray(), np.linalg.inv(np.linalg.cholesky(A.toarray())))


def test_fsai_numbering_of_patterns():
    A = poisson(7)
    assert fsai_factor(A).nnz == sparse.tril(A).nnz
    assert fsai_factor(A, "A2").nnz == sparse.tril(abs(A) @ abs(A)).nnz
    assert fsai(A, pattern="A2").name == "fsai2"


def test_fsai_takes_entries_from_1e_minus_300_to_1e300():
    A = poisson(6)
    s = 10.0 ** np.linspace(-149, 149, 36)
    S = sparse.diags_array(s)
    for pattern in ("A", "A2"):
        G, plain = fsai_factor((S @ A @ S).tocsr(), pattern), fsai_factor(A, pattern)
        np.testing.assert_allclose((G @ S).toarray(), plain.toarray(), rtol=1e-10)


@pytest.mark.parametrize("pattern", ["A", "A2"])
@pytest.mark.parametrize("last", [False, True])
def test_fsai_stands_a_hub(pattern, last):
    A = graph_with_hub(3000)
    if last:
        A = A[::-1][:, ::-1].tocsr()
    G = fsai_factor(A, pattern, row_limit=300)
    assert np.diff(G.indptr).max() <= 300
    assert count(A, fsai(A, pattern=pattern, row_limit=300)) < count(A, jacobi(A))


def test_row_limit_keeps_the_largest():
    A = sparse.csr_array(
        [[4.0, 0, 0, 1.0], [0, 4.0, 0, -2.0], [0, 0, 4.0, 0.5], [1.0, -2.0, 0.5, 4.0]]
    )
    np.testing.assert_array_equal(np.flatnonzero(fsai_factor(A, row_limit=2).toarray()[3]), [1, 3])


def test_singular_components_keep_fsai_finite():
    pair = np.array([[1.0, -1.0], [-1.0, 1.0]])
    A = sparse.csr_array(sparse.block_diag([pair, pair]))
    np.testing.assert_allclose(dense(fsai(A)), np.eye(4))


@pytest.mark.parametrize("name", [name for name in CLASSICAL if name != "ilu"])
def test_pure_neumann_converges(name):
    A = neumann(15)
    b = np.random.default_rng(0).standard_normal(225)
    b -= b.mean()
    M = precondition(name, A)
    x, info = cg(A, b, rtol=1e-8, maxiter=100, M=M)
    assert info == 0
    assert np.linalg.norm(b - A @ x) < 1e-7 * np.linalg.norm(b)
    assert np.isfinite(M @ np.ones(225)).all()


def test_diagonal_matrices_at_every_size(name):
    for n in (1, 12, 4000):
        A = sparse.diags_array(np.logspace(-6, 6, n)).tocsr()
        if name != "none":
            r = np.random.default_rng(n).standard_normal(n)
            np.testing.assert_allclose(precondition(name, A) @ (A @ r), r, rtol=1e-9)


@pytest.mark.parametrize("name", ["jacobi", "ssor", "ic0", "mic0", "fsai", "fsai2"])
def test_zero_diagonal_names_the_row(name):
    A = sparse.csr_array([[3.0, 2, 0], [2, 0, 1], [0, 1, 3]])
    with pytest.raises(ValueError, match="row 1"):
        precondition(name, A)


@pytest.mark.parametrize("name", ["ic0", "mic0", "fsai", "fsai2"])
def test_what_is_not_definite_says_so(name):
    with pytest.raises(NotDefiniteError, match="symmetric"):
        precondition(name, CONVECTION)
    with pytest.raises(NotDefiniteError, match="-A"):
        precondition(name, -poisson(4))


@pytest.mark.parametrize("name", ["ic0", "mic0", "fsai", "fsai2"])
def test_entries_that_overflow_beside_the_diagonal(name):
    with pytest.raises(NotDefiniteError, match="row"):
        precondition(name, [[1e-300, 1e300], [1e300, 1e-300]])


def test_fsai_sees_an_indefinite_local_matrix():
    A = (poisson(6) - 3 * sparse.eye_array(36)).tocsr()
    with pytest.raises(NotDefiniteError, match="row"):
        fsai(A)


def test_bad_input_has_one_message(name):
    with pytest.raises(ValueError, match="square"):
        precondition(name, np.ones((2, 3)))
    A = poisson(3)
    A.data[2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        precondition(name, A)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (jacobi, {"omega": 0.0}),
        (ssor, {"omega": 2.0}),
        (mic0, {"relaxation": 1.5}),
        (ilu, {"drop_tol": -1.0}),
        (ilu, {"fill_factor": 0.5}),
        (fsai, {"pattern": "A3"}),
        (fsai, {"row_limit": 0}),
        (fsai, {"pattern": np.eye(3)}),
        (smoothed_aggregation, {"B": np.ones((3, 1))}),
    ],
)
def test_options_out_of_range(make, options):
    with pytest.raises(ValueError, match="must"):
        make(poisson(4), **options)


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="ic0, mic0"):
        precondition("ic1", poisson(3))


def test_ilu_is_superlu_s_own():
    for A in (CONVECTION, (CONVECTION + 1j * sparse.eye_array(64)).tocsr()):
        theirs = spilu(A.tocsc(), drop_tol=1e-2, fill_factor=10)
        M = ilu(A, drop_tol=1e-2)
        r = np.random.default_rng(6).standard_normal(64) + 0 * A.data[0]
        np.testing.assert_allclose(M @ r, theirs.solve(r), rtol=1e-10)
        np.testing.assert_allclose(M.H @ r, theirs.solve(r, "H"), rtol=1e-10)


def test_ilu_without_drops_is_exact():
    r = np.ones(64)
    np.testing.assert_allclose(
        ilu(CONVECTION, drop_tol=0.0, fill_factor=100) @ r, spsolve(CONVECTION, r), rtol=1e-10
    )


def test_ilu_says_singular():
    with pytest.raises(ValueError, match="singular"):
        ilu(sparse.csr_array([[1.0, 0], [0, 0]]))


PYAMG = {
    "sa": pyamg.smoothed_aggregation_solver,
    "sa08": lambda A, **kw: pyamg.smoothed_aggregation_solver(
        A, strength=("symmetric", {"theta": 0.08}), **kw
    ),
    "rs": pyamg.ruge_stuben_solver,
    "rs-evolution": lambda A: pyamg.ruge_stuben_solver(A, strength=("evolution", {"epsilon": 4.0})),
    "root-node": lambda A, **kw: pyamg.rootnode_solver(
        A,
        strength=("evolution", {"epsilon": 2.0}),
        smooth=("energy", {"degree": 2, "maxiter": 3}),
        **kw,
    ),
}


def elasticity():
    A, B = pyamg.gallery.linear_elasticity((7, 8))
    A = sparse.csr_matrix(A)
    A.eliminate_zeros()
    return A, B


@pytest.mark.parametrize("name", TUNED)
@pytest.mark.parametrize("problem", ["log-normal", "convection", "elasticity"])
def test_our_cycle_is_pyamg_s(name, problem):
    B = None
    if problem == "elasticity":
        A, B = elasticity()
    else:
        A = sparse.csr_matrix(lognormal(20) if problem == "log-normal" else CONVECTION)
    keywords = {"B": B} if B is not None and not name.startswith("rs") else {}
    scale = 2.0 ** -np.frexp(abs(A).max())[1]
    with multigrid_module._alone_with_pyamg():
        made = PYAMG[name](A * scale, **keywords)
    M = precondition(name, A, B=B)
    r = np.random.default_rng(31).standard_normal(A.shape[0])
    theirs = made.aspreconditioner() @ (r * scale)
    np.testing.assert_allclose(M @ r, theirs, rtol=1e-8, atol=1e-10 * abs(theirs).max())
    work = sum(5 * level.A.nnz + 2 * level.P.nnz for level in made.levels[:-1])
    assert M.density == pytest.approx((work + made.levels[-1].A.shape[0] ** 2) / A.nnz)
    assert M.sizes == [level.A.shape[0] for level in made.levels]


def test_near_null_vectors_help_elasticity():
    A, B = pyamg.gallery.linear_elasticity((20, 20))
    A = sparse.csr_matrix(A)
    assert count(A, precondition("sa", A, B=B)) < 0.7 * count(A, precondition("sa", A))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.floats(0.05, 0.6), st.integers(0, 10**6))
def test_random_dominant_matrices_give_definite_m(n, share, seed):
    rng = np.random.default_rng(seed)
    W = sparse.random_array((n, n), density=share, rng=rng, data_sampler=rng.standard_normal)
    W = W + W.T
    A = (W + sparse.diags_array(abs(W).sum(axis=1) + rng.uniform(0.01, 1, n))).tocsr()
    for name in ("jacobi", "ssor", "ic0", "mic0", "fsai", "fsai2"):
        D = dense(precondition(name, A))
        assert np.linalg.eigvalsh((D + D.T) / 2).min() > 0


@pytest.mark.parametrize("name", [name for name in CLASSICAL if name != "none"])
@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-300, 1e300])
def test_at_the_ends_of_the_numbers(name, size):
    """M, or a ValueError that says why not."""
    A = sparse.csr_array(pyamg.gallery.poisson((6, 6), format="csr")) * size
    try:
        M = precondition(name, A)
    except ValueError as error:
        told = str(error)
    else:
        assert M.shape == A.shape
        return
    assert told
