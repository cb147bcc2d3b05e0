"""A project without a database: one page, and the app of saccade.

PACKAGES names the packages, parted by commas; or SACCADE_SERVER the address of a saccade server, SACCADE_KEY its key.
"""

import os
from pathlib import Path

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "127.0.0.1,localhost").split(",")
ROOT_URLCONF = "photos.urls"
WSGI_APPLICATION = "photos.wsgi.application"
INSTALLED_APPS = ["photos", "saccade.integrations.django"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "photos.views.strict",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
STATIC = Path(__file__).resolve().parents[1] / "static"
LOGGING = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}

server = os.environ.get("SACCADE_SERVER")
SACCADE = {
    **({"SERVER": server, "KEY": os.environ.get("SACCADE_KEY")} if server else {}),
    **({} if server else {"PACKAGES": os.environ.get("PACKAGES", "run/package").split(",")}),
    # Everybody may ask. A project with accounts leaves GUARD and CSRF away: then users who are logged in may.
    "GUARD": "saccade.integrations.django.guards.anyone",
    "CSRF": "origin",
}
SILENCED_SYSTEM_CHECKS = ["saccade.W001"]
