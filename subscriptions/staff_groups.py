"""The groups of BSS from one table; applied after each migrate."""

from typing import Any

from django.contrib.auth.models import Group, Permission

from subscriptions import actions

_VIEWS = tuple(
    f"view_{model}"
    for model in ("account", "member", "product", "sku", "priceband", "subscription", "order", "vendorcall", "event",
                  "user", "vendorstate", "charge", "notice", "approvallimit", "changetarget",
                  "bulkrun", "takeover", "drift", "reconciliationrun")
)  # fmt: skip
_DECISIONS = tuple(action.permission.removeprefix("subscriptions.") for action in (actions.APPROVE, actions.REJECT))
_ALL_ACTIONS = tuple(f"{stem}_subscription" for stem in actions.ACTIONS)
_CATALOGUE = tuple(
    f"{verb}_{model}"
    for verb in ("add", "change", "delete")
    for model in ("product", "sku", "priceband", "approvallimit", "changetarget")
)
_ACCOUNTS = ("add_account", "change_account", "add_member", "change_member", "delete_member", "add_user", "change_user")

# To help a customer one must see what they see. Whoever only audits reads all of it in BSS, and audits these looks too.
_HELPS = ("view_as_customer",)

# product.md, section 6.
STAFF_GROUPS: dict[str, tuple[str, ...]] = {
    "Support": (*_VIEWS, "details_subscription", "retry_subscription", *_HELPS),
    "Operator": (*_VIEWS, *(one for one in _ALL_ACTIONS if one not in _DECISIONS), *_ACCOUNTS, *_HELPS),
    "Approver": (*_VIEWS, *_DECISIONS),
    "Catalogue manager": (*_VIEWS, *_CATALOGUE),
    "Auditor": _VIEWS,
}


def apply_staff_groups(**kwargs: Any) -> None:
    """Make the staff groups say exactly what the table says; runs after each migrate."""
    by_codename = {one.codename: one for one in Permission.objects.filter(content_type__app_label="subscriptions")}
    for name, codenames in STAFF_GROUPS.items():
        group, _ = Group.objects.get_or_create(name=name)
        # After a migration back, those that came later are not there.
        group.permissions.set([by_codename[one] for one in codenames if one in by_codename])
