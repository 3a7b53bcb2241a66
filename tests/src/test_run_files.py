import pytest

from src.run_files import checkpoints_in, prediction_file, read_contents, stage_of
from tests.src.runs import finished, interrupted, start


def test_stage_of_runs(settings):
    assert stage_of(settings().run_folder) == "absent"
    assert stage_of(start(settings).folder) == "unfinished"
    assert stage_of(interrupted(lambda **changes: settings(output_dir="two")).folder) == "unfinished"
    assert stage_of(finished(lambda **changes: settings(output_dir="three")).folder) == "finished"


@pytest.mark.parametrize(
    ("names", "stage"),
    [
        ([], "absent"),
        ([".settings.json.partial"], "absent"),
        (["thesis.txt"], "foreign"),
        (["cost.json", "eval_results.json"], "foreign"),
        (["settings.json", "cost.json"], "unfinished"),
        (["settings.json", "eval_results.json"], "unfinished"),
        (["settings.json", "cost.json", "eval_results.json"], "finished"),
    ],
)
def test_stage_is_judged_by_the_files(tmp_path, names, stage):
    for name in names:
        (tmp_path / name).touch()
    assert stage_of(tmp_path) == stage


def test_contents_of_an_interrupted_run(settings):
    contents = read_contents(interrupted(settings).folder)
    assert (contents.stage, contents.finished, contents.checkpoints, contents.has_state) == ("unfinished", False, [2], True)
    assert contents.record["seed"] == 42


def test_only_folders_named_like_checkpoints_are_checkpoints(tmp_path):
    for name in ("checkpoint-10", "checkpoint-9", ".checkpoint-3.partial", "checkpoint-x"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-1").touch()
    assert checkpoints_in(tmp_path) == [9, 10]
    assert checkpoints_in(tmp_path / "nowhere") == []


def test_prediction_files_have_the_step_in_their_names(tmp_path):
    assert prediction_file(tmp_path, 7) == tmp_path / "test" / "predictions-7.tsv"
    assert prediction_file(tmp_path, 7, "dev", "nbest.json") == tmp_path / "dev" / "nbest-7.json"
