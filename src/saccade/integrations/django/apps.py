"""The app as Django's registry knows it."""

from importlib import import_module

from django.apps import AppConfig


class Saccade(AppConfig):
    name = "saccade.integrations.django"
    label = "saccade"
    verbose_name = "saccade"

    def ready(self) -> None:
        import_module("saccade.integrations.django.checks")  # registers them
