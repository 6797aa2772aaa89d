"""From a Markdown file to sections of plain text; pure functions, no I/O."""
