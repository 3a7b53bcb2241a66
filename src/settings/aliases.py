"""Other names of settings, and flags of Hugging Face's Trainer and example scripts: what they mean here."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from src.common.errors import MAX_PROBLEMS_SHOWN, MAX_QUOTED, MAX_REASON, ConfigError, did_you_mean, quote_json, shorten

# Name of the original or of Hugging Face -> the setting with exactly the same meaning.
ALIASES = {
    "max_seq_length": "max_seq_len",
    "predict_file": "test_file",
    "evaluate_during_training": "evaluate_test_during_training",
    "per_device_train_batch_size": "train_batch_size",
    "per_device_eval_batch_size": "eval_batch_size",
    "warmup_ratio": "warmup_proportion",
}

# The two switches that stand for a value of mixed_precision, named like it. If neither is true, it is "no".
PRECISIONS = ("bf16", "fp16")

# Flags of Hugging Face that have no alias because nothing here means exactly the same -> what to do instead.
INSTEAD = {
    "adafactor": "there is none; the optimizer is AdamW",
    "auto_find_batch_size": "a batch that does not fit into memory is always split",
    "batch_size": "use --train_batch_size and --eval_batch_size or, in predict.py, --batch_tokens",
    "cache_dir": "set the environment variable HF_HOME",
    "cpu": "use --no_cuda",
    "cuda": "a GPU is used if there is one; CUDA_VISIBLE_DEVICES chooses it",
    "data_seed": "use --seed, which also orders the rows",
    "dataloader_num_workers": "there is none; features are in memory",
    "dataset_name": "use --train_file with a local file",
    "device": "use --no_cuda for the CPU; CUDA_VISIBLE_DEVICES or, in run_benchmark.py, --devices chooses GPUs",
    "do_predict": "use --do_eval, which is on by default: test is scored and predictions are written to test/",
    "epochs": "use --num_train_epochs",
    "eval_steps": "use --logging_steps, the updates between two scorings",
    "eval_strategy": "use --logging_steps, the updates between two scorings",
    "evaluation_strategy": "use --logging_steps, the updates between two scorings",
    "gpu": "a GPU is used if there is one; CUDA_VISIBLE_DEVICES or, in run_benchmark.py, --devices chooses it",
    "gpus": "start a run with torchrun to use several; CUDA_VISIBLE_DEVICES or, in run_benchmark.py, --devices chooses them",
    "gradient_checkpointing": "there is none; a batch that does not fit into memory is split",
    "greater_is_better": "it follows from the task's metric",
    "group_by_length": "use --batching bucketed",
    "hub_model_id": "there is none; upload a checkpoint with share.py",
    "label_column_name": "use --label_column",
    "label_smoothing_factor": "use --label_smoothing, which leaves the losses in evaluation as they are",
    "load_best_model_at_end": "the best checkpoint on dev is always kept, as `selected` in eval_results.json",
    "logging_dir": "there is none; --report_to tensorboard writes into the run's folder",
    "logging_strategy": "use --log_every, the updates between two lines of log.jsonl",
    "lr": "use --learning_rate",
    "lr_scheduler_type": "use --lr_scheduler, which is linear, cosine or constant, with warm-up",
    "max_eval_samples": "there is none; name a shorter file with --dev_file or --test_file",
    "max_predict_samples": "there is none; name a shorter file with --test_file",
    "metric_for_best_model": "use --metric; its headline score selects the checkpoint",
    "metric_name": "use --metric",
    "n_gpu": "start a run with torchrun to use several GPUs; run_benchmark.py uses all, or those of --devices",
    "num_gpus": "start a run with torchrun to use several; run_benchmark.py uses all, or those of --devices",
    "num_labels": "labels come from the task's definition or its training file",
    "num_workers": "there is none; features are in memory",
    "optim": "there is none; the optimizer is AdamW",
    "pad_to_max_length": "use --padding max_length",
    "per_gpu_eval_batch_size": "use --eval_batch_size",
    "per_gpu_train_batch_size": "use --train_batch_size",
    "preprocessing_num_workers": "there is none; the tokenizer uses all cores",
    "push_to_hub": "there is none; upload a checkpoint with share.py",
    "resume_from_checkpoint": "the same command resumes an interrupted run; --resume false starts over",
    "save_strategy": "use --save_steps, the updates between two checkpoints",
    "sentence1_key": "use --text_column",
    "sentence2_key": "use --text_pair_column",
    "task_name": "use --task",
    "text_column_name": "use --text_column",
    "text_column_names": "use --text_column and --text_pair_column",
    "tokenizer_name": "there is none; the tokenizer is in the model's folder",
    "use_cpu": "use --no_cuda",
    "validation_file": "use --dev_file, which selects checkpoints; --test_file is scored",
    "warmup_steps": "use --warmup_proportion, a share of the updates",
}


def advise(name: str, names: Iterable[str], prefix: str = "") -> str:
    """Return what to write instead of an unknown setting, as the end of a sentence.

    names: those that may be meant; prefix: what stands before a name, `--` on a command line.
    """
    if name in INSTEAD:
        return f": {INSTEAD[name]}."
    return f".{did_you_mean(prefix + name, [prefix + other for other in names])}"


def refuse_unknown(arguments: Sequence[str], names: Iterable[str]) -> None:
    """Raise ConfigError if a command without settings got arguments that it does not know. names: those of its flags."""
    if not arguments:
        return
    flags = [word.removeprefix("--").split("=")[0] for word in arguments if word.startswith("--")]
    known = [*names]
    advice = [f"--{shorten(flag, MAX_QUOTED)}{advise(flag, known, '--')}" for flag in flags[:MAX_PROBLEMS_SHOWN]]
    shown = " ".join(advice) if advice else f"{' '.join(arguments)}."
    raise ConfigError(f"unrecognized arguments: {shorten(shown, MAX_REASON)} See --help.")


def replace_switches(layer: Mapping[str, Any], source: str, from_string: bool, problems: list[str]) -> dict[str, Any]:
    """Return the settings of a layer with `mixed_precision` in place of `bf16` and `fp16`.

    A switch that is false only excludes its own precision: `bf16` false beside `fp16` true is fp16.
    """
    settings = {name: value for name, value in layer.items() if name not in PRECISIONS}
    switches = {name: layer[name] for name in PRECISIONS if name in layer}
    if not switches:
        return settings
    given = ", ".join(f"{name} = {quote_json(value)}" for name, value in switches.items())
    adapter = TypeAdapter(bool)
    validate = adapter.validate_strings if from_string else lambda value: adapter.validate_python(value, strict=True)
    try:
        on = [name for name, value in switches.items() if validate(value)]
    except ValidationError:
        problems.append(f"{source}: {given}: should be true or false")
        return settings
    precision = on[0] if on else "no"
    if len(on) > 1:
        problems.append(f"{source}: {given}: choose one of them")
    elif settings.setdefault("mixed_precision", precision) != precision:
        problems.append(f"{source}: {given}: conflicts with mixed_precision = {quote_json(settings['mixed_precision'])}")
    return settings
