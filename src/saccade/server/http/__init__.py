"""The HTTP listener: HTTP/1.1 and HTTP/2, clear or over TLS, with the deadlines and bounds of a public address."""
