"""Every setting once, top to bottom. What an operator may change comes from the environment (docs/configuration.md)."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import psycopg
from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff

from aurora import env, redis_url, secret_key
from aurora.embedded import locations

BASE_DIR = Path(__file__).resolve().parent.parent


def _data_dir(path: Path) -> Path:
    """Made where there is none; only its owner may look into it."""
    try:
        for folder in (path, path / "metrics"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ImproperlyConfigured(f"AURORA_DATA_DIR={str(path)!r} cannot be used: {error.strerror}") from None
    return path


DATA_DIR = _data_dir(Path(env.text("AURORA_DATA_DIR", str(BASE_DIR / ".aurora"))).expanduser().absolute())
ENVIRONMENT = env.choice("AURORA_ENV", "local", ["local", "production"])
IS_PRODUCTION = ENVIRONMENT == "production"

if IS_PRODUCTION:
    _required = ("AURORA_SECRET_KEY", "AURORA_ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL")
    if _absent := [name for name in _required if not env.text(name)]:
        raise ImproperlyConfigured(f"AURORA_ENV=production needs {', '.join(_absent)}")


# Identity and secrets

SECRET_KEY = env.text("AURORA_SECRET_KEY") or secret_key.of_installation(DATA_DIR)
if len(SECRET_KEY) < 50:
    raise ImproperlyConfigured("AURORA_SECRET_KEY must have at least 50 characters")

DEBUG = False
ALLOWED_HOSTS = env.names("AURORA_ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])
TRUSTED_PROXIES = env.networks("AURORA_TRUSTED_PROXIES")
HOST = env.text("AURORA_HOST", "127.0.0.1")
PORT = env.integer("AURORA_PORT", 8000, maximum=65535)


def _own_address() -> str:
    """Where a browser of the installation's people finds it, as far as can be told from here."""
    if IS_PRODUCTION:
        return f"https://{ALLOWED_HOSTS[0].lstrip('*.') or 'localhost'}"
    return f"http://{'127.0.0.1' if HOST in ('0.0.0.0', '::') else HOST}:{PORT}"  # noqa: S104 - compared, not listened on


PUBLIC_URL = env.base_url("AURORA_PUBLIC_URL", _own_address())
BOOTSTRAP_ADMIN = env.text("AURORA_BOOTSTRAP_ADMIN", "admin")
BOOTSTRAP_PASSWORD = env.text("AURORA_BOOTSTRAP_PASSWORD")
ACCESS_TOKEN_SECONDS = 15 * 60 if IS_PRODUCTION else 8 * 3600
REFRESH_TOKEN_SECONDS = 7 * 24 * 3600

# Applications

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # the plain one: the other puts its own AdminSite in the place of ours
    "aurora.apps.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_structlog",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "aurora.apps.AuroraConfig",
    "cases.apps.CasesConfig",
    "agents.apps.AgentsConfig",
    "realtime.apps.RealtimeConfig",
]
MIDDLEWARE = [
    "aurora.rest.middleware.EdgeMiddleware",
    # The trace's middleware comes here (aurora.observability.tracing).
    "aurora.rest.middleware.RequestContextMiddleware",
    "aurora.standin.middleware.StandInMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "aurora.standin.sessions.SessionClaimsMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "aurora.urls"
WSGI_APPLICATION = "aurora.wsgi.application"
ASGI_APPLICATION = "aurora.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
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
            ]
        },
    }
]

# PostgreSQL


def _database(url: str) -> dict[str, object]:
    """Django's dictionary from a libpq URL; what Django has no name for goes to the driver as it is."""
    try:
        options: dict[str, object] = dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError as error:
        raise ImproperlyConfigured(f"DATABASE_URL: {error}") from None
    named = {key: str(options.pop(name, "") or "") for key, name in _LIBPQ_NAMES.items()}
    options |= {
        "connect_timeout": 2,
        # A slot for every request thread and for the agents that requests ask, and none that waits 30 s (the pool's default) for a server that is gone.
        "pool": {"min_size": 1, "max_size": 40, "timeout": 2.0, "max_idle": 120.0, "reconnect_timeout": 30.0},
        "options": "-c statement_timeout=30000 -c idle_in_transaction_session_timeout=60000",
    }
    return {
        "ENGINE": "aurora.resilience.postgresql",
        **named,
        "OPTIONS": options,
        "CONN_HEALTH_CHECKS": True,
        "ATOMIC_REQUESTS": False,
    }


_LIBPQ_NAMES = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
DATABASE_URL = env.text("DATABASE_URL") or locations.database_url(DATA_DIR)
REDIS_URL = env.text("REDIS_URL") or locations.redis_url(DATA_DIR)
try:
    REDIS = redis_url.parse(REDIS_URL)
except ValueError as error:
    raise ImproperlyConfigured(f"REDIS_URL: {error}") from None
USES_EMBEDDED_POSTGRES = not env.text("DATABASE_URL")
USES_EMBEDDED_REDIS = not env.text("REDIS_URL")
DATABASES = {"default": _database(DATABASE_URL)}
DATABASE_ROUTERS = ["aurora.standin.router.StandInRouter"]

# Redis: a channel layer for control messages between processes (alerts travel on streams, see `aurora.bus`), and the counts of sign-ins by name.


def _channel_host(place: redis_url.Location) -> dict[str, object]:
    """As channels_redis wants it. Pub/sub reaches all of a Cluster from any of its nodes."""
    waits = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0, "retry": AsyncRetry(NoBackoff(), 0)}
    access = {"username": place.username, "password": place.password}
    if place.kind is redis_url.Kind.SERVER:
        return {"address": place.url, **waits}
    if place.kind is redis_url.Kind.CLUSTER:
        return {"address": place.node_url, **access, **waits}
    asking = {**waits, "password": place.sentinel_password}
    named = {"sentinels": list(place.nodes), "master_name": place.master, "sentinel_kwargs": asking}
    return {**named, **access, **waits, "db": place.database, "ssl": place.is_tls}


CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            "hosts": [_channel_host(REDIS)],
            "prefix": f"aurora:channels:{REDIS.database}:",  # pub/sub knows no databases
        },
    }
}
CACHES = {"default": {"BACKEND": "aurora.cache.Cache", "LOCATION": "", "KEY_PREFIX": "aurora:cache"}}
SILENCED_SYSTEM_CHECKS = ["django_ratelimit.W001"]  # it knows Django's Redis cache by name only, of which ours is one

# Signing in, sessions

AUTHENTICATION_BACKENDS = ["aurora.rest.permissions.RoleBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
SESSION_COOKIE_NAME = "aurora_session"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "aurora_csrf"

# Transport

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
APPEND_SLASH = True
if IS_PRODUCTION:
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    CSRF_TRUSTED_ORIGINS = [f"https://{host.replace('*', '')}" for host in ALLOWED_HOSTS if host != "*"]
if IS_PRODUCTION and TRUSTED_PROXIES:
    # Without a proxy that ends TLS there is nothing to redirect to. Of others than the proxy, `EdgeMiddleware` drops the header.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^health/", r"^metrics$"]
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
if not TRUSTED_PROXIES:
    SILENCED_SYSTEM_CHECKS = [
        "security.W004",
        "security.W008",
    ]  # HSTS and the redirect are then for whatever ends TLS to send
MAX_BODY_BYTES = env.integer("AURORA_MAX_BODY_BYTES", 10 * 1024 * 1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
EVIDENCE_DIR = env.text("AURORA_EVIDENCE_DIR")

# API

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "aurora.rest.auth.CredentialAuthentication",
        "aurora.rest.auth.ConsoleSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["aurora.rest.permissions.DeclaredPermission"],
    "DEFAULT_RENDERER_CLASSES": ["aurora.rest.renderers.JsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "aurora.rest.openapi.ContractSchema",
    "EXCEPTION_HANDLER": "aurora.rest.problems.handle",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "AuroraSOC",
    "DESCRIPTION": 'Alerts in, investigations, cases and responses out. Every error is `{"detail": …}`.',
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": ["aurora.rest.openapi.with_shared_parts"],
}
RATE_LIMITS = {
    "general": env.rate("AURORA_RATE_GENERAL", "100/60"),
    "investigations": env.rate("AURORA_RATE_INVESTIGATIONS", "10/60"),
    "playbooks": env.rate("AURORA_RATE_PLAYBOOKS", "5/60"),
    "ingest": env.rate("AURORA_RATE_INGEST", "6000/60"),
    "login": env.rate("AURORA_RATE_LOGIN", "10/60"),
    "credentials": env.rate("AURORA_RATE_CREDENTIALS", "6000/60"),
    "sockets": env.rate("AURORA_RATE_SOCKETS", "600/60"),
}

# Modes, agents, bus, sockets

MODE = env.choice("AURORA_MODE", "real", ["real", "dry_run", "demo"])
DEGRADED_READS = env.choice("AURORA_DEGRADED_READS", "demo", ["demo", "snapshot", "unavailable"])
BREAKER_FAILURES = env.integer("AURORA_BREAKER_FAILURES", 3)
BREAKER_RESET_SECONDS = env.seconds("AURORA_BREAKER_RESET_SECONDS", 30)
AGENT_TIMEOUT_SECONDS = env.seconds("AURORA_AGENT_TIMEOUT_SECONDS", 30)
RETRY_ATTEMPTS = env.integer("AURORA_RETRY_ATTEMPTS", 3)
RETRY_BASE_SECONDS = env.seconds("AURORA_RETRY_BASE_SECONDS", 1)
AGENT_TOKEN = env.text("AURORA_AGENT_TOKEN")
AGENT_PLAIN_HTTP_HOSTS = frozenset(name.lower() for name in env.names("AURORA_AGENT_PLAIN_HTTP_HOSTS"))
LLM_BASE_URL = env.url("AURORA_LLM_BASE_URL", plain_http_hosts=AGENT_PLAIN_HTTP_HOSTS)
LLM_MODEL = env.text("AURORA_LLM_MODEL")
LLM_API_KEY = env.text("AURORA_LLM_API_KEY")
if bool(LLM_BASE_URL) != bool(LLM_MODEL) or (LLM_API_KEY and not LLM_BASE_URL):
    raise ImproperlyConfigured(
        "AURORA_LLM_BASE_URL and AURORA_LLM_MODEL need each other, AURORA_LLM_API_KEY needs both"
    )
LLM_TIMEOUT_SECONDS = env.seconds("AURORA_LLM_TIMEOUT_SECONDS", 30)
LLM_ANSWER_TOKENS = env.integer("AURORA_LLM_ANSWER_TOKENS", 1_500, maximum=32_000)
LLM_CALLS_PER_INVESTIGATION = env.integer("AURORA_LLM_CALLS_PER_INVESTIGATION", 2, maximum=100)
LLM_TOKENS_PER_INVESTIGATION = env.integer("AURORA_LLM_TOKENS_PER_INVESTIGATION", 20_000)
LLM_CALLS_PER_HOUR = env.integer("AURORA_LLM_CALLS_PER_HOUR", 60, maximum=1_000_000)
LLM_TOKENS_PER_HOUR = env.integer("AURORA_LLM_TOKENS_PER_HOUR", 300_000, minimum=1_000, maximum=1_000_000_000)
APPROVAL_SECONDS = env.seconds("AURORA_APPROVAL_SECONDS", 1800)
BUSINESS_HOURS = env.hours("AURORA_BUSINESS_HOURS", "Mon-Fri 08:00-18:00 UTC")
CONNECTOR_NETWORKS = env.networks("AURORA_CONNECTOR_NETWORKS")
BUS_CLAIM_SECONDS = env.seconds("AURORA_BUS_CLAIM_SECONDS", 30)
BUS_MAX_DELIVERIES = env.integer("AURORA_BUS_MAX_DELIVERIES", 5)
BUS_STREAM_CAP = env.integer("AURORA_BUS_STREAM_CAP", 1_000_000)
WS_MAX_CONNECTIONS = env.integer("AURORA_WS_MAX_CONNECTIONS", 500)

# What intake keeps on this machine's disk while PostgreSQL is away

SPOOL_MAX_ENTRIES = env.integer("AURORA_SPOOL_MAX_ENTRIES", 1_000_000)
SPOOL_MAX_BYTES = env.integer("AURORA_SPOOL_MAX_BYTES", 1024 * 1024 * 1024)

# Pages

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles" if IS_PRODUCTION else None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if IS_PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
# Locally the files are served from where they lie: no collectstatic before the first page.
WHITENOISE_USE_FINDERS = not IS_PRODUCTION

# Logs, traces, metrics

# prometheus_client reads it when it is first imported; see aurora.observability.metrics.
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(DATA_DIR / "metrics"))

LOG_FORMAT = env.choice("AURORA_LOG_FORMAT", "json" if IS_PRODUCTION else "console", ["console", "json"])
OTEL_ENDPOINT = env.text("OTEL_EXPORTER_OTLP_ENDPOINT")
OTEL_SERVICE_NAME = env.text("OTEL_SERVICE_NAME", "aurorasoc")
LOGGING_CONFIG = "aurora.observability.logs.configure"
LOGGING = {"format": LOG_FORMAT}
# One line a request: the start is of use to nobody. The address is bound by us, who know which proxies to believe.
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_STATUS_4XX_LOG_LEVEL = logging.INFO
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
DJANGO_STRUCTLOG_USER_ID_FIELD = None
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True

from aurora.console.theme import UNFOLD  # noqa: E402, F401
