"""The portal as a worker of the fault tests runs it: the same, but for a gateway that may kill its own process."""

from portal.settings import *  # noqa: F403
from portal.settings import VENDORS

VENDORS["kaspersky"]["BACKEND"] = "tests.faults.gateway.KillingGateway"
