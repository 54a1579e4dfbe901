"""Can it cut out the person in a photograph? Random walker segmentation, with a picture of it.

Mark a few strokes as person and as background. A walker who starts at a pixel and crosses borders
between unlike colours seldom reaches a stroke of the person first with probability x, and x solves
A x = b: A is the Laplacian of the grid of pixels without the marked ones (L. Grady, Random walks
for image segmentation, IEEE Trans. Pattern Anal. Mach. Intell. 28, 2006).

The photograph is of Grace Hopper, by J. S. Davis for the US Navy: a work of the US government, in
the public domain; matplotlib brings it along. Needs the extra ``plots``. Writes segment.png.
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.cbook import get_sample_data
from rivals import compare, numbers
from scipy import sparse

matplotlib.use("Agg")  # draws into a file, wants no window
import matplotlib.pyplot as plt

BETA = 60.0  # how much a border counts; colours are from 0 to 1
# Strokes from (row, column) to (row, column), as shares of the height and of the width.
PERSON = [
    ((0.12, 0.37), (0.08, 0.44)),
    ((0.08, 0.58), (0.12, 0.66)),
    ((0.20, 0.33), (0.20, 0.69)),
    ((0.26, 0.50), (0.50, 0.52)),
    ((0.30, 0.33), (0.44, 0.34)),
    ((0.32, 0.70), (0.47, 0.66)),
    ((0.62, 0.24), (0.75, 0.10)),
    ((0.62, 0.75), (0.75, 0.95)),
    ((0.95, 0.06), (0.95, 0.95)),
]
BACKGROUND = [
    ((0.02, 0.03), (0.02, 0.97)),
    ((0.02, 0.03), (0.66, 0.03)),
    ((0.02, 0.97), (0.55, 0.97)),
    ((0.02, 0.20), (0.20, 0.26)),
    ((0.20, 0.26), (0.54, 0.27)),
    ((0.54, 0.27), (0.60, 0.17)),
    ((0.02, 0.31), (0.13, 0.31)),
    ((0.40, 0.74), (0.52, 0.74)),
]


def main(small: bool = False, picture: Path = Path("segment.png")) -> dict[str, float]:
    """Segment, compare what solves the system, and draw before and after.

    Parameters
    ----------
    small : bool
        Every fourth pixel instead of all 600 × 512.
    picture : Path
        Where the picture goes.

    Returns
    -------
    dict
        Iterations of each M, the true residual of learned, and "person", the share of the pixels
        that was cut out.
    """
    with get_sample_data("grace_hopper.jpg") as file:
        photo = plt.imread(file, format="jpg") / 255.0
    if small:
        photo = photo[::4, ::4]
    shape = photo.shape[:2]

    marks = np.zeros(shape, dtype=int)
    for mark, strokes in ((1, PERSON), (2, BACKGROUND)):
        for start, end in strokes:
            along = np.linspace(0.0, 1.0, 4 * max(shape))[:, None]
            at = ((1 - along) * start + along * np.array(end)) * shape
            marks[tuple(at.astype(int).T)] = mark
    is_person, is_marked = marks.ravel() == 1, marks.ravel() > 0

    L = sparse.csgraph.laplacian(borders(photo)).tocsr()
    A = L[~is_marked][:, ~is_marked]
    b = -(L[~is_marked][:, is_marked] @ is_person[is_marked].astype(float))
    records = compare(A, b)

    x = is_person.astype(float)
    x[~is_marked] = records["learned"].x
    inside = (x > 0.5).reshape(shape)
    print(f"{100 * inside.mean():.1f} % of the photograph is person")
    draw(photo, marks, inside, picture)
    print(f"wrote {picture}")
    return numbers(records) | {"person": float(inside.mean())}


def borders(photo: np.ndarray) -> sparse.csr_array:
    """Weigh each pair of pixels side by side: 1 where their colours agree, near 0 where not."""
    pixel = np.arange(photo.shape[0] * photo.shape[1]).reshape(photo.shape[:2])
    pairs = ((pixel[1:], pixel[:-1]), (pixel[:, 1:], pixel[:, :-1]))
    rows = np.concatenate([here.ravel() for here, _ in pairs])
    cols = np.concatenate([there.ravel() for _, there in pairs])
    colours = photo.reshape(-1, 3)
    # A floor keeps A from falling apart.
    w = np.exp(-BETA * ((colours[rows] - colours[cols]) ** 2).sum(axis=1)) + 1e-6
    W = sparse.coo_array((w, (rows, cols)), shape=(pixel.size, pixel.size)).tocsr()
    return W + W.T


def draw(photo: np.ndarray, marks: np.ndarray, inside: np.ndarray, path: Path) -> None:
    """Draw the marked photograph beside what was cut out of it."""
    figure, (before, after) = plt.subplots(1, 2, figsize=(7, 4.4), layout="constrained")
    before.imshow(photo)
    for mark, colour in ((1, "#ffd200"), (2, "#00c8ff")):
        rows, cols = np.nonzero(marks == mark)
        before.scatter(cols, rows, s=3, color=colour, linewidths=0)
    before.set_title("before: yellow is person, blue is not", fontsize=9)
    after.imshow(np.where(inside[..., None], photo, 0.4 * photo.mean(axis=2, keepdims=True) + 0.6))
    after.contour(inside, levels=[0.5], colors="#ffd200", linewidths=1.0)
    after.set_title("after: cut out by the random walker", fontsize=9)
    for panel in (before, after):
        panel.axis("off")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
