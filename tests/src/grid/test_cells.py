import pytest

from processor import TASKS
from src.errors import ConfigError
from src.grid.cells import look, make_cells
from tests.src.grid.helpers import cell_of, finished


def names(models, tasks="nsmc", seeds="1", *rest):
    return [cell.name for cell in make_cells(models, tasks, seeds, rest, TASKS)]


def test_the_first_seed_of_everything_comes_first():
    assert names("tiny,koelectra-base", "nsmc, korquad", "2,1,2") == [
        "tiny/nsmc/seed-2",
        "tiny/korquad/seed-2",
        "koelectra-base/nsmc/seed-2",
        "koelectra-base/korquad/seed-2",
        "tiny/nsmc/seed-1",
        "tiny/korquad/seed-1",
        "koelectra-base/nsmc/seed-1",
        "koelectra-base/korquad/seed-1",
    ]
    assert len(names("tiny", "all", "1,2,3")) == len(names("tiny", "nsmc,all", "1,2,3")) == 24


def test_a_command_is_what_a_user_would_type(tmp_path):
    cell = cell_of(tmp_path / "a b", "koelectra-small-v3", "korquad", 7, "--max_steps", "100")
    assert cell.command == (
        "python3 run_squad.py --task korquad --config_file koelectra-small-v3.json --seed 7 "
        f"--output_dir benchmark/koelectra-small-v3/korquad/seed-7 --ckpt_dir '{tmp_path}/a b' --max_steps 100"
    )
    assert (cell.settings.seed, cell.settings.max_steps) == (7, 100)
    assert cell.folder == tmp_path / "a b" / "benchmark" / "koelectra-small-v3" / "korquad" / "seed-7"
    assert cell.output == cell.folder.parent / "seed-7.log"


@pytest.mark.parametrize(
    ("entry", "name", "flags"),
    [
        ("tiny", "tiny", ["--config_file", "tiny.json"]),
        ("tiny.json", "tiny", ["--config_file", "tiny.json"]),
        ("klue/bert-base", "bert-base", ["--config_file", "auto.json", "--model_name_or_path", "klue/bert-base"]),
        (
            "data/sample/tiny-electra/",
            "tiny-electra",
            ["--config_file", "auto.json", "--model_name_or_path", "data/sample/tiny-electra/"],
        ),
    ],
)
def test_models_by_name_file_hub_id_and_folder(entry, name, flags):
    (cell,) = make_cells(entry, "nsmc", "1", [], TASKS)
    assert cell.model == name
    assert list(cell.flags[2 : 2 + len(flags)]) == flags


def test_a_config_file_of_ones_own(tmp_path):
    mine = tmp_path / "mine.json"
    mine.write_text('{"model_name_or_path": "data/sample/tiny-electra"}')
    assert names(str(mine)) == ["mine/nsmc/seed-1"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("tinny",), ["'tinny' is neither a file in config/ nor a model's folder or hub id. Did you mean 'tiny'?"]),
        (("./nothing/here",), ["is neither a file"]),
        (("tiny,tiny.json",), ["two of them are called 'tiny'"]),
        ((",",), ["--models names nothing"]),
        (("auto",), ["auto.json names no model; give a model's folder or hub id"]),
        (("nowhere.json",), ["'nowhere.json' is not in config/"]),
        (("tiny", "nsmc,pows"), ["'pows' is no task; choose from all, nsmc, ", "Did you mean 'paws'?"]),
        (("tiny", "nsmc", "1,-2,x,3.5"), ["'-2' is not a whole number", "'x'", "'3.5'"]),
        (("tiny", "nsmc", "4294967296"), ["seed"]),
        (("tiny", "nsmc", "9" * 5000), ["is not a whole number"]),
        (("tiny", "nsmc", "1", "--resume", "false"), ["--resume is not for all runs: a grid goes on"]),
        (("tiny", "nsmc", "1", "--overwrite_output_dir"), ["--overwrite_output_dir is not for all runs"]),
        (("tiny", "nsmc", "1", "--do_train", "false", "--do_eval", "false"), ["leaves nothing to report"]),
        (("/",), ["a model cannot be called ''"]),
        (("x/results.md",), ["a model cannot be called 'results.md'"]),
        (("x/.hidden",), ["a model cannot be called '.hidden'"]),
        (("tiny", "nsmc", "1", "--seed", "4"), ["--seed is not for all runs: give --seeds"]),
        (("tiny", "nsmc", "1", "--output_dir", "mine"), ["--output_dir is not for all runs: it follows from"]),
        (("tiny", "nsmc", "1", "--model_name_or_path", "x"), ["give it as one of --models"]),
        (("tiny", "nsmc", "1", "--max_stpes", "4"), ["--max_stpes is no setting. Did you mean 'max_steps'?"]),
        (("tiny", "nsmc", "1", "--max_steps", "many"), ["tiny on nsmc: ", 'max_steps = "many"']),
        (("tini,tiny", "news", "x", "--sed", "4"), ["'tini'", "'news'", "'x'", "--sed is no setting"]),
    ],
)
def test_mistakes_are_told_before_anything_runs(arguments, expected):
    with pytest.raises(ConfigError) as caught:
        names(*arguments)
    for text in expected:
        assert text in str(caught.value)


def test_what_is_wrong_with_every_cell_is_told_once():
    with pytest.raises(ConfigError) as caught:
        names("tiny,koelectra-base", "all", "1,2", "--learning_rate", "fast")
    assert str(caught.value).count("fast") == 1


def no_files(settings):
    return {}


def test_what_there_is_of_the_cells(tmp_path):
    """Seed 1 is finished, 2 was cut short, 3 has other settings, 4 is damaged, 5 is not there."""
    cells = make_cells("koelectra-base-v3", "nsmc", "1,2,3,4,5", ["--ckpt_dir", str(tmp_path)], TASKS)
    finished(tmp_path)
    (finished(tmp_path, seed=2).folder / "cost.json").unlink()
    finished(tmp_path, seed=3, rest=("--max_steps", "10"))
    (finished(tmp_path, seed=4).folder / "settings.json").write_text("{")
    found = look(cells, TASKS, no_files)
    assert [found[cell][0] for cell in cells] == ["finished", "resumed", "afresh", "broken", "new"]
    assert "max_steps 10, now -1" in found[cells[2]][1]


def test_another_model_of_the_same_name_is_refused(tmp_path):
    """What the first has made would be put aside for the second."""
    for place in ("one", "other"):
        (tmp_path / place / "mine").mkdir(parents=True)
    finished(tmp_path, model=str(tmp_path / "one" / "mine"))
    cells = make_cells(str(tmp_path / "other" / "mine"), "nsmc", "1", ["--ckpt_dir", str(tmp_path)], TASKS)
    with pytest.raises(ConfigError, match=r"one/mine, another model that is called 'mine'"):
        look(cells, TASKS, no_files)


def test_data_files_are_looked_at_once_and_never_fetched(tmp_path):
    finished(tmp_path, seed=1), finished(tmp_path, seed=2)
    asked = []

    def find_files(settings):
        asked.append(settings.download)
        return {}

    look(make_cells("koelectra-base-v3", "nsmc", "1,2,3", ["--ckpt_dir", str(tmp_path)], TASKS), TASKS, find_files)
    assert asked == [False]
