import json

import pytest

from processor.definition import TASKS, read_content
from src.common.errors import BenchmarkError
from src.common.files import read_json
from src.common.strict_json import load_json, parse_json
from src.grid.tune.space import read_space
from src.settings.class_weights import given_weights
from src.settings.layers import load_settings
from tests.conftest import ROOT, SAMPLE

MARK = "\ufeff"
DOUBLE = '{"a": {"learning_rate": 1, "b": 2, "learning_rate": 3}}'


def test_reads_what_python_writes():
    value = {"가": [1, 2.5, -1e-7, None, True, "\ud800\u0000"], "b": {"b": {}}}
    assert parse_json(json.dumps(value)) == parse_json(MARK + json.dumps(value, ensure_ascii=False)) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DOUBLE, "'learning_rate' occurs 2 times"),
        ('{"a": NaN}', "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("[" * 10**6, "levels"),
        ("{} x", "Extra data"),
        (MARK + MARK + "{}", "Expecting value"),
    ],
)
def test_refuses_what_has_no_single_meaning(text, expected):
    with pytest.raises(ValueError, match=expected):
        parse_json(text)


def test_every_file_that_a_user_writes_is_read_in_this_way(settings, tmp_path):
    """A key twice is an error that names it; a mark, as Windows writes it, is none."""
    config = tmp_path / "config"
    (config / "tasks").mkdir(parents=True)
    path, chosen = config / "f.json", settings(class_weights=config / "f.json")
    flags = ["--task", "nsmc", "--data_dir", str(SAMPLE), "--config_dir", str(config)]

    def read_settings(file):
        (config / "tiny.json").write_text((ROOT / "config" / "tiny.json").read_text())
        (config / "tasks" / "nsmc.json").write_text((ROOT / "config" / "tasks" / "nsmc.json").read_text())
        (config / file).write_bytes(path.read_bytes())
        return load_settings([*flags, "--config_file", "tiny.json"], script="test", tasks=TASKS)

    readers = {
        "{%s}": [read_content, read_json, load_json],
        '{"0": 1.0, "1": 2.0%s}': [lambda path: given_weights(chosen, TASKS["nsmc"])],
        '{"learning_rate": [1e-5, 2e-5]%s}': [read_space],
        '{"model_name_or_path": "m"%s}': [lambda path: read_settings("tiny.json")],
        '{"train_file": "ratings_train.txt", "test_file": "ratings_test.txt"%s}': [lambda path: read_settings("tasks/nsmc.json")],
    }
    for content, functions in readers.items():
        for read in functions:
            path.write_text(MARK + content % "", encoding="utf-8")
            assert read(path) is not None
            path.write_text(content % "", encoding="utf-16")
            assert read(path) is not None
            comma = ", " if ":" in content else ""
            path.write_text(content % f'{comma}"seed": 1, "seed": 2', encoding="utf-8")
            with pytest.raises((BenchmarkError, ValueError), match=r"'seed' occurs 2 times"):
                read(path)
