"""The Django admin under our name and with our site class."""

from django.contrib.admin.apps import AdminConfig


class BssConfig(AdminConfig):
    default_site = "subscriptions.admin.site.BssSite"
    # `subscriptions.admin` is a package that registers its models when it is imported.
