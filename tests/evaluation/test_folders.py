import dataclasses
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from small_clips import moving, shifted, write_frames

from aa_jax.evaluation import folders
from aa_jax.evaluation.clips import match
from aa_jax.evaluation.errors import EvaluationError
from aa_jax.evaluation.networks import Networks
from aa_jax.metrics import protocols, weights

FIXED = protocols.find("disco_fixed")
SHORT = dataclasses.replace(FIXED, name="short", clip_length=2)
NOTHING = Networks({}, {}, {})


def scored(made, true, protocol=FIXED, networks=NOTHING):
    pairs = match(made, true).pairs
    folders.check(pairs, protocol, print)
    return folders.score_pairs(pairs, protocol, networks, name="ours", report=print)


def test_a_folder_against_itself_is_perfect(clips, networks):
    result = scored(clips / "true", clips / "true", SHORT, networks)
    metrics = result.metrics
    assert metrics["psnr"] == result.per_clip[0]["psnr"] > 100  # capped, not infinite
    assert (metrics["ssim"], metrics["l1"], metrics["fvd"]) == (1, 0, 0)
    assert metrics["lpips_alex"] is None
    assert result.intervals["ssim"] == (1, 1)
    assert (result.clips, result.frames, result.protocol) == (2, 5, "short")


def test_one_pixel_off_is_what_scikit_image_says(clips):
    result = scored(clips / "made", clips / "true")
    pairs = []
    for frames in (3, 2):
        for pair in zip(moving(frames), shifted(moving(frames)), strict=True):
            pairs.append([np.array(Image.fromarray(x).resize((256, 256), 2)) for x in pair])
    greys = [[cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in pair] for pair in pairs]
    expected = {
        "psnr": np.mean([peak_signal_noise_ratio(*pair) for pair in pairs]),
        "ssim": np.mean([structural_similarity(*pair) for pair in greys]),
    }
    for metric, value in expected.items():
        assert result.metrics[metric] == pytest.approx(value, abs=1e-4)
        low, high = result.intervals[metric]
        assert low < value < high
    # wrapping at 8 bits flatters
    assert result.metrics["psnr_disco_uint8"] > result.metrics["psnr"] + 3


@pytest.mark.skipif(not weights.available("lpips-alex"), reason="needs the extra `metrics`")
def test_lpips_of_one_pixel_off_is_that_of_pytorch(tmp_path):
    """lpips 0.1.4 with torch 2.13 on the frames as Pillow resizes them, numbers from 0 to 1."""
    write_frames(tmp_path / "true" / "a", moving())
    write_frames(tmp_path / "made" / "a", shifted(moving()))
    found = Networks.load(("lpips_alex",))
    result = scored(tmp_path / "made", tmp_path / "true", networks=found)
    assert result.metrics["lpips_alex"] == pytest.approx(0.033524, abs=1e-4)
    assert result.metrics["psnr"] == pytest.approx(22.366602, abs=1e-4)
    assert result.metrics["ssim"] == pytest.approx(0.946844, abs=1e-4)


def test_means_are_over_frames_or_over_videos_as_the_protocol_says(clips):
    by_video = dataclasses.replace(FIXED, pooled="videos")
    a, b = (clip["ssim"] for clip in scored(clips / "made", clips / "true").per_clip)
    assert scored(clips / "made", clips / "true").metrics["ssim"] == pytest.approx(
        (3 * a + 2 * b) / 5
    )
    assert scored(clips / "made", clips / "true", by_video).metrics["ssim"] == pytest.approx(
        (a + b) / 2
    )


def test_a_clip_too_short_for_fvd_leaves_it_out_in_one_line(clips, networks, capsys):
    result = scored(clips / "made", clips / "true", FIXED, networks)
    assert result.metrics["fvd"] is None
    line = "clip a has 3 frames, fewer than the 16 of a window"
    assert result.missing["fvd"] == line
    assert f"note: fvd of ours is left out: {line}\n" in capsys.readouterr().out


def test_one_frame_is_enough_for_pictures(tmp_path, networks):
    write_frames(tmp_path / "a", moving(1))
    result = scored(tmp_path, tmp_path, SHORT, networks)
    assert result.metrics["ssim"] == 1
    assert result.metrics["fvd"] is None
    assert "1 frame, fewer than the 2" in result.missing["fvd"]
    assert result.intervals["ssim"] is None  # of one clip


def test_an_interval_of_fvd_lies_around_it(tmp_path, networks):
    for index in range(4):
        clip = moving(4)[:, index : index + 64]
        write_frames(tmp_path / "true" / str(index), clip)
        write_frames(tmp_path / "made" / str(index), clip // 2)
    result = scored(tmp_path / "made", tmp_path / "true", SHORT, networks)
    low, high = result.intervals["fvd"]
    assert 0 < low < result.metrics["fvd"] < high


@pytest.mark.parametrize(
    ("frames", "side", "protocol", "message"),
    [
        (2, 96, FIXED, "clip a has 2 frames in the results and 3 in the targets"),
        (3, 48, protocols.find("puppets"), "clip a is 48x48 in the results and 96x96 in the"),
        (3, 96, dataclasses.replace(FIXED, frames=4), "a has 3 frames in the results, and proto"),
    ],
)
def test_clips_that_do_not_fit_are_told_before_the_work(frames, side, protocol, message, tmp_path):
    write_frames(tmp_path / "true" / "a", moving(3))
    write_frames(tmp_path / "made" / "a", moving(frames, side=side))
    with pytest.raises(EvaluationError, match=message):
        scored(tmp_path / "made", tmp_path / "true", protocol)


def test_other_shapes_are_told_where_the_protocol_crops_them(tmp_path, capsys):
    write_frames(tmp_path / "true" / "a", moving(1))
    write_frames(tmp_path / "made" / "a", moving(1)[:, :64])
    result = scored(tmp_path / "made", tmp_path / "true")
    assert "cropped to centre squares: a (96x64 in the results and" in capsys.readouterr().out
    assert 0 < result.metrics["ssim"] < 1


def test_results_made_for_another_protocol_are_refused(clips):
    mark = clips / "made" / folders.MARK
    mark.write_text(json.dumps({"protocol": "paper"}))
    with pytest.raises(EvaluationError, match="made for protocol paper, not disco_fixed"):
        folders.score(clips / "made", clips / "true", FIXED)
    mark.write_text("{")
    with pytest.raises(EvaluationError, match=r"evaluation.json: cannot be read"):
        folders.score(clips / "made", clips / "true", FIXED)
