#include "symsrc/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/lock.h"
#include "symsrc/base/text.h"

static struct {
	struct mutex lock;
	log_sink_fn *sink;    /* set once, before threads */
	uint64_t window_ns;   /* lock: start of the second that is being counted */
	unsigned in_window;   /* lock */
	unsigned left_out;    /* lock */
	atomic_int max_level; /* enum log_level */
} state = {.lock = {PTHREAD_MUTEX_INITIALIZER}, .max_level = LOG_LEVEL_INFO};

void log_set_sink(log_sink_fn *sink)
{
	state.sink = sink;
}

void log_set_level(enum log_level level)
{
	atomic_store(&state.max_level, level);
}

static void to_stderr(const char *line)
{
	fprintf(stderr, "kvmprofs: %s\n", line);
}

static void with_lock__emit(enum log_level level, const char *line)
{
	if (state.sink)
		state.sink(level, line);
	else
		to_stderr(line);
}

static int with_lock__within_rate(enum log_level level)
{
	uint64_t now = clock_now_ns();

	if (now - state.window_ns >= NSEC_PER_SEC) {
		state.window_ns = now;
		state.in_window = 0;
	}
	if (level == LOG_LEVEL_ERROR || state.in_window++ < LOG_BURST)
		return 1;
	state.left_out++;
	return 0;
}

static void with_lock__say_left_out(void)
{
	char line[64];

	if (!state.left_out)
		return;
	snprintf(line, sizeof(line), "%u messages left out", state.left_out);
	state.left_out = 0;
	with_lock__emit(LOG_LEVEL_WARN, line);
}

void log_at(enum log_level level, const char *fmt, ...)
{
	char raw[LOG_LINE_MAX], line[LOG_LINE_MAX];
	int saved = errno;
	va_list ap;

	if ((int)level > atomic_load(&state.max_level))
		return;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	text_clean(line, sizeof(line), raw, strlen(raw));
	mutex_lock(&state.lock);
	if (with_lock__within_rate(level)) {
		with_lock__say_left_out();
		with_lock__emit(level, line);
	}
	mutex_unlock(&state.lock);
	errno = saved;
}
