/* What the sketch wants of its board, and what was set when it was installed. */
#ifndef GREENHOUSE_H
#define GREENHOUSE_H

#include <stdint.h>

struct settings {
	const char *user, *token;
	const char *conversation; /* its id */
	uint32_t interval;        /* ms between two measurements */
};
extern struct settings settings;

uint32_t millis(void);                   /* ms since the start; wraps around after 49 days */
int board_temperature(void);             /* in tenths of a degree */
void board_lamp(int on);
void board_state(int up, int refused);   /* for a light: connected or not, or refused with this code */

void setup(void);
void loop(void);

#endif
