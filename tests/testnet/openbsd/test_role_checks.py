# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the roles ask OpenBSD's tools before they change anything, asked of the simulated ones. No host is booted."""

from __future__ import annotations

import copy
import os
import pathlib
import re
import shlex
import subprocess
import sys

import jinja2
import pytest
import yaml
from simulated import releases

HERE = pathlib.Path(__file__).resolve().parent
ROLES = HERE.parents[2] / "roles"
TOOL = f"""#!{sys.executable} -B
import sys
sys.path.insert(0, {str(HERE)!r})
from simulated import common, httpd, pf
common.need_root = pf.need_root = lambda *_words: None
sys.exit(common.call(%r, %s, sys.argv[1:]))
"""
GOOD = "pass in proto tcp to any port 25\n"
INCLUDE = 'include "/etc/httpd.mail.conf"'
OURS = 'server "mail.example.org" {\n\tlisten on * port 80\n\tlocation * {\n\t\tblock return 404\n\t}\n}\n'


def install_tool(directory: pathlib.Path, name: str, function: str) -> None:
    """Put a simulated tool where it is found."""
    (directory / name).write_text(TOOL % (name, function), encoding="utf-8")
    (directory / name).chmod(0o755)


def shell(top: pathlib.Path, check: str) -> tuple[int, str]:
    """Run what a role lets a shell check -> exit code, words."""
    done = subprocess.run(["sh", "-c", check], env={"PATH": f"{top}:/usr/bin:/bin"}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def script(role: str, name: str, *arguments: object) -> str:
    """Return the command that runs a program of a role's files."""
    return shlex.join(map(str, ["sh", ROLES / role / "files" / name, *arguments]))


def values(role: str, *files: str) -> dict:
    """Return a role's internal variables, not templated."""
    return {name: value for file in files for name, value in
            yaml.safe_load((ROLES / role / "vars" / file).read_text(encoding="utf-8")).items()}


@pytest.fixture
def ask(tmp_path: pathlib.Path):
    """Ask pf, of a user's rules and of our anchor as it is staged and as it is live -> exit code, words."""
    check = script("protection", "checks/pf.sh", tmp_path / "pf.conf", tmp_path / "stage/pf.mail.conf")
    (tmp_path / "stage").mkdir()
    install_tool(tmp_path, "pfctl", "pf.pfctl")

    def run(rules: str, staged: str) -> tuple[int, str]:
        (tmp_path / "pf.conf").write_text(rules, encoding="utf-8")
        (tmp_path / "stage/pf.mail.conf").write_text(staged, encoding="utf-8")
        told = shell(tmp_path, check)
        assert (tmp_path / "pf.conf").read_text(encoding="utf-8") == rules
        return told

    return run


def test_pf_reads_the_anchor_that_is_staged(ask) -> None:
    block = '# BEGIN postmaster.mail\nanchor "mail"\nload anchor "mail" from "/nowhere/pf.mail.conf"\n# END postmaster.mail\n'
    for rules in ("", "pass\n", "pass\n" + block, block + "pass\n"):
        assert ask(rules, GOOD) == (0, ""), rules
        code, words = ask(rules, "pass in from 999.1.1.1/33\n")
        assert code == 1 and "/stage/pf.mail.conf:1: could not parse host specification: 999.1.1.1/33" in words, rules


def test_pf_reads_the_rules_of_the_user_to_their_end(ask) -> None:
    # Without an end, the last line must not run into ours.
    assert ask("pass in proto tcp to port 22", GOOD) == (0, "")
    code, words = ask("pass\npass nonsense", GOOD)
    assert code == 1 and "stdin:2: syntax error" in words


def test_pf_takes_whom_the_guard_bans(tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.setenv("SIMULATED_ROOT", str(tmp_path))
    (tmp_path / "var/run").mkdir(parents=True)
    install_tool(tmp_path, "pfctl", "pf.pfctl")
    guard = ROLES / "protection/files/login_guard.py"
    code = f"import runpy, subprocess; guard = runpy.run_path({str(guard)!r}); run = subprocess.run; "
    # As on the host, but the tool is not in /sbin here.
    code += "subprocess.run = lambda command, **more: run(['pfctl', *command[1:]], **{**more, 'check': True}); "
    code += "guard['ban_with_pf'](['198.51.100.7/32\\n', '2001:db8::/64\\n'], 'mail:banned')"
    environment = f"SIMULATED_ROOT={tmp_path} "
    assert shell(tmp_path, environment + shlex.join([sys.executable, "-c", code])) == (0, "")
    assert shell(tmp_path, environment + "pfctl -q -a mail -t banned -T show")[1].split() == ["198.51.100.7", "2001:db8::/64"]
    for address, code in (("198.51.100.7", 0), ("2001:db8::9", 0), ("198.51.100.8", 2)):
        assert shell(tmp_path, environment + f"pfctl -q -a mail -t banned -T test {address}")[0] == code


@pytest.mark.parametrize("ban", [True, False])
def test_pf_reads_our_rules(ask, ban: bool) -> None:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    rules = environment.from_string((ROLES / "protection/templates/pf/pf.mail.conf.j2").read_text(encoding="utf-8")).render(
        ansible_managed="x", protection_ban=ban, protection_ports={25: "mail", 993: "IMAP"},
        __protection_login_ports=[993], __protection_values={"trusted": ["127.0.0.0/8", "2001:db8::7"]})
    assert ask("pass\n", rules) == (0, "")


# httpd

@pytest.fixture
def serve(tmp_path: pathlib.Path):
    """Ask httpd, of a user's httpd.conf (none: there is no such file) and of ours as it is staged -> exit code, words."""
    check = script("certificate", "checks/httpd.sh", tmp_path / "httpd.conf", tmp_path / "stage/httpd.mail.conf", "mail.example.org")
    (tmp_path / "stage").mkdir()
    install_tool(tmp_path, "httpd", "httpd.httpd")

    def run(theirs: str | None, staged: str = OURS) -> tuple[int, str]:
        (tmp_path / "stage/httpd.mail.conf").write_text(staged, encoding="utf-8")
        if theirs is not None:
            (tmp_path / "httpd.conf").write_text(theirs, encoding="utf-8")
        told = shell(tmp_path, check)
        assert theirs is None or (tmp_path / "httpd.conf").read_text(encoding="utf-8") == theirs
        return told

    return run


OTHER = OURS.replace("mail.example.org", "www.example.org")
TLS = OURS.replace("port 80", "tls port 443")
ADVICE = ("With our server, /etc/httpd.conf is not valid. If it has one for mail.example.org on port 80, "
          "let that one serve /.well-known/acme-challenge/ and set certificate_webroot to where from.\n")


@pytest.mark.parametrize("theirs", [None, OTHER, INCLUDE + "\n", OTHER + INCLUDE + "\n", OTHER + INCLUDE, OTHER.rstrip(), TLS])
def test_httpd_serves_ours_beside_the_user_s(serve, theirs: str | None) -> None:
    # Also where the line that includes what is live is there already: only what is staged counts.
    code, words = serve(theirs)
    assert (code, words.splitlines()[-1]) == (0, "configuration OK")


@pytest.mark.parametrize(("theirs", "complaint"), [
    (OURS, ':7: server "mail.example.org" defined twice'), (OTHER + OURS.replace("* port", "0.0.0.0 port"), "defined twice"),
    (OTHER.replace("listen", "listne"), ":2: syntax error")])
def test_httpd_with_a_server_in_the_way_is_refused_with_advice(serve, theirs: str, complaint: str) -> None:
    code, words = serve(theirs)
    assert code == 1
    assert complaint in words
    assert words.endswith("\n" + ADVICE)


def test_httpd_refuses_ours(serve) -> None:
    assert serve(OTHER, OURS.replace("location", "lokation"))[0] == 1


def test_a_web_root_without_the_directory_for_challenges_is_refused(tmp_path: pathlib.Path) -> None:
    root = f"{tmp_path}/a web root"
    check = script("certificate", "checks/webroot.sh", f"{root}/.well-known/acme-challenge", root)
    assert shell(tmp_path, check) == (
        1, f"certificate_webroot {root} must have the directory .well-known/acme-challenge, for acme-client\n")
    pathlib.Path(root, ".well-known/acme-challenge").mkdir(parents=True)
    assert shell(tmp_path, check) == (0, "")


# What the roles change in files of the user's

def task(role: str, file: str, module: str, path: str) -> dict:
    """Return the one task of a role that changes a file with a module."""
    tasks = yaml.safe_load((ROLES / role / "tasks" / file).read_text(encoding="utf-8"))
    found = [entry for entry in tasks if entry.get(module, {}).get("path") == path]
    assert len(found) == 1
    return found[0]


def play(top: pathlib.Path, tasks: list[dict], variables: dict) -> int:
    """Run tasks here -> how many of them changed something."""
    (top / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks, "vars": variables}]),
                                  encoding="utf-8")
    done = subprocess.run(["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}",
                           top / "play.yml"], env={**os.environ, "PATH": f"{top}:{os.environ['PATH']}", "ANSIBLE_FORCE_COLOR": "0"},
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.search(r"changed=(\d+)", done.stdout)[1])


THEIR_RULES = "set skip on lo\nblock return\npass\n# the end"


def test_files_of_the_user_s_keep_all_that_is_in_them(tmp_path: pathlib.Path) -> None:
    install_tool(tmp_path, "pfctl", "pf.pfctl")
    line = task("certificate", "acme-client.yml", "ansible.builtin.lineinfile", "/etc/httpd.conf")
    block = task("protection", "firewall-pf.yml", "ansible.builtin.blockinfile", "/etc/pf.conf")
    line["ansible.builtin.lineinfile"]["path"] = f"{tmp_path}/httpd.conf"
    block["ansible.builtin.blockinfile"]["path"] = f"{tmp_path}/pf.conf"
    variables = {**values("protection", "main.yml"), "__certificate_httpd_include": INCLUDE, "__certificate_httpd": True,
                 "__certificate_root_group": "root", "__protection_root_group": "root"}
    # pfctl reads the anchor that the role has put there before.
    (tmp_path / "pf.mail.conf").write_text(GOOD, encoding="utf-8")
    variables["__protection_pf_anchor"] = variables["__protection_pf_anchor"].replace("/etc/", f"{tmp_path}/")
    anchor = f'# BEGIN postmaster.mail\n{variables["__protection_pf_anchor"]}\n# END postmaster.mail\n'
    (tmp_path / "httpd.conf").write_text(OTHER, encoding="utf-8")
    (tmp_path / "pf.conf").write_text(THEIR_RULES, encoding="utf-8")
    for changed in (2, 0):
        assert play(tmp_path, [line, block], variables) == changed
        assert (tmp_path / "httpd.conf").read_text(encoding="utf-8") == OTHER + INCLUDE + "\n"
        assert (tmp_path / "pf.conf").read_text(encoding="utf-8") == THEIR_RULES + "\n" + anchor
    # Another certificate takes away our line and nothing else, and makes no file where there was none.
    nowhere = copy.deepcopy(line)
    nowhere["ansible.builtin.lineinfile"]["path"] = f"{tmp_path}/none.conf"
    assert play(tmp_path, [line, nowhere], {**variables, "__certificate_httpd": False}) == 1
    assert (tmp_path / "httpd.conf").read_text(encoding="utf-8") == OTHER
    assert not (tmp_path / "none.conf").exists()


def test_all_that_dkimproxy_s_package_runs_rests() -> None:
    assert set(values("dkim", "OpenBSD.yml")["__dkim_dkimproxy_services"]) == set(releases.CONTENT["dkimproxy"].rcscripts)
