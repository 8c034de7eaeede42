#include "profiler/cpus.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"

#define CPUS_TEXT_MAX 65536

/* One decimal number at *s, which is moved behind it. */
static int take_number(const char **s, unsigned *ret)
{
	unsigned n = 0;

	if (**s < '0' || **s > '9')
		return -EBADMSG;
	for (; **s >= '0' && **s <= '9'; ++*s) {
		n = n * 10 + (unsigned)(**s - '0');
		if (n >= CPUS_MAX)
			return -E2BIG;
	}
	*ret = n;
	return 0;
}

static void add(struct cpus *c, unsigned cpu)
{
	if (!cpus_has(c, cpu))
		c->count++;
	c->bits[cpu / 64] |= 1ULL << (cpu % 64);
}

/* "3" or "0-3" at *s, which is moved behind it. */
static int take_range(const char **s, struct cpus *c)
{
	unsigned first;
	unsigned last;
	int r = take_number(s, &first);

	if (r < 0)
		return r;
	last = first;
	if (**s == '-') {
		++*s;
		r = take_number(s, &last);
		if (r < 0)
			return r;
	}
	if (last < first)
		return -EBADMSG;
	for (unsigned cpu = first; cpu <= last; cpu++)
		add(c, cpu);
	return 0;
}

int cpus_parse(const char *text, struct cpus *ret)
{
	struct cpus c = {0};
	int r;

	for (;;) {
		r = take_range(&text, &c);
		if (r < 0)
			return r;
		if (*text != ',')
			break;
		text++;
	}
	if (*text == '\n')
		text++;
	if (*text)
		return -EBADMSG;
	*ret = c;
	return 0;
}

int cpus_read(const char *path, struct cpus *ret)
{
	CLEANUP_BUF struct buf text;
	int r;

	buf_init(&text, CPUS_TEXT_MAX);
	r = io_read_file(AT_FDCWD, path, &text);
	return r < 0 ? r : cpus_parse(text.data, ret);
}
