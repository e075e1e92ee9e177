"""An independent SOAP library drives the emulator from the WSDL and must understand every answer, errors included."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import zeep
from zeep.exceptions import Fault

from subscriptions.vendors.emulator import process
from subscriptions.vendors.emulator.control import Control
from subscriptions.vendors.emulator.process import EmulatorProcess
from subscriptions.vendors.emulator.records import KINDS, Provider
from tests.vendor_wire import WSDL

ACCESS = {"UserName": "seatdesk", "Password": "emulator-only"}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with process.start(tmp_path_factory.mktemp("zeep") / "vendor.sqlite") as running:
        yield running


@pytest.fixture(scope="module")
def client(emulator: EmulatorProcess) -> Iterator[zeep.Client]:
    with zeep.Client(f"{emulator.url}?wsdl", settings=zeep.Settings(strict=True)) as client:
        yield client
        client.transport.session.close()


@pytest.fixture
def control(emulator: EmulatorProcess) -> Control:
    emulator.control.reset()
    return emulator.control


def send(client: zeep.Client, *items: tuple[str, dict[str, Any]], access: dict[str, str] = ACCESS) -> Any:
    return client.service.SubscriptionRequest(
        Timestamp=datetime.now(UTC),
        TransactionId=uuid.uuid4().hex,
        SubscriptionRequest={
            "_value_1": [{kind: {"UnitId": unit, **given}} for unit, (kind, given) in enumerate(items)]
        },
        _soapheaders={"AccessInfo": access},
    )


def only(found: dict[str, Any]) -> tuple[str, Any]:
    """The one element of a choice that was there."""
    [(name, value)] = [(name, value) for name, value in found.items() if value is not None]
    return name, value


def every(kind_of_end: Any) -> list[tuple[str, dict[str, Any]]]:
    now = datetime.now(UTC)
    return [
        ("Activate", {"SubscriberId": "NEW", "StartTime": now, "EndTime": "indefinite", "ProductId": "P"}),
        ("Renew", {"SubscriberId": "FIXED", "EndTime": kind_of_end}),
        ("Pause", {"SubscriberId": "RUNNING", "PauseTime": now}),
        ("Resume", {"SubscriberId": "PAUSED"}),
        ("SoftCancel", {"SubscriberId": "SOFT", "EndTime": now + timedelta(days=3)}),
        ("HardCancel", {"SubscriberId": "HARD", "EndTime": now}),
        ("GetInfo", {"SubscriberId": "FIXED", "InfoSection": "Subscription,SubscriptionUsage"}),
        ("GetDownloadLinks", {"SubscriberId": "FIXED", "Language": "en", "Platform": "Windows"}),
    ]


def test_the_served_wsdl_is_ours_with_the_true_address(emulator: EmulatorProcess, client: zeep.Client) -> None:
    assert client.service._binding_options["address"] == emulator.url
    assert "http://127.0.0.1:8041/" in WSDL.read_text()


def test_all_eight_items(client: zeep.Client, control: Control) -> None:
    first_use = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
    end = datetime.now(UTC) + timedelta(days=30)
    control.put_subscriber("FIXED", product="P", seats=12, end=end, first_used_at=first_use)
    control.put_subscriber("PAUSED", product="P", status="Paused")
    for name in ("RUNNING", "SOFT", "HARD"):
        control.put_subscriber(name, product="P")
    new_end = datetime(2031, 1, 1, tzinfo=UTC)
    answer = send(client, *every(new_end.isoformat()))
    assert answer.TransactionError is None
    assert answer.SubscriptionError is None
    found = [only(one) for one in answer.SubscriptionResponse._value_1]
    assert [name for name, _ in found] == list(KINDS)
    assert [value.UnitId for _, value in found] == list(range(8))
    assert found[0][1].ActivationCode.startswith("FAKE0-")
    details = found[6][1]
    assert (details.Subscription.Status, details.Subscription.LicenseCount) == ("Started", 12)
    assert details.Subscription.EndTime == "2031-01-01T00:00:00Z"
    assert details.SubscriptionUsage.FirstActivationTime == first_use
    assert found[7][1].DownloadLink[0].Url.startswith("https://downloads.invalid/")


def test_all_eight_errors(client: zeep.Client, control: Control) -> None:
    control.put_provider(Provider("narrow", "p", products=()))
    answer = send(client, *every("indefinite"), access={"UserName": "narrow", "Password": "p"})
    assert answer.SubscriptionResponse is None
    found = [only(one) for one in answer.SubscriptionError._value_1]
    assert [name for name, _ in found] == [f"{kind}Error" for kind in KINDS]
    assert [value.ErrorCode for _, value in found] == [9, 5, 5, 5, 5, 5, 5, 5]
    assert all(value.SubscriberId and value.ErrorMessage for _, value in found)


def test_success_and_failure_in_one_answer(client: zeep.Client, control: Control) -> None:
    control.put_subscriber("FIXED", product="P", end=None)
    answer = send(client, *every("indefinite"))
    assert len(answer.SubscriptionResponse._value_1) + len(answer.SubscriptionError._value_1) == 8
    details = next(value for name, value in map(only, answer.SubscriptionResponse._value_1) if name == "GetInfo")
    assert details.Subscription.EndTime == "indefinite"


def test_an_absent_end_is_read_as_absent(client: zeep.Client, control: Control) -> None:
    control.put_subscriber("A", product="P", end=None)
    answer = send(client, ("GetInfo", {"SubscriberId": "A", "InfoSection": "Subscription"}))
    assert only(answer.SubscriptionResponse._value_1[0])[1].Subscription.EndTime is None


def test_a_refused_container(client: zeep.Client, control: Control) -> None:
    control.set_refusal("transaction-error")
    answer = send(client, ("Resume", {"SubscriberId": "A"}), access={"UserName": "seatdesk", "Password": "guess"})
    assert (answer.TransactionError.ErrorCode, answer.SubscriptionError) == (9001, None)
    assert answer.TransactionError.ErrorMessage


@pytest.mark.parametrize("fault", ["soap-fault-client", "soap-fault-server", "applied-soap-fault"])
def test_a_fault(client: zeep.Client, control: Control, fault: str) -> None:
    control.add_fault(fault)
    with pytest.raises(Fault) as caught:
        send(client, ("Resume", {"SubscriberId": "A"}))
    assert caught.value.code == f"soap:{'Client' if fault == 'soap-fault-client' else 'Server'}"


def test_a_request_that_the_service_cannot_read(client: zeep.Client, control: Control) -> None:
    with pytest.raises(Fault, match="AccessInfo"):
        client.service.SubscriptionRequest(datetime.now(UTC), "T", {"_value_1": []})
