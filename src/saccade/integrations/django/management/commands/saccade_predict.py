"""manage.py saccade_predict: ask a model of this project about pictures."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from saccade.errors import SaccadeError
from saccade.integrations.django.conf import forget, models


class Command(BaseCommand):
    help = "Ask a model of SACCADE about pictures, a line each."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", help="name or name@alias")
        parser.add_argument("images", nargs="+", type=Path)
        parser.add_argument("--top-k", type=int, default=5)
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            answers = models().client.predict(options["model"], list(options["images"]), top_k=options["top_k"])
        except SaccadeError as error:
            raise CommandError(str(error)) from error
        finally:
            forget()
        for path, answer in zip(options["images"], answers, strict=True):
            self.stdout.write(
                json.dumps(answer, ensure_ascii=False) if options["json"] else f"{path}: {answer.summary()}"
            )
        if any(answer.error for answer in answers):
            raise CommandError("a picture cannot be used")
