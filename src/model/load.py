"""Load models and tokenizers from a hub id, a folder or a checkpoint, and check that they fit together."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel

from src.common.errors import ModelError
from src.model.checks import check_tokenizer, is_byte_level, require_files
from src.model.files import ModelFiles, model_folder, require_content
from src.model.heads import HEADS
from src.settings.schema import Settings

logger = logging.getLogger(__name__)

TokenizerLoader = Callable[[Path, Settings], Any]  # folder, settings -> tokenizer


def _kobert_tokenizer(folder: Path, settings: Settings) -> Any:
    from src.model.tokenizers.kobert import MODEL_FILE, VOCAB_FILE, load_kobert_tokenizer

    model_file, vocab_file = folder / MODEL_FILE, folder / VOCAB_FILE
    if missing := [path.name for path in (model_file, vocab_file) if not path.is_file()]:
        raise ModelError(f"{settings.model_name_or_path}: KoBERT's tokenizer needs {' and '.join(missing)}, which is missing.")
    require_content([model_file, vocab_file])
    return load_kobert_tokenizer(model_file, vocab_file)


def _hanbert_tokenizer(folder: Path, settings: Settings) -> Any:
    from src.model.tokenizers.hanbert import LIBRARY, VOCAB_FILE, load_hanbert_tokenizer

    require_content([folder / VOCAB_FILE, folder / LIBRARY])
    return load_hanbert_tokenizer(folder, settings.trust_native_code)


# Loaders that the setting `tokenizer` names, for the published files and for a checkpoint. AutoTokenizer loads all others.
PUBLISHED: Mapping[str | None, TokenizerLoader] = {"kobert": _kobert_tokenizer, "hanbert": _hanbert_tokenizer}
SAVED: Mapping[str | None, TokenizerLoader] = {"hanbert": _hanbert_tokenizer}


def load_tokenizer(settings: Settings, word_level: bool = False) -> Any:
    """Return the tokenizer of `settings.model_name_or_path`. `word_level`: it will tokenize texts that are split into words.

    Raises ModelError if it cannot be loaded, has no Rust backend or does not pass check_tokenizer, or if the config is refused;
    see ModelFiles.load_config.
    """
    casing = {} if settings.do_lower_case is None else {"do_lower_case": settings.do_lower_case}
    return _load_tokenizer(ModelFiles.published(settings), PUBLISHED, word_level, casing)


def load_checkpoint_tokenizer(path: Path, settings: Settings, word_level: bool = False) -> Any:
    """Return the tokenizer of the checkpoint at `path`, with the casing it was trained with. Raises as load_tokenizer does."""
    return _load_tokenizer(ModelFiles(path, str(path), settings), SAVED, word_level, {})


def _load_tokenizer(
    files: ModelFiles, loaders: Mapping[str | None, TokenizerLoader], word_level: bool, casing: dict[str, bool]
) -> Any:
    config = files.load_config()
    load = loaders.get(files.settings.tokenizer)
    with files.loading("tokenizer"):
        tokenizer = load(files.folder, files.settings) if load else _auto_tokenizer(files, word_level, casing)
        check_tokenizer(tokenizer, config, files.name)
    return tokenizer


def _auto_tokenizer(files: ModelFiles, word_level: bool, casing: dict[str, bool]) -> Any:
    try:
        tokenizer = files.load(AutoTokenizer, "tokenizer", **casing)
    except ModelError as error:
        if error.__cause__ is not None:  # the library failed, perhaps as a file is missing
            require_files(files.name, files.folder, None)
        raise
    if not tokenizer.is_fast:
        raise ModelError(
            f"{files.name}: its tokenizer, {type(tokenizer).__name__}, has no Rust implementation, which is required. "
            "For KoBERT and models with its tokenizer, pass --tokenizer kobert."
        )
    require_files(files.name, files.folder, type(tokenizer))
    if word_level and is_byte_level(tokenizer) and not getattr(tokenizer, "add_prefix_space", False):
        # Byte-level pieces of a word depend on the space before it. With this option, which is saved with the tokenizer, every
        # word has one.
        tokenizer = files.load(AutoTokenizer, "tokenizer", **casing, add_prefix_space=True)
    return tokenizer


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

    labels: label -> readable name in the order of label ids, for a head that does not name its outputs. New weights are drawn
    from torch's global random state. Raises ModelError if the files lack weights of the encoder or contain other ones.
    """
    files, head = ModelFiles.published(settings), HEADS[kind]
    auto_class = getattr(transformers, head.auto_class)
    config = files.load_config()
    names = list(head.outputs or (labels or {}).values())
    config.id2label = dict(enumerate(names))
    config.label2id = {name: label_id for label_id, name in enumerate(names)}
    config.problem_type = head.problem_type
    if settings.from_scratch:
        logger.info("%s: random weights of %s", files.name, config.model_type)
        with files.loading("config"):
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


def model_revision(settings: Settings) -> str | None:
    """Return the commit of a hub id, or None for a folder."""
    folder = model_folder(settings)
    return None if folder == Path(settings.model_name_or_path) else folder.name
