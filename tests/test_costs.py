"""Counted costs are those that can be worked out by hand."""

import sys
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn import Episode, costs
from metalearn.learners import MAML
from metalearn.networks import Conv4


def test_products_are_counted_and_only_what_is_alive_weighs():
    a, b, c = torch.ones(4, 5), torch.ones(5, 6), torch.ones(6, 7)
    found = costs.count(lambda: a @ b @ c)
    assert found.operations == 2 * 4 * 5 * 6 + 2 * 4 * 6 * 7
    assert found.peak_bytes == 4 * (4 * 6 + 4 * 7)  # the first product lives until the second is there

    def chain():  # of results that are forgotten at once
        x = torch.ones(100)
        for _ in range(10):
            x = x + 1
        return x

    assert costs.count(chain).peak_bytes == 2 * 400


def test_what_autograd_keeps_is_counted():
    start = torch.ones(100, requires_grad=True)

    def steps(n):
        x = start
        for _ in range(n):
            x = x.exp()  # keeps its result for the backward pass
        return x

    peaks = [costs.count(lambda n=n: steps(n)).peak_bytes for n in (1, 5, 10)]
    assert peaks == [400, 2000, 4000]
    with torch.no_grad():
        assert costs.count(lambda: steps(10)).peak_bytes == 800


def test_vectors_and_attention_are_counted_and_what_is_hidden_is_refused():
    matrix, vector = torch.ones(3, 4), torch.ones(4)
    assert costs.count(lambda: matrix @ vector).operations == 2 * 3 * 4
    assert costs.count(lambda: vector @ vector).operations == 2 * 4
    q, k, v = (torch.ones(2, 5, 8, 16, requires_grad=True) for _ in range(3))  # tasks, heads, positions, size
    forward = 2 * 2 * (2 * 5 * 8 * 8 * 16)  # q k' and its product with v
    assert costs.count(lambda: F.scaled_dot_product_attention(q, k, v)).operations == forward
    both = costs.count(lambda: F.scaled_dot_product_attention(q, k, v).sum().backward()).operations
    assert both == forward + 5 * forward / 2  # q k' again, and two products for each of the two
    cell = nn.LSTM(4, 8)
    with pytest.raises(ValueError, match="fused recurrent layer"), torch.no_grad():
        costs.count(lambda: cell(torch.ones(5, 2, 4)))


def test_counts_repeat():
    x = torch.ones(8, 8, requires_grad=True)
    first, second = (costs.count(lambda: (x @ x).tanh().sum().backward()) for _ in range(2))
    assert first.operations == second.operations == 3 * 2 * 8**3


def test_times_are_ratios_of_medians_of_turns(monkeypatch):
    clock, order = [0.0], []

    def work(name, seconds):
        order.append(name)
        clock[0] += seconds.pop(0)

    monkeypatch.setattr(time, "process_time", lambda: clock[0])
    short, long = [100.0, 1.0, 9.0, 2.0], [100.0, 6.0, 4.0, 50.0]  # the first turn is not counted
    functions = {"short": lambda: work("short", short), "long": lambda: work("long", long)}
    assert costs.relative_times(functions, n_turns=3) == {"short": 1.0, "long": 3.0}
    assert order == ["short", "long"] * 4  # in turns


@pytest.mark.parametrize(("functions", "n_turns"), [({}, 9), ({"one": int}, 0)])
def test_nothing_to_time_is_refused(functions, n_turns):
    with pytest.raises(ValueError, match="expected at least one function and one turn"):
        costs.relative_times(functions, n_turns)


def linear(n_in, n_out, **options):
    return MAML(nn.Linear(n_in, n_out, bias=False), inner_lr=0.1, loss_fn=F.mse_loss, **options)


def task_of(n, n_in, n_out):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2 * n, n_in, generator=generator), torch.randn(2 * n, n_out, generator=generator)
    return Episode(x[:n], y[:n], x[n:], y[n:], None)


def test_a_step_on_one_linear_layer_is_counted_by_hand():
    # forward x W' and the gradient g' x: each 2 n n_in n_out operations; the input needs no gradient
    assert costs.adaptation(linear(7, 3), task_of(5, 7, 3), 1).operations == 2 * 2 * 5 * 7 * 3
    assert costs.adaptation(linear(7, 3), task_of(5, 7, 3), 4).operations == 4 * 2 * 2 * 5 * 7 * 3
    assert costs.adaptation(linear(7, 3), task_of(5, 7, 3), 0).operations == 0


def test_a_convolution_is_counted_by_hand():
    layer, x = nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False), torch.randn(4, 2, 8, 8)
    per_pass = 2 * 4 * 3 * 4 * 4 * 2 * 3 * 3  # images, outputs, positions, inputs, kernel
    assert costs.count(lambda: layer(x)).operations == per_pass
    backward = costs.count(lambda: layer(x).sum().backward()).operations - per_pass
    assert backward == per_pass  # the weight's gradient alone: inputs need none


def test_a_grouped_convolution_is_counted_by_hand():
    layer, x = nn.Conv2d(6, 4, 3, groups=2, bias=False), torch.randn(5, 6, 8, 8, requires_grad=True)
    per_pass = 2 * 5 * 4 * 6 * 6 * 3 * 3 * 3  # images, outputs, positions, inputs of a group, kernel
    assert costs.count(lambda: layer(x).sum().backward()).operations == 3 * per_pass
    layer, x = nn.ConvTranspose2d(6, 4, 3, groups=2, bias=False), torch.randn(5, 6, 8, 8, requires_grad=True)
    per_pass = 2 * 5 * 6 * 8 * 8 * 2 * 3 * 3  # images, inputs, positions, outputs of a group, kernel
    assert costs.count(lambda: layer(x).sum().backward()).operations == 3 * per_pass


def test_a_second_order_step_of_a_network_is_counted_by_hand():
    n, k, h = 5, 6, 1  # examples; hidden units; inputs and outputs
    learner = MAML(nn.Sequential(nn.Linear(h, k, bias=False), nn.Tanh(), nn.Linear(k, h, bias=False)), 0.1,
                   loss_fn=F.mse_loss)  # fmt: skip
    first = 2 * n * h * k  # one product of a layer, forward or backward: both layers are as large
    inner = 2 * first + 3 * first  # forward; gradients of both weights and of the hidden units
    query = 2 * first + 3 * first
    # back through the step: the second weight's gradient g'a has two factors to go to, the first one's one (not the
    # input), the hidden gradient g W two; then the forward pass, two for the second layer and one for the first
    again = (2 + 1 + 2 + 3) * first
    assert costs.meta_step(learner, task_of(n, h, h).map(lambda leaf: leaf[None])) == inner + query + again
    learner.first_order = True
    assert costs.meta_step(learner, task_of(n, h, h).map(lambda leaf: leaf[None])) == inner + query


def test_operations_of_a_batch_are_those_of_its_tasks_whatever_vmap_does():
    torch.manual_seed(0)
    learner = MAML(Conv4(5, channels=4, downsample="stride", norm="none"), 0.1)
    batch = Episode(torch.randn(3, 5, 1, 28, 28), torch.arange(5).expand(3, 5),
                    torch.randn(3, 5, 1, 28, 28), torch.arange(5).expand(3, 5), 5)  # fmt: skip
    learner.how = "vmap"
    assert costs.meta_step(learner, batch) == 3 * costs.meta_step(learner, batch[:1])
    assert all(parameter.grad is None for parameter in learner.parameters()) and learner.how == "vmap"


def test_ratios_have_quartiles_of_turns(monkeypatch):
    clock = [0.0]

    def work(seconds):
        clock[0] += seconds.pop(0)

    monkeypatch.setattr(time, "process_time", lambda: clock[0])
    monkeypatch.setattr(time, "perf_counter", lambda: 2 * clock[0])
    one, other = [9.0, 1.0, 1.0, 1.0, 1.0, 1.0], [9.0, 2.0, 3.0, 4.0, 5.0, 60.0]
    found = costs.compare_times({"one": lambda: work(one), "other": lambda: work(other)}, n_turns=5)["other"]
    assert (found.seconds, found.cpu_seconds) == (8.0, 4.0)
    assert vars(found.ratio) == vars(found.cpu_ratio) == {"middle": 4.0, "low": 3.0, "high": 5.0}


def counter(folder, name, now, end=1000):
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in (("name", name), ("energy_uj", now), ("max_energy_range_uj", end)):
        (folder / file).write_text(f"{text}\n")


def test_rapl_is_read_and_starts_again_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    counter(tmp_path / "intel-rapl:0", "package-0", 900)
    counter(tmp_path / "intel-rapl:0:0", "core", 5)  # inside the package: not added
    counter(tmp_path / "intel-rapl:0:1", "dram", 10)
    with costs.EnergyMeter((2.0, 6.0), powercap=tmp_path) as meter:
        counter(tmp_path / "intel-rapl:0", "package-0", 100)  # 1000 - 900 + 100
        counter(tmp_path / "intel-rapl:0:0", "core", 500)
        counter(tmp_path / "intel-rapl:0:1", "dram", 60)
    assert meter.energy.source == "RAPL"
    assert meter.energy.joules == meter.energy.low == meter.energy.high == pytest.approx((200 + 50) / 1e6)


def test_without_a_counter_the_energy_is_an_estimate_or_unknown(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    clock = iter([1.0, 4.0, 1.0, 4.0])
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    with costs.EnergyMeter((2.0, 6.0), powercap=tmp_path) as meter:
        pass
    found = meter.energy
    assert (found.joules, found.low, found.high, found.source) == (12.0, 6.0, 18.0, "estimate")
    assert str(found) == "12 J (estimate: 6 to 18 J)"
    with costs.EnergyMeter(powercap=tmp_path) as meter:
        pass
    assert (meter.energy.joules, meter.energy.source) == (None, "none")


def test_a_counter_that_may_not_be_read_is_none(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    counter(tmp_path / "intel-rapl:0", "package-0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    (tmp_path / "intel-rapl:0" / "energy_uj").mkdir()  # reading it is an OSError, for the administrator too
    with costs.EnergyMeter(powercap=tmp_path) as meter:
        pass
    assert meter.energy.source == "none"


def test_nvml_is_read_where_it_is_there(tmp_path, monkeypatch):
    readings = {0: iter([1000, 3000]), 1: iter([500, 700])}  # millijoules
    fake = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetTotalEnergyConsumption=lambda i: next(readings[i]),
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    with costs.EnergyMeter((1.0, 2.0), powercap=tmp_path) as meter:
        pass
    assert (meter.energy.joules, meter.energy.source) == (pytest.approx(2.2), "NVML")

    def refuse():
        raise RuntimeError

    fake.nvmlInit = refuse
    with costs.EnergyMeter(powercap=tmp_path) as meter:
        pass
    assert meter.energy.source == "none"


def test_co2_is_kilowatt_hours_times_the_grid():
    assert costs.grams_of_co2(3.6e6, 400.0) == 400.0
    with pytest.raises(ValueError, match="at least 0"):
        costs.grams_of_co2(1.0, -1.0)
    with pytest.raises(ValueError, match="watts_per_core"):
        costs.EnergyMeter((3.0, 2.0))


def test_break_even_is_where_the_two_sums_meet():
    saved = torch.tensor([3.0, 5.0, 4.0, 4.0])
    found, half = costs.break_even([900.0, 1100.0], saved), 1.96 * saved.double().std().item() / 2
    assert (found.n_tasks, found.low, found.high) == pytest.approx((250.0, 900 / (4 + half), 1100 / (4 - half)))
    n, ours, theirs = costs.break_even(100.0, 7.0 - 2.0).n_tasks, 2.0, 7.0
    assert 100.0 + n * ours == pytest.approx(n * theirs)


def test_it_may_never_pay_or_be_open():
    inf = float("inf")
    never, unclear = costs.break_even(10.0, -1.0), costs.break_even(10.0, torch.tensor([-9.0, 11.0, -8.0, 10.0]))
    assert (never.n_tasks, never.low, never.high) == (inf, inf, inf)
    assert unclear.n_tasks == 10.0 and unclear.low < 10.0 and unclear.high == inf
    with pytest.raises(ValueError, match="at least one training"):
        costs.break_even([], 1.0)
    with pytest.raises(ValueError, match="at least one training"):
        costs.break_even(float("nan"), 1.0)


@pytest.mark.parametrize("saved", [torch.tensor([]), torch.tensor([1.0, float("nan")]), float("nan")])
def test_a_missing_saving_is_no_never(saved):
    with pytest.raises(ValueError, match="expected a saving"):
        costs.break_even(10.0, saved)
