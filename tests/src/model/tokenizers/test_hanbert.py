"""With a small native library that splits words after two syllables and turns 했 into 하 and ~~았."""

import json
import shutil
import sys

import pytest

import predict
from processor.definition import TASKS
from processor.kinds import load_split
from src.common.errors import ModelError
from src.model.load import load_tokenizer
from src.model.tokenizers.hanbert import BUFFER_BYTES, TEXT_BYTES, align, load_hanbert_tokenizer, split_text
from src.pipeline import find_files, run_task
from tests.commands import run_script
from tests.families import build_analyser, make_family

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc to build a stand-in for HanBERT's native analyser")


@pytest.fixture
def folder(tmp_path):
    make_family("hanbert", tmp_path / "han")
    return tmp_path / "han"


@pytest.fixture
def tokenizer(folder):
    return load_hanbert_tokenizer(folder, trusted=True)


@needs_gcc
def test_splits_morphemes_into_pieces_with_offsets(tokenizer):
    text = "서울에서  말했다.\x01"
    row = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    # The analyser returns 서울 ~~에서 말 ~~하 ~~았 다 ~~. , and ~~에서 is not in the vocabulary.
    surfaces = [text[start:end] for start, end in row["offset_mapping"]]
    assert row.tokens()[0] == "서울"
    assert "".join(dict.fromkeys(surfaces)) == "서울에서말했다."
    assert [part for token, part in zip(row.tokens(), surfaces, strict=True) if token in ("하", "~~하", "~~았")] == ["했", "했"]
    assert row.word_ids()[:2] == [0, 1]


@needs_gcc
def test_decodes_pieces_to_text(tokenizer):
    from processor.squad_legacy import legacy_text

    text = "서울에서 말한다"
    row = tokenizer(text, add_special_tokens=False)
    assert tokenizer.decode(row["input_ids"]) == text
    assert legacy_text(tokenizer, do_lower_case=False)(text, 0, 4, [row["input_ids"][0]]) == "서울"


@needs_gcc
def test_tokenizes_pairs(tokenizer):
    row = tokenizer("서울", "부산")
    assert row["token_type_ids"] == [0] * row["token_type_ids"].index(1) + [1] * row["token_type_ids"].count(1)
    assert row["input_ids"][0] == tokenizer.cls_token_id


@needs_gcc
def test_tokenizes_split_words(tokenizer):
    words = tokenizer(["서울에서", "살았다"], is_split_into_words=True, add_special_tokens=False)
    assert set(words.word_ids()) == {0, 1}


@needs_gcc
def test_many_threads_compute_the_ids_of_one(tokenizer):
    texts = [f"{number}번 손님이 말했다" for number in range(3000)]
    assert tokenizer(texts)["input_ids"] == [tokenizer(text)["input_ids"] for text in texts]


@needs_gcc
@pytest.mark.long
def test_tokenizes_texts_longer_than_the_buffer(tokenizer):
    text = "서울에서 말했다 " * 20_000
    assert len(text.encode()) > BUFFER_BYTES
    one = tokenizer(text[:9], add_special_tokens=False)["input_ids"]
    row = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    assert row["input_ids"] == one * 20_000
    assert text[slice(*row["offset_mapping"][-1])] == "다"
    row = tokenizer("가" * 50_000, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    assert row["offset_mapping"][-1][1] == 50_000


def test_splits_long_texts_at_spaces_and_never_inside_a_character():
    text = "한국어 " * 5000 + "가" * 20_000
    parts = list(split_text(text))
    assert "".join(parts) == text
    assert max(len(part.encode()) for part in parts) <= TEXT_BYTES
    assert parts[0].endswith(" ")
    assert list(split_text("짧다")) == ["짧다"]


@pytest.mark.parametrize(
    ("text", "morphemes", "expected"),
    [
        ("나는 간다", ["나", "~~는", "간", "~~다"], ["나", "는", "간", "다"]),
        ("했다", ["하", "~~았", "~~다"], ["했", "했", "다"]),
        ("말했다 또", ["말", "~~하", "~~았", "~~다", "또"], ["말", "했", "했", "다", "또"]),
        ("가다", ["가", "~~다", "~~요"], ["가", "다", "다"]),  # one morpheme more than in the text
        ("ㅋㅋ 가", ["크", "가"], ["ㅋㅋ", "가"]),
        ("~~ 가", ["~~", "가"], ["~~", "가"]),
        ("", ["가"], [""]),
    ],
)
def test_aligns_morphemes_with_the_text(text, morphemes, expected):
    assert [text[start:end] for start, end in align(text, morphemes)] == expected


@needs_gcc
def test_a_checkpoint_contains_the_path_of_the_analyser(tokenizer, folder, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    tokenizer.save_pretrained(checkpoint)
    assert sorted(path.name for path in checkpoint.iterdir()) == ["tokenizer_config.json", "vocab_54k.txt"]
    loaded = load_hanbert_tokenizer(checkpoint, trusted=True)
    assert loaded("서울에서 말했다") == tokenizer("서울에서 말했다")
    assert loaded.identity() == tokenizer.identity()
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match=r"han/libmoran4dnlp\.so.*HanBert-54kN-torch\.zip"):
        load_hanbert_tokenizer(checkpoint, trusted=True)


@needs_gcc
def test_loads_native_code_only_if_trusted(folder, monkeypatch):
    import ctypes

    monkeypatch.setattr(ctypes, "PyDLL", lambda path: pytest.fail("the library was loaded"))
    with pytest.raises(ModelError, match=r"libmoran4dnlp\.so.*--trust_native_code"):
        load_hanbert_tokenizer(folder, trusted=False)


def test_names_missing_files(tmp_path):
    with pytest.raises(ModelError, match=r"vocab_54k\.txt and .*libmoran4dnlp\.so"):
        load_hanbert_tokenizer(tmp_path, trusted=True)


@needs_gcc
def test_rejects_other_operating_systems(folder, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ModelError, match=r"libmoran4dnlp\.so.*darwin"):
        load_hanbert_tokenizer(folder, trusted=True)


@needs_gcc
def test_rejects_a_vocabulary_without_special_tokens(folder):
    (folder / "vocab_54k.txt").write_text("가\n")
    with pytest.raises(ModelError, match=r"vocab_54k\.txt lacks \[UNK\]"):
        load_hanbert_tokenizer(folder, trusted=True)


@needs_gcc
@pytest.mark.parametrize("damage", ["other functions", "other machine", "not a library"])
def test_rejects_libraries_that_cannot_be_loaded(folder, damage):
    library = folder / "libmoran4dnlp.so"
    if damage == "other functions":
        library.unlink()
        build_analyser(folder, "int nothing(void) { return 0; }")
    else:
        content = bytearray(library.read_bytes())
        content[18] = 0x28  # in the ELF header: 32-bit ARM
        library.unlink()  # a new file: this process may have loaded the old one
        library.write_bytes(content if damage == "other machine" else b"no library")
    with pytest.raises(ModelError, match=rf"{library} cannot be loaded on this machine"):
        load_hanbert_tokenizer(folder, trusted=True)


@needs_gcc
def test_an_analyser_without_a_result_is_an_error(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer.splitter.analyser, "_analyse", lambda *arguments: None)
    with pytest.raises(ModelError, match="'좋다'"):
        tokenizer(["좋다", "좋다"])


@needs_gcc
def test_runs_and_predictions_require_the_flag(settings, folder, tmp_path, monkeypatch):
    """A prediction, too, although the checkpoint's settings contain the flag."""
    given = {"model_name_or_path": folder, "tokenizer": "hanbert", "max_steps": 2}
    with pytest.raises(ModelError, match="--trust_native_code"):
        load_tokenizer(settings(**given))
    chosen = settings(**given, trust_native_code=True)
    run_task(chosen, TASKS["nsmc"], find_files(chosen, TASKS["nsmc"]), load_split)
    checkpoint, inputs = chosen.run_folder / "checkpoint-2", tmp_path / "inputs"
    assert json.loads((checkpoint / "settings.json").read_text())["settings"]["trust_native_code"] is True
    inputs.write_text("좋다\n")
    arguments = ["predict.py", "--checkpoint", str(checkpoint), "--input", str(inputs)]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", [*arguments, "--output", str(tmp_path / "outputs")])
        with pytest.raises(ModelError, match="--trust_native_code"):
            predict.main()
    done = run_script(*arguments, "--trust_native_code")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] in TASKS["nsmc"].labels


@needs_gcc
@pytest.mark.long
def test_the_command_requires_the_flag(tiny, folder):
    arguments = ["--config_file", "hanbert.json", "--model_name_or_path", str(folder), "--from_scratch", "--tokenizer", "hanbert"]
    refused = tiny(*arguments, "--max_steps", "2")
    assert (refused.returncode, "--trust_native_code" in refused.stderr) == (2, True)
    done = tiny(*arguments, "--max_steps", "2", "--trust_native_code")
    assert done.returncode == 0, done.stderr
