"""Writes html_entity_table.inc: the named character references of the HTML standard, from Python's html.entities.

    python3 html_entities.py > html_entity_table.inc

A line holds {name, UTF-8, whether it also stands without a semicolon}, ordered by name.
"""

import html.entities


def literal(text):
    return '"' + "".join(f"\\{byte:03o}" for byte in text.encode()) + '"'


names = html.entities.html5
print("// Made by html_entities.py; do not edit.\n// clang-format off")
line = ""
for name in sorted(name.removesuffix(";") for name in names if name.endswith(";")):
    item = f'{{"{name}", {literal(names[name + ";"])}, {"true" if name in names else "false"}}},'
    if len(line) + len(item) > 119:
        print(line.rstrip())
        line = ""
    line += item + " "
print(line.rstrip())
print("// clang-format on")
