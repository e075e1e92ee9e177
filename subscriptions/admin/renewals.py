"""What becomes of a term: Renew, Convert, the automatic renewal, and another SKU."""

from functools import cached_property
from typing import Any

from django.forms import Form
from django.http import QueryDict

from subscriptions import actions, lifecycle, pricing, quotes
from subscriptions.actions import Action, NotAllowed
from subscriptions.admin import forms, shortcut
from subscriptions.admin.changes import CODE_STAYS, RECORD_FOLLOWS, ChangeView, PricedView, protected
from subscriptions.admin.forms import SubscriptionForm
from subscriptions.models import SKU, SubscriptionStatus
from subscriptions.pricing import NoPrice


class RenewView(PricedView):
    """Renew an expired one: the next period follows the old one without a gap."""

    action = actions.RENEW

    def consequence(self) -> str:
        return f"{protected(self.subscription)} go on being protected. The next term follows the old one without a gap."

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        rows = [("Status", self.subscription.get_status_display(), str(SubscriptionStatus.ACTIVE.label))]
        if self.proposal is None or self.proposal.quote is None:
            return rows
        return [*rows, ("Next period from", "", actions.date_words(self.proposal.quote.on))]

    def next_steps(self, form: Form) -> list[str]:
        return ["It is active at once: the licence has gone on running meanwhile.", "The period is charged at once."]

    def button(self, form: Form) -> str:
        return f"Renew {self.subscription}{self.and_money()}"


class ConvertView(PricedView):
    """A trial becomes a paid subscription today."""

    action = actions.CONVERT

    def consequence(self) -> str:
        return (
            f"The trial of {self.subscription.account} becomes a paid subscription today. The licence goes on as it is."
        )

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        return [("Trial", "Yes", "No"), ("Period and term from", "", "Today")]

    def next_steps(self, form: Form) -> list[str]:
        return ["A full period and term begin today.", "The period is charged at once.", CODE_STAYS]

    def button(self, form: Form) -> str:
        return f"Convert {self.subscription}{self.and_money()}"


class AutoRenewView(ChangeView):
    """Switch the automatic renewal the other way."""

    action = actions.AUTO_RENEW

    def title(self) -> str:
        return shortcut.label(self.action, self.subscription)

    def consequence(self) -> str:
        if self.subscription.term_end is None:
            return ""
        ends = actions.date_words(self.subscription.term_end)
        if not self.subscription.auto_renew:
            return f"On {ends} the subscription is renewed by itself."
        days = self.subscription.sku.grace_days
        return (
            f"On {ends} the term ends, and the subscription expires. "
            f"It can be renewed for {days} day{'' if days == 1 else 's'} after that; then it is cancelled."
        )

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        words = {True: "On", False: "Off"}
        return [("Renews automatically", words[self.subscription.auto_renew], words[not self.subscription.auto_renew])]

    def next_steps(self, form: Form) -> list[str]:
        scheduled = self.about.scheduled
        steps = ["It is switched at once. The licence service is not asked, and nothing is charged."]
        if self.subscription.auto_renew and scheduled and lifecycle.is_at_renewal(scheduled, self.subscription):
            steps.append(f"{lifecycle.planned_words(scheduled, self.subscription)} It is withdrawn.")
        return steps

    def button(self, form: Form) -> str:
        return f"{self.title()} of {self.subscription}"


class ChangeSKUView(ChangeView):
    """Change to another SKU, now or at the renewal."""

    action = actions.CHANGE_SKU

    @cached_property
    def _offered(self) -> tuple[dict[str, tuple[SKU, str, str]], list[str]]:
        """The choices, and why not for the targets that offer none; 3 queries."""
        subscription = self.subscription
        declared = subscription.sku.sold_targets()
        prices = quotes.load([subscription], [one.target for one in declared])
        choices: dict[str, tuple[SKU, str, str]] = {}
        refused = []
        for one in declared:
            sku, reasons = one.target, []
            seats = min(max(subscription.seats, sku.seats_min), sku.seats_max)
            words = f"{sku.name} ({sku.code}), {sku.seats_min:,} to {sku.seats_max:,} seats"
            terms = prices.terms(sku, subscription.currency, subscription.account)
            try:
                each = pricing.money(terms.line(seats), terms.currency)
                words += f", {each} {pricing.every(terms.months)} for {actions.seats_words(seats)}"
            except NoPrice as missing:
                refused.append(f"{sku.name}: {missing.sentence}")
                continue
            for when in (quotes.NOW, quotes.RENEWAL):
                if refusal := lifecycle.why_not_change(subscription, one, seats, when):
                    reasons.append(refusal.sentence)
                else:
                    choices[f"{sku.pk}-{when}"] = (sku, when, f"{words}: {self._when_words(when)}")
            if len(reasons) == 2:
                refused.append(f"{sku.name}: {reasons[-1]}")
        return choices, refused

    def _when_words(self, when: str) -> str:
        if when == quotes.NOW or self.subscription.term_end is None:
            return "now"
        return f"at the renewal on {actions.date_words(self.subscription.term_end)}"

    def find(self, **kwargs: Any) -> None:
        super().find(**kwargs)
        self.__dict__.pop("_offered", None)

    def why_not(self) -> NotAllowed | None:
        if refusal := super().why_not():
            return refusal
        choices, refused = self._offered
        return None if choices else NotAllowed("no_target", " ".join(refused))

    def make_form(self, data: QueryDict | None = None, **kwargs: Any) -> SubscriptionForm:
        targets = self._offered[0]
        return forms.ChangeSKUForm(
            data, subscription=self.subscription, action=self.action, targets=targets, **kwargs
        )  # fmt: skip

    def consequence(self) -> str:
        now = self.subscription.sku
        words = f"Now {now.name} ({now.code}), {quotes.per_period(self.subscription, self.prices)}."
        return " ".join([words, *self._offered[1]])

    def changes(self, form: Any) -> list[tuple[str, str, str]]:
        subscription, sku, seats = self.subscription, form.target, form.cleaned_data["seats"]
        later = self.proposal.quote.later if self.proposal and self.proposal.quote else None
        after = f"{pricing.money(later.amount, subscription.currency)} {pricing.every(later.months)}" if later else ""
        at_once = not self.planned_on and not self._asks(form)
        return [
            ("SKU", str(subscription.sku), str(sku)),
            ("Seats", f"{subscription.seats:,}", f"{seats:,}"),
            ("Price per period", quotes.per_period(subscription, self.prices), after),
            ("Takes effect", "", "At once") if at_once else self.takes_effect(),
        ]

    def next_steps(self, form: Any) -> list[str]:
        new = "A new period and term begin on that day." if self.planned_on else "A new period and term begin today."
        steps = [new, CODE_STAYS]
        if self._asks(form):
            steps = ["The licence service is asked to change the licence.", RECORD_FOLLOWS, *steps]
        return [self.undo_words(), *steps] if self.planned_on else steps

    def _asks(self, form: Any) -> bool:
        now = (self.subscription.sku.vendor_product_id, self.subscription.seats)
        return (form.target.vendor_product_id, form.cleaned_data["seats"]) != now

    def button(self, form: Any) -> str:
        if self.planned_on:
            return f"Plan {form.target.code} for {self.subscription} from {self.planned_on}{self.and_money()}"
        return f"Change {self.subscription} to {form.target.code}{self.and_money()}"


VIEWS: dict[Action, type[ChangeView]] = {
    actions.RENEW: RenewView,
    actions.CONVERT: ConvertView,
    actions.AUTO_RENEW: AutoRenewView,
    actions.CHANGE_SKU: ChangeSKUView,
}
