#!/bin/sh
# pf.sh RULES ANCHOR: whether pf takes the user's rules, whose last line may be without an end, with our anchor behind them, read from the
# file ANCHOR.
{
  sed '/^# BEGIN postmaster.mail$/,/^# END postmaster.mail$/d' "$1" 2>/dev/null
  echo
  echo 'anchor "mail"'
  echo "load anchor \"mail\" from \"$2\""
} | pfctl -nf -
