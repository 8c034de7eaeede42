#include "fs/notify.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ops.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/base/thread.h"

struct notify {
	struct fs *fs;
	struct fuse_session *session;
	int wake_fd;
	atomic_bool stop;
	bool running;		       /* caller's threads only, one at a time */
	const struct guest_set *known; /* the thread's: the set that the kernel was told of */
	pthread_t thread;
};

int notify_create(struct fs *fs, struct fuse_session *session, int wake_fd, struct notify **ret,
		  struct errmsg *why)
{
	struct notify *n = calloc(1, sizeof(*n));
	struct symsrc *symsrc = fs->rooms.symsrc;
	int r;

	if (!n)
		return errmsg_set(why, -ENOMEM, "out of memory");
	*n = (struct notify){.fs = fs, .session = session, .wake_fd = wake_fd};
	n->known = guests_acquire(symsrc_guests(symsrc));
	r = guests_subscribe(symsrc_guests(symsrc), wake_fd);
	if (r == 0)
		r = symsrc_subscribe(symsrc, wake_fd);
	if (r < 0) {
		notify_destroy(n);
		return errmsg_set(why, r, "cannot subscribe to guests: %s", strerrordesc_np(-r));
	}
	*ret = n;
	return 0;
}

void notify_destroy(struct notify *n)
{
	if (!n)
		return;
	symsrc_unsubscribe(n->fs->rooms.symsrc, n->wake_fd);
	guests_unsubscribe(symsrc_guests(n->fs->rooms.symsrc), n->wake_fd);
	guest_set_put(n->known);
	free(n);
}

/* No lock is held here: the kernel takes the directory's own, for which another process may be
 * waiting that one of our workers has to answer first. */
static void drop_entry(struct notify *n, const struct guest *g)
{
	char name[16];
	int len = snprintf(name, sizeof(name), "%d", (int)g->pid);
	int r = fuse_lowlevel_notify_inval_entry(n->session, INODE_ROOT, name, (size_t)len);

	/* -ENOENT: the kernel has no such entry. */
	if (r < 0 && r != -ENOENT)
		log_debug("cannot drop the entry of pid %s: %s", name, strerrordesc_np(-r));
}

static void drop_gone(struct notify *n)
{
	const struct guest_set *now = guests_acquire(symsrc_guests(n->fs->rooms.symsrc));

	if (now->generation != n->known->generation) {
		for (size_t i = 0; i < n->known->count; i++) {
			const struct guest *g = n->known->entries[i].guest;

			if (!guest_set_find_serial(now, g->serial))
				drop_entry(n, g);
		}
	}
	guest_set_put(n->known);
	n->known = now;
}

/* Returns the earliest deadline of those that go on waiting; UINT64_MAX: none. */
static uint64_t answer_parked(struct notify *n)
{
	struct parked *list = NULL;
	uint64_t next = UINT64_MAX;
	int count = park_list(n->fs->park, &list);

	if (count < 0)
		return clock_now_ns() + NSEC_PER_SEC;
	for (int i = 0; i < count; i++) {
		ops_answer_parked(n->fs, &list[i]);
		if (list[i].deadline_ns < next)
			next = list[i].deadline_ns;
	}
	free(list);
	return next;
}

/* A deadline of one that was just answered is in the list too: that costs one round more. */
static int wait_ms(uint64_t next)
{
	int ms = next == UINT64_MAX ? -1 : clock_left_ms(next);

	return ms == 0 ? 1 : ms;
}

static void *run(void *arg)
{
	struct notify *n = arg;

	while (!atomic_load(&n->stop)) {
		struct pollfd p = {.fd = n->wake_fd, .events = POLLIN};
		uint64_t next = answer_parked(n);

		if (poll(&p, 1, wait_ms(next)) > 0) {
			io_wake_clear(n->wake_fd);
			fs_make_stale(n->fs);
			drop_gone(n);
		}
	}
	return NULL;
}

int notify_start(struct notify *n, struct errmsg *why)
{
	int r = thread_start(&n->thread, "kp-notify", run, n);

	if (r < 0)
		return errmsg_set(why, r, "cannot start a thread: %s", strerrordesc_np(-r));
	n->running = true;
	return 0;
}

void notify_stop(struct notify *n)
{
	if (!n || !n->running)
		return;
	atomic_store(&n->stop, true);
	io_wake(n->wake_fd);
	pthread_join(n->thread, NULL);
	n->running = false;
}
