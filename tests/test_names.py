"""Companies and people found by the words of their names."""

import unicodedata

import pytest
from django.db import connection

from subscriptions import filters
from subscriptions.models import Account, Order, Subscription, User, names
from tests.factories import AccountFactory, OrderFactory, SubscriptionFactory, UserFactory

pytestmark = pytest.mark.django_db

COMPANIES = (
    "Acme GmbH", "Acme Holding GmbH", "A. B. Müller & Söhne KG", "3M-Werk Ost d.o.o.", "O\u2019Neill & Co. Ltd",
    "X GmbH", "Łódź-Textil S.A.", "1001 Nights Ltd", "Straßenbau Nord AG", "acme.example (old)",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("acme", {"Acme GmbH", "Acme Holding GmbH", "acme.example (old)"}),
        ("ACME gmbh", {"Acme GmbH", "Acme Holding GmbH"}),
        ("gmbh acme h", {"Acme Holding GmbH"}),
        ("acm gmbh", set()),
        ("gmbh acm", {"Acme GmbH", "Acme Holding GmbH"}),
        ("müll", {"A. B. Müller & Söhne KG"}),
        ("muller sohne", {"A. B. Müller & Söhne KG"}),
        (unicodedata.normalize("NFD", "Müller"), {"A. B. Müller & Söhne KG"}),
        ("b muller", {"A. B. Müller & Söhne KG"}),
        ("a.b. müller", {"A. B. Müller & Söhne KG"}),
        ("x", {"X GmbH"}),
        ("3m", {"3M-Werk Ost d.o.o."}),
        ("werk-ost d.o.o.", {"3M-Werk Ost d.o.o."}),
        ("d.o", {"3M-Werk Ost d.o.o."}),
        ("o'neill", {"O\u2019Neill & Co. Ltd"}),
        ("neill & co", {"O\u2019Neill & Co. Ltd"}),
        ("lodz textil", {"Łódź-Textil S.A."}),
        ("ŁÓDŹ", {"Łódź-Textil S.A."}),
        ("1001", {"1001 Nights Ltd"}),
        ("100", {"1001 Nights Ltd"}),
        ("strasse", {"Straßenbau Nord AG"}),
        ("straßenbau", {"Straßenbau Nord AG"}),
        ("example", {"acme.example (old)"}),
        ("cme", set()),
        ("", set()),
        ("   ", set()),
        ("% & | ! ( ) :* <-> ' \\", set()),
        ("€", set()),
        ("acme " * 500, {"Acme GmbH", "Acme Holding GmbH", "acme.example (old)"}),
        ("9" * 5_000, set()),
    ],
)
def test_companies_by_their_words(text, found):
    for name in COMPANIES:
        AccountFactory(name=name)
    assert {one.name for one in names.called(Account.objects.all(), text)} == found


def test_people_by_name_or_address():
    ana = UserFactory(name="Ana Kos", email="ana.kos@acme.example")
    UserFactory(name="Marko Novak", email="marko@globex.example")
    for text in ("ana k", "kos", "ana.kos@acme.example", "acme", "kos acme"):
        assert [*names.called(User.objects.all(), text)] == [ana]


def test_typed_words_are_made_plain_as_stored_ones_are():
    with connection.cursor() as cursor:
        for sign, plain in names._PLAIN.items():
            cursor.execute("SELECT strip(subscriptions_words(%s))::text", [f"a{sign}z"])
            assert cursor.fetchone() == (" ".join(f"'{one}'" for one in f"a{plain}z".lower().split()),), sign


@pytest.mark.parametrize("model", [Account, User])
def test_an_index_answers(model):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    _, asked = names.some(model.objects.all(), "acme gm")
    assert f"{model._meta.model_name}_words" in asked.order_by().explain()


def test_words_that_nearly_all_have_find_them_too(monkeypatch):
    monkeypatch.setattr(names, "FEW", 2)
    made = {AccountFactory(name=f"Firm {n} GmbH") for n in range(4)}
    AccountFactory(name="Acme Ltd")
    assert set(names.called(Account.objects.all(), "gmbh")) == made
    of_them = [SubscriptionFactory(account=one) for one in made]
    SubscriptionFactory()
    assert set(filters.narrow(Subscription.objects.all(), [("q", "gmbh")])) == set(of_them)
    orders = [OrderFactory(subscription=one) for one in of_them]
    assert set(filters.narrow(Order.objects.all(), [("q", "gmbh")])) == set(orders)
