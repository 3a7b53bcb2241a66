"""Tagging: sentences of words, each with a tag. Sentences become features, predicted label ids become tags."""

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from processor.inputs import Inputs, one_of, require_content, require_label, require_text
from processor.readers.tables import DataRow, read_records
from processor.readers.text_files import parse_rows
from processor.split import NO_SCORES, Split, tsv_line
from src.common.errors import quote, quote_json
from src.data.hangul import compose_rows
from src.data.special import SpecialTokens
from src.data.task import IGNORE_INDEX, Features, Scores, Task, Tensors, ends_with_position
from src.metrics.analysis import Analysis, of_entities
from src.metrics.metrics import METRICS, entity_report
from src.settings.schema import Settings

logger = logging.getLogger(__name__)

SENTENCES_PER_CALL = 1024

RAW = "text"  # the key of a text, in place of words

Tags = list[list[str]]  # by sentence, the tag of each word


@dataclass(frozen=True, slots=True)
class Sentence:
    """One row of a data file: its words, and a tag for each."""

    words: list[str]
    tags: list[str]
    text: str | None = None  # of an input without tags that is a text, and not words


class RawText(str):
    """A text that is to be split into words, and whose result has entities."""


def decode_tags(label_ids: np.ndarray, features: Features, task: Task) -> Tags:
    """Return the predicted tags of the words that max_seq_len did not cut off. label_ids: int64 [total], one per token."""
    names = list(task.labels or ())
    is_first_piece = features.tensors["label_ids"] != IGNORE_INDEX
    ranges = itertools.pairwise(features.tensors["offsets"])
    return [[names[label] for label in label_ids[start:end][is_first_piece[start:end]]] for start, end in ranges]


def fill_tags(tags: Sequence[str], words: int) -> list[str]:
    """Return the tags of a sentence of so many words: "O" for those that max_seq_len cut off."""
    return [*tags, *["O"] * (words - len(tags))]


class NerSplit(Split):
    """One data file of a tagging task. Its decoded outputs are the tags of the words that max_seq_len did not cut off."""

    @classmethod
    def build(cls, name: str, path: Path, settings: Settings, task: Task, tokenizer: Any) -> Features:
        return Features(encode(read_sentences(path, task), task, tokenizer, settings.max_seq_len))

    def read(self) -> list[Sentence]:
        return read_sentences(self.file.path, self.task)

    def strata(self) -> Sequence[Any]:
        """Return the rarest tag of each sentence, so that rare entities are in both parts."""
        label_ids, offsets = self.features.tensors["label_ids"], self.features.tensors["offsets"]
        counts = self._tag_counts()
        labels_of = (set(label_ids[start:end].tolist()) - {IGNORE_INDEX} for start, end in itertools.pairwise(offsets))
        return [min(labels, key=lambda label: counts[label], default=0) for labels in labels_of]

    def log_contents(self) -> None:
        words_cut = self.features.tensors["cut"]
        if words_cut.any():
            logger.info("%s: max_seq_len cuts %d words off %d sentences", self.name, words_cut.sum(), np.count_nonzero(words_cut))
        counts = zip(self.task.labels or (), self._tag_counts().tolist(), strict=True)
        self.log_counts("tags", {tag: count for tag, count in counts if count})

    def label_counts(self) -> dict[str, int]:
        """Return how often each entity type occurs, B- and I- together: many types never have a second word."""
        counts: Counter[str] = Counter()
        for name, count in zip((self.task.labels or {}).values(), self._tag_counts().tolist(), strict=True):
            counts[name.partition("-")[2] or name] += count
        return counts

    def predicted_values(self, decoded: Tags) -> set[str]:
        return set(itertools.chain.from_iterable(decoded))

    def _tag_counts(self) -> np.ndarray:
        """Return how often each tag occurs, int64 [number of labels]."""
        label_ids = self.features.tensors["label_ids"]
        return np.bincount(label_ids[label_ids != IGNORE_INDEX], minlength=len(self.task.labels or ()))

    def decode(self, outputs: np.ndarray, dev: Scores = NO_SCORES) -> Tags:
        return decode_tags(outputs, self.features, self.task)

    def score(self, decoded: Tags) -> Scores:
        """Return the published scores, over the words that were not cut off, and `f1_full`, over all words."""
        metric = METRICS[self.task.metric].compute
        gold = [sentence.tags for sentence in self.examples]
        return {**metric(self._gold_tags(decoded), decoded), "f1_full": metric(gold, self._filled(decoded))["f1"]}

    def _filled(self, decoded: Tags) -> Tags:
        """Return the predicted tags of all words."""
        return [fill_tags(tags, len(sentence.words)) for sentence, tags in zip(self.examples, decoded, strict=True)]

    def analysis(self, decoded: Tags) -> Analysis:
        """Return what is right and wrong in the entities over all words."""
        gold = [sentence.tags for sentence in self.examples]
        return of_entities(gold, self._filled(decoded), [sentence.words for sentence in self.examples])

    def report(self, decoded: Tags) -> str:
        """Return the published scores of every entity type."""
        return entity_report(self._gold_tags(decoded), decoded)

    def _gold_tags(self, decoded: Tags) -> Tags:
        """Return the gold tags of the words that were not cut off."""
        return [sentence.tags[: len(tags)] for sentence, tags in zip(self.examples, decoded, strict=True)]

    def prediction_lines(self, decoded: Tags) -> Iterator[str]:
        """Yield one line per word: sentence, word, label, prediction ("O" if the word was cut off)."""
        yield "\t".join(["sentence", "word", "label", "prediction"])
        for index, (sentence, tags) in enumerate(zip(self.examples, self._filled(decoded), strict=True)):
            for word, gold, predicted in zip(sentence.words, sentence.tags, tags, strict=True):
                yield tsv_line([str(index), word, gold, predicted])


class NerInputs(Inputs):
    """Sentences without tags."""

    keys = ("words",)

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        return (*super().forms, (RAW,))

    def values_of(self, record: Mapping[str, Any], names: Sequence[str] = ()) -> list[Any]:
        """Return the words of a record, or its text as a RawText; see Inputs.values_of."""
        ((name, value),) = self.pick(record, names)
        return [RawText(value) if name == RAW and isinstance(value, str) else value]

    def example(self, values: Sequence[Any]) -> Sentence:
        """Return the sentence of a list of words, or of a text, split as in training. Raises ValueError otherwise.

        Of a RawText in a field that training does not have, several spaces count as one.
        """
        (value,) = values
        words = _items("words", value, require_text)
        is_raw = isinstance(value, RawText)
        if is_raw and self.task.text != (RAW,):
            words = [word for word in words if word]
        require_content(RAW if is_raw else "words", "".join(words))
        tag = next(iter(self.task.labels or ()))
        return Sentence(words, [tag] * len(words), value if is_raw else None)

    def encode(self, examples: Sequence[Sentence]) -> Features:
        return Features(encode(examples, self.task, self.tokenizer, self.settings.max_seq_len))

    def results(self, examples: Sequence[Sentence], features: Features, outputs: np.ndarray) -> Iterator[dict[str, Any]]:
        """Yield a tag for every word and, if max_seq_len cut words off, their number as `cut_words`.

        The result of a text begins with its words, and has `entities` with their characters [start, end) in the text.
        """
        for sentence, tags in zip(examples, decode_tags(outputs, features, self.task), strict=True):
            cut_words = len(sentence.words) - len(tags)
            of_words: dict[str, Any] = {"tags": fill_tags(tags, len(sentence.words))}
            if sentence.text is not None:
                entities = find_entities(sentence.text, sentence.words, of_words["tags"], self.task.labels or ())
                of_words = {"words": sentence.words, **of_words, "entities": entities}
            yield of_words | ({"cut_words": cut_words} if cut_words else {})


def find_entities(text: str, words: Sequence[str], tags: Sequence[str], labels: Iterable[str]) -> list[dict[str, Any]]:
    """Return type, text, and characters [start, end) of the entities in the tags of a text's words.

    labels: all tags of the task, which show whether the position is at the start, as in B-PER, or at the end.
    """
    from seqeval.metrics.sequence_labeling import get_entities  # imports scikit-learn

    places: list[tuple[int, int]] = []
    end = 0
    for word in words:
        start = text.index(word, end)
        end = start + len(word)
        places.append((start, end))
    entities = []
    for kind, first, last in get_entities(list(tags), suffix=ends_with_position(labels)):
        start, end = places[first][0], places[last][1]
        entities.append({"type": kind, "text": text[start:end], "start": start, "end": end})
    return entities


def read_sentences(path: Path, task: Task) -> list[Sentence]:
    """Return the sentences of a task's file. Raises DataError with file, line, and what is wrong with its words or tags."""
    return [sentence for _, sentence in _sentences_by_line(path, task)]


def read_rows(path: Path, task: Task) -> list[DataRow]:
    """Return the sentences of a task's file for the data check. Raises DataError."""
    sentences = _sentences_by_line(path, task)
    return [DataRow(f"line {line}", (" ".join(sentence.words),), tuple(sentence.tags)) for line, sentence in sentences]


def _sentences_by_line(path: Path, task: Task) -> Iterator[tuple[int, Sentence]]:
    """Yield (line where a sentence begins, sentence). Raises DataError, see parse_rows."""
    return parse_rows(path, read_records(path, task), partial(parse_sentence, task.of_file(path)))


def parse_sentence(task: Task, values: Sequence[Any]) -> Sentence:
    """Return the sentence of lists, or of texts with a space between two items. Raises ValueError if it is malformed."""
    words, tags = _items(task.text[0], values[0], require_text), _items(task.label[0], values[1], require_label)
    tags = [task.spellings.get(tag, tag) for tag in tags]
    if len(words) != len(tags):
        raise ValueError(f"found {len(words)} words and {len(tags)} tags, expected one tag per word")
    if task.labels and (unknown := [tag for tag in tags if tag not in task.labels]):
        raise ValueError(f"found the tag {quote(unknown[0])}, expected {one_of(task.labels)}")
    return Sentence(words, tags)


def _items(name: str, value: Any, require: Callable[[str, Any], str]) -> list[str]:
    if isinstance(value, str):
        return require(name, value).split(" ")
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name}: found {quote_json(value)}, expected a list, or a text with a space between two items")
    return [require(name, item) for item in value]


def encode(sentences: Sequence[Sentence], task: Task, tokenizer: Any, max_seq_len: int) -> Tensors:
    """Return the tensors of `sentences`; see Features. A word's label is on its first piece.

    A word without pieces becomes the unknown token, so that every word has a label. Long sentences lose their end.
    """
    label_ids_by_tag = {label: position for position, label in enumerate(task.labels or ())}
    special = SpecialTokens.of(tokenizer, texts=1)
    before, after = special.parts
    segment = special.segments[0]
    room = max_seq_len - len(before) - len(after)
    input_ids: list[int] = []
    token_type_ids: list[int] = []
    label_ids: list[int] = []
    offsets = [0]
    decomposed: list[np.ndarray] = []
    for start in range(0, len(sentences), SENTENCES_PER_CALL):
        chunk = sentences[start : start + SENTENCES_PER_CALL]
        words, changed = compose_rows([sentence.words for sentence in chunk])
        decomposed.append(changed)
        rows = tokenizer(words, is_split_into_words=True, add_special_tokens=False, return_attention_mask=False, verbose=False)
        for row, sentence in enumerate(chunk):
            pieces: list[list[int]] = [[] for _ in sentence.words]
            for piece, word in zip(rows["input_ids"][row], rows.word_ids(row), strict=True):
                pieces[word].append(piece)
            body: list[int] = []
            labels: list[int] = []
            for tag, word_pieces in zip(sentence.tags, pieces, strict=True):
                body += word_pieces or [tokenizer.unk_token_id]
                labels += [label_ids_by_tag[tag], *[IGNORE_INDEX] * (len(word_pieces) - 1)]
            body, labels = body[:room], labels[:room]
            input_ids += [*(token for token, _ in before), *body, *(token for token, _ in after)]
            token_type_ids += [*(type_id for _, type_id in before), *[segment] * len(body), *(type_id for _, type_id in after)]
            label_ids += [*[IGNORE_INDEX] * len(before), *labels, *[IGNORE_INDEX] * len(after)]
            offsets.append(len(input_ids))
    words_kept = np.add.reduceat(np.array(label_ids) != IGNORE_INDEX, offsets[:-1], dtype=np.int32)
    return {
        "input_ids": np.array(input_ids, np.int32),
        "token_type_ids": np.array(token_type_ids, np.uint8),
        "offsets": np.array(offsets, np.int64),
        "label_ids": np.array(label_ids, np.int32),
        "cut": np.array([len(sentence.words) for sentence in sentences], np.int32) - words_kept,
        "decomposed": np.concatenate(decomposed),
    }
