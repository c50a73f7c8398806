/* A sensor in a greenhouse that is a member of a conversation: it posts what it measures, and does what it is told.
 *
 * This is a sketch as for Arduino, with setup() and loop(). host.c lets it run on a computer; on a board, the
 * board's core calls the two, and net_open() to net_close() are five lines each around WiFiClient or EthernetClient.
 *
 * The device is a user of its own, and its password is a token that allows it one conversation and nothing else:
 * a device that is stolen tells nothing and can be locked out alone. */
#include "greenhouse.h"
#include "mqtt.h"

#include <stdio.h>

static struct mqtt mqtt;
static uint32_t measured; /* ms: when */
static unsigned count;
static char topic[160];

static void report(void)
{
	char text[MQTT_PAYLOAD];
	int tenths = board_temperature();
	snprintf(text, sizeof text, "#%u %s%d.%d \302\260C", ++count, tenths < 0 ? "-" : "",
	         (tenths < 0 ? -tenths : tenths) / 10, (tenths < 0 ? -tenths : tenths) % 10);
	mqtt_publish(&mqtt, text);
}

/* Somebody said something, or we hear ourselves. After a crash a command may come a second time, so each says
 * what is to be and not what is to change. */
static void on_message(const char *from_topic, const char *text, int cut_off)
{
	const char *from = strrchr(from_topic, '/');
	if (cut_off || from == NULL || strcmp(from + 1, settings.user) == 0)
		return;
	if (strcmp(text, "lamp on") == 0 || strcmp(text, "lamp off") == 0) {
		int on = text[6] == 'n';
		board_lamp(on);
		mqtt_publish(&mqtt, on ? "the lamp is on" : "the lamp is off");
	} else if (strcmp(text, "report") == 0) {
		report();
	}
}

static void on_state(int up, int refused)
{
	board_state(up, refused);
}

void setup(void)
{
	snprintf(topic, sizeof topic, "c/%s/text", settings.conversation);
	mqtt.client_id = "greenhouse-1";
	mqtt.user = settings.user;
	mqtt.password = settings.token;
	mqtt.topic = topic;
	mqtt.subscription = "c/+/text/+"; /* all that the token allows */
	mqtt.keep_alive = 60;
	mqtt.on_message = on_message;
	mqtt.on_state = on_state;
	measured = millis();
}

void loop(void)
{
	uint32_t now = millis();
	mqtt_loop(&mqtt, now);
	if (now - measured >= settings.interval) {
		measured = now;
		report();
	}
}
