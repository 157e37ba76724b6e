#!/usr/bin/env python3
"""Writes expected.json: what Jinja2 makes of real chat templates, with the settings of transformers.

    pip install jinja2==3.1.6 && python3 make_expected.py FOLDER_OF_TEMPLATES

The templates are other people's files and not in the repository; the tests look for them in
LS_SHARED_DIR/templates. Text that a template refuses is written as {"error": message}.
"""
import json
import pathlib
import sys

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

CONVERSATIONS = [
    [{"role": "user", "content": "ping"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say \"hi\"\n{{ x }} é"}],
    [{"role": "user", "content": " a "}, {"role": "assistant", "content": "b"},
     {"role": "user", "content": "<|im_end|> 日本"}],
    [{"role": "assistant", "content": "first"}, {"role": "user", "content": "second"}],
]


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def main():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[loopcontrols])
    env.globals["raise_exception"] = raise_exception
    cases = []
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jinja")):
        template = env.from_string(path.read_text(encoding="utf-8"))
        for messages in CONVERSATIONS:
            for generate in (True, False):
                try:
                    made = {"text": template.render(messages=messages, bos_token="<s>",
                                                    eos_token="</s>",
                                                    add_generation_prompt=generate)}
                except jinja2.exceptions.TemplateError as error:
                    made = {"error": str(error)}
                cases.append({"template": path.name, "messages": messages, "generate": generate,
                              **made})
    with open("expected.json", "w", encoding="utf-8") as file:
        json.dump(cases, file, ensure_ascii=False, indent=0)
        file.write("\n")


main()
