"""Notices that come in the hundreds, such as those of bulk work and reminders: one letter of each kind to a person."""

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from procrastinate import RetryStrategy
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from subscriptions import clock
from subscriptions.models import Notice
from subscriptions.models.notice import STAFF_KINDS
from subscriptions.notifications import letters
from subscriptions.notifications.recipients import recipients

QUIET, AT_LATEST = timedelta(minutes=1), timedelta(minutes=15)
"""Notices wait until none of their kind has come for a while, or the first has waited so long."""
LISTED = 50
"""So many are told of in a letter; the rest is a number."""
_CHUNK = 500
# Inside a worker the app's own connector is another connection, and its jobs would outlive a rollback of ours.
_queue = JobManager(DjangoConnector())


@app.periodic(cron=settings.UPKEEP_CRON)
@app.task(name="subscriptions.gather_notices", queue="mail", queueing_lock="gather_notices", lock="gather_notices")
def gather(timestamp: int) -> None:
    """Owe a letter for each person, kind and account of which enough was waited for; to staff for all accounts."""
    now = clock.now()
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute(
                "WITH ripe AS (SELECT min(n.id) AS letter, n.user_id, n.kind,"
                " CASE WHEN n.kind = ANY(%(staff)s) THEN 0 ELSE e.account_id END AS account_id"
                " FROM subscriptions_notice n JOIN subscriptions_event e ON e.id = n.event_id"
                " WHERE n.gathered AND n.letter IS NULL GROUP BY 2, 3, 4"
                " HAVING max(e.at) <= %(quiet)s OR min(e.at) <= %(latest)s),"
                " gathered AS (UPDATE subscriptions_notice n SET letter = ripe.letter"
                " FROM ripe, subscriptions_event e WHERE e.id = n.event_id AND n.gathered AND n.letter IS NULL"
                " AND n.user_id = ripe.user_id AND n.kind = ripe.kind"
                " AND ripe.account_id = CASE WHEN n.kind = ANY(%(staff)s) THEN 0 ELSE e.account_id END"
                " RETURNING n.letter)"
                " SELECT DISTINCT letter FROM gathered ORDER BY letter",
                {"staff": list(STAFF_KINDS), "quiet": now - QUIET, "latest": now - AT_LATEST},
            )
            owed = [_sending(letter) for (letter,) in cursor.fetchall()]
        if owed:
            _queue.batch_defer_jobs(owed)


def _sending(letter: int) -> Job:
    return Job(
        task_name="subscriptions.send_letter",
        queue="mail",
        # As of a notice alone: what people wait for overtakes it, and no two workers send it at the same time.
        priority=-10,
        lock=f"letter-{letter}",
        queueing_lock=None,
        task_kwargs={"letter": letter},
    )


@app.task(
    name="subscriptions.send_letter",
    queue="mail",
    # The last try comes about a day after the first.
    retry=RetryStrategy(max_attempts=9, exponential_wait=4),
)
def send_letter(letter: int) -> None:
    """Send what was gathered in a letter and not sent; what its person is not to be told any more is dropped."""
    unsent = Notice.objects.filter(letter=letter, sent_at=None).order_by("pk")
    count = 0
    for notices in _chunks(unsent.select_related("event__order", "event__subscription")):
        wanted = recipients([notice.event for notice in notices])
        stale = [one.pk for one in notices if wanted.get((one.event_id, one.user_id)) != one.kind]
        Notice.objects.filter(pk__in=stale).delete()
        count += len(notices) - len(stale)
    if not count:
        return
    shown = unsent.select_related("user", "event__account", "event__order__actor", "event__subscription__sku__product")
    first, *others = shown.defer("event__subscription__activation_code")[:LISTED]
    happened = set(unsent.order_by().values_list("event__kind", flat=True).distinct())
    mail = letters.letter_of_many([first, *others], count, happened) if others else letters.letter(first)
    mail.send()
    unsent.update(sent_at=clock.now())


def _chunks(notices: QuerySet[Notice]) -> Iterator[list[Notice]]:
    since = 0
    notices = notices.defer("event__subscription__activation_code")
    while some := list(notices.filter(pk__gt=since)[:_CHUNK]):
        yield some
        since = some[-1].pk
