import gc
import stat

import numpy as np
import pytest

from processor.definition import TASKS
from processor.features import cached_features, fingerprint, one_ahead
from src.data.task import DataFile, Features
from tests.conftest import SAMPLE

ROWS = {
    "input_ids": np.array([2, 3, 2, 9, 3], np.int32),
    "offsets": np.array([0, 2, 5]),
    "cut": np.array([0, 1], np.int32),
    "decomposed": np.array([0, 0], np.uint8),
}


def test_reads_features_from_the_cache_the_second_time(tmp_path):
    first = cached_features(tmp_path / "cache", "rows", lambda: Features(ROWS, {"skipped": 3}))
    second = cached_features(tmp_path / "cache", "rows", pytest.fail)
    assert len(first) == len(second) == 2
    assert second.lengths.tolist() == [2, 3]
    assert second.counts == {"skipped": 3}
    assert {name: (array.dtype, array.tolist()) for name, array in second.tensors.items()} == {
        name: (array.dtype, array.tolist()) for name, array in ROWS.items()
    }
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["rows.safetensors"]


@pytest.mark.parametrize("size", [0, 7, 100])
def test_rebuilds_a_damaged_cache(tmp_path, size, caplog):
    cached_features(tmp_path, "rows", lambda: Features(ROWS, {"skipped": 3}))
    path = tmp_path / "rows.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    assert len(cached_features(tmp_path, "rows", lambda: Features(ROWS, {"skipped": 3}))) == 2
    assert "cannot be read" in caplog.text
    assert len(cached_features(tmp_path, "rows", pytest.fail)) == 2


@pytest.mark.parametrize("name", ["cut", "decomposed"])
@pytest.mark.parametrize("change", [lambda rows, name: rows.pop(name), lambda rows, name: rows.update({name: rows[name][1:]})])
def test_rebuilds_a_cache_whose_tensors_do_not_fit(tmp_path, name, change, caplog):
    changed = dict(ROWS)
    change(changed, name)
    cached_features(tmp_path, "rows", lambda: Features(changed))
    assert cached_features(tmp_path, "rows", lambda: Features(ROWS)).tensors.keys() == ROWS.keys()
    assert "cannot be read" in caplog.text


def test_warns_once_if_the_cache_cannot_be_written(tmp_path, caplog):
    folder = tmp_path / "a-file"
    folder.write_text("not a folder")
    for _ in ("train", "test"):
        assert len(cached_features(folder, "rows", lambda: Features(ROWS))) == 2
    assert caplog.text.count("not cached") == 1
    assert not stat.S_ISDIR(folder.stat().st_mode)


def test_fingerprint_covers_what_features_depend_on(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / "tiny-electra")
    lowered = AutoTokenizer.from_pretrained(SAMPLE / "tiny-electra", do_lower_case=True)
    file, other = DataFile(tmp_path / "a", "1" * 64, "other"), DataFile(tmp_path / "a", "2" * 64, "other")
    nsmc, lengths = TASKS["nsmc"], {"max_seq_len": 128}
    retitled = nsmc.model_copy(update={"title": "Movies", "licence": "none", "headline": "f1", "metric": "macro_f1"})
    base = fingerprint(file, nsmc, tokenizer, lengths)
    tokenizer("문장", truncation=True, max_length=2)  # leaves state in the tokenizer that does not change features
    assert fingerprint(DataFile(tmp_path / "b", "1" * 64, "published"), nsmc, tokenizer, lengths) == base
    assert fingerprint(file, retitled, tokenizer, lengths) == base
    others = {
        fingerprint(other, nsmc, tokenizer, lengths),
        fingerprint(file, TASKS["hate-speech"], tokenizer, lengths),
        fingerprint(file, nsmc, lowered, lengths),
        fingerprint(file, nsmc, tokenizer, {"max_seq_len": 64}),
        fingerprint(
            file, nsmc.model_copy(update={"labels": {"1": "positive", "0": "negative"}}), tokenizer, lengths
        ),  # other ids
        fingerprint(file, nsmc.model_copy(update={"skip_empty_text": True}), tokenizer, lengths),
        fingerprint(file, nsmc.model_copy(update={"label_separator": "|"}), tokenizer, lengths),
    }
    assert len(others | {base}) == 8


def test_selects_a_subset_of_rows():
    features = Features(
        {"input_ids": np.array([1, 2, 2, 3, 3, 3]), "offsets": np.array([0, 1, 3, 6]), "labels": np.array([7, 8, 9])}
    )
    part = features.subset(np.array([2, 0]))
    assert {name: values.tolist() for name, values in part.tensors.items()} == {
        "input_ids": [3, 3, 3, 1],
        "offsets": [0, 3, 4],
        "labels": [9, 7],
    }


def test_one_ahead_keeps_the_order_and_works_ahead():
    seen = []

    def items():
        for item in range(5):
            seen.append(item)
            yield item

    results = one_ahead(lambda item: item * item, items())
    assert next(results) == 0
    assert seen == [0, 1]  # the next one is in work, and no further
    assert list(results) == [1, 4, 9, 16]
    assert list(one_ahead(str, [])) == []


def test_one_ahead_raises_what_the_function_raises():
    results = one_ahead(lambda item: 1 // item, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_not_collected_while_features_are_built(tmp_path, enabled):
    seen = []

    def fail():
        seen.append(gc.isenabled())
        raise ValueError

    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ValueError):
            cached_features(tmp_path, "x", fail)
        assert (seen, gc.isenabled()) == ([False], enabled)
    finally:
        (gc.enable if was_enabled else gc.disable)()
