"""The contracts of one deployment, ready to be read and called."""

from typing import Final

from assay_node.chain.abi_codec import ErrorType
from assay_node.chain.bindings.court import Court
from assay_node.chain.bindings.leases import Leases
from assay_node.chain.bindings.market import Market
from assay_node.chain.bindings.providers import Providers
from assay_node.chain.bindings.road import Road
from assay_node.chain.bindings.schedulers import Schedulers
from assay_node.chain.bindings.test_usd import TestUsd
from assay_node.chain.bindings.vault import Vault
from assay_node.chain.deployment import Deployment
from assay_node.chain.rpc import JsonRpc

ERRORS: Final[dict[bytes, ErrorType]] = {
    **TestUsd.errors,
    **Vault.errors,
    **Providers.errors,
    **Market.errors,
    **Road.errors,
    **Leases.errors,
    **Court.errors,
    **Schedulers.errors,
}
"""Every error by its selector: a call of one contract may fail with another's."""


class Contracts:
    """The contracts of a deployment, over one endpoint."""

    def __init__(self, rpc: JsonRpc, deployment: Deployment) -> None:
        self.deployment = deployment
        self.token = TestUsd(rpc, deployment.token)
        self.vault = Vault(rpc, deployment.vault)
        self.providers = Providers(rpc, deployment.providers)
        self.market = Market(rpc, deployment.market)
        self.road = Road(rpc, deployment.road)
        self.leases = Leases(rpc, deployment.leases)
        self.court = Court(rpc, deployment.court)
        self.schedulers = Schedulers(rpc, deployment.schedulers)
