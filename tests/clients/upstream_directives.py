"""The words at the start of a message that say what `upstream.py` does, and the files that they may name."""

import json
import pathlib

from upstream_checks import Refusal
from upstream_model import marker_in

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "wire"
# Nothing waits longer than this, so that a test that goes wrong leaves no thread behind.
HANG_SECONDS_MAX = 60
FLAGS = frozenset("cut truncate hang reset garbage html endless-line negative-usage no-usage redirect filtered spaced".split())
WITH_VALUE = frozenset(
    "fixture echo error usage tier slow drip split cut truncate hang html call think refuse quirk".split()
)


# What `at:NAME/WORD` calls this process.
name_of_this = ""


def read_directives(text):
    """The behaviours that stand at the start of a message, and the marker that may stand anywhere in it."""
    directives = {"id": marker_in(text)}
    rest = text.lstrip()
    while rest:
        word = rest.split(None, 1)[0]
        name, colon, value = word.partition(":")
        if name == "at" and "/" in value:
            whom, _, meant = value.partition("/")
            name, colon, value = meant.partition(":") if whom == name_of_this else ("id", "", "")
        if name == "echo" and colon:
            # The marker is no part of what the model says when it stands in front; behind, it is.
            directives["echo"] = rest[len("echo:") :]
            break
        if name == "id":
            pass
        elif name == "call" and colon:
            directives.setdefault("call", []).append(value)
        elif (colon and name in WITH_VALUE) or (not colon and name in FLAGS):
            directives[name] = value
        else:
            break
        rest = rest[len(word) :].lstrip()
    return directives


def named_values(text, separator):
    """`a=1;b=2` as a dictionary of strings."""
    return dict(part.split("=", 1) for part in text.split(separator) if "=" in part)


def seconds(text):
    """`200ms` or `2s`, bounded."""
    value = float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))
    return min(value, HANG_SECONDS_MAX)


class Fixtures:
    """The wire files with the status and headers that their index gives them."""

    def __init__(self):
        index = json.loads((FIXTURES / "index.json").read_text(encoding="utf-8"))
        self.entries = {entry["file"]: entry for entry in index["fixtures"]}

    def load(self, name):
        if name not in self.entries:
            raise Refusal(400, f"there is no fixture {name}")
        return self.entries[name], (FIXTURES / name).read_bytes()

    def headers(self, dialect):
        """A plain answer carries the headers of the vendor's plainest fixture."""
        name = "anthropic_message.json" if dialect == "anthropic" else "openai_chat.json"
        return dict(self.entries[name]["headers"])


def without_usage(records):
    """An OpenAI stream as it is for a client that did not ask for usage."""
    for record in records:
        if '"choices":[]' not in record:
            yield record.replace(',"usage":null', "")
