"""View as customer: the same pages, and nothing but looking; what ends it ends it at once; who looked is kept."""

import re
import uuid
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from django.apps import apps
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.db.utils import DatabaseError
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from subscriptions import viewing
from subscriptions.models import Ending, Member, Order, Viewing
from tests.factories import AccountFactory, EventFactory, MemberFactory, OrderFactory, SubscriptionFactory, UserFactory
from tests.test_permissions import SEATS, TABLE, things

__all__ = ["things"]

pytestmark = pytest.mark.django_db

STOREFRONT = sorted(name for name in TABLE if name.startswith("storefront:"))
NO_PAGES = {"storefront:statement_csv", "storefront:subscriptions_csv"}
CODE = "FAKE0-AAAAA-BBBBB-CCCCC"
END_OF_CODE = "CCCCC"
BANNER = re.compile(r'<aside class="viewing".*?</aside>', re.DOTALL)


def ask(account, **query):
    return reverse("admin:subscriptions_account_view_as_customer", args=[account.pk], query=query or None)


def begin(browser, account, person, **query):
    member = account.members.get(user=person)
    return browser.post(ask(account, **query), {"member": member.pk, "reason": "Ticket 4711"})


@pytest.fixture
def support(cast, signed_in):
    return signed_in(cast.support)


@pytest.fixture
def looking(cast, support):
    """Support, who views as the member of Acme with that role."""

    def look(person):
        begin(support, cast.acme, cast.people[person])
        return support

    return look


def address(name, things):
    return reverse(name, args=things[TABLE[name][0]])


def query_of(name):
    return {"seats": SEATS[name]} if name in SEATS else {}


def text(answer):
    return b"".join(answer.streaming_content).decode() if answer.streaming else answer.content.decode()


def words(answer):
    return " ".join(re.sub(r"<[^>]+>", " ", text(answer)).split())


@contextmanager
def nothing_written(but=()):
    """Fails at the first statement that would write anything; sessions and the log of looking itself are named."""
    allowed = {"django_session", *but}

    def watch(execute, sql, *arguments):
        if found := re.match(r'\s*(?:INSERT INTO|UPDATE|DELETE FROM|MERGE INTO|TRUNCATE) "?(\w+)', sql, re.IGNORECASE):
            assert found[1] in allowed, sql
        return execute(sql, *arguments)

    with connection.execute_wrapper(watch):
        yield


def rows():
    counts = {
        model._meta.label: model._default_manager.count() for model in apps.get_app_config("subscriptions").get_models()
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs")
        counts["jobs"] = cursor.fetchone()[0]
    return counts


# --- the same pages --------------------------------------------------------------------------------------------------


def as_read(page):
    """A page without what differs from one showing to the next, and without what only those who view get."""
    page = BANNER.sub("", page)
    page = re.sub(r'<form method="post" action="/account/logout/">.*?</form>', "", page, flags=re.DOTALL)
    page = re.sub(r'(name="(?:csrfmiddlewaretoken|key|quote)" value=")[^"]*', r"\1", page)
    page = page.replace(" disabled>", ">")
    page = re.sub(r'<p class="small soft">You are only looking:.*?</p>', "", page, flags=re.DOTALL)
    return " ".join(page.split())


@pytest.mark.parametrize("person", ["owner", "billing", "viewer"])
def test_every_page_is_that_of_the_member_and_reading_writes_nothing(
    person, cast, things, looking, signed_in, emulator
):
    member, staff = signed_in(cast.people[person]), looking(person)
    for name in STOREFRONT:
        where = address(name, things)
        part = name.endswith(("_price", "_progress"))
        for headers in ({}, {"HX-Request": "true"})[: 1 + part]:
            theirs = member.get(where, query_of(name), headers=headers)
            with nothing_written():
                seen = staff.get(where, query_of(name), headers=headers)
            assert seen.status_code == theirs.status_code, name
            assert seen.headers.get("Location") == theirs.headers.get("Location"), name
            assert seen.headers.get("HX-Redirect") == theirs.headers.get("HX-Redirect"), name
            page = text(seen)
            assert END_OF_CODE not in page, name
            assert "no-store" in seen["Cache-Control"], name
            whole = "<html" in page
            assert len(BANNER.findall(page)) == whole, name
            assert pressable(page) == [], name
            if not (name == "storefront:code" and seen.status_code == 200):
                assert as_read(page) == as_read(text(theirs)), name
        assert staff.head(where, query_of(name)).status_code == member.head(where, query_of(name)).status_code, name


def test_the_banner_names_who_views_as_whom_since_when_and_how_to_stop(cast, things, looking):
    page = text(looking("billing").get(reverse("storefront:statements")))
    banner = " ".join(re.sub(r"<[^>]+>", "", BANNER.search(page)[0]).split())
    row = Viewing.objects.get()
    assert banner == (
        f"Support, you are viewing as Bill Ender, Billing of Acme GmbH, since {row.started_at:%H:%M} UTC. You can "
        f"change nothing and see no activation code. It ends by itself at {row.until:%H:%M} UTC. Stop viewing"
    )
    assert f'action="{reverse("stop_viewing")}"' in page
    # A button that would sign out the staff is nothing that the member has.
    assert "Sign out" not in page


def test_an_activation_code_is_not_shown_where_the_member_sees_its_end(cast, things, looking, signed_in):
    where = address("storefront:code", things)
    assert END_OF_CODE in text(signed_in(cast.owner).get(where))
    staff = looking("owner")
    page = text(staff.get(where))
    assert END_OF_CODE not in page
    assert "Not shown while you view as a customer" in page
    for how in ("show", "download", "mail"):
        answer = staff.post(where, {"how": how, "member": cast.acme.members.get(user=cast.owner).pk})
        assert (answer.status_code, END_OF_CODE in text(answer)) == (403, False)


def pressable(page):
    """The buttons that would send something, but for those of viewing itself and of the reader's own theme."""
    forms = re.findall(r'<form[^>]*method="post".*?</form>', BANNER.sub("", page), re.DOTALL)
    ours = [form for form in forms if 'action="/theme/"' not in form]
    return [button for form in ours for button in re.findall(r"<button[^>]*>", form) if " disabled" not in button]


def test_buttons_are_there_and_cannot_be_pressed(cast, things, looking):
    [subscription] = cast.acme.subscriptions.all()
    target = subscription.sku.targets.get().target.code
    ending = SubscriptionFactory(account=cast.acme, status="ending", ends_at=subscription.created_at)
    end = OrderFactory(subscription=ending, action="cancel", status="scheduled")
    expired = SubscriptionFactory(account=cast.acme, status="expired")
    trial = SubscriptionFactory(account=cast.acme, trial_ends=subscription.period_end)
    staff = looking("owner")
    for name, pk, query in (
        ("increase_check", subscription.pk, {"seats": "30"}),
        ("decrease_check", subscription.pk, {"seats": "20"}),
        ("cancel", subscription.pk, {}),
        ("auto_renew", subscription.pk, {}),
        ("change_sku_check", subscription.pk, {"sku": target, "seats": "30", "when": "now"}),
        ("keep", ending.pk, {}),
        ("undo", end.pk, {}),
        ("renew", expired.pk, {}),
        ("convert", trial.pk, {}),
        ("start_check", subscription.sku_id, {"seats": "30"}),
        ("start_details", things["sku that asks for details"][0], {"seats": "30"}),
        ("notices", None, {}),
    ):
        answer = staff.get(reverse(f"storefront:{name}", args=[pk] if pk else []), query)
        assert "You are only looking: Ana Kos can press this button, you cannot." in words(answer), name
        assert pressable(text(answer)) == [], name


def test_somebody_elses_object_is_404_as_it_is_for_the_member(cast, things, looking):
    other = SubscriptionFactory(account=cast.globex)
    order = OrderFactory(subscription=other)
    foreign = {"subscription": [other.pk], "order": [order.pk], "statement": [cast.globex.pk, "2026-11"]}
    staff = looking("owner")
    for name in STOREFRONT:
        if TABLE[name][0] in foreign:
            answer = staff.get(reverse(name, args=foreign[TABLE[name][0]]), query_of(name))
            assert answer.status_code == 404, name
            assert BANNER.search(text(answer)), name
    assert staff.get(reverse("storefront:catalogue"), {"account": cast.globex.pk}).status_code == 404


def test_whoever_belongs_to_two_companies_is_seen_as_such_and_both_accounts_show_it(cast, support, signed_in):
    MemberFactory(account=cast.globex, user=cast.viewer, role="owner")
    mine, theirs = (SubscriptionFactory(account=account) for account in (cast.acme, cast.globex))
    begin(support, cast.acme, cast.viewer)
    page = text(support.get(reverse("storefront:subscriptions")))
    assert mine.number in page
    assert theirs.number in page
    for account in (cast.acme, cast.globex):
        shown = words(signed_in(cast.auditor).get(reverse("admin:subscriptions_account_change", args=[account.pk])))
        assert "Ticket 4711" in shown


# --- nothing but looking ---------------------------------------------------------------------------------------------


def test_whatever_is_sent_is_refused_and_nothing_is_written(cast, things, looking):
    staff, before = looking("owner"), rows()
    pages = {
        name: text(staff.get(address(name, things), query_of(name))) for name in STOREFRONT if name not in NO_PAGES
    }
    with nothing_written():
        for name in STOREFRONT:
            hidden = dict(re.findall(r'type="hidden" name="([\w-]+)" value="([^"]*)"', pages.get(name, "")))
            form = {
                "seats": "30",
                "version": "1",
                "key": str(uuid.uuid4()),
                "reason": "x",
                "how": "show",
                "when": "now",
            }
            answer = staff.post(address(name, things), form | hidden)
            assert answer.status_code == 403, name
            assert "Whoever views as a customer can change nothing." in words(answer), name
            assert BANNER.search(text(answer)), name
        for method in (staff.put, staff.patch, staff.delete, staff.options, staff.trace):
            assert method(address("storefront:subscription", things)).status_code == 403, method
    assert rows() == before


def test_what_is_refused_while_viewing_is_possible_for_the_member_with_the_same_form(cast, things, looking, signed_in):
    """So that the refusals above are those of viewing, and of nothing else."""
    name = "storefront:increase_check"
    page = text(looking("owner").get(address(name, things), query_of(name)))
    form = dict(re.findall(r'type="hidden" name="([\w-]+)" value="([^"]*)"', page))
    assert signed_in(cast.owner).post(address(name, things), form).status_code == 302
    assert Order.objects.latest("pk").actor == cast.owner


def test_bss_and_the_pages_of_sign_in_stay_ones_own(cast, things, support, signed_in):
    operator = signed_in(cast.operator)
    begin(operator, cast.acme, cast.owner)
    subscription = cast.acme.subscriptions.get()
    page = text(operator.get(reverse("admin:subscriptions_subscription_change", args=[subscription.pk])))
    assert 'class="viewing"' not in page
    assert "Operator" in page
    form = {"how": "show"}
    revealed = operator.post(reverse("admin:subscriptions_subscription_code_show", args=[subscription.pk]), form)
    assert CODE in text(revealed)
    assert subscription.events.latest("pk").actor == cast.operator
    for name in ("account_change_password", "account_reauthenticate", "account_logout"):
        page = text(operator.get(reverse(name)))
        assert 'class="viewing"' not in page, name
        assert "Ana Kos" not in page, name
    # The look goes on all the while.
    assert 'class="viewing"' in text(operator.get(reverse("storefront:orders")))


def test_the_person_of_the_request_stays_the_member_of_staff(cast, looking):
    staff, told = looking("manager"), []

    def watch(execute, sql, *arguments):
        told.append(structlog.contextvars.get_contextvars())
        return execute(sql, *arguments)

    with connection.execute_wrapper(watch):
        answer = staff.get(reverse("storefront:orders"))
    assert answer.wsgi_request.user == cast.support
    assert answer.wsgi_request.eyes == cast.manager
    key = Viewing.objects.get().pk
    assert {(one["user_id"], one["viewing_as"], one["viewing"]) for one in told if "viewing" in one} == {
        (cast.support.pk, cast.manager.pk, key)
    }


def test_the_storefront_asks_for_the_person_who_acts_only_where_something_is_done():
    """Whatever is shown is made for `eyes`; a page that asked for `user` would show staff nothing or too much."""
    acts = re.compile(
        r"_log\.info\(|lifecycle\.\w+\(|Order\.objects\.filter\(actor=|^\s*(?:actor|ordered_by)=request\.user,$"
    )
    for source in Path("subscriptions/storefront").rglob("*.py"):
        for line in source.read_text().splitlines():
            assert "request.user" not in line or acts.search(line), f"{source}: {line.strip()}"
    for template in [*Path("templates/storefront").glob("*.html"), Path("templates/base.html")]:
        assert not re.search(r"{[{%][^}]*\b(?:request\.)?user\b", template.read_text()), template


def test_viewing_costs_a_fixed_number_of_statements(cast, support, signed_in):
    def statements(browser):
        with CaptureQueriesContext(
            connection,
        ) as found:
            assert browser.get(reverse("storefront:subscriptions")).status_code == 200
        return len(found)

    SubscriptionFactory.create_batch(3, account=cast.acme)
    own = statements(signed_in(cast.viewer))
    begin(support, cast.acme, cast.viewer)
    # The row of the look with its member, the eyes, and the two kinds of permission of the member of staff.
    assert statements(support) == own + 5


# --- who may, and as whom --------------------------------------------------------------------------------------------

MAY = {"support", "operator"}


def test_only_support_and_operators_may_and_administrators(cast, signed_in):
    everybody = {**cast.people, "administrator": UserFactory(is_staff=True, is_superuser=True)}
    everybody["nobody"] = UserFactory(is_staff=True)
    for name, person in everybody.items():
        browser = signed_in(person)
        may = name in MAY or name == "administrator"
        begun = begin(browser, cast.acme, cast.owner)
        assert begun.status_code == (302 if may or not person.is_staff else 403), name
        assert Viewing.objects.filter(actor=person).exists() == may, name
        if person.is_staff and name != "nobody":
            menu = text(browser.get(reverse("admin:subscriptions_account_change", args=[cast.acme.pk])))
            assert (ask(cast.acme) in menu) == may, name
    holders = Group.objects.filter(permissions__codename="view_as_customer").values_list("name", flat=True)
    assert set(holders) == {"Support", "Operator"}


def test_without_a_sign_in_there_is_no_way_in(client, cast):
    assert "login" in client.post(ask(cast.acme), {"member": 1, "reason": "x"}).url
    assert "login" in client.post(reverse("stop_viewing")).url
    assert not Viewing.objects.exists()


def test_a_permission_to_view_customers_is_not_one_to_see_accounts(cast, signed_in):
    cast.support.groups.clear()
    cast.support.user_permissions.add(viewing_permission())
    assert begin(signed_in(cast.support), cast.acme, cast.owner).status_code == 403


def viewing_permission():
    return Group.objects.get(name="Support").permissions.get(codename="view_as_customer")


def test_the_way_from_the_shortcut_menu_and_back(cast, support, subscription):
    page = text(support.get(reverse("admin:subscriptions_subscription_change", args=[subscription.pk])))
    menu = page[page.index('id="shortcut-menu"') : page.index("</nav>", page.index('id="shortcut-menu"'))]
    links = re.findall(r'<a class="shortcut-link"\s+href="([^"]*)"', menu)
    assert links[-1] == ask(cast.acme, subscription=subscription.pk)
    form = text(support.get(links[-1]))
    assert reverse("admin:subscriptions_subscription_change", args=[subscription.pk]) in form
    begun = begin(support, cast.acme, cast.manager, subscription=subscription.pk)
    assert begun.url == reverse("storefront:subscription", args=[subscription.pk])
    assert subscription.number in text(support.get(begun.url))
    assert Viewing.objects.get().subscription == subscription
    stopped = support.post(reverse("stop_viewing"))
    assert stopped.url == reverse("admin:subscriptions_subscription_change", args=[subscription.pk])


def test_an_owner_is_suggested_and_only_members_who_may_sign_in_are_offered(cast, support):
    cast.buyer.is_active = False
    cast.buyer.save()
    page = text(support.get(ask(cast.acme)))
    options = re.findall(r'<option value="(\d+)"( selected)?>([^<]*)</option>', page)
    assert [name.partition(",")[0] for _, _, name in options] == [
        "Ana Kos (Owner)", "Marko Novak (Manager)", "Bill Ender (Billing)", "Vera Zupan (Viewer)",
    ]  # fmt: skip
    assert [bool(selected) for _, selected, _ in options] == [True, False, False, False]
    assert begin(support, cast.acme, cast.buyer).status_code == 422
    assert not Viewing.objects.exists()


def test_a_member_of_another_account_and_a_missing_reason_are_refused(cast, support):
    foreign = cast.globex.members.get()
    answer = support.post(ask(cast.acme), {"member": foreign.pk, "reason": "x"})
    assert answer.status_code == 422
    assert "Choose a member of this account who may sign in." in words(answer)
    answer = support.post(ask(cast.acme), {"member": cast.acme.members.first().pk, "reason": "  "})
    assert answer.status_code == 422
    assert "Enter a reason." in words(answer)
    other = SubscriptionFactory(account=cast.globex)
    assert support.get(ask(cast.acme, subscription=other.pk)).status_code == 404
    assert support.get(ask(cast.acme, subscription="x")).status_code == 404
    assert not Viewing.objects.exists()


def test_an_account_without_people_says_so(support):
    empty = AccountFactory(name="Empty")
    answer = support.get(ask(empty))
    assert answer.status_code == 200
    assert "Nobody of Empty may sign in, so there is nothing to be seen." in words(answer)
    assert support.post(ask(empty), {"member": 1, "reason": "x"}).status_code == 409


# --- how it ends -----------------------------------------------------------------------------------------------------


def lose_the_group(cast, settings):
    cast.support.groups.clear()


def lose_the_staff_flag(cast, settings):
    type(cast.support).objects.filter(pk=cast.support.pk).update(is_staff=False)


def remove_the_member(cast, settings):
    Member.objects.filter(user=cast.manager).delete()


def switch_the_member_off(cast, settings):
    type(cast.manager).objects.filter(pk=cast.manager.pk).update(is_active=False)


def let_time_pass(cast, settings):
    settings.CLOCK_OFFSET += timedelta(seconds=settings.VIEWING_LIMIT)


@pytest.mark.parametrize(
    ("happens", "ending", "sentence"),
    [
        (lose_the_group, "not_permitted", "Your staff group may not view as a customer any more."),
        (lose_the_staff_flag, "not_permitted", "Your staff group may not view as a customer any more."),
        (remove_the_member, "member_gone", "The member was removed from the account, or may not sign in any more."),
        (switch_the_member_off, "member_gone", "The member was removed from the account, or may not sign in any more."),
        (let_time_pass, "limit", "The time for it was over."),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_whatever_is_taken_away_ends_it_at_the_next_request(
    method, happens, ending, sentence, cast, things, looking, settings
):
    staff, where = looking("manager"), address("storefront:subscription", things)
    assert staff.get(where).status_code == 200
    happens(cast, settings)
    by_itself = ending == "limit" and method == "get"
    with nothing_written(but=() if by_itself else {"subscriptions_viewing"}):
        over = getattr(staff, method)(where)
    assert over.status_code == 403
    assert f"You no longer view as Marko Novak. {sentence}" in words(over)
    row = Viewing.objects.get()
    assert viewing.ended_words(row) == Ending(ending).label
    if not by_itself:
        assert row.ending == ending
        assert row.ended_at <= row.until
    # From here on they see with their own eyes, also when it is given back.
    cast.support.groups.add(Group.objects.get(name="Support"))
    again = staff.get(where)
    assert again.status_code == 404
    assert not BANNER.search(text(again))


def test_staff_who_are_switched_off_see_nothing_and_do_not_go_on_later(cast, things, looking):
    staff, where, people = looking("owner"), address("storefront:subscription", things), type(cast.support).objects
    people.filter(pk=cast.support.pk).update(is_active=False)
    assert "login" in staff.get(where).url
    assert Viewing.objects.get().ending == "not_permitted"
    people.filter(pk=cast.support.pk).update(is_active=True)
    assert staff.get(where).status_code == 404


def test_stop_twice_and_by_get(cast, looking):
    staff, stop = looking("owner"), reverse("stop_viewing")
    assert staff.get(stop).status_code == 405
    assert not Viewing.objects.exclude(ending="").exists()
    assert staff.post(stop).url == reverse("admin:subscriptions_account_change", args=[cast.acme.pk])
    row = Viewing.objects.get()
    assert row.ending == "stopped"
    assert staff.post(stop).url == reverse("home")
    assert Viewing.objects.get() == row
    assert not BANNER.search(text(staff.get(reverse("storefront:orders"))))


def test_signing_out_ends_it(cast, looking):
    staff = looking("owner")
    staff.post(reverse("account_logout"))
    assert Viewing.objects.get().ending == "signed_out"
    staff.force_login(cast.support, backend="portal.sign_in.Backend")
    assert not BANNER.search(text(staff.get(reverse("storefront:orders"))))


def test_two_tabs_share_one_look_and_the_newer_one_counts(cast, support):
    begin(support, cast.acme, cast.owner)
    begin(support, cast.acme, cast.viewer)
    assert [one.ending for one in Viewing.objects.order_by("pk")] == ["replaced", ""]
    assert "viewing as Vera Zupan" in words(support.get(reverse("storefront:orders")))


def test_another_session_has_eyes_of_its_own(cast, support, signed_in):
    begin(support, cast.acme, cast.owner)
    elsewhere = signed_in(cast.support)
    assert not BANNER.search(text(elsewhere.get(reverse("storefront:orders"))))
    begin(elsewhere, cast.acme, cast.viewer)
    assert "viewing as Ana Kos" in words(support.get(reverse("storefront:orders")))
    assert {one.ending for one in Viewing.objects.all()} == {""}


def test_a_key_in_the_session_of_somebody_else_opens_nothing(cast, things, support, signed_in):
    begin(support, cast.acme, cast.owner)
    operator = signed_in(cast.operator)
    session = operator.session
    session[viewing.KEY] = Viewing.objects.get().pk
    session.save()
    assert operator.get(address("storefront:subscription", things)).status_code == 404


def test_what_nobody_came_back_to_was_over_by_itself(cast, looking, settings, signed_in):
    staff = looking("owner")
    settings.CLOCK_OFFSET += timedelta(seconds=settings.VIEWING_LIMIT + 60)
    page = words(signed_in(cast.auditor).get(reverse("admin:subscriptions_account_change", args=[cast.acme.pk])))
    assert "The time was over" in page
    staff.post(reverse("stop_viewing"))
    row = Viewing.objects.get()
    assert (row.ending, row.ended_at) == ("limit", row.until)


def test_the_next_look_notes_the_end_of_one_that_was_over_by_itself(cast, support, signed_in, settings):
    begin(support, cast.acme, cast.owner)
    begin(signed_in(cast.operator), cast.acme, cast.owner)
    settings.CLOCK_OFFSET += timedelta(seconds=settings.VIEWING_LIMIT - 1)
    begin(signed_in(cast.support), cast.acme, cast.viewer)
    assert {row.ending for row in Viewing.objects.all()} == {""}
    settings.CLOCK_OFFSET += timedelta(seconds=2)
    begin(signed_in(cast.support), cast.acme, cast.buyer)
    first, by_another, second, _ = Viewing.objects.order_by("pk")
    assert (first.ending, first.ended_at) == ("limit", first.until)
    assert (by_another.ending, second.ending) == ("", "")


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_who_looked_is_on_the_page_of_the_account(cast, looking, signed_in):
    looking("manager")
    where = reverse("admin:subscriptions_account_change", args=[cast.acme.pk])
    for person in ("support", "auditor", "approver"):
        page = words(signed_in(cast.people[person]).get(where))
        shown = page[page.index("Viewed as customer") :]
        assert "Support Marko Novak Manager Ticket 4711" in shown
        assert "Goes on" in shown
    untouched = words(signed_in(cast.auditor).get(reverse("admin:subscriptions_account_change", args=[cast.globex.pk])))
    assert "Nobody of the staff has looked" in untouched


def test_customers_read_of_it_too_but_for_the_reason(cast, looking, signed_in):
    looking("manager")
    where = reverse("storefront:viewings")
    pages = {
        person: words(signed_in(cast.people[person]).get(where))
        for person in ("manager", "owner", "viewer", "stranger")
    }
    assert "Yours Acme GmbH" in pages["manager"]
    assert "Marko Novak Acme GmbH" in pages["owner"]
    assert "No looks so far" in pages["viewer"]
    assert "No looks so far" in pages["stranger"]
    assert not any("4711" in page or "Support" in page for page in pages.values())


def test_the_pages_of_looks_cost_the_same_for_one_and_for_many(cast, looking, signed_in):
    looking("manager")
    subscription = SubscriptionFactory(account=cast.acme)
    pages = {
        reverse("storefront:viewings"): signed_in(cast.owner),
        reverse("admin:subscriptions_account_change", args=[cast.acme.pk]): signed_in(cast.auditor),
    }

    def statements():
        found = []
        for where, browser in pages.items():
            with CaptureQueriesContext(connection) as asked:
                assert browser.get(where).status_code == 200
            found.append(len(asked))
        return found

    # Content types are asked for once in the life of a process.
    statements()
    one = statements()
    for _ in range(8):
        viewing.start(
            cast.acme.members.get(user=cast.buyer), actor=cast.operator, reason="x", subscription=subscription
        )
    assert statements() == one


def test_what_was_begun_is_never_changed_and_what_has_ended_ends_once(cast, looking):
    looking("owner")
    row = Viewing.objects.get()
    for change in (
        lambda: row.delete(),
        lambda: Viewing.objects.update(reason="Another"),
        lambda: Viewing.objects.update(person=cast.viewer),
        lambda: Viewing.objects.update(until=row.until + timedelta(days=1)),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()
    viewing.end(row.pk, Ending.STOPPED)
    ended = Viewing.objects.get().ended_at
    viewing.end(row.pk, Ending.SIGNED_OUT)
    row = Viewing.objects.get()
    assert (row.ending, row.ended_at) == ("stopped", ended)
    with pytest.raises(DatabaseError), transaction.atomic():
        Viewing.objects.update(ended_at=None, ending="")


def test_looking_leaves_the_history_of_a_subscription_alone(cast, things, looking):
    subscription = cast.acme.subscriptions.get()
    EventFactory(subscription=subscription)
    before = subscription.events.count()
    looking("owner").get(address("storefront:subscription", things))
    assert subscription.events.count() == before
