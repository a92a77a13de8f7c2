"""The work on videos spread over a cluster by Apache Beam (extra `beam`)."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Sequence

from aa_jax.data.preparation.layouts import PrepareError, Source
from aa_jax.data.preparation.work import Task, prepare_video


def fill_cache(sources: Sequence[Source], task: Task, options: str) -> None:
    """Does every video on a Beam runner.

    What it finds stays in the cache, which, as the videos, must lie where every worker reaches it
    by the same path; a local run afterwards has next to nothing left to do but write the dataset.

    Args:
      options: of the pipeline, e.g. `--runner=FlinkRunner --flink_master=host:8081`.

    Raises:
      PrepareError: Beam is not installed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise PrepareError("--beam needs Apache Beam: pip install 'aa_jax[beam]'") from None

    work = functools.partial(prepare_video, task=task)
    with beam.Pipeline(options=PipelineOptions(shlex.split(options))) as pipeline:
        videos = pipeline | beam.Create(sources)
        # A shuffle, or the runner fuses everything into one worker.
        _ = videos | beam.Reshuffle() | beam.Map(lambda source: work(source).status)
