"""Tagging by character, as in KLUE-NER: entities may begin and end inside words. Pieces are labelled, characters are scored."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from processor.inputs import Inputs, require_content, require_text
from processor.ner import SENTENCES_PER_CALL, NerSplit, Sentence, Tags, parse_sentence
from processor.readers import conll
from processor.readers.conll import OUTSIDE
from processor.readers.tables import DataRow, read_records
from processor.readers.text_files import parse_rows
from processor.split import NO_SCORES, tsv_line
from src.common.errors import quote_json
from src.data.hangul import compose_rows
from src.data.special import SpecialTokens
from src.data.task import IGNORE_INDEX, Features, Scores, Task, Tensors
from src.metrics.analysis import Analysis, of_entities
from src.metrics.characters import entities_of
from src.metrics.metrics import METRICS
from src.settings.schema import Settings

logger = logging.getLogger(__name__)


def problems_of(task: Task) -> list[str]:
    """Return what is wrong with the tags of a definition: they are B- and I-, as entities are scored by the scheme IOB2."""
    labels = task.labels or {OUTSIDE: OUTSIDE}
    wrong = [tag for tag, name in labels.items() if name != OUTSIDE and not name.startswith(("B-", "I-"))]
    problems = conll.problems_of(task) or [f"labels: {tag!r}: characters have the tags O, B- and I- only" for tag in wrong[:3]]
    return problems if OUTSIDE in labels else [*problems, "labels: the tag O is missing"]


@dataclass(frozen=True)
class Word:
    """A part of a sentence without spaces."""

    text: str
    owner: list[int]  # for each code point of the text, the index of its character in the sentence

    @classmethod
    def split(cls, characters: Sequence[str]) -> "list[Word]":
        """Return the words of a sentence's characters, of which some are spaces."""
        words = []
        for is_space, group in groupby(range(len(characters)), key=lambda number: not characters[number].strip()):
            numbers = list(group)
            if not is_space:
                owner = [number for number in numbers for _ in characters[number]]
                words.append(cls("".join(characters[number] for number in numbers), owner))
        return words


def encode(sentences: Sequence[Sentence], task: Task, tokenizer: Any, max_seq_len: int) -> Tensors:
    """Return the tensors of `sentences`, whose `words` are characters; see Features.

    Words are tokenized one by one, and a piece has the label of its first character. Long sentences lose their end.
    """
    ids_of_tags = {label: position for position, label in enumerate(task.labels or ())}
    special = SpecialTokens.of(tokenizer, texts=1)
    before, after = special.parts
    room = max_seq_len - len(before) - len(after)
    columns: dict[str, list[int]] = {name: [] for name in ("input_ids", "token_type_ids", "label_ids", "char_start", "char_end")}
    offsets, cut, decomposed = [0], [], []
    for start in range(0, len(sentences), SENTENCES_PER_CALL):
        chunk = sentences[start : start + SENTENCES_PER_CALL]
        composed, changed = compose_rows([sentence.words for sentence in chunk])
        decomposed.append(changed)
        words = [Word.split(characters) for characters in composed]
        texts = [[word.text for word in of_sentence] for of_sentence in words]
        rows = tokenizer(texts, is_split_into_words=True, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for row, sentence in enumerate(chunk):
            pieces = []
            given = zip(rows["input_ids"][row], rows.word_ids(row), rows["offset_mapping"][row], strict=True)
            for piece, number, (first, end) in given:
                owner = words[row][number].owner
                first = min(first, len(owner) - 1)  # an empty piece may stand at the end
                begin, last = owner[first], owner[max(end - 1, first)]
                pieces.append((piece, special.segments[0], ids_of_tags[sentence.tags[begin]], begin, last + 1))
            kept = pieces[:room]
            cut.append(len(sentence.words) - (kept[-1][4] if kept else 0) if len(pieces) > room else 0)
            framed = [
                *((token, segment, IGNORE_INDEX, -1, -1) for token, segment in before),
                *kept,
                *((token, segment, IGNORE_INDEX, -1, -1) for token, segment in after),
            ]
            for values, column in zip(columns.values(), zip(*framed, strict=True), strict=True):
                values.extend(column)
            offsets.append(len(columns["input_ids"]))
    return {
        **{name: np.array(values, np.uint8 if name == "token_type_ids" else np.int32) for name, values in columns.items()},
        "offsets": np.array(offsets, np.int64),
        "cut": np.array(cut, np.int32),
        "decomposed": np.concatenate(decomposed),
    }


def decode_characters(label_ids: np.ndarray, features: Features, sentences: Sequence[Sentence], task: Task) -> Tags:
    """Return the predicted tags of all characters. label_ids: int64 [total], one per token.

    The tag of a piece is that of its first character; the others continue it, B-PS with I-PS. Of two pieces of the same character
    the first counts. Spaces, and characters that no piece covers or that max_seq_len cut off, are O.
    """
    names = list(task.labels or ())
    written = {name: tag for tag, name in (task.labels or {}).items()}
    continues = {tag: written.get(f"I-{name[2:]}", tag) for name, tag in written.items()}
    # Lists: indexing an array for each token takes several times as long.
    starts, ends = (features.tensors[name].tolist() for name in ("char_start", "char_end"))
    labels = label_ids.tolist()
    decoded = []
    for (begin, end), sentence in zip(pairwise(features.tensors["offsets"]), sentences, strict=True):
        tags = [""] * len(sentence.words)
        for token in range(begin, end):
            for character in range(starts[token], ends[token]):  # nothing for special tokens
                tag = names[labels[token]]
                tags[character] = tags[character] or (tag if character == starts[token] else continues[tag])
        decoded.append([tag or OUTSIDE for tag in tags])
    return decoded


class CharacterSplit(NerSplit):
    """One data file of a task that tags characters. The words of its examples are characters, spaces included."""

    @classmethod
    def build(cls, name: str, path: Path, settings: Settings, task: Task, tokenizer: Any) -> Features:
        sentences = [sentence for _, sentence in _sentences_by_line(path, task)]
        return Features(encode(sentences, task, tokenizer, settings.max_seq_len))

    def read(self) -> list[Sentence]:
        return [sentence for _, sentence in _sentences_by_line(self.file.path, self.task)]

    @property
    def facts(self) -> dict[str, Any]:
        """As for every split and, for one that is scored, the upper bound of its scores (`ceiling`)."""
        return super().facts | ({} if self.name == "train" else {"ceiling": self.upper_bound})

    @cached_property
    def upper_bound(self) -> Scores:
        """The scores of a model that predicts the label of every piece: entities may end inside pieces."""
        return self.score(self.decode(self.features.tensors["label_ids"]))

    def log_contents(self) -> None:
        super().log_contents()
        if self.name != "train":
            scores = ", ".join(f"{name} {value:.4f}" for name, value in self.upper_bound.items())
            logger.info("%s: upper bound of the scores with this tokenizer: %s", self.name, scores)

    def decode(self, outputs: np.ndarray, dev: Scores = NO_SCORES) -> Tags:
        return decode_characters(outputs, self.features, self.examples, self.task)

    def score(self, decoded: Tags) -> Scores:
        return METRICS[self.task.metric].compute(*map(self._without_spaces, (self._gold(), decoded)))

    def analysis(self, decoded: Tags) -> Analysis:
        """Return what is right and wrong in the entities."""
        characters = [sentence.words for sentence in self.examples]
        return of_entities(self._readable(self._gold()), self._readable(decoded), characters, entities_of, separator="")

    def report(self, decoded: Tags) -> str:
        return ""  # the analysis has the scores of every type

    def prediction_lines(self, decoded: Tags) -> Iterator[str]:
        """Yield one line for each character that is not a space: sentence, character, label, prediction."""
        yield "\t".join(["sentence", "character", "label", "prediction"])
        gold, predicted = self._readable(self._gold()), self._readable(decoded)
        for index, sentence in enumerate(self.examples):
            for character, *tags in zip(sentence.words, gold[index], predicted[index], strict=True):
                if character.strip():
                    yield tsv_line([str(index), character, *tags])

    def _gold(self) -> Tags:
        return [sentence.tags for sentence in self.examples]

    def _readable(self, tags: Tags) -> Tags:
        """Return tags in the form B-PS, whatever the file's are."""
        names = self.task.labels or {}
        return [[names[tag] for tag in of_sentence] for of_sentence in tags]

    def _without_spaces(self, tags: Tags) -> Tags:
        """Return the readable tags of all characters but spaces."""
        pairs = zip(self.examples, self._readable(tags), strict=True)
        return [[tag for character, tag in zip(sentence.words, of, strict=True) if character.strip()] for sentence, of in pairs]


def read_rows(path: Path, task: Task) -> list[DataRow]:
    """Return the sentences of a task's file for the data check. Raises DataError."""
    sentences = _sentences_by_line(path, task)
    return [DataRow(f"line {line}", ("".join(sentence.words),), tuple(sentence.tags)) for line, sentence in sentences]


def _sentences_by_line(path: Path, task: Task) -> Iterator[tuple[int, Sentence]]:
    """Yield (line where a sentence begins, sentence). Raises DataError, see parse_rows."""
    in_file = task.of_file(path)

    def parse(values: Sequence[Any]) -> Sentence:
        return parse_sentence(in_file, [_characters(values[0]), values[1]])

    return parse_rows(path, read_records(path, task), parse)


def _characters(value: Any) -> Any:
    """Return the characters of a text, in training and in prediction. A list of characters stays as it is."""
    return list(value) if isinstance(value, str) else value


class CharacterInputs(Inputs):
    """Texts without tags."""

    keys = ("text",)

    def example(self, values: Sequence[Any]) -> Sentence:
        """Return the characters of a text, or of a list of characters. Raises ValueError otherwise."""
        characters = _characters(values[0])
        if not isinstance(characters, list):
            raise ValueError(f"text: found {quote_json(values[0])}, expected a text")
        require_content("text", "".join(map(str, characters)))
        placeholder = next(iter(self.task.labels or ()))
        return Sentence([require_text("text", character) for character in characters], [placeholder] * len(characters))

    def encode(self, examples: Sequence[Sentence]) -> Features:
        return Features(encode(examples, self.task, self.tokenizer, self.settings.max_seq_len))

    def results(self, examples: Sequence[Sentence], features: Features, outputs: np.ndarray) -> Iterator[dict[str, Any]]:
        """Yield the entities of each text, with the positions of their characters, and the tag of every character."""
        names = self.task.labels or {}
        decoded = decode_characters(outputs, features, examples, self.task)
        for sentence, tags, cut in zip(examples, decoded, features.tensors["cut"].tolist(), strict=True):
            found = sorted(entities_of([names[tag] for tag in tags]), key=lambda entity: entity[1])
            entities = [
                {"type": kind, "start": first, "end": last + 1, "text": "".join(sentence.words[first : last + 1])}
                for kind, first, last in found
            ]
            yield {"entities": entities, "tags": tags} | ({"cut_characters": cut} if cut else {})
