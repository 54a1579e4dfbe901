"""Training by torchrun: as many processes as one likes, the same weights to the last bit."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from recipes import TINY
from rich.console import Console
from safetensors import safe_open

import neuprecond.training.loop as loop
from neuprecond.errors import WeightsError
from neuprecond.training.loop import train
from neuprecond.training.ranks import World, joined
from neuprecond.training.recipes import Ingredient, Recipe
from neuprecond.zoo.files import read_weights

SILENT = Console(quiet=True)
CAUTIOUS = Recipe(
    name="cautious",
    kind="spai",
    summary="for tests",
    mix=(Ingredient("heat", (8, 10), (8, 10), (8, 12), 10),),
    steps=3,
    batch=3,
    width=4,
    rounds=1,
    pool=3,
    labels=0,
    every=2,
    pcg_steps=3,
    coarse_share=0.0,
    cautious=3,
)
FLOW = Recipe(
    name="flow",
    kind="nonsymmetric",
    summary="for tests",
    mix=(Ingredient("advection", (8, 12), (8, 12), (8, 12), 12),),
    steps=0,
    pool=0,
    labels=7,
)
LIMIT = 240

# Every process tells of each file of the folder that it opens for writing.
SCRIPT = """
import json, os, signal, sys
from pathlib import Path

import neuprecond.training.loop as loop
from neuprecond.training.recipes import Ingredient, Recipe

folder, resume, killed, *recipes = sys.argv[1:]
rank = os.environ["RANK"]

def watch(event, args):
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        if str(args[0]).startswith(folder):
            print(f"rank {rank} writes", flush=True)

sys.addaudithook(watch)
step = loop._step

def stopping(*args):
    if killed != "-1" and args[5] == int(killed) and rank == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*args)

loop._step = stopping
for text in recipes:
    facts = json.loads(text)
    facts["mix"] = tuple(
        Ingredient(**{k: tuple(v) if isinstance(v, list) else v for k, v in part.items()})
        for part in facts["mix"]
    )
    loop.train(Recipe(**facts), Path(folder), seed=9, device="cpu", resume=resume == "resume")
"""


def torchrun(
    folder: Path, *recipes: Recipe, resume: bool = False, killed: int = -1
) -> subprocess.CompletedProcess[str]:
    """Two processes that train in a folder; the second may be killed at a step."""
    folder.mkdir(exist_ok=True)
    script = folder.with_suffix(".py")
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = str(Path(loop.__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1", "--nproc_per_node=2"]
    command += ["--master_addr=127.0.0.1", f"--master_port={port}", str(script), str(folder)]
    command += ["resume" if resume else "anew", str(killed)]
    command += [json.dumps(asdict(recipe)) for recipe in recipes]
    done = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = done.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(done.pid, signal.SIGKILL)
        output, _ = done.communicate()
        pytest.fail(f"torchrun hung for {LIMIT} s: {output[-2000:]}")
    return subprocess.CompletedProcess(command, done.returncode, output)


def assert_same_weights(ours: Path, theirs: Path) -> None:
    _, left = read_weights(ours)
    _, right = read_weights(theirs)
    assert left.keys() == right.keys()
    assert all(np.array_equal(left[key], right[key]) for key in right)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process writes."""
    folder = tmp_path_factory.mktemp("alone")
    for recipe in (TINY, CAUTIOUS, FLOW):
        train(recipe, folder, seed=9, device="cpu", console=SILENT)
    return folder


def test_two_processes_train_as_one(alone: Path, tmp_path: Path) -> None:
    run = torchrun(tmp_path / "both", TINY, CAUTIOUS, FLOW)
    assert run.returncode == 0, run.stdout
    assert_same_weights(tmp_path / "both" / "flow.safetensors", alone / "flow.safetensors")
    for name in ("tiny", "cautious"):
        assert_same_weights(
            tmp_path / "both" / f"{name}.safetensors", alone / f"{name}.safetensors"
        )
        # Adam's moments are the gradients of all steps.
        with (
            safe_open(tmp_path / "both" / f"{name}.checkpoint", framework="numpy") as ours,
            safe_open(alone / f"{name}.checkpoint", framework="numpy") as theirs,
        ):
            assert any(key.startswith("adam.exp_avg.") for key in theirs.keys())
            for key in theirs.keys():
                np.testing.assert_array_equal(ours.get_tensor(key), theirs.get_tensor(key))
    card, _ = read_weights(tmp_path / "both" / "tiny.safetensors")
    one, _ = read_weights(alone / "tiny.safetensors")
    assert card.training["processes"] == 2
    assert card.validation == one.validation
    assert "rank 0 writes" in run.stdout
    assert "rank 1 writes" not in run.stdout


def test_killed_process_ends_all_and_one_goes_on(alone: Path, tmp_path: Path) -> None:
    run = torchrun(tmp_path / "killed", TINY, killed=5)
    assert run.returncode != 0
    assert "SIGKILL" in run.stdout
    assert not (tmp_path / "killed" / "tiny.safetensors").exists()
    path = train(TINY, tmp_path / "killed", seed=9, device="cpu", resume=True, console=SILENT)
    assert_same_weights(path, alone / "tiny.safetensors")


def test_two_processes_go_on_from_one(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop._step

    def stopping(*args: object) -> float:
        if args[5] == 5:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(loop, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path / "one", seed=9, device="cpu", console=SILENT)
    run = torchrun(tmp_path / "one", TINY, resume=True)
    assert run.returncode == 0, run.stdout
    assert "going on from step 4 of 6" in run.stdout
    assert_same_weights(tmp_path / "one" / "tiny.safetensors", alone / "tiny.safetensors")


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_item_is_somebodys(size: int) -> None:
    numbers = [k for rank in range(size) for k in World(rank, size).mine(5)]
    assert sorted(numbers) == list(range(5))


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    world = joined("cpu")
    assert (world.rank, world.size) == (0, 1)
    assert world.gathered(["a", "b"], 2) == ["a", "b"]
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("gpus", "processes", "backend", "where"),
    [
        (2, 2, "cpu:gloo,cuda:nccl", ("cuda:1", "cuda:1")),
        # NCCL refuses two processes on one GPU.
        (1, 2, "gloo", ("cuda:0", "cpu")),
        (0, 2, "gloo", ("cpu", "cpu")),
    ],
)
def test_what_processes_talk_by(
    gpus: int,
    processes: int,
    backend: str,
    where: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    for name, value in {**started, "MASTER_ADDR": "nobody"}.items():
        monkeypatch.setenv(name, str(value))
    asked: list[str] = []
    stand_ins = {
        "is_initialized": lambda: False,
        "init_process_group": asked.append,
        "get_backend_config": lambda: asked[0],
        "get_rank": lambda: 1,
        "get_world_size": lambda: processes,
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.distributed, name, stand_in)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    world = joined("cuda" if gpus else "cpu")
    assert asked == [backend]
    assert (world.device, world.exchange) == where


def test_checkpoint_of_another_recipe_is_still_refused(alone: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.checkpoint").write_bytes((alone / "cautious.checkpoint").read_bytes())
    with pytest.raises(WeightsError, match="another recipe"):
        train(TINY, tmp_path, seed=9, device="cpu", resume=True, console=SILENT)
