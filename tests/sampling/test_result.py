"""Where a sampled video goes: never where its inputs are."""

import pytest

from aa_jax.config import ConfigError
from aa_jax.sampling.result import places


@pytest.fixture
def files(tmp_path):
    for name in ("me.mp4", "me.gif", "me.poses.npz", "dance.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "link.mp4").symlink_to("dance.mp4")
    return tmp_path


@pytest.mark.parametrize(
    ("output", "read", "flags"),
    [
        ("me.mp4", "me.mp4", {}),
        ("me.mp4", "me.gif", {"gif": True}),
        ("me.mp4", "me.poses.npz", {"fitted": True}),
        ("link.mp4", "dance.mp4", {}),
    ],
)
def test_inputs_are_not_overwritten(files, output, read, flags):
    flags = {"gif": False, **flags}
    with pytest.raises(ConfigError, match=f"{output}: would overwrite .*{read}; choose another"):
        places(files / output, inputs=[files / "none.png", files / read], **flags)


def test_results_may_be_made_again_from_the_poses_beside_them(files):
    inputs = [files / "me.poses.npz", files / "me.gif", files / "dance.mp4"]
    assert places(files / "me.mp4", gif=False, inputs=inputs) == (files / "me.mp4",)
