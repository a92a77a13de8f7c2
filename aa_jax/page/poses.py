"""The tab on which one sees who is found in a video, and chooses whose movement is taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from aa_jax.page import generate, look
from aa_jax.page.commands import Settings
from aa_jax.page.generate import DEFAULT, SMOOTHING, Fields, chosen, detector, number, runs
from aa_jax.page.jobs import Job
from aa_jax.page.progress import place_in_look, status
from aa_jax.page.visitors import Jobs

TAB = "poses"
EVERYBODY = [("in every frame the one seen best", DEFAULT)]

NOBODY = (
    None,
    [],
    gr.update(choices=EVERYBODY, value=DEFAULT),
    gr.update(interactive=False),
)
"""Overlay, gallery, choice and button before anybody is found."""


def add_tab(jobs: Jobs, models: Mapping[str, str | None], fields: Fields, tabs: gr.Tabs) -> None:
    """Adds the tab's contents to the page that is being made.

    Args:
      jobs: of all visitors.
      models: flags that say where detectors' files lie.
      fields: of the tab that makes videos, which take over what is chosen here.
      tabs: all, that one of them `aa_jax.page.generate.TAB`.
    """
    found = gr.State([])
    with gr.Row():
        with gr.Column():
            inputs: Fields = {}
            inputs["driving"] = gr.Video(
                label="Video: whose poses are looked at",
                sources=["upload"],
                height=240,
                elem_id="look_video",
            )
            with gr.Row():
                start = gr.Button("Look", variant="primary", elem_id="look")
                stop = gr.Button("Cancel", elem_id="look_cancel")
            with gr.Row():
                inputs["detector"] = detector()
                inputs["smoothing"] = gr.Dropdown(
                    [DEFAULT, *SMOOTHING], value=DEFAULT, label="Smoothing of poses"
                )
                inputs["frames"] = number("Frames, from the first")
        with gr.Column():
            state = gr.HTML(status("Nothing has been looked at yet."), elem_id="look_status")
            overlay = gr.Video(label="Who is found", interactive=False, elem_id="look_overlay")
            gallery = gr.Gallery(
                label="People: click on one", columns=4, height=220, allow_preview=False,
                interactive=False, elem_id="look_people",
            )  # fmt: skip
            person = gr.Dropdown(
                EVERYBODY, value=DEFAULT, label="Person", elem_id="look_person", interactive=True
            )
            take = gr.Button("Animate with this person", interactive=False, elem_id="look_take")
    outputs = [state, overlay, gallery, person, take, found]

    def look_at(request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        settings = Settings(**chosen(dict(zip(inputs, values, strict=True))), **models)
        yield from _run(jobs, request.session_hash, settings)

    runs(start, stop, look_at, inputs, outputs, jobs, TAB, api_name="look")

    def forget() -> tuple[Any, ...]:
        return status("Nothing has been looked at yet."), *NOBODY, []

    for changed in (inputs["driving"].upload, inputs["driving"].clear):
        changed(forget, None, outputs, api_name=False, queue=False)

    def click(event: gr.SelectData, people: list[str]) -> str:
        return people[event.index]

    gallery.select(click, found, person, api_name=False, queue=False)

    def hand_on(*values: Any) -> tuple[Any, ...]:
        return gr.Tabs(selected=generate.TAB), None, *values

    names = [*inputs, "person"]
    take.click(
        hand_on,
        [*inputs.values(), person],
        [tabs, fields["poses"], *(fields[name] for name in names)],
        api_name=False,
        queue=False,
    )


def _run(jobs: Jobs, visitor: str, settings: Settings) -> Iterator[tuple[Any, ...]]:
    """Looks at the video; gives what stands in the outputs as the work goes on."""
    job, folder = jobs.begin(
        visitor,
        TAB,
        lambda folder: Job(settings.arguments(str(folder / look.OVERLAY)), look.__name__),
        settings.driving,
    )
    names = {path: Path(path).name for path in [settings.driving] if path} | {f"{folder}/": ""}
    yield status("Starting", 0.0), *NOBODY, []
    for line in job.run(names):
        fraction, text = place_in_look(line)
        if fraction is not None:
            yield status(text, fraction), *NOBODY, []
    if job.code:
        yield status("Cancelled." if job.cancelled else f"Error: {job.error}"), *NOBODY, []
        return
    people = look.read(folder)
    choices = [(f"{n}: {said(person)}", person.who) for n, person in enumerate(people, 1)]
    yield (
        status(_summary(people), *(f"Warning: {line}" for line in job.warnings)),
        str(folder / look.OVERLAY),
        [(str(folder / p.picture), f"{n}") for n, p in enumerate(people, 1)],
        gr.update(
            choices=[*EVERYBODY, *choices],
            value=DEFAULT if len(people) == 1 else people[0].who,
        ),
        gr.update(interactive=True),
        [person.who for person in people],
    )


def said(person: look.Person) -> str:
    """Of a person, in words."""
    height = f", {person.height} pixels high" if person.height else ""
    return f"seen in {person.frames} of {person.of} frames{height}"


def _summary(people: list[look.Person]) -> str:
    if len(people) == 1:
        return f"One person is found, {said(people[0])}."
    return f"{len(people)} people are found; 1 is the one seen best."
