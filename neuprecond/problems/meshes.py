"""Finite elements: diffusion on irregular triangles and tetrahedra, elasticity on grids.

Dirichlet rows and columns are removed. scikit-fem does the assembly and is imported only when a
problem is drawn: it comes with the extra ``problems``.
"""

from types import ModuleType

import numpy as np
from numpy.random import Generator
from scipy import sparse, spatial

from neuprecond.problems.diffusion import smooth_field
from neuprecond.problems.family import Problem, chosen, constant, log_uniform, made, started

__all__ = [
    "elasticity2d",
    "elasticity3d",
    "elements",
    "fe2d",
    "fe3d",
    "fibres",
    "fibres3d",
    "rigid_body_modes",
]

# What they are called, and how scikit-fem calls their meshes and linear elements.
TRIANGLES, SQUARES = ("triangles", "MeshTri", "Tri", "P1"), ("squares", "MeshQuad", "Quad", "1")
TETRAHEDRA, CUBES = ("tetrahedra", "MeshTet", "Tet", "P1"), ("cubes", "MeshHex", "Hex", "1")

# Elements of higher order by what they are called: of triangles or squares, and of which degree.
ELEMENTS = {"P2": ("Tri", 2), "P3": ("Tri", 3), "P4": ("Tri", 4), "Q2": ("Quad", 2)}


def fe2d(
    size: int, rng: Generator, *, sigma: float | None = None, jitter: float | None = None
) -> Problem:
    """Linear finite elements for -div(k grad u) = f on a random triangulation of the unit square.

    The corners are those of a grid, moved at random inside the square and triangulated anew
    (Delaunay); u = 0 on the whole boundary. k = exp(σ g), g a smooth Gaussian field, constant on
    each triangle.

    Parameters
    ----------
    size : int
        Inner corners along a side, n = size².
    rng : Generator
        Draws σ, the jitter, the corners, the field and b.
    sigma : float or None
        Standard deviation σ of log k, drawn from 0 to 1.5 by default; 0 is the Laplace operator.
    jitter : float or None
        Largest move of a corner along each axis, in grid widths; drawn from 0.1 to 0.45 by default.

    Returns
    -------
    Problem
        Mean degree 6. An M-matrix while σ = 0; κ(A) grows as size².

    Raises
    ------
    ImportError
        If scikit-fem is not installed.

    References
    ----------
    T. Gustafsson, G. D. McBain, scikit-fem: A Python package for finite element assembly, JOSS
    5(52), 2020.

    Examples
    --------
    >>> fe2d(5, np.random.default_rng(7)).A.shape
    (25, 25)
    """
    size = started(size, rng)
    skfem = _scikit_fem()
    sigma = chosen("sigma", sigma, rng.uniform(0.0, 1.5), least=0.0, most=20.0)
    # Below half a width corners stay in their cells, so no two can meet.
    jitter = chosen("jitter", jitter, rng.uniform(0.1, 0.45), least=0.0, most=0.49)
    corners = _jittered((size + 2, size + 2), jitter, rng)
    triangles = spatial.Delaunay(corners).simplices
    # Corners on a side of the square lie on a line: rounding may leave a triangle without area.
    areas = np.abs(np.linalg.det(corners[triangles[:, 1:]] - corners[triangles[:, :1]]))
    triangles = triangles[areas > 1e-12]
    mesh = skfem.MeshTri(np.ascontiguousarray(corners.T), np.ascontiguousarray(triangles.T))
    k = _coefficient(mesh.p[:, mesh.t].mean(axis=1), size, sigma, rng)
    A = _stiffness(skfem, mesh, skfem.ElementTriP1(), skfem.ElementTriP0(), k)
    parameters: dict[str, float | int | str] = {"size": size, "sigma": sigma, "jitter": jitter}
    return made("fe2d", A, rng, parameters, B=constant(A.shape[0]))


def fe3d(
    size: int, rng: Generator, *, sigma: float | None = None, jitter: float | None = None
) -> Problem:
    """Linear finite elements for -div(k grad u) = f on irregular tetrahedra of the unit cube.

    Each cube of a grid is cut into six tetrahedra and the inner corners are moved at random; u = 0
    on the whole boundary.

    Parameters
    ----------
    size : int
        Inner corners along a side, n = size³.
    rng : Generator
        Draws σ, the jitter, the corners, the field and b.
    sigma : float or None
        Standard deviation σ of log k, drawn from 0 to 1.5 by default.
    jitter : float or None
        Largest move of a corner along each axis, in grid widths; drawn from 0 to 0.15 by default
        and never above 0.16, where a tetrahedron could turn inside out.

    Returns
    -------
    Problem
        Up to 15 entries a row, some of them positive off the diagonal.

    Raises
    ------
    ImportError
        If scikit-fem is not installed.

    References
    ----------
    T. Gustafsson, G. D. McBain, scikit-fem: A Python package for finite element assembly, JOSS
    5(52), 2020.

    Examples
    --------
    >>> fe3d(3, np.random.default_rng(7)).A.shape
    (27, 27)
    """
    size = started(size, rng)
    skfem = _scikit_fem()
    sigma = chosen("sigma", sigma, rng.uniform(0.0, 1.5), least=0.0, most=20.0)
    jitter = chosen("jitter", jitter, rng.uniform(0.0, 0.15), least=0.0, most=0.16)
    line = np.linspace(0.0, 1.0, size + 2)
    mesh = skfem.MeshTet.init_tensor(line, line, line)
    inner = ((mesh.p > 0.0) & (mesh.p < 1.0)).all(axis=0)
    moved = mesh.p + inner * rng.uniform(-jitter, jitter, mesh.p.shape) / (size + 1)
    mesh = skfem.MeshTet(moved, mesh.t)
    k = _coefficient(mesh.p[:, mesh.t].mean(axis=1), size, sigma, rng)
    A = _stiffness(skfem, mesh, skfem.ElementTetP1(), skfem.ElementTetP0(), k)
    parameters: dict[str, float | int | str] = {"size": size, "sigma": sigma, "jitter": jitter}
    return made("fe3d", A, rng, parameters, B=constant(A.shape[0]))


def fibres(
    size: int,
    rng: Generator,
    *,
    epsilon: float | None = None,
    bend: float | None = None,
    element: str | None = None,
) -> Problem:
    """Finite elements for -div(K grad u) = f where the direction of strong coupling bends.

    K = Q diag(1, ε) Qᵀ in each element, Q a rotation by θ; θ is a direction drawn at random plus a
    smooth Gaussian field, as of the fibres in wood, muscle or composites. u = 0 on the whole
    boundary of the unit square.

    Parameters
    ----------
    size : int
        Inner corners along a side, n = size².
    rng : Generator
        Draws ε, the bend, the elements, the field and b.
    epsilon : float or None
        ε, drawn from 1e-4 to 0.3 (uniform in the logarithm) by default.
    bend : float or None
        Standard deviation of θ in radians, drawn from 0 to 1 by default.
    element : {"triangles", "squares"} or None
        Linear on squares cut in two, or bilinear; drawn by default.

    Returns
    -------
    Problem
        7 or 9 entries a row, some of them positive off the diagonal. κ(A) grows as size², faster
        for small ε; no direction of the grid follows the fibres.

    Raises
    ------
    ImportError
        If scikit-fem is not installed.

    References
    ----------
    J. B. Schroder, Smoothed aggregation solvers for anisotropic diffusion, Numer. Linear Algebra
    Appl. 19(2), 2012.

    Examples
    --------
    >>> problem = fibres(5, np.random.default_rng(7), element="triangles")
    >>> problem.A.shape
    (25, 25)
    """
    return _fibres("fibres", size, rng, (epsilon, 1e-4), bend, element, (TRIANGLES, SQUARES))


def fibres3d(
    size: int,
    rng: Generator,
    *,
    epsilon: float | None = None,
    bend: float | None = None,
    element: str | None = None,
) -> Problem:
    """`fibres` in space: -div(K grad u) = f, K = ε I + (1 - ε) t tᵀ along a direction t that bends.

    The direction is that of a vector drawn at random plus a smooth Gaussian field in each of its
    components. u = 0 on the whole boundary of the unit cube.

    Parameters
    ----------
    size : int
        Inner corners along a side, n = size³.
    rng : Generator
        Draws ε, the bend, the elements, the field and b.
    epsilon : float or None
        ε, drawn from 1e-3 to 0.3 (uniform in the logarithm) by default.
    bend : float or None
        Standard deviation of the field, where the vector drawn at random has length 1; drawn from 0
        to 1 by default.
    element : {"tetrahedra", "cubes"} or None
        Linear on cubes cut in six, or trilinear; drawn by default.

    Returns
    -------
    Problem
        15 or 27 entries a row, some of them positive off the diagonal.

    Raises
    ------
    ImportError
        If scikit-fem is not installed.

    References
    ----------
    J. B. Schroder, Smoothed aggregation solvers for anisotropic diffusion, Numer. Linear Algebra
    Appl. 19(2), 2012.

    Examples
    --------
    >>> fibres3d(4, np.random.default_rng(7), element="cubes").A.shape
    (64, 64)
    """
    return _fibres("fibres3d", size, rng, (epsilon, 1e-3), bend, element, (TETRAHEDRA, CUBES))


def elements(
    size: int,
    rng: Generator,
    *,
    element: str | None = None,
    sigma: float | None = None,
    jitter: float | None = None,
) -> Problem:
    """Finite elements of higher order for -div(k grad u) = f on the unit square.

    Squares of a grid, cut in two for triangles, corners inside moved at random; u = 0 on the whole
    boundary. k = exp(σ g), g a smooth Gaussian field, constant on each element.

    Parameters
    ----------
    size : int
        Unknowns along a side, to the next whole number of elements: n = (d m - 1)² for m elements
        of degree d along a side, m = (size + 1) / d, at least two.
    rng : Generator
        Draws the element, σ, the jitter, the corners, the field and b.
    element : {"P2", "P3", "P4", "Q2"} or None
        Of degree 2 to 4 on triangles, or of degree 2 in each direction on squares; drawn by
        default.
    sigma : float or None
        Standard deviation σ of log k, drawn from 0 to 1.5 by default; 0 is the Laplace operator.
    jitter : float or None
        Largest move of a corner along each axis, in element widths; drawn from 0 to 0.2 by default.

    Returns
    -------
    Problem
        11 to 23 entries a row on average, many of them positive off the diagonal. κ(A) grows as
        size², faster with the degree.

    Raises
    ------
    ImportError
        If scikit-fem is not installed.

    References
    ----------
    J. J. Heys, T. A. Manteuffel, S. F. McCormick, L. N. Olson, Algebraic multigrid for higher-order
    finite elements, J. Comput. Phys. 204(2), 2005.

    Examples
    --------
    >>> elements(8, np.random.default_rng(7), element="P3").A.shape
    (64, 64)
    """
    size = started(size, rng)
    skfem = _scikit_fem()
    drawn = str(rng.choice(list(ELEMENTS)))
    element = drawn if element is None else element
    if element not in ELEMENTS:
        raise ValueError(f"element must be one of {', '.join(ELEMENTS)}, got {element!r}.")
    sigma = chosen("sigma", sigma, rng.uniform(0.0, 1.5), least=0.0, most=20.0)
    # From a quarter of the width on a triangle may turn over.
    jitter = chosen("jitter", jitter, rng.uniform(0.0, 0.2), least=0.0, most=0.24)
    kind, degree = ELEMENTS[element]
    m = max(2, round((size + 1) / degree))
    # How corners are numbered is up to the mesh; where they are tells which lie inside.
    mesh = getattr(skfem, f"Mesh{kind}").init_tensor(*[np.linspace(0.0, 1.0, m + 1)] * 2)
    inside = ((mesh.p > 1e-9) & (mesh.p < 1.0 - 1e-9)).all(axis=0)
    corners = mesh.p + inside * rng.uniform(-jitter, jitter, mesh.p.shape) / m
    mesh = type(mesh)(corners, mesh.t)
    k = _coefficient(mesh.p[:, mesh.t].mean(axis=1), m - 1, sigma, rng)
    suffix = f"{kind}P{degree}" if kind == "Tri" else f"{kind}{degree}"
    of_degree = getattr(skfem, f"Element{suffix}")()
    flat = skfem.ElementTriP0() if kind == "Tri" else skfem.ElementQuad0()
    A = _stiffness(skfem, mesh, of_degree, flat, k)
    parameters: dict[str, float | int | str] = {
        "size": size,
        "element": element,
        "sigma": sigma,
        "jitter": jitter,
    }
    return made("elements", A, rng, parameters, B=constant(A.shape[0]))


def elasticity2d(
    size: int, rng: Generator, *, nu: float | None = None, contrast: float | None = None
) -> Problem:
    """Linear elasticity of a square plate clamped along one side, bilinear elements (plane strain).

    The plate is made of two materials, Young's modulus 1 and ``contrast``, the stiffer one in
    random blobs.

    Parameters
    ----------
    size : int
        Elements along a side, n = 2 size (size + 1). Unknowns are interleaved: x, y of each corner.
    rng : Generator
        Draws ν, the contrast, the blobs and b.
    nu : float or None
        Poisson's ratio ν, drawn from 0.1 to 0.4 by default; near 0.5 the elements lock.
    contrast : float or None
        Drawn from 1 to 100 (uniform in the logarithm) by default.

    Returns
    -------
    Problem
        B holds the 3 rigid body modes. κ(A) grows as size² times the contrast.

    Raises
    ------
    ImportError
        If scikit-fem is not installed.

    References
    ----------
    P. Vaněk, J. Mandel, M. Brezina, Algebraic multigrid by smoothed aggregation for second and
    fourth order elliptic problems, Computing 56, 1996.

    Examples
    --------
    >>> problem = elasticity2d(3, np.random.default_rng(7))
    >>> problem.A.shape, problem.B.shape
    ((24, 24), (24, 3))
    """
    size = started(size, rng, least=1)
    return _elasticity("elasticity2d", 2, size, rng, nu, contrast)


def elasticity3d(
    size: int, rng: Generator, *, nu: float | None = None, contrast: float | None = None
) -> Problem:
    """Linear elasticity of a cube clamped on one face, trilinear elements.

    Parameters
    ----------
    size : int
        Elements along a side, n = 3 size (size + 1)². Unknowns are interleaved: x, y, z of each
        corner.
    rng : Generator
        Draws ν, the contrast, the blobs and b.
    nu, contrast : float or None
        As in ``elasticity2d``.

    Returns
    -------
    Problem
        B holds the 6 rigid body modes. Up to 81 entries a row.

    Raises
    ------
    ImportError
        If scikit-fem is not installed.

    References
    ----------
    P. Vaněk, J. Mandel, M. Brezina, Algebraic multigrid by smoothed aggregation for second and
    fourth order elliptic problems, Computing 56, 1996.

    Examples
    --------
    >>> problem = elasticity3d(2, np.random.default_rng(7))
    >>> problem.A.shape, problem.B.shape
    ((54, 54), (54, 6))
    """
    size = started(size, rng, least=1)
    return _elasticity("elasticity3d", 3, size, rng, nu, contrast)


def rigid_body_modes(points: np.ndarray) -> np.ndarray:
    """Rigid body modes of points: translations and rotations, which deform nothing.

    Parameters
    ----------
    points : ndarray, shape (m, d)
        Coordinates, d = 2 or 3. Rotations turn about their mean.

    Returns
    -------
    ndarray, shape (d m, 3) for d = 2, (d m, 6) for d = 3
        Rows interleaved (all components of a point together), translations first.

    Raises
    ------
    ValueError
        If the points are neither of a plane nor of space.

    References
    ----------
    A. H. Baker, T. V. Kolev, U. M. Yang, Improving algebraic multigrid interpolation operators for
    linear elasticity problems, Numer. Linear Algebra Appl. 17, 2010.

    Examples
    --------
    >>> rigid_body_modes(np.array([[0.0, 0.0], [2.0, 0.0]]))
    array([[ 1.,  0., -0.],
           [ 0.,  1., -1.],
           [ 1.,  0., -0.],
           [ 0.,  1.,  1.]])
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise ValueError(f"points must have shape (m, 2) or (m, 3), got {points.shape}.")
    m, d = points.shape
    centred = points - points.mean(axis=0)
    planes = [(0, 1)] if d == 2 else [(0, 1), (1, 2), (2, 0)]
    modes = np.zeros((m, d, d + len(planes)))
    for axis in range(d):
        modes[:, axis, axis] = 1.0
    for column, (i, j) in enumerate(planes, start=d):
        modes[:, i, column] = -centred[:, j]
        modes[:, j, column] = centred[:, i]
    return modes.reshape(m * d, -1)


def _fibres(
    name: str,
    size: int,
    rng: Generator,
    epsilon: tuple[float | None, float],
    bend: float | None,
    element: str | None,
    kinds: tuple[tuple[str, str, str, str], ...],
) -> Problem:
    """`fibres` in the plane or in space; ε comes with the least that is drawn."""
    size = started(size, rng)
    skfem = _scikit_fem()
    eps = chosen("epsilon", epsilon[0], log_uniform(rng, epsilon[1], 0.3), least=1e-12)
    bend = chosen("bend", bend, rng.uniform(0.0, 1.0), least=0.0, most=10.0)
    named = {kind[0]: kind[1:] for kind in kinds}
    drawn = str(rng.choice(list(named)))
    element = drawn if element is None else element
    if element not in named:
        raise ValueError(f"element must be {' or '.join(map(repr, named))}, got {element!r}.")
    mesh_name, shape, linear = named[element]
    dimension = 2 if name == "fibres" else 3
    mesh = getattr(skfem, mesh_name).init_tensor(*[np.linspace(0.0, 1.0, size + 2)] * dimension)
    centres = mesh.p[:, mesh.t].mean(axis=1)
    if dimension == 2:
        theta = rng.uniform(0.0, np.pi) + bend * _field(centres, size, size / 6.0, rng)
        along = np.stack([np.cos(theta), np.sin(theta)])
    else:
        mean = rng.standard_normal(3)
        field = np.stack([_field(centres, size, size / 6.0, rng) for _ in range(3)])
        along = mean[:, None] / np.linalg.norm(mean) + bend * field
        along /= np.linalg.norm(along, axis=0)
    basis = skfem.Basis(mesh, getattr(skfem, f"Element{shape}{linear}")())
    flat = linear.replace("1", "0")
    in_elements = basis.with_element(getattr(skfem, f"Element{shape}{flat}")())

    @skfem.BilinearForm
    def form(u, v, w):  # type: ignore[no-untyped-def]
        # ε I + (1 - ε) t tᵀ, t along the fibres.
        slopes = u.grad, v.grad
        across = sum(slopes[0][i] * slopes[1][i] for i in range(dimension))
        both = [sum(w[f"t{i}"] * slope[i] for i in range(dimension)) for slope in slopes]
        return eps * across + (1.0 - eps) * both[0] * both[1]

    t = {f"t{i}": in_elements.interpolate(part) for i, part in enumerate(along)}
    A = _symmetric(form.assemble(basis, **t), basis.complement_dofs(basis.get_dofs()))
    parameters: dict[str, float | int | str] = {
        "size": size,
        "epsilon": eps,
        "bend": bend,
        "element": element,
    }
    return made(name, A, rng, parameters, B=constant(A.shape[0]))


def _scikit_fem() -> ModuleType:
    try:
        import skfem
    except ImportError as error:
        raise ImportError(
            "finite element problems need scikit-fem. Install the extra: "
            "pip install 'neuprecond[problems]'."
        ) from error
    return skfem


def _jittered(shape: tuple[int, int], jitter: float, rng: Generator) -> np.ndarray:
    """Corners of a grid over the unit square, those inside moved at random, shape (m, 2)."""
    axes = [np.linspace(0.0, 1.0, m) for m in shape]
    corners = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    inner = corners[1:-1, 1:-1]
    inner += rng.uniform(-jitter, jitter, inner.shape) / (np.array(shape) - 1)
    return corners.reshape(-1, 2)


def _field(centres: np.ndarray, size: int, length: float, rng: Generator) -> np.ndarray:
    """Smooth Gaussian field on a grid, read at the cell of each element's centre."""
    g = smooth_field((size + 1,) * len(centres), rng, length=length)
    cell = np.minimum((centres * (size + 1)).astype(int), size)
    return g[tuple(cell)]


def _coefficient(centres: np.ndarray, size: int, sigma: float, rng: Generator) -> np.ndarray:
    return np.exp(sigma * _field(centres, size, 3.0, rng))


def _symmetric(A: sparse.spmatrix, keep: np.ndarray) -> sparse.csr_array:
    """Kept rows and columns, made equal to their transpose to the last bit."""
    kept = sparse.csr_array(A)[keep][:, keep]
    kept = ((kept + kept.T) / 2.0).tocoo()
    # What cancels in exact arithmetic leaves a rounding error behind; it is no entry.
    rows, cols = kept.coords
    s = 1.0 / np.sqrt(kept.diagonal())
    kept.data[np.abs(s[rows] * kept.data * s[cols]) < 1e-14] = 0.0
    return kept.tocsr()


def _stiffness(
    skfem: ModuleType, mesh: object, linear: object, flat: object, k: np.ndarray
) -> sparse.csr_array:
    from skfem.helpers import dot, grad

    basis = skfem.Basis(mesh, linear)

    @skfem.BilinearForm
    def form(u, v, w):  # type: ignore[no-untyped-def]
        return w["k"] * dot(grad(u), grad(v))

    A = form.assemble(basis, k=basis.with_element(flat).interpolate(k))
    return _symmetric(A, basis.complement_dofs(basis.get_dofs()))


def _elasticity(
    name: str,
    dimension: int,
    size: int,
    rng: Generator,
    nu: float | None,
    contrast: float | None,
) -> Problem:
    skfem = _scikit_fem()
    from skfem.models.elasticity import lame_parameters, linear_elasticity

    nu = chosen("nu", nu, rng.uniform(0.1, 0.4), least=-0.9, most=0.499)
    contrast = chosen("contrast", contrast, log_uniform(rng, 1.0, 100.0), least=1.0)
    of_space = dimension == 3
    element = skfem.ElementHex1() if of_space else skfem.ElementQuad1()
    kind = skfem.MeshHex if of_space else skfem.MeshQuad
    mesh = kind.init_tensor(*[np.linspace(0.0, 1.0, size + 1)] * dimension)
    single = kind.init_tensor(*[np.array([0.0, 1.0 / size])] * dimension)

    # All elements are alike but for Young's modulus, so one is integrated and copied: for a
    # thousand elements that is a hundred times faster.
    basis = skfem.Basis(single, skfem.ElementVector(element))
    stiffness = linear_elasticity(*lame_parameters(1.0, nu)).assemble(basis)
    local = _interleaved(single.t[:, 0], dimension)
    stiffness = stiffness.toarray()[np.ix_(local, local)]
    centres = mesh.p[:, mesh.t].mean(axis=1)
    young = np.where(_field(centres, size, 3.0, rng) > 0.0, contrast, 1.0)
    unknowns = _interleaved(mesh.t, dimension)
    rows, cols, values = np.broadcast_arrays(
        unknowns[:, None, :], unknowns[None, :, :], stiffness[:, :, None] * young
    )
    n = mesh.p.size
    A = sparse.coo_array((values.ravel(), (rows.ravel(), cols.ravel())), shape=(n, n)).tocsr()
    keep = np.flatnonzero(np.repeat(mesh.p[0] > 0.0, dimension))
    B = rigid_body_modes(mesh.p.T)[keep]
    parameters: dict[str, float | int | str] = {"size": size, "nu": nu, "contrast": contrast}
    return made(name, _symmetric(A, keep), rng, parameters, B=B)


def _interleaved(corners: np.ndarray, dimension: int) -> np.ndarray:
    """Unknowns of the given corners along the first axis, all components of a corner together."""
    components = np.arange(dimension).reshape(-1, *[1] * (corners.ndim - 1))
    unknowns = dimension * corners[:, None] + components[None]
    return unknowns.reshape(-1, *corners.shape[1:])
