"""The people of the demo. Names and addresses are invented; nothing is ever sent to `.example`."""

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group

from subscriptions.models import Account, Member, Role, User

PASSWORD = "seats for everyone"  # noqa: S105 - printed by the demo, which listens on loopback only

# account: (domain, time zone, {role: name})
ACCOUNTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "Brightwater Logistics": ("brightwater.example", "Europe/Amsterdam", {
        Role.OWNER: "Hanna Vermeer", Role.MANAGER: "Joris Haan", Role.BUYER: "Mila Postma",
        Role.BILLING: "Ruben Dekker", Role.VIEWER: "Saar Bakker",
    }),
    "Lipa Dental Group": ("lipadental.example", "Europe/Ljubljana", {
        Role.OWNER: "Ana Koren", Role.MANAGER: "Tilen Mrak", Role.BUYER: "Zala Vidmar",
        Role.BILLING: "Jure Hren", Role.VIEWER: "Neja Sever",
    }),
    "Northgate Schools Trust": ("northgate.example", "Europe/London", {
        Role.OWNER: "Grace Ellwood", Role.MANAGER: "Imran Shaw", Role.BUYER: "Tess Harlow",
        Role.BILLING: "Owen Pike", Role.VIEWER: "Leah Marsh",
    }),
    "Studio Kvadrat": ("kvadrat.example", "Europe/Zagreb", {Role.OWNER: "Petra Lukac"}),
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
        return f"{who}@{ACCOUNTS[account][0]}"
    return f"{(who or 'superuser').split()[0].lower()}@{STAFF_DOMAIN}"


def create() -> None:
    """Every account with its members, and the staff; all with `PASSWORD`."""
    # Hashing is slow on purpose; one hash does for people who share one password.
    password = make_password(PASSWORD)
    for account_name, (_, time_zone, members) in ACCOUNTS.items():
        account = Account.objects.create(name=account_name, time_zone=time_zone)
        for role, name in members.items():
            user = User.objects.create(email=email_of(role, account_name), name=name, password=password)
            Member.objects.create(account=account, user=user, role=role)
    for group, name in STAFF.items():
        user = User.objects.create(
            email=email_of(group), name=name, password=password, is_staff=True, is_superuser=group is None
        )
        if group:
            user.groups.add(Group.objects.get(name=group))
