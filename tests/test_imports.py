"""Who imports whom: the picture in words, read from the source and kept true."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import neuprecond

PACKAGE = Path(neuprecond.__file__).parent
TORCH = {"torch", "torch_geometric", "jaxtyping"}
# Where torch lives; all other modules are of the SciPy half.
TORCH_HALF = ("graph", "nets", "torch", "training")
# Where a function may ask for the torch half once it runs: only if a device is named, or to train.
MAY_ASK = {"zoo.model": {"graph"}, "operators.base": {"torch"}, "fitting": {"training"}}

# What each part may import of the others when it is imported itself. Left out: cli and petsc, which
# may import anything, and __init__, which is lazy.
ALLOWED = {
    "errors": set(),
    "checks": {"errors", "rows"},
    "rows": set(),
    "plain": set(),
    "problems": {"checks"},
    "classical": {"checks", "errors", "rows"},
    "hierarchy": {"checks", "errors", "interpolation", "rows"},
    "interpolation": {"checks", "errors", "rows"},
    "operators": {"checks", "errors", "rows"},
    "torch": {"operators"},
    "cupy": {"operators"},
    "krylov": {"checks", "classical", "errors"},
    "features": {"hierarchy", "rows"},
    "statistics": {"features", "hierarchy", "rows"},
    "multilevel": {
        "classical",
        "errors",
        "features",
        "hierarchy",
        "interpolation",
        "operators",
        "rows",
    },
    "spai": {"classical", "errors", "features", "hierarchy", "operators", "rows"},
    "nonsymmetric": {"classical", "errors", "hierarchy", "operators", "rows"},
    "inference": {"features", "multilevel", "rows", "spai"},
    "nets": set(),
    "graph": {"features", "hierarchy", "inference", "multilevel", "nets", "spai"},
    "zoo": {
        "checks",
        "classical",
        "errors",
        "features",
        "hierarchy",
        "inference",
        "krylov",
        "multilevel",
        "nonsymmetric",
        "operators",
        "spai",
        "statistics",
        "rows",
    },
    "spectrum": set(),
    "expected": {"hierarchy", "rows", "spectrum", "statistics"},
    "diagnosis": {
        "checks",
        "expected",
        "hierarchy",
        "multilevel",
        "operators",
        "plain",
        "rows",
        "spectrum",
        "zoo",
    },
    "fitting": {
        "checks",
        "errors",
        "hierarchy",
        "multilevel",
        "operators",
        "problems",
        "spectrum",
        "zoo",
    },
    "report": {
        "checks",
        "classical",
        "errors",
        "expected",
        "hierarchy",
        "krylov",
        "problems",
        "spectrum",
        "zoo",
    },
}
FREE = {"__init__", "__main__", "cli", "petsc", "training"}
# Programs: nobody imports them, but each its own modules.
LAST = ("cli", "training", "report")


@dataclass(frozen=True)
class Import:
    """One import statement: who, what, where, and whether only once a function runs."""

    importer: str
    target: str
    line: int
    lazy: bool

    @property
    def top(self) -> str:
        return self.target.partition(".")[0]

    @property
    def part(self) -> str:
        """The part of neuprecond that is imported, or nothing."""
        return self.target.split(".")[1] if self.target.startswith("neuprecond.") else ""

    @property
    def own(self) -> str:
        return part_of(self.importer)

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}, imports {self.target}"


def part_of(module: str) -> str:
    return module.partition(".")[0]


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name or "__init__"] = path
    return found


def imports(name: str, path: Path) -> Iterator[Import]:
    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(name, alias.name, child.lineno, lazy)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{name}, line {child.lineno}: imports are absolute"
                for alias in child.names:
                    yield Import(name, f"{child.module}.{alias.name}", child.lineno, lazy)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, lazy or function)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False)


EVERY = [found for name, path in modules().items() for found in imports(name, path)]


def none_of(wrong: list[Import]) -> None:
    assert not wrong, "\n".join(map(str, wrong))


def test_torch_stays_in_its_half():
    # The inversion study trains small networks of its own, if asked to.
    study = [i for i in EVERY if i.importer == "report.study" and i.lazy]
    none_of([i for i in EVERY if i.top in TORCH and i.own not in TORCH_HALF and i not in study])


def test_the_torch_half_is_asked_for_only_where_a_device_may_be_named():
    none_of(
        [
            i
            for i in EVERY
            if i.part in TORCH_HALF
            and i.own not in (*TORCH_HALF, *LAST)
            and not (i.lazy and i.part in MAY_ASK.get(i.importer, ()))
        ]
    )


def test_nets_know_no_scipy():
    none_of([i for i in EVERY if i.own == "nets" and i.top in ("scipy", "pyamg", "numba")])


@pytest.mark.parametrize("last", LAST)
def test_nobody_imports_the_programs(last):
    allowed = {last, "__main__", "cli", "petsc"}
    found = [i for i in EVERY if i.part == last and i.own not in allowed]
    none_of([i for i in found if not (i.lazy and last in MAY_ASK.get(i.importer, ()))])


def test_matplotlib_is_in_figures_only():
    none_of([i for i in EVERY if i.top == "matplotlib" and i.importer != "report.figures"])


def test_no_private_module_of_the_libraries():
    libraries = ("scipy", "pyamg", "torch", "torch_geometric", "numpy", "numba")
    none_of(
        [
            i
            for i in EVERY
            if i.top in libraries and any(word.startswith("_") for word in i.target.split("."))
        ]
    )


def test_each_part_has_its_place():
    parts = {part_of(name) for name in modules()}
    assert parts <= set(ALLOWED) | FREE, "a new part goes into ALLOWED"


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_parts_import_what_is_below_them(part):
    below = ALLOWED[part] | {part, ""}
    none_of([i for i in EVERY if i.own == part and not i.lazy and i.part not in below])


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


HEAVY = "sorted({'torch', 'torch_geometric', 'scipy', 'numba', 'pyamg'} & set(sys.modules))"


def test_importing_neuprecond_costs_nothing():
    assert fresh(f"import sys, neuprecond; dir(neuprecond); print({HEAVY})") == "[]"


def test_a_packaged_model_needs_no_torch():
    code = f"""
import sys, numpy as np, neuprecond
from neuprecond import problems
A = problems.draw("poisson2d", 24, np.random.default_rng(31)).A
M = neuprecond.load("diffusion2d", A)
neuprecond.solve(A, np.ones(576), M=M)
neuprecond.models()
print([name for name in {HEAVY} if name.startswith("torch")])
"""
    assert fresh(code) == "[]"
