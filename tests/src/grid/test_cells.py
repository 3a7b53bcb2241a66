import pytest

from processor.definition import TASKS
from src.common.errors import ConfigError
from src.grid.cells import cell_statuses
from tests.src.grid.helpers import make_cells
from tests.src.report.helpers import cell_of, finished


def names(models, tasks="nsmc", seeds="1", *rest):
    return [cell.name for cell in make_cells(models, tasks, seeds, rest, TASKS)]


def test_cells_are_ordered_by_seed():
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
    assert len(names("tiny", "all", "1,2,3")) == len(names("tiny", "nsmc,all", "1,2,3")) == 3 * 8


def test_command_of_a_cell(tmp_path):
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
def test_accepts_models_by_name_file_hub_id_and_folder(entry, name, flags):
    (cell,) = make_cells(entry, "nsmc", "1", [], TASKS)
    assert cell.model == name
    assert list(cell.flags[2 : 2 + len(flags)]) == flags


def test_a_task_file_reaches_the_command_of_its_cells(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"train_file": "a", "test_file": "b"}')
    (cell,) = make_cells("tiny", str(path), "1", [], {**TASKS, "mine": TASKS["nsmc"]})
    assert (cell.name, cell.flags[:2], cell.settings.train_file) == ("tiny/mine/seed-1", ("--task", str(path)), "a")


def test_accepts_a_config_file_outside_of_config_dir(tmp_path):
    mine = tmp_path / "mine.json"
    mine.write_text('{"model_name_or_path": "data/sample/tiny-electra"}')
    assert names(str(mine)) == ["mine/nsmc/seed-1"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("tinny",), ["'tinny'", "config/", "Did you mean 'tiny'?"]),
        (("./nothing/here",), ["'./nothing/here'"]),
        (("tiny,tiny.json",), ["'tiny'", "another name"]),
        ((",",), ["--models is empty"]),
        (("auto",), ["auto.json"]),
        (("nowhere.json",), ["'nowhere.json'", "config/"]),
        (("tiny", "nsmc,pows"), ["'pows'", "choose from all, ", "koelectra", "Did you mean 'paws'?"]),
        (("tiny", "nsmc", "1,-2,x,3.5"), ["--seeds: '-2'", "--seeds: 'x'", "--seeds: '3.5'"]),
        (("tiny", "nsmc", "4294967296"), ["seed"]),
        (("tiny", "nsmc", "9" * 5000), ["--seeds: '9999"]),
        (("tiny", "nsmc", "1", "--resume", "false"), ["--resume", "--ckpt_dir"]),
        (("tiny", "nsmc", "1", "--overwrite_output_dir"), ["--overwrite_output_dir"]),
        (("tiny", "nsmc", "1", "--do_train", "false", "--do_eval", "false"), ["--do_train false --do_eval false"]),
        (("/",), ["'/'", "''"]),
        (("x/results.md",), ["'results.md'"]),
        (("x/.hidden",), ["'.hidden'"]),
        (("tiny", "nsmc", "1", "--seed", "4"), ["--seed ", "--seeds"]),
        (("tiny", "nsmc", "1", "--output_dir", "mine"), ["--output_dir", "--ckpt_dir"]),
        (("tiny", "nsmc", "1", "--model_name_or_path", "x"), ["--model_name_or_path", "--models"]),
        (("tiny", "nsmc", "1", "--max_stpes", "4"), ["--max_stpes", "Did you mean ", "max_steps'?"]),
        (("tiny", "nsmc", "1", "--max_steps", "many"), ["tiny on nsmc: ", 'max_steps = "many"']),
        (("tini,tiny", "news", "x", "--sed", "4"), ["'tini'", "'news'", "'x'", "--sed"]),
    ],
)
def test_reports_every_mistake_before_anything_runs(arguments, expected):
    with pytest.raises(ConfigError) as caught:
        names(*arguments)
    for text in expected:
        assert text in str(caught.value)


def test_reports_a_mistake_in_every_cell_once():
    with pytest.raises(ConfigError) as caught:
        names("tiny,koelectra-base", "all", "1,2", "--learning_rate", "fast")
    assert str(caught.value).count("fast") == 1


def no_files(settings):
    return {}


def test_cell_statuses(tmp_path):
    """Seed 1 is finished, 2 was cut short, 3 has other settings, 4 is damaged, 5 is missing, 6 is not scored."""
    cells = make_cells("koelectra-base-v3", "nsmc", "1,2,3,4,5,6", ["--ckpt_dir", str(tmp_path)], TASKS)
    finished(tmp_path)
    (finished(tmp_path, seed=2).folder / "cost.json").unlink()
    finished(tmp_path, seed=3, rest=("--max_steps", "10"))
    (finished(tmp_path, seed=4).folder / "settings.json").write_text("{")
    (finished(tmp_path, seed=6).folder / "checkpoint-99").mkdir()
    statuses = cell_statuses(cells, TASKS, no_files)
    assert [statuses[cell][0] for cell in cells] == ["finished", "resume", "replace", "damaged", "new", "trained"]
    assert "max_steps 10, now -1" in statuses[cells[2]][1]


def test_never_replaces_runs_of_another_model_of_the_same_name(tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder / "mine").mkdir(parents=True)
    finished(tmp_path, model=str(tmp_path / "one" / "mine"))
    cells = make_cells(str(tmp_path / "other" / "mine"), "nsmc", "1", ["--ckpt_dir", str(tmp_path)], TASKS)
    with pytest.raises(ConfigError, match=r"one/mine.*'mine'"):
        cell_statuses(cells, TASKS, no_files)


def test_data_files_are_hashed_once_and_never_downloaded(tmp_path):
    finished(tmp_path, seed=1), finished(tmp_path, seed=2)
    downloads = []

    def find_files(settings):
        downloads.append(settings.download)
        return {}

    cell_statuses(make_cells("koelectra-base-v3", "nsmc", "1,2,3", ["--ckpt_dir", str(tmp_path)], TASKS), TASKS, find_files)
    assert downloads == [False]
