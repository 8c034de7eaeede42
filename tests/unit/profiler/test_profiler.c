/* The room's door, from samples (over QMP, of a server that is made up) to the profile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <poll.h>
#include <unistd.h>

#include "profiler/profiler.h"
#include "symsrc/base/clock.h"
#include "tests/unit/lib/fakeqmp.h"
#include "tests/unit/lib/gone.h"
#include "tests/unit/lib/guestmaker.h"
#include "tests/unit/lib/textsymbols.h"
#include "tests/unit/lib/tmptree.h"
#include "tests/unit/lib/wait.h"

/* ---- a symsrc that is made up: takes the place of the library's ------------------------------ */

struct symsrc {
	struct guests *guests;
	const struct symbols *symbols; /* of epoch 1; NULL: none yet */
};

struct guests *symsrc_guests(struct symsrc *s)
{
	return s->guests;
}

int symsrc_refresh(struct symsrc *s, uint64_t serial)
{
	(void)s;
	(void)serial;
	return 0;
}

int symsrc_look(struct symsrc *s, uint64_t serial)
{
	(void)s, (void)serial;
	return 0;
}

void symsrc_offer_addresses(struct symsrc *s, uint64_t serial, uint32_t epoch, const uint64_t *ips,
			    size_t n)
{
	(void)s, (void)serial, (void)epoch, (void)ips, (void)n;
}

void symsrc_set_misfit(struct symsrc *s, uint64_t serial, uint32_t epoch, bool misfit)
{
	(void)s, (void)serial, (void)epoch, (void)misfit;
}

static symsrc_retired_fn *on_retired;
static void *on_retired_ctx;

void symsrc_on_retired(struct symsrc *s, symsrc_retired_fn *fn, void *ctx)
{
	(void)s;
	on_retired = fn;
	on_retired_ctx = ctx;
}

int symsrc_subscribe(struct symsrc *s, int wake_fd)
{
	(void)s, (void)wake_fd;
	return 0;
}

void symsrc_unsubscribe(struct symsrc *s, int wake_fd)
{
	(void)s, (void)wake_fd;
}

const struct symbols *symsrc_symbols(struct symsrc *s, uint64_t serial, uint32_t epoch)
{
	(void)serial;
	return epoch == 1 ? symbols_get(__atomic_load_n(&s->symbols, __ATOMIC_ACQUIRE)) : NULL;
}

static const struct symbols *make_symbols(void)
{
	return textsymbols_make(
		"ffffffff81000000 T _text\nffffffff81000100 T hot\nffffffff81000200 T _etext\n");
}

/* ---- the world ------------------------------------------------------------------------------- */

struct world {
	struct tmptree tree;
	char socket[128];
	struct symsrc symsrc;
	struct profiler *p;
	struct fakeqmp *qmp;
};

static char *qemu_answers(void *ctx, const char *command, const char *line)
{
	(void)ctx, (void)line;
	if (strcmp(command, "query-status") == 0)
		return strdup("{\"running\": true, \"status\": \"running\"}");
	if (strcmp(command, "human-monitor-command") == 0)
		return strdup("\"CPU#0\\nRIP=ffffffff81000104 RFL=2 CPL=0 HLT=0\\n"
			      "CPU#1\\nRIP=0000000000401000 RFL=2 CPL=3 HLT=0\\n\"");
	return strdup("{}");
}

static void begin(struct world *w)
{
	struct profiler_config config = {.sampler = SAMPLER_QMP, .event = "auto", .freq = 997};
	struct guest *g = guestmaker_create(1, 100, 2);
	struct errmsg why;

	memset(w, 0, sizeof(*w));
	tmptree_init(&w->tree);
	snprintf(w->socket, sizeof(w->socket), "%s/qmp.sock", w->tree.path);
	w->qmp = fakeqmp_start(w->socket, FAKEQMP_OK, qemu_answers, NULL);
	w->symsrc.guests = guests_create();
	assert_int_equal(profiler_create(&config, &w->symsrc, &w->p, &why), 0);
	assert_int_equal(profiler_start(w->p, &why), 0);
	snprintf(g->links.qmp_path, sizeof(g->links.qmp_path), "%s", w->socket);
	guestmaker_publish(w->symsrc.guests, &g, 1);
}

static void end(struct world *w)
{
	profiler_stop(w->p);
	profiler_destroy(w->p);
	fakeqmp_stop(w->qmp);
	guests_destroy(w->symsrc.guests);
	symbols_put(w->symsrc.symbols);
	tmptree_deinit(&w->tree);
}

static struct profile *profile_of(struct world *w, int vcpu)
{
	struct slice slice = {.vcpu = (uint32_t)(vcpu + 1)};
	struct profile *p;

	assert_int_equal(profiler_profile(w->p, 1, &slice, &p), 0);
	return p;
}

static uint64_t samples_of(struct world *w)
{
	struct profile *p = profile_of(w, -1);
	uint64_t n = p->samples;

	profile_free(p);
	return n;
}

static void wait_for(struct world *w, uint64_t samples)
{
	wait_until(samples_of(w) >= samples);
}

/* Symbols that arrive late name the samples that came before them. */
static void test_profile(void **state)
{
	struct profile *p;
	struct world w;

	(void)state;
	begin(&w);
	wait_for(&w, 20);
	p = profile_of(&w, -1);
	assert_int_equal(p->row_count, 2);
	assert_int_equal(p->unresolved, p->guest_kernel);
	profile_free(p);
	__atomic_store_n(&w.symsrc.symbols, make_symbols(), __ATOMIC_RELEASE);
	p = profile_of(&w, 0);
	assert_int_equal(p->row_count, 1);
	assert_string_equal(p->rows[0].symbol, "hot");
	assert_string_equal(p->rows[0].object, PROFILE_OBJECT_KERNEL);
	assert_true(p->rows[0].samples >= 10);
	assert_int_equal(p->rows[0].samples, p->guest_kernel);
	assert_int_equal(p->unresolved, 0);
	assert_int_equal(p->sampler, SAMPLER_KIND_QMP);
	assert_string_equal(p->event, "registers over QMP");
	assert_int_equal(p->freq, 50);
	assert_int_equal(p->contradictory, 0);
	assert_true(p->since_ns < p->taken_ns);
	profile_free(p);
	p = profile_of(&w, 1);
	assert_int_equal(p->row_count, 1);
	assert_string_equal(p->rows[0].symbol, PROFILE_SYMBOL_USER);
	assert_int_equal(p->rows[0].type, 'u');
	profile_free(p);
	end(&w);
}

static uint64_t samples_in(struct world *w, uint32_t time, const char *object)
{
	struct slice slice = {.time = time};
	struct profile *p;
	uint64_t n = 0;

	assert_int_equal(profiler_profile(w->p, 1, &slice, &p), 0);
	for (size_t i = 0; i < p->row_count; i++)
		n += strcmp(p->rows[i].object, object) == 0 ? p->rows[i].samples : 0;
	profile_free(p);
	return n;
}

static uint32_t only_snapshot(struct world *w)
{
	struct profiler_snapshot *list;
	uint32_t id;

	assert_int_equal(profiler_snapshots(w->p, 1, &list), 1);
	id = list[0].id;
	free(list);
	return id;
}

/* What was sampled in a module stays its own when another one lies at its addresses. */
static void test_a_module_takes_anothers_place(void **state)
{
	static const char before[] = "ffffffff81000100 t f\t[old]\n";
	static const char now[] = "ffffffff81000100 t f\t[new]\n";
	struct symbols *s = textsymbols_make(now);
	uint64_t old;
	struct world w;

	(void)state;
	begin(&w);
	wait_for(&w, 20);
	__atomic_store_n(&w.symsrc.symbols, textsymbols_make(before), __ATOMIC_RELEASE);
	assert_int_equal(profiler_snapshot_make(w.p, 1, "then"), 0);
	old = samples_in(&w, only_snapshot(&w), "[old]");
	assert_true(old >= 10);
	s->retired = gone_after(NULL, before, now);
	symbols_put(__atomic_exchange_n(&w.symsrc.symbols, s, __ATOMIC_ACQ_REL));
	/* In between a reader has to do with the symbols. */
	assert_int_equal(samples_in(&w, SLICE_ALL, "[new]"), 0);
	on_retired(on_retired_ctx, 1, 1, s->retired);
	wait_until(samples_in(&w, SLICE_ALL, "[new]") >= 5);
	assert_true(samples_in(&w, SLICE_RECENT, "[new]") >= 5);
	assert_true(samples_in(&w, SLICE_RECENT, "[old]") > 0);
	assert_int_equal(samples_in(&w, only_snapshot(&w), "[new]"), 0);
	assert_int_equal(samples_in(&w, only_snapshot(&w), "[old]"), old);
	old = samples_in(&w, SLICE_ALL, "[old]");
	wait_for(&w, samples_of(&w) + 10);
	assert_int_equal(samples_in(&w, SLICE_ALL, "[old]"), old);
	end(&w);
}

static void test_numbers(void **state)
{
	struct profiler_totals totals;
	struct profiler_shares shares;
	struct profiler_counts counts;
	struct profiler_vcpu *vcpus;
	struct world w;

	(void)state;
	begin(&w);
	wait_for(&w, 20);
	assert_int_equal(profiler_vcpus(w.p, 1, &vcpus), 2);
	assert_int_equal(vcpus[0].tid, 101);
	assert_true(vcpus[0].kernel > 0 && vcpus[0].user == 0);
	assert_true(vcpus[1].user > 0 && vcpus[1].kernel == 0);
	free(vcpus);
	assert_int_equal(profiler_shares(w.p, 1, &shares), 0);
	assert_true(shares.guest_kernel > 0 && shares.guest_user > 0);
	assert_true(shares.total >= shares.guest_kernel + shares.guest_user);
	assert_int_equal(profiler_counts(w.p, 1, &counts), 0);
	assert_true(counts.guest_kernel >= shares.guest_kernel &&
		    counts.guest_user >= shares.guest_user);
	assert_int_equal(counts.sampler, SAMPLER_KIND_QMP);
	assert_true(counts.freq > 0 && !counts.paused);
	assert_int_equal(profiler_shares(w.p, 0, &shares), 0);
	profiler_totals(w.p, &totals);
	assert_false(totals.perf_running);
	assert_true(totals.perf_error[0]);
	assert_true(totals.qmp_samples >= 20);
	end(&w);
}

static void test_control(void **state)
{
	struct profile *p;
	struct world w;
	uint64_t n;

	(void)state;
	begin(&w);
	wait_for(&w, 60);
	try_until(profiler_reset(w.p, 1) == 0 && samples_of(&w) < 40);
	wait_for(&w, 1);
	assert_int_equal(profiler_pause(w.p, 1, true), 0);
	n = samples_of(&w);
	poll(NULL, 0, 300);
	p = profile_of(&w, -1);
	assert_int_equal(p->samples, n);
	assert_true(p->paused);
	profile_free(p);
	assert_int_equal(profiler_reset(w.p, 1), 0);
	n = samples_of(&w);
	assert_int_equal(n, 0);
	assert_int_equal(profiler_pause(w.p, 1, false), 0);
	wait_for(&w, n + 10);
	end(&w);
}

static void test_gone(void **state)
{
	struct profiler_shares shares;
	struct profiler_counts counts;
	struct profiler_vcpu *vcpus;
	struct profile *p;
	struct world w;

	(void)state;
	begin(&w);
	wait_for(&w, 5);
	guestmaker_publish(w.symsrc.guests, NULL, 0);
	assert_int_equal(profiler_profile(w.p, 1, &(struct slice){0}, &p), -ESRCH);
	assert_int_equal(profiler_vcpus(w.p, 1, &vcpus), -ESRCH);
	assert_int_equal(profiler_shares(w.p, 1, &shares), -ESRCH);
	assert_int_equal(profiler_counts(w.p, 1, &counts), -ESRCH);
	assert_int_equal(profiler_reset(w.p, 1), -ESRCH);
	assert_int_equal(profiler_pause(w.p, 1, true), -ESRCH);
	end(&w);
}

static void test_wrong_event(void **state)
{
	struct profiler_config config = {.sampler = SAMPLER_AUTO, .event = "cycels", .freq = 997};
	struct symsrc symsrc = {.guests = guests_create()};
	struct profiler *p = NULL;
	struct errmsg why;

	(void)state;
	assert_int_equal(profiler_create(&config, &symsrc, &p, &why), -EINVAL);
	assert_non_null(strstr(why.text, "cycels"));
	assert_null(p);
	profiler_destroy(NULL);
	profile_free(NULL);
	guests_destroy(symsrc.guests);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_profile),
		cmocka_unit_test(test_a_module_takes_anothers_place),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_wrong_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
