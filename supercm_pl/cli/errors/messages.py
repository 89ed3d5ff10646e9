"""Error messages in one line: the key, its value and what is allowed."""

from __future__ import annotations

import argparse
import ast
import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import yaml

from supercm_pl.cli.arguments import config_files, option_value, position_of_key
from supercm_pl.cli.errors.classify import is_about_checkpoint, origin_of, without_worker_traceback
from supercm_pl.cli.errors.suggestions import (
    argument_names,
    import_fault,
    nearest_class,
    nearest_file,
    object_at,
)
from supercm_pl.cli.option_names import TOP_LEVEL, all_options
from supercm_pl.names import did_you_mean

_UNKNOWN = re.compile(r"(?:option|key) '([^']+)'(?: is not (?:accepted|expected)|$)", re.I)
_MISSING = re.compile(r"(?i)are required: (.+)|(?:key|option) ['\"](\S+)['\"] is required")
_NO_FILE = re.compile(r"(?i)(?:not exist|not a file|not readable|not accessible): '?([^'\n]+)'?")
_NO_CLASS = re.compile(
    r"has no attribute '|No module named '|"
    r"dot import path string: (\S+)|^Import path (?:(\S+) )?does not correspond to a (.+)"
)
_WRONG_TYPE = re.compile(
    r"^Expected an? (?!.*(?:NoneType|path))(.+?)(?:\. Got value: (.*))?$|"
    r"^Not a valid (subclass of \w+)"
)
_NUMBER = re.compile(r"^Expected an? <class '(?:float|int)'>")
_LITERAL = re.compile(r"(?:typing\.)?Literal(\[.*\])$")
_NO_SUBCLASS = re.compile(
    r"^Expected '(\S+)' to be a (?:class that .* or a )?subclass of <class '[\w.]*?(\w+)'>"
)
# A class in a value that the parser repeats.
_CLASS_PATH = re.compile(r"(?:class_path': '|Given value: |val=')([A-Za-z_]\w*(?:\.\w+)+)(?:'|$)")
# Text around the error of a callable that is given as a class with arguments.
_CALLABLE = re.compile(
    r"^Type .*? expects a function or a callable class: |\.* Got value: Namesp.*"
)
# Lines of the parser without information of their own.
_FRAME = re.compile(
    r"Does not validate|Subtypes|Errors:|Given value|Parser key|Problem with given|Subclass types|"
    r"a class path|a dict|Expected a (config )?path|Expected an? <class 'NoneType'>|Not a valid"
)


def plain_line(error: BaseException, words: Sequence[str]) -> str:
    """Describe an error for which :func:`is_users_mistake` holds in one line."""
    origin = origin_of(error)
    if is_about_checkpoint(origin):
        return _checkpoint(str(origin), option_value(words, "--ckpt_path") or "the checkpoint")
    if isinstance(origin, OSError) and not origin.filename and origin.strerror:
        return f"{origin.strerror}: can't write the files of the run"
    text = without_worker_traceback(str(origin))
    message = _ParserMessage(text, words)
    line = message.explanation() if isinstance(origin, argparse.ArgumentError) else ""
    items = [item for item in message.items if not _FRAME.match(item.line)]
    if line or "Errors:" not in text or not items:
        return line or " ".join(text.split())
    item = max(items, key=lambda item: item.depth)
    return f"{item.key}: {item.line}" if item.key else item.line


class _Item(NamedTuple):
    """A line of the parser's nested message, with the key and class that the lines above name."""

    key: str
    class_path: str
    depth: int
    line: str


class _ParserMessage:
    """A message of jsonargparse, and the explanations of it. An empty one does not apply."""

    def __init__(self, text: str, words: Sequence[str]) -> None:
        self.text = text
        self.words = words
        self.items = list(_items(text))

    def explanation(self) -> str:
        line = self._syntax() or self._import() or self._unknown() or self._missing()
        return line or self._file() or self._class() or self._type()

    def _search(self, pattern: re.Pattern[str]) -> list[tuple[_Item, re.Match[str]]]:
        return [(item, match) for item in self.items if (match := pattern.search(item.line))]

    def _syntax(self) -> str:
        match = re.match(r"Parser key \"(\w+)\":\s+Unable to load config '(.*?)'", self.text)
        if match:
            return f"{match[1]} must contain keys and values, got {match[2]}"
        if "parsing config" not in self.text and "Unexpected config" not in self.text:
            return ""
        for path in config_files(self.words):
            try:
                content = yaml.safe_load(path.read_text(encoding="utf-8"))
            except yaml.MarkedYAMLError as error:
                mark, start = error.problem_mark, error.context_mark
                line = f"{path}, line {mark.line + 1 if mark else '?'} is not YAML: {error.problem}"
                return f"{line}, {error.context} from line {start.line + 1}" if start else line
            except yaml.YAMLError as error:
                return f"{path} is not YAML: {' '.join(str(error).split())}"
            except OSError:
                continue
            if not isinstance(content, dict):
                return f"{path} must contain keys and values, got {content!r:.60}"
        return ""

    def _import(self) -> str:
        """The error of a user's file that can't be imported, which the parser hides or shortens."""
        given = [match[1] for _, match in self._search(_CLASS_PATH)]
        given += [item.class_path for item in self.items if item.class_path]
        faults = {path: import_fault(path) for path in given}
        return next((f"{path} can't be imported: {why}" for path, why in faults.items() if why), "")

    def _unknown(self) -> str:
        found = self._search(_UNKNOWN)
        if not found:
            return ""
        item, match = _deepest(found)
        name = match[1].removeprefix("init_args.")
        first = name.partition(".")[0]
        owner = object_at(item.class_path) if item.class_path else None
        if owner is not None:
            known = {each: f"{item.key}.{each}" for each in argument_names(owner)}
            hint = did_you_mean(first, {**known, "init_args": f"{item.key}.init_args"})
            hint = hint or f"; {owner.__name__} takes {', '.join(known) or 'no arguments'}"
        else:
            name = name if first in TOP_LEVEL else first
            hint = did_you_mean(name, all_options())
        key = f"{item.key}.{name}" if item.key else name
        return f"unknown key {key}{position_of_key(first if owner else name, self.words)}{hint}"

    def _missing(self) -> str:
        for item in self.items:
            match = _MISSING.search(item.line)
            if match:
                names = re.sub(r"\b(?:fit|validate|test|predict)\.", "", match[1] or match[2])
                keys = [f"{item.key}.{name}" if item.key else name for name in names.split(", ")]
                verb, it = ("is", "it") if len(keys) == 1 else ("are", "them")
                how = f"or with --{keys[0]}" if item.key else "such as configs/ssl/digits.yaml"
                listed = " and ".join(sorted(keys))
                return f"{listed} {verb} missing: set {it} in a --config file, {how}"
        return ""

    def _file(self) -> str:
        match = _NO_FILE.search(self.text)
        if match is None or "dot import path" in self.text:
            return ""
        values = [word.rpartition("=")[2] for word in self.words]
        target = os.path.abspath(match[1])
        path = next((value for value in values if os.path.abspath(value) == target), match[1])
        if os.path.isdir(path):
            return f"{path} is a folder, not a file"
        if os.path.exists(path):
            return f"{path} can't be read"
        return f"there is no file {path}{nearest_file(path)}"

    def _class(self) -> str:
        found = self._search(_NO_CLASS)
        if not found:
            wrong = self._search(_NO_SUBCLASS)[:1]
            return "".join(f"{i.key} must be a subclass of {m[2]}, got {m[1]}" for i, m in wrong)
        item, match = _deepest(found)
        if any(number.key == item.key for number, _ in self._search(_NUMBER)):
            return ""  # the parser tried it as a class only because it is not a number
        name, other, expected = match.groups()
        if expected:
            return f"{item.key} must be a {expected}, got {other or self._given(item.key)}"
        class_path = name or item.class_path
        if object_at(class_path) is not None:  # the enclosing class: the value is wrong
            class_path = self._given(item.key)
        if not class_path or object_at(class_path) is not None:
            return ""
        return f"{item.key}: there is no class {class_path}{nearest_class(class_path)}"

    def _type(self) -> str:
        found = self._search(_WRONG_TYPE)
        if not found or not self.text.startswith("Parser key"):
            return ""
        key = _deepest(found)[0].key
        here = [match for item, match in found if item.key == key]
        literals = [literal[1] for match in here if (literal := _LITERAL.match(match[1] or ""))]
        choices = [str(choice) for each in literals for choice in ast.literal_eval(each)]
        types = [match[1] or match[3] for match in here if not _LITERAL.match(match[1] or "")]
        names = [re.sub(r"<class '|'>|[\w.]+\.(?=\w)", "", each) for each in types]
        if choices:
            names.append(f"one of {', '.join(dict.fromkeys(choices))}")
        got = next((match[2] for match in here if match[2]), "") or self._given(key)
        expected = " or ".join(dict.fromkeys(names))
        return f"{key} must be {expected}, got {got:.80}{did_you_mean(got, choices)}"

    def _given(self, key: str) -> str:
        marker = "Given value: "
        found = [item for item in self.items if item.line.startswith(marker)]
        lines = [item.line for item in found if item.key == key] + [i.line for i in found[-1:]]
        value = lines[0].removeprefix(marker) if lines else "something else"
        nested = re.match(r"NestedArg\(key='[^']*', val='?(.*?)'?\)$", value)
        return nested[1] if nested else value


def _deepest(found: list[tuple[_Item, re.Match[str]]]) -> tuple[_Item, re.Match[str]]:
    return max(found, key=lambda pair: pair[0].depth)


def _items(text: str) -> Iterator[_Item]:
    above: list[tuple[int, str, str]] = []
    for raw in filter(str.strip, text.splitlines()):
        line = raw.lstrip(" -")
        depth = len(raw) - len(line)
        line = _CALLABLE.sub("", line)
        above = [each for each in above if each[0] < depth]
        key = re.match(r'Parser key "([^"]+)"(?: element \d+)?:\s*', line)
        if key:
            above.append((depth, key[1], ""))
            line = line[key.end() :]
        path = re.search(r"(?:class_path |class_path=)'([\w.]+)'", raw)
        if path:
            above.append((depth, "", path[1]))
        keys = [each[1] for each in above if each[1]]
        paths = [each[2] for each in above if each[2]]
        yield _Item(".".join(keys), paths[-1] if paths else "", depth, line)


def _checkpoint(text: str, path: str) -> str:
    if "loading state_dict" in text:
        detail = text.partition("\n")[2].strip().partition("\n")[0].rstrip(".")
        return f"{path} does not fit the model of this configuration: {detail}"
    blocked = re.search(r"GLOBAL ([\w.]+)", text)
    if blocked:
        return (
            f"{path} is rejected: it contains {blocked[1]}, not only weights and plain values; "
            "loading it could run arbitrary code"
        )
    return f"{path} can't be loaded: it is damaged, or not a checkpoint"
