"""Features of a level: the compiled loops against NumPy, laws of scale and bounds."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from neuprecond import features
from neuprecond.hierarchy import BASES, Level, coarsen
from neuprecond.problems import draw


def isolated(rng):
    """Some unknowns are coupled to nothing."""
    A = draw("poisson2d", 12, rng).A.tolil()
    for i in (0, 17, 143):
        A[i, :] = 0.0
        A[:, i] = 0.0
        A[i, i] = 3.0
    return sparse.csr_array(A)


def scaled(rng):
    """Rows and columns scaled over sixteen orders of magnitude."""
    A = draw("lognormal", 14, rng).A
    s = sparse.diags_array(10.0 ** rng.uniform(-8, 8, A.shape[0]))
    return sparse.csr_array(s @ A @ s)


CASES = {
    "grid": lambda rng: draw("poisson2d", 16, rng).A,
    "log-normal": lambda rng: draw("lognormal", 16, rng).A,
    "positive off-diagonals": lambda rng: draw("anisotropic", 16, rng).A,
    "line": lambda rng: draw("poisson1d", 120, rng).A,
    "hubs": lambda rng: draw("attachment", 300, rng).A,
    "cube": lambda rng: draw("poisson3d", 6, rng).A,
    "isolated": isolated,
    "scaled": scaled,
}
LEVELS = [(name, base) for name in CASES for base in BASES]


def level_of(name: str, base: str, *, c: float = 1.0) -> Level:
    A = CASES[name](np.random.default_rng(len(name)))
    level = coarsen(sparse.csr_array(c * A), base)
    if level is None:
        pytest.skip("does not coarsen")
    return level


def squash(x):
    return x / (1.0 + np.abs(x))


def over(distance, mean):
    return distance / (distance + mean + 1e-300)


def row_mean(values, indptr):
    counts = np.diff(indptr)
    total = np.bincount(np.repeat(np.arange(len(counts)), counts), values, len(counts))
    return total / np.maximum(counts, 1)


def first_largest(values, indptr):
    """Position of each row's largest entry in size, the first of equals; -1 for an empty row."""
    counts = np.diff(indptr)
    found = np.full(len(counts), -1)
    filled = counts > 0
    size = np.abs(values)
    starts = indptr[:-1][filled]
    top = np.repeat(np.maximum.reduceat(size, starts), counts[filled])
    position = np.where(size >= features.TIE * top, np.arange(len(size)), len(size))
    found[filled] = np.minimum.reduceat(position, starts)
    return found


def vectors(A):
    X = np.random.default_rng(A.shape[0]).standard_normal((A.shape[0], features.TEST_VECTORS))
    weight = 1.0 / max(1.0, 0.5 * float(abs(A).sum(axis=1).max()))
    for _ in range(features.SWEEPS):
        X = X - weight * (A @ X)
    return X


def reference(level: Level) -> dict[str, np.ndarray]:
    """The same numbers by whole-array NumPy."""
    A, u, P = level.A, level.near_null, level.P0
    n = A.shape[0]
    rows = np.repeat(np.arange(n), np.diff(A.indptr))
    off = rows != A.indices
    rows, cols, values = rows[off], A.indices[off], A.data[off]
    counts = np.bincount(rows, minlength=n)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    size = np.abs(values)
    top = np.zeros(n)
    np.maximum.at(top, rows, size)
    top[top == 0] = 1.0
    against = values * (u[cols] / u[rows])
    coarse = np.zeros(n)
    coarse[level.roots] = 1.0
    is_strong = np.zeros((n, n), dtype=bool)
    is_strong[np.repeat(np.arange(n), np.diff(level.strong.indptr)), level.strong.indices] = True

    weights = P.data * level.coarse_near_null[P.indices, 0]
    parent_entry = first_largest(weights, P.indptr)
    fed = parent_entry >= 0
    parent = np.full(n, -1)
    parent[fed] = P.indices[parent_entry[fed]]

    X = vectors(A) / u[:, None]
    X /= np.abs(X).max()
    distance = ((X[rows] - X[cols]) ** 2).sum(axis=1)
    mean = row_mean(distance, indptr)
    nodes = [
        squash((A @ u) / u),
        np.log1p(counts) / 3.0,
        coarse,
        squash(np.bincount(rows, np.maximum(against, 0.0), n)),
    ]
    edges = [
        values,
        squash(against),
        size / top[rows],
        size / top[cols],
        is_strong[rows, cols],
        coarse[cols],
        (parent[rows] == parent[cols]) & (parent[rows] >= 0),
        over(distance, mean[rows]),
        over(distance, mean[cols]),
    ]

    p_counts = np.diff(P.indptr)
    p_rows = np.repeat(np.arange(n), p_counts)
    p_roots = level.roots[P.indices]
    is_parent = np.zeros(P.nnz)
    is_parent[parent_entry[fed]] = 1.0
    p_distance = ((X[p_rows] - X[p_roots]) ** 2).sum(axis=1)
    p_mean = row_mean(p_distance, P.indptr)
    gradient = (
        (A @ P).toarray()[p_rows, P.indices] * level.coarse_near_null[P.indices, 0] / u[p_rows]
    )
    entries = [
        squash(weights / u[p_rows]),
        squash(A.toarray()[p_rows, p_roots] * (u[p_roots] / u[p_rows])),
        1.0 / p_counts[p_rows],
        p_rows == p_roots,
        is_parent,
        over(p_distance, p_mean[p_rows]),
        squash(gradient),
        squash(gradient / (np.abs(weights / u[p_rows]) + 1e-12)),
    ]
    return {
        "indptr": indptr,
        "cols": cols,
        "nodes": np.stack(nodes, axis=1),
        "edges": np.stack(edges, axis=1),
        "entry_rows": p_rows,
        "entry_roots": p_roots,
        "entries": np.stack(entries, axis=1),
    }


@pytest.mark.parametrize(("name", "base"), LEVELS)
def test_compiled_loops_equal_numpy(name, base):
    level = level_of(name, base)
    found = features.level_features(level)
    for field, expected in reference(level).items():
        actual = getattr(found, field)
        assert actual.dtype == (np.float32 if expected.ndim == 2 else np.int32)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6, err_msg=field)


@pytest.mark.parametrize("name", CASES)
def test_smooth_vectors_equal_numpy(name):
    A = level_of(name, "sa0").A
    np.testing.assert_allclose(features.test_vectors(A), vectors(A), atol=1e-13)


@pytest.mark.parametrize(("name", "base"), LEVELS)
def test_features_are_bounded(name, base):
    found = features.level_features(level_of(name, base))
    for numbers in (found.edges, found.entries):
        assert np.abs(numbers).max() <= 1.0 + 1e-6
    # The degree is a logarithm: three for some thousand neighbours.
    assert np.abs(found.nodes).max() <= 3.0


@pytest.mark.parametrize("c", [1e-9, 7.0, 1e9])
@pytest.mark.parametrize("name", CASES)
def test_the_scale_of_the_matrix_does_not_show(name, c):
    one, other = (features.level_features(level_of(name, "rs", c=scale)) for scale in (1.0, c))
    for field in ("nodes", "edges", "entries"):
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), atol=1e-5)


def test_the_same_level_gives_the_same_bytes():
    level = level_of("hubs", "sa")
    one, other = features.level_features(level), features.level_features(level)
    for field in vars(one):
        assert getattr(one, field).tobytes() == getattr(other, field).tobytes()


def test_equal_weights_have_the_first_coarse_unknown_as_parent():
    found = features.level_features(level_of("line", "rs"))
    parents = found.entries[:, features.ENTRY_FEATURES.index("parent")]
    first = np.unique(found.entry_rows, return_index=True)[1]
    inner = found.entry_rows[first] != len(found.nodes) - 1
    assert (parents[first][inner] == 1.0).all()
    assert parents.sum() == len(first)


def test_no_torch():
    code = "import neuprecond.features, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
