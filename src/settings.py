"""The schema of the settings: every name with its type, default, meaning, limits, and whether it can change a score."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

# Where a value can come from besides a file.
COMMAND_LINE = "command line"
DEFAULT = "default"
DERIVED = "derived"

# Settings by which a user takes a risk: no file may take it for them.
COMMAND_LINE_ONLY = ("trust_native_code", "trust_remote_code")

# Settings that describe the model of their layer: a higher layer that names another model sets them back.
MODEL_SETTINGS = ("revision", "from_scratch", "do_lower_case", "tokenizer")

ALIASES = {
    "max_seq_length": "max_seq_len",
    "predict_file": "test_file",
    "evaluate_during_training": "evaluate_test_during_training",
}


def _setting(default: Any, help: str, *, affects: str = "training", only: str = "", **constraints: Any) -> Any:
    """A field. `affects`: "training" what is learned, "scores" also what a model says, "outputs" only what is made of that.

    `only`: the one output mode for which it counts.
    """
    return Field(default, description=help, json_schema_extra={"affects": affects, "only": only}, **constraints)


class Settings(BaseModel):
    """The effective settings of one run. Immutable; `layer_of` says which layer each value came from."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    # What to run
    task: str = _setting(..., "the task to run", affects="scores")
    config_file: str = _setting("koelectra-base-v3.json", "the model's file in config_dir", affects="nothing")
    config_dir: str = _setting("config", "folder of the config files", affects="nothing")

    # Model
    model_name_or_path: str = _setting(..., "hub id or local folder of the encoder", min_length=1)
    revision: str | None = _setting(None, "branch, tag or commit of the hub id")
    from_scratch: bool = _setting(False, "start from random weights; model_name_or_path is a folder with config.json")
    model_type: str = _setting("", "name of the model, for the record only", affects="nothing")
    tokenizer: Literal["kobert", "hanbert"] | None = _setting(None, "the model's tokenizer where its files do not say it")
    trust_native_code: bool = _setting(
        False, "load HanBERT's analyser, a native library; counts on the command line only", affects="nothing"
    )
    trust_remote_code: bool = _setting(
        False, "run Python code of the model's repository; counts on the command line only", affects="nothing"
    )
    do_lower_case: bool | None = _setting(None, "lower-case the text; null: as the tokenizer's own files say")

    # Data
    data_dir: str = _setting("data", "folder of the tasks' data folders", affects="nothing")
    train_file: str = _setting("", "training file in <data_dir>/<task>")
    dev_file: str = _setting("", "development file there; empty: none", affects="scores")
    dev_ratio: float = _setting(
        0.0, "where there is no dev_file: hold out this share of train as dev", affects="scores", ge=0, lt=1
    )
    test_file: str = _setting(..., "test file there (alias: predict_file)", min_length=1, affects="scores")
    download: bool = _setting(True, "fetch published files that are missing, if data_dir is the default", affects="nothing")
    data_url: str | None = _setting(
        None, "address or folder to fetch them from, not the original's repository", affects="nothing"
    )
    feature_cache_dir: str = _setting("data/cache", "folder of the cached features", affects="nothing")
    max_seq_len: int = _setting(
        128, "longest input in tokens, special tokens included (alias: max_seq_length)", ge=8, affects="scores"
    )
    doc_stride: int = _setting(
        128, "korquad: step between windows over a context, in tokens", gt=0, only="span", affects="scores"
    )
    max_query_length: int = _setting(64, "korquad: longest question, in tokens", gt=0, only="span", affects="scores")
    max_answer_length: int = _setting(30, "korquad: longest answer, in tokens", gt=0, only="span", affects="outputs")
    n_best_size: int = _setting(20, "korquad: number of candidate answers kept", gt=0, only="span", affects="outputs")

    answer_text: Literal["offsets", "legacy"] = _setting(
        "offsets",
        "korquad: answers by their characters, or joined from pieces as published scores were",
        only="span",
        affects="outputs",
    )
    strict_data: bool = _setting(
        True, "korquad: false goes on where ids or answer positions are wrong", only="span", affects="scores"
    )

    # Training
    do_train: bool = _setting(True, "fine-tune", affects="nothing")
    train_batch_size: int = _setting(32, "rows in a batch", gt=0)
    padding: Literal["none", "longest", "max_length"] = _setting(
        "none", "none: the encoder sees real tokens alone; longest: rows are as long as their batch's longest"
    )
    batching: Literal["shuffled", "bucketed"] = _setting(
        "shuffled", "bucketed: rows of like length meet, in as many batches of the same size"
    )
    gradient_accumulation_steps: int = _setting(1, "batches in one update", gt=0)
    num_train_epochs: float = _setting(10, "passes over the training file", gt=0, allow_inf_nan=False)
    max_steps: int = _setting(-1, "number of updates; -1: by num_train_epochs", ge=-1)
    learning_rate: float = _setting(5e-5, "peak learning rate", gt=0, allow_inf_nan=False)
    warmup_proportion: float = _setting(0.0, "share of the updates over which the learning rate rises", ge=0, le=1)
    weight_decay: float = _setting(0.0, "AdamW's decay, not applied to biases and norms", ge=0, allow_inf_nan=False)
    adam_epsilon: float = _setting(1e-8, "AdamW's epsilon", gt=0, allow_inf_nan=False)
    max_grad_norm: float = _setting(1.0, "gradients are clipped to this norm", gt=0)
    seed: int = _setting(42, "seed of the head's weights, the shuffles and dropout", ge=0, le=2**32 - 1)
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = _setting("auto", "auto: bf16 on a GPU that has it, else no")
    torch_compile: Literal["auto"] | bool = _setting("auto", "compile the encoder's layers; auto: on a GPU, not on a CPU")
    on_nonfinite: Literal["stop", "skip"] = _setting(
        "stop", "an update whose loss or gradient is no finite number never counts; skip: go on, until ten in a row"
    )
    no_cuda: bool = _setting(False, "stay on the CPU")

    # Evaluation
    do_eval: bool = _setting(True, "score the checkpoints on the test file", affects="nothing")
    eval_batch_size: int = _setting(
        64, "rows of max_seq_len tokens in a batch of an evaluation; of shorter rows more", gt=0, affects="nothing"
    )
    logging_steps: int = _setting(1000, "score every so many updates", gt=0)
    evaluate_test_during_training: bool = _setting(
        False, "score test too, not only dev, every logging_steps (alias: evaluate_during_training)"
    )
    eval_all_checkpoints: bool = _setting(
        True, "score test at every checkpoint; false: at the selected and the last", affects="nothing"
    )
    log_every: int = _setting(50, "write a line to log.jsonl every so many updates", affects="nothing", gt=0)

    # Output
    ckpt_dir: str = _setting("ckpt", "folder of all runs", affects="nothing")
    output_dir: str = _setting("", "the run's folder in ckpt_dir; not given: <config file's stem>-<task>-ckpt", affects="nothing")
    save_steps: int = _setting(1000, "write a checkpoint every so many updates", gt=0)
    save_total_limit: int = _setting(
        0, "keep this many checkpoints where more than last, selected and best_on_test; -1: all", affects="nothing", ge=-1
    )
    save_optimizer: bool = _setting(False, "put the optimizer's state into every checkpoint", affects="nothing")
    resume: bool = _setting(True, "false: never continue an earlier run, put it aside", affects="nothing")
    overwrite_output_dir: bool = _setting(
        False, "start afresh in place of an earlier run; counts on the command line only", affects="nothing"
    )

    # Accepted from the original's files, without effect
    threads: int = _setting(4, "inert: features are built by the Rust tokenizer", affects="nothing")
    verbose_logging: bool = _setting(False, "inert", affects="nothing")
    null_score_diff_threshold: float = _setting(0.0, "inert: KorQuAD 1.0 has an answer to every question", affects="nothing")
    version_2_with_negative: bool = _setting(
        False, "must be false: KorQuAD 1.0 has an answer to every question", affects="scores"
    )

    _layers: dict[str, str] = PrivateAttr(default_factory=dict)

    def layer_of(self, name: str) -> str:
        """Where the value of setting `name` came from: "default", "derived", "command line" or a file's path."""
        return self._layers.get(name, DEFAULT)

    @property
    def run_folder(self) -> Path:
        """Where the run's results land."""
        return Path(self.ckpt_dir) / self.output_dir

    @property
    def features_only(self) -> bool:
        """Whether every split's features are wanted and nothing else."""
        return not self.do_train and not self.do_eval

    @property
    def holds_out(self) -> bool:
        """Whether the dev split is a part of the training file."""
        return self.dev_ratio > 0

    @property
    def has_dev(self) -> bool:
        """Whether there is a dev split."""
        return bool(self.dev_file) or self.holds_out

    @property
    def evaluation_budget(self) -> int:
        """How many tokens, padding included, a batch of an evaluation may hold."""
        return self.eval_batch_size * self.max_seq_len

    @property
    def data_files(self) -> dict[str, Path]:
        """Split name -> data file, for the splits this run needs, in the order train, dev, test."""
        names = {"train": self.train_file, "dev": self.dev_file, "test": self.test_file}
        if not self.do_train and not self.features_only and not self.holds_out:
            del names["train"]
        return {split: Path(self.data_dir) / self.task / name for split, name in names.items() if name}


def affects(name: str) -> str:
    """Return what a change of setting `name` affects: "training", "scores" (and training), "outputs" or "nothing"."""
    return _about(name, "affects")


def counts_for(name: str, kind: str) -> bool:
    """Whether setting `name` counts for tasks of an output mode at all."""
    return _about(name, "only") in ("", kind)


def _about(name: str, what: str) -> str:
    extra = Settings.model_fields[name].json_schema_extra
    assert isinstance(extra, dict)
    return str(extra[what])
