"""Predict with a checkpoint: read JSON lines or TSV, write JSON lines."""

import math
from argparse import RawDescriptionHelpFormatter
from pathlib import Path

import numpy as np

from processor import TASKS
from processor.definition import make_task
from processor.kinds import KINDS
from src.cli import Parser, run_command
from src.data import Features, Task
from src.errors import CheckpointError, NumbersError
from src.predict_lines import open_lines, open_output, predict_lines
from src.run_files import SETTINGS, read_definition, read_settings

EPILOG = """
An input is a line; its keys depend on the task of the checkpoint:
  {"text": ...}                      nsmc, hate-speech
  {"text": ..., "pair": ...}         paws, kornli, korsts, question-pair
  {"words": [...]}                   naver-ner
  {"question": ..., "context": ...}  korquad
or the same values separated by tabs, words by spaces. The first line decides the format.

A result is a line, in the order of the inputs: label and probabilities, score (korsts), tags, or answer with start, end
(characters of the context) and score. For an invalid line it is {"line": its number, "error": reason}.
"""


def find_task(name: str, checkpoint: Path) -> Task:
    """Return the task of a checkpoint. Raises CheckpointError if it is unknown, ConfigError if its definition is damaged."""
    if definition := read_definition(checkpoint):
        return make_task(name, definition, str(checkpoint / SETTINGS))
    if name not in TASKS:
        raise CheckpointError(f"{checkpoint}: unknown task {name!r}; tasks are {', '.join(TASKS)}.")
    return TASKS[name]


def main() -> None:
    parser = Parser(description=__doc__, epilog=EPILOG, allow_abbrev=False, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a checkpoint: ckpt/<run>/checkpoint-<step>")
    parser.add_argument("--input", type=Path, help="file to read; standard input if not given or -")
    parser.add_argument("--output", type=Path, help="file to write; standard output if not given or -")
    parser.add_argument("--strict", action="store_true", help="stop at the first invalid line")
    parser.add_argument("--trust_native_code", action="store_true", help="load HanBERT's native analyser")
    parser.add_argument("--trust_remote_code", action="store_true", help="run Python code from the checkpoint")
    given = parser.parse_args()
    trust = {"trust_native_code": given.trust_native_code, "trust_remote_code": given.trust_remote_code}
    settings = read_settings(given.checkpoint).model_copy(update=trust)
    task = find_task(settings.task, given.checkpoint)

    with open_lines(given.input) as lines, open_output(given.output) as write:
        from src.evaluate import predict
        from src.finetune import load_checkpoint

        tokenizer, task_model = load_checkpoint(settings, task, given.checkpoint)

        def predict_features(features: Features) -> np.ndarray:
            outputs, loss = predict(task_model, features, settings.evaluation_budget)
            if not math.isfinite(loss):
                raise NumbersError(f"{given.checkpoint}: the model's outputs are not finite; its weights are damaged.")
            return outputs

        inputs = KINDS[task.kind].inputs(task, tokenizer, settings)
        predict_lines(lines, inputs, predict_features, write, given.strict)


if __name__ == "__main__":
    run_command(main)
