"""predict.py on checkpoints of the sample. Every task is tested in test_every_task.py."""

import json
import time

import pytest
from safetensors.torch import load_file, save_file

from tests.commands import Forked, run_script


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
        ((folder.parent,), str(folder.parent)),
        ((tmp_path,), str(tmp_path)),
        ((folder, "--input", "no/such"), "--input no/such"),
        ((folder, "--output", "no/such/f"), "--output no/such/f"),
        ((folder, "--inputs", "f"), "--inputs"),
    ]:
        done = predict(*arguments, lines=["좋다"])
        assert (done.returncode, done.stdout) == (2, "")
        assert expected in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


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
