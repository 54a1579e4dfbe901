"""Each example runs when small, and one of its numbers is what the example is about."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from neuprecond import problems

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Load an example by its name; what it writes goes into a folder of its own."""
    monkeypatch.chdir(tmp_path)
    # Some of them share one.
    monkeypatch.syspath_prepend(str(EXAMPLES))
    # A family that an example adds is not there for other tests.
    monkeypatch.setattr(problems, "FAMILIES", problems.FAMILIES.copy())

    def load(name):
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        # Dataclasses look their module up.
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_all_examples_are_tested():
    here = Path(__file__).read_text(encoding="utf-8")
    untested = [p.stem for p in EXAMPLES.glob("*.py") if f'example("{p.stem}")' not in here]
    assert not untested


def test_quickstart(example):
    numbers = example("quickstart").main(small=True)
    assert numbers["learned"] < numbers["alone"] / 4
    assert numbers["residual"] <= 1.1e-8
    assert numbers["error"] < 0.5


def test_your_matrix(example, capsys):
    numbers = example("your_matrix").main(small=True)
    assert numbers["diffusion2d"] < numbers["jacobi"] / 4
    assert "diffusion2d" in capsys.readouterr().out


def test_your_matrix_that_no_model_covers(example, tmp_path, capsys):
    A = sparse.diags_array([-1.0, 2.0, -0.5], offsets=[-1, 0, 1], shape=(60, 60)).tocsr()
    sparse.save_npz(tmp_path / "wind.npz", A)
    np.save(tmp_path / "b.npy", np.ones(60))
    numbers = example("your_matrix").main(matrix=tmp_path / "wind.npz", vector=tmp_path / "b.npy")
    assert numbers["residual"] <= 1e-8
    assert "note: " in capsys.readouterr().out


def test_heat_equation(example):
    numbers = example("heat_equation").main(small=True)
    assert numbers["once: setups"] == 1
    assert numbers["each step: setups"] == 20
    # An old M is still an M, and a new one is better.
    assert numbers["each step: iterations"] < numbers["once: iterations"]
    assert numbers["residual"] <= 1e-8
    assert numbers["once: warmest"] == pytest.approx(numbers["each step: warmest"], rel=1e-6)


def check_rivals(numbers):
    """Each rival is there, and learned is not worse than its twin by more than a step."""
    assert {"jacobi", "sa", "root-node", "twin", "learned"} <= set(numbers)
    assert numbers["residual"] <= 1e-8
    assert numbers["learned"] <= 1.05 * numbers["twin"] + 1


def test_rivals(example, capsys):
    numbers = example("rivals").main(small=True)
    check_rivals(numbers)
    assert numbers["learned"] < numbers["jacobi"] / 4
    out = capsys.readouterr().out
    assert "direct" in out
    assert f"{numbers['learned']:.0f} iterations against" in out


def test_a_rival_that_cannot_be_made_is_a_line(example, capsys, monkeypatch):
    rivals = example("rivals")
    monkeypatch.setattr(rivals, "TUNED", ("sa", "no such"))
    A = sparse.diags_array([-1.0, 3.0, -1.0], offsets=[-1, 0, 1], shape=(60, 60)).tocsr()
    records = rivals.compare(A, np.ones(60))
    assert set(records) == {"jacobi", "sa", "twin", "learned"}
    assert "no such       no setup: " in capsys.readouterr().out


def test_fem_mesh(example):
    numbers = example("fem_mesh").main(small=True)
    check_rivals(numbers)
    assert numbers["learned"] < numbers["jacobi"] / 4
    # The coat keeps nearly all the heat in.
    assert 0.0 < numbers["lost"] < 0.02


def test_graph_labels(example):
    numbers = example("graph_labels").main(small=True)
    check_rivals(numbers)
    assert numbers["right"] > 0.9


def test_power_grid(example):
    numbers = example("power_grid").main(small=True)
    check_rivals(numbers)
    assert numbers["error"] < 1e-6
    assert numbers["farthest"] > 1.0


def test_segment_image(example, tmp_path):
    numbers = example("segment_image").main(small=True, picture=tmp_path / "out.png")
    check_rivals(numbers)
    assert 0.4 < numbers["person"] < 0.7
    assert (tmp_path / "out.png").stat().st_size > 50_000


def test_elasticity(example):
    numbers = example("elasticity").main(small=True)
    check_rivals(numbers)
    assert numbers["learned"] < 0.8 * numbers["blind"]


def test_fit_your_family(example, tmp_path):
    numbers = example("fit_your_family").main(small=True, folder=tmp_path)
    assert (tmp_path / "ground.toml").exists()
    assert numbers["residual"] <= 1e-8
    # Four steps change little.
    assert numbers["fitted"] <= numbers["start"] + 2


def test_train_a_family(example, tmp_path):
    numbers = example("train_a_family").main(small=True, folder=tmp_path)
    assert (tmp_path / "wood.safetensors").exists()
    assert numbers["residual"] <= 1e-8
    # A few steps of training teach little; they must not spoil what the twin knows.
    assert numbers["learned, 48²"] <= 1.3 * numbers["twin, 48²"] + 1


def test_demo(example, tmp_path):
    numbers = example("demo").main(small=True)
    assert numbers["worst residual"] <= 1e-8
    assert (
        numbers["perfusion_poisson: learned"]
        <= 1.05 * numbers["perfusion_poisson: twin (unlearned)"] + 1
    )
    assert (tmp_path / "demo-output" / "convergence.png").stat().st_size > 10_000
    lines = (tmp_path / "demo-output" / "demo.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * 11
