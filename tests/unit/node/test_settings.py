from pathlib import Path

import pytest
from pydantic import ValidationError

from assay_node.protocol.errors import LocalError
from assay_node.settings import Settings, assay_home, load_settings
from assay_node.settings.catalog import settings_catalog, variable_of


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("ASSAY_CONFIG", raising=False)


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_defaults_lie_under_the_home(tmp_path: Path) -> None:
    settings = load_settings()
    home = tmp_path / "home"
    assert assay_home() == home
    assert settings.chain.rpc_url == "http://127.0.0.1:8545"
    assert settings.chain.deployment == home / "deployment.json"
    assert settings.provider.database_url == f"sqlite:///{home}/provider/provider.sqlite"
    assert settings.scheduler.database_url == f"sqlite:///{home}/scheduler/scheduler.sqlite"
    assert settings.scheduler.fee_microusd == 1000


def test_the_database_follows_the_home(tmp_path: Path) -> None:
    settings = load_settings(flags={"provider.home": tmp_path / "p"})
    assert settings.provider.database_url == f"sqlite:///{tmp_path}/p/provider.sqlite"


def test_precedence_is_flag_environment_file_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config(tmp_path, "[provider]\nslots = 2\n[provider.slot]\nmemory_bytes = '1G'\n")
    assert load_settings().provider.slots == 1
    assert load_settings(config=path).provider.slots == 2
    monkeypatch.setenv("ASSAY_PROVIDER__SLOTS", "3")
    assert load_settings(config=path).provider.slots == 3
    merged = load_settings(config=path, flags={"provider.slots": 4, "provider.slot.cpus_milli": 10})
    assert merged.provider.slots == 4
    # neighbours of an overridden value keep what a lower source said
    assert merged.provider.slot.memory_bytes == 1 << 30
    assert merged.provider.slot.cpus_milli == 10
    assert load_settings(config=path, flags={"provider.slots": None}).provider.slots == 3


def test_config_file_by_environment_and_by_its_usual_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = tmp_path / "xdg" / "assay" / "config.toml"
    usual.parent.mkdir(parents=True)
    usual.write_text("log_level = 'debug'")
    assert load_settings().log_level == "debug"
    monkeypatch.setenv("ASSAY_CONFIG", str(config(tmp_path, "log_level = 'error'")))
    assert load_settings().log_level == "error"


def test_lists_from_the_environment_have_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_NETWORK__LISTEN", "/ip4/0.0.0.0/tcp/1, /ip6/::/tcp/2")
    monkeypatch.setenv("ASSAY_PROVIDER__SCHEDULERS", "/ip4/10.0.0.1/tcp/1/p2p/12D3KooW")
    settings = load_settings()
    assert settings.network.listen == ("/ip4/0.0.0.0/tcp/1", "/ip6/::/tcp/2")
    assert settings.provider.schedulers == ("/ip4/10.0.0.1/tcp/1/p2p/12D3KooW",)


def test_gpus_are_named_or_left_to_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().provider.gpus.use == ("auto",)
    monkeypatch.setenv("ASSAY_PROVIDER__GPUS__USE", "GPU-1, MIG-2")
    assert load_settings().provider.gpus.use == ("GPU-1", "MIG-2")
    assert load_settings(flags={"provider.gpus.use": "none"}).provider.gpus.use == ("none",)


def test_an_empty_variable_is_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_PROVIDER__SLOTS", "")
    assert load_settings().provider.slots == 1


def test_password_file_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_PASSWORD_FILE", "~/secret")
    assert load_settings().password_file == Path("~/secret").expanduser()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("provider.slots", "abc", "provider.slots = 'abc' (command line) is not allowed; it"),
        ("provider.slots", 0, "a whole number from 1 to 256"),
        ("scheduler.settle_wait_s", -1, "a number from 0 to 3600"),
        ("scheduler.lease_grace_s", 0, "a number above 0, at most 86400"),
        ("provider.slot.memory_bytes", "2 parsecs", "a size such as 512M, 2G"),
        ("provider.operator", "0x12", "an Ethereum address"),
        ("provider.schedulers", "/ip4/1.2.3.4/tcp/1", "end in /p2p/ and a peer ID"),
        ("network.listen", "localhost:1", "multiaddrs such as"),
        ("log_level", "loud", "one of debug, info, warning, error"),
        ("provider.persona", "saint", "one of liar, silent, staller, pretender"),
        ("provider.gpus.use", "all", "auto, none, or UUIDs of GPUs"),
        ("provider.gpus.use", "auto,GPU-1", "auto, none, or UUIDs of GPUs"),
        ("provider.gpus.use", "GPU-1,GPU-1", "auto, none, or UUIDs of GPUs"),
        ("provider.gpus.per_slot", -1, "a whole number from 0 to 64"),
        ("provider.slot", 3, "is a group of settings, not a value"),
        ("provider.slotz", 3, "there is no setting provider.slotz (command line); did you mean"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_sentence(key: str, value: object, said: str) -> None:
    with pytest.raises(LocalError) as refused:
        load_settings(flags={key: value})
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "pydantic" not in str(refused.value)


def test_the_sentence_names_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(tmp_path, "[provider]\nslots = -1\n")
    with pytest.raises(LocalError, match=rf"slots = -1 \(config file {path}\)"):
        load_settings(config=path)
    monkeypatch.setenv("ASSAY_PROVIDER__SLOTS", "many")
    with pytest.raises(
        LocalError, match=r"slots = 'many' \(environment variable ASSAY_PROVIDER__SLOTS\)"
    ):
        load_settings(config=path)


def test_several_faults_are_counted() -> None:
    with pytest.raises(LocalError, match=r"\(1 more like this\)$"):
        load_settings(flags={"provider.slots": 0, "scheduler.fee_microusd": -1})


def test_urls_that_may_hold_a_password_are_not_repeated() -> None:
    for key in ("provider.database_url", "chain.rpc_url"):
        with pytest.raises(LocalError) as refused:
            load_settings(flags={key: "mysql://me:hunter2@host"})
        assert "hunter2" not in str(refused.value)
    url = "postgresql://me:hunter2@host/assay"
    assert "hunter2" not in repr(load_settings(flags={"provider.database_url": url}))


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("ASSAY_PROVIDER__SLOTZ", "did you mean ASSAY_PROVIDER__SLOTS"),
        ("ASSAY_PROVDER__SLOTS", "did you mean ASSAY_PROVIDER__SLOTS"),
        ("ASSAY_PROVIDER", "is a group of settings"),
    ],
)
def test_variables_that_set_nothing_are_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, said: str
) -> None:
    monkeypatch.setenv(variable, "3")
    with pytest.raises(LocalError, match=said):
        load_settings()


@pytest.mark.parametrize("text", ["slots = ", "\x00", "[provider]\nslots = 1\nslots = 2"])
def test_a_config_file_that_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LocalError, match="is not TOML"):
        load_settings(config=config(tmp_path, text))


def test_a_config_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"cannot read the config file .*: no such file"):
        load_settings(config=tmp_path / "absent.toml")


def test_settings_are_frozen() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.provider.slots = 3  # type: ignore[misc]


def test_catalog_describes_every_setting_and_every_one_can_be_set_by_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    catalog = settings_catalog()
    assert all(entry.description.endswith(".") and entry.allowed for entry in catalog.values())
    assert variable_of("provider.slot.memory_bytes") == "ASSAY_PROVIDER__SLOT__MEMORY_BYTES"
    for entry in catalog.values():
        if entry.default:
            monkeypatch.setenv(entry.variable, entry.default)
    from_variables = load_settings()
    for variable in [entry.variable for entry in catalog.values()]:
        monkeypatch.delenv(variable, raising=False)
    assert from_variables == Settings()
