"""The tab on which a picture and poses become a video."""

from __future__ import annotations

import importlib.resources
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from aa_jax.page.commands import Settings
from aa_jax.page.jobs import Job
from aa_jax.page.progress import place, status

OUTPUT = "animation.mp4"

DEFAULT = "default"
"""The choice that leaves a flag out."""

Fields = dict[str, gr.components.Component]
"""Fields of the page by the names of their flags."""


class Jobs:
    """The job of every visitor, and the folder where its files lie until the next one.

    Everything lies in one folder, which goes with the page.
    """

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="aa_jax_page_"))
        self._jobs: dict[str, tuple[Job, Path]] = {}
        self._lock = threading.Lock()

    def begin(self, visitor: str, settings: Settings) -> tuple[Job, Path]:
        """A job, not started; the visitor's last one is ended and its files go."""
        self.end(visitor)
        folder = Path(tempfile.mkdtemp(dir=self._root))
        job = Job(settings.arguments(str(folder / OUTPUT)), folder)
        with self._lock:
            self._jobs[visitor] = job, folder
        return job, folder

    def cancel(self, visitor: str) -> bool:
        """Ends a visitor's job; whether there was one."""
        with self._lock:
            job, _ = self._jobs.get(visitor, (None, None))
        if job is None or job.code is not None:
            return False
        job.cancel()
        return True

    def end(self, visitor: str) -> None:
        """Ends a visitor's job and takes its files away."""
        with self._lock:
            job, folder = self._jobs.pop(visitor, (None, None))
        if job is not None:
            job.cancel()
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Ends all."""
        for visitor in list(self._jobs):
            self.end(visitor)
        shutil.rmtree(self._root, ignore_errors=True)


def add_tab(weights: Sequence[str], jobs: Jobs) -> None:
    """Adds the tab's contents to the page that is being made.

    Args:
      weights: directories to choose from.
      jobs: of all visitors.
    """
    with gr.Row():
        with gr.Column():
            inputs = _files()
            with gr.Row():
                start = gr.Button("Generate", variant="primary", elem_id="generate")
                stop = gr.Button("Cancel", elem_id="cancel")
            inputs |= _settings(weights)
        with gr.Column():
            state = gr.HTML(status("Nothing has been asked for yet."), elem_id="status")
            video = gr.Video(label="Result", interactive=False, elem_id="result")
            overlay = gr.Video(
                label="Poses found, over the driving video and the reference",
                interactive=False,
                visible=False,
            )
            downloads = gr.Files(label="Download", visible=False, elem_id="downloads")
            command = gr.Code(
                label="The command that does the same",
                language="shell",
                wrap_lines=True,
                interactive=False,
                elem_id="command",
            )
            with gr.Accordion("What the program says", open=False):
                log = gr.Textbox(show_label=False, lines=8, max_lines=20, interactive=False)
    outputs = [state, video, overlay, downloads, command, log]

    def generate(request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        given = dict(zip(inputs, values, strict=True))
        chosen = {name: None if value == DEFAULT else value for name, value in given.items()}
        yield from _run(jobs, request.session_hash, Settings(**chosen))

    def cancel(request: gr.Request) -> str:
        there_was = jobs.cancel(request.session_hash)
        return status("Cancelled." if there_was else "There is nothing to cancel.")

    running = start.click(
        generate, list(inputs.values()), outputs, api_name="generate", show_progress="minimal"
    )
    stop.click(cancel, None, state, cancels=[running], queue=False, api_name="cancel")


def _files() -> Fields:
    """What is uploaded."""
    fields: Fields = {}
    fields["reference"] = gr.Image(
        label="Reference picture: the character",
        type="filepath",
        sources=["upload", "clipboard"],
        height=240,
        elem_id="reference",
    )
    # The file as it was uploaded, which `sample.py` reads with its own eyes, errors included.
    fields["reference"].preprocess = _path_of
    fields["driving"] = gr.Video(
        label="Driving video: whose movement is taken",
        sources=["upload"],
        height=240,
        elem_id="driving",
    )
    fields["poses"] = gr.File(
        label="Poses instead: .npz, .json, skeleton video",
        type="filepath",
        height=120,
        elem_id="poses",
    )
    assets = importlib.resources.files("aa_jax") / "assets"
    gr.Examples(
        [[str(assets / "reference.png"), str(assets / "poses.npz")]],
        [fields["reference"], fields["poses"]],
        label="Bundled, and taken where a field is empty",
    )
    return fields


def _settings(weights: Sequence[str]) -> Fields:
    """All else."""
    fields: Fields = {}
    with gr.Row():
        fields["frames"] = _number("Frames, from the first")
        fields["seed"] = _number("Seed", "0")
        fields["preset"] = gr.Dropdown([DEFAULT, "fast", "draft"], label="Preset", value=DEFAULT)
    with gr.Accordion("More settings", open=False):
        fields["weights"] = gr.Dropdown(
            [(Path(path).name, path) for path in weights], value=weights[0], label="Weights"
        )
        with gr.Row():
            fields["width"] = _number("Width")
            fields["height"] = _number("Height")
            fields["steps"] = _number("Steps")
            fields["guidance_scale"] = _number("Guidance")
        with gr.Row():
            fields["retargeting"] = gr.Dropdown(
                [DEFAULT, "bones", "affine", "none"],
                value=DEFAULT,
                label="Retargeting: how poses are fitted to the character's body",
            )
            fields["smoothing"] = gr.Dropdown(
                [DEFAULT, "one_euro", "savgol", "none"], value=DEFAULT, label="Smoothing of poses"
            )
        with gr.Row():
            fields["side_by_side"] = gr.Checkbox(label="Show reference and skeleton beside it")
            fields["gif"] = gr.Checkbox(label="A GIF, too")
    return fields


def _number(label: str, value: str = "") -> gr.Textbox:
    """A field that may stay empty, which a number field may not; `sample.py` says what is wrong."""
    return gr.Textbox(label=label, value=value, placeholder=DEFAULT, max_lines=1)


def _path_of(payload: Any) -> str | None:
    return payload.path if payload else None


def _run(jobs: Jobs, visitor: str, settings: Settings) -> Iterator[tuple[Any, ...]]:
    """Makes the video; gives what stands in the outputs as the work goes on."""
    job, folder = jobs.begin(visitor, settings)
    uploads = [settings.reference, settings.driving, settings.poses]
    names = {path: Path(path).name for path in uploads if path} | {f"{folder}/": ""}
    command = settings.shown(OUTPUT)
    start, hidden = time.monotonic(), gr.update(value=None, visible=False)

    def shown(text: str, video: str | None = None, *others: Any) -> tuple[Any, ...]:
        return text, video, *(others or (hidden, hidden)), command, "\n".join(job.lines)

    yield shown(status("Starting", 0.0))
    for line in job.run(names):
        fraction, text = place(line)
        if fraction is not None:
            yield shown(status(f"{text} ({time.monotonic() - start:.0f} s)", fraction))
    if job.code:
        yield shown(status("Cancelled." if job.cancelled else f"Error: {job.error}"))
        return
    files = sorted(path for path in folder.iterdir() if path.is_file())
    overlay = folder / "animation.overlay.mp4"
    yield shown(
        status("Done.", *(f"Warning: {line}" for line in job.warnings)),
        str(folder / OUTPUT),
        gr.update(value=str(overlay), visible=True) if overlay.exists() else hidden,
        gr.update(value=list(map(str, files)), visible=True),
    )
