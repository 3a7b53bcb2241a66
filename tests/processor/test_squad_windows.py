"""Tests with the tokenizer of five letters: [CLS] is 2, [SEP] is 3; a b c d e are 5 to 9, inside a word 10 to 14."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
from transformers import AutoTokenizer, BertTokenizer

from processor.squad_reader import read_questions
from processor.squad_windows import (
    SquadExample,
    Tokens,
    answer_span,
    cut,
    encode,
    mark_context,
    tokenize_contexts,
)
from src.common.errors import ConfigError
from src.data.special import SpecialTokens
from src.settings.lengths import require_overlap


def lengths(max_seq_len=16, doc_stride=2, max_query_length=4):
    return SimpleNamespace(max_seq_len=max_seq_len, doc_stride=doc_stride, max_query_length=max_query_length)


def rows_of(tensors, name):
    return [part.tolist() for part in np.split(tensors[name], tensors["offsets"][1:-1])]


def test_a_short_context_is_one_window(tokenizer):
    tensors = encode([SquadExample("ab", "c de  d", ("de", 2))], tokenizer, lengths())
    assert rows_of(tensors, "input_ids") == [[2, 5, 11, 3, 7, 8, 14, 8, 3]]
    assert rows_of(tensors, "token_type_ids") == [[0, 0, 0, 0, 1, 1, 1, 1, 1]]
    assert rows_of(tensors, "char_start") == [[-1, -1, -1, -1, 0, 2, 3, 6, -1]]
    assert rows_of(tensors, "char_end") == [[-1, -1, -1, -1, 1, 3, 4, 7, -1]]
    assert rows_of(tensors, "context_marks") == [[0, 0, 0, 0, 2, 2, 2, 2, 0]]
    assert (tensors["start_positions"].tolist(), tensors["end_positions"].tolist()) == ([5], [6])
    assert tensors["example_index"].tolist() == [0]
    assert {name: str(tensor.dtype) for name, tensor in tensors.items()} == {
        "input_ids": "int32",
        "token_type_ids": "uint8",
        "offsets": "int64",
        "example_index": "int32",
        "start_positions": "int32",
        "end_positions": "int32",
        "char_start": "int32",
        "char_end": "int32",
        "context_marks": "uint8",
        "cut": "int32",
        "decomposed": "uint8",
    }


def test_a_long_context_has_a_window_every_doc_stride_tokens(tokenizer):
    """Room for four tokens of the context, a step of two: a b c d, c d e a, e a b."""
    tensors = encode([SquadExample("a", "a b c d e a b", ("e", 8))], tokenizer, lengths(max_seq_len=8, doc_stride=2))
    assert rows_of(tensors, "input_ids") == [[2, 5, 3, 5, 6, 7, 8, 3], [2, 5, 3, 7, 8, 9, 5, 3], [2, 5, 3, 9, 5, 6, 3]]
    assert list(zip(tensors["start_positions"], tensors["end_positions"], strict=True)) == [(0, 0), (5, 5), (3, 3)]
    assert rows_of(tensors, "char_start") == [
        [-1, -1, -1, 0, 2, 4, 6, -1],
        [-1, -1, -1, 4, 6, 8, 10, -1],
        [-1, -1, -1, 8, 10, 12, -1],
    ]


def test_cuts_a_question_at_its_end(tokenizer):
    tensors = encode([SquadExample("a b c d e", "a", None)], tokenizer, lengths(max_query_length=2))
    assert rows_of(tensors, "input_ids") == [[2, 5, 6, 3, 5, 3]]
    assert tensors["cut"].tolist() == [3]


def test_encodes_shared_and_empty_contexts(tokenizer):
    tensors = encode(
        [SquadExample("a", "b c"), SquadExample("d", "b c"), SquadExample("", ""), SquadExample("e", "\u200b")],
        tokenizer,
        lengths(),
    )
    assert rows_of(tensors, "input_ids") == [[2, 5, 3, 6, 7, 3], [2, 8, 3, 6, 7, 3], [2, 3, 3], [2, 9, 3, 3]]
    assert tensors["example_index"].tolist() == [0, 1, 2, 3]
    assert tensors["start_positions"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("tokens", "room", "stride", "expected"),
    [
        (0, 4, 2, [(0, 0)]),
        (4, 4, 2, [(0, 4)]),
        (5, 4, 2, [(0, 4), (2, 5)]),
        (7, 4, 3, [(0, 4), (3, 7)]),
        (8, 4, 4, [(0, 4), (4, 8)]),
        (9, 4, 4, [(0, 4), (4, 8), (8, 9)]),
    ],
)
def test_cut(tokens, room, stride, expected):
    windows = cut(tokens, room, stride)
    assert windows == expected
    assert {token for start, end in windows for token in range(start, end)} == set(range(tokens))


def test_marks_the_window_with_the_most_context():
    """Two windows of four over six tokens: 0 1 [2 3] and [2 3] 4 5; 2 has more context in the first, 3 in the second."""
    assert [marks.tolist() for marks in mark_context([(0, 4), (2, 6)])] == [[2, 2, 2, 1], [1, 2, 2, 2]]
    # of equal ones the longer window, else the first
    assert [marks.tolist() for marks in mark_context([(0, 3), (1, 3)])] == [[2, 2, 2], [1, 1]]


def span_of(tokenizer, context, text, start):
    tokens = tokenize_contexts([context], tokenizer)[context]
    return answer_span(SquadExample("", context, (text, start)), tokens, tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize(
    ("context", "text", "start", "expected"),
    [
        ("ab cd", "cd", 3, (2, 3)),
        ("ab cd", "c", 3, (2, 2)),  # the first piece of its word
        ("ab cd", "d", 4, (2, 3)),  # a later piece: the whole word
        ("ab cd e", "b c", 1, (0, 3)),  # from inside a word to inside another: both words
        ("a a a", "a", 2, (1, 1)),  # the occurrence at answer_start, not the first
        ("a b c", " b ", 1, (1, 1)),  # spaces around the answer do not count
        ("\u200b a", "\u200b", 0, (-1, -1)),  # no token
    ],
)
def test_finds_the_tokens_of_an_answer(tokenizer, context, text, start, expected):
    assert span_of(tokenizer, context, text, start) == expected


def test_strips_white_space_from_the_characters_of_a_token():
    class Tokenizer:
        def __call__(self, texts, **options):  # like SentencePiece: the space before a word belongs to its first piece
            return {"input_ids": [[1, 2, 3]], "offset_mapping": [[(0, 1), (1, 3), (3, 4)]]}

    tokens = tokenize_contexts(["a b "], Tokenizer())["a b "]
    assert (tokens.start.tolist(), tokens.end.tolist()) == ([0, 2, 4], [1, 3, 4])
    assert tokens.between(0, 2) == (0, 0)
    assert tokens.between(2, 3) == (1, 1)
    assert Tokens(*np.zeros((3, 0), np.int32)).between(0, 5) == (-1, -1)


def test_rejects_a_stride_that_skips_tokens(tokenizer):
    require_overlap(lengths(max_seq_len=16, doc_stride=9, max_query_length=4), SpecialTokens.of(tokenizer, texts=2).size)
    with pytest.raises(ConfigError, match=r"doc_stride = 10 .* 9 tokens"):
        require_overlap(lengths(max_seq_len=16, doc_stride=10, max_query_length=4), SpecialTokens.of(tokenizer, texts=2).size)


def test_encodes_with_the_special_tokens_of_roberta(tmp_path):
    """RoBERTa puts two separators between question and context, and no segments; one token less fits into a window."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    backend = Tokenizer(
        models.WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5, "가": 6}, unk_token="<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )
    tensors = encode([SquadExample("a", "b b b", ("b", 2))], tokenizer, lengths(max_seq_len=7, doc_stride=1, max_query_length=1))
    assert rows_of(tensors, "input_ids") == [[0, 4, 2, 2, 5, 5, 2], [0, 4, 2, 2, 5, 5, 2]]
    assert rows_of(tensors, "token_type_ids") == [[0] * 7, [0] * 7]
    assert tensors["start_positions"].tolist() == [5, 4]
    with pytest.raises(ConfigError, match="less 4 special tokens"):
        require_overlap(lengths(max_seq_len=8, doc_stride=3, max_query_length=2), SpecialTokens.of(tokenizer, texts=2).size)


def test_windows_equal_the_original(shared, tmp_path):
    """Ids, segments and answer positions of every window, with the published vocabulary."""
    (tmp_path / "vocab.txt").write_bytes((shared / "vocab" / "koelectra-vocab.txt").read_bytes())
    tokenizer = BertTokenizer.from_pretrained(tmp_path, do_lower_case=False)
    questions = read_questions(shared / "data" / "standin" / "korquad" / "KorQuAD_v1.0_dev.json", strict=True)
    tensors = encode([question.example for question in questions], tokenizer, lengths(512, 128, 64))
    windows = {question.id: [] for question in questions}
    for index, row in enumerate(zip(rows_of(tensors, "input_ids"), rows_of(tensors, "token_type_ids"), strict=True)):
        hashes = [hashlib.sha1(json.dumps(values).encode()).hexdigest()[:10] for values in row]
        span = [int(tensors["start_positions"][index]), int(tensors["end_positions"][index])]
        windows[questions[tensors["example_index"][index]].id].append([*hashes, *span])
    expected = json.loads((shared / "reference" / "features" / "korquad.dev.512.json").read_text())["rows"]
    assert windows == expected


def test_finds_answers_with_a_byte_level_tokenizer(tmp_path):
    """A token is a byte, three per syllable. The answer's first and last token give its characters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<s>": 0, "</s>": 1, "<pad>": 2, **{letter: 3 + index for index, letter in enumerate(alphabet)}}
    backend = Tokenizer(models.BPE(vocab, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>").save_pretrained(
        tmp_path
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    context = "봄은 서울에"
    tensors = encode([SquadExample("?", context, ("서울", 3))], tokenizer, lengths(64, 16, 8))
    first, last = int(tensors["start_positions"][0]), int(tensors["end_positions"][0])
    assert context[tensors["char_start"][first] : tensors["char_end"][last]] == "서울"
