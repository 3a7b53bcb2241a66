"""Tagging: a sentence of words, each with a tag, becomes features; predicted label ids become scores and predictions."""

import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from processor.features import Frame, cached_features, fingerprint
from processor.readers import read_tsv
from processor.split import divide, log_counts, log_split, require_text, require_unchanged
from src.data import IGNORE_INDEX, DataFile, Features, Scores, Task, Tensors
from src.errors import DataError, list_problems
from src.metrics import METRICS, entity_report
from src.settings import Settings

logger = logging.getLogger(__name__)

SENTENCES_PER_CALL = 1024


@dataclass(frozen=True, slots=True)
class Sentence:
    """One row of a data file: its words, and a tag for each."""

    words: list[str]
    tags: list[str]


@dataclass(frozen=True)
class Split:
    """One data file of a tagging task as the loop sees it: features in, a label id for every token out."""

    name: str
    task: Task
    file: DataFile
    features: Features
    rows: np.ndarray | None = None  # which of the file's sentences, where not all

    def __len__(self) -> int:
        return len(self.features)

    @property
    def facts(self) -> dict[str, Any]:
        """What the record of a run says of it."""
        return {"rows": len(self)}

    @cached_property
    def sentences(self) -> list[Sentence]:
        """The rows behind the features, read when the first prediction is scored. Raises DataError where the file has changed."""
        require_unchanged(self.name, self.file)
        sentences = read_sentences(self.file.path, self.task)
        return sentences if self.rows is None else [sentences[row] for row in self.rows]

    def hold_out(self, ratio: float) -> tuple["Split", "Split"]:
        """This split without a share of its sentences, and those as the split "dev"; both have like shares of rare entities."""
        label_ids, offsets = self.features.tensors["label_ids"], self.features.tensors["offsets"]
        frequency = np.bincount(label_ids[label_ids != IGNORE_INDEX], minlength=len(self.task.labels or ()))
        found = (set(label_ids[start:end].tolist()) - {IGNORE_INDEX} for start, end in itertools.pairwise(offsets))
        rarest = [min(labels, key=lambda label: frequency[label], default=0) for labels in found]
        train, dev = divide(self, rarest, ratio)
        return train, dev

    def log_labels(self) -> None:
        """Say how often each tag occurs."""
        label_ids = self.features.tensors["label_ids"]
        counts = np.bincount(label_ids[label_ids != IGNORE_INDEX], minlength=len(self.task.labels or ())).tolist()
        log_counts(
            self.name, "tags", {label: count for label, count in zip(self.task.labels or (), counts, strict=True) if count}
        )

    def tags(self, preds: np.ndarray) -> list[list[str]]:
        """The predicted tags of the words that were not cut off, by sentence. preds: int64 [total], flat like the features."""
        return tags_of(self.features, preds, self.task)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Return the outputs unchanged."""
        return outputs

    def score(self, preds: np.ndarray) -> Scores:
        """The published scores, over the words that were not cut off, and `f1_full`, where words cut off are predicted "O"."""
        metric, preds_seen = METRICS[self.task.metric].compute, self.tags(preds)
        gold = [sentence.tags for sentence in self.sentences]
        gold_seen = [tags[: len(seen)] for tags, seen in zip(gold, preds_seen, strict=True)]
        preds_full = [[*seen, *["O"] * (len(tags) - len(seen))] for tags, seen in zip(gold, preds_seen, strict=True)]
        return {**metric(gold_seen, preds_seen), "f1_full": metric(gold, preds_full)["f1"]}

    def report(self, preds: np.ndarray) -> str:
        """The published scores of every entity type."""
        preds_seen = self.tags(preds)
        gold_seen = [sentence.tags[: len(seen)] for sentence, seen in zip(self.sentences, preds_seen, strict=True)]
        return entity_report(gold_seen, preds_seen)

    def predictions(self, preds: np.ndarray) -> dict[str, Iterator[str]]:
        """predictions.tsv, one a word: sentence, word, label, prediction ("O" where the word was cut off)."""
        return {"predictions.tsv": self._prediction_lines(preds)}

    def _prediction_lines(self, preds: np.ndarray) -> Iterator[str]:
        yield "\t".join(["sentence", "word", "label", "prediction"])
        for index, (sentence, seen) in enumerate(zip(self.sentences, self.tags(preds), strict=True)):
            tags = [*seen, *["O"] * (len(sentence.words) - len(seen))]
            for word, gold, predicted in zip(sentence.words, sentence.tags, tags, strict=True):
                yield f"{index}\t{word}\t{gold}\t{predicted}"


@dataclass(frozen=True)
class Inputs:
    """Sentences that nobody has tagged, as predict.py reads them."""

    task: Task
    tokenizer: Any
    settings: Settings
    keys = ("words",)

    def example(self, values: Sequence[Any]) -> Sentence:
        """The sentence of a list of words, or of a text with spaces between them. Raises ValueError for anything else."""
        words = values[0].split() if isinstance(values[0], str) else values[0]
        if not isinstance(words, list) or not words:
            raise ValueError(f"words: found {json.dumps(values[0], ensure_ascii=False)[:40]}, expected a list of words")
        return Sentence([require_text("words", word) for word in words], [next(iter(self.task.labels or ()))] * len(words))

    def encode(self, examples: Sequence[Sentence]) -> Features:
        """Their features; the labels mean nothing."""
        return Features(encode(examples, self.task, self.tokenizer, self.settings.max_seq_len))

    def results(self, examples: Sequence[Sentence], features: Features, preds: np.ndarray) -> Iterator[dict[str, Any]]:
        """For each a tag for every word; "O" for words that max_seq_len cuts off, and how many those are."""
        for sentence, tags in zip(examples, tags_of(features, preds, self.task), strict=True):
            cut = len(sentence.words) - len(tags)
            yield {"tags": [*tags, *["O"] * cut]} | ({"cut_words": cut} if cut else {})


def tags_of(features: Features, preds: np.ndarray, task: Task) -> list[list[str]]:
    """The predicted tags of the words that were not cut off, by sentence. preds: int64 [total], flat like the features."""
    names = list(task.labels or ())
    labelled = features.tensors["label_ids"] != IGNORE_INDEX
    found = (preds[start:end][labelled[start:end]] for start, end in itertools.pairwise(features.tensors["offsets"]))
    return [[names[label] for label in row] for row in found]


def load_split(name: str, file: DataFile, settings: Settings, task: Task, tokenizer: Any) -> Split:
    """Build or fetch the features of one split. Raises DataError for a malformed file."""
    key = fingerprint(file, task, tokenizer, {"max_seq_len": settings.max_seq_len})

    def build() -> Features:
        sentences = read_sentences(file.path, task)
        tensors = encode(sentences, task, tokenizer, settings.max_seq_len)
        seen = np.add.reduceat((tensors["label_ids"] != IGNORE_INDEX).astype(np.int64), tensors["offsets"][:-1])
        cut = np.array([len(sentence.words) for sentence in sentences]) - seen
        return Features(tensors, {"cut_sentences": int((cut > 0).sum()), "cut_words": int(cut.sum())})

    features = cached_features(Path(settings.feature_cache_dir), f"{settings.task}-{name}-{key}", build)
    log_split(name, file, features, settings.max_seq_len)
    if words := features.counts.get("cut_words"):
        logger.info("%s: %d sentences lose %d words to max_seq_len", name, features.counts["cut_sentences"], words)
    split = Split(name, task, file, features)
    split.log_labels()
    return split


def read_sentences(path: Path, task: Task) -> list[Sentence]:
    """The sentences of a task's file. Raises DataError with file, line, and what is wrong with its words or tags."""
    sentences, problems = [], []
    for line, fields in read_tsv(path, task.columns, task.has_header):
        words, tags = (field.split(" ") for field in fields)
        unknown = [tag for tag in tags if tag not in (task.labels or ())]
        if len(words) != len(tags):
            problems.append(f"line {line}: found {len(words)} words and {len(tags)} tags, expected as many")
        elif unknown:
            problems.append(f"line {line}: found the tag {unknown[0]!r}, expected one of {', '.join(task.labels or ())}")
        sentences.append(Sentence(words, tags))
    if problems:
        raise DataError(list_problems(f"{path}: {len(problems)} malformed rows:", problems))
    return sentences


def encode(sentences: Sequence[Sentence], task: Task, tokenizer: Any, max_seq_len: int) -> Tensors:
    """Features of `sentences`; see Features. `label_ids` int32 [total]: on the first piece of each word, IGNORE_INDEX elsewhere.

    A word that the tokenizer makes nothing of becomes the unknown token, so that every word has a label. Sentences are cut at
    their end.
    """
    ids_of = {label: position for position, label in enumerate(task.labels or ())}
    frame = Frame.of(tokenizer, texts=1)
    before, after = frame.special
    segment = frame.segments[0]
    room = max_seq_len - len(before) - len(after)
    input_ids: list[int] = []
    token_type_ids: list[int] = []
    label_ids: list[int] = []
    offsets = [0]
    for start in range(0, len(sentences), SENTENCES_PER_CALL):
        chunk = sentences[start : start + SENTENCES_PER_CALL]
        words = [sentence.words for sentence in chunk]
        rows = tokenizer(words, is_split_into_words=True, add_special_tokens=False, return_attention_mask=False, verbose=False)
        for row, sentence in enumerate(chunk):
            pieces: list[list[int]] = [[] for _ in sentence.words]
            for piece, word in zip(rows["input_ids"][row], rows.word_ids(row), strict=True):
                pieces[word].append(piece)
            body: list[int] = []
            labels: list[int] = []
            for tag, found in zip(sentence.tags, pieces, strict=True):
                body += found or [tokenizer.unk_token_id]
                labels += [ids_of[tag], *[IGNORE_INDEX] * (len(found) - 1)]
            body, labels = body[:room], labels[:room]
            input_ids += [*(token for token, _ in before), *body, *(token for token, _ in after)]
            token_type_ids += [*(kind for _, kind in before), *[segment] * len(body), *(kind for _, kind in after)]
            label_ids += [*[IGNORE_INDEX] * len(before), *labels, *[IGNORE_INDEX] * len(after)]
            offsets.append(len(input_ids))
    return {
        "input_ids": np.array(input_ids, np.int32),
        "token_type_ids": np.array(token_type_ids, np.uint8),
        "offsets": np.array(offsets, np.int64),
        "label_ids": np.array(label_ids, np.int32),
    }
