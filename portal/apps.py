"""The project itself, and the Django admin under our name and with our site class."""

from importlib import import_module

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class PortalConfig(AppConfig):
    name = "portal"


class BssConfig(AdminConfig):
    default_site = "subscriptions.admin.site.BssSite"

    def ready(self) -> None:
        # The package holds the site and registers on it. Imported by the site's own set-up it would register on a site
        # that is thrown away, so it comes first.
        import_module("subscriptions.admin")
        super().ready()
