"""Predict with a checkpoint: read JSON lines, TSV or CSV, write JSON lines or CSV."""

import sys

if __name__ == "__main__":
    if sys.flags.safe_path:  # with PYTHONSAFEPATH, the folder of this file is not searched
        sys.path.insert(0, __file__.rpartition("/")[0] or ".")
    from src.common import start

    start.begin()

import math
import sys
from argparse import ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from processor.definition import find_task
from processor.inputs import Inputs
from processor.kinds import KINDS
from src.common.cli import Parser, run_command
from src.common.errors import ConfigError, NumbersError, quote
from src.common.log import is_terminal
from src.data.task import Features
from src.predict.csv import LINE, CsvInput, is_csv, open_csv, open_csv_output
from src.predict.lines import STANDARD, encoding_of_lines, open_lines, open_output, predict_rows, write_json
from src.predict.overwrite import refuse_overwriting
from src.predict.parse import LineParser, refuse_other_formats
from src.predict.progress import RowProgress, count_lines
from src.runs.files import SETTINGS, find_checkpoint, read_definition, read_settings
from src.settings.aliases import refuse_unknown

EPILOG = """
An input is a line; its keys depend on the task of the checkpoint:
  {"text": ...}                      nsmc, hate-speech, klue-ner
  {"text": ..., "pair": ...}         paws, kornli, korsts, question-pair
  {"words": [...]} or {"text": ...}  naver-ner
  {"question": ..., "context": ...}  korquad, klue-mrc
  {"text": ..., "choices": [...]}    hellaswag, and with "pair" copa
  {"text": "... <subj>...</subj> ... <obj>...</obj> ..."}  klue-re
or those of the training data; or the same values separated by tabs, words by spaces. The first line decides the format, and may
name the columns. A file that ends with .csv has a header; --text_column, --text_pair_column and --choice_columns name columns
or keys, by default those of the training data.

A result is a line, in the order of the inputs: label (or labels) and probabilities, score (korsts), tags (of a text also words
and entities), or answer with start, end (characters of the context) and score. For an invalid line it is {"line": its number,
"error": reason}. In a file that ends with .csv, results are columns after those of the input.
"""


def _open_input(given: Namespace, inputs: Inputs, stack: ExitStack) -> CsvInput:
    """Open the input of a command line. inputs: of the checkpoint's task, without a tokenizer."""
    flags = {"--text_column": given.text_column, "--text_pair_column": given.text_pair_column}
    choices = given.choice_columns.split(",") if given.choice_columns else inputs.task.choices
    if len(choices) != len(inputs.task.choices):
        raise ConfigError(f"--choice_columns: found {len(choices)} columns, expected {len(inputs.task.choices)}.")
    if len(inputs.task.text) == 1 and given.text_pair_column:
        raise ConfigError("--text_pair_column: the checkpoint's task has one text.")
    named = {flag: column or default for (flag, column), default in zip(flags.items(), inputs.task.text, strict=False)}
    named |= {f"--choice_columns ({number})": column for number, column in enumerate(choices, start=1)}
    is_named = any(flags.values()) or given.choice_columns is not None
    if given.input:
        refuse_other_formats(given.input)
    if is_csv(given.input):
        others = [form for form in inputs.forms if len(form) == len(named) and not is_named]
        if inputs.task.spans and not is_named:  # else the text in the named column is marked
            others += [tuple(named.values())]
            named |= {f"the column of a span ({number})": column for number, column in enumerate(inputs.task.spans, start=1)}
        return stack.enter_context(open_csv(given.input, named, given.encoding, others))
    lines = stack.enter_context(open_lines(given.input, given.encoding))
    is_table = given.input is not None and given.input.suffix.lower() == ".tsv"
    names = tuple(named.values()) if is_named else ()
    parser = LineParser(inputs, encoding_of_lines(given.encoding), names, is_table)
    return CsvInput(LINE, parser.rows(lines), False)


def _encoding(name: str) -> str:
    """Return the name of an encoding. Raises ArgumentTypeError if Python has none of this name for texts."""
    try:
        "\n".encode(name)
    except (LookupError, ValueError):  # ValueError: a NUL in the name, or a line end that cannot be written
        raise ArgumentTypeError(f"unknown encoding {quote(name)}") from None
    return name


def _positive(number: str) -> int:
    if not number.isdecimal() or int(number) < 1:
        raise ArgumentTypeError(f"found {quote(number)}, expected a number from 1")
    return int(number)


def _progress_of(given: Namespace) -> RowProgress | None:
    """Return the bar for an input file, unless results are printed on the same terminal."""
    is_shown = is_terminal(sys.stderr) and not (given.output is None and is_terminal(sys.stdout))
    return RowProgress(count_lines(given.input)) if is_shown and given.input and given.input.is_file() else None


def main() -> None:
    parser = Parser(description=__doc__, epilog=EPILOG, allow_abbrev=False, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="ckpt/<run>/checkpoint-<step>, or ckpt/<run> for its selected one"
    )
    parser.add_argument("--input", type=Path, help="file to read; standard input if not given or -")
    parser.add_argument("--text_column", help="column or key of the input with the text, the words or the question")
    parser.add_argument("--text_pair_column", help="column or key of the input with the second text or the context")
    parser.add_argument("--choice_columns", help="columns or keys of the input with the answers to choose from, as a,b,c")
    parser.add_argument(
        "--encoding", default="utf-8", type=_encoding, help="encoding of the input, such as cp949; default: %(default)s"
    )
    parser.add_argument("--output", type=Path, help="file to write; standard output if not given or -")
    parser.add_argument("--no_cuda", action="store_true", help="use the CPU, even if there is a GPU")
    parser.add_argument("--batch_tokens", type=_positive, help="most tokens of a batch, padding included; at most 4096 on a CPU")
    parser.add_argument("--strict", action="store_true", help="stop at the first invalid line")
    parser.add_argument("--trust_native_code", action="store_true", help="load HanBERT's native analyser")
    parser.add_argument("--trust_remote_code", action="store_true", help="run Python code from the checkpoint")
    given, rest = parser.parse_known_args()
    refuse_unknown(rest, vars(given))
    given.checkpoint = find_checkpoint(given.checkpoint)
    for name in ("input", "output"):
        setattr(given, name, None if getattr(given, name) == STANDARD else getattr(given, name))
    trust = {"trust_native_code": given.trust_native_code, "trust_remote_code": given.trust_remote_code}
    settings = read_settings(given.checkpoint).model_copy(update=trust)
    task = find_task(settings.task, read_definition(given.checkpoint), str(given.checkpoint / SETTINGS))
    refuse_overwriting(given.input, given.output, given.checkpoint, settings)

    code = KINDS[task.kind]
    with ExitStack() as stack:
        header, rows, for_excel = _open_input(given, code.inputs(task, None, settings), stack)
        if is_csv(given.output):
            write = stack.enter_context(open_csv_output(given.output, header, for_excel))
        else:
            write = write_json(stack.enter_context(open_output(given.output)))

        from src.training.evaluate import predict
        from src.training.finetune import load_checkpoint

        tokenizer, task_model = load_checkpoint(settings, task, given.checkpoint, given.no_cuda)
        progress = _progress_of(given)

        def predict_features(features: Features) -> np.ndarray:
            outputs, loss = predict(task_model, features, given.batch_tokens or settings.evaluation_budget, progress)
            if not math.isfinite(loss):
                raise NumbersError(f"{given.checkpoint}: the model's outputs are not finite; its weights are damaged.")
            return outputs

        chunks = progress.follow(rows) if progress else rows
        predict_rows(chunks, code.inputs(task, tokenizer, settings), predict_features, write, given.strict)


if __name__ == "__main__":
    run_command(main)
