"""Predictions inside a Django project: an app with settings, system checks, addresses and commands.

INSTALLED_APPS = [..., "saccade.integrations.django"]
SACCADE = {"PACKAGES": ["run/package"]}                     # or {"SERVER": "http://127.0.0.1:8000", "KEY": ...}
urlpatterns = [path("saccade/", include("saccade.integrations.django.urls"))]

from saccade.integrations.django.conf import models
models().client.predict("photos", request.FILES["photo"])
"""
