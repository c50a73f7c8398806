/* An MQTT 3.1.1 client for small devices, in one file: C99 or C++, static buffers, no heap, nothing that blocks.
 *
 * Fill in a struct mqtt (all zeros but the settings), call mqtt_loop() as often as you can, and mqtt_publish()
 * when there is something to say. What is published waits in a queue of MQTT_QUEUE messages, goes out at QoS 1
 * one after the other, and is sent again, marked as a duplicate, until the server has acknowledged it. The
 * session outlives connections: what is published to `subscription` meanwhile arrives after the next one is made.
 *
 * It is for one thread. The numbers in brackets are those of the OASIS standard, MQTT Version 3.1.1. */
#ifndef MQTT_H
#define MQTT_H

#include "net.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef MQTT_QUEUE
#define MQTT_QUEUE 16 /* messages that wait; with one more the oldest that was not sent yet is lost */
#endif
#ifndef MQTT_PAYLOAD
#define MQTT_PAYLOAD 64 /* bytes of a message that we publish */
#endif
#ifndef MQTT_RECEIVE
#define MQTT_RECEIVE 256 /* bytes of topic and message that we take in; what is longer comes cut off.
                            A topic c/CONVERSATION/text/USER of petrel has at most 201 */
#endif
#ifndef MQTT_SEND
#define MQTT_SEND 384 /* the longest packet that we send, which is CONNECT */
#endif
#ifndef MQTT_RETRY_FIRST
#define MQTT_RETRY_FIRST 500u /* ms to the first new attempt; twice as long each time */
#endif
#ifndef MQTT_RETRY_MOST
#define MQTT_RETRY_MOST 60000u
#endif
#define MQTT_PATIENCE 20000u /* ms for an answer of the server */
#define MQTT_CHUNK 32        /* bytes read at a time */

enum mqtt_state { MQTT_DOWN, MQTT_GREETING, MQTT_UP };

struct mqtt {
	/* Settings; the strings must stay where they are. */
	const char *client_id, *user, *password; /* a client id that no other device of the user has */
	const char *subscription, *topic;        /* what we want to hear, where we publish */
	uint16_t keep_alive;                     /* seconds */
	void (*on_message)(const char *topic, const char *text, int cut_off); /* valid until it returns */
	void (*on_state)(int up, int refused);   /* refused: the return code of CONNACK, 128 for the subscription, or 0 */

	/* Ours. */
	enum mqtt_state state;
	uint32_t since;             /* ms: the state was entered then; while down, the pause begins then */
	uint32_t pause;             /* ms before the next attempt */
	uint32_t said;              /* ms: something was written */
	uint32_t sent, pinged;      /* ms: the message or the ping went out that waits for its answer */
	struct { uint8_t data[MQTT_PAYLOAD]; uint16_t len; } queue[MQTT_QUEUE];
	uint8_t first, waiting;
	uint16_t id, last_id;       /* of the first message, if it was sent at some time; 0: it was not */
	uint8_t on_wire, pinging;   /* over this connection, and without an answer: the first message, a ping */
	uint8_t out[MQTT_SEND], in[MQTT_RECEIVE + 1];
	size_t out_len;
	uint8_t head, shift, part;  /* part 0: first byte, 1: length, 2: body */
	uint8_t cut_off;
	uint32_t rest, in_len;      /* bytes of the body to come, and of it in `in` */
};

/* -- writing ----------------------------------------------------------------------------------------------- */

/* mqtt_begin starts a packet with a body of n bytes. 0: there is no room for it now. */
static int mqtt_begin(struct mqtt *m, uint8_t type, size_t n)
{
	if (n > 16383 || m->out_len + 3 + n > sizeof m->out)
		return 0;
	m->out[m->out_len++] = type;
	if (n > 127) /* [2.2.3] seven bits to a byte, the lowest first */
		m->out[m->out_len++] = (uint8_t)(n & 127) | 128;
	m->out[m->out_len++] = (uint8_t)(n > 127 ? n >> 7 : n);
	return 1;
}

static void mqtt_u16(struct mqtt *m, uint16_t v)
{
	m->out[m->out_len++] = (uint8_t)(v >> 8);
	m->out[m->out_len++] = (uint8_t)v;
}

static void mqtt_bytes(struct mqtt *m, const void *p, size_t n)
{
	memcpy(m->out + m->out_len, p, n);
	m->out_len += n;
}

static void mqtt_string(struct mqtt *m, const char *s)
{
	mqtt_u16(m, (uint16_t)strlen(s));
	mqtt_bytes(m, s, strlen(s));
}

static int mqtt_connect(struct mqtt *m)
{
	size_t n = 10 + 2 + strlen(m->client_id) + 2 + strlen(m->user) + 2 + strlen(m->password);
	if (!mqtt_begin(m, 0x10, n))
		return 0;
	mqtt_string(m, "MQTT");
	mqtt_bytes(m, "\x04\xC0", 2); /* level 4; user name, password, and no clean session [3.1.2.4] */
	mqtt_u16(m, m->keep_alive);
	mqtt_string(m, m->client_id);
	mqtt_string(m, m->user);
	mqtt_string(m, m->password);
	return 1;
}

static int mqtt_subscribe(struct mqtt *m)
{
	if (!mqtt_begin(m, 0x82, 2 + 2 + strlen(m->subscription) + 1))
		return 0;
	mqtt_u16(m, 0xFFFF); /* a packet id that no message has */
	mqtt_string(m, m->subscription);
	mqtt_bytes(m, "\x01", 1); /* at most QoS 1 */
	return 1;
}

/* mqtt_send_first sends the oldest message of the queue, or sends it again [4.4]. */
static void mqtt_send_first(struct mqtt *m, uint32_t now)
{
	size_t len = m->queue[m->first].len;
	int again = m->id != 0;
	if (!mqtt_begin(m, again ? 0x3A : 0x32, 2 + strlen(m->topic) + 2 + len)) /* 0x08 is DUP, 0x02 is QoS 1 */
		return;
	if (!again)
		m->id = m->last_id = (uint16_t)(m->last_id % 0xFFFE + 1); /* never 0, and never that of SUBSCRIBE */
	mqtt_string(m, m->topic);
	mqtt_u16(m, m->id);
	mqtt_bytes(m, m->queue[m->first].data, len);
	m->on_wire = 1;
	m->sent = now;
}

/* -- connection -------------------------------------------------------------------------------------------- */

static void mqtt_hang_up(struct mqtt *m, uint32_t now, int refused)
{
	net_close();
	if (m->state == MQTT_UP && now - m->since > MQTT_RETRY_MOST)
		m->pause = 0; /* that connection was good: begin with short pauses again */
	m->pause = m->pause ? m->pause * 2 : MQTT_RETRY_FIRST;
	if (m->pause > MQTT_RETRY_MOST || refused)
		m->pause = MQTT_RETRY_MOST;
	m->state = MQTT_DOWN;
	m->since = now + (now * 2654435761u >> 12) % (m->pause / 2 + 1); /* not all devices at the same moment */
	if (m->on_state)
		m->on_state(0, refused);
}

static void mqtt_call(struct mqtt *m, uint32_t now)
{
	m->out_len = 0;
	m->part = m->on_wire = m->pinging = 0;
	m->state = MQTT_GREETING;
	m->since = now;
	if (!net_open() || !mqtt_connect(m))
		mqtt_hang_up(m, now, 0);
}

/* -- reading ----------------------------------------------------------------------------------------------- */

/* mqtt_take acts on a whole packet. 0: the server does not keep to the standard; < 0: it refused us, negated. */
static int mqtt_take(struct mqtt *m, uint32_t now)
{
	uint32_t n = m->in_len, topic, id = 0;
	if (m->state == MQTT_GREETING) { /* [3.2] nothing comes before CONNACK */
		if (m->head != 0x20 || n != 2)
			return 0;
		if (m->in[1] != 0)
			return -m->in[1];
		m->state = MQTT_UP;
		m->since = now;
		if (m->on_state)
			m->on_state(1, 0);
		return mqtt_subscribe(m); /* petrel takes it as no change if the session has it already */
	}
	switch (m->head >> 4) {
	case 3: /* PUBLISH [3.3] */
		topic = n < 2 ? 0 : (uint32_t)m->in[0] << 8 | m->in[1];
		if (m->head & 4) /* QoS 2: we did not ask for it */
			return 0;
		if (n < 2 || 2 + topic + (m->head & 2) > n)
			return 0;
		if (m->head & 2)
			id = (uint32_t)m->in[2 + topic] << 8 | m->in[3 + topic];
		m->in[n] = 0; /* there is always a byte of room for it */
		memmove(m->in, m->in + 2, topic);
		m->in[topic] = 0;
		m->on_message((char *)m->in, (char *)m->in + 2 + topic + (m->head & 2), m->cut_off);
		if (m->head & 2) {
			if (!mqtt_begin(m, 0x40, 2))
				return 0;
			mqtt_u16(m, (uint16_t)id);
		}
		return 1;
	case 4: /* PUBACK: the server has it on disk */
		if (n != 2)
			return 0;
		if (m->id && m->on_wire && m->id == ((uint32_t)m->in[0] << 8 | m->in[1])) {
			m->first = (uint8_t)((m->first + 1) % MQTT_QUEUE);
			m->waiting--;
			m->id = m->on_wire = 0;
			m->pause = 0;
		}
		return 1;
	case 9: /* SUBACK */
		return n != 3 ? 0 : m->in[2] & 128 ? -128 : 1;
	case 13: /* PINGRESP */
		m->pinging = 0;
		return n == 0;
	}
	return 0;
}

/* mqtt_eat takes in one byte; its results are those of mqtt_take, and 1 while a packet is not complete. */
static int mqtt_eat(struct mqtt *m, uint8_t b, uint32_t now)
{
	switch (m->part) {
	case 0:
		m->head = b;
		m->rest = m->in_len = 0;
		m->shift = m->cut_off = 0;
		m->part = 1;
		return 1;
	case 1:
		m->rest |= (uint32_t)(b & 127) << m->shift;
		m->shift = (uint8_t)(m->shift + 7);
		if (b & 128)
			return m->shift < 28; /* [2.2.3] four bytes at most */
		m->part = 2;
		break;
	default:
		if (m->in_len < MQTT_RECEIVE)
			m->in[m->in_len++] = b;
		else
			m->cut_off = 1;
		m->rest--;
	}
	if (m->rest)
		return 1;
	m->part = 0;
	return mqtt_take(m, now);
}

/* -- what you call ----------------------------------------------------------------------------------------- */

/* mqtt_publish queues a message. 0: it is too long, or another one was lost to make room. */
static int mqtt_publish(struct mqtt *m, const char *text)
{
	size_t len = strlen(text);
	int room = m->waiting < MQTT_QUEUE;
	uint8_t i;
	if (len == 0 || len > MQTT_PAYLOAD)
		return 0;
	if (!room) { /* what was sent may have arrived, and has to be sent again as it was: drop the one behind it */
		for (i = m->id != 0; i + 1 < MQTT_QUEUE; i++)
			m->queue[(m->first + i) % MQTT_QUEUE] = m->queue[(m->first + i + 1) % MQTT_QUEUE];
		m->waiting--;
	}
	i = (uint8_t)((m->first + m->waiting++) % MQTT_QUEUE);
	memcpy(m->queue[i].data, text, len);
	m->queue[i].len = (uint16_t)len;
	return room;
}

/* mqtt_loop does what there is to do and returns. now is in ms and may wrap around. */
static void mqtt_loop(struct mqtt *m, uint32_t now)
{
	uint8_t data[MQTT_CHUNK];
	int n, i, ok;
	if (m->state == MQTT_DOWN) {
		if ((int32_t)(now - m->since - m->pause) >= 0)
			mqtt_call(m, now);
		return;
	}
	if (m->out_len + 2 * MQTT_CHUNK < sizeof m->out) { /* the answers to what is read must have room */
		n = net_read(data, sizeof data);
		for (i = 0, ok = n < 0 ? 0 : 1; i < n && ok > 0; i++)
			ok = mqtt_eat(m, data[i], now);
		if (ok <= 0) {
			mqtt_hang_up(m, now, -ok);
			return;
		}
	}
	if (m->state == MQTT_UP && m->waiting && !m->on_wire)
		mqtt_send_first(m, now);
	if (m->state == MQTT_UP && !m->pinging && now - m->said > m->keep_alive * 500u && mqtt_begin(m, 0xC0, 0)) {
		m->pinging = 1; /* [3.1.2.10] well before the keep-alive is over */
		m->pinged = now;
	}
	if (m->out_len) {
		n = net_write(m->out, m->out_len);
		if (n > 0) {
			m->said = now;
			m->out_len -= (size_t)n;
			memmove(m->out, m->out + n, m->out_len);
		} else if (n < 0) {
			mqtt_hang_up(m, now, 0);
			return;
		}
	}
	if ((m->state == MQTT_GREETING && now - m->since > MQTT_PATIENCE) ||
	    (m->on_wire && now - m->sent > MQTT_PATIENCE) || (m->pinging && now - m->pinged > MQTT_PATIENCE))
		mqtt_hang_up(m, now, 0); /* nobody answers any more, although nobody hung up */
}

#endif
