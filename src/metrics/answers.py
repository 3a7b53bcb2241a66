"""Scores of answers to questions by the rules of KorQuAD 1.0 and of KLUE-MRC. A question without an answer has the answer ""."""

import string
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from src.data.hangul import compose
from src.data.task import Scores

# Characters that the official KorQuAD 1.0 script replaces by spaces; other ASCII punctuation is removed.
ANSWER_SPACES = "'\"《》<>〈〉()‘’"
ANSWER_SIGNS = str.maketrans(dict.fromkeys(string.punctuation, "") | dict.fromkeys(ANSWER_SPACES, " "))
SIGNS = str.maketrans(dict.fromkeys(string.punctuation, ""))


def normalize_answer(text: str) -> str:
    """Normalize an answer as KorQuAD 1.0 does: lower case, no punctuation, single spaces between words.

    Hangul is composed first: F1 counts syllables, not jamo.
    """
    return " ".join(compose(text).lower().translate(ANSWER_SIGNS).split())


def normalize_klue_answer(text: str) -> str:
    """Normalize an answer as KLUE-MRC does: lower case, no ASCII punctuation, single spaces between words.

    The baseline (klue_baseline/metrics/utils.py) also means to remove quotation marks and brackets such as 《》, but its pattern
    matches none of them; they stay here, too.
    """
    return " ".join(compose(text).lower().translate(SIGNS).split())


def answer_f1(gold: Sequence[Sequence[str]], preds: Sequence[str]) -> Scores:
    """Return `exact_match` and `f1` (0..100) by the official rules of KorQuAD 1.0: means over questions, F1 by character.

    gold: the accepted answers to each question, of which the best match counts. An answer of punctuation alone has F1 0 even
    if it matches. Where no answer is right, as in SQuAD 2, no answer has 100 and any other 0.
    """
    return _mean_scores(gold, preds, normalize_answer, {"f1": _character_f1})


def answer_rouge(gold: Sequence[Sequence[str]], preds: Sequence[str]) -> Scores:
    """Return `exact_match` and `rouge` (0..100) as KLUE-baseline does (klue_baseline/metrics/functional.py).

    gold: the accepted answers to each question, of which the best match counts. What the baseline calls ROUGE-W is the F1 of the
    longest common run of characters, spaces included.
    """
    return _mean_scores(gold, preds, normalize_klue_answer, {"rouge": _longest_run_f1})


def _mean_scores(
    gold: Sequence[Sequence[str]],
    preds: Sequence[str],
    normalize: Callable[[str], str],
    overlaps: dict[str, Callable[[str, str], float]],
) -> Scores:
    """Return the means of the exact matches and of each overlap of normalized texts."""
    totals = dict.fromkeys(["exact_match", *overlaps], 0.0)
    for accepted, pred in zip(gold, preds, strict=True):
        answers = [normalize(answer) for answer in accepted] or [""]
        found = normalize(pred)
        totals["exact_match"] += max(answer == found for answer in answers)
        for name, overlap in overlaps.items():
            if any(accepted):
                totals[name] += max(overlap(answer, found) for answer in answers)
            else:
                totals[name] += found == ""
    return {name: 100 * total / len(preds) for name, total in totals.items()}


def _character_f1(gold: str, pred: str) -> float:
    gold_counts, pred_counts = (Counter(text.replace(" ", "")) for text in (gold, pred))
    shared = (gold_counts & pred_counts).total()
    return 2 * shared / (gold_counts.total() + pred_counts.total()) if shared else 0.0


def _longest_run_f1(gold: str, pred: str) -> float:
    if not gold:
        return float(not pred)
    longest = SequenceMatcher(None, pred, gold).find_longest_match().size
    return 2 * longest / (len(gold) + len(pred))
