"""What the vendor says, in templates: `{% load vendor_words %}{{ line.theirs|in_words:line.field }}`."""

from django import template

from subscriptions import reconciliation

register = template.Library()


@register.filter
def in_words(noted: str, field: str) -> str:
    """As `reconciliation.in_words` has it: `Ended for good` for the status `HardCancelled`."""
    return reconciliation.in_words(field, noted)
