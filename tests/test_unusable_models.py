"""Model folders that cannot be fine-tuned end a command line with one message and exit code 2, before anything is trained."""

import shutil

import pytest

from processor.definition import TASKS
from src.model.load import new_model
from tests.commands import run_script
from tests.conftest import SAMPLE
from tests.families import change, make_family, write, write_pointer

GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 3000, "pad_token_id": 0}


def without_tokenizer(folder):
    make_family("xlm-roberta", folder)
    for path in folder.glob("tokenizer*"):
        path.unlink()


def with_pointer(folder):
    shutil.copytree(SAMPLE / "tiny-electra", folder)
    write_pointer(folder / "vocab.txt")


def decoder(folder):
    shutil.copytree(SAMPLE / "tiny-electra", folder)
    write(folder, "config.json", GPT2)


def encoder_decoder(folder):
    shutil.copytree(SAMPLE / "tiny-electra", folder)
    write(folder, "config.json", {"model_type": "bart"})


def late_positions(folder):
    make_family("roberta", folder)
    change(folder, "config.json", pad_token_id=3, max_position_embeddings=130)


def pieces_twice(folder):
    shutil.copytree(SAMPLE / "tiny-electra", folder)
    text = (folder / "vocab.txt").read_text()
    write(folder, "vocab.txt", text + "\n".join(text.split()[20:22]) + "\n하나더\n")


CASES = [
    ("run_seq_cls.py", "nsmc", without_tokenizer, ["sentencepiece.bpe.model"]),
    ("run_ner.py", "naver-ner", with_pointer, ["vocab.txt", "git lfs pull"]),
    ("run_seq_cls.py", "korsts", decoder, ["gpt2", "BERT"]),
    ("run_ner.py", "naver-ner", decoder, ["gpt2", "BERT"]),
    ("run_squad.py", "korquad", encoder_decoder, ["bart", "BERT"]),
    ("run_seq_cls.py", "nsmc", late_positions, ["--max_seq_len 126 "]),
    ("run_seq_cls.py", "hate-speech", pieces_twice, ["3,002"]),
]


@pytest.mark.parametrize(("script", "task", "make", "expected"), CASES, ids=[f"{case[1]}-{case[2].__name__}" for case in CASES])
def test_a_model_that_cannot_be_used_ends_with_one_message(tmp_path, script, task, make, expected):
    make(tmp_path / "model")
    places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache"), "--data_dir", "data/sample"]
    model = ["--config_file", "auto.json", "--model_name_or_path", str(tmp_path / "model"), "--from_scratch", "true"]
    done = run_script(script, "--task", task, *model, *places, "--max_seq_len", "128", "--doc_stride", "32")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert all(part in done.stderr for part in expected)
    assert not (tmp_path / "ckpt").exists()


def test_predict_needs_the_tokenizer_of_a_checkpoint(settings, tmp_path):
    folder = tmp_path / "checkpoint-1"
    new_model(settings(), "classification", {"0": "0", "1": "1"}).save_pretrained(folder)
    definition = TASKS["nsmc"].model_dump(mode="json", exclude_defaults=True)
    write(folder, "settings.json", {"settings": settings().model_dump(), "definition": definition})
    done = run_script("predict.py", "--checkpoint", str(folder), stdin="좋다\n")
    assert done.returncode == 2
    assert f"{folder} has no vocab.txt" in done.stderr
    assert done.stdout == ""
