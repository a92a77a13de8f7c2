"""Single-file names become those that diffusers' own converter gives."""

from diffusers.loaders import single_file_utils as oracle

from convert.reading import ldm

CONFIG = {
    "down_block_types": ["d"] * 4,
    "up_block_types": ["u"] * 4,
    "layers_per_block": 2,
    "class_embed_type": None,
    "addition_embed_type": None,
}


class Named(str):
    """Stands for a tensor; the oracle reshapes some."""

    shape = (1,)

    def __getitem__(self, _):
        return self


def test_the_unet_is_named_as_diffusers_names_it(manifest):
    names = ldm.part(manifest("v1-5-pruned"), ldm.UNET)
    expected = oracle.convert_ldm_unet_checkpoint(
        {ldm.UNET + key: Named(key) for key in names}, CONFIG
    )

    ours = ldm.unet({key: key for key in names})

    assert len(ours) == 686
    assert ours == dict(expected)


def test_the_vae_is_named_as_diffusers_names_it(manifest):
    names = ldm.part(manifest("v1-5-pruned"), ldm.VAE)
    expected = oracle.convert_ldm_vae_checkpoint({key: Named(key) for key in names}, CONFIG)

    ours = ldm.vae({key: key for key in names})

    assert len(ours) == 248
    assert ours == dict(expected)


def test_averaged_weights_get_the_names_of_the_plain_ones(manifest):
    shapes = manifest("v1-5-pruned")

    averaged = ldm.ema({key: key for key in shapes})

    assert averaged.keys() == ldm.part(shapes, ldm.UNET).keys()
    assert averaged["out.2.bias"] == "model_ema.diffusion_modelout2bias"


def test_shapes_are_those_of_the_diffusers_network(manifest):
    shapes = manifest("v1-5-pruned")

    assert ldm.unet(ldm.part(shapes, ldm.UNET)) == manifest("sd15_unet")
    vae = ldm.vae(ldm.part(shapes, ldm.VAE))
    assert {k: s[:2] if s[2:] == (1, 1) and ".to_" in k else s for k, s in vae.items()} == (
        manifest("sd15_vae")
    )
