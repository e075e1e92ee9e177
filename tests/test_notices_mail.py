"""What the mails say in each language, and that a mail server which fails gets each of them once in the end."""

import re
import socketserver
import threading
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from smtplib import SMTPException
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.template.loader import get_template
from django.utils.html import strip_tags

from subscriptions import clock, lifecycle, notifications
from subscriptions.actions import BSS, STOREFRONT, SYSTEM
from subscriptions.models import Account, Event, Language, Notice
from subscriptions.models.notice import STAFF_KINDS, NoticeKind, kinds_of
from subscriptions.notifications import letters
from subscriptions.notifications.words import PHRASES, Tongue
from subscriptions.pricing import Later, Line, Quote
from tests.factories import EventFactory, OrderFactory, ProductFactory, SKUFactory, SubscriptionFactory
from tests.test_notices import AT, COSTS, DUE, REST, TOLD, happened
from tests.worker_process import WorkerProcess, wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_queue")]

CREDIT = Quote(
    "EUR", AT.date(), (Line("credit", "left", Decimal("-12.30"), 25, Decimal("1.00"), REST),), None
).to_json()  # fmt: skip
REMINDER = {"Seats": 1250, "Price": "12875.00", "Currency": "EUR", "Months": 1, "Date": "2027-04-01",
            "Reduce until": "2027-03-31", "Days": 25, "Renews": True}  # fmt: skip
UNPRICED = {"Seats": 1250, "Date": "2027-04-01", "Days": 7, "Convert until": "2027-03-31"}
SOON = UNPRICED | {"Price": "12875.00", "Currency": "EUR", "Months": 1}
LAST = {"Renews": False, "Days": 1, "Seats": 1, "Months": 12}
MORE, FEWER = {"before": {"Seats": 25}, "after": {"Seats": 30}}, {"before": {"Seats": 25}, "after": {"Seats": 20}}


@pytest.fixture
def acme(cast):
    Account.objects.filter(pk=cast.acme.pk).update(time_zone="Europe/Ljubljana")
    cast.acme.refresh_from_db()
    return cast.acme


@pytest.fixture
def mail_of(cast, acme):
    """Let something happen in Acme and return the letter to one of its people, as it would be sent."""

    def run(kind, notice, *, language="en", to=None, **what):
        Account.objects.filter(pk=acme.pk).update(language=language)
        event = happened(acme, kind, **({"by": cast.manager} | what))
        made = Notice.objects.create(event=event, user=to or cast.owner, kind=notice)
        return letters.letter(Notice.objects.get(pk=made.pk))

    return run


def both_parts(mail):
    """Text, and the text of the HTML, both with single spaces."""
    [(html, kind)] = mail.alternatives
    assert kind == "text/html"
    html = re.sub(r"<title>.*?</title>|<style>.*?</style>", "", html, flags=re.DOTALL)
    return [" ".join(part.split()) for part in (mail.body, strip_tags(html))]


# Kind of event, kind of notice, what differs; then by language the subject (without its end) and what else must stand
# in both parts. Facts that every mail has are checked for all.
SAID = {
    "increase": (
        "increase.completed", "done", {**MORE, "quote": COSTS},
        ("Increase from 25 to 30 seats is done", "EUR 1,041.10, excl. VAT", "EUR 309.00 a month for 30 seats",
         "from 31 March 2027", "code is the same as before"),
        ("Erhöhung von 25 auf 30 Plätze ausgeführt", "1.041,10 EUR, zzgl. MwSt.", "309,00 EUR im Monat für 30 Plätze",
         "ab 31. März 2027", "Aktivierungscode ist derselbe wie zuvor"),
    ),
    "decrease": (
        "decrease.completed", "done", FEWER,
        ("Decrease from 25 to 20 seats is done", "The licence service has confirmed it"),
        ("Verringerung von 25 auf 20 Plätze ausgeführt", "Der Lizenzdienst hat es bestätigt"),
    ),
    "a start for Billing": (
        "start.completed", "done", {"before": {"Seats": 0}, "after": {"Seats": 1}, "quote": COSTS},
        ("Started", "New subscription with 1 seat ", "Charged"),
        ("Gestartet", "Neues Abonnement (1 Platz)", "Berechnet"),
    ),
    "another SKU": (
        "change_sku.completed", "done", {"after": {"SKU": "KL-PLUS", "Seats": 25}},
        ("Change to “Plus, 1 year” with 25 seats is done",),
        ("Wechsel zu „Plus, 1 year“ (25 Plätze) ausgeführt",),
    ),
    "a conversion": (
        "convert.completed", "done", {"after": {"Trial": False}},
        ("Conversion of the trial to a paid subscription is done",),
        ("Umwandlung der Testphase in ein bezahltes Abonnement ausgeführt",),
    ),
    "a renewal": (
        "renew.completed", "done", {"after": {"Status": "active"}}, ("Renewal is done",), ("Verlängerung ausgeführt",),
    ),
    "automatic renewal on": (
        "auto_renew.completed", "done", {"after": {"Renews automatically": True}},
        ("Switching on the automatic renewal is done",), ("Einschalten der automatischen Verlängerung ausgeführt",),
    ),
    "automatic renewal off": (
        "auto_renew.completed", "done", {"after": {"Renews automatically": False}},
        ("Switching off the automatic renewal is done",), ("Ausschalten der automatischen Verlängerung ausgeführt",),
    ),
    "a correction of seats": (
        "take_theirs.completed", "done", {**MORE, "audience": BSS},
        ("Correction from 25 to 30 seats is done", "in line with the licence service", "Your distributor, "),
        ("Korrektur von 25 auf 30 Plätze ausgeführt", "an den Lizenzdienst angeglichen", "Ihr Distributor, "),
    ),
    "a refusal": (
        "increase.failed", "failed", {**MORE, "quote": COSTS},
        ("Increase from 25 to 30 seats was not done", "refused this change. Everything is as before, and nothing was"),
        ("Erhöhung von 25 auf 30 Plätze nicht ausgeführt", "hat diese Änderung abgelehnt. Alles ist wie zuvor, und es"),
    ),
    "a refused start": (
        "start.failed", "failed", {"before": {"Seats": 0}, "after": {"Seats": 12}},
        ("New subscription with 12 seats was not done", "refused to start this subscription, and nothing was"),
        ("Neues Abonnement (12 Plätze) nicht ausgeführt", "hat den Start dieses Abonnements abgelehnt, und es wurde"),
    ),
    "a start that staff ended": (
        "start.failed", "failed", {"abandoned": True, "before": {"Seats": 0}, "after": {"Seats": 12}},
        ("New subscription with 12 seats was not done", "Your distributor ended this order. Nothing is left of it"),
        ("Neues Abonnement (12 Plätze) nicht ausgeführt", "Ihr Distributor hat diesen Auftrag beendet. Beim Lizenzdie"),
    ),
    "given up": (
        "increase.give_up", "failed", MORE,
        ("Increase from 25 to 30 seats was not done", "whether the licence service made the change is being checked"),
        ("Erhöhung von 25 auf 30 Plätze nicht ausgeführt", "ob der Lizenzdienst die Änderung vorgenommen hat"),
    ),
    "waits": (
        "increase.awaiting_approval", "approval", {**MORE, "quote": COSTS},
        ("Increase from 25 to 30 seats waits for approval", "nothing is charged", "Price: EUR 1,041.10"),
        ("Erhöhung von 25 auf 30 Plätze wartet auf Freigabe", "es wird nichts berechnet", "Preis: 1.041,10 EUR"),
    ),
    "approved": (
        "increase.approved", "approval", {**MORE, "quote": COSTS},
        ("Increase from 25 to 30 seats is approved", "you hear when it is done"),
        ("Erhöhung von 25 auf 30 Plätze freigegeben", "Er wird jetzt ausgeführt"),
    ),
    "approved for a day": (
        "cancel.approved", "approval", {"after": {"Status": "cancelled"}, "due_at": DUE},
        ("Cancellation is approved", "It takes effect on 1 April 2027, 00:00 CEST, and can be undone until then."),
        ("Kündigung freigegeben", "Er wird am 1. April 2027, 00:00 Uhr MESZ, wirksam"),
    ),
    "rejected": (
        "cancel.rejected", "approval",
        {"after": {"Status": "cancelled"}, "reason": "Your contract\n\nruns <b>until</b> June.", "quote": CREDIT},
        ("Cancellation is rejected", "Your contract runs", "until", "nothing is charged"),
        ("Kündigung abgelehnt", "Your contract runs", "es wird nichts berechnet"),
    ),
    "undone by staff": (
        "decrease.withdrawn", "withdrawn", {**FEWER, "due_at": DUE, "who": "operator", "reason": "TICKET-77 internal"},
        ("Decrease from 25 to 20 seats was withdrawn", "Your distributor withdrew this order", "Planned for",
         "1 April 2027, 00:00 CEST", "Nothing was charged"),
        ("Verringerung von 25 auf 20 Plätze zurückgezogen", "Ihr Distributor hat diesen Auftrag zurückgezogen",
         "Geplant für", "1. April 2027, 00:00 Uhr MESZ", "nichts berechnet"),
    ),
    "an undone end": (
        "cancel.withdrawn", "withdrawn", {"after": {"Status": "cancelled"}, "due_at": DUE, "who": "manager"},
        ("Cancellation was withdrawn", "Marko Novak withdrew this order", "The subscription goes on."),
        ("Kündigung zurückgezogen", "Marko Novak hat diesen Auftrag zurückgezogen", "Das Abonnement läuft weiter."),
    ),
    "become impossible": (
        "decrease.withdrawn", "withdrawn", {**FEWER, "due_at": DUE, "reason": "This product allows at least 21 seats."},
        ("Decrease from 25 to 20 seats was withdrawn", "could no longer be carried out", "at least 21 seats."),
        ("Verringerung von 25 auf 20 Plätze zurückgezogen", "nicht mehr ausgeführt werden", "at least 21 seats."),
    ),
    "code": (
        "start.completed", "code", {"before": {"Seats": 0}, "after": {"Seats": 12}, "quote": COSTS},
        ("Activation code ready", "not in this email", "Get the activation code", "EUR 1,041.10, excl. VAT"),
        ("Aktivierungscode bereit", "steht der Code nicht", "Zum Aktivierungscode", "1.041,10 EUR, zzgl. MwSt."),
    ),
    "code of a trial": (
        "start.completed", "code",
        {"before": {"Seats": 0}, "after": {"Seats": 12, "Trial": True},
         "subscription": {"trial_ends": date(2027, 4, 7)}},
        ("Activation code ready", "New trial with 12 seats", "It ends by itself on 7 April 2027 and costs nothing"),
        ("Aktivierungscode bereit", "Neue Testphase (12 Plätze)", "Sie endet am 7. April 2027 von selbst"),
    ),
    "suspended": (
        "suspend.completed", "suspension", {"after": {"Status": "suspended"}, "by": "operator", "reason": "unpaid"},
        ("Suspended", "Devices are not protected", "Your distributor can activate it again."),
        ("Ausgesetzt", "Geräte nicht geschützt", "Ihr Distributor kann es wieder aktivieren."),
    ),
    "activated": (
        "activate.completed", "suspension", {"after": {"Status": "active"}, "by": "operator", "quote": COSTS},
        ("Active again", "is active again", "EUR 1,041.10, excl. VAT"),
        ("Wieder aktiv", "ist wieder aktiv", "1.041,10 EUR, zzgl. MwSt."),
    ),
    "activated until its end": (
        "activate.completed", "suspension", {"after": {"Status": "ending"}, "subscription": {"ends_at": DUE}},
        ("Active again", "it ends on 1 April 2027."), ("Wieder aktiv", "Es endet am 1. April 2027."),
    ),
    "a planned end": (
        "cancel.scheduled", "ending", {"after": {"Status": "cancelled"}},
        ("Ends on 1 April 2027", "works until 1 April 2027, 00:00 CEST", "Until then you can change your mind"),
        ("Endet am 1. April 2027", "bis zum 1. April 2027, 00:00 Uhr MESZ", "können Sie es sich anders überlegen"),
    ),
    "an end": (
        "cancel.completed", "ended", {"after": {"Status": "cancelled"}, "quote": CREDIT},
        ("Ended", "It ended on 8 March 2027", "Credited", "EUR 12.30, excl. VAT"),
        ("Beendet", "endete am 8. März 2027", "Gutgeschrieben", "12,30 EUR, zzgl. MwSt."),
    ),
    "an end dated back": (
        "cancel.completed", "ended", {"after": {"Status": "cancelled", "Effective": "2027-03-02"}},
        ("Ended", "It ended on 2 March 2027"), ("Beendet", "endete am 2. März 2027"),
    ),
    "an end after the grace": (
        "cancel.completed", "ended",
        {"after": {"Status": "cancelled"}, "audience": SYSTEM, "by": None,
         "subscription": {"grace_ends": date(2027, 3, 8)}},
        ("Ended", "could be renewed is over. It ended", "Seatdesk, 7 March"),
        ("Beendet", "verlängern ließ, ist abgelaufen. Das Abonnement endete", "Seatdesk, 7. März"),
    ),
    "a reminder": (
        "renewal.reminder", "reminder", {"after": REMINDER},
        ("Renews on 1 April 2027", "in 25 days: 1,250 seats for EUR 12,875.00 a month.",
         "31 March 2027 is the last day to reduce its seats", "EUR 12,875.00 a month, excl. VAT"),
        ("Verlängert sich am 1. April 2027", "in 25 Tagen, von selbst: 1.250 Plätze für 12.875,00 EUR im Monat.",
         "Bis einschließlich 31. März 2027 können Sie die Zahl der Plätze", "12.875,00 EUR im Monat, zzgl. MwSt."),
    ),
    "a reminder of a term that does not renew": (
        "renewal.reminder", "reminder",
        {"after": REMINDER | LAST | {"Price": "1500", "Currency": "JPY"}},
        ("Term ends on 1 April 2027", "in 1 day, and it does not renew", "1 seat for JPY 1,500 a year, switch the"),
        ("Laufzeit endet am 1. April 2027", "in 1 Tag, und es verlängert sich nicht", "1 Platz für 1.500 JPY im Jahr"),
    ),
    "an expiry with a grace": (
        "expire.expired", "expired", {"after": {"Status": "expired", "Renewable until": "2027-03-21"}},
        ("Expired", "you can renew it until the end of 21 March 2027"),
        ("Abgelaufen", "bis einschließlich 21. März 2027 verlängern"),
    ),
    "an expiry without": (
        "expire.expired", "expired", {"after": {"Status": "expired", "Renewable until": "2027-03-07"}},
        ("Expired", "It can no longer be renewed."), ("Abgelaufen", "Es lässt sich nicht mehr verlängern."),
    ),
    "a trial that ends soon": (
        "trial.reminder", "trial_ending", {"after": SOON},
        ("Trial ends on 1 April 2027", "on 1 April 2027, in 7 days. Then its activation code no longer works. Nothing",
         "its 1,250 seats for EUR 12,875.00 a month, convert", "31 March 2027 is the last day for that",
         "EUR 12,875.00 a month, excl. VAT", "Last day to convert"),
        ("Testphase endet am 1. April 2027", "am 1. April 2027, in 7 Tagen, von selbst. Dann gilt ihr Aktivierungscode",
         "1.250 Plätze für 12.875,00 EUR im Monat zu behalten", "bis einschließlich 31. März 2027 möglich",
         "12.875,00 EUR im Monat, zzgl. MwSt.", "Letzter Tag zum Umwandeln"),
    ),
    "a trial that ends tomorrow and has no price": (
        "trial.reminder", "trial_ending", {"after": {**UNPRICED, "Days": 1, "Seats": 1}},
        ("Trial ends on 1 April 2027", "in 1 day. Then", "the price list has no price for its 1 seat."),
        ("Testphase endet am 1. April 2027", "in 1 Tag, von selbst", "Die Preisliste hat keinen Preis für 1 Platz."),
    ),
    "the end of a trial": (
        "trial.ended", "trial", {},
        ("Trial is over", "Nothing was charged."), ("Testphase beendet", "nichts berechnet"),
    ),
}  # fmt: skip


GERMAN = {
    "done": "Eine Änderung ist ausgeführt",
    "failed": "Eine Änderung wurde nicht ausgeführt",
    "approval": "Freigabe einer Änderung",
    "withdrawn": "Eine Änderung wurde zurückgezogen",
    "code": "Ein Aktivierungscode liegt bereit",
    "suspension": "Ein Abonnement ist ausgesetzt oder wieder aktiv",
    "ending": "Ein Abonnement wird enden",
    "ended": "Ein Abonnement ist beendet",
    "reminder": "Ein Abonnement verlängert sich bald",
    "expired": "Eine Laufzeit ist vorüber und wurde nicht verlängert",
    "trial_ending": "Eine Testphase endet bald",
    "trial": "Eine Testphase ist vorüber",
}


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("case", SAID)
def test_every_notice_says_all_of_it_in_both_languages(case, language, cast, acme, mail_of):
    kind, notice, what, english, german = SAID[case]
    SKUFactory(code="KL-PLUS", name="Plus, 1 year")
    what = {key: cast.people[value] if key in ("by", "who") and value else value for key, value in what.items()}
    mail = mail_of(kind, notice, language=language, **what)
    event = Event.objects.latest("pk")
    subscription, order = event.subscription, event.order
    subject, *said = english if language == "en" else german
    product = subscription.sku.product.name
    assert mail.subject == f"{subject}: {product} ({subscription.number})"
    assert mail.to == ["owner@acme.example"]
    german_words = language == "de"
    said += [
        "Guten Tag Ana Kos," if german_words else "Hello Ana,",
        f"{product} ({subscription.number})",
        "Acme GmbH",
        "Mitglied von Acme GmbH" if german_words else "a member of Acme GmbH",
        f"(„{GERMAN[notice]}“)" if german_words else f"“{NoticeKind(notice).label}”",
    ]
    if notice not in ("reminder", "trial_ending"):
        said.append("8. März 2027, 00:30 Uhr MEZ" if german_words else "8 March 2027, 00:30 CET")
    if order:
        day = "7. März 2027, 22:00 Uhr MEZ" if german_words else "7 March 2027, 22:00 CET"
        said += [order.number, day]
    links = {f"{settings.BASE_URL}/notices/#{cast.owner.memberships.get().pk}-{notice}"} | (
        {f"{settings.BASE_URL}/subscriptions/{subscription.pk}/code/"} if notice == "code"
        else {f"{settings.BASE_URL}/orders/{order.pk}/"} if order
        else {f"{settings.BASE_URL}/subscriptions/{subscription.pk}/"}
    )  # fmt: skip
    [(html, _)] = mail.alternatives
    assert set(re.findall(r"https?://\S+", mail.body)) == set(re.findall(r'href="([^"]+)"', html)) == links
    for part in both_parts(mail):
        for one in said:
            # In the text a name and its value are parted by a colon.
            assert one in part or one.replace(":", "") in part, part
        not_in(part, subscription, "{", "}", "None", "True", "False", "TICKET-77", "unpaid", "Status")
    other = Language.ENGLISH if german_words else Language.GERMAN
    assert f'<html lang="{language}">' in html
    assert PHRASES[other]["Company"] + ":" not in mail.body


def not_in(part, subscription, *others):
    for secret in (subscription.activation_code.reveal(), subscription.subscriber_id, "FAKE0", "CCCCC", *others):
        assert secret not in part, part


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_event_that_is_told_can_be_written_as_each_of_its_kinds(language, cast, mail_of):
    """Whatever the order was for; a template or phrase that is missing would fail here and not at night."""
    afters = {
        "renewal.reminder": REMINDER,
        "trial.reminder": SOON,
        "expire.expired": {"Renewable until": "2027-03-21"},
        "auto_renew": {"Renews automatically": True},
        "change_sku": {"SKU": "KL-GONE", "Seats": 25},
    }
    for kind in sorted(TOLD):
        after = afters.get(kind) or afters.get(kind.partition(".")[0])
        for notice in kinds_of(kind):
            mail = mail_of(kind, notice, language=language, quote=COSTS, after=after)
            for part in both_parts(mail):
                assert not re.search(r"[{}]|\bNone\b", part), (kind, notice, part)


def test_both_languages_have_the_same_words_and_templates():
    # BSS speaks English.
    of_staff = {"why_staff", "see_work", *(f"many_{kind}" for kind in STAFF_KINDS)}
    phrases = {language: set(found) - of_staff for language, found in PHRASES.items()}
    assert phrases["en"] == phrases["de"]
    assert set(PHRASES) == set(Language.values)
    for language in Language.values:
        for kind in set(NoticeKind) - (set(STAFF_KINDS) if language != "en" else set()):
            get_template(f"email/{language}/{kind}.txt")


# --- details ---------------------------------------------------------------------------------------------------------


def test_what_staff_wrote_or_a_person_is_called_is_text_and_nothing_else(cast, mail_of):
    cast.owner.name = "<b>Ana</b>\n\nKos & Co"
    cast.owner.save()
    reason = "No.\r\n\r\nhttps://example.com/ <script>alert(1)</script>"
    mail = mail_of("cancel.rejected", "approval", reason=reason)
    [(html, _)] = mail.alternatives
    assert "Comment: No. https://example.com/ <script>alert(1)</script>\n" in mail.body
    assert "No. https://example.com/ &lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "Hello &lt;b&gt;Ana&lt;/b&gt;" in html
    assert "<script" not in html


def test_the_link_that_switches_a_kind_off_leads_to_its_box(cast, mail_of, signed_in):
    [url] = re.findall(r"\S+/notices/\S+", mail_of("increase.completed", "done", language="de").body)
    page = signed_in(cast.owner).get("/notices/").content.decode()
    assert f'id="{url.partition("#")[2]}"' in page


def test_names_with_line_breaks_stay_on_one_line(cast, acme, mail_of):
    Account.objects.filter(pk=acme.pk).update(name="Acme\n\nYou won: http://example.com")
    acme.refresh_from_db()
    product = ProductFactory(name="Endpoint\r\nBcc: everybody@example.com\n\nSecurity")
    mail = mail_of("increase.completed", "done", subscription={"sku": SKUFactory(product=product)})
    name = "Endpoint Bcc: everybody@example.com Security"
    assert mail.subject.startswith(f"Increase from 20 to 25 seats is done: {name} (SUB-")
    assert f"Subscription: {name} (SUB-" in mail.body
    assert "Company: Acme You won: http://example.com\n" in mail.body
    # Also to the mail server, which would refuse a header with a line break.
    assert mail.message()["Bcc"] is None


def test_long_names_are_cut_in_the_subject_alone(cast, mail_of):
    product = ProductFactory(name=("Endpoint Security " * 11).strip())
    mail = mail_of("increase.completed", "done", subscription={"sku": SKUFactory(product=product, name="Plus")})
    number = Event.objects.latest("pk").subscription.number
    assert len(mail.subject) < 130
    assert mail.subject.endswith(f"… ({number})")
    assert f"{product.name} ({number})" in mail.body


def test_the_mail_says_that_a_machine_wrote_it(mail_of):
    assert mail_of("increase.completed", "done").message()["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize(
    ("zone", "english", "german"),
    [
        ("UTC", "7 March 2027, 23:30 UTC", "7. März 2027, 23:30 Uhr UTC"),
        ("Europe/Ljubljana", "8 March 2027, 00:30 CET", "8. März 2027, 00:30 Uhr MEZ"),
        ("America/Los_Angeles", "7 March 2027, 15:30 Pacific", "7. März 2027, 15:30 Uhr"),
        ("Asia/Kolkata", "8 March 2027, 05:00 +0530", "8. März 2027, 05:00 Uhr"),
    ],
)
def test_days_are_those_of_the_account(zone, english, german, cast, acme, mail_of):
    Account.objects.filter(pk=acme.pk).update(time_zone=zone)
    for language, expected in (("en", english), ("de", german)):
        acme.refresh_from_db()
        mail = mail_of("increase.completed", "done", language=language)
        assert expected in mail.body
        end = mail_of("cancel.scheduled", "ending", language=language, due_at=AT)
        assert expected.partition(",")[0] in end.subject


@pytest.mark.parametrize(
    ("amount", "currency", "english", "german"),
    [
        ("1234567.80", "EUR", "EUR 1,234,567.80", "1.234.567,80 EUR"),
        ("1500", "JPY", "JPY 1,500", "1.500 JPY"),
        ("1.500", "KWD", "KWD 1.500", "1,500 KWD"),
        ("0.05", "USD", "USD 0.05", "0,05 USD"),
    ],
)
def test_amounts_have_the_decimals_of_their_currency(amount, currency, english, german):
    for language, expected in (("en", english), ("de", german)):
        assert Tongue(language, ZoneInfo("UTC")).money(Decimal(amount), currency) == expected


@pytest.mark.parametrize("months", [1, 12, 3])
def test_what_comes_afterwards_is_said_by_its_rhythm(months, mail_of):
    quote = Quote("EUR", AT.date(), (), Later(30, Decimal("309.00"), DUE.date(), months, "")).to_json()
    said = {1: "a month", 12: "a year", 3: "every 3 months"}, {1: "im Monat", 12: "im Jahr", 3: "alle 3 Monate"}
    for language, words in zip(("en", "de"), said, strict=True):
        mail = mail_of("decrease.completed", "done", language=language, quote=quote)
        assert words[months] in mail.body
        assert PHRASES[language]["Charged"] + ":" not in mail.body


@pytest.mark.parametrize(("language", "list_of_plan", "said"), [
    ("en", "same",
     "EUR 309.00 a month for 30 seats, from 31 March 2027; then EUR 206.00 a month for 20 seats, from 30 April"),
    ("de", "same",
     "309,00 EUR im Monat für 30 Plätze, ab 31. März 2027; dann 206,00 EUR im Monat für 20 Plätze, ab 30. April"),
    ("en", "other", "for 30 seats, from 31 March 2027, excl. VAT; then 20 seats, from 30 April 2027, as planned"),
    ("de", "other", "ab 31. März 2027, zzgl. MwSt.; dann 20 Plätze, ab 30. April 2027, wie geplant"),
])  # fmt: skip
def test_what_comes_afterwards_counts_a_plan_that_was_kept(language, list_of_plan, said, cast, acme):
    Account.objects.filter(pk=acme.pk).update(language=language)
    subscription, comes = SubscriptionFactory(account=acme), DUE + timedelta(days=30)
    plan = Quote("EUR", comes.date(), (), Later(20, Decimal("206.00"), comes.date(), 1, "")).to_json()
    pins = {"at": AT.isoformat(), "version": 1, "fingerprint": "same"}
    plan |= pins | {"fingerprint": list_of_plan}
    about = {"subscription": subscription, "placed_at": AT}
    OrderFactory(**about, action="decrease", status="scheduled", due_at=comes, quote=plan, **FEWER)
    order = OrderFactory(**about, action="increase", status="completed", finished_at=AT, quote=COSTS | pins, **MORE)
    event = EventFactory(subscription=subscription, order=order, kind="increase.completed", at=AT)
    made = Notice.objects.create(event=event, user=cast.owner, kind="done")
    for part in both_parts(letters.letter(Notice.objects.get(pk=made.pk))):
        assert said in part


def test_a_change_that_took_the_place_of_a_planned_one_is_named(cast, mail_of):
    mail_of("cancel.withdrawn", "withdrawn", reason="Another change took its place.", due_at=DUE)
    event = Event.objects.latest("pk")
    other = OrderFactory(subscription=event.subscription, placed_at=AT, actor=cast.manager)
    mail = letters.letter(Notice.objects.latest("pk"))
    assert f"Another change, {other.number}, took the place of this order." in mail.body
    # Replaced by an end at once, say.
    assert "goes on" not in mail.body
    assert "Reason" not in mail.body


def test_a_suspension_says_when_it_ends_by_itself(mail_of):
    mail_of("suspend.completed", "suspension", after={"Status": "suspended"})
    event = Event.objects.latest("pk")
    OrderFactory(subscription=event.subscription, action="activate", status="scheduled", due_at=DUE)
    mail = letters.letter(Notice.objects.latest("pk"))
    assert "It will be active again on 1 April 2027, 00:00 CEST." in mail.body
    assert "Your distributor can activate" not in mail.body


def test_staff_read_english_and_utc_with_names_and_reasons(cast, mail_of):
    what = {"language": "de", "to": cast.approver, "quote": COSTS, "reason": "We grow.", **MORE}
    mail = mail_of("increase.awaiting_approval", "decide", **what)
    order = Event.objects.latest("pk").order
    assert mail.subject.startswith(f"Approval needed: {order.number}, Endpoint Product")
    for part in both_parts(mail):
        assert "Acme GmbH waits for a decision" in part
        assert "Marko Novak, 7 March 2027, 21:00 UTC" in part
        assert "EUR 1,041.10, excl. VAT" in part
        assert "member of the group Approver" in part
    assert f"{settings.BASE_URL}/bss/subscriptions/order/{order.pk}/change/" in mail.body
    assert "/notices/" not in mail.body


def test_staff_read_what_is_wrong_with_an_order(cast, mail_of):
    mail = mail_of("suspend.held", "attention", to=cast.operator, by=cast.operator, reason="No answer for a day.")
    assert mail.subject.startswith("Needs attention: ORD-")
    assert "Reason: No answer for a day.\n" in mail.body
    assert "Requested by: Operator, 7 March 2027, 21:00 UTC\n" in mail.body


# --- the activation code ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "subject", "said"),
    [("en", "Activation code for", "Hello Ana,"), ("de", "Aktivierungscode für", "Guten Tag Ana Kos,")],
)
def test_the_code_is_mailed_in_the_accounts_language(language, subject, said, cast, subscription, drain, mailoutbox):
    Account.objects.filter(pk=cast.acme.pk).update(language=language)
    member = cast.owner.memberships.get()
    lifecycle.mail_code(subscription, member, actor=cast.manager, audience=STOREFRONT)
    drain()
    [mail] = mailoutbox
    code = subscription.activation_code.reveal()
    assert mail.subject == f"{subject} {subscription.sku.product.name} ({subscription.number})"
    for part in both_parts(mail):
        assert said in part
        assert code in part
        assert "25" in part
    assert code not in mail.subject
    assert f"/subscriptions/{subscription.pk}/code/" in mail.body


# --- a mail server that fails ----------------------------------------------------------------------------------------


class MailServer(socketserver.ThreadingTCPServer):
    """Speaks enough SMTP to refuse the first letters, in the way that is asked for, and to take the rest."""

    allow_reuse_address = daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Conversation)
        self.refuse, self.tried, self.taken = [], 0, []


class Conversation(socketserver.StreamRequestHandler):
    def say(self, line):
        self.wfile.write(line.encode() + b"\r\n")

    def handle(self):
        self.server.tried += 1
        trouble = self.server.refuse.pop(0) if self.server.refuse else ""
        if trouble == "hangs up":
            return
        self.say("421 busy, come later" if trouble == "busy" else "220 ready")
        while line := self.rfile.readline().decode().strip():
            match line.partition(" ")[0].upper():
                case "DATA":
                    self.say("354 go on")
                    letter = b"".join(iter(self.rfile.readline, b".\r\n"))
                    if trouble == "refuses the letter":
                        self.say("451 not now")
                        continue
                    self.server.taken.append(letter.decode())
                    self.say("250 taken")
                case "RCPT" if trouble == "refuses the person":
                    self.say("450 mailbox busy")
                case "QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("250 well")


@pytest.fixture
def mail_server():
    with MailServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def through(mail_server, settings):
    """Mail of this process goes through that server."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = mail_server.server_address
    return mail_server


@pytest.mark.parametrize("trouble", ["hangs up", "busy", "refuses the person", "refuses the letter"])
def test_a_failing_mail_server_leaves_the_notice_owed(trouble, cast, acme, through):
    event = happened(acme, "increase.completed", by=cast.manager)
    notice = Notice.objects.create(event=event, user=cast.owner, kind="done")
    through.refuse = [trouble]
    with pytest.raises((SMTPException, OSError)):
        notifications.send_notice.func(notice.pk)
    assert Notice.objects.get(pk=notice.pk).sent_at is None
    assert through.taken == []
    for _ in range(2):
        notifications.send_notice.func(notice.pk)
    assert Notice.objects.get(pk=notice.pk).sent_at is not None
    assert len(through.taken) == 1
    assert "To: owner@acme.example" in through.taken[0]


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("faults")
def test_a_worker_tries_again_until_each_notice_is_sent_once(cast, acme, mail_server, monkeypatch, tmp_path):
    host, port = mail_server.server_address
    monkeypatch.setenv("EMAIL_URL", f"smtp://{host}:{port}")
    mail_server.refuse = ["refuses the letter", "hangs up"]
    notifications.notify.func([happened(acme, "increase.completed", by=cast.manager).pk])
    worker = WorkerProcess("http://127.0.0.1:9/", tmp_path / "worker.log", module="portal.settings")
    try:
        wait_until(lambda: not Notice.objects.filter(sent_at=None).exists(), seconds=45)
        assert worker.stop() == 0
    finally:
        if worker.running:
            worker.kill()
    sent_to = Counter(re.search(r"^To: (\S+)", letter, re.MULTILINE)[1] for letter in mail_server.taken)
    assert sent_to == {"owner@acme.example": 1, "manager@acme.example": 1}
    assert mail_server.tried == 4


def test_a_mail_is_dated_by_the_clock_that_its_words_go_by(cast, settings):
    settings.CLOCK_OFFSET = timedelta(days=120)
    event = EventFactory(subscription__account=cast.acme, kind="suspend.completed")
    notice = Notice.objects.create(event=event, user=cast.owner, kind="suspension")
    dated = parsedate_to_datetime(letters.letter(notice).message()["Date"])
    assert abs(dated - clock.now()) < timedelta(minutes=1)
