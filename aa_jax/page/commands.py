"""What is filled in on the page, as the command line that does the same."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

BUNDLED = "bundled"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What is filled in; names are those of `sample.py`'s flags, which checks them.

    Fields that are empty are left out. Where detectors' files lie is said where a video is given
    and the detector takes them.
    """

    weights: str = BUNDLED
    reference: str | None = None
    poses: str | None = None
    driving: str | None = None
    width: str = ""
    height: str = ""
    frames: str = ""
    preset: str | None = None
    steps: str = ""
    guidance_scale: str = ""
    seed: str = ""
    retargeting: str | None = None
    smoothing: str | None = None
    detector: str | None = None
    dwpose: str | None = None
    pose_models: str | None = None
    person: str | None = None
    side_by_side: bool = False
    gif: bool = False

    def arguments(self, output: str) -> list[str]:
        """The flags of `sample.py` for a video at `output`."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.weights == BUNDLED:
            del given["weights"]
        for name in self._unused():
            del given[name]
        flags = [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in given.items()
            if value not in (None, False, "")
        ]
        return [*flags, f"--output={output}"]

    def _unused(self) -> tuple[str, ...]:
        """Which of the two detectors' files are not to be named."""
        if not self.driving:
            return "dwpose", "pose_models"
        if self.detector in ("dwpose", "blazepose"):
            return ("pose_models",) if self.detector == "dwpose" else ("dwpose",)
        return ("pose_models",) if self.dwpose else ("dwpose",)

    def shown(self, output: str) -> str:
        """The same for a shell, with the files' names in place of where they were uploaded to."""
        names = {
            name: Path(value).name
            for name in ("reference", "poses", "driving", "dwpose", "pose_models")
            if (value := getattr(self, name))
        }
        flags = dataclasses.replace(self, **names).arguments(output)
        return shlex.join(["python", "sample.py", *flags])
