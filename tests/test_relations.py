"""The relation of two spans of a text: KLUE-RE's format, new tokens of the model, own data from a file to predictions."""

import csv
import json

import numpy as np
import pytest

from processor.definition import TASKS, make_task
from processor.seq_cls import read_examples
from src.common.errors import ConfigError, DataError
from src.data.task import SPAN_MARKS
from tests.commands import run_script
from tests.conftest import SAMPLE

TASK = TASKS["klue-re"]
ROW = {
    "guid": "klue-re-v1_train_00000",
    "sentence": "비틀즈는 영국의 밴드다",
    "subject_entity": {"word": "비틀즈", "start_idx": 0, "end_idx": 2, "type": "ORG"},
    "object_entity": {"word": "밴드", "start_idx": 9, "end_idx": 10, "type": "POH"},
    "label": "no_relation",
    "source": "wikipedia",
}


def test_reads_the_format_of_klue(tmp_path):
    path = tmp_path / "f.json"
    path.write_text(json.dumps([ROW]), encoding="utf-8")
    (example,), _ = read_examples(path, TASK)
    assert (example.texts, example.label) == (("<subj>비틀즈</subj>는 영국의 <obj>밴드</obj>다",), "no_relation")
    broken = ROW | {"subject_entity": ROW["subject_entity"] | {"end_idx": 99}}
    path.write_text(json.dumps([ROW, broken]), encoding="utf-8")
    with pytest.raises(DataError, match=r"line 1: subject_entity\.end_idx: found 99"):
        read_examples(path, TASK)


def test_the_labels_are_those_of_klue(shared):
    relations = json.loads((shared / "data" / "klue" / "klue-re" / "relation_list.json").read_text("utf-8"))["relations"]
    assert list(TASK.labels) == relations and relations[0] == "no_relation"
    assert TASK.scores == ("micro_f1", "auprc")


def test_a_definition_names_four_columns_of_one_text():
    fields = {"kind": "classification", "text": "a", "label": "b"}
    for wrong in ({"spans": ["c", "d"]}, {"spans": ["c", "d", "e", "f"], "text": ["a", "g"]}):
        with pytest.raises(ConfigError, match="spans: name four columns"):
            make_task("own", fields | wrong, "f")
    with pytest.raises(ConfigError, match="spans: a tagging task has none"):
        make_task("own", {"kind": "tagging", "spans": ["c", "d", "e", "f"]}, "f")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on own data: the label says which of 배우 and 영화 is the subject. Their texts are alike, so only the marks tell."""
    folder = tmp_path_factory.mktemp("relations")
    rng = np.random.default_rng(0)
    with open(folder / "train.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "a", "b", "c", "d", "who"])
        for _ in range(600):
            text = f"배우 영화 오늘 {rng.integers(1000)}"
            subject, other = rng.permutation(["배우", "영화"])
            places = [place for word in (subject, other) for place in (text.index(word), text.index(word) + 1)]
            writer.writerow([text, *places, "film" if subject == "영화" else "no_relation"])
    flags = ["--task", "relations", "--train_file", str(folder / "train.csv"), "--test_ratio", "0.2", "--metric", "relation_f1"]
    columns = ["--text_column", "text", "--span_columns", "a,b,c,d", "--label_column", "who"]
    model = ["--config_file", "tiny.json", "--max_steps", "80", "--max_seq_len", "32"]
    places = ["--ckpt_dir", str(folder), "--output_dir", "run", "--feature_cache_dir", str(folder / "cache")]
    done = run_script("run_seq_cls.py", *flags, *columns, *model, *places)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_model_learns_which_span_is_which(trained):
    scores = json.loads((trained / "run" / "eval_results.json").read_text())["selected"]["test"]
    assert scores["micro_f1"] > 0.95 and scores["auprc"] > 0.95


def test_a_checkpoint_has_the_new_tokens(trained):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    checkpoint = trained / "run" / "checkpoint-80"
    tokenizer, model = AutoTokenizer.from_pretrained(checkpoint), AutoModelForSequenceClassification.from_pretrained(checkpoint)
    before = len(AutoTokenizer.from_pretrained(SAMPLE / "tiny-electra"))
    assert tokenizer.convert_tokens_to_ids(list(SPAN_MARKS)) == list(range(before, before + 4))
    assert len(model.get_input_embeddings().weight) == model.config.vocab_size >= len(tokenizer) == before + 4
    (answer,) = pipeline("text-classification", model=model, tokenizer=tokenizer)("<subj>배우</subj> <obj>영화</obj> 오늘")
    assert answer["label"] == "no_relation"


def test_predicts_marked_texts_and_the_columns_of_training(trained):
    lines = [
        {"text": "<obj>배우</obj> <subj>영화</subj> 오늘"},
        {"text": "배우 영화 오늘", "a": 0, "b": 1, "c": 3, "d": 4},
        {"text": "배우 영화 오늘"},
        {"text": "배우 영화 오늘", "a": 0, "b": 99, "c": 3, "d": 4},
    ]
    (trained / "inputs.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    done = run_script("predict.py", "--checkpoint", str(trained / "run"), "--input", str(trained / "inputs.jsonl"))
    first, second, third, fourth = map(json.loads, done.stdout.splitlines())
    assert (first["label"], second["label"]) == ("film", "no_relation")
    assert "<subj>" in third["error"] and "b: found 99" in fourth["error"]
    train, marked = trained / "train.csv", trained / "marked.csv"
    marked.write_text("id,text\n1,<obj>배우</obj> <subj>영화</subj> 오늘\n", encoding="utf-8")
    for path, rows in ((train, 600), (marked, 1)):
        done = run_script("predict.py", "--checkpoint", str(trained / "run"), "--input", str(path))
        results = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(results) == rows and not any("error" in result for result in results)


def test_the_card_shows_marked_texts(trained):
    card = (trained / "run" / "checkpoint-80" / "README.md").read_text()
    assert card.count("<subj>...</subj> <obj>...</obj>") == 2


def test_relations_of_own_data_need_a_label_for_none(tmp_path):
    """Labels are sorted, so another one would be left out of the score."""
    (tmp_path / "f.csv").write_text("text,a,b,c,d,who\n" + "배우 영화,0,1,3,4,x\n배우 영화,0,1,3,4,y\n" * 5)
    flags = ["--task", "own", "--train_file", str(tmp_path / "f.csv"), "--test_ratio", "0.2", "--metric", "relation_f1"]
    columns = ["--text_column", "text", "--span_columns", "a,b,c,d", "--label_column", "who"]
    done = run_script("run_seq_cls.py", *flags, *columns, "--config_file", "tiny.json", "--ckpt_dir", str(tmp_path))
    assert (done.returncode, "no_relation" in done.stderr) == (2, True)
