"""Reading tasks: questions on contexts. Questions become windows, the best spans of the windows become answers."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from processor.hold_out import Parts, whole_groups
from processor.inputs import Inputs, require_content, require_text
from processor.split import NO_SCORES, Split, softmax
from processor.squad_legacy import SpanText, legacy_text
from processor.squad_reader import SquadQuestion, read_used
from processor.squad_windows import SquadExample, encode
from src.data.special import SpecialTokens
from src.data.task import MAX_CONTEXT, DataFile, Features, Scores, Task, Tensors
from src.metrics.analysis import Analysis, of_answers
from src.metrics.metrics import METRICS
from src.settings.lengths import require_overlap
from src.settings.schema import Settings

logger = logging.getLogger(__name__)

NONE = "(no answer)"  # as the right answer, in the error analysis


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate for an answer: its text, its characters [start, end) in the context, and its logits."""

    text: str
    start: int
    end: int
    start_logit: float
    end_logit: float

    @property
    def score(self) -> float:
        """The sum of the logits."""
        return self.start_logit + self.end_logit


class SquadSplit(Split):
    """One data file of a reading task. Its decoded outputs are the candidates for every question, best first."""

    feature_settings = ("max_seq_len", "doc_stride", "max_query_length", "strict_data", "version_2_with_negative")
    feature_unit = "window"

    @classmethod
    def load(cls, name: str, file: DataFile, settings: Settings, task: Task, tokenizer: Any) -> Self:
        """Load a split, see Split.load. Raises ConfigError if doc_stride would skip tokens."""
        require_overlap(settings, SpecialTokens.of(tokenizer, texts=2).size)
        return super().load(name, file, settings, task, tokenizer)

    @classmethod
    def build(cls, name: str, path: Path, settings: Settings, task: Task, tokenizer: Any) -> Features:
        questions = read_used(name, path, settings, task)
        return Features(encode([question.example for question in questions], tokenizer, settings))

    def read(self) -> list[SquadQuestion]:
        return read_used(self.source, self.file.path, self.settings, self.task)

    @property
    def facts(self) -> dict[str, Any]:
        """The number of questions (`rows`) and windows, figures and, for a split that is scored, its upper bound (`ceiling`)."""
        counts = super().facts | {"rows": self.size, "windows": len(self)}
        return counts if self.name == "train" else counts | {"ceiling": self.upper_bound}

    @cached_property
    def upper_bound(self) -> Scores:
        """The scores of a model that predicts exactly the spans it is trained on; tokens may not end where answers do."""
        tensors, limit = self.features.tensors, self.settings.max_answer_length
        first, last = tensors["start_positions"], tensors["end_positions"]
        marks = tensors["context_marks"][tensors["offsets"][:-1] + first]
        can_be_predicted = (first > 0) & (last - first < limit) & (marks == MAX_CONTEXT)
        logits = np.where(can_be_predicted, 0.0, -np.inf)
        spans = np.stack([first, last, logits, logits], axis=1)[:, None].astype(np.float32)
        if self.settings.version_2_with_negative:
            answerable = np.array([bool(question.answers) for question in self.examples])[tensors["example_index"]]
            none = np.where(answerable, -np.inf, 0.0)
            spans = np.append(spans, np.stack([first * 0, last * 0, none, none], axis=1)[:, None], axis=1).astype(np.float32)
        return self.score(self.decode(spans))

    @property
    def size(self) -> int:
        """Number of questions."""
        return int(self.features.tensors["example_index"][-1]) + 1

    @classmethod
    def parts(cls, strata: Sequence[Any], groups: np.ndarray, ratio: float) -> Parts:
        """Hold out whole articles, so that no context is in both parts."""
        return whole_groups(groups, ratio)

    @property
    def groups(self) -> np.ndarray:
        """The article of each question, int64 [n]; articles that share a context are one."""
        if self.file.rows is None:
            return np.array([question.article for question in self.examples])
        return super().groups

    def select(self, name: str, rows: np.ndarray) -> Self:
        windows = np.flatnonzero(np.isin(self.features.tensors["example_index"], rows))
        features = self.features.subset(windows)
        features.tensors["example_index"] = np.searchsorted(rows, features.tensors["example_index"]).astype(np.int32)
        return replace(self, name=name, rows=self.numbers_in_file(rows), features=features)

    def log_contents(self) -> None:
        facts = self.facts
        without = sum(not question.answers for question in self.examples) if self.settings.version_2_with_negative else 0
        logger.info("%s: %s questions%s", self.name, f"{facts['rows']:,}", f", {without:,} without an answer" if without else "")
        if upper_bound := facts.get("ceiling"):
            scores = ", ".join(f"{name} {value:.2f}" for name, value in upper_bound.items())
            logger.info("%s: upper bound of the scores with this tokenizer: %s", self.name, scores)

    @cached_property
    def span_text(self) -> SpanText | None:
        """The function that turns a span into an answer, or None for the span's characters."""
        if self.settings.answer_text == "legacy":
            return legacy_text(self.tokenizer, bool(self.settings.do_lower_case))
        return None

    def decode(self, outputs: np.ndarray, dev: Scores = NO_SCORES) -> list[list[Candidate]]:
        """Return the candidates for every question, best first. outputs: float32 [n, k, 4], see src.model.heads.best_spans."""
        contexts = [question.example.context for question in self.examples]
        return find_answers(contexts, self.features.tensors, outputs, self.settings, self.span_text)

    def predicted_values(self, decoded: Sequence[Sequence[Candidate]]) -> set[str]:
        return {best_text(candidates) for candidates in decoded}

    def score(self, decoded: Sequence[Sequence[Candidate]]) -> Scores:
        """Return `exact_match` and `f1`, 0..100."""
        return self._scores(self.examples, [best_text(candidates) for candidates in decoded])

    def _scores(self, questions: Sequence[SquadQuestion], texts: Sequence[str]) -> Scores:
        return METRICS[self.task.metric].compute([question.answers for question in questions], texts)

    def predictions(self, decoded: Sequence[Sequence[Candidate]]) -> dict[str, Iterator[str]]:
        """Return also predictions.json ({id: answer}) and nbest.json ({id: candidates}), which SQuAD tools read."""
        ids = [question.id for question in self.examples]
        texts = dict(zip(ids, map(best_text, decoded), strict=True))
        candidates = dict(zip(ids, map(_describe_candidates, decoded), strict=True))
        json_files = {"predictions.json": texts, "nbest.json": candidates}
        dumped = {name: iter([json.dumps(content, ensure_ascii=False, indent=1)]) for name, content in json_files.items()}
        return dumped | super().predictions(decoded)

    def analysis(self, decoded: Sequence[Sequence[Candidate]]) -> Analysis:
        texts = [best_text(candidates) for candidates in decoded]
        certain = np.array([probabilities(candidates)[0] if candidates else 0.0 for candidates in decoded])
        scores = [self._scores([question], [text]) for question, text in zip(self.examples, texts, strict=True)]

        def describe(row: int) -> tuple[str, str, str, str]:
            question = self.examples[row]
            return question.id, question.example.question, " / ".join(dict.fromkeys(question.answers)) or NONE, texts[row]

        return of_answers(certain, np.array([values["exact_match"] > 0 for values in scores]), describe)

    def prediction_lines(self, decoded: Sequence[Sequence[Candidate]]) -> Iterator[str]:
        """Yield one line per question, values as JSON (no tabs, no line ends): id, question, answers, prediction, its scores."""
        texts = [best_text(candidates) for candidates in decoded]
        scores = [self._scores([question], [text]) for question, text in zip(self.examples, texts, strict=True)]
        yield "\t".join(["id", "question", "answers", "prediction", *scores[0]])
        for question, text, values in zip(self.examples, texts, scores, strict=True):
            fields = [question.id, question.example.question, question.answers, text, *values.values()]
            yield "\t".join(json.dumps(field, ensure_ascii=False) for field in fields)


def best_text(candidates: Sequence[Candidate]) -> str:
    """Return the best candidate's text; empty if there is no candidate."""
    return candidates[0].text if candidates else ""


def _describe_candidates(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    return [
        {
            "text": candidate.text,
            "probability": probability,
            "start_logit": candidate.start_logit,
            "end_logit": candidate.end_logit,
        }
        for candidate, probability in zip(candidates, probabilities(candidates), strict=True)
    ]


class SquadInputs(Inputs):
    """Questions without answers."""

    keys = ("question", "context")

    def example(self, values: Sequence[Any]) -> SquadExample:
        question, context = (require_content(key, require_text(key, value)) for key, value in zip(self.keys, values, strict=True))
        return SquadExample(question, context)

    def encode(self, examples: Sequence[SquadExample]) -> Features:
        return Features(encode(examples, self.tokenizer, self.settings))

    def results(self, examples: Sequence[SquadExample], features: Features, outputs: np.ndarray) -> Iterator[dict[str, Any]]:
        """Yield the best answer, its characters in the context, and its probability among the n_best_size best."""
        contexts = [example.context for example in examples]
        for candidates in find_answers(contexts, features.tensors, outputs, self.settings):
            if candidates:
                best, score = candidates[0], round(probabilities(candidates)[0], 6)
                yield {"answer": best.text, "start": best.start, "end": best.end, "score": score}
            else:  # a context of characters that the tokenizer drops
                yield {"answer": "", "start": 0, "end": 0, "score": 0.0}


def find_answers(
    contexts: Sequence[str], tensors: Tensors, spans: np.ndarray, settings: Settings, span_text: SpanText | None = None
) -> list[list[Candidate]]:
    """Return for every question its candidates, the answer first: with different texts, from the spans of its windows.

    There are at most n_best_size, best first. If questions may have no answer, "" is one more: the first one if its score, the
    lowest of the windows, is above that of the best by more than null_score_diff_threshold, else the last one.

    contexts: one per question. tensors: those of the windows, see Features. spans: float32 [n, k, 4], the first and last token
    in the window and their logits, -inf for no span; see src.model.heads.best_spans. span_text: None for the span's characters.
    """
    may_lack_answers, n_best = settings.version_2_with_negative, settings.n_best_size
    nothing = spans[:, -1, 2:]
    if may_lack_answers:
        spans = spans[:, :-1]
    first_windows = np.searchsorted(tensors["example_index"], np.arange(len(contexts) + 1))
    answers = []
    for number, context in enumerate(contexts):
        windows = np.arange(first_windows[number], first_windows[number + 1])
        offsets = np.repeat(tensors["offsets"][windows], spans.shape[1])
        first, last, start_logit, end_logit = spans[windows].reshape(-1, 4).T
        scores = start_logit + end_logit
        candidates: dict[str, Candidate] = {}
        for span in np.argsort(-scores, kind="stable"):
            if len(candidates) == n_best or not np.isfinite(scores[span]):
                break
            first_token, last_token = int(offsets[span] + first[span]), int(offsets[span] + last[span])
            start, end = int(tensors["char_start"][first_token]), int(tensors["char_end"][last_token])
            text = context[start:end]
            if span_text and text:
                text = span_text(context, start, end, tensors["input_ids"][first_token : last_token + 1].tolist())
            if text and text not in candidates:
                candidates[text] = Candidate(text, start, end, float(start_logit[span]), float(end_logit[span]))
        answers.append(list(candidates.values()))
        if may_lack_answers:
            lowest = windows[nothing[windows].sum(axis=1).argmin()]
            none = Candidate("", 0, 0, *map(float, nothing[lowest]))
            best = answers[-1][0].score if answers[-1] else -np.inf
            is_answer = none.score - best > settings.null_score_diff_threshold
            answers[-1].insert(0 if is_answer else len(answers[-1]), none)
    return answers


def probabilities(candidates: Sequence[Candidate]) -> list[float]:
    """Return the softmax of the candidates' scores, the sums of their logits."""
    if not candidates:
        return []
    return softmax(np.array([candidate.score for candidate in candidates])).tolist()
