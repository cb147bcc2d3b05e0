"""Gunicorn's settings: several workers, each of which opens its own models after the fork."""

import os
import secrets

bind = f"127.0.0.1:{os.environ.get('PORT', '8080')}"
workers = 2
worker_class = "gthread"  # a worker computes one batch while its other threads read uploads
threads = 4
timeout = 60
graceful_timeout = 30

os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(50))  # one for all workers


def post_worker_init(worker):
    """Now rather than at the first request. A package that cannot be opened stops the worker here, and says why."""
    from saccade.integrations.django.conf import models

    models().open()


def worker_exit(server, worker):
    """Accepted requests are answered, then threads and memory go."""
    from saccade.integrations.django.conf import models

    models().close()
