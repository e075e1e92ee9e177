"""What a person wants to buy: for which of their companies, which SKU, how many seats, as a trial or paid."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode

from babel import Locale
from django import forms
from django.http import Http404, QueryDict

from subscriptions import actions, clock, lifecycle, pricing
from subscriptions.actions import START, STOREFRONT, NotAllowed
from subscriptions.models import SKU, Account, Member, Role, Subscription, User
from subscriptions.storefront import proposals
from subscriptions.storefront.access import buys
from subscriptions.storefront.costs import Price
from subscriptions.storefront.forms import ConfirmForm, QuotedForm
from subscriptions.storefront.proposals import Proposal
from subscriptions.storefront.sold import days

LONGEST = 9
"""Digits of a number of seats; more would fit neither a column nor a licence."""


# --- for which company -----------------------------------------------------------------------------------------------


def member_for(memberships: Sequence[Member], wanted: str) -> Member | None:
    """The membership in the company of that number; without one, the first in which the person may buy.

    Somebody else's company is a 404. None for a person without a company.
    """
    if wanted:
        found = next((one for one in memberships if str(one.account_id) == wanted), None)
        if found is None:
            raise Http404
        return found
    return next((one for one in memberships if buys(one)), memberships[0] if memberships else None)


# --- what is typed ---------------------------------------------------------------------------------------------------


def read_seats(typed: str) -> int | None:
    """A number of seats of whatever SKU, plain ASCII digits only; None for nothing typed. Raises NotAllowed."""
    typed = typed.strip()
    if not typed:
        return None
    if not (typed.isascii() and typed.isdigit()):
        raise NotAllowed("seats_not_a_number", f"“{typed[:20]}” is not a number of seats. Enter one such as 25.")
    seats = int(typed) if len(typed.lstrip("0")) <= LONGEST else 10**LONGEST
    if not seats:
        raise NotAllowed("seats_missing", "Enter at least 1 seat.")
    return seats


def _company(members: Sequence[Member]) -> forms.ChoiceField:
    return forms.ChoiceField(
        label="Company",
        choices=[(str(one.account_id), one.account.name) for one in members],
        help_text="Prices are those of the company.",
    )


class AskForm(forms.Form):
    """For how many seats the catalogue shows its prices, and for which company where there are several."""

    seats = forms.CharField(
        label="Number of seats",
        required=False,
        help_text="Empty: the smallest number of each.",
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "class": "short"}),
    )

    def __init__(self, *args: Any, memberships: Sequence[Member], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if len(memberships) > 1:
            self.fields["account"] = _company(memberships)

    def clean_seats(self) -> int | None:
        try:
            return read_seats(self.cleaned_data["seats"])
        except NotAllowed as refusal:
            raise forms.ValidationError(refusal.sentence, code=refusal.code) from refusal


PAID, TRIAL = "paid", "trial"


class StartForm(forms.Form):
    """How many seats, for which company, and whether as a trial; the error names the SKU's range."""

    seats = forms.CharField(
        label="How many seats?",
        required=False,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off", "class": "seats-input"}),
    )

    def __init__(
        self, *args: Any, subscription: Subscription, memberships: Sequence[Member], trial: bool, **kwargs: Any
    ) -> None:
        """`subscription` is the one that would start; `trial` says whether one is possible."""
        super().__init__(*args, **kwargs)
        self.subscription = subscription
        sku = subscription.sku
        low, high = actions.seat_range(START, subscription)
        self.fields["seats"].help_text = (
            f"Between {low:,} and {high:,}." if low < high else f"Only {low:,} is possible."
        )
        if trial:
            choices = [(TRIAL, f"Try it free for {days(sku.trial_days)}"), (PAID, "Buy it")]
            self.fields["how"] = forms.ChoiceField(label="Trial or paid?", choices=choices, widget=forms.RadioSelect)
        choose_from = [one for one in memberships if buys(one)]
        if len(choose_from) > 1:
            self.fields["account"] = _company(choose_from)
        self.order_fields(["account", "how", "seats"])

    def clean_seats(self) -> int:
        try:
            return actions.read_seats(START, self.subscription, self.cleaned_data["seats"])
        except NotAllowed as refusal:
            raise forms.ValidationError(refusal.sentence, code=refusal.code) from refusal


def stepped(subscription: Subscription, typed: str, by: int) -> int:
    """The number typed (or the smallest one), one up or down, kept within the SKU's range."""
    low, high = actions.seat_range(START, subscription)
    start = int(typed) if typed.isascii() and typed.isdigit() and len(typed) <= LONGEST else low
    return min(max(start + by, low), high)


class PaidForm(QuotedForm):
    """What the check page of a purchase carries: the quote that was shown, and the key."""

    version = None  # type: ignore[assignment]  # there is none yet: takes the field out


class TrialForm(ConfirmForm):
    """What the check page of a trial carries: the end that was shown, and the key."""

    version = None  # type: ignore[assignment]  # there is none yet: takes the field out
    ends = forms.DateField(widget=forms.HiddenInput)


# --- the wish --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """A purchase as it was asked for; `subscription` is not saved, and its seats are those of the form once valid."""

    subscription: Subscription
    user: User
    member: Member
    memberships: Sequence[Member]
    typed: str
    at: datetime

    @property
    def sku(self) -> SKU:
        return self.subscription.sku

    @property
    def account(self) -> Account:
        return self.subscription.account

    @property
    def trial(self) -> bool:
        return self.subscription.trial_of_id is not None

    @property
    def asked(self) -> dict[str, str]:
        """For the form."""
        how = TRIAL if self.trial else PAID
        return {"seats": self.typed, "how": how, "account": str(self.account.pk)}

    @property
    def query(self) -> str:
        """All of it for an address, so that every page can lead to every other one."""
        asked = {"seats": self.typed, "how": TRIAL if self.trial else ""}
        if len(self.memberships) > 1:
            asked["account"] = str(self.account.pk)
        return urlencode({name: value for name, value in asked.items() if value})

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """The same for a form that is posted."""
        return [(name, value) for name, value in QueryDict(self.query).items() if isinstance(value, str)]

    @property
    def trial_ends(self) -> date:
        """When a trial that starts today ends by itself."""
        return actions.local_day(self.at, self.account) + timedelta(days=self.sku.trial_days)

    def why_not(self) -> NotAllowed | None:
        """Why it cannot be bought, apart from the number of seats and the company's details; at most 2 queries."""
        refusal = lifecycle.why_not_start(self.subscription, actor=self.user, audience=STOREFRONT)
        return None if refusal is None or refusal.code == "company_details" else refusal

    def needs_details(self) -> bool:
        return self.sku.product.needs_company_details and not self.account.has_details

    def propose(self, seats: int, shown: Any = None) -> Proposal:
        """What it costs now, in 1 query. Raises NotAllowed (`no_price`)."""
        self.subscription.seats = seats
        about = actions.Situation(self.subscription, self.user, STOREFRONT, Role(self.member.role))
        return proposals.propose(START, about, {"Seats": seats}, at=self.at, shown=shown)


def wanted(user: User, sku: SKU, asked: QueryDict, memberships: Sequence[Member]) -> Wanted | None:
    """What was asked for; None for a person without a company, a 404 for somebody else's. Needs `product` loaded."""
    member = member_for(memberships, asked.get("account", ""))
    if member is None:
        return None
    at, trial = clock.now(), asked.get("how") == TRIAL
    seats = sku.seats_min
    subscription = lifecycle.new_subscription(member.account, sku, seats, at, ordered_by=user, trial=trial)
    return Wanted(subscription, user, member, memberships, asked.get("seats", str(seats)).strip()[:30], at)


def price(proposal: Proposal, ends: date) -> Price:
    """The panel: what is due, or that a trial is free until it `ends`."""
    subscription, quote = proposal.subscription, proposal.quote
    seats = actions.seats_words(subscription.seats)
    if quote is not None:
        return Price.of(quote, f"Price for {seats}")
    words = f"Free until {actions.date_words(ends)}, when it ends by itself. Nothing is charged."
    try:
        terms = proposal.prices.terms_of(subscription)
        amount = pricing.money(terms.line(subscription.seats), subscription.currency)
    except pricing.NoPrice:
        return Price(f"Trial of {seats}", sentence=words)
    after = f"Converted, it costs {amount} {pricing.every(terms.months)} excl. VAT at today's prices."
    return Price(f"Trial of {seats}", sentence=f"{words} {after}")


# --- the company -----------------------------------------------------------------------------------------------------

# Codes of the library that name no country: groups of them, and what stands for an unknown one.
_NO_COUNTRIES = {"AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ"}
# Members of the European Union, and how their VAT IDs begin where that is not their code.
_EU = {
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV",
    "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
}  # fmt: skip
_VAT_PREFIX = {"GR": "EL"}
ADDRESS_LENGTH = 500


def countries() -> list[tuple[str, str]]:
    """Codes and English names, by name."""
    names = {str(code): str(name) for code, name in Locale("en").territories.items()}
    found = [one for one in names.items() if re.fullmatch("[A-Z]{2}", one[0]) and one[0] not in _NO_COUNTRIES]
    return sorted(found, key=lambda one: one[1])


class CompanyForm(forms.Form):
    """What a vendor or an invoice asks of a company."""

    legal_name = forms.CharField(
        label="Legal name",
        max_length=200,
        help_text="As it is registered, with its form: Acme GmbH.",
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
        error_messages={
            "required": "Enter the legal name of the company.",
            "max_length": "The legal name is too long: 200 characters are the most.",
        },
    )
    address = forms.CharField(
        label="Address",
        help_text="Street and number, postcode and place.",
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "street-address"}),
        error_messages={"required": "Enter the address of the company."},
    )
    country = forms.ChoiceField(
        label="Country",
        widget=forms.Select(attrs={"autocomplete": "country"}),
        error_messages={"required": "Choose the country.", "invalid_choice": "Choose a country from the list."},
    )
    vat_id = forms.CharField(
        label="VAT ID",
        required=False,
        help_text="With the letters of its country, such as SI12345678. Leave it empty if the company has none.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "short"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cast(forms.ChoiceField, self.fields["country"]).choices = [("", "Choose the country"), *countries()]

    def clean_address(self) -> str:
        # A browser sends each line end as two characters, which nobody has typed.
        address: str = self.cleaned_data["address"].replace("\r\n", "\n")
        if len(address) > ADDRESS_LENGTH:
            count = f"{len(address):,} characters"
            sentence = f"The address is too long: it has {count}, and {ADDRESS_LENGTH} are the most."
            raise forms.ValidationError(sentence, code="too_long")
        return address

    def clean_vat_id(self) -> str:
        """Without what people write between its groups."""
        typed: str = self.cleaned_data["vat_id"]
        vat_id = re.sub(r"[\s.\-]", "", typed).upper()
        if vat_id and not re.fullmatch(r"[A-Z0-9]{4,20}", vat_id):
            sentence = f"“{typed[:30]}” is not a VAT ID. Enter 4 to 20 letters and digits."
            raise forms.ValidationError(sentence, code="invalid")
        country = self.cleaned_data.get("country", "")
        begins = _VAT_PREFIX.get(country, country)
        if vat_id and country in _EU and not vat_id.startswith(begins):
            sentence = f"A VAT ID of this country begins with {begins}, such as {begins}12345678."
            raise forms.ValidationError(sentence, code="invalid")
        return vat_id
