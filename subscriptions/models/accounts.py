"""Who uses the portal: people, customer companies, and what a person may do in one."""

from decimal import Decimal
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Lower

from subscriptions import clock
from subscriptions.models import names


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """A person who signs in with an e-mail address; without a password they must reset it first."""
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person: a member of accounts, a member of staff, or both."""

    email = models.EmailField("e-mail address", unique=True)
    name = models.CharField(max_length=150)
    is_staff = models.BooleanField("staff", default=False, help_text="May sign in to BSS.")
    is_active = models.BooleanField("active", default=True, help_text="Switch off instead of deleting the person.")
    date_joined = models.DateTimeField(default=clock.now, editable=False)

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["name"]

    name_words = names.words("name", "email")

    class Meta:
        verbose_name = "person"
        verbose_name_plural = "people"
        indexes = [GinIndex(names.words("name", "email"), name="user_words")]
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_any_case")]

    def __str__(self) -> str:
        return self.name or self.email

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name.split(" ", 1)[0]


class Language(models.TextChoices):
    ENGLISH = "en", "English"
    GERMAN = "de", "Deutsch"


class Account(models.Model):
    """A customer company. Its currency and time zone stay once it is charged: the ledger is kept in them."""

    name = models.CharField(max_length=200)
    time_zone = models.CharField(max_length=64, default="UTC", help_text="IANA name, such as Europe/Ljubljana.")
    language = models.CharField(
        max_length=8, choices=Language.choices, default=Language.ENGLISH, db_default=Language.ENGLISH
    )
    currency = models.CharField(
        max_length=3, default="EUR", db_default="EUR", help_text="ISO 4217 code of its prices and statements."
    )
    discount = models.DecimalField(
        "discount, per cent",
        max_digits=5,
        decimal_places=2,
        default=Decimal(0),
        db_default=Decimal(0),
        help_text="Off every price.",
    )
    # What a vendor or an invoice asks of a company; some products are sold to complete ones only.
    legal_name = models.CharField(max_length=200, blank=True, db_default="")
    address = models.TextField(blank=True, db_default="")
    country = models.CharField(max_length=2, blank=True, db_default="", help_text="ISO 3166 code, such as SI.")
    vat_id = models.CharField("VAT ID", max_length=32, blank=True, db_default="")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    name_words = names.words("name")

    class Meta:
        ordering = ["name"]
        indexes = [GinIndex(names.words("name"), name="account_words")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(discount__gte=0, discount__lte=100),
                name="account_discount_per_cent",
                violation_error_message="A discount is from 0 to 100 per cent.",
            ),
            models.CheckConstraint(condition=models.Q(currency__regex=r"^[A-Z]{3}$"), name="account_currency_iso"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def has_details(self) -> bool:
        """Is all known that a product may ask of a company before it is sold?"""
        return bool(self.legal_name and self.address and self.country)


class Role(models.TextChoices):
    OWNER = "owner", "Owner"
    MANAGER = "manager", "Manager"
    BUYER = "buyer", "Buyer"
    BILLING = "billing", "Billing"
    VIEWER = "viewer", "Viewer"


class Member(models.Model):
    """A person in an account, with the one role that they have there."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="members")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    notices_off = ArrayField(
        models.CharField(max_length=32),
        default=list,
        db_default=[],
        blank=True,
        help_text="Kinds of notice that the person declined.",
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "user"], name="one_role_for_a_person_in_an_account"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="member_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.get_role_display()})"
