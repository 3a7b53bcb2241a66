import signal

import pytest

from src.common.errors import (
    MAX_LINE,
    MAX_LINES,
    MAX_PROBLEMS_SHOWN,
    MAX_QUOTED,
    BenchmarkError,
    DataError,
    Interrupted,
    brief,
    did_you_mean,
    list_problems,
    quote,
    quote_json,
    shorten,
)


def test_suggests_the_most_similar_name():
    assert did_you_mean("nsmcc", ["paws", "nsmc"]) == " Did you mean 'nsmc'?"
    assert did_you_mean("xyz", ["paws", "nsmc"]) == ""


def test_cuts_long_lists_and_counts_the_rest():
    lines = list_problems("title:", [str(number) for number in range(MAX_PROBLEMS_SHOWN + 5)]).splitlines()
    assert (len(lines), lines[0], lines[-1]) == (MAX_PROBLEMS_SHOWN + 2, "title:", "  ... and 5 more")


def test_interrupted_names_signal_exit_code_and_what_is_saved():
    assert (str(Interrupted(signal.SIGINT)), Interrupted(signal.SIGINT).exit_code) == ("interrupted by SIGINT", 130)
    error = Interrupted(signal.SIGTERM, "step 5 is saved")
    assert (str(error), error.exit_code) == ("interrupted by SIGTERM; step 5 is saved", 143)


def test_shortens_a_text_in_its_middle():
    assert shorten("abcdefghijkl", 12) == "abcdefghijkl"
    assert shorten("abcdefghijklm", 12) == "abc ... jklm"
    assert len(shorten("a" * 1000, MAX_LINE)) == MAX_LINE


def test_quotes_values_briefly():
    assert (quote("a\tb"), quote(["x"]), quote_json({"a": "가"})) == (r"'a\tb'", "['x']", '{"a": "가"}')
    for quoted in (quote("가" * 10**6), quote(["a"] * 10**6), quote_json(["가"] * 10**6)):
        assert len(quoted) == MAX_QUOTED


@pytest.mark.parametrize("length", [10, 10**6])
def test_messages_are_limited_and_keep_their_start_and_end(length):
    message = str(DataError(f"f.tsv: found {'x' * length}. Correct the file."))
    assert len(message) <= MAX_LINE
    assert message.startswith("f.tsv: found xxx") and message.endswith("xxx. Correct the file.")
    listed = list_problems("t" * length, ["p" * length] * 20).splitlines()
    assert len(listed) == 2 + MAX_PROBLEMS_SHOWN
    assert max(map(len, listed)) <= MAX_LINE
    lines = str(BenchmarkError("\n".join([*["line"] * length, "Do this."]))).splitlines()
    assert len(lines) == min(length + 1, MAX_LINES)
    assert lines[-1] == "Do this."


def test_the_reason_of_an_error_is_one_short_line():
    assert brief(ValueError("two\n  lines")) == "two lines"
    assert brief(EOFError()) == "EOFError"
    assert brief(FileNotFoundError(2, "No such file or directory", "a/b")) == "No such file or directory"
    assert len(brief(ValueError("x" * 10_000))) == 300
