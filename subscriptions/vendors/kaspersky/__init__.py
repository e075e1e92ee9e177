"""Kaspersky Subscription Service v2.0 ("UPI") behind the gateway port."""

from subscriptions.vendors.kaspersky.gateway import KasperskyGateway

__all__ = ["KasperskyGateway"]
