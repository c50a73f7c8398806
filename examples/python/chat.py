"""A chat client on paho-mqtt that loses nothing:

    python chat.py ann @bob        ann writes to bob, and sees all her conversations
    python chat.py bob general     bob writes to the group general

What you type is kept in a file until the server has it, and what you receive is in that file before the server is
told so. So the network, the server and this program may fail at any moment: start it again, and everything
is there once. A password comes from the environment, PETREL_PASSWORD.
"""

import argparse
import json
import os
import queue
import sqlite3
import ssl
import sys
import threading
import time
import urllib.parse
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

WEEK = 7 * 24 * 3600

# Reason codes that are worth another try, docs/protocol.md#refusals. All others are final.
TRY_AGAIN = {0x80, 0x88, 0x89, 0x97, 0x9F}


class Store:
    """The file: what was received, and what has to be sent. SQLite has it on the disk when a method returns."""

    def __init__(self, path):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # messages are for nobody else
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.executescript("""
            CREATE TABLE IF NOT EXISTS events (conv TEXT, seq INTEGER, event TEXT, PRIMARY KEY (conv, seq));
            CREATE TABLE IF NOT EXISTS outbox (n INTEGER PRIMARY KEY, topic TEXT, event TEXT);
        """)

    def received(self, conv, seq, event):
        """Keeps an event. False: it was there already."""
        return self.db.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?)", (conv, seq, event)).rowcount == 1

    def text(self, conv, seq):
        """The text of an event, as far as it is here."""
        row = self.db.execute("SELECT event FROM events WHERE conv = ? AND seq = ?", (conv, seq)).fetchone()
        return json.loads(row[0]).get("text", "") if row else ""

    def queue(self, topic, event):
        self.db.execute("INSERT INTO outbox (topic, event) VALUES (?, ?)", (topic, event))

    def waiting(self):
        return self.db.execute("SELECT n, topic, event FROM outbox ORDER BY n").fetchall()

    def settled(self, n):
        self.db.execute("DELETE FROM outbox WHERE n = ?", (n,))


class Chat:
    """One device of a user.

    paho's thread and a thread that reads the keyboard do nothing but put what happens into a queue; run() takes it
    out. So all that has a state is touched by one thread only.
    """

    def __init__(self, server, user, device, store):
        self.user, self.store = user, store
        self.happened = queue.SimpleQueue()
        self.connection = 0  # which one it is: acknowledgements belong to the one that a message came over
        self.online = False
        self.in_flight = {}  # packet id -> row of the outbox
        self.pause_until = 0.0

        self.mqtt = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=device, protocol=mqtt.MQTTv5,
                                manual_ack=True)  # acknowledged when it is on our disk, not before
        self.mqtt.username_pw_set(user, os.environ.get("PETREL_PASSWORD") or "none")
        self.mqtt.reconnect_delay_set(1, 60)
        self.mqtt.on_connect = lambda _c, _u, flags, reason, _p: self.put("connect", flags.session_present, reason)
        self.mqtt.on_disconnect = lambda *_: self.put("disconnect")
        self.mqtt.on_publish = lambda _c, _u, mid, reason, props: self.put("puback", mid, reason, props)
        self.mqtt.on_message = lambda _c, _u, m: self.put("message", self.connection, m)

        url = urllib.parse.urlsplit(server)
        if url.scheme not in ("mqtt", "mqtts") or not url.hostname:
            sys.exit(f"{server} is no address of a server: mqtt://host:port, or mqtts:// with TLS")
        if url.scheme == "mqtts":
            self.mqtt.tls_set_context(ssl.create_default_context())
        # The session, and with it our place in every conversation, is kept for a week after we are gone.
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = WEEK
        self.mqtt.connect_async(url.hostname, url.port or (8883 if url.scheme == "mqtts" else 1883),
                                clean_start=False, properties=session)

    def put(self, what, *args):
        if what == "connect":
            self.connection += 1
        self.happened.put((what, args))

    def run(self, topic):
        """Chats until the end of standard input, and leaves when everything is sent, or after some seconds."""
        self.mqtt.loop_start()
        threading.Thread(target=self.read_keyboard, daemon=True).start()
        leave_at = None
        while leave_at is None or (self.store.waiting() and time.monotonic() < leave_at):
            try:
                what, args = self.happened.get(timeout=1)
            except queue.Empty:
                what = None
            if what == "line":
                self.say(topic, *args)
            elif what == "eof":
                leave_at = time.monotonic() + 10
            elif what:
                getattr(self, "on_" + what)(*args)
            self.send()
        self.mqtt.disconnect()
        self.mqtt.loop_stop()
        if left := len(self.store.waiting()):
            print(f"({left} not sent yet: they go out next time)")

    def read_keyboard(self):
        for line in sys.stdin:
            self.put("line", line.rstrip("\n"))
        self.put("eof")

    # -- sending

    def say(self, topic, text):
        if text:
            # The id makes trying again harmless: the server stores one event with it, however often it comes.
            self.store.queue(topic, json.dumps({"id": uuid.uuid4().hex, "text": text}))
            if not self.online:
                show("(no connection: it waits)")

    def send(self):
        """Publishes what waits and is not on its way."""
        if not self.online or time.monotonic() < self.pause_until:
            return
        busy = set(self.in_flight.values())
        for n, topic, event in self.store.waiting():
            if n not in busy:
                info = self.mqtt.publish(topic, event, qos=1)
                if info.rc in (mqtt.MQTT_ERR_SUCCESS, mqtt.MQTT_ERR_NO_CONN):  # paho sends it later in that case
                    self.in_flight[info.mid] = n

    def on_puback(self, mid, reason, properties):
        n = self.in_flight.pop(mid, None)
        if n is None:
            return
        if reason.value in TRY_AGAIN:
            self.pause_until = time.monotonic() + 5
            return
        self.store.settled(n)
        if reason.is_failure:
            show(f"not sent: {getattr(properties, 'ReasonString', reason)}")

    # -- receiving

    def on_connect(self, session_present, reason):
        if reason.is_failure:
            if reason.value not in TRY_AGAIN:
                self.mqtt.disconnect()
                sys.exit(f"the server refuses: {reason}")
            return
        self.online = True
        if not session_present:
            # c/+/json is every conversation that we are a member of, now and later. A new session begins with
            # the newest 20 events of each.
            recent = Properties(PacketTypes.SUBSCRIBE)
            recent.UserProperty = ("from", "-20")
            self.mqtt.subscribe("c/+/json", options=SubscribeOptions(qos=1), properties=recent)

    def on_disconnect(self):
        if self.online:
            show("(the connection is lost)")
        self.online = False

    def on_message(self, connection, message):
        _, conv, _ = message.topic.split("/")
        event = json.loads(message.payload)
        if self.store.received(conv, event["seq"], message.payload.decode()):
            self.print_event(conv, event)
        if connection == self.connection:
            self.mqtt.ack(message.mid, message.qos)

    def print_event(self, conv, event):
        """Shows an event of a kind that we know. Others are counted and passed over, as the contract says."""
        if event.get("from") == self.user:
            return
        head = f"{conv} {event.get('from')}"
        kind = event.get("kind", "post")
        if kind == "post":
            show(f"{head}: {event.get('text', '(something that this program cannot show)')}")
        elif kind == "edit":
            show(f"{head} corrects: {event.get('text', '')}")
        elif kind == "delete":
            show(f"{head} deletes: {self.store.text(conv, event['re'])}")
        elif kind == "react":
            show(f"{head} {event['emoji']} {self.store.text(conv, event['re'])}")


def show(text):
    """Prints a line. A message may hold control characters that play with a terminal: they become spaces."""
    print("".join(c if c.isprintable() else " " for c in text), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("user")
    p.add_argument("conversation", help="the id of a group, or @ and a user")
    p.add_argument("--server", default="mqtt://127.0.0.1:1883")
    p.add_argument("--device", default="python", help="a name that no other device of yours has")
    p.add_argument("--store", help="file of messages; USER.db if left out")
    a = p.parse_args()
    topic = f"u/{a.conversation[1:]}/json" if a.conversation.startswith("@") else f"c/{a.conversation}/json"
    try:
        Chat(a.server, a.user, a.device, Store(a.store or f"{a.user}.db")).run(topic)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
