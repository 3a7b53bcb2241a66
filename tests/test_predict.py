"""The real command line, on checkpoints of the sample."""

import json
import subprocess
import sys

import pytest

from processor import TASKS
from tests.conftest import ROOT

INPUTS = {
    1: {"text": "연기가 정말 최고다"},
    2: {"text": "아이가 공원에서 공을 차고 있다.", "pair": "사람이 운동을 한다."},
    "tagging": {"words": ["경주", "영화제가", "열린다", "."]},
    "span": {"question": "태어난 해는 언제인가?", "context": "김민준은 1956년 서울에서 태어났다."},
}


@pytest.fixture
def checkpoint(tiny, tmp_path):
    """checkpoint("nsmc", steps=60) trains so many steps; the checkpoint's folder."""

    def make(task, steps=2):
        done = tiny("--max_steps", str(steps), task=task)
        assert done.returncode == 0, done.stderr
        return tmp_path / "ckpt" / f"tiny-{task}-ckpt" / f"checkpoint-{steps}"

    return make


def predict(folder, *arguments, lines=None):
    text = None if lines is None else "".join(line + "\n" for line in lines)
    command = [sys.executable, "predict.py", "--checkpoint", str(folder), *arguments]
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=120)


QUICK = ("nsmc", "korsts", "naver-ner", "korquad")  # one of each kind of output


@pytest.mark.parametrize("task", [pytest.param(task, marks=() if task in QUICK else pytest.mark.long) for task in TASKS])
def test_every_task(checkpoint, task):
    mode = TASKS[task].kind
    given = INPUTS.get(mode) or INPUTS[len(TASKS[task].text_columns)]
    folder = checkpoint(task)
    done = predict(folder, lines=[json.dumps(given, ensure_ascii=False), "{}"])
    assert done.returncode == 0, done.stderr
    result, error = (json.loads(line) for line in done.stdout.splitlines())
    assert error["line"] == 2 and "is missing" in error["error"]
    if mode == "classification":
        assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert result["label"] == max(result["probabilities"], key=result["probabilities"].get)
        assert list(result["probabilities"]) == list(TASKS[task].labels)
        assert result.get("name", result["label"]) == TASKS[task].labels[result["label"]]
    elif mode == "regression":
        assert isinstance(result["score"], float)
    elif mode == "tagging":
        assert len(result["tags"]) == 4
        assert set(result["tags"]) <= set(TASKS[task].labels)
    else:
        assert result["answer"] == given["context"][result["start"] : result["end"]] != ""
        assert 0 < result["score"] <= 1
    if mode in ("tagging", "span"):
        values = [" ".join(value) if isinstance(value, list) else value for value in given.values()]
        assert json.loads(predict(folder, lines=["\t".join(values)]).stdout) == result


def test_predictions_are_those_of_the_run(checkpoint, tmp_path):
    folder = checkpoint("nsmc", steps=60)
    rows = (folder.parent / "test" / "predictions-60.tsv").read_text().split("\n")[1:-1]
    rows = [row.split("\t") for row in rows if row.split("\t")[1]]
    given, written = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given.write_text("".join(json.dumps({"text": row[1]}) + "\n" for row in rows))
    done = predict(folder, "--input", str(given), "--output", str(written))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    results = [json.loads(line) for line in written.read_text().splitlines()]
    assert [result["label"] for result in results] == [row[3] for row in rows]
    for result, row in zip(results, rows, strict=True):
        assert result["probabilities"]["1"] == pytest.approx(float(row[5]), abs=2e-6)
    assert results[0].keys() == {"label", "name", "probabilities"}


def test_a_line_is_answered_before_the_next_one_comes(checkpoint):
    command = [sys.executable, "predict.py", "--checkpoint", str(checkpoint("nsmc"))]
    with subprocess.Popen(command, cwd=ROOT, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True) as process:
        for _ in range(3):
            process.stdin.write("좋다\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["label"] in ("0", "1")
        process.stdin.close()
        assert process.stdout.read() == ""
    assert process.returncode == 0


def test_words_that_max_seq_len_cuts_off_are_counted(checkpoint):
    done = predict(checkpoint("naver-ner"), lines=[json.dumps({"words": ["서울"] * 200})])
    result = json.loads(done.stdout)
    assert len(result["tags"]) == 200
    assert 0 < result["cut_words"] < 200


def test_mistakes(checkpoint, tmp_path):
    folder = checkpoint("nsmc")
    strict = predict(folder, "--strict", lines=['{"text": "좋다"}', '{"text": 3}', '{"text": "좋다"}'])
    assert strict.returncode == 2
    assert len(strict.stdout.splitlines()) == 1
    assert "error: line 2: text: found 3, expected a text" in strict.stderr
    for arguments, expected in [
        ((folder.parent,), "is the folder of a run. Name one of its checkpoints"),
        ((tmp_path,), "is no checkpoint of a run"),
        ((folder, "--input", "no/such"), "--input no/such cannot be read: No such file"),
        ((folder, "--output", "no/such/f"), "--output no/such/f cannot be written"),
        ((folder, "--inputs", "f"), "unrecognized arguments"),
    ]:
        done = predict(*arguments, lines=["좋다"])
        assert done.returncode == 2
        assert expected in done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
    with subprocess.Popen(
        [sys.executable, "predict.py", "--checkpoint", str(folder), "--strict"],
        cwd=ROOT,
        stdin=-1,
        stdout=-1,
        stderr=-1,
        text=True,
    ) as process:  # it ends while more might come
        process.stdin.write('{"x": 1}\n')
        process.stdin.flush()
        assert process.wait(timeout=120) == 2
        assert "Fatal" not in process.stderr.read()
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if ".layer.0." not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    done = predict(folder, lines=["좋다"])
    assert (done.returncode, done.stdout) == (2, "")
    assert "is damaged: 16 weights are missing or are others than its config says" in done.stderr
    damaged = (folder / "model.safetensors").read_bytes()[:1000]
    (folder / "model.safetensors").write_bytes(damaged)
    done = predict(folder, lines=["좋다"])
    assert (done.returncode, "cannot be loaded" in done.stderr) == (2, True)
