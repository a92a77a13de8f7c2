"""C2PA credentials read: what a signed manifest says, and whether that holds.

Needs c2pa-python. Nothing is asked of the network: no manifests kept elsewhere, no lists of revoked
certificates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

EXTRA = "pip install 'aa_jax[provenance]'"

SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},  # no small copies of private pictures
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}
"""Of the library, for reading and signing."""


@dataclasses.dataclass(frozen=True)
class Credentials:
    """What a manifest says, and whether that holds.

    Attributes:
      signer: whose certificate it is, by its own words.
      trusted: whether somebody known vouches for the signer.
      said: names and values of the manifest.
      faults: why the signature does not hold; empty where it does.
    """

    signer: str
    trusted: bool
    said: tuple[tuple[str, str], ...]
    faults: tuple[str, ...]


def read(source: Any, form: str | None = None) -> Credentials | None:
    """The credentials of an open file, if it has any.

    Raises:
      C2paError: it has, and they cannot be read.
    """
    library = c2pa()
    try:
        reader = library.Reader(form, source, context=library.Context.from_dict(SETTINGS))
    except library.C2paError.ManifestNotFound:
        return None
    with reader:
        found = reader.get_active_manifest() or {}
        state = reader.get_validation_state()
        results = (reader.get_validation_results() or {}).get("activeManifest", {})
    signature = found.get("signature_info", {})
    names = [signature.get("common_name"), signature.get("issuer")]
    failures = [f for f in results.get("failure", []) if f["code"] != "signingCredential.untrusted"]
    faults = tuple(f"{f.get('explanation') or ''} [{f['code']}]".strip() for f in failures)
    if state == "Invalid" and not faults:
        faults = ("the manifest is not valid",)
    return Credentials(
        signer=", ".join(name for name in names if name) or "nobody named",
        trusted=state == "Trusted",
        said=tuple(_said(found)),
        faults=faults,
    )


def c2pa() -> Any:
    """The library; None where it is not installed."""
    try:
        import c2pa as library
    except ImportError:
        return None
    return library


def _said(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for generator in found.get("claim_generator_info", []):
        yield "software", f"{generator.get('name', '')} {generator.get('version', '')}".strip()
    for assertion in found.get("assertions", []):
        if assertion.get("label", "").startswith("c2pa.actions"):
            for action in assertion["data"].get("actions", []):
                yield "action", str(action.get("action", ""))
                if kind := action.get("digitalSourceType"):
                    yield "digital source type", str(kind)
    for ingredient in found.get("ingredients", []):
        name = f"{ingredient.get('title', '')} {ingredient.get('instance_id', '')}"
        yield "ingredient", name.strip()
