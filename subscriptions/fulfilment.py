"""The worker's tasks: carry an order to the vendor, classify what came back, hand the verdict to `lifecycle`.

`next_step` is the whole policy of sending and reading, as a pure function of what is written down; the tasks only do
what it says. Numbers come from vendor-protocol.md, section 5, through the settings.
"""

import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Max
from procrastinate import JobContext
from procrastinate.contrib.django import app
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status

from subscriptions import actions, clock, gateways, lifecycle
from subscriptions.lifecycle import Attempt, Case, Decision, Hold, Result, Verdict, Wait
from subscriptions.models import Order, OrderStatus, Purpose, Subscription, VendorCall, VendorState
from subscriptions.vendors import port
from subscriptions.vendors.port import Answer, Ask, Outcome

log = structlog.get_logger(__name__)

T = TypeVar("T")
SEND, READ = "send", "read"
# Jobs come by priority, then by age: upkeep must not wait behind the backlog that it is there to free.
UPKEEP_FIRST = 100
# Done belongs here too: an order that is still open after it had an answer that came too late to be applied.
_SAYS_DONE = (Outcome.ALREADY_DONE, Outcome.DONE)
_UNSETTLED = (Outcome.UNKNOWN, *_SAYS_DONE)
UNKNOWN_THERE = (port.NOT_FOUND, "5")
"""Codes of answers that say surely that the vendor has no such subscriber: to a read, and to a sending."""
GET_DETAILS = "The licence service does not know this subscription. Get details, then take theirs."
_DATABASE_TROUBLE = (OperationalError, InterfaceError)


def _later(at: datetime, seconds: float) -> datetime:
    return at + timedelta(seconds=seconds)


# --- policy: pure ----------------------------------------------------------------------------------------------------


def next_step(order: Order, calls: Sequence[VendorCall], at: datetime) -> str | Wait | Hold:
    """`SEND`, `READ`, a `Wait` or a `Hold`, from an order and its calls so far (oldest first).

    Never `SEND` while an earlier sending is not settled: first its deadline passes, then reads decide. After a Retry
    by a person one answered read is enough to send again.
    """
    if order.status == OrderStatus.PLACED and order.next_attempt_at and at < order.next_attempt_at:
        # A job that was not meant for now, such as one of a lost worker, must not shorten a backoff.
        return Wait(order.next_attempt_at)
    writes = [one for one in calls if one.purpose == Purpose.WRITE]
    if not writes:
        return SEND
    last = writes[-1]
    for call in calls:
        free_at = _later(call.deadline, settings.VENDOR_DEADLINE_MARGIN)
        if call.finished_at is None and at < free_at:
            return Wait(free_at)
    if last.finished_at is not None and last.outcome not in _UNSETTLED:
        return SEND
    # A read whose worker was lost counts as one without an answer.
    reads = [one for one in calls if one.purpose == Purpose.SETTLE and one.pk > last.pk]
    if order.retried_at and order.retried_at > last.started_at:
        return _after_a_person(order, last, reads, at)
    if _proves_not_applied(order, last, reads):
        return _send_again(order, writes, at)
    proofs = [one.evidence for one in reads if one.evidence]
    if last.outcome in _SAYS_DONE and proofs:
        return Hold("already_done", "The licence service says that this was done already, and its record differs.")
    if proofs and proofs[-1] in (actions.NEITHER, actions.ABSENT) and order.action != "start":
        return Hold("neither", "The licence service's record equals neither what was ordered nor what was before.")
    if order.action == "start" and proofs and proofs[-1] == actions.NEITHER:
        return Hold("neither", "The licence service holds something else under this subscription.")
    return _read_again(reads, last.started_at, at)


def _after_a_person(order: Order, last: VendorCall, reads: Sequence[VendorCall], at: datetime) -> str | Wait | Hold:
    """What follows a Retry, or a start that was given up, whose last sending is not settled."""
    since = order.retried_at or order.placed_at
    if order.abandoned:
        # Before that an unknown subscriber proves nothing, and nobody would ever cancel what appears later.
        since = max(since, last.deadline, _calm(last))
        if at < since:
            return Wait(since)
    since_retry = [one for one in reads if one.started_at >= since]
    if any(one.evidence for one in since_retry):
        return SEND
    return _read_again(since_retry, since, at)


def _calm(last: VendorCall) -> datetime:
    return _later(last.started_at, settings.VENDOR_NOT_APPLIED_AFTER)


def _proves_not_applied(order: Order, last: VendorCall, reads: Sequence[VendorCall]) -> bool:
    """The state before, read twice and long enough after sending; or, for a start, unknown there past the deadline."""
    if last.outcome in _SAYS_DONE:
        return False
    calm = _calm(last)
    if order.action == "start" and not order.abandoned:
        return any(one.evidence == actions.ABSENT and one.started_at >= max(calm, last.deadline) for one in reads)
    return sum(one.evidence == actions.BEFORE and one.started_at >= calm for one in reads) >= 2


def _send_again(order: Order, writes: Sequence[VendorCall], at: datetime) -> str | Hold:
    """Once more, but not for ever: what is never applied for a day needs a person."""
    mine = [one for one in _since_retry(order, writes) if one.outcome != Outcome.CREDENTIALS]
    if at - mine[0].started_at > timedelta(seconds=settings.VENDOR_RETRY_LIMIT):
        return Hold("never_applied", "The licence service took this for a day, and never applied it.")
    return SEND


def _since_retry(order: Order, calls: Sequence[VendorCall]) -> list[VendorCall]:
    return [one for one in calls if order.retried_at is None or one.started_at >= order.retried_at]


def _read_again(reads: Sequence[VendorCall], since: datetime, at: datetime) -> str | Wait | Hold:
    """The next read by its delay after the one before; a person when reads have failed for as long as the limit.

    The limit runs between reads that were made: time in which nobody could ask, such as one without a worker, says
    nothing about the vendor.
    """
    in_vain = reads[-1].started_at - reads[0].started_at if reads else timedelta()
    if in_vain > timedelta(seconds=settings.VENDOR_READ_LIMIT) and not any(one.evidence for one in reads[-2:]):
        return Hold("unknown", "Whether the licence service applied this could not be found out.")
    delays = settings.VENDOR_READ_DELAYS
    due = _later(reads[-1].started_at if reads else since, delays[min(len(reads), len(delays) - 1)])
    return READ if at >= due else Wait(due)


def judge_write(order: Order, earlier: Sequence[VendorCall], call: VendorCall, answer: Answer, at: datetime) -> Result:
    """What the answer to a sending means for its order; `earlier` are the calls before it."""

    def result(verdict: Verdict, **more: Any) -> Result:
        return Result(call.pk, order.pk, order.subscription_id, answer, verdict, **more)

    match answer.outcome:
        case Outcome.DONE:
            return result(Verdict.COMPLETE, code=answer.activation_code)
        case Outcome.REJECTED | Outcome.UNSUPPORTED if order.abandoned:
            # Failed would say that the vendor has nothing, which is surely true of an unknown subscriber only.
            gone = answer.code in UNKNOWN_THERE
            return result(Verdict.COMPLETE) if gone else result(Verdict.HOLD, message=refusal_words(answer))
        case Outcome.REJECTED | Outcome.UNSUPPORTED:
            way_out = f". {GET_DETAILS}" if is_gone(order, answer.code) else ""
            return result(Verdict.FAIL, message=f"{refusal_words(answer)}{way_out}")
        case Outcome.CREDENTIALS:
            again = _later(at, settings.VENDOR_PING_EVERY)
            return result(Verdict.RELEASE, again_at=again, message="The licence service does not let us in.")
        case Outcome.TRANSIENT:
            sendings = [one for one in earlier if one.purpose == Purpose.WRITE]
            tries = [one for one in _since_retry(order, sendings) if one.outcome == Outcome.TRANSIENT]
            # Time without a worker says nothing about the vendor, so the backoff must have run through as well.
            often = len(tries) >= len(settings.VENDOR_RETRY_DELAYS)
            if often and at - tries[0].started_at > timedelta(seconds=settings.VENDOR_RETRY_LIMIT):
                return result(Verdict.HOLD, message="The licence service could not be reached for a day.")
            again = _later(at, max(_backoff(len(tries), call.transaction_id), answer.retry_after or 0))
            return result(Verdict.RELEASE, again_at=again, message="The licence service cannot be reached.")
    first_read = _later(at, settings.VENDOR_READ_DELAYS[0])
    return result(Verdict.AGAIN, again_at=first_read, message="Sent, and no clear answer came back.")


def _backoff(tries: int, container: str) -> float:
    """Spread at random, and the same for all that travelled in one container: so they travel together again."""
    delays = settings.VENDOR_RETRY_DELAYS
    spread = settings.VENDOR_RETRY_JITTER
    dice = random.Random(f"{container} {tries}")  # noqa: S311 - jitter
    return float(delays[min(tries, len(delays) - 1)]) * dice.uniform(1 - spread, 1 + spread)


def judge_read(order: Order, subscription: Subscription, call: VendorCall, answer: Answer, at: datetime) -> Result:
    """What a settling read proves; only the target itself ends the order here, the rest is for `next_step`."""
    proof, code = "", None
    if answer.outcome == Outcome.DONE and answer.details:
        proof, code = actions.evidence(order, subscription, answer.details), answer.details.activation_code
    elif answer.code == port.NOT_FOUND:
        proof = actions.ABSENT
    settled = proof == actions.TARGET or (proof == actions.ABSENT and order.abandoned)
    if settled:
        return Result(call.pk, order.pk, subscription.pk, answer, Verdict.COMPLETE, proof, code=code)
    return Result(
        call.pk, order.pk, subscription.pk, answer, Verdict.AGAIN, proof, again_at=at, message=order.outcome_message
    )


def is_gone(order: Order, code: str) -> bool:
    """Does this answer to the order say that the vendor has lost what it would change? A start is there to make it."""
    return code in UNKNOWN_THERE and order.action != actions.START.stem


def refusal_words(answer: Answer) -> str:
    """What staff read about a refusal: the vendor's words with its code; customers see a sentence of ours."""
    return f"{answer.message or 'Refused'} (code {answer.code})" if answer.code else answer.message or "Refused"


# --- attempts --------------------------------------------------------------------------------------------------------


@app.task(name="subscriptions.fulfil", queue="orders")
def fulfil(order_id: int) -> None:
    """Make one attempt for an order, or find that there is none to make now. Safe to run twice and late."""
    _attempt([order_id])


@app.task(name="subscriptions.fulfil_many", queue="bulk", priority=lifecycle.AFTER_CLICKS)
def fulfil_many(order_ids: list[int]) -> None:
    """`fulfil` for many: what must be sent travels in one container, and what must be read in another."""
    _attempt(order_ids)


@dataclass(frozen=True, slots=True)
class _Trip:
    """A container, and the attempts that it carries in its order."""

    vendor: str
    container: port.Container
    cases: Sequence[Case]
    calls: Sequence[VendorCall]


@dataclass(frozen=True, slots=True)
class _Answered:
    case: Case
    call: VendorCall
    answer: Answer


def _attempt(order_ids: Sequence[int]) -> None:
    trips: list[_Trip] = []
    try:
        claimed = lifecycle.claim_many(order_ids, lambda cases: _decide(cases, trips))
    except _DATABASE_TROUBLE:
        raise
    except Exception:
        if len(order_ids) == 1:
            raise
        # Nothing was written or sent so far, and whatever is wrong with one order must not stop the others.
        log.exception("orders cannot be taken together", order_ids=order_ids)
        _in_halves(_attempt, order_ids)
        return
    if not claimed:
        log.debug("nothing to do", order_ids=order_ids)
    for trip in trips:
        answers = _send(trip)
        _settle([_Answered(*one) for one in zip(trip.cases, trip.calls, answers, strict=True)])


def _in_halves(act: Callable[[Sequence[T]], None], rows: Sequence[T]) -> None:
    """Both halves get their turn; what the first raised is raised in the end."""
    half = len(rows) // 2
    try:
        act(rows[:half])
    finally:
        act(rows[half:])


def _decide(cases: Sequence[Case], trips: list[_Trip]) -> list[Decision]:
    """One decision for each case; what must be sent is packed into `trips`."""
    at = clock.now()
    paused = set(VendorState.objects.filter(paused_at__isnull=False).values_list("vendor", flat=True))
    decisions: dict[int, Decision] = {}
    bound: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases:
        vendor = case.subscription.sku.product.vendor
        step = next_step(case.order, case.calls, at)
        if vendor in paused:
            step = Wait(_later(at, settings.VENDOR_PING_EVERY))
        if isinstance(step, str):
            bound[vendor, step].append(case)
        else:
            decisions[case.order.pk] = step
    for (vendor, step), going in bound.items():
        if step == SEND:
            for case in going:
                # What is said now is what every repetition will say.
                case.order.first_sent_at = case.order.first_sent_at or at
        container, packed = _pack(vendor, step, going)
        if container:
            calls = [_call(step, case, container, unit, at) for unit, case in enumerate(packed)]
            decisions |= {case.order.pk: Attempt(call) for case, call in zip(packed, calls, strict=True)}
            trips.append(_Trip(vendor, container, packed, calls))
    return [decisions.get(case.order.pk, _UNSENDABLE) for case in cases]


_UNSENDABLE = Hold("unsendable", "This order cannot be put into the vendor's words: see the worker's log.")


def _pack(vendor: str, step: str, cases: Sequence[Case]) -> tuple[port.Container | None, Sequence[Case]]:
    """One container for all that can be said; what cannot is left out, so that it stops nobody else."""
    try:
        return _container(vendor, step, cases), cases
    except (KeyError, ValueError):
        if len(cases) == 1:
            # Put back it would come again for ever, and nobody would be asked.
            log.exception("order cannot be put into the vendor's words", order_id=cases[0].order.pk)
            return None, ()
    sayable = [case for case in cases if _pack(vendor, step, [case])[0]]
    return (_container(vendor, step, sayable), sayable) if sayable else (None, ())


def _container(vendor: str, step: str, cases: Sequence[Case]) -> port.Container:
    """Raises KeyError and ValueError for what the vendor's words cannot say.

    The one sending of a container gives it its name, so that a repetition says the same under the same name and the
    vendor knows it again. Many never travel together twice, since some of them will be done: each such container has
    a name of its own, and so has each that only reads. What was sent among many and is repeated alone has a name that
    the vendor never heard, and is told from a repetition by the reads before it alone.
    """
    if step == READ:
        asks: list[Ask] = [port.Read(case.subscription.subscriber_id) for case in cases]
    else:
        asks = [_ask(case.order, case.subscription) for case in cases]
    order = cases[0].order
    alone = step == SEND and len(cases) == 1
    name = f"{order.operation_id}-{order.generation}" if alone else str(uuid.uuid4())
    return gateways.gateway(vendor).prepare(name, asks)


def _call(step: str, case: Case, container: port.Container, unit: int, at: datetime) -> VendorCall:
    return VendorCall(
        subscription=case.subscription,
        order=case.order,
        purpose=Purpose.WRITE if step == SEND else Purpose.SETTLE,
        attempt=len(case.calls) + 1,
        transaction_id=container.transaction_id,
        unit_id=unit,
        asked=container.asked[unit],
        started_at=at,
        deadline=_later(at, settings.VENDOR_ATTEMPT_DEADLINE),
    )


def _send(trip: _Trip) -> list[Answer]:
    if _may_open_socket(trip.calls):
        # No longer than its deadline, after which others conclude from reads what became of it.
        left = (trip.calls[0].deadline - clock.now()).total_seconds()
        answers = gateways.gateway(trip.vendor).send(trip.container, within=left)
    else:
        log.warning("overtaken before it was sent", transaction_id=trip.container.transaction_id)
        late = Answer(Outcome.TRANSIENT, "not-sent", "Too late to be sent: nothing left this worker.")
        answers = [late] * len(trip.calls)
    refused = next((one for one in answers if one.outcome == Outcome.CREDENTIALS), None)
    if refused:
        lifecycle.pause_vendor(trip.vendor, f"{refused.code} {refused.message}".strip())
    return answers


def _may_open_socket(calls: Sequence[VendorCall]) -> bool:
    """A worker that was paused between claiming and sending must not send after another one took over.

    The attempts of a container were claimed at one instant, and one that was overtaken is late for all of them.
    """
    newest = (
        VendorCall.objects.filter(order__among=[one.order_id for one in calls if one.order_id])
        .order_by()
        .values("order")
    )
    overtaken = {one.pk for one in calls} - set(newest.annotate(newest=Max("pk")).values_list("newest", flat=True))
    return not overtaken and all(clock.now() < one.deadline for one in calls)


def _settle(answered: Sequence[_Answered]) -> None:
    at = clock.now()
    try:
        results = [
            judge_write(one.case.order, one.case.calls, one.call, one.answer, at)
            if one.call.purpose == Purpose.WRITE
            else judge_read(one.case.order, one.case.subscription, one.call, one.answer, at)
            for one in answered
        ]
        applied = lifecycle.apply_many(results)
    except _DATABASE_TROUBLE:
        raise
    except Exception:
        if len(answered) == 1:
            raise
        # The vendor's answers to the others count, whatever is wrong with one.
        log.exception("answers cannot be applied together", order_ids=[one.case.order.pk for one in answered])
        _in_halves(_settle, answered)
        return
    for result, counts in zip(results, applied, strict=True):
        if not counts:
            log.warning("attempt ended too late to count", order_id=result.order_id, call_id=result.call_id)
    _tell(answered, results)


def _tell(answered: Sequence[_Answered], results: Sequence[Result]) -> None:
    call, answer, verdict = answered[0].call, answered[0].answer, str(results[0].verdict)
    if len(answered) == 1:
        log.info(
            "attempt", order_id=call.order_id, attempt=call.attempt, purpose=call.purpose, outcome=str(answer.outcome),
            code=answer.code, verdict=verdict, latency_ms=answer.latency_ms,
        )  # fmt: skip
        return
    # Each attempt has its row; a line for each of 500 would tell no more.
    log.info(
        "attempts", orders=len(answered), purpose=call.purpose, transaction_id=call.transaction_id,
        outcomes=dict(Counter(str(one.answer.outcome) for one in answered)),
        verdicts=dict(Counter(str(one.verdict) for one in results)), latency_ms=answer.latency_ms,
    )  # fmt: skip


def _ask(order: Order, subscription: Subscription) -> Ask:
    if order.abandoned:
        return port.Cancel(subscription.subscriber_id, "now", actions.asked_at(order))
    call = actions.ACTIONS[order.action].call
    if call is None:
        raise ValueError(f"{order.number}: {order.action} asks nothing of a vendor")
    return call(order, subscription)


# --- upkeep ----------------------------------------------------------------------------------------------------------


@app.periodic(cron=settings.UPKEEP_CRON)
@app.task(name="subscriptions.sweep", queue="upkeep", priority=UPKEEP_FIRST, queueing_lock="sweep")
def sweep(timestamp: int) -> None:
    """Put back what is due and has no job: later retries, and orders whose job died with its worker."""
    found = lifecycle.sweep()
    if found:
        log.info("orders put back", count=found)


@app.periodic(cron=settings.UPKEEP_CRON)
@app.task(name="subscriptions.rescue", queue="upkeep", priority=UPKEEP_FIRST, queueing_lock="rescue", pass_context=True)
async def rescue(context: JobContext, timestamp: int) -> None:
    """Run again the jobs of workers whose heartbeat stopped; without this they hold their lock for ever."""
    manager = context.app.job_manager
    for job in await manager.get_stalled_jobs(seconds_since_heartbeat=settings.WORKER_STALLED_AFTER):
        log.warning("job of a lost worker runs again", job_id=job.id, task=job.task_name)
        try:
            if job.queueing_lock:
                # Periodic work comes again by itself; put back it would collide with its successor in the queue.
                await manager.finish_job(job, Status.FAILED, delete_job=True)
            else:
                await manager.retry_job(job)
        except ConnectorException:
            log.info("another worker was faster", job_id=job.id)


@app.periodic(cron=settings.UPKEEP_CRON)
@app.task(name="subscriptions.ping_vendors", queue="upkeep", priority=UPKEEP_FIRST, queueing_lock="ping_vendors")
def ping_vendors(timestamp: int) -> None:
    """Ask each paused vendor whether it lets us in again, and let its orders flow when it does."""
    for vendor in lifecycle.due_for_ping():
        if gateways.gateway(vendor).ping().outcome == Outcome.DONE:
            lifecycle.open_vendor(vendor)
            log.info("vendor open again", vendor=vendor)


def waiting(order: Order) -> bool:
    """Is the order on its way, so that a page about it should look again?"""
    return order.status in (OrderStatus.PLACED, OrderStatus.IN_PROGRESS)
