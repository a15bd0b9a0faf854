"""Which sentence encoder reads a catalogue whose config leaves it open: settled by the script its texts are written in.

C texts.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rich.console import Console

from recsys.catalogue import Catalogue
from recsys.config import AUTO, Config

ENGLISH, MULTILINGUAL = "all-minilm-l6-v2", "multilingual-e5-small"
OTHER_SCRIPTS = 0.1
"""The mean share of letters outside the Latin script above which the multilingual encoder reads.

The English encoder makes nothing of such letters, while the multilingual one reads English too, in twice the time: to
lose the texts of a tenth of the items is worse than to wait.
"""
MOST_TEXTS = 10_000
"""That are looked at, evenly spread over the catalogue."""


@dataclass(frozen=True)
class EncoderChoice:
    """An encoder and why it was taken."""

    name: str
    why: str
    """For whoever trains; empty where there is nothing to read."""


def settle_encoder(config: Config, catalogue: Catalogue) -> Config:
    """The config with its encoder named; where it was left to the data, it is said on standard error which and why."""
    tower = config.item_tower
    if tower.encoder != AUTO:
        return config
    choice = choose_encoder(catalogue.texts() if tower.text else [])
    if choice.why:
        Console(stderr=True).print(choice.why, highlight=False, soft_wrap=True)
    return config.model_copy(update={"item_tower": tower.model_copy(update={"encoder": choice.name})})


def choose_encoder(texts: Sequence[str]) -> EncoderChoice:
    """The encoder for texts: `ENGLISH` where they are written in Latin letters, else `MULTILINGUAL`.

    Args:
        texts: C of them, empty ones among them.

    Example:
        >>> choose_encoder(["红楼梦", "Heat"]).name, choose_encoder(["Amélie", "千与千寻 (Spirited Away)", *"ab"]).name
        ('multilingual-e5-small', 'all-minilm-l6-v2')
    """
    if not any(texts):
        return EncoderChoice(ENGLISH, "")
    share = other_script_share(texts[:: -(-len(texts) // MOST_TEXTS)])
    name = MULTILINGUAL if share > OTHER_SCRIPTS else ENGLISH
    return EncoderChoice(
        name,
        f"item_tower.encoder is {name}: of an item's letters {share:.0%} are outside the Latin script, on average. "
        "For another: --set item_tower.encoder=NAME.",
    )


def other_script_share(texts: Sequence[str]) -> float:
    """The mean over texts of the share of letters outside the Latin script; 0 where there is no letter at all.

    Every text counts the same, however long: an item with a Chinese title cannot be read without Chinese, whatever is
    written about the others. Digits, punctuation and symbols are of no script.

    Example:
        >>> other_script_share(["Heat", "红楼 (TV)", "2001: ☕", ""])
        0.25
    """
    shares = []
    for text in texts:
        kinds = Counter(map(_is_latin, text))
        if letters := kinds[True] + kinds[False]:
            shares.append(kinds[False] / letters)
    return sum(shares) / max(len(shares), 1)


@lru_cache(maxsize=65_536)
def _is_latin(character: str) -> bool | None:
    """Whether a letter is of the Latin script; None for what is no letter."""
    return "LATIN" in unicodedata.name(character, "") if character.isalpha() else None
