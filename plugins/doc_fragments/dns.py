# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options that ``postmaster.mail.dns_records`` and ``postmaster.mail.dns_txt_record`` share."""

    DOCUMENTATION = r"""
options:
  name:
    description:
      - Name of the record, in full (with or without its final dot), relative to O(zone), or V(@) for the zone itself.
      - A relative name has at most one label after those with an underscore, as in V(mail), V(s1._domainkey) or
        V(_25._tcp.mail). A longer one is taken for a full name, so that a name of another zone is an error.
      - Give this for one record, or O(records) for many.
    type: str
  zone:
    description:
      - Zone of the record. Left out, it is found by the closest SOA record, asked of O(server) or else of O(nameservers).
    type: str
  values:
    description:
      - The values.
      - TXT values are plain text without quotation marks. They are split into strings of at most 255 octets where needed,
        and compare by their joined octets, so that another splitting is no change.
      - "Names in values are absolute. Forms are V(10 mail.example.org) for MX, V(0 1 465 mail.example.org) for SRV,
        V(3 1 1 0a1b...) for TLSA and V(0 issue letsencrypt.org) for CAA."
      - May be left out only with O(state=absent).
    type: list
    elements: str
    default: []
  ttl:
    description:
      - Time to live in seconds. All records of one type at one name have one TTL (RFC 2181 section 5.2), so it is set for
        all of them; another TTL alone is a change.
    type: int
    default: 3600
  state:
    description:
      - V(present) - the values are there; others at that name and type stay, unless O(owned_prefix) says that they are owned.
      - V(exact) - the values, and no others of that type at that name, are there. With O(owned_prefix) only among those.
      - V(absent) - the values are not there; without O(values), none of that type at that name, or none that O(owned_prefix)
        owns.
    type: str
    choices: [present, exact, absent]
    default: present
  owned_prefix:
    description:
      - Of the TXT values at that name, only those that begin with this text are replaced by O(values), or removed; all others
        are left alone. O(values) must begin with it, too.
      - A version tag such as V(v=spf1) is matched as a whole, so it does not own V(v=spf10 ...).
    type: str
  txt_encoding:
    description:
      - What a TXT value may consist of. DNS carries octets and has no rule for other characters than ASCII, so these are
        refused with V(ascii); V(utf-8) encodes them so.
    type: str
    choices: [ascii, utf-8]
    default: ascii
  backend:
    description:
      - V(rfc2136) - dynamic update of the primary server, one atomic message for each zone.
      - V(zone_file) - edit zone files on the host, the one of the primary server. It needs dnspython only if O(zone) is left out
        or with O(wait=true).
      - V(none) - change nothing, and tell in RV(records[].served), RV(served) and RV(missing) what the authoritative servers
        serve and what is missing, for zones that are edited by hand. A domain that cannot be found is no error then.
    type: str
    choices: [rfc2136, zone_file, none]
    default: rfc2136
  server:
    description:
      - Name or address of the primary server, for O(backend=rfc2136). Left out, it is the one that the zone's SOA record names.
    type: str
  port:
    description: Port of O(server).
    type: int
    default: 53
  tsig_name:
    description: Name of the TSIG key (RFC 8945). Left out, updates are not signed.
    type: str
  tsig_algorithm:
    description:
      - Algorithm of the TSIG key. V(hmac-sha1) is there for old servers only (RFC 8945 section 6).
    type: str
    choices: [hmac-sha256, hmac-sha384, hmac-sha512, hmac-sha224, hmac-sha1]
    default: hmac-sha256
  tsig_secret:
    description: Secret of the TSIG key in base64, as it stands in the key file.
    type: str
  sign_queries:
    description:
      - Sign the questions to the primary server, too. Needed if it chooses a view by the key. A server that refuses to answer
        unsigned questions is asked again with a signature in any case.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for the primary server.
    type: float
    default: 10
  zone_file:
    description:
      - Path of the zone file, for O(backend=zone_file). C({zone}) in it stands for the name of the zone.
      - A zone that BIND keeps itself (dynamic updates, with a C(.jnl) file) is refused.
    type: path
  zone_files:
    description: Paths of zone files by the name of their zone, where O(zone_file) is not enough.
    type: dict
    default: {}
  check_command:
    description:
      - Command that checks a zone file and fails if a server would not load it. C({zone}) and C({file}) in it are replaced.
      - Default is the first of named-checkzone, nsd-checkzone and kzonecheck that is installed. It is an error if there is none.
    type: list
    elements: str
    default: []
  reload_command:
    description:
      - Command to run after a zone file was replaced, such as C([rndc, reload, "{zone}"]). C({zone}) and C({file}) in it are
        replaced. Without it, load the zone yourself, and before O(wait=true) can come true.
      - If it fails, the former zone file is put back and the task fails, so that the next run does both again.
    type: list
    elements: str
    default: []
  backup:
    description: Keep the old zone file beside the new one.
    type: bool
    default: false
  wait:
    description:
      - Wait until every authoritative server of every zone serves the records. Each is asked directly, over both IPv4 and
        IPv6. One that this host has no route to is V(unknown) in RV(served) and not waited for.
      - Where the look-up of a zone's name servers or of their addresses fails, in either family, it is repeated until the time
        is over, and the records do not count as served before it succeeds.
      - In check mode, and with O(backend=none) and O(wait=false), there is one look instead.
    type: bool
    default: false
  wait_timeout:
    description: Seconds to wait.
    type: float
    default: 120
  on_timeout:
    description: Whether the task fails or warns when O(wait_timeout) is over. Records that were written stay written.
    type: str
    choices: [fail, warn]
    default: fail
  nameservers:
    description:
      - Addresses of the recursive resolvers that are asked for zones and name servers. Default are those of the system.
    type: list
    elements: str
    default: []
  nameserver_port:
    description: Port of O(nameservers).
    type: int
    default: 53
  authoritative_port:
    description: Port at which authoritative servers are asked; another one than V(53) is for tests.
    type: int
    default: 53
requirements:
  - dnspython 2.3 or later
"""
