"""The model card: what a bundle is, what it was trained on, how good it is, and what it should not be used for."""

from typing import Any

from recsys.bundle import Bundle
from recsys.evidence import OPTIONAL

CARD = "model_card.md"


def model_card(bundle: Bundle, metrics: dict[str, Any] | None) -> str:
    """The card as Markdown.

    Args:
        bundle: With its fingerprint.
        metrics: What metrics.json says; None before the bundle was judged.
    """
    table, catalogue, config = bundle.interactions, bundle.catalogue, bundle.config
    lines = [
        f"# Two-tower recommender {bundle.fingerprint[:12]}",
        "",
        f"Trained on {int(sum(bundle.training['item_counts'])):,} of {len(table):,} interactions of "
        f"{len(table.user_ids):,} users with {len(catalogue):,} items; split: {bundle.training['protocol']['split']}.",
        f"{len(bundle.training['curve'])} epochs, seed {config.seed}, width {config.width}, "
        f"{config.user_tower.layers} layers, histories of {config.user_tower.history_length}, "
        f"{config.train.loss} softmax.",
        "",
        "**Reads**: " + ", ".join(_read_of_items(bundle) + _read_of_events(bundle)) + ".",
        "",
        "**Reranks by**: " + _reranks_by(bundle) + ".",
        "",
        "**Meant for** ranking this catalogue's items for its users. The bundle holds every interaction it was given, "
        "user ids included: treat it as personal data. It has learnt what was chosen, and with it the habits and the "
        "inequality of what was shown then; `popularity_lift`, `coverage` and `gini` in metrics.json say how much.",
    ]
    if metrics is not None:
        lines += ["", "| | NDCG@10 (95 %) | recall@10 | recall@200 | coverage@10 |", "|---|---|---|---|---|"]
        for name, figures in metrics["recommenders"].items():
            ndcg, *others = (figures[name] for name in ("ndcg@10", "recall@10", "recall@200", "coverage@10"))
            lines.append(
                f"| {name} | {ndcg['value']:.4f} ({ndcg['low']:.4f}–{ndcg['high']:.4f}) | "
                + " | ".join(f"{figure['value']:.4f}" for figure in others)
                + " |"
            )
        lines += ["", "Protocol: " + ", ".join(f"{key} {value}" for key, value in metrics["protocol"].items()) + "."]
    return "\n".join(lines) + "\n"


def _reranks_by(bundle: Bundle) -> str:
    if bundle.reranker is None:
        return "nothing: no reranker was learnt, or it did not pay"
    evidence = bundle.reranker.evidence
    stays = ", ".join(["towers", *(group for group, names in OPTIONAL.items() if set(names) & set(evidence.names))])
    idle = ", ".join(group for group, names in OPTIONAL.items() if set(names) <= set(evidence.left_out))
    return stays + (f"; left out, since it did not pay: {idle}" if idle else "")


def _read_of_items(bundle: Bundle) -> list[str]:
    tower, read = bundle.model.item_tower, []
    if tower.text is not None:
        read.append(f"item text ({bundle.config.item_tower.encoder})")
    if tower.category is not None:
        read.append(f"{len(bundle.vocabulary.categories)} categories")
    if tower.number is not None:
        read.append("numbers (" + ", ".join(bundle.vocabulary.numbers) + ")")
    return read + (["item ids"] if tower.item_id is not None else [])


def _read_of_events(bundle: Bundle) -> list[str]:
    tower = bundle.model.user_tower
    parts = {
        "event types": tower.event,
        "event values": tower.value,
        "gaps between events": tower.gap,
        "the age of each event": tower.age_bias,
        "the calendar of the request": tower.calendar,
    }
    return [name for name, part in parts.items() if part is not None]
