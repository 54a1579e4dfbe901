"""How long does one M serve? Implicit heat steps whose matrix drifts from step to step.

Each step solves (I + dt L(t)) u_new = u. The pattern never changes, the coefficient in L does. An
old M stays a valid M: it is a fixed operator and knows nothing of the new matrix. It only fits less
and less, and the iterations tell by how much. Load again when those that a new M would have saved
have cost more than its setup.
"""

import numpy as np

import neuprecond
from neuprecond import problems
from neuprecond.problems.diffusion import diffusion_matrix


def main(small: bool = False) -> dict[str, float]:
    """March in time three ways: M of the first step only, M anew each step, M anew when it pays.

    Parameters
    ----------
    small : bool
        A 24 × 24 plate and 20 steps instead of 160 × 160 and 50.

    Returns
    -------
    dict
        Iterations of all steps together and setups of each way, and the largest true residual.
    """
    size, steps = (24, 20) if small else (160, 50)
    problem = problems.draw(
        "heat", size, np.random.default_rng(14), parameters={"kappa": 200.0, "sigma": 1.0}
    )
    # One half of the plate conducts better and better, up to 20 times as well.
    better = np.where(np.arange(size) < size // 2, 1.0, 1e-3) * np.ones((size, 1))
    dt = problem.parameters["dt"]
    change = 20.0 / steps * dt * diffusion_matrix(better)

    # The first load of a process also reads its compiled code.
    neuprecond.load("heat", problem.A)

    numbers: dict[str, float] = {}
    for way in ("once", "each step", "when it pays"):
        u = hot_spot(size)
        M, last_setup, surplus, at_first = None, 0.0, 0.0, 0
        iterations, setups, worst = 0, 0, 0.0
        seconds = {"setup": 0.0, "solve": 0.0}
        for step in range(steps):
            A = (problem.A + step * change).tocsr()
            # Seconds lost since the last setup to iterations that a new M would save.
            pays = way == "when it pays" and M is not None and surplus > last_setup
            if M is None or way == "each step" or pays:
                M = neuprecond.load("heat", A)
                last_setup = sum(M.setup_seconds.values())
                seconds["setup"] += last_setup
                setups, at_first, surplus = setups + 1, 0, 0.0
            record = neuprecond.solve(A, u, M=M, x0=u, rtol=1e-8)
            if not record.converged:
                raise RuntimeError(f"step {step}: {record}")
            u = record.x
            at_first = at_first or record.iterations
            surplus += record.solve_seconds * (1 - at_first / max(record.iterations, 1))
            iterations += record.iterations
            seconds["solve"] += record.solve_seconds
            worst = max(worst, record.residual)
        print(
            f"M {way}: {setups} setups in {seconds['setup']:.2f} s, {iterations} iterations in "
            f"{seconds['solve']:.2f} s, warmest {u.max():.4f}"
        )
        numbers |= {f"{way}: iterations": iterations, f"{way}: setups": setups}
        numbers["residual"] = max(worst, numbers.get("residual", 0.0))
        numbers[f"{way}: warmest"] = float(u.max())
    return numbers


def hot_spot(size: int) -> np.ndarray:
    """A warm spot in the middle of a cold plate."""
    x = (np.arange(size) + 0.5) / size - 0.5
    return np.exp(-50 * (x[:, None] ** 2 + x**2)).ravel()


if __name__ == "__main__":
    main()
