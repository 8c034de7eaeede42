#include "symsrc/serial_turn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/lock.h"
#include "symsrc/source_impl.h"

struct serial_ear {
	char *path;
	int fd;
	struct serial_ear *next; /* lock */
};

static struct mutex lock = {PTHREAD_MUTEX_INITIALIZER};
static struct serial_turn *turns; /* lock; in the order of their coming */
static struct serial_ear *ears;	  /* lock */

/* ---- turns --------------------------------------------------------------------------------- */

static struct serial_turn *with_lock__first(const char *path)
{
	struct serial_turn *t = turns;

	while (t && strcmp(t->path, path) != 0)
		t = t->next;
	return t;
}

static void with_lock__append(struct serial_turn *t)
{
	struct serial_turn **at = &turns;

	while (*at)
		at = &(*at)->next;
	t->next = NULL;
	*at = t;
}

static void with_lock__remove(const struct serial_turn *t)
{
	struct serial_turn **at = &turns;

	while (*at && *at != t)
		at = &(*at)->next;
	if (*at)
		*at = t->next;
}

/* Whoever has it will see, and close it. */
static void with_lock__hang_up(const char *path)
{
	for (const struct serial_ear *e = ears; e; e = e->next) {
		if (strcmp(e->path, path) == 0)
			shutdown(e->fd, SHUT_RDWR);
	}
}

static bool is_turn_of(const struct serial_turn *t)
{
	bool mine;

	mutex_lock(&lock);
	mine = with_lock__first(t->path) == t;
	if (mine)
		with_lock__hang_up(t->path);
	mutex_unlock(&lock);
	return mine;
}

static int wait_for(const struct serial_turn *t, const struct source_limits *limits,
		    struct errmsg *why)
{
	struct pollfd p[] = {{.fd = t->wake_fd, .events = POLLIN},
			     {.fd = limits->cancel_fd, .events = POLLIN}};
	int r = 0;

	while (r == 0 && !is_turn_of(t)) {
		poll(p, 2, clock_left_ms(limits->deadline_ns));
		r = source_check_limits(limits, why);
	}
	return r;
}

int serial_turn_begin(struct serial_turn *t, const char *path, const struct source_limits *limits,
		      struct errmsg *why)
{
	int r;

	*t = (struct serial_turn){.path = path, .wake_fd = io_wake_create()};
	if (t->wake_fd < 0)
		return errmsg_set(why, t->wake_fd, "eventfd: %s", strerrordesc_np(-t->wake_fd));
	mutex_lock(&lock);
	with_lock__append(t);
	mutex_unlock(&lock);
	r = wait_for(t, limits, why);
	if (r < 0)
		serial_turn_end(t);
	return r;
}

void serial_turn_end(struct serial_turn *t)
{
	const struct serial_turn *next;

	if (t->wake_fd < 0)
		return;
	mutex_lock(&lock);
	with_lock__remove(t);
	next = with_lock__first(t->path);
	if (next)
		io_wake(next->wake_fd);
	mutex_unlock(&lock);
	close_keep_errno(t->wake_fd);
	t->wake_fd = -1;
}

/* ---- ears ----------------------------------------------------------------------------------- */

struct serial_ear *serial_ear_create(const char *path, int fd)
{
	struct serial_ear *e = calloc(1, sizeof(*e));

	if (e)
		e->path = strdup(path);
	if (!e || !e->path) {
		free(e);
		close_keep_errno(fd);
		return NULL;
	}
	e->fd = fd;
	mutex_lock(&lock);
	e->next = ears;
	ears = e;
	mutex_unlock(&lock);
	return e;
}

void serial_ear_destroy(struct serial_ear *e)
{
	struct serial_ear **at = &ears;

	if (!e)
		return;
	mutex_lock(&lock);
	while (*at && *at != e)
		at = &(*at)->next;
	if (*at)
		*at = e->next;
	mutex_unlock(&lock);
	close_keep_errno(e->fd);
	free(e->path);
	free(e);
}

int serial_ear_fd(const struct serial_ear *e)
{
	return e->fd;
}

bool serial_ear_has_heard(const struct serial_ear *e)
{
	char c;

	return recv(e->fd, &c, sizeof(c), MSG_PEEK | MSG_DONTWAIT) > 0;
}

bool serial_ear_is_readable(const struct serial_ear *e)
{
	struct pollfd p = {.fd = e->fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}
