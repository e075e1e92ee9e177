"""Sign-in rules on top of allauth."""

import time
from typing import Any, ClassVar

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.auth_backends import AuthenticationBackend
from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.http import HttpRequest, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from subscriptions import statements
from subscriptions.models import User


class ClosedAccountAdapter(DefaultAccountAdapter):
    """Nobody signs up alone: people come by invitation."""

    error_messages: ClassVar[dict[str, Any]] = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "The email address or the password is not right.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False


class Backend(AuthenticationBackend):
    """allauth's; the person of a request knows `sees_statements` too, which every page's way around the site asks."""

    def get_user(self, user_id: Any) -> User | None:
        person = statements.with_sight(User.objects.all()).filter(pk=user_id).first()
        return person if person is not None and self.user_can_authenticate(person) else None


def confirm_first(request: HttpRequest, back: str) -> HttpResponseRedirect | None:
    """To the page that asks for the password, when the sign-in is old; `back` is where it leads afterwards.

    A POST is not repeated then: the person asks once more on the page they come back to.
    """
    return (
        None
        if signed_in_recently(request)
        else redirect(f"{reverse('account_reauthenticate')}?{urlencode({'next': back})}")
    )


def signed_in_recently(request: HttpRequest) -> bool:
    """Whether the person proved who they are within ACCOUNT_REAUTHENTICATION_TIMEOUT, by signing in or once more.

    allauth's own decorator counts only the latter, and so would ask again right after a sign-in.
    """
    records = get_authentication_records(request, request.user)
    return bool(records) and time.time() - records[-1]["at"] < settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
