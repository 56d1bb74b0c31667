"""Counted costs are those that can be worked out by hand."""

import pytest
import torch

from metalearn import costs


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


def test_counts_repeat():
    x = torch.ones(8, 8, requires_grad=True)
    first, second = (costs.count(lambda: (x @ x).tanh().sum().backward()) for _ in range(2))
    assert first.operations == second.operations == 3 * 2 * 8**3


def test_times_are_ratios_of_medians_of_turns(monkeypatch):
    clock, order = [0.0], []

    def work(name, seconds):
        order.append(name)
        clock[0] += seconds.pop(0)

    monkeypatch.setattr(costs.time, "process_time", lambda: clock[0])
    short, long = [100.0, 1.0, 9.0, 2.0], [100.0, 6.0, 4.0, 50.0]  # the first turn is not counted
    functions = {"short": lambda: work("short", short), "long": lambda: work("long", long)}
    assert costs.relative_times(functions, n_turns=3) == {"short": 1.0, "long": 3.0}
    assert order == ["short", "long"] * 4  # in turns


@pytest.mark.parametrize(("functions", "n_turns"), [({}, 9), ({"one": int}, 0)])
def test_nothing_to_time_is_refused(functions, n_turns):
    with pytest.raises(ValueError, match="expected at least one function and one turn"):
        costs.relative_times(functions, n_turns)
