"""The wire format, checked against the standard library's own XML reader and writer, which the codec does not use."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscriptions.vendors.kaspersky import codec
from subscriptions.vendors.kaspersky.masking import mask, mask_codes
from subscriptions.vendors.port import OPEN_ENDED, VendorStatus

NS = "http://schemas.kaspersky.com/services/subscription/2.0/"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
NOON = datetime(2031, 5, 6, 12, 0, tzinfo=UTC)

texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1
).filter(str.strip)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=zones)  # noqa: DTZ001 - hypothesis adds it
ends = moments | st.just(OPEN_ENDED)
units = st.integers(0, 999_999)


def parse(xml: bytes | str) -> ET.Element:
    return ET.fromstring(xml)  # noqa: S314 - it is what we have just written


def written(
    *items: codec.Item,
    transaction_id: str = "T1",
    password: str = "word",
) -> ET.Element:
    return parse(
        codec.write_request(items, transaction_id=transaction_id, timestamp=NOON, username="user", password=password)
    )


def one(item: codec.Item) -> tuple[str, dict[str, str]]:
    element = written(item).find(f".//{{{NS}}}SubscriptionRequest")[0]
    assert parse(codec.write_item(item)).attrib == element.attrib
    return element.tag.removeprefix(f"{{{NS}}}"), element.attrib


def container(
    *, transaction_id="T1", successes=(), failures=(), error=None, root="SubscriptionResponseContainer"
) -> bytes:
    envelope = ET.Element(f"{{{SOAP}}}Envelope")
    answer = ET.SubElement(ET.SubElement(envelope, f"{{{SOAP}}}Body"), f"{{{NS}}}{root}")
    ET.SubElement(answer, f"{{{NS}}}Timestamp").text = "2031-05-06T12:00:00Z"
    if transaction_id is not None:
        ET.SubElement(answer, f"{{{NS}}}TransactionId").text = transaction_id
    if error is not None:
        element = ET.SubElement(answer, f"{{{NS}}}TransactionError")
        for name, text in error.items():
            ET.SubElement(element, f"{{{NS}}}{name}").text = text
    for name, elements in (("SubscriptionResponse", successes), ("SubscriptionError", failures)):
        if elements:
            ET.SubElement(answer, f"{{{NS}}}{name}").extend(elements)
    return ET.tostring(envelope, encoding="utf-8")


def element(name: str, *children: ET.Element, **attributes: str) -> ET.Element:
    made = ET.Element(f"{{{NS}}}{name}", attributes)
    made.extend(children)
    return made


def get_info(**changes: str | None) -> ET.Element:
    attributes = {"Status": "Started", "LicenseCount": "5", "ProductId": "P", "ActivationCode": "C"} | changes
    kept = {name: text for name, text in attributes.items() if text is not None}
    return element("GetInfo", element("Subscription", **kept), UnitId="0", SubscriberId="S")


def read(*successes: ET.Element) -> codec.Success | codec.Failure | codec.Unreadable:
    answer = codec.read_answer(container(successes=successes))
    assert isinstance(answer, codec.ContainerAnswer)
    return answer.items[0]


# --- writing ---------------------------------------------------------------------------------------------------------


def test_the_envelope_has_the_elements_of_the_format_in_their_order():
    root = written(codec.Resume(unit_id=3, subscriber_id="S"), password='<&>"')
    assert root.tag == f"{{{SOAP}}}Envelope"
    assert [child.tag for child in root] == [f"{{{SOAP}}}Header", f"{{{SOAP}}}Body"]
    access = root[0][0]
    assert access.tag == f"{{{NS}}}AccessInfo"
    assert [(child.tag, child.text) for child in access] == [
        (f"{{{NS}}}UserName", "user"),
        (f"{{{NS}}}Password", '<&>"'),
    ]
    request = root[1][0]
    assert request.tag == f"{{{NS}}}SubscriptionRequestContainer"
    assert [(child.tag.removeprefix(f"{{{NS}}}"), child.text) for child in request] == [
        ("Timestamp", "2031-05-06T12:00:00Z"),
        ("TransactionId", "T1"),
        ("SubscriptionRequest", None),
    ]
    assert [child.tag for child in request[2]] == [f"{{{NS}}}Resume"]


@given(units, texts, moments, ends, texts, st.integers(1, 10**6), st.sampled_from(["Standard", "Secondary"]))
def test_activate_says_what_it_was_given(unit, subscriber, start, end, product, count, kind):
    name, attributes = one(
        codec.Activate(
            unit_id=unit,
            subscriber_id=subscriber,
            start_time=start,
            end_time=end,
            product_id=product,
            license_count=count,
            activation_type=kind,
        )
    )
    assert name == "Activate"
    assert list(attributes) == [
        "UnitId", "SubscriberId", "StartTime", "EndTime", "ProductId", "LicenseCount", "ActivationType",
    ]  # fmt: skip
    assert attributes["UnitId"] == str(unit)
    assert attributes["SubscriberId"] == subscriber
    assert attributes["ProductId"] == product
    assert attributes["LicenseCount"] == str(count)
    assert attributes["ActivationType"] == kind
    assert datetime.fromisoformat(attributes["StartTime"]) == start
    assert attributes["StartTime"].endswith("Z")
    if end is OPEN_ENDED:
        assert attributes["EndTime"] == "indefinite"
    else:
        assert datetime.fromisoformat(attributes["EndTime"]) == end


@pytest.mark.parametrize(
    ("item", "name", "attributes"),
    [
        (codec.Renew(unit_id=1, subscriber_id="S", end_time=OPEN_ENDED), "Renew", {"EndTime": "indefinite"}),
        (codec.Renew(unit_id=1, subscriber_id="S", end_time=NOON), "Renew", {"EndTime": "2031-05-06T12:00:00Z"}),
        (codec.Pause(unit_id=1, subscriber_id="S", pause_time=NOON), "Pause", {"PauseTime": "2031-05-06T12:00:00Z"}),
        (codec.Resume(unit_id=1, subscriber_id="S"), "Resume", {}),
        (
            codec.SoftCancel(unit_id=1, subscriber_id="S", end_time=NOON),
            "SoftCancel",
            {"EndTime": "2031-05-06T12:00:00Z"},
        ),
        (
            codec.HardCancel(unit_id=1, subscriber_id="S", end_time=NOON),
            "HardCancel",
            {"EndTime": "2031-05-06T12:00:00Z"},
        ),
        (codec.GetInfo(unit_id=1, subscriber_id="S"), "GetInfo", {"InfoSection": "Subscription,SubscriptionUsage"}),
        (
            codec.GetDownloadLinks(unit_id=1, subscriber_id="S", language="en", platform="macOS"),
            "GetDownloadLinks",
            {"Language": "en", "Platform": "macOS"},
        ),
    ],
)
def test_every_item_has_its_own_attributes(item, name, attributes):
    assert one(item) == (name, {"UnitId": "1", "SubscriberId": "S"} | attributes)


@pytest.mark.parametrize(
    "item",
    [
        codec.Resume(unit_id=-1, subscriber_id="S"),
        codec.Resume(unit_id=0, subscriber_id=" "),
        codec.Resume(unit_id=0, subscriber_id="a\x00b"),
        codec.Resume(unit_id=0, subscriber_id="\ud800"),
        codec.Pause(unit_id=0, subscriber_id="S", pause_time=NOON.replace(tzinfo=None)),
        codec.Activate(unit_id=0, subscriber_id="S", start_time=NOON, end_time=NOON, product_id=""),
        codec.Activate(unit_id=0, subscriber_id="S", start_time=NOON, end_time=NOON, product_id="P", license_count=0),
        codec.Activate(
            unit_id=0, subscriber_id="S", start_time=NOON, end_time=NOON, product_id="P", license_count=True
        ),
    ],
)
def test_what_the_format_cannot_say_is_refused(item):
    with pytest.raises(ValueError, match=r".+"):
        written(item)


def test_a_transaction_needs_an_id():
    with pytest.raises(ValueError, match="TransactionId"):
        written(transaction_id="")


# --- reading ---------------------------------------------------------------------------------------------------------


@given(units, texts, texts, texts, st.sampled_from(VendorStatus), st.integers(0, 10**6), ends | st.none(), moments)
def test_a_record_is_read_as_it_was_sent(unit, subscriber, product, code, status, count, end, used):
    attributes = {"Status": status.value, "LicenseCount": str(count), "ProductId": product, "ActivationCode": code}
    if end is not None:
        attributes["EndTime"] = "indefinite" if end is OPEN_ENDED else end.isoformat()
    sent = element(
        "GetInfo",
        element("Subscription", **attributes),
        element("SubscriptionUsage", FirstActivationTime=used.isoformat()),
        UnitId=str(unit),
        SubscriberId=subscriber,
    )
    item = read(sent)
    assert isinstance(item, codec.Success)
    assert (item.name, item.unit_id, item.subscriber_id) == ("GetInfo", unit, subscriber)
    assert item.subscription == codec.Subscription(status, count, product, code, end_time=end)
    assert item.first_activation_time == used
    assert item.first_activation_time.utcoffset() == timedelta(0)
    assert parse(item.xml).attrib == sent.attrib


@given(units, texts | st.none(), texts, st.text("abc <&>\"'é", max_size=20), st.sampled_from(sorted(codec.ITEM_NAMES)))
def test_a_failure_is_read_as_it_was_sent(unit, subscriber, code, message, name):
    attributes = {"UnitId": str(unit), "ErrorCode": code, "ErrorMessage": message}
    if subscriber is not None:
        attributes["SubscriberId"] = subscriber
    answer = codec.read_answer(container(failures=[element(f"{name}Error", **attributes)]))
    (failure,) = answer.items
    assert isinstance(failure, codec.Failure)
    assert (failure.name, failure.unit_id, failure.subscriber_id) == (name, unit, subscriber)
    assert (failure.error_code, failure.error_message) == (code, message)


def test_indefinite_absent_and_dated_ends_stay_three_things():
    ends = [read(get_info(EndTime=text)).subscription.end_time for text in ("indefinite", None, "2031-05-06T12:00:00Z")]
    assert ends == [OPEN_ENDED, None, NOON]


def test_download_links_and_codes_are_read():
    link = element("DownloadLink", Url="u", Language="en", ApplicationName="App")
    item = read(element("GetDownloadLinks", link, link, UnitId="0", SubscriberId="S"))
    assert item.download_links == (codec.DownloadLink("u", "en", "App"),) * 2
    assert read(element("Activate", UnitId="0", SubscriberId="S", ActivationCode="C")).activation_code == "C"


def test_a_transaction_error_is_read_from_its_elements():
    answer = codec.read_answer(container(error={"ErrorCode": "9010", "ErrorMessage": "other content"}))
    assert answer.error == codec.TransactionError("9010", "other content")
    assert codec.read_answer(container(error={"ErrorCode": "7"})).error == codec.TransactionError("7")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2031-05-06T12:00:00Z", NOON),
        ("2031-05-06T14:00:00+02:00", NOON),
        ("2031-05-06T12:00:00", NOON),
        ("2031-05-06T12:00:00.1234567Z", NOON.replace(microsecond=123456)),
    ],
)
def test_times_become_utc(text, moment):
    assert codec.read_time(text) == moment
    assert codec.read_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["", "2031-05-06", "20310506T120000Z", "2031-W19-2T12:00:00Z", "2031-02-30T12:00:00Z", "0001-01-01T00:00:00+01:00",
     "٢٠٣١-05-06T12:00:00Z", "indefinite", "2031-05-06T12:00:00Z "],
)  # fmt: skip
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        codec.read_time(text)


@pytest.mark.parametrize(
    "item",
    [
        get_info(Status="Sleeping"),
        get_info(Status=None),
        get_info(LicenseCount="-1"),
        get_info(LicenseCount="five"),
        get_info(LicenseCount=None),
        get_info(ProductId=None),
        get_info(ActivationCode=None),
        get_info(EndTime="never"),
        get_info(StartTime="yesterday"),
        element("GetInfo", get_info()[0], get_info()[0], UnitId="0", SubscriberId="S"),
        element("Activate", UnitId="0"),
        element("Destroy", UnitId="0", SubscriberId="S"),
        element("ActivateError", UnitId="0", SubscriberId="S", ErrorCode="1"),
    ],
    ids=lambda item: ET.tostring(item, encoding="unicode")[-60:],
)
def test_a_broken_item_is_unreadable_and_says_whose_it_is(item):
    assert isinstance(read(item), codec.Unreadable)
    assert read(item).unit_id == 0


@pytest.mark.parametrize("unit", ["", "-1", "x", "1.0", "9" * 40, "٣"])
def test_an_item_without_a_number_belongs_to_nobody(unit):
    assert read(element("Resume", UnitId=unit, SubscriberId="S")).unit_id is None


GOOD = container(successes=[element("Resume", UnitId="0", SubscriberId="S")])
BOMB = b'<!DOCTYPE a [<!ENTITY b "%s">%s]>' % (
    b"x" * 1000,
    b"".join(
        b'<!ENTITY b%d "%s">' % (level, b"&b%s;" % (str(level - 1).encode() if level else b"") * 50)
        for level in range(9)
    ),
)


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("not-xml", b""),
        ("not-xml", b"<html><br></html>"),
        ("not-xml", GOOD[: len(GOOD) // 2]),
        ("not-xml", GOOD + GOOD),
        ("not-xml", "<a/>".encode("utf-16")),
        ("not-xml", b"<a>" * 100_000),
        ("dtd", b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/hostname">]><a>&e;</a>'),
        ("dtd", b"<!DOCTYPE html>" + GOOD),
        ("dtd", BOMB + b'<a b="&b8;">&b8;</a>'),
        ("foreign", b"<a/>"),
        ("foreign", GOOD.replace(SOAP.encode(), b"http://www.w3.org/2003/05/soap-envelope")),
        ("foreign", GOOD.replace(NS.encode(), b"http://schemas.kaspersky.com/services/subscription/1.0/")),
        ("foreign", container(root="SubscriptionRequestContainer")),
        ("foreign", container(transaction_id=None)),
        (
            "foreign",
            GOOD.replace(b"</ns1:SubscriptionResponse>", b"</ns1:SubscriptionResponse><ns1:SubscriptionResponse/>"),
        ),
        ("foreign", GOOD.replace(b"</ns1:SubscriptionResponse>", b"</ns1:SubscriptionResponse><ns1:Surprise/>")),
        ("foreign", container(error={"ErrorMessage": "no number"})),
        ("foreign", container(error={"ErrorCode": "6"}, successes=[element("Resume", UnitId="0", SubscriberId="S")])),
        ("foreign", f'<s:Envelope xmlns:s="{SOAP}"><s:Body/></s:Envelope>'.encode()),
        ("foreign", f'<s:Envelope xmlns:s="{SOAP}"><s:Body><a/><b/></s:Body></s:Envelope>'.encode()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_foreign_or_hostile_body_is_refused(code, body):
    with pytest.raises(codec.ForeignAnswerError) as refusal:
        codec.read_answer(body)
    assert refusal.value.code == code


def test_an_encoding_cannot_hide_a_document_type():
    hidden = b"<?xml version='1.0' encoding='UTF-7'?>+ADwAIQ-DOCTYPE a+AD4-<a/>"
    with pytest.raises(codec.ForeignAnswerError) as refusal:
        codec.read_answer(hidden)
    assert refusal.value.code == "not-xml"


@given(
    st.binary(max_size=300)
    | st.builds(lambda at, junk: GOOD[:at] + junk + GOOD[at:], st.integers(0, len(GOOD)), st.binary(max_size=20))
)
def test_no_body_makes_the_reader_stumble(body):
    try:
        answer = codec.read_answer(body)
    except codec.ForeignAnswerError:
        return
    assert isinstance(answer, codec.ContainerAnswer)


@pytest.mark.parametrize(
    ("code", "read_as"),
    [("s:Client", "Client"), ("s:Server.Busy", "Server.Busy"), ("Client", "Client"), ("o:Client", ""), ("", "")],
)
def test_a_fault_code_counts_only_in_soaps_own_namespace(code, read_as):
    fault = codec.read_answer(
        f'<s:Envelope xmlns:s="{SOAP}" xmlns:o="urn:other"><s:Body><s:Fault><faultcode>{code}</faultcode>'
        "<faultstring> why </faultstring></s:Fault></s:Body></s:Envelope>".encode()
    )
    assert (fault.code, fault.message) == (read_as, "why")


# --- masking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("code ABCDE-12345-FGHIJ-67890.", "code ****-****-****-67890."),
        ('ActivationCode="ABCDE-12345-FGHIJ-67890"', 'ActivationCode="****-****-****-67890"'),
        ('ActivationCode="something-else" A="1"', 'ActivationCode="****" A="1"'),
        ("ActivationCode = 'ABCDE-12345-FG", "ActivationCode = '****"),
        ("nothing 12345-12345 to hide", "nothing 12345-12345 to hide"),
    ],
)
def test_codes_keep_only_their_last_group(text, masked):
    assert mask_codes(text) == masked


def test_credentials_are_masked_however_they_are_spelt():
    text = 'bob <Password>x</Password> p&amp;"w p&amp;&quot;w p&"w bobby'
    assert mask(text, username="bob", password='p&"w') == "**** <Password>****</Password> **** **** **** bobby"
