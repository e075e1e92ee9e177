"""How each ask of the port is said on the wire."""

from subscriptions.vendors.kaspersky import codec
from subscriptions.vendors.port import Activate, Ask, Cancel, ChangeProduct, Provision, Read, SetSeats, Suspend


def to_item(unit_id: int, ask: Ask) -> codec.Item:
    """The request item for `ask`, or ValueError."""
    subscriber_id = ask.subscriber_id
    match ask:
        case Provision() | SetSeats() | ChangeProduct():
            # Assumptions A1 and A2: seats and product are changed by the same item, with the new values.
            return codec.Activate(
                unit_id=unit_id,
                subscriber_id=subscriber_id,
                start_time=ask.starts_at,
                end_time=ask.ends_at,
                product_id=ask.product_id,
                license_count=ask.seats,
            )
        case Suspend():
            return codec.Pause(unit_id=unit_id, subscriber_id=subscriber_id, pause_time=ask.at)
        case Activate():
            return codec.Resume(unit_id=unit_id, subscriber_id=subscriber_id)
        case Cancel(mode="now"):
            return codec.HardCancel(unit_id=unit_id, subscriber_id=subscriber_id, end_time=ask.at)
        case Cancel(mode="end"):
            # Refused for a suspended licence (303): the caller resumes it first, or cancels it now.
            return codec.SoftCancel(unit_id=unit_id, subscriber_id=subscriber_id, end_time=ask.at)
        case Read():
            return codec.GetInfo(unit_id=unit_id, subscriber_id=subscriber_id)
        case _:
            raise ValueError(f"Not an ask of this protocol: {ask!r}")
