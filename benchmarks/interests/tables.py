"""README's tables of the text classifier, rebuilt from the committed results.

python -m benchmarks.interests.tables
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.accuracy.tables import READMES, put
from benchmarks.interests.texts import FROZEN, RESULTS, TF_IDF, TUNED
from recsys.lists import Figure
from recsys.text_training import POPULARITY

MARKER = "interests-text"
DATA = {"ml-1m": "MovieLens-1M, genres", "amazon-beauty": "Amazon Beauty, interests discovered"}
CHINESE = "interests-text-chinese.json"
SCORERS = {FROZEN: "frozen vectors", TUNED: "fine-tuned vectors", TF_IDF: "TF-IDF", POPULARITY: "popularity"}


def main() -> None:
    """Put the tables between their markers in both READMEs."""
    for readme in READMES:
        text = readme.read_text(encoding="utf-8")
        readme.write_text(put(text, MARKER, tables(RESULTS)), encoding="utf-8")


def tables(results: Path) -> str:
    """What a text is about, in English; below it, what of that is left in Chinese."""
    by_data = {name: _read(results / f"interests-text-{name}.json") for name in DATA}
    return "\n\n".join([scorers_table(by_data), chinese_table(_read(results / CHINESE))])


def scorers_table(by_data: dict[str, dict[str, Any]]) -> str:
    """A row per data set, a column per scorer: mean average precision of held-out items and its interval."""
    lines = [f"| mean average precision (95 %) | {' | '.join(SCORERS.values())} |", f"|---|{'---|' * len(SCORERS)}"]
    for name, result in by_data.items():
        told = [_shown(result["scorers"].get(scorer)) for scorer in SCORERS]
        lines.append(f"| {DATA[name]}, {result['items'][2]:,} items | {' | '.join(told)} |")
    return "\n".join(lines)


def chinese_table(result: dict[str, Any]) -> str:
    """A row per encoder whose head has learnt from English films: what it says of films in each language."""
    films = result["films"]
    lines = [
        f"| learnt from {films['learnt from']:,} English films | {films['held out']} held out, English | "
        f"{films['invented']} invented, English | the same in Chinese | Chinese finds its English twin |",
        "|---|---|---|---|---|",
    ]
    for name, figures in result["encoders"].items():
        asked = [_shown(figures[what]) for what in ("held out, English", "invented, English", "invented, Chinese")]
        lines.append(f"| {name} | {' | '.join(asked)} | {figures['Chinese finds its English twin']:.0%} |")
    held_out, invented = (_shown(result[POPULARITY][what]) for what in ("held out, English", "invented"))
    lines.append(f"| {POPULARITY} | {held_out} | {invented} | {invented} | |")
    return "\n".join(lines)


def _shown(figures: dict[str, Figure] | None) -> str:
    if figures is None:
        return ""
    found = figures["mean_average_precision"]
    return f"{found['value']:.3f} ({found['low']:.3f}–{found['high']:.3f})"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    main()
