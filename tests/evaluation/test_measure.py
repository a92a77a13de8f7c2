import dataclasses
import json

import numpy as np
import pytest
from tiny_model import MODEL, SCHEDULE, random_params
from tiny_run import tiny_config

from aa_jax import weights
from aa_jax.evaluation import measure
from aa_jax.config import ConfigError, SamplingConfig, SkeletonConfig
from aa_jax.media import pictures
from aa_jax.metrics import image

METRICS = {"psnr", "ssim", "character_psnr", "mae", "temporal_error", "background_flicker"}
ANSWERS = ("model", "repeated_reference", "stage1_only", "stage1_shared_noise")


@pytest.fixture(scope="module")
def params():
    return random_params(MODEL)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, params):
    """Figures and dump of a random model on two characters of two frames."""
    folder = tmp_path_factory.mktemp("evaluation")
    config = weights.WeightsConfig(
        model=MODEL,
        schedule=SCHEDULE,
        skeleton=SkeletonConfig(size=64),
        sampling=SamplingConfig(width=16, height=16, steps=2, guidance_scale=1.0),
    )
    weights.save(folder / "weights", config, params)
    figures = measure.run(
        tiny_config(),
        weights_dir=str(folder / "weights"),
        json_file=folder / "figures.json",
        dump=folder / "dump",
    )
    return folder, figures


def test_every_answer_has_every_metric(evaluated):
    folder, figures = evaluated
    assert json.loads((folder / "figures.json").read_text()) == figures
    for answer in ANSWERS:
        assert set(figures[answer]) == METRICS
    assert figures["steps"] == 2
    assert figures["seed"] == 0
    assert figures["size"] == [16, 16]


def test_the_answers_differ_as_they_should(evaluated):
    _, figures = evaluated
    assert figures["repeated_reference"]["background_flicker"] == 0.0
    assert figures["stage1_only"] != figures["model"]
    shared, independent = figures["stage1_shared_noise"], figures["stage1_only"]
    assert shared["background_flicker"] < independent["background_flicker"]


def test_figures_can_be_computed_again_from_the_dump(evaluated):
    folder, figures = evaluated
    values = []
    for character in sorted((folder / "dump").iterdir()):
        if not character.is_dir():
            continue
        assert (character / "reference.png").exists()
        for frame in range(2):
            target, result, mask = (
                pictures.read_picture(character / f"{frame:02d}_{part}.png")
                for part in ("target", "result", "mask")
            )
            assert set(np.unique(mask)) <= {0, 255}
            values.append(image.psnr(target, result, mask[..., 0] == 255))
    assert len(values) == 4
    assert np.mean(values) == pytest.approx(figures["model"]["character_psnr"])


def test_a_contact_sheet_lies_beside_the_dump(evaluated):
    folder, _ = evaluated
    sheet = pictures.read_picture(folder / "dump" / "evaluation.png")
    assert sheet.shape[1] > 3 * 16


@pytest.mark.parametrize(("stored", "used"), [("float16", "float16"), ("", None)])
def test_references_are_rounded_as_sampling_rounds_them(stored, used):
    found = weights.WeightsConfig(
        model=MODEL,
        schedule=SCHEDULE,
        skeleton=SkeletonConfig(),
        sampling=SamplingConfig(reference_dtype=stored),
    )
    full, stage1 = measure.pipelines(found)
    assert full.reference_dtype == stage1.reference_dtype == used
    assert full.model.motion_module.enabled
    assert not stage1.model.motion_module.enabled


def test_without_places_to_write_to_the_sheet_goes_to_runs(evaluated, tmp_path, monkeypatch):
    folder, _ = evaluated
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        measure, "_animate", lambda pipeline, params, clips, *_: np.array(clips.targets)
    )
    arguments = {"weights_dir": str(folder / "weights"), "json_file": None, "dump": None}
    measure.run(tiny_config(), **arguments)
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]
    assert pictures.read_picture(tmp_path / "runs" / "tiny" / "evaluation.png").any()


def test_a_place_that_cannot_be_written_to_is_told_before_the_work(evaluated, monkeypatch):
    folder, _ = evaluated
    monkeypatch.setattr(measure, "_animate", None)
    with pytest.raises(NotADirectoryError, match=r"figures\.json/a\.json"):
        measure.run(
            tiny_config(),
            weights_dir=str(folder / "weights"),
            json_file=folder / "figures.json" / "a.json",
            dump=None,
        )


def test_stage_1_weights_are_refused(tmp_path, params):
    still = dataclasses.replace(MODEL.motion_module, enabled=False)
    config = weights.WeightsConfig(
        model=dataclasses.replace(MODEL, motion_module=still),
        schedule=SCHEDULE,
        skeleton=SkeletonConfig(),
        sampling=SamplingConfig(),
    )
    stage1 = {name: tree for name, tree in params.items() if name != "motion_module"}
    weights.save(tmp_path / "weights", config, stage1)
    with pytest.raises(ConfigError, match="without motion modules"):
        measure.run(tiny_config(), weights_dir=str(tmp_path / "weights"), json_file=None, dump=None)
