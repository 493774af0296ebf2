# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fake of Mailman 2.1's list_lists and config_list, which no Debian has any more.

It does what the programs of 2.1.26 do, as far as anybody who calls them can see: what is printed and how, that input is
executed as Python, which values are coerced, kept or taken without a look, what goes to standard error, and that the exit
status is 0 even then. Each list is a JSON file in the directory that MAILMAN2_LISTS names.

    python3 mailman2.py list_lists|config_list ARGUMENT...
"""

from __future__ import annotations

import getopt
import json
import os
import re
import sys
import time
from pathlib import Path

RADIO, TOGGLE, STRING, TEXT, NUMBER, EMAILS, EMAILS_EX, HOST = range(8)
NO_YES = ("No", "Yes")
# Name: kind, legal values, default. An excerpt, in the order of the categories.
PROPERTIES = {
    "real_name": (STRING, None, "Test"),
    "owner": (EMAILS, None, ["owner@bigmail.test"]),
    "moderator": (EMAILS, None, []),
    "description": (STRING, None, "a list"),
    "info": (TEXT, None, ""),
    "subject_prefix": (STRING, None, "[Test] "),
    "from_is_list": (RADIO, ("No", "Munge From", "Wrap Message"), 0),
    "send_reminders": (RADIO, NO_YES, 1),
    "welcome_msg": (TEXT, None, ""),
    "send_welcome_msg": (RADIO, NO_YES, 1),
    "send_goodbye_msg": (RADIO, NO_YES, 1),
    "admin_immed_notify": (RADIO, NO_YES, 1),
    "admin_notify_mchanges": (RADIO, NO_YES, 0),
    "respond_to_post_requests": (RADIO, NO_YES, 1),
    "host_name": (HOST, None, "lists.test"),
    "max_message_size": (NUMBER, None, 40),
    "max_days_to_hold": (NUMBER, None, 0),
    "advertised": (RADIO, NO_YES, 1),
    "subscribe_policy": (RADIO, ("Confirm", "Require approval", "Confirm and approve"), 1),
    "unsubscribe_policy": (RADIO, NO_YES, 0),
    "ban_list": (EMAILS_EX, None, []),
    "default_member_moderation": (RADIO, NO_YES, 0),
    "member_moderation_action": (RADIO, ("Hold", "Reject", "Discard"), 0),
    "dmarc_moderation_action": (RADIO, ("Accept", "Munge From", "Wrap Message", "Reject", "Discard"), 0),
    "accept_these_nonmembers": (EMAILS_EX, None, []),
    "discard_these_nonmembers": (EMAILS_EX, None, []),
    "generic_nonmember_action": (RADIO, ("Accept", "Hold", "Reject", "Discard"), 1),
    "forward_auto_discards": (RADIO, NO_YES, 1),
    "require_explicit_destination": (RADIO, NO_YES, 1),
    "bounce_processing": (TOGGLE, NO_YES, 1),
    "bounce_score_threshold": (NUMBER, None, 5.0),
    "bounce_info_stale_after": (NUMBER, None, 7),
    "bounce_you_are_disabled_warnings": (NUMBER, None, 3),
    "bounce_you_are_disabled_warnings_interval": (NUMBER, None, 7),
    "autorespond_postings": (TOGGLE, NO_YES, 0),
    "autoresponse_postings_text": (TEXT, None, ""),
    "autorespond_admin": (TOGGLE, NO_YES, 0),
    "autorespond_requests": (RADIO, ("No", "Yes, w/discard", "Yes, w/forward"), 0),
    "autoresponse_request_text": (TEXT, None, ""),
    "autoresponse_graceperiod": (NUMBER, None, 90),
}
# Attributes of a list that no page of the web interface shows; config_list sets them all the same.
HIDDEN = {"digest_volume_frequency": 1, "mod_password": None}


class EmailAddressError(Exception):
    pass


def usage(text):
    print(text, file=sys.stderr)
    sys.exit(1)


def directory():
    return Path(os.environ["MAILMAN2_LISTS"])


def load(name):
    path = directory() / f"{name}.json"
    if not path.exists():
        usage(f"No such list: {name}")
    defaults = {key: value for key, (_kind, _legal, value) in PROPERTIES.items()}
    return {**defaults, **HIDDEN, **json.loads(path.read_text())}


def octets(text):
    """The representation of a Python 2 string, of which each character here is one octet."""
    return repr(text.encode("latin-1"))[1:]


def shown(value):
    if isinstance(value, list):
        return "[" + ", ".join(octets(entry) for entry in value) + "]"
    return octets(value) if isinstance(value, str) else repr(value)


def do_output(name, outfile):
    mlist = load(name)
    charset = mlist.get("charset", "us-ascii")
    lines = [
        "# -*- python -*-", f"# -*- coding: {charset} -*-", f'## "{name}" mailing list configuration settings',
        f"## captured on {time.ctime()}", "", "## General options", "#",
        "# Fundamental list characteristics, including descriptive", "# info.", "",
    ]  # fmt: skip
    for key, (kind, legal, _default) in PROPERTIES.items():
        value = mlist[key]
        lines.append(f"# The option {key}.")
        if kind in (STRING, TEXT):
            rows = value.splitlines()
            foreign = re.search("[\x80-\xff]", value)
            if not rows:
                lines.append(f"{key} = ''")
            elif len(rows) == 1 and charset != "us-ascii" and foreign:
                lines.append(f'{key} = "' + rows[0].replace('"', '\\"') + '"')
            elif len(rows) == 1:
                lines.append(f"{key} = {octets(rows[0])}")
            elif charset == "us-ascii" and foreign:
                lines.append(f"{key} = " + octets("\n".join(rows)))
            else:
                lines.append(f'{key} = """' + "\n".join(rows).replace('"', '\\"') + '"""')
        else:
            if kind in (RADIO, TOGGLE):
                first = 1 if key == "subscribe_policy" else 0
                lines += ["#", "# legal values are:", *(f'#    {number} = "{word}"' for number, word in enumerate(legal, first))]
            lines.append(f"{key} = {shown(value)}")
        lines.append("")
    data = ("\n".join(lines) + "\n").encode("latin-1")
    if outfile == "-":
        sys.stdout.buffer.write(data)
    else:
        Path(outfile).write_bytes(data)


def valid(mlist, key, kind, value):
    """GUIBase._getValidValue."""
    if kind in (RADIO, TOGGLE):
        return int(value)
    if kind in (EMAILS, EMAILS_EX):
        if isinstance(value, list):
            return value
        addresses = [line.strip() for line in value.split("\n") if line.strip()]
        good = re.compile(r"[^@\s]+@[^@\s]+$|\^" if kind == EMAILS_EX else r"[^@\s]+@[^@\s]+$")
        bad = [address for address in addresses if not good.match(address)]
        if bad:
            raise EmailAddressError(", ".join(bad))
        return addresses
    if kind == NUMBER:
        if isinstance(value, float):
            return value
        try:
            number = int(value)
        except ValueError:
            number = float(value)
        return mlist[key] if number < 0 else number
    return value


def do_input(name, infile, checkonly, verbose):
    mlist = load(name)
    code = Path(infile).read_bytes().decode("latin-1")
    values = {"mlist": mlist}
    exec(code, values)  # as config_list does
    for key, value in values.items():
        if key in ("mlist", "__builtins__"):
            continue
        if key not in mlist:
            print(f'attribute "{key}" ignored', file=sys.stderr)
            continue
        if verbose:
            print(f'attribute "{key}" changed', file=sys.stderr)
        if key not in PROPERTIES:
            print(f"Non-standard property restored: {key}", file=sys.stderr)
            mlist[key] = value
            continue
        try:
            mlist[key] = valid(mlist, key, PROPERTIES[key][0], value)
        except ValueError:
            print(f"Invalid value for property: {key}", file=sys.stderr)
        except EmailAddressError:
            print(f"Bad email address for option {key}: {value}", file=sys.stderr)
    for key in mlist.get("stubborn", []):
        mlist[key] = load(name)[key]  # to test what happens when a value is not kept
    if not checkonly:
        (directory() / f"{name}.json").write_text(json.dumps(mlist))
        with open(directory() / "saves.log", "a") as log:
            log.write(f"{name}: {' '.join(sorted(key for key in values if key not in ('mlist', '__builtins__')))}\n")


def config_list(arguments):
    try:
        options, names = getopt.getopt(arguments, "ci:o:vh", ["checkonly", "inputfile=", "outputfile=", "verbose", "help"])
    except getopt.error as error:
        usage(str(error))
    given = dict(options)
    infile, outfile = (given.get(short, given.get(long)) for short, long in (("-i", "--inputfile"), ("-o", "--outputfile")))
    if infile is not None and outfile is not None:
        usage("Only one of -i or -o is allowed")
    if infile is None and outfile is None:
        usage("One of -i or -o is required")
    if len(names) != 1:
        usage("List name is required")
    name = names[0].lower().strip()
    if outfile:
        do_output(name, outfile)
    else:
        do_input(name, infile, "-c" in given or "--checkonly" in given, "-v" in given or "--verbose" in given)


def list_lists(arguments):
    options, _names = getopt.getopt(arguments, "apbV:h", ["advertised", "public-archive", "bare", "virtual-host-overview=", "help"])
    bare = any(option in ("-b", "--bare") for option, _value in options)
    names = sorted(path.stem for path in directory().glob("*.json"))
    if not names and not bare:
        print("No matching mailing lists found")
    for name in names:
        print(name if bare else f"    {load(name)['real_name']} - {load(name)['description']}")


if __name__ == "__main__":
    {"config_list": config_list, "list_lists": list_lists}[sys.argv[1]](sys.argv[2:])
