"""Parameter groups by depth for every family of encoders, and the courses of the learning rate."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification, ElectraConfig, ElectraModel

from src.common.errors import ModelError
from src.model.layers import depths_below_head
from src.model.unpadding.unpad import LAST_MODULE
from src.settings.schema import Settings
from src.training.optimizer import SCHEDULES, make_optimizer, make_schedule
from tests.src.encoders import tiny
from tests.src.helpers import DEFAULTS, small_model, train_small


def names_of(model, group):
    names = {id(weight): name for name, weight in model.named_parameters()}
    return [names[id(weight)] for weight in group["params"]]


def test_biases_and_norms_have_no_weight_decay(settings):
    model = small_model()
    for changes in ({}, {"layer_decay": 0.5}):
        optimizer = make_optimizer(model, settings(weight_decay=0.1, **changes))
        decays = {name: group["weight_decay"] for group in optimizer.param_groups for name in names_of(model, group)}
        assert len(decays) == len(list(model.parameters()))
        for name, decay in decays.items():
            assert decay == (0.0 if "LayerNorm" in name or name.endswith("bias") else 0.1), name


def test_without_layer_decay_there_are_two_groups_in_the_order_of_the_model():
    """The optimizer of all runs so far: their states resume, and their numbers stay."""
    model = small_model()
    groups = make_optimizer(model, DEFAULTS).param_groups
    weights = dict(model.named_parameters())
    assert [names_of(model, group) for group in groups] == [
        [name for name in weights if weights[name].ndim > 1],
        [name for name in weights if weights[name].ndim == 1],
    ]
    assert {group["lr"] for group in groups} == {5e-5}


# model_type -> the depth of some weights in a tiny model of two layers: 3 is below both, 0 is the head.
DEPTHS = {
    "bert": {"bert.embeddings.LayerNorm.weight": 3, "bert.encoder.layer.0.output.dense.bias": 2, "bert.pooler.dense.weight": 0},
    "electra": {"electra.embeddings_project.weight": 3, "electra.encoder.layer.1.output.dense.weight": 1},
    "roberta": {"roberta.embeddings.position_embeddings.weight": 3, "classifier.dense.weight": 0},
    "xlm-roberta": {"roberta.embeddings.word_embeddings.weight": 3, "roberta.encoder.layer.0.output.dense.weight": 2},
    # Its layers share their weights, and are one.
    "albert": {
        "albert.embeddings.word_embeddings.weight": 2,
        "albert.encoder.embedding_hidden_mapping_in.weight": 2,
        "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight": 1,
        "albert.pooler.weight": 0,
    },
    "distilbert": {"distilbert.transformer.layer.0.ffn.lin1.weight": 2, "pre_classifier.weight": 0},
    # It has three layers.
    "modernbert": {
        "model.embeddings.tok_embeddings.weight": 4,
        "model.layers.0.mlp.Wi.weight": 3,
        "model.layers.2.mlp.Wi.weight": 1,
        "model.final_norm.weight": 0,
        "head.dense.weight": 0,
    },
    "deberta-v2": {"deberta.encoder.rel_embeddings.weight": 3, "deberta.encoder.layer.1.output.dense.weight": 1},
}


@pytest.mark.filterwarnings("ignore:.*token_id must be")
@pytest.mark.parametrize("auto_class", [AutoModelForSequenceClassification, AutoModelForQuestionAnswering])
@pytest.mark.parametrize("model_type", LAST_MODULE)
def test_every_weight_is_in_one_group_with_the_rate_of_its_layer(model_type, auto_class, settings):
    model = tiny(model_type, auto_class)
    groups = make_optimizer(model, settings(learning_rate=1.0, layer_decay=0.5)).param_groups
    rates = {name: group["lr"] for group in groups for name in names_of(model, group)}
    assert sorted(name for group in groups for name in names_of(model, group)) == sorted(dict(model.named_parameters()))
    assert groups[0]["lr"] == 1.0  # the rate that is logged
    known = {name: depth for name, depth in DEPTHS[model_type].items() if name in rates}
    assert len(known) > 1 or auto_class is AutoModelForQuestionAnswering
    assert {name: rates[name] for name in known} == {name: 0.5**depth for name, depth in known.items()}
    lowest = min(rates.values())
    assert all((rates[name] == lowest) == (".embeddings" in name or "rel_embeddings" in name or "mapping_in" in name
               or name == "deberta.encoder.LayerNorm.weight") for name in rates)  # fmt: skip
    assert {name for name in rates if not name.startswith(f"{model.base_model_prefix}.")} <= {
        name for name, rate in rates.items() if rate == 1.0
    }


def test_groups_of_shared_layers_are_layers():
    """An ALBERT of six layers in two groups, the second of which has layers of its own; each group has two lists of modules."""
    model = tiny("albert", AutoModelForSequenceClassification, num_hidden_layers=6, num_hidden_groups=2, inner_group_num=3)
    depths = depths_below_head(model)
    assert {name.split(".")[3]: depth for name, depth in depths.items() if "albert_layer_groups" in name} == {"0": 2, "1": 1}
    assert depths["albert.embeddings.LayerNorm.bias"] == 3


def test_an_encoder_that_is_no_part_of_another_model():
    config = ElectraConfig(vocab_size=9, embedding_size=4, hidden_size=4, num_hidden_layers=3, num_attention_heads=1)
    depths = depths_below_head(ElectraModel(config))
    assert (depths["embeddings.LayerNorm.bias"], depths["encoder.layer.2.output.dense.bias"]) == (4, 1)


def test_a_model_whose_layers_are_in_no_list():
    encoder = torch.nn.Sequential(torch.nn.Embedding(3, 2), torch.nn.Linear(2, 2))
    encoder.base_model, encoder.base_model_prefix = encoder, ""
    encoder.config = SimpleNamespace(model_type="chain")
    with pytest.raises(ModelError, match=r"chain.*--layer_decay 1"):
        depths_below_head(encoder)


def test_a_first_update_is_as_large_as_the_rate_of_the_layer(settings):
    """AdamW's first update changes each weight with a gradient by its learning rate."""
    _, model = train_small(settings, max_steps=1, layer_decay=0.5, lr_scheduler="constant", rows=4)
    before = dict(small_model().named_parameters())
    change = {name: (weight - before[name]).abs().max().item() for name, weight in model.named_parameters()}
    for part, expected in {"classifier": 0.01, "layer.1": 0.005, "layer.0": 0.0025, "electra.embeddings": 0.00125}.items():
        largest = max(value for name, value in change.items() if part in name)
        assert largest == pytest.approx(expected, rel=1e-3), part


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", [0, 0.5, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0, 0.5, 1, 0.8535534, 0.5, 0.1464466]),  # (1 + cos(pi * share)) / 2
        ("constant", [0, 0.5, 1, 1, 1, 1]),
    ],
)
def test_schedules_with_warmup_scale_the_rates_of_all_layers(settings, name, expected):
    chosen = settings(learning_rate=1.0, layer_decay=0.5, lr_scheduler=name, warmup_proportion=0.34)
    optimizer = make_optimizer(small_model(), chosen)
    schedule, rates = make_schedule(optimizer, chosen, 6), []
    for _ in expected:
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert [head for head, *_ in rates] == pytest.approx(expected)
    assert [embeddings for *_, embeddings in rates] == pytest.approx([rate / 8 for rate in expected])


def test_there_is_a_schedule_for_every_value():
    assert SCHEDULES.keys() == set(Settings.model_fields["lr_scheduler"].annotation.__args__)
