"""Sites: known shifts, disjoint patients, the site's own prevalence; drawn slides and real cells apart by slide."""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from metalearn import evaluate
from metalearn.data import Cells, Sites, Slides, cells, checksum, sites, slides
from metalearn.data.sites import SHARES, Site, patients
from metalearn.learners import Pixels, Prototypical
from metalearn.networks import Moments

DATA = Path(os.environ.get("METALEARN_DATA") or Path(__file__).parents[2] / "shared" / "data")
CELLS = "medical/bccd_cells32.npz"
needs_cells = pytest.mark.skipif(
    not (DATA / CELLS).is_file(), reason=f"{CELLS} is not in METALEARN_DATA or shared/data"
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same(n=1, prevalence=0.4, gain=1.0, offset=0.0):
    """Return sites without another shift than what is given."""
    full = torch.full((n, 10), 1.0)
    return Site(gain * full, offset * full, full.bool(), torch.full((n,), prevalence))


def rows_of(x):
    return {tuple(row) for row in x.reshape(-1, x.shape[-1])[:, :30].round(decimals=4).tolist()}


def test_patients_of_the_parts_are_disjoint_and_all():
    from sklearn.datasets import load_breast_cancer

    parts = {part: patients(part) for part in SHARES}
    assert sum(len(y) for _, y in parts.values()) == 569
    assert sum(int(y.sum()) for _, y in parts.values()) == int((load_breast_cancer().target == 0).sum()) == 212
    seen = [rows_of(x) for x, _ in parts.values()]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    x, _ = parts["train"]
    torch.testing.assert_close(x.mean(0), torch.zeros(30), atol=1e-5, rtol=0)


@pytest.mark.parametrize("part", SHARES)
def test_tasks_of_a_part_hold_its_patients_only_and_none_twice(part):
    family, own = Sites(part), rows_of(patients(part)[0])
    batch = family.at(same(20), 5, 10, generator())
    for i in range(20):
        support, query = rows_of(batch.support_x[i]), rows_of(batch.query_x[i])
        assert len(support) == 10 and len(query) == 20 and not support & query and support | query <= own


def test_labels_belong_to_the_patients():
    x, y = patients("train")
    label = {tuple(row): int(one) for row, one in zip(x.round(decimals=4).tolist(), y, strict=True)}
    batch = Sites().at(same(5), 5, 10, generator())
    for x, y in ((batch.support_x, batch.support_y), (batch.query_x, batch.query_y)):
        rows = x[..., :30].round(decimals=4).reshape(-1, 30).tolist()
        assert [label[tuple(row)] for row in rows] == y.flatten().tolist()


def test_the_prevalence_is_the_sites_own():
    for prevalence in (0.2, 0.37, 0.6):
        batch = Sites().at(same(3, prevalence), 5, 15, generator())
        assert batch.support_y.sum(1).tolist() == [round(10 * prevalence)] * 3
        assert batch.query_y.sum(1).tolist() == [round(30 * prevalence)] * 3
    assert Sites().at(same(1, 0.01), 2, 5).support_y.sum() == 1  # at least one of each


def test_a_shift_is_what_is_stated():
    plain = Sites().at(same(2), 3, 4, generator(5))
    shifted = Sites().at(same(2, gain=2.0, offset=-1.0), 3, 4, generator(5))
    torch.testing.assert_close(shifted.support_x[..., :30], 2 * plain.support_x[..., :30] - 1)
    lost = same(2)
    lost.measured[:, 3] = False
    batch = Sites().at(lost, 3, 4, generator(5))
    assert (batch.query_x[..., [3, 13, 23]] == 0).all() and (batch.query_x[..., 33] == 0).all()
    torch.testing.assert_close(batch.query_x[..., 4], plain.query_x[..., 4])


def test_drawn_shifts_have_the_stated_spread():
    site = Sites(gain=0.3, offset=0.7, missing=0.25, prevalence=(0.2, 0.6)).draw(4000, generator())
    assert site.gain.log().std().item() == pytest.approx(0.3, rel=0.03)
    assert site.offset.std().item() == pytest.approx(0.7, rel=0.03)
    assert 1 - site.measured.double().mean().item() == pytest.approx(0.25, abs=0.01)
    assert 0.2 <= site.prevalence.min() < 0.22 and 0.58 < site.prevalence.max() <= 0.6
    assert Sites(missing=1.0).draw(50).measured.sum(1).tolist() == [1] * 50


def test_a_fixed_number_of_sites_is_that_many():
    drawn = sites(n_sites=3, seed=1).train.draw(200, generator())
    assert len({tuple(row) for row in drawn.gain.tolist()}) == 3
    again = sites(n_sites=3, seed=1).train.draw(200, generator(9))
    assert {tuple(row) for row in drawn.offset.tolist()} == {tuple(row) for row in again.offset.tolist()}
    assert len({tuple(row) for row in sites(n_sites=3).test.draw(50).gain.tolist()}) == 50


def test_the_same_generator_draws_the_same_sites():
    one, two = (sites().test.episodes(n_tasks=2, n_shot=2, n_query=3)(generator(4)) for _ in range(2))
    assert torch.equal(one.support_x, two.support_x) and torch.equal(one.query_y, two.query_y)
    assert checksum(sites().train) != checksum(sites(offset=0.5).train)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Sites("tests"), r"part must be one of \['train', 'validation', 'test'\], got 'tests'"),
        (lambda: Sites(prevalence=(0.0, 0.5)), r"0 < low <= high < 1, got \(0.0, 0.5\)"),
        (lambda: Sites(offset=-1), "got 0.3, -1 and 0.2"),
        (lambda: Sites(n_sites=0), "n_sites must be at least 1, got 0"),
        (lambda: Sites("test").episodes(n_tasks=2, n_shot=40, n_query=20), r"needs 72 malignant .*'test' has 64"),
        (lambda: Sites().episodes(n_tasks=2, n_shot=1, n_query=2, n_way=3), "two classes.*got n_way=3"),
        (lambda: Sites().episodes(n_tasks=2, n_shot=1.5, n_query=2), "n_shot must be an int"),
        (lambda: Sites().batches(25), "10 patients of each site, got batch_size=25"),
        (lambda: Slides(stain=-0.1), "stain must be at least 0, got -0.1"),
        (lambda: Slides().batches(8), "new types: fix their number"),
        (lambda: Cells(torch.zeros(2, 3), torch.zeros(1), torch.zeros(2)), r"got \[2, 1, 2\]"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Drawn slides


def test_drawn_cells_are_pictures_and_repeat_with_their_generator():
    sample = slides().train.episodes(n_tasks=3, n_way=4, n_shot=2, n_query=3)
    one, two = sample(generator(1)), sample(generator(1))
    assert torch.equal(one.support_x, two.support_x) and one.n_way == 4 and one.query_x.shape == (3, 12, 3, 32, 32)
    assert one.query_x.min() >= 0 and one.query_x.max() <= 1
    one.check()


def test_stain_is_the_shift_between_support_and_queries():
    """Without stain plain features tell types apart; each doubling of it costs them."""
    found = []
    for stain in (0.0, 0.12, 0.24):
        tasks = slides(stain=stain).test.episodes(n_tasks=20, n_shot=5, n_query=5)
        found.append(evaluate(Prototypical(Moments()), tasks, 60, seed=0).mean)
    assert found[0] > found[1] + 0.08 > found[2] + 0.1
    family = Slides(0.2)
    assert family.stains(3000, generator()).gain.log().std().item() == pytest.approx(0.2, rel=0.05)


def test_types_of_a_labelled_batch_stay():
    batches = Slides().batches(300, n_types=5)
    batch = batches(generator())
    assert batch.y.unique().tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(batches.slides.all_types(), Slides(n_types=5).all_types())


# Cells


def crops(n_slides=30, per_slide=4):
    slide = torch.arange(n_slides).repeat_interleave(per_slide)
    y = torch.arange(n_slides * per_slide) % 2
    x = torch.zeros(len(y), 3, 4, 4, dtype=torch.uint8)
    x[:, 0] = slide[:, None, None]
    return Cells(x, y, slide)


def test_support_and_queries_are_on_different_slides():
    family = crops()
    for seed in range(20):
        support, query = family.rows(4, 6, generator(seed))
        assert not set(family.slide[support].tolist()) & set(family.slide[query].tolist())
        assert family.y[support].tolist() == [0] * 4 + [1] * 4 and len(query) == 12
        assert len(family.slide[support].unique()) <= 3  # few slides
    with pytest.raises(ValueError, match=r"do not come from different slides, with .* cells on 30 slides"):
        family.episodes(n_tasks=1, n_shot=41, n_query=20, n_way=2)(generator())


def test_a_split_keeps_slides_together():
    parts = crops().split((0.5, 0.2, 0.3))
    slides_of = [set(part.slide.tolist()) for part in parts]
    assert [len(part) for part in slides_of] == [15, 6, 9] and sum(len(part) for part in parts) == 120
    assert not slides_of[0] & slides_of[1] and not slides_of[0] & slides_of[2] and not slides_of[1] & slides_of[2]


def test_moments_by_hand():
    x = torch.tensor([[[[1.0, 3.0], [1.0, 3.0]], [[2.0, 2.0], [2.0, 2.0]]]])
    torch.testing.assert_close(Moments(2)(x), torch.tensor([[2.0, 2.0, 1.0, 0.0]]), atol=1e-5, rtol=0)


def test_missing_and_altered_cells_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("METALEARN_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"holds crops of the pictures of https://github.com/Shenggan"):
        cells()
    (tmp_path / "medical").mkdir(exist_ok=True)
    path = tmp_path / CELLS
    arrays = {"images": np.zeros((9, 32, 32, 3), np.uint8), "label": np.zeros(9, np.uint8), "source_image": np.zeros(9)}
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"other cells: images of shape \[9, 32, 32, 3\]"):
        cells()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="expected the whole, unaltered file"):
        cells()


@needs_cells
def test_real_cells(monkeypatch):
    monkeypatch.setenv("METALEARN_DATA", str(DATA))
    parts = cells()
    counts = sum(torch.bincount(part.y, minlength=3) for part in parts)
    assert counts.tolist() == [4153, 372, 361] and sum(len(part.slide.unique()) for part in parts) == 364
    tasks = parts.test.episodes(n_tasks=5, n_shot=5, n_query=10)
    assert evaluate(Pixels(), tasks, 20).mean > 0.7
    importlib.import_module("metalearn.data.cells")
