"""Every task on the sample with the real commands: train, score, predict."""

import json

import pytest

from processor.definition import TASKS
from tests.commands import run_script
from tests.conftest import SAMPLED_TASKS

INPUTS = {
    "text": {"text": "연기가 정말 최고다"},
    "pair": {"text": "아이가 공원에서 공을 차고 있다.", "pair": "사람이 운동을 한다."},
    "tagging": {"words": ["경주", "영화제가", "열린다", "."]},
    "span": {"question": "태어난 해는 언제인가?", "context": "김민준은 1956년 서울에서 태어났다."},
}


@pytest.mark.parametrize("task", SAMPLED_TASKS)
def test_trains_scores_and_predicts(tiny, tmp_path, task):
    done = tiny("--max_steps", "4", "--save_steps", "2", "--logging_steps", "2", task=task)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "ckpt" / f"tiny-{task}-ckpt"
    check_results(json.loads((folder / "eval_results.json").read_text()), TASKS[task])

    given = INPUTS.get(TASKS[task].kind) or INPUTS["pair" if len(TASKS[task].text) == 2 else "text"]
    values = [" ".join(value) if isinstance(value, list) else value for value in given.values()]
    as_json, as_tsv = json.dumps(given, ensure_ascii=False), "\t".join(values)
    checkpoint = str(folder / "checkpoint-4")
    done = run_script("predict.py", "--checkpoint", checkpoint, stdin=f"{as_json}\n{{}}\n")
    assert done.returncode == 0, done.stderr
    result, error = (json.loads(line) for line in done.stdout.splitlines())
    assert error["line"] == 2 and repr(next(iter(given))) in error["error"]
    check_prediction(result, given, TASKS[task])
    done = run_script("predict.py", "--checkpoint", checkpoint, stdin=f"{as_tsv}\n")
    assert json.loads(done.stdout) == result


def check_results(results, task):
    assert results["headline"] == task.headline
    assert set(task.scores) <= set(results["selected"]["test"])
    assert list(results["scores"]) == ["2", "4"]
    splits = {"test", *(["dev"] if "dev" in results["data"] else [])}
    assert results["selected"]["by"] == ("dev" if "dev" in splits else "last")
    for scores_of in results["scores"].values():
        assert set(scores_of) == splits
        assert all("loss" in scores for scores in scores_of.values())


def check_prediction(result, given, task):
    if task.kind == "classification":
        probabilities = result["probabilities"]
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert result["label"] == max(probabilities, key=probabilities.get)
        assert list(probabilities) == list(task.labels)
        assert result.get("name", result["label"]) == task.labels[result["label"]]
    elif task.kind == "regression":
        assert isinstance(result["score"], float)
    elif task.kind == "tagging":
        assert len(result["tags"]) == len(given["words"])
        assert set(result["tags"]) <= set(task.labels)
    else:
        assert result["answer"] == given["context"][result["start"] : result["end"]] != ""
        assert 0 < result["score"] <= 1
