"""Use a checkpoint: label, tag or answer what comes in as JSON lines or TSV, and write JSON lines."""

import math
from argparse import RawDescriptionHelpFormatter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from processor import TASKS, ner, seq_cls, squad
from src.cli import Parser, run_command
from src.errors import CheckpointError, NumbersError
from src.predict_lines import open_lines, open_output, predict_lines
from src.progress import start_logging
from src.run_status import read_settings

INPUTS: Mapping[str, Any] = {"run_seq_cls.py": seq_cls.Inputs, "run_ner.py": ner.Inputs, "run_squad.py": squad.Inputs}

EPILOG = """
An input is a line, by the task of the checkpoint:
  {"text": ...}                      nsmc, hate-speech
  {"text": ..., "pair": ...}         paws, kornli, korsts, question-pair
  {"words": [...]}                   naver-ner
  {"question": ..., "context": ...}  korquad
or the same values with a tab between them, words with spaces. The first line decides which.

A result is a line, in the same order: label and probabilities, score (korsts), tags, or answer with start, end
(characters of the context) and score. A line that cannot be used gives {"line": its number, "error": why}.
"""


def main() -> None:
    start_logging()
    parser = Parser(description=__doc__, epilog=EPILOG, allow_abbrev=False, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a checkpoint: ckpt/<run>/checkpoint-<step>")
    parser.add_argument("--input", type=Path, help="file to read; standard input if not given")
    parser.add_argument("--output", type=Path, help="file to write; standard output if not given")
    parser.add_argument("--strict", action="store_true", help="stop at the first line that cannot be used")
    parser.add_argument("--trust_native_code", action="store_true", help="load the analyser that HanBERT needs")
    parser.add_argument("--trust_remote_code", action="store_true", help="run Python code that the checkpoint names")
    given = parser.parse_args()
    trust = {"trust_native_code": given.trust_native_code, "trust_remote_code": given.trust_remote_code}
    settings = read_settings(given.checkpoint).model_copy(update=trust)
    if settings.task not in TASKS:
        raise CheckpointError(f"{given.checkpoint}: its task is {settings.task!r}; known are {', '.join(TASKS)}.")
    task = TASKS[settings.task]

    with open_lines(given.input) as lines, open_output(given.output) as write:
        from src.evaluate import predict
        from src.finetune import load_checkpoint

        tokenizer, task_model = load_checkpoint(settings, task, given.checkpoint)

        def outputs(features: Any) -> Any:
            found, loss = predict(task_model, features, settings.evaluation_budget)
            if not math.isfinite(loss):
                raise NumbersError(f"{given.checkpoint}: the model's outputs are not finite numbers; its weights are damaged.")
            return found

        predict_lines(lines, INPUTS[task.script](task, tokenizer, settings), outputs, write, given.strict)


if __name__ == "__main__":
    run_command(main)
