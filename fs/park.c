#include "fs/park.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/io.h"
#include "symsrc/base/lock.h"

struct park {
	struct mutex lock; /* taken inside of libfuse's lock of a request, outside of the
			    * session's: see park_add() */
	int wake_fd;
	uint64_t last_ticket; /* lock */
	size_t count;	      /* lock */
	struct parked *list;  /* lock: PARKED_MAX of them */
};

struct park *park_create(int wake_fd)
{
	struct park *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->list = calloc(PARKED_MAX, sizeof(*p->list));
	if (!p->list) {
		free(p);
		return NULL;
	}
	mutex_init(&p->lock);
	p->wake_fd = wake_fd;
	return p;
}

void park_destroy(struct park *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->count; i++)
		fuse_reply_err(p->list[i].req, ENODEV);
	mutex_deinit(&p->lock);
	free(p->list);
	free(p);
}

static void with_lock__remove(struct park *p, size_t i)
{
	p->list[i] = p->list[--p->count];
}

static bool take_request(struct park *p, fuse_req_t req)
{
	bool found = false;

	mutex_lock(&p->lock);
	for (size_t i = 0; i < p->count && !found; i++) {
		if (p->list[i].req != req)
			continue;
		with_lock__remove(p, i);
		found = true;
	}
	mutex_unlock(&p->lock);
	return found;
}

/* Called by libfuse, with the request's lock held and the request kept alive. */
static void interrupted(fuse_req_t req, void *data)
{
	if (take_request(data, req))
		fuse_reply_err(req, EINTR);
}

/* 0, EAGAIN when there is no room, or EINTR when the reader has got a signal meanwhile. From
 * the unlock on the request may be answered by another thread. */
static int insert(struct park *p, fuse_req_t req, const struct parked *entry)
{
	int err = 0;

	mutex_lock(&p->lock);
	if (p->count == PARKED_MAX)
		err = EAGAIN;
	else if (fuse_req_interrupted(req))
		err = EINTR;
	else {
		p->list[p->count] = *entry;
		p->list[p->count++].ticket = ++p->last_ticket;
	}
	mutex_unlock(&p->lock);
	return err;
}

void park_add(struct park *p, fuse_req_t req, uint64_t inode)
{
	struct parked entry = {
		.req = req, .inode = inode, .deadline_ns = clock_now_ns() + OPEN_WAIT_NS};
	int err;

	/* First this, while the request is surely alive. A signal before insert() finds nothing
	 * to take, but is seen there. */
	fuse_req_interrupt_func(req, interrupted, p);
	err = insert(p, req, &entry);
	if (err)
		fuse_reply_err(req, err);
	else
		io_wake(p->wake_fd);
}

int park_list(struct park *p, struct parked **ret)
{
	struct parked *copy;
	size_t n;

	mutex_lock(&p->lock);
	n = p->count;
	copy = malloc((n + 1) * sizeof(*copy));
	if (copy && n)
		memcpy(copy, p->list, n * sizeof(*copy));
	mutex_unlock(&p->lock);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return (int)n;
}

bool park_take(struct park *p, uint64_t ticket)
{
	bool found = false;

	mutex_lock(&p->lock);
	for (size_t i = 0; i < p->count && !found; i++) {
		if (p->list[i].ticket != ticket)
			continue;
		with_lock__remove(p, i);
		found = true;
	}
	mutex_unlock(&p->lock);
	return found;
}
