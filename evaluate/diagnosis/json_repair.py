"""JSON inside what a language model wrote: found among prose, mended where it is cut or written by hand."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

LONGEST = 40_000
_TRIES = 24
_DEEPEST = 12


def json_values(text: str) -> Iterator[Any]:
    """Objects and lists in `text`, fenced blocks first, each parsed strictly or else mended."""
    text = re.sub(r"<think>.*?(</think>|$)", " ", text[:LONGEST], flags=re.DOTALL)
    fenced = re.findall(r"```(?:json|JSON)?\s*(.*?)(?:```|$)", text, flags=re.DOTALL)
    tries = 0
    for block in [*fenced, text]:
        place = 0
        while tries < _TRIES and (found := re.search(r"[{\[]", block[place:])) is not None:
            start = place + found.start()
            end = _end_of(block, start)
            tries += 1
            value = _parsed(block[start:end])
            if isinstance(value, dict | list):
                yield value
                place = max(end, start + 1)
            else:
                place = start + 1


def _end_of(text: str, start: int) -> int:
    """Behind the bracket that closes the one at `start`, or the end of a text that was cut."""
    depth, quote, escaped = 0, "", False
    for place in range(start, len(text)):
        letter = text[place]
        if escaped:
            escaped = False
        elif quote:
            escaped = letter == "\\"
            quote = "" if letter == quote else quote
        elif letter == '"':
            quote = letter
        elif letter in "{[":
            depth += 1
            if depth > _DEEPEST:
                return place
        elif letter in "}]":
            depth -= 1
            if depth == 0:
                return place + 1
    return len(text)


def _parsed(text: str) -> Any:
    for candidate in (text, _mended(text), _closed(_mended(text))):
        try:
            return json.loads(candidate, parse_constant=lambda name: None)
        except (ValueError, RecursionError):
            pass
    try:
        # Python's own notation: single quotes, None, True. Only literals are read, nothing runs.
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _mended(text: str) -> str:
    """Comments and trailing commas away, typographic quotes straight, single-quoted and bare keys in double quotes."""
    text = text.replace("“", '"').replace("”", '"')
    text = re.sub(r"(^|\s)//[^\n]*", " ", text)
    text = re.sub(r"(?<=[{,\s])'([^'\n]{0,200})'(?=\s*[:,}\]])", r'"\1"', text)
    text = re.sub(r"([{,]\s*)([A-Za-z_]\w{0,40})(\s*:)", r'\1"\2"\3', text)
    return re.sub(r",(\s*[}\]])", r"\1", text)


def _closed(text: str) -> str:
    """A cut text up to its last whole entry, with the brackets that are still open closed."""
    stack: list[str] = []
    quote = escaped = False
    last_whole = 0
    stack_there: list[str] = []
    for place, letter in enumerate(text):
        if escaped:
            escaped = False
        elif quote:
            escaped = letter == "\\"
            quote = letter != '"'
        elif letter == '"':
            quote = True
        elif letter in "{[":
            stack.append("}" if letter == "{" else "]")
        elif letter in "}]" and stack:
            stack.pop()
            last_whole, stack_there = place + 1, list(stack)
    return text[:last_whole].rstrip(", \n") + "".join(reversed(stack_there)) if last_whole else text
