"""Standard streams as shells, services and notebooks hand them over: closed, full, in ASCII, without a descriptor."""

import contextlib
import io
import json
import logging
import runpy
import subprocess
import sys

import pytest

from src.common.cli import run_command as run_main
from tests.commands import ROOT

TINY = ["--task", "nsmc", "--config_file", "tiny.json", "--data_dir", "data/sample", "--max_steps", "2"]


def shell(line, **environment):
    """Run a shell command line; `python` in it is this Python."""
    line = line.replace("python ", f"{sys.executable} ")
    return subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment or None)


@pytest.mark.long
def test_streams_that_are_closed_full_or_in_ascii(tmp_path):
    """One test, as it needs a run, whose folder has a Korean name."""
    places = f"--ckpt_dir '{tmp_path}/한글 폴더' --output_dir '실 험' --feature_cache_dir '{tmp_path}/cache'"
    command = f"python run_seq_cls.py {' '.join(TINY)} {places}"
    done = shell(command, PYTHONIOENCODING="ascii", PATH="/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert r"\uc2e4 \ud5d8" in done.stdout

    # The run is finished: only its scores are printed.
    done = shell(f"{command} <&- >&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = shell(f"{command} >/dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: No space left on device: standard output.")
    assert "Exception" not in done.stderr

    predict = f"python predict.py --checkpoint '{tmp_path}/한글 폴더/실 험/checkpoint-2'"
    done = shell(f"echo 좋다 | {predict} --input - --output - 2>&-")
    assert (done.returncode, json.loads(done.stdout)["label"] in ("0", "1")) == (0, True)
    for redirection, flag in (("<&-", "--input"), (">&- </dev/null", "--output")):
        done = shell(f"{predict} {redirection}")
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1 and flag in done.stderr


@pytest.mark.parametrize("action", ["--print_settings", "--help"])
def test_settings_and_help_in_ascii(action):
    done = shell(f"python run_seq_cls.py {' '.join(TINY)} --output_dir 한 {action}", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr


class NotebookStream(io.StringIO):
    """A stream of ipykernel: it has no descriptor, no `reconfigure`, and is no terminal."""

    def fileno(self):
        raise io.UnsupportedOperation("fileno")


def in_notebook(script, *arguments):
    """Run a command as `%run` does, in this process; return what it prints on both streams."""
    output, errors = NotebookStream(), NotebookStream()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", NotebookStream())
        patch.setattr(sys, "argv", [script, *map(str, arguments)])
        with contextlib.suppress(SystemExit):
            runpy.run_path(str(ROOT / script), run_name="__main__")
    return output.getvalue(), errors.getvalue()


def test_two_runs_and_a_prediction_in_a_notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    root, seen = logging.getLogger(), []
    handler = logging.Handler()
    handler.emit = seen.append
    root.addHandler(handler)
    try:
        for name, precision in (("one", "no"), ("two", "bf16")):
            places = ["--ckpt_dir", tmp_path, "--output_dir", name, "--feature_cache_dir", tmp_path / "cache"]
            for _ in range(2):  # run the same cell again
                output, errors = in_notebook("run_seq_cls.py", *TINY, *places, "--mixed_precision", precision)
                assert "selected      step 2" in output, errors
            log = (tmp_path / name / "train.log").read_text()
            assert f"mixed_precision: {precision}" in log and log.count("mixed_precision:") == 1
            assert json.loads((tmp_path / name / "cost.json").read_text())["preparation_seconds"] < 60
        checkpoint = tmp_path / "one" / "checkpoint-2"
        (tmp_path / "inputs").write_text("좋다\n나쁘다\n", encoding="utf-8")
        output, errors = in_notebook("predict.py", "--checkpoint", checkpoint, "--input", tmp_path / "inputs")
        assert len([json.loads(line) for line in output.splitlines()]) == 2, errors
        output, errors = in_notebook("predict.py", "--checkpoint", checkpoint)
        assert "--input" in errors.splitlines()[-1]
    finally:
        root.removeHandler(handler)
    assert [record for record in seen if record.name.startswith(("src", "processor"))] == []


def test_a_command_in_another_thread(tmp_path):
    """Signals are handled in the main thread alone."""
    import threading

    ended = []
    thread = threading.Thread(target=lambda: run_main(lambda: ended.append(threading.current_thread())))
    thread.start()
    thread.join()
    assert ended == [thread]
