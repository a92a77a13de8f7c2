import pytest
from puppet_videos import prepare

from aa_jax.data.dataset import open_dataset
from aa_jax.data.preparation import media


def test_beam_does_the_videos_and_the_local_run_writes_them(video_folder, tmp_path, monkeypatch):
    """In this process, so that the calls can be counted: each video is scanned once."""
    pytest.importorskip("apache_beam")
    scans, scan = [], media.scan
    monkeypatch.setattr(media, "scan", lambda path: scans.append(path.name) or scan(path))
    options = "--runner=DirectRunner --direct_running_mode=in_memory"
    assert prepare(video_folder, tmp_path, f"--beam={options}") == 0
    assert sorted(scans) == ["a.mp4", "b #1.mkv", "c+d.avi"]
    assert len(open_dataset(tmp_path, "train")) == 3


def test_missing_beam_is_named_in_one_line(video_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "apache_beam", None)
    assert prepare(video_folder, tmp_path, "--beam=--runner=DirectRunner") == 1
    assert (
        capsys.readouterr().err == "error: --beam needs Apache Beam: pip install 'aa_jax[beam]'\n"
    )
