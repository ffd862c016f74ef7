"""The compile commands of a build, one a source file, also where a unity build compiles several files as one."""
import json
import pathlib
import re
import shlex


def included(unity):
    """The source files that a file of CMake's unity build stands for."""
    return re.findall(r'^#include "(.+)"$', unity.read_text(), re.MULTILINE)


def compile_commands(build):
    """Entries {file, directory, arguments} of BUILD's compile_commands.json."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        file = entry["file"]
        words = shlex.split(entry["command"])
        for source in included(pathlib.Path(file)) if "/Unity/" in file else [file]:
            yield {"file": source, "directory": entry["directory"], "arguments": [source if word == file else word for word in words]}
