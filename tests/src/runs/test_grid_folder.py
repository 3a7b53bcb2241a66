"""Runs with the result of a search: their cells, and that no table mixes them with others."""

import csv
import json
import sys

import pytest

from processor.definition import TASKS
from src.common.errors import ConfigError
from src.grid.cells import cell_statuses
from src.report.compare import compare
from src.report.history import History
from src.report.read_runs import read_grid
from src.report.report import Request, make_table, write_report
from src.runs.grid_folder import tuned_file, write_tuned
from src.settings.layers import load_settings
from tests.conftest import ROOT
from tests.src.grid.helpers import make_cells
from tests.src.report.helpers import PUBLISHED, finished, predictions
from tests.src.report.test_report import cells, section

SEARCH = {"trials": {"finished": 20, "pruned": 9, "failed": 1}, "seed": 42}


@pytest.fixture
def config(tmp_path):
    """A config folder with the files of the project and the results of searches for KoELECTRA-Base-v3 and tiny on NSMC."""
    folder = tmp_path / "config"
    folder.mkdir()
    for path in (ROOT / "config").iterdir():
        if path.name != "tuning":
            (folder / path.name).symlink_to(path)
    for model in ("koelectra-base-v3", "tiny"):
        write_tuned(tuned_file(folder, model, "nsmc"), {"learning_rate": 7e-5}, SEARCH)
    return folder


def tuned_cells(tmp_path, models="koelectra-base-v3", tasks="nsmc", seeds="1", *rest):
    places = ["--ckpt_dir", str(tmp_path), "--config_dir", str(tmp_path / "config")]
    return make_cells(models, tasks, seeds, [*places, *rest], TASKS, tuned=True)


def tuned(tmp_path, model="koelectra-base-v3", seed=1, **changes):
    """Write the folder of a finished tuned run."""
    (cell,) = tuned_cells(tmp_path, model, "nsmc", str(seed))
    return finished(tmp_path, cell=cell, seed=seed, search=SEARCH, **changes)


def test_cells(tmp_path, config):
    first, _ = tuned_cells(tmp_path, "koelectra-base-v3,tiny")
    assert (first.model, first.name) == ("koelectra-base-v3@tuned", "koelectra-base-v3@tuned/nsmc/seed-1")
    assert first.folder == tmp_path / "benchmark" / "koelectra-base-v3@tuned" / "nsmc" / "seed-1"
    path = str(config / "tuning" / "koelectra-base-v3.nsmc.json")
    assert (first.settings.learning_rate, first.settings.layer_of("learning_rate")) == (7e-5, path)
    assert f"--tuned_file {path}" in first.command
    (given,) = tuned_cells(tmp_path, "tiny", "nsmc", "1", "--learning_rate", "1e-4")
    assert given.settings.learning_rate == 1e-4


def test_the_result_of_a_search_is_a_layer_below_the_command_line(tmp_path, config):
    path = tuned_file(config, "tiny", "nsmc")

    def load(*flags):
        argv = ["--task", "nsmc", "--config_file", "tiny.json", "--config_dir", str(config), "--tuned_file", str(path), *flags]
        return load_settings(argv, script="test", tasks=TASKS)

    write_tuned(path, {"learning_rate": 3e-4, "weight_decay": 0.1, "train_batch_size": 8}, SEARCH)
    settings = load("--weight_decay", "0.2")
    values = [
        (getattr(settings, name), settings.layer_of(name)) for name in ("learning_rate", "train_batch_size", "weight_decay")
    ]
    assert values == [(3e-4, str(path)), (8, str(path)), (0.2, "command line")]
    write_tuned(path, {"learning_rat": 3e-4, "num_train_epochs": "3"}, SEARCH)
    with pytest.raises(ConfigError, match=r"(?s)nsmc\.json: .*'learning_rat'.*nsmc\.json: num_train_epochs"):
        load()


def test_what_cannot_be_run_tuned(tmp_path, config):
    with pytest.raises(ConfigError) as caught:
        tuned_cells(tmp_path, "koelectra-base-v3,tiny", "nsmc,paws", "1,42")
    message = str(caught.value)
    assert message.count("is missing. Run first: python3 run_benchmark.py tune --models ") == 2
    assert "tune --models tiny.json --tasks paws" in message and f"{config}/tuning/tiny.paws.json" in message
    assert message.count("42 is the seed of the search") == 2
    tuned_file(config, "tiny", "nsmc").write_text("{")
    with pytest.raises(ConfigError, match=r"tiny\.nsmc\.json is damaged"):
        tuned_cells(tmp_path, "tiny")
    (tmp_path / "x@tuned.json").write_text("{}")
    with pytest.raises(ConfigError, match="'x@tuned' cannot be used as a name"):
        make_cells(str(tmp_path / "x@tuned.json"), "nsmc", "1", [], TASKS)
    with pytest.raises(ConfigError, match="--tuned_file cannot be set"):
        make_cells("tiny", "nsmc", "1", ["--tuned_file", "x"], TASKS)


def test_runs_are_read_and_other_values_start_over(tmp_path, config):
    tuned(tmp_path), finished(tmp_path)
    (tmp_path / "benchmark" / "koelectra-base-v3" / "nsmc" / "tune" / "trial-0").mkdir(parents=True)
    records, others = read_grid(tmp_path, TASKS)
    assert [(record.model, record.trials) for record in records] == [("koelectra-base-v3", 0), ("koelectra-base-v3@tuned", 30)]
    assert others == []
    write_tuned(tuned_file(config, "koelectra-base-v3", "nsmc"), {"learning_rate": 6e-5}, SEARCH)
    (cell,) = tuned_cells(tmp_path)
    status, reason = cell_statuses([cell], TASKS, lambda settings: {})[cell]
    assert status == "replace" and "learning_rate 7e-05, now 6e-05" in reason


@pytest.fixture
def text(tmp_path, config):
    """results.md of three runs with 90.0 on average, and of two tuned ones with 94.0, which use other seeds and dev."""
    for seed, score in ((1, 89.0), (2, 90.0), (3, 91.0)):
        finished(tmp_path, seed=seed, score=score)
    finished(tmp_path, "kcbert-base", score=89.5)
    for seed, score in ((7, 93.0), (8, 95.0)):
        tuned(tmp_path, seed=seed, score=score, by="dev")
    return write_report(Request(tmp_path, published="none"), TASKS, PUBLISHED, ROOT / "config")


def test_tuned_rows_are_apart(text):
    base, apart = section(text, "`selected`").split("### Tuned models")
    assert "tuned" not in base.split("### Base models")[1] and "KoELECTRA-Base-v3" not in apart
    assert cells(text, "selected", "KoELECTRA-Base-v3")[1]["nsmc"].startswith("**90.00 ± 1.00** (n=3)<br/>published 90.63: -0.63")
    # not compared with the published score, and not in the competition for the best of the other table
    assert cells(text, "selected", "koelectra-base-v3@tuned")[1]["nsmc"] == "**94.00 ± 1.41** (n=2, 30 trials on dev)"
    assert "†" not in text  # the others do not differ among each other
    missing = [line for line in text.splitlines() if line.startswith("- missing: ")]
    assert missing == ["- missing: `kcbert-base/nsmc`: seed 2, 3"]


def test_tuned_rows_in_the_csv(text, tmp_path):
    with open(tmp_path / "benchmark" / "results.csv", newline="") as stream:
        rows = {row["model"]: row for row in csv.DictReader(stream) if row["view"] == "selected"}
    row, other = rows["koelectra-base-v3@tuned"], rows["koelectra-base-v3"]
    assert (row["table"], row["trials"], row["mean"], row["n"], row["published"]) == ("tuned", "30", "94", "2", "")
    assert (other["table"], other["trials"], other["mean"], other["published"]) == ("base", "", "90", "90.63")


def test_tuned_rows_on_the_page(text, tmp_path):
    """As in results.md, they compete for the best score among themselves."""
    from src.report.page import page_of_table

    page = page_of_table(make_table(Request(tmp_path, published="none"), TASKS, PUBLISHED, ROOT / "config"), False)
    rows = {row.title: row for row in page.table.rows}
    row, other = rows["koelectra-base-v3@tuned"], rows["KoELECTRA-Base-v3"]
    assert "tuned" in page.source(row) and "tuned" not in page.source(other)
    value = page.value(row, "nsmc", "acc", "selected")
    assert (value.with_sd, value.runs) == ("94.00 ± 1.41", "n=2, 30 trials on dev")
    best = {(model, "nsmc", "acc") for model in ("koelectra-base-v3@tuned", "koelectra-base-v3")}
    assert page.table.best("selected") == best


@pytest.mark.parametrize("installed", [True, False])
def test_the_history_of_a_search_on_the_page(tmp_path, monkeypatch, installed):
    """Of a search without any run. Without Optuna the page says what to install."""
    pytest.importorskip("altair", reason="needs the packages of requirements-report.txt")
    pytest.importorskip("optuna", reason="needs the package of requirements-tune.txt")
    from src.grid.tune.study import Study

    space = {"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}, "train_batch_size": [16, 32]}
    study = Study(tmp_path / "benchmark" / "tiny" / "nsmc" / "tune", space, 1, {}, {})
    for score in (0.5, 0.8, 0.7, 0.6, 0.9):
        study.finish(study.ask().number, score)
    study.fail(study.ask().number, "memory is full")
    study.close()
    if not installed:
        monkeypatch.delitem(sys.modules, "src.grid.tune.study")
        monkeypatch.setitem(sys.modules, "optuna", None)
    write_report(Request(tmp_path, published="none"), TASKS, PUBLISHED, ROOT / "config")
    page = (tmp_path / "benchmark" / "results.html").read_text(encoding="utf-8")
    assert "Search for the best settings: tiny" in page
    assert ("pip install -r requirements-tune.txt" in page) != installed
    assert ("Trials: 5 finished, 1 failed." in page) == installed
    assert ('"rows": [[0, "finished", 50.0], [0, "best so far", 50.0], [1, "finished", 80.0],' in page) == installed
    assert ('data-chart="importance"' in page) == installed


def test_histories_of_damaged_and_unknown_searches(tmp_path):
    pytest.importorskip("optuna", reason="needs the package of requirements-tune.txt")
    from src.report.history import read_histories

    journal = tmp_path / "tiny" / "nsmc" / "tune" / "study.log"
    journal.parent.mkdir(parents=True)
    for content in ("", "no journal\n", '{"a": 1}\n'):
        journal.write_text(content)
        (history,) = read_histories(tmp_path)
        assert isinstance(history, History) and (history.model, history.task) == ("tiny", "nsmc")
        assert not history.trials and str(journal) in history.note


def test_compare_takes_tuned_models(tmp_path, config):
    columns = {"index": range(4), "document": "abcd", "label": "0101"}
    predictions(finished(tmp_path, score=75.0), columns | {"prediction": "0100"})
    predictions(tuned(tmp_path, score=100.0), columns | {"prediction": "0101"})
    models = ("koelectra-base-v3", "koelectra-base-v3@tuned")
    (comparison,), cautions = compare([tmp_path], models, [], "selected", TASKS)
    assert comparison.means == (75.0, 100.0)
    assert [line for line in cautions if "koelectra-base-v3@tuned were searched" in line and "30 trials" in line]
    assert json.loads(tuned_file(config, "tiny", "nsmc").read_text())["search"] == SEARCH
