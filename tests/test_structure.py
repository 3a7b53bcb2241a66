"""The house rules that a reader cannot see from one file alone."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

ALLOWED = {
    "run": {"processor", "src"},
    "processor": {"processor", "src.errors", "src.metrics"},
    "src": {"src"},
}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return {name for name in found if name.split(".")[0] in ("src", "processor", "tests") or name.startswith("run_")}


def test_imports_go_one_way():
    seen = 0
    for path in [*ROOT.glob("*.py"), *(ROOT / "processor").glob("*.py"), *(ROOT / "src").rglob("*.py")]:
        house = "run" if path.parent == ROOT else path.relative_to(ROOT).parts[0]
        for name in imports_of(path):
            seen += 1
            allowed = any(name == room or name.startswith(f"{room}.") for room in ALLOWED[house])
            assert allowed, f"{path.relative_to(ROOT)} imports {name}"
    assert seen > 30


def test_no_file_outside_the_tables_knows_a_task_by_name():
    from processor import TASKS

    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "processor").glob("[!_]*.py")]:
        strings = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not strings & set(TASKS), path


@pytest.mark.parametrize("script", ["run_seq_cls", "run_ner", "run_squad", "run_benchmark", "predict"])
def test_nothing_heavy_is_imported_before_the_arguments_are_good(command, script):
    heavy = "{'torch', 'transformers', 'scipy', 'sklearn', 'seqeval', 'accelerate'}"
    assert command("-c", f"import sys; import {script}; print({heavy} & set(sys.modules))").stdout.strip() == "set()"
