"""The one-level M over ranks is the one of a single process; faults end a job, and say why."""

import math

import pytest

RANKS = (1, 2, 4)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize(("family", "n"), [("heat", 40), ("dominant", 900)])
def test_one_level_equals_one_process_on_any_number_of_ranks(job, ranks, family, n):
    found = job(ranks, "one_level", family, n)
    assert found["steps"] == found["serial"]
    assert found["reason"] > 0
    assert found["residual"] < 1.01e-8
    assert found["difference"] <= 1e-6 * found["largest"], "float32 is what the network rounds to"


def test_a_halo_two_couplings_short_shows(job):
    assert job(2, "shallow", 40)["difference"] > 1e-6 * job(2, "shallow", 40)["largest"]


@pytest.mark.parametrize("depth", [1, 3])
def test_a_halo_holds_the_rows_around(job, depth):
    found = job(4, "halo", 300, depth)
    assert found["difference"] == 0.0
    assert all(found["right rows"])
    assert all(found["right numbers"])


@pytest.mark.parametrize(
    ("family", "n", "model"), [("heat", 24, "heat"), ("poisson2d", 40, "diffusion2d")]
)
def test_options_are_enough(job, family, n, model):
    found = job(2, "by_options", family, n, model)
    assert found["steps"] == found["called"]


def test_ranks_may_be_empty(job):
    found = job(3, "empty_ranks", "heat", 24, "heat")
    assert found["steps"] == [found["serial"]] * 3


def test_every_rank_hears_of_the_fault_of_one(job):
    messages = job(3, "refusals")
    for name, kind, text in (
        ("nonsymmetric", "NotDefiniteError", "needs a symmetric A"),
        ("negative", "NotDefiniteError", "needs a positive diagonal, got -1 in row 143"),
        ("not finite", "ValueError", "A must be finite"),
        ("dense", "TypeError", "A must be of PETSc's type aij, got 'mpidense'"),
        ("no matrix", "TypeError", "needed a KSP or a Mat"),
        ("no operators", "ValueError", "setOperators of the KSP comes first"),
        ("not assembled", "ValueError", "A must be assembled"),
        ("rectangular", "ValueError", "A must be square, got shape (9, 12)"),
        ("layout", "ValueError", "as many columns as rows on each rank, got 3 rows and"),
        ("columns of B", "ValueError", "as many columns on each rank"),
        ("B on one rank", "ValueError", "got from 0 to 2"),
        ("rows of B", "ValueError", "B (near-null vectors) must have shape"),
        ("zero B", "ValueError", "must have no zero column, got one at 0"),
        ("model", "ValueError", "is of kind 'nonsymmetric', which runs on one process only"),
        ("warning", "NeuprecondWarning", "it is of one level"),
        ("nothing", "nothing", ""),
    ):
        for said in messages[name]:
            assert said[0] == kind
            assert text in said[1]


def test_an_error_that_cannot_travel_is_told_in_words(job):
    assert [said.split(": ")[-1] for said in job(3, "faults")["said"]] == ["this and that"] * 3


@pytest.mark.parametrize("model", ["heat", "diffusion2d"])
def test_a_changed_matrix_is_set_up_again(job, model):
    found = job(2, "anew")[model]
    assert found["same"]
    assert found["off"] < 1e-10, "M(4 A) = M(A) / 4"
    for steps, serial in found["steps"]:
        assert steps <= math.ceil(1.2 * serial)


def test_a_killed_rank_ends_the_job(mpirun):
    done = mpirun(3, "killed", limit=120)
    assert done.code != 0
    assert "process rank 1" in done.err
    assert "signal 9" in done.err


def test_a_program_that_fails_on_one_rank_ends_the_job(mpirun):
    done = mpirun(2, "raised", limit=120, options=["-m", "mpi4py"])
    assert done.code != 0
    assert "OverflowError: a fault of rank 1 alone" in done.err


def test_64_bit_indices_do_the_same(mpirun, builds):
    (found,) = mpirun(2, "another_build,24", petsc=builds["64-real"]).results
    assert (found["scalar"], found["index"]) == ("float64", "int64")
    assert found["steps"] == found["serial"]
    assert found["difference"] <= 1e-6 * found["largest"]
    several = found["several"]["learned"]
    assert several["steps"] <= math.ceil(1.2 * several["serial"])


def test_a_complex_petsc_is_refused(mpirun, builds):
    (found,) = mpirun(2, "another_build,24", petsc=builds["complex"]).results
    assert found["scalar"] == "complex128"
    assert "built for real double precision, got one for complex128" in found["message"]
