"""What is read from the folders of trials, and kept of them."""

import json

import pytest

pytest.importorskip("optuna", reason="needs the package of requirements-tune.txt")

from src.common.errors import CheckpointError
from src.grid.tune.search import points_of, read_points, read_score
from tests.src.grid.tune.fake_trials import open_search


@pytest.mark.parametrize(
    ("scores", "updates", "expected"),
    [
        ({}, 10, {}),
        ({1: 0.5}, 10, {10: 0.5}),
        ({1: 0.5, 3: 0.4, 4: 0.6}, 10, {10: 0.5, 20: 0.5, 30: 0.5, 40: 0.6}),
        ({250: 0.7, 500: 0.8}, 1000, {30: 0.7, 40: 0.7, 50: 0.8}),  # nothing is known of 20 %
        ({1: 0.2, 3: 0.3}, 3, {40: 0.2, 50: 0.2, 60: 0.2, 70: 0.2, 80: 0.2, 90: 0.2}),
        ({999: 0.1}, 1000, {}),
    ],
)
def test_scores_by_the_share_of_the_run(scores, updates, expected):
    assert points_of(scores, updates) == expected


def test_the_folder_of_a_trial(tmp_path):
    assert read_points(tmp_path, "acc") == {}
    (tmp_path / "settings.json").write_text('{"updates": 4}')
    (tmp_path / "resume").mkdir()
    scores = {"1": {"dev": {"acc": 0.5}}, "2": {"test": {"acc": 0.9}}}
    (tmp_path / "resume" / "scores.json").write_text(json.dumps({"scores": scores}))
    assert read_points(tmp_path, "acc") == {}  # the next points come with the next score on dev
    scores["2"] = {"dev": {"acc": 0.4}}
    (tmp_path / "resume" / "scores.json").write_text(json.dumps({"scores": scores}))
    assert read_points(tmp_path, "acc") == {30: 0.5, 40: 0.5, 50: 0.5}
    with pytest.raises(CheckpointError, match=r"eval_results\.json has no acc"):
        read_score(tmp_path, "acc")
    (tmp_path / "eval_results.json").write_text('{"scores": {}, "selected": {"step": 2, "dev": {"acc": 0.4}}}')
    assert read_score(tmp_path, "acc") == 0.4


def test_what_is_kept_of_a_trial(tmp_path):
    """Of one that has ended no saved state, and only of the best one its checkpoints; all of one that is running."""
    search = open_search(tmp_path)
    folders = [search.cell(search.study.ask()).folder for _ in range(3)]
    for folder in folders:
        for name in ("checkpoint-2", "resume"):
            (folder / name).mkdir(parents=True)
        (folder / "settings.json").touch()
    search.study.finish(0, 0.5), search.study.finish(1, 0.4)
    search.tidy()
    kept = [["checkpoint-2", "settings.json"], ["settings.json"], ["checkpoint-2", "resume", "settings.json"]]
    assert [sorted(path.name for path in folder.iterdir()) for folder in folders] == kept
    search.study.close()
