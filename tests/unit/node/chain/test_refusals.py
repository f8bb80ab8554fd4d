import string

import pytest
from eth_abi.abi import encode

from assay_node.chain import contracts, refusals
from assay_node.chain.abi_codec import BUILT_IN_ERRORS
from assay_node.protocol.ids import Address

NOT_ABOUT_RECEIPTS = {
    "Market_WiredToOther",  # only the constructor raises it
    "Market_PackedMalformed", "Market_PackedTooManyFor", "Market_PackedUnknownVersion",
}  # fmt: skip
ALICE = Address("0x" + "a1" * 20)
ERRORS = {error.name: error for error in (*contracts.ERRORS.values(), *BUILT_IN_ERRORS)}


def test_every_reason_of_the_market_has_a_sentence_and_there_are_no_others() -> None:
    markets = {name for name in ERRORS if name.startswith("Market_")} - NOT_ABOUT_RECEIPTS
    assert set(refusals.SKIP_REASONS) == markets


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_every_error_in_the_abis_has_a_sentence_with_its_own_members(name: str) -> None:
    template = refusals._SENTENCES[name]
    fields = {field for _, field, _, _ in string.Formatter().parse(template) if field}
    assert fields <= set(ERRORS[name].names)


def test_there_are_no_sentences_for_errors_that_do_not_exist() -> None:
    assert set(refusals._SENTENCES) <= set(ERRORS)


def test_money_and_times_are_shown_as_people_read_them() -> None:
    error = ERRORS["Vault_InsufficientFree"]
    data = error.selector + encode(error.types, [ALICE, 1_500_000, 2_000_000])
    refusal = refusals.refusal("the withdrawal", data, {error.selector: error})
    assert refusal.name == "Vault_InsufficientFree"
    assert str(refusal) == (
        f"the withdrawal was refused (Vault_InsufficientFree): account {ALICE} has $1.50 free and "
        "$2.00 is needed; deposit more first"
    )
    error = ERRORS["Providers_StillUnbonding"]
    data = error.selector + encode(error.types, [ALICE, 1_700_000_000])
    assert "2023-11-14 22:13 UTC" in str(refusals.refusal("it", data, {error.selector: error}))


@pytest.mark.parametrize("data", [None, b"", b"\x01\x02", b"\xde\xad\xbe\xef" * 3])
def test_an_unknown_revert_is_still_a_sentence(data: bytes | None) -> None:
    assert "was refused without a reason we know" in str(refusals.refusal("it", data, {}))


def test_an_error_cut_short_keeps_its_name() -> None:
    error = ERRORS["Vault_InsufficientFree"]
    refusal = refusals.refusal("it", error.selector + b"\x00", {error.selector: error})
    assert str(refusal) == "it was refused: Vault_InsufficientFree"


def test_a_contracts_own_text_cannot_write_control_characters() -> None:
    error = ERRORS["Error"]
    data = error.selector + encode(["string"], ["\x1b[31m" + "é" * 500])
    text = str(refusals.refusal("it", data, {error.selector: error}))
    assert "\\xe9" in text
    assert len(text) < 1_000


def test_a_skip_reason_names_the_error_and_says_it() -> None:
    error = ERRORS["Market_NonceSpent"]
    reason = refusals.skip_reason(error.selector, {error.selector: error})
    assert reason.startswith("Market_NonceSpent: the order was settled before")
    assert refusals.skip_reason(b"\x01\x02\x03\x04", {}).startswith("0x01020304: ")
