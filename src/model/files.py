"""The files of a model: find them, load them, and say what is wrong with them if that fails."""

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedConfig

from src.common.errors import ModelError, brief
from src.common.files import find_stand_in
from src.model.hub import adapter_error, fetch_model, has_weights
from src.settings.lengths import too_long
from src.settings.schema import Settings

logger = logging.getLogger(__name__)
# Without this, transformers calls the hub in the background for a repository that has only a .bin file.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
transformers.logging.set_verbosity_error()  # this project logs what matters
transformers.logging.disable_progress_bar()

CHOOSE_AN_ENCODER = (
    "Choose an encoder, such as BERT, ELECTRA, RoBERTa, XLM-RoBERTa, DistilBERT, ALBERT, DeBERTa-v2, DeBERTa-v3 or ModernBERT."
)

# The files that transformers reads for each part of a model: of several patterns, the first with any file. A folder may well
# contain useless files that match a later pattern, such as pointers to .bin files beside complete safetensors.
CONFIGS = r"(config|tokenizer_config|special_tokens_map|added_tokens)\.json"
PART_FILES = {
    "config": (),
    "tokenizer": (r"tokenizer\.json", r"vocab.*|merges\.txt|.*\.model"),
    "model": (
        r"model\.safetensors",
        r"model[^/]*\.safetensors(\.index\.json)?",
        r"pytorch_model\.bin",
        r"pytorch_model[^/]*\.bin(\.index\.json)?",
    ),
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
        require_content(self._files_of(part))
        # False, not absent: with None, transformers would ask the user on the terminal.
        options["trust_remote_code"] = self.settings.trust_remote_code
        with self.loading(part):
            return loader.from_pretrained(self.folder, local_files_only=True, **options)

    @contextmanager
    def loading(self, part: str) -> Iterator[None]:
        """Turn every error into ModelError: for files of any content, libraries may raise any."""
        try:
            yield
        except ModelError:
            raise
        except Exception as error:
            reason = brief(error)
            if reason.startswith("Unrecognized configuration class"):
                raise ModelError(
                    f"{self.name}: transformers has no model of this kind for the task. {CHOOSE_AN_ENCODER}"
                ) from error
            reason = next((damage for path in self._files_of(part) if (damage := _find_damage(path))), reason)
            raise ModelError(f"the {part} of {self.name!r} cannot be loaded: {reason}") from error

    def _files_of(self, part: str) -> list[Path]:
        """Return the files that are read for a part."""
        paths = sorted(path for path in self.folder.iterdir() if path.is_file())
        groups = ([path for path in paths if re.fullmatch(pattern, path.name)] for pattern in PART_FILES[part])
        return [path for path in paths if re.fullmatch(CONFIGS, path.name)] + next(filter(None, groups), [])

    def load_config(self) -> PreTrainedConfig:
        """Return the model's config.

        Raises ModelError if it cannot be loaded, is that of an adapter or of a model that is no encoder, or if max_seq_len
        exceeds the positions in it.
        """
        names, settings = {path.name for path in self.folder.iterdir()}, self.settings
        complete = "config.json" in names and (settings.from_scratch or has_weights(names))
        if "adapter_config.json" in names and not complete:
            raise adapter_error(self.name)
        config = self.load(AutoConfig, "config")
        if config.is_encoder_decoder:
            raise ModelError(f"{self.name} is an encoder-decoder model ({config.model_type}). {CHOOSE_AN_ENCODER}")
        limit = max_positions(config)
        if limit is not None and settings.max_seq_len > limit:
            raise too_long(settings, self.name, limit)
        # Some published configs, such as KoMiniLM's, ask for the outputs that their authors' code needed.
        config.output_attentions = config.output_hidden_states = False
        config.return_dict = True
        return config


def require_content(paths: Iterable[Path]) -> None:
    """Raise ModelError if one of the files is a git-lfs pointer or a web page."""
    for path in paths:
        if path.is_file() and (stand_in := find_stand_in(_head(path))):
            raise ModelError(f"{path} {stand_in}")


def _head(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(1000)


def _read_sentencepiece(path: Path) -> None:
    from sentencepiece import sentencepiece_model_pb2

    sentencepiece_model_pb2.ModelProto().ParseFromString(path.read_bytes())


# Ways to read a file, by its suffix, that fail if the file is cut off.
READERS = {
    ".json": lambda path: json.loads(path.read_bytes()),
    ".safetensors": lambda path: safe_open(path, "pt").__enter__(),
    ".bin": lambda path: torch.load(path, map_location="meta", weights_only=True),
    ".model": _read_sentencepiece,
}


def _find_damage(path: Path) -> str:
    """Return a sentence about a file that cannot be read, or "". torch's own would recommend to load the file unsafely."""
    try:
        if path.suffix in READERS:
            READERS[path.suffix](path)
    except Exception:  # each library has its own
        content = "contains more than weights, which is not loaded as it could run code" if path.suffix == ".bin" else ""
        return f"{path} is damaged{content and f', or {content}'}. Download it again."
    return ""


def max_positions(config: PreTrainedConfig) -> int | None:
    """Return the positions in a config, or None if it sets no limit. Some models cannot use all, see src.model.checks."""
    positions = getattr(config, "max_position_embeddings", None)
    return int(positions) if positions and positions > 0 else None


def uses_segments(config: PreTrainedConfig) -> bool:
    """Return whether the model has embeddings for two segments, and so needs token_type_ids."""
    return getattr(config, "type_vocab_size", 0) >= 2


def pad_id(config: PreTrainedConfig) -> int:
    """Return the id of padding: 0 if the config names none. What is there is masked, but needs an embedding."""
    return int(getattr(config, "pad_token_id", None) or 0)


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
