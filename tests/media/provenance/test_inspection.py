"""`--inspect` prints what a file says of itself, whoever wrote it, in lines a terminal can take."""

import av
import numpy as np
import pytest
from PIL import Image

from aa_jax.media.provenance import inspection
from aa_jax.media.provenance.inspection import InspectionError


def test_silence_proves_nothing(tmp_path, capsys):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    inspection.show(tmp_path / "a.jpg")
    assert "does not say how it came to be, which proves nothing" in capsys.readouterr().out


def test_other_programs_marks_are_read(tmp_path):
    term = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    packet = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="{rdf}"><r:Description '
        f'xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" i:DigitalSourceType="{term}"/>'
        "</r:RDF></x:xmpmeta>"
    )
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg", xmp=packet.encode())
    report = inspection.inspect(tmp_path / "a.jpg")
    assert report.sources == ("digitalCapture",)
    assert report.lines[0].endswith("taken by a camera (digitalCapture)")


def test_texts_are_one_line_each_without_escapes(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        container.metadata["comment"] = "red \x1b[31m" + "x" * 5000
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    line = next(x for x in inspection.inspect(tmp_path / "a.mkv").lines if "comment" in x)
    assert "\x1b" not in line
    assert line.endswith("... (5012 characters)")


@pytest.mark.parametrize("packet", [b"<no xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b""])
def test_packets_that_are_none_are_passed_over(packet):
    assert inspection._properties(packet) == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"plain text", "no picture or video that is read")],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InspectionError, match=message):
        inspection.inspect(path)
    with pytest.raises(InspectionError, match="is a folder"):
        inspection.inspect(tmp_path)
