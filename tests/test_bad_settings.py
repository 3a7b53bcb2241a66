"""Generated config files and command lines give valid settings or an error that names the file. No tracebacks."""

import json

import pytest
from hypothesis import strategies as st

from processor.definition import TASKS
from processor.own_task import FLAGS, read_command
from src.common.errors import ConfigError
from src.settings.aliases import PRECISIONS
from src.settings.layers import load_settings
from src.settings.schema import Settings
from tests.conftest import ROOT
from tests.generated import VALUES, check_generated, few_or_many

NAMES = st.one_of(st.sampled_from([*Settings.model_fields, "max_seq_length", "tasks", "learning_rat"]), st.text(max_size=8))


def load_file(folder, content):
    """Load the settings of nsmc from a model's config file with this content."""
    (folder / "m.json").write_text(json.dumps(content))
    words = ["--task", "nsmc", "--config_file", "m.json", "--config_dir", str(folder)]
    return load_settings(words, script="x", tasks=TASKS)


@pytest.mark.parametrize("name", ["output_dir", "data_dir", "train_file", "revision", "model_name_or_path", "ckpt_dir"])
@pytest.mark.parametrize("value", ["a\ud800", "a\0b"])
def test_rejects_characters_that_no_path_can_have(tmp_path, name, value):
    with pytest.raises(ConfigError, match=rf"m\.json: {name} = "):
        load_file(tmp_path, {"model_name_or_path": "a/b", "train_file": "f", "test_file": "f", name: value})


@few_or_many
def test_config_files(tmp_path, share):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "nsmc.json").write_bytes((ROOT / "config" / "tasks" / "nsmc.json").read_bytes())

    def check(content):
        try:
            settings = load_file(tmp_path, {"model_name_or_path": "a/b"} | content if isinstance(content, dict) else content)
        except ConfigError as error:
            assert "m.json" in str(error)
        else:
            assert settings.train_batch_size > 0
            assert settings.model_dump() == Settings(**settings.model_dump()).model_dump()

    check_generated(share, 50, st.one_of(st.dictionaries(NAMES, VALUES, max_size=4), VALUES), check)


@few_or_many
def test_command_lines(share):
    def check(words):
        try:
            command = read_command(["--task", "nsmc", *words], "run_seq_cls.py")
            settings = load_settings(command.argv, script="x", tasks=command.tasks)
            assert json.loads(command.task_file(settings))["definition"]["kind"] in ("classification", "regression")
        except ConfigError as error:
            assert len(str(error)) > 10
        except SystemExit as error:
            assert error.code == 0 and {"-h", "--help", "--print_settings"} & set(words)
        else:
            assert settings.learning_rate > 0

    flags = st.sampled_from([f"--{name}" for name in (*Settings.model_fields, *FLAGS, *PRECISIONS, "print_task")])
    word = st.one_of(flags, st.text(max_size=6), st.integers().map(str))
    check_generated(share, 40, st.lists(word, max_size=4), check)
