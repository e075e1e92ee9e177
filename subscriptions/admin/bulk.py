"""The same for many subscriptions: what can be done with those that were chosen in the list, and the choosing."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from subscriptions import actions, bulk, lifecycle, quotes
from subscriptions.actions import Action, NotAllowed
from subscriptions.admin import bulk_forms
from subscriptions.admin.bulk_forms import BulkForm
from subscriptions.admin.lists import key
from subscriptions.bulk import Filtered
from subscriptions.filters import BadFilter
from subscriptions.models import BulkRun, Subscription
from subscriptions.models.notice import told


@dataclass(frozen=True, slots=True)
class Act:
    """What can be done with many: its name in a select, what a row can or cannot, and the words of its button."""

    stem: str
    label: str
    can: str
    actions: tuple[Action, ...]
    form: type[BulkForm]
    button: Callable[[str, dict[str, Any]], str]
    """From the number of rows in words, and what holds for all of them."""
    danger: bool = False
    row: str = "subscription"
    """What one row of it is."""
    chosen_in: str = "subscription"
    """The model in whose list rows are chosen."""

    def allowed(self, user: Any) -> bool:
        """Has the person every right that a row may need?"""
        return all(user.has_perm(action.permission) for action in self.actions)

    def title(self, run: BulkRun) -> str:
        if run.choosing is not None:
            return f"{self.label}: subscriptions that are being chosen"
        return f"{self.label}: {self.many(run.total)}"

    def many(self, count: int) -> str:
        """So many rows, in words."""
        return f"{count:,} {self.row}{'' if count == 1 else 's'}"

    @property
    def told(self) -> bool:
        """Do customers hear of it by mail?"""
        return any(told(f"{action.stem}.completed") for action in self.actions)

    @property
    def list_address(self) -> str:
        """Where rows are chosen."""
        return reverse(f"admin:subscriptions_{self.chosen_in}_changelist")


def _on(kept: str) -> str:
    return actions.date_words(date.fromisoformat(kept))


def _suspend(many: str, given: dict[str, Any]) -> str:
    return f"Suspend {many}{' until ' + _on(given['then']) if 'then' in given else ''}"


def _activate(many: str, given: dict[str, Any]) -> str:
    return f"Plan the activation of {many} for {_on(given['when'])}" if "when" in given else f"Activate {many}"


def _cancel(many: str, given: dict[str, Any]) -> str:
    match given.get("when", quotes.NOW):
        case quotes.PERIOD_END:
            return f"Plan the end of {many} with each period"
        case quotes.NOW:
            return f"Cancel {many} now"
    return f"Cancel {many} as of {_on(given['when'])}"


def _set_seats(many: str, given: dict[str, Any]) -> str:
    day = f" from {_on(given['when'])}" if "when" in given else ""
    return f"Set {many} to {actions.seats_words(given['seats'])}{day}"


ACTS = {
    act.stem: act
    for act in (
        Act("suspend", "Suspend", "can be suspended", (actions.SUSPEND,), bulk_forms.SuspendManyForm, _suspend),
        Act("activate", "Activate", "can be activated", (actions.ACTIVATE,), bulk_forms.ActivateManyForm, _activate),
        Act(
            lifecycle.SET_SEATS, "Set seats", "can have that many seats", (actions.INCREASE, actions.DECREASE),
            bulk_forms.SetSeatsManyForm, _set_seats,
        ),
        Act(
            "cancel", "Cancel", "can be cancelled", (actions.CANCEL,), bulk_forms.CancelManyForm, _cancel, danger=True
        ),
    )
}  # fmt: skip

SETTLING = {
    act.stem: act
    for act in (
        Act(
            "take_theirs", "Take theirs", "can take theirs", (actions.TAKE_THEIRS,), bulk_forms.TakeTheirsManyForm,
            lambda many, given: f"Take theirs for {many}", row="difference", chosen_in="drift",
        ),
        Act(
            "push_ours", "Push ours", "can be sent ours", (actions.PUSH_OURS,), BulkForm,
            lambda many, given: f"Push ours for {many}", row="difference", chosen_in="drift",
        ),
    )
}  # fmt: skip
"""What can be done with drift, which is chosen in a list of its own."""
EVERY = ACTS | SETTLING


def offered(user: Any) -> list[Act]:
    """What this person may do with many; nobody else sees a box to tick."""
    return [act for act in ACTS.values() if act.allowed(user)]


@admin.display(description=mark_safe('<span class="visually-hidden">Choose</span>'))
def tick(row: Subscription) -> SafeString:
    """The first column of the list: a box that belongs to the form above it."""
    return format_html(
        '<input type="checkbox" form="bulk" name="ticked" value="{}" aria-label="Choose {}">', row.pk, row.number
    )


def choose(request: HttpRequest) -> HttpResponse:
    """The rows that were chosen become a draft, whose page shows what would happen. Nothing is done by it."""
    address = QueryDict(request.POST.get("list", ""))
    back = f"{reverse('admin:subscriptions_subscription_changelist')}?{address.urlencode()}".rstrip("?")
    act = ACTS.get(request.POST.get("action", ""))
    if act is None:
        messages.error(request, "Choose what to do with them.")
        return redirect(back)
    user: Any = request.user
    if not act.allowed(user):
        raise PermissionDenied(f"Your staff group may not {act.actions[0].verb}.")
    try:
        chosen = _chosen(request.POST, address)
        run = bulk.draft(act.stem, chosen, actor=user, given=act.form.at_first())
    except BadFilter as bad:
        messages.error(request, str(bad))
    except NotAllowed as refusal:
        messages.error(request, refusal.sentence)
    else:
        return redirect("admin:subscriptions_bulkrun_change", run.pk)
    return redirect(back)


def _chosen(posted: QueryDict, address: QueryDict) -> Filtered:
    """Raises BadFilter, also for an address that narrows the list by anything but its words, and NotAllowed."""
    match posted.get("which"):
        case "matching":
            # The page of the list that was open, and how it was shown, narrow nothing.
            words = [(name, str(typed)) for name, typed in address.items()]
            return bulk.narrowed(word for word in words if word[0] not in ("p", "o", "e"))
        case "page":
            keys = posted.get("on_page", "").split(",")
        case _:
            keys = posted.getlist("ticked")
    if found := {pk for text in keys if (pk := key(text))}:
        return bulk.ticked(found)
    raise NotAllowed("nothing_chosen", "Tick the subscriptions in the list first, or choose all of them.")
