#!/bin/sh
# Runs the interoperability suites of eclipse/paho.mqtt.testing (27 tests of MQTT 5, 10 of 3.1.1) against
# a petrel of its own. Usage: conformance/run.sh PETREL CHECKOUT, where PETREL is the built binary and
# CHECKOUT a checkout of that repository. Needs python3. Exits with 0 when every test passes.
set -eu

[ $# = 2 ] || { echo "usage: $0 PETREL CHECKOUT" >&2; exit 2; }
petrel=$(realpath "$1")
suites=$(realpath "$2")/interoperability
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
pid=
finish() {
	if [ -n "$pid" ]; then
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	fi
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

"$petrel" serve --dev --config "$here/paho.yaml" --data "$work/data" \
	--mqtt 127.0.0.1:0 --http 127.0.0.1:0 >"$work/log" 2>&1 &
pid=$!
port=
tries=0
while [ -z "$port" ]; do
	port=$(sed -n 's|.*mqtt://127\.0\.0\.1:\([0-9]*\).*|\1|p' "$work/log" | head -n 1)
	tries=$((tries + 1))
	if [ "$tries" -gt 300 ] || ! kill -0 "$pid" 2>/dev/null; then
		cat "$work/log" >&2
		exit 1
	fi
	[ -n "$port" ] || sleep 0.1
done

# The suites are scripts; this starts them with the port and keeps their options from unittest. And it has
# a client wait for its SUBACK: test_request_response and test_subscribe_options wait for that of the other
# client, which was there before, and then publish on one connection while the SUBSCRIBE is on its way on
# the other. MQTT orders nothing between two connections: of 200 such trials, 15 % went the other way round
# here, and 35 % with mosquitto.
cat >"$work/start.py" <<'PY'
import runpy, sys, time, unittest
suite, port = sys.argv[1:]
main = unittest.main
unittest.main = lambda: main(module="__main__", argv=[suite], verbosity=1)
sys.argv = [suite, "--port", port]
sys.path.insert(0, ".")

import mqtt.clients.V5 as v5

subscribe = v5.Client.subscribe

def subscribe_and_wait(client, *args, **kwargs):
    acks = getattr(client.callback, "subscribeds", [])
    had = len(acks)
    packet_id = subscribe(client, *args, **kwargs)
    patience = time.monotonic() + 1
    while len(acks) == had and time.monotonic() < patience:
        time.sleep(0.001)
    return packet_id

v5.Client.subscribe = subscribe_and_wait
runpy.run_path(suite, run_name="__main__")
PY
failed=0
cd "$suites"
for suite in client_test.py client_test5.py; do
	python3 -W ignore "$work/start.py" "$suite" "$port" >"$work/$suite.log" 2>&1 || failed=1
	echo "$suite: $(grep -E '^(Ran|OK|FAILED)' "$work/$suite.log" | tr '\n' ' ')"
	grep -E '^(FAIL|ERROR): ' "$work/$suite.log" || true
done
exit $failed
