"""Every door of the portal: sign-in, Storefront, BSS."""

from allauth.account import views as account
from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path, re_path

from portal import health, home, metrics, theme, viewing

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]  # as allauth wants it

# allauth's own list would also mount sign-up and e-mail pages that nobody here may use; `account_signup` stays, since
# other pages of allauth look its address up, and says that it is closed.
sign_in = [
    path("login/", account.login, name="account_login"),
    path("logout/", account.logout, name="account_logout"),
    path("inactive/", account.account_inactive, name="account_inactive"),
    path("signup/", account.signup, name="account_signup"),
    path("reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("password/change/", account.password_change, name="account_change_password"),
    path("password/set/", account.password_set, name="account_set_password"),
    path("password/reset/", account.password_reset, name="account_reset_password"),
    path("password/reset/done/", account.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        account.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path(
        "password/reset/key/done/",
        account.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
]

urlpatterns = [
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
    path("", home.home, name="home"),
    path("theme/", theme.choose, name="theme"),
    path("viewing/stop/", viewing.stop, name="stop_viewing"),
    path("account/", include(sign_in)),
    path("bss/", admin.site.urls),
    path("", include("subscriptions.storefront.urls")),
]
