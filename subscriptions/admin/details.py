"""Get details: ask the vendor now, ours and theirs side by side, and settle a difference by an order."""

from typing import Any

from django.contrib import admin
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import URLPattern, path
from django.views.decorators.http import require_http_methods

from subscriptions import actions, clock, lifecycle, reconciliation
from subscriptions.actions import Action, NotAllowed
from subscriptions.admin import shortcut
from subscriptions.admin.flow import ActionView, action_urls
from subscriptions.admin.forms import SettleForm
from subscriptions.admin.shortcut import Link
from subscriptions.lifecycle import Proposal
from subscriptions.models import DriftField, Order, SubscriptionStatus
from subscriptions.quotes import Pinned
from subscriptions.reconciliation import Difference, Reading

SETTLE: tuple[Action, ...] = (actions.TAKE_THEIRS, actions.PUSH_OURS)
FIELDS = ("status", "seats", "product", "existence")


@require_http_methods(["GET", "HEAD", "POST"])
def get_details(request: HttpRequest, pk: int) -> HttpResponse:
    """GET shows the last answer with its age; POST asks the vendor, which is logged."""
    subscription = shortcut.find_subscription(request, pk)
    user: Any = request.user
    about = actions.situation(subscription, actor=user, audience=actions.BSS)
    asked = request.method == "POST"
    if refusal := actions.DETAILS.why_not(about):
        context = shortcut.frame(request, about, title=actions.DETAILS.label, current="details", refusal=refusal)
        context["back"] = context["subscription_url"]
        return render(request, "admin/subscriptions/refused.html", context, status=403)
    if asked:
        reading: Reading | None = reconciliation.read_now(subscription, actor=user, audience=actions.BSS)
    else:
        reading = reconciliation.last_known(subscription, about.open_order)
    refusals = [action.why_not(about) for action in SETTLE]
    # The same reason in the way of both is said once, above the table.
    blocked = refusals[0] if all(refusals) and len({one.sentence for one in refusals if one}) == 1 else None
    context = shortcut.frame(
        request,
        about,
        title=f"{actions.DETAILS.label} of {subscription}",
        current="details",
        reading=reading,
        now=clock.now(),
        lines=[(line, [] if blocked else _ways(line, about)) for line in reading.lines] if reading else [],
        differs=reading is not None and any(line.differs for line in reading.lines),
        blocked=blocked,
        way_out=shortcut.way_out(blocked, subscription) if blocked else None,
        gone=reconciliation.GONE_THERE if reading and any(_is_gone(line) for line in reading.lines) else "",
        asked=asked,
    )
    return render(request, "admin/subscriptions/subscription/details.html", context)


def _is_gone(line: Difference) -> bool:
    return line.field == DriftField.EXISTENCE and line.differs


def _ways(line: Difference, about: actions.Situation) -> list[dict[str, str]]:
    """The two ways to settle a difference, each with its address or the sentence that says why not."""
    if not line.differs:
        return []
    ways = []
    for action, refusal in ((actions.TAKE_THEIRS, line.take_refusal), (actions.PUSH_OURS, line.push_refusal)):
        why_not = action.why_not(about) or refusal
        url = shortcut.subscription_url(about.subscription.pk, action.stem, line.field)
        reason = why_not.sentence if why_not else ""
        ways.append({"label": action.label, "url": "" if why_not else url, "reason": reason})
    return ways


class SettleView(ActionView):
    """Take theirs or Push ours, for one line of the comparison."""

    action = actions.TAKE_THEIRS

    def find(self, **kwargs: Any) -> None:
        if kwargs["field"] not in FIELDS:
            raise Http404
        self.field: str = kwargs["field"]
        self.subscription = shortcut.find_subscription(self.request, kwargs["pk"])
        user: Any = self.request.user
        self.about = actions.situation(self.subscription, actor=user, audience=actions.BSS)
        reading = reconciliation.last_known(self.subscription)
        lines = reading.lines if reading else ()
        self.line = next((line for line in lines if line.field == self.field), None)
        self.theirs = reconciliation.in_words(self.field, self.line.theirs) if self.line else ""

    def address(self) -> str:
        return shortcut.subscription_url(self.subscription.pk, self.action.stem, self.field)

    def subject_address(self) -> str:
        return shortcut.subscription_url(self.subscription.pk, "details")

    def way_out(self, refusal: NotAllowed) -> Link | None:
        if refusal.code in ("stale", "other_there", "settled", "vendor_silent"):
            return Link(self.subject_address(), "See what the licence service says now")
        return super().way_out(refusal)

    def why_not(self) -> NotAllowed | None:
        if refusal := self.action.why_not(self.about):
            return refusal
        if self.line is None or not self.line.differs:
            return NotAllowed("settled", "There is no difference in the last answer of the licence service.")
        return self.line.take_refusal if self.action is actions.TAKE_THEIRS else self.line.push_refusal

    def make_form(self, data: QueryDict | None = None, **kwargs: Any) -> SettleForm:
        shown = {"shown_theirs": self.line.theirs} if self.line else {}
        return SettleForm(data, initial={**shown, **kwargs.pop("initial", {})}, **kwargs)

    def propose(self, form: Form, shown: Pinned | None) -> Proposal | None:
        if self.about.scheduled is None or self.line is None or self.action is not actions.TAKE_THEIRS:
            return None
        return lifecycle.propose(self.action, self.about, self.line.take or {}, at=clock.now())

    def place(self, form: Form) -> Order:
        given = form.cleaned_data
        user: Any = self.request.user
        confirmed: dict[str, Any] = self.confirm.cleaned_data if self.confirm else {}
        return reconciliation.settle(
            self.subscription,
            self.field,
            self.action.stem,
            shown_theirs=given["shown_theirs"],
            actor=user,
            audience=actions.BSS,
            reason=given["reason"],
            planned=confirmed.get("planned", ""),
            idempotency_key=given["idempotency_key"],
        )

    def context(self, title: str, **more: Any) -> dict[str, Any]:
        return shortcut.frame(self.request, self.about, title=title, current="details", **more)

    def danger(self) -> bool:
        return self.action is actions.TAKE_THEIRS and self._taken() == SubscriptionStatus.CANCELLED

    def _taken(self) -> str:
        """The status that *Take theirs* would write into our record, if any."""
        return str((self.line.take or {}).get("Status", "")) if self.line else ""

    def title(self) -> str:
        if self.line and _is_gone(self.line):
            return f"{self.action.label}: cancel what is unknown there"
        label = self.line.label.lower() if self.line else self.field
        return f"{self.action.label}: {label}"

    def consequence(self) -> str:
        if self.line is None:
            return ""
        if _is_gone(self.line):
            return f"{reconciliation.GONE_THERE} Nothing is sent, charged or given back."
        if self.action is actions.TAKE_THEIRS:
            return (
                f"Our record says {self.line.ours}, the licence service says {self.theirs}. "
                "Ours is changed to theirs; nothing is sent."
            )
        return (
            f"Our record says {self.line.ours}, the licence service says {self.theirs}. "
            "The licence service is asked to change to ours; our record stays as it is."
        )

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        if self.line is None:
            return []
        if _is_gone(self.line):
            ours = self.subscription.get_status_display()
            return [("Our status", ours, str(SubscriptionStatus(self._taken()).label))]
        if self.action is actions.TAKE_THEIRS:
            return [(f"Our {self.line.label.lower()}", self.line.ours, self.theirs)]
        return [(f"{self.line.label} at the licence service", self.theirs, self.line.ours)]

    def next_steps(self, form: Form) -> list[str]:
        return [
            "The licence service is read once more first. If it says something else by now, nothing is changed.",
            "The change is an order like every other, with your name and the reason.",
        ]

    def button(self, form: Form) -> str:
        if self.line and _is_gone(self.line):
            return f"Cancel {self.subscription} here, for good"
        label = self.line.label.lower() if self.line else self.field
        if self.action is actions.TAKE_THEIRS:
            return f"Take their {label} for {self.subscription}"
        return f"Send our {label} of {self.subscription}"


def urls() -> list[URLPattern]:
    """The addresses of Get details and of the two ways to settle a difference."""
    own = [path("<int:pk>/details/", admin.site.admin_view(get_details), name="subscriptions_subscription_details")]
    for action in SETTLE:
        name = f"subscriptions_subscription_{action.stem}"
        own += action_urls(f"<int:pk>/{action.stem}/<slug:field>", name, SettleView, action=action)
    return own
