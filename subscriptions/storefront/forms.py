"""What customers type, read by the same table of actions that decides."""

from typing import Any, cast

from django import forms

from subscriptions import actions
from subscriptions.actions import Action, NotAllowed
from subscriptions.models import Member, Subscription
from subscriptions.quotes import Pinned


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
        plain = typed.strip()
        start = int(plain) if plain.isascii() and plain.isdigit() and len(plain) < 10 else self.subscription.seats
        return min(max(start + by, self.low), self.high)


REASON_LENGTH = 500


class CancelForm(forms.Form):
    """Why somebody cancels; they need not say."""

    reason = forms.CharField(
        label="Why do you cancel?",
        required=False,
        help_text="Your distributor reads it. You can leave it empty.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    def clean_reason(self) -> str:
        # A browser sends each line end as two characters, which nobody has typed.
        reason: str = self.cleaned_data["reason"].replace("\r\n", "\n")
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

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = cast(forms.ChoiceField, self.fields["planned"])
        field.choices = choices
        if len(choices) == 1:
            field.widget = forms.HiddenInput()
            field.initial = choices[0][0]


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
