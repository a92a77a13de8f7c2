"""The tab that shows what `prepare.py` made of folders of videos."""

from __future__ import annotations

import collections
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aa_jax.media.pictures import Picture, read_picture

HEAD = ["split", "video", "status", "cause", "done to it, and guessed"]


class DatasetError(ValueError):
    """A folder is no dataset; the message names it and the fix."""


def read(folder: Path) -> tuple[str, list[list[str]]]:
    """The report of a dataset.

    Returns:
      A sentence, and a row per video of what stands in `HEAD`.

    Raises:
      DatasetError: the folder holds no report.
    """
    path = folder / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        rows = [_row(video) for video in report["videos"]]
        others = [["", other["name"], "no video", other["cause"], ""] for other in report["others"]]
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: no such file; prepare.py --output {folder} writes it"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: no report of prepare.py ({error})") from None
    count = collections.Counter(row[2] for row in rows)
    parts = [f"{count[status]} {status}" for status in ("kept", "left out", "broken")]
    return f"{len(rows)} videos: {', '.join(parts)}.", rows + others


def _row(video: dict[str, Any]) -> list[str]:
    changed = "; ".join([*video["notes"], *video["guesses"]])
    return [video["split"], video["name"], video["status"], video["cause"], changed]


def sheets(folder: Path) -> list[Picture]:
    """The contact sheets of clips that were kept, each clip's frames beside their skeletons."""
    return [read_picture(path) for path in sorted((folder / "report").glob("clips_*.png"))]


def add_tab(folders: Sequence[Path]) -> None:
    """Adds the tab's contents to the page that is being made.

    Args:
      folders: datasets to choose from; `DatasetError` if one is none.
    """
    import gradio as gr

    first, rows = read(folders[0])
    choices = [(folder.name, str(folder)) for folder in folders]
    chosen = gr.Dropdown(choices, value=str(folders[0]), label="Dataset", elem_id="dataset")
    summary = gr.Textbox(first, show_label=False, interactive=False, elem_id="summary")
    table = gr.Dataframe(rows, headers=HEAD, interactive=False, wrap=True, elem_id="videos")
    gallery = gr.Gallery(
        sheets(folders[0]),
        label="Clips that were kept, with their skeletons",
        columns=1,
        interactive=False,
        elem_id="clips",
    )

    def show(folder: str) -> tuple[str, list[list[str]], list[Picture]]:
        try:
            text, rows = read(Path(folder))
            return text, rows, sheets(Path(folder))
        except ValueError as error:  # it has changed since the page began
            return str(error), [], []

    chosen.change(show, chosen, [summary, table, gallery], api_name="dataset")
