"""What the demo's base must hold, and its ledger told anew from the log and the calendar alone."""

import calendar
from collections import defaultdict
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

OURS = "subscriptions_subscription s JOIN subscriptions_sku k ON k.id = s.sku_id"
ORDERS = "subscriptions_order o JOIN subscriptions_subscription s ON s.id = o.subscription_id"
EVENTS = "subscriptions_event e JOIN subscriptions_subscription s ON s.id = e.subscription_id"
LINES = (
    "subscriptions_charge c JOIN subscriptions_account a ON a.id = c.account_id"
    " LEFT JOIN subscriptions_order o ON o.id = c.order_id"
)
IN_GROUP = (
    "EXISTS (SELECT 1 FROM subscriptions_user_groups m JOIN auth_group g ON g.id = m.group_id"
    " WHERE m.user_id = e.actor_id AND g.name = 'Approver')"
)

# state: where it shows, and how
STATES = {
    "ending": (ORDERS, "o.action = 'cancel' AND o.status = 'scheduled' AND s.status = 'ending'"),
    "was to end and is kept": (ORDERS, "o.action = 'cancel' AND o.status = 'withdrawn' AND s.status = 'active'"),
    "ended with its period": (EVENTS, "e.kind = 'cancel.due' AND s.status = 'cancelled'"),
    "expired, in its grace": (OURS, "s.status = 'expired' AND s.grace_ends > now()"),
    "renewed in its grace": (EVENTS, "e.kind = 'renew.completed' AND s.status = 'active'"),
    "ended after its grace": (OURS, "s.status = 'cancelled' AND s.grace_ends IS NOT NULL"),
    "will not be renewed": (OURS, "s.status = 'active' AND NOT s.auto_renew AND s.term_end < now() + '20 days'"),
    "on trial": (OURS, "s.status = 'active' AND s.trial_ends > now()"),
    "converted": (OURS, "s.status = 'active' AND s.trial_of_id IS NOT NULL AND s.trial_ends IS NULL"),
    "trial left to end": (EVENTS, "e.kind = 'trial.ended' AND s.status = 'cancelled'"),
    "decrease planned": (ORDERS, "o.action = 'decrease' AND o.status = 'scheduled' AND s.status = 'active'"),
    "decrease stands still": (ORDERS, "o.action = 'decrease' AND o.status = 'scheduled' AND s.status = 'suspended'"),
    "decrease undone": (EVENTS, "e.kind = 'decrease.withdrawn' AND e.actor_id IS NOT NULL"),
    "decrease replaced": (EVENTS, "e.kind = 'decrease.withdrawn' AND e.actor_id IS NULL"),
    "decrease applied on its day": (EVENTS, "e.kind = 'decrease.due'"),
    "decrease kept beside an increase": (
        ORDERS,
        "o.action = 'decrease' AND o.status = 'scheduled' AND EXISTS (SELECT 1 FROM subscriptions_order i"
        " WHERE i.subscription_id = s.id AND i.action = 'increase' AND i.placed_at > o.placed_at)",
    ),
    "suspended until a day": (ORDERS, "o.action = 'activate' AND o.status = 'scheduled' AND s.status = 'suspended'"),
    "suspended over a renewal": (EVENTS, "e.kind = 'period.unbilled' AND s.status = 'suspended'"),
    "billed for the rest when activated": (LINES, "o.action = 'activate' AND c.kind = 'change'"),
    "billed while suspended": (EVENTS, "e.kind = 'period.billed' AND s.status = 'suspended' AND e.at > s.suspended_at"),
    "cancel awaits approval": (ORDERS, "o.action = 'cancel' AND o.status = 'awaiting_approval'"),
    "increase awaits approval": (ORDERS, "o.action = 'increase' AND o.status = 'awaiting_approval'"),
    "approved": (EVENTS, f"e.kind = 'cancel.approved' AND {IN_GROUP}"),
    "rejected with a comment": (EVENTS, f"e.kind = 'cancel.rejected' AND e.reason <> '' AND {IN_GROUP}"),
    "withdrawn before it was approved": (
        EVENTS,
        "e.kind = 'cancel.withdrawn' AND EXISTS (SELECT 1 FROM subscriptions_event f"
        " WHERE f.order_id = e.order_id AND f.kind = 'cancel.awaiting_approval')",
    ),
    "cancelled with a credit": (LINES, "o.action = 'cancel' AND c.kind = 'credit' AND c.amount < 0"),
    "decreased with a credit": (LINES, "o.action = 'decrease' AND c.kind = 'credit' AND c.amount < 0"),
    "SKU changed": (LINES, "o.action = 'change_sku' AND o.status = 'completed' AND c.amount > 0"),
    "change of SKU planned": (ORDERS, "o.action = 'change_sku' AND o.status = 'scheduled'"),
    "term renewed": (EVENTS, "e.kind = 'renewal.renewed'"),
    "yearly": (OURS, "k.billing_period = 'year' AND s.auto_renew AND s.term_end < now() + '45 days'"),
    "line corrected": (LINES, "c.kind = 'correction'"),
    "another currency": (LINES, "c.currency = 'GBP' AND a.currency = 'GBP'"),
    "discount": (LINES, "a.discount = 10 AND position('less 10 %%' in c.words) > 0"),
    "German": ("subscriptions_account", "language = 'de'"),
    "company without its details": ("subscriptions_account", "legal_name = ''"),
    "product that needs them": ("subscriptions_product", "needs_company_details"),
    "larger SKU to go on in": (
        "subscriptions_changetarget t JOIN subscriptions_sku k ON k.id = t.sku_id JOIN subscriptions_sku l"
        " ON l.id = t.target_id",
        "l.seats_min <= k.seats_max AND l.seats_max > k.seats_max",
    ),
}  # fmt: skip


def states(rows):
    """How many rows of the database show each state; `rows` runs a query."""
    found = {}
    for state, (source, condition) in STATES.items():
        [(found[state],)] = rows(f"SELECT count(*) FROM {source} WHERE {condition}")
    return found


class Ledger:
    """Every line of the ledger beside what the log says it must be."""

    def __init__(self, rows):
        self.subscriptions = rows(
            "SELECT s.id, (s.started_at AT TIME ZONE a.time_zone)::date, s.period_end, s.trial_of_id IS NOT NULL,"
            " CASE k.billing_period WHEN 'year' THEN 12 ELSE 1 END FROM subscriptions_subscription s"
            " JOIN subscriptions_sku k ON k.id = s.sku_id JOIN subscriptions_account a ON a.id = s.account_id"
        )
        self.lines = defaultdict(list)
        for pk, *line in rows(
            "SELECT c.subscription_id, c.kind, o.action, c.event_id, c.seats, c.unit_price, c.amount,"
            " c.covers_from, c.covers_to FROM subscriptions_charge c"
            " LEFT JOIN subscriptions_order o ON o.id = c.order_id ORDER BY c.id"
        ):
            self.lines[pk].append(line)
        self.events = defaultdict(list)
        for pk, *event in rows(
            "SELECT e.subscription_id, e.id, e.kind, e.after, (e.at AT TIME ZONE a.time_zone)::date"
            " FROM subscriptions_event e JOIN subscriptions_account a ON a.id = e.account_id ORDER BY e.id"
        ):
            self.events[pk].append(event)

    def check(self):
        """One line for each period, from the first paid day to the current period's end; returns how many.

        No line is missing but those of periods that passed while suspended, each with the seats of its day.
        """
        checked = 0
        for pk, started, until, was_trial, months in self.subscriptions:
            changes = self._days(pk, "change_sku.completed")
            paid_from = self._days(pk, "convert.completed") if was_trial else [started] if started else []
            if not paid_from:
                assert not self.lines[pk], pk
                continue
            expected = [
                period
                for begin, end in zip(paid_from + changes, [*changes, until], strict=True)
                for period in periods(begin, end, months)
            ]
            assert expected[-1][1] == until, pk
            unbilled = self._unbilled(pk)
            assert not unbilled or self._days(pk, "suspend.completed"), pk
            billed = [line for line in self.lines[pk] if _bills_a_period(*line[:2])]
            assert [tuple(line[-2:]) for line in billed] == [one for one in expected if one[0] not in unbilled], pk
            for _, _, event, seats, price, amount, _, _ in billed:
                assert seats == self._seats(pk, event), pk
                assert amount == (seats * price).quantize(Decimal("0.01"), ROUND_HALF_UP), pk
            checked += len(billed)
        return checked

    def _days(self, pk, wanted):
        return [day for _, kind, _, day in self.events[pk] if kind == wanted]

    def _unbilled(self, pk):
        return {
            date.fromisoformat(after["Period"]) for _, kind, after, _ in self.events[pk] if kind == "period.unbilled"
        }

    def _seats(self, pk, event):
        done = [
            after["Seats"]
            for found, kind, after, _ in self.events[pk]
            if found <= event and kind.endswith(".completed") and "Seats" in after
        ]
        return done[-1]


def _bills_a_period(kind, action):
    return kind == "period" or (kind, action) == ("change", "change_sku")


def periods(begin, end, months):
    """Whole periods from a day on, until one reaches the end."""
    found, day = [], begin
    while day < end:
        years, month = divmod(begin.year * 12 + begin.month - 1 + months * (len(found) + 1), 12)
        after = date(years, month + 1, min(begin.day, calendar.monthrange(years, month + 1)[1]))
        found.append((day, after))
        day = after
    return found
