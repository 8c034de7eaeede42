/* Names of reasons, by the kernel's own print formats (libtraceevent): an event with this reason
 * is made up, printed, and the name cut out of the line. */
#ifndef KVMPROFS_EXITS_NAMES_H
#define KVMPROFS_EXITS_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "profiler/exits/abi.h"

struct exits_names;

struct exits_names *exits_names_create(void);	 /* NULL when out of memory */
void exits_names_destroy(struct exits_names *n); /* accepts NULL */

/* Takes one event's format in. A print format that libtraceevent cannot parse leaves the fields
 * usable. 0 or negative errno. */
int exits_names_add(struct exits_names *n, const char *system, const char *format, size_t len);

/* A field of an event that was added; offset -1 when there is no such event or field. Thread-safe.
 */
struct exits_field exits_names_field(struct exits_names *n, const char *system, const char *event,
				     const char *field);

/* A field that gets a value in a made-up event. */
struct exits_value {
	const char *field;
	uint64_t value;
};

/* The text between `after` and `before` ("" for the line's end) of the event as the kernel prints
 * it with these values, all others 0. Returns its length, 0 when that is not to be had.
 * Thread-safe. */
size_t exits_names_print(struct exits_names *n, const char *system, const char *event,
			 const struct exits_value *values, size_t count, const char *after,
			 const char *before, char *ret, size_t size);

#endif
