"""A page that takes a photo and shows what a model sees in it."""

import json

from django.shortcuts import render

from saccade import SaccadeError
from saccade.integrations.django.conf import models

LARGEST = 16 * 1024 * 1024


def page(request):
    """The form, and after a POST the answer: bars, boxes or a mask on the photo."""
    try:
        return answered(request) if request.method == "POST" else shown(request)
    except SaccadeError as error:
        # The page says what the API would: its words, its status; of a failure of our own nothing but that.
        problem = json.loads(models().refuse(error, {}).body)
        return shown(request, problem=problem["detail"], status=problem["status"])


def answered(request):
    name, photo = request.POST.get("model", ""), request.FILES.get("photo")
    if photo is None:
        return shown(request, problem="Choose a photo first.", status=400)
    if photo.size > LARGEST:
        return shown(request, problem="This photo is larger than 16 MB; send a smaller one.", status=413)
    answer = models().client.predict(name, photo, top_k=5)
    rows = [(label, value, None if value is None else f"{100 * value:.1f} %") for label, value in answer.rows()]
    return shown(request, chosen=name, answer=answer, rows=rows, picture=answer.data_uri())


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
