"""Upload a checkpoint to the Hugging Face hub: which of its files, without paths of this machine, and what may go wrong."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from src.common.errors import BenchmarkError, CheckpointError, ConfigError, EnvironmentFailure, brief
from src.common.files import read_json, without_folders, write_json
from src.data.task import Task
from src.runs.card import licence_notice
from src.runs.files import CARD, SETTINGS

logger = logging.getLogger(__name__)

# The files of a model. What else lies in the folder, such as predictions with texts of a corpus, is never uploaded.
MODEL_FILES = re.compile(
    r"README\.md|settings\.json|(generation_|tokenizer_)?config\.json|model[^/]*\.safetensors(\.index\.json)?|tokenizer\.json"
    r"|special_tokens_map\.json|added_tokens\.json|vocab[^/]*|merges\.txt|[^/]+\.model|\w+\.py"
)
PARTS_WITH_PATHS = ("settings", "layers", "data")  # of settings.json

LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN to a token with write access."
# Status of an answer of the hub -> what the user can do; any other is a failure of the network or the hub.
REFUSALS = {
    400: "the hub refuses it. Choose another name, or correct README.md.",
    401: f"the hub does not accept the token. {LOG_IN}",
    403: f"the token may not write there. Name a repository of your own. {LOG_IN}",
    404: f"there is no such user or organization, or the token may not write there. {LOG_IN}",
}


def announce(checkpoint: Path, task: Task) -> None:
    """Log the licence of the corpus, and what in the checkpoint's folder is not uploaded."""
    logger.warning("%s", licence_notice(task))
    others = {path.name for path in checkpoint.iterdir()} - {path.name for path in model_files(checkpoint)}
    if others:
        logger.info("not of the model, left out: %s", ", ".join(sorted(others)))


@contextmanager
def staged(checkpoint: Path) -> Iterator[Path]:
    """Yield a temporary folder with exactly the files to upload: links to those of the model, and a settings.json of its own.

    In it, absolute paths are shortened to their last part. Raises CheckpointError if there is no README.md.
    """
    if not (checkpoint / CARD).is_file():
        raise CheckpointError(f"{checkpoint}: its model card, {CARD}, is missing. Write one: it tells what the model is.")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for path in model_files(checkpoint):
            (folder / path.name).symlink_to(path.resolve())
        (folder / SETTINGS).unlink()
        record = read_json(checkpoint / SETTINGS)
        parts = {part: without_folders(record[part]) for part in PARTS_WITH_PATHS if part in record}
        write_json(folder / SETTINGS, record | parts)
        yield folder


def model_files(checkpoint: Path) -> list[Path]:
    """Return the files of the model in a checkpoint's folder, sorted by name."""
    return sorted(path for path in checkpoint.iterdir() if path.is_file() and MODEL_FILES.fullmatch(path.name))


def check_name(repository: str) -> None:
    """Raise ConfigError if `repository` is not owner/name as the hub wants it."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    with suppress(HFValidationError):
        validate_repo_id(repository)
        if "/" in repository:
            return
    raise ConfigError(f"--to {repository!r} is not a name on the hub, which is USER/NAME: letters, digits, '-', '_' and '.'.")


def upload(folder: Path, repository: str, private: bool) -> str:
    """Upload all files of a folder in one commit, create the repository if there is none, and return its address.

    Raises ConfigError if there is no token or the hub refuses it or the name, and if a private repository is wanted but the
    existing one is public; EnvironmentFailure if the hub cannot be reached.
    """
    from huggingface_hub import HfApi, get_token

    if not get_token():
        raise ConfigError(f"no token of the hub is known on this machine. {LOG_IN}")
    api = HfApi()
    try:
        address = api.create_repo(repository, private=private or None, exist_ok=True)
        if private and not api.model_info(repository).private:
            raise ConfigError(f"{repository} exists and is public. Name another repository, or make it private on its page.")
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload a checkpoint")
    except BenchmarkError:
        raise
    except Exception as error:  # libraries for HTTP, git-lfs and Xet have their own
        raise _upload_error(error, repository) from error
    return str(address)


def _upload_error(error: Exception, repository: str) -> BenchmarkError:
    """Return the error of this project for one of an upload."""
    if isinstance(error.__cause__, BenchmarkError):  # such as Interrupted
        return error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if refusal := REFUSALS.get(status or 0):
        return ConfigError(f"{repository}: {refusal}")
    if isinstance(error, ValueError):  # from the hub's check of the metadata
        return ConfigError(f"{repository}: {brief(error)}")
    reason = brief(error.__cause__ or error).rstrip(".")  # the cause: "Error while uploading model.safetensors" says little
    return EnvironmentFailure(
        f"{repository}: the upload failed: {reason}. The files on the hub are as before; check the network and try again."
    )
