"""Every door of the portal: sign-in, Storefront, BSS."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from portal import home, theme

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("", home.home, name="home"),
    path("theme/", theme.choose, name="theme"),
    path("account/", include("allauth.account.urls")),
    path("bss/", admin.site.urls),
    path("", include("subscriptions.storefront.urls")),
]
