"""A sentence encoder fine-tuned to tell interests: low-rank changes of its attention, merged into ordinary weights.

LoRA (Hu et al., ICLR 2022): less than a hundredth of the weights is learnt, so a few thousand texts suffice and a CPU
keeps up. What comes out is an encoder like any other, without an adapter to load. Q texts, C interests, B texts of a
batch, L tokens. Needs the extra ``tune``.
"""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys.acceleration import bf16_is_fast
from recsys.errors import InputError
from recsys.progress import progress_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class TuningConfig:
    """How an encoder is fine-tuned."""

    rank: int = 8
    """Of the change of each attention matrix."""
    dropout: float = 0.1
    learning_rate: float = 1e-3
    epochs: int = 3
    batch: int = 16
    """Texts per step."""
    tokens: int = 64
    """Of each text, at most, while learning; the tuned encoder reads as much as before."""
    sharpness: float = 20.0
    """Factor of the unit vectors before the head: entries of about 1 at T = 384."""
    seed: int = 0


def tune_encoder(
    encoder: "SentenceTransformer", texts: list[str], labels: npt.NDArray[np.bool_], config: TuningConfig
) -> list[float]:
    """Fine-tune an encoder in place, by binary cross-entropy of a linear head on its vectors.

    The head is thrown away: one is fitted on the tuned vectors afterwards, with a penalty chosen on held-out texts.

    Args:
        encoder: A transformer whose attention is named as in BERT, with pooling; in evaluation mode afterwards.
        texts: Q of them.
        labels: ``(Q, C)``.
        config: Knobs.

    Returns:
        The mean loss of each epoch.

    Raises:
        InputError: The extra is missing, or the encoder is no such transformer.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ModuleNotFoundError:
        raise InputError("fine-tuning needs peft. Run pip install 'two-tower-recsys[tune]'.") from None
    transformer, untuned = encoder[0], getattr(encoder[0], "model", None)
    if not isinstance(untuned, nn.Module):
        raise InputError(
            f"the encoder is a {type(transformer).__name__}, which has no attention to fine-tune. "
            "Leave --tune out, or train the bundle with a transformer: --set item_tower.encoder=all-minilm-l6-v2."
        )
    low_rank = LoraConfig(
        r=config.rank, lora_alpha=2 * config.rank, lora_dropout=config.dropout, target_modules=["query", "key", "value"]
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        with warnings.catch_warnings():
            # peft 0.21 still asks transformers 5 by a name that goes with version 6.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
            tuned = get_peft_model(untuned, low_rank)
        transformer.model = tuned
        head = nn.Linear(encoder.get_embedding_dimension() or 0, labels.shape[1]).to(encoder.device)
        losses = _learn(encoder, head, _token_ids(encoder, texts, config), labels, config)
    transformer.model = tuned.merge_and_unload()
    encoder.eval()
    return losses


def _learn(
    encoder: "SentenceTransformer",
    head: nn.Linear,
    token_ids: list[list[int]],
    labels: npt.NDArray[np.bool_],
    config: TuningConfig,
) -> list[float]:
    rng = np.random.default_rng(config.seed)
    device = encoder.device
    targets = torch.from_numpy(labels.astype(np.float32)).to(device)
    learnt = [weight for weight in encoder.parameters() if weight.requires_grad] + list(head.parameters())
    optimizer = torch.optim.AdamW(learnt, lr=config.learning_rate, weight_decay=0.01)
    steps = config.epochs * -(-len(token_ids) // config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps, pct_start=0.1)
    encoder.train()
    means = []
    with progress_of("fine-tuning") as progress:
        task = progress.add_task("", total=steps)
        for _ in range(config.epochs):
            losses = []
            for rows in _batches(token_ids, config.batch, rng):
                batch = _padded([token_ids[row] for row in rows], pad=encoder.tokenizer.pad_token_id or 0)
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device)):
                    vectors = encoder({name: tensor.to(device) for name, tensor in batch.items()})
                logits = head(config.sharpness * vectors["sentence_embedding"].float())
                loss = F.binary_cross_entropy_with_logits(logits, targets[torch.from_numpy(rows).to(device)])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(learnt, 1.0)
                optimizer.step()
                schedule.step()
                losses.append(float(loss.detach()))
                progress.advance(task)
            means.append(float(np.mean(losses)))
    return means


def _token_ids(encoder: "SentenceTransformer", texts: list[str], config: TuningConfig) -> list[list[int]]:
    """Read once, with the encoder's own prompt: the texts are seen in every epoch."""
    prompt = encoder.prompts.get(encoder.default_prompt_name or "") or ""
    length = min(config.tokens, encoder.max_seq_length or config.tokens)
    prompted = [prompt + text for text in texts]
    read: list[list[int]] = encoder.tokenizer(prompted, truncation=True, max_length=length)["input_ids"]
    return read


def _batches(token_ids: list[list[int]], size: int, rng: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    """Every text once, in random order, those of like length together."""
    lengths = np.array([len(ids) for ids in token_ids])
    order = np.argsort(lengths + rng.uniform(0, 8, len(lengths)), kind="stable")
    parts = [order[at : at + size] for at in range(0, len(order), size)]
    return [parts[which] for which in rng.permutation(len(parts))]


def _padded(token_ids: list[list[int]], *, pad: int) -> dict[str, Tensor]:  # each (B, L)
    longest = max(map(len, token_ids))
    ids = torch.tensor([one + [pad] * (longest - len(one)) for one in token_ids])
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in token_ids])
    return {"input_ids": ids, "attention_mask": mask}
