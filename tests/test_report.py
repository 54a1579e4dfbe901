"""The map: what is counted, how it is judged, that nothing is lost, and the page in a browser."""

import base64
import html
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from neuprecond import classical, problems
from neuprecond.report import MAP_FAMILIES, BenchmarkError, Counts, counts, draw_map, make_map
from neuprecond.report.counts import MAXITER, Curve, Run, Task, condition, departure, light_cone
from neuprecond.report.families import Place
from neuprecond.report.study import StudyRow, experiments, read_study, run_study, write_study
from neuprecond.report.verdict import RULES, cells, invariances, slopes, totals

pytest.importorskip("matplotlib", reason="the map draws figures: needs the extra plots")

LINES = ["capped", "poisson2d", "advection", "light-cone"]


def row(**changes):
    """A row of the Poisson line, learned, converged in 10 iterations."""
    plain = Run(
        line="poisson2d",
        family="poisson2d",
        parameters="{}",
        unknowns=256,
        value=float("nan"),
        n=256,
        nnz=1216,
        kappa=116.0,
        solver="cg",
        preconditioner="auto",
        kind="learned",
        made="diffusion2d multilevel",
        variant="",
        iterations=10,
        status="converged",
        residual=5e-9,
        setup_seconds=0.5,
        solve_seconds=0.1,
        density=3.0,
        departure=0.2,
        bound=0,
        seed=1,
        note="",
    )
    return replace(plain, **changes)


def classical_row(name, iterations, **changes):
    return row(preconditioner=name, kind="classical", made=name, iterations=iterations, **changes)


def twin_row(iterations, **changes):
    return row(kind="twin", made="diffusion2d multilevel twin", iterations=iterations, **changes)


def failed(run, status="stopped at maxiter"):
    return replace(run, status=status, iterations=MAXITER)


# Families.


@pytest.mark.parametrize("name", MAP_FAMILIES)
def test_each_line_draws_the_same_problem_for_the_same_seed(name):
    if name.startswith("elasticity"):
        pytest.importorskip("skfem")
    line = MAP_FAMILIES[name]
    for value in {line.usual, *line.values[:1], *line.values[-1:]}:
        first, again = (line.draw(Place(256, value), 3_000_004) for _ in range(2))
        assert (first.A != again.A).nnz == 0
        assert np.array_equal(first.b, again.b)
        assert first.A.shape[0] == len(first.b)
        if line.name != "light-cone":
            assert 0.6 <= len(first.b) / 256 <= 1.4
    assert line.why.endswith((".", ")"))
    assert line.reference


def test_places_are_sizes_then_values_without_a_place_twice():
    line = MAP_FAMILIES["heat"]
    places = line.places((256, 4096, 16384))
    assert [p.unknowns for p in places[:3]] == [256, 4096, 16384]
    assert {p.value for p in places[3:]} == set(line.values) - {line.usual}
    assert {p.unknowns for p in places[3:]} == {4096}
    assert len(set(places)) == len(places)


def test_a_million_unknowns_only_where_the_line_says_so():
    assert Place(1_000_000, None) in MAP_FAMILIES["poisson3d"].places((256, 1_000_000))
    assert Place(1_000_000, None) not in MAP_FAMILIES["delaunay"].places((256, 1_000_000))


def test_the_ball_has_the_radius_that_it_says():
    line = MAP_FAMILIES["ball"]
    centre = line.draw(Place(256, 0.05), 1).A
    other = line.draw(Place(256, 0.05), 2).A
    A0 = problems.draw("heat", 16, np.random.default_rng(3_000_500), parameters=line.fixed).A
    smallest = np.linalg.eigvalsh(A0.toarray())[0]
    for A in (centre, other):
        distance = np.linalg.norm((A - A0).toarray(), 2)
        assert distance == pytest.approx(0.05 * smallest, rel=0.02)


@pytest.mark.parametrize(("t", "definite"), [(0.999, True), (1.001, False)])
def test_the_crossing_is_singular_at_one(t, definite):
    A = MAP_FAMILIES["crossing"].draw(Place(256, t), 5).A
    assert (np.linalg.eigvalsh(A.toarray())[0] > 0) is np.bool_(definite)


# What is measured.


@pytest.mark.parametrize("n", [200, 900])
def test_condition_of_the_scaled_matrix(n):
    A = problems.draw("lognormal", round(n**0.5), np.random.default_rng(61)).A
    s = 1.0 / np.sqrt(A.diagonal())
    exact = np.linalg.cond(s[:, None] * A.toarray() * s)
    assert condition(A) == pytest.approx(exact, rel=0.02)
    assert condition(A) <= exact * (1 + 1e-6)
    D = sparse.diags_array(np.random.default_rng(62).uniform(0.1, 10.0, A.shape[0]))
    assert condition(sparse.csr_array(D @ A @ D)) == pytest.approx(condition(A), rel=0.02)


def test_condition_says_when_it_does_not_know():
    indefinite = problems.draw("helmholtz", 24, np.random.default_rng(63)).A
    wind = problems.draw("advection", 24, np.random.default_rng(64)).A
    assert np.isnan(condition(indefinite))
    assert np.isnan(condition(wind))
    assert condition(sparse.csr_array(np.diag([1.0, 0.0]))) == np.inf


def test_departure_is_a_lower_bound_that_comes_near():
    A = problems.draw("dominant", 60, np.random.default_rng(65)).A
    M = classical.jacobi(A)
    exact = np.linalg.norm(np.eye(60) - M @ A.toarray(), 2)
    assert 0.7 * exact <= departure(A, M, rounds=20) <= exact * (1 + 1e-12)
    assert departure(A, aslinearoperator(np.linalg.inv(A.toarray()))) < 1e-10


@pytest.mark.parametrize(("name", "expected"), [("none", 0), ("jacobi", 0), ("fsai", 1)])
def test_reach_of_m_on_a_line(name, expected):
    A = problems.draw("poisson1d", 40, np.random.default_rng(66)).A
    M = None if name == "none" else classical.precondition(name, A)
    assert counts.reach(M, 40) == expected


# Of the light cone.


@pytest.fixture(scope="module")
def cone():
    task = Task(MAP_FAMILIES["light-cone"], Place(1024, None), 3_000_000, ("heat", "auto"),
                counts.PEERS, (), False)  # fmt: skip
    return [run for run, _ in counts.measure(task)]


def test_no_count_is_below_the_light_cone(cone):
    bounds = {(r.preconditioner, r.kind): r for r in cone if r.bound}
    for name in ("none", "jacobi"):
        assert bounds[name, "classical"].bound == 64
        assert bounds[name, "classical"].iterations == 64
    for kind in ("twin", "learned"):
        assert bounds["heat", kind].bound >= 16
        assert bounds["heat", kind].iterations >= bounds["heat", kind].bound
        assert bounds["auto", kind].iterations < bounds["heat", kind].bound
    assert all(r.iterations >= r.bound for r in cone if r.converged)


def test_a_count_below_the_light_cone_is_a_bug_of_the_benchmark(monkeypatch):
    task = Task(
        MAP_FAMILIES["light-cone"], Place(1024, None), 3_000_000, (), ("jacobi",), (), False
    )
    monkeypatch.setattr(counts, "light_cone", lambda n, reach: light_cone(n, reach) + 1)
    with pytest.raises(BenchmarkError, match="light cone allows no fewer than 65"):
        list(counts.measure(task))


def test_laws_of_changed_matrices_are_rows():
    task = Task(MAP_FAMILIES["poisson2d"], Place(1024, None), 3_000_000, ("auto",), (),
                counts.VARIANTS, False)  # fmt: skip
    found = invariances([run for run, _ in counts.measure(task)])
    assert [i.variant for i in found] == list(counts.VARIANTS)
    # Renumbering a grid, or hiding its constants, may cost steps: those rows tell of it.
    assert {i.variant for i in found if i.holds} >= {"cA", "SAS, B given"}, found
    assert all(i.after > 0 for i in found)


def test_failures_are_rows_with_a_sentence():
    task = Task(MAP_FAMILIES["saddle"], Place(256, None), 3_000_000, ("heat", "auto"),
                ("jacobi", "none"), (), False)  # fmt: skip
    found = {(r.preconditioner, r.kind): r for r, _ in counts.measure(task)}
    assert found["jacobi", "classical"].status.startswith("no setup: Jacobi divides")
    assert found["heat", "learned"].status.startswith("no setup: ")
    assert found["heat", "learned"].iterations == 0
    assert np.isnan(found["heat", "learned"].residual)
    assert found["auto", "learned"].fell_back
    assert not found["auto", "learned"].is_learned
    assert "no learned model covers A" in found["auto", "learned"].note
    assert not any("\n" in r.status + r.note for r in found.values())


def test_what_was_not_tried_is_a_row(monkeypatch):
    monkeypatch.setitem(counts.MOST_UNKNOWNS, "ilu", 100)
    task = Task(MAP_FAMILIES["poisson2d"], Place(256, None), 3_000_000, (), ("ilu",), (), False)
    ((run, _),) = counts.measure(task)
    assert run.status == "not tried on more than 100 unknowns"


# Verdicts.


def verdict(*runs):
    (cell,) = cells(runs)
    return cell.verdict


RIVALS = (classical_row("none", 100), classical_row("jacobi", 60), classical_row("sa", 9))


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        pytest.param((row(), twin_row(11)), "works", id="all three"),
        pytest.param((row(), twin_row(10)), "helps", id="as many as the twin"),
        pytest.param((row(iterations=31), twin_row(40)), "helps", id="not twice as good as Jacobi"),
        pytest.param((row(iterations=30), twin_row(40)), "works", id="just twice as good"),
        pytest.param((row(iterations=60), twin_row(70)), "breaks", id="no better than Jacobi"),
        pytest.param((failed(row()), twin_row(11)), "breaks", id="did not converge"),
        pytest.param((row(made="ilu fall-back"), twin_row(11)), "breaks", id="fell back"),
        pytest.param(
            (row(made="", iterations=0, status="no setup: x"), twin_row(11)), "breaks", id="refused"
        ),
    ],
)
def test_verdict_by_the_rules(runs, expected):
    assert verdict(*runs, *RIVALS) == expected


def test_worse_than_nothing_on_one_instance_breaks():
    good = [row(), twin_row(10), *RIVALS]
    bad = [replace(run, seed=2) for run in (row(iterations=101), twin_row(101), *RIVALS)]
    worst = [replace(run, seed=3) for run in good]
    assert verdict(*good, *bad, *worst) == "breaks"


def test_one_failure_keeps_it_from_working():
    good = [replace(run, seed=k) for k in (1, 2) for run in (row(), twin_row(11), *RIVALS)]
    slow = [failed(classical_row("none", 0)), failed(classical_row("jacobi", 0))]
    bad = [replace(run, seed=3) for run in (failed(row()), failed(twin_row(0)), *slow)]
    (cell,) = cells([*good, *bad])
    assert cell.verdict == "helps"
    assert cell.converged == 2
    assert "stopped at maxiter on 1 of 3" in cell.reason


def test_failures_stay_in_the_means():
    (cell,) = cells([failed(row()), twin_row(10), *RIVALS])
    assert cell.learned == MAXITER
    assert cell.over_best == pytest.approx(MAXITER / 9)


def test_a_gmres_step_is_not_compared_with_a_cg_step():
    (cell,) = cells([row(), twin_row(11), *RIVALS, classical_row("ilu", 2, solver="gmres")])
    assert cell.best_name == "sa"


def test_the_page_states_every_rule():
    assert list(RULES) == ["works", "helps", "breaks"]


def test_slope_of_a_power():
    runs = [row(n=n, iterations=round(n**0.5)) for n in (100, 400, 10_000)]
    (found,) = [s for s in slopes(runs) if s.against == "n"]
    assert found.exponent == pytest.approx(0.5, abs=0.01)


def test_totals_count_when_it_pays():
    # 0.5 + 0.1 k against 0.1 + 0.2 k seconds: from k = 4 on it is no slower.
    rival = classical_row("sa", 12, setup_seconds=0.1, solve_seconds=0.2)
    by_name = {t.rival: t for t in totals([row(), rival])}
    assert by_name["sa"].fewer == 1.0
    assert by_name["sa"].solve == 1.0
    assert by_name["sa"].total == 0.0
    assert by_name["sa"].after == 4.0
    assert by_name["best classical"].ratio == pytest.approx(10 / 12)


# Files.


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A map of a few lines, as `neuprecond map --small` makes it."""
    out = tmp_path_factory.mktemp("map")
    write_study(out / "study.csv", STUDY)
    make_map(out, families=LINES, small=True, sizes=(100, 400), seeds=1, command="a test")
    return out


STUDY = [
    StudyRow(kind, 3, "general", net, x, x / 8, x / 4, 0.9, 0.3, 0.1, x**2, 2.0, 0.5)
    for kind in ("κ cap", "ball")
    for net in ("plain", "newton")
    for x in (1.5, 3.0)
] + [StudyRow("κ cap", 3, "SPD", "plain", 3.0, 0.1, 0.2, 0.9, 0.3, 0.1, 9.0, 2.0, 0.5)]


def test_rows_read_back_as_they_were_written(drawn):
    found = Counts.read(drawn)
    assert len(found.runs) > 100
    assert len({run.key for run in found.runs}) == len(found.runs)
    assert found.head["command"] == "a test"
    again = Counts(drawn / "again", found.head, found.runs, found.curves)
    again.folder.mkdir()
    again.write()
    assert (again.folder / "counts.csv").read_text() == (drawn / "counts.csv").read_text()


def test_every_line_place_and_peer_has_its_rows(drawn):
    wanted = {
        key
        for task in counts.tasks(LINES, sizes=(100, 400), seeds=1, ends_only=True)
        for key in task.keys()
    }
    assert {run.key for run in Counts.read(drawn).runs} == wanted


def test_a_row_that_was_cut_off_is_left_out(drawn, tmp_path):
    text = (drawn / "counts.csv").read_text(encoding="utf-8")
    (tmp_path / "counts.csv").write_text(text[:-7], encoding="utf-8")
    assert len(Counts.read(tmp_path).runs) == len(Counts.read(drawn).runs) - 1


def test_an_interrupted_map_keeps_its_rows_and_goes_on(tmp_path):
    how = {"families": ["capped"], "sizes": (100,), "seeds": 1, "small": True, "command": "x"}

    def stop(what, done, of):
        if done > 0 and not what.startswith("drawing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_map(tmp_path, **how, progress=stop)
    before = Counts.read(tmp_path).runs
    assert before
    assert (tmp_path / "map.html").exists()
    with pytest.raises(ValueError, match="--resume"):
        make_map(tmp_path, **how)
    after = make_map(tmp_path, **how, resume=True).runs
    assert len(after) > len(before)
    # Rows that were there are not measured again: their seconds are the same.
    seconds = {run.key: run.setup_seconds for run in after}
    assert all(seconds[run.key] == pytest.approx(run.setup_seconds, rel=1e-4) for run in before)


def test_rows_of_other_versions_are_not_mixed(tmp_path):
    Counts.start(tmp_path, {"versions": "of old"})
    with pytest.raises(ValueError, match="was measured with"):
        make_map(tmp_path, families=["capped"], sizes=(100,), seeds=1, resume=True)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"families": ["capt"]}, "no line 'capt'"),
        ({"sizes": (3,)}, "at least 64"),
        ({"seeds": -1}, "seeds must be at least 1"),
        ({"models": ["nobody"]}, "unknown model 'nobody'"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(tmp_path, how, words):
    with pytest.raises(ValueError, match=words):
        make_map(tmp_path / "map", **how)
    assert not (tmp_path / "map").exists()


def test_curves_are_kept_once(drawn):
    found = Counts.read(drawn).curves
    assert {curve.line for curve in found} == set(LINES)
    assert len({(c.line, c.preconditioner, c.kind) for c in found}) == len(found)
    assert all(isinstance(c, Curve) and len(c.iterations) == len(c.residuals) for c in found)


# The page.

FIGURES = ["map", "iterations-n", "iterations-kappa", "convergence", "transfer", "totals"]
STUDY_FIGURES = ["why-cant", "where-can"]


@pytest.mark.parametrize("name", FIGURES + STUDY_FIGURES)
def test_figures_are_files(drawn, name):
    assert (drawn / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (drawn / f"{name}.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")


def test_the_page_needs_nothing_but_itself(drawn):
    text = (drawn / "map.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "$" not in re.sub(r"base64,[^\"]*", "", text)
    images = re.findall(r'<img class="(light|dark)" alt="([^"]+)" src="[^,]+,([^"]+)"', text)
    assert len(images) == 2 * len(FIGURES + STUDY_FIGURES)
    for _, alt, svg in images:
        assert len(alt) > 60
        assert b"<svg" in base64.b64decode(svg)
        assert not re.search(rb'href="(?!#|data:)', base64.b64decode(svg))
    for rule in RULES.values():
        assert html.escape(rule) in text
    for line in LINES:
        assert MAP_FAMILIES[line].why.split("‖")[0][:30] in text


def test_drawing_again_changes_nothing(drawn):
    before = (drawn / "map.html").read_text(encoding="utf-8")
    draw_map(drawn)
    assert (drawn / "map.html").read_text(encoding="utf-8") == before


@pytest.fixture(scope="module")
def browser(drawn):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    with webdriver.Chrome(options=options, service=service) as found:
        found.get((drawn / "map.html").as_uri())
        yield found


def column(browser, table, k):
    script = (
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)]"
        ".map(row => row.cells[arguments[1]].dataset.v ?? row.cells[arguments[1]].textContent)"
    )
    return browser.execute_script(script, table, k)


def test_the_page_opens_without_errors(browser):
    assert "where neural inversion works" in browser.title
    assert browser.get_log("browser") == []


def test_plots_are_there(browser):
    script = "return [...document.images].filter(i => i.checkVisibility()).map(i => i.naturalWidth)"
    widths = browser.execute_script(script)
    assert len(widths) == len(FIGURES + STUDY_FIGURES)
    assert min(widths) > 300


def test_tables_sort_numbers_as_numbers_both_ways(browser):
    heads = browser.find_elements("css selector", "#table-cells th button")
    k = [head.text.strip(" ▲▼") for head in heads].index("none")
    browser.execute_script("arguments[0].scrollIntoView()", heads[k])
    browser.execute_script("arguments[0].click()", heads[k])
    up = [float(v) for v in column(browser, "table-cells", k) if v]
    assert up == sorted(up)
    assert len(set(up)) > 2
    browser.execute_script("arguments[0].click()", heads[k])
    down = [float(v) for v in column(browser, "table-cells", k) if v]
    assert down == sorted(up, reverse=True)
    sorts = browser.execute_script(
        "return [...document.querySelectorAll('#table-cells th')].map(h => h.ariaSort)"
    )
    assert sorts[k] == "descending"
    assert set(sorts[:k] + sorts[k + 1 :]) == {"none"}


def test_tables_sort_words(browser):
    head = browser.find_element("css selector", "#table-families th button")
    browser.execute_script("arguments[0].click()", head)
    names = column(browser, "table-families", 0)
    lower = [name.lower() for name in names]
    assert names
    assert lower == sorted(lower)


def test_light_and_dark(browser):
    def paper():
        return browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    before = paper()
    browser.execute_script("document.getElementById('theme').click()")
    assert paper() != before
    shown = "return [...document.images].filter(i => i.checkVisibility()).length"
    assert browser.execute_script(shown) == len(FIGURES + STUDY_FIGURES)
    browser.execute_script("document.getElementById('theme').click()")
    assert paper() == before


def test_readable_on_a_phone(browser):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True},
    )
    try:
        wide = browser.execute_script("return document.documentElement.scrollWidth")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= 391


# The inversion study.


def test_study_rows_read_back(tmp_path):
    write_study(tmp_path / "study.csv", STUDY)
    assert read_study(tmp_path / "study.csv") == STUDY
    assert read_study(tmp_path / "none.csv") == []


@pytest.fixture(scope="module")
def studied():
    pytest.importorskip("torch", reason="the study trains networks: needs the extra train")
    from neuprecond.report import study

    with pytest.MonkeyPatch.context() as patch:
        wanted = [e for e in experiments(small=True) if e.kind == "κ cap"]
        patch.setattr(study, "experiments", lambda small: wanted)
        return {(r.matrices, r.network, r.difficulty): r for r in run_study(small=True)}


def test_a_plain_network_fails_as_kappa_grows(studied):
    for matrices in ("general", "SPD"):
        easy, hard = studied[matrices, "plain", 1.5], studied[matrices, "plain", 100.0]
        assert easy.error < 0.3
        assert hard.error > 2 * easy.error
        assert easy.share == pytest.approx(1.0)


def test_the_pole_by_hand_helps(studied):
    for cap in (1.5, 100.0):
        assert studied["SPD", "newton", cap].error < studied["SPD", "plain", cap].error


def test_the_norm_budget_is_never_beaten(studied):
    for found in studied.values():
        assert found.departure >= found.budget - 1e-5


def test_the_study_is_the_same_for_the_same_seed(studied):
    first = next(iter(run_study(small=True)))
    known = studied[first.matrices, first.network, first.difficulty]
    assert first.error == pytest.approx(known.error, rel=1e-3)
