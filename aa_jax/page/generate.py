"""The tab on which a picture and poses become a video."""

from __future__ import annotations

import importlib.resources
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from aa_jax.page.commands import Settings
from aa_jax.page.jobs import Job
from aa_jax.page.progress import place, status
from aa_jax.page.visitors import Jobs

TAB = "generate"
OUTPUT = "animation.mp4"

DEFAULT = "default"
"""The choice that leaves a flag out."""

SMOOTHING = ("one_euro", "savgol", "none")

QUEUE = "work"
"""Whatever computes waits in one line, whichever tab it was asked for on."""

Fields = dict[str, gr.components.Component]
"""Fields of the page by the names of their flags."""


def add_tab(weights: Sequence[str], jobs: Jobs, models: Mapping[str, str | None]) -> Fields:
    """Adds the tab's contents to the page that is being made.

    Args:
      weights: directories to choose from.
      jobs: of all visitors.
      models: flags that say where detectors' files lie.

    Returns:
      What is filled in.
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
    for changed in (inputs["driving"].upload, inputs["driving"].clear):  # who was in another video
        changed(lambda: DEFAULT, None, inputs["person"], api_name=False, queue=False)
    outputs = [state, video, overlay, downloads, command, log]

    def generate(request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        settings = Settings(**chosen(dict(zip(inputs, values, strict=True))), **models)
        yield from _run(jobs, request.session_hash, settings)

    runs(start, stop, generate, inputs, outputs, jobs, TAB, api_name="generate")
    return inputs


def chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by name, with None where the default was left."""
    return {name: None if value == DEFAULT else value for name, value in given.items()}


def runs(
    start: gr.Button,
    stop: gr.Button,
    work: Callable[..., Any],
    inputs: Fields,
    outputs: list[Any],
    jobs: Jobs,
    tab: str,
    *,
    api_name: str,
) -> None:
    """Makes one button begin the visitor's job on a tab, in its turn, and another end it.

    Args:
      work: what gives the outputs as the job goes on.
      outputs: of the job; the first shows its state.
    """
    running = start.click(
        work,
        list(inputs.values()),
        outputs,
        api_name=api_name,
        show_progress="minimal",
        concurrency_id=QUEUE,
    )

    def cancel(request: gr.Request) -> str:
        there_was = jobs.cancel(request.session_hash, tab)
        return status("Cancelled." if there_was else "There is nothing to cancel.")

    stop.click(cancel, None, outputs[0], cancels=[running], queue=False, api_name=f"cancel_{tab}")


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
        [[str(assets / "reference.png"), str(assets / name)] for name in ("poses.npz", "walk.npz")],
        [fields["reference"], fields["poses"]],
        label="Bundled; the first are taken where a field is empty",
    )
    return fields


def _settings(weights: Sequence[str]) -> Fields:
    """All else."""
    fields: Fields = {}
    with gr.Row():
        fields["frames"] = number("Frames, from the first")
        fields["seed"] = number("Seed", "0")
        fields["preset"] = gr.Dropdown([DEFAULT, "fast", "draft"], label="Preset", value=DEFAULT)
    with gr.Accordion("More settings", open=False):
        fields["weights"] = gr.Dropdown(
            [(Path(path).name, path) for path in weights], value=weights[0], label="Weights"
        )
        with gr.Row():
            fields["width"] = number("Width")
            fields["height"] = number("Height")
            fields["steps"] = number("Steps")
            fields["guidance_scale"] = number("Guidance")
        with gr.Row():
            fields["retargeting"] = gr.Dropdown(
                [DEFAULT, "bones", "affine", "none"],
                value=DEFAULT,
                label="Retargeting: how poses are fitted to the character's body",
            )
            fields["smoothing"] = gr.Dropdown(
                [DEFAULT, *SMOOTHING], value=DEFAULT, label="Smoothing of poses"
            )
        with gr.Row():
            fields["detector"] = detector()
            fields["person"] = gr.Dropdown(
                [DEFAULT, "best", "tracked"],
                value=DEFAULT,
                allow_custom_value=True,
                label="Person: of several in the video; the tab Poses shows them",
            )
        with gr.Row():
            fields["side_by_side"] = gr.Checkbox(label="Show reference and skeleton beside it")
            fields["gif"] = gr.Checkbox(label="A GIF, too")
    return fields


def detector() -> gr.Dropdown:
    """What finds the poses of a driving video."""
    return gr.Dropdown(
        [DEFAULT, "dwpose", "blazepose"], value=DEFAULT, label="Detector of poses in videos"
    )


def number(label: str, value: str = "") -> gr.Textbox:
    """A field that may stay empty, which a number field may not; `sample.py` says what is wrong."""
    return gr.Textbox(label=label, value=value, placeholder=DEFAULT, max_lines=1)


def _path_of(payload: Any) -> str | None:
    return payload.path if payload else None


def _run(jobs: Jobs, visitor: str, settings: Settings) -> Iterator[tuple[Any, ...]]:
    """Makes the video; gives what stands in the outputs as the work goes on."""
    job, folder = jobs.begin(
        visitor, TAB, lambda folder: Job(settings.arguments(str(folder / OUTPUT))), settings.driving
    )
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
