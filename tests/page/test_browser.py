"""The page in a real browser: from upload to played video, without a request to the outside.

Needs `pip install -e '.[browser]'` and Chromium (Debian: `apt install chromium`; another one by
AA_JAX_CHROMIUM). Pictures of every state go to the folder that AA_JAX_SCREENSHOTS names.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from aa_jax.media.pictures import write_picture
from aa_jax.media.video import write_video
from aa_jax.pose.blazepose_models import find_models
from aa_jax.pose.detection import DetectionError
from aa_jax.puppets.clips import make_clip

ROOT = Path(__file__).parents[2]
CHROMIUM = os.environ.get("AA_JAX_CHROMIUM") or shutil.which("chromium")
ASSETS = files("aa_jax") / "assets"
LONG = 600_000  # milliseconds: a busy machine compiles for minutes
QUICK = 120_000

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium"),
    *(
        pytest.mark.skipif(find_spec(name) is None, reason=f"needs {name}")
        for name in ("gradio", "playwright")
    ),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """What `prepare.py` leaves of two videos."""
    folder = tmp_path_factory.mktemp("data")
    video = {"split": "train", "notes": ["25 frames a second"], "guesses": []}
    report = {
        "videos": [
            {**video, "name": "dance.mp4", "status": "kept", "cause": ""},
            {**video, "name": "cat.mp4", "status": "left out", "cause": "nobody is seen"},
        ],
        "others": [{"name": "notes.txt", "cause": "no video by its name"}],
    }
    (folder / "report.json").write_text(json.dumps(report))
    write_picture(folder / "report" / "clips_00.png", np.full((64, 256, 3), 128, np.uint8))
    return folder


@pytest.fixture(scope="module")
def address(tmp_path_factory, dataset):
    """Where `app.py` answers, which takes files of up to a megabyte."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = [f"--port={port}", "--max-upload=1", "--datasets", dataset]
    log = tmp_path_factory.mktemp("app") / "log"
    with log.open("w") as out:
        app = subprocess.Popen(
            [sys.executable, ROOT / "app.py", *flags],
            # as users have it: conftest's settings are for many small programs
            env={k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))},
            stdout=out,
            stderr=out,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(url, timeout=5)
                break
            except (urllib.error.URLError, TimeoutError):
                assert app.poll() is None, log.read_text()
                time.sleep(1)
        yield url
    finally:
        app.terminate()
        app.wait(30)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        running = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def visit(browser, address):
    """Opens the page as a visitor of its own; in the end nobody must have asked the outside."""
    contexts, asked = [], set()

    def open_page():
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 1000}))
        page = contexts[-1].new_page()
        page.on("request", lambda request: asked.add(request.url))
        page.goto(address, timeout=QUICK)
        page.wait_for_selector("#generate", timeout=QUICK)
        return page

    yield open_page
    for context in contexts:
        context.close()
    outside = {url for url in asked if not url.startswith((address, "data:", "blob:"))}
    assert outside == set()


def fill(page, **values):
    for label, value in values.items():
        page.get_by_label(label).first.fill(value)


def upload(page, field, path):
    page.locator(f"#{field} input[type=file]").first.set_input_files(path)


def wait_for(page, text, timeout=LONG, field="status"):
    from playwright.sync_api import expect

    expect(page.locator(f"#{field}")).to_contain_text(text, timeout=timeout)


def picture(page, name):
    if folder := os.environ.get("AA_JAX_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_from_upload_to_played_video(visit):
    page = visit()
    picture(page, "empty")
    upload(page, "reference", str(ASSETS / "reference.png"))
    upload(page, "poses", str(ASSETS / "poses.npz"))
    fill(page, Frames="4")
    page.get_by_text("poses.npz").wait_for(timeout=QUICK)
    page.click("#generate")
    wait_for(page, "loading jax and the weights")
    wait_for(page, "encoding the reference picture")
    picture(page, "running")
    wait_for(page, "Done.")
    page.wait_for_selector("#result video", timeout=QUICK)
    page.wait_for_function("document.querySelector('#result video').readyState >= 2", timeout=QUICK)
    width, seconds, error = page.evaluate(
        "async () => { const v = document.querySelector('#result video'); await v.play();"
        " return [v.videoWidth, v.duration, v.error && v.error.message] }"
    )
    assert (width, error) == (64, None)
    assert seconds == pytest.approx(4 / 12, abs=0.1)
    command = page.inner_text("#command")
    assert "python sample.py --reference=reference.png --poses=poses.npz" in command
    assert "--frames=4" in command
    assert "animation.mp4" in "".join(page.inner_text("#downloads").split())
    picture(page, "done")


@pytest.fixture
def driving(tmp_path):
    """Two drawn puppets, whom BlazePose finds."""
    pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert, of the extra pose")
    try:
        find_models()
    except DetectionError as error:
        pytest.skip(f"needs mediapipe==0.10.21 of the package index: {error}")
    clips = [make_clip("train", 3, index).render(range(8), 384, 384)[0] for index in (0, 1)]
    write_video(tmp_path / "two.mp4", np.concatenate(clips, 2), 12)
    return tmp_path / "two.mp4"


def test_one_of_two_people_of_a_video_is_chosen_and_animates_the_picture(visit, driving):
    page = visit()
    page.get_by_role("tab", name="Poses").click()
    page.click("#look")
    wait_for(page, "Error: there is no video to look at", field="look_status")
    upload(page, "look_video", driving)
    page.wait_for_selector("#look_video video", timeout=QUICK)
    page.click("#look")
    wait_for(page, "people are found; 1 is the one seen best", field="look_status")
    assert "several people in 100% of the frames" in page.inner_text("#look_status")
    page.wait_for_selector("#look_overlay video", timeout=QUICK)
    assert page.input_value("#look_person input").startswith("1: seen in 8 of 8 frames, ")
    page.locator("#look_people button.thumbnail-item").nth(1).click()
    page.wait_for_function(
        "document.querySelector('#look_person input').value.startsWith('2: ')", timeout=QUICK
    )
    picture(page, "poses")
    page.click("#look_take")
    page.wait_for_selector("#driving video", timeout=QUICK)
    fill(page, Frames="4")
    page.click("#generate")
    wait_for(page, "Done.")
    command = page.inner_text("#command")
    assert "--driving=two.mp4" in command
    assert "--person=0:" in command
    page.wait_for_selector("#result video", timeout=QUICK)
    picture(page, "driven")


def test_a_broken_upload_is_a_sentence_and_the_page_lives_on(visit, tmp_path):
    broken, large = tmp_path / "me.png", tmp_path / "large.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    large.touch()
    os.truncate(large, 2 << 30)
    page = visit()
    upload(page, "reference", broken)
    fill(page, Frames="4")
    page.wait_for_timeout(3000)
    page.click("#generate")
    wait_for(page, "Error: me.png: ")
    picture(page, "broken")
    fill(page, Frames="none")
    page.click("#generate")
    wait_for(page, "must be a whole number, got 'none'")
    upload(page, "poses", large)
    page.get_by_text("maximum allowed size").first.wait_for(timeout=QUICK)
    picture(page, "too-large")


def test_the_server_itself_refuses_what_is_too_large(address):
    """For those who do not ask by the page; a file of up to a megabyte is taken."""
    head = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
    request = urllib.request.Request(
        f"{address}/gradio_api/upload",
        head + bytes(3 << 20) + b"\r\n--edge--\r\n",
        {"Content-Type": "multipart/form-data; boundary=edge"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    refused.value.close()
    assert refused.value.code == 413


def test_the_report_of_a_dataset(visit):
    page = visit()
    page.get_by_role("tab", name="Datasets").click()
    page.wait_for_selector("#clips img", timeout=QUICK)
    assert page.input_value("#summary textarea") == "2 videos: 1 kept, 1 left out, 0 broken."
    table = page.inner_text("#videos")
    for text in ("dance.mp4", "nobody is seen", "notes.txt"):
        assert text in table
    picture(page, "datasets")


def test_one_video_at_a_time_and_cancel(visit):
    first, second = visit(), visit()
    first.click("#generate")
    wait_for(first, "loading jax")
    second.click("#generate")
    second.wait_for_timeout(3000)
    assert "loading" not in second.inner_text("#status")  # it waits
    picture(second, "waiting")
    first.click("#cancel")
    wait_for(first, "Cancelled.", QUICK)
    picture(first, "cancelled")
    wait_for(second, "loading jax")
    second.click("#cancel")
    wait_for(second, "Cancelled.", QUICK)
