"""`uv run manage.py count_figures`: count the figures of the BSS start page now."""

from decimal import Decimal
from typing import Any

from subscriptions import figures, pricing
from subscriptions.management.telling import TellingCommand


class Command(TellingCommand):
    help = (
        "Count the figures of the start page of BSS now, with the changes of all its days, and print them. A worker "
        "counts today's every five minutes by itself; safe to run twice and beside it."
    )

    def handle(self, **options: Any) -> None:
        row = figures.refresh(anew=True)
        self._say(f"{row.seats:>15,}  active seats in {row.running:,} subscriptions")
        for currency, amount in (row.revenue or {}).items():
            self._say(f"{pricing.money(Decimal(amount), currency):>15}  a month")
        if row.unpriced:
            self._say(f"{row.unpriced:>15,}  subscriptions without a price")
        self._say(f"{sum(row.changes.values()):>15,}  orders completed today (UTC)")
