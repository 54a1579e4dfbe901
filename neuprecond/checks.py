"""Checks of what a caller hands in: one function each, one message each."""

import numpy as np
from scipy import sparse

from neuprecond import rows
from neuprecond.errors import NotDefiniteError

__all__ = [
    "as_csr",
    "asymmetry",
    "one_sign",
    "refuse_masked",
    "require_definite_diagonal",
    "require_near_null",
    "require_symmetric",
]

# Rounding in an assembled matrix leaves an asymmetry of a few ulps; real asymmetry is far larger.
SYMMETRY_TOLERANCE = 1e-10


def as_csr(A: object, *, allow_complex: bool = False) -> sparse.csr_array:
    """Copy A as a square, finite ``csr_array`` of float64 with sorted rows and no duplicates.

    Parameters
    ----------
    A : sparse array or matrix of any format and index width, or dense array, shape (n, n)
        Never changed; the result shares no memory with it.
    allow_complex : bool
        Keep a complex A complex (complex128) instead of refusing it.

    Returns
    -------
    csr_array, shape (n, n)
        Explicit zeros off the diagonal are dropped, int32 indices wherever they fit.

    Raises
    ------
    TypeError
        If A is not a matrix of numbers, or complex without ``allow_complex``.
    ValueError
        If A is not square, empty, damaged, or holds a NaN, an infinity or masked entries.

    Examples
    --------
    >>> as_csr(np.eye(2, dtype=int)).dtype
    dtype('float64')
    """
    matrix = _as_sparse(A)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"A must be square, got shape {matrix.shape}.")
    n = matrix.shape[0]
    if n == 0:
        raise ValueError("A must have at least one row, got shape (0, 0).")
    if matrix.dtype.kind not in "biufc":
        raise TypeError(f"A must hold numbers, got dtype {matrix.dtype}.")
    is_complex = matrix.dtype.kind == "c"
    if is_complex and not allow_complex:
        raise TypeError(
            f"A must be real, got dtype {matrix.dtype}. For a complex system take "
            'load("auto", A) and GMRES.'
        )
    dtype = np.complex128 if is_complex else np.float64
    index = np.int32 if max(n, matrix.nnz) < np.iinfo(np.int32).max else np.int64
    try:
        csr = _as_csr(matrix, dtype, index)
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"A is damaged, its {matrix.format} storage is not valid: {error}."
        ) from None
    with np.errstate(all="ignore"):
        csr.sum_duplicates()
    csr.sort_indices()
    bad = np.flatnonzero(~np.isfinite(csr.data))
    if len(bad):
        k = bad[0]
        kind = "NaN" if np.isnan(csr.data[k]) else "an infinity"
        row = int(np.searchsorted(csr.indptr, k, side="right")) - 1
        raise ValueError(
            f"A must be finite, got {kind} at row {row}, column {csr.indices[k]} "
            f"({len(bad)} non-finite entries in all)."
        )
    if not csr.data.all():
        csr.eliminate_zeros()
    return csr


def _as_csr(matrix: sparse.sparray, dtype: type, index: type) -> sparse.csr_array:
    """Convert after a look at what would lead compiled loops astray: indices and pointers."""
    if matrix.format in ("csr", "csc", "bsr"):
        # Checking may trim the arrays of what is checked, and A is the caller's.
        kind = getattr(sparse, f"{matrix.format}_array")
        matrix = kind((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
        matrix.check_format(full_check=True)
    if matrix.format == "csr":
        parts = (
            matrix.data.astype(dtype),
            matrix.indices.astype(index),
            matrix.indptr.astype(index),
        )
        return sparse.csr_array(parts, shape=matrix.shape)
    # Through triplets, since other ways to CSR add duplicates up in the dtype they came in.
    coo = matrix.tocoo()
    places: tuple[np.ndarray, ...] = tuple(np.asarray(c).astype(index) for c in coo.coords)
    return sparse.coo_array((coo.data.astype(dtype), places), shape=coo.shape).tocsr()


def _as_sparse(A: object) -> sparse.sparray:
    """Leave A as it came if it is sparse, else make it an array of triplets."""
    if sparse.issparse(A):
        return A
    if not hasattr(A, "__array__") and not isinstance(A, list | tuple):
        raise TypeError(
            "A must be a SciPy sparse array or matrix, or a dense NumPy array, got "
            f"{type(A).__name__}. Convert it first, for example scipy.sparse.csr_array(A)."
        )
    refuse_masked(A, "A")
    try:
        dense = np.asarray(A)
    except ValueError as error:
        raise ValueError(f"A must be a matrix, got nested lists that are none: {error}") from None
    if dense.dtype.kind not in "biufc":
        raise TypeError(f"A must hold numbers, got an array of dtype {dense.dtype}.")
    if dense.ndim != 2:
        raise ValueError(f"A must be a matrix, got an array of shape {dense.shape}.")
    # SciPy's sparse arrays take neither half precision nor the bytes of another machine.
    wide = dense.astype(np.complex128 if dense.dtype.kind == "c" else np.float64)
    return sparse.coo_array(wide)


def refuse_masked(x: object, name: str) -> None:
    """Raise ``ValueError`` for masked entries, which NumPy would take as the numbers below.

    Examples
    --------
    >>> refuse_masked(np.ma.masked_invalid([1.0, 2.0]), "b")
    """
    if np.ma.isMaskedArray(x) and np.ma.is_masked(x):
        raise ValueError(
            f"{name} must have no masked entries, got {np.ma.count_masked(x)}: fill them first."
        )


def asymmetry(A: sparse.csr_array) -> float:
    """Measure the largest entry of abs(A - A.T) by the largest of abs(A); 0 for an empty pattern.

    Examples
    --------
    >>> asymmetry(sparse.csr_array([[1.0, 0.5], [0.0, 1.0]]))
    0.5
    """
    return _asymmetry(A, np.ones(A.shape[0]))[0]


def _asymmetry(A: sparse.csr_array, s: np.ndarray) -> tuple[float, float]:
    """`asymmetry` of diag(s) A diag(s), and the largest of its absolute entries."""
    if A.dtype == np.float64 and A.has_canonical_format:
        return rows.asymmetry(*rows.csr(A), s)
    with np.errstate(over="ignore"):
        values = (A.data * np.repeat(s, np.diff(A.indptr))) * s[A.indices]
    top = float(np.abs(values).max(initial=0.0))
    if top == 0.0 or not np.isfinite(top):
        return 0.0, top
    # Dividing first keeps entries near the overflow limit from becoming infinities; entry by entry,
    # since one over a subnormal top would be one.
    scaled = sparse.csr_array((values / top, A.indices, A.indptr), shape=A.shape)
    return float(abs(scaled - scaled.T).max()), top


def require_symmetric(A: sparse.csr_array, *, who: str) -> None:
    """Raise ``NotDefiniteError`` unless A equals its transpose up to rounding.

    Where A has a whole diagonal, after scaling it to ±1: in a badly scaled matrix a large entry
    would hide all others.
    """
    off, scaling = asymmetry(A), ""
    d = np.abs(A.diagonal())
    if off <= SYMMETRY_TOLERANCE and (d > 0).all():
        off_scaled, top = _asymmetry(A, 1.0 / np.sqrt(d))
        if np.isfinite(top):
            off, scaling = off_scaled, ", after scaling A to a unit diagonal,"
    if off > SYMMETRY_TOLERANCE:
        raise NotDefiniteError(
            f"{who} needs a symmetric A; max |A - Aᵀ| / max |A|{scaling} is {off:.1e}.",
            'Try load("auto", A) with GMRES.',
        )


def one_sign(d: np.ndarray) -> bool:
    """Whether all entries are positive or all are negative.

    Examples
    --------
    >>> one_sign(np.array([-1.0, -2.0])), one_sign(np.array([1.0, 0.0]))
    (True, False)
    """
    return bool((d > 0.0).all() or (d < 0.0).all())


def require_definite_diagonal(A: sparse.sparray, *, who: str) -> None:
    """Raise ``NotDefiniteError`` unless each diagonal entry is positive."""
    d = A.diagonal()
    bad = np.flatnonzero(~(d > 0))
    if len(bad) == len(d) and np.all(d < 0):
        raise NotDefiniteError(
            f"{who} needs a positive definite A, got a negative diagonal throughout.",
            'Solve with -A (and -b), or use load("auto", A), which does that.',
        )
    if len(bad):
        i = bad[0]
        raise NotDefiniteError(
            f"{who} needs a positive diagonal, got {d[i]:.3g} in row {i} "
            f"({len(bad)} of {len(d)} rows). A is not positive definite.",
            'Try load("auto", A) with GMRES or MINRES.',
        )


def require_near_null(B: object, n: int) -> np.ndarray:
    """Copy B as a float64 array of shape (n, k), k >= 1.

    Raises
    ------
    TypeError
        If B is sparse or holds anything but real numbers.
    ValueError
        If B has another number of rows, is not finite, or has a zero column.
    """
    if sparse.issparse(B):
        raise TypeError("B (near-null vectors) must be a dense array; pass B.toarray().")
    refuse_masked(B, "B (near-null vectors)")
    near_null = np.asarray(B)
    if near_null.dtype.kind not in "biuf":
        raise TypeError(
            f"B (near-null vectors) must hold real numbers, got dtype {near_null.dtype}."
        )
    near_null, given = near_null.astype(np.float64), near_null.shape
    if near_null.ndim == 1:
        near_null = near_null[:, None]
    if near_null.ndim != 2 or near_null.shape[0] != n or near_null.shape[1] == 0:
        raise ValueError(f"B (near-null vectors) must have shape ({n}, k) to fit A, got {given}.")
    if not np.isfinite(near_null).all():
        raise ValueError("B (near-null vectors) must be finite, got a NaN or an infinity.")
    empty = np.flatnonzero(~near_null.any(axis=0))
    if len(empty):
        raise ValueError(f"B (near-null vectors) must have no zero column, got one at {empty[0]}.")
    return near_null
