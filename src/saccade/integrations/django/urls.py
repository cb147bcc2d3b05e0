"""The addresses of the native API, for `include`."""

from django.urls import path

from saccade.integrations.django.views import view
from saccade.integrations.models import ADDRESSES

app_name = "saccade"


def _route(pattern: str) -> str:
    return pattern.removeprefix("/").replace("{", "<str:").replace("}", ">")


urlpatterns = [path(_route(pattern), view(pattern), name=name) for name, (_, pattern) in ADDRESSES.items()]
# A wrong address is refused in the same words.
urlpatterns.append(path("<path:rest>", view("/{rest}"), name="other"))
