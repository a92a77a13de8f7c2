import resource
import subprocess
import sys

import jax

from aa_jax import runtime
from aa_jax.config import ModelConfig, NoiseScheduleConfig
from aa_jax.sampling import pipeline


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


# --- memory maps ----------------------------------------------------------------------------------

PROGRAMS = """
import sys
import jax, jax.numpy as jnp
from aa_jax import runtime

runtime.NEAR, runtime.ROOM = 0.95, 0.85  # most maps of a small process are libraries

def program(name):
    def chain(x):
        for i in range(3):
            x = jnp.tanh(x @ x + i)
        return x
    chain.__name__ = name
    return jax.jit(chain)

def near(programs):
    # a limit that as many programs reach
    before = runtime.count_memory_maps()
    first, second = program("first"), program("second")
    first(jnp.ones((8, 8)))
    each = runtime.count_memory_maps()
    second(jnp.ones((8, 8)))
    each = runtime.count_memory_maps() - each
    assert each > 1  # or there is nothing to test
    return int((before + programs * each) / runtime.NEAR)
"""


def run_python(code):
    command = [sys.executable, "-c", PROGRAMS + code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_programs_that_are_done_give_their_memory_maps_back():
    run_python("""
x = jnp.ones((8, 8))
program("warm")(x)
before = runtime.count_memory_maps()
kept = [program(f"f{i}") for i in range(20)]
for function in kept:
    function(x)
after = runtime.count_memory_maps()
runtime.drop_programs(above=after)
assert runtime.count_memory_maps() == after
runtime.drop_programs()
assert after - before > 50
assert runtime.count_memory_maps() <= before
assert float(kept[0](x)[0, 0]) == float(kept[1](x)[0, 0])
""")


def test_near_the_limit_the_oldest_programs_are_dropped_and_that_is_said():
    done = run_python("""
limit = near(40)
jax.monitoring.register_event_duration_secs_listener(runtime.MemoryMaps(limit))
x, functions, most = jnp.ones((8, 8)), [], 0
for i in range(60):
    functions.append(program(f"f{i}"))
    functions[-1](x)
    most = max(most, runtime.count_memory_maps())
    assert functions[-1]._cache_size() == 1  # the newest is kept
assert most < limit, (most, limit)
kept = [function._cache_size() for function in functions]
assert kept == sorted(kept)  # old ones dropped, new ones kept
assert 20 < sum(kept) < 55, kept
assert float(functions[0](x)[0, 0]) == float(functions[-1](x)[0, 0])
""")
    assert done.stderr.count("warning: this process holds") >= 1
    assert "the oldest programs are dropped" in done.stderr


def test_one_function_of_many_sizes_stays_below_the_limit():
    run_python("""
limit = near(20)
jax.monitoring.register_event_duration_secs_listener(runtime.MemoryMaps(limit))
function, most = program("sized"), 0
for size in range(8, 48):
    function(jnp.ones((size, size)))
    most = max(most, runtime.count_memory_maps())
assert most < limit, (most, limit)
""")


def test_whoever_makes_a_pipeline_is_watched(monkeypatch):
    calls = []
    monkeypatch.setattr(runtime, "watch_memory_maps", lambda: calls.append(1))
    pipeline.Pipeline(ModelConfig(), NoiseScheduleConfig())
    assert calls == [1]
