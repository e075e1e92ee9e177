"""Many rows at once, by one statement."""

from django.db import connection

from subscriptions import clock
from subscriptions.models import Subscription
from subscriptions.vendors.port import Secret
from tests.factories import AccountFactory, SKUFactory

ACCOUNTS, BANDS = 500, {1: "4.20", 25: "3.75", 100: "3.10"}


def subscriptions(many, *, ended_ago):
    """So many active subscriptions whose period ended so many days ago (or ends in so many), a month each."""
    skus = [SKUFactory(prices=BANDS).pk for _ in range(4)]
    accounts = [AccountFactory(time_zone="Europe/Ljubljana").pk for _ in range(ACCOUNTS)]
    code = Subscription._meta.get_field("activation_code").get_prep_value(Secret("FAKE0-AAAAA-BBBBB-CCCCC"))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO subscriptions_subscription (
                account_id, sku_id, status, seats, subscriber_id, activation_code, created_at, started_at, currency,
                auto_renew, anchor_day, period_start, period_end, term_end, peak_seats, next_due_at, version
            )
            SELECT (%(accounts)s::bigint[])[1 + n %% cardinality(%(accounts)s::bigint[])],
                   (%(skus)s::bigint[])[1 + n %% cardinality(%(skus)s::bigint[])],
                   'active', 5 + n %% 200, upper(md5(random()::text || n)), %(code)s, begun, begun, 'EUR', true,
                   extract(day FROM ends), ends - interval '1 month', ends, ends + interval '2 months', 5 + n %% 200,
                   ends::timestamp AT TIME ZONE 'Europe/Ljubljana', 1
            FROM generate_series(1, %(many)s) AS n,
                 LATERAL (SELECT %(today)s::date - %(ago)s AS ends) AS the,
                 LATERAL (SELECT %(today)s::timestamptz - interval '200 days' AS begun) AS a
            """,
            {"accounts": accounts, "skus": skus, "code": code, "many": many, "today": clock.now(), "ago": ended_ago},
        )
        cursor.execute("ANALYZE")


def orders(many, status, *, due_in=None):
    """An increase of that status for each of so many subscriptions, the newest; scheduled ones are due in days."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO subscriptions_order (
                subscription_id, action, status, before, after, audience, reason, operation_id, generation, placed_at,
                due_at, abandoned, outcome_code, outcome_message, needs_staff
            )
            SELECT id, 'increase', %(status)s, '{}', '{"Seats": 300}', 'system', '', gen_random_uuid(), 1, %(now)s,
                   %(now)s::timestamptz + %(days)s * interval '1 day', false, '', '', false
            FROM (SELECT id FROM subscriptions_subscription ORDER BY id DESC LIMIT %(many)s) AS s
            """,
            {"status": status, "now": clock.now(), "days": due_in, "many": many},
        )
        cursor.execute("ANALYZE")
