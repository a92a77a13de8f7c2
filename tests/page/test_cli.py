"""`app.py` says in one line why it shows no page."""

import socket
import sys

import pytest

from aa_jax.page import cli


def test_a_port_in_use(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert cli.main([f"--port={port}"]) == 1
    assert capsys.readouterr().err.startswith(f"error: port {port} of 127.0.0.1 cannot be used (")


@pytest.mark.parametrize("flag", ["--port=0", "--port=70000", "--max-upload=0", "--nonsense"])
def test_wrong_flags(flag, capsys):
    assert cli.main([flag]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_without_gradio_the_command_that_installs_it_is_told(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert cli.main([f"--port={port}"]) == 1
    assert "pip install 'aa_jax[web]'" in capsys.readouterr().err
