"""Django without anything; the database with its pool exactly as the product has it."""

from __future__ import annotations

from aurora.settings import ALLOWED_HOSTS, DATABASES, SECRET_KEY

__all__ = ["ALLOWED_HOSTS", "DATABASES", "SECRET_KEY"]

DEBUG = False
# The bridge's imports name models of these; they are not used.
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "benchmarks.bare.config.Silent"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "benchmarks.bare.urls"
LOGGING_CONFIG = None
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MAX_BODY_BYTES = 10 * 1024 * 1024
TRUSTED_PROXIES: list[str] = []
