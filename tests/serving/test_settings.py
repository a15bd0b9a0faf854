import pickle

import pytest
from pydantic import SecretStr

from recsys.errors import InputError
from serving.settings import Settings, read_settings


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "serve.toml"
    path.write_text('[limits]\nmax_in_flight = 7\ntimeout_s = 2.5\n[access]\nrate_storage = "async+memory://"\n')
    return path


def test_a_file_sets_what_it_names_and_leaves_the_rest(file):
    read = read_settings(file)
    assert (read.limits.max_in_flight, read.limits.timeout_s) == (7, 2.5)
    assert read.limits.max_body_bytes == Settings().limits.max_body_bytes
    assert read.server == Settings().server


def test_the_environment_is_stronger_than_the_file_and_the_command_line_stronger_than_both(file, monkeypatch):
    monkeypatch.setenv("RECSYS_LIMITS__MAX_IN_FLIGHT", "9")
    monkeypatch.setenv("RECSYS_SERVER__PORT", "81")
    monkeypatch.setenv("RECSYS_SERVER__HOST", "0.0.0.0")
    read = read_settings(file, server={"port": 82})
    assert (read.limits.max_in_flight, read.limits.timeout_s) == (9, 2.5)
    assert (read.server.port, read.server.host) == (82, "0.0.0.0")


def test_what_kubernetes_puts_into_the_environment_does_no_harm(monkeypatch):
    monkeypatch.setenv("RECSYS_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("RECSYS_SERVICE_HOST", "10.0.0.1")
    assert read_settings() == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("RECSYS_LIMITS__MAX_IN_FLIGHT", "0", "setting limits.max_in_flight: Input should be greater"),
        ("RECSYS_LIMITS__MAX_IN_FLIGHT", "many", "RECSYS_LIMITS__MAX_IN_FLIGHT"),
        ("RECSYS_LIMITS__MAX_INFLIGHT", "3", "setting limits.max_inflight"),
        ("RECSYS_LIMTS__TIMEOUT_S", "3", "RECSYS_LIMTS__TIMEOUT_S: no such setting"),
        ("RECSYS_LIMITS__TIMEOUT_S", "inf", "limits.timeout_s"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch, variable, value, words):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match="setting") as refusal:
        read_settings()
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("written", "words"),
    [("[limits]\nmax = 3\n", "limits.max"), ("[limit]\n", "setting limit"), ("[limits\n", "serve.toml")],
)
def test_a_wrong_file_is_named(tmp_path, written, words):
    path = tmp_path / "serve.toml"
    path.write_text(written)
    with pytest.raises(InputError) as refusal:
        read_settings(path)
    assert words in str(refusal.value)
    assert "serve.toml" in str(refusal.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml: no such file"):
        read_settings(tmp_path / "none.toml")


def test_settings_can_be_sent_to_a_worker(file):
    read = read_settings(file)
    assert pickle.loads(pickle.dumps(read)) == read


def test_secrets_are_not_shown(monkeypatch):
    monkeypatch.setenv("RECSYS_LOG__USER_KEY", "open sesame")
    monkeypatch.setenv("RECSYS_ACCESS__RATE_STORAGE", "async+redis://:hunter2@host")
    read = read_settings()
    assert read.log.user_key == SecretStr("open sesame")
    for told in (repr(read), str(read), read.model_dump_json()):
        assert "sesame" not in told
        assert "hunter2" not in told


def test_every_setting_says_what_it_is():
    for name, group in Settings.model_fields.items():
        for field_name, field in group.annotation.model_fields.items():
            plain = ("port", "format", "bundle", "max_body_bytes", "host")
            assert field.description or field_name in plain, f"{name}.{field_name}"
