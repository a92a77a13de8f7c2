"""Files of metrics' networks. Inception's and 3D-ResNet's are compared in `tests/metrics`."""

import metric_networks
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from aa_jax.metrics import i3d, lpips
from benchmarks import torch_metrics


def torchs(x):
    return torch.tensor(np.moveaxis(np.asarray(x), (-1, -2), (0, 1)).copy())


@pytest.fixture(scope="module")
def params():
    return metric_networks.random_params(lpips.expected("alex"))


@pytest.fixture(scope="module")
def files(params, tmp_path_factory):
    """Torchvision's AlexNet, the heads of the package lpips, and the whole module's state."""
    folder = tmp_path_factory.mktemp("lpips")
    trunk = torch_metrics.alexnet()
    layers = [layer for layer in trunk.features if isinstance(layer, torch.nn.Conv2d)]
    for index, layer in enumerate(layers):
        torch_metrics.fill(layer, params["trunk"][f"conv_{index}"])
    heads = {
        f"lin{i}.model.1.weight": torch.tensor(params[f"head_{i}"]).reshape(1, -1, 1, 1)
        for i in range(5)
    }
    slices = {0: 1, 3: 2, 6: 3, 8: 4, 10: 5}
    whole = {
        f"net.slice{slices[int(name.split('.')[1])]}.{name.removeprefix('features.')}": x
        for name, x in trunk.state_dict().items()
    }
    again = {name.replace("lin", "lins."): x for name, x in heads.items()}
    shift = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
    classes = {"classifier.1.weight": torch.zeros(4, 4)}
    torch.save(dict(trunk.state_dict()) | classes, folder / "alexnet.pth")
    torch.save(heads, folder / "heads.pth")
    torch.save(whole | heads | again | shift, folder / "whole.pth")
    return folder


def test_lpips_comes_whole_or_as_trunk_and_heads(run, files, params, tmp_path):
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    assert run("metrics", "lpips-alex", files / "whole.pth", "--output", whole).code == 0
    made = run(
        *("metrics", "lpips-alex", files / "alexnet.pth"),
        *("--heads", files / "heads.pth", "--output", parts),
    )
    assert made.code == 0
    assert "lpips-alex of alexnet.pth, heads.pth, 2,470,848 parameters" in made.out
    for path in (whole, parts):
        found = load_file(path)
        np.testing.assert_array_equal(found["head_3"], params["head_3"])
        np.testing.assert_array_equal(
            found["trunk.conv_4.kernel"], params["trunk"]["conv_4"]["kernel"]
        )


def test_the_user_s_cache_is_where_it_goes(run, files, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run("metrics", "lpips-alex", files / "whole.pth").code == 0
    assert lpips.load("alex").origin.source == "whole.pth"
    again = run("metrics", "lpips-alex", files / "whole.pth")
    assert again.code == 1
    assert "exists; choose another --output or --overwrite" in again.refusal


def test_i3d_has_its_norms_folded_in(run, tmp_path):
    """In the names of pytorch-i3d, with norms that change nothing."""
    params = metric_networks.random_params(i3d.expected())
    state = {"logits.conv3d.weight": torchs(params["Logits"]["Conv3d_0c_1x1"]["kernel"])}
    state["logits.conv3d.bias"] = torch.tensor(params["Logits"]["Conv3d_0c_1x1"]["bias"])

    def add(name, layer):
        features = layer["bias"].shape[0]
        state[f"{name}.conv3d.weight"] = torchs(layer["kernel"])
        state[f"{name}.bn.weight"] = torch.ones(features)
        state[f"{name}.bn.bias"] = torch.tensor(layer["bias"])
        state[f"{name}.bn.running_mean"] = torch.zeros(features)
        state[f"{name}.bn.running_var"] = torch.full((features,), 1 - 1e-3)
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(7)

    for block, parts in params.items():
        if block.startswith("Conv3d"):
            add(block, parts)
        for branch, layers in parts.items() if block.startswith("Mixed") else ():
            for name, layer in layers.items():
                letter = "" if branch == "Branch_0" else name[len("Conv3d_0")]
                add(f"{block}.b{branch[-1]}{letter}", layer)
    torch.save(state, tmp_path / "i3d.pt")

    out = tmp_path / "i3d.safetensors"
    assert run("metrics", "i3d", tmp_path / "i3d.pt", "--output", out).code == 0

    found = load_file(out)["Mixed_4c.Branch_2.Conv3d_0b_3x3.kernel"]
    expected = params["Mixed_4c"]["Branch_2"]["Conv3d_0b_3x3"]["kernel"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_files_that_do_not_fit_are_refused_in_one_line(run, files, tmp_path):
    out = tmp_path / "out.safetensors"

    def refusal(*argv):
        ended = run("metrics", *argv, "--output", out)
        assert ended.code == 1
        assert not out.exists()
        return ended.refusal

    assert "give the file of the package lpips" in refusal("lpips-alex", files / "alexnet.pth")
    assert "is missing" in refusal("inception", files / "whole.pth")
    assert "of another network" in refusal("lpips-vgg", files / "whole.pth")
    assert "no such file" in refusal("i3d", tmp_path / "none.pt")
    assert "only LPIPS's" in refusal("i3d", files / "whole.pth", "--heads", files / "heads.pth")
    extra = torch.load(files / "whole.pth") | {"odd.weight": torch.zeros(3)}
    torch.save(extra, tmp_path / "odd.pth")
    assert "has no use for odd.weight" in refusal("lpips-alex", tmp_path / "odd.pth")
    assert run("metrics", "fvd", files / "whole.pth").code == 2
