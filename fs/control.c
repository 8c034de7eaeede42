#include "fs/control.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

static const struct {
	const char *name;
	enum control_command command;
} commands[] = {
	{"reset", CONTROL_RESET},
	{"refresh", CONTROL_REFRESH},
	{"pause", CONTROL_PAUSE},
	{"resume", CONTROL_RESUME},
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static int parse_line(const char *line, size_t n, struct control_list *l, struct errmsg *why)
{
	while (n && is_blank(line[0]))
		line++, n--;
	while (n && is_blank(line[n - 1]))
		n--;
	if (n == 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strlen(commands[i].name) != n || memcmp(commands[i].name, line, n) != 0)
			continue;
		if (l->count == CONTROL_COMMANDS_MAX)
			return errmsg_set(why, -EINVAL, "more than %d commands in one write",
					  CONTROL_COMMANDS_MAX);
		l->command[l->count++] = commands[i].command;
		return 0;
	}
	return errmsg_set(why, -EINVAL,
			  "'%.*s' is no command: write reset, refresh, pause or resume",
			  n < 64 ? (int)n : 64, line);
}

int control_parse(const char *bytes, size_t n, struct control_list *ret, struct errmsg *why)
{
	struct control_list l = {0};

	if (n > CONTROL_WRITE_MAX)
		return errmsg_set(why, -EINVAL, "a write of more than %d bytes", CONTROL_WRITE_MAX);
	while (n) {
		const char *end = memchr(bytes, '\n', n);
		size_t len = end ? (size_t)(end - bytes) : n;
		int r = parse_line(bytes, len, &l, why);

		if (r < 0)
			return r;
		len += end ? 1 : 0;
		bytes += len;
		n -= len;
	}
	if (l.count == 0)
		return errmsg_set(why, -EINVAL, "a write without a command");
	*ret = l;
	return 0;
}
