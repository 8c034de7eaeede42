#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "symsrc/guest-helper/guest.h"

#define REOPEN_MS 1000 /* until the port is tried again */
#define CLOSED_MS 500  /* until a host is looked for again, should no SIGIO come */
#define SETTLE_MS 100  /* from the first word of modules until the state is looked at */
#define LOOK_MS	  3000 /* from one look at the state to the next, should no event come */

#ifndef KVMPROFS_VERSION
#define KVMPROFS_VERSION "?"
#endif

static const char usage[] = "kvmprofs-guest [-p PORT] [-r ROOT]\n"
			    "Hands this guest's kernel symbols to kvmprofs on its host.\n"
			    "  -p PORT  the serial port (default: the virtio port " PORT_NAME ")\n"
			    "  -r ROOT  where proc/ and sys/ are (default: /)\n"
			    "  -V  -h   the version; this\n";

struct watches {
	int signals;	 /* SIGIO */
	int modules;	 /* -1: none */
	int64_t look_at; /* in ms, of now_ms(); not from the last event on, as others' never end */
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One module rarely comes alone, and none of them is ready when the first word of it comes. */
static bool modules_have_changed(int fd)
{
	if (!state_watched(fd))
		return false;
	poll(NULL, 0, SETTLE_MS);
	state_watched(fd);
	return true;
}

/* How long to wait, in ms; -1: for ever. */
static int patience(const struct port *p, const struct watches *w)
{
	int64_t left = w->look_at - now_ms();

	if (p->closed)
		return CLOSED_MS;
	return !p->pushes ? -1 : left > 0 ? (int)left : 0;
}

static void push_news(struct port *p, struct watches *w)
{
	w->look_at = now_ms() + LOOK_MS;
	request_push(p);
}

/* Waits until there is something to do. */
static void wait_for_news(struct port *p, struct watches *w)
{
	struct pollfd f[] = {{.fd = p->closed ? -1 : p->fd, .events = POLLIN},
			     {.fd = w->signals, .events = POLLIN},
			     {.fd = w->modules, .events = POLLIN}};
	struct signalfd_siginfo info;

	if (poll(f, 3, patience(p, w)) < 0)
		return;
	if (f[1].revents)
		(void)!read(w->signals, &info, sizeof(info));
	/* A closed port is tried at each of its signals and now and then. */
	if (f[0].revents || p->closed)
		port_receive(p);
	if (p->wanted || p->has_request)
		return; /* who asks comes first, and is told the state */
	if ((f[2].revents && modules_have_changed(w->modules)) || now_ms() >= w->look_at)
		push_news(p, w);
}

static void serve(struct port *p, struct watches *w)
{
	while (!p->broken) {
		request_serve(p);
		if (!p->wanted && !p->has_request)
			wait_for_news(p, w);
	}
}

static int watch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigprocmask(SIG_BLOCK, &set, NULL); // NOLINT(concurrency-mt-unsafe): one thread
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void serve_for_ever(const char *path, struct watches *w)
{
	static struct port port;
	int last = 0;

	for (;;) {
		int fd = port_open(path);

		if (fd < 0 && fd != last)
			fprintf(stderr, "kvmprofs-guest: %s: %s; waiting for it\n",
				path ? path : PORT_NAME, strerror(-fd)); // NOLINT: one thread
		last = fd < 0 ? fd : 0;
		if (fd >= 0) {
			port_init(&port, fd);
			serve(&port, w);
			close(fd);
		}
		poll(NULL, 0, REOPEN_MS);
	}
}

int main(int argc, char **argv)
{
	const char *path = NULL, *root = "/";
	struct watches w = {0};
	int c, r;

	while ((c = getopt(argc, argv, "p:r:Vh")) != -1) { // NOLINT: one thread
		switch (c) {
		case 'p': path = optarg; break;
		case 'r': root = optarg; break;
		case 'V': puts("kvmprofs-guest " KVMPROFS_VERSION); return 0;
		case 'h': fputs(usage, stdout); return 0;
		default: fputs(usage, stderr); return 2;
		}
	}
	r = files_open_root(root);
	if (r < 0) {
		fprintf(stderr, "kvmprofs-guest: %s: %s\n", root, strerror(-r)); // NOLINT
		return 1;
	}
	w.signals = watch_signals();
	w.modules = state_watch();
	serve_for_ever(path, &w);
}
