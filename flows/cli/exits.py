"""What the command's exit status says."""

#: Of a run that was interrupted: 130, or 128 and the signal's number.
DONE, FAILED, USAGE, SOME_FAILED, NOT_SHOWN = 0, 1, 2, 3, 4
