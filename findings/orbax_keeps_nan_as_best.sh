#!/usr/bin/env bash
# orbax-checkpoint 0.12.8: a loss that is NaN can decide which checkpoint is "the best".
#
# A `CheckpointManager` that keeps the one best checkpoint (`max_to_keep=1`, `best_mode="min"`) is
# given the losses 1, NaN, 3, one after the other. It keeps step 2, of loss 3, and calls it the best;
# step 0, of loss 1, is deleted. Checkpoints are ranked by sorting their metrics, and every
# comparison with NaN is false, so that the order of those around it is left to chance. Without the
# NaN, step 0 is kept. The first NaN of a run thus may cost its best checkpoint; losses have to be
# looked at before they are handed over.
#
# Output: losses [1.0, 3.0]: best step 0, kept [0]
#         losses [1.0, nan, 3.0]: best step 2, kept [2]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet orbax-checkpoint==0.12.8 jax==0.10.2 jaxlib==0.10.2 \
    numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu venv/bin/python - <<'PYTHON'
import pathlib

import jax.numpy as jnp
import orbax.checkpoint as ocp


def best_of(*losses):
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1, best_fn=lambda metrics: metrics["loss"], best_mode="min"
    )
    folder = pathlib.Path.cwd() / f"checkpoints_{len(losses)}"
    with ocp.CheckpointManager(folder, options=options) as manager:
        for step, loss in enumerate(losses):
            state = {"w": jnp.full(4, step)}
            manager.save(step, args=ocp.args.StandardSave(state), metrics={"loss": loss})
        manager.wait_until_finished()
        best, kept = manager.best_step(), list(manager.all_steps())
    print(f"losses {list(losses)}: best step {best}, kept {kept}")
    return best, kept


assert best_of(1.0, 3.0) == (0, [0]), "the best checkpoint is not kept even without NaN"
assert best_of(1.0, float("nan"), 3.0) == (2, [2]), "NaN no longer hides the best step"
PYTHON
