"""Download, verify, list and check the published data files.

python3 -m processor.download [TASK ...] [--data_dir DIR] [--list | --check]
"""

import argparse
import hashlib
import logging
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
from src.errors import ConfigError, EnvironmentFailure, did_you_mean, list_problems, quote
from src.files import write_bytes
from src.settings import Settings

logger = logging.getLogger("processor.download")  # __name__ is "__main__" if this file is the command

DATA_DIR = "data"  # the only folder that runs download into
TIMEOUT_SECONDS = 30
RETRIES = 3


def find_files(settings: Settings) -> dict[str, DataFile]:
    """Return the data file of each split of a run; in the default data_dir, missing published files are downloaded first.

    Raises DataError for a missing file, EnvironmentFailure if a download fails.
    """
    if settings.download and settings.data_dir == DATA_DIR:
        names = [f"{path.parent.name}/{path.name}" for path in settings.data_files.values() if not path.is_file()]
        published = [name for name in dict.fromkeys(names) if name in data_file_digests()[1]]
        fetch(published, Path(settings.data_dir), settings.data_url)
    return describe_files(settings.data_files)


def fetch(names: Sequence[str], data_dir: Path, url: str | None = None) -> None:
    """Download published files, <task>/<file>, into `data_dir`. url: an address or a folder; default: the original repository.

    A file gets its name only after its content is verified. Raises EnvironmentFailure if a file cannot be downloaded or differs
    from the published one; the message lists all files that are still missing and where they belong.
    """
    url = (url or data_file_digests()[0]).rstrip("/")
    logged: set[str] = set()
    for number, name in enumerate(names):
        task, target = TASKS[name.split("/")[0]], data_dir / name
        if task.title not in logged:
            logger.info("%s: %s; licence: %s", task.title, task.address, task.licence)
            logged.add(task.title)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch_one(url, name, target)
        except OSError as error:
            raise EnvironmentFailure(
                f"{target} cannot be written: {error.strerror}. Free disk space, or check the folder's permissions."
            ) from None
        except EnvironmentFailure as error:
            missing = [f"{url}/{other} belongs at {data_dir / other}" for other in names[number:]]
            title = f"{name} cannot be downloaded: {error}. Without network access, put the files there yourself:"
            raise EnvironmentFailure(list_problems(title, missing)) from None
        finally:
            with suppress(OSError):
                target.parent.rmdir()  # if it is empty
        logger.info("%s: downloaded, %s bytes, the published file", target, f"{target.stat().st_size:,}")


def _fetch_one(url: str, name: str, target: Path) -> None:
    """Put one file at `target`. Raises EnvironmentFailure with the bare reason, OSError if the file cannot be written."""
    # In a temporary folder next to its place: other commands may be downloading the same file.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
        place = Path(folder) / target.name
        mirror = Path(url.removeprefix("file://"))
        if not mirror.is_dir():
            _transfer(f"{url}/{name}", place)
            content = place.read_bytes()
        elif (mirror / name).is_file():
            content = (mirror / name).read_bytes()
        else:
            raise EnvironmentFailure(f"it is not in {mirror}")
        _verify(name, content)
        write_bytes(place, content)  # anew: pooch's file can be read by its owner alone
        place.replace(target)


def _verify(name: str, content: bytes) -> None:
    """Raise EnvironmentFailure if `content` is not that of the published file."""
    published, sha256 = data_file_digests()[1][name], hashlib.sha256(content).hexdigest()
    if git_blob(content) != published["git_blob"] or sha256 != published.get("sha256", sha256):
        raise EnvironmentFailure(f"received {len(content):,} bytes with sha256 {sha256}, which are not the published file")


def _transfer(address: str, place: Path) -> None:
    import pooch  # imported here: most runs download nothing
    from requests.exceptions import ChunkedEncodingError, ConnectionError, HTTPError, RequestException, Timeout

    pooch.get_logger().setLevel(logging.WARNING)
    logger.info("downloading %s", address)
    registry = pooch.create(
        path=place.parent, base_url=address.removesuffix(place.name), registry={place.name: None}, retry_if_failed=RETRIES
    )
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT_SECONDS)
    try:
        registry.fetch(place.name, downloader=downloader)
    except HTTPError as error:
        raise EnvironmentFailure(f"the server answers {error.response.status_code}") from None
    except (ConnectionError, Timeout, ChunkedEncodingError):
        raise EnvironmentFailure(f"{urlsplit(address).hostname} cannot be reached, or the connection broke") from None
    except (RequestException, ValueError) as error:
        raise EnvironmentFailure(" ".join(str(error).split()).rstrip(".")) from None


def _list_files(tasks: Iterable[str], data_dir: Path) -> None:
    """Print every file of the tasks, and whether it is the published one."""
    _, published = data_file_digests()
    for task in tasks:
        print(f"{TASKS[task].title}: {TASKS[task].address}; licence: {TASKS[task].licence}")
        for name in (name for name in published if name.startswith(f"{task}/")):
            path = data_dir / name
            if not path.is_file():
                state = "missing"
            else:
                state = "published" if git_blob(path.read_bytes()) == published[name]["git_blob"] else "another file"
            print(f"  {state:<12} {path}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python3 -m processor.download", description="Download, list or check the data files.")
    parser.add_argument("tasks", metavar="TASK", nargs="*", help=f"default: all tasks: {', '.join(TASKS)}")
    parser.add_argument("--data_dir", type=Path, default=Path(DATA_DIR), help="folder that contains the tasks' folders")
    parser.add_argument("--data_url", help="address or folder to download from instead of the original repository")
    parser.add_argument("--list", action="store_true", help="list the files without downloading")
    parser.add_argument("--check", action="store_true", help="check the files in data_dir without downloading")
    given = parser.parse_args()
    for task in given.tasks:
        if task not in TASKS:
            raise ConfigError(f"{quote(task)} is not a task; choose from {', '.join(TASKS)}.{did_you_mean(task, TASKS)}")
    tasks = given.tasks or list(TASKS)
    if given.check:
        check_tasks(tasks, given.data_dir)
        return
    if not given.list:
        names = [name for name in data_file_digests()[1] if name.split("/")[0] in tasks]
        fetch([name for name in names if not (given.data_dir / name).is_file()], given.data_dir, given.data_url)
    _list_files(tasks, given.data_dir)


if __name__ == "__main__":
    run_command(main, timestamps=False)
