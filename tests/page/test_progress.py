"""Lines that `sample.py` prints become a phase, a step, the time left."""

import pytest

from aa_jax.page.progress import place, place_in_look, status


@pytest.mark.parametrize(
    ("line", "fraction", "text"),
    [
        ("loading jax and the weights", 0.02, "loading jax and the weights"),
        ("step 1 of 2 is done; about 5 min of denoising left", 0.55,
         "denoising, step 1 of 2, about 5 min left"),
        ("detected poses in 12 of 24 frames; about 2 s left", 0.1,
         "detected poses in 12 of 24 frames; about 2 s left"),
        ("decoding 24 frames", 0.9, "decoding 24 frames"),
        ("warning: a hand is small", None, "warning: a hand is small"),
    ],
)  # fmt: skip
def test_lines(line, fraction, text):
    found, said = place(line)
    assert found == (fraction if fraction is None else pytest.approx(fraction))
    assert said == text


def test_a_look_is_mostly_detection():
    fractions = [
        place_in_look(line)[0]
        for line in (
            "detecting poses in 24 frames",
            "detected poses in 12 of 24 frames; about 2 s left",
            "drawing who is found",
            "drawn 12 of 24 frames; about 1 s left",
        )
    ]
    assert fractions == pytest.approx([0.7 / 3, 1.4 / 3, 0.7, 0.85])
    assert place_in_look("warning: small")[0] is None


def test_what_a_file_is_called_is_no_html():
    shown = status("<b>.png: no such file", 0.5)
    assert "<p>&lt;b&gt;.png: no such file</p>" in shown
    assert '<progress value="0.50"' in shown
