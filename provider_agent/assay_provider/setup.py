"""Setting a provider up: keys, stake, and the signing key on chain. Safe to repeat."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from assay_node.app import chain_settings, peer_key
from assay_node.chain.client import open_chain
from assay_node.chain.wallet import WalletChain
from assay_node.network import peer_id_of
from assay_node.private_files import private_directory
from assay_node.protocol.errors import LocalError
from assay_node.protocol.hardware_class import hardware_class_digest
from assay_node.protocol.ids import Address, Digest, PeerId
from assay_node.protocol.units import microusd_to_text
from assay_node.settings import Settings
from assay_provider.inventory.hardware_class import hardware_class_of
from assay_provider.keystores import SIGNER_FILE, WALLET_FILE, Password, load_or_create

Tell = Callable[[str], None]
Confirm = Callable[[str], None]
"""Returns if the owner agrees, raises `LocalError` otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A provider that is set up; a changed signing key is not in effect before its delay."""

    operator: Address
    signer: Address
    peer_id: PeerId
    hardware_class: str
    seats: int
    stake_microusd: int
    signer_in_effect: bool
    transactions: tuple[Digest, ...]


async def init_provider(
    settings: Settings, *, seats: int, password: Password, tell: Tell, confirm: Confirm
) -> Registration:
    """Make what is missing for a provider, here and on chain; what is there is left as it is.

    Args:
        settings: where the home is, which chain, which hardware class.
        seats: how many seats the operator shall hold in the hardware class, at least 1.
        password: gives the keystores' password.
        tell: hears each step in a sentence.
        confirm: asked before money moves.

    Raises:
        LocalError: the owner declined, or keys and settings do not fit together.
        ChainError: the chain refused a step; those before it stand.
    """
    mine = settings.provider
    chain = chain_settings(settings)
    chain_id = chain.deployment.chain_id
    private_directory(mine.home)
    hardware_class = await asyncio.to_thread(hardware_class_of, mine)
    wallet, made = await asyncio.to_thread(
        load_or_create, mine.home / WALLET_FILE, password, chain_id=chain_id
    )
    tell(f"{'made' if made else 'found'} the operator's wallet {wallet.address}")
    if mine.operator not in (None, wallet.address):
        raise LocalError(
            f"provider.operator is {mine.operator}, but the wallet in {mine.home} is "
            f"{wallet.address}; unset the one or replace the other"
        )
    signer, made = await asyncio.to_thread(
        load_or_create, mine.home / SIGNER_FILE, password, chain_id=chain_id
    )
    tell(f"{'made' if made else 'found'} the signing key {signer.address}")
    peer_id = peer_id_of(peer_key(mine.home))
    tell(f"this provider's peer ID is {peer_id}")
    async with open_chain(chain, wallet) as opened:
        for what in await opened.finish_earlier():
            tell(f"an earlier run was cut short before it saw the end of: {what}")
        sent = await _stake(opened, wallet.address, hardware_class, seats, tell, confirm)
        sent += await _name_signer(opened, wallet.address, signer.address, tell)
        in_effect = await opened.signer_of(wallet.address) == signer.address
        account = await opened.account(wallet.address)
        held = await opened.seats(wallet.address, hardware_class_digest(hardware_class))
    if not in_effect:
        tell("a changed signing key takes effect after the contract's delay; leases wait for it")
    return Registration(
        operator=wallet.address,
        signer=signer.address,
        peer_id=peer_id,
        hardware_class=hardware_class,
        seats=held,
        stake_microusd=account.stake_microusd,
        signer_in_effect=in_effect,
        transactions=tuple(sent),
    )


async def _stake(
    chain: WalletChain, operator: Address, class_name: str, seats: int, tell: Tell, confirm: Confirm
) -> list[Digest]:
    hardware_class = hardware_class_digest(class_name)
    missing = seats - await chain.seats(operator, hardware_class)
    if missing <= 0:
        tell(f"{seats} seat(s) in {class_name} are held")
        return []
    cost = missing * await chain.seat_price_microusd()
    free = (await chain.account(operator)).free_microusd
    confirm(f"Stake {microusd_to_text(cost)} for {missing} seat(s) in {class_name}?")
    sent: list[Digest] = []
    if free < cost:
        tell(f"depositing {microusd_to_text(cost - free)}")
        sent.append(await chain.deposit(cost - free))
    tell(f"staking {microusd_to_text(cost)} for {missing} seat(s) in {class_name}")
    sent.append(await chain.stake(hardware_class, missing))
    return sent


async def _name_signer(
    chain: WalletChain, operator: Address, signer: Address, tell: Tell
) -> list[Digest]:
    if await chain.signer_of(operator) == signer:
        tell("the chain names this signing key")
        return []
    tell("naming the signing key on chain")
    return [await chain.set_signer(signer)]
