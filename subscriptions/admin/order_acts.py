"""What staff do with an order that exists: it leads to no new order. Here: Retry and Give up."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.forms import Form
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect

from subscriptions import actions, lifecycle
from subscriptions.actions import NotAllowed, Situation
from subscriptions.admin import shortcut, words
from subscriptions.admin.flow import ActionView
from subscriptions.admin.forms import ReasonForm
from subscriptions.admin.shortcut import Link, order_url
from subscriptions.models import Order, OrderStatus


def find_order(request: HttpRequest, pk: int) -> tuple[Order, Situation]:
    """The order with its subscription, and the situation in which acts upon it decide."""
    if not request.user.has_perm("subscriptions.view_order"):
        raise PermissionDenied("Your staff group may not see orders.")
    rows = Order.objects.select_related("actor", "subscription__account", "subscription__sku__product")
    order = get_object_or_404(rows, pk=pk)
    user: Any = request.user
    return order, actions.situation(order.subscription, actor=user, audience=actions.BSS, order=order)


class OrderActView(ActionView):
    """One act upon one order."""

    def find(self, **kwargs: Any) -> None:
        self.order, self.about = find_order(self.request, kwargs["pk"])

    def act(self, reason: str) -> Order:
        """Do it. Raises NotAllowed."""
        raise NotImplementedError

    def done(self) -> str:
        """The kind of the event that the act leaves behind."""
        return f"{self.order.action}.{self.action.stem}"

    def was_done(self, reason: str) -> bool:
        """Has the same person done it in the same words?"""
        user: Any = self.request.user
        return self.order.events.filter(kind=self.done(), actor=user, reason=reason).exists()

    def address(self) -> str:
        return order_url(self.order.pk, self.action.stem)

    def subject_address(self) -> str:
        return order_url(self.order.pk)

    def why_not(self) -> NotAllowed | None:
        return self.action.why_not(self.about)

    def way_out(self, refusal: NotAllowed) -> Link | None:
        return Link(order_url(self.order.pk), f"See {self.order}") if refusal.code == "order_status" else None

    def make_form(self, data: QueryDict | None = None, **kwargs: Any) -> Form:
        return ReasonForm(data, **kwargs)

    def place(self, form: Form) -> Order:
        return self.act(form.cleaned_data["reason"])

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        # These place no new order and so have no key: the same person's same words are the second sending.
        if not self.checking and self.why_not() and self.was_done(request.POST.get("reason", "").strip()):
            return redirect(self.result_address(self.order))
        return super().post(request, **kwargs)

    def context(self, title: str, **more: Any) -> dict[str, Any]:
        return shortcut.frame(self.request, self.about, title=title, **more)

    def title(self) -> str:
        return f"{self.action.label} {self.order}"

    def button(self, form: Form) -> str:
        return self.title()


class SettleOrderView(OrderActView):
    """Retry or Give up one order."""

    action = actions.RETRY

    def danger(self) -> bool:
        return self.action is actions.GIVE_UP

    def act(self, reason: str) -> Order:
        act = lifecycle.retry if self.action is actions.RETRY else lifecycle.give_up
        user: Any = self.request.user
        return act(self.order.pk, actor=user, audience=actions.BSS, reason=reason)

    def consequence(self) -> str:
        wish = words.order_words(self.order)
        if self.action is actions.RETRY:
            return f"{wish}. The same order is carried to the licence service again."
        if self.order.action == "start":
            return f"{wish}. The order ends as failed. If the licence service may have it, it is cancelled there first."
        return f"{wish}. The order ends as failed, and our record stays as it is. Read Get details afterwards."

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        target = OrderStatus.PLACED if self.action is actions.RETRY else OrderStatus.FAILED
        return [("Order", self.order.get_status_display(), str(target.label))]

    def next_steps(self, form: Form) -> list[str]:
        if self.action is actions.RETRY:
            return [
                "If the licence service may have it already, it is read first and nothing is sent twice.",
                "Every attempt so far stays on the page of the order.",
            ]
        return ["Every attempt so far stays on the page of the order.", "The subscription can be changed again."]
