"""fit: a user's own matrices to a model file; never worse than its start on what is held out."""

import json
import os
import subprocess
import sys

import numpy as np
import pyamg
import pytest
import torch
from rich.console import Console
from scipy import sparse
from typer.testing import CliRunner

import neuprecond
from neuprecond import cli, problems
from neuprecond.errors import NotDefiniteError, WeightsError
from neuprecond.features import EDGE_FEATURES, ENTRY_FEATURES, NODE_FEATURES
from neuprecond.fitting import collect
from neuprecond.multilevel import PLANS
from neuprecond.nets import LevelNetwork, Pick
from neuprecond.statistics import STATISTICS
from neuprecond.training import loop, tune
from neuprecond.training.measure import fractional_count
from neuprecond.training.pick import groups_of, refit_pick, widened
from neuprecond.zoo import Card, Model, save_model
from neuprecond.zoo.card import network_facts
from neuprecond.zoo.files import PICK_WIDTH, read_weights
from neuprecond.zoo.model import pick_plan

SILENT = Console(quiet=True)


def small_model(path, *, seed=5):
    """A start of several levels whose values are random and small, so that there is to learn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = LevelNetwork(
            node_features=len(NODE_FEATURES),
            edge_features=len(EDGE_FEATURES),
            entry_features=len(ENTRY_FEATURES),
            width=4,
            rounds=1,
        )
        for last in (net.smoother_out, net.entry_out):
            torch.nn.init.normal_(last.weight, std=0.3)
        pick = Pick(statistics=len(STATISTICS), choices=len(PLANS), width=PICK_WIDTH)
    tensors = {f"values.{key}": value.numpy() for key, value in net.state_dict().items()}
    tensors |= {f"pick.{key}": value.numpy() for key, value in pick.state_dict().items()}
    card = Card(
        name="small",
        kind="multilevel",
        summary="for tests",
        licence="Apache-2.0",
        families=("none",),
        unknowns=(100, 400),
        sha256="",
        network={"width": 4, "rounds": 1, **network_facts("multilevel")},
    )
    save_model(Model(card, tensors), path)
    return path


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("start") / "small.safetensors")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tune, "SAMPLES", 4)
    monkeypatch.setattr(tune, "LABELS", 2)
    monkeypatch.setattr(tune, "VALIDATIONS", 2)


def plate(rng):
    """Diffusion in a plate of a size and a conductivity that are drawn."""
    return problems.draw("lognormal", int(rng.integers(16, 22)), rng, parameters={"sigma": 2.5}).A


def draws(count, seed=77):
    return [plate(np.random.default_rng([seed, k])) for k in range(count)]


def fitted(matrices, out, start, **options):
    options = {"steps": 4, "device": "cpu", "console": SILENT} | options
    return neuprecond.fit(matrices, out, start=start, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("plates")
    for k, A in enumerate(draws(5)):
        sparse.save_npz(path / f"plate{k}.npz", A)
    (path / "README").write_text("no matrix")
    return path


@pytest.fixture(scope="module")
def from_folder(folder, start, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "SAMPLES", 4)
        patch.setattr(tune, "LABELS", 2)
        patch.setattr(tune, "RATE", 1e-2)
        out = tmp_path_factory.mktemp("fitted") / "plates.safetensors"
        return fitted(folder, out, start, hold_out=0.4, seed=3)


def test_a_folder_becomes_a_model(from_folder, folder, start):
    A = problems.read(folder / "plate0.npz")
    M = neuprecond.load(from_folder, A)
    assert M.learned
    assert M.model == "plates"
    assert neuprecond.solve(A, np.ones(A.shape[0]), M=M).converged
    assert from_folder.with_suffix(".checkpoint").exists()


def test_the_card_tells_start_problems_and_iterations(from_folder, folder, start):
    card = neuprecond.load_model(from_folder).card
    began = card.training["start"]
    assert began["model"] == "small"
    assert began["sha256"] == neuprecond.load_model(start).card.sha256
    asked = card.training["problems"]
    assert asked["from"] == folder.name
    assert asked["count"] == 5
    assert asked["held_out_count"] == len(asked["held_out"]) == 2
    assert sorted(asked["held_out"] + asked["trained_on"]) == [f"plate{k}.npz" for k in range(5)]
    sizes = [problems.read(folder / name).shape[0] for name in asked["held_out"]]
    assert card.unknowns == (min(sizes), max(sizes))
    assert card.training["steps"] == 4
    assert card.training["seed"] == 3
    counts = card.validation["iterations"][folder.name]
    assert list(counts) == ["start", "learned", "twin", "classical"]


def test_never_worse_than_the_start_on_what_is_held_out(from_folder, folder, start):
    card = neuprecond.load_model(from_folder).card
    logs = []
    for name in card.training["problems"]["held_out"]:
        A = problems.read(folder / name)
        b = np.random.default_rng(A.nnz).standard_normal(A.shape[0])
        before, after = (
            fractional_count(A, b, neuprecond.load(path, A, check=False))
            for path in (start, from_folder)
        )
        logs.append(np.log(after / before))
    # Right-hand sides here are others than those that chose.
    assert np.mean(logs) <= 0.02
    assert card.validation["learned_over_start"] <= 1.0
    assert card.validation["learned_over_start"] < 0.999, "a random start leaves something to learn"


def test_steps_that_only_spoil_are_not_kept(start, tmp_path, monkeypatch):
    def spoil(recipe, net, *rest):
        with torch.no_grad():
            # Each factor and each weight goes the other way, and as far as its bounds let it.
            net.smoother_out.weight *= -20.0
            net.entry_out.weight *= -20.0
        return 0.0

    monkeypatch.setattr(loop, "_step", spoil)
    out = fitted(draws(3), tmp_path / "out.safetensors", start)
    _, before = read_weights(start)
    _, after = read_weights(out)
    values = [key for key in before if key.startswith("values.")]
    assert all(np.array_equal(before[key], after[key]) for key in values)
    assert neuprecond.load_model(out).card.validation["learned_over_start"] <= 1.0


def same(one, other):
    ours, theirs = read_weights(one)[1], read_weights(other)[1]
    assert ours.keys() == theirs.keys()
    return all(np.array_equal(ours[key], theirs[key]) for key in theirs)


def test_one_seed_decides_and_nothing_global_changes(start, tmp_path):
    states = np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    paths = [
        fitted(plate, tmp_path / f"{name}.safetensors", start, count=3, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert same(paths[0], paths[1])
    assert not same(paths[0], paths[2])
    now = np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    assert np.array_equal(states[0][1], now[0][1])
    assert states[0][2] == now[0][2]
    assert torch.equal(states[1], now[1])
    problem = neuprecond.load_model(paths[0]).card.training["problems"]
    assert (problem["from"], problem["count"], problem["held_out_count"]) == ("plate", 3, 1)


def test_resumed_is_as_if_never_interrupted(start, tmp_path, monkeypatch):
    matrices = draws(3)
    whole = fitted(matrices, tmp_path / "whole.safetensors", start)
    whole_card = neuprecond.load_model(whole).card
    step, taken = torch.optim.Adam.step, []

    def stopping(self, *rest, **options):
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(1)
        return step(self, *rest, **options)

    (tmp_path / "again").mkdir()
    out = tmp_path / "again" / "whole.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", stopping)
        with pytest.raises(KeyboardInterrupt):
            fitted(matrices, out, start)
    assert out.with_suffix(".checkpoint").exists()
    assert not out.exists()
    assert same(fitted(matrices, out, start, resume=True), whole)
    card = neuprecond.load_model(out).card
    assert card.validation == whole_card.validation
    with pytest.raises(WeightsError, match="another"):
        fitted(draws(3, seed=5), out, start, resume=True)


def test_pairs_problems_and_arrays(start):
    rng = np.random.default_rng(11)
    problem = problems.draw("lognormal", 18, rng)
    A = plate(rng)
    b = np.arange(1.0, A.shape[0] + 1)
    source, given = collect(
        [(A, b[:, None]), problem, A.toarray()], neuprecond.load_model(start), seed=1
    )
    assert source == "matrices"
    assert [one.name for one in given] == ["matrix 0", "matrix 1", "matrix 2"]
    np.testing.assert_array_equal(given[0].b, b)
    np.testing.assert_array_equal(given[1].b, problem.b)
    assert given[2].b.shape == b.shape
    assert (given[2].A != A).nnz == 0


def test_of_more_than_asked_for_the_seed_chooses(folder, start):
    model = neuprecond.load_model(start)
    names = {
        seed: [g.name for g in collect(folder, model, count=3, seed=seed)[1]] for seed in (1, 6)
    }
    assert len(names[1]) == len(names[6]) == 3
    assert names[1] != names[6]
    assert names[1] == sorted(names[1])


def test_one_level_too(tmp_path):
    def step(rng):
        return problems.draw("heat", 14, rng).A

    out = fitted(step, tmp_path / "step.safetensors", "heat", count=4)
    card = neuprecond.load_model(out).card
    assert card.kind == "spai"
    assert card.validation["learned_over_start"] <= 1.0
    A = step(np.random.default_rng(31))
    assert neuprecond.load(out, A).kind == "spai"


def test_large_matrices_are_trained_on_by_pieces():
    A = pyamg.gallery.poisson((90, 90), format="csr")
    A = sparse.csr_array(A)
    piece = tune._piece(A, 500, np.random.default_rng(3))
    assert piece.shape == (500, 500)
    # Neighbours: most rows have all of their entries.
    assert piece.nnz > 0.9 * 5 * 500
    assert np.linalg.eigvalsh(piece.toarray()).min() > 0
    assert tune._piece(A, 8100, np.random.default_rng(3)) is A


def no_matrix(rng):
    return "rubbish"


def always_the_same(rng):
    return pyamg.gallery.poisson((16, 16), format="csr")


def no_argument():
    return always_the_same(None)


def skew():
    A = sparse.lil_array(plate(np.random.default_rng(3)))
    A[0, 1] += 0.5
    return A.tocsr()


def indefinite():
    A = sparse.csr_array(pyamg.gallery.poisson((16, 16), format="csr"))
    return sparse.csr_array(A - 0.5 * sparse.eye_array(256))


def floating():
    A = sparse.csr_array(pyamg.gallery.poisson((16, 16), format="csr"))
    off = A - sparse.diags_array(A.diagonal())
    return sparse.csr_array(off - sparse.diags_array(off.sum(axis=1)))


def of_blocks():
    return sparse.csr_array(sparse.kron(plate(np.random.default_rng(3)), [[2.0, 1.0], [1.0, 2.0]]))


SOUND = plate(np.random.default_rng(8))
BAD = [
    ([], ValueError, "at least two matrices"),
    ([SOUND], ValueError, "at least two matrices, .* got 1"),
    (SOUND, TypeError, "a list of at least two matrices"),
    (7, TypeError, "got int"),
    ([SOUND, "rubbish"], TypeError, "matrix 1: A must be a SciPy sparse"),
    ([SOUND, SOUND[:, :5]], ValueError, "matrix 1: A must be square"),
    ([SOUND, (SOUND, np.ones(3))], ValueError, r"matrix 1: b must hold \d+ real numbers"),
    ([SOUND, (SOUND, np.zeros(SOUND.shape[0]))], ValueError, "b must be finite and not zero"),
    ([SOUND, 1j * SOUND], TypeError, "matrix 1: A must be real"),
    ([SOUND, skew()], NotDefiniteError, "matrix 1: fit needs a symmetric A"),
    ([-SOUND, SOUND], NotDefiniteError, "matrix 0: .* negative diagonal"),
    ([SOUND, indefinite()], NotDefiniteError, "matrix 1: .* indefinite"),
    ([SOUND, floating()], NotDefiniteError, "matrix 1: .* singular"),
    ([SOUND, SOUND[:80, :80]], ValueError, "matrix 1: of its 80 unknowns .* too small to coarsen"),
    ([SOUND, of_blocks()], ValueError, "matrix 1: its unknowns come in blocks of 2"),
    ([SOUND, sparse.eye_array(200_001)], ValueError, "200001 unknowns, fit takes up to 200000"),
    (no_matrix, TypeError, "no_matrix, draw 0,: A must be a SciPy sparse"),
    (always_the_same, ValueError, "returned the same matrix 48 times"),
    (no_argument, TypeError, "no_argument must take one argument"),
]


@pytest.mark.parametrize(("given", "error", "words"), BAD)
def test_what_cannot_be_fitted_is_named(given, error, words, start, tmp_path):
    with pytest.raises(error, match=words):
        fitted(given, tmp_path / "out.safetensors", start)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_nothing(start, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    out = tmp_path / "out.safetensors"
    with pytest.raises(ValueError, match=r"no matrix files in .*\.mtx"):
        fitted(tmp_path, out, start)
    with pytest.raises(ValueError, match="nowhere does not exist"):
        fitted(tmp_path / "nowhere", out, start)
    with pytest.raises(ValueError, match="is a file"):
        fitted(tmp_path / "notes.txt", out, start)
    sparse.save_npz(tmp_path / "one.npz", SOUND)
    with pytest.raises(ValueError, match="at least two matrices"):
        fitted(tmp_path, out, start)
    sparse.save_npz(tmp_path / "skew.npz", skew())
    with pytest.raises(NotDefiniteError, match=r"skew\.npz: fit needs a symmetric A"):
        fitted(tmp_path, out, start)
    (tmp_path / "broken.mtx").write_text("%%MatrixMarket rubbish")
    with pytest.raises(ValueError, match=r"broken\.mtx is damaged"):
        fitted(tmp_path, out, start)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": "advection"}, "learns no values to fine-tune"),
        ({"start": "nobody"}, "unknown model 'nobody'"),
        ({"steps": -1}, "steps must be at least 0"),
        ({"hold_out": 0.0}, "hold_out must be a share"),
        ({"count": 1}, "count must be at least 2"),
        ({"out": "model.bin"}, r"out must end in \.safetensors"),
    ],
)
def test_options_that_cannot_be(options, words, start, tmp_path):
    options = {"out": tmp_path / "out.safetensors", "start": start} | options
    with pytest.raises(ValueError, match=words):
        fitted(plate, **options)


def test_without_torch_the_extra_is_named():
    code = """
import sys
sys.modules["torch"] = None
import neuprecond
from neuprecond import *
try:
    neuprecond.fit("somewhere", "out.safetensors", start="heat")
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "neuprecond[train]" in done.stdout


def random_pick(seed=4):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Pick(statistics=6, choices=3)
    return {key: value.numpy().copy() for key, value in net.state_dict().items()}


def test_wider_moments_leave_picks_as_they_were():
    rng = np.random.default_rng(6)
    pick = random_pick()
    theirs = rng.standard_normal((7, 6)) + np.array([0.0, 9.0, 0.0, 0.0, -4.0, 0.0])
    wide = widened(pick, theirs)
    for x in rng.uniform(-3.9, 3.9, (40, 6)):
        assert pick_plan(pick, x, "abc") == pick_plan(wide, x, "abc")
    # What was far is near, and what was near stays near.
    assert (np.abs(theirs - wide["mean"]) / wide["scale"]).max() < 4.0
    assert (wide["scale"] >= pick["scale"]).all()
    # Where the model knows groups of problems, theirs are one more.
    groups = groups_of(rng.standard_normal((60, 6)))
    known = widened(pick | groups, theirs)
    assert known["centres"].shape == known["spreads"].shape == (7, 6)
    np.testing.assert_array_equal(known["centres"][:6], groups["centres"])
    assert (np.abs(theirs - known["centres"][6]) / known["spreads"][6]).max() < 4.0
    kept = refit_pick(known, theirs, np.eye(7)[:, :3], held=2, epochs=10)
    assert kept is None or kept["centres"].shape == (7, 6)


def test_a_refit_learns_what_it_is_shown_and_keeps_the_rest():
    rng = np.random.default_rng(9)
    pick = random_pick()
    old = rng.standard_normal((200, 6))
    before = [pick_plan(pick, x, "abc") for x in old]
    here = np.array([3.0, 3.0, -3.0, 0.0, 0.0, 0.0])
    new = here + 0.2 * rng.standard_normal((12, 6))
    wrong = "abc".index(pick_plan(pick, here, "abc"))
    best = (wrong + 1) % 3
    costs = np.full((12, 3), 1.0)
    costs[:, best] = 0.0
    after = refit_pick(pick, new.astype(np.float32), costs, held=3)
    assert all(pick_plan(after, x, "abc") == "abc"[best] for x in new)
    kept = np.mean([pick_plan(after, x, "abc") == y for x, y in zip(old, before, strict=True)])
    assert kept > 0.6
    # Where the old pick is right already, nothing is gained and nothing changes.
    costs = np.full((12, 3), 1.0)
    costs[:, wrong] = 0.0
    still = refit_pick(pick, new.astype(np.float32), costs, held=3)
    assert still is None
    # One held-out problem says nothing of others.
    costs[:, wrong], costs[:, best] = 1.0, 0.0
    assert refit_pick(pick, new.astype(np.float32), costs, held=1) is None


def command(*arguments):
    """The command line in a fresh process, with short trainings."""
    code = """
import os, signal, sys
import torch
from neuprecond import cli
from neuprecond.training import tune
tune.SAMPLES, tune.LABELS, tune.VALIDATIONS = 4, 2, 2
stop, taken, step = int(os.environ["STOP"]), [], torch.optim.Adam.step
def stopping(self, *rest, **options):
    if len(taken) == stop:
        signal.raise_signal(signal.SIGINT)
    taken.append(1)
    return step(self, *rest, **options)
torch.optim.Adam.step = stopping
cli.app()
"""
    return [sys.executable, "-c", code, "fit", *(str(a) for a in arguments)]


def run(*arguments, stop=-1):
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "STOP": str(stop)},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_command_line_with_ctrl_c_and_resume(folder, start, tmp_path):
    out = tmp_path / "mine.safetensors"
    options = ("--out", out, "--start", start, "--steps", 4, "--device", "cpu")
    stopped = run(folder, *options, stop=3)
    assert stopped.returncode == 130, stopped.stderr
    assert stopped.stdout == ""
    assert stopped.stderr == (
        f"interrupted. What was trained is in {tmp_path / 'mine.checkpoint'}; the same command "
        "with --resume goes on.\n"
    )
    done = run(folder, *options, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["weights"] == str(out)
    assert facts["validation"]["learned_over_start"] <= 1.0


def test_command_line_says_what_was_reached(from_folder, folder, monkeypatch):
    seen = {}

    def fit(folder, out, **options):
        seen.update(options, folder=folder, out=out)
        return from_folder

    monkeypatch.setattr(neuprecond, "fit", fit)
    options = ("--steps", "7", "--seed", "3", "--hold-out", "0.4", "--count", "5")
    done = CliRunner().invoke(cli.app, ["fit", str(folder), "--out", "my.safetensors", *options])
    assert done.exit_code == 0, done.output
    assert (seen["folder"], str(seen["out"])) == (folder, "my.safetensors")
    assert (seen["steps"], seen["seed"], seen["hold_out"], seen["count"]) == (7, 3, 0.4, 5)
    first, second = done.stdout.splitlines()
    assert first == f"wrote {from_folder} and {from_folder.with_suffix('.toml')}"
    assert "mean iterations on 2 held out: small " in second


def test_command_line_says_what_is_wrong(tmp_path):
    out = str(tmp_path / "out.safetensors")
    done = CliRunner().invoke(cli.app, ["fit", str(tmp_path), "--out", out, "--start", "heat"])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: no matrix files in")


def test_a_fitted_model_can_be_fitted_further(from_folder, tmp_path):
    out = fitted(draws(2, seed=4), tmp_path / "more.safetensors", from_folder, steps=0)
    card = neuprecond.load_model(out).card
    assert card.training["start"]["model"] == "plates"
    assert card.training["history"] == []
