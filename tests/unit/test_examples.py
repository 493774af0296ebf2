# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The examples in the documentation: filters evaluate to what the comment below says, modules take the options.

tests/integration/targets/modules runs those of the modules on a host.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "ansible_collections.postmaster.mail.plugins"
# What a task may have beside its action.
KEYWORDS = {"name", "register", "vars", "loop", "loop_control", "delegate_to", "notify", "when"}


def plugins(kind):
    return sorted(path.stem for path in (ROOT / "plugins" / kind).glob("[a-z]*.py"))


def examples(kind, name):
    """(task, its text) of each example of a plugin."""
    text = importlib.import_module(f"{PACKAGE}.{kind}.{name}").EXAMPLES
    tasks = yaml.safe_load(text)
    pieces = re.split(r"^(?=- name: )", text, flags=re.MULTILINE)[1:]
    assert len(tasks) == len(pieces) > 0, "each example is a task with a name"
    return list(zip(tasks, pieces))


def action(task):
    (name,) = set(task) - KEYWORDS
    return name


EVERY = [(kind, name) for kind in ("modules", "filter") for name in plugins(kind)]


class StrictLoader(yaml.SafeLoader):
    """Refuses what YAML forbids and PyYAML takes: a key twice, of which the last one wins."""

    def construct_mapping(self, node, deep=False):
        names = [self.construct_object(key, deep=True) for key, _value in node.value]
        assert len(set(names)) == len(names), f"a key twice among {names}"
        return super().construct_mapping(node, deep)


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda path: path.stem)
def test_no_key_of_the_documentation_is_there_twice(path):
    for block in re.findall(r'^(?:DOCUMENTATION|EXAMPLES|RETURN) = r"""\n(.*?)^"""', path.read_text(), re.MULTILINE | re.DOTALL):
        yaml.load(block, StrictLoader)


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=[name for _kind, name in EVERY])
def test_examples_are_tasks_that_use_the_plugin(kind, name):
    found = examples(kind, name)
    assert {action(task).count(".") for task, _text in found} == {2}, "actions by their full names"
    if kind == "modules":
        assert f"postmaster.mail.{name}" in {action(task) for task, _text in found}
    else:
        assert all(f"postmaster.mail.{name}" in text for _task, text in found)


class Spec(Exception):
    """What a module would have given to AnsibleModule."""


def spec(name, monkeypatch):
    def seen(_self, **options):
        raise Spec(options)

    module = importlib.import_module(f"{PACKAGE}.modules.{name}")
    if not hasattr(module, "main"):  # an action plugin does all of it
        keys = ("type", "elements", "required", "choices", "default")
        documented = yaml.safe_load(module.DOCUMENTATION)["options"]
        return ArgumentSpecValidator({option: {key: said[key] for key in keys if key in said} for option, said in documented.items()})
    monkeypatch.setattr(basic.AnsibleModule, "__init__", seen)
    with pytest.raises(Spec) as found:
        module.main()
    options = found.value.args[0]
    rules = ("mutually_exclusive", "required_together", "required_one_of", "required_if", "required_by")
    return ArgumentSpecValidator(options["argument_spec"], **{rule: options.get(rule) for rule in rules})


OF_MODULES = [(action(task).rpartition(".")[2], task) for name in plugins("modules") for task, _text in examples("modules", name)
              if action(task).startswith("postmaster.mail.")]  # fmt: skip


@pytest.mark.parametrize(("name", "task"), OF_MODULES, ids=[f"{name}: {task['name']}" for name, task in OF_MODULES])
def test_a_module_takes_the_options_of_its_examples(name, task, monkeypatch):
    options = dict(task[action(task)] or {})
    if name == "config_tree":
        options["_tree"] = ""  # what its action plugin adds
    assert spec(name, monkeypatch).validate(options).error_messages == []


OF_FILTERS = [(name, task, text) for name in plugins("filter") for task, text in examples("filter", name)]
IDS = [f"{name}: {task['name']}" for name, task, _text in OF_FILTERS]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What the filters' examples show: all of them as they are in one play, because starting one takes a second."""
    directory = tmp_path_factory.mktemp("play")
    tasks = [{**task, "register": f"example_{number}"} for number, (_name, task, _text) in enumerate(OF_FILTERS)]
    results = ", ".join(f"example_{number}.msg" for number in range(len(OF_FILTERS)))
    tasks.append({"ansible.builtin.copy": {"content": "{{ [" + results + "] | to_json }}", "dest": str(directory / "out"), "mode": "0600"}})
    variables = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}
    (directory / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(directory / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((directory / "out").read_text())


@pytest.mark.parametrize("number", range(len(OF_FILTERS)), ids=IDS)
def test_the_example_of_a_filter_evaluates_to_what_it_says(shown, number):
    _name, _task, text = OF_FILTERS[number]
    claim = "\n".join(re.findall(r"^ *# (?:=>|  ) ?(.*)$", text, flags=re.MULTILINE))
    assert claim, "each example says what comes out of it"
    value = shown[number]
    assert value.rstrip("\n") == claim if isinstance(value, str) else value == yaml.safe_load(claim)
