"""Draw docs/pictures/how-it-works.svg: from A to M, and M at work. Run by ``scripts/docs.py``."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from pyamg.classical.split import RS
from scipy import sparse
from scipy.spatial import Delaunay

matplotlib.use("Agg")  # draws into a file, wants no window
import matplotlib.pyplot as plt

# A paper of its own, so that ink is legible on light and dark pages alike.
PAPER, INK, SOFT, LEARNED, CLASSICAL = "#fbfaf7", "#1d1d1f", "#6b6b70", "#5a3fb0", "#b35900"


def draw(path: Path) -> None:
    """Draw and write the picture, byte for byte the same with the same matplotlib."""
    style = {"svg.fonttype": "none", "svg.hashsalt": "neuprecond", "font.size": 10}
    with plt.rc_context(style | {"font.family": "sans-serif", "text.color": INK}):
        figure = plt.figure(figsize=(11, 5.0), facecolor=PAPER)
        points, A, roots = mesh()
        titles = (
            "1. A is a graph",
            "2. Setup, once: corrections",
            "3. M is a cycle of sparse products",
        )
        for k, (title, panel) in enumerate(zip(titles, (graph, setup, cycle), strict=True)):
            axes = figure.add_axes((0.012 + k * 0.328, 0.13, 0.32, 0.75))
            axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], facecolor=PAPER)
            axes.spines[:].set_visible(False)
            figure.text(0.02 + k * 0.328, 0.93, title, fontsize=12, fontweight="bold")
            panel(axes, points, A, roots)
        # Browsers may draw a wider font: room is left on the right of each line.
        figure.text(
            0.02,
            0.035,
            "violet: what the network says, bounded so that M stays definite for any weights",
            color=LEARNED,
        )
        figure.text(0.676, 0.035, "orange: PyAMG's part, the twin's too", color=CLASSICAL)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(
            path, format="svg", metadata={"Date": None, "Creator": None}, facecolor=PAPER
        )
        plt.close(figure)


def mesh() -> tuple[np.ndarray, sparse.csr_array, np.ndarray]:
    """Points of a small triangulation, its Laplacian, and which points are coarse ones."""
    rng = np.random.default_rng(21)
    grid = np.stack(np.meshgrid(np.arange(6), np.arange(6)), axis=-1).reshape(-1, 2)
    points = (grid + rng.uniform(-0.28, 0.28, grid.shape)) / 5.0
    corners = Delaunay(points).simplices
    rows = corners[:, [0, 1, 2]].ravel()
    cols = corners[:, [1, 2, 0]].ravel()
    n = len(points)
    W = sparse.coo_array((np.ones(len(rows)), (rows, cols)), shape=(n, n)).tocsr()
    W = W.maximum(W.T)
    # Long edges on the rim of the triangulation are slivers.
    W = W.multiply(sparse.csr_array(short(W, points))).tocsr()
    W.eliminate_zeros()
    A = sparse.csr_array(sparse.csgraph.laplacian(W))
    roots = RS(sparse.csr_matrix(W)).astype(bool)
    return points, A, roots


def short(W: sparse.csr_array, points: np.ndarray) -> sparse.csr_array:
    """Ones for edges that are not long."""
    coo = W.tocoo()
    length = np.linalg.norm(points[coo.row] - points[coo.col], axis=1)
    keep = length < 0.42
    return sparse.coo_array((keep.astype(float), (coo.row, coo.col)), shape=W.shape)


def placed(points: np.ndarray, x: float, y: float, width: float) -> np.ndarray:
    """Points in a square of the panel."""
    return np.array([x, y]) + width * points


def graph(axes: plt.Axes, points: np.ndarray, A: sparse.csr_array, roots: np.ndarray) -> None:
    """Draw the graph of A with unknowns and couplings named."""
    at = placed(points, 0.14, 0.24, 0.70)
    edges = sparse.triu(A, k=1).tocoo()
    axes.add_collection(
        LineCollection(at[np.stack([edges.row, edges.col], axis=1)], colors=SOFT, linewidths=1.0)
    )
    axes.scatter(*at.T, s=34, color=PAPER, edgecolors=INK, linewidths=1.1, zorder=3)
    axes.text(0.02, 0.13, "a row of A is a node,", color=INK)
    axes.text(0.02, 0.06, "an entry $a_{ij}$ an edge with numbers on it", color=INK)


def setup(axes: plt.Axes, points: np.ndarray, A: sparse.csr_array, roots: np.ndarray) -> None:
    """Draw coarse nodes, interpolation to them, and what the network changes."""
    at = placed(points, 0.14, 0.24, 0.70)
    entries = A.tocoo()
    weak = ~roots[entries.row] & roots[entries.col]
    pairs = np.stack([entries.row[weak], entries.col[weak]], axis=1)
    axes.add_collection(LineCollection(at[pairs], colors=LEARNED, linewidths=1.6, alpha=0.85))
    axes.scatter(*at[~roots].T, s=34, color=LEARNED, edgecolors=PAPER, linewidths=1.0, zorder=3)
    axes.scatter(
        *at[roots].T, s=95, color=CLASSICAL, edgecolors=PAPER, linewidths=1.2, marker="s", zorder=4
    )
    axes.text(0.02, 0.13, "coarse nodes (squares), weights: PyAMG", color=CLASSICAL)
    axes.text(0.02, 0.06, "messages change P and the smoother", color=LEARNED)


def cycle(axes: plt.Axes, points: np.ndarray, A: sparse.csr_array, roots: np.ndarray) -> None:
    """Draw the cycle between r and z, and the solver around it."""
    boxes = {
        "smooth": (0.16, 0.80),
        "smooth ": (0.33, 0.57),
        "exact": (0.50, 0.34),
        " smooth": (0.67, 0.57),
        " smooth ": (0.84, 0.80),
    }
    for word, (x, y) in boxes.items():
        colour = CLASSICAL if word == "exact" else LEARNED
        axes.add_patch(
            FancyBboxPatch(
                (x - 0.075, y - 0.04),
                0.15,
                0.08,
                boxstyle="round,pad=0.012",
                facecolor=PAPER,
                edgecolor=colour,
                linewidth=1.6,
            )
        )
        axes.text(x, y, word.strip(), ha="center", va="center", color=colour)
    centres = list(boxes.values())
    words = ("Pᵀ", "Pᵀ", "P", "P")
    for k, word in enumerate(words):
        (x0, y0), (x1, y1) = centres[k], centres[k + 1]
        down = y1 < y0
        start = (x0, y0 - 0.055) if down else (x0 + 0.09, y0)
        end = (x1 - 0.09, y1) if down else (x1, y1 - 0.055)
        bend = "angle3,angleA=90,angleB=0" if down else "angle3,angleA=0,angleB=90"
        axes.add_patch(arrow(start, end, LEARNED, bend))
        axes.text(x0 - 0.05 if down else x1 + 0.02, 0.5 * (y0 + y1) - 0.03, word, color=LEARNED)
    axes.text(0.005, 0.80, "r", ha="left", va="center", fontsize=13)
    axes.text(0.995, 0.80, "z", ha="right", va="center", fontsize=13)
    axes.add_patch(arrow((0.03, 0.80), (0.075, 0.80), INK, "arc3"))
    axes.add_patch(arrow((0.925, 0.80), (0.97, 0.80), INK, "arc3"))
    axes.add_patch(arrow((0.985, 0.86), (0.015, 0.86), INK, "arc3,rad=0.12"))
    axes.text(0.5, 0.955, "SciPy's cg: r = b − A x", ha="center", va="center")
    axes.text(0.02, 0.13, "z = M r is fixed, linear, symmetric:", color=INK)
    axes.text(0.02, 0.06, "no network and no torch in the loop", color=INK)


def arrow(
    start: tuple[float, float], end: tuple[float, float], colour: str, bend: str
) -> FancyArrowPatch:
    """Draw a thin arrow from start to end."""
    return FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=11, color=colour, linewidth=1.3,
        connectionstyle=bend, shrinkA=0, shrinkB=0,
    )  # fmt: skip


if __name__ == "__main__":
    draw(Path(__file__).parents[1] / "docs" / "pictures" / "how-it-works.svg")
