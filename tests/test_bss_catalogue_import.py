"""The catalogue by file in BSS: upload, differences, saved after they were seen; who may, and what is refused."""

import io
import re
from decimal import Decimal
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core import signing
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from subscriptions import catalogue_files
from subscriptions.admin import catalogue_import
from subscriptions.models import SKU, PriceBand, Product
from tests.factories import ProductFactory, SKUFactory, UserFactory
from tests.test_catalogue_files import NEW, WRONG, state

pytestmark = pytest.mark.django_db

UPLOAD, SAVE = "/bss/subscriptions/sku/import/", "/bss/subscriptions/sku/import/save/"
DATA = "sku,seats_max,currency,seats_from,price\nKL1,400,EUR,50,3.10\nKL1,,EUR,1,3.50\nKL1,,GBP,5,2\n"


@pytest.fixture
def manager(cast, signed_in):
    return signed_in(cast.catalogue_manager)


@pytest.fixture
def sku():
    product = ProductFactory(name="Endpoint")
    return SKUFactory(code="KL1", name="Endpoint, monthly", product=product, prices={1: "3.50", 50: "2.9988"})


def upload(browser, data=DATA, name="prices.csv", **more):
    content = data.encode() if isinstance(data, str) else data
    return browser.post(UPLOAD, {"file": SimpleUploadedFile(name, content), **more})


def kept(page):
    return unescape(re.search(r'name="kept" value="([^"]+)"', page.content.decode())[1])


def words(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", unescape(page.content.decode())))


def test_what_would_change_is_shown_then_saved(manager, sku, cast):
    before = state()
    page = upload(manager, note="Price list of May")
    assert page.status_code == 200
    assert state() == before
    said = words(page)
    assert "1 new, 2 changed, 0 removed, 1 unchanged. Nothing is saved yet." in said
    assert re.search(r"SKU KL1 Changed, line 2 seats_max 500 400", said)
    assert re.search(r"Price of KL1 in EUR from 50 seats Changed, line 2 price 2\.9988 3\.10", said)
    assert re.search(r"Price of KL1 in GBP from 5 seats New, line 4 price None 2\.00", said)
    assert "Save 1 new and 2 changed" in said
    answer = manager.post(SAVE, {"kept": kept(page)}, follow=True)
    assert answer.redirect_chain == [("/bss/subscriptions/sku/", 302)]
    assert "Saved from prices.csv: 1 new and 2 changed." in answer.content.decode()
    sku.refresh_from_db()
    assert sku.seats_max == 400
    assert sku.price_bands.get(currency="EUR", seats_from=50).price == Decimal("3.1")
    history = words(manager.get(reverse("admin:subscriptions_sku_history", args=[sku.pk])))
    assert "Price list of May" in history
    assert "price 2.9988 to 3.10" in history
    assert cast.catalogue_manager.name in history


def test_nothing_different_is_nothing_to_save(manager, sku):
    page = upload(manager, "".join(catalogue_files.lines()))
    assert "Nothing differs" in words(page)
    assert 'name="kept"' not in page.content.decode()


@pytest.mark.parametrize(
    "case",
    [
        "semicolons", "repeated column", "no sku column", "utf-16", "latin 1", "long line", "open quotes", "cells",
        "empty", "thousands", "price twice", "range",
    ],
)  # fmt: skip
def test_what_is_wrong_stands_beside_the_field_and_nothing_is_saved(case, manager, sku):
    data, sentence = WRONG[case]
    if case == "long line":
        # As it is, the whole file is too big already.
        data = data[:200_000]
    before = state()
    answer = upload(manager, data, note="Price list of May")
    page = unescape(answer.content.decode())
    assert answer.status_code == 422
    assert "<title>Error: " in re.sub(r"<title>\s+", "<title>", page)
    if not data:
        sentence = "The file is empty. Its first line names the columns."
    assert sentence in page[: page.index("<h1")]
    beside = page.split('id="id_file_error"')[1]
    assert sentence in beside[: beside.index("</ul>")]
    assert 'value="Price list of May"' in page
    assert state() == before


def test_a_file_that_is_too_big(manager, sku):
    answer = upload(manager, b"sku,name\n" + b"KL1,x\n" * 500_000)
    assert answer.status_code == 422
    assert "The file has 3.0 MB. At most 1 MB can be uploaded." in words(answer)


def test_no_file(manager):
    answer = manager.post(UPLOAD, {"note": "Price list of May"})
    assert answer.status_code == 422
    assert "Choose a file." in words(answer)


def test_another_price_meanwhile_is_shown_again(manager, sku):
    page = upload(manager)
    sku.price_bands.filter(seats_from=50).update(price="2.50")
    before = state()
    answer = manager.post(SAVE, {"kept": kept(page)})
    assert answer.status_code == 409
    assert "The catalogue has changed meanwhile" in words(answer)
    assert "price 2.50 3.10" in words(answer)
    assert state() == before
    assert manager.post(SAVE, {"kept": kept(answer)}).status_code == 302
    assert sku.price_bands.get(currency="EUR", seats_from=50).price == Decimal("3.1")


def test_a_second_press_leads_where_the_first_did_and_changes_nothing_more(manager, sku):
    page = upload(manager)
    first = manager.post(SAVE, {"kept": kept(page)})
    after, entries = state(), LogEntry.objects.count()
    second = manager.post(SAVE, {"kept": kept(page)})
    assert (second.status_code, second.url) == (302, first.url)
    said = words(manager.get(second.url))
    assert "Saved from prices.csv: 1 new and 2 changed." in said
    assert "The catalogue is as prices.csv says. Nothing was left to save." in said
    assert (state(), LogEntry.objects.count()) == (after, entries)


def test_a_catalogue_that_the_file_no_longer_fits(manager, sku):
    page = upload(manager, "sku,seats_max\nKL1,20\n")
    SKU.objects.update(seats_min=30)
    answer = manager.post(SAVE, {"kept": kept(page)})
    assert answer.status_code == 422
    assert "The catalogue has changed meanwhile, and the file no longer fits. Line 2, seats_max:" in words(answer)
    assert SKU.objects.get().seats_max == 500


def test_only_what_was_shown_to_the_same_person_can_be_saved(manager, sku, cast, signed_in):
    page, before = upload(manager), state()
    other = UserFactory(is_staff=True)
    other.groups.set(cast.catalogue_manager.groups.all())
    good = kept(page)
    forged = signing.dumps(signing.loads(good, salt=catalogue_import._SALT), salt="other", compress=True)
    for browser, value in ((signed_in(other), good), (manager, good[:-2]), (manager, forged), (manager, "")):
        answer = browser.post(SAVE, {"kept": value})
        assert answer.status_code == 422
        assert "Upload the file again." in words(answer)
    assert state() == before


def test_it_is_kept_for_an_hour(manager, sku, monkeypatch):
    page, before = upload(manager), state()
    monkeypatch.setattr(catalogue_import, "KEPT", -1)
    assert manager.post(SAVE, {"kept": kept(page)}).status_code == 422
    assert state() == before


@pytest.mark.parametrize("person", ["support", "operator", "approver", "auditor"])
def test_others_neither_upload_nor_save(person, manager, cast, signed_in, sku):
    page, before = upload(manager), state()
    browser = signed_in(cast.people[person])
    assert upload(browser).status_code == 403
    assert browser.post(SAVE, {"kept": kept(page)}).status_code == 403
    assert state() == before
    listing = browser.get("/bss/subscriptions/sku/").content.decode()
    assert "Import a file" not in listing
    assert "/bss/subscriptions/sku/export/" in listing


@pytest.mark.parametrize("permission", catalogue_import.NEEDED)
def test_each_permission_is_needed(permission, manager, cast, sku):
    group = cast.catalogue_manager.groups.get()
    group.permissions.remove(Permission.objects.get(codename=permission.split(".")[1]))
    assert upload(manager).status_code == 403


def test_whoever_may_finds_the_way_from_the_list(manager, sku):
    listing = manager.get("/bss/subscriptions/sku/").content.decode()
    assert f'href="{UPLOAD}"' in listing
    assert manager.get(UPLOAD).status_code == 200
    assert manager.get(SAVE).url == UPLOAD


def test_the_download_is_what_can_be_uploaded(manager, cast, signed_in, sku):
    answer = signed_in(cast.auditor).get("/bss/subscriptions/sku/export/")
    assert re.fullmatch(r'attachment; filename="catalogue-\d{4}-\d\d-\d\d\.csv"', answer["Content-Disposition"])
    data = b"".join(answer.streaming_content)
    assert data.decode() == "".join(catalogue_files.lines())
    assert "Nothing differs" in words(upload(manager, data))


def test_two_lines_or_sixty_ask_the_database_as_often(manager):
    asked = []
    # The first may also ask what later ones remember, such as the content types.
    for count in (1, 2, 60):
        head, row, _ = NEW.split("\n", 2)
        data = "\n".join([head, *(row.replace("N1", f"S{count}-{n}") for n in range(count))]) + "\n"
        with CaptureQueriesContext(connection) as found:
            page = upload(manager, data.replace("New product", f"Product {count}"))
        assert page.status_code == 200
        with CaptureQueriesContext(connection) as also:
            assert manager.post(SAVE, {"kept": kept(page)}).status_code == 302
        asked.append((len(found), len(also)))
    assert asked[1] == asked[2]


def test_a_long_list_is_cut_on_the_page_and_saved_as_a_whole(manager, sku, monkeypatch):
    monkeypatch.setattr(catalogue_import, "SHOWN", 5)
    data = "sku,currency,seats_from,price\n" + "".join(f"KL1,EUR,{n},1\n" for n in range(100, 120))
    page = upload(manager, data)
    assert "And 15 more, which are saved with them." in words(page)
    manager.post(SAVE, {"kept": kept(page)})
    assert PriceBand.objects.filter(price=1).count() == 20


def test_what_a_file_says_is_escaped(manager):
    page = upload(manager, "sku,product,description\n,P,<b>x</b>\n").content.decode()
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<b>x" not in page
    assert not Product.objects.exists()


def test_a_name_of_a_file_can_be_anything(manager, sku):
    stream = io.BytesIO(DATA.encode())
    stream.name = "<b>Preise&.csv"
    page = manager.post(UPLOAD, {"file": stream})
    saved = manager.post(SAVE, {"kept": kept(page)}, follow=True)
    assert "&lt;b&gt;Preise&amp;.csv" in saved.content.decode()
    for answer in (page, saved):
        assert "<b>Preise" not in answer.content.decode()
