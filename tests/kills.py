"""Runs that are killed: a process that has imported everything forks one run after the other and kills some of them.

    python tests/kills.py HOW WORK SEED KILLS SCRIPT ARGUMENT...

Every run is SCRIPT with the ARGUMENTS, as on the command line. The first one is undisturbed. Then run after run, each in a new
folder, is killed and started again, maybe killed again, until it finishes; it must leave the same files as the first one. It is
killed at a random moment: in turn at its n-th change of a file, at its n-th check for a signal (between two updates, or two
batches of an evaluation), or after some time. With HOW = "fork" runs are forked; with HOW = "command" every run is a command of
its own, which imports everything, and is killed at its n-th line of output or shortly after: a busy machine does not change what
is hit. Prints a JSON object: the number of kills of each kind, and the files that differ.
"""

import importlib
import json
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMES = ("examples_per_s", "tokens_per_s", "seconds")  # in log.jsonl, different for every run
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "shutil.copyfile")


def contents_of(folder: Path) -> dict[str, object]:
    """Return the files of a run by name, with the contents that must be the same for the same run."""
    contents: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or path.name in ("train.log", "cost.json", "settings.json"):
            contents[name] = "exists"  # they hold times and the path of the run
        elif path.name == "log.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            contents[name] = [{key: value for key, value in line.items() if key not in TIMES} for line in lines]
        else:
            contents[name] = path.read_bytes()
    return contents


def differences(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """Return the names of files that differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


class Runner:
    """Starts runs of one command."""

    def __init__(self, work: Path, script: str, arguments: list[str]) -> None:
        self.work, self.script, self.arguments = work, script, arguments

    def fork(self, folder: str, prepare=lambda: None) -> int:
        """Fork a run into work/`folder`, call `prepare` in it first, and return its process id."""
        if pid := os.fork():
            return pid
        code = 70
        try:
            log = os.open(self.work / f"{folder}.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.argv = [self.script, *self.arguments, "--ckpt_dir", str(self.work), "--output_dir", folder]
            prepare()
            runpy.run_path(str(ROOT / self.script), run_name="__main__")
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        finally:
            os._exit(code)

    def start_command(self, folder: str) -> int:
        """Start the command itself and return its process id."""
        command = [sys.executable, self.script, *self.arguments, "--ckpt_dir", str(self.work), "--output_dir", folder]
        with open(self.work / f"{folder}.out", "a") as log:
            return subprocess.Popen(command, stdout=log, stderr=log).pid

    def lines(self, folder: str) -> int:
        """Return how many lines the runs in work/`folder` have written."""
        return (self.work / f"{folder}.out").read_bytes().count(b"\n")

    def wait_for_line(self, pid: int, folder: str, number: int) -> None:
        """Return when there are `number` lines in the output of work/`folder`, or when the process has ended."""
        while self.lines(folder) < number and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            time.sleep(0.01)

    def wait(self, pid: int) -> int:
        """Return the exit code of a process, or minus the signal that killed it."""
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def count(self) -> tuple[int, int, float]:
        """Run undisturbed in work/whole; return the number of file changes, of checks for a signal, and the seconds."""
        counts_file = self.work / "counts.json"
        counts = {"change": 0, "check": 0}

        def count(kind: str) -> None:
            counts[kind] += 1
            counts_file.write_text(json.dumps(counts))

        started = time.monotonic()
        code = self.wait(self.fork("whole", lambda: watch(self.work, count)))
        assert code == 0, (self.work / "whole.out").read_text()
        counts = json.loads(counts_file.read_text())
        return counts["change"], counts["check"], time.monotonic() - started


def watch(work: Path, notify) -> None:
    """Call notify("change") before every change of a file under `work`, and notify("check") at every check for a signal."""
    from src.common import signals
    from src.training import state_file

    check = signals.check

    def notify_and_check() -> None:
        notify("check")
        check()

    signals.check = notify_and_check
    fsync = os.fsync
    os.fsync = lambda descriptor: (notify("change"), fsync(descriptor))[1]  # between writing a file and renaming it
    save_file = state_file.save_file

    def save_in_two_steps(tensors, path, metadata) -> None:
        """Write half a state, then all of it."""
        save_file({name: tensors[name] for name in list(tensors)[: len(tensors) // 2]}, path)
        notify("change")
        save_file(tensors, path, metadata)

    state_file.save_file = save_in_two_steps

    def hook(event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wax"
        if event in CHANGES or writes:
            name = str(arguments[0])  # without its folder inside of shutil.rmtree
            if (name.startswith(str(work)) or "/" not in name) and "counts" not in name:
                notify("change")

    sys.addaudithook(hook)


def end_at(work: Path, kind: str, number: int, how: int):
    """Return a function that makes a run send itself the signal `how` at its `number`-th change or check."""
    remaining = [number]

    def notify(event: str) -> None:
        if event == kind:
            remaining[0] -= 1
            if remaining[0] == 0:
                os.kill(os.getpid(), how)

    return lambda: watch(work, notify)


def main() -> None:
    how, work, seed, kills, script, *arguments = sys.argv[1:]
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    runner, rng = Runner(Path(work), script, arguments), random.Random(int(seed))
    for name in ("src.training.finetune", "sklearn.metrics", "scipy.stats", "seqeval.metrics", script.removesuffix(".py")):
        importlib.import_module(name)
    importlib.import_module("transformers.models.electra.modeling_electra")
    changes, checks, seconds = runner.count()
    whole = contents_of(runner.work / "whole")
    done = {"change": 0, "check": 0, "time": 0} if how == "fork" else {"line": 0}
    lines = runner.lines("whole")
    different: dict[str, list[str]] = {}
    for number in range(10**6):
        if sum(done.values()) >= int(kills):
            break
        folder = f"run-{number}"
        code = None
        while code != 0:
            # The rarest kind so far, so that even a few kills are of every kind.
            kind = min(done, key=done.__getitem__) if sum(done.values()) < int(kills) else "undisturbed"
            at = {"change": rng.randint(1, changes), "check": rng.randint(1, checks)}.get(kind, 0)
            if how == "command":
                pid = runner.start_command(folder)
            else:
                pid = runner.fork(folder, end_at(runner.work, kind, at, signal.SIGKILL))
            if kind == "line":
                runner.wait_for_line(pid, folder, runner.lines(folder) + rng.randint(1, lines))
            if kind in ("line", "time"):
                time.sleep(rng.uniform(0, 0.2 if kind == "line" else seconds))
                os.kill(pid, signal.SIGKILL)
            code = runner.wait(pid)
            if code == -signal.SIGKILL:
                done[kind] += 1
            elif code != 0:
                sys.exit((runner.work / f"{folder}.out").read_text())
        if names := differences(whole, contents_of(runner.work / folder)):
            different[folder] = names
        else:
            shutil.rmtree(runner.work / folder)
    print(json.dumps({"kills": done, "different": different, "changes": changes, "checks": checks, "seconds": seconds}))


if __name__ == "__main__":
    main()
