"""Errors that a user can cause or must know of; each message is one sentence naming the file, the value and the fix."""

from __future__ import annotations


class EvendermError(Exception):
    """A failure that the command line reports in one line; `exit_code` is what the process ends with."""

    exit_code = 1


class BadInput(EvendermError):
    """Wrong usage or input that a user can mend: exit code 2."""

    exit_code = 2


class StorageFailed(EvendermError):
    """A full disk or lost storage: what was already committed is intact, exit code 1."""


def first_line(error: Exception) -> str:
    """The first line of another library's error, at most 160 characters; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def printable(text: str) -> str:
    """The text with escapes for characters that do not print, so that a file's name moves no cursor in a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
