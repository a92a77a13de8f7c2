"""Certificates as C2PA wants them, of an authority of their own, and some that it does not want."""

import dataclasses
import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM
USES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Pair:
    """PEM files: the signer's certificate and the authority's, and the signer's key."""

    certificate: object
    key: object


def write_pair(folder, name="signer", *, days=(-1, 10), usable=True, password=None):
    """Writes a pair.

    Args:
      days: from when to when, from now, it is valid.
      usable: whether it may be used for more than nothing.
      password: locks the key.
    """
    authority = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    top = _certificate("Authority", authority, authority, (-400, 400), "key_cert_sign")
    uses = [ExtendedKeyUsageOID.EMAIL_PROTECTION] if usable else None
    own = _certificate("Signer", key, authority, days, "digital_signature", uses)
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    pair.certificate.write_bytes(own.public_bytes(PEM) + top.public_bytes(PEM))
    lock = serialization.NoEncryption()
    if password:
        lock = serialization.BestAvailableEncryption(password)
    form = serialization.PrivateFormat.PKCS8
    pair.key.write_bytes(key.private_bytes(PEM, form, lock))
    return pair


def _certificate(name, key, authority, days, use, extended=None):
    begins, ends = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(d) for d in days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name("Authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(key is authority, None), True)
        .add_extension(x509.KeyUsage(**{u: u == use for u in USES}), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    if key is not authority:
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
        builder = builder.add_extension(above, False)
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), False)
    return builder.sign(authority, hashes.SHA256())


def _name(name):
    parts = {NameOID.ORGANIZATION_NAME: "Tests", NameOID.COMMON_NAME: name}
    return x509.Name([x509.NameAttribute(*part) for part in parts.items()])
