"""Flags as people write them."""

import pytest

from aa_jax.arguments import Parser


def parser():
    parser = Parser(prog="sample.py")
    parser.add_argument("--output")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--gif", action="store_true")
    return parser


@pytest.mark.parametrize("name", ["-x.mp4", "-1", "- .mp4", "-", "a b.mp4", "12:30.mp4"])
def test_a_value_may_begin_with_a_dash(name):
    for given in (["--output", name], [f"--output={name}"]):
        parsed = parser().parse_args([*given, "--gif", "--steps", "3"])
        assert (parsed.output, parsed.gif, parsed.steps) == (name, True, 3)


@pytest.mark.parametrize("given", [["--output", "--steps", "3"], ["--output", "-h"], ["--output"]])
def test_a_flag_is_no_value(given, capsys):
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(given)
    assert stopped.value.code == 2
    assert "--output: expected one argument" in capsys.readouterr().err
