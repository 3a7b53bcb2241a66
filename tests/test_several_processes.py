"""One run on several processes: the same updates and scores as on one; what happens when one of them fails or is killed."""

import json
import os
import re
import shutil
import signal
from functools import partial

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from tests.kills import contents_of, differences
from tests.several import SHORT, Runs, log_of, own_lines


@pytest.fixture
def run(tmp_path):
    return Runs(tmp_path)


def numbers_of(scores):
    """The scores of a run as one flat list."""
    return [value for splits in scores.values() for values in splits.values() for value in values.values()]


def assert_equal_runs(one, other):
    """The loss and the gradient of every step, the final weights and all scores agree."""
    for name in ("loss", "grad_norm", "learning_rate"):
        assert [line[name] for line in log_of(one)] == pytest.approx([line[name] for line in log_of(other)], rel=1e-4, abs=1e-8)
    assert [line["loss"] for line in log_of(one)] == pytest.approx([line["loss"] for line in log_of(other)], rel=1e-5)
    last = max(one.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])).name
    weights, expected = (load_file(folder / last / "model.safetensors") for folder in (one, other))
    for name in expected:
        assert_close(weights[name], expected[name], rtol=0, atol=1e-4)
    scores, expected = (json.loads((folder / "eval_results.json").read_text())["scores"] for folder in (one, other))
    assert scores.keys() == expected.keys()
    # The correlation of predictions that hardly differ from row to row scales rounding errors up.
    assert numbers_of(scores) == pytest.approx(numbers_of(expected), rel=1e-5, abs=1e-5)


def record_tokens(folder, rank):
    """Write the number of tokens that this rank trains on in every update to a file."""
    from src.training import state as train_state

    accumulate = train_state.accumulate

    def record(task_model, batches, *others):
        with open(folder / f"tokens-{rank}", "a") as file:
            print(sum(batch.tokens for batch in batches), file=file)
        return accumulate(task_model, batches, *others)

    train_state.accumulate = record


OWN = ["--train_file", "data/sample/own/topics.jsonl", "--test_ratio", "0.2", "--text_column", "title", "--label_column", "topic"]
CASES = {
    # 400 rows in updates of 57: the last of an epoch has one, which leaves two processes without any
    "tails": (3, "nsmc", ["--train_batch_size", "19", "--gradient_accumulation_steps", "3"]),
    "fewer rows than processes": (3, "korsts", ["--train_batch_size", "2"]),
    "tokens": (2, "naver-ner", ["--dev_ratio", "0.2", "--padding", "longest", "--batching", "bucketed"]),
    "windows": (2, "korquad", ["--train_batch_size", "4"]),
    "weighted labels": (3, "topics", [*OWN, "--kind", "multi_label", "--class_weights", "balanced"]),
    "padded": (2, "nsmc", ["--padding", "max_length", "--max_seq_len", "16"]),
    "weighted classes": (2, "kornli", ["--class_weights", "balanced", "--batching", "bucketed"]),
    "layers and smoothing": (2, "kornli", ["--layer_decay", "0.8", "--lr_scheduler", "cosine", "--label_smoothing", "0.1"]),
    "windows in a row": (3, "korquad", ["--gradient_accumulation_steps", "3", "--padding", "longest"]),
}
FAST = ("tails",)


@pytest.mark.parametrize("case", [case if case in FAST else pytest.param(case, marks=pytest.mark.long) for case in CASES])
def test_several_processes_compute_what_one_does(run, tmp_path, case):
    processes, task, flags = CASES[case]
    flags = [*SHORT, "--adam_epsilon", "1e-3", *flags]  # the default scales rounding errors of tiny gradients up
    run.without_dropout()
    (alone,) = run(1, "one", *flags, task=task)
    assert alone.returncode == 0, alone.stderr
    leader, *followers = run(processes, "several", *flags, task=task, before=partial(record_tokens, tmp_path))
    assert leader.returncode == 0, leader.stderr
    assert [(done.returncode, done.stdout, done.stderr) for done in followers] == [(0, "", "")] * (processes - 1)
    one, several = tmp_path / "ckpt" / "one", tmp_path / "ckpt" / "several"
    assert_equal_runs(several, one)
    assert [json.loads((folder / "settings.json").read_text())["processes"] for folder in (one, several)] == [1, processes]
    # Every rank has trained, on about as many tokens.
    tokens = [list(map(int, (tmp_path / f"tokens-{rank}").read_text().split())) for rank in range(processes)]
    assert {len(numbers) for numbers in tokens} == {len(log_of(several))}
    if case == "fewer rows than processes":
        assert tokens[2] == [0] * len(tokens[2])
    else:
        assert min(map(sum, tokens)) > 0.8 * max(map(sum, tokens))
    if case == "tails":
        assert [numbers[7] > 0 for numbers in tokens] == [True, False, False]


def at_step(step, action):
    """Call `action` before the update that leads to `step`."""
    from src.training.state import TrainState

    next_rows = TrainState._next_rows

    def act(state):
        if state.step == step - 1:
            action()
        return next_rows(state)

    TrainState._next_rows = act


def terminate_all(rank):
    at_step(7, lambda: os.kill(os.getpid(), signal.SIGTERM))


def terminate_at_stop(rank):
    at_step(6, lambda: os.kill(os.getpid(), signal.SIGTERM))


def kill_second(rank):
    if rank == 1:
        at_step(10, lambda: os.kill(os.getpid(), signal.SIGKILL))


def kill_leader(rank):
    if rank == 0:
        at_step(3, lambda: os.kill(os.getpid(), signal.SIGKILL))


def terminate_in_scoring(rank):
    """The leader gets a signal while it predicts, at a step that is not saved."""
    from src.training import evaluate

    predict_rows = evaluate._predict_rows

    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return predict_rows(*arguments)

    if rank == 0:
        evaluate._predict_rows = signalled


def last_line(done):
    return done.stderr.splitlines()[-1]


def test_interrupted_and_killed_processes_resume_to_the_same_bits(run, tmp_path):
    """With dropout: terminated at step 7, killed at step 10, signalled while scoring, resumed."""
    folder = tmp_path / "ckpt"
    assert [done.returncode for done in run(2, "whole", *SHORT)] == [0, 0]
    leader, follower = run(2, "parts", *SHORT, before=terminate_all)
    assert (leader.returncode, follower.returncode, follower.stderr) == (143, 0, "")
    assert "SIGTERM; step 7 of 12 is saved" in last_line(leader)

    shutil.copytree(folder / "parts", folder / "alone")
    leader, follower = run(2, "parts", *SHORT, before=kill_second)
    assert (leader.returncode, follower.returncode) == (1, -signal.SIGKILL)
    assert last_line(leader).startswith("error: a process of this run has ended")
    assert "Traceback" not in leader.stderr

    leader, _ = run(2, "parts", *SHORT, before=terminate_in_scoring)
    assert leader.returncode == 143 and "step 12 of 12 is saved" in last_line(leader), leader.stderr
    leader, _ = run(2, "parts", *SHORT)
    assert leader.returncode == 0 and "resuming from step 12" in leader.stderr, leader.stderr
    assert differences(contents_of(folder / "whole"), contents_of(folder / "parts")) == []

    (alone,) = run(1, "alone", *SHORT)  # another number of processes
    assert alone.returncode == 0
    assert re.search(r"started .*, 2 processes, resuming .*: results will not be reproducible", alone.stderr)


STOPS = ["--dev_ratio", "0.2", "--early_stopping_patience", "1", "--learning_rate", "1e-9", "--max_train_samples", "30"]


@pytest.mark.long
def test_all_processes_stop_early(run, tmp_path):
    """At step 6: dev is scored at 4 and 6. Terminated before step 6 is scored, it stops there, too."""
    flags, folder = [*SHORT, *STOPS, "--train_batch_size", "8"], tmp_path / "ckpt"
    assert [done.returncode for done in run(2, "whole", *flags)] == [0, 0]
    assert json.loads((folder / "whole" / "cost.json").read_text())["stopped_early"]["step"] == 6
    leader, _ = run(2, "parts", *flags, before=terminate_at_stop)
    assert leader.returncode == 143 and "step 6 of 12 is saved" in last_line(leader), leader.stderr
    leader, follower = run(2, "parts", *flags)
    assert (leader.returncode, follower.returncode, follower.stderr) == (0, 0, ""), leader.stderr
    assert differences(contents_of(folder / "whole"), contents_of(folder / "parts")) == []


def test_followers_end_with_the_leader(run):
    leader, follower = run(2, "run", *SHORT, before=kill_leader)
    assert (leader.returncode, follower.returncode) == (-signal.SIGKILL, 0)
    assert own_lines(follower.stderr) == []


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--nonsense", "3"], 2, "--nonsense"),
        (["--per_device_train_batch_size", "8"], 2, "2 processes; use train_batch_size"),
        pytest.param(["--mixed_precision", "fp16"], 2, "needs a GPU", marks=pytest.mark.long),
        pytest.param(["--help"], 0, "", marks=pytest.mark.long),
    ],
)
def test_followers_of_a_leader_without_a_run_end(run, flags, code, message):
    leader, follower = run(2, "run", *flags)
    assert (leader.returncode, follower.returncode, follower.stdout) == (code, 0, "")
    assert own_lines(follower.stderr) == []
    assert message in leader.stderr


def fail_second(rank):
    if rank == 1:
        at_step(3, lambda: [].pop())


def test_a_failing_process_ends_all_with_one_message(run):
    leader, *followers = run(3, "run", *SHORT, before=fail_second)
    assert [done.stderr for done in followers] == ["", ""]
    assert leader.returncode == 1
    assert re.match(r"error: rank 1 of 3: IndexError: pop from empty list \(.*, line \d+\)", last_line(leader))
    assert "Traceback" not in leader.stderr


def fill_memory_of_second(rank):
    from src.training import state as train_state

    accumulate, calls = train_state.accumulate, []

    def limited(task_model, batches, *others):
        calls.append(1)
        if rank == 1 and len(calls) == 3:
            raise MemoryError
        return accumulate(task_model, batches, *others)

    train_state.accumulate = limited


def test_memory_that_is_full_on_one_process_splits_on_all(run, tmp_path):
    flags = [*SHORT, "--adam_epsilon", "1e-3"]
    run.without_dropout()
    run(2, "whole", *flags)
    leader, _ = run(2, "split", *flags, before=fill_memory_of_second)
    assert leader.returncode == 0, leader.stderr
    assert leader.stderr.count("4 micro-batches") == 1
    assert_equal_runs(tmp_path / "ckpt" / "split", tmp_path / "ckpt" / "whole")


@pytest.mark.long
def test_checkpoints_are_scored_on_all_processes(run, tmp_path):
    """A run without a test score for its checkpoints gets the scores of one process."""
    run(1, "run", *SHORT, "--do_eval", "false")
    leader, _ = run(2, "run", *SHORT, "--do_train", "false")
    assert leader.returncode == 0, leader.stderr
    scores = json.loads((tmp_path / "ckpt" / "run" / "eval_results.json").read_text())["scores"]
    run(1, "one", *SHORT)
    expected = json.loads((tmp_path / "ckpt" / "one" / "eval_results.json").read_text())["scores"]
    step = "12"
    assert scores[step]["test"] == pytest.approx(expected[step]["test"], rel=1e-5)
