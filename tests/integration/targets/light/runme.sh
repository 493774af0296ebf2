#!/usr/bin/env bash
# Run the tests of this target: ./runme.sh [OPTION OF PYTEST...]
# It needs the test network: tests/testnet/testnet up
set -e
cd "$(dirname "$0")"
exec ../../../ci/target --testnet "$@"
