import dataclasses
import json

import pytest
from tiny_run import tiny_config

from aa_jax.config import ConfigError, MeshConfig
from aa_jax.training import workdir


def test_a_run_may_go_on_with_another_mesh_but_not_with_other_settings(tmp_path):
    config = tiny_config()
    workdir.claim(config, tmp_path)
    workdir.claim(dataclasses.replace(config, mesh=MeshConfig(data=2, fsdp=2)), tmp_path)
    with pytest.raises(ConfigError, match=r"\(train\.steps: 4 there, 5 here\)"):
        workdir.claim(tiny_config(steps=5), tmp_path)


def test_fields_newer_than_the_saved_config_count_at_their_defaults(tmp_path):
    config = tiny_config()
    workdir.claim(config, tmp_path)
    path = tmp_path / "config.json"
    saved = json.loads(path.read_text())
    del saved["train"]["moments_dtype"], saved["mesh"]
    path.write_text(json.dumps(saved))
    workdir.claim(config, tmp_path)
    with pytest.raises(ConfigError, match="moments_dtype: float32 there, bfloat16 here"):
        workdir.claim(tiny_config(moments_dtype="bfloat16"), tmp_path)


def test_a_file_that_is_no_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"config\.json: not the config of a run \(field name"):
        workdir.claim(tiny_config(), tmp_path)
