"""The reader's choice of a light or a dark page."""

import pytest


def test_a_choice_is_kept_and_rendered_for_people_who_are_not_signed_in(client, db):
    answer = client.post("/theme/", {"theme": "dark", "next": "/account/login/?next=/orders/"})
    assert (answer.status_code, answer["Location"]) == (302, "/account/login/?next=/orders/")
    assert client.cookies["theme"]["samesite"] == "Lax"
    assert b'data-theme="dark"' in client.get("/account/login/").content


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", ""])
def test_the_way_back_never_leads_to_another_site(client, elsewhere):
    assert client.post("/theme/", {"theme": "light", "next": elsewhere})["Location"] == "/"


def test_only_the_three_themes_are_taken(client, db):
    assert client.post("/theme/", {"theme": '"><script>'}).status_code == 400
    client.cookies["theme"] = "purple"
    assert b'data-theme="auto"' in client.get("/account/login/").content


def test_a_choice_is_a_post(client):
    assert client.get("/theme/").status_code == 405
