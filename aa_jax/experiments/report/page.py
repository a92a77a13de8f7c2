"""Results as one page that needs no other file and no network."""

from __future__ import annotations

import base64
import dataclasses
import importlib.resources
import importlib.util
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from aa_jax.config import ConfigError
from aa_jax.experiments import published
from aa_jax.experiments.report import tables
from aa_jax.experiments.report.tables import Group
from aa_jax.experiments.results import Result

LIBRARIES = ("jinja2", "matplotlib")

MOST_PIXELS_ACROSS = 1600
"""Width of a contact sheet, to which larger ones are shrunk."""


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Pictures of one clip.

    Attributes:
      title: which system, which clip, and why it is shown.
      picture: true frames over generated ones.
    """

    title: str
    picture: UInt8[np.ndarray, "h w 3"]


def check_libraries() -> None:
    """Raises `ConfigError` where the extra `metrics` is not installed."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"--report: a page needs {' and '.join(missing)}; pip install 'aa_jax[metrics]', or "
            "give a report that ends in .md or .json"
        )


def render(groups: Sequence[Group], sheets: Sequence[Sheet]) -> str:
    """The page's HTML."""
    import jinja2

    from aa_jax.experiments.report import plots

    source = (importlib.resources.files(__package__) / "page.html.j2").read_text("utf-8")
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)
    paper = published.load()
    return template.render(
        groups=[
            {
                "title": group.title,
                "heads": [column.heading for column in group.columns],
                "rows": [(result.name, tables.cells(group, result)) for result in group.results],
                "plots": [
                    {"title": column.title, "svg": _data_url("image/svg+xml", svg)}
                    for column, svg in plots.distributions(group)
                ],
            }
            for group in groups
        ],
        not_compared=tables.not_compared(groups),
        remarks=tables.remarks(groups),
        sheets=[
            {"title": sheet.title, "png": _data_url("image/png", _png(sheet.picture))}
            for sheet in sheets
        ],
        paper=paper,
        beside=[
            {
                "title": group.title,
                "heads": [column.heading for column in columns],
                "rows": [(r.name, tables.plain_cells(columns, r)) for r in group.results],
            }
            for group in groups
            for columns in [tables.printed_columns(group)]
        ],
        published=[
            {
                "title": f"Table {table.number}: {table.title}",
                "dataset": table.dataset,
                "heads": [column.heading for column in tables.published_columns(table)],
                "rows": [
                    (method, tables.published_cells(table, figures))
                    for method, figures in table.rows.items()
                ],
                "notes": table.notes,
            }
            for table in tables.published_tables(groups)
        ],
        origins=[_origin(result) for group in groups for result in group.results],
    )


def _origin(result: Result) -> dict[str, str]:
    """What a result was made with, as text."""
    settings = {k: x for k, x in result.settings.items() if k != "protocol"}
    return {
        "name": result.name,
        "protocol": _pairs(result.settings.get("protocol", {"name": result.protocol})),
        "folders": _pairs(result.folders),
        "settings": _pairs(settings),
        "versions": _pairs(result.versions),
        "weights": _pairs({name: digest[:16] for name, digest in result.weights.items()}),
    }


def _pairs(values: dict) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items()) or "-"


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(str, value)) if all(isinstance(x, int) for x in value) else str(value)
    return str(value)


def _png(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    from PIL import Image

    image = Image.fromarray(picture)
    if image.width > MOST_PIXELS_ACROSS:
        height = round(image.height * MOST_PIXELS_ACROSS / image.width)
        image = image.resize((MOST_PIXELS_ACROSS, height), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
