/* The network as mqtt.h wants it, to be written for each board. None of these may wait. */
#ifndef NET_H
#define NET_H

#include <stddef.h>
#include <stdint.h>

int net_open(void);                           /* 1: a connection is there or is being made; 0: not now */
int net_write(const uint8_t *data, size_t n); /* bytes taken, maybe fewer or none; < 0: no connection any more */
int net_read(uint8_t *data, size_t n);        /* bytes read; 0: none are there now; < 0: no connection any more */
void net_close(void);

#endif
