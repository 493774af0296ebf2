# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""host_info on this machine, and its facts from the output of package managers and systemd."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from ansible_collections.postmaster.mail.plugins.module_utils._host import info
from ansible_collections.postmaster.mail.plugins.modules import host_info as module

DROP = '{"nftables": [{"chain": {"family": "inet", "table": "TABLE", "name": "in", "hook": "input", "policy": "drop"}}]}'
#: What the roles read.
SUBSETS = yaml.safe_load((Path(__file__).resolve().parents[4] / "roles/host/vars/main.yml").read_text())["__host_subsets"]


def call(name="postmaster.mail.host_info", **options):
    command = ["ansible", "localhost", "-m", name, "--one-line", *(["-a", json.dumps(options)] if options else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout.partition(" => ")[2])


def test_it_reports_this_host():
    assert list(call()["ansible_facts"]) == ["postmaster_mail"]  # and overwrites nobody's packages
    facts = call()["ansible_facts"]["postmaster_mail"]
    text = subprocess.run(["dpkg", "--get-selections"], capture_output=True, text=True, check=True).stdout
    selected = {line.split()[0].split(":")[0] for line in text.splitlines() if line.split()[1] in ("install", "hold")}
    assert set(facts["packages"]) == selected
    version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "dpkg"], capture_output=True, text=True, check=True).stdout
    assert facts["packages"]["dpkg"] == version
    assert isinstance(facts["package_lists"], bool)
    assert facts["opensmtpd_queue"] is False  # there is no OpenSMTPD here
    for name, path in (("accounts", "/etc/passwd"), ("groups", "/etc/group")):
        entries = [line.split(":") for line in Path(path).read_text().splitlines()]
        assert {entry[0]: facts[name][entry[0]] for entry in entries} == {entry[0]: int(entry[2]) for entry in entries}
    assert facts["cores"] <= int(subprocess.run(["nproc", "--all"], capture_output=True, text=True, check=True).stdout)
    total = subprocess.run(["free", "--mebi"], capture_output=True, text=True, check=True).stdout.splitlines()[1].split()[1]
    assert 0 < facts["memory"] <= int(total) + 1
    assert facts["hosts"] == Path("/etc/hosts").read_text().splitlines()


def test_facts_of_setup_are_those_of_setup():
    """A play that has them from here goes on to read what it did: the facts of Ansible's own module, by the same names."""
    ours = call(gather_subset=SUBSETS)["ansible_facts"]
    assert {"packages", "firewall"} <= set(ours.pop("postmaster_mail"))
    theirs = call("ansible.builtin.setup", gather_subset=["!all", "!min", *SUBSETS])["ansible_facts"]
    assert {"ansible_distribution", "ansible_default_ipv4", "ansible_pkg_mgr", "ansible_service_mgr", "ansible_user_id"} <= set(theirs)
    for facts in (ours, theirs):
        facts.pop("gather_subset", None)
        facts["ansible_interfaces"].sort()  # in no order
    assert ours == theirs


def test_a_subset_that_setup_does_not_know_is_refused():
    result = call(gather_subset=["nonsense"])
    assert "ansible_facts" not in result and result["msg"].startswith("gather_subset: ") and "nonsense" in result["msg"]


@pytest.mark.parametrize(("answers", "found"), [
    ({}, "none"),
    ({"ufw": "Status: active\n"}, "ufw"),
    ({"ufw": "Status: inactive\n", "firewall-cmd": "running\n"}, "firewalld"),
    ({"nft": '{"nftables": []}'}, "none"),
    ({"nft": DROP.replace("TABLE", "filter")}, "nftables"),
    ({"nft": DROP.replace("TABLE", "f2b-table")}, "none"),
    ({"nft": DROP.replace("TABLE", "postmaster_mail")}, "none"),
    ({"nft": "Error"}, "unknown"),
])  # fmt: skip
def test_which_firewall_is_at_work(monkeypatch, answers, found):
    monkeypatch.setattr(module, "printed", lambda _module, program, *_words: answers.get(program))
    assert module.at_work(None) == found


def test_what_was_removed_is_not_installed():
    text = "installed postfix 3.10.4-1\nconfig-files exim4 4.98-1\ninstalled libc6 2.41-12\ninstalled libc6 2.41-12\nunpacked rspamd 3.12\n"
    assert info.packages("dpkg", text) == {"postfix": "3.10.4-1", "libc6": "2.41-12"}


def test_pkg_info_is_split_before_the_version():
    text = (
        "dovecot-2.3.21.1v0  compact IMAP/POP3 server\npostfix-3.11.1p0-sasl2 fast, secure sendmail replacement\n\nquirks   exceptions\n"
        "dovecot-pigeonhole-0.5.21.1v1 Sieve\npy3-cryptography-42.0.5 library\nredis-6.2.20-no_jit-x store\n"
    )
    assert info.packages("pkg_info", text) == {
        "dovecot": "2.3.21.1v0", "postfix": "3.11.1p0", "quirks": "", "dovecot-pigeonhole": "0.5.21.1v1", "py3-cryptography": "42.0.5",
        "redis": "6.2.20",
    }


def test_a_service_counts_if_it_is_enabled_and_active():
    states = {
        "certbot.timer": ("active", "enabled"),
        "dovecot.service": ("active", "enabled"),
        "exim4.service": ("active", "generated"),
        "fail2ban.service": ("active", "enabled-runtime"),
        "postfix.service": ("inactive", "enabled"),
        "valkey-server@rspamd.service": ("active", "disabled"),
        "user@0.service": ("active", ""),
    }
    text = "\n".join(f"Id={name}\nActiveState={active}\nUnitFileState={enabled}\n" for name, (active, enabled) in states.items())
    assert info.enabled_services(text) == ["certbot.timer", "dovecot"]
    assert info.enabled_services("") == []


def test_of_a_file_that_everybody_may_read_the_digest_is_reported_too(tmp_path):
    (tmp_path / "program").write_text("x")
    (tmp_path / "program").chmod(0o755)
    found = module.access([str(tmp_path / "program")])[str(tmp_path / "program")]
    assert (found["mode"], found["sha256"]) == ("0755", hashlib.sha256(b"x").hexdigest())


def test_files_of_mtas_are_reported_with_their_mode(tmp_path):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o640)
    (tmp_path / "link").symlink_to("secret")
    os.chown(tmp_path / "secret", 0, 4242424)
    assert module.access([str(tmp_path / name) for name in ("secret", "link", "nothing")]) == {
        str(tmp_path / "secret"): {"owner": "root", "group": "4242424", "mode": "0640"},
    }


def test_a_limit_of_the_container_is_its_memory():
    assert info.memory(2063597568, ["", "max"]) == 1968
    assert info.memory(2063597568, ["1073741824", ""]) == 1024
    assert info.memory(2063597568, ["", "9223372036854771712"]) == 1968  # what version 1 has for "no limit"


def test_part_of_a_processor_is_one():
    assert info.cores(4, ["max 100000", " "]) == 4
    assert info.cores(4, ["150000 100000"]) == 2
    assert info.cores(4, ["", "5000 100000"]) == 1
    assert info.cores(4, ["", "-1 100000"]) == 4
    assert info.cores(4, ["800000 100000"]) == 4


@pytest.mark.parametrize("files", [
    {"memory.max": "67108864\n", "cpu.max": "20000 100000\n"},
    {"memory/memory.limit_in_bytes": "67108864\n", "cpu/cpu.cfs_quota_us": "20000\n", "cpu/cpu.cfs_period_us": "100000\n"},
])
def test_limits_are_read_from_both_versions_of_control_groups(tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert (module.memory(str(tmp_path)), module.cores(str(tmp_path))) == (64, 1)


def test_without_control_groups_it_is_the_whole_machine(tmp_path):
    assert module.memory(str(tmp_path)) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    assert module.cores(str(tmp_path)) == len(os.sched_getaffinity(0))
