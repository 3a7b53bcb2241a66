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


@pytest.mark.parametrize(("layer", "lines"), [("config/tasks/korquad.json", 1), ("command line", 0)])
def test_logs_that_overwrite_output_dir_has_no_effect_in_a_file(settings, caplog, layer, lines):
    chosen = settings(overwrite_output_dir=True)
    chosen._layers["overwrite_output_dir"] = layer
    with caplog.at_level(logging.INFO), pytest.raises(Prepared):
        run_task(chosen, TASKS["nsmc"], FILES, load_split=None)
    messages = [record.getMessage() for record in caplog.records if "overwrite_output_dir" in record.getMessage()]
    assert len(messages) == lines
    assert all(message.startswith(f"{layer}: ") for message in messages)
