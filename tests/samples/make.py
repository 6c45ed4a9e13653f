"""Writes the sample files beside it: small batch files of our own, one of each kind that public projects are seen to write.

    python -m tests.samples.make

A kind is what its lines have in common: endpoint, fields, how ids look, how the JSON is written (spaces, escapes, line
ends). The number before a name says which of the public files of `../shared/samples` is of the same kind; what a test
expects of one holds for the other. No chance is in it: the same files come out on every machine.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings"
T = TypeVar("T")

DISHES = [
    "lentil soup",
    "crème brûlée",
    "kimchi pancake",
    "smørrebrød",
    "jollof rice",
    "Käsespätzle",
    "ceviche",
    "bánh xèo",
]
TASTES = ["smoky", "mild", "very sour", "sweet with a bitter end", "salty", "hot"]
PLANTS = [
    "Monstera",
    "Bird’s nest fern",
    "Aloë",
    "Dragon tree",
    "Pilea",
    "String of pearls",
    "Yucca",
    "Zebra plant",
    "Ivy",
    "Peperomia",
]
PLACES = ["Oslo", "Zürich", "Łódź", "São Paulo", "Kraków", "Reykjavík", "Đà Nẵng", "İzmir"]
SPEECH = [
    "How do I keep basil alive in winter?",
    "¿Cómo mantengo viva la albahaca en invierno?",
    "冬にバジルを枯らさないコツは？",
    "कोहरे में साइकिल चलाना कितना सुरक्षित है?",
    "كيف أحافظ على الريحان في الشتاء؟ (in two sentences)",
    "Как не дать базилику замёрзнуть зимой?",
    "Ποιο φυτό αντέχει στο σκοτάδι;",
    "겨울에 바질을 살리려면? 🌿👩🏽‍🌾",
    "Kann man Basilikum einfrieren?\u2028Und dann?",
    "e\u0301 and é are the same letter; so is \U0001d4d0 an A.",
]


def pick(items: Sequence[T], number: int) -> T:
    return items[number % len(items)]


def request(custom_id: str, url: str, **body: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def ask(system: str | None, user: Any) -> list[dict[str, Any]]:
    said = [{"role": "system", "content": system}] if system is not None else []
    return [*said, {"role": "user", "content": user}]


def written(
    lines: Iterator[dict[str, Any]], *, escape: bool = False, compact: bool = False, end: str = "\n", last: bool = True
) -> bytes:
    """Lines as some library would write them; `last`: the last one has its line end, too."""
    separators = (",", ":") if compact else None
    text = end.join(json.dumps(line, ensure_ascii=escape, separators=separators) for line in lines)
    return (text + end if last else text).encode()


def json_object_chats() -> Iterator[dict[str, Any]]:
    """One long system prompt, an object as the answer."""
    system = """
You sort recipes. For each description answer with a JSON object:

{
    courses: string[] // from: starter, main, side, dessert, drink
    summary: string // at most eight words
}

A recipe may belong to several courses. Guess where the text leaves it open; never answer anything but the object.
"""
    for number in range(40):
        text = f"{pick(DISHES, number).capitalize()}, {pick(TASTES, number * 5)}. It serves {number % 6 + 1} and takes "
        text += f"{10 + number * 7 % 80}\u2013{15 + number * 7 % 80} minutes; people in {pick(PLACES, number)} call it “honest”."
        yield request(
            f"task-{number}", CHAT, model="gpt-4o-mini", temperature=0.1, response_format={"type": "json_object"},
            messages=ask(system, text),
        )  # fmt: skip


def vietnamese_chats() -> Iterator[dict[str, Any]]:
    """JSON inside of a message, in another language."""
    system = """
        Translate what the "question" holds into English and leave every other field as it is.
        Answer in the JSON format of the input.
        """
    questions = ["Thư viện mở cửa lúc mấy giờ?", "Tôi muốn gia hạn ba quyển sách đã mượn.", "Phòng đọc có ổ cắm điện không?",
                 "Làm thế nào để đổi địa chỉ trên thẻ của tôi?", "Sách thiếu nhi nằm ở tầng nào?"]  # fmt: skip
    for number in range(1, 21):
        asked = {"dialog": [{"role": "user", "content": pick(questions, number + turn) + "\nMã thẻ: " + f"TV{number * 37:05d}"}
                            for turn in range(number % 3 + 1)],
                 "response": {"language": "vi", "question": pick(questions, number), "branches": [], "until": ""}}  # fmt: skip
        yield request(
            f"request-{number}", CHAT, model="gpt-4o-mini", response_format={"type": "json_object"},
            messages=ask(system, json.dumps(asked, ensure_ascii=False)), max_tokens=1000,
        )  # fmt: skip


def seeded_chats() -> Iterator[dict[str, Any]]:
    """A seed, many scripts, and texts that look like another model's prompt."""
    for number in range(40):
        text = f"\nSay the following in other words.\n<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{pick(SPEECH, number)}"
        text += f"<|eot_id|>\n\nVersion A:\n{pick(SPEECH, number * 3 + 1)}\n\nVersion B:\n\t“{pick(SPEECH, number * 7 + 2)}” \\ {number}%\n"
        yield request(
            f"request-{4800 + number}", CHAT, model="gpt-4o-mini", messages=ask("You are a helpful assistant.", text),
            temperature=1.1, seed=156,
        )  # fmt: skip


def nano_chats() -> Iterator[dict[str, Any]]:
    """Ids with blanks and dots, one template with a few words that differ."""
    techniques = [
        ("T90.01", "Borrowed Badge"),
        ("T90.02", "Tail-Gating"),
        ("T91", "Left-Over Password"),
        ("T92.003", "Fake Parcel"),
    ]
    for number in range(60):
        code, name = pick(techniques, number)
        text = f"Write one paragraph of an office memo about the incident type '{code}', called ''{name}'', seen in {pick(PLACES, number)} "
        text += f"on day {number}. It is described as: 'Somebody gets into a building by means of what was left lying about.(Source: memo {number})'"
        yield request(
            f"memo_{code}_{name}_iteration_{number // len(techniques)}", CHAT, model="gpt-4.1-nano",
            messages=ask("You write short, plain memos for the staff of an office.", text), max_tokens=256, temperature=1.2,
        )  # fmt: skip


def responses() -> Iterator[dict[str, Any]]:
    """/v1/responses with a list of messages."""
    policy = "\n".join(
        f"{n}. Item {n} is lent for {7 * n} days; “overdue” counts from the next morning — see §{n}."
        for n in range(1, 12)
    )
    for number in range(24):
        text = f"House rules:\n{policy}\n\nA member from {pick(PLACES, number)} returns item {number % 11 + 1} after {number * 5} days. Fine?"
        yield request(
            f"member_{number + 1}", RESPONSES, model="gpt-5.2", input=ask("You apply house rules to the letter.", text),
            max_output_tokens=400, temperature=0.7,
        )  # fmt: skip


def azure_chats() -> Iterator[dict[str, Any]]:
    """Azure's url, and the line ends of Windows."""
    for number, text in enumerate(
        ["Which river runs through Basel?", "When was paper invented?", "What is a fjord?", "And a moraine?"]
    ):
        yield request(
            f"task-{number}", "/chat/completions", model="gpt-4o-batch", messages=ask("You are an almanac.", text)
        )


def short_object_chats() -> Iterator[dict[str, Any]]:
    """response_format with a small max_tokens."""
    for number in range(1, 51):
        text = f"Plant: {pick(PLANTS, number)} no. {number}\nWhich one is it: “thirsty”, “frugal” or “unknown”? "
        text += 'Answer as {"category": "…"}, and nothing else.'
        yield request(
            f"plant{number}_categorization", CHAT, model="gpt-4o", messages=ask("You know house plants; answer in JSON.", text),
            max_tokens=50, temperature=0.2, response_format={"type": "json_object"},
        )  # fmt: skip


def chats_with_choices() -> Iterator[dict[str, Any]]:
    """n > 1, and a null."""
    for number, choices in enumerate([12, 1, 2, 5], 1):
        text = f"The tram to {pick(PLACES, number)} leaves in {number} minutes. Do I run?"
        yield request(
            f"request-{number}", CHAT, model="gpt-3.5-turbo-0125", temperature=1.0, top_p=None,
            messages=ask("\nAnswer with 'yes' or 'no', without the quotation marks.\n", text), n=choices, max_tokens=50,
        )  # fmt: skip


def gpt5_chats() -> Iterator[dict[str, Any]]:
    """gpt-5's own parameters, and TeX, which is full of backslashes."""
    efforts, words = ["minimal", "low", "medium", "high"], ["low", "medium", "high"]
    for number in range(16):
        picture = f"\\begin{{tikzpicture}}[scale={number % 4 + 1}]\n\\draw[->] (0,0) -- ({number},{number % 5});\n"
        picture += f"\\node at (1,{number}) {{$\\frac{{{number}}}{{x^2}}$}};\t% axis\n\\end{{tikzpicture}}"
        fields: dict[str, Any] = {}
        if number % 2:
            fields = {
                "reasoning_effort": pick(efforts, number // 2),
                "max_completion_tokens": 4096,
                "verbosity": pick(words, number // 2),
            }
        yield request(
            f"chapter {number // 4}/figure_{number}.tex", CHAT, model="gpt-5",
            messages=ask("You mend TeX files.", f"Make the arrow thicker. Return the TeX only.\n\n{picture}\n"), **fields,
        )  # fmt: skip


def chats_of_two_models() -> Iterator[dict[str, Any]]:
    for number, model in enumerate(["house-model-a", "house-model-a", "house-model-b"], 1):
        yield request(f"req-{number}", CHAT, model=model, messages=ask(None, f"Say {number}."))


def data_preparation() -> Iterator[dict[str, Any]]:
    """Questions as ids, one of which comes twice."""
    tables = {
        "ferry": ["Ferry_ID", "Harbour", "Seats", "Launched"],
        "keeper": ["Keeper_ID", "Name", "Lighthouse", "Since"],
    }
    asked = ["How many {0}s have {1}?", "Which {0} of {2} has the smallest {1}?", "List every {0} by {1}, the largest first!",
             "What is the mean {1} of a {0} since {2}?", "Is there a {0} without {1} in {2}?"]  # fmt: skip
    for number in [*range(23), 0]:
        table, columns = pick(list(tables.items()), number)
        question = pick(asked, number).format(table, pick(columns, number // 10 + 1), 1960 + number)
        schema = "".join(
            f"\n  - Column: {c}\n    - Samples: [{number}, {number + 1}\u2013{number + 9}, Nov\u00a09]" for c in columns
        )
        text = f"A question, a schema and its solution are given. Write down the steps between.\n\nQuestion: {question}\nSCHEMA:\n- Table: {table}"
        text += f"{schema}\nSolution: SELECT count(*) FROM {table} WHERE \"{columns[0]}\" <> '' -- {number}\n"
        messages = ask("You are a helpful assistant.", text)
        yield request(question, CHAT, model="gpt-4o", messages=messages, max_tokens=8000)


def completion_token_chats() -> Iterator[dict[str, Any]]:
    """max_completion_tokens, of an engine that serves open models."""
    for number, manner in enumerate(["helpful", "unhelpful", "taciturn"], 1):
        messages = ask(f"You are {manner}.", "Hello from the harbour!")
        yield request(
            f"request-{number}",
            CHAT,
            model="our-org/Small-3-8B-Instruct",
            messages=messages,
            max_completion_tokens=1000,
        )


def function(called: str, description: str, required: list[str], **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": called, "description": description, "parameters": parameters}}


def tool_chats() -> Iterator[dict[str, Any]]:
    """Tools of every shape, with each tool_choice and without one; some fit the question, some do not."""
    text, count, number_ = {"type": "string"}, {"type": "integer"}, {"type": "number"}
    stops = {"type": "array", "items": {"type": "object", "properties": {"place": text, "minutes": {**count, "default": 2}},
                                        "required": ["place"]}, "description": "Where to stop on the way."}  # fmt: skip
    tools = [
        function("book_ferry", "Books seats on a ferry.", ["harbour", "seats"], harbour={**text, "description": "Name of the harbour, such as 'Bodø'."},
                 seats={**count, "description": "How many."}, deck={**text, "enum": ["upper", "lower", ""]}, dogs={"type": "boolean", "default": False}),
        function("plan_walk", "Tìm đường đi bộ phù hợp.", ["start"], start=text, stops=stops, options={
            "type": "object", "description": "Further wishes.", "properties": {"shade": {"type": "boolean"}, "steepest": number_}}),
        function("lighthouse_info_get", "Tells opening hours of a lighthouse.", ["name", "details"], name=text,
                 details={"type": "array", "items": {"type": "string", "enum": ["Opening hours", "Height", "Keeper"]}}),
        function("volume_of_cone", "Volume of a cone.", ["radius", "height"], radius=number_, height=number_, unit={**text, "default": "cm"}),
        function("now", "The time of day.", []),
    ]  # fmt: skip
    asked = ["Two seats from {0} on the upper deck, please, with our dog.", "Đi bộ từ {0} lên đồi, dừng hai lần, tránh nắng.",
             "When are the lighthouses of {0} and Skagen open, and how high are they?", "What is the capital of the country that {0} lies in?",
             "我想知道{0}现在几点。"]  # fmt: skip
    groups = ["live", "several", "parallel", "irrelevance"]
    for number in range(40):
        group = pick(groups, number)
        fields: dict[str, Any] = {} if group == "live" else {
            "tool_choice": {"several": "auto", "parallel": "required", "irrelevance": "none"}[group]}  # fmt: skip
        first = number // 4
        given = [
            pick(tools, first + place) for place in range(1 if group in ("live", "irrelevance") else number % 3 + 2)
        ]
        yield request(
            f"{group}_{first}-{number % 3}", CHAT, model="gpt-4o-mini", messages=ask(None, pick(asked, first).format(pick(PLACES, number))),
            tools=given, max_tokens=512, temperature=0, **fields,
        )  # fmt: skip


def embeddings() -> Iterator[dict[str, Any]]:
    """A text or two of them, with and without a size and a format."""
    for number in range(40):
        text = f"{pick(SPEECH, number)} {pick(DISHES, number * 3)} in {pick(PLACES, number)}, no. {number}."
        fields: dict[str, Any] = {"input": [text, f"Or rather {pick(TASTES, number)}?"] if number % 2 == 0 else text}
        if number % 4 == 0:
            fields["dimensions"] = 512
        if number % 6 == 0:
            fields["encoding_format"] = "float" if number % 12 else "base64"
        yield request(f"emb-{number:04d}", EMBEDDINGS, model="text-embedding-3-small", **fields)


def structured_responses() -> Iterator[dict[str, Any]]:
    """/v1/responses with instructions, reasoning and a schema; of two models in turn."""
    schema = {
        "type": "object", "title": "Verdict", "additionalProperties": False, "required": ["claim", "holds", "steps"],
        "properties": {"claim": {"title": "Claim", "type": "string"}, "holds": {"type": "boolean", "description": "Does it?"},
                       "steps": {"type": "array", "items": {"type": "string"}, "title": "Steps"}},
    }  # fmt: skip
    for number in range(16):
        if number % 2 == 0:
            yield request(f"r-{number}", RESPONSES, model="gpt-4o", input=f"Why do tides come {number} minutes late?",
                          instructions="You are a harbour master.", max_output_tokens=200)  # fmt: skip
            continue
        yield request(
            f"r-{number}", RESPONSES, model="gpt-5-mini", input=f"Premise {number}: all ferries float.", instructions="Test the argument.",
            reasoning={"effort": pick(["low", "medium", "high"], number)},
            text={"format": {"type": "json_schema", "name": "Verdict", "schema": schema, "strict": True}},
        )  # fmt: skip


def schema_chats() -> Iterator[dict[str, Any]]:
    """A strict schema as pydantic makes it: $defs, references, recursion, a null among the types."""
    berth = {"type": "object", "title": "Berth", "additionalProperties": False, "required": ["pier"], "properties": {
        "pier": {"title": "Pier", "type": "string"}, "until": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "title": "Until"}}}  # fmt: skip
    boat = {"type": "object", "title": "Boat", "additionalProperties": False, "required": ["name", "masts", "kind", "berth"], "properties": {
        "name": {"title": "Name", "type": "string"}, "masts": {"title": "Masts", "type": "integer"},
        "kind": {"enum": ["sail", "row", "steam"], "title": "Kind", "type": "string"}, "berth": {"$ref": "#/$defs/Berth"},
        "tenders": {"default": [], "items": {"$ref": "#/$defs/Boat"}, "title": "Tenders", "type": "array"}}}  # fmt: skip
    schema = {"$defs": {"Berth": berth, "Boat": boat}, "$ref": "#/$defs/Boat"}
    for number in range(16):
        text = f"Extract: the {pick(DISHES, number)}, {number % 3 + 1} masts, lies at pier {number} of {pick(PLACES, number)}."
        yield request(
            f"p-{number}", CHAT, model="gpt-4o-mini", messages=ask(None, text), max_tokens=1000, temperature=0.1,
            response_format={"type": "json_schema", "json_schema": {"name": "Boat", "strict": True, "schema": schema}},
        )  # fmt: skip


def completions() -> Iterator[dict[str, Any]]:
    """/v1/completions with a text, two of them, or token ids; and nulls."""
    for number in range(12):
        prompt: Any = pick(
            [f"Count to {number}", [f"Name {number} fish", f"Name {number + 1} birds"], [464, 8848, number]], number
        )
        yield request(
            f"c-{number}", COMPLETIONS, model="gpt-3.5-turbo-instruct", prompt=prompt, max_tokens=16, temperature=0,
            stop=["\n"] if number % 2 else None, echo=False, logprobs=None,
        )  # fmt: skip


def files() -> dict[str, bytes]:
    """Every file by its name."""
    return {
        "01_chat_json_object.jsonl": written(json_object_chats(), escape=True),
        "04_chat_vietnamese.jsonl": written(vietnamese_chats()),
        "06_chat_seed_unicode.jsonl": written(seeded_chats(), escape=True, last=False),
        # Two ways to write JSON in one line: it was put together by hand.
        "07_chat_nano.jsonl": written(nano_chats()).replace(b'}, {"role"', b'},{"role"'),
        "10_responses.jsonl": written(responses(), escape=True),
        "11_chat_azure_url.jsonl": written(azure_chats(), end="\r\n", last=False),
        "12_chat_short_objects.jsonl": written(short_object_chats(), escape=True),
        "15_chat_choices.jsonl": written(chats_with_choices()),
        "16_chat_gpt5.jsonl": written(gpt5_chats()),
        "20_chat_two_models.jsonl": written(chats_of_two_models(), compact=True, last=False),
        "22_chat_data_preparation.jsonl": written(data_preparation(), escape=True),
        "24_chat_max_completion_tokens.jsonl": written(completion_token_chats()),
        "27_chat_tools.jsonl": written(tool_chats()),
        "29_embeddings.jsonl": written(embeddings()),
        "30_responses_structured.jsonl": written(structured_responses()),
        "31_chat_json_schema.jsonl": written(schema_chats()),
        "32_completions.jsonl": written(completions()),
    }


if __name__ == "__main__":
    for name, data in files().items():
        (HERE / name).write_bytes(data)
