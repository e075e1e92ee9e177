"""Every setting of the portal, production-safe by default; the README's table explains what can be set from outside."""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from portal import demo_clock, embedded_postgres
from portal.environment import MAKE_A_KEY, Environment
from portal.logs import bind_job, mask_secrets

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment()

TESTING = "pytest" in sys.modules
DATABASE_URL = embedded_postgres.database_url(sys.argv)
# What talks to an embedded server without being told belongs to a demo.
_OF_THE_DEMO = not TESTING and bool(DATABASE_URL) and "DATABASE_URL" not in os.environ
DEMO = env.flag("SEATDESK_DEMO", default=_OF_THE_DEMO)
# Neither the demo nor the tests have secrets worth guarding; everything else must be given its own.
_LOCAL = TESTING or DEMO
_INSECURE = "insecure-for-the-demo-and-tests-only"

DEBUG = False
SECRET_KEY = env.str("SECRET_KEY", default=_INSECURE if _LOCAL else "")
if DATABASE_URL and not SECRET_KEY and not embedded_postgres.needs_none(sys.argv):
    raise ImproperlyConfigured(
        f"Set SECRET_KEY to at least 50 random characters; sessions and codes depend on it. {MAKE_A_KEY}"
    )
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
# Fernet keys for activation codes; the first encrypts, all decrypt. Without one, a key is derived from SECRET_KEY.
ENCRYPTION_KEYS = env.list("ENCRYPTION_KEYS", default=[])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]", "testserver"] if _LOCAL else [])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
BASE_URL = env.str("BASE_URL", default="http://127.0.0.1:8000")

DATABASES = {
    "default": {
        **embedded_postgres.settings_from(DATABASE_URL or ""),
        # Connections are kept open: opening one for each request halves the throughput of a page.
        "CONN_MAX_AGE": env.whole("CONN_MAX_AGE", default=300),
        "CONN_HEALTH_CHECKS": True,
        "ATOMIC_REQUESTS": False,
    }
}

INSTALLED_APPS = [
    # First, since its command `procrastinate` stands for the one that comes with procrastinate.
    "portal.apps.PortalConfig",
    "portal.apps.BssConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.forms",
    "allauth",
    "allauth.account",
    "csp",
    "django_htmx",
    "django_structlog",
    "procrastinate.contrib.django",
    "pgtrigger",
    "subscriptions",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "portal.health.ProbeMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "portal.request_log.RequestMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "portal.nul.NulMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "portal.viewing.ViewingMiddleware",
]
ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.theme.theme",
                "portal.viewing.whose_eyes",
            ]
        },
    }
]
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
# The demo and the tests serve files from where they lie.
STATIC_ROOT = None if _LOCAL else env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles"))
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if _LOCAL
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = _LOCAL

# --- sign-in ---------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "subscriptions.User"
AUTHENTICATION_BACKENDS = ["portal.sign_in.Backend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_ADAPTER = "portal.sign_in.ClosedAccountAdapter"
ACCOUNT_FORMS = {
    name: f"portal.sign_in_forms.{form}"
    for name, form in (
        ("login", "LoginForm"),
        ("reset_password", "ResetPasswordForm"),
        ("reset_password_from_key", "ResetPasswordKeyForm"),
        ("change_password", "ChangePasswordForm"),
        ("set_password", "SetPasswordForm"),
        ("reauthenticate", "ReauthenticateForm"),
    )
}
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
# People come by invitation, so the address was proven before the account existed.
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_PRESERVE_USERNAME_CASING = False
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = "Seatdesk: "
ACCOUNT_REAUTHENTICATION_TIMEOUT = env.whole("REAUTHENTICATION_TIMEOUT", default=15 * 60)
ACCOUNT_REAUTHENTICATION_REQUIRED = True
# Seconds for which staff view as a customer before it ends by itself.
VIEWING_LIMIT = env.number("VIEWING_LIMIT", default=30 * 60)
# The browser tests sign in more often within a minute than a person would.
ACCOUNT_RATE_LIMITS: bool | dict[str, str] = False if TESTING else {}
CACHES = {
    # Rate limits must hold over all web processes, so the cache is shared; PostgreSQL is the one server we have.
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "shared_cache",
        # Over 300, the default, a third is thrown away: a few hundred addresses would lift everybody's limits.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}

# --- page policy and transport ---------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "manifest-src": [SELF],
    }
}
SECURE_PLAIN_HTTP = env.flag("SECURE_PLAIN_HTTP", default=_LOCAL)
SECURE_SSL_REDIRECT = not SECURE_PLAIN_HTTP
# Probes ask this process itself, past the proxy that speaks TLS.
SECURE_REDIRECT_EXEMPT = [r"^(livez|readyz|metrics)$"]
BEHIND_PROXY = env.flag("BEHIND_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
# Without it all customers would share the proxy's address and so one limit of sign-ins.
ALLAUTH_TRUSTED_PROXY_COUNT = 1 if BEHIND_PROXY else 0
SECURE_HSTS_SECONDS = 0 if SECURE_PLAIN_HTTP else env.whole("SECURE_HSTS_SECONDS", default=365 * 24 * 3600)
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not SECURE_PLAIN_HTTP
SESSION_COOKIE_AGE = 14 * 24 * 3600
CSRF_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"

# --- mail ------------------------------------------------------------------------------------------------------------
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="Seatdesk <no-reply@seatdesk.example>")
vars().update(env.mail_server("EMAIL_URL", default="consolemail://" if _LOCAL else "smtp://localhost:25"))
if _mail_folder := env.str("MAIL_FOLDER", default=""):
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = _mail_folder
EMAIL_TIMEOUT = 10

# Every wait below is multiplied by it; tests run at a fiftieth.
WAIT_SCALE = env.number("WAIT_SCALE", default=0.02 if TESTING else 1.0)

# --- vendors ---------------------------------------------------------------------------------------------------------
VENDORS: dict[str, dict[str, Any]] = {
    "kaspersky": {
        "BACKEND": "subscriptions.vendors.kaspersky.gateway.KasperskyGateway",
        "OPTIONS": {
            # The default endpoint is the local emulator; no vendor host is a default anywhere.
            "endpoint": env.str("KASPERSKY_ENDPOINT", default="http://127.0.0.1:8010/"),
            "username": env.str("KASPERSKY_USERNAME", default="seatdesk"),
            "password": env.str("KASPERSKY_PASSWORD", default="emulator-only"),
            "client_cert": env.str("KASPERSKY_CLIENT_CERT", default=None),
            "client_key": env.str("KASPERSKY_CLIENT_KEY", default=None),
            "ca_file": env.str("KASPERSKY_CA_FILE", default=None),
            "seat_change": env.str("KASPERSKY_SEAT_CHANGE", default="in_place"),
            "product_change": env.str("KASPERSKY_PRODUCT_CHANGE", default="in_place"),
            "connect_timeout": env.number("VENDOR_CONNECT_TIMEOUT", default=5.0 * WAIT_SCALE),
            "read_timeout": env.number("VENDOR_READ_TIMEOUT", default=30.0 * WAIT_SCALE),
            "attempt_timeout": env.number("VENDOR_ATTEMPT_TIMEOUT", default=45.0 * WAIT_SCALE),
        },
    }
}

# --- waiting (seconds); vendor-protocol.md, section 5, gives the source of each number ------------
VENDOR_ATTEMPT_DEADLINE = env.number("VENDOR_ATTEMPT_DEADLINE", default=60.0 * WAIT_SCALE)
VENDOR_DEADLINE_MARGIN = 5.0 * WAIT_SCALE
VENDOR_RETRY_DELAYS = [seconds * WAIT_SCALE for seconds in (5, 30, 120, 600, 3600)]
VENDOR_RETRY_JITTER = 0.2
VENDOR_RETRY_LIMIT = 24 * 3600 * WAIT_SCALE
VENDOR_READ_DELAYS = [seconds * WAIT_SCALE for seconds in (2, 10, 60, 300)]
VENDOR_READ_LIMIT = 15 * 60 * WAIT_SCALE
VENDOR_NOT_APPLIED_AFTER = 60.0 * WAIT_SCALE
VENDOR_PING_EVERY = 60.0 * WAIT_SCALE
VENDOR_DETAILS_WITHIN = 8.0
VENDOR_DETAILS_AT_ONCE = 4
# How many records one container asks for where nobody waits: reconciliation, and the check of a takeover.
VENDOR_READ_TOGETHER = env.whole("VENDOR_READ_TOGETHER", default=500, least=1)
# The hour (UTC) at which all subscriptions are compared with the vendor's records; -1: never by itself.
RECONCILE_HOUR = env.whole("RECONCILE_HOUR", default=2, least=-1, most=23)
JOB_SOON = 5 * 60 * WAIT_SCALE
TAKING_LONG = 120.0
WORKER_HEARTBEAT = 10.0 * WAIT_SCALE
WORKER_STALLED_AFTER = 30.0 * WAIT_SCALE
WORKER_POLLING = env.number("WORKER_POLLING", default=0.2)
# With six fields the last one counts seconds.
UPKEEP_CRON = env.str("UPKEEP_CRON", default="* * * * * *" if TESTING else "* * * * * */15")

PROCRASTINATE_IMPORT_PATHS = [
    "subscriptions.bulk.tasks", "subscriptions.figures", "subscriptions.fulfilment", "subscriptions.notifications",
    "subscriptions.notifications.gathering", "subscriptions.reconciliation.nightly", "subscriptions.renewals",
]  # fmt: skip
PROCRASTINATE_WORKER_DEFAULTS = {
    "concurrency": env.whole("WORKER_CONCURRENCY", default=8, least=1),
    "fetch_job_polling_interval": WORKER_POLLING,
    "update_heartbeat_interval": WORKER_HEARTBEAT,
    "stalled_worker_timeout": WORKER_STALLED_AFTER,
    # An attempt may take VENDOR_ATTEMPT_DEADLINE; whatever outlives this is found again by its heartbeat.
    "shutdown_graceful_timeout": env.number("WORKER_SHUTDOWN_TIMEOUT", default=60.0),
    "delete_jobs": "successful",
    "worker_middleware": [bind_job],
}

# Seconds by which business time runs ahead; web, worker and emulator share it, and so does a command beside a demo.
_kept = demo_clock.kept(embedded_postgres.demo_data(sys.argv)) if _OF_THE_DEMO else timedelta()
CLOCK_OFFSET = timedelta(seconds=env.number("CLOCK_OFFSET", default=_kept.total_seconds()))

# --- operations ------------------------------------------------------------------------------------------------------
# Opens /metrics, and the details of /readyz; without one there are none.
OPERATIONS_TOKEN = env.str("OPERATIONS_TOKEN", default="")
# A job under the lock of another one may have to wait for JOB_SOON, which is no fault.
READY_JOB_AGE = env.number("READY_JOB_AGE", default=600.0)
# The last order of a bulk run of a million is due for some twenty minutes before its turn comes.
READY_ORDER_AGE = env.number("READY_ORDER_AGE", default=3600.0)
METRICS_WINDOW = env.number("METRICS_WINDOW", default=300.0)

# --- logs ------------------------------------------------------------------------------------------------------------
_level = env.one_of(
    "LOG_LEVEL", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", default="WARNING" if _LOCAL else "INFO"
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                mask_secrets,
                structlog.dev.ConsoleRenderer(colors=False) if _LOCAL else structlog.processors.JSONRenderer(),
            ],
            "foreign_pre_chain": [
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso"),
                structlog.stdlib.PositionalArgumentsFormatter(),
                structlog.processors.format_exc_info,
            ],
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["stderr"], "level": _level},
    # httpx would log each address it calls, procrastinate each argument of each job.
    "loggers": {
        "httpx": {"level": "WARNING"},
        "procrastinate": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
    },
}
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
        mask_secrets,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
