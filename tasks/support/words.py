"""Numbers and cut-off texts as people read them, in log lines, artifacts, messages and on the terminal."""

_ELLIPSIS = "…"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 job`, `2 jobs`, `1,234 jobs`, `1 bad line`; `plural` where an s does not make it."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def dollars(amount: float) -> str:
    """US dollars as people read them; cents of cents where it is little."""
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


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
