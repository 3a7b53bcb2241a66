"""The model card of a checkpoint, README.md: metadata as the Hugging Face hub reads it, scores, data, licences and use."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from src.common.files import read_json, write_lines
from src.data.task import Scores, Task
from src.metrics.metrics import METRICS, display_name
from src.runs.files import CARD, CHOICES, SETTINGS
from src.runs.scores import ScoreHistory
from src.settings.schema import TRUST


class Use(NamedTuple):
    """How models for one kind of task are used."""

    tag: str  # task of the hub
    pipeline: str  # options of transformers' pipeline; "-" if it has none for the task
    inputs: tuple[str, ...]  # line of predict.py, for one text and for two
    calls: tuple[str, ...]  # argument of the pipeline, likewise


TEXTS = ('{"text": "..."}', '{"text": "...", "pair": "..."}')
TEXT_CALLS = ('"..."', '{"text": "...", "text_pair": "..."}')
CHOICE_TEXTS = tuple(f'{line[:-1]}, "choices": ["...", "..."]}}' for line in TEXTS)
NO_PIPELINE = "-"
USES: Mapping[str, Use] = {
    "classification": Use("text-classification", "", TEXTS, TEXT_CALLS),
    "multi_label": Use("text-classification", ", top_k=None", TEXTS, TEXT_CALLS),
    "regression": Use("text-classification", ', function_to_apply="none"', TEXTS, TEXT_CALLS),
    "multiple_choice": Use("multiple-choice", NO_PIPELINE, CHOICE_TEXTS, ("", "")),
    "tagging": Use("token-classification", ', aggregation_strategy="first"', ('{"words": ["...", "..."]}',), ('"..."',)),
    "character_tagging": Use("token-classification", ', aggregation_strategy="simple"', ('{"text": "..."}',), ('"..."',)),
    "span": Use("question-answering", NO_PIPELINE, ("", '{"question": "...", "context": "..."}'), ("", "")),
}
OTHER_USE = Use("other", NO_PIPELINE, TEXTS, TEXT_CALLS)  # of a kind without a row

# Name of a score -> that of the hub's metric; the others have the same name.
HUB_METRICS = {"acc": "accuracy", "pearson": "pearsonr"} | dict.fromkeys(("micro_f1", "macro_f1", "samples_f1", "f1_full"), "f1")

# Whether there is a dev set -> how checkpoints are selected.
SELECTION = {
    True: "Checkpoints of this run are selected by their score on dev; the test set is not used for it.",
    False: "This run has no dev set; its last checkpoint is the selected one.",
}
CAUTION = "The test score of a checkpoint that was chosen by its test scores is too high."

PUBLISHED = "the published file"
HELD_OUT = "held out of train"
NOT_ALLOWED = "It is not known to allow passing its texts on: check whether a model trained on them may be published."


def write_card(checkpoint: Path, step: int, history: ScoreHistory) -> None:
    """Write README.md of the checkpoint of `step`, if there is one, with the scores it has so far."""
    if not (record := read_json(checkpoint / SETTINGS)):
        return
    task = Task.model_validate_json(json.dumps(record["definition"]))
    card = Card(record, task, step, history.scores.get(step, {}), history.cautions.get(step, {}))
    write_lines(checkpoint / CARD, card.lines())


class Card(NamedTuple):
    """What a card says. `record`: settings.json of the checkpoint; scores and cautions by split."""

    record: Mapping[str, Any]
    task: Task
    step: int
    scores: Mapping[str, Scores]
    cautions: Mapping[str, list[str]]

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.record["settings"]

    @property
    def base(self) -> str:
        """The base model: its hub id, or the name of its folder."""
        name = self.settings["model_name_or_path"]
        return name if self.on_hub else Path(name).absolute().name

    @property
    def on_hub(self) -> bool:
        return self.record.get("model_revision") is not None

    def lines(self) -> Iterator[str]:
        """Yield the lines of README.md."""
        title = f"# {_plain(self.base)} fine-tuned on {_plain(self.task.title)}"
        yield from ["---", self.metadata(), "---", "", title]
        yield from ["", f"The checkpoint after {self.step:,} updates. {self._made_by()}", "", "| | |", "| :--- | :--- |"]
        yield from (f"| {name} | {_plain(value)} |" for name, value in self._about().items())
        yield from ["", "## Scores", "", *self._score_lines(), "", SELECTION["dev" in self.record["data"]], CAUTION]
        yield from ["", "## Data", "", *self._data_lines()]
        yield from ["", "## Use", "", *self._use_lines(), "", "## Licences", "", *self._licence_lines()]

    def metadata(self) -> str:
        """Return the YAML at the top of the card."""
        from huggingface_hub import EvalResult, ModelCardData  # imported here, as it takes a while: after the arguments are valid

        tag = USES.get(self.task.kind, OTHER_USE).tag
        results = [
            EvalResult(
                task_type=tag,
                dataset_type=self.settings["task"],
                dataset_name=self._name_of_data(split),
                dataset_config=HELD_OUT if self._is_held_out(split) else None,
                dataset_split=self.task.scored_on if split == "test" and not self._is_held_out(split) else split,
                metric_type=HUB_METRICS.get(score, score),
                metric_name=display_name(self.task, score),
                metric_value=scores[score],
            )
            for split, scores in self.scores.items()
            for score in dict.fromkeys((self.task.headline, *self.task.scores))
            if math.isfinite(scores.get(score, math.nan))
        ]
        more: dict[str, Any] = {}
        if self.on_hub:
            more |= {"base_model": self.base, "base_model_revision": self.record["model_revision"]}
        if results:
            more |= {"metrics": list(dict.fromkeys(result.metric_type for result in results)), "eval_results": results}
            more |= {"model_name": f"{self.base.split('/')[-1]}-{self.settings['task']}"}
        data = ModelCardData(language="ko", library_name="transformers", pipeline_tag=tag, **more)
        return str(data.to_yaml(line_break="\n")).rstrip("\n")

    def _made_by(self) -> str:
        version = self.record.get("version")
        return f"Made with the Korean encoder benchmark{f' {version}' if version else ''}."

    def _about(self) -> dict[str, str]:
        origin = f", commit {self.record['model_revision']}" if self.on_hub else ", a local folder"
        if self.settings.get("from_scratch"):
            origin += "; its architecture with random weights"
        about = {"base model": f"{self.base}{origin}", "task": f"{self.task.title} (`{self.settings['task']}`), {self.task.kind}"}
        about |= {"source of the data": self.task.source} if self.task.source else {}
        about |= {"seed": str(self.record["seed"])}
        return about | {setting: f"{value}, chosen on dev" for setting, value in self.record.get(CHOICES, {}).items()}

    def _score_lines(self) -> Iterator[str]:
        if not self.scores:
            yield "Not scored yet."
            return
        splits = sorted(self.scores)  # dev, test
        yield from [f"| score | {' | '.join(splits)} |", f"| :--- | {' | '.join(['---:'] * len(splits))} |"]
        for score in dict.fromkeys(score for split in splits for score in self.scores[split]):
            values = (f"{value:.4f}" if (value := self.scores[split].get(score)) is not None else "" for split in splits)
            yield f"| {display_name(self.task, score)} | {' | '.join(values)} |"
        yield from ["", f"A perfect {display_name(self.task, self.task.headline)} is {METRICS[self.task.metric].scale:g}."]
        yield from (f"Caution, {split}: {'; '.join(reasons)}." for split, reasons in sorted(self.cautions.items()))

    def _data_lines(self) -> Iterator[str]:
        yield from ["| split | file | rows | sha256 of the file | content |", "| :--- | :--- | ---: | :--- | :--- |"]
        for split, entry in self.record["data"].items():
            name, rows = _plain(Path(entry["file"]).name), entry["rows"]
            yield f"| {split} | {name} | {'' if rows is None else f'{rows:,}'} | `{entry['sha256']}` | {self._origin(split)} |"

    def _name_of_data(self, split: str) -> str:
        """Return the title of the task, and what is scored unless it is the published file."""
        origin = self._origin(split)
        return self.task.title if origin == PUBLISHED else f"{self.task.title} ({origin})"

    def _is_held_out(self, split: str) -> bool:
        return "held_out" in self.record["data"][split]

    def _origin(self, split: str) -> str:
        entry = self.record["data"][split]
        origin = PUBLISHED if entry["status"] == "published" else "not a published file"
        if not self._is_held_out(split):
            return origin
        return f"{origin}, {entry.get('share', entry['held_out']):g} of it, {HELD_OUT}"

    def _use_lines(self) -> Iterator[str]:
        use, texts = USES.get(self.task.kind, OTHER_USE), len(self.task.text)
        trusted = [name for name in TRUST if self.settings.get(name)]
        flags = "".join(f" --{name}" for name in trusted)
        line = use.inputs[min(texts, len(use.inputs)) - 1].replace("...", self._text_in_use)
        yield from ["In a checkout of the benchmark, with the path of this folder:", "", "```bash"]
        yield from [f"echo '{line}' | python3 predict.py --checkpoint FOLDER{flags}", "```"]
        if use.pipeline == NO_PIPELINE or "trust_native_code" in trusted:
            yield from ["", "`transformers` has no pipeline for it; `from_pretrained` loads the model."]
            return
        options = use.pipeline + (", trust_remote_code=True" if "trust_remote_code" in trusted else "")
        call = use.calls[min(texts, len(use.calls)) - 1].replace("...", self._text_in_use)
        yield from ["", "With `transformers` alone, from the path of this folder or the name of its repository:", "", "```python"]
        yield from ["from transformers import pipeline", "", f'predict = pipeline("{use.tag}", model="FOLDER"{options})']
        yield from [f"print(predict({call}))", "```"]

    @property
    def _text_in_use(self) -> str:
        """What stands for a text: with marks, if its spans are marked."""
        return "{}...{} {}...{}".format(*self.task.special_tokens) if self.task.special_tokens else "..."

    def _licence_lines(self) -> Iterator[str]:
        yield licence_notice(self.task)
        yield "The base model has a licence of its own, which also applies to this model."


def licence_notice(task: Task) -> str:
    """Return what is known about the licence of a task's corpus."""
    known = f"licence: {_plain(task.licence)}" if task.licence else "its licence is not recorded"
    allowed = "" if task.texts_may_be_shown else f" {NOT_ALLOWED}"
    return f"The training data are those of {_plain(task.title)}; {known}.{allowed}"


def _plain(text: str) -> str:
    """Return a text of a definition or a file's name on one line, without what would end a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
