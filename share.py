"""Upload a checkpoint with its model card to the Hugging Face hub. Nothing is uploaded with --dry_run."""

from pathlib import Path

from predict import find_task
from src.cli import Parser, run_command
from src.run_files import read_settings
from src.share import announce, check_name, staged, upload

EPILOG = """
The repository is created if there is none. The token is the one that `hf auth login` has saved, or that of HF_TOKEN.
"""


def main() -> None:
    parser = Parser(description=__doc__, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a checkpoint: ckpt/<run>/checkpoint-<step>")
    parser.add_argument("--to", metavar="USER/NAME", required=True, help="repository on the hub")
    parser.add_argument("--private", action="store_true", help="create a private repository")
    parser.add_argument("--dry_run", action="store_true", help="list the files and their sizes, and upload nothing")
    given = parser.parse_args()
    task = find_task(read_settings(given.checkpoint).task, given.checkpoint)
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
    run_command(main, one_process=True)
