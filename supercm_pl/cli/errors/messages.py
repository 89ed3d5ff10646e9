"""What went wrong, in one line: which key, which value, and what is right."""

from __future__ import annotations

import argparse
import ast
import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import yaml
from lightning.pytorch import LightningDataModule, Trainer

from supercm_pl.cli.errors.classify import is_about_checkpoint, origin_of, without_worker_traceback
from supercm_pl.cli.errors.suggestions import (
    argument_names,
    did_you_mean,
    nearest_class,
    nearest_file,
    object_at,
)
from supercm_pl.cli.words import config_files, option_value, position_of_key
from supercm_pl.training.module import SuperCMModule

_TOP_LEVEL = (
    *("config", "seed_everything", "trainer", "model", "data", "output", "test_after_fit"),
    *("ckpt_path", "weights_only", "verbose", "optimizer", "lr_scheduler", "trust"),
)
_UNKNOWN = re.compile(r"(?:option|key) '([^']+)'(?: is not (?:accepted|expected)|$)", re.I)
_MISSING = re.compile(
    r"arguments are required: (.+)|(?:key|option) [\"'](\S+)[\"'] is required", re.I
)
_NO_FILE = re.compile(
    r"(?:does not exist|not a file|not readable|not accessible): '?([^'\n]+)'?", re.I
)
_NO_CLASS = re.compile(
    r"has no attribute '|No module named '([\w.]+)|"
    r"dot import path string: (\S+)|^Import path (?:(\S+) )?does not correspond to a (.+)"
)
_WRONG_TYPE = re.compile(
    r"^Expected an? (?!.*(?:NoneType|path))(.+?)(?:\. Got value: (.*))?$|"
    r"^Not a valid (subclass of \w+)"
)
_NUMBER = re.compile(r"^Expected an? <class '(?:float|int)'>")
_NO_SUBCLASS = re.compile(
    r"^Expected '(\S+)' to be a (?:class that .* or a )?subclass of <class '[\w.]*?(\w+)'>"
)
# Before what is wrong in a callable that is given as a class with arguments, and after it.
_CALLABLE = re.compile(
    r"^Type .*? expects a function or a callable class: |\.* Got value: Namesp.*"
)
# Lines of the parser's that say nothing by themselves.
_FRAME = re.compile(
    r"Does not validate|Subtypes|Errors:|Given value|Parser key|Problem with given|Subclass types|"
    r"a class path|a dict|Expected a (config )?path|Expected an? <class 'NoneType'>|Not a valid"
)


def plain_line(error: BaseException, words: Sequence[str]) -> str:
    """The mistake in one line.

    Args:
        error: One for which :func:`is_users_mistake` holds.
        words: Those of the command line, after the name of the program.
    """
    origin = origin_of(error)
    if is_about_checkpoint(origin):
        return _checkpoint(origin, words)
    text = without_worker_traceback(str(origin))
    if isinstance(origin, argparse.ArgumentError):
        for explain in (_syntax, _unknown, _missing, _file, _class, _type, _option):
            line = explain(text, words)
            if line:
                return line
    lines = [item for item in _items(text) if not _FRAME.match(item.line)]
    if "Errors:" not in text or not lines:
        return " ".join(text.split())
    item = max(lines, key=lambda item: item.depth)
    return f"{item.key}: {item.line}" if item.key else item.line


class _Item(NamedTuple):
    """A line of the parser's nested message, and what the lines above say of where it belongs."""

    key: str
    class_path: str
    depth: int
    line: str


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


def _syntax(text: str, words: Sequence[str]) -> str:
    match = re.match(r"Parser key \"(\w+)\":\s+Unable to load config '(.*?)'", text)
    if match:
        return f"{match[1]} must hold keys and values, got {match[2]}"
    if "parsing config" not in text and "Unexpected config" not in text:
        return ""
    for path in config_files(words):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.MarkedYAMLError as error:
            mark, start = error.problem_mark, error.context_mark
            line = f"{path}, line {mark.line + 1 if mark else '?'} is not YAML: {error.problem}"
            return f"{line}, {error.context} from line {start.line + 1}" if start else line
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            return f"{path} is not YAML: {' '.join(str(error).split())}"
        except OSError:
            continue
        if not isinstance(content, dict):
            return f"{path} must hold keys and values, such as `trainer:`, got {content!r:.60}"
    return ""


def _unknown(text: str, words: Sequence[str]) -> str:
    found = [(item, match[1]) for item in _items(text) if (match := _UNKNOWN.search(item.line))]
    if not found:
        return ""
    item, name = max(found, key=lambda pair: pair[0].depth)
    owner = object_at(item.class_path) if item.class_path else None
    name = name.removeprefix("init_args.")
    first = name.partition(".")[0]
    if owner is not None:
        known = {each: f"{item.key}.{each}" for each in argument_names(owner)}
        hint = did_you_mean(first, {**known, "init_args": f"{item.key}.init_args"})
        takes = f"; {owner.__name__} takes {', '.join(known) or 'no arguments'}"
    else:
        name = name if first in _TOP_LEVEL else first
        hint, takes = did_you_mean(name, _options()), ""
    key = f"{item.key}.{name}" if item.key else name
    return f"unknown key {key}{position_of_key(first if owner else name, words)}{hint or takes}"


def _missing(text: str, words: Sequence[str]) -> str:
    for item in _items(text):
        match = _MISSING.search(item.line)
        if match:
            names = re.sub(r"\b(?:fit|validate|test|predict)\.", "", match[1] or match[2])
            keys = [f"{item.key}.{name}" if item.key else name for name in names.split(", ")]
            verb = "is" if len(keys) == 1 else "are"
            how = f"or with --{keys[0]}" if item.key else "such as configs/ssl/digits.yaml"
            listed = " and ".join(sorted(keys))
            return f"{listed} {verb} missing: give it in a file with --config, {how}"
    return ""


def _file(text: str, words: Sequence[str]) -> str:
    match = _NO_FILE.search(text)
    if match is None or "dot import path" in text:
        return ""
    values = [word.rpartition("=")[2] for word in words]
    typed = [value for value in values if os.path.abspath(value) == os.path.abspath(match[1])]
    path = typed[0] if typed else match[1]
    if os.path.isdir(path):
        return f"{path} is a folder, where a file is needed"
    if os.path.exists(path):
        return f"{path} can't be read"
    return f"there is no file {path}{nearest_file(path)}"


def _class(text: str, words: Sequence[str]) -> str:
    found = [(item, match) for item in _items(text) if (match := _NO_CLASS.search(item.line))]
    if not found:
        wrong = [
            (item, match) for item in _items(text) if (match := _NO_SUBCLASS.search(item.line))
        ]
        return "".join(f"{i.key} must be a subclass of {m[2]}, got {m[1]}" for i, m in wrong[:1])
    item, match = max(found, key=lambda pair: pair[0].depth)
    if any(each.key == item.key and _NUMBER.search(each.line) for each in _items(text)):
        return ""  # the parser tried to read it as a class only because it is no number
    missing_module, name_alone, other, wanted = match.groups()
    if wanted:
        return f"{item.key} must be a {wanted}, got {other or _given(text, item.key)}"
    class_path = name_alone or item.class_path
    if object_at(class_path) is not None:  # of the class above: the wrong one is the value
        class_path = _given(text, item.key)
    if missing_module and not f"{class_path}.".startswith(f"{missing_module}."):
        return f"{item.key}: {class_path} can't be imported: {item.line}"
    if not class_path or object_at(class_path) is not None:
        return ""
    return f"{item.key}: there is no class {class_path}{nearest_class(class_path)}"


def _type(text: str, words: Sequence[str]) -> str:
    found = [(item, match) for item in _items(text) if (match := _WRONG_TYPE.search(item.line))]
    if not found or not text.startswith("Parser key"):
        return ""
    key = max((item for item, _ in found), key=lambda item: item.depth).key
    here = [(item, match) for item, match in found if item.key == key]
    names: list[str] = []
    choices: list[str] = []
    for _, match in here:
        literal = re.match(r"(?:typing\.)?Literal(\[.*\])$", match[1] or "")
        if literal:
            choices += [str(choice) for choice in ast.literal_eval(literal[1])]
        else:
            names.append(_type_name(match[1] or match[3]))
    if choices:
        names.append(f"one of {', '.join(dict.fromkeys(choices))}")
    got = next((match[2] for _, match in here if match[2]), "") or _given(text, key)
    expected = " or ".join(dict.fromkeys(names))
    return f"{key} must be {expected}, got {got:.80}{did_you_mean(got, choices)}"


def _given(text: str, key: str) -> str:
    marker = "Given value: "
    found = [item for item in _items(text) if item.line.startswith(marker)]
    of_key = [item.line for item in found if item.key == key] or [item.line for item in found[-1:]]
    value = of_key[0].removeprefix(marker) if of_key else "something else"
    nested = re.match(r"NestedArg\(key='[^']*', val='?(.*?)'?\)$", value)
    return nested[1] if nested else value


def _option(text: str, words: Sequence[str]) -> str:
    match = re.search(r"argument (-\S+): expected (?:one|at least one) argument", text)
    if match:
        return f"{match[1]} needs a value"
    match = re.search(r"unrecognized arguments: (\S+)", text, re.I)
    if match is None:
        return ""
    word = match[1].partition("=")[0]
    if not word.startswith("-"):
        config = f"; did you mean --config {word}?" if word.endswith((".yaml", ".yml")) else ""
        return f"unexpected word {word}{config}"
    names = {f"--{name}": f"--{full}" for name, full in _options().items()}
    return f"unknown option {word}{did_you_mean(word, names)}"


def _checkpoint(error: BaseException, words: Sequence[str]) -> str:
    text = str(error)
    path = option_value(words, "--ckpt_path") or "the checkpoint"
    if "loading state_dict" in text:
        detail = text.partition("\n")[2].strip().partition("\n")[0].rstrip(".")
        return f"{path} does not fit the model of this configuration: {detail}"
    blocked = re.search(r"GLOBAL ([\w.]+)", text)
    if blocked:
        return (
            f"{path} is refused: it holds {blocked[1]}, and not only weights and plain values, "
            "so that loading it could run a stranger's code"
        )
    return f"{path} can't be loaded: it is damaged, or not a checkpoint"


def _options() -> dict[str, str]:
    """What can be given, by its whole name and by its last part, which people often give alone."""
    groups: dict[str, list[type]] = {
        "trainer": [Trainer],
        "model": SuperCMModule.__subclasses__(),
        "data": _data_modules(),
    }
    whole = [
        f"{group}.{name}"
        for group, classes in groups.items()
        for each in classes
        for name in argument_names(each)
    ]
    return {
        **{name.rpartition(".")[2]: name for name in reversed(whole)},
        **{name: name for name in (*whole, *_TOP_LEVEL)},
    }


def _data_modules() -> list[type]:
    found, rest = [], LightningDataModule.__subclasses__()
    while rest:
        found.append(rest.pop())
        rest += found[-1].__subclasses__()
    return [each for each in found if each.__module__.startswith("supercm_pl.")]


def _type_name(text: str) -> str:
    text = re.sub(r"<class '([\w.]+)'>", r"\1", text)
    return re.sub(r"[\w.]+\.(\w+)", r"\1", text)
