/* The boots of a guest as the loader counts them, whoever hears of a reboot first, last, or in the
 * middle of something. Which boot of the guest answers a fetch or a look, and when, is scripted:
 * this file stands in for symsrc/fetch.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/log.h"
#include "symsrc/fetch.h"
#include "symsrc/symload.h"
#include "tests/unit/lib/textsymbols.h"
#include "tests/unit/lib/wait.h"

#define SERIAL	     1
#define NO_BOOT	     UINT_MAX /* none answers: a refusal */
#define BOOT_ID_SIZE 37

enum call { CALL_NONE, CALL_FETCH, CALL_LOOK };

static struct guests *gs;
static struct symload *sl;
static const char *used;

/* The loader's one fetcher asks, and waits for the test's answer. All: lock. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t answered;
	enum call call;		  /* that waits */
	struct fetch_request req; /* of it */
	unsigned boot;		  /* that answers it; 0: none yet */
	bool over;		  /* whoever asks is sent away */
} script = {.lock = PTHREAD_MUTEX_INITIALIZER, .answered = PTHREAD_COND_INITIALIZER};

/* ---- in place of fetch.c ------------------------------------------------------------------- */

static const char *boot_id_of(unsigned boot, char text[static BOOT_ID_SIZE])
{
	snprintf(text, BOOT_ID_SIZE, "%08x-0000-0000-0000-000000000000", boot);
	return text;
}

static struct source_mark mark_of(unsigned boot)
{
	return (struct source_mark){.len = 1, .bytes = {(uint8_t)boot}};
}

/* The boot that answers, -EACCES or -ECANCELED. */
static int ask(enum call call, const struct fetch_request *req)
{
	int boot;

	pthread_mutex_lock(&script.lock);
	script.call = call;
	script.req = *req;
	script.boot = 0;
	while (!script.boot && !script.over)
		pthread_cond_wait(&script.answered, &script.lock);
	boot = script.over ? -ECANCELED : script.boot == NO_BOOT ? -EACCES : (int)script.boot;
	script.call = CALL_NONE;
	pthread_mutex_unlock(&script.lock);
	return boot;
}

int fetch_symbols(struct fetch_request *req, const struct symbols **ret, struct errmsg *why)
{
	struct symbols *made;
	int boot = ask(CALL_FETCH, req);

	if (boot < 0)
		return errmsg_set(why, boot, "nobody answers");
	made = textsymbols_make("ffffffff81000000 T _text\n");
	boot_id_of((unsigned)boot, made->boot_id);
	made->mark = mark_of((unsigned)boot);
	snprintf(made->used, sizeof(made->used), "%s", used);
	*ret = made;
	return 0;
}

int fetch_look(struct fetch_request *req, enum source_news *ret, struct errmsg *why)
{
	int boot = ask(CALL_LOOK, req);

	if (boot < 0)
		return errmsg_set(why, boot, "nobody answers");
	*ret = req->mark.bytes[0] == boot ? SOURCE_SAME : SOURCE_REBOOTED;
	req->mark = mark_of((unsigned)boot);
	return 0;
}

/* ---- the script ---------------------------------------------------------------------------- */

static enum call waiting(void)
{
	enum call call;

	pthread_mutex_lock(&script.lock);
	call = script.boot ? CALL_NONE : script.call;
	pthread_mutex_unlock(&script.lock);
	return call;
}

/* Waits until the loader asks for this. */
static const struct fetch_request *asked(enum call call)
{
	wait_until(waiting() != CALL_NONE);
	assert_int_equal(waiting(), call);
	return &script.req;
}

static void answer(unsigned boot)
{
	pthread_mutex_lock(&script.lock);
	script.boot = boot;
	pthread_cond_signal(&script.answered);
	pthread_mutex_unlock(&script.lock);
}

static void serve(enum call call, unsigned boot)
{
	asked(call);
	answer(boot);
}

/* Somebody who knew the guest in this epoch hears of a reset. */
static void reset(uint32_t seen_epoch)
{
	assert_int_equal(guests_new_epoch(gs, SERIAL, seen_epoch, "QMP RESET"), 0);
}

static struct symsrc_status status(void)
{
	struct symsrc_status st;

	symload_status(sl, SERIAL, &st);
	return st;
}

static bool is_cancelled(const struct fetch_request *req)
{
	struct pollfd p = {.fd = req->limits.cancel_fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static void assert_boot(uint32_t epoch, unsigned boot)
{
	const struct symbols *s = symload_symbols(sl, SERIAL, epoch);
	char id[BOOT_ID_SIZE];

	assert_non_null(s);
	assert_string_equal(s->boot_id, boot_id_of(boot, id));
	symbols_put(s);
}

/* Once the symbols of this boot are here, looks find it again and again, in this epoch. */
static void assert_settles(uint32_t epoch, unsigned boot)
{
	const struct guest_set *set;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(asked(CALL_LOOK)->mark.bytes[0], boot);
		answer(boot);
	}
	asked(CALL_LOOK);
	assert_int_equal(status().epoch, epoch);
	assert_boot(epoch, boot);
	set = guests_acquire(gs);
	assert_int_equal(guest_set_find_serial(set, SERIAL)->epoch, epoch);
	guest_set_put(set);
}

/* Discovery knows it by this name now. */
static void publish(const char *name)
{
	struct guest *g = guest_create();
	const struct guest *list[] = {g};

	g->serial = SERIAL;
	g->pid = 1000;
	snprintf(g->name, sizeof(g->name), "%s", name);
	assert_int_equal(guests_publish(gs, list, 1), 0);
	guest_put(g);
}

/* ---- fixture ------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	const struct source_rule rules[] = {{(char *)"moved", (char *)"ssh://elsewhere"},
					    {(char *)"*", (char *)"ssh://guest"}};
	const struct symload_config config = {.rules = rules,
					      .rule_count = 2,
					      .fetchers = 1,
					      .check_ms = 1,
					      .look_ms = 1,
					      .cpu_is_free = true};

	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	used = "ssh://guest";
	script.over = false;
	gs = guests_create();
	assert_int_equal(symload_create(&config, gs, &sl), 0);
	assert_int_equal(symload_start(sl, NULL), 0);
	publish("guest");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	pthread_mutex_lock(&script.lock);
	script.over = true;
	pthread_cond_signal(&script.answered);
	pthread_mutex_unlock(&script.lock);
	wait_until(symload_stop(sl) == 0);
	symload_destroy(sl);
	guests_destroy(gs);
	return 0;
}

/* ---- tests --------------------------------------------------------------------------------- */

/* Has the next call be a fetch, though symbols are here: the mark of a look is, too. */
static void refresh_now(unsigned boot)
{
	asked(CALL_LOOK);
	assert_int_equal(symload_refresh(sl, SERIAL), 0);
	answer(boot);
}

static void test_a_look_meets_a_reboot(void **state)
{
	(void)state;
	serve(CALL_FETCH, 1);
	serve(CALL_LOOK, 2);
	assert_int_equal(asked(CALL_FETCH)->dead.bytes[0], 1);
	answer(2);
	assert_settles(2, 2);
	assert_boot(1, 1);
}

static void test_a_fetch_meets_a_reboot(void **state)
{
	(void)state;
	serve(CALL_FETCH, 1);
	refresh_now(1);
	serve(CALL_FETCH, 2);
	assert_settles(2, 2);
	assert_boot(1, 1);
}

/* Asked before a reset, and answered after it was heard of, by the boot before or by the next. */
static void look_across_a_reset(unsigned boot)
{
	serve(CALL_FETCH, 1);
	asked(CALL_LOOK);
	reset(1);
	wait_until(status().epoch == 2);
	assert_true(is_cancelled(&script.req));
	answer(boot);
	assert_int_equal(asked(CALL_FETCH)->mark.len, 0);
	answer(2);
	assert_settles(2, 2);
	assert_boot(1, 1);
}

static void test_a_look_of_before_a_reset(void **state)
{
	(void)state;
	look_across_a_reset(1);
}

static void test_a_look_that_meets_a_reset(void **state)
{
	(void)state;
	look_across_a_reset(2);
}

static void fetch_across_a_reset(unsigned boot)
{
	serve(CALL_FETCH, 1);
	refresh_now(1);
	asked(CALL_FETCH);
	reset(1);
	wait_until(status().epoch == 2);
	assert_true(is_cancelled(&script.req));
	answer(boot);
	asked(CALL_FETCH);
	assert_null(symload_symbols(sl, SERIAL, 2));
	answer(2);
	assert_settles(2, 2);
	assert_boot(1, 1);
}

static void test_a_fetch_of_before_a_reset(void **state)
{
	(void)state;
	fetch_across_a_reset(1);
}

static void test_a_fetch_that_meets_a_reset(void **state)
{
	(void)state;
	fetch_across_a_reset(2);
}

/* The guest's new kernel has answered before anybody is told of the reset. */
static void test_a_reset_that_is_told_late(void **state)
{
	(void)state;
	serve(CALL_FETCH, 1);
	serve(CALL_LOOK, 2);
	asked(CALL_FETCH);
	reset(1);
	answer(2);
	assert_settles(2, 2);
}

/* A boot that a look has met, and that ended before it was fetched, had no symbols: it is none. */
static void test_a_boot_that_is_over_before_it_is_fetched(void **state)
{
	(void)state;
	serve(CALL_FETCH, 1);
	serve(CALL_LOOK, 2);
	serve(CALL_FETCH, 3);
	assert_settles(2, 3);
}

static void test_boot_after_boot(void **state)
{
	(void)state;
	serve(CALL_FETCH, 1);
	refresh_now(1);
	serve(CALL_FETCH, 2);
	serve(CALL_LOOK, 3);
	serve(CALL_FETCH, 3);
	assert_settles(3, 3);
	assert_boot(2, 2);
	assert_boot(1, 1);
}

/* Memory is read bit by bit: what was read of it may be over when a look finds the next boot there,
 * and is looked at once more. Whoever has begun the new epoch is not cancelled by it. */
static void test_memory_of_a_boot_that_is_over(void **state)
{
	(void)state;
	used = "memory";
	serve(CALL_FETCH, 1);
	refresh_now(1);
	serve(CALL_FETCH, 1);
	serve(CALL_LOOK, 2);
	assert_int_equal(asked(CALL_LOOK)->mark.bytes[0], 1);
	assert_false(is_cancelled(&script.req));
	answer(2);
	asked(CALL_FETCH);
	assert_null(symload_symbols(sl, SERIAL, 2));
	answer(2);
	assert_settles(2, 2);
	assert_boot(1, 1);
}

/* The job that begins an epoch has not asked where the guest is now. */
static void test_a_guest_that_moves_as_an_epoch_begins(void **state)
{
	(void)state;
	serve(CALL_FETCH, 1);
	refresh_now(1);
	asked(CALL_FETCH);
	publish("moved");
	answer(2);
	assert_string_equal(asked(CALL_FETCH)->uri, "ssh://elsewhere");
	answer(2);
	assert_settles(2, 2);
	assert_boot(1, 1);
}

/* Its agent comes while it is asked in another way, which is refused: that it is back is not
 * forgotten until the next attempt, which a refusal puts off. */
static void test_news_while_it_is_asked(void **state)
{
	struct symsrc_status st;

	(void)state;
	asked(CALL_FETCH);
	assert_int_equal(symload_look(sl, SERIAL), 0);
	answer(NO_BOOT);
	wait_until((st = status(), st.attempts == 1));
	assert_true(st.next_try_ns <= clock_now_ns() + SYMLOAD_NEWS_MS * NSEC_PER_MSEC);
	serve(CALL_FETCH, 1);
	assert_settles(1, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_look_meets_a_reboot, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_fetch_meets_a_reboot, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_look_of_before_a_reset, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_look_that_meets_a_reset, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_fetch_of_before_a_reset, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_fetch_that_meets_a_reset, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_reset_that_is_told_late, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_boot_that_is_over_before_it_is_fetched,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_boot_after_boot, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_memory_of_a_boot_that_is_over, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_news_while_it_is_asked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_guest_that_moves_as_an_epoch_begins, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
