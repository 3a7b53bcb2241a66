"""Reading: questions on contexts become windows; the best spans of the windows become answers, scores and predictions."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from processor.features import cached_features, fingerprint
from processor.split import HOLD_OUT_SEED, log_held_out, log_split, require_text, require_unchanged
from processor.squad_answers import Candidate, TextOf, find_answers, legacy_text, probabilities
from processor.squad_reader import SquadQuestion, read_questions, usable
from processor.squad_windows import SquadExample, encode, require_overlap
from src.data import MAX_CONTEXT, DataFile, Features, Scores, Task
from src.errors import ConfigError
from src.metrics import METRICS
from src.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """One data file of a reading task as the loop sees it: windows in, the best spans of every window out."""

    name: str
    task: Task
    file: DataFile
    features: Features
    settings: Settings
    tokenizer: Any
    source: str  # the name of the split that the file was read for
    rows: np.ndarray | None = None  # which of the file's questions, where not all

    def __len__(self) -> int:
        return len(self.features)

    @property
    def facts(self) -> dict[str, Any]:
        """Its questions (`rows`) and windows and, where it is scored, its ceiling."""
        questions = int(self.features.tensors["example_index"][-1]) + 1
        return {"rows": questions, "windows": len(self)} | ({} if self.name == "train" else {"ceiling": self.ceiling})

    @cached_property
    def ceiling(self) -> Scores:
        """The scores of a model that finds every answer as well as its tokens allow.

        Its spans are those that training teaches, read by the code that reads every model's.
        """
        tensors, limit = self.features.tensors, self.settings.max_answer_length
        first, last = tensors["start_positions"], tensors["end_positions"]
        marks = tensors["context_marks"][tensors["offsets"][:-1] + first]
        can_say = (first > 0) & (last - first < limit) & (marks == MAX_CONTEXT)
        logits = np.where(can_say, 0.0, -np.inf)
        return self.score(np.stack([first, last, logits, logits], axis=1)[:, None].astype(np.float32))

    @cached_property
    def questions(self) -> list[SquadQuestion]:
        """The questions behind the windows. Raises DataError where the file has changed."""
        require_unchanged(self.name, self.file)
        questions = usable(read_questions(self.file.path, self.settings.strict_data), self.source)
        return questions if self.rows is None else [questions[row] for row in self.rows]

    def hold_out(self, ratio: float) -> tuple["Split", "Split"]:
        """This split without a share of its questions, and those as the split "dev": whole articles, nothing is read twice."""
        articles = np.array([question.article for question in self.questions])
        order = np.random.default_rng(HOLD_OUT_SEED).permutation(np.unique(articles))
        sizes = np.array([(articles == article).sum() for article in order])
        held = np.isin(articles, order[np.cumsum(sizes) <= max(ratio * len(articles), sizes[0])])
        if held.all():
            raise ConfigError(
                f"dev_ratio = {ratio} holds out all {len(order)} articles; give a smaller one, or a file with more."
            )
        train, dev = (self._of_questions(name, np.flatnonzero(rows)) for name, rows in ((self.name, ~held), ("dev", held)))
        log_held_out(train, dev)
        return train, dev

    def log_labels(self) -> None:
        """Say how many questions there are and, where they are scored, the ceiling."""
        facts = self.facts
        logger.info("%s: %s questions", self.name, f"{facts['rows']:,}")
        if ceiling := facts.get("ceiling"):
            shown = ", ".join(f"{metric} {value:.2f}" for metric, value in ceiling.items())
            logger.info("%s: the ceiling, which a perfect model would reach with this tokenizer: %s", self.name, shown)

    def _of_questions(self, name: str, rows: np.ndarray) -> "Split":
        windows = np.flatnonzero(np.isin(self.features.tensors["example_index"], rows))
        features = self.features.subset(windows)
        features.tensors["example_index"] = np.searchsorted(rows, features.tensors["example_index"]).astype(np.int32)
        return replace(self, name=name, rows=rows, features=features)

    @cached_property
    def text_of(self) -> TextOf | None:
        """How a span becomes text, where not by its characters."""
        if self.settings.answer_text == "legacy":
            return legacy_text(self.tokenizer, bool(self.settings.do_lower_case))
        return None

    def answers(self, spans: np.ndarray) -> list[list[Candidate]]:
        """The candidates for every question, best first. spans: float32 [n, k, 4], see src.heads.best_spans."""
        contexts = [question.asked.context for question in self.questions]
        return find_answers(contexts, self.features.tensors, spans, self.settings.n_best_size, self.text_of)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Return the outputs unchanged."""
        return outputs

    def score(self, spans: np.ndarray) -> Scores:
        """`exact_match` and `f1`, 0..100; a question without a candidate is answered with nothing."""
        texts = [found[0].text if found else "" for found in self.answers(spans)]
        return METRICS[self.task.metric].compute([question.answers for question in self.questions], texts)

    def report(self, spans: np.ndarray) -> str:
        """Nothing beyond the scores."""
        return ""

    def predictions(self, spans: np.ndarray) -> dict[str, Iterator[str]]:
        """predictions.json, {id: answer}, and nbest.json, {id: candidates}, as SQuAD tools know them, and predictions.tsv.

        The last has, like that of every task, a line for what is scored: id, question, answers (JSON), prediction and its scores.
        """
        answers = dict(zip((question.id for question in self.questions), self.answers(spans), strict=True))
        best = {name: found[0].text if found else "" for name, found in answers.items()}
        nbest = {
            name: [
                {"text": each.text, "probability": share, "start_logit": each.start_logit, "end_logit": each.end_logit}
                for each, share in zip(found, probabilities(found) if found else (), strict=True)
            ]
            for name, found in answers.items()
        }
        files = {"predictions.json": best, "nbest.json": nbest}
        written = {name: iter([json.dumps(content, ensure_ascii=False, indent=1)]) for name, content in files.items()}
        return written | {"predictions.tsv": self._prediction_lines(list(best.values()))}

    def _prediction_lines(self, texts: list[str]) -> Iterator[str]:
        """One a question. JSON keeps tabs and line ends out of the columns."""
        scores = [
            METRICS[self.task.metric].compute([question.answers], [text])
            for question, text in zip(self.questions, texts, strict=True)
        ]
        names = list(scores[0])
        yield "\t".join(["id", "question", "answers", "prediction", *names])
        for question, text, found in zip(self.questions, texts, scores, strict=True):
            told = [question.id, question.asked.question, question.answers, text, *(found[name] for name in names)]
            yield "\t".join(json.dumps(value, ensure_ascii=False) for value in told)


@dataclass(frozen=True)
class Inputs:
    """Questions that nobody has answered, as predict.py reads them."""

    task: Task
    tokenizer: Any
    settings: Settings
    keys = ("question", "context")

    def example(self, values: Sequence[Any]) -> SquadExample:
        """The question on a context. Raises ValueError for what is no text and for a context without any."""
        question, context = (require_text(key, value) for key, value in zip(self.keys, values, strict=True))
        if not context.strip():
            raise ValueError("context: there is nothing in it to be found")
        return SquadExample(question, context)

    def encode(self, examples: Sequence[SquadExample]) -> Features:
        """Their windows."""
        return Features(encode(examples, self.tokenizer, self.settings))

    def results(self, examples: Sequence[SquadExample], features: Features, spans: np.ndarray) -> Iterator[dict[str, Any]]:
        """For each the best answer, its characters in the context, and its probability among the n_best_size best."""
        contexts = [example.context for example in examples]
        for found in find_answers(contexts, features.tensors, spans, self.settings.n_best_size):
            if found:
                best, score = found[0], round(probabilities(found)[0], 6)
                yield {"answer": best.text, "start": best.start, "end": best.end, "score": score}
            else:  # a context of characters that the tokenizer drops
                yield {"answer": "", "start": 0, "end": 0, "score": 0.0}


def load_split(name: str, file: DataFile, settings: Settings, task: Task, tokenizer: Any) -> Split:
    """Build or fetch the windows of one split.

    Raises ConfigError where doc_stride would skip tokens, DataError for a malformed file.
    """
    require_overlap(settings, tokenizer)
    lengths = {key: getattr(settings, key) for key in ("max_seq_len", "doc_stride", "max_query_length", "strict_data")}
    key = fingerprint(file, task, tokenizer, lengths)

    def build() -> Features:
        questions = usable(read_questions(file.path, settings.strict_data), name)
        return Features(encode([question.asked for question in questions], tokenizer, settings))

    features = cached_features(Path(settings.feature_cache_dir), f"{settings.task}-{name}-{key}", build)
    split = Split(name, task, file, features, settings, tokenizer, source=name)
    log_split(name, file, features, settings.max_seq_len, unit="window")
    split.log_labels()
    return split
