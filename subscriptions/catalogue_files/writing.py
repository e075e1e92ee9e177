"""The catalogue as a file that can be edited in a spreadsheet and read again."""

from collections.abc import Iterator

from django.db.models import Prefetch

from subscriptions.catalogue_files.columns import COLUMNS, NAMES, PRODUCT
from subscriptions.catalogue_files.differences import price_text
from subscriptions.models import SKU, PriceBand, Product
from subscriptions.sheets import safe, written


def lines() -> Iterator[str]:
    """The whole catalogue as CSV, line by line, in 3 queries: reading it again changes nothing.

    A product's columns stand in its first line, those of a SKU in its first line: elsewhere there is nothing to edit
    twice. A product without a SKU has a line of its own.
    """
    yield from written(_rows())


def _rows() -> Iterator[list[str]]:
    yield list(NAMES)
    skus = Prefetch("skus", SKU.objects.order_by("code"))
    bands = Prefetch("skus__price_bands", PriceBand.objects.order_by("currency", "seats_from"))
    for product in Product.objects.order_by("name").prefetch_related(skus, bands):
        about: list[Product | SKU] = [product]
        for sku in product.skus.all():
            about.append(sku)
            for band in sku.price_bands.all():
                yield _row(sku, about, band)
                about = []
            if about:
                yield _row(sku, about, None)
                about = []
        if about:
            yield _row(None, about, None)


def _row(sku: SKU | None, about: list[Product | SKU], band: PriceBand | None) -> list[str]:
    cells = {"sku": safe(sku.code) if sku else ""}
    for row in about:
        product = row if isinstance(row, Product) else row.product
        cells[PRODUCT.name] = PRODUCT.write(product.name)
        cells |= {one.name: one.write(getattr(row, one.field.name)) for one in COLUMNS if one.of is type(row)}
    if band:
        price = price_text(band.price, band.currency)
        cells |= {"currency": band.currency, "seats_from": str(band.seats_from), "price": price}
    return [cells.get(name, "") for name in NAMES]
