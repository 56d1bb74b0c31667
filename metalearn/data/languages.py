"""Names of countries in many languages: a language is a class, and a name of a country is an example of it."""

from __future__ import annotations

import gettext
import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from metalearn.data.text import Corpus, Form
from metalearn.pools import Splits

# Locales that are another one's language again, in a variant: left out, or a class would be in two splits.
VARIANTS = ("bn_BD", "bn_IN", "fil", "pa_PK", "pt_BR", "ro_MD", "tt@iqtelif", "zh_HK", "zh_TW")
# Languages that are one language to a stranger's eye stand in one split.
KIN = {"bs": "sr", "hr": "sr", "sr@latin": "sr", "nn": "nb_NO", "da": "nb_NO", "ms": "id", "gl": "pt", "ast": "es"}
LEAST = 40  # names of a language
SHARES = (0.5, 0.15)  # of the languages of each script: for training, for validation
N_TOKENS, LENGTH = 2400, 96


def languages(form: Form = "tokens") -> Splits:
    """Return names of countries by language: from a handful of them, a learner shall know the language of another.

    The names come with the package pycountry (translations of Debian's iso-codes, LGPL-2.1), so that nothing is
    downloaded. A name that is the English one, or that two languages share, is left out, and so are languages with
    fewer than 40 names left and variants of a language. Languages of each script are divided over the splits. Class
    names are ``"<script>/<language>"``, so that ``within="group"`` or ``groups=`` draws languages that share a script.

    Args:
        form: ``"tokens"``: runs of one to three characters, ``[n, 96]``, by the vocabulary of the training languages.
            ``"tfidf"``: TF-IDF vectors of the same runs.

    Raises:
        ValueError: If the form is unknown.
        ImportError: If pycountry is not installed, or for ``"tfidf"`` scikit-learn.

    Example:
        >>> from metalearn.data import languages
        >>> languages().train.class_names[0]
        'Arabic/fa'
    """
    corpus = language_names()
    if form == "tokens":
        return corpus.tokens(corpus.vocabulary(N_TOKENS), LENGTH)
    if form == "tfidf":
        vocabulary = corpus.vocabulary(N_TOKENS)
        return corpus.tfidf(analyzer=vocabulary.cut, vocabulary=vocabulary.pieces, sublinear_tf=True)
    raise ValueError(f"form must be 'tokens' or 'tfidf', got {form!r}")


def language_names() -> Corpus:
    """Return the names themselves; :func:`languages` says what they are.

    Raises:
        ImportError: If pycountry is not installed.

    Example:
        >>> from metalearn.data import language_names
        >>> "Suomi" in language_names().test.get("Latin/fi", ["Suomi"])
        True
    """
    return split_by_group(_by_class(), KIN, SHARES)


def script(text: str) -> str:
    """Return the script of most letters of a text, by the first word of their names in Unicode.

    Example:
        >>> from metalearn.data.languages import script
        >>> script("Deutschland"), script("Ελλάδα"), script("中国 (China)")
        ('Latin', 'Greek', 'Latin')
    """
    letters = Counter(unicodedata.name(sign, "?").split()[0] for sign in text if sign.isalpha())
    found = max(letters, key=lambda name: (letters[name], name)) if letters else "none"
    return "Han" if found == "CJK" else found.capitalize()


def split_by_group(texts: Mapping[str, list[str]], kin: Mapping[str, str], shares: tuple[float, float]) -> Corpus:
    """Divide classes ``"<group>/<name>"`` over the splits, group by group; kin, named by one name, stay together.

    The order is that of a hash of the names, so that it does not change when classes are added. Groups of one or two
    classes count as one group.
    """
    sizes = Counter(name.split("/")[0] for name in texts)
    groups: dict[str, dict[str, list[str]]] = {}
    for name in texts:
        group, own = name.split("/")
        place = groups.setdefault(group if sizes[group] > 2 else "others", {})
        place.setdefault(kin.get(own, own), []).append(name)
    parts: tuple[list[str], ...] = ([], [], [])
    for members in groups.values():
        families = sorted(members, key=lambda family: hashlib.sha256(family.encode()).digest())
        n_train = math.floor(shares[0] * len(families))
        ends = (0, n_train, n_train + math.floor(shares[1] * len(families)), len(families))
        for part, start, end in zip(parts, ends, ends[1:], strict=False):
            part += [name for family in families[start:end] for name in members[family]]
    return Corpus(*({name: texts[name] for name in sorted(part)} for part in parts))


@cache
def _by_class() -> Mapping[str, list[str]]:
    """Return the names that only one language has, by class."""
    found = _translations()
    owners = Counter(name.casefold() for names in found.values() for name in {name.casefold(): name for name in names})
    own = {language: [name for name in names if owners[name.casefold()] == 1] for language, names in found.items()}
    return {f"{script(''.join(names))}/{language}": names for language, names in own.items() if len(names) >= LEAST}


def _translations() -> dict[str, list[str]]:
    """Return the translated names of countries by locale, without those that are the English ones."""
    try:
        import pycountry
    except ImportError as err:
        raise ImportError('names of countries come with pycountry: pip install "metalearn-book[chapters]"') from err
    english = [country.name for country in pycountry.countries]
    same, found = {name.casefold() for name in english}, {}
    for folder in sorted(Path(pycountry.LOCALES_DIR).iterdir()):
        if folder.name in VARIANTS or not (folder / "LC_MESSAGES" / "iso3166-1.mo").is_file():
            continue
        translated = gettext.translation("iso3166-1", pycountry.LOCALES_DIR, languages=[folder.name])
        names = dict.fromkeys(translated.gettext(name).strip() for name in english)
        found[folder.name] = [name for name in names if name and name.casefold() not in same]
    return found
