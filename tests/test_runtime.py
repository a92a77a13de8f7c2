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


def test_keeping_freed_pages_is_harmless():
    """The allocator's settings cannot be read back; a process lives on with them."""
    code = (
        "from aa_jax import runtime; runtime.keep_freed_pages()\n"
        "import numpy as np; print(sum(np.ones(2**22)[0] for _ in range(9)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "9.0"
