import shutil

import pytest

from tests.conftest import SAMPLE


@pytest.fixture
def folder(tmp_path):
    """A copy of the tiny model's folder, which the test may change. It has no weights."""
    return shutil.copytree(SAMPLE / "tiny-electra", tmp_path / "model")


@pytest.fixture
def classifier(settings):
    """classifier() returns a new classifier with random weights, classifier(folder) with the encoder in `folder`.

    Its options are changes of the settings.
    """

    from src.model.load import new_model  # imports torch, which takes seconds that other tests need not wait

    def make(folder=None, **changes):
        changes |= {} if folder is None else {"model_name_or_path": folder, "from_scratch": False}
        return new_model(settings(**changes), "classification", {"0": "negative", "1": "positive"})

    return make
