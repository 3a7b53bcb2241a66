"""The real command line, on the sample. What it shares with run_seq_cls.py is tested there."""

import json

import pytest

from tests.conftest import SAMPLE


def results_of(tmp_path):
    return json.loads((tmp_path / "ckpt" / "tiny-korquad-ckpt" / "eval_results.json").read_text())


def test_a_whole_run_on_the_sample(tiny, tmp_path):
    done = tiny(task="korquad")
    assert done.returncode == 0, done.stderr
    results = results_of(tmp_path)
    selected = results["selected"]
    assert selected["test"]["f1"] >= 50
    assert set(selected["test"]) == {"exact_match", "f1", "loss"}
    assert results["headline"] == "f1"
    facts = results["data"]["test"]
    assert (facts["rows"], facts["windows"]) == (120, 124)  # the last article is longer than a window
    assert selected["test"]["f1"] <= facts["ceiling"]["f1"] < 100
    assert f"exact_match {facts['ceiling']['exact_match']:.2f}, f1 {facts['ceiling']['f1']:.2f}" in done.stderr

    folder = tmp_path / "ckpt" / "tiny-korquad-ckpt"
    step = selected["step"]
    assert (folder / "test" / f"test-{step}.txt").read_text().splitlines()[1] == f"  f1 = {selected['test']['f1']}"
    predictions = json.loads((folder / "test" / f"predictions-{step}.json").read_text())
    nbest = json.loads((folder / "test" / f"nbest-{step}.json").read_text())
    corpus = json.loads((SAMPLE / "korquad" / "KorQuAD_v1.0_dev.json").read_text())
    contexts = {
        each["id"]: paragraph["context"]
        for article in corpus["data"]
        for paragraph in article["paragraphs"]
        for each in paragraph["qas"]
    }
    assert predictions.keys() == nbest.keys() == contexts.keys()
    for name, text in predictions.items():
        assert text and text in contexts[name]
        assert text == nbest[name][0]["text"]
        assert sum(each["probability"] for each in nbest[name]) == pytest.approx(1)
        assert len({each["text"] for each in nbest[name]}) == len(nbest[name]) <= 20


def test_windows_are_trained_and_scored(tiny, tmp_path):
    """Windows so short that most contexts need several."""
    short = ("--max_seq_len", "30", "--max_query_length", "14", "--doc_stride", "8", "--max_steps", "8")
    done = tiny(*short, "--answer_text", "legacy", task="korquad")
    assert done.returncode == 0, done.stderr
    data = results_of(tmp_path)["data"]
    assert data["train"]["windows"] > 1.5 * data["train"]["rows"]


def test_another_way_to_read_the_answers_needs_no_training(tiny, tmp_path):
    steps = ("--max_steps", "40", "--save_steps", "20", "--logging_steps", "20", "--save_total_limit", "-1")
    assert tiny(*steps, task="korquad").returncode == 0
    folder = tmp_path / "ckpt" / "tiny-korquad-ckpt"
    before, weights = results_of(tmp_path), (folder / "checkpoint-40" / "model.safetensors").stat()
    done = tiny(*steps, "--answer_text", "legacy", "--max_answer_length", "3", task="korquad")
    assert done.returncode == 0, done.stderr
    assert "answer_text 'offsets', now 'legacy': its checkpoints are scored anew" in done.stderr
    after = results_of(tmp_path)
    assert list(after["scores"]) == list(before["scores"]) == ["20", "40"]
    assert after["scores"] != before["scores"]
    assert (folder / "checkpoint-40" / "model.safetensors").stat().st_mtime == weights.st_mtime
    again = tiny(*steps, "--answer_text", "legacy", "--max_answer_length", "3", task="korquad")
    assert (again.stdout, again.stderr) == (done.stdout, "")
    assert tiny(*steps, "--do_train", "false", task="korquad").returncode == 0
    assert results_of(tmp_path)["scores"] == before["scores"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--task", "nsmc"], "is not one run_squad.py runs; choose from korquad"),
        (
            ["--max_seq_len", "128"],
            "doc_stride = 128 would skip tokens: max_seq_len = 128 less max_query_length = 64 less 3 special",
        ),
        (["--version_2_with_negative", "true"], "KorQuAD 1.0 has no unanswerable questions"),
        (["--answer_text", "old"], "answer_text"),
    ],
)
def test_wrong_commands(tiny, tmp_path, arguments, expected):
    done = tiny(*arguments, task="korquad")
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ckpt").exists()


def test_a_file_with_mistakes(tiny, tmp_path):
    folder = tmp_path / "data" / "korquad"
    folder.mkdir(parents=True)
    for name in ("KorQuAD_v1.0_train.json", "KorQuAD_v1.0_dev.json"):
        content = json.loads((SAMPLE / "korquad" / name).read_text())
        content["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] += 1
        (folder / name).write_text(json.dumps(content))
    place = ("--data_dir", str(folder.parent), "--max_steps", "2")
    done = tiny(*place, task="korquad")
    assert done.returncode == 2
    assert "KorQuAD_v1.0_train.json: 1 questions or answers cannot be right" in done.stderr
    assert "does not stand at" in done.stderr
    done = tiny(*place, "--strict_data", "false", task="korquad")
    assert done.returncode == 0, done.stderr
    assert "does not stand at" in done.stderr
    assert {split: facts["rows"] for split, facts in results_of(tmp_path)["data"].items()} == {"train": 479, "test": 120}
