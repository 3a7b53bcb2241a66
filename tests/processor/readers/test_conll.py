import pytest

from processor.readers.conll import find_wrong_tags
from processor.readers.tables import read_records
from src.common.errors import DataError
from tests.processor.readers.test_tables import task_of


@pytest.fixture
def read(tmp_path):
    """read(content) returns the sentences of a CoNLL file."""

    def rows_of(content, **changes):
        path = tmp_path / "f.conll"
        path.write_text(content, encoding="utf-8", newline="")
        return list(read_records(path, task_of(kind="tagging", text="sentence", label="tags", **changes)))

    return rows_of


def test_reads_words_and_tags_separated_by_tabs_or_spaces(read):
    assert read("가\tB-PER\n나  O\n\n\n \n다 \t라-B\r\n") == [
        (1, [["가", "나"], ["B-PER", "O"]]),
        (6, [["다 "], ["라-B"]]),
    ]


def test_words_may_contain_other_white_space(read):
    content = "10\u00a0000 O\n\u3000  B-PER\n 가 O \n"
    assert read(content) == [(1, [["10\u00a0000", "\u3000", "가"], ["O", "B-PER", "O"]])]


def test_takes_the_first_and_the_last_of_more_columns(read):
    assert read("-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n-DOCSTART- -X- -X- O\na b c O\n") == [
        (3, [["EU", "rejects"], ["B-ORG", "O"]]),
        (6, [["a"], ["O"]]),
    ]


def test_leaves_out_comments_but_no_words(read, tmp_path, caplog):
    caplog.set_level("INFO")
    content = "# sent_id = 1\n## klue-ner-v1_train_00000-nsmc\t가 나\n#맛집 B-LOC\n#\tO\n# 끝\n가 O\n"
    assert read(content) == read(content) == [(3, [["#맛집", "#", "가"], ["B-LOC", "O", "O"]])]
    (logged,) = [record.getMessage() for record in caplog.records]  # once
    assert all(part in logged for part in (f"{tmp_path}/f.conll: 3 lines", "line 1: '# sent_id = 1'"))
    three = "#맛집 NNG B-LOC\n# 둘 셋 넷 O\n가 NNG O\n#여행 NNG B-LOC\n"
    assert read(three) == [(1, [["#맛집", "가", "#여행"], ["B-LOC", "O", "B-LOC"]])]
    assert read("# 셋 둘 O\n\n-DOCSTART- O\n\n#맛집 O\n가 O\n") == [(5, [["#맛집", "가"], ["O", "O"]])]
    assert read("#가 B-LOC\n# O\n", labels={"B-LOC": "B-LOC", "I-LOC": "I-LOC"}) == [(1, [["#가"], ["B-LOC"]])]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("가 O\n나\n", "line 2: found '나', expected 2 columns, separated by a tab or spaces"),
        ("가\n", "line 1: found '가', expected a word and a tag"),
        ("가 O\n나\t\n다 라 O\n", "2 malformed lines:\n  - line 2: found '나\\t', expected 2 columns"),
        ("가 O\n\tO\n", "line 2: found '\\tO'"),
        ("가\tO\n#나\t\tB-LOC\n", "line 2: found '#나\\t\\tB-LOC'"),  # no comment
        ("\n# 없음\n", "there are no sentences"),
        ("가 O\r나 O\r", "CR alone"),
    ],
)
def test_rejects_malformed_lines(read, tmp_path, content, expected):
    with pytest.raises(DataError) as caught:
        read(content)
    assert str(tmp_path / "f.conll") in str(caught.value) and expected in str(caught.value)


@pytest.mark.parametrize(
    ("tags", "wrong"),
    [
        ("O B-PER I-PER E-PER S-PER", ""),
        ("O PER-B PER-I", ""),
        ("O", ""),
        ("O B-PER B-S I-S", ""),  # the first one tells the form
        ("O PER-B PER-I S-B", "S-B"),  # in a file without the others it would be an entity of the type B
        ("O B-I I-I", "B-I I-I"),
        ("O B-PER PER-I I-PER", "PER-I"),
        ("O PER-B PER-I B-PER", "B-PER"),
        ("O PER 3 B-", "3 B- PER"),
    ],
)
def test_tags_that_could_be_of_both_forms_or_of_none(tags, wrong):
    found = find_wrong_tags(tags.split())
    assert [line.split(",")[0] for line in found] == [repr(tag) for tag in wrong.split()]
    assert all(("both forms" in line) == (line[1:4] in ("S-B", "B-I", "I-I")) for line in found)
