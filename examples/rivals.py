"""Who is best on my A, and at what price? Learned beside its twin, Jacobi and tuned multigrid.

The other examples call `compare` for their own matrices.
"""

import warnings
from time import perf_counter

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

import neuprecond
from neuprecond import SolveRecord, problems
from neuprecond.classical import TUNED


def main(small: bool = False) -> dict[str, float]:
    """Compare on a problem of two materials.

    Parameters
    ----------
    small : bool
        A 32 × 32 grid instead of 256 × 256.

    Returns
    -------
    dict
        Iterations of each, and the true residual of learned.
    """
    size = 32 if small else 256
    problem = problems.draw(
        "twophase", size, np.random.default_rng(15), parameters={"contrast": 1e4}
    )
    return numbers(compare(problem.A, problem.b))


def compare(
    A: object, b: np.ndarray, *, B: np.ndarray | None = None, without: tuple[str, ...] = ()
) -> dict[str, SolveRecord]:
    """Solve with each, print what came of it and a sentence that says who was best.

    Parameters
    ----------
    A : sparse array or matrix, shape (n, n)
        Symmetric positive definite.
    b : ndarray, shape (n,) or (n, k)
        Right-hand sides.
    B : ndarray, shape (n, k), optional
        Near-null vectors, given to all that have a use for them.
    without : tuple of str
        Names to leave out.

    Returns
    -------
    dict of str to SolveRecord
        By "jacobi", the five names of ``TUNED``, "twin" and "learned"; without those that could
        not be made.
    """
    classical = [name for name in ("jacobi", *TUNED) if name not in without]
    records, failures = {}, {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", neuprecond.NeuprecondWarning)
        for name in classical:
            try:
                # Compiled code is read at its first use, which is not what is to be timed.
                neuprecond.solve(A, b, M=name, B=B, maxiter=1)
                records[name] = neuprecond.solve(A, b, M=name, B=B)
            except ValueError as error:
                failures[name] = str(error)
        neuprecond.solve(A, b, B=B, maxiter=1)
        twin = neuprecond.load("auto", A, B=B, learned=False)
        records["twin"] = neuprecond.solve(A, b, M=twin)
        records["learned"] = neuprecond.solve(A, b, M="auto", B=B)

    print(f"{A.shape[0]} unknowns, {A.nnz} entries, {b.size // len(b)} right-hand sides")
    for name, record in records.items():
        print(
            f"  {name:13}{record.iterations:5} iterations, setup {record.setup_seconds:6.3f} s, "
            f"solve {record.solve_seconds:6.3f} s, true residual {record.residual:.1e}"
            + ("" if record.converged else f", {record.status.upper()}")
        )
    for name, sentence in failures.items():
        print(f"  {name:13} no setup: {sentence}")
    print("  {:24} setup {:6.3f} s, solve {:6.3f} s".format("direct (SuperLU)", *direct(A, b)))
    for sentence in dict.fromkeys(str(warning.message) for warning in caught):
        print(f"  note: {sentence}")

    def seconds(name: str) -> float:
        return records[name].setup_seconds + records[name].solve_seconds

    done = [name for name in classical if name in records and records[name].converged]
    fewest = min(done, key=lambda name: records[name].iterations)
    quickest = min(done, key=lambda name: records[name].solve_seconds)
    cheapest = min(done, key=seconds)
    learned = records["learned"]
    print(
        f"  learned against the best classical: {learned.iterations} iterations against "
        f"{records[fewest].iterations} ({fewest}),\n"
        f"  solve {learned.solve_seconds:.3f} s against {records[quickest].solve_seconds:.3f} "
        f"({quickest}), setup + solve {seconds('learned'):.3f} s against {seconds(cheapest):.3f} "
        f"({cheapest})"
    )
    return records


def direct(A: object, b: np.ndarray) -> tuple[float, float]:
    """Seconds of factoring A and of solving with the factors: for a small A nothing is faster."""
    start = perf_counter()
    factors = splu(sparse.csc_matrix(A))
    middle = perf_counter()
    factors.solve(b)
    return middle - start, perf_counter() - middle


def numbers(records: dict[str, SolveRecord]) -> dict[str, float]:
    """Give the iterations of each and the true residual of learned."""
    counts = {name: float(record.iterations) for name, record in records.items()}
    return counts | {"residual": records["learned"].residual}


if __name__ == "__main__":
    main()
