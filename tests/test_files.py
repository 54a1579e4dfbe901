"""Readers: each format gives the same matrix, and a bad file gives a sentence."""

import gzip
import pickle

import numpy as np
import pytest
import scipy.io
from scipy import sparse

from neuprecond import problems
from neuprecond.problems import read, read_vectors

SYMMETRIC = problems.draw("lognormal", 6, np.random.default_rng(918)).A
GENERAL = problems.draw("advection", 6, np.random.default_rng(919)).A


def same(got, wanted):
    assert isinstance(got, sparse.csr_array)
    assert got.dtype == wanted.dtype
    assert got.has_canonical_format
    assert got.data.all()
    assert got.indices.dtype == np.int32
    assert got.shape == wanted.shape
    assert abs(got - wanted).max() <= 1e-12 * abs(wanted).max()


@pytest.mark.parametrize("A", [SYMMETRIC, GENERAL], ids=["symmetric", "general"])
@pytest.mark.parametrize("name", ["a.mtx", "a.mtx.gz", "A.MTX", "a.npz"])
def test_round_trip(tmp_path, name, A):
    path = tmp_path / name
    if name.endswith(".npz"):
        sparse.save_npz(path, A)
    else:
        scipy.io.mmwrite(tmp_path / "plain.mtx", A)
        content = (tmp_path / "plain.mtx").read_bytes()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    same(read(path), A)
    same(read(str(path)), A)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
def test_npz_of_every_format(tmp_path, form):
    sparse.save_npz(tmp_path / "a.npz", SYMMETRIC.asformat(form))
    same(read(tmp_path / "a.npz"), SYMMETRIC)


def test_pattern_integer_and_skew(tmp_path):
    path = tmp_path / "a.mtx"
    path.write_text("%%MatrixMarket matrix coordinate pattern symmetric\n2 2 2\n1 1\n2 1\n")
    assert read(path).toarray().tolist() == [[1, 1], [1, 0]]
    path.write_text(
        "%%MatrixMarket matrix coordinate integer general\n% why\n2 2 2\n1 1 7\n1 2 0\n"
    )
    assert read(path).toarray().tolist() == [[7, 0], [0, 0]]
    assert read(path).nnz == 1
    path.write_text("%%MatrixMarket matrix coordinate real skew-symmetric\n2 2 1\n2 1 3.5\n")
    assert read(path).toarray().tolist() == [[0, -3.5], [3.5, 0]]
    path.write_text("%%MatrixMarket matrix array real general\n2 2\n1\n2\n3\n4\n")
    assert read(path).toarray().tolist() == [[1, 3], [2, 4]]


def test_complex_stays_complex(tmp_path):
    A = sparse.csr_array(np.array([[1 + 2j, 0], [3.0, 4j]]))
    sparse.save_npz(tmp_path / "a.npz", A)
    scipy.io.mmwrite(tmp_path / "a.mtx", A)
    same(read(tmp_path / "a.npz"), A)
    same(read(tmp_path / "a.mtx"), A)


def harwell_boeing(A, kind, *, rutherford, exponent="E"):
    """Write a file by hand, with columns that touch each other as Fortran's do."""
    triangle = sparse.csc_array(sparse.tril(A)) if kind[1] == "S" else sparse.csc_array(A)
    triangle.sort_indices()

    def block(words, each):
        return ["".join(words[k : k + each]) for k in range(0, len(words), each)]

    pointers = block([f"{p + 1:4d}" for p in triangle.indptr], 20)
    rows = block([f"{i + 1:3d}" for i in triangle.indices], 26)
    values = []
    if kind[0] != "P":
        values = block([f"{v:25.16E}".replace("E", exponent) for v in triangle.data], 3)
    parts = len(pointers), len(rows), len(values)
    total = sum(parts)
    counts = [total, *parts] + ([] if rutherford else [0])
    n, nnz = A.shape[0], triangle.nnz
    formats = f"{'(20I4)':16}{'(26I3)':16}{f'(1P,3{exponent}25.16)' if values else '':20}"
    head = [
        f"{'A test':72}{'key':8}",
        "".join(f"{c:14d}" for c in counts),
        f"{kind:14}{n:14d}{n:14d}{nnz:14d}{0:14d}",
        formats,
    ]
    return "\n".join([*head, *pointers, *rows, *values]) + "\n"


@pytest.mark.parametrize("rutherford", [False, True], ids=["harwell", "rutherford"])
@pytest.mark.parametrize("exponent", ["E", "D"])
@pytest.mark.parametrize(("kind", "A"), [("RSA", SYMMETRIC), ("rua", GENERAL)])
def test_harwell_boeing(tmp_path, kind, A, exponent, rutherford):
    text = harwell_boeing(A, kind.upper(), rutherford=rutherford, exponent=exponent)
    path = tmp_path / ("a.rb" if rutherford else "a.hb")
    path.write_text(text.replace(kind.upper(), kind))
    same(read(path), A)
    (tmp_path / "b.rb.gz").write_bytes(gzip.compress(text.encode()))
    same(read(tmp_path / "b.rb.gz"), A)


def test_harwell_boeing_pattern(tmp_path):
    (tmp_path / "a.psa").write_text(harwell_boeing(SYMMETRIC, "PSA", rutherford=True))
    ones = SYMMETRIC.copy()
    ones.data[:] = 1.0
    same(read(tmp_path / "a.psa"), ones)


def test_harwell_boeing_as_scipy_writes_it(tmp_path):
    scipy.io.hb_write(tmp_path / "a.rua", GENERAL)
    same(read(tmp_path / "a.rua"), GENERAL)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.mtx"):
        read(tmp_path / "nowhere.mtx")
    with pytest.raises(FileNotFoundError, match="no file"):
        read_vectors(tmp_path / "nowhere.npy")
    with pytest.raises(ValueError, match="is a folder"):
        read(tmp_path)


def test_unknown_suffix_lists_the_known(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"")
    with pytest.raises(ValueError, match=r"unknown suffix '.mat'. Known: .mtx, .npz, .rb"):
        read(tmp_path / "a.mat")
    with pytest.raises(ValueError, match=r"Known: .npy, .mtx"):
        read_vectors(tmp_path / "a.mat")


@pytest.mark.parametrize("name", ["a.mtx", "a.mtx.gz", "a.npz", "a.rb", "a.hb", "a.rsa"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.9])
def test_a_file_cut_short_is_named(tmp_path, name, share):
    whole = tmp_path / "whole"
    whole.mkdir()
    if name == "a.npz":
        sparse.save_npz(whole / name, SYMMETRIC)
    elif name.startswith("a.mtx"):
        scipy.io.mmwrite(whole / "a.mtx", SYMMETRIC)
        content = (whole / "a.mtx").read_bytes()
        (whole / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    else:
        (whole / name).write_text(harwell_boeing(SYMMETRIC, "RSA", rutherford=name == "a.rb"))
    content = (whole / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=f"^{name}"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.mtx", "a.mtx.gz", "a.npz", "a.rb"])
def test_noise_is_no_matrix(tmp_path, name):
    (tmp_path / name).write_bytes(np.random.default_rng(371).bytes(500))
    with pytest.raises(ValueError, match=f"^{name} is damaged or not a"):
        read(tmp_path / name)


def test_npz_with_indices_out_of_range(tmp_path):
    A = SYMMETRIC.copy()
    A.indices[3] = 10_000
    sparse.save_npz(tmp_path / "a.npz", A)
    with pytest.raises(ValueError, match=r"a\.npz is damaged"):
        read(tmp_path / "a.npz")


class Fires:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def test_nothing_is_unpickled(tmp_path):
    mark = tmp_path / "fired"
    payload = np.array([Fires(mark)], dtype=object)
    np.save(tmp_path / "b.npy", payload, allow_pickle=True)
    np.savez(tmp_path / "a.npz", format=payload, data=payload)
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Fires(mark)))
    for reader, name in [(read_vectors, "b.npy"), (read, "a.npz"), (read_vectors, "c.npy")]:
        with pytest.raises(ValueError, match=name):
            reader(tmp_path / name)
    assert not mark.exists()


def test_not_square_and_not_finite(tmp_path):
    scipy.io.mmwrite(tmp_path / "a.mtx", sparse.csr_array(np.ones((2, 3))))
    with pytest.raises(ValueError, match=r"a.mtx: A must be square, got shape \(2, 3\)"):
        read(tmp_path / "a.mtx")
    sparse.save_npz(tmp_path / "a.npz", sparse.csr_array(np.array([[np.nan]])))
    with pytest.raises(ValueError, match=r"a.npz: A must be finite, got NaN"):
        read(tmp_path / "a.npz")


def test_vectors(tmp_path):
    B = np.random.default_rng(55).standard_normal((5, 3))
    np.save(tmp_path / "B.npy", B)
    assert (read_vectors(tmp_path / "B.npy") == B).all()
    scipy.io.mmwrite(tmp_path / "b.mtx", B[:, :1])
    assert np.allclose(read_vectors(tmp_path / "b.mtx"), B[:, 0], rtol=1e-12)
    scipy.io.mmwrite(tmp_path / "s.mtx", sparse.coo_array(B))
    assert np.allclose(read_vectors(tmp_path / "s.mtx"), B, rtol=1e-12)
    np.save(tmp_path / "bad.npy", np.array([1.0, np.inf]))
    with pytest.raises(ValueError, match="must be finite"):
        read_vectors(tmp_path / "bad.npy")
    np.save(tmp_path / "bad.npy", np.ones((2, 2, 2)))
    with pytest.raises(ValueError, match="one column or a few"):
        read_vectors(tmp_path / "bad.npy")
