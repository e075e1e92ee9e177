"""What the demo sells. Seat ranges, prices and product ids are examples and not the vendor's."""

from dataclasses import dataclass
from decimal import Decimal

from subscriptions.models import SKU, PriceBand, Product

DESCRIPTION = "Example product of the demo: its seat range and prices are not the vendor's."


@dataclass(frozen=True)
class Row:
    sku: str
    product: str
    seats: tuple[int, int]
    prices: dict[int, str]
    """Price of a seat for a month in EUR, from a number of seats on."""
    can_suspend: bool = True
    can_change_seats: bool = True


ROWS = (
    Row("KESC", "Kaspersky Endpoint Security Cloud", (5, 150), {5: "2.10", 25: "1.90", 100: "1.70"}),
    Row("KESC-PLUS", "Kaspersky Endpoint Security Cloud Plus", (5, 300), {5: "3.30", 25: "2.95", 100: "2.60"}),
    Row("KESC-PRO", "Kaspersky Endpoint Security Cloud Pro", (10, 300), {10: "4.60", 50: "4.20", 150: "3.80"}),
    Row("KESB-SELECT", "Kaspersky Endpoint Security for Business Select", (10, 999), {10: "2.60", 100: "2.20"}),
    Row("KESB-ADVANCED", "Kaspersky Endpoint Security for Business Advanced", (10, 2000), {10: "3.90", 100: "3.30"}),
    Row("KSOS", "Kaspersky Small Office Security", (5, 50), {5: "1.80", 20: "1.60"}),
    Row("KS-M365", "Kaspersky Security for Microsoft Office 365", (5, 1000), {5: "1.40", 50: "1.20", 250: "1.00"}),
    Row("KHCS-SERVER", "Kaspersky Hybrid Cloud Security Server", (1, 100), {1: "18.50", 10: "16.00"},
        can_suspend=False),
    Row("KNEXT-EDRO", "Kaspersky Next EDR Optimum", (5, 500), {5: "4.10", 50: "3.70"}, can_change_seats=False),
)  # fmt: skip


def create() -> None:
    for row in ROWS:
        product = Product.objects.create(name=row.product, description=DESCRIPTION)
        least, most = row.seats
        sku = SKU.objects.create(
            product=product,
            code=row.sku,
            name=f"{row.product}, {least}-{most} seats, monthly",
            vendor_product_id=f"DEMO-{row.sku}",
            seats_min=least,
            seats_max=most,
            can_suspend=row.can_suspend,
            seat_change="in_place" if row.can_change_seats else "unsupported",
        )
        PriceBand.objects.bulk_create(
            PriceBand(sku=sku, seats_from=seats, price=Decimal(price)) for seats, price in row.prices.items()
        )
