"""Can a packaged model be fitted to my own matrices, in minutes? A function, `fit`, a model file.

Ground water over a boundary layer: the permeability varies by many powers of ten, on a grid that is
stretched towards a wall. The packaged model was trained on either, not on both, nor as wild.
Needs the extra ``train`` (torch and torch-geometric).
"""

import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.console import Console
from scipy import sparse

import neuprecond
from neuprecond.problems.diffusion import diffusion_matrix, smooth_field

CLASSICAL = ("sa08", "sa", "rs")


def ground(rng: np.random.Generator, size: int | None = None) -> sparse.csr_array:
    """Draw −∇·(k∇u): ln k of standard deviation 3, cells up to 100 times as thin as long.

    Everything is drawn from ``rng``, the size too: `fit` asks for no more than that.
    """
    # Up to what is solved below: which plan is best depends on the size too.
    size = round(np.exp(rng.uniform(np.log(32), np.log(128)))) if size is None else size
    k = np.exp(3.0 * smooth_field((size, size), rng, length=rng.uniform(2.0, 6.0)))
    widths = rng.uniform(10.0, 100.0) ** (np.arange(size) / (size - 1))
    return diffusion_matrix(k, widths=(np.ones(size), widths))


def main(small: bool = False, folder: Path | None = None) -> dict[str, float]:
    """Fit, load the file by its path, and compare on larger matrices that it has not seen.

    Parameters
    ----------
    small : bool
        A few small matrices and steps instead of 48 and 200, and one small test matrix.
    folder : Path, optional
        Gets the model file; a temporary one by default.

    Returns
    -------
    dict
        Mean iterations of start, fitted, its twin and the best of PyAMG's; seconds of the fit; the
        largest true residual.
    """

    def tiny(rng: np.random.Generator) -> sparse.csr_array:
        return ground(rng, size=20)

    tests, size = (1, 24) if small else (8, 128)
    with tempfile.TemporaryDirectory() as temporary:
        out = (folder or Path(temporary)) / "ground.safetensors"
        start = perf_counter()
        if small:
            quiet = Console(quiet=True)
            neuprecond.fit(tiny, out, steps=4, count=4, device="cpu", console=quiet)
        else:
            neuprecond.fit(ground, out, device="cpu")
        seconds = perf_counter() - start
        models = {
            "start": neuprecond.load_model("diffusion2d"),
            "fitted": neuprecond.load_model(out),
        }
    print(models["fitted"].card)

    counts: dict[str, list[int]] = {}
    residual = 0.0
    for test in range(tests):
        # A seed that fit does not draw from.
        A = ground(np.random.default_rng([2026, test]), size=size)
        b = np.random.default_rng(test).standard_normal(A.shape[0])
        # check="probe" would compare M with its twin; here both are shown.
        tried = {name: model.build(A, far=np.inf)[0] for name, model in models.items()}
        tried["twin"] = models["fitted"].build(A, learned=False, far=np.inf)[0]
        records = {name: neuprecond.solve(A, b, M=M) for name, M in tried.items()}
        rivals = [neuprecond.solve(A, b, M=name) for name in CLASSICAL]
        records["classical"] = min(rivals, key=lambda record: record.iterations)
        for name, record in records.items():
            counts.setdefault(name, []).append(record.iterations)
            residual = max(residual, record.residual)
        took = ", ".join(f"{name} {record.iterations}" for name, record in records.items())
        print(f"{size} × {size}, test {test}: {took}")
    numbers = {name: float(np.mean(found)) for name, found in counts.items()}
    print("mean iterations:", ", ".join(f"{name} {mean:.1f}" for name, mean in numbers.items()))
    return numbers | {"seconds": seconds, "residual": residual}


if __name__ == "__main__":
    main(folder=Path("runs"))
