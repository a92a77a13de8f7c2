"""C2PA: a signature holds until the file changes; what cannot sign is told before any work."""

import dataclasses

import numpy as np
import pytest

from aa_jax.media.pictures import write_picture
from aa_jax.media.provenance import inspection
from aa_jax.media.provenance.certificates import SigningError
from aa_jax.media.provenance.mark import Mark
from aa_jax.media.provenance.signing import Ingredient, Signer
from aa_jax.media.video import read_video, write_gif, write_video

c2pa = pytest.importorskip("c2pa")
write_pair = pytest.importorskip("certificates").write_pair

FRAMES = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
INGREDIENTS = [Ingredient("reference picture", "00ff"), Ingredient("driving video", "11ee")]


@pytest.fixture
def signed(tmp_path):
    """Writes and signs a file of that name."""
    signer = Signer.load(**dataclasses.asdict(write_pair(tmp_path)))

    def write(name):
        path, mark = tmp_path / name, Mark(facts={"seed": "0"})
        if path.suffix == ".png":
            write_picture(path, FRAMES[0], mark)
        else:
            (write_gif if path.suffix == ".gif" else write_video)(path, FRAMES, 8, mark=mark)
        signer.sign(path, mark, INGREDIENTS)
        return path

    return write


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.gif", "a.png"])
def test_it_holds_until_a_byte_changes(signed, name, capsys):
    path = signed(name)
    inspection.show(path)
    out = capsys.readouterr().out
    assert "action: c2pa.created" in out
    assert "ingredient: reference picture sha256:00ff" in out
    assert "ingredient: driving video sha256:11ee" in out
    assert 'signature: holds, unchanged since; signed as "Signer, Tests"' in out

    data = bytearray(path.read_bytes())
    data[-20] ^= 1  # in the XMP packet, or in the last picture
    path.write_bytes(data)
    with pytest.raises(inspection.InspectionError, match="its signature does not hold"):
        inspection.show(path)


def test_the_librarys_own_reader_agrees(signed):
    with c2pa.Reader(signed("a.mp4")) as reader:
        assert reader.get_validation_state() == "Valid"
        manifest = reader.get_active_manifest()
    action = manifest["assertions"][0]["data"]["actions"][0]
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert len(action["parameters"]["ingredients"]) == 2
    assert "thumbnail" not in manifest


def test_a_signed_video_plays(signed, tmp_path):
    write_video(tmp_path / "plain.mp4", FRAMES, 8)
    expected = read_video(tmp_path / "plain.mp4")[0]
    np.testing.assert_array_equal(read_video(signed("a.mp4"))[0], expected)


def test_pairs_that_cannot_sign(tmp_path):
    good = write_pair(tmp_path)
    old = write_pair(tmp_path, "old", days=(-20, -2))
    early = write_pair(tmp_path, "early", days=(2, 20))
    useless = write_pair(tmp_path, "useless", usable=False)
    locked = write_pair(tmp_path, "locked", password=b"secret")
    for pair, message in {
        (old.certificate, old.key): "old.pem: the certificate has run out, on ",
        (early.certificate, early.key): "early.pem: the certificate is not valid before ",
        (useless.certificate, useless.key): "useless.pem: C2PA does not take this certificate",
        (locked.certificate, locked.key): "locked.key: is locked by a password",
        (good.certificate, old.key): "old.key: is not the private key of the certificate in ",
        (good.key, good.key): "signer.key: holds no certificate",
        (good.certificate, good.certificate): "signer.pem: holds no private key",
        (tmp_path / "none.pem", good.key): "none.pem: cannot be read",
    }.items():
        with pytest.raises(SigningError, match=message):
            Signer.load(*pair)


def test_a_file_that_cannot_be_signed_stays_as_it_was(tmp_path):
    pair = write_pair(tmp_path)
    path = tmp_path / "a.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(SigningError, match="cannot be signed"):
        Signer.load(pair.certificate, pair.key).sign(path, Mark())
    assert path.read_bytes() == b"no video"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "signer.key", "signer.pem"]
