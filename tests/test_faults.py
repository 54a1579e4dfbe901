"""What must survive: a kill in the middle of a training, a full disk, Ctrl-C."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neuprecond import load_model, save_model
from neuprecond.zoo.atomic import write_bytes
from neuprecond.zoo.files import read_weights

ROOT = Path(__file__).parents[1]
TINY = """
    import sys
    from pathlib import Path
    from rich.console import Console
    from neuprecond.training.loop import train
    from neuprecond.training.recipes import Ingredient, Recipe

    recipe = Recipe(
        name="tiny", kind="multilevel", summary="for tests",
        mix=(Ingredient("lognormal", (14, 18), (24, 30), (14, 18), 20),),
        steps=40, width=4, rounds=1, pool=6, labels=6, every=1, pcg_steps=3,
    )
    folder = Path(sys.argv[1])
    train(recipe, folder, seed=9, device="cpu", resume=True, console=Console(quiet=True))
"""


def start_training(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(TINY), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def weights(folder: Path) -> dict[str, np.ndarray]:
    return read_weights(folder / "tiny.safetensors")[1]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path):
    pytest.importorskip("torch")
    whole = start_training(tmp_path / "whole")
    assert whole.wait(timeout=300) == 0
    killed = tmp_path / "killed"
    checkpoint, kills = killed / "tiny.checkpoint", 0
    rng = np.random.default_rng(int(time.time()))
    for _ in range(3):
        process = start_training(killed)
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        until = time.monotonic() + 120
        while time.monotonic() < until and process.poll() is None:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                break
            time.sleep(0.005)
        # Anywhere in the steps that follow, in the middle of a checkpoint too.
        time.sleep(float(rng.uniform(0.0, 0.2)))
        process.send_signal(signal.SIGKILL)
        kills += process.wait(timeout=60) == -signal.SIGKILL
    assert kills > 0
    last = start_training(killed)
    assert last.wait(timeout=300) == 0
    ours, theirs = weights(killed), weights(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)


# A full disk.


def fill(monkeypatch):
    """Of all that is written from now on the first half fits."""
    really_open = Path.open

    def opened(path, mode="r", *args, **options):
        file = really_open(path, mode, *args, **options)
        if "w" in mode or "a" in mode:
            write = file.write

            def full(content):
                write(content[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            return _Writing(file, full)
        return file

    monkeypatch.setattr(Path, "open", opened)


class _Writing:
    def __init__(self, file, write):
        self._file, self.write = file, write

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def writelines(self, lines):
        for line in lines:
            self.write(line)


def test_a_full_disk_leaves_the_old_weights_and_card(tmp_path, monkeypatch):
    model = load_model("heat")
    path = tmp_path / "mine.safetensors"
    save_model(model, path)
    before = path.read_bytes(), path.with_suffix(".toml").read_bytes()
    changed = {key: value + 1 for key, value in model.weights.items()}
    with monkeypatch.context() as patched:
        fill(patched)
        with pytest.raises(OSError, match="No space left"):
            save_model(replace(model, weights=changed), path)
    assert (path.read_bytes(), path.with_suffix(".toml").read_bytes()) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.safetensors", "mine.toml"]
    load_model(path)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from neuprecond.training import multilevel
    from neuprecond.training.checkpoints import Progress, load_checkpoint, save_checkpoint

    net = multilevel.network(width=4, rounds=1)
    optimiser = torch.optim.Adam(net.parameters())
    best = {key: value.clone() for key, value in net.state_dict().items()}
    path = tmp_path / "tiny.checkpoint"
    save_checkpoint(path, net, optimiser, best, Progress(step=3), recipe="r")
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        fill(patched)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(path, net, optimiser, best, Progress(step=4), recipe="r")
    assert path.read_bytes() == before
    assert load_checkpoint(path, net, optimiser, recipe="r")[1].step == 3


def test_a_full_disk_leaves_the_rows_of_a_map(tmp_path, monkeypatch):
    from neuprecond.report import Counts

    counts = Counts.read(ROOT / "datasets" / "results" / "map")
    few = Counts(tmp_path, counts.head, counts.runs[:5], [])
    few.write()
    with monkeypatch.context() as patched:
        fill(patched)
        with pytest.raises(OSError, match="No space left"):
            few.append(counts.runs[5])
    # The row that was cut off does not count, and does not spoil the others.
    assert len(Counts.read(tmp_path).runs) == 5
    with monkeypatch.context() as patched:
        fill(patched)
        with pytest.raises(OSError, match="No space left"):
            Counts(tmp_path, counts.head, counts.runs[:9], []).write()
    assert len(Counts.read(tmp_path).runs) == 5


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE")
def test_a_limit_on_file_size_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    code = f"""
        import resource, signal
        from pathlib import Path
        from neuprecond.zoo.atomic import write_bytes
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_bytes(Path({str(path)!r}), bytes(100_000))
        except OSError as error:
            print(error.errno)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert int(done.stdout) == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
