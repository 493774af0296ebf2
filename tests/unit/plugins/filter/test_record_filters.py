# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters: documented as they are, and those of records as templates use them, with their errors in words."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.postmaster.mail.plugins.filter._service import PARTS

ROOT = Path(__file__).resolve().parents[4]
PACKAGE = "ansible_collections.postmaster.mail.plugins.filter"
MODULES = [importlib.import_module(f"{PACKAGE}.{path.stem}") for path in sorted((ROOT / "plugins/filter").glob("*[a-z].py"))]


def name(module):
    return module.__name__.rpartition(".")[2]


def called(filter_name, *args, **kwargs):
    return importlib.import_module(f"{PACKAGE}.{filter_name}").FilterModule().filters()[filter_name](*args, **kwargs)


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_a_filter_has_its_own_name_and_documented_options(module):
    filters = module.FilterModule().filters()
    documentation = yaml.safe_load(module.DOCUMENTATION)
    assert list(filters) == [name(module)] == [documentation["name"]]
    given = list(inspect.signature(filters[name(module)]).parameters)[1:]
    assert sorted(given) == sorted(set(documentation["options"]) - {"_input"})
    positional = [word.strip() for word in documentation.get("positional", "").split(",") if word.strip()]
    assert given[: len(positional)] == positional
    documented = {option: f"{row['type']}[dict]" if row.get("elements") == "dict" else row["type"]
                  for option, row in documentation["options"].items()}  # fmt: skip
    documented[next(iter(inspect.signature(filters[name(module)]).parameters))] = documented.pop("_input")
    assert filters[name(module)].types == {option: kind for option, kind in documented.items() if kind != "int"}
    assert yaml.safe_load(module.RETURN)


ERRORS = [
    (lambda: called("spf_record", ["x"]),
     "spf_record: addresses 'x' is not an IPv4 or IPv6 address or network in CIDR form (RFC 4632 section 3.1)"),
    (lambda: called("spf_record", [], ["include:a.org"], answers={"a.org": {}}),
     "spf_record: SPF record 'v=spf1 include:a.org ~all': 'include:a.org' needs one SPF record at a.org, which has 0"
     " (RFC 7208 section 5.2)"),
    (lambda: called("dkim_record", "!"), "dkim_record: public_key is not base64 (RFC 6376 section 3.6.1)"),
    (lambda: called("dmarc_record", "x"), "dmarc_record: policy 'x' must be one of: none, quarantine, reject (RFC 9989 section 4.7)"),
    (lambda: called("mta_sts_record", [], "enforce"),
     "mta_sts_record: mx must name at least one host when mode is enforce (RFC 8461 section 3.2)"),
    (lambda: called("tls_rpt_record", []), "tls_rpt_record: rua must name at least one address or URI (RFC 8460 section 3)"),
    (lambda: called("tlsa_record", ""), "tlsa_record: certificate has no PEM block (RFC 7468)"),
    (lambda: called("txt_strings", 7), "txt_strings: value 7 must be a string, not int"),
    (lambda: called("txt_strings", "x", quoted="maybe"), "txt_strings: quoted 'maybe' must be true or false"),
    (lambda: called("dmarc_record", "reject", testing=[]), "dmarc_record: testing [] must be true or false"),
    (lambda: called("dmarc_record", "reject", rua=None), "dmarc_record: rua must be a list, not NoneType"),
    (lambda: called("dmarc_record", "reject", rua="a@example.org"), "dmarc_record: rua must be a list, not str"),
    (lambda: called("dmarc_record", "reject", failure_options={}), "dmarc_record: failure_options must be a list, not dict"),
    (lambda: called("dmarc_record", None), "dmarc_record: policy None must be a string, not NoneType"),
    (lambda: called("spf_record", None), "spf_record: addresses must be a list, not NoneType"),
    (lambda: called("spf_record", [], None), "spf_record: terms must be a list, not NoneType"),
    (lambda: called("spf_record", [], domain=None), "spf_record: domain None must be a string, not NoneType"),
    (lambda: called("spf_record", [], answers=["v=spf1"]), "spf_record: answers must be a dictionary, not list"),
    (lambda: called("spf_record", [], answers={"a.org": ["v=spf1"]}),
     "spf_record: answers must map names to record types to lists of strings, and 'a.org' has ['v=spf1']"),
    (lambda: called("spf_record", [], answers={"a.org": {"TXT": "v=spf1"}}),
     "spf_record: answers must map names to record types to lists of strings, and 'a.org' has 'TXT': 'v=spf1'"),
    (lambda: called("dkim_record", "", flags=None), "dkim_record: flags must be a list, not NoneType"),
    (lambda: called("mta_sts_record", 5), "mta_sts_record: mx must be a list, not int"),
    (lambda: called("tls_rpt_record", None), "tls_rpt_record: rua must be a list, not NoneType"),
    (lambda: called("_service", ["$2b$"], "dovecot"), "given must be a dictionary, not list"),
    (lambda: called("_service", {}, 5), "service 5 must be a string, not int"),
    (lambda: called("_service", {}, "exim"), "service 'exim' has no part 'values'"),
    (lambda: called("_service", {"model": "{"}, "delivery"),
     "model is not the text of one: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    (lambda: called("_service", {"model": "[]"}, "delivery"), "model is not the text of one"),
    (lambda: called("_service", {"clients": "everybody"}, "tls", "ciphers"),
     "clients 'everybody' are unknown; they are one of users, servers"),
    (lambda: called("_model", {"mta": "exim"}),
     "The inventory of this mail server does not hold together: one rule is broken:\n"
     "- mail_mta 'exim' is unknown; it is one of postfix, opensmtpd"),
    (lambda: called("_service", {"model": "{}"}, "delivery"), "given lacks the key 'users'"),
]


@pytest.mark.parametrize(("call", "text"), ERRORS, ids=[row[1][:40] for row in ERRORS])
def test_errors(call, text):
    with pytest.raises(AnsibleFilterError) as error:
        call()
    assert str(error.value) == text


VALUES = [
    # expression, value
    ("['2001:db8::25', '198.51.100.25'] | postmaster.mail.spf_record(all='-all')", "v=spf1 ip4:198.51.100.25 ip6:2001:db8::25 -all"),
    ("[] | postmaster.mail.spf_record(['redirect=example.net'], all='')", "v=spf1 redirect=example.net"),
    ("'none' | postmaster.mail.dmarc_record(percent=50, rua=['a@example.org'])", "v=DMARC1; p=none; pct=50; rua=mailto:a@example.org"),
    ("'reject' | postmaster.mail.dmarc_record(testing='no')", "v=DMARC1; p=reject"),
    ("'reject' | postmaster.mail.dmarc_record(testing='false')", "v=DMARC1; p=reject"),
    ("'reject' | postmaster.mail.dmarc_record(testing='yes')", "v=DMARC1; p=reject; t=y"),
    ("'reject' | postmaster.mail.dmarc_record(testing=true, percent=none)", "v=DMARC1; p=reject; t=y"),
    ("['a@example.org'] | map('upper') | postmaster.mail.tls_rpt_record", "v=TLSRPTv1; rua=mailto:a@example.org"),
    ("'a;b' | postmaster.mail.txt_strings(quoted='no')", ["a;b"]),
    ("('x' * 300) | postmaster.mail.txt_strings", ["x" * 255, "x" * 45]),
    ("'a;b' | postmaster.mail.txt_strings(quoted=true)", '"a;b"'),
    ("({'addresses': '2001:DB8:0::25'} | postmaster.mail._model).addresses", {"ipv4": [], "ipv6": ["2001:db8::25"]}),
    ("({'model': ({'postmaster': 'me@example.org'} | postmaster.mail._model).text} | postmaster.mail._service('delivery')).system.root",
     ["me@example.org"]),
    ("(['a.example.org'] | postmaster.mail.mta_sts_record).policy",
     "version: STSv1\r\nmode: testing\r\nmx: a.example.org\r\nmax_age: 604800\r\n"),
    ("['a@example.org'] | postmaster.mail.tls_rpt_record", "v=TLSRPTv1; rua=mailto:a@example.org"),
]


TEMPLATES = [("{{ " + expression + " }}", value) for expression, value in VALUES]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """What ansible-playbook makes of the templates, in their order: all in one run, because starting it takes a second."""
    directory = tmp_path_factory.mktemp("play")
    task = {"ansible.builtin.copy": {"content": "{{ rendered | to_json }}", "dest": str(directory / "out"), "mode": "0600"}}
    variables = {"rendered": [template for template, _value in TEMPLATES], "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [task]}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(directory / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((directory / "out").read_text())


@pytest.mark.parametrize("number", range(len(TEMPLATES)), ids=[template for template, _value in TEMPLATES])
def test_templates(rendered, number):
    assert rendered[number] == TEMPLATES[number][1]


def test_a_key_of_openssl_to_record_and_tlsa(tmp_path):
    key = tmp_path / "key"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], capture_output=True, check=True)
    public = subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], capture_output=True, text=True, check=True).stdout
    body = "".join(public.splitlines()[1:-1])
    assert called("dkim_record", body) == "v=DKIM1; k=rsa; p=" + body
    assert called("tlsa_record", public).startswith("3 1 1 ")
    assert Path(key).read_text().splitlines()[1] not in called("tlsa_record", public)


ONE = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
TWO = "v=DKIM1; k=ed25519; p=YKFjoZxg8QPEaTWTFJC1Rd6kCWUCRLkyTh+MT7bL0JI="
REUSED = [
    pytest.param(False, [TWO], True, id="another key"),
    pytest.param(False, [ONE.replace("k=", "t=y; k="), TWO], True, id="another key beside our own"),
    pytest.param(False, ["v=DKIM1; k=ed25519; p="], True, id="a key that was revoked"),
    pytest.param(False, ["k=rsa2; p=AAAA"], True, id="a key of a kind that is not known here"),
    pytest.param(False, [ONE.replace("k=", "t=y; k=")], False, id="our own key in other words"),
    pytest.param(False, ["v=spf1 -all"], False, id="something else, as below a wildcard"),
    pytest.param(False, [], False, id="nothing"),
    pytest.param(True, [TWO], False, id="a key that signs already"),
]


@pytest.mark.parametrize(("in_use", "served", "reused"), REUSED)
def test_a_selector_that_is_another_keys(in_use, served, reused):
    key = {"selector": "mail", "path": "/keys/example.org.mail.key", "name": "mail._domainkey.example.org", "value": ONE, "in_use": in_use}
    missing = [
        {"name": "mail._domainkey.Example.org.", "type": "TXT", "values": [ONE], "remove": served},
        {"name": "example.org", "type": "TXT", "values": [], "remove": [TWO]},
    ]
    others = {"example.net": {**key, "name": "mail._domainkey.example.net"}, "example.com": {**key, "name": None, "value": None}}
    found = called("_service", {"keys": {"example.org": key, **others}, "missing": missing}, "dns", "reused")
    assert found == [
        "The DKIM key of example.org in /keys/example.org.mail.key has the selector 'mail', and public DNS serves another key at "
        "mail._domainkey.example.org: verifiers may keep that for its TTL, and would fail every signature (RFC 6376 section 3.1). Name a "
        "selector that the domain has never had in mail_domains['example.org'].dkim.selector, or restore the other key to that path; or "
        "take its record out of DNS, and run again when its TTL is over."
    ] * reused


HOSTILE = [None, 1, True, "x", "\n", [], {}, [1], [None], [{}], {1: 2}, {"a": None}, {"users": 1, "aliases": 2, "domains": 3,
    "postmaster": 4},
           {"model": 1, "delivery": 2}, float("inf"), float("nan"), b"x", "x" * 100_000]  # fmt: skip


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_whatever_a_filter_is_given_its_error_is_in_words(module):
    (function,) = module.FilterModule().filters().values()
    signature = inspect.signature(function)
    for arguments in [[value] for value in HOSTILE] + [[value, other] for value in HOSTILE for other in HOSTILE]:
        try:
            signature.bind(*arguments)
        except TypeError:  # too few or too many
            continue
        try:
            function(*arguments)
        except AnsibleFilterError as exc:
            assert 0 < len(str(exc)) < 2500, arguments


#: Name -> what a part of a service may be given under it, all of it wrong.
GIVEN = ("model", "os_family", "keys", "seen", "missing", "today", "headers", "version", "expected", "facts", "owner", "syntax", "srs",
         "signing", "trusted", "clients", "dnsbls", "disabled_modules", "rdns", "static_names", "root_hints", "forwarders")  # fmt: skip


@pytest.mark.parametrize("part", sorted(PARTS), ids="-".join)
def test_whatever_a_service_is_given_its_error_is_in_words(part):
    models = [json.dumps(value) for value in HOSTILE if not isinstance(value, bytes)]
    models.append(called("_model", {"fqdn": "mail.example.org"})["text"])
    for value in HOSTILE:
        for model in models:
            for given in (dict.fromkeys(GIVEN, value), {**dict.fromkeys(GIVEN, value), "model": model}):
                try:
                    called("_service", given, *part)
                except AnsibleFilterError as exc:
                    assert 0 < len(str(exc)) < 2500, given
