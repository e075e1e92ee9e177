"""A notice as a mail: the same words as text and as HTML, in the language and time zone of the account."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from email.utils import format_datetime
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template import Context
from django.template.loader import get_template, render_to_string
from django.urls import reverse
from django.utils.text import Truncator

from subscriptions import actions, clock, lifecycle
from subscriptions.models import SKU, Event, Language, Notice, Order, OrderStatus, Subscription
from subscriptions.models.notice import REMINDERS, STAFF_KINDS, NoticeKind
from subscriptions.notifications.recipients import STAFF_GROUP, replacing
from subscriptions.notifications.words import PHRASES, Tongue, one_line
from subscriptions.pricing import Quote

K = NoticeKind
# Names in subjects and sentences; the facts below them hold the whole of it.
SHORT = 60


def letter(notice: Notice) -> EmailMultiAlternatives:
    """The mail, not sent. Needs `user` and the event's `account`, `order__actor` and `subscription__sku__product`."""
    about = _About.of(notice)
    subject, *paragraphs = about.words()
    return _mail(about, subject, {"paragraphs": paragraphs, "rows": about.rows(), **about.link(), **about.foot()})


def letter_of_many(shown: Sequence[Notice], count: int, happened: Collection[str]) -> EmailMultiAlternatives:
    """One mail about `count` notices of one kind to one person, of one account or to staff; it tells of `shown`.

    `happened` are the kinds of the events of all of them, since some of one kind have a subject of their own.
    Needs of each what `letter` needs. What is said of several alike is said once, but for money, which is of each.
    """
    news = []
    for position, notice in enumerate(shown):
        about = _About.of(notice)
        subject, *paragraphs = about.words()
        # Of a reminder its sentences name them all.
        figures = [] if notice.kind in REMINDERS else about.figures()
        said = [*paragraphs, *(f"{name}: {value}" for name, value in figures)]
        news.append(((said, position if figures else -1), {"subject": subject, "url": about.link()["url"]}))
    about = _About.of(shown[0])
    parts = []
    for (said, _), some in groupby(news, key=lambda one: one[0]):
        links = [one for _, one in some]
        parts.append((links, [about.say("of_each"), *said] if len(links) > 1 else said))
    more = count - len(shown)
    facts = {
        "parts": parts,
        "paragraphs": [about.say("more", number=about.tongue.number(more))] if more else [],
        **about.link_to_all(),
        **about.foot(),
    }
    phrase = f"many_{about.event.kind}" if len(happened) == 1 else ""
    phrase = phrase if phrase in PHRASES[about.tongue.language] else f"many_{about.notice.kind}"
    return _mail(about, about.say(phrase, number=about.tongue.number(count)), facts)


def _mail(about: "_About", subject: str, facts: dict[str, Any]) -> EmailMultiAlternatives:
    user = about.notice.user
    frame = {
        "language": about.tongue.language,
        "subject": subject,
        "hello": about.say("hello", name=one_line(user.name), first_name=one_line(user.get_short_name())),
        **facts,
    }
    mail = EmailMultiAlternatives(
        subject,
        render_to_string("email/frame.txt", frame),
        to=[user.email],
        # Holiday answers and the like stay away; the date is that of the clock which the words go by.
        headers={"Auto-Submitted": "auto-generated", "Date": format_datetime(clock.now())},
    )
    mail.attach_alternative(render_to_string("email/frame.html", frame), "text/html")
    return mail


@dataclass(frozen=True, slots=True)
class _About:
    """What one notice is about, with the words to say it."""

    notice: Notice
    event: Event
    subscription: Subscription
    order: Order | None
    tongue: Tongue
    what: str
    """What happened to the order, such as completed."""
    quote: Quote | None
    replaced_by: Order | None
    """What took the place of the order, if it was withdrawn for that."""

    @classmethod
    def of(cls, notice: Notice) -> "_About":
        event, order = notice.event, notice.event.order
        # BSS speaks English and says all times in UTC.
        staff = notice.kind in STAFF_KINDS
        language = Language.ENGLISH if staff else Language(event.account.language)
        tongue = Tongue(language, ZoneInfo("UTC" if staff else event.account.time_zone))
        quote = Quote.from_json(order.quote) if order and order.quote else None
        what = event.kind.rpartition(".")[2]
        return cls(
            notice, event, event.subscription, order, tongue, what, quote, replacing([event]).get(event.pk)
        )  # fmt: skip

    def say(self, phrase: str, **facts: object) -> str:
        return self.tongue.say(phrase, **facts)

    @property
    def for_staff(self) -> bool:
        return self.notice.kind in STAFF_KINDS

    @property
    def wish(self) -> str:
        return self.tongue.wish(self.order, self._sku()) if self.order else ""

    def _sku(self) -> str:
        code = self.order.after.get("SKU", "") if self.order else ""
        name = SKU.objects.filter(code=code).values_list("name", flat=True).first() if code else ""
        return _short(name or code)

    def words(self) -> list[str]:
        """The subject and the paragraphs: one line each, whatever a template or a name has in it."""
        template = get_template(f"email/{self.tongue.language}/{self.notice.kind}.txt").template  # type: ignore[attr-defined]  # of the one engine there is
        rendered = template.render(Context(self.facts(), autoescape=False))
        return [line for part in rendered.split("\n\n") if (line := one_line(part))]

    def facts(self) -> dict[str, Any]:
        """What the sentences of templates are made of: text without line breaks, and flags."""
        subscription, order, after = self.subscription, self.order, self.event.after
        facts: dict[str, Any] = {
            "what": self.what,
            "action": order.action if order else "",
            "order": order.number if order else "",
            "abandoned": order is not None and order.abandoned,
            "wish": self.wish,
            "product": _short(subscription.sku.product.name),
            "number": subscription.number,
            "company": one_line(self.event.account.name),
            "who": self.tongue.who(self.event.actor, self.event.audience),
            "by_distributor": self.event.audience in actions.STAFF,
            "by_seatdesk": self.event.audience == actions.SYSTEM,
            "asked_by_seatdesk": order is not None and order.audience == actions.SYSTEM,
            "due": self.tongue.moment(order.due_at) if order and order.due_at else "",
            "due_day": self.tongue.day_of(order.due_at) if order and order.due_at else "",
        }
        match self.notice.kind:
            case K.WITHDRAWN:
                facts["replaced_by"] = self.replaced_by.number if self.replaced_by else ""
            case K.CODE if subscription.trial_ends:
                facts["trial_ends"] = self.tongue.day(subscription.trial_ends)
            case K.SUSPENSION:
                facts |= self._suspension()
            case K.ENDED:
                facts["ended_on"] = self._ended_on()
                facts["after_grace"] = facts["asked_by_seatdesk"] and subscription.grace_ends is not None
            case K.REMINDER:
                facts |= self._coming() | {
                    "renews": after["Renews"],
                    "reduce_until": self.tongue.day(date.fromisoformat(after["Reduce until"])),
                }
            case K.TRIAL_ENDING:
                until = self.tongue.day(date.fromisoformat(after["Convert until"]))
                facts |= self._coming() | {"convert_until": until}
            case K.EXPIRED:
                last = date.fromisoformat(after["Renewable until"])
                in_grace = last >= actions.local_day(self.event.at, self.event.account)
                facts["renew_until"] = self.tongue.day(last) if in_grace else ""
        return facts

    def _coming(self) -> dict[str, Any]:
        """Of a reminder: the day, and the seats and the price from then on; no price where the list has none."""
        after = self.event.after
        priced = "Price" in after
        return {
            "days": after["Days"],
            "seats": self.tongue.seats(after["Seats"]),
            "price": self.tongue.money(Decimal(after["Price"]), after["Currency"]) if priced else "",
            "each": self.tongue.each(after["Months"]) if priced else "",
            "day": self.tongue.day(date.fromisoformat(after["Date"])),
        }

    def _suspension(self) -> dict[str, str]:
        """When it works again of itself, or when it ends although it works again."""
        if self.order and self.order.action == actions.SUSPEND.stem:
            planned = self.subscription.orders.filter(
                status=OrderStatus.SCHEDULED, action=actions.ACTIVATE.stem
            ).first()
            return {"activates": self.tongue.moment(planned.due_at) if planned and planned.due_at else ""}
        ends = self.subscription.ends_at if self.order and self.order.after.get("Status") == "ending" else None
        return {"ends": self.tongue.day_of(ends) if ends else ""}

    def _ended_on(self) -> str:
        """Staff can date a cancel back."""
        since = self.order.after.get("Effective") if self.order else None
        return self.tongue.day(date.fromisoformat(since)) if since else self.tongue.day_of(self.event.at)

    def rows(self) -> list[tuple[str, str]]:
        """The facts as pairs of a name and a value, those that are empty left out."""
        order, event = self.order, self.event
        found = {
            "Subscription": f"{one_line(self.subscription.sku.product.name)} ({self.subscription.number})",
            "Company": one_line(event.account.name),
        }
        if order:
            asked = self.tongue.who(order.actor, order.audience)
            if self.for_staff and order.actor:
                asked = one_line(order.actor.name)
            found |= {
                "Change": self.wish,
                "Order": order.number,
                "Requested by": self.say("by", who=asked, moment=self.tongue.moment(order.placed_at)),
            }
            if order.due_at and self.notice.kind in (K.APPROVAL, K.DECIDE, K.ENDING, K.WITHDRAWN):
                found["Planned for"] = self.tongue.moment(order.due_at)
        # A reminder is about a day to come, and the act of asking has its instant already.
        if self.notice.kind not in REMINDERS and (order is None or event.at != order.placed_at):
            found["When"] = self.tongue.moment(event.at)
        return [(self.say(name), value) for name, value in found.items() if value] + self.figures()

    def figures(self) -> list[tuple[str, str]]:
        """Of the facts why it is so, and the money."""
        return [(self.say(name), value) for name, value in (self._why() | self._money()).items() if value]

    def _why(self) -> dict[str, str]:
        """Of what staff wrote, customers read the comment on a rejection alone."""
        if self.what == "rejected":
            return {"Comment": one_line(self.event.reason)}
        if self.notice.kind == K.WITHDRAWN and self.event.audience == actions.SYSTEM and not self.replaced_by:
            return {"Reason": one_line(self.event.reason)}
        if self.notice.kind == K.DECIDE and self.order:
            return {"Reason": one_line(self.order.reason)}
        if self.notice.kind == K.ATTENTION:
            return {"Reason": one_line(self.event.reason)}
        return {}

    def _money(self) -> dict[str, str]:
        if self.notice.kind in REMINDERS:
            facts = self.facts()
            price = self.say("net", amount=f"{facts['price']} {facts['each']}") if facts["price"] else ""
            found = {"Seats": self.tongue.number(self.event.after["Seats"]), "Price": price}
            if self.notice.kind == K.TRIAL_ENDING:
                return found | {"Trial ends on": facts["day"], "Convert until": facts["convert_until"]}
            day = "Renews on" if facts["renews"] else "Term ends on"
            return found | {day: facts["day"], "Reduce until": facts["reduce_until"]}
        if self.quote is None or self.what in ("rejected", "withdrawn", "failed", "give_up", "held"):
            return {}
        due, currency = self.quote.due_now, self.quote.currency
        name = ("Charged" if due > 0 else "Credited") if self.what == "completed" else "Price" if due > 0 else "Credit"
        found = {name: self.say("net", amount=self.tongue.money(abs(due), currency))} if due else {}
        kept = lifecycle.kept_beside(self.order) if self.order else None
        laters = lifecycle.laters(self.quote, kept)
        if priced := self.say("then").join(self.tongue.later(one.later, currency) for one in laters if one.priced):
            priced = self.say("net", amount=priced)
        # Only a plan, the last of them, can be without a price.
        unpriced = [self.tongue.later_seats(one.later) for one in laters if not one.priced]
        found["Afterwards"] = self.say("then").join(words for words in (priced, *unpriced) if words)
        return found

    def link(self) -> dict[str, str]:
        """To what it is about."""
        if self.for_staff and self.order:
            where, words = reverse("admin:subscriptions_order_change", args=[self.order.pk]), "see_order"
        elif self.for_staff:
            where = reverse("admin:subscriptions_subscription_change", args=[self.subscription.pk])
            words = "see_subscription"
        elif self.notice.kind == K.CODE:
            where, words = reverse("storefront:code", args=[self.subscription.pk]), "see_code"
        elif self.order:
            where, words = reverse("storefront:order", args=[self.order.pk]), "see_order"
        else:
            where, words = reverse("storefront:subscription", args=[self.subscription.pk]), "see_subscription"
        return {
            "url": settings.BASE_URL + where,
            "link": self.say(words, order=self.order, number=self.subscription.number),
        }

    def link_to_all(self) -> dict[str, str]:
        """To where all of its kind are found."""
        where, words = ("admin:index", "see_work") if self.for_staff else ("storefront:subscriptions", "see_all")
        return {"url": settings.BASE_URL + reverse(where), "link": self.say(words)}

    def foot(self) -> dict[str, str]:
        """Why the person gets it, and where its kind is switched off."""
        kind = NoticeKind(self.notice.kind)
        if self.for_staff:
            return {"why": self.say("why_staff", group=STAFF_GROUP[kind])}
        return {
            "why": self.say("why", company=one_line(self.event.account.name)),
            "off": self.say("off", kind=self.say(f"kind_{kind}")),
            "off_url": settings.BASE_URL + reverse("storefront:notices") + self._box(kind),
        }

    def _box(self, kind: NoticeKind) -> str:
        """Where on that page the kind is switched off, whatever the page calls it: it speaks English."""
        member = self.event.account.members.filter(user=self.notice.user_id).values_list("pk", flat=True).first()
        return f"#{member}-{kind}" if member else ""


def _short(name: str) -> str:
    return Truncator(one_line(name)).chars(SHORT)
