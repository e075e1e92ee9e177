"""CSV as people send it: read line by line, or refused with the number of the line that is wrong."""

import csv
import io
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscriptions.bulk import Listed
from subscriptions.pricing import MINUS
from subscriptions.sheets import BLANKS, BadSheet, Sheet, bare, safe

GOOD = b"subscription,seats\nSUB-000001,30\nsub-2, 0012 \n3,5\n"


def lines(data, *, seats=True):
    needed = ["subscription", "seats"] if seats else ["subscription"]
    return list(Listed(Sheet(io.BytesIO(data), needed=needed), "file", seats=seats).lines())


def refusal(data, **options):
    with pytest.raises(BadSheet) as refused:
        lines(data, **options)
    return str(refused.value)


def test_rows_come_with_their_line_and_what_was_written():
    found = lines(GOOD)
    assert [(one.position, one.subscription_id, one.after, one.text) for one in found] == [
        (2, 1, {"Seats": 30}, "SUB-000001"), (3, 2, {"Seats": 12}, "sub-2"), (4, 3, {"Seats": 5}, "3"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.rstrip(b"\n"),
        b"sep=,\r\n" + GOOD,
        GOOD.replace(b"\n", b"\n\n,\n"),
        b'"Subscription", SEATS \n"SUB-000001","30"\nsub-2,12\n3,5\n',
        b'company,seats,subscription\n"Kr\xc3\xa4mer, ""K""\nGmbH",30,1\n,12,2\n-,5,3\n',
    ],
)
def test_harmless_differences_change_nothing(data):
    assert [(one.subscription_id, one.after["Seats"]) for one in lines(data)] == [(1, 30), (2, 12), (3, 5)]


def test_a_cell_with_line_breaks_keeps_the_numbers_right():
    found = lines(b'company,subscription,seats\n"two\nlines",1,5\nnone,2,6\n')
    assert [one.position for one in found] == [2, 4]
    assert "Line 4:" in refusal(b'company,subscription,seats\n"two\nlines",1,5\nnone,x,6\n')


WRONG = {
    "empty": (b"", "The file is empty"),
    "blank": (b"\n\n , \n", "The file is empty"),
    "header below": (b"\n\nsubscription\n", "Line 3 has no column"),
    "semicolons": (b"subscription;seats\n1;2\n", "Line 1: the columns are separated by semicolons. Separate"),
    "tabs": (b"subscription\tseats\n1\t2\n", "separated by tabs"),
    "column missing": (b"subscription,seat\n1,2\n", "Line 1 has no column “seats”. It has: subscription, seat."),
    "column repeated": (b"subscription,seats,Seats\n1,2,3\n", "Line 1 has the column “seats” more than once"),
    "other column repeated": (b"subscription,seats,x,x\n1,2,3,4\n", "the column “x” more than once"),
    "utf-16": ("subscription,seats\n1,2\n".encode("utf-16"), "UTF-16"),
    "utf-16 without a mark": ("subscription,seats\n1,2\n".encode("utf-16-le"), "Line 1 holds a NUL"),
    "latin 1": (b"subscription,seats\n1,2\nKr\xe4mer,3\n", "Line 3 is not in UTF-8"),
    "nul": (b"subscription,seats\n1,2\0\n", "Line 2 holds a NUL"),
    "too few cells": (b"subscription,seats\n1,2\n2\n", "Line 3 has 1 cells, and the header has 2"),
    "too many cells": (b"subscription,seats\n1,1,000\n", "Line 2 has 3 cells"),
    "thousands": (b'subscription,seats\n1,"1,000"\n', "Line 2: “1,000” is no number of seats. Write digits only"),
    "float": (b"subscription,seats\n1,1e3\n", "“1e3” is no number"),
    "negative": (b"subscription,seats\n1,-3\n", "“-3” is no number"),
    "other digits": ("subscription,seats\n1,٣\n".encode(), "is no number"),
    "no seats": (b"subscription,seats\n1,\n", "“” is no number"),
    "no subscription": (b"subscription,seats\nAcme,3\n", "Line 2: “Acme” is no subscription. Write its ID"),
    "zero of them": (b"subscription,seats\n,3\n", "Line 2: “” is no subscription"),
    "twice": (b"subscription,seats\n7,3\n8,3\nSUB-000007,4\n", "Line 4 names SUB-000007 a second time"),
    "open quotes": (b'subscription,seats\n1,2\n"3,4\n5,6\n', "Line 3 cannot be read: a quotation mark is opened"),
    "quotes inside": (b'subscription,seats\n"1"x,2\n', "Line 2 cannot be read: a quotation mark stands inside"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_its_line(case):
    data, sentence = WRONG[case]
    assert sentence in refusal(data)


def test_a_line_of_ten_megabytes_is_refused_before_it_is_read():
    data = io.BytesIO(b"subscription,seats\n" + b"1" * 10_000_000 + b",2\n")
    tracemalloc.start()
    try:
        with pytest.raises(BadSheet, match="Line 2 is longer than 64 KB"):
            list(Sheet(data, needed=["subscription"]))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_quotes_that_stay_open_do_not_swallow_a_large_file():
    data = io.BytesIO(b'subscription,seats\n"1,2\n' + b"1,2\n" * 1_000_000)
    with pytest.raises(BadSheet, match="Line 2 cannot be read: a quotation mark is opened there, and not closed"):
        list(Sheet(data, needed=["subscription"]))
    assert data.tell() < 1_000_000


@given(st.binary(max_size=300))
def test_whatever_is_sent_is_read_or_refused_with_a_sentence(data):
    try:
        found = lines(b"subscription,seats\n" + data)
    except BadSheet:
        return
    assert all(0 <= one.after["Seats"] <= 10**9 for one in found)
    assert len({one.subscription_id for one in found}) == len(found)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n1", "  =1", "\u3000=1", "\uff1d1", "\uff0b1", "\uff0d1",
        "\uff201", "=HYPERLINK(1)",
    ],
)  # fmt: skip
def test_a_text_that_could_be_a_formula_is_marked_as_text(text):
    assert safe(text) == f"'{text}"
    assert bare(safe(text)) == text


def test_our_own_words_need_no_mark():
    words = f"{MINUS}EUR 12.50, credit for 5 seats"
    assert safe(words) == words


def test_what_python_takes_for_blank_is_skipped():
    assert {one for one in map(chr, range(sys.maxunicode + 1)) if one.isspace()} == set(BLANKS)


@given(st.text(max_size=40))
def test_no_cell_is_a_formula(text):
    written = io.StringIO()
    csv.writer(written).writerow([safe(text)])
    [[cell]] = csv.reader(io.StringIO(written.getvalue(), newline=""))
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert cell.lstrip()[:1] not in tuple("=+-@\uff1d\uff0b\uff0d\uff20")
    assert cell in (text, f"'{text}")
