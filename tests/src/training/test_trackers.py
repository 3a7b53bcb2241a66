from types import SimpleNamespace

from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from src.training.trackers import Tracker


def test_a_tracker_that_fails_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    def fail(*arguments, **options):
        raise ConnectionError("no route to host")

    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", SimpleNamespace(requires_logging_directory=False, __call__=fail))
    settings = SimpleNamespace(report_to="tensorboard", output_dir="run")
    tracker = Tracker(SimpleNamespace(settings=settings, folder=tmp_path))
    tracker.update()
    tracker.update()
    tracker.close()
    assert caplog.text.count("tensorboard gets no more records of this run") == 1
