"""The changes of the Shortcut menu: what each asks, says, costs and places."""

from decimal import Decimal
from functools import cached_property
from typing import Any

from django.forms import Form
from django.http import QueryDict

from subscriptions import actions, clock, lifecycle, pricing, quotes
from subscriptions.actions import Action, NotAllowed
from subscriptions.admin import forms, quoted, shortcut
from subscriptions.admin.flow import ActionView
from subscriptions.admin.forms import SubscriptionForm
from subscriptions.admin.quoted import Price
from subscriptions.admin.shortcut import Link
from subscriptions.lifecycle import Proposal, Wish
from subscriptions.models import Order, Subscription, SubscriptionStatus
from subscriptions.quotes import Pinned, Prices

FORMS: dict[str, type[SubscriptionForm]] = {
    actions.INCREASE.stem: forms.SeatsForm,
    actions.DECREASE.stem: forms.SeatsForm,
    actions.SUSPEND.stem: forms.SuspendForm,
    actions.ACTIVATE.stem: forms.ActivateForm,
    actions.CANCEL.stem: forms.CancelForm,
    actions.AUTO_RENEW.stem: forms.AutoRenewForm,
}
CODE_STAYS = "The activation code stays the same."
RECORD_FOLLOWS = "Our record changes when the licence service has confirmed, not before."


def protected(subscription: Subscription) -> str:
    return f"{subscription.seats:,} users or devices of {subscription.account}"


class ChangeView(ActionView):
    """One action on one subscription that leads to an order."""

    action = actions.INCREASE

    def find(self, **kwargs: Any) -> None:
        self.subscription = shortcut.find_subscription(self.request, kwargs["pk"])
        user: Any = self.request.user
        self.about = actions.situation(self.subscription, actor=user, audience=actions.BSS)
        self.__dict__.pop("prices", None)

    def danger(self) -> bool:
        return False

    def address(self) -> str:
        return shortcut.subscription_url(self.subscription.pk, self.action.stem)

    def subject_address(self) -> str:
        return shortcut.subscription_url(self.subscription.pk)

    def why_not(self) -> NotAllowed | None:
        return self.action.why_not(self.about)

    def way_out(self, refusal: NotAllowed) -> Link | None:
        return shortcut.way_out(refusal, self.subscription)

    def make_form(self, data: QueryDict | None = None, **kwargs: Any) -> SubscriptionForm:
        form = FORMS.get(self.action.stem, SubscriptionForm)
        return form(data, subscription=self.subscription, action=self.action, **kwargs)

    def propose(self, form: Any, shown: Pinned | None) -> Proposal | None:
        return lifecycle.propose(
            self.action, self.about, form.after, at=clock.now(), when=form.when, target=form.target, shown=shown,
            then_activate_on=form.then_activate_on,
        )  # fmt: skip

    def place(self, form: Any) -> Order:
        given, user = form.cleaned_data, self.request.user
        shown: dict[str, Any] = self.confirm.cleaned_data if self.confirm else {}
        wish = Wish(
            self.subscription.pk,
            self.action.stem,
            form.after,
            reason=given["reason"],
            version=given["version"],
            idempotency_key=given["idempotency_key"],
            when=form.when,
            planned=shown.get("planned", ""),
            quote=shown.get("quote") if self.proposal and self.proposal.pinned else None,
            then_activate_on=form.then_activate_on,
        )
        return lifecycle.place(wish, actor=user, audience=actions.BSS)  # type: ignore[arg-type]  # signed in, as on every page of BSS

    def context(self, title: str, **more: Any) -> dict[str, Any]:
        return shortcut.frame(self.request, self.about, title=title, current=self.action.stem, **more)

    # What the pages say.

    @cached_property
    def prices(self) -> Prices:
        """What its prices depend on as it is now."""
        return quotes.load([self.subscription])

    @property
    def planned_on(self) -> str:
        """The later day on which the change takes effect, in words; empty for one at once."""
        return actions.date_words(self.proposal.on) if self.proposal and self.proposal.planned else ""

    def takes_effect(self) -> tuple[str, str, str]:
        return ("Takes effect", "", f"On {self.planned_on}" if self.planned_on else "When the licence service confirms")

    def undo_words(self) -> str:
        return f"Until {self.planned_on} everything stays as it is, and the plan can be undone."

    def and_money(self) -> str:
        return quoted.and_money(self.proposal.quote if self.proposal else None)


class SeatsView(ChangeView):
    """Increase or decrease, now or on a later day."""

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        subscription, seats = self.subscription, form.cleaned_data["seats"]
        now, after = (quotes.per_period(subscription, self.prices, count) for count in (subscription.seats, seats))
        return [
            ("Seats", f"{subscription.seats:,}", f"{seats:,}"),
            ("Price per period", now, after),
            self.takes_effect(),
        ]

    def next_steps(self, form: Form) -> list[str]:
        wanted = actions.seats_words(form.cleaned_data["seats"])
        steps = [f"The licence service is asked for {wanted} in all.", RECORD_FOLLOWS, CODE_STAYS]
        if self.planned_on:
            steps[0] = f"On that day the licence service is asked for {wanted} in all."
        return [self.undo_words(), *steps] if self.planned_on else steps

    def button(self, form: Form) -> str:
        seats, number = form.cleaned_data["seats"], self.subscription.number
        if self.planned_on:
            return f"Plan {actions.seats_words(seats)} for {number} from {self.planned_on}{self.and_money()}"
        difference = actions.seats_words(abs(seats - self.subscription.seats))
        if self.action is actions.INCREASE:
            return f"Add {difference} to {number}{self.and_money()}"
        return f"Remove {difference} from {number}{self.and_money()}"


class SuspendView(ChangeView):
    """Suspend, with the day of the activation if there is one."""

    action = actions.SUSPEND

    def consequence(self) -> str:
        frozen = quoted.frozen_words(self.about.scheduled, self.subscription)
        return (
            f"{protected(self.subscription)} lose protection as soon as the licence service has confirmed, "
            f"until the subscription is activated again. The activation code is kept. {frozen}".strip()
        )

    def _until(self) -> str:
        then = self.proposal.then_on if self.proposal else None
        return actions.date_words(then) if then else ""

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        until = self._until()
        return [
            ("Status", self.subscription.get_status_display(), str(SubscriptionStatus.SUSPENDED.label)),
            ("Activates by itself", "", f"On {until}" if until else "No"),
        ]

    def next_steps(self, form: Form) -> list[str]:
        steps = ["The licence service is asked to stop the licence for a time.", RECORD_FOLLOWS, CODE_STAYS]
        if until := self._until():
            steps.append(f"On {until} the licence service is asked to let it run again. Until then that can be undone.")
        if self.subscription.sku.bills_while_suspended:
            return [*steps, "Periods that begin meanwhile are charged as before."]
        return [*steps, "Periods that begin meanwhile are not charged; the renewal date stays."]

    def button(self, form: Form) -> str:
        until = self._until()
        return f"Suspend {self.subscription}{f' until {until}' if until else ''}"


class PricedView(ChangeView):
    """A change whose price is known before anything is entered."""

    def form_price(self) -> Price | None:
        if self.why_not():
            return None
        try:
            return quoted.of_proposal(lifecycle.propose(self.action, self.about, {}, at=clock.now()))
        except NotAllowed as refusal:
            return Price("What it costs", sentence=refusal.sentence)


class ActivateView(PricedView):
    """Activate a suspended one, now or on a later day; the days left of a period that was not billed are charged."""

    action = actions.ACTIVATE

    def consequence(self) -> str:
        return f"{protected(self.subscription)} are protected again as soon as the licence service has confirmed."

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        ends = self.subscription.ends_at
        target = SubscriptionStatus.ENDING if ends and ends > self.about.at else SubscriptionStatus.ACTIVE
        return [("Status", self.subscription.get_status_display(), str(target.label)), self.takes_effect()]

    def next_steps(self, form: Form) -> list[str]:
        scheduled, replaced = self.about.scheduled, []
        if scheduled and scheduled.action == actions.ACTIVATE.stem:
            replaced = [f"{lifecycle.planned_words(scheduled, self.subscription)} This one takes its place."]
        if self.planned_on:
            ask = "On that day the licence service is asked to let the licence run again."
            stays = f"Until {self.planned_on} it stays suspended, and the plan can be undone."
            return [stays, ask, CODE_STAYS, *replaced]
        return ["The licence service is asked to let the licence run again.", RECORD_FOLLOWS, CODE_STAYS, *replaced]

    def button(self, form: Form) -> str:
        if self.planned_on:
            return f"Plan the activation of {self.subscription} on {self.planned_on}{self.and_money()}"
        return f"Activate {self.subscription}{self.and_money()}"


class CancelView(ChangeView):
    """Cancel at the end of the period, now, or back-dated."""

    action = actions.CANCEL

    def danger(self) -> bool:
        return True

    def consequence(self) -> str:
        people = protected(self.subscription)
        if self.planned_on:
            return f"{people} lose protection on {self.planned_on}. Until then the end can be undone."
        if self.proposal:
            return (
                f"{people} lose protection as soon as the licence service has confirmed, for good. "
                "The activation code stops working. This cannot be undone."
            )
        return f"{people} lose protection at the end, for good. The activation code stops working."

    def make_form(self, data: QueryDict | None = None, **kwargs: Any) -> SubscriptionForm:
        today = actions.local_day(self.about.at, self.subscription.account)
        begun = self.subscription.period_start or today
        earliest = max(begun, today - quotes.BACK_DATED)
        ways = self._ways(back_dated=earliest < today)
        return forms.CancelForm(
            data, subscription=self.subscription, action=self.action, ways=ways, today=today,
            earliest=earliest if earliest < today else None, **kwargs,
        )  # fmt: skip

    def _ways(self, *, back_dated: bool) -> dict[str, str]:
        """What can be chosen, each with its money."""
        ways = {}
        if not self.subscription.ends_at and self.subscription.period_end:
            on = actions.date_words(self.subscription.period_end)
            ways[forms.AT_THE_END] = f"With the period, on {on}. Nothing is given back. Can be undone until then."
        given = self._given_back()
        ways[forms.NOW] = f"Now. {given}"
        if back_dated:
            credited = self.subscription.sku.cancel_credit == "by_days"
            less = "The days since then are given back too." if credited else "Nothing is given back."
            ways[forms.BACK_DATED] = f"Back-dated, since the day below. {less}"
        return ways

    def _given_back(self) -> str:
        if self.subscription.period_start is None:
            return "Nothing is given back."
        today = actions.local_day(self.about.at, self.subscription.account)
        pinned = quotes.price(
            self.action, self.subscription, {}, on=max(today, self.subscription.period_start), planned=False,
            at=self.about.at, prices=self.prices,
        )  # fmt: skip
        due = pinned.quote.due_now if pinned else Decimal()
        if not due:
            return "Nothing is given back."
        return f"{pricing.money(abs(due), self.subscription.currency)} is given back."

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        now = self.subscription.get_status_display()
        if self.planned_on:
            rows = [("Status", now, f"Ending, and cancelled on {self.planned_on}")]
        else:
            rows = [("Status", now, str(SubscriptionStatus.CANCELLED.label))]
        return [*rows, ("Ends", "", self._ends())]

    def _ends(self) -> str:
        if self.planned_on:
            return f"With the day before {self.planned_on}"
        if since := self._since():
            return f"As of {since}"
        return "When the licence service confirms"

    def _since(self) -> str:
        """The earlier day of a back-dated end, in words."""
        if self.proposal is None:
            return ""
        today = actions.local_day(self.about.at, self.subscription.account)
        return actions.date_words(self.proposal.on) if self.proposal.on < today else ""

    def next_steps(self, form: Form) -> list[str]:
        withdrawn = []
        if scheduled := self.about.scheduled:
            then = "This end takes its place." if self.planned_on else "It is withdrawn when the cancellation is done."
            withdrawn = [f"{lifecycle.planned_words(scheduled, self.subscription)} {then}"]
        if self.planned_on:
            ask = f"On {self.planned_on} the licence service is asked to end the licence."
            return ["It shows as ending from now on, and can be kept until that day.", ask, *withdrawn]
        return ["The licence service is asked to end the licence now.", RECORD_FOLLOWS, *withdrawn]

    def button(self, form: Form) -> str:
        number = self.subscription.number
        if self.planned_on:
            return f"Plan the end of {number} on {self.planned_on}"
        if since := self._since():
            return f"Cancel {number} as of {since}{self.and_money()}"
        return f"Cancel {number} now{self.and_money()}"


VIEWS: dict[Action, type[ChangeView]] = {
    actions.INCREASE: SeatsView,
    actions.DECREASE: SeatsView,
    actions.SUSPEND: SuspendView,
    actions.ACTIVATE: ActivateView,
    actions.CANCEL: CancelView,
}
