"""The page of pyplots: shows what the API knows."""

VERSION = "1.0.0"
