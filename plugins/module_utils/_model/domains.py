# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mail_domains`` and ``mail_addresses`` mean: the domains with their records, and the addresses of the server."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names, _secret_text
from ansible_collections.postmaster.mail.plugins.module_utils._dns import plan as dns_plan
from ansible_collections.postmaster.mail.plugins.module_utils._dns import rdata
from ansible_collections.postmaster.mail.plugins.module_utils._errors import shown
from ansible_collections.postmaster.mail.plugins.module_utils._model import sinks
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems
from ansible_collections.postmaster.mail.plugins.module_utils._records import dkim, dmarc, spf
from ansible_collections.postmaster.mail.plugins.module_utils._records import txt as txt_record

#: Selectors that the collection makes are a day and part of the key's digest; as long as any of them.
_SELECTOR = "s20261128-0a1b2c3d"


def read_addresses(problems: Problems, given: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"ipv4": [], "ipv6": []}
    for text in problems.strings(given, "mail_addresses"):
        address = problems.attempt(_names.ip_address, text, "mail_addresses")
        if address is None:
            continue
        why = _names.not_public(str(address))
        if why:
            problems.add(
                f"mail_addresses {shown(text)} is not public ({why}): other mail servers cannot reach it. "
                "Set mail_addresses to the addresses that the world sees (behind NAT: the router's)"
            )
        family = found[f"ipv{address.version}"]
        if str(address) not in family:
            family.append(str(address))
    return found


def _mx_options(problems: Problems, given: Any, where: str) -> dict[str, Any]:
    """Return ``hosts``, name to preference, ``drop``, those that are to be in the MX records no more, and ``elsewhere``, whether others
    alone take its mail."""
    if given is False:
        return {"hosts": {}, "drop": [], "elsewhere": True}
    found: dict[str, Any] = {"hosts": {}, "drop": []}
    for key, value in problems.mapping(given, where).items():
        host = problems.attempt(_names.domain_name, key, where)
        if host is None:
            continue
        if host in found["hosts"] or host in found["drop"]:
            problems.add(f"{where}[{shown(key)}] is declared twice (names are compared without case)")
        if value is False:
            found["drop"].append(host)
        elif isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
            problems.add(f"{where}[{shown(key)}] {shown(value)} must be a preference from 0 to 65535 (RFC 5321 section 5.1), or false "
                         "for one that is to be in the MX records no more")
        else:
            found["hosts"][host] = int(value)
    return {"hosts": dict(sorted(found["hosts"].items())), "drop": sorted(found["drop"]), "elsewhere": False}


def _spf_options(problems: Problems, given: Any, where: str, domain: str) -> dict[str, Any]:
    options = problems.mapping(given, where, ("all", "terms", "drop"))
    end: Any = options.get("all")
    if end is not None and problems.choice(end, f"{where}.all", ("-all", "~all", "?all")) != end:
        end = None
    result = {"all": end, "terms": problems.strings(options.get("terms"), f"{where}.terms"),
              "drop": problems.strings(options.get("drop"), f"{where}.drop")}
    for text in result["drop"]:
        problems.attempt(spf.term, text, f"{where}.drop")
    problems.within(where, spf.build, (), result["terms"], result["all"], None, domain)
    return result


def _dkim_options(problems: Problems, given: Any, where: str, domain: str) -> dict[str, Any]:
    if given is False:
        return {"enabled": False, "selector": None, "bits": 2048}
    options = problems.mapping({} if given is True else given, where, ("selector", "bits"))
    selector = options.get("selector")
    if selector is not None:
        selector = problems.attempt(_names.selector, selector, f"{where}.selector")
    problems.within(where, dkim.name, selector or _SELECTOR, domain)
    return {"enabled": True, "selector": selector, "bits": problems.integer(options.get("bits", 2048), f"{where}.bits", 1024, 4096)}


def _dmarc_options(problems: Problems, given: Any, where: str, domain: str) -> dict[str, Any] | None:
    if given is False:
        return None
    options = problems.mapping(
        {} if given is True else given, where, ("policy", "subdomain_policy", "rua", "ruf", "adkim", "aspf")
    )
    problems.attempt(_names.owner_name, dmarc.name(domain), f"{where}: name")
    policies = ("none", "quarantine", "reject")
    subdomain = options.get("subdomain_policy")
    result: dict[str, Any] = {
        "policy": problems.choice(options.get("policy", "quarantine"), f"{where}.policy", policies),
        "subdomain_policy": None if subdomain is None else problems.choice(subdomain, f"{where}.subdomain_policy", policies),
        "adkim": problems.choice(options.get("adkim", "r"), f"{where}.adkim", ("r", "s")),
        "aspf": problems.choice(options.get("aspf", "r"), f"{where}.aspf", ("r", "s")),
    }
    for tag, default in (("rua", [f"postmaster@{domain}"]), ("ruf", [])):
        values = problems.strings(options.get(tag, default), f"{where}.{tag}")
        result[tag] = [problems.attempt(dmarc.destination, value, f"{where}.{tag}", default=value) for value in values]
    return result


def _txt_values(problems: Problems, txt: Any, where: str, domain: str) -> dict[str, list[str]]:
    """Return free TXT values by the absolute names that they stand at."""
    if isinstance(txt, (str, list)):
        txt = {"@": txt}
    records: dict[str, list[str]] = {}
    for label, values in problems.mapping(txt, f"{where}.txt").items():
        owner = problems.within(f"{where}.txt", dns_plan.absolute_name, str(label), domain)
        texts = problems.strings(values, f"{where}.txt[{shown(label)}]")
        if not texts:
            problems.add(f"{where}.txt[{shown(label)}] names no value")
        for text in texts:
            if problems.attempt(_secret_text.without_private_key, text, f"{where}.txt[{shown(label)}]") is None:
                continue
            if problems.attempt(txt_record.strings, text, f"{where}.txt[{shown(label)}]"):
                problems.within(f"{where}.txt[{shown(label)}]", rdata.from_text, "TXT", text)
        if owner in records:
            problems.add(f"{where}.txt[{shown(label)}] is declared twice ({owner})")
        elif owner:
            records[owner] = texts
    return records


#: What a domain that neither sends nor takes mail may have beside that.
_OF_PARKED = ("parked", "txt", "mx")


def read_domains(problems: Problems, given: Any, parked: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the domains of mail, by name.

    :param parked: takes the others, names with ``txt`` that neither send nor take mail
    """
    keys = ("dkim", "mx", "spf", "dmarc", "catch_all", "alias_of", "txt", "mta_sts", "tls_rpt", "parked")
    domains: dict[str, dict[str, Any]] = {}
    for key, value in problems.mapping(given, "mail_domains").items():
        name = problems.attempt(_names.domain_name, key, "mail_domains")
        if name is None:
            continue
        where = f"mail_domains[{shown(key)}]"
        if name in domains or name in parked:
            problems.add(f"{where} is declared twice (names are compared without case)")
        options = problems.mapping(value, where, keys)
        if problems.boolean(options.get("parked", False), f"{where}.parked"):
            for option in options.keys() - set(_OF_PARKED):
                problems.add(f"{where}.{option} has no meaning: a parked domain neither sends nor takes mail")
            problems.attempt(_names.owner_name, dmarc.name(name), f"{where}.parked: name")
            mx = _mx_options(problems, options.get("mx"), f"{where}.mx")
            for host in mx["hosts"]:
                problems.add(f"{where}.mx[{shown(host)}] has no meaning: a parked domain takes no mail; false is for an MX that is to go")
            if mx["elsewhere"]:
                problems.add(f"{where}.mx false has no meaning: a parked domain takes no mail, here or elsewhere")
            parked[name] = {"txt": _txt_values(problems, options.get("txt"), where, name), "mx": mx}
            continue
        for later in ("mta_sts", "tls_rpt"):
            if later in options:
                problems.add(f"{where}.{later} is not built yet in this release: take it out")
        records = _txt_values(problems, options.get("txt"), where, name)
        domains[name] = {
            "dkim": _dkim_options(problems, options.get("dkim"), f"{where}.dkim", name),
            "mx": _mx_options(problems, options.get("mx"), f"{where}.mx"),
            "spf": None if options.get("spf") is False else _spf_options(problems, options.get("spf"), f"{where}.spf", name),
            "dmarc": _dmarc_options(problems, options.get("dmarc"), f"{where}.dmarc", name),
            "catch_all": [
                address
                for text in problems.strings(options.get("catch_all"), f"{where}.catch_all")
                if (address := problems.attempt(sinks.target_address, text, f"{where}.catch_all"))
            ],
            "alias_of": problems.attempt(_names.domain_name, options["alias_of"], f"{where}.alias_of", default="")
            if options.get("alias_of") is not None else "",
            "txt": records,
        }
        for option in ("catch_all", "alias_of") if domains[name]["mx"]["elsewhere"] else ():
            if domains[name][option]:
                problems.add(f"{where}.{option} has no meaning beside mx: false, by which others take the mail of {name}")
    return domains


def check_alias_of(problems: Problems, domains: Mapping[str, Mapping[str, Any]], parked: Container[str]) -> None:
    """Find domains that are said to be another one, which has no addresses to share."""
    for name, options in domains.items():
        other, where = options["alias_of"], f"mail_domains[{name!r}]"
        if not other:
            continue
        if other == name:
            problems.add(f"{where}.alias_of {shown(other)} is the domain itself")
        elif other in parked:
            problems.add(f"{where}.alias_of {shown(other)} is parked: it takes no mail")
        elif other not in domains:
            problems.add(f"{where}.alias_of {shown(other)} is not in mail_domains. To send all mail of {name} there, unknown names "
                         "included, is what its catch_all is for")
        elif domains[other]["mx"]["elsewhere"]:
            problems.add(f"{where}.alias_of {shown(other)} has no addresses here: others take its mail (mx: false)")
        elif domains[other]["alias_of"]:
            problems.add(f"{where}.alias_of {shown(other)} is an alias itself: name {shown(domains[other]['alias_of'])}")
        if options["catch_all"]:
            problems.add(f"{where}.catch_all has no meaning beside alias_of: {name} has the catch-all of {other}")


def check_parked(problems: Problems, model: Mapping[str, Any]) -> None:
    """Find what contradicts that a domain neither sends nor takes mail."""
    names = [(model["fqdn"], "is the name of this server, which sends")]
    names += [(address.rpartition("@")[2], f"has mail_{variable} {shown(address)}")
              for variable in ("users", "aliases") for address in model[variable]]
    if model["domains"].get(model["fqdn"], {}).get("mx", {}).get("elsewhere"):
        problems.add(f"mail_domains[{model['fqdn']!r}].mx false: it is the name of this server, whose own mail is taken here")
    for name, what in names:
        if name in model["parked"]:
            problems.add(f"mail_domains[{name!r}].parked: it {what}, and a parked domain neither sends nor takes mail")


def check_managed_names(problems: Problems, domains: Mapping[str, Mapping[str, Any]], parked: Mapping[str, Mapping[str, Any]]) -> None:
    """Find free TXT values at names where a domain of ours has a record of that kind made for it."""
    managed: dict[str, tuple[bytes, str]] = {}
    for name, options in domains.items():
        where = f"mail_domains[{name!r}]"
        if options["spf"] is not None:
            managed[name] = (b"v=spf1", f"{where}.spf")
        if options["dmarc"] is not None:
            managed[dmarc.name(name)] = (b"v=DMARC1", f"{where}.dmarc")
        if options["dkim"]["enabled"] and options["dkim"]["selector"]:
            managed[dkim.name(options["dkim"]["selector"], name)] = (b"", f"{where}.dkim")
    for name in parked:
        managed[name] = (b"v=spf1", f"mail_domains[{name!r}].parked")
        managed[dmarc.name(name)] = (b"v=DMARC1", f"mail_domains[{name!r}].parked")
    for name, options in {**domains, **parked}.items():
        for owner in options["txt"].keys() & managed.keys():
            version, option = managed[owner]
            for text in options["txt"][owner]:
                if dns_plan.owned(text.encode("utf-8", "replace"), version):
                    problems.add(
                        f"mail_domains[{name!r}].txt holds {shown(text)} for {owner}, where {option} makes a record: "
                        + (f"use {option}, or set it to false to publish your own" if not option.endswith(".parked") else "take it out")
                    )
