"""An image encoder must fit the networks it is put beside."""

import json
import shutil


def test_an_encoder_of_another_width_is_refused(run, partial, diffusers, tmp_path):
    source = tmp_path / "in"
    shutil.copytree(diffusers / "image_encoder", source)
    values = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(values | {"projection_dim": 20}))

    end = run("image-encoder", source, "--output", partial)

    assert end.code == 1
    assert "do not fit together: model.unet.cross_attention_dim=16 must equal" in end.refusal
