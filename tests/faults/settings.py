"""The portal as a worker of the fault tests runs it: the same, but for a gateway that may kill its own process."""

from portal.settings import *  # noqa: F403 - all of them, but for what follows
from portal.settings import VENDOR_READ_LIMIT, VENDORS

VENDORS["kaspersky"]["BACKEND"] = "tests.faults.gateway.KillingGateway"
# Workers that die again and again take longer to start than a day of the tests has for asking.
VENDOR_READ_LIMIT *= 10
