import pytest

from processor.spans import mark_spans, require_marks

NAMES = ["s", "t", "u", "v"]
TEXT = "비틀즈는 영국의 밴드다"


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ((0, 2, 9, 10), "<subj>비틀즈</subj>는 영국의 <obj>밴드</obj>다"),
        ((9, 10, 0, 2), "<obj>비틀즈</obj>는 영국의 <subj>밴드</subj>다"),
        ((0, 0, 11, 11), "<subj>비</subj>틀즈는 영국의 밴드<obj>다</obj>"),  # at both ends of the text
        ((0, 2, 3, 3), "<subj>비틀즈</subj><obj>는</obj> 영국의 밴드다"),  # side by side
        ((0, 3, 1, 2), "<subj>비<obj>틀즈</obj>는</subj> 영국의 밴드다"),  # one inside the other
        (("0", "2", "9", "10"), "<subj>비틀즈</subj>는 영국의 <obj>밴드</obj>다"),  # as a CSV file has them
    ],
)
def test_marks_both_spans(places, expected):
    assert mark_spans(TEXT, NAMES, places) == expected
    assert require_marks("text", expected) == expected


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ((0, 12, 9, 10), "t: found 12, but the text has the characters 0 to 11"),
        ((-1, 2, 9, 10), "s: found -1"),
        ((2, 0, 9, 10), "s: found a span from 2 to 0"),
        ((0, 2, 10, 9), "u: found a span from 10 to 9"),
        ((0, 2, "x", 9), 'u: found "x", expected the number'),
        ((0, 2, 9.5, 9), "u: found 9.5"),
        ((0, True, 9, 10), "t: found true"),
        ((None, 2, 9, 10), "s: found null"),
    ],
)
def test_rejects_places(places, expected):
    with pytest.raises(ValueError, match=expected):
        mark_spans(TEXT, NAMES, places)


@pytest.mark.parametrize("text", [TEXT, "<subj>비</subj>틀즈", "<subj><subj>a</subj> <obj>b</obj>"])
def test_rejects_texts_without_marks(text):
    with pytest.raises(ValueError, match="text: expected <"):
        require_marks("text", text)
