"""Flags as people write them."""

import pytest

from aa_jax.arguments import Parser, size


def parser():
    parser = Parser(prog="sample.py")
    parser.add_argument("--size", type=size)
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


@pytest.mark.parametrize("given", [["--output", ""], ["--output="]])
def test_no_value_is_empty(given, capsys):
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args([*given, "--gif"])
    assert stopped.value.code == 2
    assert "argument --output: is empty; give a value or leave it out" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["1280x720", "1280X720"])
def test_sizes(text):
    assert parser().parse_args(["--size", text]).size == (1280, 720)


@pytest.mark.parametrize("text", ["1280", "x", "0x4", "4x-1", "4x4x4", "1e3x4", "²x2"])
def test_what_is_no_size(text, capsys):
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args([f"--size={text}"])
    assert stopped.value.code == 2
    assert f"must be a size such as 1280x720, got {text!r}" in capsys.readouterr().err
