"""Identifiers, CIDs, units and the limits of orders and specs."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_node.protocol import cid as cids
from assay_node.protocol import ids, units
from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.job_spec import Resources, tiers_accepted
from tests.builders.messages import a_spec, an_order, cid_values

EMPTY_FILE = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


def test_the_cid_of_an_empty_block_is_the_known_one() -> None:
    assert cids.of_block(cids.RAW, b"") == EMPTY_FILE
    assert cids.matches(cids.parse(EMPTY_FILE), b"")
    assert not cids.matches(cids.parse(EMPTY_FILE), b"x")


@given(cid_values)
def test_a_cid_survives_its_text_and_its_bytes(cid: ids.Cid) -> None:
    assert cids.parse(cid) == cid
    assert cids.from_binary(cids.to_binary(cid)) == cid
    assert cids.from_digest(cids.codec_of(cid), cids.to_digest(cid)) == cid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
        EMPTY_FILE.upper(),
        EMPTY_FILE + "a",
        EMPTY_FILE[:-1],
        EMPTY_FILE[:-1] + "v",
        "b" + "\N{GREEK SMALL LETTER ALPHA}" * 58,
    ],
)
def test_other_spellings_of_cids_are_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        cids.parse(text)


@given(st.text(max_size=80))
def test_any_text_is_a_cid_or_refused(text: str) -> None:
    with contextlib.suppress(MalformedMessage):
        assert cids.parse(text) == text


def test_addresses_have_one_form() -> None:
    assert ids.address("0x" + "Ab" * 20) == "0x" + "ab" * 20
    for bad in ("", "0x", "ab" * 20, "0x" + "zz" * 20, "0x" + "ab" * 21):
        with pytest.raises(MalformedMessage):
            ids.address(bad)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0.25", 250_000), ("$1", 1_000_000), ("0.000001", 1), ("1e-3", 1000), (" 2.50 ", 2_500_000)],
)
def test_dollars_become_microusd(text: str, amount: int) -> None:
    assert units.usd_to_microusd(text) == amount


@pytest.mark.parametrize("text", ["", "-1", "0.0000001", "nan", "inf", "1,5", "one"])
def test_amounts_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(LocalError):
        units.usd_to_microusd(text)


@given(st.integers(0, 1 << 64))
def test_money_as_text_loses_nothing(amount: int) -> None:
    assert units.usd_to_microusd(units.microusd_to_text(amount)) == amount


def test_sizes() -> None:
    assert units.parse_size("512M") == units.parse_size("512 MiB") == 512 << 20
    assert units.parse_size("1048576") == 1 << 20
    assert units.size_to_text(1536) == "1.5 KiB"
    for bad in ("", "M", "1T", "-1", "1.5G", "12ib2"):
        with pytest.raises(LocalError):
            units.parse_size(bad)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"replicas": 0}, "replicas"),
        ({"replicas": 9, "quorum": 5}, "replicas"),
        ({"quorum": 1}, "quorum"),
        ({"quorum": 4}, "quorum"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"max_ticket": 1}, "tickets"),
        ({"fee_microusd": -1}, "fee_microusd"),
        ({"max_rate_microusd": (1 << 64) - 1}, "cost"),
        ({"requester": "0x" + "AA" * 20}, "lower case"),
        ({"nonce": b""}, "nonce"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(MalformedMessage, match=text):
        an_order(**change)


def test_the_most_an_order_can_cost() -> None:
    assert an_order().max_cost_microusd == 3 * 500 * 60 + 1000
    with_panel = an_order(escalate=True)
    assert with_panel.panel_cost_microusd == 7 * 500 * 60
    assert with_panel.max_cost_microusd == (3 + 7) * 500 * 60 + 1000


def test_what_an_audit_adds_to_the_fee() -> None:
    assert an_order().audit_fee_microusd == 0
    assert an_order(audit_bps=250).audit_fee_microusd == 7 * 500 * 60 * 250 // 10_000
    assert an_order(audit_bps=10_000).audit_fee_microusd == 7 * 500 * 60


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"command": ()},
        {"command": ("",)},
        {"command": ("a\0b",)},
        {"environment": {"A-B": "x"}},
        {"environment": {"A": "x\0"}},
        {"comparison": "close"},
        {"comparison": "exact"},
        {"exact": "E99"},
        {"exact": "E21", "command": ("true",)},
        {"exact": "E21", "command": ("python", "-c", "pass")},
        {"exact": "FMA", "command": ("python",), "comparison": "exact"},
        {"tier": "t9"},
        {"version": 1},
        {"runtime": ""},
        {"runtime": "torch-2"},
        {"runtime": "wasm"},
        {"tier": "t0"},
        {"tier": "t0", "runtime": "wasm", "resources": Resources(gpus=1)},
        {"inputs": "Qm"},
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage):
        a_spec(**change)


def test_a_module_for_t0_runs_nowhere_else_and_t2_does_for_t1() -> None:
    assert a_spec(tier="t0", runtime="wasm").tier == "t0"
    assert tiers_accepted("t0") == ("t0",)
    assert tiers_accepted("t1") == ("t1", "t2")
    assert tiers_accepted("t2") == ("t2",)


def test_only_a_mode_changes_how_a_command_runs() -> None:
    assert a_spec(exact="E21", comparison="exact").mode == "E21"
    assert a_spec(exact="as-is", comparison="exact").mode is None
    assert a_spec().mode is None
