"""Load models and tokenizers from a hub id, a folder or a checkpoint; what is special about a family is a row of MODEL_TYPES."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # raised by torch.load for a damaged .bin file
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
# Without this, transformers calls the hub in the background for a repository that has only a .bin file.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
transformers.logging.set_verbosity_error()  # this module logs what matters
transformers.logging.disable_progress_bar()

HANGUL_PROBE = "한국어"

TokenizerLoader = Callable[[Path, Settings], Any]  # folder, settings -> tokenizer


@dataclass(frozen=True)
class Family:
    """What a family's config does not define. The loaders stay None if AutoTokenizer can load the tokenizer."""

    reserved_positions: int = 0  # position embeddings that no token can use
    published_tokenizer: TokenizerLoader | None = None  # from the published files
    saved_tokenizer: TokenizerLoader | None = None  # from a checkpoint


def _kobert_tokenizer(folder: Path, settings: Settings) -> Any:
    from src.tokenization_kobert import MODEL_FILE, VOCAB_FILE, load_kobert_tokenizer

    if missing := [name for name in (MODEL_FILE, VOCAB_FILE) if not (folder / name).is_file()]:
        raise ModelError(f"{settings.model_name_or_path}: KoBERT's tokenizer needs {' and '.join(missing)}, which is missing.")
    return load_kobert_tokenizer(folder / MODEL_FILE, folder / VOCAB_FILE)


def _hanbert_tokenizer(folder: Path, settings: Settings) -> Any:
    from src.tokenization_hanbert import load_hanbert_tokenizer

    return load_hanbert_tokenizer(folder, settings.trust_native_code)


# Keyed by the setting `tokenizer`, or else by the config's model_type. A family without a row needs no special treatment.
MODEL_TYPES: Mapping[str, Family] = {
    "roberta": Family(reserved_positions=2),
    "xlm-roberta": Family(reserved_positions=2),
    "camembert": Family(reserved_positions=2),
    "kobert": Family(published_tokenizer=_kobert_tokenizer),
    "hanbert": Family(published_tokenizer=_hanbert_tokenizer, saved_tokenizer=_hanbert_tokenizer),
}


@dataclass(frozen=True)
class ModelFiles:
    """The files of a published model or a checkpoint, and how to load them."""

    folder: Path
    name: str  # of the model in messages
    settings: Settings

    @classmethod
    def published(cls, settings: Settings) -> "ModelFiles":
        """Return the files of `settings.model_name_or_path`. Raises ModelError and EnvironmentFailure."""
        return cls(model_folder(settings), settings.model_name_or_path, settings)

    def load(self, loader: Any, part: str, **options: Any) -> Any:
        """Call `loader.from_pretrained`. Raises ModelError if the part (config, tokenizer or model) cannot be loaded."""
        # False, not absent: with None, transformers would ask the user on the terminal.
        options["trust_remote_code"] = self.settings.trust_remote_code
        try:
            return loader.from_pretrained(self.folder, local_files_only=True, **options)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError, UnpicklingError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(f"the {part} of {self.name!r} cannot be loaded: {reason}") from error

    def load_config(self) -> PreTrainedConfig:
        """Return the model's config. Raises ModelError if it cannot be loaded or max_seq_len exceeds the model's positions."""
        config, settings = self.load(AutoConfig, "config"), self.settings
        limit = max_positions(config)
        if limit is not None and settings.max_seq_len > limit:
            raise ModelError(
                f"max_seq_len = {settings.max_seq_len} ({settings.layer_of('max_seq_len')}), but {self.name} "
                f"supports at most {limit} tokens. Pass --max_seq_len {limit} or less."
            )
        return config


def load_tokenizer(settings: Settings, word_level: bool = False) -> Any:
    """Return the tokenizer of `settings.model_name_or_path`. `word_level`: it will tokenize texts that are split into words.

    Raises ModelError if it cannot be loaded, has no Rust backend, loses Hangul, or does not fit the model: it has more ids than
    the model has embeddings, or max_seq_len exceeds the model's positions.
    """
    files = ModelFiles.published(settings)
    config = files.load_config()
    load = _family(config, settings).published_tokenizer
    casing = {} if settings.do_lower_case is None else {"do_lower_case": settings.do_lower_case}
    tokenizer = load(files.folder, settings) if load else _auto_tokenizer(files, word_level, casing)
    return _checked_tokenizer(tokenizer, config, files.name)


def load_checkpoint_tokenizer(path: Path, settings: Settings, word_level: bool = False) -> Any:
    """Return the tokenizer of the checkpoint at `path`, with the casing it was trained with. Raises as load_tokenizer does."""
    files = ModelFiles(path, str(path), settings)
    config = files.load_config()
    load = _family(config, settings).saved_tokenizer
    tokenizer = load(path, settings) if load else _auto_tokenizer(files, word_level, {})
    return _checked_tokenizer(tokenizer, config, files.name)


def _family(config: PreTrainedConfig, settings: Settings) -> Family:
    return MODEL_TYPES.get(settings.tokenizer or config.model_type, Family())


def _auto_tokenizer(files: ModelFiles, word_level: bool, casing: dict[str, bool]) -> Any:
    tokenizer = files.load(AutoTokenizer, "tokenizer", **casing)
    if not tokenizer.is_fast:
        raise ModelError(
            f"{files.name}: its tokenizer, {type(tokenizer).__name__}, has no Rust implementation, which is required. "
            "For KoBERT and models with its tokenizer, pass --tokenizer kobert."
        )
    byte_level = '"ByteLevel"' in tokenizer.backend_tokenizer.to_str()
    if word_level and byte_level and not getattr(tokenizer, "add_prefix_space", False):
        # Byte-level pieces of a word depend on the space before it. With this option, which is saved with the tokenizer, every
        # word has one.
        tokenizer = files.load(AutoTokenizer, "tokenizer", **casing, add_prefix_space=True)
    return tokenizer


def _checked_tokenizer(tokenizer: Any, config: PreTrainedConfig, name: str) -> Any:
    """Return the tokenizer. Raises ModelError if it loses Hangul or has more ids than the model has embeddings."""
    tokens = tokenizer.tokenize(HANGUL_PROBE)
    has_jamo = any("\u1100" <= character <= "\u11ff" for token in tokens for character in token)
    if not tokens or has_jamo or all(token == tokenizer.unk_token for token in tokens):
        raise ModelError(
            f"{name}: its tokenizer turns {HANGUL_PROBE!r} into {tokens}. Lower-casing with accent stripping splits syllables "
            "into letters: try --do_lower_case false. A vocabulary without Korean cannot be used."
        )
    if len(tokenizer) > config.vocab_size:
        raise ModelError(
            f"{name}: its tokenizer has {len(tokenizer):,} pieces, but config.json only {config.vocab_size:,} embeddings. "
            "Check that the files belong to the same model."
        )
    return tokenizer


def max_positions(config: PreTrainedConfig) -> int | None:
    """Return the longest input of the model in tokens, or None if its config sets no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or positions <= 0:
        return None
    return int(positions) - MODEL_TYPES.get(config.model_type, Family()).reserved_positions


def load_checkpoint_model(path: Path, kind: str, settings: Settings) -> PreTrainedModel:
    """Return the model for tasks of this kind saved at `path`, float32 on the CPU. Raises ModelError if it is damaged."""
    files = ModelFiles(path, str(path), settings)
    auto_class = getattr(transformers, HEADS[kind].auto_class)
    model, report = files.load(auto_class, "model", dtype=torch.float32, output_loading_info=True)
    if wrong := sorted({*_new_weights(report), *report["unexpected_keys"]}):
        raise ModelError(f"{path} is damaged: {len(wrong)} weights are missing or do not fit config.json: {_first(wrong)}")
    return _in_own_memory(model)


def new_model(settings: Settings, kind: str, labels: Mapping[str, str] | None) -> PreTrainedModel:
    """Return the encoder of `settings.model_name_or_path` with a new head for tasks of this kind, float32 on the CPU.

    labels: label -> readable name in the order of label ids, or None if the head defines its outputs. New weights are drawn from
    torch's global random state. Raises ModelError if the files lack weights of the encoder or contain other ones.
    """
    files, head = ModelFiles.published(settings), HEADS[kind]
    auto_class = getattr(transformers, head.auto_class)
    config = files.load_config()
    names = list(labels.values()) if labels else list(head.outputs)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: label_id for label_id, name in enumerate(names)}
    config.problem_type = head.problem_type
    if settings.from_scratch:
        logger.info("%s: random weights of %s", files.name, config.model_type)
        return auto_class.from_config(config, dtype=torch.float32)
    # The head of another task has another shape: it is initialized like a missing one.
    options = {"config": config, "dtype": torch.float32, "output_loading_info": True, "ignore_mismatched_sizes": True}
    model, report = files.load(auto_class, "model", **options)
    if new := _new_weights(report):
        logger.info("%s: new weights, to be learned: %s", files.name, ", ".join(new))
    for names, problem in (
        (new, "weights of the encoder are missing from its files or have another shape"),
        (sorted(report["unexpected_keys"]), "weights in its files are not part of its encoder"),
    ):
        if wrong := _encoder_weights(names, model):
            raise ModelError(
                f"{files.name}: {len(wrong)} {problem}: {_first(wrong)} Check that config.json belongs to the weights, "
                "or pass --from_scratch true."
            )
    return _in_own_memory(model)


def _new_weights(report: Mapping[str, Any]) -> list[str]:
    """Return the names of the weights that were not loaded, as they are missing or have another shape."""
    return sorted({*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])})


def _encoder_weights(names: Iterable[str], model: PreTrainedModel) -> list[str]:
    """Return the names that are weights of the encoder; a pooler counts as part of the head."""
    # Names start with the prefix of the base model, or with one of its parts if the encoder was saved on its own.
    starts = {model.base_model_prefix, *(name for name, _ in model.base_model.named_children())}
    return [name for name in names if name.split(".")[0] in starts and "pooler" not in name.split(".")]


def _first(names: list[str]) -> str:
    return f"{', '.join(names[:3])} ..."


def _in_own_memory(model: PreTrainedModel) -> PreTrainedModel:
    """Copy the model's weights out of the memory-mapped file.

    In the file they are not aligned as PyTorch aligns weights, which changes the last bits of a CPU's matrix products: the scores
    of a checkpoint would differ from those of the model that was saved.
    """
    for weight in model.parameters():
        weight.data = weight.data.clone()
    return model


def uses_segments(config: PreTrainedConfig) -> bool:
    """Return whether the model has embeddings for two segments, and so needs token_type_ids."""
    return getattr(config, "type_vocab_size", 0) >= 2


def model_folder(settings: Settings) -> Path:
    """Return `settings.model_name_or_path` if it is a folder, else the cached folder of the hub id, named by its commit.

    Raises ModelError and EnvironmentFailure.
    """
    source = settings.model_name_or_path
    if Path(source).is_dir():
        return Path(source)
    if settings.from_scratch:
        raise ModelError(f"{source}: no such folder. --from_scratch needs one with config.json and a vocabulary.")
    if settings.tokenizer == "hanbert":
        raise ModelError(
            f"{source}: no such folder. HanBERT is not on the hub: unpack HanBert-54kN-torch.zip and pass its folder."
        )
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise ModelError(f"{source}: no such folder. Pass a hub id or a folder with config.json as --model_name_or_path.")
    return fetch_model(source, settings.revision, settings.trust_remote_code)


def model_revision(settings: Settings) -> str | None:
    """Return the commit of a hub id, or None for a folder."""
    folder = model_folder(settings)
    return None if folder == Path(settings.model_name_or_path) else folder.name
