"""A base of invented accounts and subscriptions, as large as is wanted, written by set-based SQL.

The same seed on an empty database makes the same base, but for its dates, which are counted back from today. Only what
is running can fall due; every row agrees with its orders, and the emulator's records agree with the rows.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from subscriptions import clock
from subscriptions.management.demo_data import catalogue
from subscriptions.models import SKU, Account, Charge, Event, Member, Order, Subscription, User, VendorCall
from subscriptions.vendors.emulator.moments import INDEFINITE, write
from subscriptions.vendors.emulator.records import DEFAULT_PROVIDER, Record, Status
from subscriptions.vendors.emulator.store import Store
from subscriptions.vendors.port import Secret

BATCH = 50_000
# An emulator that runs meanwhile answers nobody while so many are written.
AT_ONCE = 5_000
FEWEST_ACCOUNTS = 20
# One code for all: making a million of them would take longer than all the rest.
_CODE = "FAKE0-GENER-ATEDB-ASE22"
_WRITTEN = (User, Account, Member, Subscription, Order, Event, Charge, VendorCall)


def fill(subscriptions: int, *, accounts: int, seed: int, progress: Callable[[int], None] = lambda done: None) -> int:
    """Write so many subscriptions, for so many new accounts, a transaction at a time; returns the key of the first.

    The catalogue of the demo is used, and made when it is not there. The first account has a tenth of all
    subscriptions, the ten after it a thousandth each. `progress` hears how many are written.
    """
    codes = [row.sku for row in catalogue.ROWS]
    with transaction.atomic():
        if not SKU.objects.filter(code__in=codes).exists():
            catalogue.create()
        first_account = _next_key(Account)
        _run(_PEOPLE, accounts=accounts, first=first_account, now=clock.now(), seed=seed, **_NAMES)
    # Else the first batch is planned for empty tables.
    analyse()
    first = _next_key(Subscription)
    code = Subscription._meta.get_field("activation_code").get_prep_value(Secret(_CODE))
    for start in range(0, subscriptions, BATCH):
        many = min(BATCH, subscriptions - start)
        with transaction.atomic():
            _run(
                _DRAW, since=start, many=many, accounts=accounts, first_account=first_account, seed=seed, codes=codes,
                first=first, now=clock.now(),
            )  # fmt: skip
            for statement in _WRITE:
                _run(statement, now=clock.now(), code=code)
            _run("DROP TABLE generated")
        progress(start + many)
    return first


def analyse() -> None:
    """Let PostgreSQL know how large the tables are; outside a transaction it clears them up as well."""
    tables = ", ".join(model._meta.db_table for model in _WRITTEN)
    _run(f"ANALYZE {tables}" if connection.in_atomic_block else f"VACUUM (ANALYZE) {tables}")


def fill_emulator(path: Path, *, first: int, progress: Callable[[int], None] = lambda done: None) -> int:
    """Let the emulator's file know the subscriptions from that key on, as ours are; returns how many it knows now.

    An emulator that runs on the file may go on: it waits for a set at most, and knows each from then on.
    """
    store, done = Store(path), 0
    try:
        records = _records(first)
        while some := list(islice(records, BATCH)):
            with store.transaction():
                store.save(some)
            done += len(some)
            progress(done)
    finally:
        store.close()
    return done


_AT_VENDOR: dict[str, Status] = {
    "active": "Started", "ending": "Started", "expired": "Started", "suspended": "Paused", "cancelled": "HardCancelled",
}  # fmt: skip


def _records(first: int) -> Iterator[Record]:
    rows: Any = Subscription.objects.filter(pk__gte=first, status__in=_AT_VENDOR).order_by("pk").values_list(
        "subscriber_id", "sku__vendor_product_id", "seats", "status", "started_at", "suspended_at", "cancelled_at"
    )  # fmt: skip
    for name, product, seats, status, started, suspended, cancelled in rows.iterator(AT_ONCE):
        yield Record(
            provider=DEFAULT_PROVIDER.user,
            subscriber=name,
            product=product,
            seats=seats,
            status=_AT_VENDOR[status],
            status_changed_at=write(cancelled or suspended or started),
            start=write(started),
            end=write(cancelled) if cancelled else INDEFINITE,
            activation_code=_CODE,
        )


def _next_key(model: Any) -> int:
    newest = model.objects.order_by("-pk").values_list("pk", flat=True).first()
    return int(newest or 0) + 1


def _run(statement: str, **values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)


# --- people and companies --------------------------------------------------------------------------------------------

_FIRST = """
Alder Amber Arrow Aurora Beacon Birch Blue Bright Canyon Cedar Clear Cobalt Copper Coral Crown Delta Eagle Eder
Elbe Ember Falken Fern Fjord Forst Garnet Glacier Golden Granit Hafen Harbour Heather Hirsch Horizon Isar Jasper
Karst Kestrel Lake Linden Lipa Lotus Lunar Maple Marble Meadow Mercury Moor Nord Oak Oberland Onyx Opal Orchid
Osprey Otter Pine Quarry Raven Ridge River Rosen Saffron Sava Silver Sokol Spruce Stein Storch Summit Terra
Thistle Tiber Titan Vela Vista Wald Weiss Willow Zenith
"""
_TRADES = """
Logistik Systems Bau Textil Foods Energy Labs Medien Handel Works Robotics Optik Verlag Pharma Elektro
Consulting Marine Travel Design Solutions Mobility Holz Metall Druck Finance Clinic Software Transport Studio
Partner
"""
_PLACES = """
Ljubljana Wien Graz Berlin Kiel Essen Köln München Zürich Basel Maribor Celje Zagreb Split Trieste Milano Torino
Lyon Lille Gent Delft Leeds Dover Cork Oslo Bergen Malmö Aarhus Turku Riga Tallinn Vilnius Kraków Brno Plzeň
Pécs Győr Porto Faro Nord Süd Ost West
"""
_NAMES = {
    "first_words": _FIRST.split(),
    "trades": _TRADES.split(),
    "places": _PLACES.split(),
    "forms": ["GmbH", "GmbH", "GmbH", "d.o.o.", "Ltd", "AG", "S.A.", "s.r.o.", "Oy"],
    # What a search for names may stumble over.
    "odd": [
        "A. B. Müller & Söhne KG", "3M-Werk Ost d.o.o.", "O'Neill & Co. Ltd", "X GmbH", "Łódź-Textil S.A.",
        "1001 Nights Ltd", "Zwölfender Forst GmbH & Co. KG", "Čopič in sinovi d.o.o.",
    ],
}  # fmt: skip

# Everything is drawn by hashing a number with the seed and the place where it is drawn. The keys of accounts follow one
# another, so that a subscription finds its account by arithmetic.
_PEOPLE = """
WITH drawn AS (
    SELECT number, %(first)s::bigint + number - 1 AS id,
           hashint8extended(number, %(seed)s) & 1048575 AS a, hashint8extended(number, %(seed)s + 1) & 1048575 AS b,
           hashint8extended(number, %(seed)s + 2) & 1048575 AS c, hashint8extended(number, %(seed)s + 3) & 1048575 AS d
    FROM generate_series(1, %(accounts)s) AS number
), made AS (
    INSERT INTO subscriptions_account (
        id, name, time_zone, language, currency, discount, legal_name, address, country, vat_id, created_at
    )
    SELECT id,
           CASE WHEN number BETWEEN 13 AND 12 + cardinality(%(odd)s::text[]) THEN (%(odd)s::text[])[number - 12]
                ELSE concat_ws(' ', (%(first_words)s::text[])[1 + a %% cardinality(%(first_words)s::text[])],
                               (%(trades)s::text[])[1 + b %% cardinality(%(trades)s::text[])],
                               CASE WHEN d %% 4 > 0
                                    THEN (%(places)s::text[])[1 + c %% cardinality(%(places)s::text[])] END,
                               (%(forms)s::text[])[1 + d %% cardinality(%(forms)s::text[])]) END,
           (ARRAY['Europe/Ljubljana', 'Europe/Berlin', 'UTC'])[1 + a %% 3],
           CASE WHEN b %% 3 = 0 THEN 'de' ELSE 'en' END,
           CASE WHEN c %% 10 = 0 THEN 'GBP' ELSE 'EUR' END, 0, 'Generated', 'Generated', 'SI', '', %(now)s
    FROM drawn
    RETURNING id
), owners AS (
    INSERT INTO subscriptions_user (password, is_superuser, email, name, is_staff, is_active, date_joined)
    SELECT '!', false, 'owner' || id || '@generated.example', 'Owner ' || id, false, true, %(now)s FROM made
    RETURNING id, email
)
INSERT INTO subscriptions_member (account_id, user_id, role)
SELECT made.id, owners.id, 'owner'
FROM made JOIN owners ON owners.email = 'owner' || made.id || '@generated.example';
SELECT setval(pg_get_serial_sequence('subscriptions_account', 'id'), max(id)) FROM subscriptions_account
"""

# --- subscriptions ---------------------------------------------------------------------------------------------------

# `asof` is the day on which its dates stand still: today, or the day of its cancel.
_DRAW = """
CREATE TEMPORARY TABLE generated AS
SELECT row.*, period_start::timestamp AT TIME ZONE time_zone AS period_began,
       period_end::timestamp AT TIME ZONE time_zone AS period_ends,
       CASE WHEN status = 'active' AND wish < 5 THEN 'needs_attention'
            WHEN status = 'active' AND wish < 15 THEN 'awaiting_approval'
            WHEN status = 'active' AND wish < 115 AND seats > seats_min THEN 'scheduled'
            WHEN status = 'active' AND wish BETWEEN 115 AND 214 THEN 'failed'
            WHEN status = 'active' AND wish BETWEEN 215 AND 1214 AND seats > seats_min THEN 'completed' END AS changed
FROM (
    SELECT nextval(pg_get_serial_sequence('subscriptions_subscription', 'id')) AS id,
           nextval(pg_get_serial_sequence('subscriptions_order', 'id')) AS order_id,
           nextval(pg_get_serial_sequence('subscriptions_event', 'id')) AS event_id,
           n, wish, account.id AS account_id, account.currency, account.time_zone, sku.id AS sku_id, sku.seats_min,
           status, sku.seats_min + floor(power(size, 4) * least(sku.seats_max - sku.seats_min, 400))::int AS seats,
           upper(md5(%(seed)s || ':' || %(first)s || ':' || n)) AS subscriber_id, sku.vendor_product_id,
           since, began, sku.grace_days, at.asof,
           (since + make_interval(months => run.months))::date AS period_start,
           (since + make_interval(months => run.months + bill.months))::date AS period_end,
           (since + make_interval(months => run.months - run.months %% sku.term_months + sku.term_months))::date
               AS term_end
    FROM generate_series(%(since)s + 1, %(since)s + %(many)s) AS n
    CROSS JOIN LATERAL (
        SELECT (hashint8extended(n, %(seed)s + 11) & 1048575) / 1048576.0 AS which,
               (hashint8extended(n, %(seed)s + 12) & 1048575) / 1048576.0 AS age,
               (hashint8extended(n, %(seed)s + 13) & 1048575) / 1048576.0 AS size,
               (hashint8extended(n, %(seed)s + 14) & 1048575) / 1048576.0 AS ended,
               (hashint8extended(n, %(seed)s + 15) & 1048575) %% 10000 AS fate,
               (hashint8extended(n, %(seed)s + 16) & 1048575) %% 10000 AS wish,
               hashint8extended(n, %(seed)s + 17) & 1099511627775 AS whose
    ) AS dice
    JOIN subscriptions_account AS account ON account.id = %(first_account)s - 1 + CASE
        WHEN n %% 10 = 0 THEN 1 WHEN n %% 100 = 1 THEN 2 + n / 100 %% 10 ELSE 12 + whose %% (%(accounts)s - 11) END
    JOIN subscriptions_sku AS sku
        ON sku.code = (%(codes)s::text[])[1 + floor(power(which, 1.6) * cardinality(%(codes)s::text[]))::int]
    CROSS JOIN LATERAL (
        SELECT CASE WHEN fate < 8650 THEN 'active'
                    WHEN fate < 8950 THEN CASE WHEN sku.can_suspend THEN 'suspended' ELSE 'active' END
                    WHEN fate < 9900 THEN 'cancelled' WHEN fate < 9950 THEN 'ending' WHEN fate < 9970 THEN 'expired'
                    WHEN fate < 9990 THEN 'failed' ELSE 'pending' END AS status,
               CASE sku.billing_period WHEN 'year' THEN 12 ELSE 1 END AS months,
               (%(now)s::timestamptz AT TIME ZONE account.time_zone)::date AS today
    ) AS bill
    CROSS JOIN LATERAL (
        SELECT CASE WHEN status = 'expired'
                    THEN (today - floor(age * 7)::int - make_interval(months => sku.term_months))::date
                    WHEN status IN ('pending', 'failed') THEN today - 1 - floor(age * 20)::int
                    ELSE today - 1 - floor(age * 700)::int END AS since
    ) AS birth
    CROSS JOIN LATERAL (
        SELECT CASE WHEN status = 'cancelled' THEN since + floor(ended * (today - since))::int
                    WHEN status = 'expired' THEN (since + make_interval(months => sku.term_months))::date - 1
                    ELSE today END AS asof,
               (since + time '09:00' + make_interval(secs => n %% 3600)) AT TIME ZONE account.time_zone AS began
    ) AS at
    CROSS JOIN LATERAL (
        SELECT (extract(year FROM asof) * 12 + extract(month FROM asof)
                - extract(year FROM since) * 12 - extract(month FROM since))::int AS apart
    ) AS calendar
    -- The last period that has begun: whole months, less one where the day of the month is still to come.
    CROSS JOIN LATERAL (
        SELECT whole - whole %% bill.months AS months
        FROM (SELECT apart - (since + make_interval(months => apart) > asof)::int AS whole) AS counted
    ) AS run
) AS row
"""

_SUBSCRIPTIONS = """
INSERT INTO subscriptions_subscription (
    id, account_id, sku_id, status, seats, subscriber_id, activation_code, created_at, started_at, suspended_at,
    ends_at, cancelled_at, currency, auto_renew, anchor_day, period_start, period_end, term_end, grace_ends,
    reminder_due_on, peak_seats, next_due_at, version
)
SELECT id, account_id, sku_id, status, seats, subscriber_id, CASE WHEN started THEN %(code)s::bytea END,
       began - interval '3 seconds', CASE WHEN started THEN began END,
       CASE WHEN status = 'suspended' THEN stopped END,
       CASE status WHEN 'ending' THEN period_ends WHEN 'expired' THEN term_ends WHEN 'cancelled' THEN stopped END,
       CASE WHEN status = 'cancelled' THEN stopped END,
       currency, status <> 'expired' AND n %% 20 > 0, CASE WHEN started THEN extract(day FROM since) END,
       CASE WHEN started THEN period_start END, CASE WHEN started THEN period_end END,
       CASE WHEN started THEN term_end END, CASE WHEN status = 'expired' THEN grace END,
       CASE WHEN status IN ('active', 'suspended', 'ending') THEN reminder END, CASE WHEN started THEN seats ELSE 0 END,
       CASE status WHEN 'active' THEN least(period_end, reminder)::timestamp AT TIME ZONE time_zone
                   WHEN 'suspended' THEN period_ends WHEN 'ending' THEN period_ends
                   WHEN 'expired' THEN grace::timestamp AT TIME ZONE time_zone END,
       2
FROM generated
CROSS JOIN LATERAL (
    SELECT status NOT IN ('pending', 'failed') AS started, term_end + grace_days AS grace,
           term_end::timestamp AT TIME ZONE time_zone AS term_ends,
           (SELECT min(term_end - ahead) FROM unnest(ARRAY[30, 7]) AS ahead WHERE term_end - ahead > asof) AS reminder,
           (CASE status WHEN 'suspended' THEN greatest(since, asof - 1 - n %% 15) ELSE asof END + time '15:00')
               AT TIME ZONE time_zone AS stopped
) AS more
"""

_STARTS = """
INSERT INTO subscriptions_order (
    id, subscription_id, action, status, before, after, audience, reason, operation_id, generation, placed_at,
    first_sent_at, next_attempt_at, finished_at, abandoned, outcome_code, outcome_message, needs_staff
)
SELECT order_id, id, 'start',
       CASE status WHEN 'pending' THEN 'placed' WHEN 'failed' THEN 'failed' ELSE 'completed' END,
       '{"Seats": 0}', jsonb_build_object('SKU', (SELECT code FROM subscriptions_sku WHERE id = sku_id),
                                          'Seats', seats - (changed = 'completed' AND changed IS NOT NULL)::int),
       'system', '', md5(subscriber_id || ' start')::uuid, 1, began - interval '3 seconds',
       CASE WHEN status <> 'pending' THEN began END, CASE WHEN status = 'pending' THEN %(now)s END,
       CASE WHEN status <> 'pending' THEN began END, false, CASE WHEN status = 'failed' THEN '777' ELSE '' END,
       CASE WHEN status = 'failed' THEN 'The product is not in the contract.' ELSE '' END,
       status = 'failed' AND n %% 2 = 0
FROM generated
"""

_START_EVENTS = """
INSERT INTO subscriptions_event (
    id, account_id, subscription_id, order_id, kind, at, audience, reason, before, after
)
SELECT event_id, account_id, s.id, order_id,
       'start.' || CASE s.status WHEN 'pending' THEN 'placed' WHEN 'failed' THEN 'failed' ELSE 'completed' END, began,
       'system', '', o.before, o.after
FROM generated AS s JOIN subscriptions_order AS o ON o.id = s.order_id
"""

# One more order of those that are or were changed: what became of it, and its event.
_CHANGES = """
WITH placed AS (
    INSERT INTO subscriptions_order (
        subscription_id, action, status, before, after, audience, reason, operation_id, generation, placed_at, due_at,
        first_sent_at, finished_at, abandoned, outcome_code, outcome_message, needs_staff
    )
    SELECT id, action, outcome, before, after, 'system', '', md5(subscriber_id || action)::uuid, 1, at,
           CASE WHEN outcome = 'scheduled' THEN period_ends END,
           CASE WHEN outcome NOT IN ('scheduled', 'awaiting_approval') THEN at END,
           CASE WHEN outcome IN ('completed', 'failed') THEN at END, false,
           CASE WHEN outcome IN ('failed', 'needs_attention') THEN '777' ELSE '' END,
           CASE WHEN outcome IN ('failed', 'needs_attention') THEN 'Internal reference 48-11.' ELSE '' END,
           outcome = 'needs_attention'
    FROM generated
    CROSS JOIN LATERAL (
        SELECT CASE status WHEN 'suspended' THEN 'suspend' WHEN 'cancelled' THEN 'cancel' WHEN 'ending' THEN 'cancel'
                           ELSE CASE changed WHEN 'scheduled' THEN 'decrease' ELSE 'increase' END END AS action,
               CASE status WHEN 'suspended' THEN 'completed' WHEN 'cancelled' THEN 'completed'
                           WHEN 'ending' THEN 'scheduled' ELSE changed END AS outcome
    ) AS wish
    CROSS JOIN LATERAL (
        SELECT CASE WHEN action IN ('suspend', 'cancel') THEN '{"Status": "active"}'::jsonb
                    ELSE jsonb_build_object('Seats', seats - (outcome = 'completed')::int) END AS before,
               CASE action WHEN 'suspend' THEN '{"Status": "suspended"}'::jsonb
                           WHEN 'cancel' THEN '{"Status": "cancelled"}'::jsonb
                           WHEN 'decrease' THEN jsonb_build_object('Seats', seats - 1)
                           ELSE jsonb_build_object('Seats', seats + (outcome <> 'completed')::int) END AS after,
               greatest(began + interval '1 minute',
                        CASE status WHEN 'suspended' THEN (greatest(since, asof - 1 - n %% 15) + time '15:00')
                                        AT TIME ZONE time_zone
                                    WHEN 'cancelled' THEN (asof + time '15:00') AT TIME ZONE time_zone
                                    ELSE %(now)s - make_interval(mins => (n %% 40000)::int) END) AS at
    ) AS what
    WHERE outcome IS NOT NULL
    RETURNING id, subscription_id, action, status, before, after, placed_at
)
INSERT INTO subscriptions_event (account_id, subscription_id, order_id, kind, at, audience, reason, before, after)
SELECT s.account_id, s.id, placed.id,
       action || '.' || CASE placed.status WHEN 'needs_attention' THEN 'held' ELSE placed.status END, placed_at,
       'system', '', before, after
FROM placed JOIN generated AS s ON s.id = placed.subscription_id
"""

_CHARGES = """
INSERT INTO subscriptions_charge (
    account_id, subscription_id, order_id, event_id, position, kind, words, seats, unit_price, currency, amount,
    period_start, covers_from, covers_to, booked_at, booked_on
)
SELECT account_id, s.id, CASE WHEN period_start = since THEN order_id END, event_id, 0, 'period',
       seats || E' seats \\u00d7 ' || s.currency || ' ' || round(price, 2) || ', '
           || to_char(period_start, 'FMDD FMMonth') || ' to ' || to_char(period_end - 1, 'FMDD FMMonth YYYY'),
       seats, price, s.currency, round(seats * price, 2), period_start, period_start, period_end,
       greatest(began, period_began), period_start
FROM generated AS s
CROSS JOIN LATERAL (
    SELECT price FROM subscriptions_priceband AS band
    WHERE band.sku_id = s.sku_id AND band.currency = s.currency AND band.seats_from <= seats
    ORDER BY seats_from DESC LIMIT 1
) AS band
WHERE status NOT IN ('pending', 'failed')
"""

_CALLS = """
INSERT INTO subscriptions_vendorcall (
    subscription_id, order_id, purpose, attempt, transaction_id, unit_id, asked, started_at, deadline, finished_at,
    outcome, code, message, answered, evidence, http_status, latency_ms
)
SELECT id, order_id, 'write', 1, subscriber_id, 0,
       '<Activate SubscriberId="' || subscriber_id || '" ProductId="' || vendor_product_id || '"/>', began,
       began + interval '1 minute', began + interval '1 second',
       CASE status WHEN 'failed' THEN 'rejected' ELSE 'done' END,
       CASE status WHEN 'failed' THEN '777' ELSE '' END, '', '', '', 200, 20 + n %% 200
FROM generated WHERE status <> 'pending'
"""

_WRITE = (_SUBSCRIPTIONS, _STARTS, _START_EVENTS, _CHANGES, _CHARGES, _CALLS)
