"""Flags of Hugging Face and of the original: those that mean the same, and advice for the others."""

import json

import pytest

from processor.definition import TASKS
from src.common.errors import ConfigError
from src.settings.aliases import ALIASES, INSTEAD, PRECISIONS, refuse_unknown
from src.settings.layers import load_settings
from src.settings.schema import Settings
from tests.commands import run_script
from tests.conftest import ROOT


def load(*argv):
    return load_settings(["--task", "nsmc", "--config_dir", str(ROOT / "config"), *argv], script="test", tasks=TASKS)


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        ("--per_device_train_batch_size 8", "train_batch_size", 8),
        ("--per_device_eval_batch_size 8", "eval_batch_size", 8),
        ("--warmup_ratio 0.1", "warmup_proportion", 0.1),
        ("--bf16", "mixed_precision", "bf16"),
        ("--fp16 true", "mixed_precision", "fp16"),
        ("--bf16 false", "mixed_precision", "no"),
        ("--bf16 false --fp16 false", "mixed_precision", "no"),
        ("--bf16 false --fp16", "mixed_precision", "fp16"),
        ("--bf16 --mixed_precision bf16", "mixed_precision", "bf16"),
        ("--max_seq_length 64 --max_seq_len 64", "max_seq_len", 64),
    ],
)
def test_the_same_by_another_name(flags, name, value):
    settings = load(*flags.split())
    assert (getattr(settings, name), settings.layer_of(name)) == (value, "command line")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--bf16 --fp16", 'bf16 = "true", fp16 = "true"'),
        ("--bf16 --mixed_precision fp16", 'bf16 = "true": conflicts with mixed_precision = "fp16"'),
        ("--bf16 false --mixed_precision auto", 'conflicts with mixed_precision = "auto"'),
        ("--bf16 perhaps", 'bf16 = "perhaps"'),
        ("--max_seq_length 64 --max_seq_len 128", "'max_seq_length' is an alias of 'max_seq_len', but they differ"),
        ("--warmup_ratio 2", 'warmup_ratio = "2"'),  # the name as it was typed
    ],
)
def test_conflicts(flags, expected):
    with pytest.raises(ConfigError) as caught:
        load(*flags.split())
    assert expected in str(caught.value)


def test_switches_in_a_file_are_booleans(tmp_path):
    for value, expected in ((True, "bf16"), (False, "no")):
        (tmp_path / "m.json").write_text(json.dumps({"model_name_or_path": "m", "bf16": value}))
        assert load("--config_file", str(tmp_path / "m.json")).mixed_precision == expected
    (tmp_path / "m.json").write_text('{"model_name_or_path": "m", "bf16": "true"}')
    with pytest.raises(ConfigError, match=r"m\.json: bf16 = "):
        load("--config_file", str(tmp_path / "m.json"))


def test_the_command_line_wins_over_a_switch_in_a_file(tmp_path):
    (tmp_path / "m.json").write_text('{"model_name_or_path": "m", "bf16": true}')
    assert load("--config_file", str(tmp_path / "m.json"), "--mixed_precision", "no").mixed_precision == "no"


def test_advice_for_flags_without_a_counterpart():
    flags = [word for name in INSTEAD for word in (f"--{name}", "1")][:18]  # a message shows ten problems
    with pytest.raises(ConfigError) as caught:
        load(*flags)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split("--")[1].split(":")[0] for line in lines] == list(INSTEAD)[:9]
    with pytest.raises(ConfigError, match=r"--eval_steps: use --logging_steps"):
        load("--eval_steps=100")


def test_commands_without_settings_give_the_same_advice():
    refuse_unknown([], ["input"])
    for arguments, expected in [
        (["--device", "cpu"], "--device: use --no_cuda"),
        (["--num_workers=4"], "--num_workers: there is none"),
        (["--inputs", "f"], "--inputs. Did you mean '--input'?"),
        (["word"], "unrecognized arguments: word. See"),
        (["--" + "x" * 9999], "See --help."),
    ]:
        with pytest.raises(ConfigError) as caught:
            refuse_unknown(arguments, ["input"])
        assert expected in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "command",
    ["predict.py --checkpoint x", "share.py --checkpoint x --to a/b", "run_benchmark.py report",
     "run_benchmark.py run --models tiny", "run_ner.py --task naver-ner", "processor.check nsmc", "processor.download nsmc"],
)  # fmt: skip
@pytest.mark.parametrize("flag", ["device", "gpus", "num_workers", "batch_size"])
def test_every_command_gives_advice(command, flag):
    done = run_script(*command.split(), f"--{flag}", "1")
    assert (done.returncode, INSTEAD[flag] in done.stderr) == (2, True), done.stderr


def test_no_name_is_in_two_tables():
    names = [*Settings.model_fields, *ALIASES, *PRECISIONS, *INSTEAD]
    assert len(names) == len(set(names))
    assert set(ALIASES.values()) <= set(Settings.model_fields)


def test_advice_names_flags_that_exist():
    from processor.own_task import FLAGS

    known = {*Settings.model_fields, *FLAGS, "batch_tokens", "devices"}  # the last two of predict.py and run_benchmark.py
    named = {word.strip(",;.").removeprefix("--") for advice in INSTEAD.values() for word in advice.split() if word[:2] == "--"}
    assert named <= known
