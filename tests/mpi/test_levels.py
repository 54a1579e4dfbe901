"""The multilevel M over ranks: near one process's in steps, sound, and its halo deep enough."""

import math
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "parallel.md"

FAMILIES = {
    "poisson2d": 100,
    "lognormal": 70,
    "twophase": 100,
    "anisotropic": 60,
    "poisson3d": 16,
    "elasticity2d": 30,
    "delaunay": 3000,
}


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_steps_stay_near_those_of_one_process(job, ranks, family):
    found = job(ranks, "several_levels", family, FAMILIES[family])
    for which in ("learned", "twin"):
        steps, serial = found[which]["steps"], found[which]["serial"]
        assert found[which]["reason"] > 0
        assert found[which]["residual"] < 1.01e-8
        assert steps <= max(math.ceil(1.2 * serial), serial + 2)


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_m_is_symmetric_and_definite(job, ranks, family):
    found = job(ranks, "several_levels", family, FAMILIES[family])
    for which in ("learned", "twin"):
        ratio, square = found[which]["laws"]
        assert ratio == pytest.approx(1.0, abs=1e-8)
        assert square > 0.0


@pytest.mark.parametrize(
    ("family", "n", "plan"),
    [
        ("lognormal", 60, "sa5-w"),
        ("poisson2d", 60, "sa"),
        ("anisotropic", 60, "sa5"),
        ("delaunay", 9000, "sa3-w"),
    ],
)
def test_a_deeper_halo_changes_nothing_and_a_shallow_one_does(job, family, n, plan):
    found = job(4, "deeper", family, n, plan)
    assert found["deeper"] < 1e-6
    # By how much depends on the weights.
    assert found["shallow"] > max(1e-6, 10.0 * found["deeper"])


@pytest.mark.parametrize(("family", "n"), [("lognormal", 80), ("delaunay", 900)])
def test_the_plan_is_picked_from_statistics_of_the_whole_matrix(job, family, n):
    for found, expected in job(4, "statistics", family, n).values():
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_ranks_may_be_empty(job):
    found = job(3, "empty_ranks", "poisson2d", 40, "diffusion2d")
    assert max(found["steps"]) <= found["serial"] + 2


def test_ranks_may_be_empty_with_rigid_body_modes(job):
    found = job(3, "empty_with_modes", 30)
    assert found["steps"] <= found["serial"] + 1
    assert found["heat"] < 1e-8
    assert found["diffusion2d"] < 1e-8


def test_stored_zeros_change_nothing(job):
    found = job(2, "zeros", 60)
    assert found["difference"] <= 1e-12 * found["size"]


def test_diagonal_and_singular_matrices(job):
    found = job(3, "degenerate")
    assert found["diagonal"] == 1
    assert found["singular"]["residual"] < 1e-8
    assert found["singular"]["steps"] <= math.ceil(1.2 * found["serial"])


def test_several_at_once_have_options_of_their_own(job):
    found = job(2, "several_at_once", 50)
    assert all(each[0] for each in found.values())
    assert found["a_"][2:] == ["heat", True]
    assert found["b_"][2:] == ["diffusion2d", False]
    assert found["b_"][1] < found["c_"][1] < found["a_"][1]


def test_some_of_the_ranks_can_do_it_on_their_own(job):
    for steps, serial in job(4, "apart", 50)["steps"]:
        assert steps <= max(math.ceil(1.2 * serial), serial + 2)


def test_a_view_shows_the_levels_and_m_is_its_own_transpose(job):
    found = job(3, "shown")
    assert "neuprecond 'diffusion2d'" in found["view"]
    assert "on every rank" in found["view"]
    assert found["transposed"] == 0.0


@pytest.mark.parametrize(
    ("family", "n", "model"),
    [("poisson2d", 100, "diffusion2d"), ("elasticity2d", 60, "diffusion2d"), ("heat", 100, "heat")],
)
def test_setting_up_again_takes_no_memory(job, family, n, model):
    found = job(2, "memory", family, n, model)
    assert found["more"] < 20 * found["matrix"], "megabytes of twenty setups"


def test_near_null_vectors_come_from_the_matrix(job):
    found = job(3, "near_null", 30)
    assert found["with modes"] < 0.7 * found["without"]


def test_auto_takes_what_one_process_takes(job):
    found = job(3, "auto")
    assert found["here"] == found["serial"]
    assert set(found["here"]) == {"heat", "diffusion2d"}


def test_the_page_shows_what_works(job):
    found = job(2, "page")
    assert found["snippet"] == found["line"] < 10


def test_the_page_takes_one_from_nothing_to_a_solve(mpirun, builds, tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    program = tmp_path / "poisson.py"
    program.write_text(re.findall(r"```py\n(.*?)```", text, re.DOTALL)[1], encoding="utf-8")
    line = re.search(r"mpirun -n 2 \S+ (.*) poisson.py (.*)", text)
    done = mpirun(2, line[2], options=line[1].split(), script=program, petsc=builds["real"])
    assert done.code == 0, done.err
    assert "neuprecond 'diffusion2d'" in done.out
    assert int(re.search(r"(\d+) steps", done.out)[1]) < 12


def test_a_matrix_far_from_training_is_remarked_on_once(job):
    found = job(2, "remarks")
    for name, text in (
        ("one level", "it is of one level, and the typical row of A sums to 0.0e+00"),
        ("far", "A lies outside of what model 'diffusion2d' was trained on, in "),
    ):
        (said,), nothing = found[name]["ranks"]
        assert not nothing
        assert text in said
        assert text in found[name]["serial"][0]
    assert "-neuprecond_twin" in found["far"]["ranks"][0][0]
    assert found["near"] == {"ranks": [[], []], "serial": []}
    (said,), nothing = found["bottom"]["ranks"]
    assert not nothing
    assert "coarsening rank by rank came no further than" in said
