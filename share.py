"""Upload a checkpoint with its model card to the Hugging Face hub. Nothing is uploaded with --dry_run."""

import sys

if __name__ == "__main__":
    if sys.flags.safe_path:  # with PYTHONSAFEPATH, the folder of this file is not searched
        sys.path.insert(0, __file__.rpartition("/")[0] or ".")
    from src.common import start

    start.begin()

from pathlib import Path

from processor.definition import find_task
from src.common.cli import Parser, run_command
from src.runs.files import SETTINGS, find_checkpoint, read_definition, read_settings
from src.runs.share import announce, check_name, staged, upload
from src.settings.aliases import refuse_unknown

EPILOG = """
The repository is created if there is none. The token is the one that `hf auth login` has saved, or that of HF_TOKEN.
"""


def main() -> None:
    parser = Parser(description=__doc__, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="ckpt/<run>/checkpoint-<step>, or ckpt/<run> for its selected one"
    )
    parser.add_argument("--to", metavar="USER/NAME", required=True, help="repository on the hub")
    parser.add_argument("--private", action="store_true", help="create a private repository")
    parser.add_argument("--dry_run", action="store_true", help="list the files and their sizes, and upload nothing")
    given, rest = parser.parse_known_args()
    refuse_unknown(rest, vars(given))
    given.checkpoint = find_checkpoint(given.checkpoint)
    name, definition = read_settings(given.checkpoint).task, read_definition(given.checkpoint)
    task = find_task(name, definition, str(given.checkpoint / SETTINGS))
    check_name(given.to)
    announce(given.checkpoint, task)
    with staged(given.checkpoint) as folder:
        for path in sorted(folder.iterdir()):
            print(f"{path.stat().st_size:>15,}  {path.name}")
        if given.dry_run:
            print(f"--dry_run: nothing was uploaded to {given.to}")
        else:
            print(upload(folder, given.to, given.private))


if __name__ == "__main__":
    run_command(main)
