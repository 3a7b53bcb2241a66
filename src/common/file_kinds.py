"""Recognize files that stand in for the real ones, by how they begin: git-lfs pointers, web pages, archives."""

# What a file begins with, in lower case -> what it is, and what to do.
STAND_INS = {
    b"version https://git-lfs": "is a git-lfs pointer, not the file. Run `git lfs pull` in its folder, or download it again.",
    b"<!doctype html": "is a web page, not the file itself. Download it again: the address of the file, not of its page.",
    b"<html": "is a web page, not the file itself. Download it again: the address of the file, not of its page.",
}
ARCHIVES = {b"pk\x03\x04": "is a zip archive. Unpack it.", b"\x1f\x8b": "is compressed by gzip. Unpack it."}


def find_stand_in(content: bytes) -> str:
    """Return what is in a file instead of its content, and what to do: "is a git-lfs pointer ..."; "" for any other file.

    content: the file, or at least its first 100 bytes.
    """
    start = content[:1000].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((meaning for beginning, meaning in STAND_INS.items() if start.startswith(beginning)), "")


def find_archive(content: bytes) -> str:
    """Return that a file is an archive, and what to do; "" for any other file. Files of weights may well be archives."""
    return next((meaning for beginning, meaning in ARCHIVES.items() if content[:10].lower().startswith(beginning)), "")
