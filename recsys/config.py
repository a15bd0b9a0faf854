"""Every knob of a run, in one typed tree that is written to TOML and read back the same.

Defaults that depend on the data (`None` here) are settled by `settle`, from properties of the data alone: whether there
is a clock, whether users return to items, how long histories and the catalogue are. Never from a data set's name. The
encoder (`auto`) is settled by `encoder_choice`, from the texts.
"""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys.errors import InputError

AUTO = "auto"
"""The encoder that `encoder_choice` settles, by the texts."""


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class ItemTowerConfig(_Section):
    """What an item's vector is made of."""

    text: bool = True
    """Read title, categories and description through the sentence encoder."""
    encoder: str = AUTO
    """A folder, an installed encoder package, or a hub name, tried in this order. `auto`: by the texts' script."""
    categories: bool = True
    """One learned vector per category, averaged over the item's categories."""
    numbers: bool = True
    """Numeric columns, standardised."""
    item_id: bool = True
    """One learned vector per item."""
    warm_ids: bool = True
    """Start ids from which items are chosen near each other, instead of from chance."""
    id_dropout: float = Field(0.1, ge=0, lt=1)
    """How often training hides an item's id, so that its text alone must carry it (and so carries a cold item)."""


class UserTowerConfig(_Section):
    """How a history is read."""

    block: Literal["bert", "pre_norm"] = "pre_norm"
    """BERT's layers, or pre-norm blocks with rotary positions and a gated feed-forward."""
    layers: int = Field(2, ge=1)
    """Transformer blocks."""
    heads: int = Field(4, ge=1)
    """Attention heads; they divide `width`."""
    history_length: int = Field(200, ge=1)
    """The newest events that are read; older ones are left out."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Of hidden activations; attention weights are not dropped."""
    gaps: bool = True
    """Tell each event the time since the one before it."""
    ages: bool = True
    """Let attention see how old each event is at the request, in learned log buckets per head."""
    calendar: bool = True
    """Tell the hour, weekday and season of the request."""
    request_time: bool = True
    """Know the instant of the request. Without it the newest event's instant stands in."""
    events: bool = True
    """Tell event types apart."""
    values: bool = True
    """Read each event's value (a rating, an amount)."""


class TrainConfig(_Section):
    """How the towers learn."""

    loss: Literal["full", "sampled", "in_batch"] | None = None
    """Softmax over the whole catalogue, over sampled negatives, or over the batch. Unset: full up to 20,000 items."""
    negatives: int = Field(4096, ge=2)
    """Negatives shared by a batch, half of them from the batch, half uniform; only for the sampled loss."""
    hard_negatives: int = Field(0, ge=0)
    """Negatives beside those, mined from what lies near the batch's positives; only for the sampled loss."""
    hard_margin: float = Field(0.0, ge=-2, le=2)
    """A mined negative counts only where its cosine stays this far below the positive's; else it may well be liked."""
    log_q: Literal["counted", "streamed"] = "counted"
    """How often sampling meets an item: counted in the training table, or learnt from the batches as they pass."""
    temperature: float = Field(0.07, gt=0)
    """Divides the cosine inside the loss."""
    exclude_seen: bool | None = None
    """Leave what the user already has out of the negatives. Unset: where users do not return to items."""
    batch_events: int | None = Field(None, ge=1)
    """Events per optimiser step and process, before accumulation. Unset: a 64th of the table's, 256 to 4,096."""
    accumulation: int = Field(1, ge=1)
    """Batches whose gradients are summed into one step."""
    epochs: int | None = Field(None, ge=1)
    """Passes over the training windows, at most. Unset: 20, fewer where they are more than 3,000 steps, 3 at least."""
    patience: int = Field(5, ge=1)
    """Epochs without a better validation NDCG@10 after which training stops."""
    learning_rate: float = Field(3e-3, gt=0)
    """The peak, reached after the warm-up; a cosine takes it to zero."""
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of all steps in which the rate rises."""
    weight_decay: float = Field(0.01, ge=0)
    """On matrices; vectors of one dimension are left alone."""
    clip_norm: float = Field(1.0, gt=0)
    """Largest gradient norm."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16 autocast where the device multiplies it in hardware."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where there is one."""
    tracker: str = "tensorboard"
    """An accelerate tracker's name, or `none`."""


class SplitConfig(_Section):
    """What is held out."""

    kind: Literal["leave-one-out", "temporal"] | None = None
    """Unset: temporal where the table has a clock, leave-one-out where it has only an order."""
    cutoff_quantile: float = Field(0.9, gt=0, lt=1)
    """The share of all interactions before the test cutoff; validation takes the same share of what is left."""
    targets: Literal["next", "last", "all"] = "next"
    """Of a user's events after the cutoff: the first, the last (its history reaches past the cutoff), or the set."""


class PriorConfig(_Section):
    """The transition counter that is blended into the score of what was retrieved."""

    enabled: bool = True
    """Learn its weight on validation; the weight is zero where it does not help."""
    window: int = Field(5, ge=1)
    """How many steps apart two items still count as neighbours."""
    backward: float = Field(0.3, ge=0)
    """The weight of a pair met in reverse order."""
    step_decay: float = Field(0.7, gt=0, le=1)
    """Factor per further step between the two items."""
    history_decay: float = Field(0.8, gt=0, le=1)
    """Factor per step back in the history that is asked for its successors."""
    history_items: int = Field(20, ge=1)
    """The newest events that are asked."""
    num_candidates: int = Field(200, ge=1)
    """Retrieved items whose scores are blended."""


class RerankConfig(_Section):
    """The networks that order what was retrieved by all the evidence there is."""

    enabled: bool = True
    """Learn them on validation; they are left out where they do not clearly help. They need the prior's counts."""
    second_tower: bool = True
    """Train a second pair of towers, of the other `block`, for a second opinion of what the first retrieved."""
    second_width: int | None = Field(None, ge=8)
    """Their D. Unset: 256 where there are half a million interactions to learn from, else as the first towers'."""


class Config(_Section):
    """A whole run."""

    seed: int = 0
    """Of initial weights, batches, dropout and bootstrap."""
    width: int = Field(128, ge=8)
    """D, the length of user and item vectors."""
    item_tower: ItemTowerConfig = ItemTowerConfig()
    user_tower: UserTowerConfig = UserTowerConfig()
    train: TrainConfig = TrainConfig()
    split: SplitConfig = SplitConfig()
    prior: PriorConfig = PriorConfig()
    rerank: RerankConfig = RerankConfig()


def read_config(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """The defaults, then the TOML file, then `section.key=value` overrides.

    Raises:
        InputError: A file that is missing or not TOML, a key that does not exist, a value of the wrong kind.

    Example:
        >>> read_config(overrides=["train.temperature=0.05", "split.kind=temporal"]).train.temperature
        0.05
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file. Pass --config a TOML file, or leave it out.") from None
        except OSError as problem:
            raise InputError(f"{path}: {problem.strerror}. Pass --config a TOML file, or leave it out.") from None
        except ValueError as problem:  # not TOML, or not even UTF-8
            raise InputError(f"{path}: not TOML: {problem}. Mend the file, or write knobs as --set.") from None
    for override in overrides:
        _set(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as problem:
        first = problem.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"config, {key}: {first['msg']} (given: {first['input']!r}).{_known_keys(first)}") from None


def config_toml(config: Config) -> str:
    """The config as TOML; `read_config` of it gives the same config back. What is unset is left out."""
    lines = []
    tree = config.model_dump(exclude_none=True)
    lines += [f"{key} = {_toml(value)}" for key, value in tree.items() if not isinstance(value, dict)]
    for section, values in tree.items():
        if isinstance(values, dict):
            lines += ["", f"[{section}]"] + [f"{key} = {_toml(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # bools, numbers and strings are written alike in JSON and TOML


def _set(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise InputError(f"--set {override}: no '=' in it. Write --set train.temperature=0.07.")
    *sections, name = key.strip().split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise InputError(f"--set {override}: {section} is a value, not a section. Write --set {section}=….")
    try:
        tree[name] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        tree[name] = text.strip()  # a bare word is a string


def _known_keys(error: Any) -> str:
    if error["type"] != "extra_forbidden":
        return ""
    section: Any = Config
    for part in error["loc"][:-1]:
        section = section.model_fields[part].annotation
    return f" Known keys here: {', '.join(section.model_fields)}."


FULL_SOFTMAX_ITEMS = 20_000
"""The largest catalogue whose whole softmax the default loss takes."""
WIDE, WIDE_INTERACTIONS = 256, 500_000
"""The width of second towers where there is this much to learn from; no index has to hold their vectors."""


def settle(config: Config, *, has_clock: bool, repeat_share: float, num_items: int, num_interactions: int) -> Config:
    """Fill in what was left to the data, and switch off what the data cannot feed.

    Args:
        config: As the user gave it.
        has_clock: Whether interactions carry an instant, not only an order.
        repeat_share: The share of training interactions with an item the user already had.
        num_items: N.
        num_interactions: To train on.

    Raises:
        InputError: A width that the attention heads do not divide, or a temporal split without a clock.

    Example:
        >>> settled = settle(
        ...     Config(), has_clock=False, repeat_share=0.0, num_items=3416, num_interactions=987_531
        ... )
        >>> settled.split.kind, settled.train.loss, settled.train.epochs, settled.user_tower.ages
        ('leave-one-out', 'full', 12, False)
    """
    train, split, tower = config.train, settle_split(config.split, has_clock=has_clock), config.user_tower
    rerank = config.rerank
    if rerank.second_width is None:
        wide = max(config.width, WIDE) if num_interactions >= WIDE_INTERACTIONS else config.width
        rerank = rerank.model_copy(update={"second_width": wide})
    for key, width in (("width", config.width), ("rerank.second_width", rerank.second_width or config.width)):
        if width % (pair := 2 * tower.heads):  # rotary positions turn pairs of a head's numbers
            raise InputError(
                f"config, {key}: {width} is no multiple of {pair}, twice user_tower.heads. "
                f"Write --set {key}={max(width // pair, 1) * pair}, or another number of heads."
            )
    if train.loss is None:
        train = train.model_copy(update={"loss": "full" if num_items <= FULL_SOFTMAX_ITEMS else "sampled"})
    if train.exclude_seen is None:
        train = train.model_copy(update={"exclude_seen": repeat_share < 0.01})
    if train.batch_events is None:
        train = train.model_copy(update={"batch_events": min(max(num_interactions // 64, 256), 4096)})
    if train.epochs is None:
        affordable = 3000 * (train.batch_events or 1) // num_interactions
        train = train.model_copy(update={"epochs": min(max(affordable, 3), 20)})
    if not has_clock:
        tower = tower.model_copy(update=dict.fromkeys(("gaps", "ages", "calendar", "request_time"), False))
    return config.model_copy(update={"train": train, "split": split, "user_tower": tower, "rerank": rerank})


def settle_split(config: SplitConfig, *, has_clock: bool) -> SplitConfig:
    """Fill in the kind of split; the rest may be settled by the training rows alone, which the split must give first.

    Raises:
        InputError: A temporal split without a clock.
    """
    if config.kind is None:
        return config.model_copy(update={"kind": "temporal" if has_clock else "leave-one-out"})
    if config.kind == "temporal" and not has_clock:
        raise InputError(
            "split.kind is temporal, but the interactions have no occurred_at. Pass --split leave-one-out."
        )
    return config
