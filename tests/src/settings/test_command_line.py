from pathlib import Path

from processor.definition import TASKS
from src.settings.command_line import config_dir_of, help_text, parse_command_line
from src.settings.layers import load_settings
from src.settings.schema import Settings
from tests.conftest import ROOT


def test_names_stay_as_written():
    given, problems = parse_command_line(["--max_seq_length", "64", "--no_cuda", "--bf16", "--seed=7"])
    assert (given, problems) == ({"max_seq_length": "64", "no_cuda": "true", "bf16": "true", "seed": "7"}, [])


def test_a_negative_number_is_a_value():
    given, problems = parse_command_line(["--learning_rate", "-1e-4", "--max_steps", "-1", "--weight_decay", "-.5", "-1"])
    assert given == {"learning_rate": "-1e-4", "max_steps": "-1", "weight_decay": "-.5"}
    assert len(problems) == 1 and "'-1'" in problems[0]


def test_the_folder_of_config_files(tmp_path, monkeypatch):
    assert config_dir_of({}) == Path("config")
    monkeypatch.chdir(tmp_path)
    assert config_dir_of({}) == ROOT / "config"
    assert config_dir_of({"config_dir": "mine"}) == Path("mine")


def test_files_of_this_project_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "tiny.json"):
        settings = load_settings(["--task", "nsmc", "--config_file", name], script="run_seq_cls.py", tasks=TASKS)
        assert (settings.config_file, settings.output_dir) == ("tiny.json", "tiny-nsmc-ckpt")
        assert Path(settings.model_name_or_path) == ROOT / "data" / "sample" / "tiny-electra"


def test_a_flag_of_the_script_may_be_meant():
    _, problems = parse_command_line(["--text_colum", "review"], {"text_column": "the text"})
    assert "--text_colum. Did you mean '--text_column'?" in problems[0]


def test_help_has_a_group_for_the_flags_of_the_script():
    text = help_text("x.py", list(TASKS), ROOT / "config", {"text_column": "where the text is"})
    before, settings = text.split("\nsetting ")
    group = before.split("\n\n")[-1]
    assert "--text_column" in group and "where the text is" in group
    assert "--text_column" not in settings
    assert all(f"--{name} " in settings for name in Settings.model_fields)
    assert "--bf16 = mixed_precision bf16" in settings
    assert "your own data" not in help_text("x.py", list(TASKS), ROOT / "config", {})
