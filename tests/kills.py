"""Runs that are killed: a process that has imported everything forks one run after the other and ends some of them.

    python tests/kills.py HOW WORK SEED KILLS SCRIPT ARGUMENT...

Every run is SCRIPT with the ARGUMENTS, as on the command line. The first one is left in peace. Then, over and over, in a folder
of its own: killed, started again, maybe killed again, until it comes to its end; then all that it leaves must be what the first
one left. Where it is killed is drawn: at its n-th change of a file, at its n-th look for a signal (between two updates, or two
batches of an evaluation), or after some time. HOW is "fork", or "command": then every run is a command of its own, imports and
all, and killed after some time. Prints a JSON object: how many kills of each kind, and what was found different.
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
TIMES = ("examples_per_s", "tokens_per_s", "seconds")  # of log.jsonl: never the same
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "shutil.copyfile")


def left_by(folder: Path) -> dict[str, object]:
    """What a run has left: its files by name, with those of their contents that must be the same again."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or path.name in ("train.log", "cost.json", "settings.json"):
            found[name] = "there"  # they tell times, and where the run is
        elif path.name == "log.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{key: value for key, value in line.items() if key not in TIMES} for line in lines]
        else:
            found[name] = path.read_bytes()
    return found


def differences(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """Names of what is not the same."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


class Forge:
    """Forks runs of one command."""

    def __init__(self, work: Path, script: str, arguments: list[str]) -> None:
        self.work, self.script, self.arguments = work, script, arguments

    def start(self, folder: str, prepare=lambda: None) -> int:
        """Fork a run into work/`folder`; its process id. `prepare` is called in it first."""
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
        """Start the command itself; its process id."""
        command = [sys.executable, self.script, *self.arguments, "--ckpt_dir", str(self.work), "--output_dir", folder]
        with open(self.work / f"{folder}.out", "a") as log:
            return subprocess.Popen(command, stdout=log, stderr=log).pid

    def wait(self, pid: int) -> int:
        """Its exit code; minus the signal that killed it."""
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def count(self) -> tuple[int, int, float]:
        """Of an undisturbed run, left in work/whole: changes of files, looks for a signal, seconds."""
        into = self.work / "counts.json"
        seen = {"change": 0, "look": 0}

        def prepare() -> None:
            watch(self.work, lambda kind: seen.__setitem__(kind, seen[kind] + 1) or into.write_text(json.dumps(seen)))

        started = time.monotonic()
        code = self.wait(self.start("whole", prepare))
        assert code == 0, (self.work / "whole.out").read_text()
        counts = json.loads(into.read_text())
        return counts["change"], counts["look"], time.monotonic() - started


def watch(work: Path, tell) -> None:
    """Call tell("change") before every change of a file under `work`, and tell("look") at every look for a signal."""
    from src import resume, signals

    check = signals.check

    def look() -> None:
        tell("look")
        check()

    signals.check = look
    fsync = os.fsync
    os.fsync = lambda descriptor: (tell("change"), fsync(descriptor))[1]  # between the writing of a file and its name
    save_file = resume.save_file

    def save(tensors, path, metadata) -> None:
        """Half a state, then the whole of it."""
        save_file({name: tensors[name] for name in list(tensors)[: len(tensors) // 2]}, path)
        tell("change")
        save_file(tensors, path, metadata)

    resume.save_file = save

    def hook(event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wax"
        if event in CHANGES or writes:
            name = str(arguments[0])  # inside of shutil.rmtree a bare one
            if (name.startswith(str(work)) or "/" not in name) and "counts" not in name:
                tell("change")

    sys.addaudithook(hook)


def end_at(work: Path, kind: str, number: int, how: int):
    """What makes a run end itself by the signal `how` at its `number`-th change or look."""
    left = [number]

    def tell(now: str) -> None:
        if now == kind:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), how)

    return lambda: watch(work, tell)


def main() -> None:
    how, work, seed, kills, script, *arguments = sys.argv[1:]
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    forge, rng = Forge(Path(work), script, arguments), random.Random(int(seed))
    for name in ("src.finetune", "sklearn.metrics", "scipy.stats", "seqeval.metrics", script.removesuffix(".py")):
        importlib.import_module(name)
    importlib.import_module("transformers.models.electra.modeling_electra")
    changes, looks, seconds = forge.count()
    whole = left_by(forge.work / "whole")
    done = {"change": 0, "look": 0, "time": 0} if how == "fork" else {"time": 0}
    if how == "command":
        started = time.monotonic()
        assert forge.wait(forge.start_command("timed")) == 0
        seconds = time.monotonic() - started
    different: dict[str, list[str]] = {}
    for number in range(10**6):
        if sum(done.values()) >= int(kills):
            break
        folder = f"run-{number}"
        code = None
        while code != 0:
            kind = rng.choice(list(done)) if sum(done.values()) < int(kills) else "peace"
            at = {"change": rng.randint(1, changes), "look": rng.randint(1, looks)}.get(kind, 0)
            if how == "command":
                pid = forge.start_command(folder)
            else:
                pid = forge.start(folder, end_at(forge.work, kind, at, signal.SIGKILL))
            if kind == "time":
                # The imports of a command take most of its time, and nothing can happen in them.
                time.sleep(seconds * (1 - rng.uniform(0, 1) ** 2 if how == "command" else rng.uniform(0, 1)))
                os.kill(pid, signal.SIGKILL)
            code = forge.wait(pid)
            if code == -signal.SIGKILL:
                done[kind] += 1
            elif code != 0:
                sys.exit((forge.work / f"{folder}.out").read_text())
        if found := differences(whole, left_by(forge.work / folder)):
            different[folder] = found
        else:
            shutil.rmtree(forge.work / folder)
    print(json.dumps({"kills": done, "different": different, "changes": changes, "looks": looks, "seconds": seconds}))


if __name__ == "__main__":
    main()
