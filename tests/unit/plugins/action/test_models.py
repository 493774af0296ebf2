# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What inventory_verify hands on to roles, and that nobody else sees it."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from ansible_collections.postmaster.mail.plugins.plugin_utils._model import unpacked

HASH = "$2b$12$" + "a" * 53
SECRET = "c2VjcmV0LW9mLXRoZS16b25lLW9mLXRoZS16b25l"
ROLES = ["identity", "dkim", "dns", "rspamd", "dovecot", "postfix", "opensmtpd", "certificate"]
GIVEN = {
    "mail_domains": {"example.org": {}},
    "mail_users": {"me@example.org": {"password_hash": HASH}},
    "mail_dns": {"backend": "rfc2136", "server": "192.0.2.53", "key_name": "mail", "key_secret": SECRET},
}
FACTS = {"os_family": "Debian", "default_ipv4": {"address": "198.51.100.25"}, "default_ipv6": {}}


@pytest.fixture
def play(tmp_path):
    """Check an inventory as the site does, and return its models and all that the run printed and cached."""

    def run(given, *options, roles=ROLES, **groups):
        check = {"postmaster.mail.inventory_verify": {"roles": roles}, "register": "checked"}
        shown = {"ansible.builtin.copy": {"content": "{{ checked.models | to_json }}", "dest": str(tmp_path / "models"), "mode": "0600"},
                 "diff": False, "no_log": True}
        tasks = [{"ansible.builtin.set_fact": {**FACTS, "cacheable": True}}, check, shown]
        variables = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        (tmp_path / "play.json").write_text(json.dumps([
            {"hosts": "all", "connection": "local", "gather_facts": False, "vars": variables, "tasks": tasks},
        ]))  # fmt: skip
        (tmp_path / "inventory.json").write_text(json.dumps({"all": {"hosts": {"mail.example.org": given}}, **groups}))
        environment = {**os.environ, "ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path / "cache")}
        done = subprocess.run(["ansible-playbook", "-i", tmp_path / "inventory.json", *options, tmp_path / "play.json"], cwd=tmp_path,
                              env=environment, capture_output=True, text=True, check=False)
        cached = "".join(path.read_text() for path in sorted((tmp_path / "cache").iterdir()))
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads((tmp_path / "models").read_text()), done.stdout + done.stderr, cached

    return run


def test_all_roles_share_one_model(play):
    models, _output, _cached = play({**GIVEN, "mail_addresses": "198.51.100.25"})
    assert set(models) == {"shared", *(set(ROLES) - {"identity"})}  # which has no use for one
    assert all(model == models["shared"] for model in models.values())
    shared = models["shared"]
    assert (shared["fqdn"], shared["mta"], shared["postmaster"]) == ("mail.example.org", "postfix", "me@example.org")
    assert (shared["forwards"], shared["catch_all"]) == (False, False)
    whole = unpacked(shared["text"])
    assert whole["users"]["me@example.org"]["password_hash"].startswith("$2b$12$")
    assert {name: whole[name] for name in shared if name in whole} == {name: shared[name] for name in shared if name in whole}


def test_a_variable_of_a_role_is_in_its_model_alone(play):
    own = {"postfix_aliases": {"away@example.org": "you@example.net"}}
    models, _output, _cached = play({**GIVEN, "mail_addresses": "198.51.100.25", **own})
    assert models["postfix"]["forwards"] and "away@example.org" in unpacked(models["postfix"]["text"])["aliases"]
    assert not models["shared"]["forwards"] and models["opensmtpd"] == models["dovecot"] == models["shared"]


def test_where_the_inventory_has_no_address_an_mta_binds_none(play):
    """The host's own are in DNS records, and mail leaves from where the system chooses."""
    models, _output, _cached = play(GIVEN)
    assert models["dns"]["addresses"] == models["shared"]["addresses"] == {"ipv4": ["198.51.100.25"], "ipv6": []}
    assert models["postfix"]["addresses"] == models["opensmtpd"]["addresses"] == {"ipv4": [], "ipv6": []}
    assert models["postfix"]["postmaster"] == "me@example.org"


def test_a_role_alone_without_users_needs_no_postmaster(play):
    models, _output, _cached = play({"rspamd_domains": {"example.org": {}}}, roles=["rspamd"])
    assert list(unpacked(models["rspamd"]["text"])["domains"]) == ["example.org"]


def test_nobody_is_shown_what_is_in_a_model(play):
    _models, output, cached = play(GIVEN, "-vvv", "--diff")
    assert "the output has been hidden" in output
    assert not [word for word in (HASH, SECRET) if word in output + cached]
    assert "198.51.100.25" in cached  # facts are


def test_a_variable_of_a_role_makes_no_server_of_a_backup_mx(play):
    """It would deliver into mailboxes that nobody reads."""
    server = {**GIVEN, "mail_addresses": "198.51.100.1", "mail_dns": {**GIVEN["mail_dns"], "ttl": 300}}
    groups = {"mail_servers": {"hosts": {"mx1.example.org": server}}, "mail_relays": {"hosts": {"mail.example.org": {}}}}
    own = {"postfix_queue": {"warn_after": "5h"}, "rspamd_filter": {"reject": 14}}
    given = {**server, "mail_addresses": "198.51.100.25", **own}
    models, _output, _cached = play(given, "--limit", "mail.example.org", **groups)
    found = {name: unpacked(models[name]["text"]) for name in ("shared", "postfix", "rspamd")}
    assert {name: (model["backup"], model["queue"]["lifetime"]) for name, model in found.items()} == dict.fromkeys(found, (True, 10))
    assert found["postfix"]["queue"]["warn_after"] == 5 and found["rspamd"]["filter"]["reject"] == 14
