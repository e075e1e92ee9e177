"""Cells of the lists of BSS: `{% load lists %}{% for cell in row|labelled:headers %}{{ cell }}{% endfor %}`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django import template
from django.utils.html import escape, strip_tags
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

register = template.Library()

_TICK = ' class="field-tick"'


@register.filter
def labelled(row: Iterable[str], headers: Iterable[Mapping[str, Any]]) -> Iterator[SafeString]:
    """The cells of one row of a change list, each with its column's name for where rows are shown as cards.

    The first that is no box to tick is the header of its row. The roles stay what they are on a table that the style
    sheet lays out as something else. `row` and `headers` are those of the stock `result_list`.
    """
    heading = True
    for cell, header in zip(row, headers, strict=True):
        # The stock admin writes `<td class="…">…</td>`, and `th` where a row has a link of its own.
        inner = cell[len("<td") : -len("</td>")]
        label = escape(strip_tags(capfirst(header["text"])))
        if heading and not inner.startswith(_TICK):
            heading = False
            yield mark_safe(f'<th scope="row" role="rowheader"{inner}</th>')  # noqa: S308 - as the admin has escaped it
        else:
            yield mark_safe(f'<td role="cell" data-label="{label}"{inner}</td>')  # noqa: S308 - its label is escaped, too
