"""Can one M serve many right-hand sides? Handwritten digits labelled from a few of them.

Neighbouring digits have the same label, mostly: join each to its nearest neighbours and let a few
known labels spread like heat until nothing changes (harmonic functions, X. Zhu, Z. Ghahramani,
J. Lafferty, Semi-supervised learning using Gaussian fields and harmonic functions, ICML 2003). The
matrix is the graph's Laplacian without the known digits, and each of the ten labels is a right-hand
side. The graph is small: look at the direct solver. Needs scikit-learn, of the extra ``examples``.
"""

import numpy as np
from rivals import compare, numbers
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.neighbors import kneighbors_graph

NEIGHBOURS, KNOWN = 8, 5  # known of each digit


def main(small: bool = False) -> dict[str, float]:
    """Label the digits, compare what solves the system, and count the labels that are right.

    Parameters
    ----------
    small : bool
        The first 600 of 1797 scans.

    Returns
    -------
    dict
        Iterations of each M, the true residual of learned, and "right", the share of the unknown
        labels that were found.
    """
    rng = np.random.default_rng(16)
    digits = load_digits()
    several = slice(600 if small else None)
    scans, labels = digits.data[several], digits.target[several]
    W = weights(scans)
    known = np.concatenate(
        [rng.choice(np.flatnonzero(labels == digit), KNOWN, replace=False) for digit in range(10)]
    )
    unknown = np.setdiff1d(np.arange(len(labels)), known)
    # A part of the graph in which nothing is known would have no single answer.
    _, part = sparse.csgraph.connected_components(W, directed=False)
    unknown = unknown[np.isin(part[unknown], part[known])]

    L = sparse.csgraph.laplacian(W).tocsr()
    A = L[unknown][:, unknown]
    is_digit = labels[known][:, None] == np.arange(10)
    b = W[unknown][:, known] @ is_digit.astype(float)
    records = compare(A, b)

    found = records["learned"].x.argmax(axis=1)
    right = float((found == labels[unknown]).mean())
    print(f"{10 * KNOWN} known labels gave {100 * right:.1f} % of the other {len(unknown)} right")
    return numbers(records) | {"right": right}


def weights(points: np.ndarray) -> sparse.csr_array:
    """Join each point to its neighbours; near ones weigh more, by the distance to the farthest."""
    W = sparse.csr_array(kneighbors_graph(points, NEIGHBOURS, mode="distance"))
    reach = W.max(axis=1).toarray().ravel()
    rows, cols = W.nonzero()
    W.data = np.exp(-(W.data**2) / (reach[rows] * reach[cols]))
    return W.maximum(W.T)


if __name__ == "__main__":
    main()
