"""Texts of users and models in the Prefect UI, which renders markdown in artifacts, cells of tables and descriptions.

Whatever a custom_id, a label, a file's name or a model's answer says, it is shown and does nothing: no image is loaded,
no link can be clicked, no table is broken.
"""

import re
import unicodedata

#: What may begin markup anywhere in a line, and what a link is told by (`http://`, `www.`, `a@b`).
_MARKUP = re.compile(r"[\\`*_~\[\]()!#|:@$^={}]|(?<=www)\.", re.IGNORECASE)
#: What begins a block at the start of a line.
_BLOCK = re.compile(r"[-+]|\d+(?=[.)])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
#: A cell is to be read at a glance; custom_ids and messages may be megabytes.
MOST_CHARACTERS = 500


def plain(text: str, most: int = MOST_CHARACTERS) -> str:
    """Any text as one line of markdown that shows just these characters."""
    line = _MARKUP.sub(r"\\\g<0>", one_line(text, most))
    for character, entity in _HTML.items():
        line = line.replace(character, entity)
    block = _BLOCK.match(line)
    if block is None:
        return line
    # The mark itself, or what follows a number.
    at = block.end() if block[0][0].isdigit() else 0
    return f"{line[:at]}\\{line[at:]}"


def code(text: str, most: int = MOST_CHARACTERS) -> str:
    """Any text as code, in which nothing is markup; for what we named ourselves, such as URIs."""
    return f"`{one_line(text, most).replace('`', chr(0x2BC)).replace('|', chr(0xA6)) or ' '}`"


def one_line(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text in one line, for logs as well; what cannot be seen or turns the direction of reading is left out."""
    cut = text[:most] + "…" if len(text) > most else text
    return " ".join("".join(filter(_is_shown, cut)).split())


def _is_shown(character: str) -> bool:
    # Neither control and format characters nor halves of surrogate pairs; white space becomes spaces.
    return character.isspace() or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
