"""Should I use it for load flow? How far apart the buses of a grid are, electrically.

In a lossless DC load flow the angles x of a grid solve A x = p, A the Laplacian of the lines'
1 / reactance with the slack bus removed, p the power fed in. One unit in at bus i and out at the
slack bus raises the angle of i by the distance between the two. The grids are IEEE's of 118 buses
and two of the European high-voltage network, which come with this repository. All are small: look
at the direct solver.
"""

from pathlib import Path

import numpy as np
from rivals import compare, numbers

from neuprecond import problems

MATRICES = Path(__file__).parents[1] / "datasets" / "matrices"
GRIDS = ("case118_dc", "case1354pegase_dc", "case2869pegase_dc")
BUSES = 8  # so many right-hand sides, one M


def main(small: bool = False) -> dict[str, float]:
    """Find the distances of a few buses in each grid, and compare what finds them.

    Parameters
    ----------
    small : bool
        The smaller two grids.

    Returns
    -------
    dict
        Iterations of each M and the true residual of learned on the last grid; "farthest", the
        largest distance there relative to the smallest, and "error" against a direct solver.
    """
    for name in GRIDS[:2] if small else GRIDS:
        A = problems.read(MATRICES / f"{name}.npz")
        buses = np.random.default_rng(19).choice(A.shape[0], BUSES, replace=False)
        unit = np.zeros((A.shape[0], BUSES))
        unit[buses, np.arange(BUSES)] = 1.0
        print(f"{name}:")
        records = compare(A, unit)
        distance = records["learned"].x[buses, np.arange(BUSES)]
        exact = np.linalg.solve(A.toarray(), unit)[buses, np.arange(BUSES)]
    farthest = distance.max() / distance.min()
    print(f"the farthest of {BUSES} buses is {farthest:.1f} times as far as the nearest")
    error = float(abs(distance / exact - 1).max())
    return numbers(records) | {"farthest": float(farthest), "error": error}


if __name__ == "__main__":
    main()
