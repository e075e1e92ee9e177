"""What customers type, read by the same table of actions that decides."""

from collections.abc import Sequence
from typing import Any, cast

from django import forms
from django.utils.html import format_html
from django.utils.safestring import SafeString

from subscriptions import actions
from subscriptions.actions import Action, NotAllowed
from subscriptions.models import SKU, Member, Subscription
from subscriptions.quotes import Pinned


def whole_number(typed: str) -> int | None:
    """None for what is no number of seats, however large."""
    plain = typed.strip()
    return int(plain) if plain.isascii() and plain.isdigit() and len(plain) < 10 else None


class SeatsForm(forms.Form):
    """The new total of Increase or Decrease; the error names the allowed range."""

    seats = forms.CharField(
        label="How many seats?",
        required=False,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "class": "seats-input"}),
    )

    def __init__(self, *args: Any, action: Action, subscription: Subscription, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.action = action
        self.subscription = subscription
        self.low, self.high = actions.seat_range(action, subscription)
        between = (
            f"Between {self.low:,} and {self.high:,}." if self.low < self.high else f"Only {self.low:,} is possible."
        )
        self.fields["seats"].help_text = f"The new total. You have {subscription.seats:,}. {between}"

    def clean_seats(self) -> int:
        try:
            return actions.read_seats(self.action, self.subscription, self.cleaned_data["seats"])
        except NotAllowed as refusal:
            raise forms.ValidationError(refusal.sentence, code=refusal.code) from refusal

    def stepped(self, typed: str, by: int) -> int:
        """The number typed (or the nearest possible one), one up or down, kept within the range."""
        start = whole_number(typed)
        return min(max((self.subscription.seats if start is None else start) + by, self.low), self.high)


def as_choice(title: str, text: str) -> SafeString:
    """A label of two lines, for a choice that needs to be explained."""
    return format_html("<span><strong>{}</strong><br>{}</span>", title, text)


def _offer(field: forms.Field, choices: Sequence[tuple[str, str]], *, ask_first: bool = False) -> None:
    """Let a choice be made, the first one unless `ask_first`; what has no alternative is not asked for."""
    choice = cast(forms.ChoiceField, field)
    choice.choices = choices
    if len(choices) == 1:
        choice.widget = forms.HiddenInput()
    if len(choices) == 1 or not ask_first:
        choice.initial = choices[0][0]


REASON_LENGTH = 500


def plain_lines(text: str) -> str:
    """A browser sends each line end as two characters, which nobody has typed."""
    return text.replace("\r\n", "\n")


class CancelForm(forms.Form):
    """When it ends, and why somebody cancels, which they need not say."""

    when = forms.ChoiceField(
        label="When does it end?",
        widget=forms.RadioSelect,
        error_messages={"required": "Choose when it ends.", "invalid_choice": "Choose when it ends."},
    )
    reason = forms.CharField(
        label="Why do you cancel?",
        required=False,
        help_text="Your distributor reads it. You can leave it empty.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    def __init__(self, *args: Any, choices: Sequence[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _offer(self.fields["when"], choices)

    def clean_reason(self) -> str:
        reason = plain_lines(self.cleaned_data["reason"])
        if len(reason) > REASON_LENGTH:
            sentence = f"The reason is too long: it has {len(reason):,} characters, and {REASON_LENGTH} are the most."
            raise forms.ValidationError(sentence, code="too_long")
        return reason


class ConfirmForm(forms.Form):
    """What a check page carries: the version that was seen, and the key that makes a second sending harmless."""

    version = forms.IntegerField(widget=forms.HiddenInput)
    key = forms.UUIDField(widget=forms.HiddenInput)


class QuotedForm(ConfirmForm):
    """The same with the quote that was shown, signed; what we have not signed is an error."""

    quote = forms.CharField(widget=forms.HiddenInput)

    def clean_quote(self) -> Pinned:
        pinned = Pinned.from_token(self.cleaned_data["quote"])
        if pinned is None:
            raise forms.ValidationError("This price is not one of ours.", code="forged")
        return pinned


class PlannedForm(forms.Form):
    """What becomes of a change that is planned already; with one choice only, there is nothing to ask."""

    planned = forms.ChoiceField(
        label="What becomes of it?",
        widget=forms.RadioSelect,
        error_messages={
            "required": "Choose what becomes of the planned change.",
            "invalid_choice": "Choose what becomes of the planned change.",
        },
    )

    def __init__(self, *args: Any, choices: Sequence[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _offer(self.fields["planned"], choices, ask_first=True)


class SkuForm(forms.Form):
    """How many seats of another SKU, and when."""

    sku = forms.CharField(widget=forms.HiddenInput)
    seats = forms.CharField(
        label="How many seats?",
        widget=forms.TextInput(attrs={"inputmode": "numeric", "class": "seats-input"}),
    )
    when = forms.ChoiceField(
        label="When?",
        widget=forms.RadioSelect,
        error_messages={"required": "Choose when it changes.", "invalid_choice": "Choose when it changes."},
    )

    def __init__(
        self, *args: Any, target: SKU, subscription: Subscription, choices: Sequence[tuple[str, str]], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        # As it would be, for the sentences about its range.
        self._after = Subscription(sku=target, seats=subscription.seats)
        low, high = actions.seat_range(actions.CHANGE_SKU, self._after)
        between = f"Between {low:,} and {high:,}." if low < high else f"Only {low:,} is possible."
        self.fields["seats"].help_text = f"The new total. You have {subscription.seats:,}. {between}"
        self.fields["seats"].error_messages["required"] = f"Enter the new number of seats. {between}"
        _offer(self.fields["when"], choices)

    def clean_seats(self) -> int:
        try:
            return actions.read_seats(actions.CHANGE_SKU, self._after, self.cleaned_data["seats"])
        except NotAllowed as refusal:
            raise forms.ValidationError(refusal.sentence, code=refusal.code) from refusal


class MailCodeForm(forms.Form):
    """To whom the code is sent: members of the account who may see it."""

    def __init__(self, *args: Any, members: list[Member], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.members = {str(member.pk): member for member in members}
        self.fields["member"] = forms.ChoiceField(
            label="Send it by email to",
            choices=[(key, f"{one.user.name} ({one.user.email})") for key, one in self.members.items()],
            error_messages={
                "required": "Choose who gets the code.",
                "invalid_choice": "Choose a person from the list.",
            },
        )

    def clean_member(self) -> Member:
        return self.members[self.cleaned_data["member"]]
