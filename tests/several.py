"""Runs on several processes, for the tests of them: how they are started, and what they leave."""

import json
import re
import shutil

from processor.definition import TASKS
from tests.commands import run_ranks
from tests.conftest import SAMPLE

SHORT = ["--max_steps", "12", "--save_steps", "4", "--logging_steps", "6", "--log_every", "1"]
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "summary_last_dropout")


class Runs:
    """Runs of the tiny model on the sample in a test's folder: runs(processes, name, *flags) makes the run ckpt/<name>."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copytree(SAMPLE / "tiny-electra", folder / "model")

    def __call__(self, processes, name, *flags, task="nsmc", before=None):
        """Run on so many forked processes; return what each of them did. before: see run_ranks."""
        script = TASKS[task].script if task in TASKS else "run_seq_cls.py"
        return run_ranks(processes, script, *self.arguments(name, task), *flags, before=before)

    def arguments(self, name, task="nsmc"):
        places = ["--ckpt_dir", str(self.folder / "ckpt"), "--output_dir", name]
        places += ["--feature_cache_dir", str(self.folder / "cache"), "--data_dir", "data/sample"]
        model = ["--config_file", "tiny.json", "--model_name_or_path", str(self.folder / "model"), "--from_scratch"]
        return ["--task", task, *model, *places]

    def without_dropout(self):
        config = self.folder / "model" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | dict.fromkeys(DROPOUTS, 0.0)))


def log_of(folder):
    """The lines of a run's log.jsonl."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def own_lines(errors):
    """The lines on standard error that are not torch's: those with the time, error messages, the head of a traceback."""
    return [line for line in errors.splitlines() if re.match(r"\d\d:\d\d:\d\d |error: |interrupted |Traceback", line)]
