"""Tasks of one's own in another language than Korean: the data decides whether a model fits them."""

import json
import shutil

import pytest

from tests.commands import run_script
from tests.conftest import SAMPLE
from tests.families import change

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["good", "bad", "film", "the", "##s"]
JAMO = [chr(code) for code in range(0x1100, 0x1200)]
ROWS = [(f"the {word} film {letter}", word) for letter in LETTERS for word in ("good", "bad")]
KOREAN = [(f"{word} 영화 {letter} a", word) for letter in "가나다라마바사" for word in ("좋은", "나쁜")]


@pytest.fixture
def train(tmp_path):
    """train(rows) trains on (text, label) with the encoder of an English vocabulary, which knows the letters of Hangul."""
    shutil.copytree(SAMPLE / "tiny-electra", tmp_path / "model")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]
    (tmp_path / "model" / "vocab.txt").write_text("\n".join([*pieces, *JAMO, *(f"##{letter}" for letter in JAMO)]))

    def run(rows, *flags, lower_case, task=()):
        change(tmp_path / "model", "tokenizer_config.json", do_lower_case=lower_case)
        path = tmp_path / "rows.csv"
        path.write_text("review,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
        own = ["--task", "reviews", "--train_file", str(path), "--test_ratio", "0.2"]
        own += ["--text_column", "review", "--label_column", "label"]
        model = ["--config_file", "tiny.json", "--model_name_or_path", str(tmp_path / "model"), "--max_steps", "2"]
        places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache")]
        return run_script("run_seq_cls.py", *(task or own), *model, "--from_scratch", "--output_dir", "run", *places, *flags)

    return run


@pytest.mark.parametrize("lower_case", [True, False])
def test_an_english_encoder_trains_on_english_rows_and_predicts(train, tmp_path, lower_case):
    """Whether it strips accents, which would take Hangul apart, does not matter."""
    done = train(ROWS, lower_case=lower_case)
    assert done.returncode == 0, done.stderr
    checkpoint = tmp_path / "ckpt" / "run" / "checkpoint-2"
    done = run_script("predict.py", "--checkpoint", str(checkpoint), stdin='{"text": "the good film"}\n')
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] in ("good", "bad")


@pytest.mark.parametrize(
    ("lower_case", "expected"), [(True, ["letters of Hangul", "--do_lower_case false"]), (False, ["unknown to the tokenizer"])]
)
def test_an_english_encoder_does_not_train_on_korean_rows(train, tmp_path, lower_case, expected):
    done = train(KOREAN, lower_case=lower_case)
    assert done.returncode == 2, done.stderr
    assert all(part in done.stderr.splitlines()[-1] for part in ["rows.csv", *expected])
    assert not (tmp_path / "ckpt").exists()


def test_the_tasks_of_the_project_need_korean_whatever_the_rows(train):
    done = train(ROWS, lower_case=False, task=["--task", "nsmc", "--data_dir", "data/sample"])
    assert done.returncode == 2
    assert "without Korean" in done.stderr
