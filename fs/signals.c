#include "fs/signals.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/base/thread.h"

/* Only interrupts the main thread; without a handler it would not even be noticed. */
#define SIGNAL_NUDGE   SIGURG
#define NUDGE_EVERY_MS 20

struct signals {
	pthread_t thread;
	pthread_t main;
	int signal_fd;
	int wake_fd;
	atomic_bool stop;
	void (*on_end)(void *ctx);
	void *ctx;
};

/* Not here: those that tell of a fault, which must end it where it stands; SIGTSTP and its
 * like, which only stop; and those that are ignored anyway. */
static void ending_signals(sigset_t *set)
{
	static const int ending[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM,   SIGABRT,
				     SIGUSR1, SIGUSR2, SIGALRM, SIGPROF,   SIGVTALRM,
				     SIGIO,   SIGPWR,  SIGXCPU, SIGSTKFLT, SIGXFSZ};

	sigemptyset(set);
	for (size_t i = 0; i < ARRAY_SIZE(ending); i++)
		sigaddset(set, ending[i]);
	for (int s = SIGRTMIN; s <= SIGRTMAX; s++)
		sigaddset(set, s);
}

static void nudged(int sig)
{
	(void)sig;
}

void signals_block(void)
{
	struct sigaction nudge = {.sa_handler = nudged};
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t set;

	ending_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	sigemptyset(&nudge.sa_mask);
	sigaction(SIGNAL_NUDGE, &nudge, NULL); /* without SA_RESTART */
}

/* False when it is to stop. */
static bool wait_for_signal(struct signals *s)
{
	struct pollfd p[] = {{.fd = s->signal_fd, .events = POLLIN},
			     {.fd = s->wake_fd, .events = POLLIN}};
	struct signalfd_siginfo info;

	while (!atomic_load(&s->stop)) {
		if (poll(p, 2, -1) < 0 || !(p[0].revents & POLLIN))
			continue;
		if (read(s->signal_fd, &info, sizeof(info)) != sizeof(info))
			continue;
		log_info("ending: got signal %s", sigabbrev_np((int)info.ssi_signo)
							  ? sigabbrev_np((int)info.ssi_signo)
							  : "of real time");
		return true;
	}
	return false;
}

/* A nudge that arrives just before the main thread goes to sleep is lost: so more than one. */
static void nudge_main(struct signals *s)
{
	struct pollfd p = {.fd = s->wake_fd, .events = POLLIN};

	while (!atomic_load(&s->stop)) {
		pthread_kill(s->main, SIGNAL_NUDGE);
		poll(&p, 1, NUDGE_EVERY_MS);
	}
}

static void *run(void *arg)
{
	struct signals *s = arg;

	if (!wait_for_signal(s))
		return NULL;
	s->on_end(s->ctx);
	nudge_main(s);
	return NULL;
}

int signals_open(void)
{
	sigset_t set;
	int fd;

	ending_signals(&set);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int open_fds(struct signals *s)
{
	s->wake_fd = io_wake_create();
	s->signal_fd = signals_open();
	if (s->wake_fd < 0)
		return s->wake_fd;
	return s->signal_fd < 0 ? s->signal_fd : 0;
}

static void free_signals(struct signals *s)
{
	close_keep_errno(s->signal_fd);
	close_keep_errno(s->wake_fd);
	free(s);
}

int signals_start(void (*on_end)(void *ctx), void *ctx, struct signals **ret, struct errmsg *why)
{
	struct signals *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return errmsg_set(why, -ENOMEM, "out of memory");
	*s = (struct signals){.main = pthread_self(), .on_end = on_end, .ctx = ctx};
	r = open_fds(s);
	if (r == 0)
		r = thread_start(&s->thread, "kp-signals", run, s);
	if (r < 0) {
		free_signals(s);
		return errmsg_set(why, r, "cannot watch for signals: %s", strerrordesc_np(-r));
	}
	*ret = s;
	return 0;
}

void signals_stop(struct signals *s)
{
	if (!s)
		return;
	atomic_store(&s->stop, true);
	io_wake(s->wake_fd);
	pthread_join(s->thread, NULL);
	free_signals(s);
}
