"""The command line without a config: folders of results, and reports of several runs."""

import importlib
import json

import pytest
from small_clips import moving, write_frames

from aa_jax.config import RunConfig, from_dict
from aa_jax.evaluation import cli
from aa_jax.evaluation.networks import LOADERS, Networks
from aa_jax.experiments import published
from aa_jax.metrics import protocols


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    none = Networks({}, {}, dict.fromkeys(LOADERS, "no weights here"))
    monkeypatch.setattr(Networks, "load", lambda *_, **__: none)


def command(*arguments):
    return cli.main(list(map(str, arguments)))


def test_anybody_s_results_become_figures_and_a_report(clips, capsys):
    figures, text = clips / "theirs.json", clips / "report.md"
    write_frames(clips / "true" / "c", moving())
    folders = [f"--results={clips}/made", f"--targets={clips}/true"]
    code = command(
        *folders, "--protocol=disco_fixed", "--name=theirs", "--json", figures, "--report", text
    )
    assert code == 0
    out = capsys.readouterr().out
    assert f"note: only in --targets {clips}/true, and left out: c\n" in out
    assert "disco_fixed: 2 clips, 5 frames, theirs" in out
    found = json.loads(figures.read_text())
    assert found["unmatched"] == {"results": [], "targets": ["c"]}
    assert found["metrics"]["fvd"] is None
    assert [clip["name"] for clip in found["per_clip"]] == ["a", "b"]
    assert "| theirs | " in text.read_text()

    # the same again, and both in one report
    again = clips / "again.json"
    assert command(*folders, "--protocol=disco", "--json", again) == 0
    both = clips / "both.md"
    assert command("--report", both, "--compare", figures, "--compare", again) == 0
    assert "another protocol, so no table has both" in both.read_text()


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ([], "--config is missing", 2),
        (["--results=made"], "--results needs --targets too", 2),
        (["--results=made", "--targets=true"], "--results needs --protocol too", 2),
        (["--results=made", "--targets=true", "--protocol=mine"], "there are disco, disco_f", 1),
        (["--results=no", "--targets=true", "--protocol=disco"], "--results no: no such folder", 1),
        (["--results=made", "--targets=true", "--protocol=disco", "--dump=d"], "--dump goes", 2),
        (["--report=r.md"], "--config is missing", 2),
        (["--report=r.pdf", "--compare=a.json"], "must end in .html, .md, .json", 2),
        (["--report=r.md", "--compare=a.json"], "a.json: no such file", 1),
        (["--compare=a.json"], "give --report FILE too", 2),
        (["--json=a.json"], "--json needs --config FILE or --results DIR", 2),
        (["--config=CONFIG", "--results=made"], "--results does not go with --config", 2),
        (["--config=CONFIG", "--protocol=disco"], "give --config.eval.protocol=NAME", 2),
        (["--config=CONFIG", "--config.eval.protocol=mine"], "protocol 'mine' is not known", 1),
        (["--config.eval.protocol=disco"], "--config is missing", 2),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments, message, code, clips, monkeypatch, capsys
):
    monkeypatch.chdir(clips)
    config = "from aa_jax.config import default_config\n\ndef get_config():\n"
    (clips / "config.py").write_text(
        config + "    config = default_config('x')\n    config.eval.weights = 'w'\n"
        "    return config\n"
    )
    before = sorted(path.name for path in clips.iterdir())
    assert command(*(x.replace("CONFIG", "config.py") for x in arguments)) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert sorted(path.name for path in clips.iterdir()) == before


@pytest.mark.parametrize("name", ["ubc_fashion", "tiktok", "ted_talks"])
def test_a_config_of_each_of_the_paper_s_datasets_names_a_protocol(name):
    module = importlib.import_module(f"configs.eval.{name}")
    config = from_dict(RunConfig, module.get_config().to_dict())
    assert config.name == f"eval_{name}"
    assert config.eval.protocol in protocols.PROTOCOLS
    assert published.load().of(name)
