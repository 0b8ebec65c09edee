"""aiframe: a folder of plain files that works like a small software team."""

__version__ = "0.1.0"
