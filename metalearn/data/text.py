"""From text to numbers: a vocabulary that is learned on training text, and corpora of texts by class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn.pools import Pool, Splits

Unit = Literal["ngrams", "words"]
Form = Literal["tokens", "tfidf", "tfidf-pieces"]
PADDING, UNKNOWN, N_SPECIAL = 0, 1, 2  # tokens of their own; those of the vocabulary follow
SIZES: dict[Unit, tuple[int, int]] = {"ngrams": (1, 3), "words": (1, 4)}  # shortest and longest piece, in characters


@dataclass(frozen=True)
class Vocabulary:
    """Pieces of text and their numbers: 0 is padding, 1 stands for what is not known, the pieces follow from 2 on.

    Args:
        pieces: The pieces, each once; a blank in one is the edge of a word.
        unit: What a text is cut into. ``"ngrams"``: all runs of one to three characters of each word, which overlap.
            ``"words"``: known words; an unknown word is cut into the longest known pieces from left to right.

    Raises:
        ValueError: If ``unit`` is unknown, or a piece stands twice.

    Example:
        >>> from metalearn.data import Vocabulary
        >>> vocabulary = Vocabulary.fit(["play a song", "play it", "stop it"], 20, unit="words")
        >>> vocabulary.cut("Play ita!")
        [' play', ' it', 'a', '!']
        >>> vocabulary.encode(["play it", "§"], length=3).tolist()
        [[3, 2, 0], [1, 0, 0]]
    """

    pieces: tuple[str, ...]
    unit: Unit = "ngrams"

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            raise ValueError(f"unit must be one of {list(get_args(Unit))}, got {self.unit!r}")
        object.__setattr__(self, "pieces", tuple(self.pieces))
        object.__setattr__(self, "_ids", {piece: i for i, piece in enumerate(self.pieces, start=N_SPECIAL)})
        if len(self._known) != len(self.pieces):
            twice = [piece for piece, count in Counter(self.pieces).items() if count > 1]
            raise ValueError(f"each piece must stand once, got {twice[:3]} more often")

    @classmethod
    def fit(cls, texts: Iterable[str], n_max: int, *, unit: Unit = "ngrams") -> Vocabulary:
        """Learn the pieces of texts: of training classes only, or the test leaks into the training.

        Args:
            texts: Texts, each with something in it.
            n_max: Pieces at most. Of ``"ngrams"`` the most frequent are kept; of ``"words"`` half are the most frequent
                words, the rest runs of one to four characters of the words that are left.
            unit: As in the class.

        Raises:
            ValueError: If there is no text, or one is empty or no text.
        """
        at_least_one(n_max=n_max)
        checked = check_texts(texts)
        if unit == "ngrams":
            return cls(tuple(_most(Counter(p for text in checked for p in _ngrams(text, unit)), n_max)), unit)
        words = Counter(word for text in checked for word in split_words(text))
        whole = [word for word in _most(words, n_max // 2) if words[word] > 1]
        counts: Counter[str] = Counter()
        for word, count in words.items():
            if word not in whole:
                counts.update({piece: count * len(piece) for piece in _ngrams(word, "words")})
            counts.update(dict.fromkeys(word, 0))  # single characters, so that few words are unknown altogether
        rest = [piece for piece in _most(counts, n_max) if piece not in whole]
        return cls((*whole, *rest[: n_max - len(whole)]), unit)

    def __len__(self) -> int:
        """Count the tokens, the two special ones included: a network's ``n_tokens``."""
        return N_SPECIAL + len(self.pieces)

    def cut(self, text: str) -> list[str]:
        """Return the pieces of a text in order; what is not known is a piece of one character, or stays an n-gram."""
        if self.unit == "ngrams":
            return _ngrams(text, "ngrams")
        return [piece for word in split_words(text) for piece in self._longest(word)]

    def encode(self, texts: Iterable[str], length: int) -> Tensor:
        """Return tokens ``[n, length]`` of texts, int64: longer ones are cut, shorter ones padded with 0 at their end.

        Args:
            texts: Texts, each with something in it.
            length: Tokens of each text.

        Raises:
            ValueError: If there is no text, or one is empty or no text.
        """
        at_least_one(length=length)
        rows = [[self._known.get(piece, UNKNOWN) for piece in self.cut(text)] for text in check_texts(texts)]
        return torch.tensor([(row + [PADDING] * length)[:length] for row in rows])

    @property
    def _known(self) -> dict[str, int]:
        found: dict[str, int] = vars(self)["_ids"]
        return found

    def _longest(self, word: str) -> list[str]:
        """Cut a word into known pieces, the longest first."""
        if word in self._known:
            return [word]
        found, start = [], 0
        while start < len(word):
            sizes = range(min(SIZES["words"][1], len(word) - start), 0, -1)
            size = next((n for n in sizes if word[start : start + n] in self._known), 1)
            piece, start = word[start : start + size], start + size
            if piece != " ":
                found.append(piece)
        return found


class Corpus(NamedTuple):
    """Texts by class, in three parts of disjoint classes.

    Example:
        >>> from metalearn.data import Corpus
        >>> corpus = Corpus({"a": ["red", "ruby"], "b": ["sky"]}, {"c": ["sea"]}, {"d": ["sun", "sand"]})
        >>> vocabulary = corpus.vocabulary(10)
        >>> corpus.tokens(vocabulary, length=8).test
        Pool(2 examples [8], 1 classes of 2)
    """

    train: Mapping[str, Sequence[str]]
    validation: Mapping[str, Sequence[str]]
    test: Mapping[str, Sequence[str]]

    def vocabulary(self, n_max: int, unit: Unit = "ngrams") -> Vocabulary:
        """Return the vocabulary of the texts for training; see :meth:`Vocabulary.fit`."""
        return Vocabulary.fit(_flat(self.train), n_max, unit=unit)

    def tokens(self, vocabulary: Vocabulary, length: int) -> Splits:
        """Return pools of tokens ``[n, length]``; a class's texts stay in their order."""
        return self._pools(lambda texts: vocabulary.encode(texts, length))

    def tfidf(self, **options: Any) -> Splits:
        """Return pools of TF-IDF vectors ``[n, n_terms]``, each of length 1 (of no known term: 0).

        Args:
            **options: Of scikit-learn's ``TfidfVectorizer``, which is fitted on the texts for training.

        Raises:
            ImportError: If scikit-learn is not installed.
        """
        try:
            from sklearn.feature_extraction.text import TfidfVectorizer
        except ImportError as err:
            raise ImportError('TF-IDF comes with scikit-learn: pip install "metalearn-book[chapters]"') from err
        vectorizer = TfidfVectorizer(dtype=np.float32, **options).fit(check_texts(_flat(self.train)))
        return self._pools(lambda texts: torch.from_numpy(vectorizer.transform(check_texts(texts)).toarray()))

    def _pools(self, encode: Callable[[list[str]], Tensor]) -> Splits:
        return Splits(*(_pool(part, encode) for part in self))


def split_words(text: str) -> list[str]:
    """Return the words and signs of a text in small letters, each with a blank before it.

    Example:
        >>> from metalearn.data.text import split_words
        >>> split_words("Isn't it?")
        [' isn', " '", ' t', ' it', ' ?']
    """
    return [f" {word}" for word in re.findall(r"\w+|[^\w\s]", text.lower())]


def check_texts(texts: Iterable[str]) -> list[str]:
    """Return texts as a list; refuse what is no text, or empty."""
    if isinstance(texts, str):
        raise ValueError(f"expected a list of texts, got one text, {texts[:40]!r}: put it into a list")
    found = list(texts)
    if not found:
        raise ValueError("expected at least one text, got none")
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise ValueError(f"expected text, got {text!r:.40} ({type(text).__name__}) as number {i}: drop or mend it")
        if not text.strip():
            raise ValueError(f"text number {i} is empty: drop it")
    return found


def _ngrams(text: str, unit: Unit) -> list[str]:
    """Return all runs of characters of each word, with a blank at the words' edges; they overlap."""
    shortest, longest = SIZES[unit]
    words = [f"{word} " if unit == "ngrams" else word for word in split_words(text)]
    runs = [word[i : i + n] for word in words for n in range(shortest, longest + 1) for i in range(len(word) - n + 1)]
    return [run for run in runs if run != " "]


def _most(counts: Counter[str], n_max: int) -> list[str]:
    """Return the most frequent pieces; of equally frequent ones the first in the alphabet, whatever was read first."""
    return sorted(counts, key=lambda piece: (-counts[piece], piece))[:n_max]


def _flat(part: Mapping[str, Sequence[str]]) -> list[str]:
    return [text for texts in part.values() for text in texts]


def _pool(part: Mapping[str, Sequence[str]], encode: Callable[[list[str]], Tensor]) -> Pool:
    labels = torch.tensor([label for label, texts in enumerate(part.values()) for _ in texts])
    return Pool(encode(_flat(part)), labels, class_names=list(part))
