"""Normalisation does what its policy says, and nothing else."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from metalearn.networks import (
    MLP,
    BatchStatistics,
    Conv4,
    convert_norms,
    make_norm,
    measured_on_support,
    norm_policies,
    set_statistics,
)

X = torch.randn(12, 3, 5, 5, generator=torch.Generator().manual_seed(0))


def test_batch_equals_torch():
    torch.testing.assert_close(BatchStatistics(3, "batch")(X), nn.BatchNorm2d(3)(X))


def test_frozen_trains_on_the_batch_and_predicts_with_stored_statistics():
    layer, torchs = BatchStatistics(3, "frozen"), nn.BatchNorm2d(3, momentum=1.0)
    before = layer.mean.clone(), layer.var.clone()
    torch.testing.assert_close(layer(X), torchs(X))
    assert torch.equal(layer.mean, before[0]) and torch.equal(layer.var, before[1])  # the layer never writes
    set_statistics(layer, [X])
    torch.testing.assert_close(layer.mean, X.mean((0, 2, 3)))
    torch.testing.assert_close(layer.eval()(X), BatchStatistics(3, "batch")(X))


def test_set_statistics_over_several_batches_is_the_total_mean_and_variance():
    layer = BatchStatistics(3, "frozen")
    set_statistics(layer, [X[:2], X[2:] + 3])
    together = torch.cat([X[:2], X[2:] + 3])
    torch.testing.assert_close(layer.mean, together.mean((0, 2, 3)))
    torch.testing.assert_close(layer.var, together.var((0, 2, 3), correction=0))


def test_statistics_of_the_support_normalise_each_query_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), BatchStatistics(4, "support"), nn.ReLU(), nn.Flatten())
    params = dict(model.named_parameters())
    statistics = measured_on_support(model, lambda: functional_call(model, params, (X,)))
    assert set(statistics) == {"1.mean", "1.var"}
    together = functional_call(model, {**params, **statistics}, (X[:4] + 1,))
    alone = functional_call(model, {**params, **statistics}, (X[:1] + 1,))
    torch.testing.assert_close(together[:1], alone)
    torch.testing.assert_close(functional_call(model, {**params, **statistics}, (X,)), model(X))
    assert measured_on_support(nn.Linear(2, 2), lambda: 1 / 0) == {}  # nothing to measure, nothing is run


@pytest.mark.parametrize("policy", ["batch", "support", "frozen", "group", "none"])
@pytest.mark.parametrize("downsample", ["pool", "stride"])
def test_conv4_has_the_features_it_names(policy, downsample):
    net = Conv4(image_size=32, in_channels=3, channels=16, norm=policy, downsample=downsample)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, net.n_features)
    assert norm_policies(net) == {policy}


def test_number_of_parameters_is_the_papers():
    """MAML's Omniglot network: 64 filters, strided, 5-way; its code counts 112,065 without batch norm's scale."""
    count = sum(p.numel() for p in Conv4(5, downsample="stride").parameters())
    assert count == (9 * 64 + 64) + 3 * (9 * 64 * 64 + 64) + 4 * 2 * 64 + 64 * 5 + 5
    assert sum(p.numel() for p in MLP([1, 40, 40, 1]).parameters()) == 80 + 1640 + 41


def test_init_std():
    weights = MLP([1, 400, 400, 1], init_std=0.01)[2]
    assert 0.0098 < weights.weight.std().item() < 0.0102 and not weights.bias.any()


@pytest.mark.parametrize("policy", ["batch", "support", "frozen", "group"])
def test_convert_norms_keeps_weights_and_leaves_the_original(policy):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4, eps=1e-3)))
    model(X)  # gives it statistics
    nn.init.normal_(model[1][0].weight)
    converted = convert_norms(model, policy)
    assert norm_policies(converted) == {policy} and norm_policies(model) == {"running"}
    assert torch.equal(converted[1][0].weight, model[1][0].weight)
    if policy == "frozen":
        torch.testing.assert_close(converted.eval()(X), model.eval()(X))
    if policy == "batch":
        torch.testing.assert_close(converted(X), model.train()(X))


def test_convert_norms_of_a_single_layer_and_without_affine():
    assert isinstance(convert_norms(nn.BatchNorm1d(3), "none"), nn.Identity)
    assert norm_policies(convert_norms(nn.BatchNorm1d(3, affine=False), "frozen")) == {"frozen"}


def test_other_norms_are_named_by_their_class():
    for norm in (nn.InstanceNorm2d(3), nn.LayerNorm(3), nn.RMSNorm(3)):
        assert norm_policies(nn.Sequential(nn.Linear(3, 3), norm)) == {type(norm).__name__}


def test_unknown_options_name_the_known_ones():
    with pytest.raises(ValueError, match=r"policy must be one of \['batch', 'support', 'frozen'\], got 'froozen'"):
        BatchStatistics(3, "froozen")
    with pytest.raises(
        ValueError, match=r"norm must be one of \['batch', 'support', 'frozen', 'group', 'none'\], got 'bn'"
    ):
        make_norm("bn", 3)
    with pytest.raises(ValueError, match="norm must be one of"):
        Conv4(norm="bn")
    with pytest.raises(ValueError, match="downsample must be 'pool', 'stride' or 'maps', got 'max'"):
        Conv4(downsample="max")
    with pytest.raises(ValueError, match="four poolings need images of at least 16 pixels, got image_size=8"):
        Conv4(image_size=8)
    with pytest.raises(ValueError, match=r"sizes must name at least input and output, got \[3\]"):
        MLP([3])
