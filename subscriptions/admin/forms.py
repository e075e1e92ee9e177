"""Forms of the Shortcut menu: one for each kind of action, each with a reason."""

import uuid
from collections.abc import Mapping
from datetime import date
from typing import Any, cast

from django import forms

from subscriptions import actions, clock, quotes
from subscriptions.actions import Action, NotAllowed
from subscriptions.models import SKU, Subscription
from subscriptions.models.catalogue import DecreasePolicy
from subscriptions.quotes import When

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


class DayField(forms.DateField):
    """A day in the account's time zone, as date pickers send it."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.DateInput(format="%Y-%m-%d", attrs={"type": "date", "class": "short"})
        super().__init__(input_formats=["%Y-%m-%d"], required=False, widget=widget, **kwargs)
        self.error_messages["invalid"] = "Enter a day as year-month-day, such as 2027-03-01."


class SubscriptionForm(ReasonForm):
    """A reason for an action on one subscription, as the person saw it; and a day `on`, where there is one."""

    version = forms.IntegerField(widget=forms.HiddenInput)
    blames: Mapping[str, str] = {}
    """Codes of refusals that are about what was entered, with the field that they are about."""

    def __init__(self, *args: Any, subscription: Subscription, action: Action, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subscription = subscription
        self.action = action
        self.fields["version"].initial = subscription.version

    def clean_on(self) -> date | None:
        """Judged with the other fields, so that all that is wrong is said at once."""
        on: date | None = self.cleaned_data["on"]
        if on and self.subscription.period_start:
            action = actions.ACTIVATE if self.action is actions.SUSPEND else self.action
            try:
                quotes.takes_effect(action, self.subscription, on, clock.now(), actions.BSS)
            except NotAllowed as refusal:
                raise forms.ValidationError(refusal.sentence, code=refusal.code) from None
        return on

    @property
    def stale(self) -> bool:
        """Has somebody changed the subscription since the page was made?"""
        return self.is_bound and self["version"].data != str(self.subscription.version)

    @property
    def when(self) -> When:
        """When it is to take effect."""
        return self.cleaned_data.get("on")

    @property
    def then_activate_on(self) -> date | None:
        """The day of the activation that is planned with it."""
        return None

    @property
    def target(self) -> SKU | None:
        """The SKU that it changes to."""
        return None


_DAYS = dict.fromkeys(("over_by_then", "end_planned", "not_later"), "on")


class SeatsForm(SubscriptionForm):
    """The new total, the day, and the reason."""

    # Not an IntegerField: it would read 1e3 and other scripts' digits its own way, and say less about it.
    seats = forms.CharField(
        label="New total of seats",
        strip=False,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "class": "short"}),
    )
    on = DayField(label="Takes effect on")
    field_order = ["seats", "on", "reason"]
    blames = {**_DAYS, "no_price": "seats"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        low, high = actions.seat_range(self.action, self.subscription)
        possible = f"From {low:,} to {high:,}." if low < high else f"Only {low:,} is possible."
        self.fields["seats"].help_text = f"Now {self.subscription.seats:,}. {possible}"
        self.fields["seats"].error_messages["required"] = self._nothing_typed()
        self.fields["on"].help_text = self._when_empty()

    def clean_seats(self) -> int:
        try:
            return actions.read_seats(self.action, self.subscription, self.cleaned_data["seats"], actions.BSS)
        except NotAllowed as refusal:
            raise forms.ValidationError(refusal.sentence, code=refusal.code) from None

    def _nothing_typed(self) -> str:
        try:
            actions.read_seats(self.action, self.subscription, "")
        except NotAllowed as refusal:
            return refusal.sentence
        return ""

    def _when_empty(self) -> str:
        subscription = self.subscription
        if self.action is not actions.DECREASE or subscription.sku.decrease_policy != DecreasePolicy.NEXT_PERIOD:
            return "Leave it empty: at once. Or choose a later day."
        if subscription.period_end is None:
            return ""
        words = actions.date_words(subscription.period_end)
        return f"Leave it empty: {words}, with the next period, as this SKU has it. Or with a later one."

    @property
    def after(self) -> dict[str, Any]:
        return {"Seats": self.cleaned_data["seats"]}


class SuspendForm(SubscriptionForm):
    """The reason, and the day on which it activates by itself, if it does."""

    on = DayField(
        label="Activate by itself on",
        help_text="Leave it empty: it stays suspended until somebody activates it.",
    )
    field_order = ["on", "reason"]
    blames = {**_DAYS, "needs_approval": "on"}

    @property
    def when(self) -> When:
        return None

    @property
    def then_activate_on(self) -> date | None:
        return self.cleaned_data["on"]


class ActivateForm(SubscriptionForm):
    """The day, and the reason."""

    on = DayField(label="Takes effect on", help_text="Leave it empty: at once. Or choose a later day.")
    field_order = ["on", "reason"]
    blames = _DAYS


NOW, AT_THE_END, BACK_DATED = "now", quotes.PERIOD_END, "back_dated"


class CancelForm(SubscriptionForm):
    """When, and why. What cannot be taken back asks for the ID to be typed."""

    ends = forms.ChoiceField(
        label="When does it end?", widget=forms.RadioSelect, error_messages={"required": "Choose when it ends."}
    )
    on = DayField(label="The day since when it has ended")
    typed = forms.CharField(
        label="Subscription ID",
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "short"}),
    )
    field_order = ["ends", "on", "reason", "typed"]
    blames = {"ending": "ends"}

    def __init__(self, *args: Any, ways: Mapping[str, str], earliest: date | None, today: date, **kwargs: Any) -> None:
        """`ways` are the words for each time that can be chosen; `earliest` is the first day of a back-dated one."""
        super().__init__(*args, **kwargs)
        self.today = today
        ends = cast(forms.ChoiceField, self.fields["ends"])
        ends.choices, ends.initial = list(ways.items()), next(iter(ways))
        if earliest is None:
            del self.fields["on"]
        else:
            self.fields["on"].help_text = f"For a back-dated end only: {actions.date_words(earliest)} or later."
        number = self.subscription.number
        self.fields[
            "typed"
        ].help_text = f"For an end now or back-dated, type {number}: a cancelled subscription does not come back."

    def clean_on(self) -> date | None:
        on: date | None = self.cleaned_data["on"]
        if self.data.get("ends") != BACK_DATED:
            return None
        if on is None:
            raise forms.ValidationError("Enter the day since when it has ended.")
        if on > self.today:
            raise forms.ValidationError(
                f"{actions.date_words(on)} is still to come. Choose today or an earlier day.", "future"
            )
        return super().clean_on()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        ends = cleaned.get("ends")
        if ends in (NOW, BACK_DATED) and cleaned.get("typed", "").upper() != self.subscription.number:
            self.add_error("typed", f"Type {self.subscription.number} to show that you mean this subscription.")
        return cleaned

    @property
    def when(self) -> When:
        return self.cleaned_data["on"] if self.cleaned_data["ends"] == BACK_DATED else self.cleaned_data["ends"]


class AutoRenewForm(SubscriptionForm):
    """The other way round than now."""

    @property
    def after(self) -> dict[str, Any]:
        return {"Renews automatically": not self.subscription.auto_renew}


class ChangeSKUForm(SubscriptionForm):
    """What it changes to and when, with how many seats, and why."""

    to = forms.ChoiceField(
        label="Change to",
        widget=forms.RadioSelect,
        error_messages=dict.fromkeys(("required", "invalid_choice"), "Choose what it changes to."),
    )
    seats = forms.CharField(
        label="Seats",
        strip=False,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "class": "short"}),
    )
    field_order = ["to", "seats", "reason"]
    blames = {"no_price": "to", "no_renewal": "to", "not_a_target": "to", "outside_range": "seats"}

    def __init__(self, *args: Any, targets: Mapping[str, tuple[SKU, str, str]], **kwargs: Any) -> None:
        """`targets` maps each choice to its SKU, its time and its words."""
        super().__init__(*args, **kwargs)
        self.targets = targets
        cast(forms.ChoiceField, self.fields["to"]).choices = [(key, words) for key, (_, _, words) in targets.items()]
        self.fields["seats"].initial = self.subscription.seats
        self.fields["seats"].help_text = f"Now {self.subscription.seats:,}. A number that the new SKU allows."
        self.fields["seats"].error_messages["required"] = "Enter the number of seats."

    def clean(self) -> dict[str, Any]:
        """Seats are read against the chosen SKU."""
        cleaned = super().clean() or {}
        if "to" not in cleaned or "seats" not in cleaned:
            return cleaned
        wanted = Subscription(account=self.subscription.account, sku=self.targets[cleaned["to"]][0])
        try:
            cleaned["seats"] = actions.read_seats(actions.CHANGE_SKU, wanted, cleaned["seats"])
            if refusal := actions.why_not_sku(self.subscription, wanted.sku, cleaned["seats"]):
                raise refusal
        except NotAllowed as refusal:
            self.add_error("seats", forms.ValidationError(refusal.sentence, code=refusal.code))
        return cleaned

    @property
    def when(self) -> When:
        return self.targets[self.cleaned_data["to"]][1]

    @property
    def target(self) -> SKU | None:
        return self.targets[self.cleaned_data["to"]][0]

    @property
    def after(self) -> dict[str, Any]:
        sku = self.targets[self.cleaned_data["to"]][0]
        return {"SKU": sku.code, "Product": sku.vendor_product_id, "Seats": self.cleaned_data["seats"]}


class CommentForm(ReasonForm):
    """What is said with a decision about somebody's order; it must be said when the customer is told no."""

    def __init__(self, *args: Any, to_customer: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        comment = self.fields["reason"]
        comment.label, comment.required = "Comment", to_customer
        comment.help_text = "Kept with the order. Customers do not see it."
        if to_customer:
            comment.help_text = "The customer reads it: say what they can do instead."
            comment.error_messages["required"] = "Enter a comment: the customer reads why."


class SettleForm(ReasonForm):
    """The reason for settling a difference, and what the person saw at the vendor."""

    shown_theirs = forms.CharField(widget=forms.HiddenInput)


class SKUChoice(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        trial = f", trial of {obj.trial_days} days" if obj.trial_days else ""
        return f"{obj.name} ({obj.code}), {obj.seats_min:,} to {obj.seats_max:,} seats{trial}"


class MemberChoice(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.user.name} ({obj.get_role_display()}), {obj.user.email}"
