"""The console in a real Chromium, driven through chromedriver's plain HTTP; a picture of the page is kept."""

import base64
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from saccade.images import draw
from saccade.images.encode import to_png
from saccade.package.writer import PackageWriter
from saccade.server.console import views
from saccade.testing.packages import boxes, colors, masks, png
from saccade.types import Labels

CHROMIUM = next((found for n in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(n))), None)
DRIVER = shutil.which("chromedriver")
MISSING = CHROMIUM is None or DRIVER is None
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        MISSING and os.environ.get("CI") != "true",
        reason="Chromium and chromedriver are not installed: apt-get install chromium chromium-driver",
    ),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(ask: Any, what: str, most_s: float = 20) -> Any:
    """The first true answer. Fails with `what` when none came in time."""
    end = time.monotonic() + most_s
    while time.monotonic() < end:
        try:
            if found := ask():
                return found
        except (httpx.HTTPError, KeyError):
            pass
        time.sleep(0.05)
    pytest.fail(f"{what} did not happen within {most_s} s")


class Browser:
    """One page, by the W3C WebDriver protocol."""

    def __init__(self, driver: str, width: int = 1200, height: int = 1000, dark: bool = False) -> None:
        # No sandbox: in a container the kernel may not give one, and only our own page is opened.
        arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"]
        arguments += [f"--window-size={width},{height}", *(["--force-dark-mode"] if dark else [])]
        options: dict[str, Any] = {"args": arguments, "binary": CHROMIUM}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._http = httpx.Client(base_url=driver, timeout=60, trust_env=False)
        self._session = ""
        answer = self._http.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
        assert "sessionId" in answer, answer
        self._session = f"/session/{answer['sessionId']}"

    def ask(self, method: str, path: str, **body: Any) -> Any:
        answer = self._http.request(method, self._session + path, json=body if method == "POST" else None)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    def open(self, url: str) -> None:
        self.ask("POST", "/url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.ask("POST", "/execute/sync", script=script, args=list(arguments))

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector))

    def visible(self, selector: str) -> bool:
        return bool(self.run("return document.querySelector(arguments[0])?.checkVisibility() ?? false", selector))

    def find(self, selector: str) -> str:
        return str(self.ask("POST", "/element", using="css selector", value=selector)[ELEMENT])

    def type(self, selector: str, text: str) -> None:
        self.ask("POST", f"/element/{self.find(selector)}/value", text=text)

    def press(self, key: str) -> None:
        actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.ask("POST", "/actions", actions=[{"type": "key", "id": "keys", "actions": actions}])

    def device(self, **metrics: Any) -> None:
        body = {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}
        self.ask("POST", "/goog/cdp/execute", **body)

    def colors(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("POST", "/goog/cdp/execute", cmd="Emulation.setEmulatedMedia", params={"features": features})

    def picture(self) -> bytes:
        return base64.b64decode(self.ask("GET", "/screenshot"))

    def complaints(self) -> list[str]:
        return [m["message"] for m in self.ask("POST", "/se/log", type="browser") if m["level"] == "SEVERE"]

    def close(self) -> None:
        if self._session:
            self._http.delete(self._session)
        self._http.close()


@pytest.fixture(scope="module")
def driver() -> Iterator[str]:
    assert not MISSING, "CI needs chromium and chromium-driver"
    port = free_port()
    process = subprocess.Popen([str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: httpx.get(f"{url}/status", trust_env=False).json()["value"]["ready"], "chromedriver")
        yield url
    finally:
        process.terminate()
        process.wait(10)


def start(folder: Path, home: Path) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port()
    code = "import sys; from saccade.server.serve import serve; serve([sys.argv[1]], port=int(sys.argv[2]), drain_s=0)"
    environment = {**os.environ, "SACCADE_HOME": str(home)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(port)], env=environment, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200, "the server's readiness")
    return process, url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("console")
    process, url = start(colors(folder / "colors").path, folder / "home")
    try:
        yield url
    finally:
        process.terminate()
        process.wait(40)


@pytest.fixture
def browser(driver: str) -> Iterator[Browser]:
    page = Browser(driver)
    try:
        yield page
    finally:
        page.close()


def test_a_picture_is_answered_with_bars_and_timings(browser: Browser, server: str, tmp_path: Path) -> None:
    photo = tmp_path / "it's red.png"
    photo.write_bytes(png(230, 90, 20))
    browser.open(server)
    until(lambda: "Ready" in browser.text("#status"), "the list of models")
    assert browser.text("#model").strip() == "colors"
    assert "version 1 ready" in browser.text("#models")
    browser.type("#file", str(photo))
    until(lambda: browser.text("#bars .label"), "an answer")
    rows = browser.run(
        "return [...document.querySelectorAll('#bars li')].map(r => [r.children[0].textContent,"
        " r.children[1].textContent, Number(r.querySelector('rect').getAttribute('width'))])"
    )
    assert [row[0] for row in rows] == ["red", "green", "blue"]
    assert rows[0][1] == "90.2 %"
    assert rows[0][2] == pytest.approx(100 * 230 / 255, abs=0.1)
    steps = browser.run("return [...document.querySelectorAll('#timings th')].map(n => n.textContent)")
    assert steps == ["decode", "queue", "infer", "post", "round trip"]
    assert browser.text("#status").startswith("red, 90.2 %. colors version 1")
    assert "'@it'\\''s red.png'" in browser.text("#curl")
    assert f"{server}/api/v1/models/colors/predict?top_k=5" in browser.text("#curl")
    assert browser.run("return document.querySelector('#preview').naturalWidth") == 40
    kept = tmp_path / "console.png"
    kept.write_bytes(browser.picture())
    assert kept.stat().st_size > 10_000
    assert browser.complaints() == []


FIRST_LOADING = """
const real = window.fetch;
let asked = 0;
window.fetch = async (...given) => {
  const response = await real(...given);
  if (given[0] !== "/api/v1/models" || asked++ > 0) return response;
  const record = await response.json();
  for (const model of record.models) for (const version of model.versions) version.state = "loading";
  return new Response(JSON.stringify(record), response);
};
"""


def test_a_model_that_loads_is_said_and_waited_for(browser: Browser, server: str) -> None:
    """The page is opened before the model is ready: it says so, and is ready by itself when the model is."""
    browser.ask(
        "POST", "/goog/cdp/execute", cmd="Page.addScriptToEvaluateOnNewDocument", params={"source": FIRST_LOADING}
    )
    browser.open(server)
    until(lambda: browser.text("#status") == "colors: loading.", "the word on the model")
    assert "/models/MODEL/predict" in browser.text("#curl")
    until(lambda: "Ready" in browser.text("#status"), "the model")
    assert browser.text("#model").strip() == "colors"
    assert f"{server}/api/v1/models/colors/predict" in browser.text("#curl")


def test_the_curl_line_works_in_a_shell(browser: Browser, server: str, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    photo = tmp_path / "it's blue.png"
    photo.write_bytes(png(20, 90, 230))
    browser.open(server)
    until(lambda: "Ready" in browser.text("#status"), "the list of models")
    browser.type("#file", str(photo))
    until(lambda: browser.text("#bars .label"), "an answer")
    line = browser.text("#curl").replace("curl ", "curl -sS --noproxy '*' ", 1)
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert '"label":"blue"' in done.stdout


def test_fewer_bars_when_fewer_are_wished(browser: Browser, server: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1, 2, 3))
    browser.open(server)
    until(lambda: "Ready" in browser.text("#status"), "the list of models")
    browser.type("#file", str(tmp_path / "a.png"))
    until(lambda: browser.run("return document.querySelectorAll('#bars li').length") == 3, "three bars")
    browser.type("#top-k", "\ue011")  # the Home key: the first choice
    until(lambda: browser.run("return document.querySelectorAll('#bars li').length") == 1, "one bar")


def test_a_damaged_picture_shows_the_error_and_its_cure(browser: Browser, server: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1, 2, 3)[:60])
    browser.open(server)
    until(lambda: "Ready" in browser.text("#status"), "the list of models")
    browser.type("#file", str(tmp_path / "a.png"))
    until(lambda: browser.visible("#problem"), "the error")
    assert browser.text("#problem-title") == "The image is damaged"
    assert len(browser.text("#problem-detail")) > 20
    assert browser.run("return document.querySelector('#problem-link').getAttribute('href')") == (
        "/docs/errors#image_undecodable"
    )
    assert browser.text("#bars") == ""
    (tmp_path / "b.png").write_bytes(b"no picture")
    browser.type("#file", str(tmp_path / "b.png"))
    until(lambda: "format" in browser.text("#problem-title"), "the other error")
    until(lambda: not browser.visible("#preview"), "the broken preview's leaving")


def test_drop_and_paste_bring_a_picture_too(browser: Browser, server: str) -> None:
    script = """
        const bytes = Uint8Array.from(atob(arguments[1]), (c) => c.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], arguments[2], {type: 'image/png'}));
        const made = arguments[0] === 'drop'
          ? new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true})
          : new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true});
        document.querySelector('#drop').dispatchEvent(made);
    """
    browser.open(server)
    until(lambda: "Ready" in browser.text("#status"), "the list of models")
    for kind, pixel, label in (("drop", (0, 250, 0), "green"), ("paste", (0, 0, 250), "blue")):
        browser.run(script, kind, base64.b64encode(png(*pixel)).decode(), f"{label}.png")
        until(lambda label=label: browser.text("#status").startswith(label), f"the answer after {kind}")
        assert browser.text("#drop-title") == f"{label}.png"


def test_the_keyboard_reaches_everything(browser: Browser, server: str) -> None:
    browser.open(server)
    until(lambda: "Ready" in browser.text("#status"), "the list of models")
    reached = []
    for _ in range(14):
        browser.press("\ue004")
        reached.append(browser.run("const a = document.activeElement; return a.id || a.className || a.textContent"))
    wanted = ["skip", "API", "Errors", "Metrics", "model", "top-k", "drop"]
    assert [r for r in reached if r in wanted][: len(wanted)] == wanted
    assert "copy" in reached
    live = browser.run("return document.querySelector('#status').getAttribute('aria-live')")
    assert live == "polite"
    unnamed = browser.run(
        "return [...document.querySelectorAll('select, input')]"
        ".filter(n => !n.labels.length && !n.ariaLabel).map(n => n.id)"
    )
    assert unnamed == []


def test_a_phone_shows_it_without_sideways_scrolling_and_the_night_is_dark(browser: Browser, server: str) -> None:
    browser.device(width=360, height=740, deviceScaleFactor=2, mobile=True)
    browser.open(server)
    until(lambda: "Ready" in browser.text("#status"), "the list of models")
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    small = browser.run(
        "return [...document.querySelectorAll('button, select')].filter(n => n.checkVisibility()"
        " && n.getBoundingClientRect().height < 44).map(n => n.id)"
    )
    assert small == []
    background = "return getComputedStyle(document.body).backgroundColor"
    browser.colors("light")
    light = browser.run(background)
    browser.colors("dark")
    assert browser.run(background) != light


def test_long_names_stay_on_the_page(browser: Browser, tmp_path: Path) -> None:
    package = colors(tmp_path / "colors")
    long = PackageWriter(tmp_path / "long")
    for name in package.manifest.files:
        long.add(name, (package.path / name).read_bytes())
    labels = Labels(("unbroken_" * 20, "a class named by a whole sentence " * 6, "ß" * 90))
    long.seal(replace(package.manifest, labels=labels))
    process, url = start(tmp_path / "long", tmp_path / "home")
    (tmp_path / f"{'picture' * 12}.png").write_bytes(png(200, 100, 50))
    try:
        browser.device(width=360, height=740, deviceScaleFactor=2, mobile=True)
        browser.open(url)
        until(lambda: "Ready" in browser.text("#status"), "the list of models")
        browser.type("#file", str(tmp_path / f"{'picture' * 12}.png"))
        until(lambda: browser.text("#bars .label"), "an answer")
        assert browser.text("#bars .label").startswith("unbroken_")
        assert browser.run("return [document.documentElement.scrollWidth, screen.width]") == [360, 360]
    finally:
        process.terminate()
        process.wait(40)


PIXEL = (
    "const c = document.querySelector('#paint'); if (c.hidden) return null;"
    "return [...c.getContext('2d').getImageData(arguments[0], arguments[1], 1, 1).data]"
)


def scene() -> bytes:
    """128 x 64 px: dark, with a red and a green rectangle on it."""
    picture = np.full((64, 128, 3), 20, np.uint8)
    picture[16:48, 16:64, 0] = 240
    picture[8:24, 96:120, 1] = 160
    return to_png(picture)


@contextmanager
def painted(browser: Browser, folder: Path, confidence: bool) -> Iterator[None]:
    """The page with the scene's mask on it."""
    process, url = start(masks(folder / "masks", side=64, confidence=confidence).path, folder / "home")
    (folder / "scene.png").write_bytes(scene())
    try:
        browser.open(url)
        until(lambda: "Ready" in browser.text("#status"), "the list of models")
        browser.type("#file", str(folder / "scene.png"))
        until(lambda: browser.text("#classes .label"), "an answer")
        yield
        assert browser.complaints() == []
    finally:
        process.terminate()
        process.wait(40)


def test_a_mask_is_painted_class_by_class(browser: Browser, tmp_path: Path) -> None:
    with painted(browser, tmp_path, confidence=False):
        assert browser.text("#status").startswith("none 76.6 %, red 18.8 %, green 4.7 %. masks version 1")
        names = browser.run("return [...document.querySelectorAll('#classes .label')].map(n => n.textContent)")
        assert names == ["none", "red", "green"]
        red = browser.run(PIXEL, 20, 20)
        # A canvas keeps colours multiplied by their opacity, which rounds them.
        assert np.abs(np.array(red[:3]) - draw.colour(1)).max() <= 2
        assert browser.run(PIXEL, 100, 10)[3] == red[3] == pytest.approx(0.55 * 255, abs=1)
        swatch = browser.run("return document.querySelectorAll('#classes .swatch rect')[2].getAttribute('fill')")
        assert swatch == f"rgb({' '.join(str(v) for v in draw.colour(2))})"
        browser.run("document.querySelectorAll('#classes input')[1].focus()")
        browser.press(" ")
        assert browser.run(PIXEL, 20, 20)[3] == 0, "switched off from the keyboard"
        assert browser.run(PIXEL, 100, 10)[3] < 0.2 * 255, "the class in focus stands out, the others fade"
        browser.press(" ")
        browser.run("document.activeElement.blur()")
        assert browser.run(PIXEL, 20, 20) == red
        browser.type("#strength", "\ue011")  # the Home key: no colour at all
        assert browser.run(PIXEL, 20, 20)[3] == 0
        assert not browser.visible("#top-k-box")
        assert not browser.visible("#threshold-box")


def test_unsure_pixels_are_hatched_as_the_slider_says(browser: Browser, tmp_path: Path) -> None:
    with painted(browser, tmp_path, confidence=True):
        assert browser.visible("#threshold-box")
        red, green = browser.run(PIXEL, 20, 20), browser.run(PIXEL, 100, 10)
        script = "const s = document.querySelector('#threshold'); s.value = 0.8; s.dispatchEvent(new Event('input'))"
        browser.run(script)
        assert browser.run(PIXEL, 20, 20) == red, "240 of 255 is sure enough"
        assert browser.run(PIXEL, 100, 10) != green, "160 of 255 is not"
        shares = "return [...document.querySelectorAll('#classes .score')].map(n => n.textContent)"
        assert browser.run(shares) == ["18.8 %", "0.00 %", "0.00 %"], "the list tells what is left"
        browser.run("document.querySelector('#threshold-own').click()")
        assert browser.run(PIXEL, 100, 10) == green


def test_boxes_are_drawn_and_follow_thresholds_and_toggles(browser: Browser, tmp_path: Path) -> None:
    """Red is found at 0.94, green at 0.63, which is below what the package asks of green."""
    folder = boxes(tmp_path / "boxes", side=64, thresholds={"red": 0.5, "green": 0.9}).path
    process, url = start(folder, tmp_path / "home")
    (tmp_path / "scene.png").write_bytes(scene())

    def drawn() -> list[tuple[str, list[float]]]:
        rows = browser.run(
            "return [...document.querySelectorAll('#overlay .mark')].map(m => {"
            " const r = m.querySelector('.frame'); return [m.querySelector('text')?.textContent ?? '',"
            " ['x', 'y', 'width', 'height'].map(k => Number(r.getAttribute(k)))] })"
        )
        return [(words, place) for words, place in rows]

    try:
        browser.open(url)
        until(lambda: "Ready" in browser.text("#status"), "the list of models")
        browser.type("#file", str(tmp_path / "scene.png"))
        until(lambda: browser.text("#objects .label"), "an answer")
        ((words, place),) = drawn()
        assert words == "red 0.94"
        assert np.abs(np.array(place) - [16, 16, 48, 32]).max() <= 2, "pixels of the picture, not of the network"
        assert browser.text("#bars .label") == ""
        assert browser.visible("#threshold-box")
        # The slider shows what the package would hide, and its button goes back.
        browser.run(
            "const t = document.querySelector('#threshold'); t.value = 0.5; t.dispatchEvent(new Event('input'))"
        )
        assert sorted(words for words, _ in drawn()) == ["green 0.63", "red 0.94"]
        assert "threshold=0.5" in browser.text("#curl") or browser.run(
            "document.querySelector('#threshold').dispatchEvent(new Event('change'));"
            "return document.querySelector('#curl').textContent.includes('threshold=0.5')"
        )
        browser.run("document.querySelectorAll('#classes input')[0].click()")
        assert [words for words, _ in drawn()] == ["green 0.63"], "a class switched off"
        browser.run("document.querySelectorAll('#classes input')[0].click()")
        # A row in focus makes its box stand out.
        browser.run("document.querySelector('#objects button').focus()")
        faint = browser.run(
            "return [...document.querySelectorAll('#overlay .mark.faint text')].map(n => n.textContent)"
        )
        assert faint == ["green 0.63"]
        browser.run("document.querySelector('#threshold-own').click()")
        assert [words for words, _ in drawn()] == ["red 0.94"]
        colour = browser.run("return document.querySelector('#overlay .frame').getAttribute('stroke')")
        assert colour == f"rgb({' '.join(str(v) for v in draw.colour(0))})"
        assert browser.complaints() == []
    finally:
        process.terminate()
        process.wait(40)


def test_page_and_drawn_pictures_have_the_same_colours(browser: Browser, server: str) -> None:
    browser.open(server)
    script = (
        "const done = arguments[1]; import('/console/marks.js')"
        ".then(m => done(Array.from({length: 254}, (_, k) => m.rgb(k))), e => done(String(e)))"
    )
    found = browser.ask("POST", "/execute/async", script=script, args=[0])
    theirs = np.array(found)
    assert np.abs(theirs - np.array([draw.colour(k) for k in range(254)])).max() <= 1


def test_a_script_that_slips_in_does_not_run(browser: Browser, server: str) -> None:
    answer = httpx.get(server, trust_env=False)
    policy = answer.headers["content-security-policy"]
    assert policy == views.POLICY
    assert "unsafe" not in policy
    assert "<style" not in answer.text
    assert "style=" not in answer.text
    assert "<script>" not in answer.text
    browser.open(server)
    browser.run(
        "const s = document.createElement('script');"
        "try { s.textContent = 'window.slipped = 1'; document.body.append(s) } catch {}"
    )
    assert browser.run("return window.slipped ?? null") is None


def test_a_server_that_went_away_is_said(browser: Browser, tmp_path: Path) -> None:
    process, url = start(colors(tmp_path / "colors").path, tmp_path / "home")
    try:
        browser.open(url)
        until(lambda: "Ready" in browser.text("#status"), "the list of models")
    finally:
        process.kill()
        process.wait(10)
    (tmp_path / "a.png").write_bytes(png(1, 2, 3))
    browser.type("#file", str(tmp_path / "a.png"))
    until(lambda: browser.text("#problem-title") == "The server does not answer", "the sentence")


def test_only_its_own_files_are_served(server: str) -> None:
    for name in ("..%2fviews.py", "../views.py", "views.py", "%2e%2e", "console.css%00"):
        answer = httpx.get(f"{server}/console/{name}", trust_env=False)
        assert answer.status_code in (400, 404), name
    assert httpx.get(f"{server}/console/console.js", trust_env=False).headers["content-type"].startswith("text/java")
