"""The counted graphs compute the same, and ours costs less by what the algebra predicts."""

import jax
import numpy as np
import pytest
from tiny_model import MODEL, random_params

from aa_jax.config import ModelConfig
from benchmarks import flops, flops_baseline


def test_all_graphs_compute_the_same_prediction():
    # given one model and the inputs of one step
    params = random_params(MODEL)
    inputs = jax.jit(lambda p: flops.step_inputs(MODEL, p, size=12, frames=2))(params)

    # when it goes without each shortcut, and without all
    def predict(graph):
        return np.asarray(jax.jit(flops.guided_step(MODEL, graph))(params, inputs))

    ours = predict(flops.OURS)
    for graph in (*flops.GRAPHS.values(), *flops.SHORTCUTS.values()):
        np.testing.assert_allclose(predict(graph), ours, atol=1e-5 * np.abs(ours).max())


def test_every_shortcut_saves_what_it_leaves_out():
    side, frames = 16, 3
    counts = flops.count_steps(MODEL, size=2 * side, frames=frames)
    (width, wide), embedding = MODEL.unet.block_out_channels, MODEL.unet.cross_attention_dim

    def saved(name):
        return (counts["without"][name] - 1) * counts["ours"]

    def over_blocks(cost):
        """Of tokens and channels: three blocks of the first level, one in the middle."""
        return 3 * cost(side**2, width) + cost(side**2 // 4, wide)

    # queries and keys of both halves, scores and values of one key, outputs of every token
    cross = over_blocks(
        lambda s, c: 2 * (frames * s * (c * c + 2 * c + c * c) - c * c + embedding * c) * 2
    )
    assert saved("cross-attention to one key") == pytest.approx(cross, rel=1e-6)
    # keys and values of the reference's tokens in every frame
    once = over_blocks(lambda s, c: 2 * 2 * frames * s * c * c)
    assert saved("reference projected once") == pytest.approx(once, rel=1e-6)
    # scores and values of as many keys again, for half of the batch
    split = over_blocks(lambda s, c: 2 * 2 * frames * s * s * c)
    assert saved("unconditional half split off") == pytest.approx(split, rel=1e-6)
    assert 1 < counts["plain_over_ours"] < counts["moore_over_ours"]


@pytest.mark.slow
def test_stable_diffusion_costs_what_was_predicted():
    counts = flops.count_steps(ModelConfig(), size=512, frames=24)
    assert counts["plain_over_ours"] == pytest.approx(1.10, abs=0.01)
    assert counts["moore_over_ours"] == pytest.approx(1.18, abs=0.01)
    forwards = flops.count_forwards(ModelConfig(), size=512, frames=24)
    predicted = (0.78, 0.94, 1.25, 1.11, 2.50)
    assert [x / 1e12 for x in forwards.values()] == pytest.approx(predicted, rel=0.06)


def test_training_saves_what_is_cached_and_frozen():
    counts = flops.count_training(MODEL, size=16, frames=2)
    for stage in counts.values():
        assert stage["without cached latents"] > 1.05
    assert counts["stage 2"]["all networks differentiated"] > 1.3


def test_the_baseline_pays_for_its_controlnet_at_every_step():
    made = flops_baseline.models(MODEL, MODEL.image_encoder)
    counts = {
        name: flops_baseline.count(made[name], size=16, frames=2) for name in ("ours", "SD-I2V")
    }
    ours, theirs = counts["ours"], counts["SD-I2V"]
    assert theirs["guided step, per frame"] > 1.1 * ours["guided step, per frame"]
    assert theirs["reference, per video"] < 0.5 * ours["reference, per video"]


def test_command_line_prints_and_writes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(flops, "make_model", lambda width: MODEL)
    monkeypatch.setattr(flops_baseline, "models", lambda model: {"ours": model})
    path = tmp_path / "flops.json"
    assert flops.main(["--sizes", "16", "--frames", "2", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "plain/ours" in out
    assert "ours: TFLOP" in out
    assert "stage 2, all networks differentiated" in out
    assert '"moore_over_ours"' in path.read_text()
