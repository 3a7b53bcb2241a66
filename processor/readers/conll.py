"""The reader of CoNLL files: a word and its tag on a line, sentences separated by blank lines."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from processor.readers.text_files import read_lines
from src.common.errors import MAX_PROBLEMS_SHOWN, DataError, list_problems, quote
from src.common.log import log_once
from src.data.task import Task, ends_with_position

DOCUMENT = "-DOCSTART-"  # the first word of a line between two documents
SPACES = re.compile(" +")  # no other white space: a word may contain U+00A0
OUTSIDE = "O"  # the tag of a word outside of all entities
TAG_FORMS = (re.compile(r"O|[BIES]-.+"), re.compile(r"O|.+-[BIES]"))  # of tags like B-PER, and like PER-B
TAG_RULE = "the tags must be O and, all in the same form, B-PER and I-PER, or PER-B and PER-I. Others are:"


def read_conll(path: Path, task: Task) -> Iterator[tuple[int, list[list[str]]]]:
    """Yield (line, [words, tags]) of every sentence; line: that of its first word.

    The word is the first column, the tag the last. Columns are separated by tabs or, in a line without one, by spaces. A line
    that begins with # is a comment, unless it is a word and a tag. Raises DataError at the end of the file for lines with another
    number of columns than the first one, and if there are no sentences.
    """
    lines = list(read_lines(path, task.encoding))
    rows = (_split(text) for _, text in lines if text.strip() and not text.startswith(("#", DOCUMENT)))
    usual = len(next(rows, ["", ""]))  # columns of the first line that is certainly no comment
    columns, begin, problems, comments, first_comment = 0, 0, [], 0, ""
    words: list[str] = []
    tags: list[str] = []
    for line, text in lines:
        fields = _split(text)
        if not text.strip() or fields[0] == DOCUMENT:
            if words:
                yield begin, [words, tags]
            words, tags = [], []
        elif text.startswith("#") and not _is_word(text, fields, columns or usual, task):
            comments += 1
            first_comment = first_comment or f"line {line}: {quote(text)}"
        elif len(fields) < 2 or len(fields) != (columns or len(fields)) or not fields[0]:
            expected = f"{columns} columns" if columns else "a word and a tag"
            problems.append(f"line {line}: found {quote(text)}, expected {expected}, separated by a tab or spaces")
        else:
            columns = len(fields)
            begin = begin if words else line
            words.append(fields[0])
            tags.append(fields[-1])
    if comments:
        # Once: a run reads the file several times.
        log_once(f"{path}: {comments:,} lines that begin with # are comments, such as {first_comment}")
    if problems:
        raise DataError(list_problems(f"{path}: {len(problems)} malformed lines:", problems))
    if words:
        yield begin, [words, tags]
    if not begin:
        raise DataError(f"{path}: there are no sentences. A line of the file is a word and its tag.")


def _split(text: str) -> list[str]:
    return text.rstrip().split("\t") if "\t" in text else SPACES.split(text.strip(" "))


def _is_word(text: str, fields: list[str], columns: int, task: Task) -> bool:
    """Return whether a line that begins with # is a word and a tag, such as "#맛집 B-LOC", right or malformed."""
    is_tag = fields[-1] in task.labels if task.labels else any(form.fullmatch(fields[-1]) for form in TAG_FORMS)
    return is_tag and ("\t" in text or len(fields) == columns)


def problems_of(task: Task) -> list[str]:
    """Return what is wrong with the tags of a definition."""
    wrong = find_wrong_tags(task.labels or ())
    return [f"labels: {TAG_RULE} {', '.join(wrong[:MAX_PROBLEMS_SHOWN])}"] if wrong else []


def readable_tags(path: Path, tags: Iterable[str], task: Task) -> dict[str, str]:
    """Return tag -> tag in the form B-PER, "O" first. Tags of the file are all in this form, or all in the form PER-B.

    Raises DataError for tags that break TAG_RULE.
    """
    tags = sorted(tags, key=lambda tag: (tag != OUTSIDE, tag))
    if wrong := find_wrong_tags(tags):
        raise DataError(list_problems(f"{path}: {TAG_RULE}", wrong))
    at_end = ends_with_position(tags)
    return {tag: f"{tag[-1]}-{tag[:-2]}" if at_end and tag != OUTSIDE else tag for tag in tags}


def find_wrong_tags(tags: Iterable[str]) -> list[str]:
    """Return a line for each tag that breaks TAG_RULE: those of no form, those of the rarer form, or those that fit both."""
    given = set(tags)
    at_start, at_end = ({tag for tag in given if form.fullmatch(tag)} for form in TAG_FORMS)
    if at_end == given:
        return [f"{quote(tag)}, which could be of both forms: rename its type" for tag in sorted(at_start - {OUTSIDE})]
    others = min(given - at_start, given - at_end, key=len)
    return [quote(tag) for tag in sorted(others)]
