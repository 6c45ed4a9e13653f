"""What any part may use: task options, the run and its log, memory, columns, words, temporary files."""
