"""Is the code on the chain what was built? Byte for byte, and wired as it should be.

1. The code at each address equals the build's runtime code, but for the places of its immutables.
2. Every place of one immutable holds the same value.
3. The contracts name each other, the token and the treasury as the deployment file does: what
   their immutables are is theirs to say, once their code is known to be ours.
4. Where the file says how it was built, the build here agrees.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from eth_utils.crypto import keccak

from assay_node.chain.contracts import Contracts
from assay_node.chain.deployment import Build, Deployment
from assay_node.chain.hex_values import to_bytes
from assay_node.chain.rpc import JsonRpc
from assay_node.deploying.build import BuiltContract, Checkout, abi_digest
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address, Digest, to_hex

CONTRACTS: Final[Mapping[str, str]] = {
    "vault": "Vault",
    "providers": "Providers",
    "market": "Market",
    "road": "Road",
    "leases": "Leases",
    "court": "Court",
    "schedulers": "Schedulers",
}
"""A deployment's contracts of ours, and what each is built from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedContract:
    """A contract of a deployment; `fault` is empty if its code is what was built."""

    name: str
    address: Address
    code_hash: Digest
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found. `faults` are about the whole: wiring, and the file itself."""

    contracts: tuple[VerifiedContract, ...]
    faults: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.faults and not any(contract.fault for contract in self.contracts)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Everything that is wrong, in words."""
        return (*(f"{c.name}: {c.fault}" for c in self.contracts if c.fault), *self.faults)


async def verify(rpc: JsonRpc, deployment: Deployment, checkout: Checkout) -> Verification:
    """Compare a deployment with a checkout's build.

    Raises:
        LocalError: the checkout cannot be built.
        ChainUnavailable: the endpoint does not answer.
    """
    await checkout.compile()
    contracts = tuple(
        [
            await _verify_one(rpc, getattr(deployment, field), checkout.built(name))
            for field, name in CONTRACTS.items()
        ]
    )
    faults: list[str] = []
    if not any(contract.fault for contract in contracts):
        faults += await _wiring_faults(Contracts(rpc, deployment), deployment)
    if deployment.build is not None:
        faults += _build_faults(deployment.build, _build(contracts, checkout))
    return Verification(contracts=contracts, faults=tuple(faults))


async def with_build(rpc: JsonRpc, deployment: Deployment, checkout: Checkout) -> Deployment:
    """Return a deployment that says how it was built, after verifying it.

    Raises:
        LocalError: the code on the chain is not what was built.
    """
    found = await verify(rpc, deployment, checkout)
    if not found.good:
        raise LocalError(
            f"what is on the chain is not what was built: {'; '.join(found.reasons)}. Do not use it"
        )
    return replace(deployment, build=_build(found.contracts, checkout))


def fault_in(code: bytes, built: BuiltContract) -> str:
    """Return why code on a chain is not a contract as built; empty if it is."""
    if not code:
        return "there is no code at this address"
    if len(code) != len(built.runtime):
        return f"its code has {len(code)} bytes, and {len(built.runtime)} as built"
    masked = bytearray(code)
    for places in built.immutables:
        if len({code[start : start + length] for start, length in places}) > 1:
            return "one of its immutables has two values"
        for start, length in places:
            masked[start : start + length] = bytes(length)
    if masked != built.runtime:
        first = next(i for i in range(len(masked)) if masked[i] != built.runtime[i])
        return f"its code differs from what was built, from byte {first} on"
    return ""


async def _verify_one(rpc: JsonRpc, where: Address, built: BuiltContract) -> VerifiedContract:
    code = to_bytes(await rpc.read("eth_getCode", where, "latest"))
    return VerifiedContract(
        name=built.name,
        address=where,
        code_hash=Digest(keccak(code)),
        fault=fault_in(code, built),
    )


async def _wiring_faults(contracts: Contracts, deployment: Deployment) -> list[str]:
    vault, providers, market = contracts.vault, contracts.providers, contracts.market
    road, leases = contracts.road, contracts.leases
    court, schedulers = contracts.court, contracts.schedulers
    named: dict[str, tuple[Awaitable[Address], Address]] = {
        "the Vault's token": (vault.token(), deployment.token),
        "the Vault's treasury": (vault.treasury(), deployment.treasury),
        "the Vault's Providers": (vault.providers(), deployment.providers),
        "the Vault's Market": (vault.market(), deployment.market),
        "the Providers' Vault": (providers.vault(), deployment.vault),
        "the Market's Vault": (market.vault(), deployment.vault),
        "the Market's Providers": (market.providers(), deployment.providers),
        "the Market's Court": (market.court(), deployment.court),
        "the Road's Vault": (road.vault(), deployment.vault),
        "the Road's Providers": (road.providers(), deployment.providers),
        "the Road's Market": (road.market(), deployment.market),
        "the Road's Court": (road.court(), deployment.court),
        "the Leases' Vault": (leases.vault(), deployment.vault),
        "the Court's Vault": (court.vault(), deployment.vault),
        "the Court's Providers": (court.providers(), deployment.providers),
        "the Court's Market": (court.market(), deployment.market),
        "the Court's Road": (court.road(), deployment.road),
        "the Schedulers' Vault": (schedulers.vault(), deployment.vault),
        "the Schedulers' Market": (schedulers.market(), deployment.market),
    }
    found = await asyncio.gather(*(reading for reading, _ in named.values()))
    faults = [
        f"{what} is {there}, and {wanted} in the deployment file"
        for (what, (_, wanted)), there in zip(named.items(), found, strict=True)
        if there != wanted
    ]
    modules = {
        "Road": deployment.road,
        "Leases": deployment.leases,
        "Court": deployment.court,
        "Schedulers": deployment.schedulers,
    }
    for name, module in modules.items():
        if not await vault.is_module(module):
            faults.append(f"the Vault does not know the {name} as its module")
    return faults


def _build(contracts: tuple[VerifiedContract, ...], checkout: Checkout) -> Build:
    return Build(
        abi_digest=abi_digest(),
        compiler=checkout.built(contracts[0].name).compiler,
        code_hashes={contract.name: contract.code_hash for contract in contracts},
    )


def _build_faults(file: Build, here: Build) -> list[str]:
    faults = []
    if file.abi_digest != here.abi_digest:
        faults.append(
            f"the file's ABI digest is {to_hex(file.abi_digest)}, and this Assay's "
            f"{to_hex(here.abi_digest)}: it speaks to other contracts"
        )
    if dict(file.compiler) != dict(here.compiler):
        faults.append(f"the file was made by {dict(file.compiler)}, not {dict(here.compiler)}")
    faults += [
        f"the file's code hash of {name} is not that of the code on the chain"
        for name, digest in file.code_hashes.items()
        if here.code_hashes.get(name) != digest
    ]
    return faults
