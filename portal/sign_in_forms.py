"""allauth's forms in our words: labels above the fields, no placeholders."""

from typing import Any

from allauth.account import forms
from django import forms as django_forms

LABELS = {
    "login": "Email address",
    "email": "Email address",
    "password": "Password",
    "oldpassword": "Current password",
    "password1": "New password",
    "password2": "New password once more",
}


class _InOurWords(django_forms.Form):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.label = LABELS.get(name, field.label)
            field.widget.attrs.pop("placeholder", None)


class LoginForm(_InOurWords, forms.LoginForm):
    """Sign in."""


class ResetPasswordForm(_InOurWords, forms.ResetPasswordForm):
    """Ask for a link that resets the password."""


class ResetPasswordKeyForm(_InOurWords, forms.ResetPasswordKeyForm):
    """Choose a new password after following that link."""


class ChangePasswordForm(_InOurWords, forms.ChangePasswordForm):
    """Choose another password while signed in."""


class SetPasswordForm(_InOurWords, forms.SetPasswordForm):
    """Choose the first password."""


class ReauthenticateForm(_InOurWords, forms.ReauthenticateForm):
    """Confirm who one is before something that asks for it."""
