"""Lone surrogates, which some models write: half of a character that UTF-16 has in two, and no text by itself.

JSON can escape one, and a careless program writes one as three bytes; neither is read by a strict reader.
"""

import re

#: In a Python string, whose pairs are one character.
LONE = re.compile("[\ud800-\udfff]")
_RAW = re.compile(rb"\xed[\xa0-\xbf]")
#: A pair; a lone one; any other escape, so that the `u` after an escaped backslash begins none.
_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)


def without_lone_surrogates(data: bytes) -> bytes | None:
    """JSON with U+FFFD for each lone surrogate, escaped or not; None where there is none, or other bad UTF-8."""
    repaired = data
    if _RAW.search(data):
        try:
            text = data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return None
        # Two that belong together become the character that they stand for.
        repaired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    if b"\\ud" in repaired or b"\\uD" in repaired:
        repaired = _ESCAPES.sub(lambda found: b"\\ufffd" if found[1] else found[0], repaired)
    return None if repaired == data else repaired
