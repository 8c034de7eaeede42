/* What is written to `control`: parsing only. */
#ifndef KVMPROFS_CONTROL_H
#define KVMPROFS_CONTROL_H

#include <stddef.h>

#include "symsrc/base/errmsg.h"

#define CONTROL_WRITE_MAX    4096 /* bytes of one write */
#define CONTROL_COMMANDS_MAX 64	  /* of one write */

enum control_command {
	CONTROL_RESET,
	CONTROL_REFRESH,
	CONTROL_PAUSE,
	CONTROL_RESUME,
	CONTROL_TRACE, /* takes arguments */
};

/* What stands behind a command's name: in the bytes that were parsed, without the blanks around
 * it; n 0: nothing. */
struct control_arguments {
	const char *text;
	size_t n;
};

struct control_list {
	size_t count;
	enum control_command command[CONTROL_COMMANDS_MAX];
	struct control_arguments arguments[CONTROL_COMMANDS_MAX];
};

/* One command a line; blanks around it, empty lines and a missing last newline do not matter.
 * All of it is right, or nothing is done: -EINVAL and why. A write without any command asks for
 * nothing: count 0. */
int control_parse(const char *bytes, size_t n, struct control_list *ret, struct errmsg *why);

#endif
