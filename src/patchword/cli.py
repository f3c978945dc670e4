"""The command line: the verbs of `patchword.api`, with the same parameters.

argparse is not asked, and torch not imported, before a verb is: `--help`, `--version` and a
misspelt verb answer at once. Inside a verb, tyro reads the function's signature and docstring.
"""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from inspect import Parameter, Signature, signature
from io import StringIO
from typing import Any, get_args

from patchword.errors import ConfigError, PatchwordError, suggest

VERBS = {
    "models": "list the models",
    "doctor": "look at a data set before training; write nothing into it",
    "train": "train a model on pictures, evaluate it, write a report",
    "evaluate": "judge a trained model on labelled pictures, by a protocol",
    "predict": "answer pictures",
    "inspect": "look inside a trained model, patch by patch",
    "convert": "write a model in another format, adapted where asked",
    "licences": "what a model inherits from data, weights and code",
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit code.

    0 done, 1 failed, 2 the user's mistake, 130 interrupted.
    """
    words = list(sys.argv[1:] if words is None else words)
    try:
        code = run(words)
        sys.stdout.flush()
        return code
    except PatchwordError as error:
        print(f"patchword: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("patchword: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # what is left to print goes nowhere, as Python flushes once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def run(words: list[str]) -> int:
    """Find the verb and call it."""
    verb, *rest = words or ["--help"]
    if verb in ("-h", "--help", "help"):
        print(usage())
    elif verb in ("-V", "--version", "version"):
        from importlib.metadata import version

        print(f"patchword {version('patchword')}")
    elif verb not in VERBS:
        raise ConfigError(f"there is no command {verb!r}; {suggest(verb, VERBS)}")
    else:
        return call(verb, rest)
    return 0


def usage() -> str:
    """Return what `patchword --help` prints."""
    verbs = "\n".join(f"  {verb:<10}{what}" for verb, what in VERBS.items())
    return (
        "patchword: vision transformers, exact, fast and legible\n\n"
        "usage: patchword VERB ...       patchword VERB --help says what a verb takes\n\n"
        f"{verbs}\n\nfirst steps: patchword train digits, or patchword train FOLDER_OF_PICTURES"
    )


def call(verb: str, words: list[str]) -> int:
    """Call a verb with the words of a command line, and show what it returns."""
    from patchword import api, show

    function = getattr(api, verb)
    arguments = parsed(verb, function, words)
    if arguments is None:
        return 0
    places, names = arguments
    if places and isinstance(places[-1], tuple):
        places = [*places[:-1], *places[-1]]
    return getattr(show, verb)(function(*places, **names), as_json=names.get("json", False))


def parsed(
    verb: str, function: Callable[..., Any], words: list[str]
) -> tuple[list[Any], dict[str, Any]] | None:
    """Sort words into a function's parameters; None where they asked for help.

    Raises:
        ConfigError: a flag is not known, or a value is not of its kind.
    """
    import tyro

    parameters = signature(function).parameters.values()
    flags = {f"--{p.name.replace('_', '-')}" for p in parameters if p.kind is p.KEYWORD_ONLY}
    booleans = [p.name for p in parameters if isinstance(p.default, bool)]
    switches = {f"--{no}{name}" for name in booleans for no in ("", "no-")}
    for word in words:
        flag, value, _ = word.partition("=")
        if word.startswith("--") and flag not in flags | switches | {"--help"}:
            raise ConfigError(f"patchword {verb} has no {flag}; {suggest(flag, flags)}")
        if value and flag in switches:
            raise ConfigError(f"patchword {verb} {word}: {flag} takes no value")
    places = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    gather = described(function, lambda *given, **named: (given, named))
    screen = StringIO()
    try:
        with redirect_stdout(screen), redirect_stderr(screen):
            given, named = tyro.cli(gather, prog=f"patchword {verb}", args=words)
    except SystemExit as leaving:
        if leaving.code in (0, None):
            print(screen.getvalue(), end="")
            return None
        raise ConfigError(f"patchword {verb}: {first_sentence(screen.getvalue())}") from None
    values = {**dict(zip(places, given, strict=False)), **named}
    return [values.pop(name) for name in places if name in values], values


def described(function: Callable[..., Any], gather: Any) -> Callable[..., Any]:
    """Give a function that gathers its arguments the parameters and the help of another."""
    from os import PathLike

    from tyro.conf import Positional

    placed: list[Parameter] = []
    for p in signature(function).parameters.values():
        kind = p.annotation
        if PathLike[str] in get_args(kind):  # on a command line a path is a word
            kind = str | None if p.default is None else str
        if p.kind is p.VAR_POSITIONAL:
            p = p.replace(kind=p.POSITIONAL_OR_KEYWORD, default=())
            kind = tuple[kind, ...]
        if p.kind is not p.KEYWORD_ONLY:
            kind = Positional[kind]
        placed.append(p.replace(annotation=kind))
    gather.__name__, gather.__doc__ = function.__name__, function.__doc__
    gather.__annotations__ = {p.name: p.annotation for p in placed}
    gather.__signature__ = Signature(placed)
    return gather


def first_sentence(screen: str) -> str:
    """Return what a framed error message says, as one line: what stands between its two rules."""
    parts: list[list[str]] = [[]]
    for line in (line.strip("│╭╮╰╯ ") for line in screen.splitlines()):
        if line == "Got errors:" or (line and set(line) <= set("─-")):
            parts.append([])
        elif line and not line.endswith("─"):
            parts[-1].append(line)
    said = [" ".join(part) for part in parts if part]
    return said[1] if len(said) > 1 and len(parts[0]) == 1 else said[0]
