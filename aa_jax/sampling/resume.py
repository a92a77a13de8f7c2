"""The unfinished state of a long video, kept beside it so that a killed run can go on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aa_jax import files, weights
from aa_jax.diffusion.samplers import State

if TYPE_CHECKING:
    from aa_jax.sampling.pose_features import Skeletons
    from aa_jax.sampling.request import Request


class ResumeError(ValueError):
    """An unfinished video cannot be gone on with; the message names the file and the fix."""


@dataclasses.dataclass(frozen=True)
class StateFile:
    """The state after the last whole denoising step, in one `.npz` file that is never half-written.

    Attributes:
      path: of the file.
      settings: everything the state follows from, by the names users know, as JSON values.
      resume: go on from the file if it is there; otherwise it is only written.
    """

    path: Path
    settings: Mapping[str, Any]
    resume: bool = True

    @classmethod
    def beside(cls, output: Path, settings: Mapping[str, Any], *, resume: bool) -> StateFile:
        """The state of the video `output`: a hidden file in the same folder."""
        return cls(output.with_name(f".{output.name}.unfinished.npz"), settings, resume)

    def load(self) -> tuple[int, State] | None:
        """Steps done and the sampler's state after them; None if there is nothing to go on from.

        Raises:
          ResumeError: the file is broken, or its settings are others.
        """
        if not (self.resume and self.path.exists()):
            return None
        try:
            with self.path.open("rb") as file, np.load(file) as arrays:
                found = json.loads(str(arrays["settings"]))
                done, latents = int(arrays["done"]), arrays["latents"]
                history = tuple(arrays[name] for name in sorted(arrays) if "history" in name)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ResumeError(
                f"{self.path}: cannot be read ({error}); start again without --resume"
            ) from None
        for name, value in json.loads(json.dumps(self.settings)).items():
            if found.get(name) != value:
                raise ResumeError(
                    f"{self.path}: the unfinished video was made with {name}={found.get(name)}, "
                    f"not {value}; give the same settings or start again without --resume"
                )
        return done, State(latents, history)

    def save(self, done: int, state: State) -> None:
        """Replaces the file by the state after `done` steps."""
        with files.replacing_file(self.path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                settings=json.dumps(self.settings),
                done=done,
                latents=state.latents,
                **{f"history_{i}": array for i, array in enumerate(state.history)},
            )

    def remove(self) -> None:
        """Takes the file away when the video is complete."""
        self.path.unlink(missing_ok=True)


def state_file(
    output: Path,
    request: Request,
    skeletons: Skeletons,
    *,
    resume: bool,
    report: Callable[[str], None] = lambda line: None,
) -> StateFile:
    """Where the unfinished latents of a long video are kept, under all that they depend on.

    Raises:
      ResumeError: what is there, and to be gone on from, was made with other settings.
    """
    frames, height, width = skeletons.shape[:3]
    settings = {
        "frames": frames,
        "width": width,
        "height": height,
        **request.settings,
        "dtype": str(np.dtype(request.pipeline.dtype)),
        **{f"window_{name}": x for name, x in dataclasses.asdict(request.windows).items()},
        "weights": digest(sorted(weights.resolve(request.weights).glob("*.*"))),
        "reference": digest([request.reference]),
        "poses": digest(skeletons[np.array([t])] for t in range(frames)),
    }
    state = StateFile.beside(output, settings, resume=resume)
    if state.path.exists() and not resume:
        report(f"{output} starts again; --resume would go on where it was interrupted")
    state.load()  # refuses other settings before the work begins
    return state


def digest(parts: Iterable[Path | np.ndarray]) -> str:
    """A short name of the content of files and arrays."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        else:
            total.update(np.ascontiguousarray(part))
    return total.hexdigest()[:16]
