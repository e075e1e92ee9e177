"""Half-open ranges of days, and how they follow each other from one anchor day."""

import calendar
from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True, slots=True)
class Period:
    """The days from `start` on, without `end`; at least one."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"A period cannot begin on {self.start} and end before {self.end}.")

    @property
    def days(self) -> int:
        return (self.end - self.start).days

    @property
    def last_day(self) -> date:
        return self.end - timedelta(days=1)

    def days_from(self, on: date) -> int:
        """How many of its days are `on` or later."""
        return max(0, (self.end - max(on, self.start)).days)


def add_months(day: date, months: int, anchor_day: int) -> date:
    """The anchor day of the month that lies so many months after that of `day`, or that month's last day."""
    if not 1 <= anchor_day <= 31:
        raise ValueError(f"No month has a day {anchor_day}.")
    years, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if not date.min.year <= years <= date.max.year:
        raise ValueError(f"The calendar does not reach {months} months from {day}.")
    return date(years, month + 1, min(anchor_day, calendar.monthrange(years, month + 1)[1]))


def first_period(on: date, months: int) -> Period:
    """The period that begins on a day and makes it the anchor."""
    return Period(on, add_months(on, months, on.day))


def next_period(period: Period, months: int, anchor_day: int) -> Period:
    """The period that follows without a gap, back on the anchor day where its month has it."""
    return Period(period.end, add_months(period.end, months, anchor_day))


def period_at(period: Period, months: int, anchor_day: int, day: date) -> Period:
    """The period that holds a day, this one or one after it."""
    if day < period.start:
        raise ValueError(f"{day} lies before the period that begins on {period.start}.")
    while day >= period.end:
        period = next_period(period, months, anchor_day)
    return period


def every(months: int) -> str:
    """How often a period of so many months is charged, such as "a month"."""
    return {1: "a month", 12: "a year"}.get(months, f"every {months} months")


def days_words(period: Period) -> str:
    """First and last day, saying month and year once where both share them: "20 to 31 March 2027"."""
    first, last = period.start, period.last_day
    if first == last:
        return day_words(last)
    if first.year != last.year:
        return f"{day_words(first)} to {day_words(last)}"
    if first.month != last.month:
        return f"{first.day} {calendar.month_name[first.month]} to {day_words(last)}"
    return f"{first.day} to {day_words(last)}"


def day_words(day: date) -> str:
    """A day for readers: "20 March 2027"."""
    return f"{day.day} {calendar.month_name[day.month]} {day.year}"
