"""Amounts in templates: `{% load money %}{{ amount|money:currency }}`."""

from decimal import Decimal

from django import template

from subscriptions import pricing

register = template.Library()


@register.filter
def money(amount: Decimal | None, currency: str) -> str:
    """The amount as every page writes it, such as `EUR 1,234.50`; empty when there is none."""
    return "" if amount is None else pricing.money(amount, currency)
