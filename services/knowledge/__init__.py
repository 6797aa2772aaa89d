"""Articles, their passages, and finding them by words and by meaning."""
