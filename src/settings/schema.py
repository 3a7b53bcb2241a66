"""The schema of the settings: each one's type, default, limits, meaning, and which results depend on it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

# What depends on the value of a setting:
#   training  the trained weights, or the steps at which they are scored and saved: an interrupted run cannot be resumed with
#             another value, but its checkpoints can be scored
#   scores    training, and also the scores of a given checkpoint: checkpoints cannot be scored with another value either
#   outputs   only how answers are derived from a model's outputs: a finished run is scored again with the new value
#   choice    no score, but which scores the best on test is chosen from
#   nothing   no result
Affects = Literal["training", "scores", "outputs", "choice", "nothing"]

# What a setting says:
#   run     which run it is, and where its files are; a task's file has none of them
#   model   what model_name_or_path is; a layer that names another model resets them
#   trust   that the user accepts a risk; an error in a file
#   plan    what is trained and scored, and when
#   how     how something is computed, not what
#   method  how a model is trained and used: what a search may vary, if the scores depend on it
Role = Literal["run", "model", "trust", "plan", "how", "method"]

COMMAND_LINE, DEFAULT, DERIVED = "command line", "default", "derived"  # where a value comes from, if not from a file
DATA_FILES = {"train": "train_file", "dev": "dev_file", "test": "test_file"}  # split -> the setting that names its file
NO_WEIGHTS, BALANCED_WEIGHTS = "none", "balanced"  # values of class_weights that are not the name of a file
NO_TRACKER = "none"  # of report_to


def _setting(affects: Affects, default: Any, help: str, role: Role = "method", **more: Any) -> Any:
    """Return a pydantic field, which is required if its default is `...`.

    more: `kinds`, the kinds of task that use it, if not all; `of_kind`, kind -> another default; and pydantic's limits.
    """
    columns = {"affects": affects, "role": role, "kinds": more.pop("kinds", ()), "of_kind": more.pop("of_kind", {})}
    return Field(default, description=help, json_schema_extra=columns, **more)


_run, _model, _trust, _plan, _how = (partial(_setting, role=role) for role in get_args(Role)[:-1])


class Settings(BaseModel):
    """The effective settings of one run. Immutable; `layer_of` returns where a value comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    # What to run
    task: str = _run("scores", ..., "task to run: its name, or the path of its file (.json)")
    config_file: str = _run("nothing", "koelectra-base-v3.json", "the model's file in config_dir")
    config_dir: str = _run("nothing", "config", "folder of the config files")
    tuned_file: str = _run("nothing", "", "file with the result of a search, see run_benchmark.py tune; empty: none")

    # Model
    model_name_or_path: str = _run("training", ..., "hub id or local folder of the encoder", min_length=1)
    revision: str | None = _model("training", None, "branch, tag or commit of the hub id")
    from_scratch: bool = _model("training", False, "start from random weights; needs a folder with config.json and vocabulary")
    keep_head: bool = _model("training", False, "start from the head in the model's files; false: from a new one, drawn by seed")
    model_type: str = _run("nothing", "", "name of the model, only recorded")
    tokenizer: Literal["kobert", "hanbert"] | None = _model("training", None, "tokenizer, if the model's files do not define it")
    trust_native_code: bool = _trust("nothing", False, "load HanBERT's native library; only on the command line")
    trust_remote_code: bool = _trust("nothing", False, "run the model's Python code; only on the command line")
    do_lower_case: bool | None = _model("training", None, "lower-case the text; null: as defined by the tokenizer's files")

    # Data
    data_dir: str = _run("nothing", "data", "folder with one data folder per task")
    train_file: str = _plan("training", "", "training file in <data_dir>/<task>; on the command line also any path")
    dev_file: str = _plan("scores", "", "development file, likewise; empty: none")
    dev_ratio: float = _plan(
        "scores", 0.0, "share of train (less test_ratio) to hold out as dev, if there is no dev_file", ge=0, lt=1
    )
    test_file: str = _plan("scores", "", "test file, likewise (alias: predict_file)")
    test_ratio: float = _plan("scores", 0.0, "share of train to hold out as test, if there is no test_file", ge=0, lt=1)
    download: bool = _setting("nothing", True, "download missing published files, if data_dir is the default")
    data_url: str | None = _setting("nothing", None, "address or folder to download from, instead of the original repository")
    feature_cache_dir: str = _run("nothing", "data/cache", "folder of the cached features")
    max_seq_len: int = _setting(
        "scores",
        128,
        "maximum tokens of an input, special ones included; default for span tasks: 512 (alias: max_seq_length)",
        ge=8,
        of_kind={"span": 512},  # a window of 128 tokens has no room for doc_stride
    )
    doc_stride: int = _setting("scores", 128, "step between the windows over a context, in tokens", gt=0, kinds=("span",))
    max_query_length: int = _setting("scores", 64, "maximum length of a question, in tokens", gt=0, kinds=("span",))
    max_answer_length: int = _setting("outputs", 30, "maximum length of an answer, in tokens", gt=0, kinds=("span",))
    n_best_size: int = _setting("outputs", 20, "number of candidate answers per window", gt=0, kinds=("span",))
    answer_text: Literal["offsets", "legacy"] = _how(
        "outputs",
        "offsets",
        "offsets: cut answers from the context; legacy: join word pieces, as for published scores",
        kinds=("span",),
    )
    version_2_with_negative: bool = _plan("scores", False, "questions may have no answer, as in SQuAD 2", kinds=("span",))
    null_score_diff_threshold: float = _setting("outputs", 0.0, "margin by which no answer must beat an answer", kinds=("span",))
    strict_data: bool = _plan(
        "scores", True, "stop at duplicate ids and wrong answer positions; false: log them", kinds=("span",)
    )

    # Training
    do_train: bool = _setting("nothing", True, "fine-tune the model")
    max_train_samples: int = _setting(
        "training", 0, "train on so many rows or questions, drawn by seed from what is not held out; 0: all", ge=0
    )
    train_batch_size: int = _setting("training", 32, "rows per batch", gt=0)
    padding: Literal["none", "longest", "max_length"] = _how(
        "training", "none", "none: process real tokens only; longest: pad to the longest row of the batch"
    )
    batching: Literal["shuffled", "bucketed"] = _setting(
        "training", "shuffled", "bucketed: batch rows of similar length together, in as many batches of the same size"
    )
    gradient_accumulation_steps: int = _setting("training", 1, "batches per update", gt=0)
    num_train_epochs: float = _setting("training", 10, "passes over the training file", gt=0, allow_inf_nan=False)
    max_steps: int = _setting("training", -1, "number of updates; -1: from num_train_epochs", ge=-1)
    learning_rate: float = _setting("training", 5e-5, "peak learning rate", gt=0, allow_inf_nan=False)
    lr_scheduler: Literal["linear", "cosine", "constant"] = _setting(
        "training", "linear", "course of the learning rate after its warm-up: falls to 0, or stays constant"
    )
    warmup_proportion: float = _setting("training", 0.0, "share of the updates with a rising learning rate", ge=0, le=1)
    layer_decay: float = _setting(
        "training", 1.0, "factor of the learning rate from each layer to the one below; embeddings are the lowest", gt=0, le=1
    )
    weight_decay: float = _setting("training", 0.0, "weight decay, except for biases and norms", ge=0, allow_inf_nan=False)
    adam_epsilon: float = _setting("training", 1e-8, "epsilon of AdamW", gt=0, allow_inf_nan=False)
    max_grad_norm: float = _setting("training", 1.0, "norm at which gradients are clipped", gt=0)
    class_weights: str = _setting(
        "training",
        NO_WEIGHTS,
        "weights of the labels in the loss: none, balanced (rare labels count more), or FILE.json with label: weight",
        kinds=("classification", "multi_label"),
        min_length=1,
    )
    label_smoothing: float = _setting(
        "training",
        0.0,
        "share of each target in training that is spread evenly over the classes, or over yes and no of each label",
        kinds=("classification", "multi_label"),
        ge=0,
        lt=1,
    )
    seed: int = _plan("training", 42, "seed of the new head, the order of the rows and dropout", ge=0, le=2**32 - 1)
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = _how("training", "auto", "auto: bf16 if CUDA supports it")
    torch_compile: Literal["auto"] | bool = _how("training", "auto", "compile the encoder's layers; auto: on CUDA only")
    on_nonfinite: Literal["stop", "skip"] = _how(
        "training", "stop", "on a non-finite loss or gradient: stop, or skip the update (stops after 10 in a row)"
    )
    no_cuda: bool = _how("training", False, "use the CPU even if there is a GPU of any kind")

    # Evaluation
    do_eval: bool = _setting("nothing", True, "score the checkpoints on the test file")
    threshold: float | Literal["dev"] = _setting(
        "outputs",
        0.5,
        "probability from which a label is predicted; dev: the one with the best micro F1 on dev",
        kinds=("multi_label",),
    )
    eval_batch_size: int = _setting("nothing", 64, "rows per evaluation batch at max_seq_len; more if they are shorter", gt=0)
    logging_steps: int = _plan("training", 1000, "updates between two scorings", gt=0)
    early_stopping_patience: int = _setting(
        "training", 0, "scorings on dev in a row without a better score after which training ends; 0: never", ge=0
    )
    evaluate_test_during_training: bool = _plan(
        "training", False, "score test as well as dev every logging_steps (alias: evaluate_during_training)"
    )
    eval_all_checkpoints: bool = _setting("choice", True, "score every checkpoint on test; false: the selected and the last")
    report_to: Literal[
        "none", "tensorboard", "wandb", "trackio", "mlflow", "comet_ml", "aim", "clearml", "dvclive", "swanlab"
    ] = _setting("nothing", NO_TRACKER, "tracker that also gets losses, scores and settings; only tensorboard has been tested")
    log_every: int = _setting("nothing", 50, "updates between two lines in log.jsonl", gt=0)

    # Output
    ckpt_dir: str = _run("nothing", "ckpt", "folder of all runs")
    output_dir: str = _run("nothing", "", "the run's folder in ckpt_dir; empty: <stem of config_file>-<task>-ckpt")
    save_steps: int = _plan("training", 1000, "updates between two checkpoints", gt=0)
    save_total_limit: int = _setting(
        "nothing", 0, "checkpoints to keep; last, selected and best_on_test always are; -1: all", ge=-1
    )
    save_optimizer: bool = _setting("nothing", False, "save the optimizer's state with every checkpoint")
    resume: bool = _run("nothing", True, "continue or reuse an earlier run; false: set it aside and start over")
    overwrite_output_dir: bool = _run("nothing", False, "remove an earlier run and start over; ignored in files")
    html_report: bool | Literal["with_texts"] = _setting(
        "nothing",
        False,
        "write report.html into the run's folder; with_texts: with the texts of the errors, whatever the corpus's licence",
    )

    # Accepted because the original's files contain them; without effect
    threads: int = _setting("nothing", 4, "no effect: the Rust tokenizer builds the features")
    verbose_logging: bool = _setting("nothing", False, "no effect")

    _layers: dict[str, str] = PrivateAttr(default_factory=dict)

    def layer_of(self, name: str) -> str:
        """Return where the value of setting `name` comes from: "default", "derived", "command line" or a file's path."""
        return self._layers.get(name, DEFAULT)

    @property
    def run_folder(self) -> Path:
        """The folder of the run's results."""
        return Path(self.ckpt_dir) / self.output_dir

    @property
    def overwrites(self) -> bool:
        """Whether an earlier run may be removed. Only the command line can ask for it, not a file."""
        return self.overwrite_output_dir and self.layer_of("overwrite_output_dir") == COMMAND_LINE

    @property
    def weights_file(self) -> Path | None:
        """The file that class_weights names; None if it names none."""
        return None if self.class_weights in (NO_WEIGHTS, BALANCED_WEIGHTS) else Path(self.class_weights)

    @property
    def features_only(self) -> bool:
        """Whether the command only builds the features of every split."""
        return not self.do_train and not self.do_eval

    @property
    def held_out(self) -> dict[str, float]:
        """Split -> share of the training file, for the splits that are parts of it. The first one does not depend on the next."""
        ratios = {"test": self.test_ratio, "dev": self.dev_ratio}
        return {split: ratio for split, ratio in ratios.items() if ratio > 0}

    @property
    def has_dev(self) -> bool:
        """Whether there is a dev split."""
        return bool(self.dev_file) or self.dev_ratio > 0

    @property
    def evaluation_budget(self) -> int:
        """Maximum number of tokens in an evaluation batch, padding included."""
        return self.eval_batch_size * self.max_seq_len

    @property
    def data_files(self) -> dict[str, Path]:
        """Split name -> data file, for the splits this run needs, in the order train, dev, test."""
        splits = [split for split, name in DATA_FILES.items() if getattr(self, name)]
        if not self.do_train and not self.features_only and not self.held_out:
            splits.remove("train")
        return {split: self.path_of(split) for split in splits}

    def path_of(self, split: str) -> Path:
        """Return the data file of a split; its setting must not be empty."""
        return Path(self.data_dir) / self.task / getattr(self, DATA_FILES[split])


def is_task_file(entry: str) -> bool:
    """Return whether a value of --task is the path of a task's file, and not a name."""
    return entry.endswith(".json")


def task_name(entry: str) -> str:
    """Return the name of the task that a value of --task chooses."""
    return Path(entry).stem if is_task_file(entry) else entry


def default_of(name: str) -> Any:
    """Return the default of setting `name`, which must not be a required one."""
    return Settings.model_fields[name].default


def affects(name: str) -> Affects:
    """Return which results depend on setting `name`."""
    return _columns(name)["affects"]


def settings_of(role: Role) -> tuple[str, ...]:
    """Return the names of the settings of a role, in the order of the schema."""
    return tuple(name for name in Settings.model_fields if _columns(name)["role"] == role)


def defaults_of(kind: str) -> dict[str, Any]:
    """Return the defaults for one kind of task in place of the general ones."""
    return {name: of[kind] for name in Settings.model_fields if kind in (of := _columns(name)["of_kind"])}


def kinds_of(name: str) -> Sequence[str]:
    """Return the kinds of task that use setting `name`, empty if all do."""
    return _columns(name)["kinds"]


def counts_for(name: str, kind: str) -> bool:
    """Return whether tasks of this kind use setting `name`."""
    return not kinds_of(name) or kind in kinds_of(name)


def _columns(name: str) -> dict[str, Any]:
    return cast(dict[str, Any], Settings.model_fields[name].json_schema_extra)


TRUST = settings_of("trust")
MODEL_SETTINGS = settings_of("model")
COMMAND_LINE_ONLY = (*TRUST, "tuned_file")  # an error in a file
