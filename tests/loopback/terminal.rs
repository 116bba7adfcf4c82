//! On a terminal: prompts, questions, the progress line, and a reader who presses ^S.
