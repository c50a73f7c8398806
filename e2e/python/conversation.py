"""A conversation of paho-mqtt with petrel: python conversation.py host port

MQTT 3.1.1 throughout. It writes "restart" when it wants the server to crash and come back, reads a line
when that has happened, and ends with "ok". Anything that is not as it should be ends it with an error.
"""

import json
import queue
import sys
import threading

import paho.mqtt.client as mqtt

HOST, PORT = sys.argv[1], int(sys.argv[2])
PATIENCE = 30  # seconds


class Client:
    """One device of a user; its messages are taken one by one with take()."""

    def __init__(self, user, client_id):
        self.user, self.client_id = user, client_id
        self.messages = queue.Queue()
        self.connect()

    def connect(self):
        """Connects, or resumes the session after vanish() or a crash of the server."""
        self.subacks, self.connected, self.closed = queue.Queue(), queue.Queue(), threading.Event()
        c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=self.client_id,
                        protocol=mqtt.MQTTv311, clean_session=False, reconnect_on_failure=False)
        c.username_pw_set(self.user, "any")
        c.on_connect = lambda _c, _u, flags, reason, _p: self.connected.put((flags.session_present, reason))
        c.on_disconnect = lambda *_: self.closed.set()
        c.on_subscribe = lambda _c, _u, _mid, codes, _p: self.subacks.put(codes)
        c.on_message = lambda _c, _u, m: self.messages.put((m.topic, m.payload.decode()))
        c.connect(HOST, PORT)
        c.loop_start()
        self.mqtt = c
        present, reason = self.connected.get(timeout=PATIENCE)
        assert not reason.is_failure, reason
        return present

    def subscribe(self, *filters):
        self.mqtt.subscribe([(f, 1) for f in filters])
        codes = self.subacks.get(timeout=PATIENCE)
        assert [c.value for c in codes] == [1] * len(filters), codes

    def publish(self, topic, payload):
        """Returns the packet id after the PUBACK: the message is stored, or refused."""
        info = self.mqtt.publish(topic, payload, qos=1)
        info.wait_for_publish(timeout=PATIENCE)
        assert info.is_published(), f"no PUBACK for {topic}"
        return info.mid

    def take(self):
        return self.messages.get(timeout=PATIENCE)

    def vanish(self):
        """Closes the connection without DISCONNECT, as a phone does in a tunnel."""
        self.mqtt.socket().shutdown(2)
        assert self.closed.wait(PATIENCE)
        self.mqtt.loop_stop()
        assert self.messages.empty(), self.messages.get()


def restart_server():
    print("restart", flush=True)
    sys.stdin.readline()


def ask(client, method, tag, **params):
    """A request of MQTT 3.1.1: the reply comes to u/{me}/rpc with the tag of the request."""
    client.publish(f"rpc/{method}", json.dumps(params | {"tag": tag}))
    topic, payload = client.take()
    reply = json.loads(payload)
    assert topic == f"u/{client.user}/rpc" and reply["tag"] == tag, (topic, reply)
    return reply


def equal(got, want):
    assert got == want, f"{got!r} is not {want!r}"


ann, bob = Client("ann.py", "desk"), Client("bob.py", "sensor-7")
ann.subscribe("u/ann.py/rpc", "u/ann.py/errors")
bob.subscribe("c/+/text/+")
CONV = "ann.py~bob.py"

ann.publish("u/bob.py/text", "hello bob")
equal(bob.take(), (f"c/{CONV}/text/ann.py", "hello bob"))

# A refusal: the PUBACK comes as the standard obliges, and a line says what was wrong with which packet.
mid = ann.publish(f"c/{CONV}/json", '{"text":"hello","seq":5}')
topic, payload = ann.take()
refusal = json.loads(payload)
equal(topic, "u/ann.py/errors")
equal((refusal["code"], refusal["topic"], refusal["pid"]), ("bad-request", f"c/{CONV}/json", mid))
assert "seq" in refusal["reason"], refusal
mid = ann.publish("c/no-such-group/text", "is anybody here?")
topic, payload = ann.take()
refusal = json.loads(payload)
equal((topic, refusal["code"], refusal["pid"]), ("u/ann.py/errors", "not-found", mid))

# Requests.
reply = ask(ann, "group.create", "t1", title="Crew", visibility="private", join="invite", history="all", members=["bob.py"])
group = reply["ok"]["conv"]
equal(ask(ann, "group.create", "t2", titel="Crew")["error"]["code"], "bad-request")

# The offline gap: two conversations go on while bob is away, and the server crashes meanwhile.
bob.vanish()
want = {CONV: [], group: []}
for i in range(1, 21):
    for conv, to in ((CONV, "u/bob.py/text"), (group, f"c/{group}/text")):
        want[conv].append(f"while you were away {i}")
        ann.publish(to, want[conv][-1])
    if i == 10:
        ann.vanish()
        restart_server()
        assert ann.connect(), "ann's session is gone"
assert bob.connect(), "bob's session is gone"
got = {CONV: [], group: []}
for _ in range(40):
    topic, text = bob.take()
    _, conv, view, sender = topic.split("/")
    equal((view, sender), ("text", "ann.py"))
    got[conv].append(text)
equal(got, want)
ann.publish("u/bob.py/text", "welcome back")
equal(bob.take(), (f"c/{CONV}/text/ann.py", "welcome back"))

# What ann reads back is what was said.
events = ask(ann, "history", "t3", conv=CONV, after=0, limit=100)["ok"]["events"]
equal([e["text"] for e in events if "text" in e], ["hello bob", *want[CONV], "welcome back"])
# A direct conversation may begin with events of its own; after the first there are no gaps.
equal([e["seq"] for e in events], list(range(events[0]["seq"], events[0]["seq"] + len(events))))

for client in (ann, bob):
    client.mqtt.disconnect()
    client.mqtt.loop_stop()
    assert client.messages.empty(), client.messages.get()
print("ok", flush=True)
