"""What a file says about itself: tags, XMP, C2PA credentials; read, and put in words."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from aa_jax import files
from aa_jax.media.errors import failures, reason
from aa_jax.media.provenance import credentials, embedding
from aa_jax.media.provenance.mark import VOCABULARY

Pairs = tuple[tuple[str, str], ...]

_MOST_PAIRS, _MOST_TEXT = 60, 200
_TERM = re.compile(re.escape(VOCABULARY) + r"(\w+)")
_DESCRIPTION = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_WORDS = {  # the vocabulary of 2024-09-17 and later
    "trainedAlgorithmicMedia": "made by a generative model",
    "compositeWithTrainedAlgorithmicMedia": "changed by a generative model",
    "compositeSynthetic": "put together, in part of what a generative model has made",
    "composite": "put together of several elements",
    "compositeCapture": "put together of several recordings",
    "algorithmicMedia": "made by a program that is no trained model",
    "dataDrivenMedia": "made by a program from data",
    "algorithmicallyEnhanced": "a recording that a program has corrected",
    "humanEdits": "changed by a person without a generative model",
    "digitalCreation": "made by a person without a generative model",
    "digitalCapture": "taken by a camera",
    "computationalCapture": "taken by a camera in several exposures",
    "virtualRecording": "a recording of a virtual event",
    "screenCapture": "a recording of a screen",
}


class InspectionError(ValueError):
    """A file cannot be read, or its signature does not hold; the message names it and the cause."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What a file says about itself.

    Attributes:
      path: of the file.
      tags: names and values of its container.
      xmp: names and values of its XMP packet.
      signed: its C2PA credentials; None: it has none, or they cannot be read.
      unread: why credentials that are there, or may be, are not read.
    """

    path: Path
    tags: Pairs = ()
    xmp: Pairs = ()
    signed: credentials.Credentials | None = None
    unread: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """IPTC's terms by which the file says how it came to be, each once."""
        said = [*self.tags, *self.xmp, *(self.signed.said if self.signed else ())]
        found = [term for _, value in said for term in _TERM.findall(value)]
        return tuple(dict.fromkeys(found))

    @property
    def lines(self) -> tuple[str, ...]:
        """The report in words."""
        return tuple(self._lines())

    def _lines(self) -> Iterator[str]:
        for source in self.sources:
            yield f"{self.path}: {_WORDS.get(source, 'of another source')} ({_line(source)})"
        if not self.sources:
            yield f"{self.path}: does not say how it came to be, which proves nothing"
        for title, pairs in (("tags", self.tags), ("XMP", self.xmp)):
            yield from _table(title, pairs)
        if self.signed:
            yield from _table("C2PA", self.signed.said)
        yield f"signature: {self._signature()}"

    def _signature(self) -> str:
        if self.unread:
            return self.unread
        if not self.signed:
            return "none"
        signer = f'signed as "{_line(self.signed.signer)}"'
        if self.signed.faults:
            return f"does not hold: {_line(self.signed.faults[0])}; {signer}"
        vouched = "whose certificate is of a known authority"
        unknown = "a name that nobody known here vouches for"
        return f"holds, unchanged since; {signer}, {vouched if self.signed.trusted else unknown}"


def inspect(path: Path) -> Report:
    """Reads what a picture or video says about itself; pixels are not looked at.

    Raises:
      InspectionError: it cannot be read, or is neither.
    """
    try:
        with path.open("rb"):
            pass
        tags = _tags(path)
        xmp = _properties(embedding.xmp_of(path) or b"")
    except (OSError, ValueError) as error:
        if isinstance(error, InspectionError):
            raise
        cause = {FileNotFoundError: "no such file", IsADirectoryError: "is a folder"}
        raise InspectionError(f"{path}: {cause.get(type(error)) or reason(error)}") from None
    signed, unread = _credentials(path)
    return Report(path, tags, xmp, signed, unread)


def show(path: Path) -> None:
    """Prints what a file says about itself.

    Raises:
      InspectionError: it cannot be read, or its signature does not hold.
    """
    report = inspect(path)
    print("\n".join(report.lines))
    if report.signed and report.signed.faults:
        raise InspectionError(f"{path}: its signature does not hold; do not trust what it says")


def _credentials(path: Path) -> tuple[credentials.Credentials | None, str]:
    library = credentials.c2pa()
    if library is None:
        if embedding.holds_c2pa(path):
            return None, f"there is one; to check it: {credentials.EXTRA}"
        return None, f"not looked for; to do so: {credentials.EXTRA}"
    try:
        with path.open("rb") as file:
            return credentials.read(file), ""
    except library.C2paError as error:
        if embedding.holds_c2pa(path):
            return None, f"there is one, which cannot be read ({_line(str(error))})"
        return None, ""


def _tags(path: Path) -> Pairs:
    """Names and values of a picture's or a video's container."""
    picture = _picture_tags(path)
    if picture is not None:
        return picture
    import av

    try:
        with av.open(str(path.absolute())) as container:
            found = container.metadata
    except failures() as error:
        raise InspectionError(
            f"{path}: no picture or video that is read ({reason(error)})"
        ) from None
    return tuple((name.lower(), value) for name, value in embedding.own_tags(found).items())


def _picture_tags(path: Path) -> Pairs | None:
    """None where Pillow knows no such picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            found = image.info
    except UnidentifiedImageError:
        return None
    except Exception as error:  # broken bytes provoke whatever they hit upon
        raise InspectionError(f"{path}: damaged, or no picture that is read ({error})") from None
    texts = {str(name).lower(): _text(value) for name, value in found.items()}
    return tuple(
        (name, line)
        for name, text in texts.items()
        if "xmp" not in name and name != "version"  # of the format
        for line in text.splitlines()
        if line
    )


def _text(value: object) -> str:
    if isinstance(value, bytes):
        with contextlib.suppress(UnicodeDecodeError):
            return value.decode()
    return value if isinstance(value, str) else ""


def _properties(packet: bytes) -> Pairs:
    """Names and values of an XMP packet; none of one that is no XML."""
    if b"<!" in packet.replace(b"<!--", b""):  # entities, which no packet needs
        return ()
    try:
        tree = ElementTree.fromstring(packet.strip(b"\0 \r\n\t"))
    except (ElementTree.ParseError, ValueError):
        return ()
    found = []
    for description in tree.iter(_DESCRIPTION):
        found += [(name, value) for name, value in description.items() if not name.startswith(_RDF)]
        for child in description:
            found.append((child.tag, " ".join("".join(child.itertext()).split())))
    return tuple((name.rpartition("}")[2], value) for name, value in found if value)


def _table(title: str, pairs: Pairs) -> Iterator[str]:
    if not pairs:
        return
    yield f"{title}:"
    for name, value in pairs[:_MOST_PAIRS]:
        yield f"  {_line(name)}: {_line(value)}"
    if len(pairs) > _MOST_PAIRS:
        yield f"  and {len(pairs) - _MOST_PAIRS} more"


def _line(text: str) -> str:
    """Text of a stranger in one line that a terminal may print."""
    text = files.readable(" ".join(text.split()))
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}... ({len(text)} characters)"
