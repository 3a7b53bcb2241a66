import logging

import pytest

from processor.definition import TASKS
from src.pipeline import run_task
from src.training import finetune
from tests.src.run_folders import FILES, finished


class Prepared(Exception):
    """Raised instead of loading a model."""


@pytest.fixture(autouse=True)
def never_loads(monkeypatch):
    def prepare(run, task):
        raise Prepared

    monkeypatch.setattr(finetune, "prepare", prepare)


def test_prints_the_scores_of_a_finished_run(settings, capsys):
    run = finished(settings)
    run.state_file.parent.mkdir()  # left by a process that was killed just before its end
    run_task(settings(), TASKS["nsmc"], FILES, load_split=None)
    assert capsys.readouterr().out == run.report() + "\n"
    assert not run.state_file.parent.exists()


def test_overwrite_output_dir_in_a_file_is_silently_without_effect(settings, caplog):
    chosen = settings(overwrite_output_dir=True)
    chosen._layers["overwrite_output_dir"] = "config/tasks/korquad.json"
    with caplog.at_level(logging.INFO), pytest.raises(Prepared):
        run_task(chosen, TASKS["nsmc"], FILES, load_split=None)
    assert "overwrite_output_dir" not in caplog.text
