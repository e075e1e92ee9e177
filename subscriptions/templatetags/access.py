"""What of the way around the site a person sees: `{% load access %}{% if user|sees_statements %}`."""

from django import template

from subscriptions import statements
from subscriptions.models import User

register = template.Library()


@register.filter
def sees_statements(user: User) -> bool:
    return statements.sees_statements(user)
