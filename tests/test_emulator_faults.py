"""Every fault of the emulator, seen from the client's end of the socket, with the journal as the witness."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from lxml import etree

from subscriptions.vendors.emulator import process
from subscriptions.vendors.emulator.control import Control, ControlError
from subscriptions.vendors.emulator.faults import FAULTS
from subscriptions.vendors.emulator.process import EmulatorProcess
from tests.vendor_wire import Wire, activate, info, item, stamp

SHORT = {"applied-answered-late": 0.3, "applied-late": 0.3, "latency-fixed": 0.3, "slow-body": 0.3}
"""Seconds for faults whose default is longer than a test should take."""
CLOSING = ["closed-before-reading", "closed-after-reading", "applied-closed"]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with process.start(tmp_path_factory.mktemp("faults") / "vendor.sqlite") as running:
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


def parameters(name: str) -> dict[str, float]:
    return {"seconds": SHORT[name]} if name in SHORT else {}


# --- each of them, once ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_does_to_the_record_what_its_name_says(wire: Wire, control: Control, name: str) -> None:
    rule = control.add_fault(name, **parameters(name))
    body = wire.body(activate("A", 5), transaction_id="T")
    try:
        wire.post(body)
    except httpx.TransportError:
        assert name in (
            "refused",
            "closed-before-reading",
            "closed-after-reading",
            "applied-closed",
            "applied-cut-body",
        )
    applied = FAULTS[name].applied
    assert len(control.changes("A")) == (0 if applied is False else 1)
    if name != "refused":
        assert [request.fault for request in control.requests()] == [name]
        assert [one.fired for one in control.faults()] == [1]
        assert all(entry.fault == name for entry in control.journal("A"))
    control.clear_faults(rule.id)
    again = wire.read(wire.post(body))
    assert again.codes() == [None if applied is False else 6]
    assert len(control.changes("A")) == 1


@pytest.mark.parametrize("name", CLOSING)
def test_closed_without_an_answer(wire: Wire, control: Control, name: str) -> None:
    control.add_fault(name)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)):
        wire.send(activate("A"))
    assert [request.http_status for request in control.requests()] == [None]


@pytest.mark.parametrize("name", ["closed-after-reading", "applied-closed"])
def test_closed_by_a_reset(wire: Wire, control: Control, name: str) -> None:
    control.add_fault(name, reset=True)
    with pytest.raises(httpx.ReadError):
        wire.send(activate("A"))


def test_refused_closes_the_socket_for_a_while(emulator: EmulatorProcess, wire: Wire, control: Control) -> None:
    wire.send(activate("A"))
    control.add_fault("refused", for_seconds=0.4)
    with pytest.raises(httpx.ConnectError):
        wire.send(info("A"))
    assert control.health()["listening"] is False
    time.sleep(0.5)
    assert wire.send(info("A")).code() is None
    control.add_fault("refused", for_seconds=60)
    with pytest.raises(httpx.ConnectError):
        wire.send(info("A"))
    control.clear_faults()
    assert wire.send(info("A")).code() is None
    health = control.health()
    assert (health["listening"], health["url"], health["pid"]) == (True, emulator.url, emulator.pid)


def test_a_request_under_way_is_finished_before_the_socket_closes(wire: Wire, control: Control) -> None:
    control.add_fault("latency-fixed", seconds=0.4)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(wire.send, activate("A"))
        while not control.changes("A"):
            time.sleep(0.01)
        control.add_fault("refused", for_seconds=5)
        assert slow.result().code() is None
    with pytest.raises(httpx.ConnectError):
        wire.send(info("A"))


def test_a_kept_connection_does_not_escape_a_fault_of_connections(wire: Wire, control: Control) -> None:
    for _ in range(40):
        control.clear_faults()
        assert wire.send(info("A")).code() == 5
        control.add_fault("closed-before-reading")
        with pytest.raises(httpx.TransportError):
            wire.send(info("A"))
        assert control.faults()[0].fired == 1


def test_the_nth_connection_is_closed_unread(emulator: EmulatorProcess, control: Control) -> None:
    control.add_fault("closed-before-reading", nth=2)
    fates = []
    for _ in range(3):
        wire = Wire(emulator.url)
        try:
            fates.append(wire.send(info("A")).code())
        except httpx.TransportError:
            fates.append(-1)
        wire.close()
    assert fates == [5, -1, 5]


def test_connections_are_closed_unread_for_a_while(wire: Wire, control: Control) -> None:
    wire.send(info("A"))
    control.add_fault("closed-before-reading", for_seconds=0.5)
    for _ in range(3):
        with pytest.raises(httpx.TransportError):
            wire.send(activate("A"))
    time.sleep(0.5)
    assert wire.send(activate("A")).code() is None


@pytest.mark.parametrize("name", ["latency-fixed", "applied-answered-late", "applied-late"])
def test_late_answers(wire: Wire, control: Control, name: str) -> None:
    control.add_fault(name, seconds=0.4)
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        late = pool.submit(wire.send, activate("A"))
        time.sleep(0.2)
        assert (control.subscriber("A") is None) is (name == "applied-late")
        assert late.result().code() is None
        assert time.monotonic() - began >= 0.4
    assert control.subscriber("A") is not None


def test_the_long_tail_is_repeatable_and_mostly_short(wire: Wire, control: Control) -> None:
    def times() -> list[float]:
        control.clear_faults()
        control.reseed(5)
        control.add_fault("latency-long-tail", count=12, median=0.01, longest=0.2)
        found = []
        for _ in range(12):
            began = time.monotonic()
            wire.send(info("A"))
            found.append(time.monotonic() - began)
        return found

    first, second = times(), times()
    assert sum(one > 0.005 for one in first) >= 6
    assert first == pytest.approx(second, abs=0.05)


def test_a_slow_body_trickles(wire: Wire, control: Control) -> None:
    wire.send(activate("A"))
    control.add_fault("slow-body", seconds=0.4)
    with wire.http.stream("POST", wire.url, content=wire.body(info("A")), headers=Wire.headers) as response:
        began, pieces = time.monotonic(), 0
        for _ in response.iter_raw():
            pieces += 1
        assert time.monotonic() - began > 0.2
    assert pieces > 5


@pytest.mark.parametrize(
    ("name", "more", "status", "text"),
    [
        ("http-503", {"retry_after": 7}, 503, "<html>"),
        ("http-429", {"retry_after": 7}, 429, "<html>"),
        ("credentials-refused", {}, 401, "<html>"),
        ("credentials-refused", {"status": 403}, 403, "<html>"),
        ("html-500", {"status": 502}, 502, "<html>"),
        ("applied-html-500", {}, 500, "<html>"),
        ("applied-html-500", {"status": 504}, 504, "<html>"),
        ("soap-fault-client", {}, 500, ":Client<"),
        ("soap-fault-server", {}, 500, ":Server<"),
        ("applied-soap-fault", {}, 500, ":Server<"),
        ("transaction-error", {"code": 77}, 200, "ErrorCode>77<"),
        ("applied-empty-body", {}, 200, ""),
    ],
)
def test_answers_that_are_no_answer(
    wire: Wire, control: Control, name: str, more: dict, status: int, text: str
) -> None:
    control.add_fault(name, **more)
    response = wire.post(wire.body(activate("A")))
    assert (response.status_code, response.headers.get("Retry-After")) == (
        status,
        "7" if "retry_after" in more else None,
    )
    assert text in response.text
    assert [request.http_status for request in control.requests()] == [status]


def test_xml_that_ends_in_its_middle(wire: Wire, control: Control) -> None:
    control.add_fault("applied-truncated-xml")
    response = wire.post(wire.body(activate("A")))
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(response.content)
    control.add_fault("applied-cut-body")
    with pytest.raises(httpx.RemoteProtocolError):
        wire.post(wire.body(activate("B")))
    assert len(control.changes()) == 2


def test_answers_about_something_else(wire: Wire, control: Control) -> None:
    batch = ("A", "B", "C")

    def under(name: str, seats: int) -> dict[int, tuple[str | None, int | None]]:
        control.add_fault(name, subscriber="B", kinds=["Activate"])
        response = wire.post(wire.body(*(activate(one, seats) for one in batch), transaction_id=name))
        answer = wire.read(response)
        under.elements = response.text.count("<sub:Activate")
        return {unit: (answer.get("SubscriberId", unit), answer.code(unit)) for unit in sorted(answer.parts)}

    whole = {0: ("A", None), 1: ("B", None), 2: ("C", None)}
    assert under("applied-missing-item", 2) == {0: whole[0], 2: whole[2]}
    assert under("applied-item-twice", 3) == whole
    assert under.elements == 4
    assert under("applied-unknown-unit", 4) == {0: whole[0], 2: whole[2], 3: ("B", None)}
    assert under("applied-wrong-subscriber", 5) == {**whole, 1: ("NOT-B", None)}
    assert under("applied-item-error", 6) == {**whole, 1: ("B", 99)}
    assert len(control.changes("B")) == 5
    assert under("item-error", 7) == {**whole, 1: ("B", 99)}
    assert (len(control.changes("A")), len(control.changes("B"))) == (6, 5)


def test_a_wrong_echo(wire: Wire, control: Control) -> None:
    control.add_fault("applied-wrong-echo")
    assert wire.send(activate("A"), transaction_id="T").transaction_id == "not-T"


def test_bodies_that_should_not_be_parsed(wire: Wire, control: Control) -> None:
    control.add_fault("wrong-content-type")
    assert wire.post(wire.body(activate("A"))).headers["Content-Type"] == "text/html"
    control.add_fault("huge-body")
    huge = wire.post(wire.body(info("A"))).content
    assert len(huge) > 6 * 1024 * 1024
    control.add_fault("entity-bomb")
    bomb = wire.post(wire.body(info("A"))).content
    assert len(bomb) < 5000
    with pytest.raises(etree.XMLSyntaxError, match="amplification"):
        etree.fromstring(bomb, etree.XMLParser(resolve_entities=True))
    control.add_fault("entity-bomb", levels=1)
    small = wire.post(wire.body(info("A"), transaction_id="T")).content
    root = etree.fromstring(small, etree.XMLParser(resolve_entities=True))
    assert "ha" * 10 + "T" in "".join(root.itertext())


def test_stale_reads_tell_how_things_stood(wire: Wire, control: Control) -> None:
    wire.send(activate("A", 5))
    time.sleep(0.4)
    wire.send(activate("A", 6))
    control.set_seats("A", 7)
    control.add_fault("stale-read", seconds=0.3, for_seconds=30)
    assert wire.send(info("A")).child("Subscription")["LicenseCount"] == "5"
    wire.send(activate("B"))
    assert wire.send(info("B")).code() == 5
    assert wire.send(activate("A", 8)).code() is None
    time.sleep(0.35)
    assert wire.send(info("A")).child("Subscription")["LicenseCount"] == "8"
    assert wire.send(info("B")).code() is None


# --- when a rule strikes ---------------------------------------------------------------------------------------------


def statuses(wire: Wire, times: int) -> list[int]:
    return [wire.send(info("A")).response.status_code for _ in range(times)]


def test_from_the_nth_call_on_and_so_many_times(wire: Wire, control: Control) -> None:
    control.add_fault("http-503", nth=2, count=2)
    assert statuses(wire, 5) == [200, 503, 503, 200, 200]
    [rule] = control.faults()
    assert (rule.fired, rule.nth, rule.count) == (2, 2, 2)


def test_only_for_some_items_and_subscribers(wire: Wire, control: Control) -> None:
    control.add_fault("http-503", kinds=["Activate", "Pause"], subscriber="A", count=10)
    assert wire.send(info("A"), activate("B")).response.status_code == 200
    assert wire.send(info("B"), item("Pause", "A", PauseTime=stamp())).response.status_code == 503
    assert wire.send(activate("A")).response.status_code == 503


def test_for_a_while(wire: Wire, control: Control) -> None:
    control.add_fault("http-429", for_seconds=0.4)
    assert statuses(wire, 4) == [429] * 4
    time.sleep(0.4)
    assert statuses(wire, 1) == [200]


def test_a_share_of_requests_the_same_share_each_time(wire: Wire, control: Control) -> None:
    def run(seed: int) -> list[int]:
        control.clear_faults()
        control.reseed(seed)
        control.add_fault("http-503", share=0.3, for_seconds=30)
        return statuses(wire, 60)

    first = run(1)
    assert 6 <= first.count(503) <= 30
    assert run(1) == first
    assert run(2) != first


def test_slow_and_broken_together_and_the_oldest_rule_decides(wire: Wire, control: Control) -> None:
    control.add_fault("latency-fixed", seconds=0.2)
    control.add_fault("applied-html-500")
    control.add_fault("http-429")
    began = time.monotonic()
    assert wire.send(activate("A")).response.status_code == 500
    assert time.monotonic() - began >= 0.2
    assert [entry.fault for entry in control.journal("A")] == ["latency-fixed+applied-html-500"]
    assert statuses(wire, 2) == [429, 200]


def test_a_reset_drops_what_waits_to_be_applied(wire: Wire, control: Control) -> None:
    control.add_fault("applied-late", seconds=30)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wire.send, activate("A"))
        while not control.faults()[0].fired:
            time.sleep(0.01)
        control.reset()
        with pytest.raises(httpx.RemoteProtocolError):
            waiting.result(timeout=5)
    assert control.subscriber("A") is None
    assert control.journal() == []


def test_clearing_lets_waiting_requests_carry_on(wire: Wire, control: Control) -> None:
    control.add_fault("applied-late", seconds=30)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wire.send, activate("A"))
        while not control.faults()[0].fired:
            time.sleep(0.01)
        control.clear_faults()
        assert waiting.result(timeout=5).code() is None


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ({"fault": "earthquake"}, "earthquake"),
        ({"fault": "http-503", "after": 3}, "after"),
        ({"fault": "http-503", "kinds": ["Dance"]}, "Dance"),
        ({"fault": "refused", "subscriber": "A"}, "before anything is read"),
        ({"fault": "http-503", "nth": 0}, "start at 1"),
        ({"fault": "http-503", "share": 2}, "share"),
    ],
)
def test_a_wrong_rule_is_refused(control: Control, wanted: dict, complaint: str) -> None:
    with pytest.raises(ControlError, match=complaint):
        control.add_fault(wanted.pop("fault"), **wanted)
    assert control.faults() == []


def test_faults_strike_only_whom_the_service_lets_in(wire: Wire, control: Control) -> None:
    control.add_fault("applied-closed")
    assert wire.send(activate("A"), password="guess").response.status_code == 401
    assert wire.read(wire.post(b"<a/>")).fault == "Client"
    with pytest.raises(httpx.RemoteProtocolError):
        wire.send(activate("A"))


def test_the_control_interface_is_for_this_machine_only(control: Control) -> None:
    with httpx.Client(trust_env=False) as http:
        assert http.get(f"{control.url}health", headers={"Host": "example.org:80"}).status_code == 403
        assert http.post(f"{control.url}reset", headers={"Origin": "http://example.org"}).status_code == 403
        assert http.get(f"{control.url}nothing").status_code == 404
        assert http.post(f"{control.url}clock/advance", content=b"[1]").status_code == 400
