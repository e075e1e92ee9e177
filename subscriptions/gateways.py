"""From the VENDORS setting to gateways, and what can be done with a SKU at its vendor."""

from functools import lru_cache

from django.conf import settings
from django.utils.module_loading import import_string

from subscriptions.models import SKU
from subscriptions.vendors.port import Capabilities, Gateway


@lru_cache
def gateway(vendor: str) -> Gateway:
    """The one gateway of this process for a vendor; a wrong option name fails here, at the first use.

    Raises KeyError for a vendor that VENDORS does not name.
    """
    entry = settings.VENDORS[vendor]
    built: Gateway = import_string(entry["BACKEND"])(**entry["OPTIONS"])
    return built


def missing(vendor: str) -> str:
    """The sentence for a vendor that VENDORS does not name, such as one that was taken out of it; else empty."""
    return "" if vendor in settings.VENDORS else f"“{vendor}” is no vendor of this portal any more."


def capabilities(sku: SKU) -> Capabilities:
    """What both the gateway and the SKU allow, which is nothing without a gateway; needs `sku.product` loaded."""
    if missing(sku.product.vendor):
        return Capabilities("unsupported", suspend=False)
    offered = gateway(sku.product.vendor).capabilities(sku.vendor_product_id)
    return Capabilities(
        seat_change=offered.seat_change if sku.seat_change == "in_place" else "unsupported",
        suspend=offered.suspend and sku.can_suspend,
        product_change=offered.product_change,
    )
