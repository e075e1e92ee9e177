"""Forms of the Shortcut menu: one for each kind of action, each with a reason."""

import uuid
from typing import Any

from django import forms

from subscriptions import actions
from subscriptions.actions import Action, NotAllowed
from subscriptions.models import Subscription

REASON_MISSING = "Enter a reason. It is kept with the order for ever."


class ReasonForm(forms.Form):
    """Why staff do it; the key makes a check page that is sent twice lead to the same order."""

    reason = forms.CharField(
        label="Reason",
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Who asked for it, with the ticket number if there is one. Customers do not see it.",
        error_messages={"required": REASON_MISSING, "max_length": "Shorten the reason to 500 characters."},
    )
    idempotency_key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)

    @property
    def after(self) -> dict[str, Any]:
        """The characteristics that are asked for; none where the action itself says them."""
        return {}


class SubscriptionForm(ReasonForm):
    """A reason for an action on one subscription, as the person saw it."""

    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, subscription: Subscription, action: Action, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subscription = subscription
        self.action = action
        self.fields["version"].initial = subscription.version

    @property
    def stale(self) -> bool:
        """Has somebody changed the subscription since the page was made?"""
        return self.is_bound and self["version"].data != str(self.subscription.version)


class SeatsForm(SubscriptionForm):
    """The new total and the reason."""

    # Not an IntegerField: it would read 1e3 and other scripts' digits its own way, and say less about it.
    seats = forms.CharField(
        label="New total of seats",
        strip=False,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "class": "short"}),
    )
    field_order = ["seats", "reason"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        low, high = actions.seat_range(self.action, self.subscription)
        possible = f"From {low:,} to {high:,}." if low < high else f"Only {low:,} is possible."
        self.fields["seats"].help_text = f"Now {self.subscription.seats:,}. {possible}"
        self.fields["seats"].error_messages["required"] = self._nothing_typed()

    def clean_seats(self) -> int:
        try:
            return actions.read_seats(self.action, self.subscription, self.cleaned_data["seats"])
        except NotAllowed as refusal:
            raise forms.ValidationError(refusal.sentence, code=refusal.code) from None

    def _nothing_typed(self) -> str:
        try:
            actions.read_seats(self.action, self.subscription, "")
        except NotAllowed as refusal:
            return refusal.sentence
        return ""

    @property
    def after(self) -> dict[str, Any]:
        return {"Seats": self.cleaned_data["seats"]}


class CancelForm(SubscriptionForm):
    """The one action that cannot be taken back asks for the ID to be typed."""

    typed = forms.CharField(
        label="Subscription ID",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "short"}),
    )
    field_order = ["reason", "typed"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[
            "typed"
        ].help_text = f"Type {self.subscription.number}: a cancelled subscription does not come back."
        self.fields["typed"].error_messages["required"] = self._type_it()

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"].upper()
        if typed != self.subscription.number:
            raise forms.ValidationError(self._type_it())
        return typed

    def _type_it(self) -> str:
        return f"Type {self.subscription.number} to show that you mean this subscription."


class SettleForm(ReasonForm):
    """The reason for settling a difference, and what the person saw at the vendor."""

    shown_theirs = forms.CharField(widget=forms.HiddenInput)


class MemberChoice(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.user.name} ({obj.get_role_display()}), {obj.user.email}"
