"""What the map foretells: iterations on a matrix from those on the map's problems, with a band."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy import linalg, sparse

from neuprecond import rows
from neuprecond.hierarchy import near_null_scaling, unit_diagonal
from neuprecond.spectrum import Ends
from neuprecond.statistics import STATISTICS, matrix_statistics

__all__ = ["COUNTED", "FEATURES", "METHODS", "Expected", "features", "foretell", "uncounted"]

#: What a problem is known by.
FEATURES = (
    "log Jacobi steps",
    "log condition number",
    "log unknowns",
    "log entries a row",
    "log typical row sum",
    "mass of positive couplings",
    "entropy of rows",
    "spread of the diagonal",
    "spread of degrees",
)
#: What is foretold: "pyamg" is the best of five settings of it, "heat" the one-level model,
#: "learned" and "twin" those of several levels.
METHODS = ("ic0", "pyamg", "heat, twin", "heat", "twin", "learned")
TABLE = Path(__file__).with_name("iterations.csv")
# A Gaussian process on standardised features: length, and amplitudes of what is smooth, linear and
# constant, and the noise, of the logarithm of iterations. The length was chosen of 1, 1.5 and 2.5
# by leaving whole families out.
LENGTH, SMOOTH, LINEAR, CONSTANT, NOISE = 1.5, 0.6, 0.3, 0.5, 0.12
# The band is so many standard deviations wide to either side. With families left out whole it holds
# nine in ten of their counts or more: `python -m neuprecond.report.distil` tells how many.
DEVIATIONS = 1.8
#: Jacobi's steps on another right-hand side than the random one they were counted on lie within
#: this factor, on all problems of the map.
COUNTED = 1.15


@dataclass(frozen=True)
class Expected:
    """Iterations foretold.

    Attributes
    ----------
    method : str
        "jacobi", or one of `METHODS`.
    iterations : float
        The likeliest number, of CG to a relative residual of 1e-8.
    low, high : float
        Nine in ten lie between, on the map's families when they are left out.
    """

    method: str
    iterations: float
    low: float
    high: float


def features(A: sparse.csr_array, found: Ends) -> np.ndarray:
    """Describe a problem by `FEATURES`.

    Parameters
    ----------
    A : csr_array, shape (n, n)
        Symmetric with a positive diagonal.
    found : Ends
        Of A scaled to a unit diagonal, by `neuprecond.spectrum.ends` with ``count``.

    Returns
    -------
    ndarray, shape (len(FEATURES),)
    """
    scaled_A, s = unit_diagonal(A)
    v = near_null_scaling(scaled_A, s)
    numbers = dict(zip(STATISTICS, matrix_statistics(scaled_A, v), strict=True))
    row_sum = float(np.median(rows.relative_residual(*rows.csr(scaled_A), v)))
    n = A.shape[0]
    return np.array(
        [
            np.log10(found.jacobi or _bound(found)),
            np.log10(max(_condition(found), 1.0)),
            np.log10(n),
            np.log10(max(A.nnz, 1) / n),
            np.log10(max(row_sum, 1e-8)),
            *(float(numbers[name]) for name in FEATURES[5:]),
        ]
    )


def _condition(found: Ends) -> float:
    return min(found.high / found.low, 1e16) if found.low > 0.0 else 1e16


def _bound(found: Ends) -> float:
    """Steps of CG for 1e-8 by the condition number, where they could not be counted."""
    return max(found.steps, min(0.5 * np.sqrt(_condition(found)) * np.log(2e8), 1e5))


def uncounted(found: Ends) -> Expected:
    """Jacobi's steps where Lanczos ended before they were counted: between there and CG's bound.

    Half of the bound is what the map's problems in two and three dimensions take.
    """
    most = max(_bound(found), 2.0 * found.steps)
    return Expected("jacobi", 0.5 * most, float(found.steps), most)


def foretell(x: np.ndarray, method: str, *, left_out: str = "") -> Expected:
    """Foretell the iterations of a method.

    Parameters
    ----------
    x : ndarray
        From `features`.
    method : str
        One of `METHODS`.
    left_out : str
        A family of the map that is not looked at.
    """
    fit = _fit(method, left_out)
    q = (x - fit.mean) / fit.scale
    likeness = _likeness(q[None], fit.X)[0]
    centre = fit.level + likeness @ fit.weights
    alike = linalg.solve_triangular(fit.factor, likeness, lower=True)
    own = SMOOTH**2 + LINEAR**2 * (q @ q) + CONSTANT**2 + NOISE**2
    spread = DEVIATIONS * np.sqrt(max(own - alike @ alike, NOISE**2))
    # Beyond what the exponential can hold lies no count of any use.
    low, middle, high = np.exp(np.clip([centre - spread, centre, centre + spread], 0.0, 30.0))
    return Expected(method, float(middle), float(low), float(high))


@dataclass(frozen=True)
class _Fit:
    X: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    level: float
    factor: np.ndarray
    weights: np.ndarray


@cache
def _fit(method: str, left_out: str) -> _Fit:
    families, X, counts = read_table()
    known = np.isfinite(counts[method]) & (families != left_out)
    X, y = X[known], np.log(counts[method][known])
    mean, scale = X.mean(axis=0), X.std(axis=0)
    X = (X - mean) / scale
    factor = linalg.cholesky(_likeness(X, X) + NOISE**2 * np.eye(len(y)), lower=True)
    weights = linalg.cho_solve((factor, True), y - y.mean())
    return _Fit(X, mean, scale, float(y.mean()), factor, weights)


def _likeness(P: np.ndarray, Q: np.ndarray) -> np.ndarray:
    distance = ((P[:, None] - Q[None]) ** 2).sum(axis=2)
    smooth = SMOOTH**2 * np.exp(-0.5 * distance / LENGTH**2)
    return smooth + LINEAR**2 * (P @ Q.T) + CONSTANT**2


@cache
def read_table() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Family, features and counts of the map's problems; NaN where there is no count."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(line for line in file if not line.startswith("#")))
    families = np.array([row["family"] for row in table])
    X = np.array([[float(row[name]) for name in FEATURES] for row in table])
    counts = {
        method: np.array([float(row[method] or "nan") for row in table]) for method in METHODS
    }
    return families, X, counts
