"""From planned networks to a weights directory: reading, hashing, writing, all or nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aa_jax import files, weights
from aa_jax.config import ConfigError, ModelConfig
from convert import ConvertError
from convert.reading.tensors import Source, Tensor
from convert.writing import transfer, writer


@dataclasses.dataclass(frozen=True)
class Part:
    """One network to be, planned from one source.

    Attributes:
      source: the opened file or folder.
      tensors: its parameters by dotted path, unread.
      report: what became of the source's tensors.
      sources: all of the opened files, where there are more (merged LoRAs).
    """

    source: Source
    tensors: Mapping[str, Tensor]
    report: transfer.Report
    sources: tuple[Source, ...] = ()

    @property
    def network(self) -> str:
        """Name of the network."""
        return self.report.network


def plan(
    name: str,
    model: ModelConfig,
    source: Source,
    tensors: Mapping[str, Tensor],
    *,
    ignored: Mapping[str, str] | None = None,
    sources: tuple[Source, ...] = (),
) -> Part:
    """Plans one network.

    Args:
      name: one of `aa_jax.config.NETWORKS`.
      model: the architecture.
      source: where the tensors come from.
      tensors: those of the source that concern this network, under the names it wants.
      ignored: the source's other tensors, by name with the reason.
      sources: further files the tensors depend on.

    Raises:
      ConvertError: they do not fit; the message names file and tensors.
    """
    try:
        planned, report = transfer.plan(name, model, tensors)
    except ConvertError as error:
        raise ConvertError(f"{source.path}: {error}") from None
    left_out = {**report.ignored, **(ignored or {}), **source.left_out}
    report = dataclasses.replace(report, ignored=left_out)
    return Part(source, planned, report, (source, *sources))


def add(
    directory: Path,
    parts: list[Part],
    config: weights.WeightsConfig,
    *,
    command: str,
    overwrite: bool = False,
    allow_nonfinite: bool = False,
) -> None:
    """Writes networks into a weights directory, new or existing, and prints a report.

    All files are written under a temporary name beside the directory and moved when the last one is
    whole; networks the directory holds besides stay.

    Args:
      directory: the weights directory.
      parts: networks to write; the list is emptied, so that each one's file can be let go of.
      config: the directory's whole config, but for the provenance of the parts.
      command: name of the command, for the provenance.
      overwrite: replace networks that are there already.
      allow_nonfinite: take NaN and infinite numbers.

    Raises:
      ConvertError: the directory holds such networks already or one of another architecture, is no
        weights directory, or the disk is too small.
    """
    start = time.perf_counter()
    names = [part.network for part in parts]
    check_output(directory, names, overwrite=overwrite)
    _check_rest(directory, names, config)
    size = sum(tensor.nbytes for part in parts for tensor in part.tensors.values())
    _check_space(directory, size)
    provenance = _kept_provenance(config.provenance, names)
    hashed = functools.cache(files.sha256)
    with adding(directory) as folder, _progress(size) as progress:
        while parts:
            part = parts.pop(0)  # the last reference: its file's memory goes with it
            progress.set_description(part.network)
            writer.write_safetensors(
                folder / f"{part.network}.safetensors",
                part.tensors,
                allow_nonfinite=allow_nonfinite,
                progress=progress.update,
            )
            progress.write(str(part.report))
            provenance["sources"] += _provenance(part, command, hashed)
        config = dataclasses.replace(config, provenance=provenance)
        (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")
    print(
        f"{directory}: {', '.join(names)} written ({size / 2**30:.2f} GiB) in "
        f"{time.perf_counter() - start:.0f} s, peak memory {peak_memory() / 2**30:.2f} GiB"
    )


def check_output(directory: Path, names: Iterable[str], *, overwrite: bool) -> None:
    """Raises `ConvertError` where writing networks there would replace something unasked."""
    if not directory.exists() and not directory.is_symlink():
        return
    if not directory.is_dir():
        raise ConvertError(f"{directory}: is a file; choose another --output")
    if overwrite:
        return
    if not (directory / "config.json").exists():
        raise ConvertError(
            f"{directory}: exists and is no weights directory; choose another --output or "
            "--overwrite"
        )
    if present := [name for name in names if name in weights.networks(directory)]:
        raise ConvertError(
            f"{directory}: holds {', '.join(present)} already; choose another --output or "
            "--overwrite"
        )


def _check_rest(directory: Path, names: list[str], config: weights.WeightsConfig) -> None:
    """Networks that stay in the directory must still be what its new config says."""
    if not (directory / "config.json").exists():
        return
    old = weights.load_config(directory)
    for name in weights.networks(directory):
        section = weights.SECTIONS[name]
        before, after = getattr(old.model, section), getattr(config.model, section)
        if name not in names and (fields := weights.differences(name, old.model, config.model)):
            raise ConvertError(
                f"{directory}: holds {name} of another architecture ({', '.join(fields)}: "
                f"{before} there, {after} here); choose another --output"
            )


def model_with(base: ModelConfig, present: Iterable[str], **sections: Any) -> ModelConfig:
    """A model config with other sections; those of absent networks adapt to them.

    Args:
      base: the config so far.
      present: networks that exist and so must not change their meaning.
      sections: parts of the config to replace.

    Raises:
      ConvertError: they contradict each other.
    """
    fixed = {weights.SECTIONS[name] for name in present} | sections.keys()
    new = {**{s: getattr(base, s) for s in weights.SECTIONS.values()}, **sections}
    unet, vae, clip = new["unet"], new["autoencoder"], new["image_encoder"]
    if new["reference"].kind == "ip_adapter":
        pass  # it projects from any width to any other
    elif "image_encoder" not in fixed:
        new["image_encoder"] = dataclasses.replace(clip, projection_dim=unet.cross_attention_dim)
    elif "unet" not in fixed:
        new["unet"] = dataclasses.replace(unet, cross_attention_dim=clip.projection_dim)
    if "autoencoder" not in fixed:
        new["autoencoder"] = dataclasses.replace(vae, latent_channels=unet.in_channels)
    elif "unet" not in fixed:
        new["unet"] = dataclasses.replace(
            new["unet"], in_channels=vae.latent_channels, out_channels=vae.latent_channels
        )
    try:
        return ModelConfig(**new)
    except ConfigError as error:
        raise ConvertError(f"these networks do not fit together: {error}") from None


def _check_space(directory: Path, size: int) -> None:
    parent = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = shutil.disk_usage(parent).free
    if free < size:
        raise ConvertError(
            f"{directory}: {size / 2**30:.1f} GiB are needed, {free / 2**30:.1f} GiB are free there"
        )


@contextlib.contextmanager
def adding(directory: Path) -> Iterator[Path]:
    """Gives a temporary folder whose files move into a directory when the block ends well."""
    directory = directory.absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    folder.chmod(0o755)
    try:
        yield folder
        if not directory.exists():
            folder.rename(directory)
            return
        # config.json last: until then the directory is what its config says.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == "config.json"):
            path.rename(directory / path.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _progress(size: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=size, unit="B", unit_scale=True, disable=not sys.stderr.isatty())


def _kept_provenance(old: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    sources = [
        entry for entry in old.get("sources", []) if not set(entry.get("networks", [])) & set(names)
    ]
    return {**old, "sources": sources}


def _provenance(
    part: Part, command: str, sha256: Callable[[Path], str]
) -> Iterator[dict[str, Any]]:
    for source in part.sources:
        for file in source.files:
            yield {
                "networks": [part.network],
                "file": file.name,
                "sha256": sha256(file),
                "dtype": list(part.report.dtypes),
                "command": command,
            }


def peak_memory() -> int:
    """Bytes of memory this process has had resident at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
