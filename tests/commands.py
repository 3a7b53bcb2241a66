"""Ways to run a command: in this process, in a fork of one that has imported everything, or in a new Python, as a user does."""

import io
import logging
import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from contextlib import redirect_stderr, redirect_stdout
from functools import cache, partial
from pathlib import Path

import pytest

from processor.definition import read_tasks
from src.common.log import log_once

ROOT = Path(__file__).resolve().parent.parent

# Imports take most of the time of a short command: a server imports what commands need once, and forks their processes.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["tests.preload"])


def run_command(script, *arguments, env=None, timeout=300):
    """Run `python script arguments` in the checkout. env: added to the environment.

    After `timeout` seconds (None: never), and if the test is interrupted, the process and all that it has started are killed.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        [sys.executable, script, *arguments], cwd=ROOT, env=os.environ | (env or {}), start_new_session=True, **pipes
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def run_script(script, *arguments, stdin=""):
    """Run a script in this process, or a module by its name, as `%run` of a notebook does: this is the fastest way.

    stdin: the text of standard input. A warning is an error, as everywhere in the tests; the exit code of a traceback is 1.
    """
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    file = partial(tempfile.TemporaryFile, "w+", encoding="utf-8")  # predict.py needs its descriptor
    with file() as given, pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
        given.write(stdin)
        given.seek(0)
        patch.setattr(os, "environ", os.environ.copy())
        patch.setattr(sys, "argv", [script, *arguments])
        patch.setattr(sys, "stdin", given)
        patch.chdir(ROOT)
        for function in (read_tasks, log_once):  # a new process has read and logged nothing
            function.cache_clear()
        path = script if script.endswith(".py") else f"{script.replace('.', '/')}.py"
        code = _exit_code_of(partial(runpy.run_path, path, run_name="__main__"))
        texts = []
        for stream in (output, errors):
            stream.flush()
            texts.append(stream.buffer.getvalue().decode())
    return subprocess.CompletedProcess([script, *arguments], code, *texts)


def _exit_code_of(run):
    """Return the exit code of a process that would call `run`, after printing its traceback if it raises something."""
    try:
        run()
    except SystemExit as error:
        return error.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


@cache
def start_server():
    """Start the server that forks processes, and wait until it has imported everything, which takes seconds."""
    process = FORKSERVER.Process(target=int)
    process.start()
    process.join()


class Forked:
    """A script in a process forked from one that has imported tests.preload; started like a subprocess.Popen with pipes as text.

    stdin: the text of standard input; None: a FIFO at `folder`/stdin, to be written meanwhile. env: added to the environment.
    before: called in the process before the script runs; it is pickled by its name.
    """

    def __init__(self, script, *arguments, stdin="", env=None, before=None):
        self.args = [script, *arguments]
        self.folder = Path(tempfile.mkdtemp())  # of the files stdin, stdout and stderr
        for name in ("stdout", "stderr"):
            (self.folder / name).touch()
        if stdin is None:
            os.mkfifo(self.folder / "stdin")
        else:
            (self.folder / "stdin").write_text(stdin, encoding="utf-8")
        self._process = FORKSERVER.Process(target=_run_script, args=(script, arguments, self.folder, env or {}, before))
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    poll = returncode.fget

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self._process.kill()

    def communicate(self, timeout=300):
        """Wait until the process ends, and return what it wrote to standard output and standard error."""
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.args, timeout)
        texts = [(self.folder / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
        shutil.rmtree(self.folder)
        return texts


def run_forked(script, *arguments, timeout=300, **options):
    """Run a script in a forked process, seconds faster than in a new Python, and wait. For the options see Forked."""
    process = Forked(script, *arguments, **options)
    output, errors = process.communicate(timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def run_ranks(number, script, *arguments, before=None, env=None, timeout=120):
    """Run a script in so many forked processes, with the environment that a launcher gives them; return what each rank did.

    before: a function, called as before(rank) in each process before the script runs. It is pickled by its name.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(number):
        launcher = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number}
        launcher |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} | (env or {})
        started.append(Forked(script, *arguments, env=launcher, before=before and partial(before, rank)))
    results = [(process, *process.communicate(timeout)) for process in started]
    return [subprocess.CompletedProcess(process.args, process.returncode, *texts) for process, *texts in results]


def _run_script(script, arguments, folder, env, before):
    """Run a script in this process, with its standard streams in `folder`."""
    os.chdir(ROOT)
    os.environ.update({name: str(value) for name, value in env.items()})
    sys.stdin = open(folder / "stdin", encoding="utf-8")  # noqa: SIM115
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY), descriptor)
    if before:
        before()
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


def fork_cells():
    """Make the grid of this process fork its cells. For `before` of Forked: there, nothing has used threads yet."""
    from src.grid import pool, schedule

    pool.Pool = schedule.Pool = partial(pool.Pool, spawn=ForkedCell)
    pool.POLL = 0.02


class ForkedCell:
    """Stands in for subprocess.Popen in a Pool: runs the script of a cell in a fork of this process."""

    def __init__(self, command, env, stdout, pass_fds, **options):
        self.returncode = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(command[1:], env, stdout, pass_fds)

    def poll(self, flags=os.WNOHANG):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, flags)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self):
        return self.poll(flags=0)

    def send_signal(self, number):
        os.kill(self.pid, number)


def _become(argv, env, stdout, pass_fds):
    """Run a script in this process as in a new one: without open files and handlers of the parent."""
    code = 1
    try:
        os.setsid()
        os.dup2(stdout.fileno(), 1)
        os.dup2(1, 2)
        kept = pass_fds[0]
        os.closerange(3, kept)
        os.closerange(kept + 1, 1000)
        for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            signal.signal(number, handler)
        for name in ("src", "processor"):
            logging.getLogger(name).handlers.clear()
        os.environ.update(env)
        sys.argv = argv
        code = _exit_code_of(partial(runpy.run_path, argv[0], run_name="__main__"))
    finally:
        sys.stdout.flush()
        os._exit(code)
