"""Docstrings as Markdown, for the site: doctests are code blocks, and Sphinx's roles are code."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([^`]+)`")
DOCTEST = re.compile(r"(?:^|(?<=\n))((?:>>>|\.\.\.)[^\n]*(?:\n(?!\s*\n)[^\n]+)*)")


class Markdown(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = DOCTEST.sub(r"```pycon\n\1\n```", text)
