import csv
import json
import shutil

import pytest

from processor import TASKS
from src.errors import CheckpointError
from src.grid.report import write_report
from tests.conftest import ROOT
from tests.src.grid.helpers import PUBLISHED, finished


def report(tmp_path):
    return write_report(tmp_path, TASKS, PUBLISHED, ROOT / "config")


def section(text, title):
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def cells(text, view, title):
    """The cells of a model's row in a view, by task."""
    (line,) = [line for line in section(text, f"`{view}`").splitlines() if line.startswith(f"| {title} |")]
    _, size, *found = [cell.strip() for cell in line.strip("|").split(" | ")]
    return size, dict(zip(TASKS, found, strict=True))


def test_the_table(tmp_path):
    """Against the published 90.63 and 84.83 / 93.45 of v3 and 90.33 of v1; their NSMC runs moved by up to 0.46."""
    for seed, score in [(1, 90.5), (2, 90.7)]:
        finished(tmp_path, seed=seed, score=score, best=score + 1)
        finished(tmp_path, task="korquad", seed=seed, score=score)
    finished(tmp_path, "koelectra-base", score=90.2)
    finished(tmp_path, "koelectra-small-v3", score=80.0)
    text = report(tmp_path)
    size, found = cells(text, "selected", "KoELECTRA-Base-v3")
    assert size == "431M"
    assert found["nsmc"] == "**90.60 ± 0.14** (n=2)<br/>published 90.63: -0.03 inside"
    assert found["korquad"] == (
        "**90.60 ± 0.14** / **90.60 ± 0.14** (n=2)<br/>published 84.83 / 93.45: +5.77 outside / -2.85 outside"
    )
    assert found["paws"] == "-"
    assert cells(text, "best_on_test", "KoELECTRA-Base-v3")[1]["nsmc"] == (
        "**91.60 ± 0.14** (n=2)<br/>published 90.63: +0.97 outside"
    )
    assert cells(text, "selected", "KoELECTRA-Base")[1]["nsmc"] == "90.20 (n=1)<br/>published 90.33: -0.13 inside"
    assert cells(text, "selected", "KoELECTRA-Small-v3")[1]["nsmc"] == "**80.00** (n=1)<br/>published 89.36: -9.36 outside"
    notes = section(text, "Published scores")
    assert "KoELECTRA, finetune/README.md: https://github.com/monologg/KoELECTRA" in notes and "Soongsil" not in notes
    assert "- KorQuAD: the published answers were put together from pieces" in notes
    assert "- inside is a difference of up to NSMC acc 0.46, KorQuAD EM 1.06, KorQuAD F1 1.12, and half a unit of" in notes
    for view in ("selected", "best_on_test"):
        part = section(text, f"`{view}`")
        assert part.index("### Base models") < part.index("KoELECTRA-Base-v3") < part.index("### Small models")
        assert part.count("**NSMC**<br/>(acc)") == part.count("**KorQuAD (Dev)**<br/>(EM/F1)") == 2
    assert text == (tmp_path / "benchmark" / "results.md").read_text().removesuffix("\n")


def test_the_views_never_meet(tmp_path):
    """A score that only one of the views has stands in its section alone."""
    finished(tmp_path, score=88.11, best=89.22)
    text = report(tmp_path)
    assert "88.11" in section(text, "`selected`") and "89.22" not in section(text, "`selected`")
    assert "89.22" in section(text, "`best_on_test`") and "88.11" not in section(text, "`best_on_test`")
    assert text.count("88.11") == text.count("89.22") == 1


def test_best_is_what_is_shown_as_best(tmp_path):
    """90.001 and 90.004 are both shown as 90.00: both are bold."""
    finished(tmp_path, "koelectra-base", score=90.001)
    finished(tmp_path, "koelectra-base-v2", score=90.004)
    finished(tmp_path, "kobert", score=89.99)
    text = report(tmp_path)
    bold = {title: cells(text, "selected", title)[1]["nsmc"].startswith("**") for title in ("KoELECTRA-Base", "KoBERT")}
    assert bold == {"KoELECTRA-Base": True, "KoBERT": False}


def test_how_checkpoints_were_chosen_is_said(tmp_path):
    finished(tmp_path, task="nsmc", by="last")
    finished(tmp_path, task="paws", by="dev")
    part = section(report(tmp_path), "`selected`")
    assert "Best on dev: PAWS." in part and "The last one: NSMC." in part


def test_costs_are_means_over_runs(tmp_path):
    """60 s and 120 s of training: 1:30; 2 and 3 GB: 2.5."""
    finished(tmp_path, seed=1)
    finished(tmp_path, seed=2, seconds=120.0, memory=3e9, tokens_per_s=3000.0)
    finished(tmp_path, task="paws", seconds=30.0)
    row = section(report(tmp_path), "Cost").splitlines()[-1]
    assert "| 1:30<br/>2.50 GB<br/>2,000/s |" in row
    assert row.endswith("| 2:00 for 2 tasks<br/>2.50 GB |")


def test_what_it_was_made_with(tmp_path):
    for seed in range(9):
        finished(tmp_path, model="kobert", seed=seed, rest=("--max_steps", "9"))
    finished(tmp_path, model="tiny", torch="2.14.0", status="other")
    lines = section(report(tmp_path), "Made with").splitlines()
    assert lines[1:] == [
        "- **data: not the published files: NSMC (test, train)**",
        "- settings given on the command line: max_steps 9 (9 of 10 runs)",
        "- device: a GPU",
        "- precision: no",
        "- versions: torch 2.13.0 (9 of 10 runs); torch 2.14.0 (tiny/nsmc/seed-1)",
        "- revision of this project: 0123456789ab",
    ]


def test_nothing_is_said_of_published_scores_where_there_are_none(tmp_path):
    finished(tmp_path, model="tiny")
    assert "ublished score" not in report(tmp_path)


def test_a_setting_counts_for_the_tasks_that_it_can_change(tmp_path):
    """answer_text is of KorQuAD alone, and there both ways are compared."""
    for task in ("nsmc", "korquad"):
        finished(tmp_path, "koelectra-base", task)
        finished(tmp_path, "koelectra-base-v2", task, rest=("--answer_text", "legacy"))
    text = report(tmp_path)
    assert "†" not in cells(text, "selected", "KoELECTRA-Base-v2")[1]["nsmc"]
    assert "†" in cells(text, "selected", "KoELECTRA-Base-v2")[1]["korquad"]
    assert "not compared" not in text


def test_two_reports_at_once(tmp_path):
    """What another process is writing is not in the way."""
    finished(tmp_path)
    (tmp_path / "benchmark" / ".results.md.partial").mkdir()
    assert report(tmp_path)


def test_a_marked_score_that_is_as_good_stays_plain(tmp_path):
    finished(tmp_path, model="kobert", rest=("--max_steps", "9"))
    for seed in (1, 2):
        finished(tmp_path, seed=seed)
    assert cells(report(tmp_path), "selected", "KoBERT")[1]["nsmc"].startswith("90.00 (n=1)†")
    finished(tmp_path, "koelectra-base", "paws", rest=("--max_steps", "9"))
    finished(tmp_path, "koelectra-base-v2", "paws")
    text = report(tmp_path)
    assert cells(text, "selected", "KoELECTRA-Base")[1]["paws"].startswith("90.00 (n=1)†")  # nobody knows which is the odd one
    assert "1:00†<br/>" in section(text, "Cost")


def test_costs_of_two_devices_are_no_mean(tmp_path):
    finished(tmp_path, seed=1)
    finished(tmp_path, seed=2, seconds=9000.0, device="cpu, 2 threads")
    text = report(tmp_path)
    assert section(text, "Cost").splitlines()[-1].startswith("| KoELECTRA-Base-v3 | on several devices | - |")
    assert "- device: a GPU (koelectra-base-v3/nsmc/seed-1); cpu, 2 threads (koelectra-base-v3/nsmc/seed-2)" in text


def test_the_same_difference_in_both_scores_is_shown_twice(tmp_path):
    """Published are 82.11 / 91.13; and what is no difference has no sign of one."""
    results = finished(tmp_path, "koelectra-small-v3", "korquad", score=82.61).folder / "eval_results.json"
    content = json.loads(results.read_text())
    for chosen in (content["selected"], content["best_on_test"]):
        chosen["test"] = content["scores"][str(chosen["step"])]["test"] = {"exact_match": 82.109, "f1": 91.629}
    results.write_text(json.dumps(content))
    cell = cells(report(tmp_path), "selected", "KoELECTRA-Small-v3")[1]["korquad"]
    assert cell.endswith("<br/>published 82.11 / 91.13: +0.00 inside / +0.50 inside")


def test_what_is_not_in_the_table(tmp_path):
    cell = finished(tmp_path, seed=1)
    finished(tmp_path, model="kobert", seed=2)
    shutil.copytree(cell.folder, cell.folder.parent / "seed-7")
    for seed in (3, 4):
        (cell.folder.parent / f"seed-{seed}.log").write_text("error: no network\n")
    lines = section(report(tmp_path), "What is not in the tables").splitlines()
    assert "- missing: `koelectra-base-v3/nsmc`: seed 2" in lines
    assert "- missing: `kobert/nsmc`: seed 1, 3, 4" in lines  # 7 is foreign: nobody has it
    assert "- failed: `koelectra-base-v3/nsmc/seed-3`, `koelectra-base-v3/nsmc/seed-4`: no network" in lines
    assert "- foreign: `koelectra-base-v3/nsmc/seed-7`: its settings.json says seed 1" in lines
    assert any(line.startswith("- no model has a finished run of Naver NER, PAWS, ") for line in lines)
    assert cells(report(tmp_path), "selected", "KoELECTRA-Base-v3")[1]["nsmc"].startswith("**90.00** (n=1)")


def test_runs_that_were_not_made_alike_are_marked(tmp_path):
    for seed in (1, 2):
        finished(tmp_path, seed=seed)
    finished(tmp_path, model="kobert", score=99.0, rest=("--max_steps", "9"))
    text = report(tmp_path)
    assert "(n=1)†<br/>" in cells(text, "selected", "KoBERT")[1]["nsmc"]
    assert cells(text, "selected", "KoELECTRA-Base-v3")[1]["nsmc"].startswith(
        "**90.00 ± 0.00** (n=2)<br/>"
    )  # of those alike the best
    assert "- settings given on the command line: max_steps 9 (kobert/nsmc/seed-1)" in text
    assert "- nsmc: max_steps: 9 (kobert seed 1); -1 (koelectra-base-v3 seed 1 2)" in text
    assert "(n=1)†<br/>published 89.59: not compared" in cells(text, "selected", "KoBERT")[1]["nsmc"]
    assert "- other settings than those of the published runs (max_steps 9): `kobert/nsmc`" in text


def test_what_was_not_made_from_the_published_files_is_not_compared(tmp_path):
    finished(tmp_path, status="other")
    text = report(tmp_path)
    assert "- **data: not the published files: NSMC (test, train)**" in text
    assert cells(text, "selected", "KoELECTRA-Base-v3")[1]["nsmc"] == "**90.00** (n=1)<br/>published 90.63: not compared"
    assert "- not the published train and test file: `koelectra-base-v3/nsmc`" in text
    assert "inside" not in cells(text, "best_on_test", "KoELECTRA-Base-v3")[1]["nsmc"]


def test_no_finished_run_at_all(tmp_path):
    (tmp_path / "benchmark").mkdir()
    text = report(tmp_path)
    assert "no model has a finished run of NSMC" in text and "## Cost" not in text


def test_a_name_does_not_break_the_table(tmp_path):
    config = tmp_path / "a|b.json"
    config.write_text('{"model_name_or_path": "x/y"}')
    finished(tmp_path, model=str(config))
    assert "| a\\|b | - |" in report(tmp_path)


def test_the_csv_has_the_same_numbers(tmp_path):
    for seed, score in [(1, 90.5), (2, 90.7)]:
        finished(tmp_path, seed=seed, score=score, best=score + 1)
    finished(tmp_path, "tiny", score=80.0)
    report(tmp_path)
    with open(tmp_path / "benchmark" / "results.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["view"], row["table"], row["model"]) for row in rows] == [
        ("selected", "base", "koelectra-base-v3"),
        ("selected", "unknown", "tiny"),
        ("best_on_test", "base", "koelectra-base-v3"),
        ("best_on_test", "unknown", "tiny"),
    ]
    found = {name: value for name, value in rows[2].items() if name.startswith("nsmc.")}
    assert [found.pop(f"nsmc.{name}") for name in ("acc.verdict", "seeds", "unlike", "not_compared")] == [
        "outside",
        "1 2",
        "",
        "",
    ]
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {
            "nsmc.acc.mean": 91.6,
            "nsmc.acc.sd": 0.02**0.5,
            "nsmc.acc.n": 2,
            "nsmc.acc.published": 90.63,
            "nsmc.acc.difference": 0.97,
            "nsmc.acc.tolerance": 0.465,
            "nsmc.training_seconds": 60,
            "nsmc.peak_memory_bytes": 2e9,
            "nsmc.tokens_per_s": 1000,
        },
        rel=1e-4,
    )
    assert rows[1]["nsmc.acc.published"] == rows[1]["paws.acc.mean"] == ""
    assert len(rows[0]) == 4 + 9 * 7 + 8 * 6


def test_the_same_folders_give_the_same_files(tmp_path):
    finished(tmp_path)
    written = [tmp_path / "benchmark" / name for name in ("results.md", "results.csv")]
    report(tmp_path)
    before = [path.read_bytes() for path in written]
    report(tmp_path)
    assert [path.read_bytes() for path in written] == before


def test_there_is_no_grid(tmp_path):
    with pytest.raises(CheckpointError, match="is not there"):
        report(tmp_path)
