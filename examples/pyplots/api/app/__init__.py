"""The API of pyplots: what plots exist, and how each library draws them."""

VERSION = "1.0.0"
