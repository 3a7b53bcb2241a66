import csv
import json

from processor.definition import TASKS
from src.report.report import Request, write_report
from tests.conftest import ROOT
from tests.src.report.helpers import PUBLISHED, finished
from tests.src.report.test_report import cells, report, section


def test_cautions_are_in_every_table(tmp_path):
    results = finished(tmp_path, score=50.0).folder / "eval_results.json"
    content = json.loads(results.read_text())
    results.write_text(json.dumps(content | {"cautions": {"20": {"test": ["it rests on 2 examples only"]}}}))
    finished(tmp_path, "koelectra-base", score=90.0)
    text = report(tmp_path)
    assert cells(text, "selected", "KoELECTRA-Base-v3")[1]["nsmc"].startswith("50.00 (n=1)‡")
    assert "‡" not in cells(text, "selected", "KoELECTRA-Base")[1]["nsmc"]
    reason = "seed 1, selected, test: it rests on 2 examples only"
    assert section(text, "‡ Cautions").strip() == f"- `koelectra-base-v3/nsmc`: {reason}"
    with open(tmp_path / "benchmark" / "results.csv", newline="") as file:
        assert {row["cautions"] for row in csv.DictReader(file) if row["model"] == "koelectra-base-v3"} == {reason}


def test_a_title_cannot_break_a_table(tmp_path):
    finished(tmp_path)
    tasks = {"nsmc": TASKS["nsmc"].model_copy(update={"title": "Movie |\nreviews"})}
    text = write_report(Request(tmp_path, published="none"), tasks, PUBLISHED, ROOT / "config")
    assert text.count("| **Movie \\| reviews**<br/>(acc) |") == 2


def test_flagged_scores_are_never_bold(tmp_path):
    finished(tmp_path, model="kobert", rest=("--max_steps", "9"))
    for seed in (1, 2):
        finished(tmp_path, seed=seed)
    assert cells(report(tmp_path), "selected", "KoBERT")[1]["nsmc"].startswith("90.00 (n=1)†")
    finished(tmp_path, "koelectra-base", "paws", rest=("--max_steps", "9"))
    finished(tmp_path, "koelectra-base-v2", "paws")
    text = report(tmp_path)
    assert cells(text, "selected", "KoELECTRA-Base")[1]["paws"].startswith("90.00 (n=1)†")  # without a majority both are flagged
    assert "1:00†<br/>" in section(text, "Cost")
