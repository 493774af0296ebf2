# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of config_tree: render the template tree, and send all of it in one module call."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleError, AnsibleUndefinedVariable
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

from ansible_collections.postmaster.mail.plugins.module_utils._config_tree import rules
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError


class _Variables(dict):
    """A task's variables. The lookup makes a deep copy of them for each file, which costs more than many a rendering."""

    def __deepcopy__(self, memo: Any) -> dict[str, Any]:
        return dict(self)


class ActionModule(ActionBase):
    """Render, pack, send."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        del tmp
        _checked, options = self.validate_argument_spec(rules.ARGUMENT_SPEC, required_if=rules.REQUIRED_IF)
        variables = dict(task_vars or {})
        try:
            files, scripts = {}, {}
            if options["state"] == "present":
                options["extra"] = {**options["extra"], **self._extra_from(options, variables)}
                files = self._files(options, variables)
                scripts = self._scripts(options["validate"])
        except MailError as exc:
            raise AnsibleActionFail(str(exc)) from exc
        arguments = {name: value for name, value in self._task.args.items() if name not in ("extra", "extra_from", "names")}
        arguments["_tree"] = rules.pack(files, bool(self._task.diff), scripts)
        result.update(self._execute_module(module_name="postmaster.mail.config_tree", module_args=arguments, task_vars=task_vars))
        if options["notify_for"] and result.get("changed"):
            paths = [os.path.relpath(path, options["dest"]) for key in ("changed_files", "removed_files") for path in result[key]]
            self._task.notify = [handler for handler in self._task.notify or () if rules.concerned(handler, options["notify_for"], paths)]
        return result

    def _extra_from(self, options: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the files of the variable that ``extra_from`` names."""
        name = options["extra_from"]
        if not name:
            return {}
        if name not in variables:
            raise MailError(f"extra_from {name!r} is not a variable")
        templar = self._templar.copy_with_new_env(available_variables={"ansible_managed": _managed(), **variables})
        files = templar.template(variables[name])
        if not isinstance(files, Mapping):
            raise MailError(f"extra_from {name!r} must be a dictionary of paths and texts")
        for path in files:
            if path in options["extra"]:
                raise MailError(f"{path!r} has two sources: extra and extra_from")
        return dict(files)

    def _files(self, options: Mapping[str, Any], variables: dict[str, Any]) -> dict[str, bytes]:
        """Return path and content of every file wanted. Whatever can be refused is refused before anything is rendered."""
        rules.tree_id(options["id"])
        rules.octal_mode(options["mode"], "mode")
        rules.check_modes(options["modes"])
        rules.check_line_keys(options["line_keys"])
        rules.check_validators(options["validate"])
        roots = {option: self._directory(option, folder, options[option])
                 for option, folder in (("src", "templates"), ("files", "files")) if options[option]}

        for option in ("modes", "extra", "names"):
            for name in options[option]:
                if "{{" in str(name):
                    raise MailError(f"{option} {name!r} has an expression that Ansible does not evaluate: make the whole dictionary by one")

        names = dict(options["names"])
        sources: dict[str, str | None] = {}
        templates: set[str] = set()
        for option, root in roots.items():
            for name, source in tree_files(root, option):
                rendered = option == "src" and name.endswith(".j2")
                path = rules.relative_path(name[:-3] if rendered else name, "template" if option == "src" else "file")
                path = rules.relative_path(names.pop(path, path), "names")
                if path in sources:
                    raise MailError(f"{path!r} has two sources in {' and '.join(roots)}: {sources[path]} and {source}")
                sources[path] = source
                if rendered:
                    templates.add(source)
        if names:
            raise MailError(f"names {next(iter(names))!r} is not in src")
        for name in options["extra"]:
            path = rules.relative_path(name, "extra")
            if path in sources:
                raise MailError(f"{path!r} has two sources: extra and {sources[path] or 'extra'}")
            text = options["extra"][name]
            if not isinstance(text, str):
                kind = "a list" if isinstance(text, list) else "a dictionary" if isinstance(text, Mapping) else f"{text!r}"
                raise MailError(f"extra {name!r} must be text, and is {kind}")
            sources[path] = None
        for option in ("secret", "exclude", "initial", "line_keys", "modes"):
            unknown = rules.unknown_names(options[option], sources)
            if unknown:
                places = "neither in src nor in extra" if "files" not in roots else "neither in src and files nor in extra"
                raise MailError(f"{option} {unknown[0]!r} is {places}; only a pattern, with a *, may match nothing")

        texts = {rules.relative_path(name, "extra"): text for name, text in options["extra"].items()}
        if "src" in roots:
            variables["ansible_search_path"] = [roots["src"], *variables.get("ansible_search_path", [])]
        lookup = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
        wanted = {path: source for path, source in sources.items() if not rules.matches(path, options["exclude"])}
        self._evaluate_once([source for source in wanted.values() if source in templates], variables)
        files: dict[str, bytes] = {}
        for path, source in wanted.items():
            if source is None:
                files[path] = str(texts[path]).encode("utf-8")
            elif source in templates:
                secret = rules.matches(path, options["secret"])
                files[path] = self._render(lookup, source, variables, secret)
            else:
                files[path] = self._read(source)
        return files

    def _directory(self, option: str, folder: str, name: str) -> str:
        """Return where a directory of sources is that an option names, searched for in ``folder`` of the role and of the play."""
        try:
            root = os.path.realpath(self._find_needle(folder, name))
        except AnsibleError as exc:
            raise AnsibleActionFail(f"{option} {name!r} is not found: {exc}") from exc
        if not os.path.isdir(root):
            raise AnsibleActionFail(f"{option} {name!r} must be a directory: {root}")
        return root

    def _scripts(self, validators: list[dict[str, Any]]) -> dict[str, str]:
        """Return name and text of the scripts that checkers are run with."""
        scripts: dict[str, str] = {}
        for name in [checker["script"] for checker in validators if checker.get("script")]:
            try:
                scripts[name] = self._read(self._find_needle("files", name)).decode("utf-8")
            except (AnsibleError, OSError, UnicodeDecodeError) as exc:
                raise AnsibleActionFail(f"validate: script {name!r} cannot be read: {exc}") from exc
        return scripts

    def _evaluate_once(self, templates: list[str], variables: dict[str, Any]) -> None:
        """Put the values of variables that are used more than once, by templates or by each other, in the place of their expressions.

        Each template would evaluate them again, which takes most of the time. One that cannot be evaluated stays for the template
        that needs it, which says where; one that speaks of the template itself differs between them.
        """

        def words(text: str) -> set[str]:
            return set().union(*_expressions(text).values()) & set(variables)

        def expression(name: str) -> str | None:
            value = variables[name]
            return value if isinstance(value, str) and "{{" in value and "template_" not in value else None

        used: Counter[str] = Counter()
        for source in templates:
            with open(source, encoding="utf-8", errors="replace") as stream:
                used.update(words(stream.read()))
        needs: dict[str, set[str]] = {}
        pending = list(used)
        while pending:
            name = pending.pop()
            if name not in needs and (text := expression(name)):
                needs[name] = words(text)
                used.update(needs[name])
                pending += needs[name]

        templar = self._templar.copy_with_new_env(available_variables=variables)

        def evaluate(name: str) -> None:
            for need in sorted(needs.pop(name, ())):
                evaluate(need)
            if used[name] > 1 and (text := expression(name)):
                with contextlib.suppress(AnsibleError):
                    variables[name] = templar.template(text)

        for name in sorted(needs):
            evaluate(name)

    def _read(self, source: str) -> bytes:
        real = self._loader.get_real_file(source)  # decrypts what ansible-vault encrypted
        try:
            with open(real, "rb") as stream:
                return stream.read()
        finally:
            self._loader.cleanup_tmp_file(real)

    def _render(self, lookup: Any, source: str, variables: dict[str, Any], secret: bool) -> bytes:
        try:
            text = lookup.run([source], variables=_Variables(variables), trim_blocks=True)[0]
        except Exception as exc:
            where = source + self._where(source, exc, variables)
            if secret and not isinstance(exc, AnsibleUndefinedVariable):
                failure = f"{where}: {type(exc).__name__} (the file is secret, so the error's text, which may quote it, is not shown)"
            else:
                failure = f"{where}: {getattr(exc, 'message', None) or exc}"
        else:
            # A template that is one expression and nothing else gives the expression's own type.
            return b"" if text is None else str(text).encode("utf-8")
        raise AnsibleActionFail(failure)  # outside of the handler: Ansible prints the whole chain of causes

    def _where(self, source: str, exc: BaseException, variables: dict[str, Any]) -> str:
        """Return the line of a template that an error is about, as far as it can be found.

        Jinja knows the line of a syntax error and of an exception in an expression; undefined values surface when rendering is
        over. So look for the name in the message, and then for the variables that give the same error when they are used alone.
        """
        cause: BaseException | None = exc
        while cause is not None:
            line = getattr(cause, "lineno", None)
            frame = cause.__traceback__
            while frame is not None:
                template = frame.tb_frame.f_globals.get("__jinja_template__")
                line = template.get_corresponding_lineno(frame.tb_lineno) if template else line
                frame = frame.tb_next
            if isinstance(line, int):
                return f", line {line}"
            cause = cause.__cause__ or cause.__context__
        message = str(getattr(exc, "message", None) or exc)
        texts = self._with_partials(source, variables)
        names = re.findall(r"'([A-Za-z_][A-Za-z0-9_]*)'", message)
        for name in reversed(names):
            found = _lines_with(texts, [name])
            if found:
                return _told(found, source)
        used = {word for text in texts.values() for words in _expressions(text).values() for word in words}
        guilty = []
        for word in sorted(used & set(variables)):
            try:
                self._templar.copy_with_new_env(available_variables=variables).template(variables[word])
            except Exception as again:
                if (str(getattr(again, "message", None) or again)) in message:
                    guilty.append(word)
        return _told(_lines_with(texts, guilty), source)

    def _with_partials(self, source: str, variables: Mapping[str, Any]) -> dict[str, str]:
        texts: dict[str, str] = {}
        pending = [source]
        while pending:
            path = pending.pop()
            if path in texts:
                continue
            with open(path, encoding="utf-8", errors="replace") as stream:
                texts[path] = stream.read()
            folders = [os.path.dirname(source)]
            folders += [os.path.join(top, sub) for top in variables.get("ansible_search_path", []) for sub in ("templates", "")]
            for name in re.findall(r"{%-?\s*(?:include|import|from|extends)\s+['\"]([^'\"]+)", texts[path]):
                pending += [found for folder in folders if os.path.isfile(found := os.path.join(folder, name))][:1]
        return texts


def _managed() -> str:
    """Return what ``ansible_managed`` is in templates where the inventory does not say, less what differs between templates."""
    text = "Ansible managed"
    with contextlib.suppress(AnsibleError):  # ansible-core 2.23 has no such setting
        text = C.config.get_config_value("DEFAULT_MANAGED_STR")
    return "Ansible managed" if re.search("[{%]", text) else text


def tree_files(root: str, option: str = "src") -> Iterator[tuple[str, str]]:
    """Yield (path below the root, file) of every file to install, in order.

    :raises MailError: a symbolic link that leads out of the tree or round in circles, or something that is not a file
    """

    kind = "template" if option == "src" else "file"

    def walk(folder: str, above: str, seen: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        for name in sorted(os.listdir(folder)):
            if name.startswith("_"):
                continue
            source, path = os.path.join(folder, name), above + name
            real = os.path.realpath(source)
            if real != root and not real.startswith(root + os.sep):
                raise MailError(f"{kind} {path!r} is a symbolic link that leads out of {option}, to {real}")
            if os.path.isdir(source):
                if real in seen:
                    raise MailError(f"{kind} {path!r} is a symbolic link that leads round in circles")
                yield from walk(source, path + "/", (*seen, real))
            elif os.path.isfile(source):
                yield path, source
            else:
                raise MailError(f"{kind} {path!r} is neither a file nor a directory")

    yield from walk(root, "", (root,))


def _expressions(text: str) -> dict[int, set[str]]:
    """Return line number → words in the Jinja expressions and statements of a template."""
    found: dict[int, set[str]] = {}
    for match in re.finditer(r"{[{%](.*?)[%}]}", text, re.DOTALL):
        first = text.count("\n", 0, match.start(1)) + 1
        for number, line in enumerate(match.group(1).split("\n"), first):
            found.setdefault(number, set()).update(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", line))
    return found


def _lines_with(texts: Mapping[str, str], names: list[str]) -> list[tuple[str, int]]:
    return [(path, number) for path, text in texts.items() for number, words in sorted(_expressions(text).items()) if words & set(names)]


def _told(found: list[tuple[str, int]], source: str) -> str:
    if not found:
        return ""
    path = found[0][0]
    numbers = ", ".join(str(number) for place, number in found if place == path)
    via = "" if path == source else f" (included: {path})"
    return f"{via}, line {numbers}"
