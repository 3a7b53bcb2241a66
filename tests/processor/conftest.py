"""A tokenizer with ids that can be checked by hand, and the path of a test's file."""

import pytest


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer of five letters: a is 5, b is 6, ..., and inside a word ##a is 10, ##b is 11, ..."""
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcde", *(f"##{c}" for c in "abcde")])
    )
    from transformers import BertTokenizer

    return BertTokenizer.from_pretrained(tmp_path, do_lower_case=False)


@pytest.fixture
def path(tmp_path):
    """The path of a test's file of questions."""
    return tmp_path / "korquad" / "f.json"
