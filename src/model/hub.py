"""Fetch a model's files from the Hugging Face hub: one request for the current commit, the files from the cache."""

import errno
import logging
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import httpx2  # the HTTP client of huggingface_hub
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import logging as hub_logging

from src.common.errors import EnvironmentFailure, ModelError, brief

logger = logging.getLogger(__name__)
hub_logging.set_verbosity_error()  # this module logs what matters

TIMEOUT = 5.0  # seconds
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
TEXT_FILES = re.compile(r"[^/]+\.(json|txt|model)")  # configs and vocabularies, at the top of the repository
CODE = re.compile(r"(\w+/)*\w+\.py")
SAFETENSORS = re.compile(r"model[^/]*\.safetensors")
PICKLED_WEIGHTS = re.compile(r"pytorch_model[^/]*\.bin")  # read with torch's safe unpickler
VOCABULARY = re.compile(r"tokenizer\.json|vocab[^/]*|[^/]+\.model")  # any of the files that define a tokenizer's pieces

# What the hub or its library answers for an id -> what is wrong with it. A kind comes before those that it is a kind of.
REFUSALS: Mapping[type[Exception], str] = {
    HFValidationError: "is neither a folder nor a hub id. A hub id is owner/name.",
    GatedRepoError: "is gated: accept its terms on its page, then log in with `hf auth login`.",
    RevisionNotFoundError: "has no revision {revision!r}. Its page lists branches, tags and commits.",
    RepositoryNotFoundError: "is not on the hub, or is private. Check the spelling, or log in with `hf auth login`.",
    RemoteEntryNotFoundError: "has no config.json, so transformers cannot load it. Choose another model.",
}


@cache
def fetch_model(repository: str, revision: str | None, with_code: bool = False) -> Path:
    """Return the cached folder of a hub id, named by its commit; if the hub cannot be reached, that of an earlier download.

    `with_code`: fetch Python files, too. Raises ModelError if the id or revision does not exist, is not accessible or is that of
    an adapter, EnvironmentFailure if the hub cannot be reached and the model is not in the cache.
    """
    logger.info("%s: checking for the current version on the hub", repository)
    try:
        info = HfApi().model_info(repository, revision=revision, timeout=TIMEOUT)
        names = [sibling.rfilename for sibling in info.siblings or ()]
        if "adapter_config.json" in names and "config.json" not in names:
            raise adapter_error(repository)
        for name in _needed(names, with_code):
            hf_hub_download(repository, name, revision=info.sha)
        # By the name of the revision, and last: this makes the cache map that name to the commit, which is complete by now.
        return Path(hf_hub_download(repository, "config.json", revision=revision or "main")).parent
    except tuple(REFUSALS) as error:
        refusal = next(refusal for kind, refusal in REFUSALS.items() if isinstance(error, kind))
        raise ModelError(f"{repository!r} {refusal.format(revision=revision)}") from None
    except (httpx2.TransportError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        return _cached_model(repository, revision, error)


def _needed(names: list[str], with_code: bool) -> list[str]:
    """Return the files to download: texts, code if wanted, and weights, pickled ones only if there are no safe ones."""
    safe = [name for name in names if SAFETENSORS.fullmatch(name)]
    texts = [name for name in names if TEXT_FILES.fullmatch(name) or (with_code and CODE.fullmatch(name))]
    return texts + (safe or [name for name in names if PICKLED_WEIGHTS.fullmatch(name)])


def has_weights(names: Iterable[str]) -> bool:
    """Return whether one of the files has weights of a model."""
    return any(SAFETENSORS.fullmatch(name) or PICKLED_WEIGHTS.fullmatch(name) for name in names)


def adapter_error(name: str) -> ModelError:
    """Return the error for files of an adapter without those of a model."""
    return ModelError(
        f"{name!r} is an adapter (LoRA), not a model. Merge it into its base model with peft: merge_and_unload(), then "
        "save_pretrained() of model and tokenizer; pass that folder."
    )


def _cached_model(repository: str, revision: str | None, error: Exception) -> Path:
    reason = brief(error).rstrip(".")
    folder = None
    with suppress(LocalEntryNotFoundError):
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    names = [path.name for path in folder.iterdir()] if folder else []
    has_tokenizer = any(VOCABULARY.fullmatch(name) for name in names)
    parts = {"config.json": "config.json" in names, "weights": has_weights(names), "tokenizer": has_tokenizer}
    if folder is None or not all(parts.values()):
        missing = ", ".join(part for part, found in parts.items() if not found)
        raise EnvironmentFailure(
            f"{repository!r} cannot be fetched from the hub and is not in the cache (missing: {missing}): {reason}. Check the "
            "network, or copy the model's folder to this machine and pass it as --model_name_or_path."
        ) from error
    logger.warning("%s: the hub cannot be reached (%s); using the cached commit %s", repository, reason, folder.name)
    return folder
