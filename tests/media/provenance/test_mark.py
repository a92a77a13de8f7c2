"""Every format says that its pictures were generated, by what, and nothing of who made them."""

import shutil
import subprocess

import av
import numpy as np
import pytest
from PIL import Image
from video_files import encode_sound

from aa_jax.media.audio import add_audio
from aa_jax.media.pictures import read_picture, write_picture
from aa_jax.media.provenance import embedding, inspection
from aa_jax.media.provenance.mark import Mark
from aa_jax.media.video import read_video, write_gif, write_video

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
MARK = Mark(facts={"seed": "3", "weights_vae": "sha256:00ff", "odd": "<&>é"})
FORMATS = ["a.mp4", "a.mov", "a.mkv", "a.gif", "a.png"]


def write(path, mark=MARK):
    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    if path.suffix == ".png":
        write_picture(path, frames[0], mark)
    elif path.suffix == ".gif":
        write_gif(path, frames, 8, mark=mark)
    else:
        write_video(path, frames, 8, mark=mark)
    return path


def pixels(path):
    return read_picture(path) if path.suffix == ".png" else read_video(path)[0]


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read(tmp_path, name):
    report = inspection.inspect(write(tmp_path / name))
    assert report.sources == ("trainedAlgorithmicMedia",)
    said = dict(report.xmp or report.tags)
    assert (said["seed"], said["weights_vae"], said["odd"]) == ("3", "sha256:00ff", "<&>é")
    assert report.lines[0].endswith("made by a generative model (trainedAlgorithmicMedia)")


@pytest.mark.parametrize("name", FORMATS)
def test_the_mark_changes_no_pixel_and_nothing_changes_from_run_to_run(tmp_path, name):
    marked = write(tmp_path / name)
    plain = write(tmp_path / f"plain{marked.suffix}", mark=None)
    np.testing.assert_array_equal(pixels(marked), pixels(plain))
    again = write(tmp_path / f"again{marked.suffix}")
    assert again.read_bytes() == marked.read_bytes()
    assert inspection.inspect(plain).sources == ()


@pytest.mark.skipif(not shutil.which("exiftool"), reason="needs exiftool")
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.gif", "a.png"])
def test_exiftool_reads_it(tmp_path, name):
    command = ["exiftool", "-s3", "-XMP-iptcExt:DigitalSourceType", write(tmp_path / name)]
    assert subprocess.check_output(command, text=True).strip() == GENERATED


def test_ffmpeg_reads_the_tags(tmp_path):
    for name in ("a.mp4", "a.mov", "a.mkv"):
        with av.open(str(write(tmp_path / name))) as container:
            tags = {key.lower(): value for key, value in container.metadata.items()}
        assert tags["digital_source_type"] == GENERATED
        assert (tags["title"], tags["seed"]) == ("AI-generated pictures", "3")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_plain_copy_into_a_new_file_still_says_it(tmp_path, suffix):
    copy = tmp_path / f"copy{suffix}"
    with av.open(str(write(tmp_path / "a.mp4"))) as source, av.open(str(copy), "w") as target:
        target.metadata.update(source.metadata)
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert inspection.inspect(copy).sources == ("trainedAlgorithmicMedia",)


def test_a_gif_says_it_to_readers_that_know_comments_only(tmp_path):
    with Image.open(write(tmp_path / "a.gif")) as image:
        assert f"digital_source_type: {GENERATED}" in image.info["comment"].decode()


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_it_stays_when_sound_is_added_which_brings_no_tags_along(tmp_path, suffix):
    video, source = write(tmp_path / f"a{suffix}"), tmp_path / "sound.mov"
    encode_sound(source, "aac", np.zeros(16000, np.float32), title="Holidays of Jane Doe")
    assert b"Jane Doe" in source.read_bytes()
    assert add_audio(video, source)
    report = inspection.inspect(video)
    assert report.sources == ("trainedAlgorithmicMedia",)
    assert "seed" in dict(report.xmp or report.tags)
    assert b"Jane Doe" not in video.read_bytes()


def test_what_stands_beside_other_pictures_says_so():
    mixed, drawn = Mark("compositeSynthetic"), Mark("composite")
    assert b"/compositeSynthetic<" in mixed.xmp
    assert b"AISystemUsed" in mixed.xmp
    assert b"AISystemUsed" not in drawn.xmp


def test_only_png_pictures_are_marked(tmp_path):
    with pytest.raises(ValueError, match="only PNG is marked"):
        write_picture(tmp_path / "a.jpg", np.zeros((4, 4, 3), np.uint8), MARK)


def test_boxes_that_say_they_are_larger_than_the_file(tmp_path):
    path = write(tmp_path / "a.mp4")
    xmp = embedding.xmp_of(path)
    path.write_bytes(path.read_bytes()[:-10])
    assert embedding.xmp_of(path) == xmp[:-10]
