"""The families of the map: what is measured, and why it should work or break."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.random import Generator
from scipy import sparse
from scipy.sparse.linalg import eigsh

from neuprecond import problems
from neuprecond.problems import Problem

__all__ = ["MAP_FAMILIES", "SIZES", "MapFamily", "Place"]

#: Unknowns asked for, by the scale of the map; more than 300 000 only where a line is `large`.
SIZES = {
    "small": (256, 1024),
    "middle": (256, 1024, 4096, 16384),
}
# Larger problems than this are drawn for the families that say so.
LARGE = 300_000
# Where the parameter is swept and models are compared across families: the largest size up to this.
REFERENCE = 4096


@dataclass(frozen=True)
class Place:
    """A cell of the map: how many unknowns, and how hard.

    Attributes
    ----------
    unknowns : int
        Asked for; the family comes near to it.
    value : float or None
        Of the swept parameter; None where the family has none.
    """

    unknowns: int
    value: float | None


@dataclass(frozen=True)
class MapFamily:
    """One line of the map.

    Attributes
    ----------
    name, title : str
        For the command line and for people.
    family : str
        A key of ``problems.FAMILIES``.
    expected : {"works", "breaks"}
        What theory or earlier measurements predict. The verdict does not look at it.
    why, reference : str
        A sentence on the reason, and what it rests on.
    option, swept : str
        The parameter that varies besides the size, as the family of problems calls it and as
        people read it; "" for none.
    values : tuple of float
        Its values, the easiest first.
    usual : float or None
        Its value while the size varies.
    fixed : mapping
        Other parameters of the family; what is not fixed is drawn.
    models : tuple of str
        Learned models that the line is about.
    method : {"cg", "gmres"}
        The solver.
    near_null : bool
        Hand over the problem's near-null vectors to the models.
    several : bool
        There are several near-null vectors: PyAMG is measured with them too.
    large : bool
        Goes to a million unknowns.
    make : callable
        ``make(family, size, value, rng) -> Problem``.
    sized : callable
        Size, as the family of problems counts it, for so many unknowns.

    Examples
    --------
    >>> family = MAP_FAMILIES["heat"]
    >>> family.draw(Place(256, 100.0), 7).A.shape
    (256, 256)
    """

    name: str
    title: str
    family: str
    expected: Literal["works", "breaks"]
    why: str
    reference: str
    option: str = ""
    swept: str = ""
    values: tuple[float, ...] = ()
    usual: float | None = None
    fixed: Mapping[str, float | str] = field(default_factory=dict)
    models: tuple[str, ...] = ("auto",)
    method: Literal["cg", "gmres"] = "cg"
    near_null: bool = False
    several: bool = False
    large: bool = False
    make: "Callable[[MapFamily, int, float | None, Generator], Problem] | None" = None
    sized: Callable[[int], int] | None = None

    def size(self, unknowns: int) -> int:
        """Return the size, as the family of problems counts it, nearest to so many unknowns."""
        if self.sized is not None:
            return self.sized(unknowns)
        dimension = problems.FAMILIES[self.family].dimension
        return round(unknowns ** {"2-D": 1 / 2, "3-D": 1 / 3}.get(dimension, 1.0))

    def draw(self, place: Place, seed: int) -> Problem:
        """Draw the problem of a cell; the same for the same seed."""
        rng = np.random.default_rng(seed)
        make = _plain if self.make is None else self.make
        return make(self, self.size(place.unknowns), place.value, rng)

    def places(self, sizes: tuple[int, ...], *, ends_only: bool = False) -> list[Place]:
        """Cells of the line: each size at the usual value, then each value at one size.

        Parameters
        ----------
        sizes : tuple of int
            Unknowns; those above 300 000 only where the family is ``large``.
        ends_only : bool
            Only the easiest and the hardest value.
        """
        kept = [n for n in sizes if n <= LARGE or self.large] or [min(sizes)]
        values = (*self.values[:1], *self.values[1:][-1:]) if ends_only else self.values
        reference = self.reference_size(sizes)
        places = [Place(n, self.usual) for n in kept]
        return list(dict.fromkeys([*places, *(Place(reference, value) for value in values)]))

    def reference_size(self, sizes: tuple[int, ...]) -> int:
        """Return the size at which the parameter is swept."""
        return max([n for n in sizes if n <= REFERENCE], default=min(sizes))


def _plain(line: MapFamily, size: int, value: float | None, rng: Generator) -> Problem:
    """Draw from the family of problems itself with the swept option set."""
    parameters = dict(line.fixed)
    if value is not None:
        parameters[line.option] = value
    return problems.draw(line.family, size, rng, parameters=parameters)


def _ball(line: MapFamily, size: int, value: float | None, rng: Generator) -> Problem:
    """A0 + E around one fixed A0, E symmetric on its pattern with ‖E‖ = radius · σmin(A0)."""
    assert value is not None
    base = problems.draw(line.family, size, np.random.default_rng(BALL), parameters=line.fixed)
    A0 = base.A
    upper = sparse.triu(A0, format="coo")
    noise = sparse.coo_array((rng.standard_normal(upper.nnz), upper.coords), shape=A0.shape)
    E = sparse.csr_array(noise + sparse.triu(noise, k=1).T)
    start = np.sin(np.arange(1.0, A0.shape[0] + 1.0) ** 2)
    norm = abs(eigsh(E, k=1, which="LM", v0=start, tol=1e-3, return_eigenvectors=False)[0])
    smallest = eigsh(A0, k=1, which="SA", v0=start, tol=1e-3, return_eigenvectors=False)[0]
    A = sparse.csr_array(A0 + E * (value * smallest / norm))
    parameters = base.parameters | {"radius": value}
    return Problem(A, rng.standard_normal(A.shape[0]), base.B, "ball", parameters)


def _crossing(line: MapFamily, size: int, value: float | None, rng: Generator) -> Problem:
    """A0 - t λmin(A0) I for the five-point A0, singular at t = 1."""
    assert value is not None
    base = problems.draw(line.family, size, rng)
    smallest = 8.0 * np.sin(0.5 * np.pi / (size + 1)) ** 2
    A = sparse.csr_array(base.A - value * smallest * sparse.eye_array(base.A.shape[0]))
    return Problem(A, base.b, base.B, "crossing", base.parameters | {"t": value})


def _point_source(line: MapFamily, size: int, value: float | None, rng: Generator) -> Problem:
    """Put the source into the first unknown alone: the solution must cross all others."""
    base = problems.draw(line.family, size, rng)
    b = np.zeros(len(base.b))
    b[0] = 1.0
    return Problem(base.A, b, base.B, base.name, base.parameters | {"source": "point"})


# Seed of the one A0 of the ball.
BALL = 3_000_500

SAAD = "Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., 2003"
TROTTENBERG = "Trottenberg, Oosterlee, Schüller, Multigrid, 2001"
BUDGET = "‖I − MA‖ ≥ 1 − σmin(A)‖M‖, by the triangle inequality"
LIGHT_CONE = "n/(R + 1) iterations for an M that couples unknowns at most R apart"

_WORKS = (
    MapFamily(
        name="capped",
        title="κ capped by a shift, random pattern",
        family="capped",
        expected="works",
        why="κ is bounded, so CG needs a bounded number of steps whatever M is, and the entries of "
        "A⁻¹ decay fast: one level of a bounded network is enough.",
        reference="Demko, Moss, Smith, Decay rates for inverses of band matrices, 1984",
        option="kappa",
        swept="κ",
        values=(3.0, 10.0, 30.0, 100.0),
        usual=30.0,
    ),
    MapFamily(
        name="dominant",
        title="dominant diagonal, margin 2 to 1.01",
        family="dominant",
        expected="works",
        why="After diagonal scaling κ ≤ (margin + 1)/(margin − 1), so division by the diagonal has "
        "taken the pole away already.",
        reference="Gershgorin's theorem; Horn, Johnson, Matrix Analysis, section 6.1",
        option="margin",
        swept="margin",
        values=(2.0, 1.5, 1.1, 1.01),
        usual=1.1,
    ),
    MapFamily(
        name="heat",
        title="implicit heat step I + dt·L",
        family="heat",
        expected="works",
        why="κ ≤ 1 + dt·λmax(L), and A⁻¹ reaches about √(dt) steps of the grid: the time step, not "
        "the grid, decides.",
        reference="Hairer, Wanner, Solving Ordinary Differential Equations II, section IV.1",
        option="kappa",
        swept="κ",
        values=(3.0, 10.0, 100.0, 1000.0),
        usual=100.0,
    ),
    MapFamily(
        name="mild",
        title="two materials of mild contrast",
        family="twophase",
        expected="works",
        why="The matrix is spectrally equivalent to Poisson's with the contrast as the constant, "
        "and coarse levels carry the smooth error that one level cannot.",
        reference=TROTTENBERG,
        option="contrast",
        swept="contrast",
        values=(1.5, 3.0, 10.0),
        usual=3.0,
    ),
    MapFamily(
        name="poisson2d",
        title="Poisson in 2-D",
        family="poisson2d",
        expected="works",
        why="Smooth error is what a coarse grid represents, rough error is what a smoother "
        "removes: counts do not grow with n.",
        reference=TROTTENBERG,
        large=True,
    ),
    MapFamily(
        name="poisson3d",
        title="Poisson in 3-D",
        family="poisson3d",
        expected="works",
        why="As in 2-D; the surface of a coarse cell grows faster, so levels fill up sooner.",
        reference=TROTTENBERG,
        large=True,
    ),
    MapFamily(
        name="delaunay",
        title="graph Laplacians on Delaunay meshes",
        family="delaunay",
        expected="works",
        why="Planar, of bounded degree and with the constant as near-null vector: Poisson on an "
        "irregular grid.",
        reference="Ruge, Stüben, Algebraic multigrid, 1987",
    ),
    MapFamily(
        name="lognormal",
        title="log-normal diffusion in 2-D",
        family="lognormal",
        expected="works",
        why="Strong couplings follow the coefficient, so coarsening along them keeps the constants "
        "in reach; the contrast grows as exp(σ · extremes of a Gaussian).",
        reference="Ruge, Stüben, Algebraic multigrid, 1987",
        option="sigma",
        swept="σ",
        values=(0.5, 1.0, 2.0, 3.0),
        usual=1.0,
        large=True,
    ),
    MapFamily(
        name="lognormal3d",
        title="log-normal diffusion in 3-D",
        family="lognormal3d",
        expected="works",
        why="As in 2-D.",
        reference="Ruge, Stüben, Algebraic multigrid, 1987",
        option="sigma",
        swept="σ",
        values=(0.5, 1.0, 2.0, 3.0),
        usual=1.0,
        large=True,
    ),
    MapFamily(
        name="channels",
        title="channels of high contrast",
        family="channels",
        expected="works",
        why="Every channel that is not joined to the wall adds one small eigenvalue after scaling; "
        "coarse levels hold them as long as interpolation does not cross the jump.",
        reference="Graham, Hagger, Unstructured additive Schwarz, SIAM J. Sci. Comput. 20, 1999",
        option="contrast",
        swept="contrast",
        values=(1e1, 1e2, 1e4, 1e6),
        usual=1e2,
    ),
    MapFamily(
        name="anisotropic",
        title="rotated anisotropy",
        family="anisotropic",
        expected="works",
        why="Error is smooth along the strong direction only; coarsening must follow it, which "
        "neither the grid nor a classical strength measure sees for all angles.",
        reference="Olson, Schroder, Tuminaro, A new perspective on strength measures, 2010",
        option="epsilon",
        swept="ε",
        values=(1.0, 1e-1, 1e-2, 1e-3),
        usual=1e-2,
    ),
    MapFamily(
        name="ball",
        title="a ball A0 + E around one matrix",
        family="heat",
        expected="works",
        why="Inside ‖E‖ < σmin(A0) no matrix is singular and inversion is Lipschitz with constant "
        "1/(σmin − ‖E‖)²; from ‖E‖ = σmin on there may be a pole.",
        reference="Weyl's theorem; Horn, Johnson, Matrix Analysis, section 6.3",
        swept="‖E‖/σmin",
        values=(0.05, 0.5, 0.9, 1.5, 3.0),
        usual=0.5,
        fixed={"kappa": 100.0, "sigma": 0.5},
        make=_ball,
    ),
    MapFamily(
        name="elasticity",
        title="elasticity, rigid body modes given",
        family="elasticity2d",
        expected="works",
        why="With the rigid body modes as near-null vectors, aggregates represent the smooth error "
        "of a vector problem.",
        reference="Vaněk, Mandel, Brezina, Algebraic multigrid by smoothed aggregation, 1996",
        near_null=True,
        several=True,
        sized=lambda unknowns: round(np.sqrt(unknowns / 2)),
    ),
    MapFamily(
        name="advection",
        title="advection and diffusion",
        family="advection",
        expected="works",
        why="Upwind differences keep an M-matrix, and at moderate Péclet numbers diffusion still "
        "couples neighbours both ways. M eliminates half of the unknowns exactly; the rest goes to "
        "levels or to a factorisation, as the model advection picks.",
        reference="Elman, Silvester, Wathen, Finite Elements and Fast Iterative Solvers, 2nd ed., "
        "section 6.1",
        option="peclet",
        swept="Péclet",
        values=(0.1, 1.0, 10.0, 100.0),
        usual=1.0,
        method="gmres",
    ),
)

_BREAKS = (
    MapFamily(
        name="kappa-one-level",
        title="κ to 1e8, one level",
        family="heat",
        expected="breaks",
        why="A bounded correction of a factor with one entry a neighbour has bounded ‖M‖, and the "
        "norm it would need is 1/σmin = κ: counts grow as √κ or to the cap.",
        reference=BUDGET,
        option="kappa",
        swept="κ",
        values=(1e2, 1e4, 1e6, 1e8),
        usual=1e4,
        models=("heat",),
    ),
    MapFamily(
        name="crossing",
        title="A0 − t λmin I, singular at t = 1",
        family="poisson2d",
        expected="breaks",
        why="Inversion has a pole at t = 1 and changes sign behind it: CG needs a definite A, and "
        "M, positive definite by construction, cannot follow.",
        reference=BUDGET,
        swept="t",
        values=(0.9, 0.999, 1.001, 1.1, 2.0),
        usual=0.9,
        make=_crossing,
    ),
    MapFamily(
        name="one-level",
        title="one level on Poisson, growing n",
        family="poisson2d",
        expected="breaks",
        why="A short range of M leaves the smooth error: counts grow as the side of the grid.",
        reference=LIGHT_CONE,
        models=("heat",),
    ),
    MapFamily(
        name="light-cone",
        title="Poisson on a line, source in one point",
        family="poisson1d",
        expected="breaks",
        why="What k steps compute cannot be nonzero farther than k(R + 1) − 1 unknowns from the "
        "source, but the solution is: no training helps. (A coarse level makes R as large as n.)",
        reference=LIGHT_CONE,
        models=("heat", "auto"),
        make=_point_source,
        # CG without M takes n steps here, so n stays small.
        sized=lambda unknowns: round(2 * np.sqrt(unknowns)),
    ),
    MapFamily(
        name="helmholtz",
        title="Helmholtz, growing shift",
        family="helmholtz",
        expected="breaks",
        why="The matrix is indefinite with about π·waves² negative eigenvalues, and its near-null "
        "vectors oscillate: neither a definite M nor a coarse grid of constants fits.",
        reference="Ernst, Gander, Why it is difficult to solve Helmholtz problems, 2012",
        option="waves",
        swept="waves",
        values=(0.5, 1.0, 2.0, 4.0),
        usual=2.0,
        method="gmres",
    ),
    MapFamily(
        name="contrast-one-level",
        title="contrast to 1e6, one level",
        family="twophase",
        expected="breaks",
        why="The light cone as for Poisson, and every stiff blob adds a small eigenvalue after "
        "scaling.",
        reference=LIGHT_CONE + "; Graham, Hagger, 1999",
        option="contrast",
        swept="contrast",
        values=(1e0, 1e2, 1e4, 1e6),
        usual=1e4,
        models=("heat",),
    ),
    MapFamily(
        name="gram",
        title="C Cᵀ + αI, random C",
        family="gram",
        expected="breaks",
        why="Near-null vectors of a random matrix are smooth on no graph, so coarse levels hold "
        "none of them, and κ grows as 1/α.",
        reference="Häusner, Öktem, Sjölund, Neural incomplete factorization, 2023; " + BUDGET,
        option="alpha",
        swept="α",
        values=(1.0, 1e-2, 1e-4, 1e-6),
        usual=1e-2,
    ),
    MapFamily(
        name="saddle",
        title="Stokes flow, saddle point",
        family="saddle",
        expected="breaks",
        why="Indefinite, with zeros on the diagonal: there is nothing to divide by, and a definite "
        "M for CG does not exist.",
        reference="Benzi, Golub, Liesen, Numerical solution of saddle point problems, 2005",
        method="gmres",
        sized=lambda unknowns: round(np.sqrt(unknowns / 3)),
    ),
    MapFamily(
        name="attachment",
        title="graphs with hubs",
        family="attachment",
        expected="breaks",
        why="Coarse matrices of a graph of small diameter fill up, while Jacobi needs some fifty "
        "steps at any size: there is little to gain and much to pay.",
        reference="Livne, Brandt, Lean algebraic multigrid, SIAM J. Sci. Comput. 34, 2012",
        option="links",
        swept="links",
        values=(1.0, 2.0, 4.0),
        usual=2.0,
    ),
    MapFamily(
        name="elasticity-no-B",
        title="elasticity, no B given",
        family="elasticity2d",
        expected="breaks",
        why="Rotations are near-null and not constant: without them as B no coarse space holds "
        "them.",
        reference="Vaněk, Mandel, Brezina, Algebraic multigrid by smoothed aggregation, 1996",
        several=True,
        sized=lambda unknowns: round(np.sqrt(unknowns / 2)),
    ),
)

#: All lines, by name: what should work first.
MAP_FAMILIES = {line.name: line for line in (*_WORKS, *_BREAKS)}
