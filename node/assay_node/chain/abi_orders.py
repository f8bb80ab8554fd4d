"""Orders and receipts as the contracts take them, and back."""

from typing import Any

from assay_node.chain.bindings import structs
from assay_node.protocol.order import Order, SignedOrder
from assay_node.protocol.receipt import Receipt


def abi_order(order: Order) -> structs.Order:
    """Return an order as the contracts take it."""
    return structs.Order(
        requester=order.requester,
        spec=order.spec,
        hardware_class=order.hardware_class,
        scheduler=order.scheduler,
        fee=order.fee_microusd,
        max_rate=order.max_rate_microusd,
        max_seconds=order.max_seconds,
        bond=order.bond_microusd,
        replicas=order.replicas,
        quorum=order.quorum,
        max_ticket=order.max_ticket,
        commit_window=order.commit_window_s,
        reveal_window=order.reveal_window_s,
        seed_block=order.seed_block,
        expiry=order.expiry,
        audit_bps=order.audit_bps,
        escalate=order.escalate,
        nonce=order.nonce_number,
    )


def abi_receipt(receipt: Receipt) -> structs.Receipt:
    """Return a receipt as the contracts take it."""
    return structs.Receipt(
        order=abi_order(receipt.signed_order.order),
        requester_sig=receipt.signed_order.signature,
        replicas=tuple(
            structs.Replica(
                operator=replica.operator,
                rate=replica.rate_microusd,
                ticket=replica.ticket,
                secs=replica.seconds,
                tag=replica.tag,
                salt=replica.salt,
                sig=replica.signature,
            )
            for replica in receipt.replicas
        ),
    )


def signed_order_of(values: Any, signature: bytes) -> SignedOrder:
    """Return the order that a contract was given, from its decoded members.

    Raises:
        MalformedMessage: it is none that Assay signs.
    """
    order = structs.Order(*values)
    return SignedOrder(
        order=Order(
            requester=order.requester,
            spec=order.spec,
            hardware_class=order.hardware_class,
            scheduler=order.scheduler,
            fee_microusd=order.fee,
            max_rate_microusd=order.max_rate,
            max_seconds=order.max_seconds,
            bond_microusd=order.bond,
            replicas=order.replicas,
            quorum=order.quorum,
            max_ticket=order.max_ticket,
            commit_window_s=order.commit_window,
            reveal_window_s=order.reveal_window,
            seed_block=order.seed_block,
            expiry=order.expiry,
            audit_bps=order.audit_bps,
            escalate=order.escalate,
            nonce=order.nonce.to_bytes(32),
        ),
        signature=signature,
    )
