"""The network on torch's devices gives what the compiled loops give."""

import numpy as np
import pytest
import torch

import neuprecond
from neuprecond import problems

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here"),
    ),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("model", "family"), [("diffusion2d", "lognormal"), ("heat", "heat")])
def test_devices_agree(device: str, model: str, family: str) -> None:
    A = problems.draw(family, 32, np.random.default_rng(31)).A
    r = np.random.default_rng(1).standard_normal(A.shape[0])
    here = neuprecond.load(model, A) @ r
    there = neuprecond.load(model, A, device=device) @ r
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-4 * np.abs(here).max())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_missing_device_is_named() -> None:
    A = problems.draw("poisson2d", 12, np.random.default_rng(1)).A
    with pytest.raises(ValueError, match="cuda"):
        neuprecond.load("diffusion2d", A, device="cuda")
