"""Write the generated files again, byte for byte: ``python datasets/make.py``."""

from pathlib import Path

import numpy as np
from scipy import sparse

from neuprecond import problems

HERE = Path(__file__).parent / "generated"


def main(folder: Path = HERE) -> list[str]:
    """Write every generated file into ``folder`` and return their names.

    Numbers are rounded to 10 digits first, so that another machine's last bit does not show.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return plate(folder)


def plate(folder: Path) -> list[str]:
    """Write steady heat in a plate with a lognormal conductivity, heated evenly, cold at the rim.

    Linear elements on random triangles, 576 unknowns: what a user brings as a Matrix Market file.
    """
    rng = np.random.default_rng(20_251)
    problem = problems.draw("fe2d", 24, rng, parameters={"sigma": 1.0, "jitter": 0.4})
    write_symmetric(folder / "plate.mtx", problem.A, "steady heat in a plate, fe2d, seed 20251")
    n = problem.A.shape[0]
    np.save(folder / "plate_b.npy", np.full(n, 1.0 / n))
    return ["plate.mtx", "plate_b.npy"]


def write_symmetric(path: Path, A: sparse.csr_array, comment: str) -> None:
    """Write the lower triangle of a symmetric A as Matrix Market, column by column.

    ``scipy.io.mmwrite`` would do, but its comments and digits may change with its version.
    """
    lower = sparse.csc_array(sparse.tril(A))
    lower.sort_indices()
    cols = np.repeat(np.arange(A.shape[0]), np.diff(lower.indptr))
    lines = [
        "%%MatrixMarket matrix coordinate real symmetric",
        f"% {comment}",
        f"{A.shape[0]} {A.shape[1]} {lower.nnz}",
        *(
            f"{i + 1} {j + 1} {value:.9e}"
            for i, j, value in zip(lower.indices, cols, lower.data, strict=True)
        ),
    ]
    path.write_bytes(("\n".join(lines) + "\n").encode("ascii"))


if __name__ == "__main__":
    for name in main():
        print(name)
