import random
import re

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BatchEncoding,
)

from processor.definition import TASKS
from src.common.errors import ModelError
from src.model.checks import check_model

SHAPE = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
DISTIL = {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
# The first positions of these are never used: they count from behind the id of padding, or from 2.
FROM_2 = ["roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "data2vec-text", "roberta-prelayernorm"]
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
OTHERS = {
    "bert": {},
    "electra": {"embedding_size": 8},
    "distilbert": DISTIL,
    "albert": {"embedding_size": 8},
    "big_bird": {"block_size": 4, "num_random_blocks": 1},  # small blocks: else it attends to everything in a short row
    "deberta-v2": RELATIVE | {"position_biased_input": True},
    "deberta-v2, relative only": RELATIVE | {"position_biased_input": False},
    "modernbert": {"pad_token_id": 0},
}


class Tokenizer:
    """A tokenizer with 40 ids, the first six of which are special: 4 and 5 are around texts.

    second: the segment of the second text.
    """

    all_special_ids = (0, 1, 2, 3, 4, 5)
    pad_token_id = 0

    def __init__(self, second=1):
        self.second = second

    def get_vocab(self):
        return {f"piece {number}": number for number in range(40)}

    def __call__(self, *texts, **options):
        ids = [4, 7, 5, 8, 5][: 1 + 2 * len(texts)]
        segments = [0, 0, 0, self.second, self.second][: len(ids)]
        row = BatchEncoding({"input_ids": ids, "token_type_ids": segments})
        row.sequence_ids = lambda: [None, 0, None, 1, None][: len(ids)]
        return row


def make_model(model_type, auto_class=AutoModelForSequenceClassification, **entries):
    torch.manual_seed(0)
    if model_type == "longformer":
        entries["attention_window"] = [16, 16]
    config = AutoConfig.for_model(model_type.split(",")[0], **SHAPE | entries)
    return auto_class.from_config(config)


@pytest.fixture
def check(settings):
    """check(model, 128) checks it with this max_seq_len."""

    def check_with(model, length=128, task="nsmc", second=1, **changes):
        check_model(model, Tokenizer(second), settings(max_seq_len=length, **changes), TASKS[task])

    return check_with


@pytest.mark.parametrize("model_type", OTHERS)
def test_accepts_encoders_with_rows_of_all_their_positions(check, model_type):
    check(make_model(model_type, max_position_embeddings=128, **OTHERS[model_type]))


@pytest.mark.parametrize("model_type", FROM_2)
def test_the_first_two_positions_of_some_encoders_cannot_be_used(check, model_type):
    model = make_model(model_type, max_position_embeddings=130, pad_token_id=1)
    check(model, 128)
    with pytest.raises(ModelError, match=r"max_seq_len = 129 \(command line\).* at most 128 tokens.*--max_seq_len 128 "):
        check(model, 129)


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta", "camembert", "data2vec-text"])
def test_positions_start_behind_the_id_of_padding(check, model_type):
    model = make_model(model_type, max_position_embeddings=130, pad_token_id=3)
    check(model, 126)
    with pytest.raises(ModelError, match=r"at most 126 tokens"):
        check(model, 128)


@pytest.mark.parametrize(
    ("model_type", "entries"),
    [
        ("gpt2", {"n_embd": 16, "n_layer": 2, "n_head": 2, "pad_token_id": 0}),
        ("bert", {"is_decoder": True}),
        ("electra", {"is_decoder": True}),
    ],
)
def test_rejects_decoders(check, model_type, entries):
    with pytest.raises(ModelError, match=f"{model_type}.*BERT, ELECTRA, RoBERTa"):
        check(make_model(model_type, **entries))


def test_rejects_ids_without_an_embedding(check):
    with pytest.raises(ModelError, match=r"ids up to 39.* 39 embeddings"):
        check(make_model("bert", vocab_size=39))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_names_the_first_weight_that_is_not_finite(check, value):
    model = make_model("bert")
    name, weight = list(model.named_parameters())[20]
    weight.data.view(-1)[3] = value
    with pytest.raises(ModelError, match=re.escape(name)):
        check(model)


def test_any_other_failure_is_named(check):
    model = make_model("bert")
    model.bert.encoder.layer[1].forward = lambda *arguments, **options: 1 / 0
    with pytest.raises(ModelError, match=r"128 tokens.*ZeroDivisionError"):
        check(model)


@pytest.mark.parametrize("training", [True, False])
def test_leaves_the_model_as_it_was(check, training):
    model = make_model("big_bird", **OTHERS["big_bird"]).train(training)
    check(model)
    assert {module.training for module in model.modules()} == {training}
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(weight.grad is None for weight in model.parameters())
    assert model.base_model.attention_type == "block_sparse"  # a row shorter than max_seq_len would change it for good


def test_does_not_move_the_random_states(check):
    model = make_model("bert")
    drawn = []
    model.bert.register_forward_pre_hook(lambda *_: drawn.append((torch.rand(1).item(), np.random.rand(), random.random())))
    for _ in range(2):
        check(model)
    half = len(drawn) // 2
    assert half > 4  # a long row, short ones alone and together
    assert drawn[:half] == drawn[half:]


# -- short rows, batches and pairs ---------------------------------------------------------------------------------------------

HEADS = {
    "nsmc": AutoModelForSequenceClassification,
    "paws": AutoModelForSequenceClassification,
    "naver-ner": AutoModelForTokenClassification,
    "korquad": AutoModelForQuestionAnswering,
}


@pytest.mark.parametrize("task", HEADS)
@pytest.mark.parametrize("length", [8, 9, 24, 25, 64])
def test_accepts_every_head_and_length(check, task, length):
    check(make_model("bert", HEADS[task], max_position_embeddings=64), length, task, doc_stride=1, max_query_length=2)


@pytest.mark.parametrize("task", HEADS)
def test_rejects_an_encoder_that_does_not_mask_padding(check, task):
    """FNet mixes all tokens, those of padding, too. It can be used if all rows have the same padding."""
    fnet = make_model("fnet", HEADS[task], pad_token_id=0, max_position_embeddings=128)
    with pytest.raises(ModelError, match=r"padding.*--padding max_length"):
        check(fnet, 128, task, doc_stride=1)
    check(fnet, 128, task, doc_stride=1, padding="max_length")


def test_rejects_an_encoder_whose_attention_is_an_approximation_that_depends_on_padding(check):
    with pytest.raises(ModelError, match="padding"):
        check(make_model("nystromformer", pad_token_id=0))


def test_rejects_a_head_that_averages_over_padding(check):
    """The encoder alone is right."""
    model = make_model("bert")
    forward = model.forward

    class Average(torch.nn.Module):
        def forward(self, pooled):
            return pooled[..., 0].mean(dim=1, keepdim=True)

    model.bert.pooler = torch.nn.Identity()
    model.classifier = Average()
    assert forward(input_ids=torch.tensor([[2, 5, 3]])).logits.shape == (1, 1)
    with pytest.raises(ModelError, match="padding"):
        check(model)


def test_rejects_a_model_that_only_takes_rows_of_some_lengths(check):
    with pytest.raises(ModelError, match=r"row of 3 tokens.*config\.json.*chunk size"):
        check(make_model("bert", chunk_size_feed_forward=64), 128)


@pytest.mark.parametrize("padding", [-1, 40, 41])
def test_rejects_an_id_of_padding_without_an_embedding(check, padding):
    model = make_model("bert")
    model.config.pad_token_id = padding
    with pytest.raises(ModelError, match=rf'"pad_token_id" in config\.json is {padding}, .*0 to 39.*: 0\.'):
        check(model)


def test_rejects_segments_without_an_embedding(check):
    """Only if the task has a second text, and the model takes segments at all."""
    bert = make_model("bert")
    check(bert, task="nsmc", second=2)
    with pytest.raises(ModelError, match=r'segments up to 2, the model only 2 .*"type_vocab_size"'):
        check(bert, task="paws", second=2)
    check(make_model("distilbert", **DISTIL), task="paws", second=2)
    check(make_model("bert", type_vocab_size=3), task="paws", second=2)


@pytest.mark.parametrize("model_type", ["bert", "big_bird"])
def test_the_weights_stay_where_they_are(check, model_type):
    model = make_model(model_type, **OTHERS[model_type])
    before = {name: (weight.data_ptr(), weight.clone()) for name, weight in model.named_parameters()}
    check(model)
    assert all(
        weight.data_ptr() == before[name][0] and weight.equal(before[name][1]) for name, weight in model.named_parameters()
    )
