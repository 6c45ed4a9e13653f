"""What a judge's reply is read as: what it says in so many words, and never what a letter in it may mean."""

import time

import pytest

from tasks.comparison.replies import read_choice

READ = {
    "a": [
        "A", "**A**", "(A)", "[[A]]", "<answer>A</answer>", "answer_a", "`answer_a`", "Answer A", "The winner is A",
        "A is better than B", "Answer A is better because it is correct.", "A beats B", "A > B", "B < A", "I prefer A to B",
        "Overall, A is better than B.", "Response 1", "The first answer", "A, because B is wrong", "A\n\nB contains an error.",
        "A. It is concise.", '{"winner": "A"}', '{"answer": "A", "confidence": 0.7}', '{"preferred": "A", "rejected": "B"}',
        '{"result": {"winner": "Answer A"}}', "<think>B is better.</think>A", "Winner: A\nLoser: B", "Ａ",
        "Answer A has the right capital, B has not. Final verdict: A",
    ],
    "b": [
        " b. ", "**B**", "This is a close call: B", "I prefer answer B.", "I'd go with response 2", "The second one is better",
        "After weighing A and B, final answer: B", "Let me think. Answer A is wrong. Answer B is right.\n\nB",
        'Here it is:\n```json\n{"reason": "A is verbose", "choice": "B"}\n```', '{"verdict": "answer_b", "why": "A is wrong"}',
        "B - it is concise", "Reasoning: A is fine.\n\n**Answer: B**", "B wins", "I prefer B over A",
    ],
    "tie": [
        "tie", "Tie.", "It's a tie", "a draw", "They are equally good", "Both answers are equally good", "Neither is better",
        "Both", "A and B are tied", "Verdict: tie", '{"answer": "Tie"}', "A covers more. B is shorter. Verdict: tie", "A = B",
    ],
    None: [
        "", "C", "Neither", "Neither A nor B", "Both are good", "Both are about a dog", "A/B", "A or B", "A and B", "1", "2",
        "A is not better than B", "It is not A", "I can't judge", "A good answer would be longer", "B loses", "A loses to B",
        "Answer B is wrong", "Answer A is incorrect", "answer a is bad", "Answer B lacks detail", "B has an error.",
        "A seems wrong", "The loser is A", "Loser: A", "The worst answer is B", "The wrong answer: B", "worse: A", "Avoid A", "reject B", "Plan B", "Vitamin B is discussed",
        "A wins. Actually no, B wins.", "A\n\nWait, B is the right one.", "A is better, but B wins on style", "Tie, but slightly A",
        "tie (A)", "Verdict: A or B", "Verdict: not A", "A is better? No.", "A?", "It depends: A", "Exactly one of: A", "A: 3/10\nB: 9/10",
        "La respuesta B es mejor", "回答B更好", "Unentschieden", "À", "А", "A-", "A+", "❌ A", "A is only better at style",
        "B is better if you ignore the errors", "<think>A is better", '{"loser": "B"}', '{"worse": "A"}', '{"A": "good", "B": "bad"}',
        '{"winner": null}', '{"winner": "A"} {"winner": "B"}', '{"score": "A"}', "The better answer is", "As an AI, I cannot",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "reply"), [(choice, reply) for choice, replies in READ.items() for reply in replies]
)
def test_a_judges_reply_is_read_as_a_whole(choice: str | None, reply: str) -> None:
    assert read_choice(reply) == choice


def test_of_a_reply_that_was_cut_off_only_what_it_finished_counts() -> None:
    assert read_choice("A\n\nAnswer A has the more", cut_off=True) == "a"
    for reply in ("A", "B", "Answer A is better at style", "The better answer is A", "tie"):
        assert read_choice(reply, cut_off=True) is None, reply


def test_no_reply_takes_long_to_read() -> None:
    began = time.process_time()
    for piece in (
        "so thus ",
        "the best better ",
        "A > ",
        "{",
        "{}",
        "answer ",
        "a, because ",
        "my final answer is ",
        "* _",
    ):
        read_choice(piece * (4000 // len(piece)))
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        # Of a long reply, its end.
        ("I weigh both. " * 1000 + "\n\nA", "a"),
        ("Much is wrong with B. " + "x " * 1999, None),
        ("x" * 3000 + " B. " + "x " * 1998, None),
        # Thoughts that do not end are not the answer.
        ("<think>Let me see.\n\nA", None),
        ("<reasoning>\nB", None),
        # What denies anything denies perhaps the choice; so does what compares one with itself.
        ("A is better because it is never wrong", None),
        ("A beats A", None),
        ("I prefer B over B", None),
        ("It's a tie because A is not clear", None),
        ("It's a tie because both are fine", "tie"),
        ("Verdict: A, final answer: B", None),
        ("Hard to say, verdict: B", "b"),
        ('{"choice": "A", "answer": "B"}', "a"),
        ('{"choice": "A", "verdict": "B"}', None),
        ('{"not_chosen": "A", "worse": "A", "answer": "B"}', "b"),
        ("A - 7/10", None),
    ],
)
def test_more_replies(reply: str, choice: str | None) -> None:
    assert read_choice(reply) == choice
