"""Mistakes in the flags are told in one line, and help teaches by example."""

import pytest


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["inspect"],
        ["image-encoder", "x"],
        ["image-encoder", "x", "--output", "y", "--no-such-flag"],
        ["animate-anyone", "x", "--output", "y", "--networks", "vae,unet"],
        ["animatediff", "x", "--output", "y", "--motion-lora", "x:nan"],
    ],
)
def test_mistakes_in_the_flags_end_with_2(run, arguments):
    end = run(*arguments)

    assert end.code == 2
    assert end.refusal


@pytest.mark.parametrize("command", ["", "stable-diffusion", "animatediff", "export", "inspect"])
def test_help_teaches_by_example(run, command):
    end = run(*command.split(), "--help")

    assert end.code == 0
    assert "examples:\n" in end.out
    assert f"python -m convert {command}" in end.out
