"""A tiny model in every format, and full-size files that take no room."""

import dataclasses
import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import tiny_model

from aa_jax import config as config_lib
from aa_jax import runtime, weights
from aa_jax.models.motion_module import position_table
from convert.__main__ import main

MODEL = dataclasses.replace(
    tiny_model.MODEL,
    motion_module=config_lib.MotionModuleConfig(
        num_attention_heads=2, max_positions=32, norm_num_groups=8
    ),
    pose_guider=config_lib.PoseGuiderConfig(kind="controlnet", block_out_channels=(8, 12, 16)),
)
MANIFESTS = Path(__file__).parent / "manifests"


@pytest.fixture(scope="session")
def params():
    return tiny_model.random_params(MODEL)


@pytest.fixture(scope="session")
def directory(tmp_path_factory, params):
    """A weights directory of a tiny model, float16."""
    path = tmp_path_factory.mktemp("tiny") / "weights"
    config = weights.WeightsConfig(
        model=MODEL,
        schedule=tiny_model.SCHEDULE,
        skeleton=config_lib.SkeletonConfig(face=True),
        sampling=config_lib.SamplingConfig(steps=7),
    )
    weights.save(path, config, params, dtype=np.float16)
    return path


@pytest.fixture(scope="session")
def moore(directory):
    """The same as Moore-AnimateAnyone's four files with VAE and image encoder beside them."""
    return exported(directory, "moore")


@pytest.fixture(scope="session")
def diffusers(directory):
    """The same as diffusers folders."""
    return exported(directory, "diffusers")


def exported(directory, layout):
    path = directory.parent / layout
    assert main(["export", str(directory), "--layout", layout, "--output", str(path)]) == 0
    return path


@pytest.fixture
def convert(capsys):
    """Runs a command line that must succeed and returns what it printed."""

    def run(*argv):
        code = main([str(arg) for arg in argv])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return run


@pytest.fixture
def refused(capsys):
    """Runs a command line that must fail with one line, which it returns."""

    def run(*argv):
        assert main([str(arg) for arg in argv]) == 1
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
        return err

    return run


@pytest.fixture
def verify(capsys, monkeypatch):
    """Runs the command; returns its exit code, the last line and the lines of what fell short."""
    monkeypatch.setattr(runtime, "prepare", lambda: None)

    def run(*arguments):
        code = main(["verify", *map(str, arguments)])
        lines = capsys.readouterr().out.splitlines()
        return code, lines[-1], [line.strip() for line in lines if "SHORT" in line]

    return run


@pytest.fixture(scope="session")
def manifest():
    """Names and shapes of a published checkpoint."""

    def read(name):
        shapes = json.loads(gzip.decompress((MANIFESTS / f"{name}.json.gz").read_bytes()))
        return {key: tuple(shape) for key, shape in shapes.items()}

    return read


@pytest.fixture
def sparse():
    """Writes float16 safetensors of given shapes, all zeros, that occupy hardly any disk."""

    def write(path, shapes):
        header, end, tables = {}, 0, {}
        for key, shape in shapes.items():
            start, end = end, end + 2 * int(np.prod(shape, dtype=np.int64))
            header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
            if key.endswith(".pe"):
                tables[start] = position_table(*shape[1:]).astype(np.float16)
        text = json.dumps(header).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for start, table in tables.items():
                file.seek(8 + len(text) + start)
                file.write(table.tobytes())
            file.truncate(8 + len(text) + end)
        return path

    return write
