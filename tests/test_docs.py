"""The pages of docs/: what they say in Python runs, links resolve, commands exist."""

import importlib.util
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import typer
from pages import DOCS, README, ROOT, anchors, blocks, broken, links, run_snippets

from neuprecond import cli

PAGES = [README, *DOCS]
COMMANDS = typer.main.get_command(cli.app)


@pytest.fixture
def script(monkeypatch):
    """Load the script that writes parts of docs/."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location("docs_script", ROOT / "scripts" / "docs.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "docs_script", module)
    monkeypatch.delitem(sys.modules, "picture", raising=False)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_snippets_run_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(
        ROOT / "datasets", "datasets", ignore=shutil.ignore_patterns("*.png", "*.svg", "*.html")
    )
    from neuprecond import problems

    monkeypatch.setattr(problems, "FAMILIES", problems.FAMILIES.copy())
    run_snippets(page)


def test_pages_have_snippets():
    count = {page.stem: len(list(blocks(page, "python"))) for page in DOCS}
    assert count["faq"] >= 16
    assert count["getting-started"] >= 5
    assert all(count[name] for name in ("choosing", "how-it-works", "training", "reading-the-map"))


def test_every_question_is_answered_with_a_snippet():
    page = ROOT / "docs" / "faq.md"
    answers = page.read_text(encoding="utf-8").split("\n## ")[1:]
    assert len(answers) == 15
    assert all("```python" in answer for answer in answers)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_resolve(page):
    assert not broken(page)


def test_index_leads_to_every_page_and_example():
    found = links(ROOT / "docs" / "index.md")
    assert {page.name for page in DOCS} - {"index.md"} <= set(found)
    examples = {f"../examples/{path.name}" for path in (ROOT / "examples").glob("*.py")}
    assert examples <= set(found)


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n[a](none.md) [b](#one) [c](#two) ![d](page.md#one)\n\n## `One`\n[e](#one-1)\n",
        encoding="utf-8",
    )
    assert broken(page) == ["none.md", "#two"]
    assert anchors(page) == {"one", "one-1"}


def test_pictures_say_what_is_on_them():
    for page in DOCS:
        content = page.read_text(encoding="utf-8")
        assert all(len(text) > 60 for text in re.findall(r"!\[([^\]]*)\]", content)), page.name


def shell_lines():
    """Each line of a shell block, with its page."""
    for page in PAGES:
        for _, code in blocks(page, "sh"):
            for line in code.splitlines():
                words = shlex.split(line, comments=True)
                if words:
                    yield page.name, words


def test_shell_lines_can_be_typed():
    lines = list(shell_lines())
    assert len(lines) > 25
    for page, words in lines:
        assert understood(words), f"{page}: {' '.join(words)}"


@pytest.mark.parametrize(
    "line",
    [
        "neuprecond nothing",
        "neuprecond solve A.mtx --nothing 1",
        "make nothing",
        "python nothing.py",
        "python -m neuprecond.nothing",
        "pip install '.[nothing]'",
        "scripts/nothing.sh",
        "export nothing",
        "mpirun -n 2 nothing",
        "rm x",
    ],
)
def test_shell_lines_that_cannot_be_typed_are_found(line):
    assert not understood(shlex.split(line))


def understood(words):
    """Whether the command, its subcommand, its options, target, script or extra exist."""
    head, *rest = words
    if head == "python" and rest[:1] == ["-m"]:
        if rest[1] == "neuprecond":
            return understood(rest[1:])
        return importlib.util.find_spec(rest[1]) is not None
    if head == "python":
        return (ROOT / rest[0]).exists()
    if head == "make":
        return f"\n{rest[0]}:" in Path(ROOT / "Makefile").read_text(encoding="utf-8")
    if head == "pip":
        extras = re.findall(r"\[(.*)\]", " ".join(rest))
        known = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        return rest[0] == "install" and all(
            f"\n{extra} = [" in known for group in extras for extra in group.split(",")
        )
    if head.startswith("scripts/"):
        return (ROOT / head).exists()
    if head == "export":
        return all("=" in word for word in rest)
    if head == "mpirun":
        # tests/mpi starts the rest of it.
        return rest[0] == "-n" and rest[2] == ".venv-mpi/bin/python"
    if head != "neuprecond":
        return False
    command = COMMANDS
    if not rest[0].startswith("-"):
        command = COMMANDS.commands.get(rest[0])
        if command is None:
            return False
    options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    return all(word in options for word in rest if word.startswith("--"))


def test_reference_is_that_of_the_docstrings(script):
    committed = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert committed == script.api(), "run: python scripts/docs.py"


def test_reference_has_every_public_name(script):
    import neuprecond

    committed = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name in neuprecond.__all__:
        assert f"### `neuprecond.{name}`" in committed


def test_table_of_the_map_is_the_measured_one(script):
    page = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
    assert page == script.filled(page), "run: python scripts/docs.py"
    assert page.count("\n| ") > 20


def test_ratios_of_choosing_are_those_of_the_readme():
    readme = README.read_text(encoding="utf-8")
    row = re.search(r"^\| best of all classical \|(.*)$", readme, re.MULTILINE)[1]
    _, _, solve, both, own = (cell.split()[0] for cell in row.strip(" |").split("|"))
    page = " ".join((ROOT / "docs" / "choosing.md").read_text(encoding="utf-8").split())
    assert f"learned took {solve} times the solve seconds" in page
    assert f"{own} of PyAMG's own" in page
    assert f"and {both} times its setup and solve together" in page


def test_picture_is_the_drawn_one(script, tmp_path):
    script.draw(tmp_path / "how-it-works.svg")

    def words(path):
        return re.findall(r"<text[^>]*>(.*?)</text>", path.read_text(encoding="utf-8"), re.DOTALL)

    drawn = words(tmp_path / "how-it-works.svg")
    assert len(drawn) > 15
    assert drawn == words(ROOT / "docs" / "pictures" / "how-it-works.svg")
