"""What a change costs: pure, exact, and in words that a customer can check with a pocket calculator.

No database, no clock. Money is Decimal at the currency's minor unit; shares of it are exact fractions until the one
rounding of their line. Days are dates in the account's time zone; periods are half-open ranges of them.
"""

from subscriptions.pricing.amounts import BY, MINUS, TIMES, minor_units, money, rounded, unit_money
from subscriptions.pricing.changes import (
    Activate,
    Cancel,
    Change,
    ChangeSKU,
    Convert,
    EndOfPeriod,
    NextPeriod,
    Paid,
    SetSeats,
    Standing,
    Start,
)  # fmt: skip
from subscriptions.pricing.periods import Period, add_months, days_words, every, first_period, next_period, period_at
from subscriptions.pricing.policies import quote
from subscriptions.pricing.quotation import Later, Line, Quote, begun, with_plan
from subscriptions.pricing.terms import Band, NoPrice, Terms

__all__ = [
    "BY", "MINUS", "TIMES", "Activate", "Band", "Cancel", "Change", "ChangeSKU", "Convert", "EndOfPeriod", "Later",
    "Line", "NextPeriod", "NoPrice", "Paid", "Period", "Quote", "SetSeats", "Standing", "Start", "Terms",
    "add_months", "begun", "days_words", "every", "first_period", "minor_units", "money", "next_period", "period_at",
    "quote", "rounded", "unit_money", "with_plan",
]  # fmt: skip
