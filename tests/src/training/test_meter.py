import math
from types import SimpleNamespace

import pytest
import torch

from src.common.errors import NumbersError
from src.training import meter as meter_module
from src.training.meter import MAX_NONFINITE_IN_A_ROW_FP16, Meter, Update
from tests.src.helpers import CPU


@pytest.fixture
def clock(monkeypatch):
    """clock[0] is the time that meters see, in seconds; the process uses 100 bytes of memory."""
    now = [1000.0]
    monkeypatch.setattr(meter_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(meter_module, "peak_memory", lambda device: 100)
    return now


def finite(loss=1.0, grad_norm=1.0):
    return Update(torch.tensor(loss), torch.tensor(grad_norm), torch.tensor(True))


def nonfinite(loss=math.nan, grad_norm=math.nan):
    return Update(torch.tensor(loss), torch.tensor(grad_norm), torch.tensor(False))


def test_an_overflowing_gradient_counts_as_nonfinite():
    meter = Meter(CPU, 0)
    meter.add(1, finite(), 4, 40)
    meter.check()
    meter.add(2, nonfinite(1.0, math.inf), 4, 40)
    meter.add(3, nonfinite(1.0, math.inf), 4, 40)
    with pytest.raises(NumbersError, match="step 2:"):
        meter.check()


def test_measures_training_time_only(clock):
    meter = Meter(CPU, 0)
    clock[0] += 2
    meter.add(1, finite(2.0, 1.0), rows=4, tokens=40)
    meter.add(2, finite(4.0, 0.5), rows=4, tokens=60)
    meter.stop_clock()
    clock[0] += 10  # an evaluation
    meter.stop_clock()  # stopping it twice changes nothing
    assert meter.cost()["training_seconds"] == 2
    meter.start_clock()
    clock[0] += 3
    expected = {"loss": 3.0, "grad_norm": 0.5, "examples_per_s": 1.6, "tokens_per_s": 20.0, "skipped": 0, "seconds": 5.0}
    assert meter.read() == meter.read() == expected
    assert (meter.cost()["training_seconds"], meter.cost()["tokens_per_s"]) == (5, 20)


def test_a_new_window_starts_at_zero_and_totals_continue(clock):
    meter = Meter(CPU, 9)
    clock[0] += 2
    meter.add(1, nonfinite(), 4, 40)
    meter.clear()
    clock[0] += 4
    meter.add(2, finite(2.0, 1.0), 4, 40)
    expected = {"loss": 2.0, "grad_norm": 1.0, "examples_per_s": 1.0, "tokens_per_s": 10.0, "skipped": 0, "seconds": 6.0}
    assert meter.read() == expected
    assert meter.cost()["skipped_updates"] == 1


def test_a_window_without_finite_updates_has_no_loss():
    meter = Meter(CPU, 9)
    meter.add(1, finite(2.0, 1.0), 4, 40)
    meter.add(2, nonfinite(), 4, 40)
    assert (meter.read()["loss"], meter.read()["grad_norm"], meter.read()["skipped"]) == (2.0, 1.0, 1)
    meter.clear()
    meter.add(3, nonfinite(), 4, 40)
    assert (meter.read()["loss"], meter.read()["grad_norm"]) == (None, None)


def test_gradients_that_never_fit_into_fp16_stop_the_run():
    """The scaler skips such updates by itself; it must not do so forever."""
    meter = Meter(CPU, MAX_NONFINITE_IN_A_ROW_FP16)
    for number in range(1, 32):
        meter.check()
        meter.add(number, nonfinite(1.0, math.inf), 4, 40)
    with pytest.raises(NumbersError, match=r"step 31:.* 30 updates before it"):
        meter.check()


def used_meter(clock):
    """A meter in the middle of its second window, its clock running."""
    meter = Meter(CPU, 1)
    for step in range(1, 4):
        clock[0] += 1
        meter.add(step, nonfinite() if step > 1 else finite(step), 4, 40)
    meter.clear()
    clock[0] += 1
    meter.add(4, finite(5.0, 0.5), 3, 30)
    clock[0] += 1
    return meter


def test_state_dict_changes_nothing_that_can_be_seen(clock):
    meter = used_meter(clock)
    before = dict(vars(meter))
    meter.state_dict()
    assert vars(meter) == before


def test_a_state_dict_is_a_snapshot(clock):
    meter = used_meter(clock)
    state = meter.state_dict()
    before = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in state.items()}
    meter.add(5, nonfinite(), 4, 40)
    assert state == before


def test_a_loaded_meter_measures_on_like_an_undisturbed_one(clock):
    meter = used_meter(clock)
    loaded = Meter(CPU, 1)
    loaded.load_state_dict(meter.state_dict())
    for one in (meter, loaded):
        one.add(5, nonfinite(), 4, 40)
    clock[0] += 1
    assert loaded.state_dict() == meter.state_dict()
    with pytest.raises(NumbersError, match="step 3:"):
        loaded.check()


def test_a_new_attribute_is_part_of_the_state():
    class CountingMeter(Meter):
        def __init__(self):
            super().__init__(CPU, 1)
            self.longest_row, self.largest_loss = 0, torch.tensor(0.0)

    meter = CountingMeter()
    meter.longest_row, meter.largest_loss = 128, torch.tensor(3.5)
    loaded = CountingMeter()
    loaded.load_state_dict(meter.state_dict())
    assert (loaded.longest_row, loaded.largest_loss.item()) == (128, 3.5)


def test_rejects_a_state_that_lacks_a_name():
    state = Meter(CPU, 1).state_dict()
    del state["total_tokens"]
    with pytest.raises(KeyError, match="total_tokens"):
        Meter(CPU, 1).load_state_dict(state)
