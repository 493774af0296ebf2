# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the site's first task says of an inventory, with the defaults of all roles in force and a host that cannot be reached."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from ansible_collections.postmaster.mail.plugins.plugin_utils import _hosts

ROOT = Path(__file__).resolve().parents[4]
CHECK = ROOT / "playbooks/tasks/inventory.yml"
HASH = "$2b$12$" + "a" * 53
ROLES = yaml.safe_load(CHECK.read_text())[0]["postmaster.mail.inventory_verify"]["roles"]
#: The play of the site without its tasks, for a host that tells no facts.
SITE = {"hosts": "mail_servers", "gather_facts": False, "vars": yaml.safe_load((ROOT / "playbooks/site.yml").read_text())[0]["vars"]}
GOOD = {
    "mail_addresses": "198.51.100.25",
    "mail_domains": {"example.org": {}},
    "mail_users": {"me@example.org": {"password_hash": HASH}},
}


@pytest.fixture
def site(tmp_path):
    """A playbook with the check, every role imported as site.yml imports it, and a task that tells whether a host got past."""
    imports = [{"name": f"postmaster.mail.{role}", "rolespec_validate": False} for role in ROLES]
    roles = [{"ansible.builtin.import_role": arguments, "when": False} for arguments in imports]
    past = {"name": "Past the check", "ansible.builtin.debug": {"msg": "past: {{ inventory_hostname }}"}}
    tasks = [{"ansible.builtin.import_tasks": str(CHECK)}, past, *roles]
    (tmp_path / "site.json").write_text(json.dumps([{**SITE, "tasks": tasks}]))

    def run(inventory, *options):
        (tmp_path / "inventory.json").write_text(json.dumps({"all": {"vars": {"ansible_host": "192.0.2.1"}}, **inventory}))
        command = ["ansible-playbook", "-i", tmp_path / "inventory.json", *options, tmp_path / "site.json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False,
                              env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"})
        return done.returncode, done.stdout + done.stderr

    return run


def one(**variables):
    return {"mail_servers": {"hosts": {"mail.example.org": {**GOOD, **variables}}}}


def rules(output):
    """The rules that the run called broken, of the first host that failed."""
    result, _end = json.JSONDecoder().raw_decode(output.partition("FAILED! => ")[2])
    head, *lines = result["msg"].split("\n- ")
    assert re.match(r"The inventory of mail\d?\.", head)
    assert " does not hold together, and nothing has been changed. " in head
    return lines


def test_a_good_inventory_passes_without_a_connection(site):
    status, output = site(one(rspamd_bayes_min_learns="64", dovecot_learn=False, resolver_forwarders=["192.0.2.53@853#dns.example.net"]))
    assert status == 0, output
    assert "past: mail.example.org" in output


def test_wrong_types_and_contradictions_are_told_together(site):
    terms = [f"include:spf{number}.example.net" for number in range(11)]
    status, output = site(
        one(
            mail_mta="exim",
            mail_user={},
            mail_domains={"example.org": {"spf": {"terms": terms}}},
            mail_users={"me@example.org": {"password_hash": "plain-secret"}, "you@other.test": {"password_hash": HASH}},
            mail_aliases={"a@example.org": "b@example.org", "b@example.org": "a@example.org"},
            mail_postmaster="{{ nowhere }}",
            identity_preflight="maybe",
            resolver_forwarders=["nonsense"],
            rspamd_bayes_min_learns="lots",
            rspamd_controller_password_hash=["other-secret"],
            rspamd_nameservers={"a": 1},
            protection_ports=[25],
        )
    )
    assert status != 0
    assert "past:" not in output
    assert "secret" not in output
    found = rules(output)
    spf = [line for line in found if line.startswith("mail_domains['example.org'].spf: SPF record 'v=spf1 include:spf0.")]
    assert len(spf) == 1
    assert spf[0].endswith("needs 11 DNS look-ups; receivers stop with permerror after 10 (RFC 7208 section 4.6.4)")
    bcrypt = [line for line in found if line.startswith("mail_users['me@example.org'].password_hash is not a bcrypt hash ($2b$, ")]
    assert len(bcrypt) == 1
    assert [line for line in found if line not in (*spf, *bcrypt)] == [
        "mail_postmaster cannot be evaluated: 'nowhere' is undefined",
        "mail_user is not a variable of this collection (did you mean users?)",
        "mail_mta 'exim' is unknown; it is one of postfix, opensmtpd",
        "mail_users['you@other.test'] is in a domain that mail_domains does not declare",
        "mail_aliases has a loop: a@example.org -> b@example.org -> a@example.org",
        "identity_preflight must be one of fail, warn, skip (str), not 'maybe'",
        "resolver_forwarders 'nonsense' is not of the form ADDRESS[@PORT][#NAME FOR TLS]",
        "rspamd_nameservers must be of type list of str, not a dictionary",
        "rspamd_controller_password_hash must be of type str, not a list of a string",
        "rspamd_bayes_min_learns must be of type int, not 'lots'",
        "protection_ports must be of type dict, not a list of a number",
    ]


def test_what_roles_make_of_a_wrong_variable_is_not_told_again(site):
    _status, output = site(one(mail_domains="example.org"))
    assert rules(output) == [
        "mail_domains must be a dictionary, not str",
        "mail_users['me@example.org'] is in a domain that mail_domains does not declare",
    ]


def test_the_variables_of_one_role_are_judged_together(site):
    _status, output = site(one(postfix_aliases={"a@example.org": "gone@example.org"}))
    assert rules(output) == ["postfix_aliases['a@example.org'] leads to 'gone@example.org', which is neither a user nor an alias"]
    _status, output = site(one(rspamd_filter={"dnsbl": []}, mail_filter={}))
    assert rules(output) == ["rspamd_filter has no key 'dnsbl' (did you mean 'dnsbls'?); it knows "
                             "reject, junk, greylist, dnsbls, trusted, dmarc, arc_sealers, blocked_extensions, allow, block, antivirus, "
                             "forwarded_junk, arc_seal"]


def test_a_key_of_its_own_for_the_challenge(site):
    """Then acme-dns needs nothing of how the other records are published."""
    own = {"backend": "rfc2136", "server": "192.0.2.53", "key_name": "acme-mail", "key_secret": "c2VjcmV0"}
    status, output = site(one(mail_certificates={"method": "acme-dns"}, certificate_dns=own))
    assert status == 0, output
    _status, output = site(one(mail_certificates={"method": "acme-dns"}))
    needs = "mail_certificates.method 'acme-dns' needs mail_dns.backend 'rfc2136' to answer the challenge (RFC 8555 section 8.4)"
    assert rules(output) == [needs]
    _status, output = site(one(mail_certificates={"method": "acme-dns"}, certificate_dns={"backend": "report"}))
    assert rules(output) == [needs.replace("mail_dns", "certificate_dns")]
    _status, output = site(one(mail_certificates={"metod": "acme-dns"}, certificate_dns=own))
    assert len(rules(output)) == 1 and "mail_certificates has no key 'metod'" in rules(output)[0]


@pytest.mark.parametrize(("address", "why"), [("10.0.0.5", "private, RFC 1918"), ("fd00::5", "unique local, RFC 4193")])
def test_a_private_address_asks_for_the_public_one(site, address, why):
    _status, output = site(one(mail_addresses=address))
    told = f"mail_addresses '{address}' is not public ({why}): other mail servers cannot reach it. Set mail_addresses to "
    assert rules(output)[0].startswith(told)


def test_an_empty_name_is_none(site):
    _status, output = site(one(mail_fqdn=None))
    assert rules(output)[0].startswith("mail_fqdn None ")


def test_one_wrong_host_stops_all_of_them_and_a_limit_only_asks_for_its_own(site):
    hosts = {"mail.good.test": dict(GOOD), "mail.wrong.test": {**GOOD, "mail_mta": "exim"}}
    inventory = {"mail_servers": {"hosts": hosts}, "backups": {"hosts": {"mail.good.test": {"rspamd_bayes_min_learns": 32}}}}
    status, output = site(inventory)
    assert status != 0
    assert "past:" not in output
    assert rules(output) == ["mail_mta 'exim' is unknown; it is one of postfix, opensmtpd"]
    status, output = site(inventory, "--limit", "mail.good.test")
    assert status == 0, output
    assert "past: mail.good.test" in output
    inventory["backups"]["hosts"]["mail.good.test"]["rspamd_bayes_min_learns"] = "much"
    _status, output = site(inventory, "--limit", "backups")
    assert rules(output) == ["rspamd_bayes_min_learns must be of type int, not 'much'"]


def test_nothing_but_the_look_at_the_host_comes_before_it_in_the_site():
    """The addresses of a host are facts."""
    play = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())[0]
    assert "pre_tasks" not in play
    assert play["roles"] == [{"role": "postmaster.mail.host"}]
    first = play["tasks"][0]
    assert first["ansible.builtin.import_tasks"] == "tasks/inventory.yml"
    assert first["tags"] == ["always"]


def test_no_tag_that_is_skipped_keeps_the_site_from_reading_the_host(tmp_path):
    """What only depends on the look at the host would give it its own tags."""
    (tmp_path / "inventory.json").write_text(json.dumps(one()))
    done = subprocess.run(["ansible-playbook", "-i", "inventory.json", ROOT / "playbooks/site.yml", "--list-tasks"], cwd=tmp_path,
                          capture_output=True, text=True, check=True)
    tasks = re.findall(r"(?m)^ {6}(.*)\tTAGS: \[(.*)\]$", done.stdout)
    assert tasks[:3] == [("postmaster.mail.host : Host | Read packages, accounts and services", "always"),
                         ("postmaster.mail.host : Variables | Load those of the operating system and its release, for all roles", "always"),
                         ("Inventory | Check names, types and agreement of all variables", "always")]


def test_it_knows_every_role():
    """All that have something to set: a role without defaults is given everything by the role that uses it."""
    assert sorted(ROLES) == sorted(path.parents[1].name for path in ROOT.glob("roles/*/defaults/main.yml"))


def test_another_name_is_no_role(tmp_path):
    done = subprocess.run(["ansible", "localhost", "-m", "postmaster.mail.inventory_verify", "-a", "roles=exim"], cwd=tmp_path,
                          capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "roles 'exim' is not a role of this collection with an argument spec" in done.stdout + done.stderr


def test_a_route_that_the_mta_cannot_have_is_refused_before_anything_changes(site):
    hosts = {"isp": {"host": "smtp.isp.example", "user": "me", "password": "s3cret-of-us"}, "late": {"host": "late.example", "port": 465}}
    mixed = {"hosts": hosts, "default": ["isp", "late"]}
    status, output = site(one(mail_routes=mixed))
    assert status and rules(output) == [
        "mail_routes.default has smarthosts on port 465 and on others: Postfix begins TLS at once with all of a route or with none. Give "
        "isp, late one port, 465 or 587; most providers have both"
    ]
    assert "s3cret-of-us" not in output
    status, output = site(one(mail_routes=mixed, mail_mta="opensmtpd"))
    assert status == 0, output


def two(first=None, second=None, **variables):
    """Two servers of one group, whose variables are GOOD and these, and their own."""
    shared = {"mail_domains": GOOD["mail_domains"], "mail_users": GOOD["mail_users"], **variables}
    hosts = {"mail.example.org": {"mail_addresses": "198.51.100.25", **(first or {})},
             "mail2.example.org": {"mail_addresses": "198.51.100.26", **(second or {})}}
    return {"mail_servers": {"hosts": hosts, "vars": shared}}


def broken(site, inventory, *options):
    status, output = site(inventory, *options)
    return rules(output) if status else []


def test_two_servers_of_one_domain_need_nothing_but_their_addresses(site):
    assert broken(site, two()) == []
    # Of a host that the run does not reach as well.
    inventory = two({"mail_addresses": None})
    del inventory["mail_servers"]["hosts"]["mail.example.org"]["mail_addresses"]
    assert broken(site, inventory, "--limit", "mail2.example.org") == [
        "mail_addresses is needed: example.org is a domain of both, and the SPF record has the addresses of all hosts, also in a run "
        "that does not reach them (host mail.example.org)"
    ]
    assert broken(site, inventory, "--limit", "mail.example.org") == [
        "mail_addresses is needed, since mail2.example.org has domains of this host as well: the SPF record has the addresses of all "
        "hosts, also in a run that does not reach this one"
    ]
    # None of that where they share no domain.
    other = {"mail_domains": {"example.net": {}}, "mail_users": {"me@example.net": {"password_hash": HASH}}}
    assert broken(site, two({"mail_addresses": ["198.51.100.25"]}, {"mail_addresses": "{{ nowhere }}", **other}),
                  "--limit", "mail.example.org") == []


def test_what_is_not_known_of_the_other_server_is_reported_by_its_name(site):
    limit = "--limit", "mail.example.org"
    assert broken(site, two(second={"mail_addresses": ["{{ ansible_facts.nowhere }}"]}), *limit)[0].startswith(
        "mail_addresses of host mail2.example.org cannot be evaluated, and has to be known also in runs that do not reach it: "
    )
    assert broken(site, two(second={"mail_domains": "{{ nowhere }}"}), *limit)[0].startswith(
        "mail_domains of host mail2.example.org cannot be evaluated, and has to be known also in runs that do not reach it: "
    )
    assert broken(site, two(second={"mail_addresses": "10.0.0.1"}), *limit)[0].startswith("mail_addresses '10.0.0.1' is not public ")


def test_domains_that_are_evaluated_for_each_host_are_compared_as_each_has_them(site):
    """The same words in a group's variables may say another thing of each host."""
    differs = {"mail_domains": {"example.org": {"dmarc": {"policy": "{{ 'reject' if inventory_hostname is search('2') else 'none' }}"}}}}
    # Each of both would name the other.
    found = broken(site, two(**differs), "--limit", "mail.example.org")
    assert found == ["mail_domains['example.org'].dmarc is another one on host mail2.example.org, which serves the domain as well: "
                     "there is one record for all hosts, so all have to say the same"]
    own = {"mail_domains": "{{ {inventory_hostname.split('.')[0] ~ '.test': {}} }}", "mail_users": {}, "mail_postmaster": "me@example.com"}
    assert broken(site, two(**own)) == []


def test_domains_on_the_command_line_are_those_of_the_hosts_of_the_run(site):
    """Everybody else's are hidden by them. In the test network there are thirty hosts without addresses."""
    inventory = two()
    inventory["mail_servers"]["hosts"]["mail3.example.org"] = {}
    domains = json.dumps({"mail_domains": {"example.org": {}}})
    assert broken(site, inventory, "-e", domains, "--limit", "mail.example.org") == []
    assert len(broken(site, inventory, "-e", domains, "--limit", "mail.example.org,mail3.example.org")) == 1


def test_a_backup_mx_is_in_its_own_group_alone():
    groups = {"groups": {"mail_servers": ["a", "b"], "mail_relays": ["b", "c"]}}
    assert [name for name in "abcd" if _hosts.is_backup(groups, name)] == ["c"]
    assert not _hosts.is_backup({}, "c")
