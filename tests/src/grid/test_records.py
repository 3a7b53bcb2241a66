import json
import shutil

import pytest

from processor import TASKS
from src.errors import CheckpointError
from src.grid.records import last_words, read_grid
from tests.src.grid.helpers import cell_of, finished


def left_in(tmp_path):
    return {each.place: (each.kind, each.why) for each in read_grid(tmp_path, TASKS)[1]}


def test_a_finished_run(tmp_path):
    cell = finished(tmp_path, score=90.0, best=91.0, rest=("--max_steps", "20"))
    (cell.folder / "checkpoint-20").mkdir()
    (cell.folder / "checkpoint-20" / "model.safetensors").write_bytes(b"x" * 1000)
    (record,), left = read_grid(tmp_path, TASKS)
    assert not left
    assert (record.model, record.task, record.seed, record.folder) == ("koelectra-base-v3", "nsmc", 1, cell.folder)
    assert (record.score("selected", "acc"), record.score("best_on_test", "acc")) == (0.9, pytest.approx(0.91))
    assert record.overrides == {"max_steps": 20}
    assert record.settings["max_steps"] == 20 and "log_every" not in record.settings and "seed" not in record.settings
    assert record.seconds == 60 + 30 + 10
    assert record.weight_bytes == 1000 < record.bytes_on_disk
    assert record.made_with == {"device": "a GPU", "revision": "0123456789ab"}


def test_no_grid(tmp_path):
    with pytest.raises(CheckpointError, match=r"benchmark/ is not there\. `python3 run_benchmark\.py run` makes it"):
        read_grid(tmp_path, TASKS)


def test_what_is_no_finished_run_is_named(tmp_path):
    finished(tmp_path)
    task = tmp_path / "benchmark" / "koelectra-base-v3" / "nsmc"

    def without(seed, *names):
        folder = finished(tmp_path, seed=seed).folder
        for name in names:
            (folder / name).unlink()
        return folder

    without(2, "eval_results.json")
    (without(3, "cost.json", "eval_results.json") / "log.jsonl").write_text('{"step": 50}\n{"step": 100, "lo')
    without(4, "cost.json")
    (task / "seed-4.log").write_text("12:00:00 step 5\nerror: no space\n")
    (task / "seed-5.log").write_text("12:00:00 hello\nerror: these cannot be used:\n  - a: b\n")
    (task / "seed-6.log").write_text("")
    (finished(tmp_path, seed=7).folder / "eval_results.json").write_text('{"selected": ')
    results = finished(tmp_path, seed=8).folder / "eval_results.json"
    results.write_text(results.read_text().replace("0.9", "NaN"))
    results = finished(tmp_path, seed=9).folder / "eval_results.json"
    results.write_text(json.dumps(json.loads(results.read_text()) | {"best_on_test": None}))
    shutil.copytree(task / "seed-1", task / "seed-10")
    shutil.copytree(task / "seed-1", task / "seed-1.1")
    (task / "seed-11").mkdir()
    (task / "notes.txt").touch()
    (task / "seed-01").mkdir()
    shutil.copytree(task / "seed-1", task.parent / "my-nsmc")
    shutil.copytree(task / "seed-1", task.parent.parent / "koelectra-nsmc-ckpt")
    (task / ".seed-1.lock").touch()
    (tmp_path / "benchmark" / "results.md").touch()
    here = "koelectra-base-v3/nsmc"
    assert left_in(tmp_path) == {
        f"{here}/seed-2": ("unfinished", "its training did not come far"),
        f"{here}/seed-3": ("unfinished", "its training came to step 50 or beyond"),
        f"{here}/seed-4": ("failed", "no space"),
        f"{here}/seed-5": ("failed", "these cannot be used: - a: b"),
        f"{here}/seed-6": ("unfinished", "its process has said nothing"),
        f"{here}/seed-7": ("damaged", left_in(tmp_path)[f"{here}/seed-7"][1]),
        f"{here}/seed-8": ("damaged", "a score or a cost is no number"),
        f"{here}/seed-9": ("unscored", "there are no scores on test; the same command without --do_eval false adds them"),
        f"{here}/seed-10": ("foreign", "its settings.json says seed 1"),
        f"{here}/seed-1.1": ("put aside", "an earlier run of seed-1"),
        f"{here}/seed-11": ("foreign", "no run: there is no settings.json"),
        f"{here}/notes.txt": ("foreign", "no run's folder; those are called seed-<n>"),
        f"{here}/seed-01": ("foreign", "no run's folder; those are called seed-<n>"),
        "koelectra-base-v3/my-nsmc": ("foreign", f"no task's folder; those are {', '.join(TASKS)}"),
        "koelectra-nsmc-ckpt": ("foreign", "no model's folder: it holds no task's"),
    }
    assert "eval_results.json is damaged" in left_in(tmp_path)[f"{here}/seed-7"][1]
    assert [record.seed for record in read_grid(tmp_path, TASKS)[0]] == [1]


@pytest.mark.parametrize("name", ["settings", "eval_results", "cost"])
@pytest.mark.parametrize("content", ["[]", "{}", "1", '{"settings": 3}', '{"selected": 3, "best_on_test": 4}', "\udcff"])
def test_records_of_other_content_never_count(tmp_path, name, content):
    """One file of a finished run is replaced: never a traceback, never a score."""
    (finished(tmp_path).folder / f"{name}.json").write_text(content, errors="surrogateescape")
    records, (left,) = read_grid(tmp_path, TASKS)
    assert not records
    assert left.kind in ("damaged", "foreign", "unfinished", "unscored")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("12:00:00 step 1\n12:00:05 step 2\n", ""),
        ("error: old\n12:00:00 again\nerror: a file is missing. Put it there.\n", "a file is missing. Put it there."),
        ("error: wrong:\n  - one\n  - two\n", "wrong: - one - two"),
        ("Traceback (most recent call last):\n  File x\nKeyError: 'a'\n", "KeyError: 'a'"),
        ("interrupted by SIGTERM; step 5 of 9 is saved\n", "interrupted by SIGTERM; step 5 of 9 is saved"),
        ("error: " + "x" * 400, "x" * 297 + "..."),
    ],
)
def test_last_words(tmp_path, said, expected):
    (tmp_path / "seed-1.log").write_text(said)
    assert last_words(tmp_path / "seed-1.log") == expected


def test_nothing_was_said(tmp_path):
    assert last_words(tmp_path / "seed-1.log") == ""
    (tmp_path / "seed-1.log").write_bytes(b"error: \xff\xfe\n")
    assert last_words(tmp_path / "seed-1.log") == "\ufffd\ufffd"


def test_an_interrupted_cell_is_unfinished_not_failed(tmp_path):
    cell = cell_of(tmp_path)
    cell.output.parent.mkdir(parents=True)
    cell.output.write_text("interrupted by SIGTERM\n")
    assert left_in(tmp_path) == {cell.name: ("unfinished", "interrupted by SIGTERM")}
