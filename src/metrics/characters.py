"""Scores of tags by character, as KLUE-NER is scored, and their weighted forms."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, groupby

import numpy as np

from src.data.task import Scores
from src.metrics.weighted import Columns, WeightedScore, divide

OUTSIDE = "O"
Entity = tuple[str, int, int]  # type, first and last position


def entities_of(tags: Sequence[str]) -> set[Entity]:
    """Return the entities of a sequence by the scheme IOB2: B-PS and the I-PS that follow it. An I- without its B- is none."""
    found, kind, first = set(), "", 0
    for position, tag in enumerate([*tags, OUTSIDE]):
        if kind and tag != f"I-{kind}":
            found.add((kind, first, position - 1))
            kind = ""
        if tag.startswith("B-"):
            kind, first = tag[2:], position
    return found


def character_f1(gold: Sequence[Sequence[str]], preds: Sequence[Sequence[str]]) -> Scores:
    """Return `entity_f1`, `char_f1` and `char_f1_no_o` (0..1): macro F1 over types of entities, over tags, over tags but O.

    gold, preds: the tags of each sentence's characters without spaces, in the form B-PS. The formulas are those of KLUE-baseline
    (klue_baseline/metrics/functional.py): entities by seqeval's strict mode; `char_f1` counts O as a tag, and the tokens [CLS]
    and [SEP] of each sentence as two characters with the tag O. The baseline reads the prediction for [SEP] at a position of
    padding.
    """
    from seqeval.metrics import f1_score as seqeval_f1
    from seqeval.scheme import IOB2
    from sklearn.metrics import f1_score

    right, found = ([tag for tags in of for tag in (OUTSIDE, *tags, OUTSIDE)] for of in (gold, preds))
    tags = sorted({*right, *found} - {OUTSIDE})
    if not tags:
        return {"entity_f1": 0.0, "char_f1": 1.0, "char_f1_no_o": 0.0}
    numbers = {tag: number for number, tag in enumerate([OUTSIDE, *tags])}
    ids = [[numbers[tag] for tag in of] for of in (right, found)]
    strict = {"average": "macro", "mode": "strict", "scheme": IOB2, "zero_division": 0}
    has_entities = any(tag.startswith("B-") for tag in tags)
    return {
        # Sentences may be apart, as O stands between them: seqeval takes five times as long for a single sequence.
        "entity_f1": float(seqeval_f1(list(gold), list(preds), **strict)) if has_entities else 0.0,
        "char_f1": float(f1_score(*ids, average="macro", zero_division=1.0)),
        "char_f1_no_o": float(f1_score(*ids, labels=range(1, len(numbers)), average="macro", zero_division=1.0)),
    }


def weighted_entity_macro_f1(columns: Columns) -> WeightedScore:
    """Weighted form of `entity_f1` in `character_f1`. A type counts in the samples in which it occurs."""
    counts = []
    for tags in _by_sentence(columns):
        gold, predicted = map(entities_of, zip(*tags, strict=True))
        counts.append([Counter(kind for kind, _, _ in of) for of in (gold & predicted, gold, predicted)])
    return _macro_f1(counts)


def weighted_character_f1(columns: Columns, with_outside: bool) -> WeightedScore:
    """Weighted form of `char_f1` in `character_f1`; without the tag O that of `char_f1_no_o`."""
    counts = []
    for tags in _by_sentence(columns):
        pairs = [*tags, (OUTSIDE, OUTSIDE), (OUTSIDE, OUTSIDE)]
        hits = Counter(gold for gold, predicted in pairs if gold == predicted)
        counts.append([hits, *(Counter(of) for of in zip(*pairs, strict=True))])
    return _macro_f1(counts, () if with_outside else (OUTSIDE,))


def _by_sentence(columns: Columns) -> Iterator[list[tuple[str, str]]]:
    """Yield the (gold, predicted) tags of each sentence."""
    rows = zip(columns["sentence"], columns["label"], columns["prediction"], strict=True)
    for _, sentence in groupby(rows, key=lambda row: row[0]):
        yield [(gold, predicted) for _, gold, predicted in sentence]


def _macro_f1(counts: Sequence[Sequence[Counter[str]]], without: Sequence[str] = ()) -> WeightedScore:
    """Return the macro F1 of counts by sentence: of hits, gold and predictions, each by name."""
    names = sorted(set(chain.from_iterable(chain(*of) for of in counts)) - set(without))
    hits, gold, predicted = (np.array([[of[part][name] for name in names] for of in counts], float) for part in range(3))
    sizes = gold + predicted

    def score(weights: np.ndarray) -> np.ndarray:
        total = weights @ sizes
        f1 = divide(2 * (weights @ hits), total)
        return divide(f1.sum(axis=1), (total > 0).sum(axis=1).astype(float))

    return score
