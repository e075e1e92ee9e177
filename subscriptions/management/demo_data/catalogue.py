"""What the demo sells. Seat ranges, prices, rules and product ids are examples and not the vendor's."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from subscriptions.models import SKU, ApprovalLimit, ChangeTarget, PriceBand, Product, Timing
from subscriptions.models.catalogue import BillingPeriod, CancelCredit, DecreasePolicy, IncreasePolicy

DESCRIPTION = "Example product of the demo: its seat range, prices and rules are not the vendor's."
# The price lists in other currencies, as a factor of the one in EUR.
CURRENCIES = {"EUR": Decimal(1), "GBP": Decimal("0.86")}


@dataclass(frozen=True)
class Row:
    sku: str
    product: str
    seats: tuple[int, int]
    prices: dict[int, str]
    """Price of a seat for a billing period in EUR, from a number of seats on."""
    rules: dict[str, Any] = field(default_factory=dict)
    """Fields of the SKU that differ from their defaults (by days, from the next period, monthly, for a year)."""
    needs_details: bool = False
    limits: dict[str, int] = field(default_factory=dict)
    """From which amounts staff must approve."""

    @property
    def can_suspend(self) -> bool:
        return bool(self.rules.get("can_suspend", True))

    @property
    def can_change_seats(self) -> bool:
        return self.rules.get("seat_change") != "unsupported"

    @property
    def is_yearly(self) -> bool:
        return self.rules.get("billing_period") == BillingPeriod.YEAR

    @property
    def plans_decreases(self) -> bool:
        return "decrease_policy" not in self.rules


ROWS = (
    Row("KESC", "Kaspersky Endpoint Security Cloud", (5, 150), {5: "2.10", 25: "1.90", 100: "1.70"},
        {"trial_days": 30}),
    Row("KESC-PLUS", "Kaspersky Endpoint Security Cloud Plus", (5, 300), {5: "3.30", 25: "2.95", 100: "2.60"},
        {"increase_policy": IncreasePolicy.HIGH_WATER}),
    Row("KESC-PRO", "Kaspersky Endpoint Security Cloud Pro", (10, 300), {10: "4.60", 50: "4.20", 150: "3.80"},
        {"increase_policy": IncreasePolicy.FULL_PERIOD, "decrease_policy": DecreasePolicy.IMMEDIATE_NO_CREDIT}),
    Row("KESB-SELECT", "Kaspersky Endpoint Security for Business Select", (10, 999), {10: "2.60", 100: "2.20"},
        limits={"orders_from": 800}),
    Row("KESB-ADVANCED", "Kaspersky Endpoint Security for Business Advanced", (10, 2000), {10: "39.00", 100: "33.00"},
        {"billing_period": BillingPeriod.YEAR, "cancel_credit": CancelCredit.BY_DAYS, "cancel_needs_approval": True},
        limits={"cancels_under": 500}),
    Row("KSOS", "Kaspersky Small Office Security", (5, 50), {5: "1.80", 20: "1.60"},
        {"term_months": 3, "decrease_policy": DecreasePolicy.IMMEDIATE_CREDIT}),
    Row("KS-M365", "Kaspersky Security for Microsoft Office 365", (5, 1000), {5: "1.40", 50: "1.20", 250: "1.00"},
        {"trial_days": 14, "decrease_policy": DecreasePolicy.IMMEDIATE_NO_CREDIT}),
    Row("KHCS-SERVER", "Kaspersky Hybrid Cloud Security Server", (1, 100), {1: "18.50", 10: "16.00"},
        {"can_suspend": False, "term_months": 6, "grace_days": 30}, needs_details=True),
    Row("KNEXT-EDRO", "Kaspersky Next EDR Optimum", (5, 500), {5: "4.10", 50: "3.70"},
        {"seat_change": "unsupported", "trial_days": 30, "bills_while_suspended": True}),
)  # fmt: skip

# Seats that outgrow one of the family go on in the next.
TARGETS = (
    ("KESC", "KESC-PLUS", Timing.EITHER),
    ("KESC", "KESC-PRO", Timing.NOW),
    ("KESC-PLUS", "KESC-PRO", Timing.EITHER),
    ("KESC-PLUS", "KESC", Timing.RENEWAL),
    ("KESC-PRO", "KESC-PLUS", Timing.RENEWAL),
)


def create() -> None:
    """Products, SKUs, prices in each currency, what can be changed to what, and what staff must approve."""
    skus = {row.sku: _create(row) for row in ROWS}
    ChangeTarget.objects.bulk_create(
        ChangeTarget(sku=skus[sku], target=skus[target], timing=timing) for sku, target, timing in TARGETS
    )


def _create(row: Row) -> SKU:
    product = Product.objects.create(name=row.product, description=DESCRIPTION, needs_company_details=row.needs_details)
    least, most = row.seats
    sku = SKU.objects.create(
        product=product,
        code=row.sku,
        name=f"{row.product}, {'yearly' if row.is_yearly else 'monthly'}",
        vendor_product_id=f"DEMO-{row.sku}",
        seats_min=least,
        seats_max=most,
        **row.rules,
    )
    for currency, factor in CURRENCIES.items():
        PriceBand.objects.bulk_create(
            PriceBand(sku=sku, currency=currency, seats_from=seats, price=round(Decimal(price) * factor, 2))
            for seats, price in row.prices.items()
        )
        if row.limits:
            ApprovalLimit.objects.create(sku=sku, currency=currency, **row.limits)
    return sku
