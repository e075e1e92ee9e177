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


def words(*columns: str) -> Func:
    """The words of one or two columns: what an index of the table holds, and `called` asks for."""
    return Func(*columns, function="subscriptions_words", output_field=SearchVectorField())


def called(rows: QuerySet[Any], text: str) -> QuerySet[Any]:
    """Those of `rows` that have every word of the text in their names, the last word perhaps only its beginning.

    For a model with `name_words`, which an index holds. Nothing is found by a text without words.
    """
    typed = unicodedata.normalize("NFC", text).replace("ß", "ss").translate(_TABLE).split()
    if not typed:
        return rows.none()
    quoted = [f"'{word[:_LONGEST_WORD]}'" for word in typed[:_MOST_WORDS]]
    question = SearchQuery(" & ".join(quoted) + ":*", config="simple", search_type="raw")
    return rows.alias(words=rows.model.name_words).filter(words=question)
