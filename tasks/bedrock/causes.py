"""Bedrock's error texts for logs, artifacts and exceptions: they may echo a prompt, and nobody there may read it.

The error file and the Parquet table have a record's own message; they are the user's, as the prompts are.
"""

import re
from pathlib import Path
from typing import Final

#: What a record's message is about, in our words, by what it says; the first that fits.
_CLASSES: Final = [
    (re.compile(pattern, re.IGNORECASE), words)
    for pattern, words in (
        (
            r"too many (?:input )?tokens, please wait|throttl|too many requests|rate exceeded|slow ?down|rate limit",
            "throttled",
        ),
        (
            r"too (?:long|large|big)|too many (?:input )?(?:tokens|characters|bytes)|context (?:length|window)"
            r"|(?:exceeds?|above|over|maximum).{0,40}(?:token|length|size|limit|context)",
            "the input or max_tokens is beyond the model's limit",
        ),
        (r"malformed input request", "malformed input request"),
        (r"on-demand throughput", "the model is not served on demand"),
        (r"model identifier|model id\b", "the model's id is refused"),
        (r"content.?(?:filter|policy)|guardrail|blocked|refused|harmful|unsafe", "refused for its content"),
        (r"image", "an image is refused"),
        (r"tool", "a tool or its use is refused"),
        (r"schema|required key|extraneous key|extra inputs|field required", "it does not fit the model's schema"),
        (r"not authori[sz]ed|access ?denied|forbidden|don't have access", "access denied"),
        (r"time[ds]? ?-?out", "timed out"),
        (r"expired", "expired"),
        (
            r"unsupported|not support|isn't supported|not (?:available|allowed|permitted)",
            "it asks for what is not supported",
        ),
        (
            r"internal (?:server )?(?:error|failure)|unexpected error|unable to process|service unavailable|not ready",
            "the service had a fault",
        ),
    )
]

#: What a job's or the service's own message is made of. Every other word may come from a record.
_VOCABULARY: Final = frozenset(Path(__file__).with_name("vocabulary.txt").read_text(encoding="utf-8").split())
_QUOTED: Final = re.compile(
    r"\"[^\"]*(?:\"|\Z)|`[^`]*(?:`|\Z)|“[^”]*(?:”|\Z)|(?<!\w)'[^']*(?:'(?!\w)|\Z)|\{.*(?:\}|\Z)", re.S
)
_WORD: Final = re.compile(r"[^\s,;:!?()\[\]<>\"]+")
#: Names that AWS and we ourselves give: error codes, actions, our files and records, places of a value, short numbers.
_NAME: Final = re.compile(
    r"[A-Z][a-z]+(?:[A-Z][a-z]+)*(?:Exception|Error)|(?:s3|kms|iam|sts|bedrock|ec2):[A-Z][A-Za-z0-9]{2,40}"
    r"|part-\d{5}[\w.-]{0,24}|manifest\.json\.out|r\d{9}(?:c\d{1,3})?|[a-z]+\.jsonl|\$|#|/|-|–|\d{1,6}"
)
#: Characters that are looked at, and shown.
_READ, _MOST = 4000, 600
LEFT_OUT: Final = "…"


def record_cause(status: int | None, code: str, message: str) -> str:
    """What a record's error is about, without its text: by code and status, and the class of its message."""
    found = next((words for pattern, words in _CLASSES if pattern.search(message[:_READ])), None)
    named = code if status is None else f"{code} (status {status})"
    return f"{named}: {found}" if found else named


def said(message: str) -> str:
    """A message of the service with every word left out that could come from a record.

    What it quotes is left out whole; so is each word that messages of this kind are not made of.
    """
    # A word that is cut off could be taken for another.
    head = message if len(message) <= _MOST else message[:_MOST].rpartition(" ")[0]
    text = _QUOTED.sub(f" {LEFT_OUT} ", head)
    # The names of AWS and of ours hold what ends a word elsewhere.
    words = [part if _is_known(part) else _WORD.sub(_known_word, part) for part in text.split()]
    kept = re.sub(rf"{LEFT_OUT}(?:\W*{LEFT_OUT})+", LEFT_OUT, " ".join(words))
    return f"{kept}{LEFT_OUT}" if len(message) > _MOST and not kept.endswith(LEFT_OUT) else kept


def _known_word(found: re.Match[str]) -> str:
    return found[0] if _is_known(found[0]) else LEFT_OUT


def _is_known(word: str) -> bool:
    bare = word.strip(".,;:!?()[]'")
    return not bare or bare.lower() in _VOCABULARY or bool(_NAME.fullmatch(bare))
