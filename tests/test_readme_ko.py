"""README.ko.md says what README.md says: the same headings, commands, tables, links, code and figures in each section."""

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import zip_longest

import pytest

from tests.conftest import ROOT

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)]+)\)")
CODE = re.compile(r"`([^`]+)`")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e-?\d+)?")
LETTER = re.compile(r"[^\W\d_]")


@dataclass
class Section:
    """A heading and the lines up to the next one. `targets`, shared by the page: address of a link -> what both pages call it."""

    level: int
    title: str
    targets: dict[str, str]
    lines: list[str] = field(default_factory=list)

    @property
    def body(self):
        return "\n".join(self.lines)

    @property
    def blocks(self):
        """The code blocks without their comments."""
        return [re.sub(r"[ \t]*#.*", "", block) for block in FENCE.findall(self.body)]

    @property
    def rows(self):
        """The rows of the tables, each a list of cells."""
        lines = FENCE.sub("", self.body).splitlines()
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]

    @property
    def prose(self):
        """The paragraphs and list items."""
        text = re.sub(r"^\|.*", "", FENCE.sub("", self.body), flags=re.MULTILINE)
        return [" ".join(part.split()) for part in re.split(r"\n{2,}|\n(?=- )", text) if part.strip()]

    def facts(self, text):
        """Count what is the same in every language: ("link", target), ("code", text) and ("number", digits)."""
        links = [("link", self.targets.get(target, target)) for target in LINK.findall(text)]
        text = LINK.sub("]", text)
        codes = [("code", code) for code in CODE.findall(text)]
        return Counter([*links, *codes, *(("number", number) for number in NUMBER.findall(CODE.sub("", text)))])


def read_sections(text, other):
    """Split a page that links to the page `other` in the other language."""
    sections, targets, fenced = [], {other: "the other language"}, False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        heading = re.match(r"(#+) (.*)", line)
        if heading and not fenced:
            slug = re.sub(r"[^\w -]", "", heading[2]).replace(" ", "-").lower()  # as GitHub makes it
            targets[f"#{slug}"] = f"#heading {len(sections)}"
            sections.append(Section(len(heading[1]), heading[2], targets))
        else:
            sections[-1].lines.append(line)
    return sections


def list_differences(english, korean):
    """What one page has in a section and the other lacks, one line each."""
    found = []
    for english_block, korean_block in zip_longest(english.blocks, korean.blocks, fillvalue=""):
        lines = zip_longest(english_block.splitlines(), korean_block.splitlines(), fillvalue="")
        found += [f"code block: {left!r} is {right!r}" for left, right in lines if left != right]
    if [len(row) for row in english.rows] != [len(row) for row in korean.rows]:
        found.append(f"tables: {len(english.rows)} and {len(korean.rows)} rows, or rows of other lengths")
    for left_row, right_row in zip(english.rows, korean.rows, strict=False):
        for left, right in zip(left_row, right_row, strict=False):
            no_prose = not LETTER.search(CODE.sub("", left))
            if english.facts(left) != korean.facts(right) or (no_prose and left != right):
                found.append(f"table, row {left_row[0]}: {left!r} is {right!r}")
    if (left := len(english.prose)) != (right := len(korean.prose)):
        found.append(f"{left} and {right} paragraphs and list items")
    left, right = (section.facts("\n\n".join(section.prose)) for section in (english, korean))
    found += [f"{kind} of README.md missing in README.ko.md: {value}" for kind, value in (left - right).elements()]
    return found + [f"{kind} of README.ko.md missing in README.md: {value}" for kind, value in (right - left).elements()]


ENGLISH = read_sections((ROOT / "README.md").read_text(encoding="utf-8"), "README.ko.md")
KOREAN = read_sections((ROOT / "README.ko.md").read_text(encoding="utf-8"), "README.md")


def test_each_links_to_the_other_at_the_top():
    assert ENGLISH[0].lines[1] == "[한국어](README.ko.md)"
    assert KOREAN[0].lines[1] == "[English](README.md)"


def test_headings():
    for english, korean in zip_longest(ENGLISH, KOREAN):
        assert english and korean and english.level == korean.level, f"{english and english.title!r}, {korean and korean.title!r}"


@pytest.mark.parametrize("sections", [ENGLISH, KOREAN], ids=["README.md", "README.ko.md"])
def test_links_within_a_page(sections):
    assert len({section.title.lower() for section in sections}) == len(sections)  # GitHub numbers slugs that are the same
    for section in sections:
        anchors = {target for target in LINK.findall(FENCE.sub("", section.body)) if target.startswith("#")}
        assert anchors <= section.targets.keys(), f"{section.title!r} links to no heading"


@pytest.mark.parametrize(
    ("english", "korean"), [pytest.param(*pair, id=pair[0].title) for pair in zip(ENGLISH, KOREAN, strict=False)]
)
def test_section(english, korean):
    found = list_differences(english, korean)
    assert not found, "\n".join([f"section {english.title!r}, in README.ko.md {korean.title!r}:", *found])


SMALL = """# Speed

Takes 4.2 s of 4.2 s for 10,000 rows with `--fast` ([more](#speed)).

- [File](a.py)

| rows | time |
| :--- | ---: |
| `paws`, 32 x 128 | **1.5** |

```bash
python3 run.py --fast    # in seconds
```
"""
TRANSLATED = [
    ("# Speed", "# 속도"),
    (
        "Takes 4.2 s of 4.2 s for 10,000 rows with `--fast` ([more](#speed)).",
        "`--fast`: 10,000행에 4.2초 중 4.2초([설명](#속도)).",
    ),
    ("[File]", "[파일]"),
    ("| rows | time |", "| 행 | 시간 |"),
    ("# in seconds", "# 초 단위"),
]


def translate(text):
    for english, korean in TRANSLATED:
        text = text.replace(english, korean)
    return text


def test_a_translation_has_no_differences():
    assert list_differences(*read_sections(SMALL, ""), *read_sections(translate(SMALL), "")) == []


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("중 4.2초", "중 4.3초", ["number of README.md missing in README.ko.md: 4.2", "missing in README.md: 4.3"]),
        ("중 4.2초", "", ["number of README.md missing in README.ko.md: 4.2"]),
        ("`--fast`:", "`--slow`:", ["README.ko.md: --fast", "README.md: --slow"]),
        ("(#속도)", "(#속)", ["README.ko.md: #heading 0", "README.md: #속"]),
        ("(a.py)", "(b.py)", ["README.ko.md: a.py", "README.md: b.py"]),
        ("- [파일]", "\n- 없음\n- [파일]", ["2 and 3 paragraphs and list items"]),
        ("32 x 128", "32 x 256", ["row `paws`, 32 x 128"]),
        ("`paws`", "`nsmc`", ["row `paws`, 32 x 128"]),
        ("**1.5**", "1.5", ["row `paws`, 32 x 128"]),
        ("| **1.5** |", "| **1.5** | 2 |", ["tables"]),
        ("run.py --fast", "run.py --slow", ["'python3 run.py --slow'"]),
        ("```bash", "```", ["code block"]),
    ],
)  # fmt: skip
def test_every_difference_is_named(old, new, named):
    changed = translate(SMALL).replace(old, new, 1)
    assert changed != translate(SMALL)
    found = list_differences(*read_sections(SMALL, ""), *read_sections(changed, ""))
    assert len(found) == len(named) and all(part in line for part, line in zip(named, found, strict=True)), found
