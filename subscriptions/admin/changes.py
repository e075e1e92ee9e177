"""The five changes of the Shortcut menu: what each asks, says and places."""

from typing import Any

from django.forms import Form
from django.http import QueryDict

from subscriptions import actions, lifecycle
from subscriptions.actions import Action, NotAllowed
from subscriptions.admin import shortcut
from subscriptions.admin.flow import ActionView
from subscriptions.admin.forms import CancelForm, SeatsForm, SubscriptionForm
from subscriptions.admin.shortcut import Link
from subscriptions.lifecycle import Wish
from subscriptions.models import Order, Subscription, SubscriptionStatus

FORMS: dict[str, type[SubscriptionForm]] = {
    actions.INCREASE.stem: SeatsForm,
    actions.DECREASE.stem: SeatsForm,
    actions.CANCEL.stem: CancelForm,
}
CODE_STAYS = "The activation code stays the same."
RECORD_FOLLOWS = "Our record changes when the licence service has confirmed, not before."


def protected(subscription: Subscription) -> str:
    return f"{subscription.seats:,} users or devices of {subscription.account}"


class ChangeView(ActionView):
    """Increase, decrease, suspend, activate or cancel one subscription."""

    action = actions.INCREASE

    def find(self, **kwargs: Any) -> None:
        self.subscription = shortcut.find_subscription(self.request, kwargs["pk"])
        user: Any = self.request.user
        self.about = actions.situation(self.subscription, actor=user, audience=actions.BSS)

    def danger(self) -> bool:
        return self.action is actions.CANCEL

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

    def place(self, form: Form) -> Order:
        given = form.cleaned_data
        user: Any = self.request.user
        return lifecycle.place(
            Wish(
                self.subscription.pk,
                self.action.stem,
                form.after,  # type: ignore[attr-defined]
                reason=given["reason"],
                version=given["version"],
                idempotency_key=given["idempotency_key"],
            ),
            actor=user,
            audience=actions.BSS,
        )

    def context(self, title: str, **more: Any) -> dict[str, Any]:
        return shortcut.frame(self.request, self.about, title=title, current=self.action.stem, **more)

    def consequence(self) -> str:
        people = protected(self.subscription)
        match self.action.stem:
            case "suspend":
                return (
                    f"{people} lose protection as soon as the licence service has confirmed, "
                    "until the subscription is activated again. The activation code is kept."
                )
            case "activate":
                return f"{people} are protected again as soon as the licence service has confirmed."
            case "cancel":
                return (
                    f"{people} lose protection as soon as the licence service has confirmed, for good. "
                    "The activation code stops working. This cannot be undone."
                )
        return ""

    def changes(self, form: Form) -> list[tuple[str, str, str]]:
        subscription = self.subscription
        match self.action.stem:
            case "increase" | "decrease":
                return [("Seats", f"{subscription.seats:,}", f"{form.cleaned_data['seats']:,}")]
            case stem:
                target = {
                    "suspend": SubscriptionStatus.SUSPENDED,
                    "activate": SubscriptionStatus.ACTIVE,
                    "cancel": SubscriptionStatus.CANCELLED,
                }[stem]
                return [("Status", subscription.get_status_display(), str(target.label))]

    def next_steps(self, form: Form) -> list[str]:
        match self.action.stem:
            case "increase" | "decrease":
                wanted = actions.seats_words(form.cleaned_data["seats"])
                return [f"The licence service is asked for {wanted} in all.", RECORD_FOLLOWS, CODE_STAYS]
            case "suspend":
                return ["The licence service is asked to stop the licence for a time.", RECORD_FOLLOWS, CODE_STAYS]
            case "activate":
                return ["The licence service is asked to let the licence run again.", RECORD_FOLLOWS, CODE_STAYS]
        return ["The licence service is asked to end the licence now.", RECORD_FOLLOWS]

    def button(self, form: Form) -> str:
        number = self.subscription.number
        match self.action.stem:
            case "increase":
                return f"Add {actions.seats_words(form.cleaned_data['seats'] - self.subscription.seats)} to {number}"
            case "decrease":
                more = actions.seats_words(self.subscription.seats - form.cleaned_data["seats"])
                return f"Remove {more} from {number}"
            case "cancel":
                return f"Cancel {number} now"
        return f"{self.action.label} {number}"


CHANGES: tuple[Action, ...] = (
    actions.INCREASE, actions.DECREASE, actions.SUSPEND, actions.ACTIVATE, actions.CANCEL,
)  # fmt: skip
