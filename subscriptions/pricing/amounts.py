"""Amounts of money: rounded to what their currency has, and in words."""

from decimal import Decimal
from fractions import Fraction
from math import floor

from babel.numbers import get_currency_precision

TIMES, BY, MINUS = "\N{MULTIPLICATION SIGN}", "\N{DIVISION SIGN}", "\N{MINUS SIGN}"


# Where the library follows what people use and not ISO 4217, by which books are kept.
_ISO_4217 = dict.fromkeys(
    ("AFN", "ALL", "IRR", "KPW", "LAK", "LBP", "MGA", "MMK", "RSD", "SLL", "SOS", "SYP", "YER"), 2
) | {"IQD": 3}


def minor_units(currency: str) -> int:
    """How many decimals an amount in this currency has (ISO 4217)."""
    return _ISO_4217.get(currency) or get_currency_precision(currency)


def rounded(amount: Decimal | Fraction, currency: str) -> Decimal:
    """Half up (halves away from zero) to the minor unit; the result has exactly its decimals."""
    places = minor_units(currency)
    units = floor(abs(Fraction(amount)) * 10**places + Fraction(1, 2))
    return Decimal(units if amount > 0 else -units).scaleb(-places)


def money(amount: Decimal, currency: str) -> str:
    """An amount for readers, rounded to the minor unit: "EUR 1,234.50", with a real minus sign in front."""
    amount = rounded(amount, currency)
    return f"{MINUS if amount < 0 else ''}{currency} {abs(amount):,f}"


def unit_money(price: Decimal, currency: str) -> str:
    """A price of one seat for readers, never rounded: at least the currency's decimals, more if it has more."""
    places = max(minor_units(currency), -int(price.normalize().as_tuple().exponent))
    return f"{currency} {price:,.{places}f}"


def counted(number: int, noun: str) -> str:
    """A number for readers, with its noun: "1 seat", "1,250 seats"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
