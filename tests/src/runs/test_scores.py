import json
import re

import pytest

from src.runs.scores import ScoreHistory, report


def history(**steps):
    """history(s1=(dev, test), ...)"""
    scores = {}
    for name, values in steps.items():
        named = zip(("dev", "test"), values, strict=True)
        scores[int(name[1:])] = {split: {"acc": value, "loss": 1.0} for split, value in named if value is not None}
    return ScoreHistory("acc", ["dev", "test"], scores)


def test_chooses_the_earliest_on_ties_among_the_given_steps():
    scores = history(s1=(0.5, 0.9), s2=(0.7, 0.6), s3=(0.7, 0.9), s4=(0.9, 1.0))
    assert (scores.selected([1, 2, 3]), scores.best_on_test([1, 2, 3])) == (2, 1)
    assert (scores.selected([]), scores.best_on_test([])) == (None, None)


def test_selects_the_last_without_a_dev_split():
    assert ScoreHistory("acc", ["test"]).selected([1, 2]) == 2


@pytest.mark.parametrize(
    ("every_step", "expected"),
    [(True, [(1, ["test"]), (2, ["test"]), (3, ["test"])]), (False, [(2, ["test"]), (3, ["test"])])],
)
def test_missing_scores(every_step, expected):
    assert history(s1=(0.1, None), s2=(0.9, None), s3=(0.2, None)).missing([1, 2, 3], every_step) == expected


def test_dev_scores_are_missing_before_the_selected_is_known():
    assert history(s1=(0.1, None), s2=(None, None)).missing([1, 2], every_step=False) == [(2, ["dev"])]


@pytest.mark.parametrize(("limit", "expected"), [(0, {2, 4, 6}), (3, {2, 4, 6}), (4, {2, 4, 5, 6}), (9, {1, 2, 3, 4, 5, 6})])
def test_keeps_selected_best_and_last_then_the_newest_up_to_the_limit(limit, expected):
    scores = history(s1=(0.1, 0.1), s2=(0.9, 0.1), s3=(0.1, 0.1), s4=(0.1, 0.9), s5=(0.1, 0.1), s6=(0.1, 0.1))
    assert scores.kept([1, 2, 3, 4, 5, 6], limit, every_step=True) == expected


@pytest.mark.parametrize(("every_step", "expected"), [(True, {1, 2, 3}), (False, {1, 3})])
def test_keeps_unscored_checkpoints_if_every_one_is_to_be_scored(every_step, expected):
    assert history(s1=(0.9, None), s2=(0.1, None), s3=(0.2, None)).kept([1, 2, 3], 0, every_step) == expected


def test_result_lines_are_in_the_order_of_steps():
    assert history(s1000=(0.1, 0.2), s200=(0.1, 0.3)).lines() == [
        "acc_200 = 0.3",
        "acc_1000 = 0.2",
        "loss_200 = 1.0",
        "loss_1000 = 1.0",
    ]


def test_report():
    results = {"task": "paws"} | history(s1=(0.5, 0.9), s2=(0.7, 0.6)).results([1, 2])
    assert report(results).splitlines() == [
        "paws: acc",
        "  selected      step 2       dev 0.7000  test 0.6000     (on dev)",
        "  best_on_test  step 1       test 0.9000                 (the published way)",
    ]


def test_cautions_are_beside_the_score_they_are_about():
    scores = history(s1=(0.5, 0.9), s2=(0.7, 0.6))
    scores.add(2, "test", {"acc": 0.6, "loss": 1.0}, ["3 rows", "one class"])
    scores.add(3, "test", {"acc": 0.1, "loss": 1.0}, ["not shown"])
    lines = report({"task": "paws"} | scores.results([1, 2])).splitlines()
    assert [line.strip() for line in lines][2] == "caution, test: 3 rows; one class"
    assert len(lines) == 4


def test_scores_are_the_same_from_their_state(tmp_path):
    scores = history(s10=(0.5, 0.9), s9=(0.7, None))
    scores.add(9, "test", {"acc": 0.6}, ["3 rows"])
    state = json.loads(json.dumps(scores.state_dict()))
    assert list(state["scores"]) == ["9", "10"]
    again = ScoreHistory("acc", ["dev", "test"], {7: {"dev": {"acc": 1.0}}})
    again.load_state_dict(state)
    assert again == scores
    again.load_state_dict(state, last_step=9)
    assert (list(again.scores), list(again.cautions)) == ([9], [9])


def test_reports_a_run_without_scores():
    results = {"task": "nsmc"} | ScoreHistory("acc", ["test"]).results([7])
    assert re.search(r"selected +step 7 +not scored", report(results))
    assert results["best_on_test"] is None
