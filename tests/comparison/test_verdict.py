"""Every sentence that a verdict can have, as a person reads it."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tasks.bedrock.prices import Rate
from tasks.comparison.conclusions import conclude
from tasks.comparison.extract import Extract
from tasks.comparison.judge import Judge, Judged, _add_up
from tasks.comparison.verdict import verdict
from tests.comparison.compared import LOST, REFUSED, Compared
from tests.fakes import Cloud

LABELS = ["x", "y"] * 50


def wrong(count: int, labels: list[str] = LABELS, start: int = 0) -> list[Any]:
    """Answers of which so many are wrong, from a place on."""
    flipped = {"x": "y", "y": "x"}
    return [flipped[label] if start <= n < start + count else label for n, label in enumerate(labels)]


@pytest.fixture
def said(cloud: Cloud, tmp_path: Path) -> Any:
    def say(
        answers: dict[str, list[Any]], labels: Any = None, judged: Judged | None = None, **options: Any
    ) -> list[str]:
        found = Compared(cloud, tmp_path, answers, labels, **options)
        return [sentence.replace("\u00a0", " ") for sentence in verdict(found.numbers, judged, {})]

    return say


COSTS_THE_SAME = "At these prices, both cost the same."


def test_a_winner(said: Any) -> None:
    assert said({"a": wrong(5), "b": wrong(20, start=5)}, LABELS) == [
        "a is the most accurate: 95.0 % against 80.0 % of b, on the same 100 labelled requests. The difference of "
        "15.0 points (95 % interval 5.6 to 24.9) is more than chance explains (mid-p McNemar test, p = 0.002).",
        COSTS_THE_SAME,
    ]


def test_a_winner_of_three(said: Any) -> None:
    assert said({"c": wrong(30), "a": LABELS, "b": wrong(10)}, LABELS)[0] == (
        "a is the most accurate: 100.0 % against 90.0 % of b, which comes closest, on the same 100 labelled requests. "
        "The difference of 10.0 points (95 % interval 5.5 to 17.4) is more than chance explains (mid-p McNemar test, "
        "p < 0.001, corrected for 3 pairs)."
    )


def test_no_winner(said: Any) -> None:
    assert said({"a": wrong(5), "b": wrong(8, start=5)}, LABELS)[:2] == [
        "There is no clear winner: 100 labelled requests do not tell a (95.0 %) and b (92.0 %) apart.",
        "If a is really better than b by these 3.0 points, about 1,026 more labelled requests (1,126 in all) would show "
        "it in four cases of five.",
    ]


def test_no_winner_and_a_loser(said: Any) -> None:
    sentences = said({"a": wrong(5), "b": wrong(8, start=5), "c": wrong(60)}, LABELS)
    assert (
        sentences[0] == "There is no clear winner: 100 labelled requests do not tell a (95.0 %) and b (92.0 %) apart."
    )
    assert sentences[2:4] == [
        "a is more accurate than c (55.0 points (95 % interval 45.2 to 64.4): mid-p McNemar test, p < 0.001, corrected "
        "for 3 pairs).",
        "b is more accurate than c (52.0 points (95 % interval 42.3 to 61.5): mid-p McNemar test, p < 0.001, corrected "
        "for 3 pairs).",
    ]
    assert "At these prices, they all cost the same." in sentences


def test_two_equals_are_no_leader_and_a_follower(said: Any) -> None:
    assert said({"a": wrong(10), "b": wrong(10, start=50)}, LABELS) == [
        "a and b are equally accurate on the 100 labelled requests: 90.0 %.",
        COSTS_THE_SAME,
    ]
    assert said({"a": LABELS, "b": LABELS}, LABELS)[0] == (
        "a and b are equally accurate on the 100 labelled requests: 100.0 %."
    )


def test_none_is_right(said: Any) -> None:
    assert said({"a": ["z"] * 100, "b": ["w"] * 100}, LABELS)[0] == (
        "None of a and b gave one right answer to the 100 labelled requests: is it the right column of the reference, and "
        'do the answers stand alone? extract="includes" finds labels within.'
    )


def test_one_labelled_request(said: Any) -> None:
    assert said({"a": ["x", "x"], "b": ["y", "x"]}, ["x", None])[0] == (
        "There is no clear winner: 1 labelled request does not tell a (100.0 %) and b (0.0 %) apart."
    )


def test_one_variant_and_none(said: Any) -> None:
    assert said({"a": wrong(10)}, LABELS) == [
        "a answered 100.0 % of 100 requests, 90.0 % of those with a reference correctly; there is no other model to compare "
        "it with."
    ]
    assert said({"a": [LOST, "x", "x"]}, ["x", "x", "y"], texts=["q"] * 3) == [
        "a answered 66.7 % of 3 requests, 50.0 % of those with a reference correctly; there is no other model to compare it "
        "with.",
        "a answered only 66.7 % of the requests. Of a, 1 request was lost to the run (throttled, expired or a fault of the "
        "service) and left out of comparisons; counted as wrong, its accuracy would be 33.3 %. retry_failed asks them again.",
        "Of 3 requests, 1 is different; repeats are not taken for independent.",
    ]
    from tasks.comparison.numbers import Numbers

    nothing = Numbers(0, False, [], [], [], [], [], 0, 0, 0)
    assert verdict(nothing, None, {"a": "denied"}) == [
        "No model gave an answer: there is nothing to compare.",
        "a has no results: denied",
    ]


def test_what_the_run_lost(said: Any) -> None:
    """The better one by its answers is the better one, and the throttled requests are said."""
    lost: list[Any] = [LOST if n < 30 else label for n, label in enumerate(LABELS)]
    few: list[Any] = [LOST if n < 2 else label for n, label in enumerate(LABELS)]
    assert said({"a": lost, "b": wrong(20, start=40)}, LABELS) == [
        "a is the most accurate: 100.0 % against 71.4 % of b, on the same 70 labelled requests. The difference of 28.6 "
        "points (95 % interval 19.3 to 40.1) is more than chance explains (mid-p McNemar test, p < 0.001).",
        COSTS_THE_SAME,
        "a answered only 70.0 % of the requests. Of a, 30 requests were lost to the run (throttled, expired or a fault of "
        "the service) and left out of comparisons; counted as wrong, its accuracy would be 70.0 %. retry_failed asks them "
        "again.",
    ]
    assert said({"a": few, "b": LABELS}, LABELS)[2] == (
        "Of a, 2 requests were lost to the run (throttled, expired or a fault of the service) and left out of comparisons; "
        "counted as wrong, its accuracy would be 98.0 %. retry_failed asks them again."
    )
    own: list[Any] = [REFUSED if n < 30 else label for n, label in enumerate(LABELS)]
    sentences = said({"a": own, "b": LABELS}, LABELS)
    assert sentences[0].startswith("b is the most accurate: 100.0 % against 70.0 % of a"), "it is the model's own fault"
    assert sentences[2] == "a answered only 70.0 % of the requests; the others failed for their own sake."


def test_nothing_compared(said: Any) -> None:
    a: list[Any] = [LOST, "x"]
    b: list[Any] = ["x", LOST]
    assert said({"a": a, "b": b}, ["x", "x"])[0] == (
        "No labelled request was answered by two models: their accuracies cannot be compared."
    )
    assert said({"a": a, "b": b})[0] == "No request was answered by two models: their answers cannot be compared."


def test_the_margin(said: Any) -> None:
    many = ["x", "y"] * 500
    assert said({"now": wrong(50, many), "then": wrong(52, many)}, many, margin=0.02)[2] == (
        "then is at most 2 points less accurate than now (difference -0.2 points, 95 % interval -0.7 to +0.2, one-sided "
        "p < 0.001)."
    )
    assert said({"now": wrong(5), "then": wrong(7)}, LABELS, margin=0.02)[2] == (
        "It is not shown that then is at most 2 points less accurate than now (difference -2.0 points, 95 % interval -7.0 "
        "to +1.8, one-sided p = 0.500)."
    )
    assert said({"now": LABELS, "then": wrong(30)}, LABELS, margin=0.01)[1] == (
        "then is more than 1 point less accurate than now (difference -30.0 points, 95 % interval -39.6 to -21.9, one-sided "
        "p < 0.001)."
    )
    three = {"now": LABELS, "then": wrong(30), "soon": LABELS}
    assert said(three, LABELS, margin=0.05)[3:5] == [
        "then is more than 5 points less accurate than now (difference -30.0 points, 95 % interval -39.6 to -21.9, one-sided "
        "p < 0.001, corrected for 2 variants).",
        "soon is at most 5 points less accurate than now (difference +0.0 points, 95 % interval -3.7 to +3.7, one-sided "
        "p = 0.022, corrected for 2 variants).",
    ]


def test_the_margin_is_of_the_first_variant_named(cloud: Cloud, tmp_path: Path) -> None:
    """Where it has no results, nothing is said of another one in its place."""
    numbers = Compared(cloud, tmp_path, {"b": LABELS, "c": LABELS}, LABELS, margin=0.05).numbers
    numbers.base = "a"
    assert not [each for each in conclude(numbers, None) if each.margin is not None]
    assert verdict(numbers, None, {"a": "denied"})[1] == (
        "Of the margin nothing is known: no labelled request was answered by a and by another one."
    )


def judged(*pairs: tuple[str, str, int, int, int], both_first: int = 0, **changes: Any) -> Judged:
    """A judge's batch: of each pair wins, losses and ties."""
    labels = sorted({label for pair in pairs for label in pair[:2]})
    verdicts: dict[tuple[str, int, int], dict[str, str]] = {}
    for first, second, wins, losses, ties in pairs:
        one, other = labels.index(first), labels.index(second)
        assert one < other
        each = [{"ab": "a", "ba": "b"}] * wins + [{"ab": "b", "ba": "a"}] * losses + [{"ab": "tie", "ba": "tie"}] * ties
        for number, orders in enumerate([*each, *[{"ab": "a", "ba": "a"}] * both_first]):
            verdicts[f"{number}", one, other] = orders
    found = _add_up(Judge("m"), labels, "b", verdicts, 0)
    found.asked = 2 * len(verdicts)
    return msgspec.structs.replace(found, **changes)


TEXTS = {"a": [f"text {n}" for n in range(20)], "b": [f"other {n}" for n in range(20)]}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            judged(("a", "b", 62, 31, 27)),
            "The judge (m) prefers a over b: 62 wins to 31, 27 ties (exact sign test, p = 0.002).",
        ),
        (
            judged(("a", "b", 1, 0, 0)),
            "The judge (m) does not tell a and b apart: 1 wins to 0, 0 ties (exact sign test, p = 1.000).",
        ),
        (judged(("a", "b", 0, 0, 20)), "The judge (m) called all 20 comparisons of a and b a tie."),
        (judged(("a", "b", 0, 0, 1)), "The judge (m) called the one comparison of a and b a tie."),
        (judged(("a", "b", 0, 0, 0)), "The judge (m) compared no two answers in both orders: nothing follows from it."),
    ],
)
def test_what_the_judge_prefers(said: Any, given: Judged, sentence: str) -> None:
    assert said(TEXTS, None, given)[0] == sentence


def test_only_what_was_compared_is_judged(said: Any) -> None:
    """A variant in no comparison is neither ranked nor beaten."""
    given = judged(("a", "b", 30, 5, 0), ("a", "c", 0, 0, 0), ("b", "c", 0, 0, 0))
    assert [label for label, _, _ in given.ranking] == ["a", "b"]
    sentences = said({**TEXTS, "c": [""] * 20}, None, given)
    assert [s for s in sentences if "judge" in s.lower()] == [
        "The judge (m) prefers a over b: 30 wins to 5, 0 ties (exact sign test, p < 0.001)."
    ]


def test_a_judge_of_three(said: Any) -> None:
    given = judged(("a", "b", 30, 5, 0), ("a", "c", 14, 6, 0), ("b", "c", 10, 10, 0))
    assert said({**TEXTS, "c": TEXTS["a"]}, None, given)[:3] == [
        "The judge (m) prefers a over b: 30 wins to 5, 0 ties (exact sign test, p < 0.001, corrected for 3 pairs).",
        "It does not tell a and c apart: 14 wins to 6, 0 ties (exact sign test, p = 0.231, corrected for 3 pairs).",
        "It does not tell b and c apart: 10 wins to 10, 0 ties (exact sign test, p = 1.000, corrected for 3 pairs).",
    ]


def test_what_is_wrong_with_a_judge(said: Any) -> None:
    assert said(TEXTS, None, judged(("a", "b", 5, 5, 0), both_first=20))[1] == (
        "The judge leans to the answer shown first (it chose it in both orders 20 times, the other 0 times); both orders "
        "were asked, so this blurs the result and does not tilt it."
    )
    assert said(TEXTS, None, judged(("a", "b", 5, 5, 0), asked=60, unreadable=11, failed=29))[1] == (
        "Of the judge's 60 requests, 29 had no answer and 11 answers named no choice; comparisons without both orders count "
        "for nothing."
    )


def test_a_judge_that_is_cut_off(said: Any) -> None:
    assert said(TEXTS, None, judged(("a", "b", 5, 5, 0), asked=60, unreadable=40, cut_off=40))[1] == (
        "Of the judge's 60 requests, 0 had no answer and 40 answers named no choice (40 of them were cut off: give the judge "
        "more max_tokens); comparisons without both orders count for nothing."
    )


def test_a_judge_against_the_reference(said: Any) -> None:
    given = judged(("a", "b", 5, 40, 0))
    given.pairs[0] = msgspec.structs.replace(given.pairs[0], with_reference=4, against_reference=11)
    sentences = said({"a": LABELS, "b": wrong(20)}, LABELS, given)
    assert sentences[0].startswith("a is the most accurate")
    assert sentences[1:4] == [
        "The judge (m) prefers b over a: 40 wins to 5, 0 ties (exact sign test, p < 0.001).",
        "Where the reference says that one of two answers is better and the judge chose, it chose that one in 4 of 15 cases.",
        "The judge contradicts the reference: it prefers b, and a is the more accurate one.",
    ]


def test_without_a_reference(said: Any) -> None:
    end = " Which is better cannot be told without a reference or a judge."
    assert said({"a": LABELS, "b": wrong(10)})[0] == f"a and b agree on 90.0 % of 100 requests that both answered.{end}"
    assert said({"a": LABELS, "b": wrong(10), "c": wrong(30)})[0] == (
        f"a and c agree least, on 70.0 % of 100 requests that both answered.{end}"
    )
    assert said({"a": LABELS, "b": LABELS})[0] == f"a and b gave the same answers wherever two of them answered.{end}"
    long = {name: [f"{name} writes many words about {n}" for n in range(60)] for name in ("a", "b")}
    assert said(long)[0] == f"Of the answers, word for word the same are 0.0 % (a and b).{end}"


def test_costs(said: Any) -> None:
    rates = {"a": Rate(1.0, 10.0, "batch", "", ""), "b": Rate(3.0, 30.0, "batch", "", "")}
    assert said({"a": LABELS, "b": LABELS}, LABELS, rates=rates)[1] == (
        "Per thousand requests that both answered, a costs $0.2 and b $0.6, 3.0 times as much."
    )
    near = {"a": rates["a"], "b": Rate(1.001, 10.01, "batch", "", "")}
    assert said({"a": LABELS, "b": LABELS}, LABELS, rates=near)[1] == (
        "At these prices, both cost the same within half a percent."
    )
    close = {"a": rates["a"], "b": Rate(1.03, 10.3, "batch", "", "")}
    assert said({"a": LABELS, "b": LABELS}, LABELS, rates=close)[1] == (
        "Per thousand requests that both answered, a costs $0.2 and b $0.206, 1.030 times as much."
    )
    nothing = {"a": Rate(0.0, 0.0, "batch", "", ""), "b": Rate(0.0, 0.0, "batch", "", "")}
    assert said({"a": LABELS, "b": LABELS}, LABELS, rates=nothing)[1] == COSTS_THE_SAME
    third = said({"a": LABELS, "b": LABELS, "c": LABELS}, LABELS, rates={"c": None})
    assert third[1:] == [
        "At these prices, a and b cost the same.",
        "No price is known of c: costs leave it out (BEDROCK_BATCH_PRICES names a price list of your own).",
    ]
    free = {"a": Rate(0.0, 0.0, "batch", "", ""), "b": rates["b"]}
    assert said({"a": LABELS, "b": LABELS}, LABELS, rates=free)[1] == (
        "Per thousand requests that both answered, a costs nothing and b $0.6."
    )
    assert said({"a": LABELS, "b": LABELS}, LABELS, rates={"a": None, "b": rates["b"]})[1] == (
        "No price is known of a: costs leave it out (BEDROCK_BATCH_PRICES names a price list of your own)."
    )
    nowhere = {"content": "x", "prompt_tokens": None, "completion_tokens": None}
    assert said({"a": [nowhere] * 50 + LABELS[50:], "b": LABELS}, LABELS, rates=rates)[-1] == (
        "The cost of a is known for 50 of 100 answered requests only: it has no total."
    )
    assert said({"a": [nowhere] * 100, "b": LABELS}, LABELS, rates=rates)[-1] == (
        "The cost of a is known for 0 of 100 answered requests only: it has no total."
    ), "its price is known"


def test_what_else_to_know(said: Any) -> None:
    wordy = [f"I say {label}" if n < 50 else label for n, label in enumerate(LABELS)]
    assert said({"a": wordy, "b": LABELS}, LABELS)[2] == (
        "50.0 % of a's answers are none of the reference's labels, and count as wrong (the report names the commonest); "
        '50.0 % hold one label in a longer text, which extract="includes" would read.'
    )
    assert said({"a": ["z"] * 30 + LABELS[30:], "b": LABELS}, LABELS)[2] == (
        "30.0 % of a's answers are none of the reference's labels, and count as wrong (the report names the commonest)."
    )
    assert said({"a": wordy, "b": LABELS}, LABELS, extract=Extract(includes=True))[0].startswith("a and b are equally")
    cut = [{"content": "x", "finish_reason": "length"}] * 10 + LABELS[10:]
    assert said({"a": cut, "b": LABELS})[-1] == "10.0 % of a's answers were cut off at their limit."
    assert said({"a": [["x", "y", "x"]] * 100, "b": LABELS}, LABELS, choices="mean")[-1] == (
        "Of requests with several answers (n up to 3), their mean score is compared."
    )
    assert said({"a": LABELS, "b": LABELS}, [*LABELS[:90], *[None] * 10])[-1] == (
        "The reference has no label for 10 of 100 requests, and 0 labels of no request."
    )
    mixed = ["Yes" if n % 2 else "yes" for n in range(100)]
    assert said({"a": mixed, "b": mixed}, mixed)[-1] == (
        "2 labels of the reference differ from others in case or marks only, and count as different ones: write them alike "
        "if they are the same."
    )
    texts = [f"text {n // 5}" for n in range(100)]
    assert said({"a": LABELS, "b": LABELS}, LABELS, texts=texts)[-1] == (
        "Of 100 requests, 20 are different; repeats are not taken for independent."
    )
    bodies = [{"metadata": {"user": str(n % 30)}} for n in range(100)]
    sentences = said({"a": LABELS, "b": LABELS}, LABELS, bodies=bodies, cluster_by="user", slice_by=("lang",))
    assert sentences[-2:] == [
        "The requests have 30 different values of user; those of one value are not taken for independent.",
        "No request has the field lang to slice by.",
    ]


def test_no_sentence_has_a_text_of_the_data(said: Any) -> None:
    secret = ["hunter2", "swordfish"] * 50
    sentences = said({"a": [f"it is {label}" for label in secret], "b": secret}, secret)
    assert not [s for s in sentences if "hunter2" in s or "swordfish" in s]


def test_conclusions_are_what_the_sentences_say(cloud: Cloud, tmp_path: Path) -> None:
    found = Compared(cloud, tmp_path, {"a": wrong(20, start=5), "b": wrong(5)}, LABELS, margin=0.05)
    accuracy, margin, worse, judge, leans, cost = conclude(found.numbers, judged(("a", "b", 10, 30, 4), both_first=9))
    assert (worse.claim, worse.variants, worse.holds, worse.margin) == ("worse", ("b", "a"), False, 0.05)
    assert (leans.claim, leans.variants, leans.holds) == (
        "leans_to_place",
        ("answer shown first", "answer shown second"),
        True,
    )
    assert (leans.values, leans.n) == ((9, 0), 9)
    assert leans.p_value == pytest.approx(2 / 2**9)
    assert (accuracy.claim, accuracy.variants, accuracy.holds) == ("more_accurate", ("b", "a"), True)
    assert (accuracy.n, accuracy.test, accuracy.values) == (100, "mid-p McNemar", (0.95, 0.8))
    assert accuracy.difference == pytest.approx(0.15)
    assert accuracy.interval is not None
    assert accuracy.interval[0] < 0.15 < accuracy.interval[1]
    assert (margin.claim, margin.variants, margin.holds) == ("not_worse", ("b", "a"), True)
    assert (judge.claim, judge.variants, judge.values, judge.ties) == ("preferred", ("b", "a"), (30, 10), 13)
    assert (cost.claim, cost.holds, cost.n) == ("cheaper", False, 100)
    rows = msgspec.to_builtins([accuracy])
    assert set(rows[0]) >= {"claim", "variants", "difference", "interval", "adjusted_p", "n", "test"}


#: A sentence that claims something of two variants, and the conclusion that it says.
CLAIMS = {
    r"^(\w) is the most accurate": ("more_accurate", True),
    r"^(\w) is more accurate than": ("more_accurate", True),
    r"^There is no clear winner|are equally accurate": ("more_accurate", False),
    r"^(\w) is at most .* less accurate than (\w)": ("not_worse", True),
    r"^(\w) is more than .* less accurate than (\w)": ("worse", True),
    r"^It is not shown that (\w) is at most .* less accurate than (\w)": ("not_worse", False),
    r"prefers (\w) over (\w):": ("preferred", True),
    r"does not tell (\w) and (\w) apart:|^The judge .* called": ("preferred", False),
    r"^The judge leans": ("leans_to_place", True),
    r"both answered, (\w) costs .* and (\w) ": ("cheaper", True),
    r"cost the same": ("cheaper", False),
}


def test_no_sentence_claims_what_no_conclusion_does(cloud: Cloud, tmp_path: Path) -> None:
    rates: dict[str, Rate | None] = {"a": Rate(1.0, 10.0, "batch", "", ""), "b": Rate(3.0, 30.0, "batch", "", "")}
    said = set()
    for counts in ((0, 0, 0), (5, 8, 60), (0, 30, 10), (10, 10, 50)):
        for prices in (None, rates):
            for verdicts in ((40, 5, 0), (5, 5, 3), (0, 0, 4)):
                answers = {
                    name: wrong(count, start=5 * n) for n, (name, count) in enumerate(zip("abc", counts, strict=True))
                }
                numbers = Compared(cloud, tmp_path, answers, LABELS, margin=0.05, rates=prices).numbers
                judge = judged(("a", "b", *verdicts), both_first=9)
                conclusions = conclude(numbers, judge)
                for sentence in verdict(numbers, judge, {}):
                    for pattern, (claim, holds) in CLAIMS.items():
                        match = re.search(pattern, sentence)
                        if match is None:
                            continue
                        names = tuple(name for name in match.groups() if name)
                        said.add((claim, holds))
                        assert any(
                            each.claim == claim and each.holds is holds and each.variants[: len(names)] == names
                            for each in conclusions
                        ), sentence
                        break
                    else:
                        assert re.match(
                            r"If . is really better|Of the judge's|The cost|The judge contradicts", sentence
                        ), sentence
    assert said == set(CLAIMS.values())


def test_a_judge_that_prefers_nobody_contradicts_nobody(said: Any) -> None:
    sentences = said({"a": LABELS, "b": wrong(20)}, LABELS, judged(("a", "b", 5, 8, 0)))
    assert sentences[0].startswith("a is the most accurate")
    assert any("does not tell" in sentence for sentence in sentences)
    assert not [sentence for sentence in sentences if "contradicts" in sentence]


def test_the_widest_difference_in_cost_is_told(said: Any) -> None:
    def costs(*prices: float) -> str:
        rates = {name: Rate(price, 10 * price, "batch", "", "") for name, price in zip("abc", prices, strict=True)}
        return str(said(dict.fromkeys("abc", LABELS), LABELS, rates=rates)[1])

    start = "Per thousand requests that both answered,"
    assert costs(1, 2, 4) == f"{start} a costs $0.2 and c $0.8, 4.0 times as much."
    assert costs(4, 2, 1) == f"{start} c costs $0.2 and a $0.8, 4.0 times as much."
    assert costs(1, 1, 4) == f"{start} a costs $0.2 and c $0.8, 4.0 times as much."


def test_what_is_not_worth_a_word(said: Any) -> None:
    """No price of who answered nothing; nothing lost where nothing is compared with a reference, if it is little."""
    nothing: list[Any] = [None] * 100
    sentences = said({"a": LABELS, "b": nothing}, LABELS, rates={"b": None})
    assert not [each for each in sentences if "price" in each]
    few: list[Any] = [None, None, *LABELS[2:]]
    assert not [each for each in said({"a": few, "b": LABELS}) if "lost" in each]


def test_shares_that_are_worth_a_word(said: Any) -> None:
    wordy = [f"I say {label}" if n < 30 else label for n, label in enumerate(LABELS)]
    assert said({"a": wordy, "b": LABELS}, LABELS)[2] == (
        "30.0 % of a's answers are none of the reference's labels, and count as wrong (the report names the commonest); "
        '30.0 % hold one label in a longer text, which extract="includes" would read.'
    )
    assert said({"a": [["x", "y"]] * 100, "b": LABELS}, LABELS)[-1] == (
        "Of requests with several answers (n up to 2), the first one is compared."
    )
    texts = [f"text {max(n, 1)}" for n in range(100)]
    assert said({"a": LABELS, "b": LABELS}, LABELS, texts=texts)[-1] == (
        "Of 100 requests, 99 are different; repeats are not taken for independent."
    )


def test_a_judge_that_never_chose_what_is_right(said: Any) -> None:
    given = judged(("a", "b", 1, 2, 0))
    given.pairs[0] = msgspec.structs.replace(given.pairs[0], with_reference=0, against_reference=3)
    assert said({"a": LABELS, "b": wrong(20)}, LABELS, given)[2].endswith("it chose that one in 0 of 3 cases.")


def test_where_each_is_beaten_by_another_there_is_no_winner(cloud: Cloud, tmp_path: Path) -> None:
    numbers = Compared(cloud, tmp_path, {"a": wrong(5), "b": wrong(20), "c": wrong(40)}, LABELS).numbers
    ab, ac, bc = numbers.pairs
    turned = {
        "accuracy_difference": -(ac.accuracy_difference or 0.0),
        "difference_interval": (-0.9, -0.1),
    }
    numbers.pairs = [ab, msgspec.structs.replace(ac, **turned), bc]
    sentences = [each.replace("\u00a0", " ") for each in verdict(numbers, None, {})]
    assert sentences[0] == (
        "There is no clear winner: 100 labelled requests do not tell a (95.0 %), b (80.0 %) and c (60.0 %) apart."
    )
    assert [each[:25] for each in sentences[1:4]] == [
        f"{x} is more accurate than {y}"[:25] for x, y in ("ab", "bc", "ca")
    ]


def test_of_several_claims_the_weakest_test_is_told(said: Any) -> None:
    answers = {"a": wrong(5), "d": wrong(8, start=5), "b": wrong(20, start=20), "c": wrong(60)}
    (sentence,) = (each for each in said(answers, LABELS) if each.startswith("a is more accurate than"))
    found = re.fullmatch(
        r"a is more accurate than b and c \(each: mid-p McNemar test, p = (0\.0\d\d), .* 6 pairs\)\.", sentence
    )
    assert found, sentence
    assert 0.001 < float(found[1]) < 0.05
