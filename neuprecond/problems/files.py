"""Readers for matrix files: Matrix Market, SciPy's .npz, Harwell-Boeing and Rutherford-Boeing."""

import gzip
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import scipy.io
from scipy import sparse

from neuprecond import checks

__all__ = ["SUFFIXES", "read", "read_vectors"]

HARWELL_BOEING = (".rb", ".hb", ".rua", ".rsa", ".pua", ".psa", ".rza", ".cua", ".csa")
SUFFIXES = (".mtx", ".npz", *HARWELL_BOEING)

# What the standard library, NumPy and SciPy raise on a file that is cut short or altered.
DAMAGE = (
    ArithmeticError,
    EOFError,
    KeyError,
    IndexError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read(path: str | os.PathLike[str]) -> sparse.csr_array:
    """Read a square sparse matrix from a file; its suffix tells the format.

    Parameters
    ----------
    path : path-like
        ``.mtx`` (Matrix Market: real, integer, pattern or complex; general, symmetric, skew or
        Hermitian; sparse or dense), ``.npz`` (what ``scipy.sparse.save_npz`` writes), or ``.rb``,
        ``.hb``, ``.rua``, ``.rsa``, ... (Harwell-Boeing and Rutherford-Boeing, assembled). Text
        formats may be compressed: ``.mtx.gz``. Nothing in a file is ever run or unpickled.

    Returns
    -------
    csr_array, shape (n, n)
        float64, or complex128 if the file is complex. Canonical: both triangles, sorted rows, no
        duplicates, no stored zeros. A pattern's entries are 1.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the suffix is unknown, the file is damaged, or the matrix is not square or not finite.

    References
    ----------
    R. F. Boisvert, R. Pozo, K. A. Remington, The Matrix Market exchange formats, NISTIR 5935, 1996.
    I. S. Duff, R. G. Grimes, J. G. Lewis, Users' guide for the Harwell-Boeing sparse matrix
    collection, RAL-92-086, 1992.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sparse.save_npz(Path(folder) / "two.npz", sparse.csr_array([[2.0, 0.0], [1.0, 3.0]]))
    ...     read(Path(folder) / "two.npz").toarray()
    array([[2., 0.],
           [1., 3.]])
    """
    path = _existing(path)
    suffix = _suffix(path)
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{path.name}: unknown suffix {suffix!r}. Known: {', '.join(SUFFIXES)}, "
            "the text formats also with .gz."
        )
    try:
        if suffix == ".mtx":
            A = scipy.io.mmread(path, spmatrix=False)
        elif suffix == ".npz":
            # NumPy leaves a damaged file open if it has to open it itself.
            with path.open("rb") as file:
                A = sparse.load_npz(file)
            if A.format in ("csr", "csc", "bsr"):
                # Indices out of range would otherwise reach compiled code.
                A.check_format(full_check=True)
        else:
            A = _harwell_boeing(_lines(path))
    except DAMAGE as error:
        raise ValueError(f"{path.name} is damaged or not a {suffix} file: {error}") from error
    except MemoryError as error:
        raise MemoryError(f"{path.name} says that it is larger than memory: {error}") from error
    try:
        return checks.as_csr(A, allow_complex=True)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def read_vectors(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a vector or a few (a right-hand side b, near-null vectors B) from a file.

    Parameters
    ----------
    path : path-like
        ``.npy``, or ``.mtx`` or ``.mtx.gz`` (Matrix Market, sparse or dense).

    Returns
    -------
    ndarray, shape (n,) or (n, k)
        float64 (complex128 if the file is complex). One column comes back as a vector.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the suffix is unknown, or the file is damaged, holds no numbers, or is not finite.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "b.npy", np.array([[1], [2]]))
    ...     read_vectors(Path(folder) / "b.npy")
    array([1., 2.])
    """
    path = _existing(path)
    suffix = _suffix(path)
    if suffix not in (".npy", ".mtx"):
        raise ValueError(f"{path.name}: unknown suffix {suffix!r}. Known: .npy, .mtx, .mtx.gz.")
    try:
        if suffix == ".npy":
            with path.open("rb") as file:
                vectors = np.load(file, allow_pickle=False)
        else:
            stored = scipy.io.mmread(path, spmatrix=False)
            vectors = stored.toarray() if sparse.issparse(stored) else stored
    except DAMAGE as error:
        raise ValueError(f"{path.name} is damaged or not a {suffix} file: {error}") from error
    if vectors.dtype.kind not in "biufc" or vectors.ndim not in (1, 2) or vectors.size == 0:
        raise ValueError(
            f"{path.name} must hold numbers, one column or a few, "
            f"got dtype {vectors.dtype} and shape {vectors.shape}."
        )
    vectors = vectors.astype(np.complex128 if vectors.dtype.kind == "c" else np.float64)
    if not np.isfinite(vectors).all():
        raise ValueError(f"{path.name} must be finite, got a NaN or an infinity.")
    return vectors[:, 0] if vectors.ndim == 2 and vectors.shape[1] == 1 else vectors


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a matrix file.")
    if not path.exists():
        raise FileNotFoundError(f"no file {path}.")
    return path


def _suffix(path: Path) -> str:
    """Suffix that tells the format: the one before .gz, if that is the last."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _lines(path: Path) -> list[str]:
    content = path.read_bytes()
    if path.suffix.lower() == ".gz":
        content = gzip.decompress(content)
    return content.decode("ascii").splitlines()


def _harwell_boeing(lines: list[str]) -> sparse.csc_array:
    """Read the assembled matrix of a Harwell-Boeing or Rutherford-Boeing file.

    ``scipy.io.hb_read`` gives the stored triangle alone for a symmetric file, takes numbers that
    touch each other for one, and knows no pattern files and no exponents with D.
    """
    if len(lines) < 4:
        raise ValueError(f"a header has at least 4 lines, got {len(lines)}.")
    counts = [int(word) for word in lines[1].split()]
    kind = lines[2][:3].upper()
    if not re.fullmatch("[RCPIQ][SUHZR]A", kind):
        raise ValueError(f"matrix type {kind!r} is not a known assembled one, as RUA or RSA.")
    m, n, nnz = (int(word) for word in lines[2][3:].split()[:3])
    formats = re.findall(r"\(.*?\)", lines[3])
    # Harwell-Boeing's second line has a fifth number, the lines of right-hand sides; if there are
    # any, a fifth header line describes them.
    start = 5 if len(counts) > 4 and counts[4] > 0 else 4
    pointers, start = _fixed(lines, start, formats[0], n + 1)
    rows, start = _fixed(lines, start, formats[1], nnz)
    indptr, indices = pointers.astype(np.int64) - 1, rows.astype(np.int64) - 1
    if kind[0] == "P" or counts[3] == 0:
        values = np.ones(nnz)
    else:
        values, _ = _fixed(lines, start, formats[2], nnz * (2 if kind[0] == "C" else 1))
        if kind[0] == "C":
            values = values[::2] + 1j * values[1::2]
    A = sparse.csc_array((values, indices, indptr), shape=(m, n))
    A.check_format(full_check=True)
    if kind[1] in "SHZ":
        other = A.T.conj() if kind[1] == "H" else A.T
        twin = other - sparse.diags_array(other.diagonal())
        A = A - twin if kind[1] == "Z" else A + twin
    return A


def _fixed(lines: list[str], start: int, form: str, count: int) -> tuple[np.ndarray, int]:
    """Read ``count`` numbers in a Fortran format as (26I3) or (1P,5D16.8): values, next line."""
    # A scale factor 1P does not matter to numbers that carry an exponent.
    match = re.search(r"(\d*)[IEDFG](\d+)", re.sub(r"\d+P,?", "", form.upper().replace(" ", "")))
    if match is None:
        raise ValueError(f"Fortran format {form} is not understood.")
    each, width = int(match[1] or 1), int(match[2])
    if each < 1 or width < 1:
        raise ValueError(f"Fortran format {form} is not understood.")
    words: list[str] = []
    while len(words) < count:
        if start >= len(lines):
            raise ValueError(f"the file ends after {len(words)} of {count} numbers.")
        line = lines[start]
        last = min(each, count - len(words))
        # SciPy's own writer keeps the spaces but not always the widths; Fortran's keeps the widths.
        apart = line.split()
        cut = [line[k * width : (k + 1) * width] for k in range(last)]
        words += apart if len(apart) == last else cut
        start += 1
    return np.array([float(word.upper().replace("D", "E")) for word in words]), start
