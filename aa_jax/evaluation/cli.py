"""Measures a model, or anybody's videos, and compares results.

A model on characters that training never saw, beside simpler answers:

    python evaluate.py --config configs/puppets_eval.py --report report.html
    python evaluate.py --config configs/puppets_eval.py --json figures.json --dump frames
    python evaluate.py --config configs/puppets_eval.py --weights runs/puppets_stage2/weights

A model on the test split of a dataset that prepare.py made, by a protocol; the same command goes on
where it was interrupted:

    python evaluate.py --config configs/eval/ubc_fashion.py --weights runs/stage2/weights \\
        --config.data.source=DATA --json ours.json

Videos or folders of frames of any system, against the true ones of the same names (videos, folders,
or a dataset that prepare.py made):

    python evaluate.py --results MADE --targets TRUE --protocol disco_fixed --json theirs.json

Results of several runs, in a page, Markdown or JSON by the suffix:

    python evaluate.py --report report.html --compare ours.json --compare theirs.json

LPIPS and FVD need pip install 'aa_jax[metrics]'; FID and FID-VID a file of weights each. Where they
are missing one line says so, and the figure is null. See docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from aa_jax import cli
from aa_jax.config import ConfigError, RunConfig

if TYPE_CHECKING:
    from aa_jax.evaluation.output import Output


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 where measuring failed, 2 for a mistake in the flags."""
    return cli.run(run, __doc__, define, argv, needs_config=False)


def define(values: flags.FlagValues) -> None:
    """Defines the flags beside `--config`."""
    flags.DEFINE_string("weights", "", "Weights directory instead of the config's.", values)
    flags.DEFINE_string("results", "", "Folder of generated clips, instead of --config.", values)
    flags.DEFINE_string("targets", "", "With --results: folder of the true clips.", values)
    flags.DEFINE_string(
        "protocol",
        "",
        "With --results: how to measure: disco, disco_fixed, magicanimate, dreampose_ubc, paper or "
        "puppets. With --config it is config.eval.protocol.",
        values,
    )
    flags.DEFINE_string("name", "", "With --results: the system's name in tables.", values)
    flags.DEFINE_string("json", "", "File to write the figures to.", values)
    flags.DEFINE_string(
        "report", "", "File to write tables and plots to: .html, .md or .json.", values
    )
    flags.DEFINE_multi_string(
        "compare",
        [],
        "With --report: a file of --json to show too; may be given several times.",
        values,
    )
    flags.DEFINE_string(
        "dump",
        "",
        "Folder for the clips. Of puppets: references, targets, results, masks. Of a dataset: "
        "results, which are gone on with; default runs/<config name>.",
        values,
    )


def run(config: RunConfig | None, values: flags.FlagValues) -> None:
    """Does what the flags say."""
    check(config, values)
    from aa_jax import runtime
    from aa_jax.evaluation.output import Output

    output = Output(
        json=Path(values.json) if values.json else None,
        report=Path(values.report) if values.report else None,
        compare=tuple(map(Path, values.compare)),
    )
    output.check()
    if config is None and not values.results:
        output.write_report([])
        return
    runtime.prepare()
    if config is None:
        _folders(values, output)
        return
    dump = Path(values.dump) if values.dump else None
    weights_dir = values.weights or config.eval.weights
    if config.eval.protocol:
        from aa_jax.evaluation import split

        split.run(config, weights_dir=weights_dir, output=output, folder=dump)
    else:
        from aa_jax.evaluation import measure

        measure.run(config, weights_dir=weights_dir, output=output, dump=dump)


def check(config: RunConfig | None, values: flags.FlagValues) -> None:
    """Refuses flags that do not go together.

    Raises:
      ConfigError: they do not.
    """
    if values.compare and not values.report:
        raise ConfigError("--compare shows results in a report; give --report FILE too")
    if config is not None:
        for name in ("results", "targets", "protocol", "name"):
            if values[name].value:
                hint = "; give --config.eval.protocol=NAME" if name == "protocol" else ""
                raise ConfigError(f"--{name} does not go with --config{hint}")
        return
    if values.results:
        for name in ("targets", "protocol"):
            if not values[name].value:
                raise ConfigError(f"--results needs --{name} too")
        for name in ("weights", "dump"):
            if values[name].value:
                raise ConfigError(f"--{name} goes with --config, not with --results")
        return
    for name in ("targets", "protocol", "name", "weights", "dump", "json"):
        if values[name].value:
            raise ConfigError(f"--{name} needs --config FILE or --results DIR")
    if not values.compare:
        raise ConfigError(
            "--config is missing; choose a file of configs/, or give --results DIR --targets DIR "
            "--protocol NAME, or --report FILE --compare FILE"
        )


def _folders(values: flags.FlagValues, output: Output) -> None:
    from aa_jax.evaluation import folders
    from aa_jax.evaluation.output import deliver

    protocol = folders.find_protocol(values.protocol)
    result, pairs = folders.score(
        Path(values.results), Path(values.targets), protocol, name=values.name
    )
    deliver(output, result, pairs, protocol)
