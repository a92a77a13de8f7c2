import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import tiny_config

from aa_jax.training.reporting import NonFiniteError, Reporter, Speed


def metrics(loss=1.0, grad_norm=0.5, shares=(0.5, 0.0, 0.25, 0.25), losses=(0.5, 0, 0.5, 1.0)):
    return {
        "loss": jnp.float32(loss),
        "grad_norm": jnp.float32(grad_norm),
        "param_norm": jnp.float32(2.0),
        "bucket_losses": jnp.asarray(losses, jnp.float32),
        "bucket_shares": jnp.asarray(shares, jnp.float32),
    }


def make_reporter(workdir, first_step=0):
    speed = Speed(batch_size=4, devices=2, peak_flops=1e12)
    speed.flops, speed.model_flops = 3e9, 2e9
    return Reporter(workdir, tiny_config(log_every=2), first_step=first_step, speed=speed), speed


def test_a_line_per_step_with_losses_by_timestep_and_rates_at_intervals(tmp_path):
    reporter, _ = make_reporter(tmp_path)
    with reporter:
        for _ in range(2):
            reporter.step(metrics())
    first, second = map(json.loads, (tmp_path / "steps.jsonl").read_text().splitlines())
    # The sums of a bucket over its share; the empty bucket is left out.
    buckets = {name: value for name, value in first.items() if name.startswith("loss_t")}
    assert buckets == {"loss_t000_249": 1.0, "loss_t500_749": 2.0, "loss_t750_999": 4.0}
    assert "samples_per_second" not in first
    rate = second["samples_per_second"] / 4
    assert second["tflops_per_device"] == pytest.approx(rate * 3e9 / 2 / 1e12)
    assert second["mfu"] == pytest.approx(rate * 2e9 / 2 / 1e12)
    assert list((tmp_path / "tensorboard").iterdir())


def test_norms_that_a_step_did_not_compute_are_left_out(tmp_path):
    reporter, _ = make_reporter(tmp_path)
    with reporter:
        reporter.step(metrics() | {"param_norm": jnp.float32(jnp.nan)})
        reporter.step(metrics())
    first, second = map(json.loads, (tmp_path / "steps.jsonl").read_text().splitlines())
    assert "param_norm" not in first
    assert first["grad_norm"] == 0.5
    assert second["param_norm"] == 2.0


def test_steps_that_will_run_again_leave_the_log(tmp_path):
    reporter, _ = make_reporter(tmp_path)
    with reporter:
        for _ in range(3):
            reporter.step(metrics())
    reporter, _ = make_reporter(tmp_path, first_step=1)
    with reporter:
        reporter.step(metrics(loss=9.0))
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 9.0)]


@pytest.mark.parametrize("bad", [{"loss": math.nan}, {"grad_norm": math.inf}])
def test_a_step_that_is_not_finite_is_told_with_its_examples(tmp_path, bad):
    reporter, _ = make_reporter(tmp_path)
    with reporter:
        reporter.step(metrics())
        reporter.step(metrics(**bad))
        with pytest.raises(NonFiniteError, match=r"at step 2 .*examples 4 to 7") as error:
            reporter.flush()
    assert error.value.step == 2
    assert list(error.value.example_ids) == [4, 5, 6, 7]
    assert len((tmp_path / "steps.jsonl").read_text().splitlines()) == 1


def test_time_spent_waiting_for_batches_is_reported():
    import time

    speed = Speed(batch_size=1, devices=1, peak_flops=0.0)

    def slowly():
        for i in range(3):
            time.sleep(0.02)
            yield i

    assert list(speed.timed(slowly())) == [0, 1, 2]
    speed.step()
    figures = speed.figures()
    assert 0.9 < figures["data_wait"] <= 1.0
    assert "mfu" not in figures
    np.testing.assert_allclose(speed.figures()["data_wait"], 0.0, atol=1e-9)
