"""The page and its tabs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from aa_jax.page import datasets, generate, poses
from aa_jax.page.visitors import Jobs

HEADING = """\
# aa_jax
One picture of a character and a sequence of poses become a video of that character moving so. \
Animate people only with their consent. Every result says in its tags that it was generated.
"""

KEPT = (600, 24 * 3600)
"""Seconds between looks for old uploads, and after how many they go."""


def make(
    weights: Sequence[str],
    folders: Sequence[Path],
    dwpose: str | None = None,
    pose_models: str | None = None,
) -> tuple[gr.Blocks, Jobs]:
    """The page, not yet shown, and its jobs, which must be closed.

    Args:
      weights: directories to choose from.
      folders: datasets to be looked at; without any their tab is left out.
      dwpose, pose_models: where detectors' files lie, as `sample.py` takes them.

    Raises:
      DatasetError: one of the folders is no dataset.
    """
    for folder in folders:
        datasets.read(folder)
    jobs, models = Jobs(), {"dwpose": dwpose, "pose_models": pose_models}
    with gr.Blocks(title="aa_jax", analytics_enabled=False, delete_cache=KEPT) as page:
        gr.Markdown(HEADING)
        with gr.Tabs(selected=generate.TAB) as tabs:
            with gr.Tab("Generate", id=generate.TAB):
                fields = generate.add_tab(weights, jobs, models)
            with gr.Tab("Poses", id=poses.TAB):
                poses.add_tab(jobs, models, fields, tabs)
            if folders:
                with gr.Tab("Datasets"):
                    datasets.add_tab(folders)

        def leave(request: gr.Request) -> None:
            jobs.end(request.session_hash)

        page.unload(leave)
    return page, jobs
