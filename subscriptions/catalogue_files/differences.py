"""What a file would change, in words, and the rows to write; judged by the models' own rules."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db.models import Count, Q

from subscriptions.catalogue_files.columns import COLUMNS, PRODUCT
from subscriptions.catalogue_files.reading import BadCatalogue, Contents, Said, at
from subscriptions.models import SKU, PriceBand, Product, Subscription
from subscriptions.models.catalogue import BESIDE, clean_vendor
from subscriptions.pricing import minor_units

NEW, CHANGED, REMOVED = "new", "changed", "removed"


@dataclass(frozen=True, slots=True)
class Difference:
    """One product, SKU or price that is not as the file says. `values` are (column, before, after), as in a file."""

    kind: str
    about: str
    line: int
    values: tuple[tuple[str, str, str], ...]
    row: Product | SKU
    """Whose history it belongs to."""


@dataclass(slots=True)
class Plan:
    """All that a file would change. `notes` are sentences about what follows from it."""

    differences: list[Difference] = field(default_factory=list)
    unchanged: int = 0
    notes: list[str] = field(default_factory=list)
    new: dict[type[Any], list[Any]] = field(default_factory=lambda: defaultdict(list))
    changed: dict[type[Any], list[Any]] = field(default_factory=lambda: defaultdict(list))
    removed: list[PriceBand] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How many differences of each kind there are."""
        return {kind: sum(1 for one in self.differences if one.kind == kind) for kind in (NEW, CHANGED, REMOVED)}

    @property
    def fingerprint(self) -> str:
        """Equal for plans that change the same from the same."""
        facts = [(one.kind, one.about, one.values) for one in self.differences]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


class Comparison:
    """Contents beside the catalogue, which nobody else changes until the caller's transaction ends; 4 or 5 queries.

    The page of a SKU saves it before its prices, so that the lock on the SKU holds them too.
    """

    def __init__(self, contents: Contents) -> None:
        self.contents, self.found, self.wrong = contents, Plan(), list[str]()
        products = Product.objects.order_by("pk").select_for_update(no_key=True)
        self.products = {one.name: one for one in products}
        skus = SKU.objects.select_related("product").order_by("pk").select_for_update(of=("self",), no_key=True)
        self.skus = {one.code: one for one in skus}
        self.bands: dict[tuple[str, str, int], PriceBand] = {}
        named = [self.skus[code].pk for code in contents.skus if code in self.skus]
        for band in PriceBand.objects.filter(sku__among=named).select_related("sku"):
            self.bands[band.sku.code, band.currency, band.seats_from] = band
        # Whose prices or seats are touched, and which have another product of the vendor now.
        self.touched: dict[str, SKU] = {}
        self.of_another_product: list[str] = []

    def plan(self) -> Plan:
        """All that would change. Raises BadCatalogue."""
        self._check_spelling("product", self.contents.products, self.products)
        self._check_spelling("sku", self.contents.skus, self.skus)
        if not self.wrong:
            for name, said in self.contents.products.items():
                self._product(name, said)
            for code, said in self.contents.skus.items():
                self._sku(code, said)
            for (code, currency, seats), cell in self.contents.bands.items():
                self._band(code, currency, seats, cell.value, cell.line)
        if self.wrong:
            raise BadCatalogue(self.wrong)
        self._notes()
        return self.found

    def _check_spelling(self, column: str, said: dict[str, Said], known: Iterable[str]) -> None:
        """A name in other letters would be a second product or SKU."""
        spelled = {name.lower(): name for name in known}
        for name, one in said.items():
            other = spelled.setdefault(name.lower(), name)
            if other != name:
                self.wrong.append(at(one.line, column, f"“{name}” is written “{other}” elsewhere. Write it that way."))

    # --- products and SKUs -------------------------------------------------------------------------------------------

    def _product(self, name: str, said: Said) -> None:
        product = self.products.get(name)
        if product is None:
            product = self.products[name] = Product(name=name)
        elif "vendor" in said.cells and said.cells["vendor"].value != product.vendor:
            cell = said.cells["vendor"]
            sentence = f"{name} is of the vendor {product.vendor}, and a file cannot change that."
            self.wrong.append(at(cell.line, "vendor", sentence))
            return
        self._row(product, f"Product {name}", said)

    def _sku(self, code: str, said: Said) -> None:
        sku, named = self.skus.get(code), said.cells.get(PRODUCT.name)
        if sku is None:
            if named is None:
                self.wrong.append(at(said.line, PRODUCT.name, f"{code} is new. Say of which product it is."))
                return
            sku = self.skus[code] = SKU(code=code, product=self.products[named.value])
        elif named is not None and named.value != sku.product.name:
            sentence = (
                f"{code} is a SKU of {sku.product.name}, and a file cannot move it to another product. To rename the "
                "product, use its page."
            )
            self.wrong.append(at(named.line, PRODUCT.name, sentence))
            return
        self._row(sku, f"SKU {code}", said)

    def _row(self, row: Product | SKU, about: str, said: Said) -> None:
        is_new = row.pk is None
        values = [(PRODUCT.name, "", row.product.name)] if is_new and isinstance(row, SKU) else []
        for column in COLUMNS:
            if column.of is not type(row) or column.name not in said.cells:
                continue
            before, after = getattr(row, column.field.name), said.cells[column.name].value
            if is_new or not column.same(before, after):
                setattr(row, column.field.name, after)
                values.append((column.name, "" if is_new else column.write(before), column.write(after)))
        if not is_new and not values:
            self.found.unchanged += 1
            return
        self._judge(row, about, said)
        self.found.differences.append(Difference(NEW if is_new else CHANGED, about, said.line, tuple(values), row))
        (self.found.new if is_new else self.found.changed)[type(row)].append(row)
        if isinstance(row, SKU) and (is_new or {"seats_min", "seats_max"} & {name for name, *_ in values}):
            self.touched[row.code] = row
        for name, before, _ in values:
            if isinstance(row, SKU) and name == "vendor_product_id" and before:
                self.of_another_product.append(row.code)

    def _judge(self, row: Product | SKU, about: str, said: Said) -> None:
        """By the fields of the model; its constraints are PostgreSQL's to judge, for all rows at once."""
        try:
            row.clean_fields(exclude=["product"])
            if isinstance(row, Product):
                clean_vendor(row.vendor)
        except ValidationError as bad:
            errors = bad.error_dict if hasattr(bad, "error_dict") else {"vendor": bad.error_list}
            self._refuse(row, about, said, errors)

    def _refuse(self, row: Product | SKU, about: str, said: Said, errors: dict[str, Any]) -> None:
        by_field = {column.field.name: column.name for column in COLUMNS if column.of is type(row)}
        by_field |= {"code": "sku"} if isinstance(row, SKU) else {"name": PRODUCT.name}
        for name, found in errors.items():
            column = by_field.get(name, "")
            cell = said.cells.get(column)
            for error in found:
                missing = error.code in ("null", "blank") and cell is None
                sentence = f"{about} is new and needs it." if missing else f"{about}: {' '.join(error.messages)}"
                self.wrong.append(at(cell.line if cell else said.line, column, sentence))

    # --- prices ------------------------------------------------------------------------------------------------------

    def _band(self, code: str, currency: str, seats: int, price: Decimal | None, line: int) -> None:
        sku = self.skus.get(code)
        if sku is None:
            return
        band = self.bands.get((code, currency, seats))
        before = price_text(band.price, currency) if band else ""
        if (band.price if band else None) == price:
            self.found.unchanged += 1
            return
        self.touched[code] = sku
        if price is None:
            kind, gone = REMOVED, self.bands.pop((code, currency, seats))
            self.found.removed.append(gone)
        elif band is not None:
            kind, band.price = CHANGED, price
            self.found.changed[PriceBand].append(band)
        else:
            kind = NEW
            band = PriceBand(sku=sku, currency=currency, seats_from=seats, price=price)
            self.bands[code, currency, seats] = band
            self.found.new[PriceBand].append(band)
            self._judge_band(band, line)
        values = (("price", before, "" if price is None else price_text(price, currency)),)
        about = f"Price of {code} in {currency} from {seats:,} seat{'s' if seats != 1 else ''}"
        self.found.differences.append(Difference(kind, about, line, values, sku))

    def _judge_band(self, band: PriceBand, line: int) -> None:
        try:
            band.clean_fields(exclude=["sku"])
        except ValidationError as bad:
            for name, found in bad.error_dict.items():
                self.wrong.append(at(line, name, " ".join(found[0].messages)))

    # --- what follows ------------------------------------------------------------------------------------------------

    def _notes(self) -> None:
        started = _started([self.skus[code] for code in self.of_another_product])
        for code in self.of_another_product:
            if count := started.get(self.skus[code].pk):
                what, has, listed = (
                    ("1 subscription was", "it has of it", "it if it differs")
                    if count == 1
                    else (f"{count:,} subscriptions were", "it has of each", "those that differ")
                )
                self.found.notes.append(
                    f"{code}: {what} started before this. The licence service keeps the product that {has}; "
                    f"Drift lists {listed}."
                )
        outside = _outside([sku for sku in self.touched.values() if sku.pk])
        for code, sku in self.touched.items():
            if count := outside.get(sku.pk):
                running = "1 running subscription has" if count == 1 else f"{count:,} running subscriptions have"
                self.found.notes.append(
                    f"{code}: {running} seats outside {sku.seats_min:,} to {sku.seats_max:,}. They go on as they are."
                )
            least: dict[str, int] = {}
            for other, currency, seats in self.bands:
                if other == code:
                    least[currency] = min(seats, least.get(currency, seats))
            if not least:
                self.found.notes.append(f"{code} has no price.")
            self.found.notes += [
                f"{code} has no price in {currency} for fewer than {seats:,} seats, and can have {sku.seats_min:,}."
                for currency, seats in sorted(least.items())
                if seats > sku.seats_min
            ]

    def explain(self) -> None:
        """Raises BadCatalogue when SKUs break a rule of the database; for when writing them has failed."""
        for code, said in self.contents.skus.items():
            sku = self.skus[code]
            try:
                sku.validate_constraints()
            except ValidationError as bad:
                self._refuse(sku, f"SKU {code}", said, _beside(bad))
        if self.wrong:
            raise BadCatalogue(self.wrong)


def _beside(bad: ValidationError) -> dict[str, Any]:
    """What a rule says, by the field that it is about."""
    sentences = {
        str(rule.violation_error_message): BESIDE[rule.name] for rule in SKU._meta.constraints if rule.name in BESIDE
    }
    found: dict[str, Any] = defaultdict(list)
    for error in bad.error_dict[NON_FIELD_ERRORS]:
        found[sentences.get(str(error.message), NON_FIELD_ERRORS)].append(error)
    return found


def _outside(skus: list[SKU]) -> dict[int, int]:
    """How many subscriptions of each SKU, not yet cancelled, its range does not hold."""
    if not skus:
        return {}
    narrow = Q()
    for sku in skus:
        narrow |= Q(sku=sku.pk) & ~Q(seats__gte=sku.seats_min, seats__lte=sku.seats_max)
    rows = Subscription.objects.filter(narrow).exclude(status="cancelled").order_by()
    return dict(rows.values_list("sku").annotate(Count("pk")))


def _started(skus: list[SKU]) -> dict[int, int]:
    """How many subscriptions of each SKU the licence service has, as far as we know."""
    if not skus:
        return {}
    rows = Subscription.objects.filter(sku__in=skus, started_at__isnull=False).exclude(status="cancelled").order_by()
    return dict(rows.values_list("sku").annotate(Count("pk")))


def price_text(price: Decimal, currency: str) -> str:
    """With the decimals of its currency, or more where it has more."""
    exact = -int(price.normalize().as_tuple().exponent)
    return f"{price:.{max(minor_units(currency), exact)}f}"
