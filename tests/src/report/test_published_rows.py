"""Published rows in results.md and results.csv, beside the runs."""

import csv

import pytest

from processor.definition import TASKS
from src.report.report import Request, make_table, write_report
from tests.conftest import ROOT
from tests.src.report.helpers import PUBLISHED, finished

COMPARED = ("koelectra", "soongsil", "kocharelectra")


def report(tmp_path, shown="all"):
    return write_report(Request(tmp_path, published=shown), TASKS, PUBLISHED, ROOT / "config")


def table_rows(text, view, title):
    """Return the first cells of a table's rows, without the heading and the line below it."""
    lines = text.split(f"\n## `{view}`\n")[1].split(f"\n### {title}\n")[1].split("\n#")[0].strip().splitlines()
    return [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]


def csv_rows(tmp_path):
    with open(tmp_path / "benchmark" / "results.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_runs_stand_between_the_published_rows(tmp_path):
    """The seed tables: seven base models and five small ones."""
    finished(tmp_path, score=90.5)
    finished(tmp_path, "koelectra-small-v3", score=89.0)
    text = report(tmp_path, "seeds")
    for view in ("selected", "best_on_test"):
        base = table_rows(text, view, "Base models")
        at = base.index("KoELECTRA-Base-v3")
        assert base[at - 1 : at + 2] == [
            "*KoELECTRA-Base-v2* <sup>a</sup>",
            "KoELECTRA-Base-v3",
            "*KoELECTRA-Base-v3* <sup>a</sup>",
        ]
        assert (base[0], base[-1]) == ("*KoBERT* <sup>a</sup>", "*Soongsil-BERT-Base* <sup>b</sup>")
        assert (len(base), len(table_rows(text, view, "Small models"))) == (7 + 1, 5 + 1)
    assert "- a: KoELECTRA, finetune/README.md (koelectra-finetune): https://" in text and "\n- c: " not in text
    assert "other protocols" not in text


def test_only_runs_are_bold(tmp_path):
    """80.00 is the only run's score, and below all published ones."""
    finished(tmp_path, score=80.0)
    text = report(tmp_path)
    bold = {
        line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ") and "<br/>(acc)" not in line and "**" in line
    }
    assert bold == {"| KoELECTRA-Base-v3", "| model"}  # the heading of the costs
    assert "| *KoELECTRA-Base-v3* <sup>a</sup> | 431M | *90.63* | *88.11* | *84.45* | *82.24* | *85.53* | *95.25* |" in text


def test_other_protocols_have_a_table_of_their_own(tmp_path):
    finished(tmp_path)
    text = report(tmp_path)
    assert len(table_rows(text, "selected", "Base models")) == 1 + sum(
        row.table == "base" and row.source in COMPARED for row in PUBLISHED.rows("all")
    )
    other = text.split("\n## Published scores of other protocols\n")[1].split("\n## ")[0]
    assert other.count("</sup> |") == sum(row.source not in COMPARED for row in PUBLISHED.rows("all"))
    (line,) = [line for line in other.splitlines() if "*KoMiniLM-68M*" in line]
    assert "</sup> | koelectra-finetune (other settings) | *89.84 ± 0.02 (n=3)* | " in line
    assert " | *83.27 ± 0.08 / 92.08 ± 0.06 (n=3)* | - | " in line
    assert "\n- klue-baseline: " in text


def test_published_rows_of_a_grid_without_runs(tmp_path):
    (tmp_path / "benchmark").mkdir()
    assert "*KoBERT* <sup>a</sup>" in table_rows(report(tmp_path), "selected", "Base models")


def test_csv_has_the_published_rows_after_those_of_the_runs(tmp_path):
    finished(tmp_path, "kcbert-base")
    report(tmp_path)
    rows = csv_rows(tmp_path)
    assert [row["view"] for row in rows[:3]] == ["selected", "best_on_test", "published"]
    assert {(row["source"], row["protocol"]) for row in rows[:2]} == {("", "")}
    published = [row for row in rows if row["view"] == "published"]
    assert len(published) == sum(len(scores) for row in PUBLISHED.rows("all") for scores in row.scores.values())
    found = {
        row["source"]: row for row in published if (row["model"], row["task"], row["score"]) == ("kcbert-base", "nsmc", "acc")
    }
    numbers = {source: (row["mean"], row["sd"], row["n"]) for source, row in found.items()}
    assert numbers == {"kcbert": ("89.62", "", ""), "lmkor": ("89.87", "", ""), "kominilm": ("89.6", "0.1", "3")}
    assert all("hyperparameters" in row["not_compared"] for row in found.values())
    assert not any(row["not_compared"] for row in published if row["source"] in COMPARED)
    assert found["kominilm"]["protocol"] == "koelectra-finetune (other settings)"
    assert found["kcbert"]["title"] == "KcBERT-Base" and found["kcbert"]["seeds"] == found["kcbert"]["verdict"] == ""


@pytest.mark.parametrize(("shown", "sources"), [("seeds", {"koelectra", "soongsil"}), ("none", set())])
def test_fewer_published_rows(tmp_path, shown, sources):
    finished(tmp_path)
    text = report(tmp_path, shown)
    assert ("<sup>" in text) == bool(sources)
    assert {row["source"] for row in csv_rows(tmp_path)} == sources | {""}
    assert {
        row.source for row in make_table(Request(tmp_path, published=shown), TASKS, PUBLISHED, ROOT / "config").published_rows
    } == sources


def test_a_published_model_without_a_config_file(tmp_path):
    """A user's file for KoCharELECTRA: nothing says that its settings are those of the published runs."""
    config = tmp_path / "kocharelectra-base.json"
    config.write_text('{"model_name_or_path": "x/y"}')
    finished(tmp_path, model=str(config))
    text = report(tmp_path, "none")
    assert "| kocharelectra-base | - | **90.00** (n=1)<br/>published 90.18: not compared |" in text
    assert "config file: `kocharelectra-base/nsmc`" in text
