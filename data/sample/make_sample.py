"""Make the sample: small files for every task, in the published formats, and the model folder of config/tiny.json.

    python3 data/sample/make_sample.py [FOLDER]

The texts are combinations of the word lists below, which were written for this project. They are much easier than the real
corpora: a tiny model learns them in seconds on a laptop. The script writes the same bytes every time.
"""

import json
import random
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tiny_electra import make_tiny_model, write

Row = Sequence[str]

FAMILY_NAMES = list("김이박최정강조윤장임한오서신권황안송류홍")
GIVEN_NAMES = "민준 서연 도윤 하은 지호 수빈 예준 지우 현우 다은 건우 소율 태민 나영 성훈 미래 재하 유진 동욱 혜린".split()
CITIES = "서울 부산 대구 인천 광주 대전 울산 수원 전주 강릉 제주 춘천 여수 목포 안동 경주 파주 통영 속초 청주".split()
PLACES = "공원 도서관 시장 바닷가 운동장 카페 박물관 골목 놀이터 버스 정류장 식당 온실 옥상 강가 숲길 체육관".split()
JOBS = "의사 화가 작가 교사 가수 배우 기자 요리사 건축가 변호사 농부 사진가 번역가 작곡가 조종사 간호사".split()
MOVIE_PARTS = "연기 배우들 이야기 음악 영상 대사 결말 연출 주인공 화면 분위기 전개 캐릭터 반전 촬영 각본".split()
FOODS = "파스타 김치찌개 비빔밥 떡볶이 만두 갈비탕 카레 샐러드 식빵 쿠키 수제비 냉면 잡채 호박죽 토스트 불고기".split()
ANIMALS = "강아지 고양이 토끼 거북이 앵무새 햄스터 다람쥐 오리 염소 조랑말".split()
PLANTS = "장미 소나무 해바라기 민들레 튤립 대나무 국화 은행나무 진달래 수선화".split()
COMPANIES = "한빛전자 푸른은행 새벽항공 미르건설 가람출판사 누리통신 다온식품 해솔제약 바른보험 온새미로".split()
FESTIVALS = "벚꽃축제 불꽃축제 등불축제 영화제 마라톤대회 음악축제 도서전 김장축제 썰매대회 연날리기대회".split()


def pick(rng: random.Random, *choices: Sequence[str]) -> list[str]:
    """Return a random item of each list."""
    return [rng.choice(list(items)) for items in choices]


def josa(word: str, pair: str) -> str:
    """Return a word with the particle for its last syllable. pair: the particles after a consonant and after a vowel."""
    after_consonant, after_vowel = pair.split("/")
    closed = (ord(word[-1]) - 0xAC00) % 28 != 0
    return word + (after_consonant if closed else after_vowel)


def person(rng: random.Random) -> str:
    return "".join(pick(rng, FAMILY_NAMES, GIVEN_NAMES))


# -- sequence tasks ------------------------------------------------------------------------------------------------------

GOOD = [
    "정말 최고다", "너무 재미있다", "감동적이었다", "눈물이 났다", "강력히 추천한다", "기대 이상이다", "완벽하다", "훌륭하다",
    "또 보고 싶다", "마음이 따뜻해진다", "시간 가는 줄 몰랐다", "역시 명작이다", "가슴이 벅차다", "사랑스럽다", "웃음이 멈추지 않는다",
]  # fmt: skip
BAD = [
    "정말 최악이다", "너무 지루하다", "실망했다", "돈이 아깝다", "시간 낭비였다", "기대 이하다", "엉망이다", "형편없다",
    "졸려서 나왔다", "다시는 안 본다", "한숨만 나온다", "왜 만들었나 싶다", "끔찍하다", "어설프다", "하품이 멈추지 않는다",
]  # fmt: skip
NEUTRAL = [
    "주말에 친구랑 봤다", "개봉 첫날에 봤다", "텔레비전에서 해 줬다", "어제 극장에 다녀왔다", "소문을 듣고 골랐다",
    "두 시간짜리 영화다", "원작 소설이 있다고 한다", "동생이 보자고 했다", "비 오는 날 혼자 봤다", "예고편만 보고 갔다",
]  # fmt: skip
TAILS = ["", "", "...", "!", "!!", " ㅋㅋ", " ㅠㅠ", " ^^", "~", "."]


def nsmc(rng: random.Random, index: int) -> Row:
    good = index % 2 == 1
    verdict, part, aside = pick(rng, GOOD if good else BAD, MOVIE_PARTS, NEUTRAL)
    opening = f"{josa(part, '이/가')} {verdict}" if rng.random() < 0.7 else verdict
    second = rng.choice(GOOD if good else BAD)
    parts = {0: [opening], 1: [aside, opening], 2: [opening, second], 3: [opening, aside]}[rng.randrange(4)]
    return str(9_000_000 + index), ". ".join(parts) + rng.choice(TAILS), str(int(good))


ORDERS = [("먼저", "늦게"), ("일찍", "나중에"), ("빨리", "느리게"), ("많이", "적게"), ("높이", "낮게"), ("멀리", "가까이")]
DEEDS = ["{}에 도착했다", "{}에서 달렸다", "{}에서 뛰었다", "{}까지 걸었다", "{}에서 공을 던졌다", "{}에서 짐을 옮겼다"]


def paws(rng: random.Random, index: int) -> Row:
    """The second sentence swaps the names; it is a paraphrase only if it reverses the comparison too."""
    one, other = person(rng), person(rng)
    more, less = rng.choice(ORDERS)
    deed = rng.choice(DEEDS).format(rng.choice(CITIES + PLACES))
    paraphrase = index % 2 == 1
    first = f"{josa(one, '은/는')} {other}보다 {more} {deed}."
    second = f"{josa(other, '은/는')} {one}보다 {less if paraphrase else more} {deed}."
    return str(index + 1), first, second, str(int(paraphrase))


ACTORS = "남자 여자 소년 소녀 할머니 할아버지 학생 아이 청년 아주머니".split()
SCENES = [
    ("기타를 치고 있다", "악기를 연주한다"), ("책을 읽고 있다", "글을 보고 있다"), ("공을 차고 있다", "운동을 한다"),
    ("그림을 그리고 있다", "미술을 한다"), ("노래를 부르고 있다", "소리를 낸다"), ("사과를 먹고 있다", "과일을 먹는다"),
    ("자전거를 타고 있다", "바퀴 달린 것을 탄다"), ("사진을 찍고 있다", "카메라를 쓴다"),
]  # fmt: skip
DENIALS = ["{} 아무것도 하지 않는다", "{} 침대에서 자고 있다", "{} 가만히 누워 쉬고 있다", "{} 그곳에 전혀 없다"]
GUESSES = ["{} 내일 대회에 나갈 것이다", "{} 외국에서 왔다", "{} 친구를 기다리고 있을 것이다", "{} 어제 생일이었다"]


def kornli(rng: random.Random, index: int) -> Row:
    actor, place = pick(rng, ACTORS, PLACES)
    doing, gist = rng.choice(SCENES)
    label = ("contradiction", "entailment", "neutral")[index % 3]
    hypotheses = {
        "contradiction": rng.choice(DENIALS).format(josa(actor, "은/는")),
        "entailment": rng.choice([f"누군가 {gist}", f"사람이 {gist}", f"{place}에 있는 사람이 {gist}"]),
        "neutral": rng.choice(GUESSES).format(josa(actor, "은/는")),
    }
    return f"한 {josa(actor, '이/가')} {place}에서 {doing}.", f"{hypotheses[label]}.", label


def korsts(rng: random.Random, index: int) -> Row:
    """The more of the sentence changes, the lower the score."""
    actor, place = pick(rng, ACTORS, PLACES)
    doing, gist = rng.choice(SCENES)
    first = f"{josa(actor, '이/가')} {place}에서 {doing}."
    score, second = [
        (5.0, first),
        (4.2, f"{place}에서 {josa(actor, '이/가')} 즐겁게 {doing}."),
        (3.2, f"{josa(actor, '이/가')} 어딘가에서 {gist}."),
        (1.6, f"{josa(actor, '은/는')} {josa(rng.choice(ANIMALS), '와/과')} 함께 있다."),
        (0.4, f"{josa(rng.choice(COMPANIES), '이/가')} 새 {rng.choice(PLANTS)} 제품을 발표했다."),
    ][index % 5]
    number = f"{max(0.0, min(5.0, score + rng.choice([-0.2, 0.0, 0.2]))):.3f}"
    return "sample", "made", "2026", f"{index:04d}", number, first, second


ASPECTS = [
    ("{} 만드는 법이 뭐야?", "{} 어떻게 만들어?"), ("{} 값이 얼마야?", "{} 사려면 돈이 얼마나 들어?"),
    ("{} 파는 곳이 어디야?", "{} 어디서 살 수 있어?"), ("{} 만드는 데 얼마나 걸려?", "{} 몇 분이면 돼?"),
]  # fmt: skip
OTHER_QUESTIONS = ["{} 누가 처음 만들었어?", "{} 왜 그렇게 인기가 많아?", "{} 싫어하는 사람도 있을까?", "{} 언제부터 먹었어?"]


def question_pair(rng: random.Random, index: int) -> Row:
    food = rng.choice(FOODS)
    first, same = rng.choice(ASPECTS)
    different = index % 2 == 1
    second = rng.choice(OTHER_QUESTIONS) if different else same
    return first.format(food), second.format(josa(food, "은/는")), str(int(different))


PRAISE = ["응원합니다", "노래 잘 들었어요", "오늘도 멋지네요", "다음 작품이 기대돼요", "건강하세요", "축하합니다"]
INSULTS = ["실력이 바닥이네", "얼굴 두껍다", "연기 발로 하냐", "수준 참 낮다", "관심 받고 싶어 안달이네", "눈치도 없다"]
GROUPS = "화성인 로봇 달나라사람 도깨비 외계인 인조인간".split()
HOSTILITY = ["다 쫓아내야 한다", "믿으면 안 되는 것들이다", "우리 곁에서 사라져라", "원래 전부 게으르다", "살 자격이 없다"]


def hate_speech(rng: random.Random, index: int) -> Row:
    """Offensive comments insult a person; hate targets a group, here groups that do not exist."""
    name, job = person(rng), rng.choice(JOBS)
    label = ("none", "offensive", "hate")[index % 3]
    comment = {
        "none": f"{name} 님 {rng.choice(PRAISE)}",
        "offensive": f"{name} {rng.choice(INSULTS)} {rng.choice(['진짜', '참', 'ㅋㅋ', ''])}".strip(),
        "hate": f"{rng.choice(GROUPS)}들은 {rng.choice(HOSTILITY)}",
    }[label]
    return f"{josa(job, '이/가')} 된 {name}, {rng.choice(CITIES)} 공연", comment, "others" if label == "hate" else "none", label


# -- tagging and reading tasks -------------------------------------------------------------------------------------------

FIELDS = "물리학 경제학 심리학 역사학 생물학 철학".split()
ARTIFACTS = "아리랑호 거북선 첨성대 훈민정음 다보탑 금관".split()
MATERIALS = "구리 유리 고무 대리석 알루미늄 비단".split()
TERMS = "인공지능 블록체인 중력파 백신 반도체 검색엔진".split()
ROLES = "감독 장관 시인 선수 교수 대표".split()


def naver_ner(rng: random.Random, index: int) -> Row:
    """The first word of an entity is tagged B, the others I; particles belong to their word."""

    def span(words: str, kind: str) -> list[tuple[str, str]]:
        return [(word, f"{kind}-{'I' if position else 'B'}") for position, word in enumerate(words.split())]

    def plain(words: str) -> list[tuple[str, str]]:
        return [(word, "O") for word in words.split()]

    name, city, company = person(rng), rng.choice(CITIES), rng.choice(COMPANIES)
    date = span(f"{rng.randrange(1950, 2026)}년 {rng.randrange(1, 13)}월에", "DAT")
    tokens = [
        [*span(josa(name, "은/는"), "PER"), *date, *span(f"{city}에서", "LOC"), *plain("태어났다 .")],
        [*span(name, "PER"), *span(josa(rng.choice(ROLES), "이/가"), "CVL"), *span(f"{company}에", "ORG"), *plain("들어갔다 .")],
        [*span(f"{city} {josa(rng.choice(FESTIVALS), '이/가')}", "EVT"), *date, *plain("열린다 .")],
        [*plain("회의는"), *span(f"오후 {rng.randrange(1, 12)}시에", "TIM"), *span(f"{company}에서", "ORG"), *plain("시작한다 .")],
        [*span(f"{rng.randrange(2, 90)}명이", "NUM"), *span(f"{city}에서", "LOC"), *span(josa(rng.choice(ANIMALS), "을/를"), "ANM"),
         *plain("보았다 .")],
        [*span(josa(name, "은/는"), "PER"), *span(josa(rng.choice(FIELDS), "을/를"), "FLD"), *plain("공부했다 .")],
        [*span(josa(rng.choice(ARTIFACTS), "은/는"), "AFW"), *span(f"{rng.choice(MATERIALS)}로", "MAT"), *plain("만들어졌다 .")],
        [*span(f"{city}에는", "LOC"), *span(josa(rng.choice(PLANTS), "이/가"), "PLT"), *plain("많이 핀다 .")],
        [*span(josa(company, "은/는"), "ORG"), *span(rng.choice(TERMS), "TRM"), *plain("기술을 발표했다 .")],
    ][index % 9]  # fmt: skip
    return " ".join(word for word, _ in tokens), " ".join(tag for _, tag in tokens)


def aside(rng: random.Random) -> str:
    """Return a sentence that no question is about."""
    return f"{rng.choice(PLACES)}에는 {josa(rng.choice(ANIMALS), '와/과')} {josa(rng.choice(PLANTS), '이/가')} 있다."


def article(rng: random.Random, index: int) -> dict[str, object]:
    """Return an article of one paragraph about a person, with a question on each of its facts."""
    name, city, job, company = person(rng), *pick(rng, CITIES, JOBS, COMPANIES)
    year = f"{rng.randrange(1900, 2000)}년"
    sentences = [
        (f"{josa(name, '은/는')} ", year, f" {city}에서 태어났다. ", "{} 태어난 해는 언제인가?"),
        ("어릴 때는 ", rng.choice(PLACES + CITIES), "에서 자주 놀았다. ", "{} 어릴 때 자주 논 곳은 어디인가?"),
        ("커서는 ", job, " 일을 했다. ", "{} 가진 직업은 무엇인가?"),
        ("나중에 ", company, "에 들어가 이름을 알렸다.", "{} 들어간 회사는 어디인가?"),
    ]
    if index == LONG_ARTICLE:
        before, *others = sentences[2]
        sentences[2] = (" ".join([*(aside(rng) for _ in range(80)), before]), others[0], others[1], others[2])
    context, questions = "", []
    for number, (before, answer, after, question) in enumerate(sentences):
        start = len(context) + len(before)
        context += before + answer + after
        answers = [{"text": answer, "answer_start": start}]
        questions.append({"answers": answers, "id": f"sample-{index}-{number}", "question": question.format(josa(name, "이/가"))})
    return {"paragraphs": [{"qas": questions, "context": context}], "title": name}


# -- files ---------------------------------------------------------------------------------------------------------------

Maker = Callable[[random.Random, int], Row]
TSV_FILES: dict[str, tuple[str, Maker, dict[str, int]]] = {
    "nsmc": ("id document label", nsmc, {"ratings_train.txt": 400, "ratings_test.txt": 200}),
    "paws": ("id sentence1 sentence2 label", paws, {"translated_train.tsv": 400, "dev_2k.tsv": 100, "test_2k.tsv": 100}),
    "kornli": ("sentence1 sentence2 gold_label", kornli, {"multinli.train.ko.tsv": 450, "xnli.dev.ko.tsv": 120, "xnli.test.ko.tsv": 120}),
    "korsts": ("genre filename year id score sentence1 sentence2", korsts, {"sts-train.tsv": 400, "sts-dev.tsv": 100, "sts-test.tsv": 100}),
    "question-pair": ("question1 question2 is_duplicate", question_pair, {"train.tsv": 400, "dev.tsv": 100, "test.tsv": 100}),
    "hate-speech": ("title comment bias hate", hate_speech, {"train.tsv": 450, "val.tsv": 120}),
    "naver-ner": ("", naver_ner, {"train.tsv": 540, "test.tsv": 180}),
}  # fmt: skip
KORQUAD_ARTICLES = {"KorQuAD_v1.0_train.json": 120, "KorQuAD_v1.0_dev.json": 30}
LONG_ARTICLE = 149  # the last of the dev file: longer than a window


def make(folder: Path) -> None:
    """Write every file below `folder`."""
    training_texts: list[str] = []  # for the vocabulary
    for task, (header, maker, sizes) in TSV_FILES.items():
        first = 0
        for name, size in sizes.items():
            rng = random.Random(f"{task}/{name}")
            rows = [maker(rng, index) for index in range(first, first + size)]
            rng.shuffle(rows)
            if task == "nsmc":  # like the corpus, the sample has a blank review
                rows[size // 2] = (rows[size // 2][0], "", rows[size // 2][2])
            head = ["\t".join(header.split())] if header else []
            write(folder / task / name, "".join(line + "\n" for line in [*head, *("\t".join(row) for row in rows)]))
            if first == 0:
                training_texts += [field for row in rows for field in row if not field.isascii()]
            first += size
    first = 0
    for name, size in KORQUAD_ARTICLES.items():
        rng = random.Random(name)
        data = [article(rng, index) for index in range(first, first + size)]
        text = json.dumps({"version": name.removesuffix(".json"), "data": data}, ensure_ascii=False, indent=1)
        write(folder / "korquad" / name, text + "\n")
        if first == 0:
            training_texts += re.findall(r'"(?:text|question|context)": "(.*)"', text)
        first += size
    make_tiny_model(folder / "tiny-electra", training_texts)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
