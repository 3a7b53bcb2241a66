"""run_squad.py on the sample. What it shares with run_seq_cls.py is tested there."""

import json

import pytest

from tests.conftest import SAMPLE


def results_of(tmp_path):
    return json.loads((tmp_path / "ckpt" / "tiny-korquad-ckpt" / "eval_results.json").read_text())


def questions_in(name):
    """Return id -> context of the questions of a file of the sample."""
    corpus = json.loads((SAMPLE / "korquad" / name).read_text())
    paragraphs = [paragraph for article in corpus["data"] for paragraph in article["paragraphs"]]
    return {question["id"]: paragraph["context"] for paragraph in paragraphs for question in paragraph["qas"]}


@pytest.mark.long
def test_a_whole_run_on_the_sample(tiny, tmp_path):
    done = tiny(task="korquad")
    assert done.returncode == 0, done.stderr
    results, contexts = results_of(tmp_path), questions_in("KorQuAD_v1.0_dev.json")
    selected = results["selected"]
    assert selected["test"]["f1"] >= 50
    assert set(selected["test"]) == {"exact_match", "f1", "loss"}
    facts = results["data"]["test"]
    assert facts["rows"] == len(contexts) < facts["windows"]  # the last article is longer than a window
    assert selected["test"]["f1"] <= facts["ceiling"]["f1"] < 100
    assert f"exact_match {facts['ceiling']['exact_match']:.2f}, f1 {facts['ceiling']['f1']:.2f}" in done.stderr

    folder = tmp_path / "ckpt" / "tiny-korquad-ckpt"
    step = selected["step"]
    assert (folder / "test" / f"test-{step}.txt").read_text().splitlines()[1] == f"  f1 = {selected['test']['f1']}"
    predictions = json.loads((folder / "test" / f"predictions-{step}.json").read_text())
    nbest = json.loads((folder / "test" / f"nbest-{step}.json").read_text())
    assert predictions.keys() == nbest.keys() == contexts.keys()
    for name, text in predictions.items():
        assert text and text in contexts[name]
        assert text == nbest[name][0]["text"]
        assert sum(candidate["probability"] for candidate in nbest[name]) == pytest.approx(1)
        assert len({candidate["text"] for candidate in nbest[name]}) == len(nbest[name]) <= 20


def test_trains_on_windows(tiny, tmp_path):
    """Windows so short that most contexts need several."""
    short = ("--max_seq_len", "30", "--max_query_length", "14", "--doc_stride", "8", "--max_steps", "8")
    done = tiny(*short, "--answer_text", "legacy", task="korquad")
    assert done.returncode == 0, done.stderr
    data = results_of(tmp_path)["data"]
    assert data["train"]["windows"] > 1.5 * data["train"]["rows"]


def test_scores_again_without_training_if_only_the_answers_change(tiny, tmp_path):
    steps = ("--max_steps", "40", "--save_steps", "20", "--logging_steps", "20", "--save_total_limit", "-1")
    assert tiny(*steps, task="korquad").returncode == 0
    folder = tmp_path / "ckpt" / "tiny-korquad-ckpt"
    before, weights = results_of(tmp_path), (folder / "checkpoint-40" / "model.safetensors").stat()
    done = tiny(*steps, "--answer_text", "legacy", "--max_answer_length", "3", task="korquad")
    assert done.returncode == 0, done.stderr
    assert "answer_text 'offsets', now 'legacy'" in done.stderr
    after = results_of(tmp_path)
    assert list(after["scores"]) == list(before["scores"]) == ["20", "40"]
    assert after["scores"] != before["scores"]
    assert (folder / "checkpoint-40" / "model.safetensors").stat().st_mtime == weights.st_mtime
    again = tiny(*steps, "--answer_text", "legacy", "--max_answer_length", "3", task="korquad")
    assert again.stdout == done.stdout
    assert again.stderr.count("\n") == again.stderr.count("nothing was trained") == 1  # nothing is loaded or scored
    assert tiny(*steps, "--do_train", "false", task="korquad").returncode == 0
    assert results_of(tmp_path)["scores"] == before["scores"]


def test_a_file_with_a_misplaced_answer(tiny, tmp_path):
    folder = tmp_path / "data" / "korquad"
    folder.mkdir(parents=True)
    train, dev = "KorQuAD_v1.0_train.json", "KorQuAD_v1.0_dev.json"
    for name in (train, dev):
        content = json.loads((SAMPLE / "korquad" / name).read_text())
        content["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] += 1
        (folder / name).write_text(json.dumps(content))
    place = ("--data_dir", str(folder.parent), "--max_steps", "2")
    done = tiny(*place, task="korquad")
    assert done.returncode == 2
    assert f"{train}: 1 " in done.stderr
    done = tiny(*place, "--strict_data", "false", task="korquad")
    assert done.returncode == 0, done.stderr
    assert f"{train}: 1 " in done.stderr
    rows = {split: facts["rows"] for split, facts in results_of(tmp_path)["data"].items()}
    assert rows == {"train": len(questions_in(train)) - 1, "test": len(questions_in(dev))}
