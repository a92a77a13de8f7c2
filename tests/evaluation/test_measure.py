import dataclasses
import json

import numpy as np
import pytest
from tiny_model import MODEL, SCHEDULE, random_params
from tiny_run import tiny_config

from aa_jax import weights
from aa_jax.config import ConfigError, SamplingConfig, SkeletonConfig
from aa_jax.evaluation import measure
from aa_jax.evaluation.networks import Networks
from aa_jax.evaluation.output import Output
from aa_jax.experiments import results
from aa_jax.media import pictures
from aa_jax.metrics import image

METRICS = {
    *("psnr", "ssim", "character_psnr", "mae", "temporal_error", "background_flicker"),
    *("lpips_alex", "lpips_vgg", "fvd"),
}
ANSWERS = ("model", "repeated_reference", "stage1_only", "stage1_shared_noise")


def without_weights():
    """Of a machine without the extra `metrics`."""
    return Networks({}, {}, dict.fromkeys(measure.NETWORKS, "no weights here"))


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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Networks, "load", lambda *_, **__: without_weights())
        figures = measure.run(
            tiny_config(),
            weights_dir=str(folder / "weights"),
            output=Output(json=folder / "figures.json", report=folder / "report.md"),
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


def test_what_cannot_be_measured_is_null_and_says_why(evaluated):
    _, figures = evaluated
    for answer, result in zip(ANSWERS, figures["results"], strict=True):
        for name in measure.NETWORKS:
            assert figures[answer][name] is None
            assert result["missing"][name] == "no weights here"


def test_a_report_shows_all_answers_in_one_table(evaluated):
    folder, figures = evaluated
    text = (folder / "report.md").read_text()
    assert "## puppets: 2 clips, 4 frames" in text
    for answer in ANSWERS:
        assert f"| {answer} | " in text
    read = results.read(folder / "figures.json")
    assert [result.name for result in read] == list(ANSWERS)
    assert read[0].metrics["psnr"] == pytest.approx(figures["model"]["psnr"])


def test_networks_give_every_answer_its_fvd(evaluated, networks, monkeypatch):
    """True clips go through a network once for all answers."""
    monkeypatch.setattr(Networks, "load", lambda *_, **__: networks)
    clips = measure.held_out_clips(tiny_config(), seed=0, characters=3, frames=16)
    made = {"same": clips.targets, "darker": clips.targets // 2}
    same, darker = measure.score(clips, made)
    assert same.metrics["fvd"] == 0
    assert darker.metrics["fvd"] > 0
    low, high = darker.intervals["fvd"]
    assert low < darker.metrics["fvd"] < high


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
    monkeypatch.setattr(Networks, "load", lambda *_, **__: without_weights())
    measure.run(tiny_config(), weights_dir=str(folder / "weights"), output=Output(), dump=None)
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]
    assert pictures.read_picture(tmp_path / "runs" / "tiny" / "evaluation.png").any()


def test_a_place_that_cannot_be_written_to_is_told_before_the_work(evaluated, monkeypatch):
    folder, _ = evaluated
    monkeypatch.setattr(measure, "_animate", None)
    with pytest.raises(NotADirectoryError, match=r"figures\.json/a\.json"):
        measure.run(
            tiny_config(),
            weights_dir=str(folder / "weights"),
            output=Output(json=folder / "figures.json" / "a.json"),
            dump=None,
        )


def test_one_frame_shows_no_change(evaluated):
    folder, _ = evaluated
    config = tiny_config()
    config = dataclasses.replace(config, eval=dataclasses.replace(config.eval, frames=1))
    with pytest.raises(ConfigError, match=r"eval\.frames must be at least 2"):
        measure.run(config, weights_dir=str(folder / "weights"), output=Output(), dump=None)


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
        measure.run(
            tiny_config(), weights_dir=str(tmp_path / "weights"), output=Output(), dump=None
        )
