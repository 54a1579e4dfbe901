"""`diagnose`: what it says is true of matrices whose nature is known, and it never falls over."""

import json
import re
import warnings

import numpy as np
import pytest
from cases import (
    DEFINITE,
    FORMS,
    NEAR_NULL,
    OTHER,
    REAL_DEFINITE,
    REAL_OTHER,
    REFUSED,
    SINGULAR,
    laplacian,
    path,
    poisson,
    read_real,
    rescaled,
    spread,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import neuprecond
from neuprecond import expected, problems
from neuprecond.diagnosis import diagnose, light_cone
from neuprecond.hierarchy import unit_diagonal
from neuprecond.report.counts import Counts
from neuprecond.report.distil import SAME, coverage
from neuprecond.spectrum import ends

KNOWN = {name: case.make for name, case in (DEFINITE | SINGULAR | OTHER).items()}


def drawn(family: str, size: int, seed: int = 4401, **parameters: object) -> sparse.csr_array:
    return problems.draw(family, size, np.random.default_rng(seed), parameters=parameters).A


def sound(found) -> None:
    """What holds of every diagnosis."""
    assert found.positive_diagonal + found.negative_diagonal + found.zero_diagonal == found.n
    assert 1 <= found.components <= found.n
    assert 0.0 <= found.dominant_rows <= 1.0
    assert found.recommendation.endswith(".")
    assert [model.model for model in found.models] == [c.name for c in neuprecond.models()]
    assert sum(model.chosen for model in found.models) <= 1
    for told in found.expected:
        assert 1.0 <= told.low <= told.iterations <= told.high
    for model in found.models:
        assert model.covers == (not model.reason)
    if np.isfinite(found.kappa):
        assert 1.0 - 1e-9 <= found.kappa_low <= found.kappa <= found.kappa_high * (1 + 1e-9)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()
    text = str(found)
    assert found.recommendation in text
    assert not re.search(r"\bnan\b", text)
    assert found.__rich__().row_count == len(found.lines())


# Every kind of matrix.


def turning(n):
    """Nonsymmetric, with a diagonal of both signs, which no flow has."""
    values = np.full(n - 1, 0.4)
    signs = np.where(np.arange(n) % 3, 1.0, -1.0)
    return sparse.diags_array([-values, signs, values], offsets=[-1, 0, 1]).tocsr()


@pytest.mark.parametrize("name", KNOWN)
def test_every_named_matrix(name):
    A = KNOWN[name]()
    found = diagnose(A)
    sound(found)
    dense = A.toarray() if sparse.issparse(A) else np.asarray(A)
    assert found.n == len(dense)
    assert found.nnz == np.count_nonzero(dense)
    if name in DEFINITE:
        assert found.definiteness == "positive definite"
        assert any(model.chosen for model in found.models)
    elif name in SINGULAR:
        assert found.definiteness == "positive semidefinite"
        assert found.null_vectors == found.components
    else:
        assert not any(m.covers for m in found.models if m.kind != "nonsymmetric")
        assert not found.expected


@pytest.mark.parametrize("name", [n for n in KNOWN if n not in ("identity", "diagonal")])
def test_definiteness_is_that_of_the_eigenvalues(name):
    A = KNOWN[name]()
    dense = A.toarray() if sparse.issparse(A) else np.asarray(A)
    d = np.abs(np.diagonal(dense))
    s = 1.0 / np.sqrt(np.where(d > 0, d, 1.0))
    with np.errstate(all="ignore"):
        H = s[:, None] * dense * s
    H = 0.5 * (H + H.conj().T)
    values = np.linalg.eigvalsh(H)
    found = diagnose(A)
    small = 1e-11 * abs(values).max(initial=1.0)
    assert {
        "positive definite": values[0] > 0,
        "positive semidefinite": abs(values[0]) <= small,
        "indefinite": values[0] < 0 < values[-1],
        "negative definite": values[-1] < 0,
        "unknown": False,
    }[found.definiteness]
    if found.definiteness == "positive definite":
        assert found.kappa == pytest.approx(values[-1] / values[0], rel=0.05)


@pytest.mark.parametrize("name", [*REAL_DEFINITE, *REAL_OTHER])
def test_real_matrices(name):
    found = diagnose(read_real(name))
    sound(found)
    assert (found.definiteness == "positive definite" and found.symmetric) == (
        name in REAL_DEFINITE
    )


@pytest.mark.parametrize("name", DEFINITE)
def test_the_negative_is_negative(name):
    A = DEFINITE[name].make()
    found, other = diagnose(A), diagnose(-A)
    assert other.definiteness == "negative definite"
    assert other.kappa == found.kappa
    assert other.expected == found.expected
    assert [m.covers for m in other.models] == [m.covers for m in found.models]


@pytest.mark.parametrize("form", FORMS)
def test_storage_does_not_matter(form):
    A = poisson(14)
    assert diagnose(FORMS[form].make(A)) == diagnose(A)


@pytest.mark.parametrize("name", REFUSED)
def test_no_matrices(name):
    case = REFUSED[name]
    with pytest.raises(case.error, match=case.words):
        diagnose(case.make())


def test_near_null_vectors_are_checked():
    with pytest.raises(ValueError, match="must have shape"):
        diagnose(poisson(5), B=np.ones(7))


@pytest.mark.parametrize("name", NEAR_NULL)
def test_near_null_vectors_are_tried(name):
    A, B = NEAR_NULL[name].make()
    found = diagnose(A, B)
    sound(found)
    assert sum(v.name.startswith("B, column") for v in found.near_null) == B.shape[1]
    assert all(v.quotient >= found.smallest_eigenvalue * (1 - 1e-6) for v in found.near_null)


def test_rigid_body_modes_are_nearly_null_and_asked_for():
    problem = problems.draw("elasticity2d", 40, np.random.default_rng(4402))
    without, given = diagnose(problem.A), diagnose(problem.A, problem.B)
    assert without.block_size == 2
    assert "near-null vectors" in without.recommendation
    assert 'load("auto", A, B=B)' in given.recommendation
    assert max(v.residual for v in given.near_null if v.name.startswith("B")) < 1e-10


# Laws.


@pytest.mark.parametrize("name", ["poisson2d", "lognormal", "attachment", "gram", "dominant"])
def test_scaling_on_both_sides_changes_no_number_of_the_scaled_matrix(name):
    A = DEFINITE[name].make()
    found = diagnose(A)
    other = diagnose(rescaled(A, 2.0 ** np.round(np.log2(spread(A.shape[0], 3)))))
    assert other.kappa == pytest.approx(found.kappa, rel=1e-6)
    assert other.definiteness == found.definiteness
    assert other.components == found.components
    assert other.diagonal_decades > found.diagonal_decades + 2


@pytest.mark.parametrize("name", ["poisson2d", "lognormal", "capped", "roads"])
def test_a_multiple_is_the_same_kind(name):
    A = DEFINITE[name].make()
    found, other = diagnose(A), diagnose(A * 1024.0)
    assert other.expected == found.expected
    assert other.recommendation == found.recommendation


def test_renumbering_keeps_what_does_not_depend_on_order():
    A = drawn("lognormal", 40)
    order = np.random.default_rng(5).permutation(A.shape[0])
    found, other = diagnose(A), diagnose(sparse.csr_array(A[order][:, order]))
    assert other.kappa == pytest.approx(found.kappa, rel=0.02)
    assert other.dominant_rows == found.dominant_rows
    assert other.components == found.components


def test_a_is_not_changed_and_the_answer_is_the_same_again():
    A = drawn("channels", 30)
    before, state = A.copy(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert diagnose(A) == diagnose(A)
    assert abs(A - before).nnz == 0
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_nothing_is_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("scaled-far", "tiny", "huge", "huge-nonsymmetric", "zero-matrix", "penalty"):
            diagnose(KNOWN[name]())


# What it finds.


def test_symmetry_is_measured():
    A = sparse.lil_array(poisson(8))
    A[0, 1] += 0.25
    found = diagnose(A)
    assert not found.symmetric
    assert found.asymmetry == pytest.approx(0.25 / 4)
    assert "not symmetric" in found.recommendation


def test_blocks():
    blocks = sparse.csr_array(sparse.kron(poisson(9), np.ones((3, 3)) + 3 * np.eye(3)))
    assert diagnose(blocks).block_size == 3
    assert diagnose(poisson(12)).block_size == 1
    assert diagnose(np.ones((12, 12)) + 12 * np.eye(12)).block_size == 1


def test_components_and_isolated_unknowns():
    A = sparse.block_diag([poisson(5), np.eye(4), path(7)])
    found = diagnose(A)
    assert (found.components, found.isolated, found.largest_component) == (6, 4, 25)


def test_dominance():
    assert diagnose(np.array([[4.0, 1.0], [1.0, 4.0]])).dominance == pytest.approx(0.75)
    hidden = rescaled(sparse.csr_array([[4.0, 1.0], [1.0, 4.0]]), np.array([1.0, 1e4]))
    found = diagnose(hidden)
    assert found.dominant_rows == 0.5
    assert found.dominance == pytest.approx(0.75)


def test_scaling_range():
    A = sparse.diags_array([1e-3, 1.0, 1e5]).tocsr()
    assert diagnose(A).diagonal_decades == pytest.approx(8)


def test_condition_of_a_singular_matrix_is_that_of_the_rest():
    A = laplacian([(i, (i + 1) % 90) for i in range(90)], 90)
    found = diagnose(A)
    assert found.null_vectors == 1
    assert found.kappa == pytest.approx(2 / (1 - np.cos(2 * np.pi / 90)), rel=0.01)


def test_uncertainty_is_told_where_lanczos_did_not_settle():
    found = diagnose(drawn("gram", 4096, alpha=1e-6))
    assert found.kappa_high == np.inf
    assert "had not settled" in found.evidence
    assert found.to_dict()["kappa_high"] is None


def test_models_that_do_not_cover_say_what_lies_outside():
    found = diagnose(drawn("gram", 4096, alpha=1.0))
    several = {model.model: model for model in found.models}["diffusion2d"]
    near = diagnose(drawn("lognormal", 64))
    covering = {model.model: model for model in near.models}["diffusion2d"]
    assert covering.covers
    assert covering.chosen
    assert not covering.outside
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        neuprecond.load("auto", drawn("gram", 4096, alpha=1.0))
    # What diagnose says of the range is what load does.
    assert several.covers == (not any("outside of" in str(w.message) for w in caught))


@pytest.mark.parametrize("family", ["lognormal", "gram", "poisson3d", "capped", "attachment"])
def test_coverage_agrees_with_what_load_warns_of(family):
    size = {"lognormal": 50, "poisson3d": 12}.get(family, 1500)
    A = drawn(family, size)
    for model in diagnose(A).models:
        name = "auto" if model.chosen else model.model
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            M = neuprecond.load(name, A)
        assert M.model == model.model
        told = [str(w.message) for w in caught]
        if family == "gram":
            # That coarse matrices fill up is found out on the way only.
            told = [words for words in told if "coarse matrices of A fill up" not in words]
        assert told == ([model.reason] if model.reason else [])


# What it foretells.


def test_the_table_is_that_of_the_map():
    """If this fails, the map was drawn anew: run `python -m neuprecond.report.distil`."""
    folder = "datasets/results/map"
    counts = Counts.read(folder)
    runs = {
        (
            run.line,
            str(run.unknowns),
            "" if np.isnan(run.value) else f"{run.value:g}",
            run.seed,
        ): run
        for run in counts.runs
        if run.preconditioner == "ic0" and not run.variant
    }
    head, *_ = expected.TABLE.read_text(encoding="utf-8").partition("family,")
    for key in ("date", "versions", "models"):
        assert f"# {key}: {counts.head[key]}\n" in head
    import csv

    with expected.TABLE.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert len(table) > 200
    for row in table:
        run = runs[row["line"], row["unknowns"], row["value"], int(row["seed"])]
        assert row["ic0"] == (str(max(run.iterations, 1)) if run.converged else "")
        assert row["family"] == SAME.get(run.line, run.line)


def test_bands_hold_with_families_left_out():
    found = coverage()
    assert set(found) == set(expected.METHODS)
    for method, (known, share, factor) in found.items():
        assert known > 50
        assert share > 0.88, method
        assert factor < 1.4, method


@pytest.mark.parametrize(
    ("family", "size", "seed"),
    [("lognormal", 100, 7_100_001), ("channels", 90, 7_100_002), ("delaunay", 6000, 7_100_003)],
)
def test_what_is_foretold_comes_true_on_new_problems(family, size, seed):
    problem = problems.draw(family, size, np.random.default_rng(seed))
    told = {e.method: e for e in diagnose(problem.A).expected}
    makes = {
        "jacobi": lambda: "jacobi",
        "ic0": lambda: "ic0",
        "twin": lambda: neuprecond.load("auto", problem.A, learned=False),
        "learned": lambda: neuprecond.load("auto", problem.A),
    }
    for method, make in makes.items():
        count = neuprecond.solve(problem.A, problem.b, M=make()).iterations
        # A count is a whole number.
        assert np.floor(told[method].low) <= count <= np.ceil(told[method].high), method


def test_features_are_finite_and_scale_free():
    for name in ("one", "identity", "scaled-far", "complete", "hilbert"):
        A = DEFINITE[name].make()
        x = expected.features(A, ends(unit_diagonal(A)[0], count=True))
        assert x.shape == (len(expected.FEATURES),)
        assert np.isfinite(x).all()


# Bounds.


@pytest.mark.parametrize("n", [60, 201])
def test_light_cone_is_below_what_cg_takes(n):
    A = path(n)
    smallest = 1 - np.cos(np.pi / (n + 1))
    v = np.ones(n)
    for reach, M in ((0, "jacobi"), (2, neuprecond.load("heat", A, check=False))):
        bound = light_cone(A, smallest, reach=reach)
        record = neuprecond.solve(A, A @ v, M=M)
        assert record.converged
        assert 0 < bound <= record.iterations
    # Jacobi meets it: two fronts run to the middle.
    assert light_cone(A, smallest, reach=0) >= n // 2


def test_light_cone_in_the_plane():
    A = poisson(40)
    bound = light_cone(A, 0.002, reach=0)
    assert 10 < bound <= neuprecond.solve(A, A @ np.ones(1600), M="jacobi").iterations


def test_no_light_cone_where_b_is_everywhere():
    A = sparse.csr_array(poisson(20) + sparse.eye_array(400))
    assert light_cone(A, 0.1, reach=0) == 0


def test_norm_budget_is_a_law():
    A = unit_diagonal(drawn("lognormal", 24))[0]
    dense = A.toarray()
    smallest = np.linalg.eigvalsh(dense)[0]
    found = {b.name: b for b in diagnose(drawn("lognormal", 64)).bounds}["norm budget"]
    assert found.value > 20
    rng = np.random.default_rng(6)
    for scale in (0.1, 1.0, 10.0):
        C = rng.standard_normal(dense.shape)
        M = scale * (C @ C.T) / np.linalg.norm(C @ C.T, 2)
        left = np.linalg.norm(np.eye(len(M)) - M @ dense, 2)
        assert left >= 1 - smallest * np.linalg.norm(M, 2) - 1e-12


# Advice.


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: poisson(20), "direct solver"),
        (lambda: sparse.eye_array(5000).tocsr(), "Divide by the diagonal"),
        (lambda: drawn("heat", 70, kappa=5.0), "IC(0)"),
        (lambda: drawn("dominant", 5000, margin=1.5), "IC(0)"),
        (lambda: drawn("lognormal", 100, sigma=1.0), 'Use load("auto", A) with CG'),
        (lambda: drawn("gram", 4096, alpha=1e-6), "direct solver"),
        (lambda: drawn("roads", 4000), 'load("auto", A)'),
        (lambda: path(5000), "nearly a tree or a line"),
        (lambda: drawn("advection", 60), 'load("advection", A) with GMRES'),
        (lambda: turning(4096), "GMRES with incomplete LU"),
        (lambda: drawn("helmholtz", 60, waves=4.0), "indefinite"),
        (lambda: drawn("saddle", 16), "direct solver"),
        (lambda: poisson(60) * (1 + 1j), "complex"),
        (lambda: KNOWN["zero-row"](), "rows without an entry"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_advice(make, words):
    assert words in diagnose(make()).recommendation


def test_pyamg_is_advised_where_it_is_expected_to_be_better():
    """Which of these it is depends on what was measured; on one of them at least it is."""
    advised = []
    for A in (drawn("twophase", 110, contrast=1e6), drawn("gram", 4096, alpha=1e-2)):
        found = diagnose(A)
        told = {e.method: e.iterations for e in found.expected}
        advised.append("Use PyAMG" in found.recommendation)
        assert advised[-1] == (told["pyamg"] * 1.15 < told["learned"])
    assert any(advised)


# Anything at all.


@st.composite
def matrices(draw):
    n = draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    A = sparse.random_array((n, n), density=draw(st.floats(0, 0.6)), rng=rng).toarray()
    A = A * 10.0 ** rng.uniform(-1, 1, A.shape) ** draw(st.sampled_from([1, 3]))
    kind = draw(st.sampled_from(["any", "symmetric", "definite", "skew", "complex", "integers"]))
    if kind in ("symmetric", "definite"):
        A = A + A.T
    if kind == "definite":
        A = A + np.diag(np.abs(A).sum(axis=1) + 1.0)
    if kind == "skew":
        A = A - A.T
    if kind == "complex":
        A = A * np.exp(1j * rng.uniform(0, 6.28, A.shape))
    if kind == "integers":
        A = np.round(10 * A).astype(int)
    return sparse.csr_array(A)


@settings(max_examples=150, deadline=None)
@given(matrices())
def test_any_matrix_at_all(A):
    found = diagnose(A)
    sound(found)
    if found.symmetric and not found.is_complex and found.definiteness == "positive definite":
        M = neuprecond.load("auto", A, check=False)
        assert M.kind != "classical"
