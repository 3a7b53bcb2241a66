import json
import random

import numpy as np
import torch

from src.random_state import random_state, set_random_state
from tests.src.helpers import CPU


def draw():
    return random.random(), random.gauss(), np.random.rand(), np.random.randn(), torch.rand(3).tolist()


def test_generators_repeat_their_numbers_from_a_state():
    random.gauss(), np.random.randn()  # each keeps a second number, which is part of the state
    state = random_state(CPU)
    expected = draw()
    assert draw() != expected
    as_json = json.loads(json.dumps({name: state[name] for name in ("python", "numpy")}))
    set_random_state(state | as_json, CPU)
    assert draw() == expected
