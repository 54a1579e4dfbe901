"""Loading models: by name, by file and by the matrix; what is refused, and hostile files."""

import json
import os
import pickle
import subprocess
import sys
import tomllib
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from cases import (
    DEFINITE,
    FORMS,
    OTHER,
    REAL_DEFINITE,
    REAL_OTHER,
    REFUSED,
    SINGULAR,
    grounded,
    laplacian,
    poisson,
)
from safetensors.numpy import save
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from neuprecond import (
    Model,
    NeuprecondWarning,
    NotDefiniteError,
    WeightsError,
    checks,
    load,
    load_model,
    models,
    problems,
    save_model,
    solve,
)
from neuprecond.classical import jacobi
from neuprecond.hierarchy import unit_diagonal
from neuprecond.operators.cycle import Cycle
from neuprecond.operators.factored import FactoredInverse
from neuprecond.zoo.card import FORMAT, read_card, write_card
from neuprecond.zoo.choose import (
    MULTILEVEL,
    NONSYMMETRIC,
    ONE_LEVEL,
    choose,
    fall_back,
    is_covariance,
    is_covered,
)
from neuprecond.zoo.files import packaged
from neuprecond.zoo.model import least_dominance
from neuprecond.zoo.probe import expected_steps

MATRICES = Path(__file__).parents[1] / "datasets" / "matrices"
NAMES = sorted(packaged())
# Models for symmetric positive definite matrices.
SYMMETRIC = [name for name in NAMES if name != NONSYMMETRIC]


def real(name):
    return problems.read(MATRICES / f"{name}.npz")


def quiet(*args, **options):
    """Load without the warnings that a test is not about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NeuprecondWarning)
        return load(*args, **options)


# Names and cards.


def test_models_lists_what_is_packaged():
    cards = models()
    assert [card.name for card in cards] == NAMES
    assert {MULTILEVEL, ONE_LEVEL} <= set(NAMES)
    for card in cards:
        assert card.kind in ("multilevel", "spai", "nonsymmetric")
        assert set(card.families) <= set(problems.FAMILIES)
        assert 0 < card.unknowns[0] <= card.unknowns[1]
        assert card.licence == "Apache-2.0"
        for part in (card.name, card.kind, card.licence, card.summary):
            assert part in str(card)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_matrix_load_gives_the_model(name):
    model = load(name)
    assert isinstance(model, Model)
    assert model.card == load_model(name).card
    A = poisson(20) + 0.1 * sparse.eye_array(400)
    if name == NONSYMMETRIC:
        A = sparse.csr_array(A + 0.3 * sparse.eye_array(400, k=1))
    M = model.precondition(A)
    assert M.model == name
    assert M.kind == model.card.kind
    assert M.symmetric == (M.kind != "nonsymmetric")
    assert np.array_equal(M @ np.ones(400), quiet(name, A) @ np.ones(400))


@pytest.mark.parametrize(
    ("asked", "meant"), [("diffusion", MULTILEVEL), ("difusion2d", MULTILEVEL), ("haet", ONE_LEVEL)]
)
def test_unknown_names_get_the_nearest(asked, meant):
    with pytest.raises(ValueError, match=f"unknown model '{asked}'.*Did you mean '{meant}'"):
        load(asked, poisson(4))
    with pytest.raises(ValueError, match=", ".join(NAMES)):
        load_model("zebra")


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        (None, TypeError, r"got NoneType\. The name comes first: load\(\"auto\", A\)"),
        (poisson(4), TypeError, "got csr_array"),
        (b"auto", TypeError, "got bytes"),
        ("", ValueError, "unknown model ''"),
        ("AUTO", ValueError, "unknown model 'AUTO'"),
        ("a" * 5000, ValueError, "unknown model"),
        ("a" * 5000 + ".safetensors", WeightsError, "no weights file"),
        (Path("nowhere"), WeightsError, "no weights file"),
        ("/", WeightsError, "no weights file"),
    ],
    ids=["none", "matrix", "bytes", "empty", "capitals", "long", "long path", "path", "folder"],
)
def test_odd_names_of_models(name, error, words):
    for how in (lambda: load(name, poisson(4)), lambda: load(name), lambda: load_model(name)):
        with pytest.raises(error, match=words):
            how()


def test_only_models_are_saved(tmp_path):
    with pytest.raises(TypeError, match="save_model needs a Model, as load_model gives it, got"):
        save_model(load("diffusion2d", poisson(16)), tmp_path / "x.safetensors")


def test_auto_needs_a_matrix():
    with pytest.raises(ValueError, match="give A, or name a model"):
        load("auto")


@pytest.mark.parametrize("check", ["prob", 1, 0, None, "", "True"])
def test_unknown_checks_are_refused(check):
    with pytest.raises(ValueError, match='"probe" or "strict"'):
        load("auto", poisson(4), check=check)


def test_unknown_devices_and_plans_are_refused():
    with pytest.raises(ValueError, match="plan must be one of"):
        load_model(MULTILEVEL).precondition(poisson(12), plan="best")


# Which model auto takes.


@pytest.mark.parametrize("name", DEFINITE)
def test_auto_covers_every_definite_matrix(name):
    A = DEFINITE[name].make()
    M = quiet("auto", A)
    dominant = least_dominance(checks.as_csr(A)) >= 0.1
    covariance = is_covariance(checks.as_csr(A))
    assert M.model == (ONE_LEVEL if dominant or covariance else MULTILEVEL)
    assert isinstance(M, FactoredInverse if dominant or covariance else Cycle)
    assert M.learned == (not covariance)
    assert np.isfinite(M @ np.sqrt(A.diagonal())).all()


@pytest.mark.parametrize("name", REAL_DEFINITE)
def test_auto_on_real_matrices(name):
    A = real(name)
    b = A @ np.random.default_rng(2501).standard_normal(A.shape[0])
    learned, twin = quiet("auto", A), quiet("auto", A, learned=False)
    assert (learned.learned, twin.learned) == (True, False)
    records = [solve(A, b, M=M, maxiter=3000) for M in (learned, twin)]
    assert all(record.converged for record in records)
    assert records[0].iterations <= 1.25 * records[1].iterations + 1


@pytest.mark.parametrize("name", SINGULAR)
def test_auto_on_singular_matrices(name):
    A = SINGULAR[name].make()
    b = A @ np.random.default_rng(2502).standard_normal(A.shape[0])
    M = quiet("auto", A)
    assert np.isfinite(M @ np.ones(A.shape[0])).all()
    assert solve(A, b, M=M, maxiter=100).converged


@pytest.mark.parametrize("name", ["twophase", "heat", "delaunay", "one", "scaled-far"])
def test_negative_definite_matrices_go_through_their_negative(name):
    A = checks.as_csr(DEFINITE[name].make())
    n = A.shape[0]
    b = np.sqrt(A.diagonal()) * np.random.default_rng(2503).standard_normal(n)
    M, N = quiet("auto", A), quiet("auto", -A)
    assert np.array_equal(N @ b, -(M @ b))
    assert np.array_equal(N @ np.stack([b, b], axis=1), -(M @ np.stack([b, b], axis=1)))
    assert (N.model, N.kind, N.learned) == (M.model, M.kind, M.learned)
    assert "negated" in str(N)
    if name != "scaled-far":
        assert solve(A, b, M=M).iterations == solve(-A, b, M=N).iterations
    for model in SYMMETRIC:
        with pytest.raises(NotDefiniteError, match="Solve with -A"):
            load(model, -A)


def test_near_null_vectors_send_auto_to_several_levels():
    A = DEFINITE["heat"].make()
    assert quiet("auto", A, B=np.ones(A.shape[0])).model == MULTILEVEL
    with pytest.warns(NeuprecondWarning, match="no use for B"):
        load(ONE_LEVEL, A, B=np.ones(A.shape[0]))


WHY = {
    "nonsymmetric": "symmetric A",
    "complex": "complex",
    "hermitian": "complex",
    "three": "positive diagonal",
    "saddle": "positive diagonal",
    "zero-row": "positive diagonal",
    "indefinite-hidden": "positive definite",
    "helmholtz": "positive definite",
}


@pytest.mark.parametrize("name", OTHER)
def test_auto_falls_back_and_says_why(name):
    """A finite M that is no worse than Jacobi for GMRES, a reason, and what else to use."""
    A = checks.as_csr(OTHER[name].make(), allow_complex=True)
    n = A.shape[0]
    why = WHY.get(name, "")
    if is_covered(A):
        M = quiet("auto", A)
        assert M.kind in ("nonsymmetric", "classical")
        assert np.isfinite(M @ np.eye(n)).all()
        no_worse_than_jacobi(A, M)
        return
    with pytest.warns(NeuprecondWarning, match=rf"no learned model covers A: .*{why}.*GMRES"):
        M = load("auto", A)
    assert M.kind == "classical"
    assert not M.learned
    assert np.isfinite(M @ np.eye(n)).all()
    no_worse_than_jacobi(A, M)


@pytest.mark.parametrize("name", REAL_OTHER)
def test_auto_falls_back_on_real_matrices(name):
    A = real(name)
    if is_covered(checks.as_csr(A, allow_complex=True)):
        M = quiet("auto", A)
    else:
        with pytest.warns(NeuprecondWarning, match="Returned instead"):
            M = load("auto", A)
    no_worse_than_jacobi(A, M)


def plain_jacobi(A):
    """Jacobi as a user would write it, ones where there is nothing to divide by."""
    d = A.diagonal()
    with np.errstate(all="ignore"):
        inverse = 1.0 / d
    inverse[~np.isfinite(inverse)] = 1.0
    return LinearOperator(A.shape, matvec=lambda r: inverse * r.ravel(), dtype=inverse.dtype)


def no_worse_than_jacobi(A, M):
    b = np.random.default_rng(2504).standard_normal(A.shape[0])
    ours, theirs = (solve(A, b, M=P, method="gmres", maxiter=200) for P in (M, plain_jacobi(A)))
    assert ours.iterations <= theirs.iterations or not theirs.converged
    if not ours.converged:
        assert not theirs.converged
        assert ours.residual <= 1.1 * theirs.residual


def test_real_numbers_in_complex_storage_are_real():
    A = poisson(15)
    M = quiet("auto", A.astype(np.complex128))
    assert M.dtype == np.float64
    assert np.array_equal(M @ np.ones(225), quiet("auto", A) @ np.ones(225))


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("name", OTHER)
def test_a_named_model_refuses_what_it_does_not_cover(name, model):
    A = OTHER[name].make()
    if np.iscomplexobj(A):
        with pytest.raises(TypeError, match=r"must be real.*GMRES"):
            load(model, A)
        return
    A = checks.as_csr(A)
    if model == NONSYMMETRIC and is_covered(A):
        return
    # It is for GMRES, and there an indefinite A may be: with a warning that A is symmetric.
    if model == NONSYMMETRIC and np.all(A.diagonal() > 0):
        with pytest.warns(NeuprecondWarning, match="A is symmetric"):
            load(model, A)
        return
    # One level cannot know: a local matrix of an indefinite A may well be definite.
    if name in ("helmholtz", "indefinite-hidden", "indefinite-small") and model == ONE_LEVEL:
        return
    with pytest.raises(NotDefiniteError, match=r"GMRES|auto"):
        load(model, A)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("model", ["auto", *NAMES])
def test_no_matrices(name, model):
    case = REFUSED[name]
    with pytest.raises(case.error, match=case.words):
        load(model, case.make())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model", ["auto", *NAMES])
def test_storage_does_not_matter(form, model):
    """Not in the result, and A stays as it was."""
    A = poisson(16)
    r = np.random.default_rng(2505).standard_normal(256)
    expected = quiet(model, A) @ r
    other = FORMS[form].make(A)
    kept = pickle.dumps(other)
    assert np.array_equal(quiet(model, other) @ r, expected)
    assert pickle.dumps(other) == kept


@pytest.mark.parametrize("dtype", [np.bool_, np.float16, np.uint8, np.longdouble, ">f4", "<c16"])
def test_numbers_of_every_width(dtype):
    A = np.eye(130, dtype=dtype)
    for model in ("auto", MULTILEVEL):
        if np.dtype(dtype).kind == "c" and model != "auto":
            continue
        M = quiet(model, A)
        assert M.dtype == np.float64
        assert np.allclose(M @ np.ones(130), 1.0, rtol=0.3)


def test_memory_mapped_matrices(tmp_path):
    A = poisson(16)
    parts = []
    for name in ("data", "indices", "indptr"):
        np.save(tmp_path / f"{name}.npy", getattr(A, name))
        parts.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    mapped = sparse.csr_array(tuple(parts), shape=A.shape)
    np.save(tmp_path / "dense.npy", A.toarray())
    dense = np.load(tmp_path / "dense.npy", mmap_mode="r")
    r = np.ones(256)
    for other in (mapped, dense):
        assert np.array_equal(quiet("auto", other) @ r, quiet("auto", A) @ r)


def test_indices_out_of_range_are_noticed():
    A = poisson(16)
    A.indices[5] = 10**6
    with pytest.raises(ValueError, match="indices"):
        load("auto", A)


def damaged(form, what):
    """A matrix whose arrays were tampered with after it was made."""
    A = poisson(16).tobsr((2, 2)) if form == "bsr" else poisson(16).asformat(form)
    part, _, value = what.partition(" ")
    if part in ("indptr", "indices"):
        getattr(A, part)[3] = int(value)
    elif part == "coords":
        A.coords[0][3] = int(value)
    else:
        A.data = A.data[: int(value)]
    return A


@pytest.mark.parametrize(
    ("form", "what"),
    [
        *(
            (form, what)
            for form in ("csr", "csc", "bsr")
            for what in ("indptr 100000000", "indptr -5", "indices 100000000", "indices -1")
        ),
        *((form, "data -5") for form in ("csr", "csc", "bsr", "coo")),
        ("coo", "coords 100000000"),
        ("coo", "coords -1"),
    ],
)
def test_damaged_storage_is_noticed(form, what):
    """Before compiled loops follow an index out of its array."""
    for function in (lambda A: load("auto", A), lambda A: solve(A, np.ones(256), M="jacobi")):
        with pytest.raises(ValueError, match=r"indices|ind(ex|ptr)|length|size|damaged"):
            function(damaged(form, what))


def test_masked_entries_are_refused():
    dense = poisson(16).toarray()
    hole = np.ma.masked_greater(dense, 3.0)
    with pytest.raises(ValueError, match="A must have no masked entries, got 256"):
        load("auto", hole)
    whole = np.ma.masked_greater(dense, 9.0)
    r = np.ones(256)
    assert np.array_equal(quiet("auto", whole) @ r, quiet("auto", dense) @ r)
    with pytest.raises(ValueError, match="b must have no masked entries, got 1"):
        solve(dense, np.ma.masked_invalid(np.r_[np.nan, np.ones(255)]))
    with pytest.raises(ValueError, match="no masked entries"):
        load("auto", dense, B=np.ma.masked_equal(np.arange(256.0), 3.0))


@pytest.mark.parametrize("name", ["auto", "diffusion2d", "heat", "advection"])
def test_what_is_too_small_to_be_inverted_is_told(name):
    """One over the smallest subnormal is infinite, at 1e-300 everything is fine."""
    A = poisson(6) if name != "advection" else sparse.csr_array(sparse.tril(poisson(6)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(name, 5e-324 * A)
        told = [str(w.message) for w in caught]
        assert (
            sum("one over the diagonal of A overflows, it is 2.0e-323 in row 0" in t for t in told)
            == 1
        )
        caught.clear()
        M = load(name, 1e-300 * A)
        assert not any("overflows" in str(w.message) for w in caught)
    assert np.isfinite(M @ np.ones(36)).all()


def test_sums_that_overflow_are_noticed():
    A = sparse.coo_array(([1e308, 1e308, 1.0], ([0, 0, 1], [0, 0, 1])), shape=(2, 2))
    with pytest.raises(ValueError, match="infinity at row 0, column 0"):
        load("auto", A)


@pytest.mark.parametrize(
    ("B", "error", "words"),
    [
        (np.ones(5), ValueError, r"shape \(256, k\).*\(5,\)"),
        (np.ones((256, 0)), ValueError, r"\(256, 0\)"),
        (np.ones((2, 256)), ValueError, r"\(2, 256\)"),
        (np.ones((256, 2, 2)), ValueError, r"\(256, 2, 2\)"),
        (np.full(256, np.nan), ValueError, "finite"),
        (np.zeros((256, 1)), ValueError, "zero column, got one at 0"),
        (np.ones((256, 1)) * 1j, TypeError, "real numbers"),
        (sparse.csr_array(np.ones((256, 1))), TypeError, "toarray"),
        ("rigid", TypeError, "real numbers"),
    ],
    ids=["short", "none", "turned", "cube", "nan", "zero", "complex", "sparse", "string"],
)
@pytest.mark.parametrize("model", ["auto", MULTILEVEL])
def test_wrong_near_null_vectors(B, error, words, model):
    with pytest.raises(error, match=words):
        load(model, poisson(16), B=B)


# Checks of M.


@pytest.mark.parametrize("name", ["lognormal", "delaunay", "heat", "roads", "scaled-far"])
def test_expected_steps_are_those_of_cg(name):
    """Foretold from ten steps and counted to the end, for M and Jacobi."""
    A = checks.as_csr(DEFINITE[name].make())
    n = A.shape[0]
    x = np.random.default_rng(2506).standard_normal(n)
    scaled_A, s = unit_diagonal(A)
    for M in (quiet("auto", A), jacobi(A)):
        whole = expected_steps(A, M, x, steps=n)
        record = solve(scaled_A, scaled_A @ x, M=in_scaled_unknowns(M, s), rtol=1e-8)
        assert 0.5 * record.iterations - 1 <= whole <= 1.1 * record.iterations + 1
        # From a start that flatters: the smooth error is still to come.
        assert 0.1 * whole <= expected_steps(A, M, x, steps=10) <= 1.2 * whole + 1


def in_scaled_unknowns(M, s):
    return LinearOperator(M.shape, matvec=lambda r: (M @ (r.ravel() / s)) / s, dtype=float)


def test_the_probe_finds_indefinite_matrices():
    A = sparse.csr_array(poisson(6) - 0.6 * sparse.eye_array(36))
    M = sparse.eye_array(36)
    with pytest.raises(NotDefiniteError, match="CG found"):
        expected_steps(A, M, np.random.default_rng(2507).standard_normal(36), steps=36)


def untrained(tmp_path, size=20.0):
    """A weights file whose network was never trained."""
    rng = np.random.default_rng(2508)
    model = load_model(MULTILEVEL)
    weights = {
        key: value
        if key.startswith("pick.")
        else (size * rng.standard_normal(value.shape)).astype(np.float32)
        for key, value in sorted(model.weights.items())
    }
    path = tmp_path / "untrained.safetensors"
    save_model(Model(replace(model.card, name="untrained"), weights), path)
    return path


def test_probe_and_strict_through_load(tmp_path):
    path = untrained(tmp_path)
    A = problems.draw("fe2d", 40, np.random.default_rng(2509)).A
    assert load(path, A).learned
    with pytest.warns(
        NeuprecondWarning, match=r"promises [\d.]+ steps .* twin [\d.]+ on this A.*M is the twin"
    ):
        M = load(path, A, check="probe")
    assert not M.learned
    assert M.model == "untrained"
    assert np.array_equal(
        M @ A[[0]].toarray()[0], load(path, A, learned=False) @ A[[0]].toarray()[0]
    )
    with pytest.raises(ValueError, match="M is the twin"):
        load(path, A, check="strict")
    assert load(MULTILEVEL, A, check="strict").learned


@pytest.mark.parametrize("name", [*OTHER, *REAL_OTHER])
def test_auto_does_not_advise_auto(name):
    A = real(name) if name in REAL_OTHER else OTHER[name].make()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load("auto", A)
    with pytest.raises(ValueError, match="A") as refused:
        load("auto", A, check="strict")
    covered = is_covered(checks.as_csr(A, allow_complex=True))
    for text in (str(caught[0].message), str(refused.value)):
        assert 'load("auto"' not in text
        assert ("GMRES" if covered else "direct solver") in text
        assert ".." not in text


def test_errors_keep_their_advice_apart_and_pickle():
    with pytest.raises(NotDefiniteError) as refused:
        load(MULTILEVEL, OTHER["advection"].make())
    error = refused.value
    assert str(error) == f"{error.fact} {error.advice}"
    assert 'load("auto", A)' in error.advice
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def random_network(n, degree, seed):
    edges = np.random.default_rng(seed).integers(0, n, (n * degree // 2, 2))
    return grounded(laplacian(edges[edges[:, 0] != edges[:, 1]], n), 1e-3)


@pytest.mark.parametrize("learned", [True, False])
def test_coarse_matrices_that_would_fill_up_are_told_of(learned, monkeypatch):
    """A bound on memory, and a warning that says what was done to keep it and what it costs."""
    # Whatever the packaged pick would take.
    monkeypatch.setattr("neuprecond.zoo.model.pick_plan", lambda *_: "rs-w")
    A = random_network(3000, 16, 2217)
    with pytest.warns(NeuprecondWarning, match=r"fill up.*6 times A's entries.*diagnose\(A\)"):
        M = load("auto", A, learned=learned)
    assert M.operator_complexity <= 7.0
    assert M.density <= 30.0
    assert solve(A, np.ones(3000) - 1e-3, M=M).converged
    with pytest.raises(ValueError, match="fill up"):
        load("auto", A, learned=learned, check="strict")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load("auto", A, learned=learned, check=False)


def test_with_several_near_null_vectors_memory_is_bounded_too():
    n = 600
    A = random_network(n, 12, 2218)
    B = np.column_stack([np.ones(n), np.random.default_rng(7).standard_normal((n, 5))])
    M = quiet("auto", A, B=B)
    assert M.operator_complexity <= 7.0
    assert solve(A, np.ones(n), M=M).converged


def test_strict_does_not_fall_back():
    with pytest.raises(NotDefiniteError, match="positive diagonal"):
        load("auto", OTHER["saddle"].make(), check="strict")
    with pytest.raises(NotDefiniteError, match="complex"):
        load("auto", OTHER["complex"].make(), check="strict")


@pytest.mark.parametrize("check", [True, False, "probe", "strict"])
def test_the_twin_passes_every_check(check):
    M = load(MULTILEVEL, DEFINITE["lognormal"].make(), learned=False, check=check)
    assert not M.learned


@pytest.mark.parametrize("seed", [2514, 2515, 2516])
def test_a_covariance_gets_one_level(seed):
    """Its smooth vectors have the largest eigenvalues: levels would only cost."""
    problem = problems.draw("covariance", 1500, np.random.default_rng(seed))
    M = quiet("auto", problem.A)
    assert M.model == ONE_LEVEL
    assert not M.learned
    assert solve(problem.A, problem.b, M=M, maxiter=20).converged
    named = load(ONE_LEVEL, problem.A, learned=False)
    np.testing.assert_array_equal(M @ problem.b, named @ problem.b)


def test_small_covariances_are_inverted():
    A = problems.draw(
        "covariance", 90, np.random.default_rng(2514), parameters={"neighbours": 40}
    ).A
    M = quiet("auto", A)
    assert M.model == MULTILEVEL
    assert solve(A, np.ones(90), M=M).iterations == 1


def test_signs_make_no_covariance():
    """Poisson's matrix with every second unknown's sign turned has positive couplings only."""
    A = problems.draw("poisson2d", 40, np.random.default_rng(1)).A
    turn = sparse.diags_array((-1.0) ** (np.add.outer(np.arange(40), np.arange(40)).ravel()))
    assert choose(checks.as_csr(turn @ A @ turn)) == choose(checks.as_csr(A)) == MULTILEVEL


@pytest.mark.parametrize("family", load_model(MULTILEVEL).card.families)
def test_families_trained_on_are_inside(family):
    """Each is near to one of the groups, however far from the mean of all."""
    plane = problems.FAMILIES[family].dimension == "2-D"
    space = problems.FAMILIES[family].dimension == "3-D"
    rng = np.random.default_rng(2512)
    A = problems.draw(family, 12 if space else 60 if plane else 2500, rng).A
    outside, remarks = load_model(MULTILEVEL).outside(checks.as_csr(A))
    assert remarks == []
    assert len(outside) < 2


@pytest.mark.parametrize("family", ["gram", "dominant", "capped"])
def test_matrices_without_a_grid_are_outside(family):
    A = problems.draw(family, 3000, np.random.default_rng(2513)).A
    outside, remarks = load_model(MULTILEVEL).outside(checks.as_csr(A))
    assert len(outside) >= 2
    assert "trained on" in remarks[0]


def test_weights_without_groups_know_one_of_all():
    """As those of before there were groups, and of nonsymmetric models."""
    model = load_model(MULTILEVEL)
    weights = {k: v for k, v in model.weights.items() if k not in ("pick.centres", "pick.spreads")}
    old = replace(model, weights=weights)
    poisson = checks.as_csr(problems.draw("poisson2d", 60, np.random.default_rng(1)).A)
    other = checks.as_csr(problems.draw("covariance", 3000, np.random.default_rng(2510)).A)
    assert old.outside(poisson) == ([], [])
    assert len(old.outside(other)[0]) >= 2
    assert model.outside(other) == ([], [])


def test_outside_of_the_trained_range_a_named_model_says_so():
    A = problems.draw("gram", 2000, np.random.default_rng(2510)).A
    with pytest.warns(NeuprecondWarning, match=r"in \d+ of 55 statistics.*trained on .* ± "):
        load(MULTILEVEL, A)
    with pytest.raises(ValueError, match="lies outside"):
        load(MULTILEVEL, A, check="strict")
    with pytest.warns(NeuprecondWarning, match="lies outside"):
        load_model(MULTILEVEL).precondition(A)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(MULTILEVEL, A, check=False)
        load("auto", A)


def test_one_level_says_where_it_will_be_slow():
    with pytest.warns(NeuprecondWarning, match=r"of one level.*row of A"):
        load(ONE_LEVEL, poisson(40))


@pytest.mark.parametrize("name", NAMES)
def test_no_warning_on_the_families_of_the_card(name):
    for family in load_model(name).card.families:
        test = problems.split(family, "test")
        for seed in test.seeds[:2]:
            A = problems.draw(family, test.sizes[0], np.random.default_rng(seed)).A
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                load(name, A)


# What the packaged weights claim.


@pytest.mark.parametrize("name", NAMES)
def test_the_cards_claims_on_small_problems(name):
    """Learned against twin over the families of the card, on seeds kept for tests."""
    model = load_model(name)
    ratios = []
    for family in model.card.families:
        test = problems.split(family, "test")
        size = test.sizes[min(1, len(test.sizes) - 1)]
        problem = problems.draw(family, size, np.random.default_rng(test.seeds[7]))
        if problem.A.shape[0] > 20_000:
            continue
        count = [
            solve(
                problem.A,
                problem.b,
                # Networks with hubs fill up, which build remarks on.
                M=model.build(problem.A, learned=learned)[0],
                method="gmres" if name == NONSYMMETRIC else "cg",
            ).iterations
            for learned in (True, False)
        ]
        assert count[0] <= 1.3 * count[1] + 1, (family, count)
        ratios.append(count[0] / count[1])
    claimed = model.card.validation["learned_over_twin"]
    measured = float(np.exp(np.mean(np.log(ratios))))
    assert measured <= max(claimed + 0.05, 1.02)


@pytest.mark.parametrize("name", NAMES)
def test_packaged_weights_are_sound(name):
    model = load_model(name)
    assert all(np.isfinite(value).all() for value in model.weights.values())
    assert sum(value.nbytes for value in model.weights.values()) < 1_000_000
    assert {"seed", "seconds", "device", "versions", "mix"} <= set(model.card.training)
    assert {"learned_over_twin", "iterations"} <= set(model.card.validation)


# Files.


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(tmp_path, name):
    model = load_model(name)
    path = tmp_path / "deep" / "copy.safetensors"
    save_model(model, path)
    again = load_model(path)
    assert again.card == model.card
    assert set(again.weights) == set(model.weights)
    for key, value in model.weights.items():
        assert np.array_equal(again.weights[key], value)
    r = np.ones(400)
    assert np.array_equal(quiet(path, poisson(20)) @ r, quiet(name, poisson(20)) @ r)
    assert np.array_equal(quiet(str(path), poisson(20)) @ r, quiet(name, poisson(20)) @ r)
    assert sorted(p.name for p in path.parent.iterdir()) == ["copy.safetensors", "copy.toml"]
    with pytest.raises(ValueError, match=r"\.safetensors"):
        save_model(model, tmp_path / "copy.pt")


def written(tmp_path, content, name=MULTILEVEL, **changes):
    """A weights file with that content and a card that vouches for it."""
    import hashlib

    path = tmp_path / "some.safetensors"
    path.write_bytes(content)
    card = replace(load_model(name).card, sha256=hashlib.sha256(content).hexdigest(), **changes)
    path.with_suffix(".toml").write_text(write_card(card))
    return path


def refused(path, words=""):
    """A WeightsError, within a few megabytes."""
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=words or None):
            load(path, poisson(12))
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()


def good(name=MULTILEVEL):
    return packaged()[name].read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_noticed_by_the_sum(tmp_path, name):
    """Bit flips and truncations, with the card that belongs to the whole file."""
    content = good(name)
    path = tmp_path / "some.safetensors"
    card = packaged()[name].with_suffix(".toml").read_text()
    path.with_suffix(".toml").write_text(card)
    rng = np.random.default_rng(2511)
    for at in rng.integers(0, len(content), 40):
        flipped = bytearray(content)
        flipped[at] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(flipped))
        refused(path, "damaged")
    for length in (0, 1, 7, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(path, "damaged")
    path.write_bytes(content + b"\0")
    refused(path, "damaged")


@pytest.mark.parametrize("name", NAMES)
def test_flips_that_the_card_vouches_for(tmp_path, name):
    """Weights that somebody changed on purpose: an error, or a model that is still sound."""
    content = good(name)
    header = int.from_bytes(content[:8], "little") + 8
    rng = np.random.default_rng(2512)
    A = poisson(14)
    places = [*range(8), *rng.integers(8, header, 60), *rng.integers(header, len(content), 40)]
    for at in places:
        flipped = bytearray(content)
        flipped[at] ^= 1 << rng.integers(8)
        path = written(tmp_path, bytes(flipped), name)
        try:
            M = quiet(path, A)
        except WeightsError:
            continue
        assert M.learned
        assert np.isfinite(M @ np.ones(196)).all()
        assert np.ones(196) @ (M @ np.ones(196)) > 0
    for length in (0, 1, 7, 8, 100, header, len(content) - 4):
        refused(written(tmp_path, content[:length], name))


def header_of(table, payload=b"1234"):
    text = json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + payload


def tensor(shape, start, stop, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


LIES = {
    "header-2^63": (2**63).to_bytes(8, "little") + b"{}",
    "header-2^40": (2**40).to_bytes(8, "little") + b"{}",
    "tensor-2^40": header_of({"a": tensor([2**40], 0, 2**42)}),
    "shape-overflows": header_of({"a": tensor([2**62, 2**62], 0, 0)}),
    "negative": header_of({"a": tensor([-1], 0, 4)}),
    "backwards": header_of({"a": tensor([1], 4, 0)}),
    "unknown-dtype": header_of({"a": tensor([1], 0, 4, "F33")}),
    "overlapping": header_of({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}),
    "list": header_of([]),
    "empty-table": header_of({}, b""),
    "nested": (10_000).to_bytes(8, "little") + b"[" * 10_000,
    "not-utf8": b"\x10\0\0\0\0\0\0\0" + b"\xff" * 16,
    "zip": b"PK\x03\x04" + b"\0" * 100,
    "npy": b"\x93NUMPY" + b"\0" * 100,
    "empty": b"",
}


@pytest.mark.parametrize("name", LIES)
def test_lying_headers(tmp_path, name):
    refused(written(tmp_path, LIES[name]))


@pytest.mark.parametrize("name", NAMES)
def test_other_shapes_names_and_values(tmp_path, name):
    weights = dict(load_model(name).weights)
    key = sorted(weights)[-1]
    lacking = {k: v for k, v in weights.items() if k != key}
    for changed, words in (
        (lacking, "lack"),
        ({**weights, "spy": np.zeros(3, np.float32)}, "unknown"),
        ({**weights, key: weights[key][..., :-1]}, "shape"),
        ({**weights, key: weights[key].astype(np.float64)}, "float32"),
        ({**weights, key: weights[key].astype(np.float16)}, "float32"),
        ({**weights, key: np.full_like(weights[key], np.nan)}, "NaN"),
        ({**weights, key: np.full_like(weights[key], np.inf)}, "NaN or an infinity"),
        ({k: v.T for k, v in weights.items()}, "shape"),
        ({"model.embed": np.zeros((10, 10), np.float32)}, "lack"),
    ):
        content = save({k: np.ascontiguousarray(v) for k, v in changed.items()})
        refused(written(tmp_path, content, name), words)


class Spy:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_not_unpickled(tmp_path):
    trace = tmp_path / "trace"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        refused(written(tmp_path, pickle.dumps(Spy(trace), protocol)))
    for suffix in (".pt", ".pkl", ".npz", ""):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(pickle.dumps(Spy(trace)))
        refused(path)
    assert not trace.exists()


def test_nothing_here_can_unpickle():
    """Neither weights nor cards go through a module that runs code from a file."""
    for source in (Path(__file__).parents[1] / "neuprecond" / "zoo").glob("*.py"):
        text = source.read_text(encoding="utf-8")
        for word in (
            "import pickle",
            "torch.load",
            "np.load",
            "numpy.load",
            "eval(",
            "exec(",
            "yaml",
        ):
            assert word not in text, (source, word)
        for word in ("urllib", "requests", "socket", "http"):
            assert word not in text, (source, word)


def test_missing_files(tmp_path):
    path = tmp_path / "gone.safetensors"
    refused(path, "found no|no weights file")
    refused(str(path), "found no|no weights file")
    path.write_bytes(good())
    refused(path, "need a card")
    refused(tmp_path, "")


CARD_CHANGES = {
    "newer": (("format = 1", f"format = {FORMAT + 1}"), "Install a newer neuprecond"),
    "format-text": (("format = 1", 'format = "1"'), "format as an integer"),
    "format-huge": (("format = 1", "format = 99999999999999999999"), ""),
    "format-bool": (("format = 1", "format = true"), "format as an integer"),
    "no-format": (("format = 1\n", ""), "format as an integer"),
    "kind": (('kind = "multilevel"', 'kind = "magic"'), "kind must be one of"),
    "kind-other": (('kind = "multilevel"', 'kind = "spai"'), "other"),
    "no-name": ((f'name = "{MULTILEVEL}"\n', ""), "must hold 'name'"),
    "name-number": ((f'name = "{MULTILEVEL}"', "name = 3"), "must hold 'name'"),
    "width": (("width = ", "width = 1"), ""),
    "width-huge": (("width = ", "width = 9999999"), "width must be"),
    "width-negative": (("width = ", "width = -"), "width must be"),
    "rounds-huge": (("rounds = ", "rounds = 9999999"), "rounds must be"),
    "rounds-text": (("rounds = ", 'rounds = "3" # '), "rounds must be"),
    "feature": (('"row sum"', '"row product"'), "other nodes"),
    "statistic": (('"mean degree"', '"mean temper"'), "other statistics"),
    "plan": (('"rs10"', '"rs-deluxe"'), "other plans"),
    "unknown-entry": (('licence = ', 'licensed = true\nlicence = '), "unknown entries: licensed"),
    "no-toml": (("[network]", "[network"), "not valid TOML"),
    "sum": (('sha256 = "', 'sha256 = "0'), "not the one its card describes"),
    "unknowns": (("unknowns = [", "unknowns = [1,"), "two numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", CARD_CHANGES)
def test_changed_cards(tmp_path, name):
    (old, new), words = CARD_CHANGES[name]
    path = tmp_path / "some.safetensors"
    path.write_bytes(good())
    card = packaged()[MULTILEVEL].with_suffix(".toml").read_text()
    assert old in card
    path.with_suffix(".toml").write_text(card.replace(old, new, 1))
    refused(path, words)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"format = 1", b"[" * 5000, b"\0" * 99])
def test_foreign_cards(tmp_path, content):
    path = tmp_path / "some.safetensors"
    path.write_bytes(good())
    path.with_suffix(".toml").write_bytes(content)
    refused(path)


def test_random_edits_of_the_card(tmp_path):
    """Whatever a line turns into: an error of ours, or the model that it was."""
    path = tmp_path / "some.safetensors"
    path.write_bytes(good())
    card = packaged()[MULTILEVEL].with_suffix(".toml").read_text()
    lines = card.splitlines()
    rng = np.random.default_rng(2513)
    for _ in range(60):
        changed = list(lines)
        at = int(rng.integers(len(lines)))
        head = lines[at].split(" = ")[0]
        changed[at] = head + " = " + rng.choice(["[]", "{}", "-1", '""', "nan", "1e400", "true"])
        path.with_suffix(".toml").write_text("\n".join(changed))
        try:
            assert isinstance(load_model(path), Model)
        except WeightsError:
            continue


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = written(tmp_path, good())
    with path.open("r+b") as file:
        file.truncate(2**33)
    refused(path, "more than any model")


def test_cards_are_toml_and_come_back(tmp_path):
    for name in NAMES:
        card = load_model(name).card
        path = tmp_path / "card.toml"
        path.write_text(write_card(card))
        assert tomllib.loads(path.read_text())["name"] == name
        assert read_card(path) == card


# What load leaves alone.


def test_global_state_is_left_alone():
    """NumPy's global generator, warning filters, error state, print options."""
    np.random.seed(2514)  # noqa: NPY002
    state = np.random.get_state()  # noqa: NPY002
    filters, errors = list(warnings.filters), np.geterr()
    for A in (DEFINITE["anisotropic"].make(), OTHER["advection"].make(), poisson(30)):
        quiet("auto", A, check="probe")
    model = load_model(MULTILEVEL)
    for plan in ("min-f", "sa", "rs10"):
        model.precondition(poisson(20), plan=plan)
    after = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(state[1], after[1])
    assert state[2:] == after[2:]
    assert warnings.filters == filters
    assert np.geterr() == errors


def test_nothing_heavy_is_imported():
    code = (
        "import sys, neuprecond\n"
        "heavy = {'torch', 'torch_geometric', 'matplotlib', 'skfem', 'pyamg', 'numba', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "import numpy as np\n"
        "neuprecond.models()\n"
        "neuprecond.load('auto', np.eye(3))\n"
        "neuprecond.solve(np.eye(3), np.ones(3))\n"
        "assert not {'torch', 'torch_geometric', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_nothing_is_printed(capfd):
    for name in ("elasticity2d", "gram", "random-357", "anisotropic", "star"):
        quiet("auto", DEFINITE[name].make(), check="probe")
    for name in ("saddle", "zero-matrix"):
        quiet("auto", OTHER[name].make())
    assert capfd.readouterr() == ("", "")


def test_the_warning_points_at_the_caller():
    A = OTHER["saddle"].make()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load("auto", A)
    assert [Path(w.filename).name for w in caught] == ["test_zoo.py"]


def test_fall_back_is_linear_and_the_same_each_time():
    A = checks.as_csr(OTHER["advection"].make())
    M, N = fall_back(A), fall_back(A)
    r = np.random.default_rng(2515).standard_normal((A.shape[0], 2))
    assert np.array_equal(M @ r, N @ r)
    assert np.allclose(M @ (r[:, 0] - 3.0 * r[:, 1]), M @ r[:, 0] - 3.0 * (M @ r[:, 1]))


def test_a_file_from_disk(tmp_path):
    """The first example of the README."""
    scipy.io.mmwrite(tmp_path / "plate.mtx", poisson(20))
    A = scipy.io.mmread(tmp_path / "plate.mtx", spmatrix=False).tocsr()
    assert solve(A, np.ones(400), M=load("auto", A)).converged
