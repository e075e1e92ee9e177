"""Everything here that no public source proves. Change it here when the vendor says otherwise.

The wire format of v2.0 is known from public clients. Error numbers come from a public client of v1.0 (202 is seen in
v2.0 use too) and stand in `errors.py`; how seats and products are changed, how wrong credentials are reported and which
numbers may stand in a TransactionError are our guesses.
"""

from datetime import UTC, timezone
from typing import Final

SEATS_BY_REPEATED_ACTIVATE: Final = True
"""A1. `Activate` sent again with the same SubscriberId and ProductId sets the LicenseCount it carries, and keeps code
and start. Its StartTime is the order's instant, since no date may lie more than 14 days back (304). It is offered when
the option `seat_change` is `in_place`; it never stands for any other command."""

PRODUCT_BY_REPEATED_ACTIVATE: Final = True
"""A2. The same with another ProductId of the contract, for a subscriber that runs, replaces the product and sets the
LicenseCount; code and start stay. It is offered when the option `product_change` is `in_place`."""

AUTHENTICATION_ERRORS: Final = frozenset({9001})
"""A3. Numbers of a TransactionError that says "we do not know you": nothing was applied. 9001 is invented."""

TRANSACTION_ERRORS: Final = frozenset({6, 601, 602})
"""A4. Numbers that mean for a whole container what they mean for an item. A duplicated order (6) is settled by reads;
a command that is not allowed (601) or malformed (602) stopped the container before any item was looked at. Any other
number leaves open what became of the items."""

AUTHENTICATION_FAULT: Final = "Client.Authentication"
"""A5. SOAP 1.1 names this faultcode for missing or wrong credentials; we take it at its word."""

ZONE_OF_BARE_TIMES: Final[timezone] = UTC
"""A6. A dateTime without an offset is UTC, as the request's Timestamp is."""

UNKNOWN_SUBSCRIBER: Final = "SEATDESK-PING"
"""A7. No subscriber can have this id, because ours are 32 hexadecimal characters: reading it must give error 5."""
