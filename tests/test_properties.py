"""Promises over random matrices that nobody thought of; bounded to some seconds."""

import copy
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from neuprecond import NeuprecondWarning, WeightsError, checks, load, multilevel, reuse, solve
from neuprecond.hierarchy import unit_diagonal
from neuprecond.multilevel import PLANS

BOUNDED = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

OURS = (ValueError, TypeError, WeightsError)


def quiet(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", NeuprecondWarning)
        return load(*args, **options)


@st.composite
def definite(draw):
    """SPD with κ of at most some 1e8 after scaling: of one of several kinds, n ≤ 50."""
    n = draw(st.integers(1, 50))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["gram", "laplacian", "dominant", "blocks", "dense", "chain"]))
    share = draw(st.sampled_from([0.02, 0.1, 0.3]))
    floor = 10.0 ** draw(st.integers(-7, 1))
    if kind in ("gram", "dense"):
        C = rng.standard_normal((n, n)) * (rng.random((n, n)) < (1.0 if kind == "dense" else share))
        A = C @ C.T
    else:
        W = rng.random((n, n)) * (rng.random((n, n)) < share)
        if kind == "chain":
            W = np.diag(10.0 ** rng.uniform(-3, 3, n - 1), 1) if n > 1 else np.zeros((1, 1))
        W = np.triu(W, 1)
        W = W + W.T
        if kind == "blocks":
            part = rng.integers(0, 3, n)
            W[part[:, None] != part] = 0.0
        if kind == "dominant":
            W *= np.sign(rng.standard_normal((n, n)))
            W = np.triu(W, 1)
            W = W + W.T
        A = np.diag(np.abs(W).sum(axis=1)) - W
    A = A / max(np.abs(A).max(), 1e-3) + floor * np.eye(n)
    s = 10.0 ** rng.uniform(-1, 1, n) ** draw(st.sampled_from([0, 1, 3]))
    s = s ** draw(st.sampled_from([0, 1, 40]))
    return sparse.csr_array((A * s) * s[:, None])


def require_promises(A, M):
    """Symmetric, positive, linear, finite, the same again; CG in n + 10 steps."""
    n = A.shape[0]
    scaled_A, s = unit_diagonal(checks.as_csr(A))
    X = ((M @ np.diag(1.0 / s)).T / s).T
    assert np.isfinite(X).all()
    assert np.abs(X - X.T).max() <= 1e-6 * np.abs(X).max()
    assert np.linalg.eigvalsh(0.5 * (X + X.T))[0] > 0
    r = np.random.default_rng(n).standard_normal(n)
    z = (M @ (r / s)) / s
    assert np.abs(z - X @ r).max() <= 1e-9 * np.abs(X).max() * np.abs(r).max() * n
    N = sparse.csr_array(0.5 * (X + X.T))
    record = solve(scaled_A, scaled_A @ r, M=N, rtol=1e-6, maxiter=n + 10)
    assert record.converged, record


@BOUNDED
@given(A=definite(), check=st.sampled_from([True, "probe"]))
def test_any_definite_matrix(A, check):
    kept = copy.deepcopy(A)
    M = quiet("auto", A, check=check)
    # A probe may find that Jacobi is better still, as on nearly diagonal matrices.
    assert M.kind != "classical" or (check == "probe" and M.name == "jacobi")
    require_promises(A, M)
    again = quiet("auto", A, check=check)
    assert np.array_equal(M @ np.eye(A.shape[0]), again @ np.eye(A.shape[0]))
    for part in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(A, part), getattr(kept, part))
    N = quiet("auto", -A, check=check)
    assert np.array_equal(M @ np.eye(A.shape[0]), -(N @ np.eye(A.shape[0])))


def noise(features):
    """What a network might say at worst."""
    rng = np.random.default_rng(len(features.cols))
    sizes = (len(features.nodes), len(features.entry_rows))
    return tuple(10.0 * rng.standard_normal(size) for size in sizes)


@pytest.fixture(scope="module")
def deep():
    """Hierarchies down to three unknowns, so that small matrices have several levels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multilevel, "COARSEST", 3)
        yield


@BOUNDED
@given(A=definite(), plan=st.sampled_from(sorted(PLANS)), values=st.sampled_from([None, noise]))
def test_any_definite_matrix_through_many_levels(deep, A, plan, values):
    M = multilevel.build_cycle(checks.as_csr(A), values, plan=PLANS[plan])
    require_promises(A, M)


@st.composite
def other_values(draw):
    """A definite matrix, and another one on its pattern: scaled on both sides and shifted."""
    A = draw(definite())
    n = A.shape[0]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    s = 10.0 ** (draw(st.sampled_from([0, 0.1, 1.0])) * rng.uniform(-1, 1, n))
    shift = draw(st.sampled_from([0.0, 0.1, 10.0])) * rng.random(n) * A.diagonal()
    other = sparse.csr_array(sparse.diags_array(s) @ A @ sparse.diags_array(s))
    # Rounding of the two products differs: symmetric to the last bit, as A is.
    other = sparse.csr_array(0.5 * (other + other.T))
    return A, sparse.csr_array(other + sparse.diags_array(shift))


@BOUNDED
@given(pair=other_values(), interpolate=st.booleans(), learned=st.booleans())
def test_reuse_keeps_the_promises(deep, pair, interpolate, learned):
    """On the old matrix it is the old M, on the new one symmetric, positive and good enough."""
    A, other = pair
    M = quiet("diffusion2d", A, check=False, learned=learned)
    scaling = 1.0 / unit_diagonal(checks.as_csr(A))[1]
    same = reuse(M, A, interpolate=interpolate, check=False)
    before = (M @ np.diag(scaling)).T * scaling
    after = (same @ np.diag(scaling)).T * scaling
    assert np.abs(after - before).max() <= 1e-7 * np.abs(before).max()
    try:
        N = reuse(M, other, interpolate=interpolate)
    except ValueError as error:
        told = str(error)
    else:
        require_promises(other, N)
        return
    assert "load again" in told.lower()


NUMBERS = st.one_of(
    st.just(0.0),
    st.integers(-3, 3).map(float),
    st.floats(-10.0, 10.0),
    st.floats(allow_nan=False, allow_infinity=False),
)


@st.composite
def general(draw):
    """Square, n ≤ 12, of any numbers and any storage; seldom with a NaN or not square."""
    n = draw(st.integers(1, 12))
    rows = draw(st.one_of(st.just(n), st.just(n), st.just(n), st.integers(1, 12)))
    dtype = draw(st.sampled_from([np.float64, np.float32, np.int32, np.complex128, np.bool_]))
    wide = dtype in (np.float64, np.complex128)
    elements = NUMBERS if wide else st.integers(0, 1) if dtype is np.bool_ else st.integers(-5, 5)
    fill = st.just(dtype(0))
    A = draw(hnp.arrays(dtype, (rows, n), elements=elements, fill=fill))
    if draw(st.booleans()) and rows == n:
        with np.errstate(all="ignore"):
            A = A + A.T
    if draw(st.sampled_from([False] * 9 + [True])) and wide:
        A[0, 0] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    form = draw(st.sampled_from(["ndarray", "csr", "csc", "coo", "bsr", "lil", "dok", "dia"]))
    return A if form == "ndarray" else sparse.csr_array(A).asformat(form)


def dense(A):
    return A.toarray() if sparse.issparse(A) else A


@settings(BOUNDED, max_examples=400)
@given(A=general(), check=st.sampled_from([True, "probe", False]))
def test_any_matrix_at_all(A, check):
    """A finite M, or one of our errors; never a warning of NumPy's, never a changed A."""
    kept = dense(A).copy()
    try:
        M = quiet("auto", A, check=check)
    except OURS:
        finite = np.isfinite(kept).all()
        assert kept.shape[0] != kept.shape[1] or not finite
        return
    finally:
        assert np.array_equal(dense(A), kept, equal_nan=True)
    assert M.shape == kept.shape
    assert M.dtype in (np.float64, np.complex128)
    with np.errstate(all="ignore"):
        size = np.abs(M @ np.eye(len(kept)))
    assert not np.isnan(size).any()
    entries = np.abs(kept[kept != 0]).astype(float)
    if ((entries < 1e100) & (entries > 1e-100)).all():
        assert np.isfinite(size).all()


@settings(BOUNDED, max_examples=150)
@given(A=general(), name=st.sampled_from(["diffusion2d", "heat"]))
def test_any_matrix_at_all_for_a_named_model(A, name):
    """Definite and finite, or one of our errors."""
    kept = dense(A).copy()
    try:
        M = quiet(name, A)
    except OURS:
        return
    finally:
        assert np.array_equal(dense(A), kept, equal_nan=True)
    d = np.sqrt(kept.diagonal().astype(float))
    assert (d > 0).all()
    scaled = (kept / d) / d[:, None]
    assert np.abs(scaled - scaled.T).max() <= 1e-9 * np.abs(scaled).max()
    r = np.random.default_rng(len(d)).standard_normal(len(d))
    assert 0.0 < r @ ((M @ (r * d)) * d) < np.inf


@BOUNDED
@given(
    A=definite(),
    shape=st.sampled_from([(), (1,), (3,)]),
    dtype=st.sampled_from([np.float64, np.float32, np.int64, np.complex128]),
    backwards=st.booleans(),
)
def test_any_right_hand_side(A, shape, dtype, backwards):
    """M takes (n,), (n, 1) and (n, k), of any type and stride, and gives the same numbers."""
    n = A.shape[0]
    M = quiet("auto", A)
    B = (10.0 * np.random.default_rng(n).standard_normal((n, *shape))).astype(dtype)
    B = B[::-1] if backwards else B
    Z = M @ B
    assert Z.shape == B.shape
    assert Z.dtype in (np.float64, np.complex128)
    assert np.isfinite(Z).all()
    assert np.array_equal(Z, M @ B.copy())
