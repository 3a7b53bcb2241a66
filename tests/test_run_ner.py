"""run_ner.py on the sample. What it shares with run_seq_cls.py is tested there."""

import json

import pytest

from tests.conftest import SAMPLE


@pytest.mark.long
def test_a_whole_run_on_the_sample(tiny, tmp_path):
    done = tiny(task="naver-ner")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "ckpt" / "tiny-naver-ner-ckpt"
    results = json.loads((folder / "eval_results.json").read_text())
    selected = results["selected"]
    assert selected["test"]["f1"] >= 0.80
    assert set(selected["test"]) == {"f1", "f1_full", "precision", "recall", "loss"}
    lines = (folder / "test" / f"test-{selected['step']}.txt").read_text().splitlines()
    assert lines[0] == f"  f1 = {selected['test']['f1']}"
    assert any(line.split()[:1] == ["PER"] for line in lines)  # the report by entity type, below the scores
    predictions = (folder / "test" / f"predictions-{selected['step']}.tsv").read_text().splitlines()
    words = sum(len(line.split("\t")[0].split(" ")) for line in (SAMPLE / "naver-ner" / "test.tsv").read_text().splitlines())
    assert len(predictions) == 1 + words

    from transformers import pipeline

    tag = pipeline("token-classification", str(folder / selected["checkpoint"]), aggregation_strategy="simple", device=-1)
    text = "경주 영화제가 1994년 7월에 열린다 ."
    entities = [(entity["entity_group"], text[entity["start"] : entity["end"]]) for entity in tag(text)]
    assert entities == [("EVT", "경주 영화제가"), ("DAT", "1994년 7월에")]


def test_logs_what_a_short_max_seq_len_cuts_off(tiny, tmp_path):
    done = tiny("--max_seq_len", "8", "--max_steps", "20", task="naver-ner")
    assert done.returncode == 0, done.stderr
    assert "max_seq_len cuts " in done.stderr
    scores = json.loads((tmp_path / "ckpt" / "tiny-naver-ner-ckpt" / "eval_results.json").read_text())["selected"]["test"]
    assert scores["f1_full"] <= scores["f1"]
