"""The published data files: fetched, verified, listed, checked.

python3 -m processor.download [TASK ...] [--data_dir DIR] [--list | --check]
"""

import argparse
import hashlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from processor import TASKS
from processor.check import check_tasks
from processor.data_files import data_file_digests, describe_files, git_blob
from src.cli import run_command
from src.data import DataFile
from src.errors import ConfigError, EnvironmentFailure, did_you_mean, list_problems
from src.settings import Settings

logger = logging.getLogger(__name__)

DATA_DIR = "data"  # the only folder that anything is fetched into unasked
SECONDS_TO_ANSWER = 30
RETRIES = 3


def find_files(settings: Settings) -> dict[str, DataFile]:
    """The data file of each split that a run needs; published ones that are missing are fetched into the default data_dir.

    Raises DataError for a file that is missing, EnvironmentFailure where it cannot be fetched.
    """
    if settings.download and settings.data_dir == DATA_DIR:
        names = [f"{path.parent.name}/{path.name}" for path in settings.data_files.values() if not path.is_file()]
        fetch(
            [name for name in dict.fromkeys(names) if name in data_file_digests()[1]], Path(settings.data_dir), settings.data_url
        )
    return describe_files(settings.data_files)


def fetch(names: Sequence[str], data_dir: Path, url: str | None = None) -> None:
    """Fetch published files, <task>/<file>, into `data_dir`, from the original's repository or the address or folder `url`.

    A file has its name there only once its content is the published one. Raises EnvironmentFailure where one cannot be fetched
    or is another file; it names all that are still missing, and where they belong.
    """
    url = (url or data_file_digests()[0]).rstrip("/")
    told: set[str] = set()
    for number, name in enumerate(names):
        task, target = TASKS[name.split("/")[0]], data_dir / name
        if task.title not in told:
            logger.info("%s: %s; licence: %s", task.title, task.address, task.licence)
            told.add(task.title)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch_one(url, name, target)
        except OSError as error:
            raise EnvironmentFailure(
                f"{target} cannot be written: {error.strerror}. Free the disk, or mend the folder."
            ) from None
        except EnvironmentFailure as error:
            left = [f"{url}/{other} belongs at {data_dir / other}" for other in names[number:]]
            title = f"{name} cannot be fetched: {error}. Where there is no network, put the files there yourself:"
            raise EnvironmentFailure(list_problems(title, left)) from None
        finally:
            with suppress(OSError):
                target.parent.rmdir()  # if it is empty
        logger.info("%s: fetched, %s bytes, the published file", target, f"{target.stat().st_size:,}")


def _fetch_one(url: str, name: str, target: Path) -> None:
    """Put one file at `target`. Raises EnvironmentFailure with the bare reason, and OSError where the disk is at fault."""
    # In a folder of its own beside its place: other commands may be fetching the same file.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
        place = Path(folder) / target.name
        mirror = Path(url.removeprefix("file://"))
        if mirror.is_dir():
            if not (mirror / name).is_file():
                raise EnvironmentFailure(f"{mirror} does not hold it")
            shutil.copyfile(mirror / name, place)
        else:
            _transfer(f"{url}/{name}", place)
        content = place.read_bytes()
        found = {"git_blob": git_blob(content), "sha256": hashlib.sha256(content).hexdigest()}
        if any(data_file_digests()[1][name].get(kind, digest) != digest for kind, digest in found.items()):
            size, digest = f"{len(content):,}", found["sha256"]
            raise EnvironmentFailure(
                f"what came is not the published file: {size} bytes with sha256 {digest}, which are not kept"
            )
        place.chmod(0o666 & ~_umask())  # a temporary file is its owner's alone, but a data file is for all
        place.replace(target)


def _transfer(address: str, place: Path) -> None:
    import pooch  # here, as a run whose files are there does not need it
    from requests.exceptions import ChunkedEncodingError, ConnectionError, HTTPError, RequestException, Timeout

    pooch.get_logger().setLevel(logging.WARNING)
    logger.info("fetching %s", address)
    shelf = pooch.create(
        path=place.parent, base_url=address.removesuffix(place.name), registry={place.name: None}, retry_if_failed=RETRIES
    )
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=SECONDS_TO_ANSWER)
    try:
        shelf.fetch(place.name, downloader=downloader)
    except HTTPError as error:
        raise EnvironmentFailure(f"the server answers {error.response.status_code}") from None
    except (ConnectionError, Timeout, ChunkedEncodingError):
        raise EnvironmentFailure(f"{urlsplit(address).hostname} cannot be reached, or the transfer broke") from None
    except (RequestException, ValueError) as error:
        raise EnvironmentFailure(" ".join(str(error).split()).rstrip(".")) from None


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _show(tasks: Iterable[str], data_dir: Path) -> None:
    """Print what is there."""
    _, known = data_file_digests()
    for task in tasks:
        print(f"{TASKS[task].title}: {TASKS[task].address}; licence: {TASKS[task].licence}")
        for name in (name for name in known if name.startswith(f"{task}/")):
            path = data_dir / name
            if not path.is_file():
                state = "missing"
            else:
                state = "published" if git_blob(path.read_bytes()) == known[name]["git_blob"] else "another file"
            print(f"  {state:<12} {path}")


def main() -> None:
    """The command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python3 -m processor.download", description="Fetch, list or check the data files.")
    parser.add_argument("tasks", metavar="TASK", nargs="*", help=f"all of them if none is named: {', '.join(TASKS)}")
    parser.add_argument("--data_dir", type=Path, default=Path(DATA_DIR), help="folder of the tasks' folders")
    parser.add_argument("--data_url", help="address or folder to fetch from, not the original's repository")
    parser.add_argument("--list", action="store_true", help="say which files are there, and fetch nothing")
    parser.add_argument("--check", action="store_true", help="look into the files that are there, and fetch nothing")
    given = parser.parse_args()
    for task in given.tasks:
        if task not in TASKS:
            raise ConfigError(f"{task!r} is no task; choose from {', '.join(TASKS)}.{did_you_mean(task, TASKS)}")
    tasks = given.tasks or list(TASKS)
    if given.check:
        check_tasks(tasks, given.data_dir)
        return
    if not given.list:
        missing = [
            name for name in data_file_digests()[1] if name.split("/")[0] in tasks and not (given.data_dir / name).is_file()
        ]
        fetch(missing, given.data_dir, given.data_url)
    _show(tasks, given.data_dir)


if __name__ == "__main__":
    run_command(main)
