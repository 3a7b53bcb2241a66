"""Model families as a table; load a model or tokenizer from a hub id, a folder or a checkpoint."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # what torch.load raises for a damaged .bin file
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel

from src.errors import ModelError
from src.heads import HEADS
from src.hub import fetch_model
from src.settings import Settings

logger = logging.getLogger(__name__)
# Else a repository that has only a .bin file makes transformers call the hub in the background.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
transformers.logging.set_verbosity_error()  # what matters of a load is said below
transformers.logging.disable_progress_bar()

HANGUL_PROBE = "한국어"


@dataclass(frozen=True)
class Family:
    """What a family's config does not say itself."""

    reserved_positions: int = 0  # position embeddings that no token can use
    tokenizer: Callable[[Settings, Path | None], Any] | None = None  # how to load it, where not by AutoTokenizer


def _kobert_tokenizer(settings: Settings, path: Path | None) -> Any:
    if path is not None:
        return _auto_tokenizer(settings, path)  # once saved it is like any other
    from src.tokenization_kobert import MODEL_FILE, VOCAB_FILE, load_kobert_tokenizer

    folder = model_folder(settings)
    if missing := [name for name in (MODEL_FILE, VOCAB_FILE) if not (folder / name).is_file()]:
        raise ModelError(
            f"{settings.model_name_or_path}: KoBERT's tokenizer is made from {' and '.join(missing)}, which it lacks."
        )
    return load_kobert_tokenizer(folder / MODEL_FILE, folder / VOCAB_FILE)


def _hanbert_tokenizer(settings: Settings, path: Path | None) -> Any:
    from src.tokenization_hanbert import load_hanbert_tokenizer

    return load_hanbert_tokenizer(path or model_folder(settings), settings.trust_native_code)


# Keyed by the setting `tokenizer` or else the config's own model_type; a family without a row needs no special treatment.
MODEL_TYPES: Mapping[str, Family] = {
    "roberta": Family(reserved_positions=2),
    "xlm-roberta": Family(reserved_positions=2),
    "camembert": Family(reserved_positions=2),
    "kobert": Family(tokenizer=_kobert_tokenizer),
    "hanbert": Family(tokenizer=_hanbert_tokenizer),
}


def load_tokenizer(settings: Settings, path: Path | None = None, word_level: bool = False) -> Any:
    """The tokenizer of `settings.model_name_or_path`, or of the checkpoint at `path`; `takes_words`: it will be given words.

    Raises ModelError where there is none, where it has no Rust backend, where it loses Hangul, and where it does not fit the
    model: ids beyond its embeddings, or max_seq_len beyond its positions.
    """
    config = load_config(settings, path)
    family = MODEL_TYPES.get(settings.tokenizer or config.model_type, Family())
    tokenizer = family.tokenizer(settings, path) if family.tokenizer else _auto_tokenizer(settings, path, word_level)
    source = path or settings.model_name_or_path
    tokens = tokenizer.tokenize(HANGUL_PROBE)
    taken_apart = any("\u1100" <= character <= "\u11ff" for token in tokens for character in token)
    if not tokens or taken_apart or all(token == tokenizer.unk_token for token in tokens):
        raise ModelError(
            f"{source}: its tokenizer turns {HANGUL_PROBE!r} into {tokens}. Lower-casing with accent stripping takes Hangul "
            "apart: try --do_lower_case false. A vocabulary without Korean cannot be used."
        )
    if len(tokenizer) > config.vocab_size:
        raise ModelError(
            f"{source}: its tokenizer has {len(tokenizer):,} pieces, but its config.json embeddings for {config.vocab_size:,}. "
            "Are its files those of one model?"
        )
    return tokenizer


def _auto_tokenizer(settings: Settings, path: Path | None, word_level: bool = False) -> Any:
    # A checkpoint's own files hold what it was trained with, whatever the settings say now.
    options = {} if path or settings.do_lower_case is None else {"do_lower_case": settings.do_lower_case}
    tokenizer = _from_pretrained(AutoTokenizer, settings, path, "tokenizer", **options)
    if not tokenizer.is_fast:
        name = type(tokenizer).__name__
        raise ModelError(
            f"{path or settings.model_name_or_path}: its tokenizer, {name}, has no Rust implementation; one is needed. "
            "For KoBERT and its kind say --tokenizer kobert."
        )
    by_bytes = '"ByteLevel"' in tokenizer.backend_tokenizer.to_str()
    if word_level and by_bytes and not getattr(tokenizer, "add_prefix_space", False):
        # A word's bytes depend on the space before it: every word gets one, here and, as it is saved with the tokenizer, later.
        tokenizer = _from_pretrained(AutoTokenizer, settings, path, "tokenizer", **options, add_prefix_space=True)
    return tokenizer


def load_config(settings: Settings, path: Path | None = None) -> PreTrainedConfig:
    """The config of `settings.model_name_or_path`, or of the checkpoint at `path`.

    Raises ModelError where there is none or max_seq_len is beyond its positions.
    """
    config = _from_pretrained(AutoConfig, settings, path, "config")
    limit = max_positions(config)
    if limit is not None and settings.max_seq_len > limit:
        raise ModelError(
            f"max_seq_len = {settings.max_seq_len} ({settings.layer_of('max_seq_len')}), but {settings.model_name_or_path} "
            f"takes at most {limit} tokens; say --max_seq_len {limit} or less."
        )
    return config


def max_positions(config: PreTrainedConfig) -> int | None:
    """The longest input the model takes, in tokens; None where its config sets no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or positions <= 0:
        return None
    return int(positions) - MODEL_TYPES.get(config.model_type, Family()).reserved_positions


def load_model(settings: Settings, kind: str, labels: Mapping[str, str] | None, path: Path | None = None) -> PreTrainedModel:
    """A float32 model on the CPU: the encoder with a new head for `kind`, or what the checkpoint at `path` holds.

    `labels`: label -> readable name in the order of ids; None where the head has outputs of its own. A new head is drawn
    from torch's global random state. Raises ModelError.
    """
    head = HEADS[kind]
    auto_class = getattr(transformers, head.auto_class)
    if path is not None:
        model, report = _from_pretrained(auto_class, settings, path, "model", dtype=torch.float32, output_loading_info=True)
        if wrong := sorted(
            {*report["missing_keys"], *report["unexpected_keys"], *(entry[0] for entry in report["mismatched_keys"])}
        ):
            shown = ", ".join(wrong[:3])
            raise ModelError(
                f"{path} is damaged: {len(wrong)} weights are missing or are others than its config says: {shown} ..."
            )
        return _in_own_memory(model)
    config = load_config(settings)
    names = list(labels.values()) if labels else list(head.outputs)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: position for position, name in enumerate(names)}
    config.problem_type = head.problem_type
    if settings.from_scratch:
        logger.info("%s: random weights of %s", settings.model_name_or_path, config.model_type)
        return auto_class.from_config(config, dtype=torch.float32)
    # A head of another task does not fit and is drawn anew, like one that is missing.
    options = {"config": config, "dtype": torch.float32, "output_loading_info": True, "ignore_mismatched_sizes": True}
    model, report = _from_pretrained(auto_class, settings, None, "model", **options)
    if new := sorted({*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])}):
        logger.info("%s: new weights, to be learned: %s", settings.model_name_or_path, ", ".join(new))
    _require_encoder(settings, model, new, "its files lack {} weights of the encoder, or hold them in another shape")
    _require_encoder(settings, model, sorted(report["unexpected_keys"]), "its files hold {} weights that its encoder lacks")
    return _in_own_memory(model)


def _in_own_memory(model: PreTrainedModel) -> PreTrainedModel:
    """The model with its weights where PyTorch puts weights.

    Those that stay in the file, mapped, lie at odd addresses, where a CPU's matrix products come to other last bits: a checkpoint
    would not be scored as the model that was saved.
    """
    for weight in model.parameters():
        weight.data = weight.data.clone()
    return model


def _require_encoder(settings: Settings, model: PreTrainedModel, names: Sequence[str], problem: str) -> None:
    """Raise ModelError where there are weights of the encoder among `names`; a pooler belongs to the head."""
    # With its name before them, or without where the files were saved from the encoder alone.
    parts = {model.base_model_prefix, *(name for name, _ in model.base_model.named_children())}
    if found := [name for name in names if name.split(".")[0] in parts and "pooler" not in name.split(".")]:
        raise ModelError(
            f"{settings.model_name_or_path}: {problem.format(len(found))}: {', '.join(found[:3])} ... Check that config.json "
            "belongs to them, or say --from_scratch true."
        )


def uses_segments(config: PreTrainedConfig) -> bool:
    """Whether the model tells a first text from a second: exactly when it has embeddings for two segments."""
    return getattr(config, "type_vocab_size", 0) >= 2


def model_folder(settings: Settings) -> Path:
    """The folder of `settings.model_name_or_path`: that, or where the hub's files of it are; those are named by their commit.

    Raises ModelError and EnvironmentFailure.
    """
    source = settings.model_name_or_path
    if Path(source).is_dir():
        return Path(source)
    if settings.from_scratch:
        raise ModelError(f"{source}: no such folder. --from_scratch needs one with config.json and vocab.txt.")
    if settings.tokenizer == "hanbert":
        raise ModelError(
            f"{source}: no such folder. HanBERT is not on the hub: unpack HanBert-54kN-torch.zip here, or name its folder."
        )
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise ModelError(f"{source}: no such folder. Give a hub id or a folder with config.json as --model_name_or_path.")
    return fetch_model(source, settings.revision, settings.trust_remote_code)


def model_revision(settings: Settings) -> str | None:
    """The commit of a hub id; None for a folder, whose files have a digest instead."""
    folder = model_folder(settings)
    return None if folder == Path(settings.model_name_or_path) else folder.name


def _from_pretrained(loader: Any, settings: Settings, path: Path | None, what: str, **options: Any) -> Any:
    folder = path or model_folder(settings)
    options["trust_remote_code"] = settings.trust_remote_code  # False, not absent: then nobody is asked
    try:
        return loader.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError, UnpicklingError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"the {what} of {str(path or settings.model_name_or_path)!r} cannot be loaded: {reason}") from error
