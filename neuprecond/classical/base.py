"""What every classical preconditioner shares: an M ≈ A⁻¹ that SciPy's solvers take as it is."""

from abc import abstractmethod

import numpy as np
from scipy.sparse.linalg import LinearOperator

__all__ = ["Preconditioner"]


class Preconditioner(LinearOperator):
    """A fixed, linear M ≈ A⁻¹ applied by ``M @ r``, to a vector or to many at once.

    A subclass keeps plain arrays only, so that it pickles, and says how to apply them.

    Parameters
    ----------
    n : int
        Number of unknowns.
    nnz : int
        Stored entries of A.
    name : str
        What reports call this preconditioner.
    multiplications : int
        Multiplications of one ``M @ r``.
    setup_seconds : dict of str to float
        Seconds of each stage of the setup.
    symmetric : bool
        M equals its transpose (and, where A is definite, is definite too), so that CG may use it.
    dtype : data type
        float64, or complex128 for a complex A.

    Attributes
    ----------
    name, setup_seconds, symmetric
        As above.
    density : float
        Multiplications of one ``M @ r`` over the stored entries of A.
    """

    def __init__(
        self,
        n: int,
        *,
        nnz: int,
        name: str,
        multiplications: int,
        setup_seconds: dict[str, float],
        symmetric: bool = True,
        dtype: type = np.float64,
    ) -> None:
        super().__init__(dtype, (n, n))
        self.name = name
        self.density = multiplications / max(nnz, 1)
        self.setup_seconds = setup_seconds
        self.symmetric = symmetric

    @abstractmethod
    def _apply(self, R: np.ndarray) -> np.ndarray:
        """M @ R for R of shape (n,) or (n, k); R is not to be changed."""

    def _apply_adjoint(self, R: np.ndarray) -> np.ndarray:
        """Mᴴ @ R; a subclass whose M is not symmetric says how."""
        return self._apply(R)

    def _matvec(self, r: np.ndarray) -> np.ndarray:
        return self._apply(self._working(np.ravel(r)))

    def _matmat(self, R: np.ndarray) -> np.ndarray:
        return self._apply(self._working(R))

    def _rmatvec(self, r: np.ndarray) -> np.ndarray:
        return self._apply_adjoint(self._working(np.ravel(r)))

    def _rmatmat(self, R: np.ndarray) -> np.ndarray:
        return self._apply_adjoint(self._working(R))

    def _adjoint(self) -> LinearOperator:
        return self if self.symmetric else super()._adjoint()

    def _working(self, R: np.ndarray) -> np.ndarray:
        # SciPy's GMRES works in the dtype of what M returns: never less than double precision. Nor
        # more, which the compiled loops do not know.
        is_complex = "c" in (R.dtype.kind, np.dtype(self.dtype).kind)
        return np.ascontiguousarray(R, dtype=np.complex128 if is_complex else np.float64)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.shape[0]} unknowns, density {self.density:.2f}>"
