"""Numbers and cut-off texts as people read them, in log lines, artifacts, messages and on the terminal."""

_ELLIPSIS = "…"


def count(number: int, noun: str, plural: str | None = None) -> str:
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
