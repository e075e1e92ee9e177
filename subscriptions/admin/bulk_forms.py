"""What is asked for many subscriptions at once: as for one, where the same answer fits all of them."""

from datetime import date
from functools import cached_property
from typing import Any, cast

from django import forms
from django.http import QueryDict

from subscriptions import actions, bulk, clock, quotes
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

    def __init__(self, *choices: str, **kwargs: Any) -> None:
        labels = {
            KEEP: "Keep the plan, and leave out where it cannot be kept",
            DISCARD: "Withdraw the plan: it does not happen",
        }
        super().__init__(
            label="Where a change is planned already",
            required=False,
            widget=forms.RadioSelect,
            choices=[("", "Leave that subscription out"), *((one, labels[one]) for one in choices)],
            **kwargs,
        )


class TakeTheirsManyForm(BulkForm):
    """What becomes of plans that stood still, and the reason."""

    planned = PlannedField(
        KEEP, DISCARD, help_text="Asked only where one that is suspended here runs there, and goes on here as well."
    )
    field_order = ["planned", "reason"]

    @staticmethod
    def said(given: dict[str, Any]) -> dict[str, Any]:
        return {"planned": given.get("planned", "")}

    @property
    def given(self) -> dict[str, Any]:
        planned = self.cleaned_data["planned"]
        return {"planned": planned} if planned else {}


class SuspendManyForm(BulkForm):
    """The day on which they activate by themselves, if they do, what becomes of plans then, and the reason."""

    on = DayField(
        label="Activate by themselves on",
        help_text="Leave it empty: they stay suspended until somebody activates them.",
    )
    # One change can be planned at a time, and this activation is it.
    planned = PlannedField(
        DISCARD, help_text="Asked only with such a day. Without one, a planned change stands still meanwhile."
    )
    field_order = ["on", "planned", "reason"]

    @staticmethod
    def said(given: dict[str, Any]) -> dict[str, Any]:
        return {"on": _day(given.get("then")), "planned": given.get("planned", "")}

    def clean_on(self) -> date | None:
        return self._coming("on", _today())

    @property
    def given(self) -> dict[str, Any]:
        on, planned = self.cleaned_data["on"], self.cleaned_data["planned"]
        return {"then": on.isoformat()} | ({"planned": planned} if planned else {}) if on else {}


class ActivateManyForm(BulkForm):
    """The day, what becomes of plans, and the reason."""

    on = DayField(label="Takes effect on", help_text="Leave it empty: at once. Or choose a later day.")
    planned = PlannedField(KEEP, DISCARD)
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
    """When, and why. What cannot be taken back asks for the number that the button names to be typed."""

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

    @cached_property
    def _able(self) -> int | None:
        """How many can be cancelled as they were looked at; None while they are."""
        seen = bulk.preview_of(self.run)
        return seen.able if seen and seen.at else None

    @property
    def _many(self) -> str:
        # The page keeps this sentence when all of them were looked at.
        able = "the number that can be cancelled"
        return f"{self._able:,}, {able}" if self._able is not None else f"{able}, once all were looked at"

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
        final = cleaned.get("ends") in (NOW, BACK_DATED) and "on" in cleaned
        # The number of another choice than was looked at is not known; it is looked at first, and nothing confirmed.
        if not (self.confirming and final and self.given == self.run.given):
            return cleaned
        if self._able is None:
            words = "Not all of them were looked at yet. Wait until they are, then type how many can be cancelled."
            self.add_error("typed", words)
        elif cleaned.get("typed", "").replace(",", "") != str(self._able):
            self.add_error("typed", f"Type {self._able:,} to show that you mean all that can be cancelled.")
        return cleaned

    @property
    def given(self) -> dict[str, Any]:
        ends, on = self.cleaned_data["ends"], self.cleaned_data["on"]
        return {"when": on.isoformat() if ends == BACK_DATED else ends}
