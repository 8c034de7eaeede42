#include "fs/control.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

static const struct {
	const char *name;
	enum control_command command;
	bool takes_arguments;
} commands[] = {
	{"reset", CONTROL_RESET, false}, {"refresh", CONTROL_REFRESH, false},
	{"pause", CONTROL_PAUSE, false}, {"resume", CONTROL_RESUME, false},
	{"trace", CONTROL_TRACE, true},
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static size_t word_length(const char *line, size_t n)
{
	size_t len = 0;

	while (len < n && !is_blank(line[len]))
		len++;
	return len;
}

/* The command of that name; -1: there is none. */
static int find_command(const char *name, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strlen(commands[i].name) == n && memcmp(commands[i].name, name, n) == 0)
			return (int)i;
	}
	return -1;
}

static int parse_line(const char *line, size_t n, struct control_list *l, struct errmsg *why)
{
	size_t name, rest;
	int found;

	while (n && is_blank(line[0]))
		line++, n--;
	while (n && is_blank(line[n - 1]))
		n--;
	if (n == 0)
		return 0;
	name = rest = word_length(line, n);
	while (rest < n && is_blank(line[rest]))
		rest++;
	found = find_command(line, name);
	if (found < 0 || (rest < n && !commands[found].takes_arguments))
		return errmsg_set(why, -EINVAL,
				  "'%.*s' is no command: write reset, refresh, pause, resume or "
				  "trace EVENT...",
				  n < 64 ? (int)n : 64, line);
	if (l->count == CONTROL_COMMANDS_MAX)
		return errmsg_set(why, -EINVAL, "more than %d commands in one write",
				  CONTROL_COMMANDS_MAX);
	l->arguments[l->count] = (struct control_arguments){line + rest, n - rest};
	l->command[l->count++] = commands[found].command;
	return 0;
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
	*ret = l;
	return 0;
}
