"""Does it help with my finite elements? Heat that leaks from a coated wing, by scikit-fem.

Steady heat, -div(k grad u) = 0, by linear elements on PyAMG's mesh round an airfoil, whose largest
triangle is four thousand times the smallest. The wing is held at 1 and the far wall at 0; a coat on
the wing conducts ten thousand times worse than the rest. Needs the extra ``problems``.
"""

import numpy as np
import pyamg
import skfem
from rivals import compare, numbers
from scipy import sparse
from scipy.spatial import cKDTree
from skfem.helpers import dot, grad

import neuprecond

THICKNESS, CONDUCTS = 0.03, 1e-4  # of the coat; the wing is 1 long and all else conducts 1


@skfem.BilinearForm
def conduction(u, v, w):
    """Integrate k grad u · grad v."""
    return w["k"] * dot(grad(u), grad(v))


def main(small: bool = False) -> dict[str, float]:
    """Assemble, solve with each M, and tell how much heat the coat keeps in.

    Parameters
    ----------
    small : bool
        The mesh refined twice instead of four times.

    Returns
    -------
    dict
        Iterations of each M, the true residual of learned, and "lost": heat lost with the coat
        over heat lost without.
    """
    mesh = refined_mesh(2 if small else 4)
    rim = mesh.boundary_nodes()
    wing = rim[np.hypot(*mesh.p[:, rim]) < 4.0]
    u = np.zeros(mesh.nvertices)
    u[wing] = 1.0
    # A triangle belongs to the coat if its centre is near the wing.
    distance, _ = cKDTree(mesh.p[:, wing].T).query(mesh.p[:, mesh.t].mean(axis=1).T)
    coat = np.where(distance < THICKNESS, CONDUCTS, 1.0)

    bare, inner = stiffness(mesh, np.ones(mesh.nelements))
    coated, _ = stiffness(mesh, coat)
    # Known values go to the right-hand side: what is left is symmetric positive definite.
    records = compare(coated[inner][:, inner], -(coated @ u)[inner])

    u[inner] = records["learned"].x
    # Wing at 1, wall at 0: the energy is the heat that flows.
    with_coat = u @ (coated @ u)
    u[inner] = 0.0
    u[inner] = neuprecond.solve(bare[inner][:, inner], -(bare @ u)[inner]).x
    without = u @ (bare @ u)
    print(f"the coated wing loses {100 * with_coat / without:.2f} % of what the bare one loses")
    return numbers(records) | {"lost": float(with_coat / without)}


def refined_mesh(times: int) -> skfem.MeshTri:
    """Cut each triangle of the mesh round an airfoil that comes with PyAMG into four, so often."""
    data = pyamg.gallery.load_example("airfoil")
    vertices, triangles = data["vertices"].T, data["elements"].T.astype(np.int64)
    mesh = skfem.MeshTri(np.ascontiguousarray(vertices), np.ascontiguousarray(triangles))
    return mesh.refined(times)


def stiffness(mesh: skfem.MeshTri, k: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Assemble with one k a triangle: the matrix of all corners, and which of them are inner."""
    basis = skfem.Basis(mesh, skfem.ElementTriP1())
    of_triangles = basis.with_element(skfem.ElementTriP0()).interpolate(k)
    inner = basis.complement_dofs(basis.get_dofs())
    return conduction.assemble(basis, k=of_triangles).tocsr(), inner


if __name__ == "__main__":
    main()
