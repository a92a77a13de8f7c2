"""What is filled in becomes flags of `sample.py`; what stays empty is left to it."""

import pytest

from aa_jax.page.commands import Settings
from aa_jax.sampling.flags import parse


def test_nothing_filled_in_is_the_bundled_example():
    assert Settings().arguments("a.mp4") == ["--output=a.mp4"]
    assert Settings().shown("a.mp4") == "python sample.py --output=a.mp4"


def test_everything_filled_in_is_taken():
    settings = Settings(
        weights="/w", reference="/u/me.png", driving="/u/dance.mp4", width="64", height="96",
        frames="8", preset="fast", steps="3", guidance_scale="1.5", seed="7", retargeting="affine",
        smoothing="savgol", side_by_side=True, gif=True, detector="blazepose", pose_models="/m",
        person="3:1",
    )  # fmt: skip
    flags = parse(settings.arguments("a.mp4"))
    assert (flags.weights, flags.reference, str(flags.driving)) == (
        "/w",
        "/u/me.png",
        "/u/dance.mp4",
    )
    assert (flags.width, flags.height, flags.frames, flags.steps, flags.seed) == (64, 96, 8, 3, 7)
    assert (flags.guidance_scale, flags.preset, flags.retargeting) == (1.5, "fast", "affine")
    assert (flags.detector, flags.pose_models, flags.person) == ("blazepose", "/m", (3, 1))
    assert (flags.smoothing, flags.side_by_side, flags.gif) == ("savgol", True, True)


def test_the_command_shown_names_files_and_not_where_they_were_uploaded_to():
    shown = Settings(reference="/tmp/gradio/1f/my photo.png", poses="/tmp/gradio/2e/a.npz").shown(
        "a.mp4"
    )
    assert shown == "python sample.py '--reference=my photo.png' --poses=a.npz --output=a.mp4"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"dwpose": "/d", "pose_models": "/m"}, ["--dwpose=/d"]),
        ({"detector": "dwpose", "dwpose": "/d", "pose_models": "/m"}, ["--dwpose=/d"]),
        ({"detector": "blazepose", "dwpose": "/d", "pose_models": "/m"}, ["--pose_models=/m"]),
        ({"pose_models": "/m"}, ["--pose_models=/m"]),
        ({"detector": "dwpose", "pose_models": "/m"}, []),
    ],
)
def test_only_the_files_of_the_detector_that_looks_at_a_video_are_named(given, named):
    def files(settings):
        flags = settings.arguments("a.mp4")
        return [flag for flag in flags if flag.startswith(("--dwpose", "--pose_models"))]

    assert files(Settings(driving="/u/dance.mp4", **given)) == named
    assert files(Settings(poses="/u/dance.npz", **given)) == []


def test_a_value_cannot_become_another_flag():
    assert Settings(frames="3 --resume").arguments("a.mp4")[0] == "--frames=3 --resume"
