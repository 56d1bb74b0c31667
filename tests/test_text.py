"""Tokens go in and vectors come out; padding changes nothing, and gradients of gradients are exact."""

import gzip
import importlib
import io
import json
import os
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from metalearn import Episode, Pool, evaluate, sample_episodes
from metalearn.data import (
    Corpus,
    Vocabulary,
    intent_sentences,
    intents,
    language_names,
    languages,
    out_of_scope,
    relation_sentences,
    relations,
)
from metalearn.data.languages import KIN, LEAST, script, split_by_group
from metalearn.data.relations import marked
from metalearn.data.text import split_words
from metalearn.deploy import Classifier
from metalearn.experiments import standing
from metalearn.experiments._open import auroc
from metalearn.experiments._sources import sampler, source
from metalearn.learners import MAML, Pixels, Prototypical, Transfer
from metalearn.learners._settings import from_settings, settings_of
from metalearn.networks import BagOfTokens, TextTransformer, TokenWeights, norm_policies
from metalearn.networks.text import mean_of

DATA = Path(os.environ.get("METALEARN_DATA") or Path(__file__).parents[2] / "shared" / "data")
sentences_module = importlib.import_module("metalearn.data._sentences")
NETWORKS = [lambda **given: BagOfTokens(20, 8, **given), lambda **given: TextTransformer(20, 8, n_heads=2, **given)]
both = pytest.mark.parametrize("network", NETWORKS, ids=["bag", "transformer"])
TOKENS = torch.tensor([[5, 7, 9, 0, 0], [4, 4, 2, 3, 0]])


def needs(name):
    reason = f"{name} is not in METALEARN_DATA or in shared/data beside the repository"
    return pytest.mark.skipif(not (DATA / name).is_file(), reason=reason)


@pytest.fixture
def given(monkeypatch):
    """The folder of data, where there is one."""
    monkeypatch.setenv("METALEARN_DATA", str(DATA))
    sentences_module.read.cache_clear()


# Networks


@both
def test_padding_changes_nothing(double, network):
    model = network()
    longer = torch.cat([TOKENS, torch.zeros(2, 4, dtype=torch.long)], 1)
    torch.testing.assert_close(model(longer), model(TOKENS))
    torch.testing.assert_close(model(TOKENS[:1, :3]), model(TOKENS)[:1])


@both
def test_a_text_of_padding_alone_gives_zeros_and_a_finite_gradient(double, network):
    model = network()
    found = model(torch.zeros(2, 5, dtype=torch.long))
    assert torch.equal(found, torch.zeros(2, 8))
    model(torch.cat([TOKENS, torch.zeros(1, 5, dtype=torch.long)])).square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_bag_is_the_mean_of_known_tokens_whatever_their_order(double):
    model = BagOfTokens(20, 8)
    expected = model.linear(model.embedding.weight[[5, 7, 9]].mean(0))
    torch.testing.assert_close(model(TOKENS)[0], expected)
    torch.testing.assert_close(model(torch.tensor([[9, 1, 0, 5, 7]]))[0], expected)  # 1 is unknown: it does not count
    assert not TextTransformer(20, 8, n_heads=2)(TOKENS[:, [1, 0, 2, 3, 4]])[0].allclose(expected)


def test_attention_is_torchs(double):
    layer = TextTransformer(20, 8, n_heads=2).layers[0]
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": layer.qkv.weight,
            "in_proj_bias": layer.qkv.bias,
            "out_proj.weight": layer.mix.weight,
            "out_proj.bias": layer.mix.bias,
        }
    )
    x, present = torch.randn(2, 5, 8), TOKENS > 0
    expected = theirs(x, x, x, key_padding_mask=~present, need_weights=False)[0]
    torch.testing.assert_close(layer.mix(layer._attend(x, present)), expected)


def test_token_weights_start_as_nothing_and_weigh_the_cosine(double):
    model, x = TokenWeights(6), torch.rand(3, 6)
    torch.testing.assert_close(model(x), torch.nn.functional.normalize(x, dim=1))
    model.log_weight.data = torch.randn(6)
    x[0] = 0
    weighted = x * model.log_weight.exp()
    torch.testing.assert_close(model(x)[1], weighted[1] / weighted[1].norm())
    assert torch.equal(model(x)[0], torch.zeros(6))
    model(x).sum().backward()
    assert model.log_weight.grad.isfinite().all()


def test_the_mean_of_vectors_that_are_present():
    vectors = torch.randn(2, 5, 3)
    torch.testing.assert_close(mean_of(vectors, TOKENS > 0)[0], vectors[0, :3].mean(0))


@both
def test_second_order_gradients_are_exact_in_a_loop_and_under_vmap(double, network):
    tokens = torch.randint(2, 20, (2, 4, 6))
    tokens[:, 0, 3:] = 0
    labels = torch.arange(4).repeat(2, 1) % 2
    batch, learner = Episode(tokens, labels, tokens.flip(1), labels, n_way=2), MAML(network(n_outputs=2), 0.1, 2)
    gradients = []
    for how in ("loop", "vmap"):
        learner.how = how
        learner.zero_grad()
        learner.backward(batch)
        gradients.append(parameters_to_vector([p.grad for p in learner.parameters()]))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-10, atol=1e-12)
    start, direction = parameters_to_vector(learner.parameters()).detach(), torch.randn(len(gradients[0]))

    def loss(step):
        vector_to_parameters(start + step * direction, learner.parameters())
        return sum(learner.loss(batch[i]) for i in range(2)).detach() / 2

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    torch.testing.assert_close(slope, gradients[0] @ direction, rtol=1e-5, atol=1e-8)


@both
def test_networks_are_saved_by_their_settings(network):
    learner = Prototypical(network())
    again = from_settings(settings_of(learner))
    again.load_state_dict(learner.state_dict())
    torch.testing.assert_close(again.encoder(TOKENS), learner.encoder(TOKENS))
    assert norm_policies(learner.encoder) == {"none"}  # so that a study encodes each text once


def test_wrong_tokens_and_sizes_are_refused():
    with pytest.raises(ValueError, match=r"expected integer tokens \[n, length\], got torch.float32 \[2, 5\]"):
        BagOfTokens(20)(TOKENS.float())
    with pytest.raises(ValueError, match="expected at most max_length=4 tokens a text, got 5"):
        TextTransformer(20, 8, max_length=4)(TOKENS)
    with pytest.raises(ValueError, match="n_features must be a multiple of n_heads=4, got 10"):
        TextTransformer(20, 10)
    with pytest.raises(ValueError, match="n_tokens must be at least 1"):
        BagOfTokens(2)


# Vocabulary and corpus

TEXTS = ["play a song", "play it again", "stop the song"]


def test_ngrams_are_scikit_learns():
    analyse = pytest.importorskip("sklearn.feature_extraction.text").CountVectorizer(
        analyzer="char_wb", ngram_range=(1, 3)
    )
    theirs = [piece for piece in analyse.build_analyzer()("Côte d Ivoire") if piece != " "]
    assert sorted(Vocabulary.fit(TEXTS, 10).cut("Côte d Ivoire")) == sorted(theirs)


def test_words_and_their_pieces():
    vocabulary = Vocabulary.fit([*TEXTS, "songs"], 60, unit="words")
    assert vocabulary.pieces[:2] == (" play", " song") and len(vocabulary) == 2 + len(vocabulary.pieces)
    assert "".join(vocabulary.cut("Play songs again")) == " play songs again"  # nothing gets lost
    assert vocabulary.encode(["play song"], 4).tolist() == [[2, 3, 0, 0]]
    assert vocabulary.encode(["play ж"], 4).tolist() == [[2, 1, 0, 0]]  # an unknown character
    assert Vocabulary(vocabulary.pieces, "words") == vocabulary


def test_a_vocabulary_does_not_depend_on_the_order_of_texts():
    for unit in ("ngrams", "words"):
        assert Vocabulary.fit(TEXTS, 12, unit=unit) == Vocabulary.fit(TEXTS[::-1], 12, unit=unit)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", "  "], "text number 1 is empty: drop it"),
        (["a", None], r"expected text, got None \(NoneType\) as number 1"),
        (["a", float("nan")], r"expected text, got nan \(float\)"),
        ("a text", "expected a list of texts, got one text, 'a text'"),
        ([], "expected at least one text, got none"),
    ],
)
def test_what_is_no_text_is_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.fit(texts, 10)
    with pytest.raises(ValueError, match=message):
        Vocabulary.fit(TEXTS, 10).encode(texts, 5)


def test_a_wrong_vocabulary_is_refused():
    with pytest.raises(ValueError, match=r"unit must be one of \['ngrams', 'words'\], got 'bytes'"):
        Vocabulary(("a",), "bytes")
    with pytest.raises(ValueError, match=r"each piece must stand once, got \['a'\] more often"):
        Vocabulary(("a", "b", "a"))


def test_a_corpus_is_measured_on_its_training_classes_alone():
    corpus = Corpus({"a": ["red", "ruby"], "b": ["sky"]}, {"c": ["sea"]}, {"d": ["ж", "rye"]})
    vocabulary = corpus.vocabulary(50)
    assert "ж" not in vocabulary.pieces and corpus.tokens(vocabulary, 4).test.x[0].tolist()[0] == 1
    splits = corpus.tfidf(analyzer=vocabulary.cut, vocabulary=vocabulary.pieces)
    assert splits.test.x[0].count_nonzero() == 0
    torch.testing.assert_close(splits.train.x.norm(dim=1), torch.ones(3))
    assert splits.train.class_names == ("a", "b") and splits.train.y.tolist() == [0, 0, 1]


# Languages


def test_languages_are_disjoint_and_kin_stand_together():
    pytest.importorskip("pycountry")
    corpus = language_names()
    owner = {name.split("/")[1]: i for i, part in enumerate(corpus) for name in part}
    assert len(owner) == sum(map(len, corpus)) > 100
    assert all(owner[a] == owner[b] for a, b in KIN.items() if a in owner and b in owner)
    assert "pt_BR" not in owner and "fil" not in owner
    texts = [name.casefold() for part in corpus for names in part.values() for name in names]
    assert len(texts) == len(set(texts))  # no name belongs to two languages
    assert "germany" not in texts and min(len(names) for part in corpus for names in part.values()) >= LEAST


def test_languages_can_be_drawn_within_a_script():
    pytest.importorskip("pycountry")
    pool = languages().test
    groups = [name.split("/")[0] for name in pool.class_names]
    assert {"Latin", "Cyrillic"} <= {group for group in groups if groups.count(group) >= 5}
    assert sample_episodes(pool, 2, 5, 5, 5, groups=groups).support_x.shape == (2, 25, 96)
    with pytest.raises(ValueError, match="form must be 'tokens' or 'tfidf', got 'words'"):
        languages("words")


def test_scripts():
    assert [script(text) for text in ("Suomi", "Русия", "日本", "日本とニホンとニホン", "12")] == [
        "Latin",
        "Cyrillic",
        "Han",
        "Katakana",
        "None",
    ]


def test_groups_are_split_one_by_one():
    texts = {f"A/{i}": ["x"] for i in range(10)} | {f"B/{i}": ["x"] for i in range(4)} | {"C/0": ["x"]}
    parts = split_by_group(texts, {"1": "0"}, (0.5, 0.25))
    assert sum(map(len, parts)) == 15 and [any(f"A/{i}" in part for i in (0, 1)) for part in parts].count(True) == 1
    assert [sum(name[0] == "B" for name in part) for part in parts] == [1, 0, 3]  # 3 families


# Intents and relations


@needs("text/clinc150.json.gz")
@needs("text/banking77.json.gz")
def test_intents_are_split_by_domain(given):
    corpus = intent_sentences()
    domains = [{name.split("/")[0] for name in part} for part in corpus]
    assert [len(part) for part in corpus] == [75, 30, 123] and not domains[0] & domains[2]
    assert domains[2] == {"banking", "credit_cards", "travel", "banking77", "out_of_scope"}
    assert {len(texts) for texts in corpus.train.values()} == {150}
    assert sum(len(texts) for name, texts in corpus.test.items() if name.startswith("banking77/")) == 13083
    assert len(out_of_scope()) == 1200
    assert [len(part) for part in intent_sentences("banking77")] == [40, 12, 25]
    with pytest.raises(ValueError, match=r"name must be 'clinc150', .* got 'snips'"):
        intents("snips")


@needs("text/fewrel_val.json.gz")
def test_relations_of_the_test_are_in_no_other_part(given):
    corpus, splits = relation_sentences(), relations()
    names = [{name.split("/", 1)[1] for name in part} for part in corpus]
    assert [len(part) for part in names] == [30, 10, 16] and not names[2] & (names[0] | names[1])
    assert all(text.count("xxhead") == 2 for texts in corpus.test.values() for text in texts)
    assert splits.test.x.shape == (11200, 40) and splits.test.x.max() < 2002


def test_phrases_are_marked():
    assert marked("a b c d", [1, 2], [3], margin=0) == "xxhead b c xxhead xxtail d xxtail"


@pytest.mark.parametrize(("read", "file"), [(intents, "clinc150"), (relations, "fewrel_val")])
def test_without_a_network_the_error_says_what_to_do(read, file, tmp_path, monkeypatch):
    monkeypatch.delenv("METALEARN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sentences_module.read.cache_clear()

    def unreachable(url, timeout):
        raise URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(ConnectionError, match=rf"could not download https://.*no route.* copy text/{file}\.json\.gz"):
        read()
    assert not list(tmp_path.rglob("*.gz"))


def test_a_download_is_checked_and_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("METALEARN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sentences_module.read.cache_clear()
    files, digest = {"a.json": json.dumps({"x": [["é", "b"]]})}, sentences_module.checksum({"x": [["é", "b"]]})
    sha256 = sentences_module.hashlib.sha256(files["a.json"].encode()).hexdigest()
    home = sentences_module.Home("https://here", {"a.json": sha256}, lambda texts: json.loads(texts["a.json"]), digest)
    monkeypatch.setitem(sentences_module.HOMES, "tiny", home)
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(files["a.json"].encode()))
    assert sentences_module.read("tiny") == {"x": [["é", "b"]]}
    path = tmp_path / "metalearn" / "text" / "tiny.json.gz"
    files["a.json"] = "{}"  # from now on the home gives another file
    sentences_module.read.cache_clear()
    assert sentences_module.read("tiny") == {"x": [["é", "b"]]}
    path.write_bytes(gzip.compress(b'{"x": []}'))
    sentences_module.read.cache_clear()
    with pytest.raises(ValueError, match=r"unaltered file .*tiny\.json\.gz, got: other sentences under \['x'\]"):
        sentences_module.read("tiny")
    path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(ValueError, match=r"expected the whole, unaltered file .*tiny"):
        sentences_module.read("tiny")
    path.unlink()
    with pytest.raises(ValueError, match=r"expected the file that https://here/a.json had .* got 2 other bytes"):
        sentences_module.read("tiny")


# In use


def test_text_in_a_classifier(tmp_path):
    vocabulary = Vocabulary.fit(TEXTS, 40, unit="words")
    learner = Prototypical(BagOfTokens(len(vocabulary), 8))
    support = vocabulary.encode(["play a song", "stop it"], 6)
    classifier = Classifier.fit(learner, support, ["play", "stop"])
    classifier.save(tmp_path / "intents.safetensors")
    again = Classifier.load(tmp_path / "intents.safetensors")
    assert again.predict(vocabulary.encode(["play a song", "stop it"], 6)) == ["play", "stop"]


def test_a_method_of_a_study_can_take_another_form_of_the_texts():
    pytest.importorskip("pycountry")
    study = standing()["languages"]
    tokens, tfidf = source("languages").test, source("languages:tfidf").test
    assert tokens.class_names == tfidf.class_names and torch.equal(tokens.y, tfidf.y)
    assert study.methods["TF-IDF nearest mean"].data == "languages:tfidf"
    content = study.describe()["methods"]
    assert "data" not in content["untrained"] and "data" in content["TF-IDF nearest mean"]


def test_a_test_can_be_limited_to_some_groups():
    pytest.importorskip("pycountry")
    pool = source("languages").test
    sample = sampler(pool, n_tasks=1, n_way=3, n_shot=1, n_query=1, only=["Arabic"])
    assert [name.split("/")[0] for name in sample.pool.class_names] == ["Arabic"] * 3


def test_open_tasks_have_unknown_queries_behind_the_known():
    x = torch.arange(60.0).unsqueeze(1) + 1000 * (torch.arange(60).unsqueeze(1) >= 30)
    pool = Pool(x, torch.arange(60) // 10, class_names=["a/0", "a/1", "a/2", "b/0", "b/1", "c/0"])
    sample = sampler(pool, n_tasks=3, n_way=2, n_shot=1, n_query=4, only=["a"], unknown=["b", "c"])
    batch = sample(torch.Generator().manual_seed(0))
    assert (
        batch.query_x.shape == (3, 16, 1) and (batch.query_x[:, :8] < 30).all() and (batch.query_x[:, 8:] >= 30).all()
    )
    score = evaluate(Pixels(), sample, 20, metric=auroc)
    assert score.mean > 0.99  # what is unknown is far from all classes here


def test_auroc_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    theirs = metrics.roc_auc_score([1] * 10 + [0] * 10, logits.amax(1).numpy())
    assert auroc(logits, torch.zeros(20)).item() == pytest.approx(theirs)


def test_logistic_regression_is_scikit_learns_with_little_penalty():
    linear = pytest.importorskip("sklearn.linear_model").LogisticRegression(C=100.0)
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.rand(10, 30, generator=generator), dim=1)
    y, query = torch.arange(10) % 2, torch.nn.functional.normalize(torch.rand(200, 30, generator=generator), dim=1)
    learner = Transfer(torch.nn.Identity(), n_classes=2, n_features=30)
    ours = learner.predict(learner.adapt(x, y), query).argmax(1)
    theirs = torch.from_numpy(linear.fit(x.numpy(), y.numpy()).predict(query.numpy()))
    assert (ours == theirs).float().mean() > 0.85


def test_random_labels_give_chance():
    vocabulary = Vocabulary.fit(TEXTS, 40)
    words = split_words(" ".join(TEXTS))
    texts = [words[i % len(words)] + words[(7 * i) % len(words)] for i in range(100)]
    corpus = Corpus(*({str(i): texts[10 * i : 10 * i + 10] for i in range(10)} for _ in range(3)))
    pool = corpus.tokens(vocabulary, 12).test
    pool.y = pool.y[torch.randperm(100, generator=torch.Generator().manual_seed(0))].sort().values
    pool.x = pool.x[torch.randperm(100, generator=torch.Generator().manual_seed(1))]
    score = evaluate(
        Prototypical(BagOfTokens(len(vocabulary), 8)), pool.episodes(n_tasks=20, n_way=5, n_shot=1, n_query=5), 200
    )
    assert abs(score.mean - 0.2) < 0.05
