"""M for the solvers of CuPy: ``M.cupy()``."""

from typing import Any

from scipy import sparse

from neuprecond.operators.base import ApproximateInverse

__all__ = ["cupy_inverse"]


def cupy_inverse(M: ApproximateInverse) -> Any:
    """M as a cupyx LinearOperator on CuPy's current device; see `ApproximateInverse.cupy`.

    Parameters
    ----------
    M : ApproximateInverse
        Of kind "multilevel" or "spai", or one that negates such an M.

    Raises
    ------
    ModuleNotFoundError
        If CuPy is not installed.
    TypeError
        If M is not made of sparse products alone.
    """
    try:
        import cupy
        from cupyx.scipy.sparse import csr_matrix
        from cupyx.scipy.sparse.linalg import LinearOperator
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "M.cupy() needs CuPy, which is not installed: pip install 'neuprecond[gpu]', or the "
            "cupy package that fits your CUDA. M itself works with SciPy.",
            name=error.name,
        ) from None

    def matrix(A: sparse.csr_array) -> Any:
        parts = (cupy.asarray(A.data), cupy.asarray(A.indices), cupy.asarray(A.indptr))
        return csr_matrix(parts, shape=A.shape)

    apply = M.on_arrays(matrix, cupy.asarray)
    # M is symmetric.
    return LinearOperator(
        M.shape, matvec=apply, rmatvec=apply, matmat=apply, rmatmat=apply, dtype=M.dtype
    )
