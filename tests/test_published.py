"""Problems rebuilt from papers keep their promises, and the published table is the measured one."""

import importlib.util
import sys
from functools import partial

import numpy as np
import pytest
from pages import ROOT

from neuprecond import problems

RESULTS = ROOT / "datasets" / "results"
KINDS = ["diffusion", "poisson", "heat"]
SEEDS = [17, 23]


@pytest.fixture
def script(monkeypatch):
    """Load one of the scripts beside the measured tables; they import each other by name."""
    monkeypatch.syspath_prepend(str(RESULTS))

    def load(name):
        for other in ("measure", "table", "rebuilt", "published"):
            monkeypatch.delitem(sys.modules, other, raising=False)
        spec = importlib.util.spec_from_file_location(name, RESULTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def draws(script):
    rebuilt = script("rebuilt")
    return {
        "diffusion": partial(rebuilt.diffusion, 14, variance=1.1),
        "poisson": partial(rebuilt.poisson, 600),
        "heat": partial(rebuilt.heat, 600),
    }


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_rebuilt_matrices_are_symmetric_positive_definite(draws, kind, seed):
    A = draws[kind](rng=np.random.default_rng(seed)).problem.A
    assert (A != A.T).nnz == 0
    assert np.linalg.eigvalsh(A.toarray())[0] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_draws_the_same_bytes(draws, kind):
    one, same, other = (draws[kind](rng=np.random.default_rng(s)) for s in (17, 17, 23))
    for name in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(one.problem.A, name), getattr(same.problem.A, name))
    for ours, again in ((one.b, same.b), (one.x0, same.x0), (one.problem.b, same.problem.b)):
        assert np.array_equal(ours, again)
    assert one.problem.A.shape != other.problem.A.shape or (one.problem.A != other.problem.A).nnz


def test_diffusion_keeps_its_contrast_and_conserves_inside(script):
    rebuilt = script("rebuilt")
    size = 24
    instance = rebuilt.diffusion(
        size, np.random.default_rng(17), variance=1.1, contrast=(60.0, 200.0)
    )
    A = instance.problem.A
    sums = (A @ np.ones(size**2)).reshape(size, size)
    assert np.abs(sums[1:-1, 1:-1]).max() < 1e-12 * np.abs(A.diagonal()).max()
    assert (sums[0] > 0).all()
    # Each coupling is the mean of two cells, so the couplings' contrast is at most the cells'.
    off = -A.data[A.data < 0]
    assert 10 < off.max() / off.min() <= 200
    assert (instance.rtol, instance.atol) == (0.0, 1e-6)


def test_the_field_has_the_covariance_it_says(script):
    rebuilt = script("rebuilt")
    rng = np.random.default_rng(17)
    fields = np.stack([rebuilt._gaussian(24, 4.0, rng) for _ in range(400)])
    for apart in (0, 2, 4, 8):
        measured = np.mean(fields[:, : 24 - apart] * fields[:, apart:])
        assert measured == pytest.approx(np.exp(-((apart / 4.0) ** 2)), abs=0.1)
    # Opposite sides know nothing of each other.
    assert abs(np.mean(fields[:, 0] * fields[:, -1])) < 0.1


def test_elements_know_constants_and_linear_functions(script):
    rebuilt = script("rebuilt")
    points, tetrahedra = rebuilt._mesh(600, np.random.default_rng(17))
    L, mass = rebuilt._elements(points, tetrahedra)
    volume = rebuilt._volumes(points, tetrahedra).sum()
    assert np.abs(L @ np.ones(len(points))).max() < 1e-12 * L.diagonal().max()
    assert mass.sum() == pytest.approx(volume)
    x, y = points[:, 0], points[:, 1]
    assert x @ (L @ x) == pytest.approx(volume)
    assert abs(x @ (L @ y)) < 1e-10 * volume


@pytest.mark.parametrize("kind", ["poisson", "heat"])
def test_the_solution_of_their_right_hand_side_on_tetrahedra_is_one(draws, kind):
    instance = draws[kind](rng=np.random.default_rng(17))
    A = instance.problem.A
    assert np.allclose(np.linalg.solve(A.toarray(), instance.b), 1.0, atol=1e-6)
    if kind == "poisson":
        assert 500 < A.shape[0] < 600


def test_renumbered_ic0_is_linear_and_symmetric(script, draws):
    published = script("published")
    A = draws["heat"](rng=np.random.default_rng(17)).problem.A
    M = published.Renumbered(A)
    u, v = np.random.default_rng(23).standard_normal((2, A.shape[0]))
    assert u @ (M @ v) == pytest.approx(v @ (M @ u))
    assert v @ (M @ v) > 0
    assert np.allclose(M @ (2 * u + v), 2 * (M @ u) + M @ v)


def test_measuring_writes_all_or_nothing(script, tmp_path, monkeypatch, capsys):
    published = script("published")
    out = tmp_path / "rows.csv"
    how = {"seeds": 2, "repeats": 1, "cases": "diffusion, variance 0.5", "size": 12, "out": out}

    def fails(case, size, seed, repeats, measure=published.measure):
        if seed != problems.seeds("test")[0]:
            raise RuntimeError("the lights went out")
        return measure(case, size, seed, repeats)

    with monkeypatch.context() as patch:
        patch.setattr(published, "measure", fails)
        with pytest.raises(RuntimeError, match="lights"):
            published.main(**how)
    assert not list(tmp_path.iterdir())
    published.main(**how)
    about, rows = published.read(out, published.Row)
    assert {row.M for row in rows} == set(published.makers())
    assert len(rows) == 2 * 2 * len(published.makers())
    assert all(row.converged for row in rows)
    assert all(row.residual <= 1e-8 for row in rows if row.rule == published.OURS)
    assert {"versions", "machine", "date"} <= set(about)
    assert "PreCorrector 32.6" in capsys.readouterr().out


def test_a_failure_is_shown_and_published_figures_need_no_measuring(script):
    published = script("published")

    def row(M, iterations, status="converged"):
        numbers = (iterations, 1.0, 2.0 * iterations, 0.1, 0.2, 1e-9)
        return published.Row("heat, tetrahedra", 8, 3, 64, 288, M, *numbers, status, "theirs", "")

    rows = [row(M, 20) for M in published.makers() if M not in ("sa", "rs", "heat")]
    rows += [row("sa", 9), row("rs", 7), row("heat", 5, "stopped at maxiter")]
    table = published.iterations_table(rows)
    assert "some failed" in table
    assert "**GNN-SPAI 197**" in table
    assert published.mean(rows, published.TUNED) == 7


def test_page_and_readme_are_what_the_script_makes_of_its_csv(script, tmp_path):
    published = script("published")
    page, readme = tmp_path / "published.md", tmp_path / "README.md"
    before = (ROOT / "README.md").read_text(encoding="utf-8")
    readme.write_text(before, encoding="utf-8")
    published.publish(published.CSV, page, readme)
    again = "run: python datasets/results/published.py --only-write"
    assert readme.read_text(encoding="utf-8") == before, again
    assert page.read_text() == published.PAGE.read_text(encoding="utf-8"), again
