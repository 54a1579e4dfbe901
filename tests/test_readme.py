"""Everything that README says in Python runs, and its tables are the measured ones."""

import importlib.util
import re
import shutil
import sys
import time

import numpy as np
import pytest
from pages import ROOT, blocks, run_snippets

import neuprecond
from neuprecond import problems
from neuprecond.classical import precondition

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "datasets" / "results"


def test_snippets_run_from_top_to_bottom(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "datasets" / "generated", tmp_path / "datasets" / "generated")
    monkeypatch.chdir(tmp_path)
    names = run_snippets(ROOT / "README.md")
    assert names["info"] == 0
    assert names["record"].converged


def test_there_are_snippets():
    assert len(list(blocks(ROOT / "README.md", "python"))) >= 5


def test_changelog_is_last():
    headings = re.findall(r"^## (.*)$", README, re.MULTILINE)
    assert headings[-1] == "Changelog"
    assert f"### {neuprecond.__version__}" in README


@pytest.fixture
def script(monkeypatch):
    """Load one of the scripts beside the measured tables."""
    monkeypatch.syspath_prepend(str(RESULTS))

    def load(name):
        # measure and table import each other by name, as they do when they are run.
        spec = importlib.util.spec_from_file_location(name, RESULTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_tables_are_the_measured_ones(script):
    script("measure")
    table = script("table")
    assert README == table.filled(README, table.render()), "run: python datasets/results/table.py"


def test_measuring_goes_on_where_it_stopped(script, tmp_path, capsys):
    measure = script("measure")
    out = tmp_path / "rows.csv"
    how = {"size": 12, "repeats": 1, "out": out, "families": "poisson2d,delaunay"}
    measure.main("diffusion2d", **how, seeds=1)
    about, rows = measure.read(out)
    suite = measure.SUITES["diffusion2d"]
    assert {row.M for row in rows} == {*suite.panel, "twin", "learned"}
    assert len(rows) == 2 * 7
    assert all(row.converged and row.residual <= 1e-8 for row in rows)
    assert "scipy" in about["versions"]
    measure.main("diffusion2d", **how, seeds=2)
    _, more = measure.read(out)
    assert len(more) == 2 * len(rows)
    assert set(rows) <= set(more)  # measured once: the same seconds
    with pytest.raises(Exception, match="measured otherwise"):
        measure.main("diffusion2d", **{**how, "repeats": 2}, seeds=2)
    assert "learned ÷ rival" in capsys.readouterr().out


def test_failures_count_against_learned_and_never_for_a_rival(script):
    measure = script("measure")

    def row(M, iterations, status="converged"):
        numbers = (iterations, 1.0, 2.0 * iterations, 0.1, 0.2, 1e-9)
        return measure.Row("case", 8, 3, 64, 288, M, *numbers, status)

    suite = measure.Suite("m", (), bar=("rs", "sa"), panel=("rs", "sa", "sa08"))
    rows = [row("rs", 3, "M is not definite"), row("sa", 10), row("twin", 12)]
    found = {r.rival: r for r in measure.ratios([*rows, row("learned", 6)], suite)[::4]}
    assert found["twin"].mean == pytest.approx(0.5)
    assert found["best of rs and sa"].mean == pytest.approx(0.6)
    failed = measure.ratios([*rows, row("learned", 5, "M is not definite")], suite)
    assert failed[0].mean == pytest.approx(measure.MAXITER / 12)
    assert "failed" in measure.mean_count([rows[0]])


def test_a_setup_that_takes_too_long_is_a_row(script):
    measure = script("measure")
    problem = problems.draw("poisson2d", 8, np.random.default_rng(11))
    made = {"slow": lambda p: time.sleep(60), "jacobi": lambda p: precondition("jacobi", p.A)}
    about = {"case": "case", "size": 8, "seed": 11, "repeats": 2}
    slow, quick = measure.measure(problem, made, **about, limit=0.5)
    assert slow.status == "no setup: not done in 0.5 seconds"
    assert not slow.converged
    assert quick.converged


def test_seconds_of_pyamgs_own_cycle_stand_beside_ours(script, tmp_path):
    measure = script("measure")
    rows = []
    for own in (0.4, 0.0):
        numbers = (10, 1.0, 20.0, 0.1, 0.2, 1e-9)
        name = "sa" if own else "learned"
        rows.append(
            measure.Row("case", 8, 3, 64, 288, name, *numbers, "converged", own_seconds=own)
        )
    suite = measure.Suite("m", (), bar=("sa",), panel=("sa",))
    found = {(r.rival, r.measure): r.mean for r in measure.ratios(rows, suite)}
    assert found["best of all classical", "seconds of solve"] == pytest.approx(1.0)
    assert found["best of all classical", measure.OWN_CYCLE] == pytest.approx(0.5)
    path = tmp_path / "rows.csv"
    measure.write(path, {}, rows)
    assert measure.read(path)[1] == rows
