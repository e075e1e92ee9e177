"""The worker's tasks: carry an order to the vendor, classify what came back, hand the verdict to `lifecycle`.

`next_step` is the whole policy of sending and reading, as a pure function of what is written down; the tasks only do
what it says. Numbers come from vendor-protocol.md, section 5, through the settings.
"""

import random
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from procrastinate import JobContext
from procrastinate.contrib.django import app

from subscriptions import actions, clock, gateways, lifecycle
from subscriptions.lifecycle import Attempt, Decision, Hold, Result, Verdict, Wait
from subscriptions.models import Order, OrderStatus, Purpose, Subscription, VendorCall, VendorState
from subscriptions.vendors import port
from subscriptions.vendors.port import Answer, Ask, Outcome

log = structlog.get_logger(__name__)

SEND, READ = "send", "read"
_UNSETTLED = (Outcome.UNKNOWN, Outcome.ALREADY_DONE)


def _later(at: datetime, seconds: float) -> datetime:
    return at + timedelta(seconds=seconds)


# --- policy: pure ----------------------------------------------------------------------------------------------------


def next_step(order: Order, calls: Sequence[VendorCall], at: datetime) -> str | Wait | Hold:
    """`SEND`, `READ`, a `Wait` or a `Hold`, from an order and its calls so far (oldest first).

    Never `SEND` while an earlier sending is not settled: first its deadline passes, then reads decide. After a Retry
    by a person one answered read is enough to send again.
    """
    writes = [one for one in calls if one.purpose == Purpose.WRITE]
    if not writes:
        return SEND
    last = writes[-1]
    unfinished = [one for one in calls if one.finished_at is None]
    for call in unfinished:
        free_at = _later(call.deadline, settings.VENDOR_DEADLINE_MARGIN)
        if at < free_at:
            return Wait(free_at)
    if last.finished_at is not None and last.outcome not in _UNSETTLED:
        return SEND
    reads = [one for one in calls if one.purpose == Purpose.SETTLE and one.pk > last.pk and one.finished_at]
    if order.retried_at and order.retried_at > last.started_at:
        since_retry = [one for one in reads if one.started_at >= order.retried_at]
        if any(one.evidence for one in since_retry):
            return SEND
        return _read_again(since_retry, order.retried_at, at)
    if _proves_not_applied(order, last, reads):
        return SEND
    proofs = [one.evidence for one in reads if one.evidence]
    if last.outcome == Outcome.ALREADY_DONE and proofs:
        return Hold("already_done", "The licence service says that this was done already, and its record differs.")
    if proofs and proofs[-1] in (actions.NEITHER, actions.ABSENT) and order.action != "start":
        return Hold("neither", "The licence service's record equals neither what was ordered nor what was before.")
    if order.action == "start" and proofs and proofs[-1] == actions.NEITHER:
        return Hold("neither", "The licence service holds something else under this subscription.")
    return _read_again(reads, last.started_at, at)


def _proves_not_applied(order: Order, last: VendorCall, reads: Sequence[VendorCall]) -> bool:
    """The state before, read twice and long enough after sending; or, for a start, unknown there past the deadline."""
    if last.outcome == Outcome.ALREADY_DONE:
        return False
    calm = _later(last.started_at, settings.VENDOR_NOT_APPLIED_AFTER)
    if order.action == "start" and not order.abandoned:
        return any(one.evidence == actions.ABSENT and one.started_at >= max(calm, last.deadline) for one in reads)
    return sum(one.evidence == actions.BEFORE and one.started_at >= calm for one in reads) >= 2


def _read_again(reads: Sequence[VendorCall], since: datetime, at: datetime) -> str | Wait | Hold:
    """The next read by its delay after the one before; a person after the limit without any proof."""
    if at - since > timedelta(seconds=settings.VENDOR_READ_LIMIT) and not any(one.evidence for one in reads[-2:]):
        return Hold("unknown", "Whether the licence service applied this could not be found out.")
    delays = settings.VENDOR_READ_DELAYS
    due = _later(reads[-1].started_at if reads else since, delays[min(len(reads), len(delays) - 1)])
    return READ if at >= due else Wait(due)


# --- one attempt -----------------------------------------------------------------------------------------------------


@app.task(name="subscriptions.fulfil", queue="orders")
def fulfil(order_id: int) -> None:
    """Make one attempt for an order, or find that there is none to make now. Safe to run twice and late."""
    container: port.Container | None = None

    def decide(order: Order, subscription: Subscription, calls: list[VendorCall]) -> Decision:
        nonlocal container
        at = clock.now()
        vendor = subscription.sku.product.vendor
        if VendorState.objects.filter(vendor=vendor, paused_at__isnull=False).exists():
            return Wait(_later(at, settings.VENDOR_PING_EVERY))
        step = next_step(order, calls, at)
        if not isinstance(step, str):
            return step
        sending = step == SEND
        container = gateways.gateway(vendor).prepare(
            f"{order.operation_id}-{order.generation}" if sending else str(uuid.uuid4()),
            [_ask(order, subscription) if sending else port.Read(subscription.subscriber_id)],
        )
        return Attempt(
            VendorCall(
                subscription=subscription,
                order=order,
                purpose=Purpose.WRITE if sending else Purpose.SETTLE,
                attempt=len(calls) + 1,
                transaction_id=container.transaction_id,
                asked=container.asked[0],
                started_at=at,
                deadline=_later(at, settings.VENDOR_ATTEMPT_DEADLINE),
            )
        )

    claimed = lifecycle.claim(order_id, decide)
    if claimed is None:
        log.debug("nothing to do", order_id=order_id)
        return
    order, subscription, call = claimed
    if container is None or not _may_open_socket(order, call):
        log.warning("attempt overtaken before it was sent", order_id=order_id, attempt=call.attempt)
        return
    [answer] = gateways.gateway(subscription.sku.product.vendor).send(container)
    if answer.outcome == Outcome.CREDENTIALS:
        lifecycle.pause_vendor(subscription.sku.product.vendor, f"{answer.code} {answer.message}".strip())
    judge = _judge_write if call.purpose == Purpose.WRITE else _judge_read
    result = judge(order, subscription, call, answer)
    if not lifecycle.apply(result):
        log.warning("order was settled before this attempt ended", order_id=order_id, attempt=call.attempt)
    log.info(
        "attempt", order_id=order_id, attempt=call.attempt, purpose=call.purpose, outcome=str(answer.outcome),
        code=answer.code, verdict=str(result.verdict), latency_ms=answer.latency_ms,
    )  # fmt: skip


def _ask(order: Order, subscription: Subscription) -> Ask:
    if order.abandoned:
        return port.Cancel(subscription.subscriber_id, "now", actions.asked_at(order))
    call = actions.ACTIONS[order.action].call
    if call is None:
        raise ValueError(f"{order.number}: {order.action} asks nothing of a vendor")
    return call(order, subscription)


def _may_open_socket(order: Order, call: VendorCall) -> bool:
    """A worker that was paused between claiming and sending must not send after another one took over."""
    newest = VendorCall.objects.filter(order=order).order_by("-pk").values_list("pk", flat=True).first()
    return newest == call.pk and clock.now() < call.deadline


def _judge_write(order: Order, subscription: Subscription, call: VendorCall, answer: Answer) -> Result:
    at = clock.now()

    def result(verdict: Verdict, **more: Any) -> Result:
        return Result(call.pk, order.pk, subscription.pk, answer, verdict, **more)

    match answer.outcome:
        case Outcome.DONE:
            return result(Verdict.COMPLETE, code=answer.activation_code)
        case Outcome.REJECTED | Outcome.UNSUPPORTED:
            if order.abandoned and answer.code == "5":
                return result(Verdict.COMPLETE)
            return result(Verdict.FAIL, message=refusal_words(answer))
        case Outcome.CREDENTIALS:
            again = _later(at, settings.VENDOR_PING_EVERY)
            return result(Verdict.RELEASE, again_at=again, message="The licence service does not let us in.")
        case Outcome.TRANSIENT:
            if at - (order.retried_at or order.placed_at) > timedelta(seconds=settings.VENDOR_RETRY_LIMIT):
                return result(Verdict.HOLD, message="The licence service could not be reached for a day.")
            again = _later(at, max(_backoff(order, call), answer.retry_after or 0))
            return result(Verdict.RELEASE, again_at=again, message="The licence service cannot be reached.")
    first_read = _later(at, settings.VENDOR_READ_DELAYS[0])
    return result(Verdict.AGAIN, again_at=first_read, message="Sent, and no clear answer came back.")


def _backoff(order: Order, call: VendorCall) -> float:
    delays = settings.VENDOR_RETRY_DELAYS
    tries = order.vendor_calls.filter(purpose=Purpose.WRITE, outcome=Outcome.TRANSIENT).count()
    spread = settings.VENDOR_RETRY_JITTER
    return float(delays[min(tries, len(delays) - 1)]) * random.uniform(1 - spread, 1 + spread)  # noqa: S311 - jitter


def _judge_read(order: Order, subscription: Subscription, call: VendorCall, answer: Answer) -> Result:
    at = clock.now()
    proof, code = "", None
    if answer.outcome == Outcome.DONE and answer.details:
        proof, code = actions.evidence(order, subscription, answer.details), answer.details.activation_code
    elif answer.code == port.NOT_FOUND:
        proof = actions.ABSENT
    settled = proof == actions.TARGET or (proof == actions.ABSENT and order.abandoned)
    if settled:
        return Result(call.pk, order.pk, subscription.pk, answer, Verdict.COMPLETE, proof, code=code)
    # `next_step` decides what this proof means together with the ones before it.
    return Result(
        call.pk, order.pk, subscription.pk, answer, Verdict.AGAIN, proof, again_at=at, message=order.outcome_message
    )


def refusal_words(answer: Answer) -> str:
    """What staff read about a refusal: the vendor's words with its code; customers see a sentence of ours."""
    return f"{answer.message or 'Refused'} (code {answer.code})" if answer.code else answer.message or "Refused"


# --- upkeep ----------------------------------------------------------------------------------------------------------


@app.periodic(cron=settings.UPKEEP_CRON)
@app.task(name="subscriptions.sweep", queue="upkeep", queueing_lock="sweep")
def sweep(timestamp: int) -> None:
    """Put back what is due and has no job: later retries, and orders whose job died with its worker."""
    found = lifecycle.sweep()
    if found:
        log.info("orders put back", count=found)


@app.periodic(cron=settings.UPKEEP_CRON)
@app.task(name="subscriptions.rescue", queue="upkeep", queueing_lock="rescue", pass_context=True)
async def rescue(context: JobContext, timestamp: int) -> None:
    """Run again the jobs of workers whose heartbeat stopped; without this they hold their lock for ever."""
    manager = context.app.job_manager
    for job in await manager.get_stalled_jobs(seconds_since_heartbeat=settings.WORKER_STALLED_AFTER):
        log.warning("job of a lost worker runs again", job_id=job.id, task=job.task_name)
        await manager.retry_job(job)


@app.periodic(cron=settings.UPKEEP_CRON)
@app.task(name="subscriptions.ping_vendors", queue="upkeep", queueing_lock="ping_vendors")
def ping_vendors(timestamp: int) -> None:
    """Ask each paused vendor whether it lets us in again, and let its orders flow when it does."""
    for state in VendorState.objects.filter(paused_at__isnull=False):
        if gateways.gateway(state.vendor).ping().outcome == Outcome.DONE:
            lifecycle.open_vendor(state.vendor)
            log.info("vendor open again", vendor=state.vendor)


def waiting(order: Order) -> bool:
    """Is the order on its way, so that a page about it should look again?"""
    return order.status in (OrderStatus.PLACED, OrderStatus.IN_PROGRESS)
