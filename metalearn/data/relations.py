"""Which relation a sentence states between two of its phrases: the public part of FewRel."""

from __future__ import annotations

from collections.abc import Sequence

from metalearn.data import _sentences
from metalearn.data.text import Corpus, Form
from metalearn.pools import Splits

LIKE_WIKI = ("Component-Whole", "Member-Collection")  # of SemEval: too close to "part of" and "member of", left out
N_TOKENS, LENGTH = 2000, 40
N_TERMS = 4000
HEAD, TAIL = "xxhead", "xxtail"  # words that stand before and after a phrase


def relations(form: Form = "tokens") -> Splits:
    """Return sentences by the relation between two marked phrases: FewRel's validation files, divided anew.

    This is **not FewRel's standard split**, whose 64 training relations are not used here: its numbers cannot be
    compared with published ones. Training: news (NYT, the 17 relations that Wikipedia's part lacks) and SemEval (13,
    those like "part of" and "member of" left out); validation: medical papers (PubMed, 10); test: Wikipedia (16
    relations, 700 sentences each). So domain and relations both change. The set is read from
    ``$METALEARN_DATA/text/fewrel_val.json.gz``, else downloaded the first time from the authors' repository (MIT).

    Args:
        form: ``"tokens"``: words, or pieces of words that the training relations lack, ``[n, 40]``, of the two
            phrases, what stands between them, and three words around. ``"tfidf"``: TF-IDF vectors of words and pairs of
            words there. ``"tfidf-pieces"``: of the tokens, so that pieces of unknown words count, too.

    Returns:
        Pools; class names are ``"<domain>/<relation>"``.

    Raises:
        ValueError: If the form is unknown, or the file is cut or altered.
        ConnectionError: If the file is missing and cannot be downloaded.
        ImportError: If scikit-learn, which makes TF-IDF vectors, is not installed.

    Reference:
        Han et al.: FewRel: A Large-Scale Supervised Few-Shot Relation Classification Dataset, 2018, arXiv 1810.10147.
        Gao et al.: FewRel 2.0, 2019, arXiv 1910.07124.

    Example:
        >>> from metalearn.data import relations
        >>> relations().test.n_classes  # doctest: +SKIP
        16
    """
    corpus = relation_sentences()
    if form == "tokens":
        return corpus.tokens(corpus.vocabulary(N_TOKENS, "words"), LENGTH)
    if form == "tfidf":
        return corpus.tfidf(ngram_range=(1, 2), max_features=N_TERMS, sublinear_tf=True)
    if form == "tfidf-pieces":
        vocabulary = corpus.vocabulary(N_TOKENS, "words")
        return corpus.tfidf(analyzer=vocabulary.cut, vocabulary=vocabulary.pieces, sublinear_tf=True)
    raise ValueError(f"form must be 'tokens', 'tfidf' or 'tfidf-pieces', got {form!r}")


def relation_sentences() -> Corpus:
    """Return the sentences themselves, their two phrases between marks; :func:`relations` says what they are.

    Raises:
        ValueError: If the file is cut or altered.
        ConnectionError: If the file is missing and cannot be downloaded.

    Example:
        >>> from metalearn.data import relation_sentences
        >>> len(relation_sentences().test["wiki/mother"])  # doctest: +SKIP
        700
    """
    content = _sentences.read("fewrel_val")
    names = {relation: name for relation, (name, _) in content["pid2name"].items()}

    def of(domain: str, chosen: Sequence[str]) -> dict[str, list[str]]:
        items = content[domain]
        return {f"{domain}/{names.get(r, r).replace('/', 'or')}": [marked(*item) for item in items[r]] for r in chosen}

    news = [relation for relation in content["nyt"] if relation not in content["wiki"]]
    semeval = [relation for relation in content["semeval"] if not relation.startswith(LIKE_WIKI)]
    train = {**of("nyt", news), **of("semeval", semeval)}
    return Corpus(train, of("pubmed", list(content["pubmed"])), of("wiki", list(content["wiki"])))


def marked(sentence: str, head: Sequence[int], tail: Sequence[int], margin: int = 3) -> str:
    """Return a sentence with marks around its two phrases, cut to what stands between them and a little around.

    Args:
        sentence: Words, with blanks between them.
        head: Places of the words of the first phrase.
        tail: Places of the words of the second phrase.
        margin: Words that are kept before the first place and after the last one.

    Example:
        >>> from metalearn.data.relations import marked
        >>> marked("In 1987 the bridge that crosses the Wye was built anew and at great cost", [3], [7])
        'In 1987 the xxhead bridge xxhead that crosses the xxtail Wye xxtail was built anew'
    """
    words = sentence.split(" ")
    for phrase, mark in ((head, HEAD), (tail, TAIL)):
        words[phrase[0]] = f"{mark} {words[phrase[0]]}"
        words[phrase[-1]] = f"{words[phrase[-1]]} {mark}"
    places = [*head, *tail]
    return " ".join(words[max(0, min(places) - margin) : max(places) + margin + 1])
