"""The page, its style, and the API of the models below /saccade."""

from django.conf import settings
from django.urls import include, path
from django.views.static import serve

from photos.views import page

urlpatterns = [
    path("", page, name="page"),
    path("page.css", serve, {"document_root": settings.STATIC, "path": "page.css"}, name="style"),
    path("saccade/", include("saccade.integrations.django.urls")),
]
