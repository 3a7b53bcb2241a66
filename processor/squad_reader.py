"""The file of a reading task: SQuAD 1's levels of JSON become questions, and what cannot be right is told."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from processor.squad_windows import SquadExample
from src.errors import DataError, list_problems

logger = logging.getLogger(__name__)


class _Level(BaseModel):
    """A level of the file: its keys and their types. Nothing is converted; other keys are left alone."""

    model_config = ConfigDict(strict=True)


class _Answer(_Level):
    text: str
    answer_start: int


class _Question(_Level):
    id: str
    question: str
    answers: list[_Answer] = Field(min_length=1)


class _Paragraph(_Level):
    context: str
    qas: list[_Question]


class _Article(_Level):
    paragraphs: list[_Paragraph]


class _Corpus(_Level):
    data: list[_Article]


@dataclass(frozen=True, slots=True)
class SquadQuestion:
    """A question of a data file. `asked` holds its first answer, unless that does not stand where the file says."""

    id: str
    asked: SquadExample
    answers: list[str]
    article: int  # its number in the file


def read_questions(path: Path, strict: bool) -> list[SquadQuestion]:
    """The questions of a file in the form of SQuAD 1.

    Raises DataError naming every place with a missing key or a wrong type. Further ids that are there twice and answers that
    do not stand at their answer_start are an error where `strict`; else they are listed in the log, of questions of one id the
    first counts, and the position of such an answer is not known.
    """
    try:
        corpus = _Corpus.model_validate_json(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        problems = [f"{_place(detail['loc'])}: {detail['msg']}" for detail in error.errors(include_url=False)]
        raise DataError(list_problems(f"{path}: not a file in the form of SQuAD 1:", problems)) from None
    found: dict[str, SquadQuestion] = {}
    problems = []
    for number, article in enumerate(corpus.data):
        for paragraph in article.paragraphs:
            for each in paragraph.qas:
                placed = [answer for answer in each.answers if _stands(answer, paragraph.context)]
                if each.id in found:
                    problems.append(f"question {each.id!r} is there twice")
                    continue
                for answer in each.answers:
                    if answer not in placed:
                        problems.append(f"question {each.id!r}: {answer.text!r} does not stand at {answer.answer_start}")
                known = (placed[0].text, placed[0].answer_start) if placed else None
                asked = SquadExample(each.question, paragraph.context, known)
                found[each.id] = SquadQuestion(each.id, asked, [answer.text for answer in each.answers], number)
    if problems:
        _complain(path, problems, strict)
    if not found:
        raise DataError(f"{path}: holds no question. Fetch the file again.")
    return list(found.values())


def usable(questions: Sequence[SquadQuestion], split: str) -> list[SquadQuestion]:
    """Of the questions of a split those that it can use: training needs to know where an answer stands.

    Raises DataError where there is none.
    """
    found = [question for question in questions if split != "train" or question.asked.answer]
    if not found:
        raise DataError(f"{split}: no answer stands where its answer_start says. Fetch the file again.")
    return found


def _stands(answer: _Answer, context: str) -> bool:
    start = answer.answer_start
    return start >= 0 and bool(answer.text.strip()) and context.startswith(answer.text, start)


def _complain(path: Path, problems: Sequence[str], strict: bool) -> None:
    message = list_problems(f"{path}: {len(problems)} questions or answers cannot be right:", problems)
    if strict:
        raise DataError(f"{message}\nMend the file, or go on without them by --strict_data false.")
    logger.warning("%s", message)


def _place(location: Sequence[int | str]) -> str:
    """Where in the file: data[0].paragraphs[2].context."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".") or "the file"
