r"""The short cuts for files whose lines are alike.

The general way is the specification: this package could be deleted with the branches that call it, and every result
would stay the same, byte for byte, only slower. Only `validate`, `convert`, `normalize`, `inputs` and `results` import
it. `BEDROCK_BATCH_FAST=0` turns all of it off; CI runs one file both ways and compares the bytes, and property tests
hold each short cut to the general way.

# What it lives on

Most batch files are written by one program in one way: the same keys in the same order, another question.

    {"custom_id":"r1","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"Hi"}]}}
    {"custom_id":"r2","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"So"}]}}
    {"custom_id":"r3","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"!?"}]}}
    '-- fixed --' ^^ '---------- fixed: between the slots --------------------------------------------' ^^ '- fixed -'
                  slot 0, the custom_id                                                                 slot 1, the text

From the first line a **template** is learned, and the lines of a **block** are held against it in a few comparisons of
whole columns. Nothing is decoded: a line fits if it is, byte for byte, the template's but for what is in its slots.

# Words

| word | meaning |
|---|---|
| block | some megabytes of whole lines, as they are read from the input, or of output lines |
| template | one line with gaps: what stands around the strings that vary (`template.Template`) |
| slot | such a string, without its quotes: the custom_id, a message's text, a `user` |
| fixed | what stands before, between and behind the slots, with their quotes |
| shape | which template a line fits, from 1; 0 where it fits none |
| form | what the records of a template's lines have in common, cut at their texts (`records.RecordForm`) |
| frame | the same of a result line (`openai_format.results.Frame`) |
| way | which decoder a plain answer takes, from 1; 0 is the general way (`answers.PlainAnswers`) |

# The columns of a block (`match.LineBlock`), a row for each line

| column | dtype | holds |
|---|---|---|
| starts | int64 | the offset of the line's first byte in the block |
| ends | int64 | the offset of its line end |
| shapes | uint8 | its shape |
| sizes | uint32, or uint8 of a layout | the bytes in each slot, a column a slot; what is left is the last one's |

# The way of a file

1. `scan` looks at a block once: where lines end, where quotes and escapes are, which escapes are odd.
2. `match` holds it against the templates known, and learns another from a line that fits none (`template.learn`).
3. `validate` takes whole runs of lines that fit; the layout (`inputs.layout`) hands over what was found to `convert`.
4. `records` joins the texts of a run with what stands around them in the record, in one call of Arrow.
5. `line` does the same for one line at a time: a chat of plain text among lines that fit no template.
6. `answers` decodes plain answers in the other direction, and `fill`s the frame of their result lines.

# What a line must keep to, to fit

- The block is valid UTF-8, ends with a line end, and has no other control characters.
- Every escape in the line is a valid one of JSON, with no half of a surrogate pair; the custom_id has none at all.
- It has as many unescaped quotes as the template, so that no text ends early and no further key hides in one.
- Its custom_id has 1 to 255 bytes, and no text is blank (`SURELY_TEXT` errs on the safe side).
- It is no longer than a line may be, and its template's own line is valid.

# What makes it decline

A file of more than eight shapes; a shape that few lines of its block have; lines with tabs, images or numbers that
vary; lines that came out as bad; families that do not pass texts on as they are; records that grow to several times
their line. All of them go the general way, line by line. So do answers with tool calls, reasoning, refusals or odd
counts.

# Changing it

Change the general way first, and run the property tests: they say where the short cut now differs. A short cut must pay
for its reader: `make bench` prints what each stage takes beside two floors, and for files of other shapes.
"""
