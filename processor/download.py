"""Download, verify, list and check the published data files.

python3 -m processor.download [TASK | SUITE ...] [--data_dir DIR] [--list | --check]
"""

if __name__ == "__main__":
    from src.common import start

    start.begin()

import argparse
import hashlib
import logging
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from processor.check import check_tasks
from processor.data_files import DATA_DIR, git_blob, is_published
from processor.definition import read_tasks
from src.common.cli import run_command
from src.common.errors import ConfigError, EnvironmentFailure, list_problems
from src.common.files import write_bytes
from src.data.task import PublishedFile, Task, Tasks
from src.settings.aliases import refuse_unknown
from src.settings.command_line import ALL, config_dir_of, find_tasks

logger = logging.getLogger("processor.download")  # __name__ is "__main__" if this file is the command

TIMEOUT_SECONDS = 30
RETRIES = 3


def fetch(task_name: str, task: Task, names: Sequence[str], data_dir: Path, mirror: str | None = None) -> None:
    """Download published files of a task into `data_dir`/<task>.

    mirror: an address or a folder that holds <task>/<file>, instead of the addresses in the task's definition. A file gets its
    name only after its content is verified. Raises EnvironmentFailure if a file cannot be downloaded or differs from the
    published one; the message lists all files that are still missing and where they belong.
    """
    if names:
        logger.info("%s: %s; licence: %s", task.title, task.source, task.licence)
    addresses = {name: f"{mirror.rstrip('/')}/{task_name}/{name}" if mirror else task.files[name].url for name in names}
    for number, name in enumerate(names):
        target = data_dir / task_name / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch_one(addresses[name], task.files[name], target)
        except OSError as error:
            raise EnvironmentFailure(
                f"{target} cannot be written: {error.strerror}. Free disk space, or check the folder's permissions."
            ) from None
        except EnvironmentFailure as error:
            missing = [f"{addresses[other]} belongs at {target.with_name(other)}" for other in names[number:]]
            title = f"{task_name}/{name} cannot be downloaded: {error}. Without network access, put the files there yourself:"
            raise EnvironmentFailure(list_problems(title, missing)) from None
        finally:
            with suppress(OSError):
                target.parent.rmdir()  # if it is empty
        logger.info("%s: downloaded, %s bytes, the published file", target, f"{target.stat().st_size:,}")


def _fetch_one(address: str, published: PublishedFile, target: Path) -> None:
    """Put one file at `target`. Raises EnvironmentFailure with the bare reason, OSError if the file cannot be written."""
    # In a temporary folder next to its place: other commands may be downloading the same file.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
        place, source = Path(folder) / target.name, address.removeprefix("file://")
        if "://" in source:
            _transfer(source, place)
        elif Path(source).is_file():
            place.write_bytes(Path(source).read_bytes())
        else:
            raise EnvironmentFailure(f"there is no file {source}")
        content = place.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        if git_blob(content) != published.git_blob or sha256 != (published.sha256 or sha256):
            raise EnvironmentFailure(f"received {len(content):,} bytes with sha256 {sha256}, which are not the published file")
        write_bytes(place, content)  # anew: pooch's file can be read by its owner alone
        place.replace(target)


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


def _list_files(tasks: Tasks, data_dir: Path) -> None:
    """Print every published file of the tasks, and whether it is there."""
    for name, task in tasks.items():
        print(f"{task.title}: {task.source}; licence: {task.licence}")
        for path in (data_dir / name / file for file in task.files):
            if not path.is_file():
                state = "missing"
            else:
                state = "published" if is_published(path, path.read_bytes(), task.files) else "another file"
            print(f"  {state:<12} {path}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python3 -m processor.download", description="Download, list or check the data files.")
    parser.add_argument("tasks", metavar="TASK", nargs="*", help="names of tasks or suites; default: all, the suite koelectra")
    parser.add_argument("--config_dir", type=Path, default=config_dir_of({}), help="folder with tasks/<task>.json")
    parser.add_argument("--data_dir", type=Path, default=Path(DATA_DIR), help="folder that contains the tasks' folders")
    parser.add_argument("--data_url", help="address or folder to download from instead of the original repository")
    parser.add_argument("--list", action="store_true", help="list the files without downloading")
    parser.add_argument("--check", action="store_true", help="check the files in data_dir without downloading")
    given, rest = parser.parse_known_args()
    refuse_unknown(rest, vars(given))
    problems: list[str] = []
    known = read_tasks(given.config_dir)
    tasks = {name: known[name] for name in find_tasks(given.tasks or [ALL], known, "TASK", problems)}
    if problems:
        raise ConfigError("\n".join(problems))
    if given.check:
        check_tasks(tasks, given.data_dir, given.config_dir)
        return
    if not given.list:
        for name, task in tasks.items():
            missing = [file for file in task.files if not (given.data_dir / name / file).is_file()]
            fetch(name, task, missing, given.data_dir, given.data_url)
    _list_files(tasks, given.data_dir)


if __name__ == "__main__":
    run_command(main, timestamps=False)
