"""Does it help on my matrix? ``python examples/your_matrix.py A.mtx [b.npy]``."""

import sys
import warnings
from pathlib import Path

import numpy as np

import neuprecond
from neuprecond import problems

SAMPLE = Path(__file__).parents[1] / "datasets" / "generated"


def main(
    small: bool = False, matrix: Path = SAMPLE / "plate.mtx", vector: Path | None = None
) -> dict[str, float]:
    """Solve with the matrix in a file: with Jacobi, with PyAMG, and with what "auto" chooses.

    Parameters
    ----------
    small : bool
        Changes nothing here: the sample is small.
    matrix : Path
        Matrix Market, .npz or Harwell-Boeing; by default steady heat in a plate.
    vector : Path, optional
        Right-hand side, .npy or Matrix Market; white noise by default.

    Returns
    -------
    dict
        Iterations and true residual of each.
    """
    A = problems.read(matrix)
    rng = np.random.default_rng(13)
    b = problems.read_vectors(vector) if vector else rng.standard_normal(A.shape[0])

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # The first load of a process also reads its compiled code: its seconds tell nothing.
        neuprecond.load("auto", A)
        M = neuprecond.load("auto", A)
    for sentence in dict.fromkeys(str(warning.message) for warning in caught):
        print(f"note: {sentence}")
    print(M)
    # For a nonsymmetric A, and where no model covers it, M is not symmetric: GMRES, not CG.
    method = "cg" if M.symmetric else "gmres"

    numbers = {}
    for name, how in (("jacobi", "jacobi"), ("sa", "sa"), (M.model, M)):
        try:
            record = neuprecond.solve(A, b, M=how, method=method)
        except ValueError as error:
            print(f"{name}: {error}")
            continue
        print(record)
        numbers[name] = float(record.iterations)
        numbers["residual"] = record.residual
    return numbers


if __name__ == "__main__":
    main(
        matrix=Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE / "plate.mtx",
        vector=Path(sys.argv[2]) if len(sys.argv) > 2 else None,
    )
