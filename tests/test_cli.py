"""The command line: exit codes, what goes where, JSON, and that it is quiet when piped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from scipy import sparse
from typer.testing import CliRunner

import neuprecond
from neuprecond import problems
from neuprecond.cli import app

DATASETS = Path(__file__).parents[1] / "datasets"
PLATE, PLATE_B = DATASETS / "generated" / "plate.mtx", DATASETS / "generated" / "plate_b.npy"
COMMANDS = ("diagnose", "bench", "solve", "models", "train", "fit", "map", "study")


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


@pytest.fixture
def indefinite(tmp_path):
    A = problems.draw("helmholtz", 12, np.random.default_rng(71)).A
    scipy.io.mmwrite(tmp_path / "A.mtx", A)
    return tmp_path / "A.mtx"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_in_plain_words(command):
    assert command in run("--help").stdout
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout


def test_version():
    assert run("--version").stdout.strip() == f"neuprecond {neuprecond.__version__}"


def test_without_a_command_it_helps():
    assert "Usage" in run().output


def test_exit_codes_are_in_the_help():
    text = " ".join(run("--help").stdout.split())
    assert "Exit codes: 0 done; 1 it ran and did not converge; 2" in text


@pytest.mark.parametrize("module", ["neuprecond", "neuprecond.cli"])
def test_as_a_module(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == f"neuprecond {neuprecond.__version__}"


@pytest.mark.parametrize(
    ("line", "word", "expected"),
    [
        ("neuprecond d", 1, {"diagnose"}),
        ("neuprecond solve A.mtx --model d", 4, {"diffusion2d"}),
        ("neuprecond solve A.mtx --model i", 4, {"ic0", "ilu"}),
        ("neuprecond solve A.mtx --method gm", 4, {"gmres"}),
    ],
)
def test_shell_completion(line, word, expected):
    asked = {
        "_NEUPRECOND_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(word),
    }
    done = subprocess.run(
        [sys.executable, "-m", "neuprecond"],
        capture_output=True,
        text=True,
        env=os.environ | asked,
        check=False,
        timeout=120,
    )
    assert set(done.stdout.split()) == expected


# diagnose


def test_diagnose_says_what_diagnose_found():
    found = neuprecond.diagnose(problems.read(PLATE))
    result = run("diagnose", PLATE)
    assert result.exit_code == 0
    assert result.stdout == f"{found}\n"
    assert result.stderr == ""
    assert json.loads(run("diagnose", PLATE, "--json").stdout) == found.to_dict()


def test_diagnose_takes_near_null_vectors(tmp_path):
    np.save(tmp_path / "B.npy", np.ones(576))
    facts = json.loads(run("diagnose", PLATE, "--near-null", tmp_path / "B.npy", "--json").stdout)
    assert facts["near_null"][-1]["name"] == "B, column 0"


def test_diagnose_of_what_no_model_covers_is_no_failure(indefinite):
    result = run("diagnose", indefinite)
    assert result.exit_code == 0
    assert "indefinite" in result.stdout


# bench


def test_bench_is_a_row_each():
    result = run("bench", PLATE, "--rhs", PLATE_B, "--with", "none,jacobi,twin,auto", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["preconditioner"] for row in rows] == ["none", "jacobi", "twin", "auto"]
    assert all(row["converged"] and row["residual"] <= 1e-8 for row in rows)
    none, jacobi, twin, auto = (row["iterations"] for row in rows)
    assert auto <= twin < jacobi < none
    text = run("bench", PLATE, "--with", "jacobi,auto").stdout.splitlines()
    assert text[0].split()[:3] == ["preconditioner", "method", "iterations"]
    assert [line.split()[0] for line in text[1:]] == ["jacobi", "auto"]


def test_bench_shows_what_refuses_and_what_fails(indefinite):
    result = run("bench", indefinite, "--with", "ic0,diffusion2d,auto", "--json")
    rows = {row["preconditioner"]: row for row in json.loads(result.stdout)}
    assert not rows["diffusion2d"]["converged"]
    assert "definite" in rows["diffusion2d"]["status"]
    assert rows["auto"]["converged"]
    assert rows["auto"]["notes"]
    assert run("bench", PLATE, "--with", "none", "--maxiter", 2).exit_code == 1


def test_ctrl_c_in_bench_shows_what_was_measured(monkeypatch):
    from neuprecond import cli

    measured = cli._measured

    def stopping(name, *arguments, **options):
        if name == "ic0":
            raise KeyboardInterrupt
        return measured(name, *arguments, **options)

    monkeypatch.setattr(cli, "_measured", stopping)
    result = run("bench", PLATE, "--with", "none,jacobi,ic0,auto", "--json")
    assert result.exit_code == 130
    assert [row["preconditioner"] for row in json.loads(result.stdout)] == ["none", "jacobi"]
    assert result.stderr == "interrupted after 2 of 4 preconditioners.\n"


def test_ctrl_c_in_bench_of_families_shows_what_was_measured(monkeypatch, tmp_path):
    from neuprecond import report

    make = report.make_bench

    def stopping(*, keep, **options):
        def last(found):
            keep(found)
            if len(found.rows) > 1:
                raise KeyboardInterrupt

        return make(keep=last, **options)

    how = ("bench", "--families", "poisson2d", "--sizes", 400, "--peers", "sa", "--repeats", 1)
    monkeypatch.setattr(report, "make_bench", stopping)
    result = run(*how, "--no-memory", "--json", "--out", tmp_path)
    assert result.exit_code == 130, result.output
    assert len(json.loads(result.stdout)["rows"]) > 1
    assert f"interrupted; what was measured is shown and in {tmp_path}." in result.stderr
    assert (tmp_path / "speed.csv").exists()

    def at_once(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "make_bench", at_once)
    result = run(*how)
    assert result.exit_code == 130
    assert "Nothing was measured yet" in result.stderr


# solve


def test_solve_says_how_it_went_and_writes_x(tmp_path):
    out = tmp_path / "x"
    result = run("solve", PLATE, "--rhs", PLATE_B, "--out", out)
    assert result.exit_code == 0, result.output
    assert re.fullmatch(r"cg with diffusion2d: converged, \d+ iterations, .*\n", result.stdout)
    assert result.stderr == ""
    A, b = problems.read(PLATE), np.load(PLATE_B)
    x = np.load(out)
    assert np.linalg.norm(b - A @ x) <= 1e-8 * np.linalg.norm(b)


def test_solve_in_json():
    result = run("solve", PLATE, "--model", "jacobi", "--json")
    facts = json.loads(result.stdout)
    assert facts["status"] == "converged"
    assert facts["converged"] is True
    assert facts["preconditioner"] == "jacobi"
    assert facts["iterations"] > 10
    assert facts["residual"] <= 1e-8
    assert facts["n"] == 576
    assert facts["notes"] == []
    assert facts["setup_seconds"] >= 0


def test_what_does_not_converge_is_told_by_the_exit_code():
    result = run("solve", PLATE, "--model", "none", "--maxiter", 3)
    assert result.exit_code == 1
    assert "stopped at maxiter" in result.stdout


STOPPED = """
import signal
from neuprecond import cli, krylov

step = krylov._Watched.after_step

def after_step(self, x):
    step(self, x)
    if self.iterations == 20:
        signal.raise_signal(signal.SIGINT)

krylov._Watched.after_step = after_step
cli.app()
"""


def stopped(*arguments):
    command = [sys.executable, "-c", STOPPED, "solve", *(str(a) for a in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_ctrl_c_in_solve_keeps_x_and_says_so(tmp_path):
    out = tmp_path / "x.npy"
    done = stopped(PLATE, "--model", "jacobi", "--rhs", PLATE_B, "--out", out)
    assert done.returncode == 130, done.stderr
    assert done.stdout.startswith("cg with jacobi: interrupted, 20 iterations")
    assert done.stderr.startswith("interrupted after 20 iterations at a true residual of ")
    assert done.stderr.endswith(f"; x so far is in {out}.\n")
    A, b = problems.read(PLATE), np.load(PLATE_B)
    residual = np.linalg.norm(b - A @ np.load(out)) / np.linalg.norm(b)
    assert f"{residual:.1e}" in done.stderr


def test_ctrl_c_in_solve_without_a_file_or_in_json():
    done = stopped(PLATE, "--model", "jacobi", "--json")
    assert done.returncode == 130
    assert "--out would have kept x so far" in done.stderr
    facts = json.loads(done.stdout)
    assert facts["status"] == "interrupted"
    assert facts["converged"] is False
    assert facts["iterations"] == 20


def test_ctrl_c_before_anything_is_solved(monkeypatch):
    def read(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(problems, "read", read)
    result = run("solve", PLATE)
    assert result.exit_code == 130
    assert result.stdout == ""
    assert result.stderr == "interrupted. Nothing was solved yet, so nothing is kept.\n"


def test_a_method_by_name():
    assert run("solve", PLATE, "--method", "minres").stdout.startswith("minres with diffusion2d")


def test_auto_takes_gmres_where_cg_cannot_be_and_warns_on_stderr(indefinite):
    result = run("solve", indefinite)
    assert result.exit_code == 0
    assert result.stdout.startswith("gmres with ")
    assert result.stderr.startswith("warning: no learned model covers A")
    facts = json.loads(run("solve", indefinite, "--json").stdout)
    assert facts["notes"][0].startswith("no learned model covers A")


def test_near_null_vectors(tmp_path):
    pytest.importorskip("skfem")
    problem = problems.draw("elasticity2d", 12, np.random.default_rng(72))
    sparse.save_npz(tmp_path / "A.npz", problem.A)
    np.save(tmp_path / "B.npy", problem.B)
    with_B = run("solve", tmp_path / "A.npz", "--near-null", tmp_path / "B.npy", "--json")
    without = run("solve", tmp_path / "A.npz", "--json")
    assert json.loads(with_B.stdout)["iterations"] < json.loads(without.stdout)["iterations"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("diagnose", "nowhere.mtx"), "no file nowhere.mtx"),
        (("bench", PLATE, "--with", "nobody"), "unknown model 'nobody'"),
        (("solve", "nowhere.mtx"), "no file nowhere.mtx"),
        (("solve", PLATE, "--model", "nobody"), "unknown model 'nobody'"),
        (("solve", PLATE, "--method", "magic"), "no method 'magic'"),
        (("solve", PLATE, "--rhs", "nowhere.npy"), "no file nowhere.npy"),
        (("solve", PLATE, "--rtol", -1), "rtol"),
        (("solve", PLATE, "--rtol", "nan"), "rtol"),
        (("solve", PLATE, "--maxiter", -1), "maxiter must not be negative"),
        (("solve", PLATE, "--out", "no/such/folder/x.npy"), "no folder no/such/folder"),
        (("solve", PLATE, "--out", "."), ". is a folder, not a file to write to"),
        (("solve", "."), "is a folder"),
        (("bench", PLATE, "--rtol", -1, "--with", "auto"), "rtol"),
        (("bench", PLATE, "--maxiter", -1), "maxiter must not be negative"),
        (("bench", PLATE, "--with", ","), "got none, ','"),
        (("bench", "--sizes", "many"), "sizes must be whole numbers, got 'many'"),
        (("bench", "--families", ""), "got none, ''"),
        (("train", "heat", "--device", "tpu"), "device must be auto, cpu or cuda, got 'tpu'"),
        (("map", "--seeds", 0, "--out", "m"), "seeds must be at least 1, got 0"),
        (("map", "--families", "", "--out", "m"), "got none, ''"),
        (("train", "nobody"), "unknown recipe 'nobody'"),
        (("train", "heat", "--labels", 7), "'heat' of kind 'spai' has one plan, so there is"),
        (("train", "advection", "--steps", 7), "leave out --steps"),
        (("train", "diffusion2d", "--pool", 0), "pool must be at least 1, got 0"),
        (("train", "diffusion2d", "--labels", 4), "labels must be at least 5, got 4"),
        (("map", "--families", "nobody"), "no line 'nobody'"),
        (("map", "--sizes", "many"), "sizes must be whole numbers, got 'many'"),
        (("map", "--draw-only", "--out", "nowhere"), "nowhere"),
        (("map", "--resume", "--out", "nowhere"), "nowhere holds no rows to go on with"),
    ],
)
def test_what_cannot_be_run_is_a_sentence_and_exit_code_2(
    arguments, words, tmp_path, monkeypatch, request
):
    if arguments[0] == "train":
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert "Traceback" not in result.output


HEAD = "%%MatrixMarket matrix "
ODD_FILES = {
    "empty.mtx": ("", "damaged or not a .mtx file"),
    "text.mtx": ("1,2\n3,4\n", "damaged or not a .mtx file"),
    "notgz.mtx.gz": ("hello", "damaged or not a .mtx file"),
    "empty.npz": ("", "damaged or not a .npz file"),
    "none.mtx": (HEAD + "coordinate real general\n0 0 0\n", "at least one row"),
    "rect.mtx": (HEAD + "coordinate real general\n2 3 1\n1 1 1\n", "square, got shape (2, 3)"),
    "range.mtx": (HEAD + "coordinate real general\n3 3 1\n4 1 1\n", "out of bounds"),
    "negative.mtx": (HEAD + "coordinate real general\n-3 -3 1\n1 1 1\n", "negative"),
    "nan.mtx": (HEAD + "coordinate real general\n2 2 1\n2 1 nan\n", "NaN at row 1, column 0"),
    "entries.mtx": (HEAD + "coordinate real general\n3 3 9000000000000000\n1 1 1\n", "memory"),
    "dense.mtx": (HEAD + "array real general\n90000000 90000000\n1\n", "memory"),
}


@pytest.mark.parametrize("command", ["solve", "diagnose", "bench"])
@pytest.mark.parametrize("name", ODD_FILES)
def test_odd_files_are_a_sentence_each(name, command, tmp_path):
    content, words = ODD_FILES[name]
    (tmp_path / name).write_text(content)
    result = run(command, tmp_path / name, "--json")
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert words in result.stderr


@pytest.mark.parametrize(
    ("b", "words"),
    [
        (np.ones(575), "(576, k) to fit A, got (575,)"),
        (np.ones((1, 576)), "to fit A, got (1, 576)"),
        (np.ones((576, 1, 1)), "one column or a few"),
        (np.ones((576, 0)), "one column or a few"),
        (np.full(576, np.inf), "must be finite"),
        (np.array(["a"] * 576), "must hold numbers"),
        (np.float64(3.0), "one column or a few"),
    ],
    ids=["short", "row", "cube", "none", "infinite", "words", "number"],
)
def test_odd_right_hand_sides_are_a_sentence_each(b, words, tmp_path):
    np.save(tmp_path / "b.npy", b)
    for command in ("solve", "bench"):
        result = run(command, PLATE, "--rhs", tmp_path / "b.npy")
        assert result.exit_code == 2, result.output
        assert words in result.stderr


@pytest.mark.parametrize("shape", [(576,), (576, 1), (576, 3)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_right_hand_sides_of_each_shape_and_type(shape, dtype, tmp_path):
    b = (10 * np.random.default_rng(73).standard_normal(shape)).astype(dtype)
    np.save(tmp_path / "b.npy", b)
    result = run("solve", PLATE, "--rhs", tmp_path / "b.npy", "--out", tmp_path / "x.npy")
    assert result.exit_code == 0, result.output
    x = np.load(tmp_path / "x.npy")
    b = b.reshape(x.shape)
    assert np.linalg.norm(b - problems.read(PLATE) @ x) <= 2e-8 * np.linalg.norm(b)


def test_a_full_disk_shows_what_came_of_it_and_leaves_the_old_file(tmp_path, monkeypatch):
    out = tmp_path / "x.npy"
    out.write_bytes(b"old")

    def fsync(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fsync)
    result = run("solve", PLATE, "--out", out)
    assert result.exit_code == 2
    assert result.stdout.startswith("cg with diffusion2d: converged")
    assert "No space left on device" in result.stderr
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout")
def test_x_goes_into_what_is_no_file_too(tmp_path):
    done = subprocess.run(
        f"{sys.executable} -m neuprecond solve {PLATE} --json --out /dev/stderr 2>{tmp_path}/x.npy",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(done.stdout)["converged"]
    assert np.load(tmp_path / "x.npy").shape == (576,)


def test_what_libraries_print_does_not_go_between_the_results(tmp_path):
    """PyAMG's interpolation prints lines from compiled code where a denominator is zero."""
    A = problems.draw("poisson2d", 15, np.random.default_rng(75)).A
    identity = sparse.eye_array(A.shape[0])
    scipy.io.mmwrite(tmp_path / "A.mtx", sparse.block_array([[A, identity], [identity, None]]))
    command = [sys.executable, "-m", "neuprecond", "bench", str(tmp_path / "A.mtx")]
    done = subprocess.run(
        [*command, "--with", "rs,auto", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert [row["preconditioner"] for row in json.loads(done.stdout)] == ["rs", "auto"]
    assert "denominator was zero" in done.stderr


def test_bench_of_a_complex_matrix_has_a_row_for_each(tmp_path):
    A = problems.draw("poisson2d", 8, np.random.default_rng(74)).A
    scipy.io.mmwrite(tmp_path / "A.mtx", A + 0.1j * sparse.eye_array(64))
    result = run("bench", tmp_path / "A.mtx", "--json")
    assert result.exit_code == 0, result.output
    rows = {row["preconditioner"]: row for row in json.loads(result.stdout)}
    assert rows["auto"]["converged"]
    assert "complex" in rows["ic0"]["status"]


def test_usage_errors_are_exit_code_2_too():
    assert run("solve").exit_code == 2
    assert run("nonsense").exit_code == 2


# models


def test_models():
    cards = neuprecond.models()
    assert run("models").stdout.splitlines() == [str(card) for card in cards]
    found = json.loads(run("models", "--json").stdout)
    assert [card["name"] for card in found] == [card.name for card in cards]
    assert found[0]["families"] == list(cards[0].families)


# train


def test_train_hands_its_options_on(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    from neuprecond.training import loop

    seen = {}

    def train(recipe, folder, **options):
        seen.update(options, recipe=recipe, folder=folder)
        return folder / "heat.safetensors"

    monkeypatch.setattr(loop, "train", train)
    result = run("train", "heat", "--steps", 7, "--seed", 3, "--out", tmp_path, "--resume")
    assert result.exit_code == 0, result.output
    assert seen["recipe"].steps == 7
    assert seen["recipe"].name == "heat"
    assert seen["seed"] == 3
    assert seen["resume"] is True
    assert seen["folder"] == tmp_path
    assert "heat.safetensors" in result.stdout


TRAINED = """
import signal, torch
from neuprecond import cli
from neuprecond.training.recipes import RECIPES, Ingredient, Recipe

RECIPES["tiny"] = Recipe(
    name="tiny", kind="spai", summary="for tests",
    mix=(Ingredient("heat", (14, 18), (24, 30), (14, 18), 20),),
    steps=8, width=4, rounds=1, pool=4, labels=0, every=2, pcg_steps=3, cautious=0,
)
step, taken = torch.optim.Adam.step, []

def stopping(self, *args, **options):
    if len(taken) == STOP:
        signal.raise_signal(signal.SIGINT)
    taken.append(1)
    return step(self, *args, **options)

torch.optim.Adam.step = stopping
cli.app()
"""


def trained(stop, *arguments):
    code = TRAINED.replace("STOP", str(stop))
    command = [sys.executable, "-c", code, "train", "tiny", *(str(a) for a in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_ctrl_c_in_train_keeps_the_last_checkpoint_and_says_how_to_go_on(tmp_path):
    pytest.importorskip("torch")
    from neuprecond.zoo.files import read_weights

    none = trained(1, "--out", tmp_path / "none", "--device", "cpu")
    assert none.returncode == 130, none.stderr
    assert none.stdout == ""
    assert none.stderr == ("interrupted. No checkpoint was written yet, so nothing is kept.\n")
    out = tmp_path / "runs"
    done = trained(5, "--out", out, "--device", "cpu")
    assert done.returncode == 130, done.stderr
    assert done.stderr == (
        f"interrupted. What was trained is in {out / 'tiny.checkpoint'}; the same command with "
        "--resume goes on.\n"
    )
    assert sorted(path.name for path in out.iterdir()) == ["tiny.checkpoint"]
    resumed = trained(-1, "--out", out, "--device", "cpu", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    whole = trained(-1, "--out", tmp_path / "whole", "--device", "cpu")
    assert whole.returncode == 0, whole.stderr
    ours, theirs = (
        read_weights(folder / "tiny.safetensors")[1] for folder in (out, tmp_path / "whole")
    )
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)


# map


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    pytest.importorskip("matplotlib")
    out = tmp_path_factory.mktemp("map")
    arguments = ["map", "--families", "capped", "--sizes", "100,1e2", "--seeds", "1", "--small"]
    return out, run(*arguments, "--out", out, "--json")


def test_map_writes_the_page_and_counts(mapped):
    _, result = mapped
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["runs"] > 20
    assert facts["works"] + facts["helps"] + facts["breaks"] == 3
    assert Path(facts["page"]).exists()
    assert Path(facts["counts"]).exists()
    assert result.stderr == ""


def test_map_does_not_write_over_rows(mapped):
    out, _ = mapped
    again = run("map", "--families", "capped", "--out", out)
    assert again.exit_code == 2
    assert "--resume" in again.stderr


def test_map_draws_again(mapped):
    out, result = mapped
    (out / "map.html").unlink()
    again = run("map", "--draw-only", "--out", out, "--json")
    assert json.loads(again.stdout) == json.loads(result.stdout)
    assert (out / "map.html").exists()


def test_map_resumes_what_was_asked_for(mapped, tmp_path):
    out, result = mapped
    rows = (out / "counts.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    # As if interrupted after half of the rows.
    half = rows[: len(rows) - json.loads(result.stdout)["runs"] // 2]
    (tmp_path / "counts.csv").write_text("".join(half), encoding="utf-8")
    again = run("map", "--resume", "--out", tmp_path, "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["runs"] == json.loads(result.stdout)["runs"]
    old = [line for line in half if not line.startswith("# asked")]
    (tmp_path / "counts.csv").write_text("".join(old), encoding="utf-8")
    refused = run("map", "--resume", "--out", tmp_path)
    assert refused.exit_code == 2
    assert "does not record what was asked for" in refused.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to a child")
def test_ctrl_c_keeps_the_rows_and_says_how_to_go_on(tmp_path):
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-m", "neuprecond.cli", "map", "--out", str(tmp_path)]
    command += ["--families", "capped,heat", "--sizes", "100,400,1600", "--seeds", "5"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    counts, until = tmp_path / "counts.csv", time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if counts.exists() and counts.read_text(encoding="utf-8").count("\n") > 20:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert f"neuprecond map --out {tmp_path} --resume goes on" in stderr
    assert (tmp_path / "map.html").exists()
    from neuprecond.report import Counts

    assert len(Counts.read(tmp_path).runs) >= 10


# study


def test_study(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    from neuprecond.report import study

    few = [e for e in study.experiments(small=True) if e.network == "newton, untrained"]
    monkeypatch.setattr(study, "experiments", lambda small: few)
    result = run("study", "--small", "--out", tmp_path / "new", "--json")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)) == len(few)
    assert {path.name for path in (tmp_path / "new").iterdir()} >= {
        "study.csv",
        "why-cant.png",
        "where-can.svg",
    }


@pytest.mark.parametrize("command", ["map", "study"])
def test_a_missing_extra_is_named(command, monkeypatch, tmp_path):
    from neuprecond.report import mapping

    monkeypatch.setattr(mapping, "find_spec", lambda name: None)
    result = run(command, "--out", tmp_path)
    assert result.exit_code == 2
    assert "pip install 'neuprecond[" in result.stderr


# Pipes


@pytest.mark.parametrize("arguments", [["models"], ["solve", str(PLATE)], ["diagnose", str(PLATE)]])
def test_quiet_and_without_colours_when_piped(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "neuprecond.cli", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full, and a shell that closes stdout")
@pytest.mark.parametrize("arguments", ["models", f"solve {PLATE} --json", f"diagnose {PLATE}"])
def test_where_results_cannot_go(arguments):
    """A full disk is a sentence, no stdout at all is nobody's fault."""
    command = f"{sys.executable} -m neuprecond {arguments}"
    full, closed = (
        subprocess.run(
            f"{command} {where}",
            shell=True,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        for where in ("> /dev/full", ">&-")
    )
    assert full.returncode == 2
    assert full.stderr.startswith("error: results could not be written: ")
    assert "Traceback" not in full.stderr
    assert closed.returncode == 0, closed.stderr
    assert closed.stderr == ""
