"""What people want of an assistant: short sentences by intent, and sentences that fit none of the intents."""

from __future__ import annotations

from collections.abc import Sequence

from metalearn.data import _sentences
from metalearn.data.text import Corpus, Form
from metalearn.pools import Splits

VALIDATION = ("auto_and_commute", "work")  # domains of CLINC150
TEST = ("banking", "credit_cards", "travel")  # among them what BANKING77 is about: no intent of it is trained on
N_TOKENS, LENGTH = 2400, 32
N_TERMS = 4000


def intents(name: str = "clinc150+banking77", form: Form = "tokens") -> Splits:
    """Return sentences by intent, split by domain: the sets CLINC150 and BANKING77, of which neither comes with us.

    They are read from ``$METALEARN_DATA/text/*.json.gz``, else downloaded the first time from the authors'
    repositories (CLINC150: CC BY 3.0; BANKING77: CC BY 4.0).

    Args:
        name: ``"clinc150"``: 75 intents of five domains for training, 30 of two for validation (auto and commute,
            work), 45 of three for testing (banking, credit cards, travel), 150 sentences each. ``"banking77"``: 77
            intents of one bank, 40 for training, 12 for validation and 25 for testing. ``"clinc150+banking77"``:
            CLINC150 with all intents of BANKING77 added to the test, and the sentences out of scope as one class.
        form: ``"tokens"``: words, or pieces of words that the training intents lack, ``[n, 32]``. ``"tfidf"``: TF-IDF
            vectors of words and pairs of words. ``"tfidf-pieces"``: of the tokens, so that pieces of unknown words
            count, too.

    Returns:
        Pools; class names are ``"<domain>/<intent>"``, with ``"banking77"`` for the domain of that set and
        ``"out_of_scope/all"`` for sentences of no intent.

    Raises:
        ValueError: If a name is unknown, or a file is cut or altered.
        ConnectionError: If a file is missing and cannot be downloaded.
        ImportError: If scikit-learn, which makes TF-IDF vectors, is not installed.

    Reference:
        Larson et al.: An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction, 2019, arXiv
        1909.02027. Casanueva, Temčinas, Gerz, Henderson, Vulić: Efficient Intent Detection with Dual Sentence
        Encoders, 2020, arXiv 2003.04807.

    Example:
        >>> from metalearn.data import intents
        >>> intents("clinc150").test.n_classes  # doctest: +SKIP
        45
    """
    corpus = intent_sentences(name)
    if form == "tokens":
        return corpus.tokens(corpus.vocabulary(N_TOKENS, "words"), LENGTH)
    if form == "tfidf":
        return corpus.tfidf(ngram_range=(1, 2), max_features=N_TERMS, sublinear_tf=True)
    if form == "tfidf-pieces":
        vocabulary = corpus.vocabulary(N_TOKENS, "words")
        return corpus.tfidf(analyzer=vocabulary.cut, vocabulary=vocabulary.pieces, sublinear_tf=True)
    raise ValueError(f"form must be 'tokens', 'tfidf' or 'tfidf-pieces', got {form!r}")


def intent_sentences(name: str = "clinc150+banking77") -> Corpus:
    """Return the sentences themselves; :func:`intents` says what they are.

    Raises:
        ValueError: If a name is unknown, or a file is cut or altered.
        ConnectionError: If a file is missing and cannot be downloaded.

    Example:
        >>> from metalearn.data import intent_sentences
        >>> len(intent_sentences("clinc150").test["travel/vaccines"])  # doctest: +SKIP
        150
    """
    if name == "clinc150":
        return _clinc150()
    if name == "banking77":
        names = list(banking := _banking77())
        cuts = ((0, 40), (40, 52), (52, 77))
        return Corpus(*({intent: banking[intent] for intent in names[start:end]} for start, end in cuts))
    if name == "clinc150+banking77":
        corpus = _clinc150()
        return corpus._replace(test={**corpus.test, **_banking77(), "out_of_scope/all": out_of_scope()})
    raise ValueError(f"name must be 'clinc150', 'banking77' or 'clinc150+banking77', got {name!r}")


def out_of_scope() -> list[str]:
    """Return CLINC150's 1,200 sentences that ask for nothing of its 150 intents.

    Raises:
        ValueError: If the file is cut or altered.
        ConnectionError: If the file is missing and cannot be downloaded.

    Example:
        >>> from metalearn.data import out_of_scope
        >>> len(out_of_scope())  # doctest: +SKIP
        1200
    """
    content = _sentences.read("clinc150")
    return [text for part in ("train", "val", "test") for text, _ in content[f"oos_{part}"]]


def _clinc150() -> Corpus:
    content = _sentences.read("clinc150")
    found: dict[str, list[str]] = {}
    for part in ("train", "val", "test"):
        for text, intent in content[part]:
            found.setdefault(intent, []).append(text)
    domains: dict[str, list[str]] = content["domains"]
    train = [domain for domain in domains if domain not in (*VALIDATION, *TEST)]

    def of(chosen: Sequence[str]) -> dict[str, list[str]]:
        return {f"{domain}/{intent}": found[intent] for domain in chosen for intent in sorted(domains[domain])}

    return Corpus(of(train), of(VALIDATION), of(TEST))


def _banking77() -> dict[str, list[str]]:
    content = _sentences.read("banking77")
    found: dict[str, list[str]] = {f"banking77/{intent}": [] for intent in sorted(content["categories"])}
    for part in ("train", "test"):
        for text, intent in content[part]:
            found[f"banking77/{intent}"].append(text)
    return found
