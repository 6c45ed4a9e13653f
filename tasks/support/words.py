"""Numbers and cut-off texts as people read them, in log lines, artifacts, messages and on the terminal."""

_ELLIPSIS = "…"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 job`, `2 jobs`, `1,234 jobs`, `1 bad line`; `plural` where an s does not make it."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def cut(text: str, most: int) -> str:
    """A text in a line, of `most` characters at the most, cut between words and marked so."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    head = text[: most - len(_ELLIPSIS)]
    if not text[len(head)].isspace():
        # One endless word, such as an ARN, is cut where it must be.
        head = head.rpartition(" ")[0] or head
    return head.rstrip(" ,;:.") + _ELLIPSIS


#: What is counted under a sentence's first words, in the plural, and for one of it.
_ONE = (
    ("lines that", "line that"),
    ("records that were", "record that was"),
    ("records that", "record that"),
)


def tally(number: int, many: str) -> str:
    """`2 records that were never asked for`, `1 record that was never asked for`."""
    if number == 1:
        for plural, singular in _ONE:
            many = many.replace(plural, singular, 1)
    return f"{number:,} {many}"
