"""C2PA: a signed manifest that says how a file came to be, the last thing put into it.

Needs c2pa-python (`pip install 'aa_jax[provenance]'`). The network is not asked: signatures
carry no time stamp of an authority, and count as long as the certificate does.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aa_jax import files
from aa_jax.media.provenance.certificates import Identity, SigningError
from aa_jax.media.provenance.credentials import EXTRA, SETTINGS, c2pa, read
from aa_jax.media.provenance.mark import SOFTWARE, Mark, version

FORMATS = {".mp4": "video/mp4", ".mov": "video/quicktime", ".gif": "image/gif", ".png": "image/png"}
"""What is signed, by suffix."""


@dataclasses.dataclass(frozen=True)
class Ingredient:
    """A file that went into another, known by its content alone.

    Attributes:
      title: what it was for, such as `reference picture`; not the file's name.
      sha256: hexadecimal, of the whole file.
    """

    title: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class Signer:
    """Somebody who has been seen to make a valid signature."""

    identity: Identity

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Signer:
        """Reads both files, and signs a picture in memory with them.

        Raises:
          SigningError: one cannot be read, is not of the kind wanted, has run out, they do not
            belong together, or C2PA takes no such certificate; or c2pa-python is missing.
        """
        if c2pa() is None:
            raise SigningError(f"signing needs c2pa-python: {EXTRA}")
        signer = cls(Identity.load(certificate, key))
        signer._try(certificate)
        return signer

    def sign(self, path: Path, mark: Mark, ingredients: Sequence[Ingredient] = ()) -> None:
        """Signs a file in place; the last thing done to it, for any change breaks the signature.

        Raises:
          SigningError: it cannot be signed; it is as it was.
        """
        try:
            with (
                files.replacing_file(path) as temporary,
                path.open("rb") as source,
                temporary.open("w+b") as target,
            ):
                self._sign(FORMATS[path.suffix.lower()], source, target, mark, ingredients)
        except (c2pa().C2paError, OSError) as error:
            raise SigningError(f"{path}: is whole, but cannot be signed ({error})") from None

    def _sign(self, form: str, source: Any, target: Any, mark: Mark, ingredients) -> None:
        library = c2pa()
        who = self.identity
        info = library.C2paSignerInfo(who.algorithm, who.certificates, who.key, None)
        context = library.Context.from_dict(SETTINGS)
        with library.Builder(manifest(mark, ingredients), context=context) as builder:
            builder.sign(library.Signer.from_info(info), form, source, target)

    def _try(self, certificate: Path) -> None:
        """Signs a picture in memory, and reads it."""
        from PIL import Image

        source, target = io.BytesIO(), io.BytesIO()
        Image.new("RGB", (8, 8)).save(source, "PNG")
        source.seek(0)
        try:
            self._sign("image/png", source, target, Mark(), ())
            target.seek(0)
            broken = read(target, "image/png").faults
        except c2pa().C2paError as error:
            broken = (str(error).removeprefix("Signature: "),)
        if broken:
            raise SigningError(
                f"{certificate}: C2PA does not take this certificate ({broken[0]}); it must be for "
                "digital signatures, no certificate authority's, with an extended key usage such "
                "as email protection: docs/provenance.md"
            )


def manifest(mark: Mark, ingredients: Sequence[Ingredient]) -> dict[str, Any]:
    """What is signed, as c2pa-python takes it."""
    agent = {"name": SOFTWARE, **({"version": version()} if version() else {})}
    names = [f"sha256:{ingredient.sha256}" for ingredient in ingredients]
    action: dict[str, Any] = {
        "action": "c2pa.created",
        "digitalSourceType": mark.source_type,
        "softwareAgent": agent,
    }
    if names:
        action["parameters"] = {"ingredientIds": names}
    return {
        "claim_generator_info": [agent],
        "title": mark.title,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}, "created": True}
        ],
        "ingredients": [
            {
                "title": ingredient.title,
                "relationship": "inputTo",
                "instance_id": name,
                "description": "known by the SHA-256 of the file, which is its instance ID",
            }
            for ingredient, name in zip(ingredients, names, strict=True)
        ],
    }
