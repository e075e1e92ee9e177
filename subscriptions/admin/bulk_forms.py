"""What is asked for many subscriptions at once: as for one, where the same answer fits all of them."""

from datetime import date
from typing import Any, cast

from django import forms
from django.http import QueryDict

from subscriptions import actions, clock, quotes
from subscriptions.admin.forms import AT_THE_END, BACK_DATED, NOW, DayField, ReasonForm
from subscriptions.lifecycle import DISCARD, KEEP
from subscriptions.models import BulkRun


class BulkForm(ReasonForm):
    """Why, and what holds for all rows. To look at what would happen, no reason is needed yet."""

    # A run is confirmed once, whoever sends what how often.
    idempotency_key = None  # type: ignore[assignment]  # which takes the field out

    def __init__(self, data: QueryDict | None = None, *, run: BulkRun, confirming: bool = False) -> None:
        super().__init__(data, initial={"reason": run.reason, **self.said(run.given)})
        self.run, self.confirming = run, confirming
        reason = self.fields["reason"]
        reason.required = reason.widget.is_required = confirming or not self.is_bound
        reason.help_text = "Kept with every order. Who asked for it, with the ticket number if there is one."

    @classmethod
    def at_first(cls) -> dict[str, Any] | None:
        """What is looked at before anything was entered, as `given` of a run; None where that cannot be."""
        return {}

    @staticmethod
    def said(given: dict[str, Any]) -> dict[str, Any]:
        """The fields that lead to `given`."""
        return {}

    @property
    def given(self) -> dict[str, Any]:
        """What holds for all rows, of a valid form."""
        return {}

    def _coming(self, name: str, first: date) -> date | None:
        on: date | None = self.cleaned_data[name]
        if on and on < first:
            raise forms.ValidationError(f"Choose {actions.date_words(first)} or a later day.", code="over")
        return on


def _today() -> date:
    return clock.now().date()


def _day(kept: str | None) -> date | None:
    return date.fromisoformat(kept) if kept else None


class PlannedField(forms.ChoiceField):
    """What becomes of a change that is planned already."""

    def __init__(self) -> None:
        super().__init__(
            label="Where a change is planned already",
            required=False,
            widget=forms.RadioSelect,
            choices=[
                ("", "Leave that subscription out"),
                (KEEP, "Keep the plan, and leave out where it cannot be kept"),
                (DISCARD, "Withdraw the plan: it does not happen"),
            ],
        )


class SuspendManyForm(BulkForm):
    """The reason, and the day on which they activate by themselves, if they do."""

    on = DayField(
        label="Activate by themselves on",
        help_text="Leave it empty: they stay suspended until somebody activates them.",
    )
    field_order = ["on", "reason"]

    @staticmethod
    def said(given: dict[str, Any]) -> dict[str, Any]:
        return {"on": _day(given.get("then"))}

    def clean_on(self) -> date | None:
        return self._coming("on", _today())

    @property
    def given(self) -> dict[str, Any]:
        on = self.cleaned_data["on"]
        return {"then": on.isoformat()} if on else {}


class ActivateManyForm(BulkForm):
    """The day, what becomes of plans, and the reason."""

    on = DayField(label="Takes effect on", help_text="Leave it empty: at once. Or choose a later day.")
    planned = PlannedField()
    field_order = ["on", "planned", "reason"]

    @staticmethod
    def said(given: dict[str, Any]) -> dict[str, Any]:
        return {"on": _day(given.get("when")), "planned": given.get("planned", "")}

    def clean_on(self) -> date | None:
        return self._coming("on", _today())

    @property
    def given(self) -> dict[str, Any]:
        on, planned = self.cleaned_data["on"], self.cleaned_data["planned"]
        return ({"when": on.isoformat()} if on else {}) | ({"planned": planned} if planned else {})


class SetSeatsManyForm(ActivateManyForm):
    """The new total of each, the day, what becomes of plans, and the reason."""

    # As for one: an IntegerField would read 1e3 and other scripts' digits its own way.
    seats = forms.CharField(
        label="New total of seats of each",
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "class": "short"}),
        help_text="Those that have fewer are increased, those that have more are decreased.",
        error_messages={"required": "Enter the number of seats that each is to have."},
    )
    field_order = ["seats", "on", "planned", "reason"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[
            "on"
        ].help_text = "Leave it empty: more seats at once, fewer when the SKU has it. Or choose a later day."

    @classmethod
    def at_first(cls) -> dict[str, Any] | None:
        return None

    @staticmethod
    def said(given: dict[str, Any]) -> dict[str, Any]:
        return {**ActivateManyForm.said(given), "seats": given.get("seats", "")}

    def clean_seats(self) -> int:
        typed = self.cleaned_data["seats"].strip()
        if not (typed.isascii() and typed.isdigit() and len(typed) < 10 and int(typed)):
            raise forms.ValidationError(f"“{typed[:40]}” is no number of seats. Write digits only, such as 1000.")
        return int(typed)

    @property
    def given(self) -> dict[str, Any]:
        return {**super().given, "seats": self.cleaned_data["seats"]}


class CancelManyForm(BulkForm):
    """When, and why. What cannot be taken back asks for the number of subscriptions to be typed."""

    ends = forms.ChoiceField(
        label="When do they end?",
        widget=forms.RadioSelect,
        choices=[
            (AT_THE_END, "Each with its period. Nothing is given back. Can be undone until then."),
            (NOW, "Now. What is given back is the SKU's rule."),
            (BACK_DATED, "Back-dated, since the day below."),
        ],
        error_messages=dict.fromkeys(("required", "invalid_choice"), "Choose when they end."),
    )
    on = DayField(label="The day since when they have ended")
    typed = forms.CharField(
        label="Number of subscriptions",
        required=False,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "class": "short"}),
    )
    field_order = ["ends", "on", "reason", "typed"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        earliest = actions.date_words(_today() - quotes.BACK_DATED)
        self.fields["on"].help_text = f"For a back-dated end only: {earliest} or later, in the period that runs."
        told = f"For an end now or back-dated, type {self._many}: a cancelled subscription does not come back."
        self.fields["typed"].help_text = told

    @property
    def _many(self) -> str:
        # The page keeps this sentence when all of them are chosen.
        chosen = "the number that was chosen"
        return f"{self.run.total}, {chosen}" if self.run.choosing is None else f"{chosen}, once all of them are"

    @classmethod
    def at_first(cls) -> dict[str, Any] | None:
        return {"when": AT_THE_END}

    @staticmethod
    def said(given: dict[str, Any]) -> dict[str, Any]:
        when = given.get("when", NOW)
        dated = when not in (NOW, AT_THE_END)
        return {"ends": BACK_DATED if dated else when, "on": _day(when) if dated else None}

    def clean_on(self) -> date | None:
        if self.data.get("ends") != BACK_DATED:
            return None
        on = cast(date | None, self.cleaned_data["on"])
        if on is None:
            raise forms.ValidationError("Enter the day since when they have ended.")
        if on > _today():
            raise forms.ValidationError(f"{actions.date_words(on)} is still to come. Choose today or an earlier day.")
        return on

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        final = cleaned.get("ends") in (NOW, BACK_DATED)
        if self.confirming and final and self.run.choosing is not None:
            self.add_error("typed", "Not all of them are chosen yet. Wait until they are, then type how many.")
        elif self.confirming and final and cleaned.get("typed", "").replace(",", "") != str(self.run.total):
            self.add_error("typed", f"Type {self.run.total} to show that you mean all of them.")
        return cleaned

    @property
    def given(self) -> dict[str, Any]:
        ends, on = self.cleaned_data["ends"], self.cleaned_data["on"]
        return {"when": on.isoformat() if ends == BACK_DATED else ends}
