"""How do I use it? M ≈ A⁻¹ for SciPy's CG in one line."""

import numpy as np
from scipy.sparse.linalg import cg

import neuprecond
from neuprecond import problems


def main(small: bool = False) -> dict[str, float]:
    """Solve a diffusion problem with CG, alone and with a learned M.

    Parameters
    ----------
    small : bool
        A 32 × 32 grid instead of 256 × 256.

    Returns
    -------
    dict
        Iterations of either, the relative residual, and how near M (A x) is to x.
    """
    size = 32 if small else 256
    problem = problems.draw("lognormal", size, np.random.default_rng(11))
    A, b = problem.A, problem.b

    M = neuprecond.load("auto", A)
    print(M)

    # M approximates the inverse of A: M @ (A @ x) is near x.
    x = np.random.default_rng(12).standard_normal(A.shape[0])
    error = np.linalg.norm(M @ (A @ x) - x) / np.linalg.norm(x)
    print(f"‖M A x − x‖ / ‖x‖ = {error:.2f}")

    counts = {"alone": 0, "learned": 0}
    for name, how in (("alone", None), ("learned", M)):

        def count(_: np.ndarray, name: str = name) -> None:
            counts[name] += 1

        x, info = cg(A, b, M=how, rtol=1e-8, callback=count)
        residual = np.linalg.norm(b - A @ x) / np.linalg.norm(b)
        print(f"cg, {name}: {counts[name]} iterations, info {info}, true residual {residual:.1e}")
    return {**counts, "residual": float(residual), "error": float(error)}


if __name__ == "__main__":
    main()
