"""Config there and back, and every way of getting it wrong in words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import Config, SplitConfig, config_toml, read_config, settle, settle_split
from recsys.errors import InputError


def through_a_file(config, tmp_path):
    (tmp_path / "run.toml").write_text(config_toml(config), encoding="utf-8")
    return read_config(tmp_path / "run.toml")


def test_every_default_survives(tmp_path):
    assert through_a_file(Config(), tmp_path) == Config() == read_config()


def test_every_key_survives_with_another_value(tmp_path):
    other = {
        bool: lambda value: not value,
        int: lambda value: value + 8,
        float: lambda value: value / 3 + 1e-7,
        str: lambda value: 'a "folder"\\with 中文\tand 🍵',
    }
    said = {
        "train.loss": "in_batch",
        "train.log_q": "streamed",
        "train.exclude_seen": False,
        "train.batch_events": 77,
        "train.epochs": 7,
        "user_tower.block": "bert",
        "train.precision": "fp32",
        "train.device": "cpu",
        "split.kind": "temporal",
        "split.targets": "all",
        "rerank.second_width": 80,
    }
    tree = Config().model_dump()
    changed = {
        name: {key: said.get(f"{name}.{key}", value) for key, value in section.items()}
        if isinstance(section, dict)
        else other[type(section)](section)
        for name, section in tree.items()
    }
    for name, section in changed.items():
        if isinstance(section, dict):
            for key, value in section.items():
                if f"{name}.{key}" not in said:
                    section[key] = other[type(value)](value)
    config = Config.model_validate(changed)
    assert not {key for key in tree if changed[key] == tree[key]}
    assert through_a_file(config, tmp_path) == config


@settings(max_examples=50, deadline=None)
@given(st.floats(min_value=1e-300, allow_infinity=False), st.integers(-(2**62), 2**62))
def test_numbers_survive_to_the_last_digit(tmp_path_factory, temperature, seed):
    train = Config().train.model_copy(update={"temperature": temperature})
    config = Config().model_copy(update={"seed": seed, "train": train})
    assert through_a_file(config, tmp_path_factory.getbasetemp()) == config


def test_overrides_go_over_the_file(tmp_path):
    (tmp_path / "run.toml").write_text("seed = 3\n[train]\nepochs = 4\nbatch_events = 5\n")
    overrides = ["train.epochs=6", " train.tracker = none ", "item_tower.text=false", "item_tower.encoder='a b'"]
    config = read_config(tmp_path / "run.toml", overrides)
    assert (config.seed, config.train.epochs, config.train.batch_events) == (3, 6, 5)
    assert (config.train.tracker, config.item_tower.text, config.item_tower.encoder) == ("none", False, "a b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[train]\ntemprature = 1.0",
            r"config, train\.temprature: .*\(given: 1\.0\)\. Known keys here: loss, negatives,",
        ),
        ("[trian]\nepochs = 1", r"config, trian: .*Known keys here: seed, width, item_tower,"),
        ("width = 4", r"config, width: Input should be greater than or equal to 8 \(given: 4\)"),
        ("width = '128'", r"config, width: Input should be a valid integer \(given: '128'\)"),
        ("[train]\nepochs = true", r"config, train\.epochs: Input should be a valid integer \(given: True\)"),
        ("[train]\nepochs = 1.5", r"config, train\.epochs: Input should be a valid integer"),
        ("[train]\ntemperature = inf", r"config, train\.temperature: Input should be a finite number"),
        (
            "[train]\nloss = 'bpr'",
            r"config, train\.loss: Input should be 'full', 'sampled' or 'in_batch' \(given: 'bpr'\)",
        ),
        ("train = 5", r"config, train: Input should be .*\(given: 5\)"),
        ("seed = x", r"run\.toml: not TOML: .*line 1.*\. Mend the file, or write knobs as --set"),
    ],
)
def test_a_wrong_file_names_the_key_and_the_remedy(tmp_path, text, message):
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_config(tmp_path / "run.toml")


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match=r"missing\.toml: no such file\. Pass --config a TOML file, or leave it out"):
        read_config(tmp_path / "missing.toml")
    with pytest.raises(InputError, match=r"Is a directory\. Pass --config a TOML file"):
        read_config(tmp_path)
    (tmp_path / "run.toml").write_bytes(b"seed = 1\n\xff")
    with pytest.raises(InputError, match=r"run\.toml: not TOML: .*utf-8"):
        read_config(tmp_path / "run.toml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.temperature", r"--set train\.temperature: no '=' in it\. Write --set train\.temperature=0\.07"),
        ("train.temperature=hot", r"config, train\.temperature: Input should be a valid number \(given: 'hot'\)"),
        ("train.temperatur=1", r"config, train\.temperatur: .*Known keys here: loss,"),
        ("seed.x=1", r"--set seed\.x=1: seed is a value, not a section\. Write --set seed=…"),
        ("=1", "config, : "),
    ],
)
def test_a_wrong_override_names_the_key_and_the_remedy(tmp_path, override, message):
    (tmp_path / "run.toml").write_text("seed = 1\n")
    with pytest.raises(InputError, match=message):
        read_config(tmp_path / "run.toml", [override])


@pytest.mark.parametrize(
    ("has_clock", "repeat_share", "num_items", "num_interactions", "settled"),
    [
        (True, 0.0, 20_000, 64_000, ("temporal", "full", True, 1000, 20, 128)),
        (True, 0.01, 20_001, 10**9, ("temporal", "sampled", False, 4096, 3, 256)),
        (False, 0.0099, 5, 499_999, ("leave-one-out", "full", True, 4096, 20, 128)),
        (False, 0.0099, 5, 500_000, ("leave-one-out", "full", True, 4096, 20, 256)),
        (False, 0.0099, 5, 10, ("leave-one-out", "full", True, 256, 20, 128)),
    ],
)
def test_what_the_data_settles(has_clock, repeat_share, num_items, num_interactions, settled):
    sizes = {"num_items": num_items, "num_interactions": num_interactions}
    config = settle(Config(), has_clock=has_clock, repeat_share=repeat_share, **sizes)
    train = config.train
    found = (config.split.kind, train.loss, train.exclude_seen, train.batch_events, train.epochs)
    assert (*found, config.rerank.second_width) == settled
    tower = config.user_tower
    assert [tower.gaps, tower.ages, tower.calendar, tower.request_time] == [has_clock] * 4
    again = settle(config, has_clock=has_clock, repeat_share=0.5, num_items=10**6, num_interactions=10**6)
    assert again == config  # settled is settled


def test_what_the_user_said_stays():
    said = read_config(
        overrides=[
            "train.loss=in_batch",
            "train.exclude_seen=false",
            "train.batch_events=77",
            "train.epochs=7",
            "split.kind=leave-one-out",
            "user_tower.ages=false",
            "rerank.second_width=64",
        ]
    )
    config = settle(said, has_clock=True, repeat_share=0.0, num_items=10, num_interactions=10)
    assert config == said


def test_second_towers_are_as_wide_as_the_first_or_wider():
    sizes = {"has_clock": False, "repeat_share": 0.0, "num_items": 10, "num_interactions": 10**6}
    for width, second in ((64, 256), (512, 512)):
        assert settle(Config(width=width), **sizes).rerank.second_width == second


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (["width=130"], r"config, width: 130 is no multiple of 8, twice user_tower\.heads\. Write --set width=128,"),
        (["width=12", "user_tower.heads=12"], r"12 is no multiple of 24, .*--set width=24,"),
        (["rerank.second_width=250"], r"rerank\.second_width: 250 is no .*--set rerank\.second_width=248,"),
    ],
)
def test_a_width_that_heads_do_not_divide_is_refused_before_anything_is_learnt(knobs, message):
    with pytest.raises(InputError, match=message):
        settle(read_config(overrides=knobs), has_clock=True, repeat_share=0.0, num_items=10, num_interactions=10)


def test_a_temporal_split_without_a_clock_is_refused():
    with pytest.raises(InputError, match=r"no occurred_at\. Pass --split leave-one-out"):
        settle_split(SplitConfig(kind="temporal"), has_clock=False)
    with pytest.raises(InputError, match="no occurred_at"):
        settle(
            read_config(overrides=["split.kind=temporal"]),
            has_clock=False,
            repeat_share=0.0,
            num_items=1,
            num_interactions=1,
        )
