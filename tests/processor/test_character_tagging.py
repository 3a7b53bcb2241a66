"""Tags by character. The scores on real rows are computed a second time here, without the project's alignment and metrics."""

import json
import unicodedata

import numpy as np
import pytest
from transformers import BertTokenizer

from processor.character_tagging import CharacterInputs
from processor.data_files import describe_files
from processor.definition import TASKS, make_task
from processor.kinds import load_split
from src.common.errors import ConfigError, DataError
from src.data.task import IGNORE_INDEX
from tests.commands import run_script

TASK = TASKS["klue-ner"]
LABELS = list(TASK.labels)
# PS is a person, LC a place. "ab" is a word of the vocabulary, "d" is unknown.
SENTENCE = "## one sentence\nab c\na\tB-PS\nb\tO\n \tO\nc\tB-LC\nz\tI-LC\n".replace("ab c\n", "")
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ab", "c", "##z", "a", "##b"]


@pytest.fixture
def words(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCAB))
    return BertTokenizer.from_pretrained(tmp_path, do_lower_case=False)


def split_of(path, tokenizer, settings, task=TASK, max_seq_len=16):
    file = describe_files({"test": path})["test"]
    return load_split("test", file, settings("klue-ner", max_seq_len=max_seq_len), task, tokenizer)


def write(tmp_path, text, name="f.tsv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_a_piece_has_the_label_of_its_first_character(tmp_path, words, settings):
    split = split_of(write(tmp_path, SENTENCE), words, settings)
    tensors = split.features.tensors
    assert words.convert_ids_to_tokens(tensors["input_ids"].tolist()) == ["[CLS]", "ab", "c", "##z", "[SEP]"]
    assert [LABELS[label] if label >= 0 else "" for label in tensors["label_ids"]] == ["", "B-PS", "B-LC", "I-LC", ""]
    assert list(zip(tensors["char_start"], tensors["char_end"], strict=True)) == [(-1, -1), (0, 2), (3, 4), (4, 5), (-1, -1)]
    assert split.facts["ceiling"] == split.upper_bound
    assert split.upper_bound["entity_f1"] == 0.5  # the person ends inside the piece "ab"


def test_predictions_spread_to_characters(tmp_path, words, settings):
    split = split_of(write(tmp_path, SENTENCE), words, settings)
    decoded = split.decode(np.array([LABELS.index(tag) for tag in ["O", "B-PS", "O", "I-LC", "O"]]))
    assert decoded == [["B-PS", "I-PS", "O", "O", "I-LC"]]
    assert list(split.prediction_lines(decoded)) == [
        "sentence\tcharacter\tlabel\tprediction",
        "0\ta\tB-PS\tB-PS",
        "0\tb\tO\tI-PS",
        "0\tc\tB-LC\tO",
        "0\tz\tI-LC\tI-LC",
    ]
    (error,) = split.analysis(decoded).errors
    assert (error.texts, error.gold, error.prediction) == (["ab cz"], "PS 0 (a), LC 3-4 (cz)", "PS 0-1 (ab)")


def test_characters_beyond_max_seq_len_are_outside(tmp_path, words, settings):
    long = "".join(f"{character}\tB-PS\n" for character in "c c c c c c c c")
    split = split_of(write(tmp_path, long), words, settings, max_seq_len=8)
    assert split.features.tensors["cut"].tolist() == [4]
    decoded = split.decode(np.where(split.features.tensors["label_ids"] == IGNORE_INDEX, 0, LABELS.index("B-PS")))
    assert decoded == [["B-PS", "O"] * 6 + ["O"] * 3]


def test_other_formats_and_forms(tmp_path, words, settings):
    task = make_task("own", {"kind": "character_tagging", "text": "x", "label": "y", "labels": {"O": "O", "PS-B": "B-PS"}}, "f")
    path = write(tmp_path, json.dumps({"x": "ab c", "y": ["PS-B", "O", "O", "O"]}), "f.jsonl")
    split = split_of(path, words, settings, task)
    assert split.examples[0].words == ["a", "b", " ", "c"]
    assert split.decode(split.features.tensors["label_ids"]) == [["PS-B", "PS-B", "O", "O"]]  # there is no PS-I
    assert list(split.prediction_lines(split.decode(split.features.tensors["label_ids"])))[1] == "0\ta\tB-PS\tB-PS"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tB-XX\n", "line 1: found the tag 'B-XX', expected one of B-PS"),
        ("a\tO\nb\n", "line 2: found 'b', expected 2 columns"),
        ("a\tO\n \n\tO\n", "line 3"),
        ("## only a comment\n", "there are no sentences"),
    ],
)
def test_rejects_malformed_files(tmp_path, words, settings, text, expected):
    with pytest.raises(DataError, match=expected):
        split_of(write(tmp_path, text), words, settings)


@pytest.mark.parametrize("labels", [{"O": "O", "B-PS": "B-PS", "E-PS": "E-PS"}, {"B-PS": "B-PS", "I-PS": "I-PS"}])
def test_rejects_other_schemes(labels):
    with pytest.raises(ConfigError, match="labels"):
        make_task("own", {"kind": "character_tagging", "labels": labels}, "f")


def test_predicts_entities_with_their_positions(words, settings):
    inputs = CharacterInputs(TASK, words, settings("klue-ner", max_seq_len=16))
    examples = [inputs.example(["ab cz"]), inputs.example([["c"]])]
    features = inputs.encode(examples)
    tags = ["O", "B-PS", "B-LC", "I-LC", "O", "O", "O", "O"]
    first, second = inputs.results(examples, features, np.array([LABELS.index(tag) for tag in tags]))
    assert first["entities"] == [
        {"type": "PS", "start": 0, "end": 2, "text": "ab"},
        {"type": "LC", "start": 3, "end": 5, "text": "cz"},
    ]
    assert second == {"entities": [], "tags": ["O"]}
    for nothing in ("", "  ", 3, ["a", 1]):
        with pytest.raises(ValueError, match="text"):
            inputs.example([nothing])


def test_own_data_from_a_file_to_predictions(tmp_path):
    """Entities that end inside words: the tiny model learns that 서울 is a place and 배우 a person, and 는 belongs to neither."""
    rng, words = np.random.default_rng(0), {"서울": "LC", "배우": "PS", "영화": "", "오늘": ""}
    lines = []
    for _ in range(300):
        for word in rng.choice(list(words), 2, replace=False):
            kind = words[word]
            tags = [f"B-{kind}", f"I-{kind}"] if kind else ["O", "O"]
            lines += [f"{character}\t{tag}" for character, tag in zip(f"{word}는 ", [*tags, "O", "O"], strict=True)]
        lines.append("")
    train = write(tmp_path, "\n".join(lines), "train.conll")
    flags = ["--task", "names", "--kind", "character_tagging", "--train_file", str(train), "--test_ratio", "0.2"]
    folder = ["--ckpt_dir", str(tmp_path), "--output_dir", "run", "--feature_cache_dir", str(tmp_path / "cache")]
    done = run_script("run_ner.py", *flags, "--config_file", "tiny.json", "--max_steps", "60", *folder)
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "run" / "eval_results.json").read_text())["selected"]["test"]
    assert scores["entity_f1"] > 0.95 and scores["char_f1"] > 0.95
    inputs = write(tmp_path, "오늘는 서울는\n", "inputs.txt")
    done = run_script("predict.py", "--checkpoint", str(tmp_path / "run" / "checkpoint-60"), "--input", str(inputs))
    assert json.loads(done.stdout)["entities"] == [{"type": "LC", "start": 4, "end": 6, "text": "서울"}]


# -- the scores of KLUE-baseline, computed a second time ------------------------------------------------------------------------


def read(path):
    """Return the (characters, tags) of each sentence of a published file."""
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    lines = [[line for line in block.split("\n") if line and not line.startswith("##")] for block in blocks]
    return [tuple(zip(*(line.split("\t") for line in block), strict=True)) for block in lines if block]


def pieces_of(word, tokenizer):
    """Return how many characters each piece of a word has. Signs and Chinese characters stand alone, as in BERT's tokenizer."""
    parts = [""]
    for character in word:
        if unicodedata.category(character)[0] == "P" or character in "$+<=>^`|~" or "\u4e00" <= character <= "\u9fff":
            parts += [character, ""]
        else:
            parts[-1] += character
    sizes = []
    for part in filter(None, parts):
        pieces = tokenizer.tokenize(part)
        sizes += [len(part)] if pieces == ["[UNK]"] else [len(piece.removeprefix("##")) for piece in pieces]
    return sizes


def spans(tags):
    found, begin = [], None
    for place, tag in enumerate([*tags, "O"]):
        if begin is not None and tag != "I-" + tags[begin][2:]:
            found.append((tags[begin][2:], begin, place))
            begin = None
        if tag[0] == "B":
            begin = place
    return set(found)


def f1(right, gold, predicted):
    return 2 * right / (gold + predicted) if gold + predicted else 1.0


def published_scores(gold, preds):
    """Return entity F1 and character F1 of one sequence of all characters, with two O for [CLS] and [SEP] of each sentence."""
    right, found = ([tag for tags in of for tag in ["O", *tags, "O"]] for of in (gold, preds))
    one, other = spans(right), spans(found)
    types = {kind for kind, _, _ in one | other}
    entity = [f1(*(sum(kind == span[0] for span in of) for of in (one & other, one, other))) for kind in types]
    pairs = list(zip(right, found, strict=True))
    character = [f1(pairs.count((tag, tag)), right.count(tag), found.count(tag)) for tag in LABELS]
    return float(np.mean(entity)), float(np.mean(character))


@pytest.mark.parametrize("model", ["right", "every seventh piece is wrong", "nothing"])
def test_scores_of_real_rows_computed_a_second_time(shared, tmp_path, settings, model):
    (tmp_path / "vocab.txt").write_bytes((shared / "vocab" / "koelectra-vocab.txt").read_bytes())
    tokenizer = BertTokenizer.from_pretrained(tmp_path, do_lower_case=False)
    path = shared / "data" / "klue" / "klue-ner" / "klue-ner-v1.1_dev.tsv"
    split = split_of(path, tokenizer, settings, max_seq_len=510)
    label_ids = split.features.tensors["label_ids"]
    real = np.flatnonzero(label_ids != IGNORE_INDEX)
    outputs = np.full(len(label_ids), LABELS.index("O"))
    if model != "nothing":
        outputs[real] = label_ids[real]
    if model == "every seventh piece is wrong":
        outputs[real[::7]] = (outputs[real[::7]] + 1) % len(LABELS)
    scores = split.score(split.decode(outputs))

    gold, preds, piece = [], [], 0
    for characters, tags in read(path):
        words = "".join(characters).split()
        known = [tag for character, tag in zip(characters, tags, strict=True) if character.strip()]
        predicted = []
        for word in words:
            sizes = pieces_of(word, tokenizer)
            assert sum(sizes) == len(word), word
            for size in sizes:
                tag = LABELS[outputs[real[piece]]]
                predicted += [tag, *["O" if tag == "O" else "I-" + tag[2:]] * (size - 1)]
                piece += 1
        gold.append(known), preds.append(predicted)
    assert piece == len(real)
    assert (scores["entity_f1"], scores["char_f1"]) == pytest.approx(published_scores(gold, preds))
    assert (scores["entity_f1"] == 0) == (model == "nothing")
