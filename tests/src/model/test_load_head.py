"""The head of a model's files: replaced by a new one, unless it is asked for."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from src.common.errors import ModelError
from src.model.load import new_model
from tests.families import change

SHAPE = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
LABELS = {"0": "negative", "1": "positive"}


def save(folder, model_type, auto_class, labels=None):
    """Save a model whose weights are all ones, so that drawn ones can be told apart."""
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: n for n, label in enumerate(labels)}} if labels else {}
    model = auto_class.from_config(AutoConfig.for_model(model_type, **SHAPE, pad_token_id=0, **names))
    for weight in model.parameters():
        weight.data.fill_(1.0)
    model.save_pretrained(folder)


@pytest.fixture
def load(settings, tmp_path):
    """load() returns the head's weights and those of the encoder, loaded with seed 7."""

    def load_from(folder, labels=LABELS, **changes):
        torch.manual_seed(7)
        chosen = settings(model_name_or_path=folder, from_scratch=False, **changes)
        model = new_model(chosen, "classification", labels)
        encoder = {id(weight) for weight in model.base_model.parameters()}
        head = {name: weight for name, weight in model.named_parameters() if id(weight) not in encoder}
        return head, list(model.base_model.parameters())

    return load_from


@pytest.mark.parametrize("model_type", ["bert", "electra", "roberta", "distilbert"])
@pytest.mark.parametrize("outputs", [2, 3])
def test_a_new_head_is_that_of_an_encoder_without_one(load, tmp_path, caplog, model_type, outputs):
    """Whatever the number of the old one's outputs: a part of it may fit."""
    save(tmp_path / "plain", model_type, AutoModel)
    save(tmp_path / "tuned", model_type, AutoModelForSequenceClassification, [f"label {n}" for n in range(outputs)])
    expected, _ = load(tmp_path / "plain")
    caplog.clear()
    with caplog.at_level("INFO"):
        head, encoder = load(tmp_path / "tuned")
    assert head.keys() == expected.keys() and len(head) in (2, 4)
    assert all(torch.equal(weight, expected[name]) for name, weight in head.items())
    assert all((weight == 1).all() for weight in encoder)
    assert not any((weight == 1).any() for weight in head.values())
    assert "its head is replaced by a new one (--keep_head" in caplog.text


def test_a_head_is_kept_if_it_is_asked_for(load, tmp_path, caplog):
    save(tmp_path, "bert", AutoModelForSequenceClassification, ["negative", "positive"])
    with caplog.at_level("INFO"):
        head, _ = load(tmp_path, keep_head=True)
    assert all((weight == 1).all() for weight in head.values())
    assert "is kept (--keep_head): classifier.weight, classifier.bias" in caplog.text
    load(tmp_path, {"negative": "neg", "positive": "pos"}, keep_head=True)  # as the file names them


@pytest.mark.parametrize("labels", [["positive", "negative"], ["good", "bad"], ["a", "b", "c"]])
def test_a_head_with_other_labels_is_not_kept(load, tmp_path, labels):
    save(tmp_path, "bert", AutoModelForSequenceClassification, labels)
    with pytest.raises(ModelError, match=rf"keep_head.*{labels[0]}.*negative"):
        load(tmp_path, keep_head=True)


def test_outputs_without_names_are_taken_as_they_come(load, tmp_path, caplog):
    save(tmp_path, "bert", AutoModelForSequenceClassification)
    head, _ = load(tmp_path, keep_head=True)
    assert all((weight == 1).all() for weight in head.values())
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_there_must_be_a_head_to_keep(load, tmp_path):
    save(tmp_path, "bert", AutoModel)
    change(tmp_path, "config.json", id2label={"0": "negative", "1": "positive"})
    with pytest.raises(ModelError, match=r"no head for this task: classifier\.bias"):
        load(tmp_path, keep_head=True)


def test_a_part_of_a_head_that_comes_from_pretraining_stays(load, tmp_path, caplog):
    """As in ModernBERT, whose masked language model has the first layer of the head."""
    save(tmp_path, "modernbert", AutoModelForMaskedLM)
    head, _ = load(tmp_path)
    assert {name for name, weight in head.items() if (weight == 1).all()} == {"head.dense.weight", "head.norm.weight"}
    assert not (head["classifier.weight"] == 1).any()
    assert "keep_head" not in caplog.text
