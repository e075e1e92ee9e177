"""Rows for tests. A factory may insert any status; it never updates one."""

from datetime import timedelta
from decimal import Decimal

import factory
from factory.django import DjangoModelFactory

from subscriptions import actions, clock, pricing
from subscriptions.actions import terms
from subscriptions.models import (
    SKU,
    Account,
    Charge,
    Drift,
    Event,
    Member,
    Order,
    PriceBand,
    Product,
    Role,
    Subscription,
    Takeover,
    User,
    VendorCall,
)
from subscriptions.vendors.port import Secret

PASSWORD = "correct horse battery"


class UserFactory(DjangoModelFactory):
    class Meta:
        model = User
        skip_postgeneration_save = True

    email = factory.Sequence(lambda n: f"person{n}@example.com")
    name = factory.Sequence(lambda n: f"Person {n}")

    @factory.post_generation
    def password(self, create, extracted, **kwargs):
        # Hashing is slow on purpose, so only people who sign in get a password.
        if extracted:
            self.set_password(extracted)
            self.save(update_fields=["password"])


class AccountFactory(DjangoModelFactory):
    class Meta:
        model = Account

    name = factory.Sequence(lambda n: f"Company {n}")


class MemberFactory(DjangoModelFactory):
    class Meta:
        model = Member

    account = factory.SubFactory(AccountFactory)
    user = factory.SubFactory(UserFactory)
    role = Role.OWNER


class ProductFactory(DjangoModelFactory):
    class Meta:
        model = Product

    name = factory.Sequence(lambda n: f"Endpoint Product {n}")


class SKUFactory(DjangoModelFactory):
    class Meta:
        model = SKU
        skip_postgeneration_save = True

    product = factory.SubFactory(ProductFactory)
    code = factory.Sequence(lambda n: f"KL{n:04d}")
    name = factory.LazyAttribute(lambda self: f"{self.product.name}, 1 year")
    vendor_product_id = factory.Sequence(lambda n: f"PRODUCT-{n}")
    seats_min = 5
    seats_max = 500
    # At once, so that a test of a decrease sees it; what the next period brings has tests of its own.
    decrease_policy = "immediate_no_credit"

    @factory.post_generation
    def prices(self, create, extracted, **kwargs):
        """{seats from: price} in EUR; one price for all unless told otherwise, none with {}."""
        bands = {1: "3.50"} if extracted is None else extracted
        PriceBand.objects.bulk_create(PriceBand(sku=self, seats_from=n, price=price) for n, price in bands.items())


class PriceBandFactory(DjangoModelFactory):
    class Meta:
        model = PriceBand

    sku = factory.SubFactory(SKUFactory)
    seats_from = 5
    price = "3.50"


class SubscriptionFactory(DjangoModelFactory):
    """Active with 25 seats unless said otherwise; the emulator knows it only when `at_vendor` put it there."""

    class Meta:
        model = Subscription

    account = factory.SubFactory(AccountFactory)
    sku = factory.SubFactory(SKUFactory)
    status = "active"
    seats = 25
    created_at = factory.LazyFunction(clock.now)
    started_at = factory.LazyAttribute(lambda self: None if self.status in ("pending", "failed") else self.created_at)
    suspended_at = factory.LazyAttribute(lambda self: self.created_at if self.status == "suspended" else None)
    cancelled_at = factory.LazyAttribute(lambda self: self.created_at if self.status == "cancelled" else None)
    activation_code = factory.LazyAttribute(
        lambda self: None if self.status in ("pending", "failed") else Secret("FAKE0-AAAAA-BBBBB-CCCCC")
    )
    ends_at = None
    grace_ends = None
    currency = factory.SelfAttribute("account.currency")
    # The first period and term, as a start on that day begins them.
    period_start = factory.LazyAttribute(
        lambda self: self.started_at and actions.local_day(self.started_at, self.account)
    )
    anchor_day = factory.LazyAttribute(lambda self: self.period_start and self.period_start.day)
    period_end = factory.LazyAttribute(
        lambda self: self.period_start and pricing.first_period(self.period_start, self.sku.billing_months).end
    )
    term_end = factory.LazyAttribute(
        lambda self: (
            self.period_start and pricing.add_months(self.period_start, self.sku.term_months, self.period_start.day)
        )
    )
    peak_seats = factory.LazyAttribute(lambda self: self.seats if self.period_start else 0)
    reminder_due_on = factory.LazyAttribute(lambda self: self.term_end and self.term_end - timedelta(days=30))
    next_due_at = factory.LazyAttribute(lambda self: terms.next_due(self))


class OrderFactory(DjangoModelFactory):
    class Meta:
        model = Order

    subscription = factory.SubFactory(SubscriptionFactory)
    action = "increase"
    status = "completed"
    before = {"Seats": 20}
    after = {"Seats": 25}
    audience = "storefront"
    placed_at = factory.LazyFunction(clock.now)
    due_at = factory.LazyAttribute(
        lambda self: self.placed_at + timedelta(days=30) if self.status == "scheduled" else None
    )
    next_attempt_at = factory.LazyAttribute(
        lambda self: self.placed_at if self.status in ("placed", "in_progress") else None
    )
    finished_at = factory.LazyAttribute(lambda self: self.placed_at if self.status in ("completed", "failed") else None)


class VendorCallFactory(DjangoModelFactory):
    class Meta:
        model = VendorCall

    order = factory.SubFactory(OrderFactory)
    subscription = factory.SelfAttribute("order.subscription")
    purpose = "write"
    transaction_id = factory.Faker("uuid4")
    asked = "<Activate/>"
    started_at = factory.LazyFunction(clock.now)
    deadline = factory.LazyFunction(clock.now)


class DriftFactory(DjangoModelFactory):
    """Open, and with 5 seats at stake; the vendor says 30."""

    class Meta:
        model = Drift

    subscription = factory.SubFactory(SubscriptionFactory)
    vendor = "kaspersky"
    subscriber_id = factory.SelfAttribute("subscription.subscriber_id")
    field = "seats"
    ours = "25"
    theirs = "30"
    record = factory.LazyAttribute(
        lambda self: {"status": "Started", "seats": 30, "product": self.subscription.sku.vendor_product_id}
    )
    currency = factory.SelfAttribute("subscription.currency")
    amount = Decimal("17.50")
    found_at = factory.LazyFunction(clock.now)
    seen_at = factory.SelfAttribute("found_at")


class TakeoverFactory(DjangoModelFactory):
    class Meta:
        model = Takeover

    source = "Old portal"
    reason = "We move"
    audience = "command"
    file = "file base.csv"
    asks_vendor = True
    created_at = factory.LazyFunction(clock.now)


class EventFactory(DjangoModelFactory):
    class Meta:
        model = Event

    subscription = factory.SubFactory(SubscriptionFactory)
    account = factory.SelfAttribute("subscription.account")
    kind = "increase.completed"
    at = factory.LazyFunction(clock.now)


class ChargeFactory(DjangoModelFactory):
    """A line booked now; a negative amount is a credit, and one that `corrects` another is its correction."""

    class Meta:
        model = Charge

    subscription = factory.SubFactory(SubscriptionFactory)
    account = factory.SelfAttribute("subscription.account")
    event = factory.SubFactory(EventFactory, subscription=factory.SelfAttribute("..subscription"))
    kind = factory.LazyAttribute(
        lambda self: "correction" if self.corrects else "credit" if self.amount < 0 else "change"
    )
    words = "5 seats added"
    seats = 5
    unit_price = Decimal("3.50")
    currency = factory.SelfAttribute("account.currency")
    amount = Decimal("17.50")
    booked_at = factory.LazyFunction(clock.now)
    booked_on = factory.LazyAttribute(lambda self: actions.local_day(self.booked_at, self.account))
    period_start = factory.SelfAttribute("covers_from")
    covers_from = factory.SelfAttribute("booked_on")
    covers_to = factory.LazyAttribute(lambda self: self.covers_from + timedelta(days=30))
    corrects = None
