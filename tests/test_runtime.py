import resource
import subprocess
import sys

import jax

from aa_jax import runtime


def test_compiled_programs_are_kept_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        runtime.use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "aa_jax")
        jax.config.update("jax_compilation_cache_dir", "chosen")
        runtime.use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir == "chosen"
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def test_a_program_called_again_faults_no_pages_in():
    """A copy of its input is more than the memory that its later calls take anew."""
    code = """
import resource, statistics
from aa_jax import runtime
runtime.prepare()
import jax, jax.numpy as jnp

program = jax.jit(lambda x: jnp.sort(jnp.sin(x) @ x, axis=0).sum())
x = jnp.ones((3000, 3000))
faults = []
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    program(x).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(round(statistics.median(faults[1:])))  # a call may meet what compiling left in the heap
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) * resource.getpagesize() < 4 * 3000 * 3000
