"""A random two-layer BERT, mean-pooled, that spells English and Chinese letter by letter."""

from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast


def save_tiny_bert(folder: Path) -> Path:
    """Write it as a sentence-transformers folder; the folder of the encoder itself."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    pieces += list("电影戏剧红楼梦茶书")
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bert = BertModel(
            BertConfig(
                vocab_size=len(pieces),
                hidden_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=128,
                max_position_embeddings=64,
            )
        )
    bert.save_pretrained(folder / "bert")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    reader = Transformer(str(folder / "bert"), max_seq_length=64)
    SentenceTransformer(modules=[reader, Pooling(64)], device="cpu").save(str(folder / "saved"))
    return folder / "saved"
