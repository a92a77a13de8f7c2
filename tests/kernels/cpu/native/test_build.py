"""C++ is compiled once per processor, compiler and source, and failures say what is missing."""

import ctypes
import os

import pytest
from native_code import needs_compiler

from aa_jax.kernels.cpu.native.build import BuildError, build


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A small C++ file, and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "three.cc"
    path.write_text('extern "C" int three() { return 3; }\n')
    return path


@needs_compiler
def test_a_library_is_compiled_once(source, tmp_path):
    three = build("three", [source])
    os.utime(three, (0, 0))

    assert build("three", [source]) == three
    assert three.stat().st_mtime == 0
    assert ctypes.CDLL(str(three)).three() == 3
    assert list((tmp_path / "cache").rglob("*.*")) == [three]


@needs_compiler
@pytest.mark.parametrize("name", ["three.cc", "four.h"])
def test_another_source_or_header_is_another_library(source, name):
    before = build("three", [source])
    (source.parent / name).write_text('extern "C" int three() { return 4; }\n')

    assert build("three", [source]) != before


def test_a_missing_compiler_is_named(source, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler -O1")

    with pytest.raises(BuildError, match=r"needs a C\+\+ compiler, .* no no-such-compiler"):
        build("three", [source])


@needs_compiler
def test_what_cannot_be_compiled_says_why_and_leaves_nothing(source, tmp_path):
    source.write_text("int three() { return tree; }\n")

    with pytest.raises(BuildError, match=r"cannot be compiled: .*error: .*tree"):
        build("three", [source])
    assert not list((tmp_path / "cache").rglob("*.*"))
