"""run_seq_cls.py on the sample: whole runs, what they write, how they are stopped and repeated."""

import json
import re
import time

import pytest
import torch

from processor.definition import TASKS, tasks_of
from tests.commands import Forked, run_command, run_script
from tests.conftest import ROOT, SAMPLE, SAMPLED_TASKS


def results_of(tmp_path, name="tiny-nsmc-ckpt"):
    return json.loads((tmp_path / "ckpt" / name / "eval_results.json").read_text())


def files_of_scores(step):
    return (f"analysis-{step}", "json"), (f"predictions-{step}", "tsv"), (f"test-{step}", "txt")


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


WHOLE = {"start": run_command}, ["100", "200", "250"], ["50", "100", "150", "200", "250"]
SHORT = {"start": run_script}, ["4", "8", "10"], ["2", "4", "6", "8", "10"]


@pytest.mark.parametrize("case", [SHORT, pytest.param(WHOLE, marks=pytest.mark.long)], ids=["short", "in a new Python"])
def test_a_whole_run_on_the_sample(tiny, tmp_path, case):
    """Every file is written, and in README's default, in a new Python, the model learns."""
    options, scored, logged = case
    steps = [] if case is WHOLE else ["--max_steps", "10", "--save_steps", "4", "--logging_steps", "4", "--log_every", "2"]
    done = tiny(*steps, **options)
    assert done.returncode == 0, done.stderr
    results = results_of(tmp_path)
    assert results["selected"]["test"]["acc"] >= (0.85 if case is WHOLE else 0.5)
    last = scored[-1]
    assert (results["selected"]["step"], results["selected"]["by"]) == (int(last), "last")
    assert list(results["scores"]) == scored

    folder = tmp_path / "ckpt" / "tiny-nsmc-ckpt"
    best = results["best_on_test"]["checkpoint"]
    files = ["cost.json", "eval_results.json", "eval_results.txt", "log.jsonl", "settings.json", "test", "train.log"]
    assert names_in(folder) == sorted({*files, best, f"checkpoint-{last}"})
    assert names_in(folder / "test") == sorted(f"{name}.{end}" for step in scored for name, end in files_of_scores(step))
    assert [str(json.loads(line)["step"]) for line in (folder / "log.jsonl").read_text().splitlines()] == logged
    cost = json.loads((folder / "cost.json").read_text())
    assert cost.pop("skipped_updates") == 0
    assert all(cost.values())
    log = (folder / "train.log").read_text()
    assert "train: data/sample/nsmc/ratings_train.txt" in log  # logged before the folder was created
    assert f"step {last}, test: acc" in log

    predictions = [line.split("\t") for line in (folder / "test" / f"predictions-{last}.tsv").read_text().split("\n")[:-1]]
    assert predictions[0] == ["index", "document", "label", "prediction", "prob_0", "prob_1"]
    assert len(predictions) == 1 + results["data"]["test"]["rows"]
    correct = sum(row[2] == row[3] for row in predictions[1:])
    assert correct / (len(predictions) - 1) == results["selected"]["test"]["acc"]
    assert any(row[1] == "" for row in predictions[1:])  # a blank review is scored

    assert re.search(rf"selected +step {last}", done.stdout)
    assert str(folder) in done.stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", done.stderr)
    assert "Warning" not in done.stderr

    again = tiny(*steps)  # the same command prints the scores of the finished run
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert again.stderr.count("\n") == again.stderr.count("nothing was trained (--resume false") == 1

    changed = tiny(*steps, "--learning_rate", "2e-3", "--max_steps", "3")
    assert changed.returncode == 0, changed.stderr
    assert "learning_rate 0.001, now 0.002" in changed.stderr
    assert names_in(tmp_path / "ckpt") == ["tiny-nsmc-ckpt", "tiny-nsmc-ckpt.1"]


@pytest.mark.long
@pytest.mark.parametrize("task", [task for task in tasks_of("run_seq_cls.py") if task in SAMPLED_TASKS])
def test_learns_every_task_of_the_sample(tiny, tmp_path, task):
    assert tiny(task=task).returncode == 0
    selected = results_of(tmp_path, f"tiny-{task}-ckpt")["selected"]
    assert selected["test"][TASKS[task].headline] >= 0.85


def test_the_same_run_writes_the_same_bytes(tiny, tmp_path):
    for name in ("a", "b"):
        assert tiny("--max_steps", "6", "--output_dir", name, task="korsts").returncode == 0
    for file in ("eval_results.json", "eval_results.txt", "test/predictions-6.tsv", "checkpoint-6/model.safetensors"):
        first, second = ((tmp_path / "ckpt" / name / file).read_bytes() for name in ("a", "b"))
        assert first == second, file


def test_a_checkpoint_works_in_a_pipeline(trained):
    from transformers import AutoTokenizer, pipeline

    checkpoint = trained("nsmc")
    files = ["README.md", "config.json", "model.safetensors", "settings.json", "tokenizer.json", "tokenizer_config.json"]
    assert names_in(checkpoint) == files
    classify = pipeline("text-classification", str(checkpoint), device=torch.device("cpu"))
    first = (SAMPLE / "nsmc" / "ratings_test.txt").read_text().split("\n")[1].split("\t")
    predicted = (checkpoint.parent / "test" / "predictions-100.tsv").read_text().split("\n")[1].split("\t")
    result = classify(first[1])[0]
    assert result["label"] == ("negative", "positive")[int(predicted[3])]
    assert result["score"] == pytest.approx(max(float(predicted[4]), float(predicted[5])), abs=1e-4)
    original = AutoTokenizer.from_pretrained(SAMPLE / "tiny-electra")
    assert AutoTokenizer.from_pretrained(checkpoint)(first[1]) == original(first[1])


def test_training_and_scoring_separately_gives_the_same_results(tiny, tmp_path):
    steps = ("--max_steps", "6", "--save_steps", "2", "--logging_steps", "100")
    assert tiny(*steps, "--output_dir", "together", task="korsts").returncode == 0
    trained = tiny(*steps, "--output_dir", "apart", "--do_eval", "false", task="korsts")
    assert trained.returncode == 0, trained.stderr
    assert "test" not in json.dumps(results_of(tmp_path, "apart")["scores"])
    assert not (tmp_path / "ckpt" / "apart" / "test").exists()
    # The checkpoints are scored: the model they started from is not needed.
    scored = tiny("--output_dir", "apart", "--do_train", "false", "--model_name_or_path", "./gone", task="korsts")
    assert scored.returncode == 0, scored.stderr
    together, apart = results_of(tmp_path, "together"), results_of(tmp_path, "apart")
    assert apart["selected"] == together["selected"]
    assert apart["best_on_test"] == together["best_on_test"]


def test_eval_all_checkpoints_false_scores_the_selected_and_the_last_on_test(tiny, tmp_path):
    steps = ("--max_steps", "12", "--save_steps", "4", "--logging_steps", "100")
    assert tiny(*steps, "--eval_all_checkpoints", "false", "--save_total_limit", "-1", task="korsts").returncode == 0
    results = results_of(tmp_path, "tiny-korsts-ckpt")
    with_test = {int(step) for step, splits in results["scores"].items() if "test" in splits}
    assert with_test == {results["selected"]["step"], 12}


@pytest.mark.parametrize("task", ["nsmc", "naver-ner", "korquad"])
def test_a_dev_split_held_out_of_train_selects_the_checkpoint(tiny, tmp_path, task):
    steps = ("--dev_ratio", "0.1", "--max_steps", "20", "--save_steps", "10", "--logging_steps", "10", "--save_total_limit", "-1")
    done = tiny(*steps, task=task)
    assert done.returncode == 0, done.stderr
    results = results_of(tmp_path, f"tiny-{task}-ckpt")
    headline = results["headline"]
    dev = {int(step): splits["dev"][headline] for step, splits in results["scores"].items()}
    assert list(dev) == [10, 20]
    assert results["selected"]["by"] == "dev"
    assert results["selected"]["step"] == max(dev, key=lambda step: (dev[step], -step))
    rows = {split: facts["rows"] for split, facts in results["data"].items()}
    assert rows["dev"] == pytest.approx((rows["dev"] + rows["train"]) / 10, rel=0.1)
    assert results["data"]["dev"]["held_out"] == 0.1
    assert results["data"]["dev"]["sha256"] == results["data"]["train"]["sha256"]
    again = tiny(*steps, "--do_train", "false", task=task)
    assert again.stdout == done.stdout


def test_builds_features_alone(tiny, tmp_path):
    done = tiny("--do_train", "false", "--do_eval", "false", task="paws")
    assert (done.returncode, done.stdout) == (0, "")
    assert [name.rsplit("-", 1)[0] for name in names_in(tmp_path / "cache")] == ["paws-dev", "paws-test", "paws-train"]
    assert not (tmp_path / "ckpt").exists()


def test_a_failed_command_keeps_the_earlier_run(tiny, tmp_path):
    assert tiny("--max_steps", "3").returncode == 0
    before = results_of(tmp_path)
    bad = tmp_path / "bad" / "nsmc"
    bad.mkdir(parents=True)
    (bad / "ratings_train.txt").write_text("id\tdocument\tlabel\n1\t좋다\n")
    (bad / "ratings_test.txt").write_text("id\tdocument\tlabel\n1\t좋다\t1\n")
    done = tiny("--max_steps", "3", "--data_dir", str(tmp_path / "bad"))
    assert done.returncode == 2
    assert re.search(r"ratings_train\.txt: 1 .*\n.*line 2: .* 2 .* 3 \(id, document, label\)", done.stderr)
    assert results_of(tmp_path) == before
    assert names_in(tmp_path / "ckpt") == ["tiny-nsmc-ckpt"]


@pytest.mark.long
def test_scoring_a_killed_run_does_not_finish_it(tiny, tmp_path):
    folder = tmp_path / "ckpt" / "tiny-nsmc-ckpt"
    command = ["--max_steps", "150", "--save_steps", "20", "--logging_steps", "100000"]
    process = tiny(*command, start=Forked)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoint-40").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (folder / "eval_results.json").exists()
    scored = tiny("--do_train", "false", "--eval_all_checkpoints", "false")
    assert scored.returncode == 0, scored.stderr
    assert results_of(tmp_path)["selected"]["step"] < 150
    again = tiny(*command)
    assert again.returncode == 0, again.stderr
    assert re.search(r"from step [1-9]\d*", again.stderr)
    assert results_of(tmp_path)["selected"]["step"] == 150


def test_trains_a_roberta_from_scratch(tiny, tmp_path):
    """No segments, padding id 1, two reserved positions."""
    model = tmp_path / "roberta"
    model.mkdir()
    vocabulary = (SAMPLE / "tiny-electra" / "vocab.txt").read_text().splitlines()
    assert vocabulary[:2] == ["[PAD]", "[UNK]"]
    (model / "vocab.txt").write_text("\n".join(["[UNK]", "[PAD]", *vocabulary[2:]]))
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": false}')
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 32, "vocab_size": 3000}
    config = {"model_type": "roberta", "pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 130, **shape}
    (model / "config.json").write_text(json.dumps(config))
    done = tiny("--model_name_or_path", str(model), "--from_scratch", "--max_steps", "100", task="question-pair")
    assert done.returncode == 0, done.stderr
    assert results_of(tmp_path, "roberta-question-pair-ckpt")["selected"]["test"]["acc"] > 0.85
    too_long = tiny("--model_name_or_path", str(model), "--from_scratch", "--max_seq_len", "129", task="question-pair")
    assert too_long.returncode == 2
    assert re.search(r"max_seq_len = 129.* 128 ", too_long.stderr)


def test_a_loss_that_is_not_finite_exits_with_code_1(tiny):
    done = tiny("--max_steps", "20", "--learning_rate", "1e30", "--log_every", "5")
    assert done.returncode == 1
    assert re.search(r"error: step \d+: .* not .*finite", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_flat_file_of_the_original_runs_unchanged(tmp_path):
    flat = json.loads((ROOT / "tests" / "facts" / "hyperparameters.json").read_text())["nsmc/koelectra-small"]
    (tmp_path / "nsmc").mkdir()
    (tmp_path / "nsmc" / "mine.json").write_text(json.dumps(flat | {"max_steps": 2}))
    places = ["--config_dir", str(tmp_path), "--data_dir", "data/sample", "--ckpt_dir", str(tmp_path / "ckpt")]
    model = ["--model_name_or_path", "data/sample/tiny-electra", "--from_scratch", "--feature_cache_dir", str(tmp_path / "cache")]
    done = run_script("run_seq_cls.py", "--task", "nsmc", "--config_file", "mine.json", *places, *model)
    assert done.returncode == 0, done.stderr
    assert results_of(tmp_path, "koelectra-small-nsmc-ckpt")["selected"]["step"] == 2
