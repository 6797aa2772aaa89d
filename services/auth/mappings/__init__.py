"""Between auth's protos and its domain, a file a noun."""
