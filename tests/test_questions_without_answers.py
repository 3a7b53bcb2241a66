"""Questions without an answer, as in KLUE-MRC and SQuAD 2: from the file to predictions."""

import json

import numpy as np
import pytest

from processor.data_files import describe_files
from processor.definition import TASKS
from processor.kinds import load_split
from processor.squad_reader import read_questions
from src.common.errors import DataError
from tests.commands import run_script
from tests.processor.helpers import corpus, question, write

NO_ANSWER = {"answers": [], "is_impossible": True}


def klue(question):
    """A question as KLUE-MRC has it: `guid`, a type, and a plausible answer where there is none."""
    return {"guid": question.pop("id"), "question_type": 3, "plausible_answers": [{"text": "ab", "answer_start": 0}]} | question


@pytest.fixture
def tokenizer(tmp_path):
    from transformers import BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcde", *(f"##{letter}" for letter in "abcde")]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    return BertTokenizer.from_pretrained(tmp_path, do_lower_case=False)


def test_reads_the_files_of_klue_and_squad_2(tmp_path):
    """An answer of a question that is impossible is none, whatever the file has."""
    questions = [question(), klue(question("q2", **NO_ANSWER)), question("q3", is_impossible=True), question("q4", answers=[])]
    path = write(tmp_path / "f.json", corpus(*questions))
    read = read_questions(path, strict=True, may_lack_answers=True)
    assert [(each.id, each.answers, each.example.answer) for each in read] == [
        ("q1", ["c"], ("c", 3)),
        *((name, [], None) for name in ("q2", "q3", "q4")),
    ]
    with pytest.raises(DataError, match="3 questions have no answer"):
        read_questions(path, strict=True)
    write(path, corpus({"question": "a", "answers": []}))
    with pytest.raises(DataError, match=r"qas\[0\]\.id"):
        read_questions(path, strict=True, may_lack_answers=True)


def test_trains_on_the_first_token_where_there_is_no_answer(tmp_path, settings, tokenizer):
    file = describe_files({"test": write(tmp_path / "f.json", corpus(question(), question("q2", **NO_ANSWER)))})["test"]
    chosen = settings("klue-mrc", max_seq_len=16, max_query_length=4, doc_stride=4)
    split = load_split("test", file, chosen, TASKS["klue-mrc"], tokenizer)
    positions = list(zip(*(split.features.tensors[f"{side}_positions"].tolist() for side in ("start", "end")), strict=True))
    assert positions[0] != (0, 0) and positions[1] == (0, 0)
    assert split.upper_bound == {"exact_match": 100.0, "rouge": 100.0}
    # One span and no answer per window: the answer, and none; both questions answered; no question answered.
    first, last = positions[0]
    answered, lead = (first, last, 1.0, 1.0), (0, 0, 2.0, 1.0)
    behind = (0, 0, 0.0, 0.0)
    for windows, scores in [([behind, lead], (100, 100)), ([behind, behind], (50, 50)), ([lead, lead], (50, 50))]:
        outputs = np.array([[answered, none] for none in windows], np.float32)
        decoded = split.decode(outputs)
        assert split.score(decoded) == {"exact_match": scores[0], "rouge": scores[1]}
    assert split.analysis(split.decode(np.array([[answered, behind]] * 2, np.float32))).errors[0].gold == "(no answer)"


def test_own_data_from_a_file_to_predictions(tmp_path):
    """The answer is 최고 where the context has it, and there is none elsewhere. The tiny model learns that."""
    rng = np.random.default_rng(0)
    paragraphs = []
    for number in range(300):
        context = " ".join(rng.permutation(["서울", "오늘", ["최고", "배우"][number % 2]]))
        found = {"answers": [{"text": "최고", "answer_start": context.index("최고")}]} if "최고" in context else NO_ANSWER
        paragraphs.append({"context": context, "qas": [{"id": str(number), "question": "영화"} | found]})
    train = tmp_path / "train.json"
    train.write_text(json.dumps({"data": [{"paragraphs": [paragraph]} for paragraph in paragraphs]}), encoding="utf-8")
    flags = ["--task", "films", "--train_file", str(train), "--test_ratio", "0.2", "--version_2_with_negative"]
    lengths = ["--max_seq_len", "24", "--max_query_length", "8", "--doc_stride", "4", "--train_batch_size", "32"]
    folder = ["--ckpt_dir", str(tmp_path), "--output_dir", "run", "--feature_cache_dir", str(tmp_path / "cache")]
    done = run_script("run_squad.py", *flags, *lengths, "--config_file", "tiny.json", "--max_steps", "80", *folder)
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "run" / "eval_results.json").read_text())["selected"]["test"]
    assert scores["exact_match"] > 95 and scores["f1"] > 95
    lines = [{"question": "영화", "context": context} for context in ("최고 서울", "서울 배우")]
    (tmp_path / "inputs.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    done = run_script("predict.py", "--checkpoint", str(tmp_path / "run"), "--input", str(tmp_path / "inputs.jsonl"))
    answered, none = map(json.loads, done.stdout.splitlines())
    assert (answered["answer"], none["answer"]) == ("최고", "")
    assert answered["score"] > 0.5 and none["score"] > 0.5
