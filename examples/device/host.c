/* A board that is a computer: sockets, the clock, a sensor that is made up, and a lamp of letters.
 *
 *     PETREL_TOKEN=... ./greenhouse HOST PORT USER CONVERSATION [SECONDS] */
#define _POSIX_C_SOURCE 200112L
#include "greenhouse.h"
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct settings settings;
static const char *host, *port;
static int fd = -1;

int net_open(void)
{
	struct addrinfo hints, *found, *a;
	memset(&hints, 0, sizeof hints);
	hints.ai_socktype = SOCK_STREAM;
	if (getaddrinfo(host, port, &hints, &found) != 0)
		return 0;
	for (a = found; a != NULL; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
		if (fd < 0)
			continue;
		/* Not blocking from here on: whether the connection comes about is seen when it is written to. */
		if (fcntl(fd, F_SETFL, O_NONBLOCK) == 0 &&
		    (connect(fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS))
			break;
		net_close();
	}
	freeaddrinfo(found);
	return fd >= 0;
}

static int later(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == EINPROGRESS || errno == ENOTCONN;
}

int net_write(const uint8_t *data, size_t n)
{
	ssize_t done = send(fd, data, n, 0);
	return done >= 0 ? (int)done : later() ? 0 : -1;
}

int net_read(uint8_t *data, size_t n)
{
	ssize_t done = recv(fd, data, n, 0);
	return done > 0 ? (int)done : done < 0 && later() ? 0 : -1;
}

void net_close(void)
{
	if (fd >= 0)
		close(fd);
	fd = -1;
}

uint32_t millis(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint32_t)((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

int board_temperature(void)
{
	static int tenths = 180, step = 3;
	if (tenths < 150 || tenths > 260)
		step = -step;
	return tenths += step;
}

void board_lamp(int on) { printf("lamp %s\n", on ? "on" : "off"); }

void board_state(int up, int refused)
{
	if (refused)
		printf("refused: %d\n", refused);
	else
		puts(up ? "connected" : "not connected");
}

int main(int argc, char **argv)
{
	const char *token = getenv("PETREL_TOKEN"); /* not an argument: those are for all to see in ps */
	double seconds = argc > 5 ? atof(argv[5]) : 60;
	if (argc < 5 || argc > 6 || seconds < 0.001 || seconds > 86400) {
		fprintf(stderr, "usage: PETREL_TOKEN=... %s HOST PORT USER CONVERSATION [SECONDS]\n", argv[0]);
		return 2;
	}
	host = argv[1];
	port = argv[2];
	settings.user = argv[3];
	settings.token = token ? token : "";
	settings.conversation = argv[4];
	settings.interval = (uint32_t)(seconds * 1000);
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	setup();
	for (;;) {
		struct pollfd p = {fd, POLLIN, 0}; /* a board would just go round; here we let others work */
		loop();
		p.fd = fd;
		poll(&p, 1, 10);
	}
}
