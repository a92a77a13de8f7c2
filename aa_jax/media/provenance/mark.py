"""The mark: what a picture or video says of its origin, as tags and as XMP.

A mark holds what the file follows from and nothing of who made it where: no paths, no names of the
user's files, no time. The same request therefore gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from collections.abc import Mapping
from typing import Literal
from xml.sax.saxutils import escape

SOFTWARE = "aa_jax"

Source = Literal["trainedAlgorithmicMedia", "compositeSynthetic", "composite"]
"""Terms of IPTC's vocabulary of digital source types: made by a generative model; several elements
of which one is; several elements, whatever each of them is.

There is also `compositeWithTrainedAlgorithmicMedia`, which is a picture that a generative model has
changed."""

VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"

_TITLES: dict[Source, str] = {
    "trainedAlgorithmicMedia": "AI-generated pictures",
    "compositeSynthetic": "AI-generated pictures beside others",
    "composite": "Pictures with skeletons drawn over them",
}
_COMMENTS: dict[Source, str] = {
    "trainedAlgorithmicMedia": "Made by a generative model; it records nothing that has happened",
    "compositeSynthetic": "Parts of it were made by a generative model; they "
    "record nothing that has happened",
    "composite": "Skeletons are drawn over pictures that were given to the program",
}


@dataclasses.dataclass(frozen=True)
class Mark:
    """What a file says of its origin.

    Attributes:
      source: how its pictures came to be.
      facts: what they follow from, by name: letters, digits and underscores in small letters.
    """

    source: Source = "trainedAlgorithmicMedia"
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        """What is to be seen, in words, which players show."""
        return _TITLES[self.source]

    @property
    def comment(self) -> str:
        """What that means, in a sentence, and the source: copying into a new file of the same kind
        keeps title and comment, often nothing else."""
        return f"{_COMMENTS[self.source]} ({self.source_type})"

    @property
    def source_type(self) -> str:
        """The source as IPTC's URI."""
        return VOCABULARY + self.source

    @property
    def tags(self) -> dict[str, str]:
        """For containers that hold names and values."""
        return {
            "title": self.title,
            "comment": self.comment,
            "software": software(),
            "digital_source_type": self.source_type,
            **self.facts,
        }

    @property
    def text(self) -> str:
        """The tags as lines, for formats that have a comment and nothing else."""
        return "\n".join(f"{name}: {value}" for name, value in self.tags.items())

    @property
    def xmp(self) -> bytes:
        """For what reads XMP: IPTC's properties, and the facts under a namespace of their own."""
        values = {
            "Iptc4xmpExt:DigitalSourceType": self.source_type,
            "xmp:CreatorTool": software(),
            **{f"aa_jax:{name}": value for name, value in self.facts.items()},
        }
        if self.source != "composite":  # of which no model has made a picture
            values["Iptc4xmpExt:AISystemUsed"] = SOFTWARE
            if version():
                values["Iptc4xmpExt:AISystemVersionUsed"] = version()
        lines = [f"   <{name}>{escape(value)}</{name}>" for name, value in values.items()]
        lines += _in_english("dc:title", self.title) + _in_english("dc:description", self.comment)
        return _PACKET.format(properties="\n".join(lines)).encode()


@functools.cache
def version() -> str:
    """The package's version; empty where it is not installed."""
    try:
        return importlib.metadata.version(SOFTWARE)
    except importlib.metadata.PackageNotFoundError:
        return ""


def software() -> str:
    """The program's name and version."""
    return f"{SOFTWARE} {version()}".strip()


def _in_english(name: str, text: str) -> list[str]:
    item = f'<rdf:li xml:lang="x-default">{escape(text)}</rdf:li>'
    return [f"   <{name}><rdf:Alt>{item}</rdf:Alt></{name}>"]


# `id` is the same in all XMP packets, by its specification.
_PACKET = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:aa_jax="urn:x-aa-jax:mark#">
{properties}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""
