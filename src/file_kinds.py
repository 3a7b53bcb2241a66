"""Recognize files that stand in for the real ones: git-lfs pointers and web pages that were saved under the file's name."""

from pathlib import Path

HEAD_BYTES = 512
LFS_POINTER = b"version https://git-lfs"
WEB_PAGE = (b"<!doctype html", b"<html")


def find_stand_in(path: Path) -> str:
    """Return what is in the file instead of its content, and what to do: "is a git-lfs pointer ...". "" for any other file.

    Raises OSError if the file cannot be read.
    """
    with open(path, "rb") as stream:
        head = stream.read(HEAD_BYTES)
    if head.startswith(LFS_POINTER):
        return "is a git-lfs pointer, not the file itself. Run `git lfs pull` in its folder, or download it again."
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(WEB_PAGE):
        return "is a web page, not the file itself. Download it again: the address of the file, not of its page."
    return ""
