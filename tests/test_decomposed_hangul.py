"""Texts with decomposed Hangul, as macOS writes them, give the same features, scores and predictions as composed ones."""

import json
import unicodedata

import numpy as np
import pytest

from processor.data_files import describe_files
from processor.definition import TASKS
from processor.kinds import KINDS, load_split
from processor.split import warn_of_quality
from src.model.load import load_tokenizer
from tests.commands import run_script
from tests.conftest import SAMPLE

# One task per kind, one of pairs, and a test file of the sample.
FILES = {
    "nsmc": "ratings_test.txt", "paws": "test_2k.tsv", "korsts": "sts-test.tsv", "naver-ner": "test.tsv",
    "korquad": "KorQuAD_v1.0_dev.json",
}  # fmt: skip
CHARACTERS = ("char_start", "char_end")  # positions in the text as it is given


def decompose(text):
    return unicodedata.normalize("NFD", text)


def decompose_file(content):
    """Return the content of a data file decomposed; answers keep their places."""
    if not content.startswith("{"):
        return decompose(content)
    corpus = json.loads(content)
    for article in corpus["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                for answer in question["answers"]:
                    answer["answer_start"] = len(decompose(paragraph["context"][: answer["answer_start"]]))
    return decompose(json.dumps(corpus, ensure_ascii=False))


@pytest.fixture
def load(settings):
    """load(task, path, max_seq_len=64) returns the test split in a file, with these settings."""

    def load_file(task, path, **changes):
        chosen = settings(task, **changes)
        tokenizer = load_tokenizer(chosen, word_level=True)
        return load_split("test", describe_files({"test": path})["test"], chosen, TASKS[task], tokenizer)

    return load_file


@pytest.mark.parametrize("task", FILES)
def test_features_are_equal(load, tmp_path, task, caplog):
    original = SAMPLE / task / FILES[task]
    (tmp_path / FILES[task]).write_text(decompose_file(original.read_text(encoding="utf-8")), encoding="utf-8")
    composed, decomposed = load(task, original), load(task, tmp_path / FILES[task])
    expected, found = composed.features.tensors, decomposed.features.tensors
    for name in expected.keys() - {"decomposed", *CHARACTERS}:
        assert np.array_equal(expected[name], found[name]), name
    assert expected["decomposed"].sum() == 0
    assert found["decomposed"].mean() > 0.99  # NSMC has a blank review
    warn_of_quality({"test": decomposed})
    assert f"test: {found['decomposed'].sum():,} of " in caplog.text


@pytest.mark.parametrize("answer_text", ["offsets", "legacy"])
def test_answers_of_decomposed_contexts(tmp_path, load, answer_text):
    """The scores of the spans that a model is trained on."""
    original = SAMPLE / "korquad" / FILES["korquad"]
    (tmp_path / "file.json").write_text(decompose_file(original.read_text(encoding="utf-8")), encoding="utf-8")
    composed, decomposed = (load("korquad", path, answer_text=answer_text) for path in (original, tmp_path / "file.json"))
    assert composed.upper_bound == decomposed.upper_bound
    assert composed.upper_bound["exact_match"] >= 50


INPUTS = {
    "nsmc": ["연기가 정말 최고다"],
    "paws": ["아이가 공원에서 공을 차고 있다.", "사람이 운동을 한다."],
    "naver-ner": [["경주", "영화제가", "열린다", "."]],
    "korquad": ["태어난 해는 언제인가?", "김민준은 1956년 서울에서 태어났다."],
}


@pytest.mark.parametrize("task", INPUTS)
def test_inputs_of_predict_are_equal(settings, task):
    chosen = settings(task)
    inputs = KINDS[TASKS[task].kind].inputs(TASKS[task], load_tokenizer(chosen, word_level=True), chosen)
    decomposed = json.loads(decompose(json.dumps(INPUTS[task], ensure_ascii=False)))
    assert decomposed != INPUTS[task]
    expected, found = (inputs.encode([inputs.example(values)]).tensors for values in (INPUTS[task], decomposed))
    for name in expected.keys() - {"decomposed", *CHARACTERS}:
        assert np.array_equal(expected[name], found[name]), name
    assert (expected["decomposed"].tolist(), found["decomposed"].tolist()) == ([0], [1])


def test_predict_gives_characters_of_the_text_as_it_is(tiny, tmp_path):
    assert tiny("--max_steps", "2", task="korquad").returncode == 0
    question, context = INPUTS["korquad"]
    lines = [
        json.dumps({"question": change(question), "context": change(context)}, ensure_ascii=False) for change in (str, decompose)
    ]
    checkpoint = tmp_path / "ckpt" / "tiny-korquad-ckpt" / "checkpoint-2"
    done = run_script("predict.py", "--checkpoint", str(checkpoint), stdin="\n".join(lines))
    composed, decomposed = (json.loads(line) for line in done.stdout.splitlines())
    assert composed["answer"] == context[composed["start"] : composed["end"]] != ""
    assert decomposed["answer"] == decompose(context)[decomposed["start"] : decomposed["end"]] == decompose(composed["answer"])
    assert decomposed["score"] == composed["score"]
