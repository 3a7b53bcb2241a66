import signal

from src.errors import MAX_PROBLEMS_SHOWN, Interrupted, brief, did_you_mean, list_problems


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


def test_the_reason_of_an_error_is_one_short_line():
    assert brief(ValueError("two\n  lines")) == "two lines"
    assert brief(EOFError()) == "EOFError"
    assert brief(ValueError("x" * 10_000)) == "x" * 300 + " ..."
