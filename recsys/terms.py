"""Names for groups of texts: the terms that tell a group from the others, in English, Chinese or both.

A word is a run of letters. Chinese is written without gaps, so a run of Chinese characters is read as all its pieces of
two to four characters: no dictionary is needed, and pieces do as well as words for telling texts apart (Nie, Gao, Zhang
and Zhou, IRAL 2000). A piece that mostly stands inside a longer one gives way to it, so names show whole words.
"""

import re
from collections import Counter
from collections.abc import Sequence
from math import log

CHINESE = "㐀-䶿一-鿿豈-﫿"
RUN = re.compile(rf"[{CHINESE}]+|[^\W\d_{CHINESE}]+(?:['’][^\W\d_{CHINESE}]+)*")
IS_CHINESE = re.compile(rf"[{CHINESE}]")
PIECES = (2, 3, 4)
"""Lengths in which a Chinese run is read."""
INSIDE = 0.8
"""A piece gives way to a longer one that has at least this share of its occurrences."""
NAME_TERMS = 3
TERMS_LOOKED_AT = 40
"""Of a group, best first: what names are made of."""
_GRAMMAR = (
    "a about after again all also am an and any are as at be because been before being both but by can could did do "
    "does for from had has have he her here him his how i if in into is it its just me more most my no nor not now of "
    "off on once only or other our out over own she so some such than that the their them then there these they this "
    "those through to too under until up very was we were what when where which while who whom why will with would you "
    "your de la le les el en und der die das one two three new back get gets go goes make makes take takes find finds"
)
GRAMMAR = frozenset(_GRAMMAR.split())
"""Words that say nothing of what a text is about."""
CHINESE_GRAMMAR = frozenset("的了着和与及或在是有之其这那我你他她它们也都就不而被把让从到向对为以于吗呢吧")
"""Characters that begin and end no name."""


def terms_of(text: str) -> list[str]:
    """The terms of a text, in order.

    Example:
        >>> terms_of("The Red Chamber")
        ['red', 'chamber']
        >>> terms_of("红楼梦 2")
        ['红楼', '楼梦', '红楼梦']
    """
    terms: list[str] = []
    for run in RUN.findall(text.lower()):
        if IS_CHINESE.match(run):
            pieces = (run[at : at + size] for size in PIECES for at in range(len(run) - size + 1))
            terms += (piece for piece in pieces if not {piece[0], piece[-1]} & CHINESE_GRAMMAR)
        elif len(run) > 1 and run not in GRAMMAR:
            terms.append(run)
    return terms


def distinctive_terms(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """For each group of texts its terms, the most telling first.

    By class-based TF-IDF: tf(t, g) · log(1 + A / f(t)), with f(t) the occurrences of a term in all groups and A the
    mean number of terms of a group (Grootendorst, BERTopic, 2022). A text that repeats a term counts once: the name of
    its hero tells nothing of the others.

    Example:
        >>> distinctive_terms([["red apple", "red pear", "ripe apple"], ["red bolt", "steel bolt"]])
        [['apple', 'red', 'pear', 'ripe'], ['bolt', 'steel', 'red']]
    """
    counts = [Counter(term for text in group for term in dict.fromkeys(terms_of(text))) for group in groups]
    everywhere = sum(counts, Counter())
    mean = everywhere.total() / max(len(groups), 1)
    ranked = []
    for found in counts:
        weights = {term: count * log(1 + mean / everywhere[term]) for term, count in found.items()}
        ranked.append(sorted(weights, key=lambda term: (-weights[term], -len(term), term)))
    return [_whole_words(terms, found) for terms, found in zip(ranked, counts, strict=True)]


def names_of(groups: Sequence[Sequence[str]]) -> list[str]:
    """A short name for each group of texts; no two are alike. A group without a term is called ``other``.

    Example:
        >>> names_of([["red apple", "ripe apple"], ["bolt", "steel bolt"], [""]])
        ['apple, ripe, red', 'bolt, steel', 'other']
    """
    taken: Counter[str] = Counter()
    names = []
    for terms in distinctive_terms(groups):
        name = ", ".join(terms[:NAME_TERMS]) or "other"
        taken[name] += 1
        names.append(name if taken[name] == 1 else f"{name} ({taken[name]})")
    return names


def _whole_words(terms: Sequence[str], counts: Counter[str]) -> list[str]:
    """Without Chinese pieces that mostly stand inside a longer one, or that cut into one named before."""
    kept: list[str] = []
    for term in terms[:TERMS_LOOKED_AT]:
        if IS_CHINESE.match(term):
            longer = (other for other in terms if len(other) > len(term) and term in other)
            if any(counts[other] >= INSIDE * counts[term] for other in longer):
                continue
            if any(term in other or other in term for other in kept):
                continue
        kept.append(term)
    return kept
