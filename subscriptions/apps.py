"""The one app of the portal."""

import gc
import sys

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import post_migrate


class SubscriptionsConfig(AppConfig):
    name = "subscriptions"
    verbose_name = "Subscriptions"

    def ready(self) -> None:
        import portal.checks  # noqa: F401 - importing them registers them
        from subscriptions import gateways
        from subscriptions.staff_groups import apply_staff_groups

        # What is wrong with a vendor's options fails here, at the start, and not with the first order; `doctor` starts
        # all the same, and says it in words.
        for vendor in settings.VENDORS if sys.argv[1:2] != ["doctor"] else ():
            try:
                gateways.gateway(vendor)
            except (TypeError, ValueError, OSError) as error:
                raise ImproperlyConfigured(
                    f"{vendor} cannot be set up: {type(error).__name__}: {error}. Correct the settings that begin with "
                    f"{vendor.upper()}_; uv run manage.py doctor says more."
                ) from error
        # What is loaded now stays; to search it for garbage takes a fifth of the time of bulk work.
        gc.freeze()
        post_migrate.connect(apply_staff_groups, sender=self, dispatch_uid="staff groups")
