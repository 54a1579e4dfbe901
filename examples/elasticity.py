"""What do I gain by telling it the rigid body modes? A pipe elbow and a clamped plate.

A body that moves as a whole is not deformed: translations and rotations cost almost no energy, and
a coarse level that cannot represent them is worth little. The matrix alone does not tell them, B
does: three vectors in the plane, six in space. PyAMG gets the same B. Nothing was learned about
elasticity: look at the twin. Needs the extra ``problems`` for the plate.
"""

from pathlib import Path

import numpy as np
from rivals import compare, numbers

from neuprecond import problems

# Ruge-Stüben interpolates one unknown a point: on the plate it divides by zero, thousands of times,
# and PyAMG prints a line for each.
HOPELESS = ("rs",)
MATRICES = Path(__file__).parents[1] / "datasets" / "matrices"


def main(small: bool = False) -> dict[str, float]:
    """Compare without B and with it on each body.

    Parameters
    ----------
    small : bool
        A small bar and a plate of 12² elements instead of the elbow and a plate of 96².

    Returns
    -------
    dict
        Iterations of each M on the plate with B and the true residual of learned; "blind", those of
        learned without B.
    """
    body = "bar" if small else "elbow2_elasticity"
    A = problems.read(MATRICES / f"{body}.npz")
    modes = problems.read_vectors(MATRICES / f"{body.split('_')[0]}_B.npy")
    plate = problems.draw("elasticity2d", 12 if small else 96, np.random.default_rng(18))
    load = np.random.default_rng(18).standard_normal(A.shape[0])
    for title, (matrix, b, B) in {
        body: (A, load, modes),
        "clamped plate": (plate.A, plate.b, plate.B),
    }.items():
        print(f"{title}, without B:")
        blind = compare(matrix, b, without=HOPELESS)
        print(f"{title}, with the {B.shape[1]} rigid body modes as B:")
        told = compare(matrix, b, B=B, without=HOPELESS)
        print(
            f"B saves learned {blind['learned'].iterations - told['learned'].iterations} of "
            f"{blind['learned'].iterations} iterations\n"
        )
    return numbers(told) | {"blind": float(blind["learned"].iterations)}


if __name__ == "__main__":
    main()
