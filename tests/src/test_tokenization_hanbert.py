"""With a small library of the published functions: it cuts words behind two syllables, and turns 했 into 하 and ~~았."""

import json
import shutil
import subprocess
import sys

import pytest

from src.errors import ModelError
from src.tokenization_hanbert import BUFFER_BYTES, TEXT_BYTES, align, load_hanbert_tokenizer, parts_of
from tests.families import build_analyser, make_family

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc, to build a stand-in for HanBERT's native analyser")


@pytest.fixture
def folder(tmp_path):
    make_family("hanbert", tmp_path / "han")
    return tmp_path / "han"


@pytest.fixture
def tokenizer(folder):
    return load_hanbert_tokenizer(folder, trusted=True)


@needs_gcc
def test_morphemes_become_pieces_with_offsets(tokenizer):
    text = "서울에서  말했다.\x01"
    row = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    # The analyser says: 서울 ~~에서 말 ~~하 ~~았 다 ~~. , of which ~~에서 is no piece as a whole
    places = [text[start:end] for start, end in row["offset_mapping"]]
    assert row.tokens()[0] == "서울"
    assert "".join(dict.fromkeys(places)) == "서울에서말했다."
    assert [place for token, place in zip(row.tokens(), places, strict=True) if token in ("하", "~~하", "~~았")] == ["했", "했"]
    assert row.word_ids()[:2] == [0, 1]


@needs_gcc
def test_pieces_are_joined_to_text(tokenizer):
    from processor.squad_answers import legacy_text

    text = "서울에서 말한다"
    row = tokenizer(text, add_special_tokens=False)
    assert tokenizer.decode(row["input_ids"]) == text
    assert legacy_text(tokenizer, do_lower_case=False)(text, 0, 4, [row["input_ids"][0]]) == "서울"


@needs_gcc
def test_pairs_words_and_many_threads(tokenizer):
    row = tokenizer("서울", "부산")
    assert row["token_type_ids"] == [0] * row["token_type_ids"].index(1) + [1] * row["token_type_ids"].count(1)
    assert row["input_ids"][0] == tokenizer.cls_token_id
    words = tokenizer(["서울에서", "살았다"], is_split_into_words=True, add_special_tokens=False)
    assert set(words.word_ids()) == {0, 1}
    texts = [f"{number}번 손님이 말했다" for number in range(3000)]
    together = tokenizer(texts)["input_ids"]
    assert together == [tokenizer(text)["input_ids"] for text in texts]


@needs_gcc
@pytest.mark.long
def test_a_text_longer_than_the_buffers(tokenizer):
    text = "서울에서 말했다 " * 20_000
    assert len(text.encode()) > BUFFER_BYTES
    one = tokenizer(text[:9], add_special_tokens=False)["input_ids"]
    row = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    assert row["input_ids"] == one * 20_000
    assert text[slice(*row["offset_mapping"][-1])] == "다"
    unbroken = "가" * 50_000
    assert (
        tokenizer(unbroken, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"][-1][1]
        == 50_000
    )


def test_parts_are_cut_at_spaces_and_never_inside_a_character():
    text = "한국어 " * 5000 + "가" * 20_000
    parts = list(parts_of(text))
    assert "".join(parts) == text
    assert max(len(part.encode()) for part in parts) <= TEXT_BYTES
    assert parts[0].endswith(" ")
    assert list(parts_of("짧다")) == ["짧다"]


@pytest.mark.parametrize(
    ("text", "morphemes", "expected"),
    [
        ("나는 간다", ["나", "~~는", "간", "~~다"], ["나", "는", "간", "다"]),
        ("했다", ["하", "~~았", "~~다"], ["했", "했", "다"]),
        ("말했다 또", ["말", "~~하", "~~았", "~~다", "또"], ["말", "했", "했", "다", "또"]),
        ("가다", ["가", "~~다", "~~요"], ["가", "다", "다"]),  # one more than the text has
        ("ㅋㅋ 가", ["크", "가"], ["ㅋㅋ", "가"]),
        ("~~ 가", ["~~", "가"], ["~~", "가"]),
        ("", ["가"], [""]),
    ],
)
def test_where_morphemes_stand(text, morphemes, expected):
    assert [text[start:end] for start, end in align(text, morphemes)] == expected


@needs_gcc
def test_a_checkpoint_says_where_the_analyser_lies(tokenizer, folder, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    tokenizer.save_pretrained(checkpoint)
    assert sorted(path.name for path in checkpoint.iterdir()) == ["tokenizer_config.json", "vocab_54k.txt"]
    again = load_hanbert_tokenizer(checkpoint, trusted=True)
    assert again("서울에서 말했다") == tokenizer("서울에서 말했다")
    assert again.identity() == tokenizer.identity()
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match=r"needs .*han/libmoran4dnlp\.so\. Unpack HanBert"):
        load_hanbert_tokenizer(checkpoint, trusted=True)


@needs_gcc
def test_native_code_is_loaded_only_where_the_user_trusts_it(folder, monkeypatch):
    import ctypes

    monkeypatch.setattr(ctypes, "PyDLL", lambda path: pytest.fail("it was loaded"))
    with pytest.raises(ModelError, match=r"runs native code, .*which can do whatever you can.*--trust_native_code"):
        load_hanbert_tokenizer(folder, trusted=False)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ModelError, match=r"vocab_54k\.txt and .*libmoran4dnlp\.so\. Unpack"):
        load_hanbert_tokenizer(tmp_path, trusted=True)


@needs_gcc
def test_another_system_and_libraries_that_are_none(folder, monkeypatch):
    library = folder / "libmoran4dnlp.so"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        with pytest.raises(ModelError, match="is a library for Linux; HanBERT cannot be used on darwin"):
            load_hanbert_tokenizer(folder, trusted=True)
    (folder / "vocab_54k.txt").write_text("가\n")
    with pytest.raises(ModelError, match=r"vocab_54k\.txt lacks \[UNK\]"):
        load_hanbert_tokenizer(folder, trusted=True)
    make_family("hanbert", folder.parent / "other")
    shutil.copy(folder.parent / "other" / "vocab_54k.txt", folder)
    library.unlink()
    build_analyser(folder, "int nothing(void) { return 0; }")
    with pytest.raises(ModelError, match=r"cannot be loaded on this machine: .*undefined symbol: Moran4dnlp"):
        load_hanbert_tokenizer(folder, trusted=True)
    elf = bytearray((folder.parent / "other" / "libmoran4dnlp.so").read_bytes())
    elf[18] = 0x28  # the machine of the header: 32-bit ARM
    for name, content in (("arm", elf), ("text", b"no library")):
        bad = folder.parent / name
        bad.mkdir()
        shutil.copy(folder / "vocab_54k.txt", bad)
        (bad / library.name).write_bytes(content)
        with pytest.raises(ModelError, match="cannot be loaded on this machine"):
            load_hanbert_tokenizer(bad, trusted=True)


@needs_gcc
def test_an_analyser_that_gives_no_answer(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer.morphemes.analyser, "_analyse", lambda *arguments: None)
    with pytest.raises(ModelError, match="HanBERT's analyser gave no answer to '좋다'"):
        tokenizer(["좋다", "좋다"])


@needs_gcc
def test_the_commands(command, folder, tmp_path):
    """A run needs the flag; so does predict.py, whatever the checkpoint says; a file cannot give it."""
    model = ["--model_name_or_path", str(folder), "--from_scratch", "--output_dir", "han", "--max_steps", "2"]
    places = ["--data_dir", "data/sample", "--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache")]
    arguments = ["--task", "nsmc", "--config_file", "hanbert.json", *model, *places]
    assert (refused := command("run_seq_cls.py", *arguments, "--tokenizer", "hanbert")).returncode == 2
    assert "--trust_native_code" in refused.stderr
    done = command("run_seq_cls.py", *arguments, "--tokenizer", "hanbert", "--trust_native_code")
    assert done.returncode == 0, done.stderr
    for flags, code in (((), 2), (("--trust_native_code",), 0)):
        predict = [sys.executable, "predict.py", "--checkpoint", str(tmp_path / "ckpt" / "han" / "checkpoint-2"), *flags]
        found = subprocess.run(predict, input="좋다\n", capture_output=True, text=True)
        assert found.returncode == code, found.stderr
    assert json.loads(found.stdout)["label"] in ("0", "1")
    (tmp_path / "mine.json").write_text(
        json.dumps({"model_name_or_path": str(folder), "tokenizer": "hanbert", "trust_native_code": True})
    )
    in_a_file = command("run_seq_cls.py", "--task", "nsmc", "--config_file", str(tmp_path / "mine.json"), *places)
    assert in_a_file.returncode == 2
    assert "trust_native_code = true: this counts on the command line only" in in_a_file.stderr
