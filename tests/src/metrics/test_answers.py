import pytest

from src.metrics.answers import answer_f1, answer_rouge, normalize_answer, normalize_klue_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  두   칸 ", "두 칸"),
        ("《토지》", "토지"),
        ("〈아리랑〉(1926년)", "아리랑 1926년"),  # brackets are spaces
        ("‘봄’과 'fall' \"<여름>\"", "봄 과 fall 여름"),
        ("3.1 운동, 만세!", "31 운동 만세"),  # other ASCII punctuation is removed
        ("U.S.A.", "usa"),
        ("『무정』", "『무정』"),  # not among the official punctuation
        ("“봄”", "“봄”"),
        ("\u1107\u1169\u11b7.", "봄"),  # decomposed
        ("()", ""),
    ],
)
def test_normalize_answer(text, expected):
    assert normalize_answer(text) == expected


@pytest.mark.parametrize(
    ("gold", "pred", "exact", "f1"),
    [
        ("서울", "서울", 100, 100),
        ("서울", "서울에서", 0, 100 * 2 * 2 / (2 + 4)),  # a particle: precision 2/4, recall 2/2
        ("1956년", "1956", 0, 100 * 2 * 4 / (5 + 4)),
        ("가나", "나가", 0, 100),  # F1 ignores the order of characters
        ("가가나", "가다", 0, 100 * 2 * 1 / (3 + 2)),  # repeated characters count as often as they occur
        ("가 나", "가나", 0, 100),  # nor spaces; the exact match does
        ("《토지》", "토지", 100, 100),
        ("부산", "서울", 0, 0),
        ("서울", "\u1109\u1165\u110b\u116e\u11af에서", 0, 100 * 2 * 2 / (2 + 4)),  # decomposed: syllables count, not jamo
        ("서울", "", 0, 0),
        ("()", "", 100, 0),  # punctuation alone: a match without common characters
    ],
)
def test_answers_by_hand(gold, pred, exact, f1):
    assert answer_f1([[gold]], [pred]) == pytest.approx({"exact_match": exact, "f1": f1})


def test_best_of_several_answers_counts_and_questions_are_averaged():
    assert answer_f1([["부산", "서울"], ["봄"]], ["서울", "여름"]) == {"exact_match": 50.0, "f1": 50.0}


@pytest.mark.parametrize(("pred", "score"), [("", 100), ("()", 100), ("서울", 0)])
@pytest.mark.parametrize("compute", [answer_f1, answer_rouge])
def test_a_question_without_an_answer(compute, pred, score):
    assert set(compute([[]], [pred]).values()) == set(compute([[""]], [pred]).values()) == {score}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  두   칸 ", "두 칸"),
        ("《토지》", "《토지》"),  # the baseline's pattern matches no bracket
        ("‘봄’과 'fall' \"<여름>\"", "‘봄’과 fall 여름"),
        ("3.1 운동, 만세!", "31 운동 만세"),
        ("()", ""),
    ],
)
def test_normalize_as_klue_does(text, expected):
    assert normalize_klue_answer(text) == expected


@pytest.mark.parametrize(
    ("gold", "pred", "exact", "rouge"),
    [
        (["서울", "서울시"], '"서울시"', 100, 100),
        (["가나마라"], "가나다라", 0, 50),  # 가나 is the longest run: 2 of 4 characters of both
        (["가 나"], "가나", 0, 100 * 2 * 1 / (3 + 2)),  # a space counts
        (["봄"], "", 0, 0),
        (["()"], "", 100, 100),
        (["()"], "봄", 0, 0),
        (["부산", "서울"], "서울에서", 0, 100 * 2 * 2 / (2 + 4)),
    ],
)
def test_answers_as_klue_scores_them(gold, pred, exact, rouge):
    assert answer_rouge([gold], [pred]) == pytest.approx({"exact_match": exact, "rouge": rouge})
