"""The benchmark of seconds and memory: what it measures, what it makes of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from neuprecond import report
from neuprecond.cli import app
from neuprecond.report import bench as bench_module
from neuprecond.report.bench import PEERS, Timing, slopes_of


def run(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def bench():
    return report.make_bench(
        families=["poisson2d", "knn"],
        sizes=[256, 1024],
        peers=["pyamg sa", "pyamg rs", "rs", "jacobi", "ic0"],
        repeats=2,
        memory=False,
    )


def row(name, **changes):
    start = Timing(
        family="poisson2d", n=1000, nnz=5000, seed=1, M=name, kind="classical", repeats=5,
        iterations=10, status="converged", setup=2.0, setup_min=1.0, setup_max=3.0, solve=4.0,
        solve_min=3.0, solve_max=5.0, apply=0.1, apply_min=0.1, apply_max=0.1, block=0.8,
        block_min=0.8, block_max=0.8, density=5.0, peak=300.0, before=200.0, phases={"other": 2.0},
    )  # fmt: skip
    return replace(start, **changes)


def test_rows_hold_what_was_measured(bench):
    assert len(bench.rows) == 4 * 7
    for timing in bench.rows:
        assert timing.converged, (timing.M, timing.status)
        assert timing.repeats == 2
        for what in ("setup", "solve", "apply", "block"):
            low, middle, high = (getattr(timing, what + end) for end in ("_min", "", "_max"))
            assert 0 < low <= middle <= high
    ours = [timing for timing in bench.rows if timing.M == "auto"]
    for timing in ours:
        assert {"check", "coarsen", "other"} <= set(timing.phases)
        # Phases are those of one setup, with nothing left out.
        assert timing.setup_min == pytest.approx(sum(timing.phases.values()), rel=1e-6)
    by_name = {timing.M: timing for timing in bench.rows if timing.n == 1024}
    assert by_name["auto"].iterations < by_name["jacobi"].iterations


def test_global_random_state_is_left_alone():
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.get_state()[1].copy()  # noqa: NPY002
    report.make_bench(families=["roads"], sizes=[64], peers=["pyamg sa"], repeats=1, memory=False)
    np.testing.assert_array_equal(np.random.get_state()[1], expected)  # noqa: NPY002


def test_files_are_read_back(bench, tmp_path):
    report.write_bench(bench, tmp_path)
    again = report.read_bench(tmp_path)
    assert again.about == bench.about
    for timing, same in zip(bench.rows, again.rows, strict=True):
        assert (timing.M, timing.iterations, timing.status) == (
            same.M,
            same.iterations,
            same.status,
        )
        assert same.setup == pytest.approx(timing.setup, rel=1e-3)
        assert same.phases.keys() == timing.phases.keys()
    page = (tmp_path / "speed.md").read_text()
    for word in ("poisson2d, n = 1024", "knn, n = 256", "pyamg rs", "not measured on a GPU"):
        assert word in page


def test_memory_is_of_a_fresh_process():
    waste = np.ones((64, 1024, 1024))  # 512 MiB that a fresh process knows nothing of
    found = report.make_bench(
        families=["poisson2d"], sizes=[1024], peers=["jacobi"], repeats=1, memory=True
    )
    for timing in found.rows:
        assert 20 < timing.before <= timing.peak < 512, timing.M
    assert found.rows[-1].peak > found.rows[-1].before
    assert waste.all()


def test_ratios_by_hand():
    ours = row("auto", kind="learned", setup=3.0, solve=1.0, apply=0.04, block=0.32,
               phases={"network": 1.0, "coarsen": 3.0})  # fmt: skip
    rows = [row("pyamg rs"), row("pyamg sa", solve=1.0), row("ic0", setup=0.5, solve=20.0), ours]
    rows += [row("sa08", setup=2.0, solve=0.25)]
    # One that gives up is nobody's rival.
    rows += [row("rs", solve=0.01, status="stopped at maxiter")]
    found = {claim.what: claim for claim in report.claims(report.Bench({}, rows))}
    assert found["setup ÷ PyAMG RS's setup"].mean == pytest.approx(1.5)
    assert found["network ÷ our setup"].mean == pytest.approx(0.25)
    assert found["M @ r ÷ a cycle of PyAMG SA V(1,1)"].mean == pytest.approx(0.4)
    assert found["M @ R, 16 columns ÷ 16 applies"].mean == pytest.approx(0.5)
    one = found["setup + solve, 1 right-hand side ÷ fastest PyAMG"]
    assert one.mean == pytest.approx(4 / 3)
    assert not one.met
    ours_too = found["setup + solve, 1 right-hand side ÷ fastest multigrid, ours too"]
    assert ours_too.mean == pytest.approx(4 / 2.25)
    many = found["setup + solve, 10 right-hand sides ÷ fastest PyAMG"]
    assert many.mean == pytest.approx(13 / 12)
    assert found["setup + solve ÷ IC(0)'s"].mean == pytest.approx(4 / 20.5)


def test_time_an_unknown_and_slope():
    rows = [
        row("auto", kind="learned", n=n, setup=t, solve=t) for n, t in ((1000, 1.0), (8000, 16.0))
    ]
    assert slopes_of(rows)["poisson2d", "auto"] == pytest.approx(np.log(16) / np.log(8))
    (flat,) = [c for c in report.claims(report.Bench({}, rows)) if c.what.startswith("seconds")]
    assert (flat.n, flat.asked) == (8000, 1.5)
    assert flat.mean == pytest.approx(2.0)
    assert not flat.met


def test_an_m_that_cannot_be_made_is_a_row():
    found = report.make_bench(
        families=["helmholtz"], sizes=[256], peers=["ic0"], repeats=1, memory=False,
        models=["diffusion2d"],
    )  # fmt: skip
    refused = {timing.M: timing.status for timing in found.rows}
    assert refused["diffusion2d"].startswith("no setup:")
    assert "definite" in refused["diffusion2d"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"families": ["nowhere"]}, "nowhere"),
        ({"peers": ["nobody"]}, "nobody"),
        ({"sizes": [0]}, "positive"),
        ({"models": ["nothing"]}, "nothing"),
    ],
)
def test_refuses_what_it_does_not_know(options, match):
    with pytest.raises(ValueError, match=match):
        report.make_bench(**options)


def test_what_was_measured_survives_an_interrupt(tmp_path, monkeypatch):
    first = bench_module._measured

    def measured(family, size, *rest, **options):
        if size > 300:
            raise KeyboardInterrupt
        return first(family, size, *rest, **options)

    monkeypatch.setattr(bench_module, "_measured", measured)
    options = ("--families", "poisson2d", "--sizes", "256,1024", "--peers", "jacobi")
    result = run(*options, "--repeats", 1, "--no-memory", "--out", tmp_path)
    assert result.exit_code == 130
    assert f"what was measured is shown and in {tmp_path}" in result.stderr
    kept = report.read_bench(tmp_path)
    assert [(row.M, row.n) for row in kept.rows] == [
        (name, 256) for name in ("jacobi", "auto, twin", "auto")
    ]
    assert kept.about["command"].startswith("neuprecond")


def test_from_the_command_line(tmp_path):
    options = ("--families", "poisson2d", "--sizes", "256,1024", "--peers", "rs,jacobi")
    result = run(*options, "--repeats", 1, "--no-memory", "--rhs", "3", "--out", tmp_path, "--plot")
    assert result.exit_code == 0, result.output
    assert "total 3 s" in result.stdout
    assert result.stderr == ""
    for name in ("speed.csv", "speed.md", "speed.png", "speed.svg"):
        assert (tmp_path / name).stat().st_size > 0
    assert "slope" in (tmp_path / "speed.svg").read_text()
    result = run(
        "--small", *options[:2], "--peers", "jacobi", "--repeats", 1, "--no-memory", "--json"
    )
    facts = json.loads(result.stdout)
    assert {r["M"] for r in facts["rows"]} == {"jacobi", "auto", "auto, twin"}
    assert {r["n"] for r in facts["rows"]} == {1024, 4096}
    assert run("--plot", "--small").exit_code == 2


def test_peers_have_their_names():
    assert {
        "pyamg sa",
        "pyamg rs",
        "pyamg root-node",
        "sa08",
        "rs",
        "root-node",
        "ic0",
        "fsai",
    } <= set(PEERS)
