"""predict.py on checkpoints of the sample. Every task is tested in test_every_task.py."""

import csv
import json
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file, save_file

from processor.definition import TASKS
from processor.ner import parse_sentence
from src.common import log
from src.common import progress as bars
from src.predict import lines as lines_module
from tests.commands import ROOT, Forked, run_script


def predict(folder, *arguments, lines=()):
    return run_script("predict.py", "--checkpoint", str(folder), *arguments, stdin="".join(line + "\n" for line in lines))


def test_predictions_equal_those_of_the_run(trained, tmp_path):
    folder = trained("nsmc")
    rows = (folder.parent / "test" / "predictions-100.tsv").read_text().split("\n")[1:-1]
    rows = [row.split("\t") for row in rows if row.split("\t")[1]]
    given, written = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given.write_text("".join(json.dumps({"text": row[1]}) + "\n" for row in rows))
    done = predict(folder, "--input", str(given), "--output", str(written))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    results = [json.loads(line) for line in written.read_text().splitlines()]
    assert [result["label"] for result in results] == [row[3] for row in rows]
    for result, row in zip(results, rows, strict=True):
        assert result["probabilities"]["1"] == pytest.approx(float(row[5]), abs=2e-6)
    assert results[0].keys() == {"label", "name", "probabilities"}


def test_writes_each_result_before_the_next_line_arrives(trained):
    process = Forked("predict.py", "--checkpoint", str(trained("nsmc")), "--strict", stdin=None)
    with open(process.folder / "stdin", "w", encoding="utf-8", buffering=1) as given, open(process.folder / "stdout") as results:
        for _ in range(3):
            given.write("좋다\n")
            while not (line := results.readline()):
                assert process.returncode is None
                time.sleep(0.01)
            assert json.loads(line)["label"] in ("0", "1")
        given.write("\n")  # --strict ends at the first invalid line, while the input is still open
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, len(output.splitlines())) == (2, 3)
    assert "error: line 4: " in errors
    assert "Fatal" not in errors


def test_counts_words_that_max_seq_len_cuts_off(trained):
    done = predict(trained("naver-ner"), lines=[json.dumps({"words": ["서울"] * 200})])
    result = json.loads(done.stdout)
    assert len(result["tags"]) == 200
    assert 0 < result["cut_words"] < 200


def test_strict_writes_the_results_before_the_first_invalid_line(trained):
    done = predict(trained("nsmc"), "--strict", lines=['{"text": "좋다"}', '{"text": 3}', '{"text": "좋다"}'])
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1
    assert "error: line 2: text: found 3" in done.stderr


def test_rejects_wrong_arguments(trained, tmp_path):
    folder = trained("nsmc")
    for arguments, expected in [
        ((folder, "--device", "cpu"), "--no_cuda"),
        ((folder, "--batch_size=8"), "--batch_tokens"),
        ((folder, "--batch_tokens", "0"), "--batch_tokens"),
        ((folder, "--encoding", "rot13"), "--encoding"),
        ((tmp_path,), str(tmp_path)),
        ((folder, "--input", "no/such"), "--input no/such"),
        ((folder, "--output", "no/such/f"), "--output no/such/f"),
        ((folder, "--inputs", "f"), "--inputs"),
    ]:
        done = predict(*arguments, lines=["좋다"])
        assert (done.returncode, done.stdout) == (2, "")
        assert expected in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_a_run_stands_for_its_selected_checkpoint(trained):
    folder = trained("nsmc")
    of_run, of_checkpoint = predict(folder.parent, lines=["좋다"]), predict(folder, lines=["좋다"])
    assert (of_run.returncode, of_run.stdout) == (0, of_checkpoint.stdout)
    assert "checkpoint-100" in of_run.stderr and "checkpoint-100" not in of_checkpoint.stderr
    results = folder.parent / "eval_results.json"
    results.write_text(json.dumps(json.loads(results.read_text()) | {"selected": None}))
    unselected = predict(folder.parent, lines=["좋다"])
    assert (unselected.returncode, unselected.stdout) == (2, "")
    assert str(folder) in unselected.stderr.splitlines()[-1]


def test_batches_of_few_tokens_give_the_same_results(trained):
    folder, lines = trained("nsmc"), ["좋다", "정말 별로였다 그래도 봤다", "음"]
    whole, one_by_one = (predict(folder, *flags, lines=lines) for flags in ([], ["--batch_tokens", "1", "--no_cuda"]))
    for expected, found in zip(whole.stdout.splitlines(), one_by_one.stdout.splitlines(), strict=True):
        assert json.loads(found)["probabilities"] == pytest.approx(json.loads(expected)["probabilities"], abs=2e-6)


@pytest.mark.parametrize("suffix", [".txt", ".csv"])
@pytest.mark.parametrize("spelling", ["same", "dots", "link", "hard link", "link to folder", "partial"])
def test_the_input_is_never_the_output(trained, tmp_path, suffix, spelling):
    given, other = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    if spelling == "partial":
        given = tmp_path / f"out{suffix}.partial"
    elif spelling == "same":
        other = given
    elif spelling == "dots":
        other = tmp_path / "." / ".." / tmp_path.name / given.name
    given.write_text("document\n좋다\n")
    if spelling == "link":
        other.symlink_to(given)
    elif spelling == "hard link":
        other.hardlink_to(given)
    elif spelling == "link to folder":
        (tmp_path / "other").symlink_to(tmp_path, target_is_directory=True)
        other = tmp_path / "other" / given.name
    done = predict(trained("nsmc"), "--input", str(given), "--output", str(other))
    assert (done.returncode, given.read_text()) == (2, "document\n좋다\n")
    assert str(other) in done.stderr and "Traceback" not in done.stderr


def test_a_redirected_input_is_never_the_output(trained, tmp_path):
    given = tmp_path / "in.txt"
    given.write_text("좋다\n")
    checkpoint = trained("nsmc")
    for redirected in (f"--output {given} < {given}", f"--input {given} >> {given}", f"< {given} 1<> {given}"):
        command = f"{sys.executable} predict.py --checkpoint {checkpoint} {redirected}"
        done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, given.read_text()) == (2, "좋다\n"), redirected
        assert "input" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name",
    ["checkpoint-100/model.safetensors", "checkpoint-100/settings.json", "checkpoint-100/README.md", "eval_results.json",
     "test/predictions-100.tsv", "train.log"],
)  # fmt: skip
def test_files_of_the_run_are_never_the_output(trained, name):
    checkpoint = trained("nsmc")
    path = checkpoint.parent / name
    before = path.read_bytes()
    done = predict(checkpoint, "--output", str(path), lines=["좋다"])
    assert (done.returncode, path.read_bytes()) == (2, before)
    assert str(path) in done.stderr


def test_data_files_and_the_base_model_are_never_the_output(trained, tmp_path):
    """Copies, in case that the test fails."""
    checkpoint, data = trained("nsmc"), tmp_path / "train.txt"
    data.write_text("data")
    weights = tmp_path / "base" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_text("weights")
    record = json.loads((checkpoint / "settings.json").read_text())
    record["settings"] |= {"model_name_or_path": str(weights.parent)}
    record["data"]["train"]["file"] = str(data)
    (checkpoint / "settings.json").write_text(json.dumps(record))
    for path in (data, weights):
        before = path.read_bytes()
        done = predict(checkpoint, "--output", str(path), lines=["좋다"])
        assert (done.returncode, path.read_bytes(), str(path) in done.stderr) == (2, before, True)


def test_an_output_of_its_own_is_written_again(trained, tmp_path):
    """Also in the folders of the run. A file of another program is refused, though it may be a data file with labels."""
    checkpoint = trained("nsmc")
    for path in (tmp_path / "out.jsonl", checkpoint.parent / "labels.jsonl", checkpoint / "labels.jsonl"):
        for other in ("before", '{"text": "좋다", "label": "1"}\n', '{"words": ["좋다"], "tags": ["O"]}\n'):
            path.write_text(other)
            assert (predict(checkpoint, "--output", str(path), lines=["좋다"]).returncode, path.read_text()) == (2, other)
        path.unlink()
        for _ in range(2):
            assert predict(checkpoint, "--output", str(path), lines=["좋다"]).returncode == 0
        assert json.loads(path.read_text())["label"] in ("0", "1")


@pytest.mark.parametrize(
    ("task", "good", "empty"),
    [
        ("nsmc", {"text": "좋다"}, [{"text": ""}, {"text": " \u00a0"}, {"document": ""}]),
        ("paws", {"text": "가", "pair": "나"}, [{"text": "", "pair": "나"}, {"text": "가", "pair": ""}]),
        ("naver-ner", {"words": ["서울"]}, [{"words": []}, {"words": [""]}, {"words": ""}, {"words": " "}, {"text": ""}]),
        (
            "korquad",
            {"question": "누구?", "context": "김"},
            [{"question": " ", "context": "김"}, {"question": "누구?", "context": ""}],
        ),
    ],
)
def test_an_empty_text_is_an_error(trained, tmp_path, task, good, empty):
    checkpoint = trained(task)
    lines = [json.dumps(value) for value in (*empty, good)]
    results = [json.loads(line) for line in predict(checkpoint, lines=lines).stdout.splitlines()]
    assert [result.get("line") for result in results] == [*range(1, len(empty) + 1), None]
    assert all("empty" in result["error"] or "[]" in result["error"] for result in results[:-1])
    if all(isinstance(value, str) for value in good.values()):
        given, written = tmp_path / "in.csv", tmp_path / "out.csv"
        with open(given, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([good, good.values(), ["", *list(good.values())[1:]]])
        assert predict(checkpoint, "--input", str(given), "--output", str(written)).returncode == 0
        with open(written, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [bool(row["error"]) for row in rows] == [False, True]


def test_a_text_that_the_tokenizer_drops_is_an_error(trained):
    """Invisible characters: the model would see nothing but special tokens."""
    done = predict(trained("nsmc"), lines=["좋다", "\u200b", "가\u200b", "\x00\x01"])
    assert ["error" in json.loads(line) for line in done.stdout.splitlines()] == [False, True, False, True]


def test_tags_words_as_training_splits_them(trained):
    """Only at spaces: U+00A0 is a character of a word. Two spaces have an empty word between them."""
    checkpoint = trained("naver-ner")
    for words in ("서울\u00a0시 부산", "서울\t시\u3000부산 대구", "서울  부산"):
        value = read_words(words)
        done = predict(checkpoint, lines=[json.dumps({"words": words}), json.dumps({"words": value})])
        as_text, as_list = done.stdout.splitlines()
        assert as_text == as_list and len(json.loads(as_text)["tags"]) == len(value) == len(words.split(" "))


def read_words(text):
    """Return the words of a training row that has them as a text."""
    return parse_sentence(TASKS["naver-ner"], [text, " ".join("O" for _ in text.split(" "))]).words


def test_the_result_of_a_text_has_words_and_entities(trained):
    text = "  김민준은 서울\u00a0시에서  태어났다."
    done = predict(trained("naver-ner"), lines=[json.dumps({"text": text}), json.dumps({"words": text.split()})])
    of_text, of_words = map(json.loads, done.stdout.splitlines())
    assert of_text["words"] == ["김민준은", "서울\u00a0시에서", "태어났다."]
    assert len(of_text["tags"]) == 3 and of_words.keys() == {"tags"}
    for entity in of_text["entities"]:
        assert entity["text"] == text[entity["start"] : entity["end"]]


def test_lines_in_another_encoding(trained, tmp_path):
    lines = ["좋다", "가나다", "뷁"]
    checkpoint = trained("nsmc")
    expected = predict(checkpoint, lines=lines).stdout
    for encoding in ("cp949", "utf-16", "utf-8-sig", "UTF8", "utf-16-le"):
        path = tmp_path / "in.txt"
        path.write_text("".join(line + "\n" for line in lines), encoding=encoding)
        done = predict(checkpoint, "--input", str(path), "--encoding", encoding)
        assert (done.returncode, done.stdout) == (0, expected), done.stderr
    path.write_bytes("좋다\n".encode("cp949") + b"\xff\xff\n" + "가\n".encode("cp949"))
    done = predict(checkpoint, "--input", str(path), "--encoding", "cp949")
    assert ["error" in json.loads(line) for line in done.stdout.splitlines()] == [False, True, False]
    assert "CP949" in done.stdout


def on_terminal(monkeypatch, *names):
    """Make standard streams look like a terminal's."""
    for module in (log, bars, lines_module):
        monkeypatch.setattr(module, "is_terminal", lambda stream: stream in [getattr(sys, name) for name in names])


def test_a_long_input_shows_a_bar_on_a_terminal(trained, tmp_path, monkeypatch):
    given, written = tmp_path / "in.txt", tmp_path / "out.jsonl"
    given.write_text("좋다\n" * 3000)
    monkeypatch.setattr(bars, "SECONDS_BETWEEN_BARS", 0)
    files = ["--input", str(given), "--output", str(written)]
    for streams, is_shown in (["stderr"], True), (["stderr", "stdout"], True), ([], False):
        on_terminal(monkeypatch, *streams)
        done = predict(trained("nsmc") if streams == ["stderr"] else tmp_path / "trained/nsmc/checkpoint-100", *files)
        assert len(written.read_text().splitlines()) == 3000
        assert ("/3001" in done.stderr) is is_shown, done.stderr[-500:]
    on_terminal(monkeypatch, "stderr", "stdout")  # results would break the bar
    assert "/3001" not in predict(tmp_path / "trained/nsmc/checkpoint-100", *files[:2]).stderr


def test_says_that_it_reads_from_the_terminal(trained, monkeypatch):
    checkpoint = trained("nsmc")
    assert "--input" not in predict(checkpoint, lines=["좋다"]).stderr
    on_terminal(monkeypatch, "stdin")
    for flags in ([], ["--input", "-"]):
        done = predict(checkpoint, *flags, lines=["좋다"])
        assert (done.returncode, "--input" in done.stderr) == (0, True)


def test_rejects_damaged_weights(trained):
    folder = trained("nsmc")
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if ".layer.0." not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    done = predict(folder, lines=["좋다"])
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{len(weights) - len(kept)} weights" in done.stderr
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    done = predict(folder, lines=["좋다"])
    assert (done.returncode, done.stdout) == (2, "")
    assert str(folder) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
