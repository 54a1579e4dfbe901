"""What every M of this library is: a SciPy LinearOperator that tells how it was made."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

if TYPE_CHECKING:
    from neuprecond.torch import TorchInverse

__all__ = ["ApproximateInverse"]


class ApproximateInverse(LinearOperator):
    """A fixed, linear M ≈ A⁻¹, float64 in and out.

    Attributes
    ----------
    model : str
        Name of the model that made it.
    kind : str
        "spai", "multilevel", "nonsymmetric", or "classical" for a fall-back.
    symmetric : bool
        M equals its transpose, so that CG may use it. False for kind "nonsymmetric" and for
        fall-backs, which are for GMRES.
    learned : bool
        False for the unlearned twin.
    density : float
        Multiplications of one ``M @ r`` over nnz(A).
    levels : int
        1 for one-level operators.
    operator_complexity : float
        Nonzeros of all levels' matrices over nnz(A).
    setup_seconds : dict of str to float
        Seconds by phase.
    """

    symmetric: bool = True
    #: What `neuprecond.reuse` needs to know of how M was made.
    origin: Any = None

    def __init__(
        self,
        n: int,
        *,
        model: str,
        kind: str,
        learned: bool,
        density: float,
        levels: int,
        operator_complexity: float,
        setup_seconds: Mapping[str, float],
        dtype: type = np.float64,
    ) -> None:
        super().__init__(dtype, (n, n))
        self.model = model
        self.kind = kind
        self.learned = learned
        self.density = density
        self.levels = levels
        self.operator_complexity = operator_complexity
        self.setup_seconds = dict(setup_seconds)

    @property
    def name(self) -> str:
        """What reports call it: the model, or the model's twin."""
        return self.model if self.learned or self.kind == "classical" else f"{self.model}, twin"

    def _apply_vector(self, r: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _apply_block(self, R: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _matvec(self, r: np.ndarray) -> np.ndarray:
        r = np.asarray(r)
        flat = r.reshape(-1)
        if np.iscomplexobj(flat):
            # M is real: it acts on the two parts apart.
            return self._apply(flat.real) + 1j * self._apply(flat.imag)
        return self._apply(flat)

    def _apply(self, r: np.ndarray) -> np.ndarray:
        return self._apply_vector(np.ascontiguousarray(r, dtype=np.float64))

    def _matmat(self, R: np.ndarray) -> np.ndarray:
        R = np.asarray(R)
        if np.iscomplexobj(R):
            return self._matmat(R.real) + 1j * self._matmat(R.imag)
        return self._apply_block(np.ascontiguousarray(R, dtype=np.float64))

    def _adjoint(self) -> Self:
        return self

    def _transpose(self) -> Self:
        return self

    def aspreconditioner(self) -> Self:
        """M itself: PyAMG's name for the same thing."""
        return self

    def torch(self, device: Any = None, dtype: Any = None) -> "TorchInverse":
        """M on a torch device: a copy of its sparse matrices and a callable on tensors.

        Parameters
        ----------
        device : str or torch.device, optional
            "cpu" or "cuda"; by default torch's default device.
        dtype : torch.dtype, optional
            torch.float64 by default, or torch.float32.

        Returns
        -------
        TorchInverse
            Takes tensors of shape (n,) or (n, k); `neuprecond.torch.cg` takes it as M.

        Raises
        ------
        ModuleNotFoundError
            If torch is not installed.
        TypeError
            If M is not made of sparse products alone, or the dtype is another.
        ValueError
            If torch does not find the device.

        Notes
        -----
        Tested on torch's CPU device; not measured on a GPU.
        """
        from neuprecond.torch import TorchInverse

        return TorchInverse(self, device=device, dtype=dtype)

    def cupy(self) -> Any:
        """M on CuPy's current device, for the solvers of ``cupyx.scipy.sparse.linalg``.

        Returns
        -------
        cupyx.scipy.sparse.linalg.LinearOperator
            Float64, of shape (n, n), with copies of M's sparse matrices.

        Raises
        ------
        ModuleNotFoundError
            If CuPy is not installed.
        TypeError
            If M is not made of sparse products alone.

        Notes
        -----
        Tested against a stand-in for CuPy that works on NumPy arrays; not run on a GPU.
        """
        from neuprecond.cupy import cupy_inverse

        return cupy_inverse(self)

    def on_arrays(
        self, matrix: Callable[[sparse.csr_array], Any], array: Callable[[np.ndarray], Any]
    ) -> Callable[[Any], Any]:
        """M on another library's arrays.

        Parameters
        ----------
        matrix, array : callable
            Copy a ``csr_array`` and an ndarray to where M is to be applied.

        Returns
        -------
        callable
            ``M @ r`` for r of shape (n,) or (n, k), out of ``@``, ``+``, ``-`` and ``*`` alone.

        Raises
        ------
        TypeError
            If M is not made of sparse products alone.
        """
        raise TypeError(
            f"M must be made of sparse products alone to leave SciPy, got {self.name!r} of kind "
            f"{self.kind!r}. Use it with SciPy's solvers, or load a model of kind 'multilevel' or "
            "'spai'."
        )

    def _level_lines(self) -> list[str]:
        return []

    def __str__(self) -> str:
        """A table as PyAMG prints its hierarchies."""
        n = self.shape[0]
        setup = ", ".join(f"{name} {seconds:.3f}" for name, seconds in self.setup_seconds.items())
        return "\n".join(
            [
                f"{self.kind} approximate inverse, {n} x {n}, model {self.model!r}"
                f" ({'learned' if self.learned else 'unlearned twin'})",
                f"  one M @ r costs {self.density:.2f} multiplications an entry of A",
                f"  operator complexity {self.operator_complexity:.2f}",
                f"  setup seconds: {setup}",
                *self._level_lines(),
            ]
        )
