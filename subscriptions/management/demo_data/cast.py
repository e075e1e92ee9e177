"""The people of the demo. Names and addresses are invented; nothing is ever sent to `.example`."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group

from subscriptions.models import Account, Language, Member, Role, User

PASSWORD = "seats for everyone"  # noqa: S105 - printed by the demo, which listens on loopback only


@dataclass(frozen=True)
class Company:
    domain: str
    time_zone: str
    people: dict[str, str]
    """{role: name}"""
    more: dict[str, Any] = field(default_factory=dict)
    """Further fields of the account."""


ACCOUNTS: dict[str, Company] = {
    "Brightwater Logistics": Company("brightwater.example", "Europe/Amsterdam", {
        Role.OWNER: "Hanna Vermeer", Role.MANAGER: "Joris Haan", Role.BUYER: "Mila Postma",
        Role.BILLING: "Ruben Dekker", Role.VIEWER: "Saar Bakker",
    }, {
        "legal_name": "Brightwater Logistics B.V.", "address": "Waalhaven 12\n3087 BM Rotterdam", "country": "NL",
        "vat_id": "NL001234567B01",
    }),
    "Lipa Dental Group": Company("lipadental.example", "Europe/Ljubljana", {
        Role.OWNER: "Ana Koren", Role.MANAGER: "Tilen Mrak", Role.BUYER: "Zala Vidmar",
        Role.BILLING: "Jure Hren", Role.VIEWER: "Neja Sever",
    }, {
        "legal_name": "Lipa Dental d.o.o.", "address": "Lipova ulica 4\n1000 Ljubljana", "country": "SI",
        "vat_id": "SI12345678", "discount": Decimal(10),
    }),
    "Northgate Schools Trust": Company("northgate.example", "Europe/London", {
        Role.OWNER: "Grace Ellwood", Role.MANAGER: "Imran Shaw", Role.BUYER: "Tess Harlow",
        Role.BILLING: "Owen Pike", Role.VIEWER: "Leah Marsh",
    }, {
        "legal_name": "Northgate Schools Trust", "address": "1 Northgate Street\nChester CH1 2HA", "country": "GB",
        "currency": "GBP",
    }),
    "Bergmann Feinmechanik": Company("bergmann.example", "Europe/Berlin", {
        Role.OWNER: "Jonas Bergmann", Role.BILLING: "Katrin Sommer",
    }, {
        "legal_name": "Bergmann Feinmechanik GmbH", "address": "Werkstraße 7\n73430 Aalen", "country": "DE",
        "vat_id": "DE123456789", "language": Language.GERMAN,
    }),
    # Has not said yet what company it is: some products ask for that first.
    "Studio Kvadrat": Company("kvadrat.example", "Europe/Zagreb", {Role.OWNER: "Petra Lukac"}),
}  # fmt: skip

STAFF_DOMAIN = "seatdesk.example"
# staff group, or None for the superuser: name
STAFF: dict[str | None, str] = {
    "Support": "Sam Okafor",
    "Operator": "Olga Brandt",
    "Approver": "Aldo Ricci",
    "Catalogue manager": "Carla Nunes",
    "Auditor": "Aubrey Finch",
    None: "Rosa Admin",
}


def email_of(who: str | None, account: str | None = None) -> str:
    """The address of the person with a role in an account, or in a staff group (None: the superuser)."""
    if account:
        return f"{who}@{ACCOUNTS[account].domain}"
    return f"{(who or 'superuser').split()[0].lower()}@{STAFF_DOMAIN}"


def create() -> None:
    """Every account with its members, and the staff; all with `PASSWORD`."""
    # Hashing is slow on purpose; one hash does for people who share one password.
    password = make_password(PASSWORD)
    for account_name, company in ACCOUNTS.items():
        account = Account.objects.create(name=account_name, time_zone=company.time_zone, **company.more)
        for role, name in company.people.items():
            user = User.objects.create(email=email_of(role, account_name), name=name, password=password)
            Member.objects.create(account=account, user=user, role=role)
    for group, name in STAFF.items():
        user = User.objects.create(
            email=email_of(group), name=name, password=password, is_staff=True, is_superuser=group is None
        )
        if group:
            user.groups.add(Group.objects.get(name=group))
