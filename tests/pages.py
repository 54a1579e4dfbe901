"""Markdown pages as tests see them: snippets, links, headings, shell lines."""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import neuprecond

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """Each block of a language with the line it starts on."""
    content = page.read_text(encoding="utf-8")
    for match in re.finditer(rf"^```{language}\n(.*?)^```", content, re.DOTALL | re.MULTILINE):
        yield content[: match.start(1)].count("\n"), match[1]


def run_snippets(page: Path) -> dict[str, object]:
    """Run the blocks of Python from top to bottom in one namespace, and give that."""
    names: dict[str, object] = {"__name__": page.stem}
    for line, code in blocks(page, "python"):
        # Empty lines before it make a traceback name the page's own lines.
        compiled = compile("\n" * line + code, page.name, "exec")
        with warnings.catch_warnings():
            # The snippets on fall-backs are meant to warn.
            warnings.simplefilter("ignore", neuprecond.NeuprecondWarning)
            exec(compiled, names)
    return names


def prose(page: Path) -> str:
    """Return the page without its blocks."""
    content = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```", "", content, flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[str]:
    """Where links and pictures of a page lead."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them: the second of two alike ends in -1."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", one.strip().lower()).replace(" ", "-") for one in headings]
    before = [kept[:k].count(one) for k, one in enumerate(kept)]
    return {f"{one}-{times}" if times else one for one, times in zip(kept, before, strict=True)}


def broken(page: Path) -> list[str]:
    """Links of a page that lead nowhere in the repository."""
    found = []
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target)
        ):
            found.append(link)
    return found
