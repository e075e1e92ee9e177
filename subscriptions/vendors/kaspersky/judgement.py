"""From an HTTP answer to one outcome for each ask. Pure: no socket, no clock but for an HTTP date.

Trust is decided in this order: a SOAP fault, the HTTP status, the body as a whole, the container, the single item.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from subscriptions.vendors.kaspersky import codec
from subscriptions.vendors.kaspersky.assumptions import AUTHENTICATION_FAULT
from subscriptions.vendors.kaspersky.errors import item_verdict, transaction_verdict
from subscriptions.vendors.kaspersky.items import to_item
from subscriptions.vendors.kaspersky.transport import NoReply, Reply
from subscriptions.vendors.port import Answer, Ask, Details, Outcome, Provision, Read, Secret

_REFUSED_AT_THE_DOOR: Final = {
    401: Outcome.CREDENTIALS,
    403: Outcome.CREDENTIALS,
    429: Outcome.TRANSIENT,
    503: Outcome.TRANSIENT,
}
_MESSAGE_LENGTH: Final = 2_000
_EVIDENCE_LENGTH: Final = 4_000
_EXCERPT_LENGTH: Final = 500
_LONGEST_WAIT: Final = 24 * 3600.0

Mask = Callable[[str], str]


def judge_silence(silence: NoReply, mask: Mask) -> Answer:
    """What an attempt without an HTTP answer means to everything that it carried."""
    if silence.certificate_refused:
        outcome = Outcome.CREDENTIALS
    else:
        outcome = Outcome.UNKNOWN if silence.sent else Outcome.TRANSIENT
    return Answer(
        outcome,
        silence.code,
        message=mask(silence.message)[:_MESSAGE_LENGTH],
        alert=silence.certificate_refused or silence.certificate_distrusted,
    )


def judge(reply: Reply, asks: Mapping[int, Ask], *, transaction_id: str, mask: Mask) -> dict[int, Answer]:
    """One answer for each UnitId of `asks`."""

    def everyone(answer: Answer) -> dict[int, Answer]:
        return dict.fromkeys(asks, answer)

    document = _document(reply)
    if isinstance(document, codec.Fault):
        verdict = _judge_fault(document, reply, mask)
        if verdict is not None:
            return everyone(verdict)
    if reply.status != 200:
        return everyone(_judge_status(reply, _evidence(reply, document, mask)))
    if isinstance(document, codec.ContainerAnswer):
        return _judge_container(document, asks, transaction_id, mask)
    return everyone(
        Answer(Outcome.UNKNOWN, document.code, mask(str(document))[:_MESSAGE_LENGTH], answered=_excerpt(reply, mask))
    )


# --- the whole answer ------------------------------------------------------------------------------------------------


def _document(reply: Reply) -> codec.ContainerAnswer | codec.Fault | codec.ForeignAnswerError:
    if reply.trouble:
        return codec.ForeignAnswerError(reply.trouble, "The body did not arrive as a whole")
    media_type, _, parameters = reply.headers.get("content-type", "").lower().partition(";")
    charset = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", parameters)
    if media_type.strip() != "text/xml" or (charset and charset[1] not in {"utf-8", "utf8", "us-ascii"}):
        return codec.ForeignAnswerError("content-type", "The body is not said to be XML in UTF-8")
    if reply.headers.get("content-encoding", "identity").strip().lower() != "identity":
        return codec.ForeignAnswerError("content-encoding", "The body is compressed, which nobody asked for")
    try:
        return codec.read_answer(reply.body)
    except codec.ForeignAnswerError as error:
        return error


def _judge_fault(fault: codec.Fault, reply: Reply, mask: Mask) -> Answer | None:
    """None leaves it to the HTTP status, which says more precisely why nothing was applied."""
    evidence = mask(fault.xml)[:_EVIDENCE_LENGTH]
    message = mask(fault.message)[:_MESSAGE_LENGTH]
    if fault.code.partition(".")[0] != "Client":
        return Answer(Outcome.UNKNOWN, "fault", message, answered=evidence)
    if reply.status in _REFUSED_AT_THE_DOOR:
        return None
    outcome = Outcome.CREDENTIALS if fault.code == AUTHENTICATION_FAULT else Outcome.REJECTED
    # A well-formed order is refused item by item: a fault says that we do not speak the vendor's language.
    return Answer(outcome, "fault-client", message, answered=evidence, alert=True)


def _judge_status(reply: Reply, evidence: str) -> Answer:
    outcome = _REFUSED_AT_THE_DOOR.get(reply.status, Outcome.UNKNOWN)
    return Answer(
        outcome,
        f"http-{reply.status}",
        answered=evidence,
        alert=outcome is Outcome.CREDENTIALS,
        retry_after=_retry_after(reply.headers.get("retry-after", "")) if outcome is Outcome.TRANSIENT else None,
    )


def _retry_after(text: str) -> float | None:
    if re.fullmatch(r"[0-9]{1,9}", text.strip()):
        return min(float(text), _LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - datetime.now(UTC)).total_seconds(), 0.0), _LONGEST_WAIT)


def _evidence(
    reply: Reply, document: codec.ContainerAnswer | codec.Fault | codec.ForeignAnswerError, mask: Mask
) -> str:
    return mask(document.xml)[:_EVIDENCE_LENGTH] if isinstance(document, codec.Fault) else _excerpt(reply, mask)


def _excerpt(reply: Reply, mask: Mask) -> str:
    # Masked on more than is kept, so that the cut cannot leave half of a secret behind.
    return mask(reply.body[: 8 * _EXCERPT_LENGTH].decode("utf-8", "replace").replace("\0", "\ufffd"))[:_EXCERPT_LENGTH]


# --- the container and its items -------------------------------------------------------------------------------------


def _judge_container(
    container: codec.ContainerAnswer, asks: Mapping[int, Ask], transaction_id: str, mask: Mask
) -> dict[int, Answer]:
    if container.transaction_id != transaction_id:
        return dict.fromkeys(asks, Answer(Outcome.UNKNOWN, "echo", "The answer belongs to another transaction"))
    if container.error is not None:
        return {unit: _judge_transaction_error(container.error, container.xml, ask, mask) for unit, ask in asks.items()}
    by_unit: dict[int, list[codec.Success | codec.Failure | codec.Unreadable]] = defaultdict(list)
    for item in container.items:
        if item.unit_id is None or item.unit_id not in asks:
            # Whatever numbered these items did not number ours: none of them can be matched safely.
            unknown = Answer(Outcome.UNKNOWN, "unknown-unit", answered=mask(item.xml)[:_EVIDENCE_LENGTH])
            return dict.fromkeys(asks, unknown)
        by_unit[item.unit_id].append(item)
    answers: dict[int, Answer] = {}
    for unit, ask in asks.items():
        mine = by_unit[unit]
        evidence = mask("\n".join(item.xml for item in mine))[:_EVIDENCE_LENGTH]
        if len(mine) == 1:
            judged = _judge_item(mine[0], ask, mask)
            answers[unit] = replace(judged, answered=evidence, vendor_time=container.timestamp)
        else:
            answers[unit] = Answer(Outcome.UNKNOWN, "duplicate-item" if mine else "missing-item", answered=evidence)
    return answers


def _judge_transaction_error(error: codec.TransactionError, xml: str, ask: Ask, mask: Mask) -> Answer:
    verdict = transaction_verdict(error.error_code, ask)
    return Answer(
        verdict.outcome,
        mask(verdict.code)[:_MESSAGE_LENGTH],
        mask(error.error_message)[:_MESSAGE_LENGTH],
        answered=mask(xml)[:_EVIDENCE_LENGTH],
        alert=verdict.alert,
    )


def _judge_item(item: codec.Success | codec.Failure | codec.Unreadable, ask: Ask, mask: Mask) -> Answer:
    if isinstance(item, codec.Unreadable):
        return Answer(Outcome.UNKNOWN, "unreadable-item", mask(item.reason)[:_MESSAGE_LENGTH])
    if item.name != type(to_item(item.unit_id, ask)).__name__:
        return Answer(Outcome.UNKNOWN, "wrong-item")
    # A failure may leave the subscriber out; a success may not.
    if item.subscriber_id != ask.subscriber_id and not (isinstance(item, codec.Failure) and item.subscriber_id is None):
        return Answer(Outcome.UNKNOWN, "wrong-subscriber")
    if isinstance(item, codec.Failure):
        verdict = item_verdict(item.error_code, ask)
        message = mask(item.error_message)[:_MESSAGE_LENGTH]
        return Answer(verdict.outcome, mask(verdict.code)[:_MESSAGE_LENGTH], message, alert=verdict.alert)
    if isinstance(ask, Read):
        return _read_details(item)
    code = Secret(item.activation_code) if item.activation_code else None
    if isinstance(ask, Provision) and code is None:
        return Answer(Outcome.UNKNOWN, "no-activation-code")
    return Answer(Outcome.DONE, activation_code=code)


def _read_details(item: codec.Success) -> Answer:
    record = item.subscription
    if record is None:
        return Answer(Outcome.UNKNOWN, "unreadable-item", "Subscription is missing")
    code = Secret(record.activation_code)
    details = Details(
        subscriber_id=item.subscriber_id,
        status=record.status,
        seats=record.license_count,
        product_id=record.product_id,
        status_changed_at=record.status_change_time,
        starts_at=record.start_time,
        ends_at=record.end_time,
        activation_code=code,
        first_used_at=item.first_activation_time,
    )
    return Answer(Outcome.DONE, details=details, activation_code=code)
