import csv
import json
import shutil

import pytest

from processor.definition import TASKS
from src.common.errors import CheckpointError
from src.metrics.metrics import METRICS, Metric
from src.report.report import CSV_COLUMNS, Request, write_report
from tests.conftest import ROOT
from tests.src.report.helpers import PUBLISHED, finished


def report(tmp_path):
    return write_report(Request(tmp_path, published="none"), TASKS, PUBLISHED, ROOT / "config")


def section(text, title):
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def cells(text, view, title):
    """Return the size of a model and its cells by task, from its row in a view."""
    lines = section(text, f"`{view}`").splitlines()
    (line,) = [line for line in lines if line.startswith(f"| {title} |")]
    (header,) = {line for line in lines if line.startswith("| model |")}
    _, size, *texts = [cell.strip() for cell in line.strip("|").split(" | ")]
    names = [name for name, task in TASKS.items() if f"| **{task.title}" in header]
    return size, dict(zip(names, texts, strict=True))


def test_score_table(tmp_path):
    """Published: 90.63 and 84.83 / 93.45 for v3, 90.33 for v1; reruns differ by up to 0.46 and 1.06 / 1.12."""
    for seed, score in [(1, 90.5), (2, 90.7)]:
        finished(tmp_path, seed=seed, score=score, best=score + 1)
        finished(tmp_path, task="korquad", seed=seed, score=score)
    finished(tmp_path, "koelectra-base", score=90.2)
    finished(tmp_path, "koelectra-small-v3", score=80.0)
    text = report(tmp_path)
    size, texts = cells(text, "selected", "KoELECTRA-Base-v3")
    assert size == "431M"
    assert texts["nsmc"] == "**90.60 ± 0.14** (n=2)<br/>published 90.63: -0.03 inside"
    assert texts["korquad"] == (
        "**90.60 ± 0.14** / **90.60 ± 0.14** (n=2)<br/>published 84.83 / 93.45: +5.77 outside / -2.85 outside"
    )
    assert list(texts) == ["nsmc", "korquad"]  # no empty columns
    assert cells(text, "selected", "KoELECTRA-Base")[1]["korquad"] == "-"
    assert cells(text, "best_on_test", "KoELECTRA-Base-v3")[1]["nsmc"] == (
        "**91.60 ± 0.14** (n=2)<br/>published 90.63: +0.97 outside"
    )
    assert cells(text, "selected", "KoELECTRA-Base")[1]["nsmc"] == "90.20 (n=1)<br/>published 90.33: -0.13 inside"
    assert cells(text, "selected", "KoELECTRA-Small-v3")[1]["nsmc"] == "**80.00** (n=1)<br/>published 89.36: -9.36 outside"
    notes = section(text, "Published scores")
    assert "KoELECTRA, finetune/README.md: https://github.com/monologg/KoELECTRA" in notes and "Soongsil" not in notes
    assert "- KorQuAD: " in notes and "--answer_text legacy" in notes
    assert "NSMC acc 0.46, KorQuAD EM 1.06, KorQuAD F1 1.12, " in notes
    for view in ("selected", "best_on_test"):
        part = section(text, f"`{view}`")
        assert part.index("### Base models") < part.index("KoELECTRA-Base-v3") < part.index("### Small models")
        assert part.count("**NSMC**<br/>(acc)") == part.count("**KorQuAD (Dev)**<br/>(EM/F1)") == 2
    assert text == (tmp_path / "benchmark" / "results.md").read_text().removesuffix("\n")


def test_each_view_shows_only_its_own_scores(tmp_path):
    finished(tmp_path, score=88.11, best=89.22)
    text = report(tmp_path)
    assert "88.11" in section(text, "`selected`") and "89.22" not in section(text, "`selected`")
    assert "89.22" in section(text, "`best_on_test`") and "88.11" not in section(text, "`best_on_test`")
    assert text.count("88.11") == text.count("89.22") == 1


def test_scores_displayed_as_equal_are_both_bold(tmp_path):
    """90.001 and 90.004 are both displayed as 90.00."""
    finished(tmp_path, "koelectra-base", score=90.001)
    finished(tmp_path, "koelectra-base-v2", score=90.004)
    finished(tmp_path, "kobert", score=89.99)
    text = report(tmp_path)
    bold = {title: cells(text, "selected", title)[1]["nsmc"].startswith("**") for title in ("KoELECTRA-Base", "KoBERT")}
    assert bold == {"KoELECTRA-Base": True, "KoBERT": False}


def test_scores_of_an_unknown_split_are_shown_but_not_compared(tmp_path):
    """The same model has a score of KoELECTRA's table, which is compared, and one of KLUE's, which is not."""
    finished(tmp_path, task="klue-nli", score=86.0)
    finished(tmp_path, task="nsmc", score=89.0)
    text = report(tmp_path)
    row = cells(text, "selected", "KoELECTRA-Base-v3")[1]
    assert row["klue-nli"].endswith("published 85.63: not compared")
    assert row["nsmc"].endswith("published 90.63: -1.63 outside")
    assert "`koelectra-base-v3/klue-nli`" in section(text, "Not compared with the published scores")
    assert {"KoELECTRA", "KLUE"} <= {line[2:].split(",")[0] for line in section(text, "Published scores").splitlines()}


def test_says_how_checkpoints_were_selected(tmp_path):
    finished(tmp_path, task="nsmc", by="last")
    finished(tmp_path, task="paws", by="dev")
    part = section(report(tmp_path), "`selected`")
    assert "dev: PAWS." in part and ": NSMC." in part


def test_costs_are_means_over_runs(tmp_path):
    """60 s and 120 s of training: 1:30 on average; 2 and 3 GB: 2.5."""
    finished(tmp_path, seed=1)
    finished(tmp_path, seed=2, seconds=120.0, memory=3e9, tokens_per_s=3000.0)
    finished(tmp_path, task="paws", seconds=30.0)
    row = section(report(tmp_path), "Cost").splitlines()[-1]
    assert "| 1:30<br/>2.50 GB<br/>2,000/s |" in row
    assert row.endswith("| 2:00 for 2 tasks<br/>2.50 GB |")


def test_environment(tmp_path):
    for seed in range(9):
        finished(tmp_path, model="kobert", seed=seed, rest=("--max_steps", "9"))
    finished(tmp_path, model="tiny", torch="2.14.0", status="other")
    lines = section(report(tmp_path), "Environment").splitlines()
    assert lines[1:] == [
        "- **data: not the published files: NSMC (test, train)**",
        "- settings from the command line: max_steps 9 (9 of 10 runs)",
        "- device: a GPU",
        "- precision: no",
        "- versions: torch 2.13.0 (9 of 10 runs); torch 2.14.0 (tiny/nsmc/seed-1)",
        "- revision of this project: 0123456789ab",
    ]


def test_does_not_mention_published_scores_if_there_are_none(tmp_path):
    finished(tmp_path, model="tiny")
    assert "ublished score" not in report(tmp_path)


def test_a_setting_counts_only_for_the_tasks_it_affects(tmp_path):
    """answer_text affects KorQuAD alone; runs with either value are compared with the published scores."""
    for task in ("nsmc", "korquad"):
        finished(tmp_path, "koelectra-base", task)
        finished(tmp_path, "koelectra-base-v2", task, rest=("--answer_text", "legacy"))
    text = report(tmp_path)
    assert "†" not in cells(text, "selected", "KoELECTRA-Base-v2")[1]["nsmc"]
    assert "†" in cells(text, "selected", "KoELECTRA-Base-v2")[1]["korquad"]
    assert "not compared" not in text


def test_two_reports_at_once(tmp_path):
    """A partial file of another process does no harm."""
    finished(tmp_path)
    (tmp_path / "benchmark" / ".results.md.partial").mkdir()
    assert report(tmp_path)


def test_costs_on_different_devices_are_not_averaged(tmp_path):
    finished(tmp_path, seed=1)
    finished(tmp_path, seed=2, seconds=9000.0, device="cpu, 2 threads")
    text = report(tmp_path)
    assert section(text, "Cost").splitlines()[-1] == "| KoELECTRA-Base-v3 | on several devices | on several devices |"
    assert "- device: a GPU (koelectra-base-v3/nsmc/seed-1); cpu, 2 threads (koelectra-base-v3/nsmc/seed-2)" in text


def test_differences_of_both_scores(tmp_path):
    """Published: 82.11 / 91.13. A difference that rounds to zero has no minus sign."""
    results = finished(tmp_path, "koelectra-small-v3", "korquad", score=82.61).folder / "eval_results.json"
    content = json.loads(results.read_text())
    for choice in (content["selected"], content["best_on_test"]):
        choice["test"] = content["scores"][str(choice["step"])]["test"] = {"exact_match": 82.109, "f1": 91.629}
    results.write_text(json.dumps(content))
    cell = cells(report(tmp_path), "selected", "KoELECTRA-Small-v3")[1]["korquad"]
    assert cell.endswith("<br/>published 82.11 / 91.13: +0.00 inside / +0.50 inside")


def test_names_what_is_not_in_the_tables(tmp_path):
    cell = finished(tmp_path, seed=1)
    finished(tmp_path, model="kobert", seed=2)
    shutil.copytree(cell.folder, cell.folder.parent / "seed-7")
    for seed in (3, 4):
        (cell.folder.parent / f"seed-{seed}.log").write_text("error: no network\n")
    lines = section(report(tmp_path), "Not in the tables").splitlines()
    assert "- missing: `koelectra-base-v3/nsmc`: seed 2" in lines
    assert "- missing: `kobert/nsmc`: seed 1, 3, 4" in lines  # 7 is not a run of the grid
    assert "- failed: `koelectra-base-v3/nsmc/seed-3`, `koelectra-base-v3/nsmc/seed-4`: no network" in lines
    assert any(line.startswith("- ignored: `koelectra-base-v3/nsmc/seed-7`: ") for line in lines)
    assert any(": Naver NER, PAWS, " in line for line in lines)
    assert cells(report(tmp_path), "selected", "KoELECTRA-Base-v3")[1]["nsmc"].startswith("**90.00** (n=1)")


def test_flags_runs_that_differ_in_more_than_the_model(tmp_path):
    for seed in (1, 2):
        finished(tmp_path, seed=seed)
    finished(tmp_path, model="kobert", score=99.0, rest=("--max_steps", "9"))
    text = report(tmp_path)
    assert "(n=1)†<br/>" in cells(text, "selected", "KoBERT")[1]["nsmc"]
    assert cells(text, "selected", "KoELECTRA-Base-v3")[1]["nsmc"].startswith("**90.00 ± 0.00** (n=2)<br/>")
    assert "- settings from the command line: max_steps 9 (kobert/nsmc/seed-1)" in text
    assert "- nsmc: max_steps: 9 (kobert seed 1); -1 (koelectra-base-v3 seed 1 2)" in text
    assert "(n=1)†<br/>published 89.59: not compared" in cells(text, "selected", "KoBERT")[1]["nsmc"]
    assert "(max_steps 9): `kobert/nsmc`" in section(text, "Not compared with the published scores")


def test_runs_on_other_data_are_not_compared(tmp_path):
    finished(tmp_path, status="other")
    text = report(tmp_path)
    assert "- **data: not the published files: NSMC (test, train)**" in text
    assert cells(text, "selected", "KoELECTRA-Base-v3")[1]["nsmc"] == "**90.00** (n=1)<br/>published 90.63: not compared"
    assert "train and test file: `koelectra-base-v3/nsmc`" in section(text, "Not compared with the published scores")
    assert "inside" not in cells(text, "best_on_test", "KoELECTRA-Base-v3")[1]["nsmc"]


def test_grid_without_a_finished_run(tmp_path):
    (tmp_path / "benchmark").mkdir()
    text = report(tmp_path)
    assert ": NSMC, " in section(text, "Not in the tables") and "## Cost" not in text


def test_escapes_names_in_the_table(tmp_path):
    config = tmp_path / "a|b.json"
    config.write_text('{"model_name_or_path": "x/y"}')
    finished(tmp_path, model=str(config))
    assert "| a\\|b | - |" in report(tmp_path)


def csv_rows(tmp_path):
    with open(tmp_path / "benchmark" / "results.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_csv_has_one_row_per_model_task_score_and_view(tmp_path):
    finished(tmp_path), finished(tmp_path, task="korquad"), finished(tmp_path, "tiny", score=80.0)
    report(tmp_path)
    rows = csv_rows(tmp_path)
    assert [(row["model"], row["table"], row["task"], row["score"], row["view"]) for row in rows] == [
        (model, table, task, score, view)
        for model, table, task, scores in [
            ("koelectra-base-v3", "base", "nsmc", ["acc"]),
            ("koelectra-base-v3", "base", "korquad", ["exact_match", "f1"]),
            ("tiny", "unknown", "nsmc", ["acc"]),
        ]
        for view in ("selected", "best_on_test")
        for score in scores
    ]
    assert len(rows[0]) <= 30
    assert rows[-1]["published"] == rows[-1]["difference"] == rows[-1]["verdict"] == rows[-1]["sd"] == ""


def test_csv_has_the_numbers_of_the_table(tmp_path):
    for seed, score in [(1, 90.5), (2, 90.7)]:
        finished(tmp_path, seed=seed, score=score, best=score + 1)
    finished(tmp_path, "kobert", rest=("--max_steps", "9"))
    report(tmp_path)
    flagged, _, _, row = csv_rows(tmp_path)
    assert (flagged["flagged"], flagged["verdict"]) == ("yes", "") and "max_steps 9" in flagged["not_compared"]
    assert (row["view"], row["seeds"], row["flagged"], row["not_compared"]) == ("best_on_test", "1 2", "", "")
    assert (row["title"], row["size"], row["verdict"]) == ("KoELECTRA-Base-v3", "431M", "outside")
    numbers = {"mean": 91.6, "sd": 0.02**0.5, "n": 2, "published": 90.63, "difference": 0.97, "tolerance": 0.465}
    numbers |= {"training_seconds": 60, "peak_memory_bytes": 2e9, "tokens_per_s": 1000}
    assert {name: float(row[name]) for name in numbers} == pytest.approx(numbers, rel=1e-4)


def test_a_task_outside_of_the_published_table(tmp_path, monkeypatch):
    """A published model on a task with a metric of its own, whose scores have no display names."""
    cell = finished(tmp_path)
    for name in ("settings", "eval_results"):
        path = cell.folder / f"{name}.json"
        path.write_text(path.read_text().replace("/nsmc/", "/topics/").replace('"nsmc"', '"topics"').replace('"acc"', '"mcc"'))
    (cell.folder.parent.parent / "nsmc").rename(cell.folder.parent.parent / "topics")
    monkeypatch.setitem(METRICS, "mcc", Metric(lambda labels, preds: {}, "mcc", {}, scale=2.0))
    topics = TASKS["nsmc"].model_copy(update={"title": "Topics", "metric": "mcc", "headline": "mcc"})
    text = write_report(Request(tmp_path, published="none"), {**TASKS, "topics": topics}, PUBLISHED, ROOT / "config")
    assert "**Topics**<br/>(mcc)" in text
    (line,) = [line for line in section(text, "`selected`").splitlines() if "KoELECTRA-Base-v3" in line]
    assert line.endswith(" **45.00** (n=1) |")
    assert "ublished score" not in text
    assert [row["task"] for row in csv_rows(tmp_path)] == ["topics", "topics"]


def test_files_are_reproducible(tmp_path):
    finished(tmp_path)
    written = [tmp_path / "benchmark" / name for name in ("results.md", "results.csv")]
    report(tmp_path)
    before = [path.read_bytes() for path in written]
    report(tmp_path)
    assert [path.read_bytes() for path in written] == before


def test_no_grid(tmp_path):
    with pytest.raises(CheckpointError, match="benchmark/"):
        report(tmp_path)


def test_csv_without_finished_runs_has_a_header(tmp_path):
    (tmp_path / "benchmark").mkdir()
    report(tmp_path)
    assert (tmp_path / "benchmark" / "results.csv").read_text().splitlines() == [",".join(CSV_COLUMNS)]
