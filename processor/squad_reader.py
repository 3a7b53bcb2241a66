"""The reader of SQuAD 1 files: questions with their contexts and answers; wrong ids and answer positions are reported."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from processor.readers.records import load_json
from processor.readers.tables import DataRow
from processor.readers.text_files import UTF_8, read_text
from processor.squad_windows import SquadExample
from src.common.errors import DataError, list_problems, quote
from src.common.log import log_once
from src.data.task import Task
from src.settings.schema import Settings

logger = logging.getLogger(__name__)


class _Level(BaseModel):
    """A level of the file: its keys and their types. Values are not converted; other keys are ignored."""

    model_config = ConfigDict(strict=True)


class _Answer(_Level):
    text: str
    answer_start: int


class _Question(_Level):
    id: str = Field(validation_alias=AliasChoices("id", "guid"))
    question: str
    answers: list[_Answer]
    is_impossible: bool = False  # SQuAD 2

    @property
    def accepted(self) -> list[_Answer]:
        """The right answers; none if the question has no answer, whatever the file gives as a plausible one."""
        return [] if self.is_impossible else self.answers


class _Paragraph(_Level):
    context: str
    qas: list[_Question]


class _Article(_Level):
    paragraphs: list[_Paragraph]


class _Corpus(_Level):
    data: list[_Article]


@dataclass(frozen=True, slots=True)
class SquadQuestion:
    """A question of a data file. The answer of `example` is the first one that is at the position given in the file, if any."""

    id: str
    example: SquadExample
    answers: list[str]  # that are right; none if the question has no answer
    article: int  # number of its article in the file


def read_questions(path: Path, strict: bool, encoding: str = UTF_8, may_lack_answers: bool = False) -> list[SquadQuestion]:
    """Return the questions of a file of SQuAD 1, SQuAD 2 or KLUE-MRC, whose ids are called `guid`.

    Raises DataError naming every place with a missing key or a wrong type and, unless `may_lack_answers`, every question without
    an answer. If `strict`, duplicate ids and answers that are not at their answer_start are errors too; else they are logged, the
    first question of an id counts, and the position of such an answer is unknown.
    """
    text = read_text(path, encoding)
    load_json(path, text)  # refuses a key that occurs twice: pydantic would take the last one
    try:
        corpus = _Corpus.model_validate_json(text)
    except ValidationError as error:
        problems = [f"{_place(detail['loc'])}: {detail['msg']}" for detail in error.errors(include_url=False)]
        raise DataError(list_problems(f"{path}: not a file in the format of SQuAD 1:", problems)) from None
    if not may_lack_answers:
        _require_answers(path, corpus)
    asked = [question for article in corpus.data for paragraph in article.paragraphs for question in paragraph.qas]
    if ignored := sum(question.is_impossible and bool(question.answers) for question in asked):
        log_once(f"{path}: the answers of {ignored:,} questions are left out, as is_impossible says that they have none")
    questions: dict[str, SquadQuestion] = {}
    problems = []
    for number, article in enumerate(corpus.data):
        for paragraph in article.paragraphs:
            for question in paragraph.qas:
                if question.id in questions:
                    problems.append(f"question {quote(question.id)}: duplicate id")
                    continue
                placed = [answer for answer in question.accepted if _is_at_its_place(answer, paragraph.context)]
                for answer in question.accepted:
                    if answer not in placed:
                        problems.append(f"question {quote(question.id)}: {quote(answer.text)} is not at {answer.answer_start}")
                first = (placed[0].text, placed[0].answer_start) if placed else None
                example = SquadExample(question.question, paragraph.context, first)
                texts = [answer.text for answer in question.accepted]
                questions[question.id] = SquadQuestion(question.id, example, texts, number)
    if problems:
        _report(path, problems, strict)
    if not questions:
        raise DataError(f"{path}: there are no questions. Fetch the file again.")
    return list(questions.values())


def _require_answers(path: Path, corpus: _Corpus) -> None:
    """Raise DataError for questions without an answer, as in SQuAD 2: they would be trained and scored as any other."""
    questions = (question for article in corpus.data for paragraph in article.paragraphs for question in paragraph.qas)
    without = [question for question in questions if not question.accepted]
    if without:
        problems = [
            f"question {quote(question.id)}: {'is_impossible is true' if question.is_impossible else 'it has no answers'}"
            for question in without
        ]
        title = (
            f"{path}: {len(without):,} questions have no answer. Pass --version_2_with_negative, so that a model may give none, "
            "or remove them:"
        )
        raise DataError(list_problems(title, problems))


def usable(questions: Sequence[SquadQuestion], split: str) -> list[SquadQuestion]:
    """Return the questions that a split can use: training needs the position of an answer, or that there is none.

    Raises DataError if no question can be used.
    """
    if split != "train":
        return list(questions)
    with_answer = [question for question in questions if question.example.answer or not question.answers]
    if not with_answer:
        raise DataError(f"{split}: no answer is at its answer_start. Fetch the file again.")
    return with_answer


def read_rows(path: Path, task: Task) -> list[DataRow]:
    """Return the questions of a task's file for the data check. Raises DataError, see `read_questions`."""
    encoding = task.of_file(path).encoding
    return _rows_of(read_questions(path, strict=True, encoding=encoding, may_lack_answers=True))


def read_used_rows(split: str, path: Path, settings: Settings, task: Task) -> list[DataRow]:
    """Return the questions that a split uses, see `usable`."""
    return _rows_of(read_used(split, path, settings, task))


def read_used(split: str, path: Path, settings: Settings, task: Task) -> list[SquadQuestion]:
    """Return the questions of a file that a split uses. Raises DataError, see `read_questions` and `usable`."""
    encoding = task.of_file(path).encoding
    questions = read_questions(path, settings.strict_data, encoding, settings.version_2_with_negative)
    return usable(questions, split)


def _rows_of(questions: Sequence[SquadQuestion]) -> list[DataRow]:
    """Return questions as rows. Those of an article stay together, and so do those on a context."""
    return [
        DataRow(
            f"question {question.id}",
            (question.example.question, question.example.context),
            tuple(question.answers[:1]),
            (f"article {question.article}", question.example.context),
        )
        for question in questions
    ]


def _is_at_its_place(answer: _Answer, context: str) -> bool:
    start = answer.answer_start
    return start >= 0 and bool(answer.text.strip()) and context.startswith(answer.text, start)


def _report(path: Path, problems: Sequence[str], strict: bool) -> None:
    message = list_problems(f"{path}: {len(problems)} wrong ids or answer positions:", problems)
    if strict:
        raise DataError(f"{message}\nCorrect the file, or pass --strict_data false to continue without them.")
    logger.warning("%s", message)


def _place(location: Sequence[int | str]) -> str:
    """Return a place in the file, as in data[0].paragraphs[2].context."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".") or "the file"
