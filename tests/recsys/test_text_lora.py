"""A fine-tuned encoder has learnt, is an ordinary encoder, and says nothing of where it was made."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from recsys.errors import InputError
from recsys.text_lora import TuningConfig, _token_ids, tune_encoder

TEXTS = [f"{word} {number}" for number in range(12) for word in ("green tea", "old book", "红茶", "红楼梦")]
LABELS = np.array([[at % 2 == 0, at % 2 == 1] for at in range(len(TEXTS))])
QUICK = TuningConfig(epochs=40, learning_rate=2e-2)


def apart(vectors):
    """How much nearer texts of one kind are to each other than to those of the other."""
    cosines = vectors @ vectors.T
    same = LABELS[:, 0][:, None] == LABELS[:, 0]
    return cosines[same].mean() - cosines[~same].mean()


@pytest.fixture(scope="module")
def untuned(encoder_folder):
    return SentenceTransformer(str(encoder_folder), device="cpu", local_files_only=True)


@pytest.fixture(scope="module")
def tuned(untuned):
    encoder = copy.deepcopy(untuned)
    return encoder, tune_encoder(encoder, TEXTS, LABELS, QUICK)


def read(encoder, texts):
    return encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False)


def test_kinds_move_apart(untuned, tuned):
    encoder, losses = tuned
    assert losses[-1] < 0.5 * losses[0]
    assert apart(read(encoder, TEXTS)) > 2 * apart(read(untuned, TEXTS))


def test_it_is_saved_as_an_ordinary_encoder_without_a_path(tuned, tmp_path, encoder_folder):
    encoder, _ = tuned
    assert not any("lora" in name for name, _ in encoder.named_parameters())
    encoder.save(str(tmp_path / "saved"))
    files = [path for path in (tmp_path / "saved").rglob("*") if path.is_file()]
    assert any(path.suffix == ".safetensors" for path in files)
    assert not any(path.suffix in (".bin", ".pt", ".pkl") or "adapter" in path.name for path in files)
    for path in files:
        assert str(encoder_folder).encode() not in path.read_bytes(), path
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu", local_files_only=True)
    np.testing.assert_allclose(read(again, TEXTS[:4]), read(encoder, TEXTS[:4]), atol=1e-5)


def test_a_seed_gives_the_same_encoder(untuned):
    config = replace(QUICK, epochs=2)
    once, again = copy.deepcopy(untuned), copy.deepcopy(untuned)
    assert tune_encoder(once, TEXTS, LABELS, config) == tune_encoder(again, TEXTS, LABELS, config)
    np.testing.assert_array_equal(read(once, TEXTS[:4]), read(again, TEXTS[:4]))


def test_texts_are_read_with_the_encoders_own_prompt(untuned):
    prompted = copy.deepcopy(untuned)
    prompted.prompts, prompted.default_prompt_name = {"query": "old "}, "query"
    assert _token_ids(prompted, ["tea"], QUICK) == _token_ids(untuned, ["old tea"], QUICK)
    assert tune_encoder(prompted, TEXTS, LABELS, replace(QUICK, epochs=1)) != tune_encoder(
        copy.deepcopy(untuned), TEXTS, LABELS, replace(QUICK, epochs=1)
    )


def test_an_encoder_without_attention_is_refused():
    words = Tokenizer(WordLevel({"[UNK]": 0, "tea": 1}, unk_token="[UNK]"))
    static = SentenceTransformer(modules=[StaticEmbedding(words, embedding_weights=np.eye(2))], device="cpu")
    with pytest.raises(InputError, match="the encoder is a StaticEmbedding, which has no attention to fine-tune"):
        tune_encoder(static, TEXTS, LABELS, QUICK)
