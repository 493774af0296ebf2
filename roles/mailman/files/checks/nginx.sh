#!/bin/sh
# nginx.sh CONFIGURATION: whether nginx takes this part of its configuration, before anything changes.
main=$(mktemp) && trap 'rm -f "$main"' EXIT || exit 1
printf 'pid /dev/null;\nerror_log stderr;\nevents {}\nhttp { include "%s"; }\n' "$1" >"$main"
nginx -t -q -c "$main"
