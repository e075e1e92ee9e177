"""The gateway over real sockets: every way in which a vendor can fail to answer, and what may be concluded from it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from subscriptions.vendors.kaspersky.assumptions import AUTHENTICATION_ERRORS, TRANSACTION_ERRORS
from subscriptions.vendors.kaspersky.errors import ERRORS
from subscriptions.vendors.port import (
    NOT_FOUND,
    OPEN_ENDED,
    Activate,
    Answer,
    Cancel,
    Capabilities,
    ChangeProduct,
    Details,
    Outcome,
    Provision,
    Read,
    Secret,
    SetSeats,
    Suspend,
    VendorStatus,
)
from tests.hostile_vendor import PASSWORD, USERNAME, Stage, http, take_request

NS = "http://schemas.kaspersky.com/services/subscription/2.0/"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
NOON = datetime(2031, 5, 6, 12, 0, tzinfo=UTC)
SUBSCRIBER = "0123456789ABCDEF0123456789ABCDEF"
CODE = "FAKE1-AAAAA-BBBBB-CCCCC"
PROVISION = Provision(SUBSCRIBER, "PRODUCT", 5, NOON)
WRITES = [
    PROVISION,
    SetSeats(SUBSCRIBER, "PRODUCT", 7, NOON),
    ChangeProduct(SUBSCRIBER, "OTHER", 8, NOON),
    Suspend(SUBSCRIBER, NOON),
    Activate(SUBSCRIBER),
    Cancel(SUBSCRIBER, "now", NOON),
    Cancel(SUBSCRIBER, "end", NOON),
]
NAMES = ["Activate", "Activate", "Activate", "Pause", "Resume", "HardCancel", "SoftCancel"]
UNKNOWN, TRANSIENT, REJECTED = Outcome.UNKNOWN, Outcome.TRANSIENT, Outcome.REJECTED
DONE, ALREADY_DONE, CREDENTIALS = Outcome.DONE, Outcome.ALREADY_DONE, Outcome.CREDENTIALS


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


def envelope(content: str) -> str:
    return f'<s:Envelope xmlns:s="{SOAP}"><s:Body>{content}</s:Body></s:Envelope>'


def container(successes: str = "", failures: str = "", error: str = "", echo: str = "T1") -> str:
    parts = f"<Timestamp>2031-05-06T12:00:00Z</Timestamp><TransactionId>{echo}</TransactionId>{error}"
    if successes:
        parts += f"<SubscriptionResponse>{successes}</SubscriptionResponse>"
    if failures:
        parts += f"<SubscriptionError>{failures}</SubscriptionError>"
    return envelope(f'<SubscriptionResponseContainer xmlns="{NS}">{parts}</SubscriptionResponseContainer>')


def success(name: str = "Activate", unit: int = 0, subscriber: str = SUBSCRIBER, code: str = CODE) -> str:
    more = f' ActivationCode="{code}"' if name == "Activate" else ""
    return f'<{name} UnitId="{unit}" SubscriberId="{subscriber}"{more}/>'


def failure(name: str, code: object, unit: int = 0, message: str = "because") -> str:
    return f'<{name}Error UnitId="{unit}" SubscriberId="{SUBSCRIBER}" ErrorCode="{code}" ErrorMessage="{message}"/>'


def fault(code: str, text: str = "why") -> str:
    return envelope(f"<s:Fault><faultcode>{code}</faultcode><faultstring>{text}</faultstring></s:Fault>")


# --- what is said and understood -------------------------------------------------------------------------------------


def test_every_command_is_sent_as_its_item_and_confirmed(stage):
    seen = []

    def script(connection):
        seen.append(take_request(connection).decode())
        items = [success(name, unit) for unit, name in enumerate(NAMES)]
        connection.sendall(http(container("".join(reversed(items)))))

    gateway = stage.connect(stage.start(script).url)
    prepared = gateway.prepare("T1", WRITES)
    answers = gateway.send(prepared)
    assert [answer.outcome for answer in answers] == [DONE] * 7
    assert answers[0].activation_code == Secret(CODE)
    assert {answer.http_status for answer in answers} == {200}
    head, _, body = seen[0].partition("\r\n\r\n")
    assert f'SOAPAction: "{NS.removesuffix("2.0/")}subscriptionRequest"' in head
    assert "Content-Type: text/xml; charset=utf-8" in head
    assert body.encode() == prepared.body
    assert "<UserName>distributor</UserName><Password>s3cret&amp;word</Password>" in body
    request = body.partition("<SubscriptionRequest>")[2]
    assert re.findall(r"<(\w+) UnitId=\"(\d)\"", request) == [(name, str(unit)) for unit, name in enumerate(NAMES)]
    assert re.findall(r'LicenseCount="(\d)"', request) == ["5", "7", "8"]
    assert re.findall(r'ProductId="(\w+)"', request) == ["PRODUCT", "PRODUCT", "OTHER"]
    assert request.count('EndTime="indefinite"') == 3
    assert [re.sub(r' xmlns="[^"]*"', "", text) in request for text in prepared.asked] == [True] * 7


def test_a_read_gives_the_vendors_record(stage):
    record = (
        f'<GetInfo UnitId="0" SubscriberId="{SUBSCRIBER}"><Subscription Status="Paused" LicenseCount="5" '
        f'ProductId="PRODUCT" ActivationCode="{CODE}" StartTime="2031-05-06T12:00:00Z" EndTime="indefinite" '
        f'StatusChangeTime="2031-05-06T14:00:00+02:00"/><SubscriptionUsage FirstActivationTime="2031-05-06T12:00:00"/>'
        "</GetInfo>"
    )
    (answer,) = stage.ask(http(container(record)), Read(SUBSCRIBER))
    assert answer.outcome is DONE
    assert answer.details == Details(
        SUBSCRIBER, VendorStatus.PAUSED, 5, "PRODUCT", NOON, NOON, OPEN_ENDED, Secret(CODE), NOON
    )
    assert 'ActivationCode="****-****-****-CCCCC"' in answer.answered
    assert CODE not in repr(answer) + answer.answered
    assert 0 <= answer.latency_ms < 3000


@pytest.mark.parametrize(
    ("stamp", "time"),
    [
        ("<Timestamp>2031-05-06T14:00:00+02:00</Timestamp>", NOON),
        ("<Timestamp>noon</Timestamp>", None),
        ("<Timestamp/>", None),
        ("", None),
    ],
)
def test_an_answer_says_what_the_vendors_clock_showed(stage, stamp, time):
    """A container whose clock cannot be read is an answer all the same."""
    body = container(success()).replace("<Timestamp>2031-05-06T12:00:00Z</Timestamp>", stamp)
    (answer,) = stage.ask(http(body), PROVISION)
    assert (answer.outcome, answer.vendor_time) == (DONE, time)


def test_many_reads_travel_together_and_come_back_in_order(stage):
    def script(connection):
        take_request(connection)
        connection.sendall(http(container(failures=failure("GetInfo", 5, 1) + failure("GetInfo", 99, 0))))

    vendor = stage.start(script)
    answers = stage.connect(vendor.url).get_details_many("T1", [SUBSCRIBER, SUBSCRIBER])
    assert [(answer.outcome, answer.code) for answer in answers] == [(UNKNOWN, "99"), (REJECTED, NOT_FOUND)]
    assert vendor.connections == 1


def test_a_large_batch_is_sent_as_a_whole(stage):
    seen = []

    def script(connection):
        seen.append(take_request(connection))
        connection.sendall(http(container(failures="".join(failure("GetInfo", 5, unit) for unit in range(2000)))))

    answers = stage.connect(stage.start(script).url).get_details_many("T1", [SUBSCRIBER] * 2000)
    assert [answer.code for answer in answers] == [NOT_FOUND] * 2000
    assert seen[0].count(b"<GetInfo ") == 2000
    assert seen[0].endswith(b"Envelope>")


def test_nothing_to_send_opens_no_socket(stage):
    vendor = stage.start(lambda connection: None)
    gateway = stage.connect(vendor.url, seat_change="unsupported")
    assert gateway.get_details_many("T1", []) == []
    prepared = gateway.prepare("T1", [WRITES[1]])
    assert prepared.asked == ("",)
    assert [(answer.outcome, answer.code) for answer in gateway.send(prepared)] == [
        (Outcome.UNSUPPORTED, "seat-change")
    ]
    assert vendor.connections == 0
    assert gateway.capabilities("PRODUCT") == Capabilities(seat_change="unsupported", product_change="in_place")


@pytest.mark.parametrize(
    ("option", "command", "code"),
    [("seat_change", WRITES[1], "seat-change"), ("product_change", WRITES[2], "product-change")],
)
def test_what_an_option_rules_out_is_never_sent(stage, option, command, code):
    vendor = stage.start(lambda connection: None)
    gateway = stage.connect(vendor.url, **{option: "unsupported"})
    assert gateway.send(gateway.prepare("T1", [command])) == [Answer(Outcome.UNSUPPORTED, code)]
    assert vendor.connections == 0
    able, unable = stage.connect(vendor.url).capabilities("PRODUCT"), gateway.capabilities("PRODUCT")
    assert (getattr(able, option), getattr(unable, option)) == ("in_place", "unsupported")
    with pytest.raises(ValueError, match=f"{option} must be in_place or unsupported"):
        stage.connect(vendor.url, **{option: "perhaps"})


def test_an_unsupported_ask_does_not_stop_the_others(stage):
    answers = stage.ask(
        http(container(success("Resume", 1))), WRITES[1], Activate(SUBSCRIBER), seat_change="unsupported"
    )
    assert [answer.outcome for answer in answers] == [Outcome.UNSUPPORTED, DONE]


def ping_failure(number: int, echo: str) -> str:
    return container(failures=failure("GetInfo", number).replace(SUBSCRIBER, "SEATDESK-PING"), echo=echo)


@pytest.mark.parametrize(
    ("respond", "outcome", "code"),
    [
        (lambda echo: http(ping_failure(5, echo)), DONE, NOT_FOUND),
        (lambda echo: http(ping_failure(601, echo)), UNKNOWN, "601"),
        (lambda echo: http(status=503), TRANSIENT, "http-503"),
        (lambda echo: http(status=401), CREDENTIALS, "http-401"),
        (lambda echo: http(fault("s:Client")), UNKNOWN, "fault-client"),
    ],
)
def test_ping_asks_for_nobody(stage, respond, outcome, code):
    seen = []

    def answer(connection):
        seen.append(take_request(connection).decode())
        connection.sendall(respond(re.search("<TransactionId>(.+)</TransactionId>", seen[-1])[1]))

    gateway = stage.connect(stage.start(answer).url)
    assert [(gateway.ping().outcome, gateway.ping().code)] == [(outcome, code)]
    first, second = (re.search("<TransactionId>(.+)</TransactionId>", request)[1] for request in seen)
    assert first != second
    assert "<GetInfo" in seen[0]


# --- error numbers ---------------------------------------------------------------------------------------------------

CLASSES = {
    ALREADY_DONE: {1, 6, 402, 501},
    TRANSIENT: {8},
    UNKNOWN: {99},
    REJECTED: {2, 3, 4, 5, 9, 101, 103, 105, 202, 204, 303, 304, 401, 601, 602},
}


def test_the_table_holds_the_known_numbers_and_no_other():
    assert set(ERRORS) == set().union(*CLASSES.values())


@pytest.mark.parametrize(
    ("outcome", "number"),
    [(outcome, number) for outcome, numbers in CLASSES.items() for number in numbers]
    + [(REJECTED, 7), (REJECTED, 9001), (REJECTED, "E7"), (REJECTED, "-1"), (REJECTED, "²")],
)
def test_an_item_error_is_classified_by_its_number(stage, outcome, number):
    (answer,) = stage.ask(http(container(failures=failure("Activate", number, message="Why &lt;this&gt;"))), PROVISION)
    assert (answer.outcome, answer.code, answer.message) == (outcome, str(number), "Why <this>")
    assert answer.alert is (number in {8, 9, 601} or number not in ERRORS)
    assert f'ErrorCode="{number}"' in answer.answered


@pytest.mark.parametrize(("command", "name"), list(zip(WRITES, NAMES, strict=True)))
def test_already_cancelled_is_what_only_a_cancel_wanted(stage, command, name):
    (answer,) = stage.ask(http(container(failures=failure(name, 4))), command)
    assert answer.outcome is (ALREADY_DONE if isinstance(command, Cancel) else REJECTED)


@pytest.mark.parametrize(
    ("number", "outcome", "code", "alert"),
    [(5, REJECTED, NOT_FOUND, False), (99, UNKNOWN, "99", False), (1, REJECTED, "1", True), (7, REJECTED, "7", True)],
)
def test_a_read_is_never_already_done(stage, number, outcome, code, alert):
    (answer,) = stage.ask(http(container(failures=failure("GetInfo", number))), Read(SUBSCRIBER))
    assert (answer.outcome, answer.code, answer.alert) == (outcome, code, alert)


@pytest.mark.parametrize(
    ("number", "write", "read", "alert"),
    [
        (6, ALREADY_DONE, UNKNOWN, False),
        (601, REJECTED, REJECTED, True),
        (602, REJECTED, REJECTED, False),
        (99, UNKNOWN, UNKNOWN, False),
        (5, UNKNOWN, UNKNOWN, True),
        (8, UNKNOWN, UNKNOWN, True),
        (9010, UNKNOWN, UNKNOWN, True),
        *((number, CREDENTIALS, CREDENTIALS, True) for number in AUTHENTICATION_ERRORS),
    ],
)
def test_a_transaction_error_speaks_for_everyone(stage, number, write, read, alert):
    error = f"<TransactionError><ErrorCode>{number}</ErrorCode><ErrorMessage>no</ErrorMessage></TransactionError>"
    answers = stage.ask(http(container(error=error)), PROVISION, Read(SUBSCRIBER))
    assert [answer.outcome for answer in answers] == [write, read]
    assert {(answer.code, answer.message) for answer in answers} == {(str(number), "no")}
    assert answers[0].alert is alert
    assert set(ERRORS) >= TRANSACTION_ERRORS
    assert not TRANSACTION_ERRORS & AUTHENTICATION_ERRORS


# --- answers that came, and what they are worth ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "outcome", "code"),
    [
        (http("<html>Sorry</html>", 500, "text/html"), UNKNOWN, "http-500"),
        (http(container(success()), 500), UNKNOWN, "http-500"),
        (http(status=502), UNKNOWN, "http-502"),
        (http(status=504), UNKNOWN, "http-504"),
        (http(container(success()), 202), UNKNOWN, "http-202"),
        (http(status=404), UNKNOWN, "http-404"),
        (http(status=302, Location="http://127.0.0.1:1/"), UNKNOWN, "http-302"),
        (http(status=401), CREDENTIALS, "http-401"),
        (http(status=403), CREDENTIALS, "http-403"),
        (http(status=429), TRANSIENT, "http-429"),
        (http(status=503), TRANSIENT, "http-503"),
        (http(fault("s:Client"), 500), REJECTED, "fault-client"),
        (http(fault("s:Client.Order")), REJECTED, "fault-client"),
        (http(fault("s:Client.Authentication"), 500), CREDENTIALS, "fault-client"),
        (http(fault("s:Client"), 403), CREDENTIALS, "http-403"),
        (http(fault("s:Client"), 503), TRANSIENT, "http-503"),
        (http(fault("s:Client"), 500, "text/html"), UNKNOWN, "http-500"),
        (http(fault("s:Server"), 500), UNKNOWN, "fault"),
        (http(fault("s:Server"), 503), UNKNOWN, "fault"),
        (http(fault("x:Client")), UNKNOWN, "fault"),
        (http(container(success()), media_type="text/html"), UNKNOWN, "content-type"),
        (http(container(success()), media_type="text/xml; charset=utf-16"), UNKNOWN, "content-type"),
        (http(container(success()), Content_Encoding="gzip"), UNKNOWN, "content-encoding"),
        (http(container(success())[:-20]), UNKNOWN, "not-xml"),
        (http(container(success()))[:-20], UNKNOWN, "truncated"),
        (http("<hello/>"), UNKNOWN, "foreign"),
        (http("<!DOCTYPE a [<!ENTITY b 'c'>]>" + container(success())), UNKNOWN, "dtd"),
        (http(b" " * 6_000_000), UNKNOWN, "too-large"),
        (http(b" " * 6_000_000, 503), TRANSIENT, "http-503"),
        (http(b"", 503)[:-2] + b"Content-Length: 9\r\n\r\n", UNKNOWN, "not-http"),
        (b"SSH-2.0-OpenSSH\r\n", UNKNOWN, "not-http"),
        (http(container(success(), echo="T2")), UNKNOWN, "echo"),
        (http(container(success(subscriber="SOMEBODY"))), UNKNOWN, "wrong-subscriber"),
        (http(container(failures=failure("Activate", 9).replace(SUBSCRIBER, "SOMEBODY"))), UNKNOWN, "wrong-subscriber"),
        (http(container(success("Resume"))), UNKNOWN, "wrong-item"),
        (http(container(failures=failure("Resume", 9))), UNKNOWN, "wrong-item"),
        (http(container()), UNKNOWN, "missing-item"),
        (http(container(success() + success())), UNKNOWN, "duplicate-item"),
        (http(container(success(), failure("Activate", 9))), UNKNOWN, "duplicate-item"),
        (http(container(success() + success(unit=7))), UNKNOWN, "unknown-unit"),
        (http(container(success().replace('UnitId="0"', ""))), UNKNOWN, "unknown-unit"),
        (http(container(success().replace("SubscriberId", "Subscriber"))), UNKNOWN, "unreadable-item"),
        (http(container(success(code=""))), UNKNOWN, "no-activation-code"),
    ],
)
def test_only_a_trustworthy_answer_decides(stage, response, outcome, code):
    (answer,) = stage.ask(response, PROVISION)
    assert (answer.outcome, answer.code) == (outcome, code)
    assert answer.alert is (outcome in (CREDENTIALS, REJECTED))


def test_a_failure_may_leave_the_subscriber_out(stage):
    anonymous = failure("Activate", 103).replace(f'SubscriberId="{SUBSCRIBER}"', "")
    (answer,) = stage.ask(http(container(failures=anonymous)), PROVISION)
    assert (answer.outcome, answer.code) == (REJECTED, "103")


def test_a_read_without_a_record_is_no_answer(stage):
    (answer,) = stage.ask(http(container(success("GetInfo"))), Read(SUBSCRIBER))
    assert (answer.outcome, answer.code, answer.details) == (UNKNOWN, "unreadable-item", None)


def test_a_broken_item_does_not_spoil_its_siblings(stage):
    items = [success("Resume", 0), success("Resume", 2) * 2, success("Resume", 3).replace("SubscriberId", "Id")]
    answers = stage.ask(http(container("".join(items), failure("Resume", 2, 4))), *[Activate(SUBSCRIBER)] * 5)
    assert [(answer.outcome, answer.code) for answer in answers] == [
        (DONE, ""),
        (UNKNOWN, "missing-item"),
        (UNKNOWN, "duplicate-item"),
        (UNKNOWN, "unreadable-item"),
        (REJECTED, "2"),
    ]


@pytest.mark.parametrize("echo", ["", "t1", "T1 "])
def test_a_wrong_echo_spoils_everything(stage, echo):
    answers = stage.ask(
        http(container(success("Resume") + success("Resume", 1), echo=echo)), *[Activate(SUBSCRIBER)] * 2
    )
    assert {answer.outcome for answer in answers} == {UNKNOWN}


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("120", 120, 120),
        (" 0 ", 0, 0),
        ("9" * 9, 86_400, 86_400),
        ("in 100 seconds", 60, 100),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
    ],
)
def test_retry_after_is_honoured(stage, header, low, high):
    if header == "in 100 seconds":
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    (answer,) = stage.ask(http(status=503, Retry_After=header), PROVISION)
    assert low <= answer.retry_after <= high


@pytest.mark.parametrize("header", ["soon", "-5", "9" * 5000, "²", "", "Wed, 99 Oct 2015 07:28:00 GMT"])
def test_a_senseless_retry_after_is_no_wish(stage, header):
    response = http(status=503, Retry_After="@").replace(b"@", header.encode("latin-1"))
    assert [(answer.outcome, answer.retry_after) for answer in stage.ask(response, PROVISION)] == [(TRANSIENT, None)]


def test_evidence_holds_no_secret(stage):
    leak = f"<html>{USERNAME} {PASSWORD} s3cret&amp;word {CODE} <Password>x y</Password>" + "." * 9000
    (answer,) = stage.ask(http(leak, 500, "text/html"), PROVISION)
    assert answer.answered.startswith("<html>**** **** **** ****-****-****-CCCCC <Password>****</Password>...")
    assert len(answer.answered) == 500
    (answer,) = stage.ask(
        http(container(failures=failure("Activate", 9, message=f"s3cret&amp;word {CODE}"))), PROVISION
    )
    assert answer.message == "**** ****-****-****-CCCCC"
    assert "s3cret" not in answer.answered
    assert "AAAAA" not in answer.answered
