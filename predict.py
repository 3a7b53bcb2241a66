"""Predict with a checkpoint: read JSON lines, TSV or CSV, write JSON lines or CSV."""

import sys

if __name__ == "__main__":
    if sys.flags.safe_path:  # with PYTHONSAFEPATH, the folder of this file is not searched
        sys.path.insert(0, __file__.rpartition("/")[0] or ".")
    from src.common import start

    start.begin()

import math
from argparse import Namespace, RawDescriptionHelpFormatter
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from processor.definition import find_task
from processor.inputs import Inputs
from processor.kinds import KINDS
from src.common.cli import Parser, run_command
from src.common.errors import ConfigError, NumbersError
from src.data.task import Features, Task
from src.predict.csv import LINE, CsvInput, is_csv, open_csv, open_csv_output
from src.predict.lines import open_lines, open_output, parse_lines, predict_rows, write_json
from src.runs.files import SETTINGS, read_definition, read_settings

EPILOG = """
An input is a line; its keys depend on the task of the checkpoint:
  {"text": ...}                      nsmc, hate-speech
  {"text": ..., "pair": ...}         paws, kornli, korsts, question-pair
  {"words": [...]}                   naver-ner
  {"question": ..., "context": ...}  korquad
  {"text": ..., "choices": [...]}    own data to choose from; copa and others with two text columns also have "pair"
or the same values separated by tabs, words by spaces. The first line decides the format. A file that ends with .csv has a header
instead; --text_column and --text_pair_column name the columns, by default those of the training data.

A result is a line, in the order of the inputs: label (or labels) and probabilities, score (korsts), tags, or answer with start,
end (characters of the context) and score. For an invalid line it is {"line": its number, "error": reason}. In a file that ends
with .csv, results are columns after those of the input.
"""


def _open_input(given: Namespace, task: Task, inputs: Inputs, stack: ExitStack) -> CsvInput:
    """Open the input of a command line."""
    columns = {"--text_column": given.text_column, "--text_pair_column": given.text_pair_column}
    choices = given.choice_columns.split(",") if given.choice_columns else task.choices
    if is_csv(given.input):
        if len(task.text) == 1 and given.text_pair_column:
            raise ConfigError("--text_pair_column: the checkpoint's task has one text.")
        if len(choices) != len(task.choices):
            raise ConfigError(f"--choice_columns: found {len(choices)} columns, expected {len(task.choices)}.")
        named = {flag: column or default for (flag, column), default in zip(columns.items(), task.text, strict=False)}
        named |= {f"--choice_columns ({number})": column for number, column in enumerate(choices, start=1)}
        return stack.enter_context(open_csv(given.input, named, given.encoding))
    if any(columns.values()) or given.choice_columns:
        raise ConfigError("--text_column names a column of a CSV file; --input does not end with .csv.")
    return CsvInput(LINE, parse_lines(stack.enter_context(open_lines(given.input)), inputs.keys, inputs.columns), False)


def main() -> None:
    parser = Parser(description=__doc__, epilog=EPILOG, allow_abbrev=False, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a checkpoint: ckpt/<run>/checkpoint-<step>")
    parser.add_argument("--input", type=Path, help="file to read; standard input if not given or -")
    parser.add_argument("--text_column", help="column of a CSV input with the text, the words or the question")
    parser.add_argument("--text_pair_column", help="column of a CSV input with the second text or the context")
    parser.add_argument("--choice_columns", help="columns of a CSV input with the choices, as a,b,c")
    parser.add_argument("--encoding", default="utf-8", help="encoding of a CSV input, such as cp949; default: %(default)s")
    parser.add_argument("--output", type=Path, help="file to write; standard output if not given or -")
    parser.add_argument("--strict", action="store_true", help="stop at the first invalid line")
    parser.add_argument("--trust_native_code", action="store_true", help="load HanBERT's native analyser")
    parser.add_argument("--trust_remote_code", action="store_true", help="run Python code from the checkpoint")
    given = parser.parse_args()
    trust = {"trust_native_code": given.trust_native_code, "trust_remote_code": given.trust_remote_code}
    settings = read_settings(given.checkpoint).model_copy(update=trust)
    task = find_task(settings.task, read_definition(given.checkpoint), str(given.checkpoint / SETTINGS))

    code = KINDS[task.kind]
    with ExitStack() as stack:
        header, rows, for_excel = _open_input(given, task, code.inputs(task, None, settings), stack)
        if is_csv(given.output):
            write = stack.enter_context(open_csv_output(given.output, header, for_excel))
        else:
            write = write_json(stack.enter_context(open_output(given.output)))

        from src.training.evaluate import predict
        from src.training.finetune import load_checkpoint

        tokenizer, task_model = load_checkpoint(settings, task, given.checkpoint)

        def predict_features(features: Features) -> np.ndarray:
            outputs, loss = predict(task_model, features, settings.evaluation_budget)
            if not math.isfinite(loss):
                raise NumbersError(f"{given.checkpoint}: the model's outputs are not finite; its weights are damaged.")
            return outputs

        predict_rows(rows, code.inputs(task, tokenizer, settings), predict_features, write, given.strict)


if __name__ == "__main__":
    run_command(main)
