"""What starts a program is imported where it is needed, so that importing and asking are quick."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    "torch", "diffusers", "transformers", "av", "cv2", "grain", "onnxruntime", "optax", "orbax",
    "scipy", "skimage", "tensorflow", "tensorflow_datasets",
)  # fmt: skip
REPORT = """
import json, time
used = time.process_time()
print(json.dumps([used, [name for name in {heavy!r} if sys.modules.get(name)]]))
"""


def run(code):
    """CPU seconds of a fresh interpreter after some code, and which heavy packages it holds."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys\n" + code + REPORT.format(heavy=(*HEAVY, "jax"))],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


# CPU time of the child, which a busy machine lengthens little; measured is a third of the limit.
@pytest.mark.parametrize(
    ("code", "seconds", "heavy"),
    [
        ("import aa_jax, aa_jax.config", 0.5, []),
        (
            "import aa_jax.runtime, aa_jax.weights, aa_jax.media.pictures, aa_jax.media.video\n"
            "import aa_jax.sampling.cli, aa_jax.sampling.long_video, aa_jax.sampling.poses",
            3.0,
            ["jax"],
        ),
    ],
)
def test_imports_are_quick(code, seconds, heavy):
    used, found = run(code)
    assert found == heavy
    assert used < seconds


def test_help_needs_the_standard_library_only():
    used, found = run(
        "import contextlib, io\n"
        "from aa_jax.sampling.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as text:\n"
        "    assert main(['--help']) == 0\n"
        "assert '--feature_cache_interval' in text.getvalue()\n"
    )
    assert found == []
    assert used < 0.5
