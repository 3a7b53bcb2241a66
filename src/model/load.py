"""Load models and tokenizers from a hub id, a folder or a checkpoint, and check that they fit together."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from src.common.errors import ModelError, quote
from src.model.files import ModelFiles, model_folder, require_content
from src.model.heads import HEADS
from src.model.tokenizer_checks import (
    check_tokenizer,
    find_unknown,
    is_byte_level,
    require_files,
    switch_off_dropout,
)
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


def load_tokenizer(settings: Settings, word_level: bool = False, korean: bool = True) -> Any:
    """Return the tokenizer of `settings.model_name_or_path`.

    word_level: it will tokenize texts that are split into words. korean: its texts are known to be Korean, see check_tokenizer.

    Raises ModelError if it cannot be loaded, has no Rust backend or does not pass check_tokenizer, or if the config is refused;
    see ModelFiles.load_config.
    """
    casing = {} if settings.do_lower_case is None else {"do_lower_case": settings.do_lower_case}
    return _load_tokenizer(ModelFiles.published(settings), PUBLISHED, Texts(word_level, korean), casing)


def load_checkpoint_tokenizer(path: Path, settings: Settings, word_level: bool = False, korean: bool = True) -> Any:
    """Return the tokenizer of the checkpoint at `path`, with the casing it was trained with. Raises as load_tokenizer does."""
    return _load_tokenizer(ModelFiles(path, str(path), settings), SAVED, Texts(word_level, korean), {})


class Texts(NamedTuple):
    """What a tokenizer is for, see load_tokenizer."""

    word_level: bool
    korean: bool


def _load_tokenizer(
    files: ModelFiles, loaders: Mapping[str | None, TokenizerLoader], texts: Texts, casing: dict[str, bool]
) -> Any:
    config = files.load_config()
    load = loaders.get(files.settings.tokenizer)
    with files.loading("tokenizer"):
        tokenizer = load(files.folder, files.settings) if load else _auto_tokenizer(files, texts.word_level, casing)
        switch_off_dropout(tokenizer, files.name)
        check_tokenizer(tokenizer, config, files.name, texts.korean, saved=loaders is SAVED)
    return tokenizer


def _auto_tokenizer(files: ModelFiles, word_level: bool, casing: Mapping[str, bool]) -> Any:
    options: dict[str, Any] = dict(casing)
    try:
        tokenizer = files.load(AutoTokenizer, "tokenizer", **options)
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
    # Options are saved with the tokenizer.
    if word_level and is_byte_level(tokenizer) and not getattr(tokenizer, "add_prefix_space", False):
        # Byte-level pieces of a word depend on the space before it. With this option, every word has one.
        options["add_prefix_space"] = True
    unknown = None
    with suppress(ModelError):  # check_tokenizer says what is wrong with it
        unknown = find_unknown(tokenizer, files.name)
    if unknown is not None and unknown != tokenizer.unk_token_id:
        options["unk_token"] = tokenizer.backend_tokenizer.id_to_token(unknown)
        logger.info("%s: the unknown token of its tokenizer is %s", files.name, options["unk_token"])
    return files.load(AutoTokenizer, "tokenizer", **options) if len(options) > len(casing) else tokenizer


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
    if settings.keep_head and settings.from_scratch:
        raise ModelError(f"{files.name}: keep_head: with from_scratch there is no head to keep. Leave out --keep_head.")
    auto_class = getattr(transformers, head.auto_class)
    config = files.load_config()
    names = list(head.outputs or (labels or {}).values())
    if settings.keep_head and labels:
        _require_outputs(files.name, list(config.id2label.values()), [names, list(labels)])
    config.id2label = dict(enumerate(names))
    config.label2id = {name: label_id for label_id, name in enumerate(names)}
    config.problem_type = head.problem_type
    if settings.from_scratch:
        logger.info("%s: random weights of %s", files.name, config.model_type)
        with files.loading("config"):
            return auto_class.from_config(config, dtype=torch.float32)
    # The head of another task has another shape: it is initialized like a missing one.
    options = {"config": config, "dtype": torch.float32, "output_loading_info": True, "ignore_mismatched_sizes": True}
    random_state = torch.get_rng_state()
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
    _in_own_memory(model)
    _choose_head(model, report, settings, random_state)
    return model


def add_embeddings(model: PreTrainedModel, tokens: int) -> None:
    """Give a model an embedding for each of so many tokens, if it has fewer. New ones are drawn from torch's random state."""
    if tokens > len(model.get_input_embeddings().weight):
        model.resize_token_embeddings(tokens, mean_resizing=False)


def _require_outputs(name: str, found: list[str], accepted: Sequence[list[str]]) -> None:
    """Raise ModelError if the outputs of a head that is to be kept have other names, or another order, than the task's labels."""
    if all(re.fullmatch(r"LABEL_\d+", output) for output in found) and len(found) == len(accepted[0]):
        logger.warning("%s: its config.json does not name the outputs of its head; they are taken for %s", name, accepted[0])
    elif found not in accepted:
        raise ModelError(
            f"{name}: keep_head: the outputs of its head are {quote(found)}, the labels of the task {quote(accepted[0])}. Give "
            "the task its labels in this order (definition), or leave out --keep_head."
        )


def _choose_head(model: PreTrainedModel, report: Mapping[str, Any], settings: Settings, random_state: Tensor) -> None:
    """Keep the head that came with a model, or draw a new one, as for an encoder that came without.

    A head came with it if its last layer did, of whatever size: some encoders come with the first one, from their pretraining.
    random_state: torch's, before the model was loaded. Raises ModelError if there is no head to keep.
    """
    name, prefix = settings.model_name_or_path, f"{model.base_model_prefix}."
    head = [weight for weight, _ in model.named_parameters() if not weight.startswith(prefix)]
    missing = sorted({*head} & {*_new_weights(report)})
    has_other_size = any(not entry[0].startswith(prefix) for entry in report["mismatched_keys"])
    if settings.keep_head:
        if missing:
            raise ModelError(f"{name}: keep_head: its files have no head for this task: {_first(missing)} Leave out --keep_head.")
        logger.info("%s: its head is kept (--keep_head): %s", name, ", ".join(head))
    elif not missing or has_other_size:
        logger.info("%s: its head is replaced by a new one (--keep_head keeps one that fits): %s", name, ", ".join(head))
        torch.set_rng_state(random_state)
        for weight in head:
            marked: Any = [model, model.get_parameter(weight)]
            parts = weight.split(".")
            marked += [model.get_submodule(".".join(parts[:end])) for end in range(1, len(parts))]
            for part in marked:
                part._is_hf_initialized = False  # transformers' own mark
        model.initialize_weights()


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
    """Copy the model's weights and buffers out of the memory-mapped file, so that nothing keeps it open.

    In the file they are not aligned as PyTorch aligns weights, which changes the last bits of a CPU's matrix products: the scores
    of a checkpoint would differ from those of the model that was saved.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    return model


def model_revision(settings: Settings) -> str | None:
    """Return the commit of a hub id, or None for a folder."""
    folder = model_folder(settings)
    return None if folder == Path(settings.model_name_or_path) else folder.name
