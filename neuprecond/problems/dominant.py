"""Well-conditioned problems, where one level is enough: heat steps, shifts, dominant diagonals."""

import numpy as np
from numpy.random import Generator
from scipy import sparse
from scipy.sparse.linalg import eigsh

from neuprecond.problems.diffusion import diffusion_matrix, smooth_field
from neuprecond.problems.family import Problem, chosen, constant, log_uniform, made, started
from neuprecond.problems.graphs import laplacian, triangulated

__all__ = [
    "capped",
    "dominant",
    "heat",
    "largest_eigenvalue",
    "random_pairs",
    "random_square",
    "shifted",
]


def heat(
    size: int, rng: Generator, *, kappa: float | None = None, sigma: float | None = None
) -> Problem:
    """One implicit step of the heat equation, A = I + dt L, L a 5-point diffusion matrix.

    The time step dt is chosen so that 1 + dt λmax(L) = κ, so κ(A) ≤ κ at every size.

    Parameters
    ----------
    size : int
        Unknowns along a side, n = size².
    rng : Generator
        Draws κ, σ, the coefficient of L and b.
    kappa : float or None
        κ, drawn from 10 to 1000 (uniform in the logarithm) by default.
    sigma : float or None
        Standard deviation of the logarithm of L's coefficient, drawn from 0 to 1 by default.

    Returns
    -------
    Problem
        Symmetric positive definite, strictly diagonally dominant. dt is among the parameters.

    References
    ----------
    E. Hairer, G. Wanner, Solving Ordinary Differential Equations II, Springer 1996, section IV.1.

    Examples
    --------
    >>> problem = heat(6, np.random.default_rng(7), kappa=100)
    >>> bool(np.linalg.cond(problem.A.toarray()) < 100.1)
    True
    """
    size = started(size, rng)
    kappa = chosen("kappa", kappa, log_uniform(rng, 1e1, 1e3), least=1.0 + 1e-9)
    sigma = chosen("sigma", sigma, rng.uniform(0.0, 1.0), least=0.0, most=20.0)
    L = diffusion_matrix(np.exp(sigma * smooth_field((size, size), rng, length=3.0)))
    dt = (kappa - 1.0) / largest_eigenvalue(L)
    A = sparse.eye_array(size**2) + dt * L
    parameters: dict[str, float | int | str] = {
        "size": size,
        "kappa": kappa,
        "sigma": sigma,
        "dt": dt,
    }
    return made("heat", A, rng, parameters, B=constant(size**2))


def shifted(
    size: int, rng: Generator, *, shift: float | None = None, kind: str | None = None
) -> Problem:
    """Shifted graph Laplacian, A = L + shift I, L of a grid or of a Delaunay triangulation.

    Parameters
    ----------
    size : int
        Unknowns wanted; a grid takes the largest square that is not larger.
    rng : Generator
        Draws the shift, the kind, the points and b.
    shift : float or None
        Drawn from 0.01 to 1 (uniform in the logarithm) by default; must be positive.
    kind : {"grid", "delaunay"} or None
        Which graph; drawn by default.

    Returns
    -------
    Problem
        κ(A) = 1 + λmax(L) / shift at every size; λmax is at most 8 for the grid. The smallest
        eigenvalue is the shift, its eigenvector the constant.

    Raises
    ------
    ValueError
        If kind is another word.

    References
    ----------
    F. R. K. Chung, Spectral Graph Theory, AMS 1997, section 1.2.

    Examples
    --------
    >>> A = shifted(30, np.random.default_rng(7), shift=0.5, kind="delaunay").A
    >>> np.allclose(A @ np.ones(30), 0.5)
    True
    """
    size = started(size, rng, least=4)
    shift = chosen("shift", shift, log_uniform(rng, 1e-2, 1.0), least=1e-12)
    drawn = ("grid", "delaunay")[rng.integers(2)]
    kind = drawn if kind is None else kind
    if kind == "grid":
        side = int(np.sqrt(size))
        number = np.arange(side**2).reshape(side, side)
        pairs = np.concatenate(
            [
                np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1),
                np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1),
            ]
        )
        n = side**2
    elif kind == "delaunay":
        pairs, n = triangulated(rng.random((size, 2))), size
    else:
        raise ValueError(f"kind must be 'grid' or 'delaunay', got {kind!r}.")
    A = laplacian(pairs, np.ones(len(pairs)), n) + shift * sparse.eye_array(n)
    return made("shifted", A, rng, {"size": size, "shift": shift, "kind": kind}, B=constant(n))


def dominant(
    size: int, rng: Generator, *, margin: float | None = None, degree: float | None = None
) -> Problem:
    """Random symmetric matrix with a dominant diagonal: a_ii = margin Σ_j |a_ij|.

    Off-diagonal entries are standard normal, at random places.

    Parameters
    ----------
    size : int
        Unknowns, n = size.
    rng : Generator
        Draws the margin, the degree, the pattern, the values and b.
    margin : float or None
        Drawn so that margin - 1 lies between 0.01 and 1 (uniform in the logarithm).
    degree : float or None
        Mean number of off-diagonal entries a row, drawn from 4 to 12 by default.

    Returns
    -------
    Problem
        After diagonal scaling κ ≤ (margin + 1) / (margin - 1), by Gershgorin. No near-null vector
        is known.

    References
    ----------
    R. A. Horn, C. R. Johnson, Matrix Analysis, Cambridge 2013, section 6.1.

    Examples
    --------
    >>> A = dominant(20, np.random.default_rng(7), margin=1.5).A
    >>> d = A.diagonal()
    >>> np.allclose(abs(A) @ np.ones(20) - d, d / 1.5)
    True
    """
    size = started(size, rng, least=4)
    margin = chosen("margin", margin, 1.0 + log_uniform(rng, 1e-2, 1.0), least=1.0 + 1e-12)
    degree = chosen("degree", degree, rng.uniform(4.0, 12.0), least=1.0)
    i, j = random_pairs(size, degree, rng).T
    values = rng.standard_normal(len(i))
    sums = np.bincount(i, np.abs(values), size) + np.bincount(j, np.abs(values), size)
    # A row without neighbours still needs a diagonal entry.
    diagonal = np.where(sums > 0.0, margin * sums, 1.0)
    every = np.arange(size)
    A = sparse.coo_array(
        (
            np.concatenate([values, values, diagonal]),
            (np.concatenate([i, j, every]), np.concatenate([j, i, every])),
        ),
        shape=(size, size),
    )
    return made("dominant", A, rng, {"size": size, "margin": margin, "degree": degree})


def capped(
    size: int, rng: Generator, *, kappa: float | None = None, degree: float | None = None
) -> Problem:
    """Random positive definite matrix with κ capped by a shift: A = C Cᵀ + c I.

    C is the identity plus standard normal entries at random places, and c = λmax(C Cᵀ) / (κ - 1).

    Parameters
    ----------
    size : int
        Unknowns, n = size.
    rng : Generator
        Draws κ, the degree, C and b.
    kappa : float or None
        Bound κ on the condition number, drawn from 10 to 1000 (uniform in the logarithm).
    degree : float or None
        Mean number of random entries in a row of C, drawn from 1 to 3 by default; a row of A has
        about degree (degree + 2) of them.

    Returns
    -------
    Problem
        κ(A) ≤ κ. No near-null vector is known.

    Examples
    --------
    >>> A = capped(30, np.random.default_rng(7), kappa=50).A.toarray()
    >>> bool(np.linalg.cond(A) < 50.1)
    True
    """
    size = started(size, rng, least=4)
    kappa = chosen("kappa", kappa, log_uniform(rng, 1e1, 1e3), least=1.0 + 1e-9)
    degree = chosen("degree", degree, rng.uniform(1.0, 3.0), least=0.5)
    C = sparse.eye_array(size) + random_square(size, degree, rng)
    S = C @ C.T
    # The two triangles are summed in different orders; the average makes them equal.
    S = (S + S.T) / 2.0
    A = S + largest_eigenvalue(S) / (kappa - 1.0) * sparse.eye_array(size)
    return made("capped", A, rng, {"size": size, "kappa": kappa, "degree": degree})


def largest_eigenvalue(A: sparse.sparray) -> float:
    """Largest eigenvalue of a symmetric A to about four digits, by Lanczos.

    Parameters
    ----------
    A : sparse array, shape (n, n)
        Symmetric.

    Returns
    -------
    float
        Always the same for the same A: the start vector is fixed.

    Examples
    --------
    >>> round(largest_eigenvalue(sparse.diags_array([1.0, 2.0, 5.0]).tocsr()), 6)
    5.0
    """
    n = A.shape[0]
    if n <= 64:
        return float(np.linalg.eigvalsh(A.toarray())[-1])
    start = np.sin(np.arange(1.0, n + 1.0) ** 2)
    return float(eigsh(A, k=1, which="LA", v0=start, tol=1e-4, return_eigenvectors=False)[0])


def random_pairs(n: int, degree: float, rng: Generator) -> np.ndarray:
    """Distinct unordered pairs of n things, about n degree / 2 of them.

    Parameters
    ----------
    n : int
        How many things.
    degree : float
        Mean number of pairs that one thing is in. Pairs drawn twice count once, so a dense choice
        falls short of it.
    rng : Generator
        Where the pairs come from.

    Returns
    -------
    ndarray of int, shape (pairs, 2)
        The lower number first, sorted.

    Examples
    --------
    >>> pairs = random_pairs(10, 3.0, np.random.default_rng(7))
    >>> bool((pairs[:, 0] < pairs[:, 1]).all())
    True
    """
    ends = rng.integers(n, size=(max(1, round(n * degree / 2)), 2))
    low, high = ends.min(axis=1), ends.max(axis=1)
    keys = np.unique(low[low < high] * n + high[low < high])
    return np.stack([keys // n, keys % n], axis=1)


def random_square(n: int, degree: float, rng: Generator) -> sparse.csr_array:
    """Sparse square matrix of standard normal entries at random places, not symmetric.

    Parameters
    ----------
    n : int
        Rows and columns.
    degree : float
        Mean number of entries in a row; places drawn twice count once.
    rng : Generator
        Draws the places, then the values.

    Returns
    -------
    csr_array, shape (n, n)

    Examples
    --------
    >>> random_square(10, 2.0, np.random.default_rng(7)).nnz <= 20
    True
    """
    places = np.unique(rng.integers(n**2, size=max(1, round(n * degree))))
    values = rng.standard_normal(len(places))
    return sparse.coo_array((values, np.divmod(places, n)), shape=(n, n)).tocsr()
