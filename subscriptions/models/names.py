"""Names found by their words: an expression for the index of a table, and what is typed as a question to it.

Letters are compared without case and accents; every sign that is no letter or digit parts words.
"""

import unicodedata
from typing import Any

from django.contrib.postgres.search import SearchQuery, SearchVectorField
from django.db.models import Func, QuerySet

# The function `subscriptions_words` has the same. PostgreSQL's own rules would take "d.o.o." for the name of a host.
_SIGNS = """!"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»·–—‘’‚“”„…"""  # noqa: RUF001 - as they stand in names
_PLAIN = dict.fromkeys(_SIGNS, " ") | {"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D"}
_PLAIN |= {
    letter: plain[0]
    for letter in map(chr, range(0xC0, 0x180))
    if len(plain := unicodedata.normalize("NFD", letter)) > 1 and plain[0].isascii()
}
_TABLE = str.maketrans(_PLAIN)
_MOST_WORDS, _LONGEST_WORD = 12, 60

FEW = 2_500
"""So many are named by their keys; more are so common that a list is quickest filled row by row."""


def words(*columns: str) -> Func:
    """The words of one or two columns: what an index of the table holds, and `called` asks for."""
    return Func(*columns, function="subscriptions_words", output_field=SearchVectorField())


def some(rows: QuerySet[Any], text: str) -> tuple[list[int], QuerySet[Any]]:
    """The keys of those that `called` finds, no more than FEW and one more, in no order; and a question for the rest.

    The keys alone are a question that PostgreSQL always has the index answer: 1 query, none for a text without words.
    """
    typed = unicodedata.normalize("NFC", text).replace("ß", "ss").translate(_TABLE).split()
    if not typed:
        return [], rows.none()
    quoted = [f"'{word[:_LONGEST_WORD]}'" for word in typed[:_MOST_WORDS]]
    question = SearchQuery(" & ".join(quoted) + ":*", config="simple", search_type="raw")
    asked = rows.alias(words=rows.model.name_words).filter(words=question)
    return list(asked.order_by().values_list("pk", flat=True)[: FEW + 1]), asked


def called(rows: QuerySet[Any], text: str) -> QuerySet[Any]:
    """Those of `rows` that have every word of the text in their names, the last word perhaps only its beginning.

    For a model with `name_words`, which an index holds; asks once when it is called. Without words nothing is found.
    """
    keys, asked = some(rows, text)
    return rows.filter(pk__among=keys) if len(keys) <= FEW else asked
