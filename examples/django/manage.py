"""Django's commands for this project: check, runserver, saccade_models, saccade_predict."""

import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "photos.settings")
os.environ.setdefault("SECRET_KEY", "only for commands on this machine")
execute_from_command_line(sys.argv)
