"""The one app of the portal."""

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class SubscriptionsConfig(AppConfig):
    name = "subscriptions"
    verbose_name = "Subscriptions"

    def ready(self) -> None:
        import portal.checks  # noqa: F401 - importing them registers them
        from subscriptions import gateways
        from subscriptions.staff_groups import apply_staff_groups

        for vendor in settings.VENDORS:
            # A wrong option name fails here, at the start, and not with the first order.
            gateways.gateway(vendor)
        post_migrate.connect(apply_staff_groups, sender=self, dispatch_uid="staff groups")
