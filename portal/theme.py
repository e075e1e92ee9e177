"""The reader's choice of a light or a dark page, kept in a cookie and rendered on `<html>`."""

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

COOKIE = "theme"
CHOICES = ("auto", "light", "dark")


def theme(request: HttpRequest) -> dict[str, str]:
    """Context processor: `theme` is one of CHOICES, whatever the cookie says."""
    chosen = request.COOKIES.get(COOKIE, "auto")
    return {"theme": chosen if chosen in CHOICES else "auto"}


@login_not_required
@require_POST
def choose(request: HttpRequest) -> HttpResponse:
    """Keep the choice for a year and go back to the page it was made on; never to another site."""
    chosen = request.POST.get("theme")
    if chosen not in CHOICES:
        return HttpResponseBadRequest("The theme is light, dark or auto.", content_type="text/plain; charset=utf-8")
    back = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure()):
        back = "/"
    response = HttpResponseRedirect(back)
    response.set_cookie(
        COOKIE,
        chosen,
        max_age=365 * 24 * 3600,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return response
