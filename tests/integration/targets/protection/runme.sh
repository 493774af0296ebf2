#!/usr/bin/env bash
# Run the tests of this target: ./runme.sh [OPTION OF PYTEST...]
# It needs no test network.
set -e
cd "$(dirname "$0")"
exec ../../../ci/target "$@"
