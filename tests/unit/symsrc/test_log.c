/* Messages: one safe line each, by level, and not too many a second. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/log.h"

static struct {
	unsigned count;
	enum log_level level;
	char last[LOG_LINE_MAX + 1];
	char first[LOG_LINE_MAX + 1];
} seen;

static void sink(enum log_level level, const char *line)
{
	if (!seen.count++)
		snprintf(seen.first, sizeof(seen.first), "%s", line);
	seen.level = level;
	snprintf(seen.last, sizeof(seen.last), "%s", line);
}

static int setup(void **state)
{
	(void)state;
	log_set_sink(sink);
	log_set_level(LOG_LEVEL_INFO);
	memset(&seen, 0, sizeof(seen));
	return 0;
}

/* A second that nobody has logged in, so that no test finds another one's burst. */
static int setup_afresh(void **state)
{
	nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 10000000}, NULL);
	return setup(state);
}

/* Logs more than is let through in a second; again if it took longer than that. */
static void burst(void **state, unsigned lines)
{
	uint64_t start;

	do {
		setup_afresh(state);
		start = clock_now_ns();
		log_info("the second begins"); /* and says what an earlier try has left out */
		memset(&seen, 0, sizeof(seen));
		for (unsigned i = 1; i < lines; i++)
			log_info("%u", i);
		seen.count++; /* the first one */
	} while (clock_now_ns() - start > NSEC_PER_SEC * 9 / 10);
}

static void test_one_safe_line(void **state)
{
	(void)state;
	log_warn("guest %d: %s", 7, "evil\n\x1b[31mname");
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.level, LOG_LEVEL_WARN);
	assert_string_equal(seen.last, "guest 7: evil\\x0a\\x1b[31mname");
}

static void test_long_lines_are_cut(void **state)
{
	char big[3 * LOG_LINE_MAX];

	(void)state;
	memset(big, '\n', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_info("%s", big);
	assert_true(strlen(seen.last) < LOG_LINE_MAX);
}

static void test_levels(void **state)
{
	(void)state;
	log_debug("not shown");
	assert_int_equal(seen.count, 0);
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("shown");
	assert_int_equal(seen.count, 1);
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("not shown");
	assert_int_equal(seen.count, 1);
	log_error("shown");
	assert_int_equal(seen.count, 2);
}

static void test_errno_survives(void **state)
{
	(void)state;
	errno = ENOTTY;
	log_info("%s", "x");
	assert_int_equal(errno, ENOTTY);
}

/* A burst is cut short, errors never are, and the next line says how many are missing. */
static void test_bursts(void **state)
{
	(void)state;
	burst(state, LOG_BURST + 25);
	assert_int_equal(seen.count, LOG_BURST);
	log_error("important");
	assert_string_equal(seen.last, "important");
	assert_int_equal(seen.count, LOG_BURST + 2); /* "25 messages left out" came before it */
	setup_afresh(state);
	log_info("later");
	assert_int_equal(seen.count, 1);
}

static void test_left_out_is_said(void **state)
{
	(void)state;
	burst(state, LOG_BURST + 25);
	setup_afresh(state);
	log_info("later");
	assert_string_equal(seen.first, "25 messages left out");
	assert_string_equal(seen.last, "later");
}

static void *chatter(void *unused)
{
	(void)unused;
	for (int i = 0; i < 1000; i++)
		log_info("chatter");
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, chatter, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_true(seen.count >= LOG_BURST && seen.count < 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_one_safe_line, setup),
		cmocka_unit_test_setup(test_long_lines_are_cut, setup),
		cmocka_unit_test_setup(test_levels, setup),
		cmocka_unit_test_setup(test_errno_survives, setup),
		cmocka_unit_test_setup(test_bursts, setup),
		cmocka_unit_test_setup(test_left_out_is_said, setup),
		cmocka_unit_test_setup(test_threads, setup_afresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
