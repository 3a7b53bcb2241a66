"""Ways to run a command as a user does: in a new Python, or in a process forked from one that has imported the libraries."""

import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Importing these takes most of the time of a short command. Nothing of this project is among them.
LIBRARIES = [
    "torch._dynamo", "transformers.models.auto.tokenization_auto", "transformers.models.electra.modeling_electra",
    "transformers.models.bert.tokenization_bert", "accelerate", "scipy.stats", "sklearn.metrics", "seqeval.metrics",
]  # fmt: skip
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(LIBRARIES)


def run_command(script, *arguments, wait=True, env=None, timeout=300):
    """Run `python script arguments` in the checkout. wait: False returns the started process. env: added to the environment.

    After `timeout` seconds (None: never), and if the test is interrupted, the process and all that it has started are killed.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        [sys.executable, script, *arguments], cwd=ROOT, env=os.environ | (env or {}), start_new_session=wait, **pipes
    )
    if not wait:
        return process
    try:
        output, errors = process.communicate(timeout=timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def run_forked(script, *arguments, stdin="", timeout=300):
    """Run the same in a process that has imported LIBRARIES, four seconds faster. stdin: the text of standard input."""
    with tempfile.TemporaryDirectory() as folder:
        process = _start(script, arguments, Path(folder), stdin)
        return _wait(process, script, arguments, Path(folder), timeout)


def run_ranks(number, script, *arguments, before=None, env=None, timeout=120):
    """Run a script in so many forked processes, with the environment that a launcher gives them; return what each rank did.

    before: a function, called as before(rank) in each process before the script runs. It is pickled by its name.
    """
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        started = []
        for rank in range(number):
            launcher = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number}
            launcher |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} | (env or {})
            (own := Path(folder) / str(rank)).mkdir()
            started.append((_start(script, arguments, own, "", launcher, before and partial(before, rank)), own))
        return [_wait(process, script, arguments, own, timeout) for process, own in started]


def _start(script, arguments, folder, stdin, env=None, before=None):
    (folder / "stdin").write_text(stdin, encoding="utf-8")
    process = FORKSERVER.Process(target=_run_script, args=(script, arguments, folder, env or {}, before))
    process.start()
    return process


def _wait(process, script, arguments, folder, timeout):
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise subprocess.TimeoutExpired(script, timeout)
    output, errors = ((folder / name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess([script, *arguments], process.exitcode, output, errors)


def _run_script(script, arguments, folder, env, before):
    """Run a command in this process, with its standard streams in `folder`."""
    os.chdir(ROOT)
    os.environ.update({name: str(value) for name, value in env.items()})
    sys.stdin = open(folder / "stdin", encoding="utf-8")  # noqa: SIM115
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), descriptor)
    if before:
        before()
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
