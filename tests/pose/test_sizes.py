"""How high people are in pixels; who is too small to be anybody."""

import dataclasses

import numpy as np
import pytest
from stick_figures import moving_figure

from aa_jax.pose.people import Detections, People
from aa_jax.pose.sizes import height_of, warn_of_size, without_spots

FRAMES = 6


@pytest.fixture
def person():
    return moving_figure(np.random.default_rng(0), FRAMES)


def clip_of(*people):
    """Everyone in all frames of a picture of 400x400 pixels."""
    frames = []
    for t in range(FRAMES):
        points = np.zeros((len(people), 134, 2), np.float32)
        scores = np.zeros((len(people), 134), np.float32)
        for k, each in enumerate(people):
            points[k, :18], scores[k, :18] = each.body[t], each.body_scores[t]
        frames.append(People(points, scores, len(people)))
    return Detections(tuple(frames), 400, 400, 25.0)


def scaled(person, factor, x=0.0):
    body = person.body * np.float32(factor) + np.array([x, 0], np.float32)
    return dataclasses.replace(person, body=body)


def test_a_person_of_few_pixels_is_mentioned(person):
    lines = []
    warn_of_size("a.mp4", person, lines.append)
    assert lines == []
    warn_of_size("a.mp4", scaled(person, 0.1), lines.append)
    assert len(lines) == 1
    assert f"the person is only {height_of(person) / 10:.0f} pixels high" in lines[0]


def test_spots_are_nobody(person):
    clip = clip_of(scaled(person, 0.03, 300), person)

    people, spots = without_spots(clip)

    assert spots == 1
    assert people.people_found.tolist() == [1] * FRAMES
    np.testing.assert_array_equal(people.keypoints(person=(0, 0)).body, person.body)
    assert without_spots(clip_of(person, scaled(person, 0.5, 200)))[1] == 0
    nobody, spots = without_spots(clip_of(scaled(person, 0.03)))
    assert (spots, nobody.people_found.tolist()) == (1, [0] * FRAMES)


def test_who_leaves_the_picture_is_no_spot(person):
    """Of whom two joints remain in the last frame, one above the other by five pixels."""
    scores = person.body_scores.copy()
    scores[-1, 2:] = 0
    body = person.body.copy()
    body[-1, 1] = body[-1, 0] + 5
    leaving = clip_of(dataclasses.replace(person, body=body, body_scores=scores))
    people, spots = without_spots(leaving)
    assert (spots, people.people_found.tolist()) == (0, [1] * FRAMES)
