# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""config_tree as a user meets it: real playbooks with a role, over the local connection, in a directory of the test's own."""

from __future__ import annotations

import base64
import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

SECRET = "Tr0ub4dor-hunter2"
TASK = {
    "id": "svc",
    "src": "etc",
    "dest": "{{ scratch }}/de st",
    "state_dir": "{{ scratch }}/state",
    "secret": ["svc/secret.inc"],
    "modes": {"svc/secret.inc": "0600"},
    "exclude": "{{ svc_exclude | default([]) }}",
    "extra": "{{ {'svc/maps/' ~ svc_domain ~ '.map': svc_domain ~ '\n'} }}",
    "stage_live": ["svc"],
    "validate": "{{ svc_validate | default([{'argv': ['test', '-f', '{stage}/svc/secret.inc']}]) }}",
}
TEMPLATES = {
    "etc/svc/main.conf.j2": "# {{ ansible_managed }}\n{% if svc_a is defined %}\na = {{ svc_a }}\n{% endif %}\n{% include '_part.j2' %}\n",
    "etc/svc/_part.j2": "beside {{ nested }}\n{% include 'svc/_lower/part' %}\n",
    "etc/svc/_lower/part": "from the top\n{% include '_role.j2' %}",
    "_role.j2": "from templates\n",
    "etc/svc/ein Wört.conf.j2": "b\n",
    "etc/svc/secret.inc.j2": "pw = {{ svc_password }}\n",
    "etc/svc/feature.d/on.conf": "{{ not a template }}\n",
}


class Site:
    """A playbook with one role in a scratch directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dest = folder / "de st"
        self.dest.mkdir()
        self.templates = folder / "roles/svc/templates"
        (folder / "roles/svc/tasks").mkdir(parents=True)
        for path, text in TEMPLATES.items():
            self.write(path, text)
        (self.templates / "etc/svc/blob").write_bytes(bytes(range(256)))
        self.task(TASK)
        self.variables = {
            "scratch": str(folder),
            "svc_domain": "example.org",
            "svc_password": SECRET,
            "svc_a": 1,
            "nested": "{{ svc_a | default('-') }}!",
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        self.play: dict[str, Any] = {"hosts": "all", "gather_facts": False, "roles": ["svc"]}

    def write(self, path: str, text: str) -> None:
        self.write_file(f"../templates/{path}", text)

    def write_file(self, path: str, text: str) -> None:
        target = self.templates.parent / "files" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def task(self, *options: dict[str, Any]) -> None:
        """Let the role consist of one such task, or of several that may fail."""
        tasks = [
            {"name": "Configuration", "postmaster.mail.config_tree": one, "notify": "Told", "ignore_errors": len(options) > 1}
            for one in options
        ]
        (self.folder / "roles/svc/tasks/main.yml").write_text(json.dumps(tasks))
        (self.folder / "roles/svc/handlers").mkdir(exist_ok=True)
        (self.folder / "roles/svc/handlers/main.yml").write_text(
            json.dumps([{"name": "Told", "ansible.builtin.debug": {"msg": "handler ran"}}])
        )

    def run(self, *arguments: str, rc: int = 0, environment: dict[str, str] | None = None, hosts: dict[str, dict[str, str]] | None = None,
            **variables: Any) -> str:
        (self.folder / "play.yml").write_text(json.dumps([self.play]))
        inventory = {"all": {"hosts": hosts or {"host.example": {}}, "vars": {**self.variables, **variables}}}
        (self.folder / "inventory.json").write_text(json.dumps(inventory))
        done = subprocess.run(
            ["ansible-playbook", "-i", "inventory.json", "play.yml", *arguments],
            cwd=self.folder,
            env={**os.environ, "ANSIBLE_PIPELINING": "1", "LC_ALL": "C.UTF-8", **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == rc, output
        return output

    def content(self, dest: Path | None = None) -> dict[str, bytes]:
        dest = dest or self.dest
        return {str(path.relative_to(dest)): path.read_bytes() for path in dest.rglob("*") if path.is_file()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


EXPECTED = {
    "svc/main.conf": b"# Ansible managed\na = 1\nbeside 1!\nfrom the top\nfrom templates\n",
    "svc/ein Wört.conf": b"b\n",
    "svc/secret.inc": f"pw = {SECRET}\n".encode(),
    "svc/feature.d/on.conf": b"{{ not a template }}\n",
    "svc/blob": bytes(range(256)),
    "svc/maps/example.org.map": b"example.org\n",
}


def assert_no_secret(output: str) -> None:
    assert SECRET not in output
    assert base64.b64encode(SECRET.encode()).decode()[:12] not in output
    # A parcel, whole or in part, would give everything away to whoever unpacks it: its zlib header in base64.
    assert "eJx" not in output and "eNq" not in output


def test_check_do_check_do_undo(site: Site) -> None:
    (site.dest / "svc").mkdir()
    (site.dest / "svc/main.conf").write_text("by hand\n")

    output = site.run("--check", "--diff", "-vvv")
    assert "changed=1" in output and "-by hand" in output and "(secret: the new content is not shown)" in output
    assert_no_secret(output)
    assert site.content() == {"svc/main.conf": b"by hand\n"}
    assert not (site.folder / "state").exists()

    output = site.run("--diff", "-vvv")
    assert "changed=1" in output and "handler ran" in output
    assert "-by hand" in output and "+a = 1" in output
    flat = " ".join(output.split())
    assert f"{site.dest}/svc/main.conf was there before this collection and is replaced; its content is kept in" in flat
    assert "validated: true" in output
    assert_no_secret(output)
    assert site.content() == {**EXPECTED, "svc/main.conf.postmaster-orig": b"by hand\n"}

    output = site.run("--check", "--diff")
    assert "changed=0" in output and "handler ran" not in output

    output = site.run("-vvv")
    assert "changed=0" in output and "handler ran" not in output
    assert output.count("Using module file") == 1, "one module execution on the host"
    assert output.count("> EXEC ") == 1, "one command on the host"
    assert_no_secret(output)

    output = site.run(svc_exclude=["svc/feature.d"])
    assert "changed=1" in output
    assert set(site.content()) == {*EXPECTED, "svc/main.conf.postmaster-orig"} - {"svc/feature.d/on.conf"}
    assert not (site.dest / "svc/feature.d").exists()
    assert "changed=0" in site.run(svc_exclude=["svc/feature.d"])


def test_refusal(site: Site) -> None:
    site.run()
    before = site.content()
    checker = {"argv": ["sh", "-c", "cat '{stage}/svc/secret.inc'; echo '{stage}/svc/main.conf:2: bad'; exit 1"]}
    for arguments in ((), ("--check",)):
        output = site.run("-vvv", "--diff", *arguments, rc=2, svc_a=2, svc_validate=[checker])
        assert "refused the staged configuration (rc 1); nothing has been changed" in output
        assert f"{site.dest}/svc/main.conf:2: bad" in output
        assert_no_secret(output)
        assert site.content() == before
    output = site.run(rc=2, svc_a=2, svc_validate=[{"argv": ["echo", "svc: warning: unused"], "fail_on": ["warning"]}])
    assert "its output matches fail_on 'warning'" in output
    assert site.content() == before
    assert "changed=0" in site.run()


def test_files_are_put_as_they_are_beside_what_is_rendered(site: Site) -> None:
    program = "#!/bin/sh\necho '{{ svc_a }}'\n"
    site.write_file("etc/svc/bin/program", program)
    site.write_file("etc/svc/sample.j2", "{{ nope }}\n")
    site.write_file("etc/_cache/x", "")
    modes = {**TASK["modes"], "svc/bin/program": "0755"}
    site.task({**TASK, "files": "etc", "modes": modes, "validate": [{"argv": ["sh", "-n", "{stage}/svc/bin/program"]}]})
    assert "changed=1" in site.run("--check", "--diff")
    output = site.run("--diff", "-v")
    assert "validated: true" in output and "+echo '{{ svc_a }}'" in output
    assert site.content() == {**EXPECTED, "svc/bin/program": program.encode(), "svc/sample.j2": b"{{ nope }}\n"}
    assert (site.dest / "svc/bin/program").stat().st_mode & 0o777 == 0o755
    assert "changed=0" in site.run()

    site.write_file("etc/svc/bin/program", "if\n")
    assert "refused the staged configuration" in site.run(rc=2)
    assert site.content()["svc/bin/program"] == program.encode()

    # All of them are one tree: what is taken out, and a tree without templates.
    site.task({**TASK, "files": "etc", "exclude": ["svc/bin", "svc/sample.j2"]})
    assert "changed=1" in site.run()
    assert site.content() == EXPECTED
    alone = {name: value for name, value in TASK.items() if name in ("id", "dest", "state_dir")}
    site.task({**alone, "files": "etc", "mode": "0755"})
    site.run()
    assert set(site.content()) == {"svc/bin/program", "svc/sample.j2"}


def test_files_of_a_variable_may_be_secret(site: Site) -> None:
    """They are evaluated where the templates are, and are in no argument of the task."""
    site.task({**TASK, "extra_from": "svc_more", "secret": [*TASK["secret"], "svc/more"], "modes": {"svc/*": "0600"}})
    output = site.run("-vvv", "--diff", svc_more="{{ {'svc/more': '# ' ~ ansible_managed ~ '\n' ~ svc_password} }}")
    assert site.content()["svc/more"].decode() == f"# Ansible managed\n{SECRET}"
    assert_no_secret(output)
    assert "changed=0" in site.run(svc_more="{{ {'svc/more': '# ' ~ ansible_managed ~ '\n' ~ svc_password} }}")
    site.task(TASK)
    site.run()
    assert "svc/more" not in site.content()


def test_a_file_whose_place_depends_on_the_system(site: Site) -> None:
    names = "{{ {'svc/main.conf': svc_place, 'svc/blob': 'svc/' ~ svc_place} }}"
    site.task({**TASK, "names": names, "modes": {**TASK["modes"], "svc/here": "0600"}})
    site.run(svc_place="svc/here")
    assert site.content()["svc/here"].startswith(b"# Ansible managed\na = 1\n")
    assert site.content()["svc/svc/here"] == bytes(range(256))
    assert "svc/main.conf" not in site.content() and (site.dest / "svc/here").stat().st_mode & 0o777 == 0o600


def test_a_script_of_a_checker_is_there_while_it_runs(site: Site) -> None:
    probe = """test "$1" = '{{ word }}' || { echo "$0: line 1: $1"; exit 3; }\ntest -f "$2/svc/main.conf"; ls "$2"\n"""
    site.write_file("checks/probe.sh", probe)
    argv = ["sh", "{script}", "{{ '{{' }} word }}", "{stage}"]
    site.task({**TASK, "validate": [{"argv": argv, "script": "checks/probe.sh", "fail_on": ["checker", "probe"]}]})
    for arguments in (("--check",), ()):
        assert "validated: true" in site.run("-v", *arguments)
    assert site.content() == EXPECTED
    site.task({**TASK, "validate": [{"argv": ["sh", "{script}", "bad"], "script": "checks/probe.sh"}]})
    output = " ".join(site.run("-v", rc=2, svc_a=2).split())
    assert "`sh checks/probe.sh bad` refused the staged configuration (rc 3); nothing has been changed" in output
    assert "checks/probe.sh: line 1: bad" in output
    assert site.content() == EXPECTED and not list(site.dest.glob(".postmaster*"))


def test_check_mode_on_a_fresh_host(site: Site) -> None:
    site.task({**TASK, "owner": "nobody-of-that-name", "group": "no-group-of-that-name", "validate": [{"argv": ["no-such-checker"]}]})
    output = site.run("--check", "-v")
    assert "changed=1" in output and "validated: false" in output
    assert site.content() == {}


def test_no_log(site: Site) -> None:
    site.play["no_log"] = True
    output = site.run("--diff", "-vvv")
    assert "example.org.map" not in output
    assert site.content() == EXPECTED


BAD_TEMPLATES = {
    "a\n{{ nope }}\n": "bad.conf.j2, line 2: 'nope' is undefined",
    "a\n\n{{ svc_d.nope }}\n": "bad.conf.j2, line 3: object of type 'dict' has no attribute 'nope'",
    "a\n{{ via }}\n": "bad.conf.j2, line 2: 'nowhere' is undefined",
    "{% include '_bad.j2' %}\n": "bad.conf.j2 (included: {}/_bad.j2), line 2: 'deep' is undefined",
    "a\n{% if %}\n": "bad.conf.j2, line 2: Syntax error in template: ",
    "a\n{{ 1 / 0 }}\n": "bad.conf.j2, line 2: Error rendering template: division by zero",
}


def test_errors_name_file_and_line(site: Site) -> None:
    for number, template in enumerate(BAD_TEMPLATES):
        site.write(f"bad{number}/bad.conf.j2", template)
        site.write(f"bad{number}/_bad.j2", "x\n{{ deep }}\n")
    site.task(*({"id": "svc", "src": f"bad{number}", "dest": str(site.dest)} for number in range(len(BAD_TEMPLATES))))
    output = site.run(via="{{ nowhere }}", svc_d={})
    for number, message in enumerate(BAD_TEMPLATES.values()):
        folder = f"{site.templates}/bad{number}"
        assert f"{folder}/{message.format(folder)}" in output
    assert site.content() == {}


def test_an_error_in_a_secret_template_does_not_quote_it(site: Site) -> None:
    site.write("etc/svc/secret.inc.j2", "\n{{ svc_password | from_json }}{{ lookup('ansible.builtin.file', svc_password) }}\n")
    output = site.run("-vvv", rc=2)
    assert "etc/svc/secret.inc.j2" in output and "the file is secret, so the error's text, which may quote it, is not shown" in output
    assert_no_secret(output)


def test_refused_trees(site: Site) -> None:
    """Several sources of trouble, each told before anything reaches the host."""
    top = site.templates
    site.write("twice/a.conf.j2", "")
    site.write("twice/a.conf", "")
    site.write("out/x", "")
    (site.folder / "outside").write_text("x")
    (top / "out/link").symlink_to(site.folder / "outside")
    files = top.parent / "files"
    site.write_file("clash/svc/main.conf", "")
    site.write_file("programs/x", "")
    (files / "out").mkdir()
    (files / "out/link").symlink_to(site.folder / "outside")
    site.write("round/x", "")
    (top / "round/y").symlink_to("../round")
    told = "has an expression that Ansible does not evaluate: make the whole dictionary by one"
    trouble: dict[str, dict[str, Any]] = {
        f"'a.conf' has two sources in src: {top}/twice/a.conf and {top}/twice/a.conf.j2": {"src": "twice"},
        f"'svc/main.conf' has two sources: extra and {top}/etc/svc/main.conf.j2": {"extra": {"svc//main.conf": "x"}},
        "extra '../x' must stay below dest: '..' is not allowed": {"extra": {"../x": "x"}},
        "extra '/etc/x' must be relative to dest, not absolute": {"extra": {"/etc/x": "x"}},
        "extra 'x' must be text, and is a list": {"extra": {"x": [1]}},
        f"extra '{{{{ svc_domain }}}}.map' {told}": {"extra": {"{{ svc_domain }}.map": "x"}},
        f"modes '{{{{ svc_domain }}}}.map' {told}": {"modes": {"{{ svc_domain }}.map": "0600"}},
        "'svc/more' has two sources: extra and extra_from": {"extra": {"svc/more": "x"}, "extra_from": "svc_more"},
        f"'svc/ein Wört.conf' has two sources: extra and {top}/etc/svc/ein Wört.conf.j2": {"extra_from": "svc_again"},
        "extra_from 'svc_none' is not a variable": {"extra_from": "svc_none"},
        "extra_from 'svc_list' must be a dictionary of paths and texts": {"extra_from": "svc_list"},
        "names 'svc/typo' is not in src": {"names": {"svc/typo": "svc/other"}},
        "names '../other' must stay below dest: '..' is not allowed": {"names": {"svc/main.conf": "../other"}},
        "secret 'svc/typo' is neither in src nor in extra; only a pattern, with a *, may match nothing": {"secret": ["svc/typo"]},
        "mode 420 must be a quoted octal mode such as '0644'": {"mode": 420},
        "validate: fail_on '(' is not a regular expression": {"validate": [{"argv": ["true"], "fail_on": ["("]}]},
        "src 'nowhere' is not found": {"src": "nowhere"},
        "files 'nowhere' is not found": {"files": "nowhere"},
        "files 'clash/svc/main.conf' must be a directory": {"files": "clash/svc/main.conf"},
        f"'svc/main.conf' has two sources in src and files: {top}/etc/svc/main.conf.j2 and {files}/clash/svc/main.conf": {"files": "clash"},
        f"file 'link' is a symbolic link that leads out of files, to {site.folder}/outside": {"files": "out"},
        "modes 'svc/typo' is neither in src and files nor in extra": {"files": "programs", "modes": {"svc/typo": "0755"}},
        "state is present but any of the following are missing: src, files": {"src": None},
        "validate: script 'nowhere.sh' cannot be read": {"validate": [{"argv": ["sh", "{script}"], "script": "nowhere.sh"}]},
        "Unsupported parameters": {"destination": "x"},
        f"template 'link' is a symbolic link that leads out of src, to {site.folder}/outside": {"src": "out"},
        "template 'y' is a symbolic link that leads round in circles": {"src": "round"},
    }
    base = {"id": "svc", "src": "etc", "dest": str(site.dest), "state_dir": f"{site.folder}/state"}
    site.task(*({name: value for name, value in {**base, **options}.items() if value is not None} for options in trouble.values()))
    output = site.run("-v", svc_more={"svc/more": "y"}, svc_again={"svc/ein Wört.conf": "y"}, svc_list=["y"])
    for message in trouble:
        assert message in output
    assert output.count("FAILED!") == len(trouble)
    assert site.content() == {} and not (site.folder / "state").exists()


def test_a_link_inside_the_tree_is_followed(site: Site) -> None:
    (site.templates / "etc/svc/inside.conf").symlink_to("feature.d/on.conf")
    site.run()
    assert site.content()["svc/inside.conf"] == b"{{ not a template }}\n"
    assert not (site.dest / "svc/inside.conf").is_symlink()


def test_a_handler_may_be_for_some_files_only(site: Site) -> None:
    handlers = {"Main": ["svc/main.conf"], "But maps": ["*", "!svc/maps"], "Always": None}
    task = {"postmaster.mail.config_tree": {**TASK, "notify_for": {name: files for name, files in handlers.items() if files}},
            "notify": list(handlers)}
    (site.folder / "roles/svc/tasks/main.yml").write_text(json.dumps([task]))
    (site.folder / "roles/svc/handlers/main.yml").write_text(
        json.dumps([{"name": name, "ansible.builtin.debug": {"msg": f"ran: {name}"}} for name in handlers])
    )

    def notified(*arguments: str) -> set[str]:
        return set(re.findall(r"ran: ([A-Za-z ]+)", site.run(*arguments)))

    assert notified("--check") == notified() == set(handlers)
    assert notified() == set()
    site.variables["svc_a"] = 2
    assert notified() == set(handlers)
    site.write("etc/svc/maps/more.map", "x\n")
    assert notified() == {"Always"}
    site.write("etc/svc/blob", "x")
    assert notified() == {"Always", "But maps"}
    (site.templates / "etc/svc/blob").unlink()
    assert notified() == {"Always", "But maps"}


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("su"), reason="needs root and su to become another user")
def test_a_variable_has_one_value_in_all_files(site: Site) -> None:
    """What several templates use is evaluated once; an error is that of the template that has it, and so is its own name."""
    site.variables |= {
        "svc_token": "{{ lookup('ansible.builtin.password', '/dev/null', length=20) }}",
        "svc_deep": "{{ {'token': svc_token} }}",
        "svc_self": "{{ template_path | basename }}",
        "svc_broken": "{{ svc_missing }}",
    }
    for name in "xy":
        third = "{{ svc_broken if svc_use_broken else '' }}"
        site.write(f"etc/svc/{name}.j2", "{{ svc_token }} {{ svc_deep.token }}\n{{ svc_self }}\n" + third + "\n")
    site.run(svc_use_broken=False)
    files = site.content()
    (first, own, *_), (second, other, *_) = (files[f"svc/{name}"].decode().splitlines() for name in "xy")
    assert len(set(first.split() + second.split())) == 1 and len(first.split()[0]) == 20
    assert (own, other) == ("x.j2", "y.j2")
    output = site.run(svc_use_broken=True, rc=2)
    assert "svc_missing" in output and "etc/svc/x.j2, line 3" in output


def test_become() -> None:
    """An ordinary user, without owner and group: everything is that user's."""
    with tempfile.TemporaryDirectory(prefix="config_tree-") as folder:  # pytest's own directories are private to root
        os.chmod(folder, 0o755)
        become_nobody(Site(Path(folder)))


def become_nobody(site: Site) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    (site.folder / "state").mkdir()
    for folder in (site.dest, site.folder / "state"):
        os.chown(folder, nobody, -1)
    become = {"ansible_become": True, "ansible_become_method": "ansible.builtin.su", "ansible_become_user": "nobody"}
    become["ansible_become_flags"] = "-s /bin/sh"
    assert "changed=1" in site.run(**become)
    assert site.content() == EXPECTED
    assert (site.dest / "svc/main.conf").stat().st_uid == nobody
    assert "changed=0" in site.run(**become)
    assert "changed=0" in site.run(environment={"ANSIBLE_PIPELINING": "0", "ANSIBLE_REMOTE_TMP": "/tmp"}, **become)
    site.task({**TASK, "owner": "root"})
    output = site.run(rc=2, **become)
    assert "not permitted to this user" in " ".join(output.split())
    assert site.content() == EXPECTED


def interpreters() -> list[str]:
    """Return the Python versions found here that a managed host may have."""
    found = []
    for minor in range(9, 15):
        places = [*map(str, Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3")), f"/usr/bin/python3.{minor}"]
        found += [place for place in places if os.path.exists(place)][:1]
    return found


def test_interpreters_of_hosts(site: Site) -> None:
    hosts = {}
    for interpreter in interpreters():
        scratch = site.folder / f"host-{len(hosts)}"
        (scratch / "de st").mkdir(parents=True)
        # PYTHONPATH is the test environment's own way to find the collection; a host has none.
        wrapper = scratch / "python"
        wrapper.write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec {interpreter} "$@"\n')
        wrapper.chmod(0o755)
        hosts[interpreter.strip("/").replace("/", "-")] = {"scratch": str(scratch), "ansible_python_interpreter": str(wrapper)}
    for changed in (1, 0):
        recap = site.run("--diff", hosts=hosts).partition("PLAY RECAP")[2]
        assert dict(re.findall(r"^(\S+) .* changed=(\d+) ", recap, re.MULTILINE)) == dict.fromkeys(hosts, str(changed))
        for host in hosts.values():
            assert site.content(Path(host["scratch"]) / "de st") == EXPECTED
