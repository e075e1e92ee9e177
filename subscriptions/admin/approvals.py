"""Approve and Reject: what staff decide about orders that wait for it."""

from typing import Any

from django.forms import Form
from django.http import QueryDict
from django.urls import reverse

from subscriptions import actions, lifecycle, quotes
from subscriptions.admin import quoted, words
from subscriptions.admin.forms import CommentForm
from subscriptions.admin.order_acts import OrderActView
from subscriptions.admin.quoted import Price
from subscriptions.models import Order, OrderStatus

ACTS = (actions.APPROVE, actions.REJECT)


def waiting_url() -> str:
    """The list of orders that wait for approval, the longest first."""
    return f"{reverse('admin:subscriptions_order_changelist')}?status={OrderStatus.AWAITING_APPROVAL}"


class ApprovalView(OrderActView):
    """Approve or reject one order of somebody else."""

    action = actions.APPROVE

    @property
    def approving(self) -> bool:
        return self.action is actions.APPROVE

    def danger(self) -> bool:
        return not self.approving

    def act(self, reason: str) -> Order:
        decide = lifecycle.approve if self.approving else lifecycle.reject
        user: Any = self.request.user
        return decide(self.order.pk, actor=user, audience=actions.BSS, reason=reason)

    def done(self) -> str:
        return f"{self.order.action}.{'approved' if self.approving else 'rejected'}"

    def make_form(self, data: QueryDict | None = None, **kwargs: Any) -> CommentForm:
        return CommentForm(data, to_customer=not self.approving, **kwargs)

    def consequence(self) -> str:
        who = words.who(self.order.actor, self.order.audience)
        given = f" Reason: {self.order.reason}" if self.order.reason else ""
        return f"{words.order_words(self.order)}, ordered by {who}.{given}"

    def form_price(self) -> Price | None:
        return quoted.of_order(self.order)

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        rows = [("Order", self.order.get_status_display(), str(self._target().label))]
        if quote := quotes.quote_of(self.order):
            rows.append(("Takes effect", "", self._takes_effect(actions.date_words(quote.on))))
        return rows

    def _target(self) -> OrderStatus:
        if not self.approving:
            return OrderStatus.REJECTED
        return OrderStatus.SCHEDULED if self.order.due_at else OrderStatus.PLACED

    def _takes_effect(self, quoted_day: str) -> str:
        if not self.approving:
            return "Never"
        return f"On {quoted_day}" if self.order.due_at else "When the licence service confirms"

    def button(self, form: Form) -> str:
        quote = quotes.quote_of(self.order) if self.approving else None
        return f"{self.title()}{quoted.and_money(quote)}"

    def next_steps(self, form: Form) -> list[str]:
        if not self.approving:
            return [
                "Nothing is sent to the licence service, and nothing is charged.",
                "The customer reads the comment.",
            ]
        charged = "What was quoted is charged when the licence service has confirmed, not before."
        if self.order.due_at:
            on = actions.day(self.order.due_at, self.order.subscription)
            return [f"It takes effect on {on}, and can be undone until then.", charged]
        return ["The order goes to the licence service.", charged]
