"""What protocols say, done to small clips."""

import dataclasses

import numpy as np
import pytest

from aa_jax.metrics import frames, image, protocols
from aa_jax.metrics.errors import MetricError
from aa_jax.metrics.protocols import PROTOCOLS

DISCO, PUPPETS = PROTOCOLS["disco_fixed"], PROTOCOLS["puppets"]


def clip(n=3, height=48, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), np.uint8)


def test_disco_takes_the_centre_square_at_256_pixels():
    video = clip()
    video[:, :8] = video[:, 40:] = 0  # above and below the square
    prepared = frames.prepared(DISCO, video)
    assert prepared.shape == (3, 256, 256, 3)
    np.testing.assert_array_equal(prepared, frames.prepared(DISCO, video[:, 8:40]))


def test_puppets_stay_as_they_are_and_change_no_sizes():
    video = clip()
    assert frames.prepared(PUPPETS, video) is not None
    np.testing.assert_array_equal(frames.prepared(PUPPETS, video), video)
    with pytest.raises(MetricError, match="32x48 pixels, where the target has 30x48"):
        frames.prepared(PUPPETS, video, like=video[:, :, :30])


def test_frames_that_count_must_be_there():
    fifty = PROTOCOLS["dreampose_ubc"]
    assert len(frames.prepared(fifty, clip(60, 16, 16))) == 50
    with pytest.raises(MetricError, match="49 frames, where protocol dreampose_ubc takes frames 0"):
        frames.prepared(fifty, clip(49, 16, 16))
    with pytest.raises(MetricError, match="2 frames, where the target has 3"):
        frames.prepared(PUPPETS, clip(2), like=clip(3))


def test_clips_start_every_step_and_fit():
    every = dataclasses.replace(PUPPETS, clip_length=4, clip_stride=2, clip_step=3)
    assert frames.clip_starts(every, 13) == [0, 3, 6]
    assert frames.clip_starts(every, 6) == []
    video = clip(13, 8, 8)
    found = list(frames.clips(every, video))
    np.testing.assert_array_equal(found[1], video[[3, 5, 7, 9]])
    assert len(frames.clip_starts(DISCO, 20)) == 5


def test_values_are_those_of_scikit_image_and_numpy():
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    target, result = clip(2), clip(2, seed=1)
    found = frames.frame_metrics(DISCO, target, result)
    for i, (a, b) in enumerate(zip(target, result, strict=True)):
        greys = [np.round(x @ [0.299, 0.587, 0.114]).astype(np.uint8) for x in (a, b)]
        assert found["ssim"][i] == pytest.approx(structural_similarity(*greys), abs=1e-4)
        assert found["psnr"][i] == pytest.approx(peak_signal_noise_ratio(a, b), abs=1e-9)
        error = np.abs(a.astype(float) - b).mean() / a[..., 0].size
        assert found["l1"][i] == pytest.approx(error)


def test_the_wrapping_psnr_is_what_tables_hold():
    """Independent pictures: 7.75 dB, and 27.9 where squares wrap around at 256."""
    a, b = clip(1, 256, 256)[0], clip(1, 256, 256, seed=1)[0]
    assert image.psnr(a, b) == pytest.approx(7.75, abs=0.05)
    assert image.psnr_disco_uint8(a, b) == pytest.approx(27.9, abs=0.05)
    assert image.psnr_disco_uint8(a, a) == 100.0
    assert PROTOCOLS["disco"].psnr_wraps
    assert not DISCO.psnr_wraps


def test_every_protocol_is_plain_data_and_says_what_it_assumes():
    fields = {field.name for field in dataclasses.fields(protocols.Protocol)}
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert set(protocol.assumed) <= fields
        assert protocol.as_dict()["clip_length"] == 16
    assert protocols.find("paper").psnr_wraps
    with pytest.raises(MetricError, match="there are disco, disco_fixed, magicanimate"):
        protocols.find("fvd")
