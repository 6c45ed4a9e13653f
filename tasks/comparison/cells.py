"""Cells of a sheet that no spreadsheet takes for a formula."""

import re
import unicodedata

#: A cell of a spreadsheet holds 32,767.
_CELL_CHARACTERS = 32_000
#: White space, control and format characters, and quotes at the beginning of a cell.
_UNSEEN = re.compile(
    r"^[\s\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\"'`´‘’“”„«»＂＇]+"
)
_NUMBER = re.compile(r"[-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?\s?%?", re.ASCII)


def harmless(cell: str | None) -> str:
    """A cell that spreadsheets can hold, and that none takes for a formula; the table has the whole text."""
    text = cell or ""
    if len(text) > _CELL_CHARACTERS:
        text = f"{text[:_CELL_CHARACTERS]}… ({len(text):,} characters)"
    # Spreadsheets skip what cannot be seen, and take the wide forms of East Asian keyboards for the plain ones.
    seen = unicodedata.normalize("NFKC", _UNSEEN.sub("", text)[:1])
    formula = text[:1] in ("\t", "\r", "\n") or seen in ("=", "+", "-", "@")
    return f"'{text}" if formula and not _NUMBER.fullmatch(text) else text
