"""Facts in words, in the languages of accounts; the sentences around them are templates of each language."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime
from babel.numbers import format_currency, format_decimal

from subscriptions import actions
from subscriptions.models import Language, Order, User
from subscriptions.models.notice import STAFF_KINDS, NoticeKind
from subscriptions.pricing import Later

PHRASES: dict[str, dict[str, str]] = {
    Language.ENGLISH: {
        "locale": "en_GB",
        "day": "d MMMM y",
        "moment": "d MMMM y, HH:mm z",
        "money": "¤¤ #,##0.00",
        "seat": "1 seat",
        "seats": "{number} seats",
        "hello": "Hello {first_name},",
        "why": "You get this email as a member of {company}.",
        "why_staff": "You get this email as a member of the group {group}, which an administrator of BSS can change.",
        "off": "Switch off emails of the kind “{kind}”",
        "see_order": "See {order}",
        "see_code": "Get the activation code",
        "see_subscription": "See {number}",
        "distributor": "Your distributor",
        "by": "{who}, {moment}",
        "Subscription": "Subscription",
        "Company": "Company",
        "Change": "Change",
        "Order": "Order",
        "Requested by": "Requested by",
        "When": "When",
        "Planned for": "Planned for",
        "Comment": "Comment",
        "Reason": "Reason",
        "Charged": "Charged",
        "Credited": "Credited",
        "Price": "Price",
        "Credit": "Credit",
        "Afterwards": "Afterwards",
        "Seats": "Seats",
        "Renews on": "Renews on",
        "Term ends on": "Term ends on",
        "Reduce until": "Last day to reduce seats",
        "Trial ends on": "Trial ends on",
        "Convert until": "Last day to convert",
        "net": "{amount}, excl. VAT",
        "later": "{amount} {each} for {seats}, from {day}",
        "later_seats": "{seats}, from {day}, as planned",
        "then": "; then ",
        "month": "a month",
        "year": "a year",
        "months": "every {number} months",
        "start": "New subscription with {seats}",
        "start_trial": "New trial with {seats}",
        "increase": "Increase from {before} to {seats}",
        "decrease": "Decrease from {before} to {seats}",
        "change_sku": "Change to “{sku}” with {seats}",
        "convert": "Conversion of the trial to a paid subscription",
        "renew": "Renewal",
        "auto_renew_on": "Switching on the automatic renewal",
        "auto_renew_off": "Switching off the automatic renewal",
        "suspend": "Suspension",
        "activate": "Activation",
        "cancel": "Cancellation",
        "take_theirs": "Correction of our record",
        "take_theirs_seats": "Correction from {before} to {seats}",
        "push_ours": "Correction of the licence",
        "other": "Change",
        "see_all": "See all subscriptions",
        "see_work": "See what waits",
        "of_each": "Of each of these:",
        "more": "And {number} more, which are not listed here.",
        "many_done": "{number} changes are done",
        "many_failed": "{number} changes were not done",
        "many_approval": "{number} changes: waiting for approval or decided about",
        "many_withdrawn": "{number} changes were withdrawn",
        "many_code": "{number} activation codes are ready",
        "many_suspension": "{number} subscriptions are suspended, or active again",
        "many_suspend.completed": "{number} subscriptions are suspended",
        "many_activate.completed": "{number} subscriptions are active again",
        "many_ending": "{number} subscriptions will end",
        "many_ended": "{number} subscriptions have ended",
        "many_reminder": "The terms of {number} subscriptions end soon",
        "many_expired": "{number} terms are over and were not renewed",
        "many_trial_ending": "{number} trials end soon",
        "many_trial": "{number} trials are over",
        "many_decide": "{number} orders wait for approval",
        "many_attention": "{number} orders need attention",
        # As on the page that switches them off.
        **{f"kind_{kind}": str(kind.label) for kind in NoticeKind if kind not in STAFF_KINDS},
    },
    Language.GERMAN: {
        "locale": "de_DE",
        "day": "d. MMMM y",
        "moment": "d. MMMM y, HH:mm 'Uhr' z",
        "money": "#,##0.00 ¤¤",
        "seat": "1 Platz",
        "seats": "{number} Plätze",
        "hello": "Guten Tag {name},",
        "why": "Sie erhalten diese Nachricht als Mitglied von {company}.",
        "off": "Nachrichten dieser Art („{kind}“) abschalten",
        "see_order": "Zum Auftrag {order}",
        "see_code": "Zum Aktivierungscode",
        "see_subscription": "Zum Abonnement {number}",
        "distributor": "Ihr Distributor",
        "by": "{who}, {moment}",
        "Subscription": "Abonnement",
        "Company": "Firma",
        "Change": "Änderung",
        "Order": "Auftrag",
        "Requested by": "Beauftragt von",
        "When": "Zeitpunkt",
        "Planned for": "Geplant für",
        "Comment": "Kommentar",
        "Reason": "Grund",
        "Charged": "Berechnet",
        "Credited": "Gutgeschrieben",
        "Price": "Preis",
        "Credit": "Gutschrift",
        "Afterwards": "Danach",
        "Seats": "Plätze",
        "Renews on": "Verlängerung am",
        "Term ends on": "Ende der Laufzeit",
        "Reduce until": "Letzter Tag zum Verringern der Plätze",
        "Trial ends on": "Ende der Testphase",
        "Convert until": "Letzter Tag zum Umwandeln",
        "net": "{amount}, zzgl. MwSt.",
        "later": "{amount} {each} für {seats}, ab {day}",
        "later_seats": "{seats}, ab {day}, wie geplant",
        "then": "; dann ",
        "month": "im Monat",
        "year": "im Jahr",
        "months": "alle {number} Monate",
        "start": "Neues Abonnement ({seats})",
        "start_trial": "Neue Testphase ({seats})",
        "increase": "Erhöhung von {before} auf {seats}",
        "decrease": "Verringerung von {before} auf {seats}",
        "change_sku": "Wechsel zu „{sku}“ ({seats})",
        "convert": "Umwandlung der Testphase in ein bezahltes Abonnement",
        "renew": "Verlängerung",
        "auto_renew_on": "Einschalten der automatischen Verlängerung",
        "auto_renew_off": "Ausschalten der automatischen Verlängerung",
        "suspend": "Aussetzung",
        "activate": "Reaktivierung",
        "cancel": "Kündigung",
        "take_theirs": "Korrektur unserer Daten",
        "take_theirs_seats": "Korrektur von {before} auf {seats}",
        "push_ours": "Korrektur der Lizenz",
        "other": "Änderung",
        "see_all": "Zu allen Abonnements",
        "of_each": "Für jedes davon gilt:",
        "more": "Und {number} weitere, die hier nicht aufgeführt sind.",
        "many_done": "{number} Änderungen sind ausgeführt",
        "many_failed": "{number} Änderungen wurden nicht ausgeführt",
        "many_approval": "{number} Änderungen: zur Freigabe oder entschieden",
        "many_withdrawn": "{number} Änderungen wurden zurückgezogen",
        "many_code": "{number} Aktivierungscodes liegen bereit",
        "many_suspension": "{number} Abonnements sind ausgesetzt oder wieder aktiv",
        "many_suspend.completed": "{number} Abonnements sind ausgesetzt",
        "many_activate.completed": "{number} Abonnements sind wieder aktiv",
        "many_ending": "{number} Abonnements werden enden",
        "many_ended": "{number} Abonnements sind beendet",
        "many_reminder": "Die Laufzeiten von {number} Abonnements enden bald",
        "many_expired": "{number} Laufzeiten sind vorüber und wurden nicht verlängert",
        "many_trial_ending": "{number} Testphasen enden bald",
        "many_trial": "{number} Testphasen sind vorüber",
        "kind_done": "Eine Änderung ist ausgeführt",
        "kind_failed": "Eine Änderung wurde nicht ausgeführt",
        "kind_approval": "Freigabe einer Änderung",
        "kind_withdrawn": "Eine Änderung wurde zurückgezogen",
        "kind_code": "Ein Aktivierungscode liegt bereit",
        "kind_suspension": "Ein Abonnement ist ausgesetzt oder wieder aktiv",
        "kind_ending": "Ein Abonnement wird enden",
        "kind_ended": "Ein Abonnement ist beendet",
        "kind_reminder": "Ein Abonnement verlängert sich bald",
        "kind_expired": "Eine Laufzeit ist vorüber und wurde nicht verlängert",
        "kind_trial_ending": "Eine Testphase endet bald",
        "kind_trial": "Eine Testphase ist vorüber",
    },
}


def one_line(text: str) -> str:
    """What people typed, without the line breaks by which it could look like our own words."""
    return " ".join(text.split())


@dataclass(frozen=True, slots=True)
class Tongue:
    """Says facts in one language, and instants in one time zone."""

    language: str
    zone: ZoneInfo

    def say(self, phrase: str, **facts: object) -> str:
        return PHRASES[self.language][phrase].format(**facts)

    def day(self, on: date) -> str:
        return format_date(on, self.say("day"), locale=self.say("locale"))

    def moment(self, at: datetime) -> str:
        return format_datetime(at, self.say("moment"), tzinfo=self.zone, locale=self.say("locale"))

    def day_of(self, at: datetime) -> str:
        """The date that an instant has in the time zone."""
        return self.day(at.astimezone(self.zone).date())

    def money(self, amount: Decimal, currency: str) -> str:
        return format_currency(amount, currency, self.say("money"), locale=self.say("locale"))

    def number(self, number: int) -> str:
        return format_decimal(number, locale=self.say("locale"))

    def seats(self, count: int) -> str:
        return self.say("seat") if count == 1 else self.say("seats", number=self.number(count))

    def each(self, months: int) -> str:
        """How often something is charged that is charged every so many months."""
        return self.say({1: "month", 12: "year"}.get(months, "months"), number=months)

    def later(self, later: Later, currency: str) -> str:
        return self.say(
            "later",
            amount=self.money(later.amount, currency),
            each=self.each(later.months),
            seats=self.seats(later.seats),
            day=self.day(later.starts),
        )

    def later_seats(self, later: Later) -> str:
        """Of a plan whose price is not known."""
        return self.say("later_seats", seats=self.seats(later.seats), day=self.day(later.starts))

    def who(self, actor: User | None, audience: str) -> str:
        """Customers by name; staff as the distributor; the rest is Seatdesk itself."""
        if audience in actions.STAFF:
            return self.say("distributor")
        return one_line(actor.name) if actor else "Seatdesk"

    def wish(self, order: Order, sku: str) -> str:
        """What the order asks for, as a noun; `sku` is the name of the one that it leads to."""
        before, after = order.before, order.after
        phrase = order.action if order.action in PHRASES[self.language] else "other"
        if after.get("Trial"):
            phrase = "start_trial"
        elif "Renews automatically" in after:
            phrase = "auto_renew_on" if after["Renews automatically"] else "auto_renew_off"
        elif phrase == "take_theirs" and "Seats" in after:
            phrase = "take_theirs_seats"
        return self.say(
            phrase,
            before=self.number(before.get("Seats", 0)),
            seats=self.seats(after.get("Seats", 0)),
            sku=sku,
        )
