"""Rows for tests. A factory may insert any status; it never updates one."""

import factory
from factory.django import DjangoModelFactory

from subscriptions import clock
from subscriptions.models import (
    SKU,
    Account,
    Event,
    Member,
    Order,
    PriceBand,
    Product,
    Role,
    Subscription,
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

    product = factory.SubFactory(ProductFactory)
    code = factory.Sequence(lambda n: f"KL{n:04d}")
    name = factory.LazyAttribute(lambda self: f"{self.product.name}, 1 year")
    vendor_product_id = factory.Sequence(lambda n: f"PRODUCT-{n}")
    seats_min = 5
    seats_max = 500


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


class EventFactory(DjangoModelFactory):
    class Meta:
        model = Event

    subscription = factory.SubFactory(SubscriptionFactory)
    account = factory.SelfAttribute("subscription.account")
    kind = "increase.completed"
    at = factory.LazyFunction(clock.now)
