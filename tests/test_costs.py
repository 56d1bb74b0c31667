"""Counted costs are those that can be worked out by hand."""

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
