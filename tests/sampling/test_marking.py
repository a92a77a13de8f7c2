"""`sample.py` marks what it writes, signs it if asked to, and says before the work if it cannot."""

import hashlib
import sys

import pytest

from aa_jax import weights
from aa_jax.config import ConfigError
from aa_jax.media.provenance.certificates import SigningError
from aa_jax.sampling import cli, marking
from aa_jax.sampling.flags import parse


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in (marking.CERTIFICATE, marking.KEY):
        monkeypatch.delenv(name, raising=False)


def signer_of(*flags):
    parsed = parse(flags)
    return marking.signer_of(parsed, [parsed.output])


def test_nobody_signs_unless_asked_to():
    assert signer_of("--output=a.mkv") is None


@pytest.mark.parametrize("by", ["flag", "environment"])
def test_formats_that_cannot_be_signed_are_refused_with_a_reason(by, monkeypatch):
    flags, asked = ["--sign", "a.pem", "a.key"], "--sign"
    if by == "environment":
        monkeypatch.setenv(marking.CERTIFICATE, "a.pem")
        monkeypatch.setenv(marking.KEY, "a.key")
        flags, asked = [], marking.CERTIFICATE
    with pytest.raises(ConfigError, match=r"no place for a signature in \.mkv files") as error:
        signer_of("--output=a.mkv", *flags)
    assert asked in str(error.value)


def test_one_half_of_a_pair_is_none(monkeypatch):
    monkeypatch.setenv(marking.KEY, "a.key")
    with pytest.raises(ConfigError, match="AA_JAX_SIGN_CERT and AA_JAX_SIGN_KEY go together"):
        signer_of()


def test_without_the_library_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(SigningError, match=r"pip install 'aa_jax\[provenance\]'"):
        signer_of("--sign", "a.pem", "a.key")


def test_a_certificate_that_has_run_out_is_told_before_the_work(tmp_path, capsys):
    pytest.importorskip("c2pa")
    pair = pytest.importorskip("certificates").write_pair(tmp_path, days=(-20, -2))
    output = tmp_path / "out" / "a.mp4"
    assert cli.main(["--sign", f"{pair.certificate}", f"{pair.key}", f"--output={output}"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {pair.certificate}: the certificate has run out, on ")
    assert not captured.out
    assert not output.exists()


def test_facts_name_weights_by_their_content():
    hashes = weights.hashes("bundled")
    facts = marking.facts_of(hashes, {"seed": 3, "steps": 4, "guidance_scale": 2.0})
    file = weights.resolve("bundled") / "vae.safetensors"
    assert facts["weights_vae"] == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert (facts["seed"], facts["steps"], facts["guidance_scale"]) == ("3", "4", "2")


def test_inspection_goes_alone(tmp_path, capsys):
    assert cli.main(["--inspect", f"{tmp_path}/none.mp4", "--seed=1"]) == 2
    assert "--inspect FILE goes alone" in capsys.readouterr().err
    assert cli.main(["--inspect", f"{tmp_path}/none.mp4"]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/none.mp4: no such file\n"
