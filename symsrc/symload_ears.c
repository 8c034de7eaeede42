#include <errno.h>
#include <sys/epoll.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/symload_impl.h"

#define EVENTS_MAX 64

void with_lock__listen(const struct symload *sl, struct load *l, struct serial_ear *ear)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = l->serial};

	/* Closing alone would not do while a child that was just forked has it open, too. */
	if (l->ear)
		epoll_ctl(sl->ears_fd, EPOLL_CTL_DEL, serial_ear_fd(l->ear), NULL);
	serial_ear_destroy(l->ear);
	l->ear = ear;
	if (ear)
		epoll_ctl(sl->ears_fd, EPOLL_CTL_ADD, serial_ear_fd(ear), &e);
}

/* A guest that never falls silent must not keep us busy. */
void with_lock__look_soon(struct load *l)
{
	uint64_t now = clock_now_ns(), when = l->ended_ns + SYMLOAD_NEWS_MS * NSEC_PER_MSEC;

	/* Whoever is at it may have looked before there were news, or elsewhere. */
	l->has_news = l->by != NULL;
	when = load_when_affordable(l, when > now ? when : now);
	if (!l->by && when < l->next_ns)
		with_lock__schedule(l, when, false);
}

/* An ear serves once; the look will bring the next one. */
static void with_lock__heard(const struct symload *sl, struct load *l)
{
	bool news = serial_ear_has_heard(l->ear);

	with_lock__listen(sl, l, NULL);
	if (news)
		with_lock__look_soon(l);
}

int symload_look(struct symload *sl, uint64_t serial)
{
	struct load *l;

	mutex_lock(&sl->lock);
	l = with_lock__find(sl, serial);
	if (l && !symload_is_memory(l->used))
		with_lock__look_soon(l);
	mutex_unlock(&sl->lock);
	io_wake(sl->wake_fd);
	return l ? 0 : -ESRCH;
}

void symload_hear(struct symload *sl)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(sl->ears_fd, events, EVENTS_MAX, 0);

	mutex_lock(&sl->lock);
	for (int i = 0; i < n; i++) {
		struct load *l = with_lock__find(sl, events[i].data.u64);

		/* It may have been closed since, or be another one, which then will be heard. */
		if (l && l->ear && serial_ear_is_readable(l->ear))
			with_lock__heard(sl, l);
	}
	mutex_unlock(&sl->lock);
}
