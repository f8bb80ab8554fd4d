"""What a provider charges, and what a lease earned it. Pure; money is in micro-USD."""

from assay_node.protocol.errors import Refused
from assay_node.protocol.order import Order
from assay_node.protocol.units import microusd_to_text


def quote(order: Order, *, price_microusd_per_second: int) -> int:
    """Return the rate per second at which the provider takes this order: its price.

    Never more than its price: the scheduler ranks providers by what their offers say, so asking for
    the order's cap instead would only lose leases.

    Raises:
        Refused: the order's cap is below the price.
    """
    if order.max_rate_microusd < price_microusd_per_second:
        raise Refused(
            f"the order pays at most {microusd_to_text(order.max_rate_microusd)} a second; "
            f"this provider asks {microusd_to_text(price_microusd_per_second)}"
        )
    return price_microusd_per_second
