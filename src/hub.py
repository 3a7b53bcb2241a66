"""The files of a model from the Hugging Face hub: asked once, one commit, then a folder like any other."""

import errno
import logging
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

import httpx2  # what huggingface_hub speaks with
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

from src.errors import EnvironmentFailure, ModelError

logger = logging.getLogger(__name__)
hub_logging.set_verbosity_error()  # what matters is said here

SECONDS_TO_ANSWER = 5.0
TEXT_FILES = re.compile(r"[^/]+\.(json|txt|model)")  # configs and vocabularies, right in the repository
CODE = re.compile(r"(\w+/)*\w+\.py")
SAFE_WEIGHTS = re.compile(r"model[^/]*\.safetensors")
OLD_WEIGHTS = re.compile(r"pytorch_model[^/]*\.bin")  # read by torch's safe unpickler


@cache
def fetch_model(repository: str, revision: str | None, with_code: bool = False) -> Path:
    """The folder of a hub id's files, whose name is their commit; from the cache where the hub is out of reach.

    `with_code`: its Python files, too. Raises ModelError where there is no such id or revision, or it may not be read,
    EnvironmentFailure where the hub cannot be reached and the cache does not have it.
    """
    logger.info("%s: looking it up on the hub", repository)
    try:
        info = HfApi().model_info(repository, revision=revision, timeout=SECONDS_TO_ANSWER)
        for name in _wanted([sibling.rfilename for sibling in info.siblings or ()], with_code):
            hf_hub_download(repository, name, revision=info.sha)
        # Last, and by the name of the revision: only now the cache takes that name for the commit that is whole.
        return Path(hf_hub_download(repository, "config.json", revision=revision or "main")).parent
    except HFValidationError:
        raise ModelError(f"{repository!r} is neither a folder nor a hub id. A hub id is owner/name.") from None
    except GatedRepoError:
        raise ModelError(f"{repository!r} asks for consent: give it on its page, then log in with `hf auth login`.") from None
    except RevisionNotFoundError:
        raise ModelError(f"{repository!r} has no revision {revision!r}. Its page lists branches, tags and commits.") from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"{repository!r} is not on the hub, or not for everybody. Check how it is written, or log in with `hf auth login`."
        ) from None
    except RemoteEntryNotFoundError:
        raise ModelError(f"{repository!r} has no config.json: it is no model of transformers. Choose another.") from None
    except (httpx2.TransportError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise  # the disk, which a copy in the cache would not cure
        return _from_cache(repository, revision, error)


def _wanted(names: list[str], with_code: bool) -> list[str]:
    safe = [name for name in names if SAFE_WEIGHTS.fullmatch(name)]
    texts = [name for name in names if TEXT_FILES.fullmatch(name) or (with_code and CODE.fullmatch(name))]
    return texts + (safe or [name for name in names if OLD_WEIGHTS.fullmatch(name)])


def _from_cache(repository: str, revision: str | None, error: Exception) -> Path:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    folder = None
    with suppress(LocalEntryNotFoundError):
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    names = [path.name for path in folder.iterdir()] if folder else []
    if folder is None or "config.json" not in names or not any(_is_weights(name) for name in names):
        raise EnvironmentFailure(
            f"{repository!r} cannot be fetched from the hub and is not in its cache: {reason}. Check the network, or copy the "
            "model's folder here and give that as --model_name_or_path."
        ) from error
    logger.warning("%s: the hub cannot be asked (%s); the copy in the cache is used, commit %s", repository, reason, folder.name)
    return folder


def _is_weights(name: str) -> bool:
    return bool(SAFE_WEIGHTS.fullmatch(name) or OLD_WEIGHTS.fullmatch(name))
