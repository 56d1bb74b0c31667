"""The four hospitals: counts, missing values, files that are not right, and inputs made of them."""

import importlib
import io
import os
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from metalearn.data.heart import COLUMNS, FILES, FOLDER, Hospital, encoder, heart, parse
from metalearn.experiments.heart import Hospitals, centred, draw, pooled

DATA = Path(os.environ.get("METALEARN_DATA") or Path(__file__).parents[2] / "shared" / "data")
needs = pytest.mark.skipif(
    not (DATA / FOLDER / "processed.va.data").is_file(), reason=f"{FOLDER} is not in METALEARN_DATA or shared/data"
)
LINE = "63,1,4,140,260,0,1,112,1,3,2,?,?,2"
module = importlib.import_module("metalearn.data.heart")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("METALEARN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "metalearn"


def hospital(n=40, seed=0, **missing):
    torch.manual_seed(seed)
    x = torch.rand(n, 13)
    x[:, [2, 6, 10, 12]] = (3 * torch.rand(n, 4)).floor()
    for name, share in missing.items():
        x[torch.rand(n) < share, COLUMNS.index(name)] = torch.nan
    return Hospital("here", x, (torch.arange(n) % 3 > 0).long())


@needs
def test_counts_and_missing_values(monkeypatch):
    monkeypatch.setenv("METALEARN_DATA", str(DATA))
    found = heart()
    assert {name: (len(h), int(h.y.sum())) for name, h in found.items()} == {
        "Cleveland": (303, 139),
        "Hungary": (294, 106),
        "Switzerland": (123, 115),
        "Long Beach": (200, 149),
    }
    assert found["Switzerland"].missing["chol"] == 1 and found["Cleveland"].missing["chol"] == 0
    assert found["Hungary"].missing["ca"] > 0.98 and found["Long Beach"].missing["sex"] == 0
    assert all((h.x[:, 4].nan_to_num(1) > 0).all() for h in found.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{LINE}\n{LINE[:-2]}", r"line 2: expected 14 columns \(age, sex, .*, diagnosis\), got 13"),
        (f"{LINE[:-1]}x", "line 1: expected numbers or [?], got '63,1.*x'"),
    ],
)
def test_wrong_lines_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text, Path("here.data"))


def test_cut_and_altered_files_are_refused(home):
    stem, n, _ = FILES["Cleveland"]
    path = home / FOLDER / f"processed.{stem}.data"
    path.parent.mkdir(parents=True)
    path.write_text(f"{LINE}\n" * (n - 3))
    with pytest.raises(ValueError, match=r"got: 300 of 303 patients. Delete it and call again"):
        heart()
    path.write_text(f"{LINE}\n" * n)
    with pytest.raises(ValueError, match="got: other values, with the SHA-256"):
        heart()


def test_a_download_is_kept_whole_or_not_at_all(home, monkeypatch):
    def fail(url, timeout):
        raise URLError("no network")

    monkeypatch.setattr(module.urllib.request, "urlopen", fail)
    with pytest.raises(ConnectionError, match=r"could not download https://archive.ics.uci.edu/.*processed.cleveland"):
        heart()
    assert not list(home.rglob("*.data"))
    monkeypatch.setattr(module.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(f"{LINE}\n".encode()))
    with pytest.raises(ValueError, match="1 of 303 patients"):
        heart()


def test_inputs_by_hand():
    one = hospital(chol=0.5, thal=0.5)
    made = encoder([one])
    inputs = made.transform(one.x.numpy())
    assert np.isfinite(inputs).all()
    place = [name for name in COLUMNS if name not in module.CATEGORIES].index("chol")
    gone = one.x[:, COLUMNS.index("chol")].isnan().numpy()
    assert np.abs(inputs[gone, place]).max() < 1e-6  # the mean of the others, which is 0 after scaling
    assert inputs[~gone, place].std() == pytest.approx(1, abs=1e-5)
    assert np.array_equal(inputs[:, 9] > 0, gone)  # the mark stands behind the nine numbers
    lost = one.x[:, COLUMNS.index("thal")].isnan().numpy()
    assert (inputs[lost, -3:] == 0).all() and (inputs[~lost, -3:].sum(1) == 1).all()


def test_a_feature_missing_everywhere_is_refused_where_it_is_fitted():
    empty = hospital(chol=2.0)
    with pytest.raises(ValueError, match="no patient of here has a value of chol: leave that out, or add a hospital"):
        encoder([empty])
    other = Hospital("there", hospital(seed=1).x, empty.diagnosis)
    assert np.isfinite(encoder([empty, other]).transform(empty.x.numpy())).all()


def test_labelled_patients_hold_both_diagnoses():
    y = torch.tensor([1] * 50 + [0])
    for seed in range(20):
        order = draw(y, 4, torch.Generator().manual_seed(seed))
        assert order.sort().values.tolist() == list(range(51)) and set(y[order[:2]].tolist()) == {0, 1}
    tasks = Hospitals([(torch.randn(51, 3), y)]).episodes(n_tasks=3, n_shot=4, n_query=5)
    assert tasks(torch.Generator().manual_seed(0)).support_y.sum(1).tolist() == [3, 3, 3]


def test_the_pooled_model_is_the_centre():
    torch.manual_seed(0)
    x = torch.randn(60, 3)
    y = (x[:, 0] + torch.randn(60) > 0).long()
    weight, bias = pooled([(x[:30], y[:30]), (x[30:], y[30:])], 1.0)
    learner = centred((weight, bias), 1e9)
    logits = learner.predict(learner.adapt(x[:10], y[:10]), x)
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], x @ weight + bias, atol=1e-4, rtol=1e-4)
    moved = centred((weight, bias), 1.0, bias_only=True).adapt(x[:10], torch.ones(10, dtype=torch.long))
    torch.testing.assert_close(moved["weight"][1] - moved["weight"][0], weight, atol=1e-3, rtol=1e-3)
    assert moved["bias"][1] - moved["bias"][0] > bias + 0.5
