"""What flags ask for."""

import numpy as np
import pytest
from PIL import Image

from aa_jax.sampling import flags, request


@pytest.mark.parametrize(
    ("given", "colour"),
    [([], (255, 255, 255)), (["--background", "#102030"], (16, 32, 48))],
)
def test_a_cut_out_stands_on_the_background(tmp_path, given, colour):
    """And so does the overlay of retargeting, which shows the request's reference."""
    pixels = np.full((8, 8, 4), [255, 0, 255, 0], np.uint8)
    pixels[2:6, 2:6] = 10, 20, 30, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    asked = request.read(flags.parse([*given, "--reference", str(tmp_path / "a.png")]))
    assert asked.reference[4, 4].tolist() == [10, 20, 30]
    assert asked.reference[0, 0].tolist() == list(colour)


def test_a_background_that_is_no_colour_is_refused(capsys):
    with pytest.raises(SystemExit):
        flags.parse(["--background", "whitish"])
    assert "must be a colour like white" in capsys.readouterr().err
