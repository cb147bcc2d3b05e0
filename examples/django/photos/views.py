"""A page that takes a photo and shows what a model sees in it."""

from django.shortcuts import render

from saccade import SaccadeError
from saccade.integrations.django.conf import models

LARGEST = 16 * 1024 * 1024


def page(request):
    """The form, and after a POST the answer: bars, boxes or a mask on the photo."""
    if request.method != "POST":
        return shown(request)
    name, photo = request.POST.get("model", ""), request.FILES.get("photo")
    if photo is None:
        return shown(request, problem="Choose a photo first.", status=400)
    if photo.size > LARGEST:
        return shown(request, problem="This photo is larger than 16 MB; send a smaller one.", status=413)
    try:
        answer = models().client.predict(name, photo, top_k=5)
        rows = [(label, value, None if value is None else f"{100 * value:.1f} %") for label, value in answer.rows()]
        return shown(request, chosen=name, answer=answer, rows=rows, picture=answer.data_uri())
    except SaccadeError as error:
        # The page says it in words; the status is the API's own.
        return shown(request, problem=str(error), status=models().refuse(error, {}).status)


def shown(request, *, status=200, **context):
    names = [] if "problem" in context else [model["name"] for model in models().client.models()]
    return render(request, "page.html", {"names": names, **context}, status=status)


def strict(get_response):
    """Middleware: a browser loads nothing that this page does not need."""
    policy = "default-src 'none'; style-src 'self'; img-src data: 'self'; form-action 'self'; base-uri 'none'"

    def respond(request):
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", policy)
        return response

    return respond
