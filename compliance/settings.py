"""Settings, all of them from the environment: this module is its only reader.

docs/operations.md lists every variable with its unit and default.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import environ
from csp.constants import NONE, SELF
from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured

from compliance.webhooks.sources import read_sources

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

DEBUG = env.bool("DEBUG", default=False)
DEMO = env.bool("ASSAY_DEMO", default=False)


def _bounded_int(variable: str, *, default: int, least: int = 0, most: int | None = None, words: str = "") -> int:
    """A whole number of the environment, in its range."""
    value: int = env.int(variable, default=default)
    if value < least or (most is not None and value > most):
        words = words or (f"{least} or more" if most is None else f"{least} to {most}")
        raise ImproperlyConfigured(f"{variable} must be {words}")
    return value


SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    # Checks, lint and collectstatic need no secret; serving does, and compliance.wsgi refuses to start without one.
    SECRET_KEY = "unset-" + "x" * 60
SECRET_KEY_IS_SET = not SECRET_KEY.startswith("unset-")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])

# Encrypt stored credentials and the seeds of two-factor authentication, the newest first; the others still decrypt.
VAULT_KEYS = [key.strip() for key in env.list("ASSAY_VAULT_KEYS", default=[]) if key.strip()]

SITE_URL = env.str("SITE_URL", default="http://localhost:8000").rstrip("/")
_site = urlsplit(SITE_URL)
if _site.scheme not in ("http", "https") or not _site.hostname:
    raise ImproperlyConfigured(
        f"SITE_URL must be an http or https address such as https://assay.example, not {SITE_URL!r}"
    )
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[_site.hostname])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[SITE_URL])

INSTALLED_APPS = [
    "compliance.apps.ComplianceConfig",
    "dashboard.apps.DashboardConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "dashboard.staff.apps.StaffAdminConfig",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "django_filters",
    "django_tables2",
    "django_htmx",
    "csp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "dashboard.ops.middleware.HealthMiddleware",
    "dashboard.api.middleware.ApiMiddleware",
    "dashboard.accounts.middleware.AccountsAreNotKept",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

ROOT_URLCONF = "compliance.urls"
WSGI_APPLICATION = "compliance.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "dashboard.common.context.site",
            ],
        },
    },
]

# The web and the workers connect as the app role; `manage.py migrate` as the owner (docs/operations.md, "Roles").
_PREPARED = env.bool("DATABASE_PREPARED_STATEMENTS", default=True)
_UNSET_DATABASE = "postgres://assay_app@localhost/assay"


def _database(variable: str, default: str) -> dict[str, Any]:
    config: dict[str, Any] = env.db_url(variable, default=default)
    if config["ENGINE"] != "django.db.backends.postgresql":
        raise ImproperlyConfigured(f"{variable} must be a postgres:// address: Assay needs PostgreSQL 15 or later")
    return {
        **config,
        "CONN_MAX_AGE": env.int("DATABASE_CONN_MAX_AGE_SECONDS", default=600),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "connect_timeout": 10,
            "application_name": "assay",
            # Planning under row-level security costs more than running: a statement seen three times stays prepared.
            **({"server_side_binding": True, "prepare_threshold": 3} if _PREPARED else {}),
            **config.get("OPTIONS", {}),
        },
    }


DATABASES = {"default": _database("DATABASE_URL", _UNSET_DATABASE)}
DATABASES["owner"] = _database("DATABASE_OWNER_URL", env.str("DATABASE_URL", default=_UNSET_DATABASE))
DATABASES["owner"]["CONN_MAX_AGE"] = 0
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.str("REDIS_URL", default="redis://localhost:6379/0")
_redis = urlsplit(REDIS_URL)
if _redis.scheme not in ("redis", "rediss", "unix"):
    raise ImproperlyConfigured("REDIS_URL must be a redis://, rediss:// or unix:// address")
CACHES = {
    "default": {
        "BACKEND": "dashboard.common.cache.RedisOrMemory",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "assay",
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1},
    }
}

# Sessions live in the database: Redis may be emptied at any time without signing anybody out.
SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_NAME = "assay_session"
SESSION_COOKIE_HTTPONLY = True
MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"
MESSAGE_TAGS = {messages.DEBUG: "secondary", messages.ERROR: "danger"}  # Bootstrap's words

AUTH_USER_MODEL = "compliance.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "name*", "password1*", "password2*"]
ACCOUNT_FORMS = {"signup": "dashboard.accounts.signup.SignupForm"}
ACCOUNT_SIGNUP_FORM_CLASS = "dashboard.accounts.forms.SignupForm"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = env.str("ACCOUNT_EMAIL_VERIFICATION", default="optional" if DEMO or DEBUG else "mandatory")
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_ADAPTER = "dashboard.accounts.adapters.AccountAdapter"
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Assay"
MFA_ADAPTER = "dashboard.accounts.adapters.MFAAdapter"
# Staff see across organizations: a password alone is not enough, except where everything is made up.
STAFF_REQUIRES_MFA = env.bool("ASSAY_STAFF_REQUIRES_MFA", default=not (DEMO or DEBUG))
STAFF_ACCESS_MINUTES = env.int("ASSAY_STAFF_ACCESS_MINUTES", default=60)

EMAIL_CONFIG = env.email_url("EMAIL_URL", default="consolemail://")
vars().update(EMAIL_CONFIG)
EMAIL_TIMEOUT = 10  # seconds; a page waits for the mail server
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"Assay <assay@{_site.hostname}>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
FORMAT_MODULE_PATH = ["dashboard.common.formats"]

STATIC_URL = "/static/"
STATIC_ROOT = env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles"))
STATICFILES_DIRS = [BASE_DIR / "dashboard" / "static"]
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# Behind https everything is strict; a demo on http://localhost would otherwise lock its own users out.
_SECURE = _site.scheme == "https"
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=_SECURE)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if _SECURE else 0
# Binds every host below this one too; turn it off where some of them have no TLS.
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=_SECURE)
SECURE_HSTS_PRELOAD = SECURE_HSTS_INCLUDE_SUBDOMAINS
SESSION_COOKIE_SECURE = _SECURE
CSRF_COOKIE_SECURE = _SECURE
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if env.bool("BEHIND_PROXY", default=False):
    # Without it every visitor has the proxy's address, and one stranger's bad logins would block everybody.
    ALLAUTH_TRUSTED_PROXY_COUNT = env.int("TRUSTED_PROXY_COUNT", default=1)
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

CELERY_BROKER_URL = REDIS_URL
if _redis.scheme == "unix":  # which Celery calls by another name, as it does the number of the database
    _number = parse_qs(_redis.query).get("db", ["0"])[0]
    CELERY_BROKER_URL = f"redis+socket://{_redis.netloc}{_redis.path}?virtual_host={_number}"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
# A page must not wait for a broker that is away: the job is committed, and the cleanup finds it.
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": "assay:", "visibility_timeout": 3600, "socket_timeout": 10}
CELERY_TIMEZONE = "UTC"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    "tick": {"task": "compliance.monitors.tasks.tick", "schedule": timedelta(seconds=20)},
    "clean-up-jobs": {"task": "compliance.jobs.tasks.clean_up", "schedule": timedelta(seconds=15)},
    "forget-decisions": {"task": "compliance.monitors.tasks.forget_decisions", "schedule": timedelta(minutes=30)},
    "forget-deliveries": {"task": "compliance.webhooks.tasks.forget_deliveries", "schedule": timedelta(minutes=30)},
    "evidence": {"task": "compliance.runs.tasks.keep_evidence_partitions", "schedule": timedelta(minutes=30)},
}

# Tests and heartbeats; every number has its unit in its name.
EGRESS_ALLOW = tuple(env.list("ASSAY_EGRESS_ALLOW", default=[]))
# Engine to the folder of what it starts, for software that comes as a checkout.
ENGINE_PATHS = {"a2a-tck": env.str("A2A_TCK_PATH", default="")}
TEST_DEADLINE_SECONDS = env.int("ASSAY_TEST_DEADLINE_SECONDS", default=120)
STEP_TIMEOUT_SECONDS = env.int("ASSAY_STEP_TIMEOUT_SECONDS", default=10)
ENGINE_GRACE_SECONDS = 10  # past the deadline, for closing what is open; then the run is cut off
ENGINE_HEALTH_EVERY_SECONDS = 60  # how often a worker says which engines it has
ENGINE_HEALTH_VALID_SECONDS = 180  # after this what it said no longer counts
LEASE_SECONDS = env.int("ASSAY_LEASE_SECONDS", default=45)
JOB_MAX_ATTEMPTS = env.int("ASSAY_JOB_MAX_ATTEMPTS", default=3)
JOB_REDISPATCH_AFTER_SECONDS = _bounded_int("ASSAY_JOB_REDISPATCH_AFTER_SECONDS", default=15, least=1)
# How long work waits for somebody to serve it before it ends without a run.
JOB_EXPIRES_SECONDS = _bounded_int("ASSAY_JOB_EXPIRES_SECONDS", default=21_600, least=60)
PRIVATE_JOB_EXPIRES_SECONDS = _bounded_int("ASSAY_PRIVATE_JOB_EXPIRES_SECONDS", default=1800, least=60)
# Tests that people and keys asked for, in the queue of one private runner or one pool; its monitors' are beside them.
PRIVATE_QUEUE_MAX_JOBS = _bounded_int("ASSAY_PRIVATE_QUEUE_MAX_JOBS", default=100, least=1)
# How often private runners may hand a job back.
PRIVATE_JOB_MAX_RELEASES = _bounded_int("ASSAY_PRIVATE_JOB_MAX_RELEASES", default=10, least=0)
RUNNER_OFFLINE_AFTER_SECONDS = _bounded_int("ASSAY_RUNNER_OFFLINE_AFTER_SECONDS", default=90, least=1)
RUNNER_NOTIFY_OFFLINE_AFTER_SECONDS = _bounded_int("ASSAY_RUNNER_NOTIFY_OFFLINE_AFTER_SECONDS", default=600, least=1)
# How often it is written down that a runner was heard of: less often than it polls, and often enough not to seem away.
RUNNER_SEEN_EVERY_SECONDS = min(60, RUNNER_OFFLINE_AFTER_SECONDS / 2)
RUNNER_POLL_AFTER_SECONDS = 5  # when a runner asks again where its call is not held
# What is due while its runner is offline is looked at again after as long as it has waited, within these bounds.
RUNNER_DEFER_MIN_SECONDS = _bounded_int("ASSAY_RUNNER_DEFER_MIN_SECONDS", default=60, least=1)
RUNNER_DEFER_MAX_SECONDS = _bounded_int("ASSAY_RUNNER_DEFER_MAX_SECONDS", default=3600, least=RUNNER_DEFER_MIN_SECONDS)
RUNNER_RATE_PER_MINUTE = env.int("ASSAY_RUNNER_RATE_PER_MINUTE", default=6000)
RUNNER_REPORT_MAX_KB = env.int("ASSAY_RUNNER_REPORT_MAX_KB", default=16_384)
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * (RUNNER_REPORT_MAX_KB + 64)  # what no body may be more than
RUNNER_TOKEN_DAYS = env.int("ASSAY_RUNNER_TOKEN_DAYS", default=365)
REJECTED_REPORT_BYTES = 65_536  # what is kept of a report that could not be read
# Private runners that ask for work and find none wait in the web server (compliance/runners/waiting.py).
RUNNER_WAIT_MAX_SECONDS = _bounded_int("ASSAY_RUNNER_WAIT_MAX_SECONDS", default=55, least=0)
RUNNER_WAIT_MAX_POLLS = _bounded_int("ASSAY_RUNNER_WAIT_MAX_POLLS", default=2000, least=0)  # in each web process
RUNNER_WAIT_SCAN_SECONDS = _bounded_int("ASSAY_RUNNER_WAIT_SCAN_SECONDS", default=15, least=1)
# What the programs of engines may take together beside one worker process; 0: a quarter of the machine.
WORKER_ENGINE_MEMORY_MB = _bounded_int(
    "ASSAY_WORKER_ENGINE_MEMORY_MB", default=0, least=0, words="a number of MiB, or 0 for a quarter of the machine"
)
WORKER_ENGINE_PROGRAMS = _bounded_int(
    "ASSAY_WORKER_ENGINE_PROGRAMS", default=0, least=0, words="a number, or 0 for three for each core"
)
HEARTBEAT_DEFAULT_INTERVAL_HOURS = 12
HEARTBEAT_CONCURRENCY = env.int("ASSAY_HEARTBEAT_CONCURRENCY", default=32)
HEARTBEAT_OVERDUE_AFTER_MINUTES = env.int("ASSAY_HEARTBEAT_OVERDUE_AFTER_MINUTES", default=15)
MONITOR_MIN_INTERVAL_MINUTES = env.int("ASSAY_MONITOR_MIN_INTERVAL_MINUTES", default=5)
MONITOR_MAX_INTERVAL_MINUTES = env.int("ASSAY_MONITOR_MAX_INTERVAL_MINUTES", default=43200)
MONITOR_AGENT_CONCURRENCY = _bounded_int("ASSAY_MONITOR_AGENT_CONCURRENCY", default=2, least=1)
MONITOR_ORGANIZATION_CONCURRENCY = _bounded_int("ASSAY_MONITOR_ORGANIZATION_CONCURRENCY", default=20, least=1)
MONITOR_COOLDOWN_SECONDS = _bounded_int("ASSAY_MONITOR_COOLDOWN_SECONDS", default=60, least=0)
MONITOR_BUDGET_RUNS = _bounded_int("ASSAY_MONITOR_BUDGET_RUNS", default=5000, least=1)
MONITOR_BUDGET_WINDOW_HOURS = 24
# What is refused for want of capacity is tried again, first at the next tick and then ever less often, for so long.
MONITOR_CAPACITY_WAIT_MINUTES = _bounded_int("ASSAY_MONITOR_CAPACITY_WAIT_MINUTES", default=360, least=0)
MONITOR_RETRY_MAX_SECONDS = 300
MONITOR_PAUSE_AFTER_FAILURES = 5  # runs by schedule that say nothing about the agent, in a row
DECISION_RETENTION_DAYS = _bounded_int("ASSAY_DECISION_RETENTION_DAYS", default=90, least=7, most=3650)
# The tick comes every 20 seconds; when one of its phases has not completed for so long, it stands still.
TICK_DEAD_AFTER_SECONDS = _bounded_int("ASSAY_TICK_DEAD_AFTER_SECONDS", default=180, least=60)
METRICS_TOKEN = env.str("ASSAY_METRICS_TOKEN", default="")
MONITOR_TICK_SECONDS = 15  # how long one tick goes on while there is something due; the beat comes every 20
if not 1 <= MONITOR_MIN_INTERVAL_MINUTES <= MONITOR_MAX_INTERVAL_MINUTES <= 525_600:
    raise ImproperlyConfigured(
        "ASSAY_MONITOR_MIN_INTERVAL_MINUTES and ASSAY_MONITOR_MAX_INTERVAL_MINUTES must be 1 to 525600, in this order"
    )
if METRICS_TOKEN and len(METRICS_TOKEN) < 16:
    raise ImproperlyConfigured("ASSAY_METRICS_TOKEN must have 16 characters or more")
EVIDENCE_RETENTION_MONTHS = _bounded_int("ASSAY_EVIDENCE_RETENTION_MONTHS", default=13, least=3, most=1200)
GRANT_DEFAULT_DAYS = env.int("ASSAY_GRANT_DEFAULT_DAYS", default=90)
GRANT_MAX_DAYS = env.int("ASSAY_GRANT_MAX_DAYS", default=365)
# How much sooner than it says an access token is taken for expired: a run lasts a while, and clocks differ.
TOKEN_EXPIRY_MARGIN_SECONDS = env.int("ASSAY_TOKEN_EXPIRY_MARGIN_SECONDS", default=180)
# The API: what a key may do in a minute, and how often an address may show none that works.
API_KEY_DEFAULT_DAYS = env.int("ASSAY_API_KEY_DEFAULT_DAYS", default=90)
API_KEY_MAX_DAYS = env.int("ASSAY_API_KEY_MAX_DAYS", default=365)
API_RATE_PER_MINUTE = _bounded_int("ASSAY_API_RATE_PER_MINUTE", default=600, least=1)
API_FAILED_KEYS_PER_MINUTE = _bounded_int("ASSAY_API_FAILED_KEYS_PER_MINUTE", default=60, least=1)
API_BODY_MAX_KB = _bounded_int("ASSAY_API_BODY_MAX_KB", default=256, least=1)
if not 1 <= API_KEY_DEFAULT_DAYS <= API_KEY_MAX_DAYS:
    raise ImproperlyConfigured("ASSAY_API_KEY_DEFAULT_DAYS and ASSAY_API_KEY_MAX_DAYS must be 1 or more, in this order")
# Who may tell of new and changed agents: the source's name to its secrets, of which each may sign.
WEBHOOK_SECRETS = read_sources(env.list("ASSAY_WEBHOOK_SOURCES", default=[]))
WEBHOOK_TOLERANCE_SECONDS = _bounded_int("ASSAY_WEBHOOK_TOLERANCE_SECONDS", default=300, least=1, most=300)
WEBHOOK_COOLDOWN_SECONDS = _bounded_int("ASSAY_WEBHOOK_COOLDOWN_SECONDS", default=60, least=0)
WEBHOOK_RATE_PER_MINUTE = _bounded_int("ASSAY_WEBHOOK_RATE_PER_MINUTE", default=600, least=1)
WEBHOOK_RETENTION_DAYS = _bounded_int("ASSAY_WEBHOOK_RETENTION_DAYS", default=90, least=7, most=3650)
WEBHOOK_BODY_MAX_KB = 64
# E-mails of invitations in a day, those that are sent again among them.
INVITATIONS_PER_ORGANIZATION = _bounded_int("ASSAY_INVITATIONS_PER_ORGANIZATION", default=50)
INVITATIONS_PER_PERSON = _bounded_int("ASSAY_INVITATIONS_PER_PERSON", default=50)
INVITATIONS_PER_RECIPIENT = _bounded_int("ASSAY_INVITATIONS_PER_RECIPIENT", default=5)
INVITATION_VALID_DAYS = env.int("ASSAY_INVITATION_VALID_DAYS", default=7)

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "httpx": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        "mcp": {"level": "WARNING"},
        "a2a": {"level": "WARNING"},
        "django.server": {"level": "WARNING"},
    },
}
