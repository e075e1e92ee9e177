"""Undo of a planned change, and Keep subscription, which is the undo of a planned end."""

from typing import Any

from django.forms import Form

from subscriptions import actions, lifecycle
from subscriptions.actions import NotAllowed
from subscriptions.admin import shortcut
from subscriptions.admin.order_acts import OrderActView
from subscriptions.admin.shortcut import Link
from subscriptions.models import Order, OrderStatus, SubscriptionStatus


class UndoView(OrderActView):
    """Withdraw an order whose day has not come, or about which nobody has decided; the ledger never hears of it."""

    action = actions.UNDO

    def act(self, reason: str) -> Order:
        user: Any = self.request.user
        return lifecycle.undo(self.order.pk, actor=user, audience=actions.BSS, reason=reason)

    def done(self) -> str:
        return f"{self.order.action}.withdrawn"

    def why_not(self) -> NotAllowed | None:
        return lifecycle.why_not_undo(self.about)

    def consequence(self) -> str:
        words = lifecycle.planned_words(self.order, self.order.subscription)
        if self.order.status == OrderStatus.AWAITING_APPROVAL:
            return "It waits for approval. The order is withdrawn, and nothing is charged."
        return f"{words} It is withdrawn, and nothing is charged for it."

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        rows = [("Order", self.order.get_status_display(), str(OrderStatus.WITHDRAWN.label))]
        if self._ends():
            rows.append(("Status", str(SubscriptionStatus.ENDING.label), str(SubscriptionStatus.ACTIVE.label)))
        return rows

    def _ends(self) -> bool:
        ending = self.order.subscription.status == SubscriptionStatus.ENDING
        return ending and self.order.action == actions.CANCEL.stem and self.order.status == OrderStatus.SCHEDULED

    def next_steps(self, form: Form) -> list[str]:
        if self._ends():
            return ["The subscription goes on as before.", "The licence service never hears of it."]
        return ["Everything stays as it is.", "The licence service never hears of it."]


class KeepView(UndoView):
    """Keep a subscription that is ending."""

    action = actions.KEEP

    def find(self, **kwargs: Any) -> None:
        self.subscription = shortcut.find_subscription(self.request, kwargs["pk"])
        user: Any = self.request.user
        self.about = actions.situation(self.subscription, actor=user, audience=actions.BSS)
        # Without a planned end there is a sentence that says so, and nothing to undo.
        self.order = self.about.scheduled or Order(subscription=self.subscription, action=actions.CANCEL.stem)

    def was_done(self, reason: str) -> bool:
        user: Any = self.request.user
        return self.subscription.events.filter(kind=self.done(), actor=user, reason=reason).exists()

    def address(self) -> str:
        return shortcut.subscription_url(self.subscription.pk, self.action.stem)

    def subject_address(self) -> str:
        return shortcut.subscription_url(self.subscription.pk)

    def result_address(self, order: Order) -> str:
        return self.subject_address()

    def why_not(self) -> NotAllowed | None:
        return self.action.why_not(self.about)

    def way_out(self, refusal: NotAllowed) -> Link | None:
        return shortcut.way_out(refusal, self.subscription) if refusal.code != "ending" else None

    def context(self, title: str, **more: Any) -> dict[str, Any]:
        return shortcut.frame(self.request, self.about, title=title, current=self.action.stem, **more)

    def title(self) -> str:
        return self.action.label

    def button(self, form: Form) -> str:
        return f"Keep {self.subscription}"
