"""Laws that every family keeps, the splits, and the files that are generated from families."""

import importlib.util
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from neuprecond import problems
from neuprecond.problems import FAMILIES, Problem, diffusion, graphs, meshes, read, splits

ROOT = Path(__file__).parents[1]
# Small enough for dense eigenvalues: at most some hundred unknowns.
SMALL = {"2-D": 9, "3-D": 5, "graph": 120, "matrix": 120}
NAMES = list(FAMILIES)
DEFINITE = [name for name in NAMES if FAMILIES[name].spd]
# A is the same for every seed: there is nothing to draw but b.
FIXED = {"poisson1d", "poisson2d", "poisson2d_9point", "poisson3d", "poisson3d_27point"}
# Options that leave A as it is; each is outside the range drawn by default.
OPTIONS = [
    ("lognormal", {"sigma": 3.0}),
    ("lognormal", {"length": 2.0}),
    ("twophase", {"contrast": 1e8}),
    ("channels", {"contrast": 1e8}),
    ("anisotropic", {"epsilon": 1e-3, "theta": np.pi / 6}),
    ("delaunay", {"spread": 1.0}),
    ("knn", {"neighbours": 4, "dimension": 2}),
    ("pores", {"spread": 5.0}),
    ("elements", {"element": "P3", "sigma": 2.0, "jitter": 0.0}),
    ("fibres3d", {"epsilon": 1e-5, "element": "cubes"}),
    ("matern", {"reach": 1000.0, "sigma": 0.0}),
    ("covariance", {"neighbours": 5.0, "nugget": 1.0}),
    ("heat", {"kappa": 5.0}),
    ("shifted", {"kind": "grid"}),
    ("advection", {"wind": "recirculating", "peclet": 1e3}),
]


def drawn(name: str, seed: int = 8051, **parameters) -> Problem:
    size = SMALL[FAMILIES[name].dimension]
    return problems.draw(name, size, np.random.default_rng(seed), parameters=parameters)


def content(problem: Problem) -> bytes:
    A = problem.A
    parts = [A.indptr, A.indices, A.data, problem.b]
    return b"".join(part.tobytes() for part in parts) + repr(problem.parameters).encode()


@pytest.mark.parametrize("name", NAMES)
def test_canonical(name):
    A = drawn(name).A
    assert isinstance(A, sparse.csr_array)
    assert A.dtype == np.float64
    assert A.indices.dtype == A.indptr.dtype == np.int32
    assert A.shape[0] == A.shape[1]
    assert A.data.all()
    assert np.isfinite(A.data).all()
    row = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    assert (np.diff(row.astype(np.int64) * A.shape[0] + A.indices) > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_records(name):
    problem = drawn(name)
    n = problem.A.shape[0]
    assert FAMILIES[name].name == problem.name == name
    assert problem.b.shape == (n,)
    assert problem.b.dtype == np.float64
    assert problem.parameters["size"] == SMALL[FAMILIES[name].dimension]
    assert all(type(value) in (int, float, str) for value in problem.parameters.values())
    if problem.B is not None:
        assert problem.B.shape[0] == n
        assert problem.B.dtype == np.float64
        assert np.linalg.matrix_rank(problem.B) == problem.B.shape[1]


@pytest.mark.parametrize("name", NAMES)
def test_size_tells_unknowns(name):
    size = SMALL[FAMILIES[name].dimension]
    n = drawn(name).A.shape[0]
    special = {
        "elasticity2d": 2 * size * (size + 1),
        "elasticity3d": 3 * size * (size + 1) ** 2,
        "saddle": 3 * size**2 - 2 * size - 1,
    }
    if name in special:
        assert n == special[name]
    elif name == "elements":
        # Whole elements of up to four unknowns along a side.
        assert abs(np.sqrt(n) - size) <= 2
    elif name in ("geometric", "knn", "pores", "shifted"):
        assert size / 2 < n <= size
    else:
        assert n == {"2-D": size**2, "3-D": size**3}.get(FAMILIES[name].dimension, size)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes(name):
    assert content(drawn(name)) == content(drawn(name))


@pytest.mark.parametrize("name", NAMES)
def test_other_seed_other_problem(name):
    one, two = drawn(name, 6113), drawn(name, 6114)
    assert one.b[:4].tolist() != two.b[:4].tolist()
    same = one.A.shape == two.A.shape and (one.A != two.A).nnz == 0
    assert same == (name in FIXED)


@pytest.mark.parametrize("name", NAMES)
def test_global_random_state_untouched(name):
    before = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    drawn(name)
    after = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    assert before["pos"] == after["pos"]
    assert (before["key"] == after["key"]).all()


@pytest.mark.parametrize("name", DEFINITE)
@pytest.mark.parametrize("seed", [733, 90210])
def test_symmetric_positive_definite(name, seed):
    A = drawn(name, seed).A
    assert (A != A.T).nnz == 0
    dense = A.toarray()
    s = 1.0 / np.sqrt(np.diag(dense))
    np.linalg.cholesky(s[:, None] * dense * s)


@pytest.mark.parametrize("name", ["helmholtz", "saddle"])
def test_indefinite(name):
    A = drawn(name).A
    assert (A != A.T).nnz == 0
    values = np.linalg.eigvalsh(A.toarray())
    assert values[0] < -1e-6 < 1e-6 < values[-1]
    assert abs(values).min() > 1e-8


def test_saddle_has_a_negative_eigenvalue_for_each_pressure():
    values = np.linalg.eigvalsh(drawn("saddle").A.toarray())
    assert (values < 0).sum() == SMALL["2-D"] ** 2 - 1


def test_advection_is_a_nonsymmetric_m_matrix():
    for wind in ("constant", "recirculating"):
        A = drawn("advection", wind=wind, peclet=20.0).A
        assert abs(A - A.T).max() > 1.0
        off = A - sparse.diags_array(A.diagonal())
        assert off.data.max() <= 0.0
        assert (A @ np.ones(A.shape[0])).min() > -1e-12
        assert np.linalg.inv(A.toarray()).min() > 0


@pytest.mark.parametrize("name", [n for n in DEFINITE if drawn(n).B is not None])
def test_near_null_energy_is_small(name):
    problem = drawn(name)
    energy = problem.B.T @ (problem.A @ problem.B)
    diagonal = problem.A.diagonal() @ problem.B**2
    # The share of the diagonal's energy that is left: boundary rows alone on a larger grid. Random
    # vectors leave about 1. A heat step and a shift are well conditioned by intention.
    least = np.diag(energy) / diagonal
    assert (least < (0.75 if name in ("heat", "shifted") else 0.55)).all()


@pytest.mark.parametrize("name", ["elasticity2d", "elasticity3d"])
def test_rigid_body_modes_cost_nothing_inside(name):
    problem = drawn(name)
    touched = abs(problem.A @ problem.B).max(axis=1) > 1e-8 * problem.A.diagonal().max()
    # Only rows next to the clamped side feel it.
    size, d = SMALL[FAMILIES[name].dimension], problem.B.shape[1] // 2 + 1 - problem.B.shape[1] // 6
    assert touched.sum() <= d * (size + 1) ** (d - 1)


@pytest.mark.parametrize(("name", "parameters"), OPTIONS)
def test_options_are_kept_and_recorded(name, parameters):
    problem = drawn(name, **parameters)
    assert {key: problem.parameters[key] for key in parameters} == parameters
    if FAMILIES[name].spd:
        np.linalg.cholesky(problem.A.toarray())


def test_same_seed_other_contrast_same_geometry():
    one, two = drawn("twophase", contrast=10.0), drawn("twophase", contrast=1e4)
    assert ((one.A.diagonal() > 5) == (two.A.diagonal() > 5)).all()
    assert (one.b == two.b).all()


@pytest.mark.parametrize(("size", "kappa"), [(8, 10.0), (16, 50.0)])
def test_heat_keeps_its_condition_number(size, kappa):
    rng = np.random.default_rng(4407)
    A = problems.draw("heat", size, rng, parameters={"kappa": kappa, "sigma": 0.0}).A.toarray()
    assert 0.5 * kappa < np.linalg.cond(A) < 1.001 * kappa


def test_twophase_reaches_its_contrast():
    values = np.linalg.eigvalsh(drawn("twophase", contrast=1e6).A.toarray())
    assert values[-1] / values[0] > 1e6


def test_harmonic_faces_hand_computed():
    A = diffusion.diffusion_matrix(np.array([[1.0, 3.0], [1.0, 1.0]])).toarray()
    assert A[0, 1] == -1.5
    assert A[0, 2] == -1.0
    assert A[0, 0] == 1.5 + 1.0 + 1.0 + 1.0
    assert A[1, 1] == 1.5 + 1.5 + 3.0 + 3.0


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_coefficients_must_be_positive(bad):
    with pytest.raises(ValueError, match="coefficient must be positive and finite"):
        diffusion.diffusion_matrix(np.array([1.0, bad]))


def test_poisson_spectrum():
    values = np.linalg.eigvalsh(drawn("poisson3d").A.toarray())
    size = SMALL["3-D"]
    line = 2 - 2 * np.cos(np.pi * np.arange(1, size + 1) / (size + 1))
    exact = np.sort((line[:, None, None] + line[:, None] + line).ravel())
    assert np.allclose(values, exact, rtol=1e-12)


def test_smooth_field_is_smooth():
    rough = diffusion.smooth_field((64, 64), np.random.default_rng(12), length=0.0)
    smooth = diffusion.smooth_field((64, 64), np.random.default_rng(12), length=4.0)
    assert abs(np.corrcoef(rough[1:].ravel(), rough[:-1].ravel())[0, 1]) < 0.1
    expected = np.exp(-1 / (2 * 4.0**2))
    assert abs(np.corrcoef(smooth[1:].ravel(), smooth[:-1].ravel())[0, 1] - expected) < 0.02


def test_attachment_has_hubs():
    A = problems.draw("attachment", 4000, np.random.default_rng(87), parameters={"links": 2}).A
    degree = np.diff(A.indptr) - 1
    assert degree.max() > 15 * np.median(degree)
    assert 3.0 < degree.mean() < 4.1


def test_fe2d_without_field_or_jitter_is_the_laplacian():
    A = drawn("fe2d", sigma=0.0, jitter=0.0).A
    wanted = drawn("poisson2d").A
    assert abs(A - wanted).max() < 1e-12


def test_largest_part():
    two = sparse.csr_array(sparse.block_diag([np.ones((2, 2)), np.ones((5, 5))]))
    assert graphs.largest_part(two).shape == (5, 5)


def test_scikit_fem_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skfem", None)
    with pytest.raises(ImportError, match=r"neuprecond\[problems\]"):
        drawn("fe2d")
    assert drawn("poisson2d").A.nnz


def test_rigid_body_modes_need_a_plane_or_space():
    with pytest.raises(ValueError, match=r"shape \(m, 2\) or \(m, 3\)"):
        meshes.rigid_body_modes(np.ones((4, 1)))


def test_unknown_family_names_the_nearest():
    with pytest.raises(ValueError, match=r"no family 'log-normal'. Did you mean 'lognormal'"):
        problems.draw("log-normal", 8, np.random.default_rng(3))
    with pytest.raises(ValueError, match="Known: poisson2d"):
        problems.draw("xyzzy", 8, np.random.default_rng(3))


@pytest.mark.parametrize(
    ("size", "rng", "parameters", "error", "message"),
    [
        (1, np.random.default_rng(3), {}, ValueError, "size must be at least 2, got 1"),
        (8.5, np.random.default_rng(3), {}, TypeError, "size must be a whole number, got 8.5"),
        (8, np.random.RandomState(3), {}, TypeError, "rng must be a numpy.random.Generator"),
        (8, 3, {}, TypeError, "Pass numpy.random.default_rng"),
        (8, np.random.default_rng(3), {"contrast": 1}, ValueError, "it has sigma, length"),
        (8, np.random.default_rng(3), {"sigma": -1}, ValueError, "sigma must be from 0 to 50"),
        (8, np.random.default_rng(3), {"sigma": np.nan}, ValueError, "got nan"),
    ],
)
def test_bad_arguments(size, rng, parameters, error, message):
    with pytest.raises(error, match=message):
        problems.draw("lognormal", size, rng, parameters=parameters)


def test_every_family_has_splits_and_no_split_has_more():
    assert set(splits._table()["family"]) == set(FAMILIES)


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_disjoint(name):
    every = [problems.split(name, split) for split in splits.SPLITS]
    ranges = sorted((split.seeds.start, split.seeds.stop) for split in every)
    assert all(stop <= start for (_, stop), (start, _) in pairwise(ranges))
    for split in every:
        assert len(split.seeds) >= 1000
        assert list(split.sizes) == sorted(set(split.sizes))
    train, *_, outside = every
    assert max(outside.sizes) > max(train.sizes)
    assert not train.parameters
    drawn(name, outside.seeds[0], **outside.parameters)


def test_unknown_split():
    with pytest.raises(ValueError, match=r"no split 'tset'\. Known: train, validation, test"):
        problems.split("poisson2d", "tset")
    with pytest.raises(ValueError, match="no family 'xyzzy'"):
        problems.split("xyzzy", "test")


def test_generated_files_are_rebuilt_byte_for_byte(tmp_path):
    spec = importlib.util.spec_from_file_location("datasets_make", ROOT / "datasets" / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    names = make.main(tmp_path)
    committed = ROOT / "datasets" / "generated"
    assert sorted(names) == sorted(path.name for path in committed.iterdir())
    for name in names:
        assert (tmp_path / name).read_bytes() == (committed / name).read_bytes(), name
    A = read(tmp_path / "plate.mtx")
    assert (A != A.T).nnz == 0
    assert problems.read_vectors(tmp_path / "plate_b.npy").shape == (A.shape[0],)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "datasets" / "matrices").glob("*.npz")), ids=lambda path: path.stem
)
def test_real_matrices_are_read(path):
    A = read(path)
    assert A.has_canonical_format
    assert A.data.all()
    assert path.stem in (path.parent / "SOURCES.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("matrix", "vectors"), [("bar", "bar_B"), ("elbow2_elasticity", "elbow2_B")]
)
def test_real_rigid_body_modes_are_read(matrix, vectors):
    folder = ROOT / "datasets" / "matrices"
    A, B = read(folder / f"{matrix}.npz"), problems.read_vectors(folder / f"{vectors}.npy")
    assert B.shape == (A.shape[0], 6)
