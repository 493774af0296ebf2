#!/bin/sh
# httpd.sh CONFIGURATION SERVER NAME: whether httpd takes the user's own configuration with our server behind it, before anything changes.
# It reads its configuration twice, so a pipe will not do.
both=$(mktemp) && trap 'rm -f "$both"' EXIT || exit 1
{ grep -vxF 'include "/etc/httpd.mail.conf"' "$1" 2>/dev/null; cat "$2"; } >"$both"
httpd -n -f "$both" || {
  echo "With our server, /etc/httpd.conf is not valid. If it has one for $3 on port 80," \
    "let that one serve /.well-known/acme-challenge/ and set certificate_webroot to where from."
  exit 1
}
