"""The emulator's rules and memory, over real HTTP against a real process."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from subscriptions.vendors.emulator import process
from subscriptions.vendors.emulator.control import Control, ControlError
from subscriptions.vendors.emulator.process import EmulatorProcess
from subscriptions.vendors.emulator.records import KINDS, Provider
from tests.vendor_wire import Sent, Wire, activate, info, item, stamp

ROOT = Path(__file__).resolve().parents[1]
CODE = re.compile(r"FAKE0-[0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]{5}")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with process.start(tmp_path_factory.mktemp("emulator") / "vendor.sqlite") as running:
        yield running


@pytest.fixture
def control(emulator: EmulatorProcess) -> Control:
    emulator.control.reset()
    return emulator.control


@pytest.fixture
def wire(emulator: EmulatorProcess, control: Control) -> Iterator[Wire]:
    wire = Wire(emulator.url)
    yield wire
    wire.close()


def ago(**span: float) -> str:
    return stamp(datetime.now(UTC) - timedelta(**span))


def ahead(**span: float) -> str:
    return stamp(datetime.now(UTC) + timedelta(**span))


# --- the eight items -------------------------------------------------------------------------------------------------


def test_all_eight_items_succeed_in_one_mixed_batch(wire: Wire, control: Control) -> None:
    control.put_subscriber("FIXED", product="KES-1", end=datetime.now(UTC) + timedelta(days=30))
    control.put_subscriber("PAUSED", product="KES-1", status="Paused")
    for name in ("RUNNING", "SOFT", "HARD"):
        control.put_subscriber(name, product="KES-1")
    answer = wire.send(
        activate("NEW", 3),
        item("Renew", "FIXED", EndTime=ahead(days=400)),
        item("Pause", "RUNNING", PauseTime=stamp()),
        item("Resume", "PAUSED"),
        item("SoftCancel", "SOFT", EndTime=ahead(days=10)),
        item("HardCancel", "HARD", EndTime=stamp()),
        info("NEW", "Subscription,SubscriptionUsage"),
        item("GetDownloadLinks", "NEW", Language="pt-BR", Platform="macOS"),
        transaction_id="batch",
    )
    assert answer.transaction_id == "batch"
    assert [answer.name(unit) for unit in range(8)] == list(KINDS)
    assert CODE.fullmatch(answer.get("ActivationCode") or "")
    assert answer.child("Subscription", 6)["LicenseCount"] == "3"
    assert answer.child("SubscriptionUsage", 6) == {}
    assert answer.child("DownloadLink", 7)["Language"] == "pt-BR"
    states = {record.subscriber: record.status for record in control.subscribers()}
    assert states == {
        "NEW": "Started",
        "FIXED": "Started",
        "RUNNING": "Paused",
        "PAUSED": "Started",
        "SOFT": "SoftCancelled",
        "HARD": "HardCancelled",
    }


def test_a_batch_succeeds_in_part(wire: Wire, control: Control) -> None:
    answer = wire.send(activate("A"), item("Resume", "A"), item("Resume", "NOBODY"), units=["7", "3", "12"])
    assert {unit: answer.code(unit) for unit in answer.parts} == {7: None, 3: 501, 12: 5}
    assert answer.get("SubscriberId", 12) == "NOBODY"
    assert [change.kind for change in control.changes()] == ["Activate"]


def test_an_empty_container_is_answered_with_nothing_in_it(wire: Wire) -> None:
    answer = wire.send(transaction_id="ping")
    assert (answer.transaction_id, answer.parts, answer.transaction_error) == ("ping", {}, None)


def test_details_tell_the_whole_record(wire: Wire, control: Control) -> None:
    start, end = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    control.put_subscriber("A", product="KES-9", seats=40, start=start, end=end, first_used_at=start)
    answer = wire.send(info("A", "Subscription, SubscriptionUsage"), info("A", "SubscriptionUsage"))
    details = answer.child("Subscription")
    assert details["StartTime"] == "2026-01-02T03:04:05Z"
    assert details["EndTime"] == "2030-01-01T00:00:00Z"
    assert (details["Status"], details["LicenseCount"], details["ProductId"]) == ("Started", "40", "KES-9")
    assert answer.child("SubscriptionUsage", 1) == {"FirstActivationTime": "2026-01-02T03:04:05Z"}
    assert len(answer.parts[1]) == 1


def test_indefinite_and_an_absent_end_stay_different(wire: Wire, control: Control) -> None:
    control.put_subscriber("OPEN", product="P")
    control.put_subscriber("UNSAID", product="P", end=None)
    answer = wire.send(info("OPEN"), info("UNSAID"))
    assert answer.child("Subscription", 0)["EndTime"] == "indefinite"
    assert "EndTime" not in answer.child("Subscription", 1)


# --- the guards ------------------------------------------------------------------------------------------------------

GUARDS: list[tuple[str, str, Sent, int | None]] = [
    ("repeat that changes nothing", "Started", activate("A", 5), 1),
    ("repeat for another product", "Started", activate("A", 6, ProductId="KES-2"), None),
    ("another product for a paused one", "Paused", activate("A", 6, ProductId="KES-2"), 1),
    ("another product before the start", "NotStarted", activate("A", 6, ProductId="KES-2"), 1),
    ("repeat while paused", "Paused", activate("A", 6), 1),
    ("activate soft-cancelled", "SoftCancelled", activate("A", 6), 105),
    ("activate hard-cancelled", "HardCancelled", activate("A", 6), 4),
    ("activate too far back", "", activate("A", StartTime=ago(days=15)), 304),
    ("activate a fortnight back", "", activate("A", StartTime=ago(days=13.9)), None),
    ("activate in the future", "", activate("A", StartTime=ahead(hours=1)), 103),
    ("activate with a fast clock", "", activate("A", StartTime=ahead(minutes=2)), None),
    ("activate for 27 days", "", activate("A", EndTime=ahead(days=27)), 101),
    ("activate for 29 days", "", activate("A", EndTime=ahead(days=29)), None),
    ("activate backwards", "", activate("A", EndTime=ago(days=1)), 602),
    ("no seats", "", activate("A", 0), 602),
    ("seats that are no number", "", activate("A", "many"), 602),
    ("start without a zone", "", activate("A", StartTime="2026-11-24T10:00:00"), 602),
    ("a date that does not exist", "", activate("A", StartTime="2026-02-30T10:00:00Z"), 602),
    ("the wrong word for open-ended", "", activate("A", EndTime="Indefinite"), 602),
    ("empty product", "", activate("A", ProductId=" "), 602),
    ("unknown activation type", "", activate("A", ActivationType="Third"), 602),
    ("unknown attribute", "", activate("A", Colour="red"), 602),
    ("missing attribute", "", item("Activate", "A", StartTime=stamp(), EndTime="indefinite"), 602),
    ("missing subscriber", "", item("Resume", None), 602),
    ("renew unknown", "", item("Renew", "A", EndTime=ahead(days=90)), 5),
    ("renew not started", "NotStarted", item("Renew", "A", EndTime=ahead(days=90)), 2),
    ("renew open-ended", "Started", item("Renew", "A", EndTime=ahead(days=90)), 202),
    ("renew paused", "Paused", item("Renew", "A", EndTime=ahead(days=90)), 204),
    ("renew soft-cancelled", "SoftCancelled", item("Renew", "A", EndTime=ahead(days=90)), 9002),
    ("renew hard-cancelled", "HardCancelled", item("Renew", "A", EndTime=ahead(days=90)), 4),
    ("renew to an earlier end", "fixed", item("Renew", "A", EndTime=ahead(days=59)), 3),
    ("renew to long ago", "fixed", item("Renew", "A", EndTime=ago(days=15)), 304),
    ("renew to a later end", "fixed", item("Renew", "A", EndTime=ahead(days=90)), None),
    ("renew for ever", "fixed", item("Renew", "A", EndTime="indefinite"), None),
    ("pause unknown", "", item("Pause", "A", PauseTime=stamp()), 5),
    ("pause not started", "NotStarted", item("Pause", "A", PauseTime=stamp()), 2),
    ("pause a fixed term", "fixed", item("Pause", "A", PauseTime=stamp()), 401),
    ("pause soft-cancelled", "SoftCancelled", item("Pause", "A", PauseTime=stamp()), 401),
    ("pause hard-cancelled", "HardCancelled", item("Pause", "A", PauseTime=stamp()), 4),
    ("pause twice", "Paused", item("Pause", "A", PauseTime=stamp()), 402),
    ("pause long ago", "Started", item("Pause", "A", PauseTime=ago(days=15)), 304),
    ("pause in the future", "Started", item("Pause", "A", PauseTime=ahead(days=1)), 602),
    ("pause at no time", "Started", item("Pause", "A"), 602),
    ("resume unknown", "", item("Resume", "A"), 5),
    ("resume running", "Started", item("Resume", "A"), 501),
    ("resume hard-cancelled", "HardCancelled", item("Resume", "A"), 4),
    ("soft cancel unknown", "", item("SoftCancel", "A", EndTime=stamp()), 5),
    ("soft cancel paused", "Paused", item("SoftCancel", "A", EndTime=stamp()), 303),
    ("soft cancel hard-cancelled", "HardCancelled", item("SoftCancel", "A", EndTime=stamp()), 4),
    ("soft cancel long ago", "Started", item("SoftCancel", "A", EndTime=ago(days=15)), 304),
    ("soft cancel without an end", "Started", item("SoftCancel", "A", EndTime="indefinite"), 602),
    ("soft cancel past the term", "fixed", item("SoftCancel", "A", EndTime=ahead(days=61)), 602),
    ("soft cancel at another date", "SoftCancelled", item("SoftCancel", "A", EndTime=ahead(days=3)), None),
    ("hard cancel unknown", "", item("HardCancel", "A", EndTime=stamp()), 5),
    ("hard cancel paused", "Paused", item("HardCancel", "A", EndTime=stamp()), None),
    ("hard cancel back-dated", "Started", item("HardCancel", "A", EndTime=ago(days=13)), None),
    ("hard cancel twice", "HardCancelled", item("HardCancel", "A", EndTime=stamp()), 4),
    ("hard cancel long ago", "Started", item("HardCancel", "A", EndTime=ago(days=15)), 304),
    ("hard cancel in the future", "Started", item("HardCancel", "A", EndTime=ahead(days=1)), 602),
    ("read unknown", "", info("A"), 5),
    ("read another section", "Started", info("A", "Subscription,Usage"), 602),
    ("read hard-cancelled", "HardCancelled", info("A"), None),
    ("links for another platform", "Started", item("GetDownloadLinks", "A", Language="en", Platform="BeOS"), 602),
    ("links for no language", "Started", item("GetDownloadLinks", "A", Language="", Platform="iOS"), 602),
    ("links unknown", "", item("GetDownloadLinks", "A", Language="en", Platform="iOS"), 5),
]


@pytest.mark.parametrize(("state", "sent", "code"), [guard[1:] for guard in GUARDS], ids=[guard[0] for guard in GUARDS])
def test_guard(wire: Wire, control: Control, state: str, sent: Sent, code: int | None) -> None:
    now = datetime.now(UTC)
    if state:
        control.put_subscriber(
            "A",
            product="KES-1",
            seats=5,
            status="Started" if state == "fixed" else state,
            start=now + timedelta(days=2) if state == "NotStarted" else now,
            end=now + timedelta(days=60) if state in ("fixed", "SoftCancelled") else "indefinite",
        )
    before = control.subscriber("A")
    answer = wire.send(sent)
    assert answer.code() == code
    assert answer.name() == sent[0] + ("" if code is None else "Error")
    [entry] = control.journal(source="service")
    assert (entry.kind, entry.error_code, entry.unit, entry.subscriber or None) == (sent[0], code, 0, sent[1])
    changed = code is None and sent[0] not in ("GetInfo", "GetDownloadLinks")
    assert entry.applied is changed
    assert (control.subscriber("A") != before) is changed


# --- codes, providers, profiles --------------------------------------------------------------------------------------


def test_the_code_survives_everything_that_happens_to_a_licence(wire: Wire, control: Control) -> None:
    code = wire.send(activate("A", 5)).get("ActivationCode")
    assert CODE.fullmatch(code or "")
    assert wire.send(activate("A", 9)).get("ActivationCode") == code
    for sent in (item("Pause", "A", PauseTime=stamp()), item("Resume", "A"), item("SoftCancel", "A", EndTime=stamp())):
        assert wire.send(sent).code() is None
        assert wire.send(info("A")).child("Subscription")["ActivationCode"] == code
    assert wire.send(activate("B")).get("ActivationCode") != code


def test_seats_change_in_place(wire: Wire, control: Control) -> None:
    wire.send(activate("A", 5))
    before = control.subscriber("A")
    assert wire.send(activate("A", 8, StartTime=ago(days=1))).code() is None
    after = control.subscriber("A")
    assert before is not None
    assert after is not None
    assert (after.seats, after.start, after.status_changed_at) == (8, before.start, before.status_changed_at)
    assert [(change.before or {}).get("seats") for change in control.changes("A")] == [None, 5]


def test_the_product_changes_in_place_with_the_seats_that_are_told(wire: Wire, control: Control) -> None:
    code = wire.send(activate("A", 5)).get("ActivationCode")
    before = control.subscriber("A")
    answer = wire.send(activate("A", 5, ProductId="KES-2"))
    assert (answer.code(), answer.get("ActivationCode")) == (None, code)
    assert wire.send(activate("A", 7, ProductId="KES-1")).code() is None
    after = control.subscriber("A")
    assert before is not None
    assert after is not None
    assert (after.product, after.seats, after.start, after.status) == ("KES-1", 7, before.start, "Started")
    steps = [((one.before or {}).get("product"), (one.after or {}).get("product")) for one in control.changes("A")]
    assert steps == [(None, "KES-1"), ("KES-1", "KES-2"), ("KES-2", "KES-1")]


@pytest.mark.parametrize("strict", ["KES-1", "KES-2"])
def test_a_product_that_is_strict_is_neither_left_nor_reached(wire: Wire, control: Control, strict: str) -> None:
    control.set_profile("strict", strict)
    wire.send(activate("A", 5))
    assert wire.send(activate("A", 5, ProductId="KES-2")).code() == 1
    found = control.subscriber("A")
    assert found is not None
    assert found.product == "KES-1"


def test_a_product_outside_the_contract_is_not_reached(wire: Wire, control: Control) -> None:
    wire.send(activate("A", 5))
    [provider] = control.providers()
    control.put_provider(replace(provider, products=("KES-1",)))
    assert wire.send(activate("A", 5, ProductId="KES-2")).code() == 9


def test_strict_profile_refuses_every_repeat(wire: Wire, control: Control) -> None:
    control.set_profile("strict", "KES-1")
    assert control.profile() == ("in-place", {"KES-1": "strict"})
    wire.send(activate("A", 5), activate("B", 5, ProductId="KES-2"))
    assert wire.send(activate("A", 6), activate("B", 6, ProductId="KES-2")).codes() == [1, None]
    control.set_profile("strict")
    assert wire.send(activate("A", 6), activate("B", 7, ProductId="KES-2")).codes() == [1, 1]
    control.set_profile("in-place")
    assert wire.send(activate("A", 6)).code() is None
    with pytest.raises(ControlError, match="loose"):
        control.set_profile("loose")


def test_a_provider_is_held_to_its_contract(wire: Wire, control: Control) -> None:
    control.put_provider(Provider("reseller", "other", products=("KES-1",), refused_items=("SoftCancel",), pool_size=2))
    other = {"user": "reseller", "password": "other"}
    assert wire.send(activate("A"), activate("B", ProductId="KES-2"), activate("C"), **other).codes() == [None, 9, None]
    assert wire.send(activate("D"), activate("A", 4), **other).codes() == [8, None]
    assert wire.send(item("SoftCancel", "A", EndTime=stamp()), **other).code() == 601
    assert wire.send(info("A")).code() == 5
    assert [(one.user, one.issued) for one in control.providers()] == [("reseller", 2), ("seatdesk", 0)]
    control.delete_provider("reseller")
    assert wire.send(info("A"), **other).response.status_code == 401


def test_a_wrong_password_lets_nobody_in(wire: Wire, control: Control) -> None:
    assert wire.send(activate("A"), password="guess").response.status_code == 401
    assert wire.send(activate("A"), user="nobody").response.status_code == 401
    control.set_refusal("transaction-error")
    answer = wire.send(activate("A"), password="guess")
    assert (answer.response.status_code, answer.transaction_error) == (200, 9001)
    assert control.subscriber("A") is None
    assert [request.http_status for request in control.requests()] == [401, 401, 200]


def test_only_one_of_two_threads_draws_the_last_code(wire: Wire, control: Control) -> None:
    control.put_provider(Provider("seatdesk", "emulator-only", pool_size=1))
    # The wait lies between letting a request in and dealing with it: all four see a full pool when they come.
    control.add_fault("applied-late", seconds=0.2, count=4)
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda number: wire.send(activate(f"S{number}")).code(), range(4)))
    assert sorted(codes, key=str) == [8, 8, 8, None]
    assert len(control.changes()) == 1


# --- transaction ids -------------------------------------------------------------------------------------------------


def test_a_repeated_order_is_refused_and_not_replayed(wire: Wire, control: Control) -> None:
    sent = activate("A", 5)
    assert wire.send(sent, info("A"), transaction_id="T").codes() == [None, None]
    assert wire.send(sent, info("A"), transaction_id="T").codes() == [6, None]
    assert wire.send(activate("A", 6), transaction_id="T").transaction_error == 9010
    assert len(control.changes("A")) == 1
    control.advance(timedelta(hours=23, minutes=59))
    assert wire.send(sent, info("A"), transaction_id="T").codes() == [6, None]
    control.advance(120)
    assert wire.send(activate("A", 7, StartTime=ahead(hours=24)), transaction_id="T").codes() == [None]


def test_a_container_that_changed_nothing_may_come_again(wire: Wire, control: Control) -> None:
    assert wire.send(item("Resume", "A"), transaction_id="T").codes() == [5]
    assert wire.send(activate("A"), transaction_id="T").codes() == [None]
    for _ in range(2):
        assert wire.send(info("A"), transaction_id="R").codes() == [None]
    assert wire.send(info("A"), transaction_id="T").codes() == [None]


def test_of_equal_orders_at_the_same_time_one_is_applied(wire: Wire, control: Control) -> None:
    sent = activate("A", 5)
    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(lambda _: wire.send(sent, transaction_id="T").code(), range(6)))
    assert sorted(codes, key=str) == [6, 6, 6, 6, 6, None]
    assert len(control.changes("A")) == 1


# --- what is no request ----------------------------------------------------------------------------------------------

GOOD = Wire.body(activate("A"))
MALFORMED = {
    "empty": b"",
    "not XML": b"hello",
    "cut": GOOD[:-30],
    "another root": b"<a/>",
    "SOAP 1.2": GOOD.replace(b"schemas.xmlsoap.org/soap/envelope/", b"www.w3.org/2003/05/soap-envelope"),
    "no AccessInfo": re.sub(rb"<s:AccessInfo>.*</s:AccessInfo>", b"", GOOD),
    "no container": re.sub(rb"<s:SubscriptionRequestContainer>.*Container>", b"", GOOD),
    "no timestamp": re.sub(rb"<s:Timestamp>.*</s:Timestamp>", b"", GOOD),
    "unknown item": GOOD.replace(b"<s:Activate ", b"<s:Explode "),
    "item of no namespace": GOOD.replace(b"<s:Activate ", b"<Activate "),
    "item with content": re.sub(rb"(<s:Activate [^>]*)/>", rb"\1><s:More/></s:Activate>", GOOD),
    "document type": b'<!DOCTYPE a [<!ENTITY x "y">]>' + GOOD,
    "entity file": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>' + GOOD.replace(b"KES-1", b"&x;"),
    "too long": GOOD.replace(b"KES-1", b"K" * (9 << 20)),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_request_gets_a_fault_that_blames_the_client(wire: Wire, control: Control, body: bytes) -> None:
    answer = wire.read(wire.post(body))
    assert (answer.response.status_code, answer.fault) == (500, "Client")
    assert list(control.subscribers()) == []
    assert wire.send(activate("A")).code() is None


@pytest.mark.parametrize("headers", [{"SOAPAction": '"other"'}, {"SOAPAction": ""}, {"Content-Type": "text/plain"}])
def test_wrong_headers_get_a_fault_that_blames_the_client(wire: Wire, headers: dict[str, str]) -> None:
    assert wire.read(wire.post(GOOD, **headers)).fault == "Client"


@pytest.mark.parametrize(
    "options",
    [{"units": ["1", "1"]}, {"units": ["-1", "0"]}, {"units": ["", "0"]}, {"transaction_id": ""}, {"timestamp": "now"}],
)
def test_a_container_that_cannot_be_answered_is_refused_whole(wire: Wire, control: Control, options: dict) -> None:
    answer = wire.send(activate("A"), activate("B"), **options)
    assert answer.transaction_error == 602
    assert control.changes() == []


def test_other_methods_and_chunks_are_declined(emulator: EmulatorProcess, wire: Wire) -> None:
    assert wire.http.get(emulator.url).status_code == 405
    assert wire.http.put(emulator.url, content=b"x").status_code == 501
    assert wire.read(wire.post(iter([GOOD]))).fault == "Client"


# --- outside changes, journal, clock ---------------------------------------------------------------------------------


def test_the_vendors_staff_changes_records(wire: Wire, control: Control) -> None:
    wire.send(activate("A", 5))
    control.pause("A")
    assert wire.send(info("A")).child("Subscription")["Status"] == "Paused"
    control.resume("A")
    control.set_seats("A", 50)
    control.set_product("A", "KES-7")
    control.cancel("A", "soft", datetime(2031, 1, 1, tzinfo=UTC))
    details = wire.send(info("A")).child("Subscription")
    assert (details["LicenseCount"], details["ProductId"]) == ("50", "KES-7")
    assert (details["Status"], details["EndTime"]) == ("SoftCancelled", "2031-01-01T00:00:00Z")
    control.cancel("A")
    assert wire.send(info("A")).child("Subscription")["Status"] == "HardCancelled"
    control.delete("A")
    assert wire.send(info("A")).code() == 5
    kinds = [entry.kind for entry in control.journal("A", source="control")]
    assert kinds == ["pause", "resume", "seats", "product", "cancel", "cancel", "delete"]
    assert len(control.changes("A")) == 1
    with pytest.raises(ControlError, match="no subscriber"):
        control.pause("A")
    with pytest.raises(ControlError, match="seats"):
        control.put_subscriber("A", product="P", seats=0)


def test_the_journal_tells_before_and_after(wire: Wire, control: Control) -> None:
    wire.send(activate("A", 5), info("A"), transaction_id="T1")
    wire.send(activate("A", 6), activate("B"), transaction_id="T2")
    first, read, second = control.journal("A")
    assert (first.before, (first.after or {})["seats"]) == (None, 5)
    assert ((second.before or {})["seats"], (second.after or {})["seats"]) == (5, 6)
    assert (read.kind, read.applied, read.transaction_id, read.unit) == ("GetInfo", False, "T1", 1)
    assert [entry.subscriber for entry in control.journal(transaction_id="T2")] == ["A", "B"]
    assert [entry.kind for entry in control.journal("A", kind="GetInfo")] == ["GetInfo"]
    assert control.journal(after=second.id, limit=1)[0].subscriber == "B"
    assert [request.transaction_id for request in control.requests()] == ["T1", "T2"]


def test_the_clock_can_be_moved(wire: Wire, control: Control) -> None:
    control.set_now(datetime(2027, 3, 1, 12, tzinfo=UTC))
    assert wire.send(activate("A", StartTime=stamp())).code() == 304
    assert wire.send(activate("A", StartTime="2027-03-01T12:00:00Z")).code() is None
    assert wire.send(info("A")).child("Subscription")["StatusChangeTime"].startswith("2027-03-01T12:00:0")
    control.set_offset(timedelta(days=1))
    assert abs(control.advance(60).offset_seconds - 86460) < 1e-6
    control.reset()
    assert abs((control.clock().now - datetime.now(UTC)).total_seconds()) < 1


def test_five_hundred_items_travel_in_one_container(wire: Wire, control: Control) -> None:
    names = [f"S{number:03}" for number in range(500)]
    assert set(wire.send(*(activate(name, 2) for name in names)).codes()) == {None}
    assert [record.subscriber for record in control.subscribers()] == names
    assert len(control.changes()) == 500


def test_the_control_interface_says_what_it_offers(control: Control) -> None:
    found = httpx.get(control.url, trust_env=False).json()
    assert {"GET /subscribers", "PUT /subscribers/NAME", "DELETE /faults/NUMBER"} <= set(found["offers"])
    assert "POST /subscribers/NAME/(pause|resume|cancel|seats|product)" in found["offers"]
    control.put_subscriber("A", product="P")
    given = re.fullmatch(r"POST (\S+) with (\S.*); .*", found["example"])
    assert given is not None
    answer = httpx.post(control.url + given[1].lstrip("/").replace("NAME", "A"), content=given[2], trust_env=False)
    assert answer.json()["seats"] == 12
