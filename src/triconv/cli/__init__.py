"""The command line: ``triconv check``, ``triconv explain``, ``triconv info``."""
