"""Rules about the whole tree that no single file shows: who may import what, no import circles, file sizes, names of tasks."""

import ast
import inspect
import re
import sys
from pathlib import Path

import pytest

from processor.definition import TASKS
from src.pipeline import run_script
from tests.conftest import ROOT, SAMPLE

FOLDERS = ("processor", "src", "benchmarks")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))] + sorted(ROOT.glob("*.py"))
# Package -> the packages that it may import. The commands at the top level, pipeline.py and the benchmarks may import everything.
LOW = ["src.settings", "src.metrics", "src.data", "src.common"]
ALLOWED = {
    "src.common": [],
    "src.data": [],
    "src.settings": ["src.data", "src.common"],
    "src.metrics": ["src.data"],
    "src.model": ["src.settings", "src.data", "src.common"],
    "src.runs": LOW,
    "processor": LOW,
    "src.training": ["src.model", "src.runs", *LOW],
    "src.report": ["src.runs", *LOW],
    "src.predict": ["src.training", "processor", "src.model", "src.runs", *LOW],
    "src.grid": ["src.report", "src.runs", *LOW],
}
MAX_FLOORS = 7
MAX_LINES = 300
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
# What a run of NSMC enters: functions, lambdas and generator expressions included, and files.
COMPREHENSIONS = ("<listcomp>", "<dictcomp>", "<setcomp>")
MAX_ENTERED = {"functions": 475, "files": 66}


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


def package_of(module: str) -> str:
    return next((package for package in ALLOWED if module == package or module.startswith(f"{package}.")), "")


def test_a_package_imports_only_what_its_row_allows():
    wrong = {}
    for module, path in MODULES.items():
        if package := package_of(module):
            allowed = {package, *ALLOWED[package]}
            if others := {name for name in imports_of(path) if package_of(name) not in allowed}:
                wrong[module] = others
    assert wrong == {}


def test_the_design_page_has_the_same_table():
    rows = re.findall(r"^\| `([\w/]+)/` \| .+ \| (.+) \|$", DESIGN, re.MULTILINE)
    table = {package: re.findall(r"`([\w/]+)/`", allowed) for package, allowed in rows}
    assert {name.replace("/", "."): {other.replace("/", ".") for other in others} for name, others in table.items()} == {
        name: set(others) for name, others in ALLOWED.items()
    }
    assert all(others or allowed == "nothing" for others, (_, allowed) in zip(table.values(), rows, strict=True))


def test_the_design_page_names_what_exists():
    """`file:function`, `file:Class` or `file:Class.method`; and files, folders and tables."""
    assert len(re.findall(r"^\d+\. `", DESIGN, re.MULTILINE)) > 30
    for file, names in re.findall(r"`([\w./]+\.py):([\w.]+)`", DESIGN):
        body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        for name in names.split("."):
            found = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name]
            assert found, f"{file}: {name}"
            body = found[0].body
    for path in re.findall(r"`((?:src|processor|tests|benchmarks|config)/[\w./]*)`", DESIGN):
        assert (ROOT / path).exists(), path
    for table, file in re.findall(r"`([A-Z]\w+)` in `([\w./]+\.py)`", DESIGN):
        assert re.search(rf"^(class )?{table}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), f"{file}: {table}"


def test_packages_stand_on_few_floors():
    def floor(package):
        return 1 + max(map(floor, ALLOWED[package]), default=0)

    assert max(map(floor, ALLOWED)) + 1 <= MAX_FLOORS  # the commands stand on top


def test_src_holds_packages_that_say_what_they_are():
    """In one sentence, and without importing anything."""
    assert [path.name for path in (ROOT / "src").glob("*.py")] == ["__init__.py", "pipeline.py"]
    for package in [path for path in FILES if path.name == "__init__.py" and path.parts[-2] != "benchmarks"]:
        (sentence,) = ast.parse(package.read_text(encoding="utf-8")).body
        assert isinstance(sentence, ast.Expr) and isinstance(sentence.value, ast.Constant), package


def test_tests_mirror_the_files():
    """tests/src/data/test_task.py tests src/data/task.py, and so does test_task_<something>.py."""
    for path in [*(ROOT / "tests" / "src").rglob("test_*.py"), *(ROOT / "tests" / "processor").rglob("test_*.py")]:
        folder = ROOT / path.parent.relative_to(ROOT / "tests")
        assert any(path.stem.startswith(f"test_{tested.stem}") for tested in folder.glob("*.py")), path


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


def test_no_file_outside_the_tables_knows_a_task_by_name():
    for path in FILES:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        if path.parent != ROOT and path.parent.name != "benchmarks":
            assert not strings & set(TASKS), path


@pytest.mark.parametrize("script", ["run_seq_cls", "run_ner", "run_squad", "run_benchmark", "predict"])
def test_nothing_heavy_is_imported_before_the_arguments_are_good(command, script):
    heavy = "{'torch', 'transformers', 'scipy', 'sklearn', 'seqeval', 'accelerate', 'optuna'}"
    assert command("-c", f"import sys; import {script}; print({heavy} & set(sys.modules))").stdout.strip() == "set()"


def test_a_short_run_enters_few_functions_and_files(tmp_path, monkeypatch):
    """Two updates on NSMC's sample, with features and weights of its own."""
    flags = ["--task", "nsmc", "--data_dir", SAMPLE, "--config_file", "tiny.json", "--max_steps", "2", "--from_scratch"]
    places = ["--model_name_or_path", SAMPLE / "tiny-electra", "--ckpt_dir", tmp_path, "--feature_cache_dir", tmp_path / "cache"]
    monkeypatch.setattr(sys, "argv", ["run_seq_cls.py", *map(str, [*flags, *places])])
    entered = set()

    def note(frame, event, argument):
        if event == "call" and frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # not the body of a module or of a class
            entered.add(frame.f_code)

    sys.setprofile(note)
    try:
        run_script("run_seq_cls.py")
    finally:
        sys.setprofile(None)
    # From Python 3.12 on, these comprehensions are not functions.
    ours = {code for code in entered if Path(code.co_filename) in FILES and code.co_name not in COMPREHENSIONS}
    assert len({code.co_filename for code in ours}) <= MAX_ENTERED["files"]
    assert len(ours) <= MAX_ENTERED["functions"]
