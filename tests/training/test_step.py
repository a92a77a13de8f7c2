import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_run import tiny_config

from aa_jax.training import program, state, step, update


def quadratic_loss(trainable, frozen, batch, keys):
    """A loss whose draws follow the examples' keys, as those of the real tasks do."""
    noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    errors = (batch["x"] + noise) @ trainable["net"]["w"] - frozen["shift"]["b"]
    return jnp.square(errors).mean(), {"mean_error": errors.mean()}


PARAMS = {"net": {"w": np.array([1.0, -2.0, 0.5], np.float32)}}
SEED = step.seed_argument(0)
FROZEN = {"shift": {"b": np.float32(0.1)}}


def batch_of(ids):
    x = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    return {"example_id": np.asarray(ids, np.uint32), "x": x[np.asarray(ids)]}


def run_step(ids=range(8), **train):
    config = dataclasses.replace(tiny_config().train, batch_size=8, **train)
    train_step = step.make_train_step(quadratic_loss, config)
    return jax.jit(train_step)(state.create(PARAMS, config), FROZEN, batch_of(list(ids)), SEED)


def test_a_step_is_adamw_on_clipped_gradients():
    """Given the loss, when one step is taken, then it is optax's own update."""
    ours, metrics = run_step(learning_rate=0.1, weight_decay=0.01, max_grad_norm=0.5)
    keys = step.example_keys(0, "train", jnp.int32(0), jnp.arange(8, dtype=jnp.uint32))
    grads = jax.grad(lambda p: quadratic_loss(p, FROZEN, batch_of(range(8)), keys)[0])(PARAMS)
    norm = optax.tree.norm(grads)
    assert norm > 0.5
    clipped = jax.tree.map(lambda g: g * 0.5 / norm, grads)
    adamw = optax.adamw(0.1, weight_decay=0.01)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = adamw.update(clipped, adamw.init(PARAMS), PARAMS)
    expected = optax.apply_updates(PARAMS, updates)
    np.testing.assert_allclose(ours.params["net"]["w"], expected["net"]["w"], rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-6)
    assert int(ours.step) == 1


@pytest.mark.parametrize("accumulation_steps", [2, 4])
def test_accumulation_equals_the_large_batch(accumulation_steps):
    """The same numbers are drawn for an example whichever micro-batch it is in."""
    large, large_metrics = run_step()
    small, small_metrics = run_step(accumulation_steps=accumulation_steps)
    np.testing.assert_allclose(small.params["net"]["w"], large.params["net"]["w"], rtol=1e-6)
    for name in ("loss", "mean_error", "grad_norm"):
        np.testing.assert_allclose(small_metrics[name], large_metrics[name], rtol=1e-5)


def test_draws_follow_the_example_not_its_place():
    ids = jnp.arange(6, dtype=jnp.uint32)
    keys = step.example_keys(0, "train", jnp.int32(3), ids)
    part = step.example_keys(0, "train", jnp.int32(3), ids[4:])
    np.testing.assert_array_equal(jax.random.key_data(part), jax.random.key_data(keys[4:]))
    for other in (
        step.example_keys(1, "train", jnp.int32(3), ids),
        step.example_keys(0, "other", jnp.int32(3), ids),
        step.example_keys(0, "train", jnp.int32(4), ids),
    ):
        assert (jax.random.key_data(other) != jax.random.key_data(keys)).any(axis=-1).all()


@pytest.mark.parametrize("seed", [0, 7, 2**31 + 5, 2**32 - 1, 2**40 + 3, -1])
def test_a_program_makes_of_its_argument_the_key_that_the_seed_makes(seed):
    """One compiled step serves every seed, and draws what a step compiled for the seed draws."""
    key = jax.jit(jax.random.key)(step.seed_argument(seed))
    expected = jax.random.key_data(jax.random.key(seed))
    np.testing.assert_array_equal(jax.random.key_data(key), expected)


def test_only_trainable_networks_have_optimizer_state():
    config = tiny_config().train
    moments = jax.tree.leaves(state.create(PARAMS, config).opt_state)
    assert sum(x.size for x in moments if x.ndim) == 2 * 3


def test_the_average_follows_slowly_and_is_what_is_sampled_from():
    averaged, _ = run_step(ema_decay=0.9, learning_rate=0.1)
    w, start = averaged.params["net"]["w"], PARAMS["net"]["w"]
    # After one step the window is still short: decay min(0.9, 1 / 10).
    np.testing.assert_allclose(averaged.averaged["net"]["w"], 0.1 * start + 0.9 * w, rtol=1e-6)
    plain, _ = run_step(learning_rate=0.1)
    assert plain.averaged is plain.params


@pytest.mark.parametrize(
    ("schedule", "at"),
    [
        ("constant", {0: 0.0, 5: 5e-4, 10: 1e-3, 100: 1e-3}),
        ("cosine", {0: 0.0, 5: 5e-4, 10: 1e-3, 55: 5.05e-4, 100: 1e-5}),
    ],
)
def test_learning_rate_warms_up_and_then_follows_its_schedule(schedule, at):
    train = dataclasses.replace(
        tiny_config().train, lr_schedule=schedule, warmup_steps=10, steps=100
    )
    rate = state.learning_rate_schedule(train)
    for number, value in at.items():
        assert float(rate(number)) == pytest.approx(value, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_warm_up_longer_than_the_run_is_cut_to_it(schedule):
    train = dataclasses.replace(
        tiny_config().train, lr_schedule=schedule, warmup_steps=100, steps=2, learning_rate=1e-3
    )
    rate = state.learning_rate_schedule(train)
    assert [float(rate(step)) for step in range(3)] == pytest.approx([0, 5e-4, 1e-3])


def as_matrix(x):
    if x.ndim < 2:
        return None
    return optax.contrib.MuonDimensionNumbers(tuple(range(x.ndim - 1)), (x.ndim - 1,))


def test_muon_is_optaxs_on_kernels_and_plain_adamw_on_the_rest():
    """optax 0.2.8's own muon takes Nesterov momentum to AdamW too: 1.47 times the first step."""
    config = dataclasses.replace(
        tiny_config().train, optimizer="muon", learning_rate=0.1, weight_decay=0.01
    )
    params = {"w": jnp.ones((2, 3, 8)), "v": jnp.ones((8, 4)), "b": jnp.ones(4), "s": jnp.ones(())}
    rate = state.learning_rate_schedule(config)
    ours, adamw = state.make_optimizer(config), optax.adamw(rate, weight_decay=0.01)
    optaxs = optax.contrib.muon(
        rate,
        weight_decay=0.01,
        adam_weight_decay=0.01,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=lambda params: jax.tree.map(as_matrix, params),
    )
    rules = {"ours": ours, "muon": optaxs, "adamw": adamw}
    states = {name: rule.init(params) for name, rule in rules.items()}
    # so that a run goes on from checkpoints of either
    assert jax.tree.structure(states["ours"]) == jax.tree.structure(states["muon"])
    for step_index in range(4):
        keys = jax.random.split(jax.random.key(step_index), len(params))
        grads = {
            name: jax.random.normal(key, x.shape)
            for key, (name, x) in zip(keys, params.items(), strict=True)
        }
        updates = {}
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            for name, rule in rules.items():
                updates[name], states[name] = rule.update(grads, states[name], params)
        for name, x in params.items():
            expected = updates["muon" if x.ndim > 1 else "adamw"][name]
            np.testing.assert_allclose(updates["ours"][name], expected, rtol=1e-5)
        if step_index == 0:
            nesterov = np.abs(updates["muon"]["b"] / updates["ours"]["b"])
            assert (nesterov > 1.3).all()


def test_a_step_that_is_not_finite_changes_nothing_and_neither_do_later_ones():
    config = dataclasses.replace(tiny_config().train, batch_size=8, ema_decay=0.9)
    train_step = jax.jit(step.make_train_step(quadratic_loss, config))
    before, _ = train_step(state.create(PARAMS, config), FROZEN, batch_of(range(8)), SEED)
    broken = {**batch_of(range(8, 16)), "x": np.full((8, 3), np.nan, np.float32)}
    stopped, metrics = train_step(before, FROZEN, broken, SEED)
    assert np.isnan(metrics["loss"])
    later, _ = train_step(stopped, FROZEN, batch_of(range(8)), SEED)
    for after in (stopped, later):
        assert int(after.step) == ~1  # one step is done, the next one was not finite
        kept = after.replace(step=~after.step)
        jax.tree.map(np.testing.assert_array_equal, kept, before)


@pytest.mark.parametrize("moments", ["float32", "bfloat16"])
@pytest.mark.parametrize("sound", [True, False])
def test_on_one_cpu_the_state_changes_in_place_to_what_optax_makes_of_it(
    sound, moments, monkeypatch
):
    """Given a logged step; nothing is copied, and only there are the updates' norms known."""
    config = dataclasses.replace(
        tiny_config().train,
        ema_decay=0.9,
        max_grad_norm=0.5,
        weight_decay=0.1,
        learning_rate=0.1,
        moments_dtype=moments,
        log_every=2,
    )
    keys = iter(jax.random.split(jax.random.key(0), 8))

    def draw():
        shapes = ((64, 3, 256), (5,))
        return {"net": [jax.random.normal(next(keys), shape) for shape in shapes]}

    before, first, gradients = state.create(draw(), config), draw(), draw()
    loss = jnp.float32(1 if sound else jnp.nan)

    def take(one_cpu):
        monkeypatch.setattr(update.target, "on_one_cpu", lambda: one_cpu)
        step_one = jax.jit(lambda *args: update.update(config, *args), donate_argnums=0)
        compiled = step_one.lower(before, gradients, loss).compile(program.compiler_options())
        copied = jax.tree.map(jnp.copy, before)
        middle, unlogged = compiled(copied, first, jnp.float32(1))
        stored = compiled.memory_analysis().temp_size_in_bytes
        return unlogged, compiled(middle, gradients, loss), stored

    unlogged, ours, stored = take(True)
    _, theirs, stored_by_selecting = take(False)
    assert np.isnan([unlogged["param_norm"], unlogged["update_norm"]]).all()
    array = 4 * 64 * 3 * 256
    assert stored < 1.1 * array
    assert stored_by_selecting > 2 * array
    (new, norms), (expected, expected_norms) = ours, theirs
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), rtol=1e-6)
    assert int(new.step) == (2 if sound else ~1)
    if sound:
        for name, norm in norms.items():  # the updates' one is computed from rounded moments
            rtol = 1e-4 if moments == "bfloat16" else 1e-6
            np.testing.assert_allclose(norm, expected_norms[name], rtol=rtol)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_first_moments_may_be_bfloat16(optimizer):
    """Second moments stay float32, and the updates close to those of float32 moments."""
    kernel = {"net": {"w": np.ones((3, 4), np.float32), "b": np.zeros(4, np.float32)}}
    config = dataclasses.replace(tiny_config().train, optimizer=optimizer)
    half = dataclasses.replace(config, moments_dtype="bfloat16")
    dtypes = [x.dtype for x in jax.tree.leaves(state.create(kernel, half).opt_state) if x.ndim]
    assert dtypes.count(jnp.bfloat16) == 2
    assert set(dtypes) <= {jnp.dtype("bfloat16"), jnp.dtype("float32")}
    ours, _ = run_step(moments_dtype="bfloat16", learning_rate=0.1)
    theirs, _ = run_step(learning_rate=0.1)
    np.testing.assert_allclose(ours.params["net"]["w"], theirs.params["net"]["w"], rtol=2**-8)
