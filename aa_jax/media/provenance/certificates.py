"""A certificate and its private key: read, and seen to belong together, before any work."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_LEAST_RSA = 2048


class SigningError(ValueError):
    """A file cannot be signed; the message names the file and the fix."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """Who signs.

    Attributes:
      certificates: PEM: the signer's, then those that vouch for it.
      key: PEM, PKCS #8.
      algorithm: C2PA's name of the signature.
    """

    certificates: bytes
    key: bytes = dataclasses.field(repr=False)
    algorithm: str

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Identity:
        """Reads both files.

        Raises:
          SigningError: one cannot be read, is not of the kind wanted, has run out, or they do not
            belong together.
        """
        from cryptography.hazmat.primitives import serialization as form

        chain, private = _certificates(certificate), _private_key(key)
        _check_dates(certificate, chain)
        _check_fit(certificate, chain, key, private)
        return cls(
            b"".join(link.public_bytes(form.Encoding.PEM) for link in chain),
            private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()),
            _algorithm(key, private),
        )


def _certificates(path: Path) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise SigningError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise SigningError(f"{path}: holds no certificate in PEM form") from None


def _private_key(path: Path) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SigningError(f"{path}: cannot be read ({error.strerror})") from None
    except TypeError:
        raise SigningError(
            f"{path}: is locked by a password; unlock a copy: openssl pkey -in FILE -out COPY"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SigningError(f"{path}: holds no private key in PEM form") from None


def _check_dates(path: Path, chain: Sequence[x509.Certificate]) -> None:
    now = datetime.datetime.now(datetime.UTC)
    for link in chain:
        if link.not_valid_after_utc < now:
            ended = f"{link.not_valid_after_utc:%Y-%m-%d}"
            raise SigningError(f"{path}: the certificate has run out, on {ended}; renew it")
        if link.not_valid_before_utc > now:
            begins = f"{link.not_valid_before_utc:%Y-%m-%d}"
            raise SigningError(f"{path}: the certificate is not valid before {begins}")


def _check_fit(path: Path, chain, key_path: Path, key: PrivateKeyTypes) -> None:
    public = key.public_key()
    if chain[0].public_key() == public:
        return
    if any(link.public_key() == public for link in chain[1:]):
        raise SigningError(f"{path}: the certificate of the key must be the first of the file")
    raise SigningError(f"{key_path}: is not the private key of the certificate in {path}")


def _algorithm(path: Path, key: PrivateKeyTypes) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA:
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise SigningError(
        f"{path}: C2PA does not sign with such a key; ECDSA on P-256, P-384 or P-521, Ed25519, and "
        f"RSA from {_LEAST_RSA} bits on are taken"
    )
