"""Rules about the whole tree that no single file shows: who may import what, no import circles, file sizes, names of tasks."""

import ast
from pathlib import Path

import pytest

from processor import TASKS
from tests.conftest import ROOT

FOLDERS = ("processor", "src", "benchmarks", "tools")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))] + sorted(ROOT.glob("*.py"))
# Folder -> what its files may import of the project; the commands at the top level may import everything.
ALLOWED = {
    "processor": {
        "processor", "src.data", "src.errors", "src.file_kinds", "src.files", "src.hangul", "src.settings", "src.metrics",
        "src.cli", "src.config", "src.progress", "src.suites",
    },
    "src": {"src"},
}  # fmt: skip
MAX_LINES = 300


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imports_of(path: Path) -> set[str]:
    """The project's modules that a file imports, inside functions and under TYPE_CHECKING, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in members if name in MODULES} or {str(node.module)}
    return found & MODULES.keys()


@pytest.mark.parametrize("path", [path for path in FILES if path.parent != ROOT], ids=module_of)
def test_imports_go_one_way(path):
    allowed = ALLOWED.get(path.relative_to(ROOT).parts[0], {"benchmarks", "processor", "src"})
    for name in imports_of(path):
        assert any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed), f"imports {name}"


def find_circle(imports: dict[str, set[str]]) -> list[str]:
    """The modules of an import circle, the first one repeated at the end; empty if there is none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            done.add(name)
            for imported in sorted(imports[name]):
                if circle := visit(imported, [*path, name]):
                    return circle
        return []

    return next((circle for name in imports if (circle := visit(name, []))), [])


def test_no_import_circles():
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_circle({module: imports_of(path) for module, path in MODULES.items()}) == []


def test_no_file_is_too_long():
    paths = [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "data" / "sample").glob("*.py")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent != ROOT and path.parent.name != "benchmarks"], ids=module_of
)
def test_no_file_outside_the_tables_knows_a_task_by_name(path):
    if path == ROOT / "processor" / "__init__.py":
        return  # the table itself
    strings = {
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not strings & set(TASKS)


@pytest.mark.parametrize("script", ["run_seq_cls", "run_ner", "run_squad", "run_benchmark", "predict"])
def test_nothing_heavy_is_imported_before_the_arguments_are_good(command, script):
    heavy = "{'torch', 'transformers', 'scipy', 'sklearn', 'seqeval', 'accelerate', 'optuna'}"
    assert command("-c", f"import sys; import {script}; print({heavy} & set(sys.modules))").stdout.strip() == "set()"
