"""What a sampled video says of its origin, and who signs that."""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aa_jax import config as config_lib
from aa_jax import files, weights
from aa_jax.media.provenance.mark import Mark, Source
from aa_jax.media.provenance.signing import FORMATS, Ingredient, Signer

if TYPE_CHECKING:
    from aa_jax.sampling.request import Request

CERTIFICATE, KEY = "AA_JAX_SIGN_CERT", "AA_JAX_SIGN_KEY"
"""Environment variables in place of `--sign`."""


def signer_of(flags: argparse.Namespace, paths: Sequence[Path]) -> Signer | None:
    """Who signs what will be at `paths`; None where nobody is asked to.

    Raises:
      ConfigError: what is asked for cannot be; found out before the work.
      SigningError: the certificate or the key cannot be used.
    """
    pair, asked = flags.sign, "--sign"
    if not pair:
        pair = tuple(os.environ.get(name) for name in (CERTIFICATE, KEY))
        asked = f"{CERTIFICATE} and {KEY}"
        if not any(pair):
            return None
        if not all(pair):
            raise config_lib.ConfigError(f"{asked} go together; one of them is not set")
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise config_lib.ConfigError(
                f"{path}: C2PA has no place for a signature in {path.suffix} files; write an .mp4 "
                f"or .mov, or leave out {asked}"
            )
    return Signer.load(*map(Path, pair))


def mark_later(request: Request, *, beside: bool = False) -> Callable[[], Mark]:
    """Hashes the weights, gigabytes perhaps, while other work is done.

    Args:
      request: what is made.
      beside: whether the result stands beside pictures that no model made.

    Returns:
      What gives the mark, once the hashes are there; raises `OSError` if the weights are gone.
    """
    hashes: Future[dict[str, str]] = Future()

    def work() -> None:
        try:
            hashes.set_result(weights.hashes(request.weights))
        except OSError as error:
            hashes.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    source: Source = "compositeSynthetic" if beside else "trainedAlgorithmicMedia"
    return lambda: Mark(source, facts_of(hashes.result(), request.settings))


def facts_of(hashes: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, str]:
    """What a result follows from, as far as it says nothing of its user.

    Args:
      hashes: `weights.hashes`.
      settings: seed, steps, sampler and the like.
    """
    facts = {name: f"{value:g}" if isinstance(value, float) else str(value)
             for name, value in settings.items()}  # fmt: skip
    return facts | {f"weights_{name}": f"sha256:{value}" for name, value in hashes.items()}


def ingredients_of(request: Request) -> tuple[Ingredient, ...]:
    """The reference picture and, where there is one, the driving video, by their hashes.

    Raises:
      OSError: one cannot be read.
    """
    given = {"reference picture": request.reference_file, "driving video": request.poses.driving}
    return tuple(Ingredient(title, files.sha256(path)) for title, path in given.items() if path)


def sign(
    paths: Sequence[Path],
    signer: Signer,
    mark: Mark,
    ingredients: Sequence[Ingredient],
    report: Callable[[str], None],
) -> None:
    """Signs finished files."""
    for path in paths:
        signer.sign(path, mark, ingredients)
    report(f"signed {' and '.join(map(str, paths))}")
