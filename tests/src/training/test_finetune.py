import gc
import json
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from transformers import ElectraConfig, RobertaConfig, RobertaForSequenceClassification

from processor.definition import TASKS
from src.common.errors import EnvironmentFailure, ModelError
from src.model.heads import HEADS
from src.runs.status import find_run
from src.training import finetune
from src.training.evaluate import predict
from src.training.finetune import Components, load_checkpoint, prepare, score_checkpoints, train_and_score, wrap_model
from src.training.order import epoch_order
from src.training.scorer import Scorer
from tests.families import make_family
from tests.src.encoders import batch, run_unpadded
from tests.src.helpers import CPU, DEFAULTS, RandomSplit, Tokenizer, limited_model, log_of, small_model, task_model, train_small
from tests.src.run_folders import NO_DEV, end_process

TASK = TASKS["nsmc"]


@pytest.fixture
def saved_models(monkeypatch):
    """Load checkpoints of the small model, whose vocabulary fits no tokenizer, without the checks of src.model.load."""

    def load(checkpoint, kind, settings):
        return type(small_model()).from_pretrained(checkpoint)

    monkeypatch.setattr(finetune, "load_checkpoint_model", load)


def test_wraps_a_model_with_its_own_pad_id_and_segments_if_it_has_them():
    accelerator = Accelerator(cpu=True)
    electra = wrap_model(small_model(), DEFAULTS, TASKS["paws"], accelerator)
    assert (electra.collate.pad_token_id, electra.collate.segments) == (ElectraConfig().pad_token_id, True)
    shape = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    roberta = wrap_model(
        RobertaForSequenceClassification(RobertaConfig(type_vocab_size=1, **shape)), DEFAULTS, TASKS["korsts"], accelerator
    )
    assert (roberta.collate.pad_token_id, roberta.collate.segments) == (1, False)  # its positions depend on the pad id
    assert (electra.head, roberta.head) == (HEADS["classification"], HEADS["regression"])
    assert roberta.collate.device == CPU


@pytest.mark.parametrize(("kind", "labels"), [("classification", "rows"), ("tagging", "tokens"), ("span", "spans")])
def test_the_head_decides_how_labels_are_laid_out(kind, labels):
    wrapped = wrap_model(small_model(), DEFAULTS, SimpleNamespace(kind=kind), Accelerator(cpu=True))
    assert wrapped.collate.labels == labels


@pytest.mark.parametrize(
    ("kind", "padding", "expected"),
    [(kind, "none", (4, 1) if HEADS[kind].labels == "rows" else (1, 16)) for kind in HEADS]
    + [("classification", "longest", (4, 7))],
)
def test_the_last_layer_is_short_if_rows_have_one_label_and_no_padding(kind, padding, expected):
    settings = DEFAULTS.model_copy(update={"padding": padding})
    model = wrap_model(small_model(), settings, SimpleNamespace(kind=kind), Accelerator(cpu=True)).model
    shapes = []
    model.electra.encoder.layer[-1].register_forward_hook(lambda layer, inputs, output: shapes.append(output.shape[:-1]))
    run_unpadded(model, batch(3, 7, 1, 5))
    assert shapes == [expected]


def test_prepares_a_tokenizer_and_a_model_only_if_there_is_something_to_train(settings):
    run = find_run(settings(), TASKS["nsmc"], {})
    components = prepare(run, TASK)
    assert components.model is not None
    folder = run.checkpoint_folder(1)
    components.model.save_pretrained(folder)
    components.tokenizer.save_pretrained(folder)
    run.state = "score"
    components = prepare(run, TASK)
    assert components.model is None
    assert components.tokenizer.name_or_path == str(folder)


def test_looks_at_the_model_before_it_trains(settings, tmp_path):
    given = make_family("roberta", tmp_path / "model") | {"max_seq_len": 513}  # config.json has 514 positions, two of no use
    with pytest.raises(ModelError, match="--max_seq_len 512 "):
        prepare(find_run(settings(**given), TASKS["nsmc"], {}), TASK)
    assert prepare(find_run(settings(**given | {"max_seq_len": 512}), TASKS["nsmc"], {}), TASK).model is not None


def test_loads_a_checkpoint_that_predicts_as_before(settings):
    components = prepare(find_run(settings(), TASKS["nsmc"], {}), TASK)
    folder = settings().run_folder / "checkpoint-1"
    components.model.save_pretrained(folder)
    components.tokenizer.save_pretrained(folder)
    elsewhere = settings(mixed_precision="fp16", torch_compile=True)  # as trained on a GPU
    tokenizer, loaded = load_checkpoint(elsewhere, TASK, folder)
    assert tokenizer.get_vocab() == components.tokenizer.get_vocab()
    split = RandomSplit(5)
    logits, _ = predict(loaded, split.features, 100)
    expected, _ = predict(wrap_model(components.model, settings(), TASK, Accelerator(cpu=True)), split.features, 100)
    assert (logits == expected).all()


def test_scores_unscored_checkpoints_then_prunes(settings, saved_models):
    run, model = train_small(settings, do_eval=False, max_steps=6, save_steps=2, logging_steps=100)
    assert run.checkpoints() == [2, 4, 6]  # none is scored yet
    run.history.scores = {4: {"test": {"acc": 2.0}}}
    test = RandomSplit(8, "test")
    score_checkpoints(TASK, Accelerator(cpu=True), Scorer(run, {"test": test}, 40))
    assert sorted(run.history.scores) == [2, 4, 6]
    assert run.history.scores[4]["test"] == {"acc": 2.0}
    expected, loss = predict(task_model(model), test.features, 40)
    assert run.history.scores[6]["test"] == {**test.score(expected), "loss": loss}
    assert run.checkpoints() == [4, 6]


def test_keeps_checkpoints_of_an_unfinished_training(settings, saved_models, caplog):
    run, _ = train_small(settings, do_eval=False, max_steps=6, save_steps=2, logging_steps=100)
    run.state = "score"
    score_checkpoints(TASK, Accelerator(cpu=True), Scorer(run, {"test": RandomSplit(8, "test")}, 40))
    assert run.checkpoints() == [2, 4, 6]  # a training that resumes decides
    assert f"{run.folder}: training is not finished" in caplog.text


def train_and_score_small(settings, model, **changes):
    """Train `model` on five updates and score its checkpoint as a separate stage; return the run."""
    base = {"train_batch_size": 4, "max_steps": 5, "eval_all_checkpoints": False, "logging_steps": 100}
    run = find_run(settings(**base | changes), TASKS["nsmc"], NO_DEV)
    components = Components(Accelerator(cpu=True), Tokenizer(), model)
    del model
    try:
        train_and_score(run, TASK, components, {"train": RandomSplit(20), "test": RandomSplit(8, "test")})
    finally:
        end_process(run)
    return run


def test_frees_the_trained_model_before_checkpoints_are_scored(settings, monkeypatch, saved_models):
    models, load = [small_model()], finetune.load_checkpoint_model
    trained, freed = weakref.ref(models[0]), []

    def load_and_look(*arguments):
        gc.collect()
        freed.append(trained() is None)
        return load(*arguments)

    monkeypatch.setattr(finetune, "load_checkpoint_model", load_and_look)
    run = train_and_score_small(settings, models.pop())
    assert freed == [True]
    assert run.history.has(5, "test")
    assert find_run(run.settings, TASKS["nsmc"], NO_DEV).complete


def test_records_the_weights_of_labels_and_trains_with_them(settings, saved_models, tmp_path):
    (tmp_path / "weights.json").write_text('{"0": 10, "1": 10}')
    runs = [
        train_and_score_small(settings, small_model(), output_dir=Path(value).stem, class_weights=value, log_every=1)
        for value in ("none", "balanced", str(tmp_path / "weights.json"))
    ]
    plain, balanced, given = [json.loads((run.folder / "settings.json").read_text()).get("class_weights") for run in runs]
    assert (plain, balanced, given) == (None, {"0": 1.0, "1": 1.0}, {"0": 10.0, "1": 10.0})  # 10 of 20 rows have either
    plain, balanced, given = [log_of(run)[0]["loss"] for run in runs]
    assert (balanced, given) == (pytest.approx(plain), pytest.approx(10 * plain))
    plain, _, given = [run.history.scores[5]["test"]["loss"] for run in runs]
    assert given < 2 * plain  # the loss in evaluation is not weighted


def loss_by_torch(model, split, rows, smoothing):
    batch = task_model(model).collate(split.features, rows)
    return torch.nn.functional.cross_entropy(model(**batch.inputs).logits, batch.labels, label_smoothing=smoothing).item()


def test_smooths_labels_in_training_only(settings, saved_models):
    def confident_model():
        model = small_model()
        model.classifier.out_proj.weight.data *= 1000
        return model

    run = train_and_score_small(settings, confident_model(), label_smoothing=0.5, log_every=1)
    losses = [loss_by_torch(confident_model(), RandomSplit(20), epoch_order(20, 42, 0)[:4], share) for share in (0.0, 0.5)]
    assert losses[0] != pytest.approx(losses[1], rel=0.01)
    assert log_of(run)[0]["loss"] == pytest.approx(losses[1], rel=1e-4)
    trained = small_model().eval()
    trained.load_state_dict(load_file(run.checkpoint_folder(5) / "model.safetensors"))
    losses = [loss_by_torch(trained, RandomSplit(8, "test"), np.arange(8), share) for share in (0.0, 0.5)]
    assert losses[0] != pytest.approx(losses[1], rel=0.01)
    assert run.history.scores[5]["test"]["loss"] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize(("task", "expected"), [("nsmc", 0.1), ("korsts", 0.0), ("naver-ner", 0.0), ("korquad", 0.0)])
def test_smoothing_is_for_kinds_that_use_it(settings, task, expected):
    chosen = settings(task, label_smoothing=0.1)
    assert wrap_model(small_model(), chosen, TASKS[task], Accelerator(cpu=True)).smoothing == expected


def test_a_full_memory_ends_the_run_with_advice(settings):
    with pytest.raises(EnvironmentFailure, match=r"--train_batch_size.*--gradient_accumulation_steps.*CUDA out of memory"):
        train_and_score_small(settings, limited_model(0)[0])
