"""manage.py saccade_models: what this project's models are, and whether they answer."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from saccade.errors import SaccadeError
from saccade.integrations.django.conf import forget, models


class Command(BaseCommand):
    help = "List the models of SACCADE: packages are opened and checked, a server is asked."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            for model in models().client.models():
                versions = ", ".join(f"{v['version']} {v['state']}" for v in model["versions"])
                self.stdout.write(f"{model['name']}: {model['task']}, version {versions}")
        except SaccadeError as error:
            raise CommandError(str(error)) from error
        finally:
            forget()
