/* The loader: from guests that come, reboot, hang and go to symbols for each boot of each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <elf.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/source_ssh.h"
#include "symsrc/ssh_link.h"
#include "symsrc/symload_impl.h"
#include "tests/unit/lib/elfmaker.h"
#include "tests/unit/lib/guestroot.h"
#include "tests/unit/lib/sshserver.h"
#include "tests/unit/lib/wait.h"

#define GUESTS_MOST 64
#define RARELY_MS   3600000 /* between looks: there is but the one that is asked for */
#define SECOND	    "99999999-8888-7777-6666-555555555555"

static char dir[32], root[64], host_key[64], client_key[64], known_hosts[64];
static struct sshserver *hung;

static struct guests *gs;
static struct symload *sl;
static const struct guest *published[GUESTS_MOST];
static size_t published_count;
static size_t kept_max; /* 0: as usual */

static int group_setup(void **state)
{
	struct sshserver_config config = {.host_key = host_key, .client_key = client_key};

	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	unsetenv("SSH_AUTH_SOCK");
	source_ssh_init(NULL);
	snprintf(dir, sizeof(dir), "/tmp/test_load.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(root, sizeof(root), "%s/root", dir);
	snprintf(host_key, sizeof(host_key), "%s/host_key", dir);
	snprintf(client_key, sizeof(client_key), "%s/client_key", dir);
	snprintf(known_hosts, sizeof(known_hosts), "%s/known_hosts", dir);
	sshserver_make_key(host_key, NULL);
	sshserver_make_key(client_key, NULL);
	hung = sshserver_start(&config);
	sshserver_trust(hung, host_key, known_hosts);
	sshserver_set_fault(hung, SSHSERVER_NO_BANNER);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	sshserver_stop(hung);
	guestroot_remove(dir);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	guestroot_create(root);
	sshserver_set_fault(hung, SSHSERVER_NO_BANNER);
	gs = guests_create();
	published_count = 0;
	kept_max = 0;
	return gs ? 0 : -1;
}

/* Threads that are left behind end, too, some time later. */
static void end_loader(void)
{
	if (sl)
		wait_until(symload_stop(sl) == 0);
	symload_destroy(sl);
	sl = NULL;
}

static int teardown(void **state)
{
	(void)state;
	end_loader();
	for (size_t i = 0; i < published_count; i++)
		guest_put(published[i]);
	guests_destroy(gs);
	guestroot_remove(root);
	return 0;
}

/* ---- helpers ------------------------------------------------------------------------------- */

/* Rules: "good*" is the folder, "hung*" the server that never answers, "gone*" refuses, "file*" is
 * a kernel's file, "given*" the same with the user's word for where it runs. */
static void start_checking(unsigned fetchers, unsigned check_ms)
{
	char good[128], hangs[256], file[128], given[160];
	struct source_rule rules[5] = {{(char *)"good*", good},
				       {(char *)"hung*", hangs},
				       {(char *)"gone*", (char *)"ssh://127.0.0.1:1"},
				       {(char *)"file*", file},
				       {(char *)"given*", given}};
	struct symload_config config = {.rules = rules, .rule_count = ARRAY_SIZE(rules)};

	snprintf(good, sizeof(good), "dir:%s", root);
	snprintf(file, sizeof(file), "vmlinux:%s/vmlinux", dir);
	snprintf(given, sizeof(given), "%s,slide:0x800000", file);
	snprintf(hangs, sizeof(hangs), "ssh://127.0.0.1:%u?identity=%s&known_hosts=%s",
		 sshserver_port(hung), client_key, known_hosts);
	config.fetchers = fetchers;
	config.check_ms = check_ms;
	config.kept_max = kept_max;
	assert_int_equal(symload_create(&config, gs, &sl), 0);
	assert_int_equal(symload_start(sl, NULL), 0);
}

static void start(unsigned fetchers)
{
	start_checking(fetchers, 0);
}

/* A guest that has been running since the machine booted. */
static struct guest *new_guest(uint64_t serial, const char *name)
{
	struct guest *g = guest_create();

	assert_non_null(g);
	g->serial = serial;
	g->pid = (pid_t)(1000 + serial);
	snprintf(g->name, sizeof(g->name), "%s", name);
	return g;
}

static void publish(void)
{
	assert_int_equal(guests_publish(gs, published, published_count), 0);
}

static void add_guest(uint64_t serial, const char *name)
{
	published[published_count++] = new_guest(serial, name);
}

static void drop_last_guest(void)
{
	guest_put(published[--published_count]);
	publish();
}

static struct symsrc_status status_of(uint64_t serial)
{
	struct symsrc_status st;

	symload_status(sl, serial, &st);
	return st;
}

static void wait_ready(uint64_t serial)
{
	wait_until(status_of(serial).state == SYMSRC_READY);
}

static uint32_t epoch_of(uint64_t serial)
{
	const struct guest_set *set = guests_acquire(gs);
	const struct guest_entry *e = guest_set_find_serial(set, serial);
	uint32_t epoch = e ? e->epoch : 0;

	guest_set_put(set);
	return epoch;
}

static void set_boot_id(const char *id)
{
	guestroot_set(root, "proc/sys/kernel/random/boot_id", id, strlen(id));
}

static void assert_boot_id(uint64_t serial, uint32_t epoch, const char *expected)
{
	const struct symbols *s = symload_symbols(sl, serial, epoch);

	assert_non_null(s);
	assert_string_equal(s->boot_id, expected);
	symbols_put(s);
}

/* ---- policy -------------------------------------------------------------------------------- */

static void test_rules(void **state)
{
	const struct source_rule rules[] = {{(char *)"1042", (char *)"by-pid"},
					    {(char *)"web*", (char *)"first"},
					    {(char *)"web1", (char *)"second"},
					    {(char *)"10*", (char *)"by-name"}};
	struct guest *g = new_guest(42, "web1");

	(void)state;
	assert_string_equal(symload_uri_for(rules, 4, g), "by-pid");
	assert_string_equal(symload_uri_for(rules + 1, 3, g), "first");
	snprintf(g->name, sizeof(g->name), "1042");
	g->pid = 7;
	assert_string_equal(symload_uri_for(rules, 4, g), "by-pid"); /* as a name */
	snprintf(g->name, sizeof(g->name), "10 or so");
	assert_string_equal(symload_uri_for(rules, 4, g), "by-name");
	snprintf(g->name, sizeof(g->name), "db");
	assert_string_equal(symload_uri_for(rules, 4, g), "auto");
	assert_string_equal(symload_uri_for(NULL, 0, g), "auto");
	guest_put(g);
}

static void test_pauses(void **state)
{
	static const unsigned growing[] = {1, 2, 4, 8, 16, 30, 30};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(growing); i++)
		assert_int_equal(symload_pause_sec(-ECONNREFUSED, i + 1, false), growing[i]);
	assert_int_equal(symload_pause_sec(-ECONNREFUSED, 4000000000u, false), 30);
	assert_int_equal(symload_pause_sec(-ECONNREFUSED, 9, true), 2);
	assert_int_equal(symload_pause_sec(-EACCES, 1, true), 2);
	assert_int_equal(symload_pause_sec(-EACCES, 1, false), 10);
	assert_int_equal(symload_pause_sec(-EACCES, 50, false), 300);
	assert_int_equal(symload_pause_sec(-ENOSYS, 1, false), 0);
}

/* However little a quick attempt is said to cost: one that takes long is not made twice a second.
 */
static void test_quick_attempts_that_are_not(void **state)
{
	struct job job = {.result = -EAGAIN, .req = {.limits = {.quick = true}}};
	struct load l = {.young = true};
	uint64_t now = clock_now_ns();

	(void)state;
	job.cpu_ns = NSEC_PER_MSEC;
	assert_true(load_next_attempt(&l, &job) < now + 2 * NSEC_PER_SEC);
	job.cpu_ns = NSEC_PER_SEC;
	assert_true(load_next_attempt(&l, &job) >= now + 10 * NSEC_PER_SEC);
	l.young = false;
	assert_true(load_next_attempt(&l, &job) >= now + 30 * NSEC_PER_SEC);
	/* What was thorough leads to a quick one soon. */
	job.req.limits.quick = false;
	assert_true(load_next_attempt(&l, &job) < now + 10 * NSEC_PER_SEC);
	assert_true(l.thorough_ns >= now + 30 * NSEC_PER_SEC);
}

/* Every few seconds, and where it costs a connection, so that what has changed is known within ten.
 */
static void test_looks_are_cheap(void **state)
{
	const struct symload rests = {.check_ns = SYMLOAD_CHECK_SEC * NSEC_PER_SEC,
				      .look_ns = 3 * NSEC_PER_SEC};
	struct guest *g = new_guest(42, "web1");
	struct load l = {.guest = g, .mark = {.len = 1}, .used = "memory"};
	struct job job = {.result = 0};
	uint64_t now = clock_now_ns();

	(void)state;
	assert_true(load_next_look(&rests, &l, &job) <= now + 4 * NSEC_PER_SEC);
	snprintf(l.used, sizeof(l.used), "virtio-serial:/run/agent");
	assert_true(load_next_look(&rests, &l, &job) >= now + 6 * NSEC_PER_SEC);
	assert_true(load_next_look(&rests, &l, &job) <= now + 9 * NSEC_PER_SEC);
	job.cpu_ns = NSEC_PER_SEC; /* the CPU is worth more than ten seconds */
	assert_true(load_next_look(&rests, &l, &job) >= now + 30 * NSEC_PER_SEC);
	guest_put(g);
}

/* ---- one guest ----------------------------------------------------------------------------- */

static void test_a_guest_gets_its_symbols(void **state)
{
	struct symsrc_status st;
	const struct symbols *s;
	char uri[128];

	(void)state;
	start(0);
	assert_int_equal(status_of(1).state, SYMSRC_GONE);
	add_guest(1, "good");
	publish();
	assert_int_not_equal(status_of(1).state, SYMSRC_GONE); /* at once */
	wait_ready(1);
	st = status_of(1);
	snprintf(uri, sizeof(uri), "dir:%s", root);
	assert_string_equal(st.source_uri, uri);
	assert_string_equal(st.used, uri);
	assert_int_equal(st.epoch, 1);
	assert_int_equal(st.error.code, 0);
	assert_int_equal(st.attempts, 1);
	assert_true(st.fetched_ns > 0);
	assert_true(st.next_try_ns > clock_now_ns()); /* it will be looked at again */
	s = symload_symbols(sl, 1, 0);
	assert_non_null(s);
	assert_int_equal(symtab_count(s->table), GUESTROOT_SYMBOLS);
	symbols_put(s);
	assert_null(symload_symbols(sl, 1, 2));
	assert_null(symload_symbols(sl, 2, 0));
}

static void test_a_guest_goes(void **state)
{
	const struct symbols *s;

	(void)state;
	start(2);
	add_guest(1, "good");
	publish();
	wait_ready(1);
	s = symload_symbols(sl, 1, 0);
	drop_last_guest();
	wait_until(status_of(1).state == SYMSRC_GONE);
	assert_null(symload_symbols(sl, 1, 0));
	assert_int_equal(symload_refresh(sl, 1), -ESRCH);
	assert_string_equal(s->release, "6.1.0-test"); /* who has it keeps it */
	symbols_put(s);
}

static void test_failure_and_recovery(void **state)
{
	struct symsrc_status st;

	(void)state;
	guestroot_set(root, "proc/kallsyms", NULL, 0);
	start(2);
	add_guest(1, "good");
	publish();
	wait_until(status_of(1).state == SYMSRC_FAILED);
	st = status_of(1);
	assert_int_equal(st.error.code, -ENOENT);
	assert_non_null(strstr(st.error.text, "kallsyms"));
	assert_true(st.next_try_ns != 0);
	assert_null(symload_symbols(sl, 1, 0));
	guestroot_set(root, "proc/kallsyms", "ffffffff81000000 T _text\n", 25);
	wait_ready(1); /* by itself */
	assert_int_equal(status_of(1).error.code, 0);
}

/* kptr_restrict: the text is there, the addresses are not. */
static void test_hidden_addresses(void **state)
{
	static const char zeros[] = "0000000000000000 T _text\n0000000000000000 T _etext\n";

	(void)state;
	guestroot_set(root, "proc/kallsyms", zeros, sizeof(zeros) - 1);
	start(2);
	add_guest(1, "good");
	publish();
	wait_until(status_of(1).state == SYMSRC_FAILED);
	assert_int_equal(status_of(1).error.code, -EACCES);
}

static void test_pointless(void **state)
{
	const struct source_rule rule = {(char *)"*", (char *)"vsock:2"};
	const struct symload_config config = {.rules = &rule, .rule_count = 1};

	(void)state;
	assert_int_equal(symload_create(&config, gs, &sl), 0);
	assert_int_equal(symload_start(sl, NULL), 0);
	add_guest(1, "x");
	publish();
	wait_until(status_of(1).state == SYMSRC_FAILED);
	assert_int_equal(status_of(1).error.code, -EINVAL);
	assert_int_equal(status_of(1).next_try_ns, 0);
}

static void test_name_known_late(void **state)
{
	(void)state;
	start(2);
	add_guest(1, "gone");
	publish();
	wait_until(status_of(1).state == SYMSRC_FAILED);
	guest_put(published[0]);
	published[0] = new_guest(1, "good");
	publish();
	wait_ready(1);
	assert_int_equal(epoch_of(1), 1);
}

/* ---- boots --------------------------------------------------------------------------------- */

static void test_reboot_seen_by_discovery(void **state)
{
	(void)state;
	start(2);
	add_guest(1, "good");
	publish();
	wait_ready(1);
	set_boot_id(SECOND "\n");
	guests_new_epoch(gs, 1, 1, "QMP RESET");
	wait_until(status_of(1).epoch == 2);
	wait_ready(1);
	assert_boot_id(1, 1, GUESTROOT_BOOT_ID);
	assert_boot_id(1, 2, SECOND);
	assert_boot_id(1, 0, SECOND);
	assert_int_equal(epoch_of(1), 2); /* not a third one for the boot id */
}

static void test_false_alarm(void **state)
{
	(void)state;
	start(2);
	add_guest(1, "good");
	publish();
	wait_ready(1);
	guests_new_epoch(gs, 1, 1, "QMP RESET");
	wait_until(status_of(1).epoch == 2);
	wait_ready(1);
	assert_boot_id(1, 1, GUESTROOT_BOOT_ID);
	assert_boot_id(1, 2, GUESTROOT_BOOT_ID);
	assert_int_equal(epoch_of(1), 2);
}

/* Nobody noticed the reboot, but the boot id tells. */
static void test_reboot_seen_by_boot_id(void **state)
{
	const struct guest_set *set;

	(void)state;
	start_checking(2, RARELY_MS);
	add_guest(1, "good");
	publish();
	wait_ready(1);
	set_boot_id(SECOND "\n");
	assert_int_equal(symload_refresh(sl, 1), 0);
	wait_until(epoch_of(1) == 2);
	wait_until(status_of(1).epoch == 2 && status_of(1).state == SYMSRC_READY);
	assert_boot_id(1, 1, GUESTROOT_BOOT_ID);
	assert_boot_id(1, 2, SECOND);
	usleep(50000);
	assert_int_equal(status_of(1).attempts, 1); /* what was fetched counts: no second time */
	set = guests_acquire(gs);
	assert_string_equal(guest_set_find_serial(set, 1)->epoch_reason, "boot_id changed");
	guest_set_put(set);
	/* A look at it finds the boot that was fetched, not yet another one. */
	assert_int_equal(symload_look(sl, 1), 0);
	wait_until(status_of(1).looks == 1);
	assert_int_equal(epoch_of(1), 2);
	assert_int_equal(status_of(1).attempts, 1);
}

/* Somebody says that the guest may have news: that is looked at long before it is due. */
static void test_look_now(void **state)
{
	(void)state;
	start_checking(2, RARELY_MS);
	add_guest(1, "good");
	publish();
	wait_ready(1);
	assert_int_equal(status_of(1).looks, 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(symload_look(sl, 1), 0);
	wait_until(status_of(1).looks == 1);
	usleep(50000);
	assert_int_equal(status_of(1).looks, 1);
	assert_int_equal(status_of(1).attempts, 1);
	assert_int_equal(symload_look(sl, 2), -ESRCH);
}

static void test_old_boots_are_forgotten(void **state)
{
	(void)state;
	start(2);
	add_guest(1, "good");
	publish();
	for (uint32_t epoch = 1; epoch <= SYMSRC_EPOCHS_KEPT + 1; epoch++) {
		wait_until(status_of(1).epoch == epoch);
		wait_ready(1);
		guests_new_epoch(gs, 1, epoch, "again");
	}
	wait_until(status_of(1).epoch == SYMSRC_EPOCHS_KEPT + 2);
	wait_ready(1);
	assert_null(symload_symbols(sl, 1, 1));
	assert_null(symload_symbols(sl, 1, 2));
	for (uint32_t epoch = 3; epoch <= SYMSRC_EPOCHS_KEPT + 2; epoch++)
		assert_boot_id(1, epoch, GUESTROOT_BOOT_ID);
}

static void test_old_boots_go_when_memory_is_short(void **state)
{
	(void)state;
	kept_max = 1;
	start(1);
	add_guest(1, "good");
	publish();
	wait_ready(1);
	set_boot_id(SECOND);
	assert_int_equal(symload_refresh(sl, 1), 0);
	/* The loader takes the epoch over a moment after everybody can see it. */
	wait_until(status_of(1).epoch == 2);
	wait_ready(1);
	assert_boot_id(1, 2, SECOND);
	assert_null(symload_symbols(sl, 1, 1));
}

/* A kallsyms of so many symbols more than the folder has. */
static void grow_kallsyms(unsigned more)
{
	size_t n, used = 0;
	char *text = guestroot_kallsyms(&n), *all = malloc(n + more * 48ul);

	assert_non_null(all);
	for (unsigned i = 0; i < more; i++)
		used += (size_t)sprintf(all + used, "%016llx t grown_%u\n",
					0xffffffff80000000ULL + i, i);
	memcpy(all + used, text, n);
	guestroot_set(root, "proc/kallsyms", all, used + n);
	free(all);
	free(text);
}

static size_t size_of(uint64_t serial)
{
	const struct symbols *s = symload_symbols(sl, serial, 0);
	size_t size = symbols_size(s);

	symbols_put(s);
	return size;
}

static void set_total_max(size_t bytes)
{
	mutex_lock(&sl->lock);
	sl->total_max = bytes;
	mutex_unlock(&sl->lock);
}

/* Guests 1 and 2 are alike; guest 3 is ten times as large, whenever it comes. */
static void test_who_takes_most_goes_without(void **state)
{
	struct symsrc_status st;

	(void)state;
	start(1);
	add_guest(1, "good1");
	publish();
	wait_ready(1);
	set_total_max(3 * size_of(1));
	grow_kallsyms(10 * GUESTROOT_SYMBOLS);
	add_guest(3, "good3");
	publish();
	wait_until(status_of(3).state == SYMSRC_FAILED);
	st = status_of(3);
	assert_int_equal(st.error.code, -ENOBUFS);
	assert_non_null(strstr(st.error.text, "MiB together: refused"));
	assert_true(st.next_try_ns > clock_now_ns() + 5 * NSEC_PER_SEC);
	assert_int_equal(status_of(1).state, SYMSRC_READY);
	/* What is small has room beside what is large only once that has gone. */
	set_total_max(30 * size_of(1));
	assert_int_equal(symload_refresh(sl, 3), 0);
	wait_ready(3);
	set_total_max(3 * size_of(1));
	grow_kallsyms(1);
	add_guest(2, "good2");
	publish();
	wait_ready(2);
	st = status_of(3);
	assert_int_equal(st.state, SYMSRC_FAILED);
	assert_int_equal(st.error.code, -ENOBUFS);
	assert_int_equal(status_of(1).state, SYMSRC_READY);
}

/* ---- addresses that were sampled --------------------------------------------------------------
 */

#define LINKED 0xffffffff81000000ULL

/* A kernel whose code is all instructions of two bytes. */
static void put_file(void)
{
	static const struct elfmaker_symbol symbols[] = {
		{"_text", LINKED, ELFMAKER_TEXT, STB_GLOBAL, STT_NOTYPE}};
	struct elfmaker_options o = {.symbols = symbols, .count = 1};
	char path[64];
	size_t n;
	void *bytes, *note = guestroot_note("vmlinux", &o.notes_len);
	FILE *f;

	snprintf(path, sizeof(path), "%s/vmlinux", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	o.notes = note;
	bytes = elfmaker_create(&o, &n);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	fclose(f);
	free(bytes);
	free(note);
}

static void follow_by_file(const char *name)
{
	put_file();
	add_guest(1, name);
	start(1);
	publish();
}

static void offer(uint64_t serial, uint32_t epoch, uint64_t slide, size_t from, size_t to)
{
	uint64_t ips[64];

	for (size_t i = from; i < to; i++)
		ips[i - from] = LINKED + slide + 2 * i;
	symload_offer_addresses(sl, serial, epoch, ips, to - from);
}

static uint64_t text_of(uint64_t serial, uint32_t epoch)
{
	const struct symbols *s = symload_symbols(sl, serial, epoch);
	uint64_t text = 0;

	assert_true(!s || symtab_find_name(s->table, "_text", &text));
	symbols_put(s);
	return text;
}

/* The same address again and again tells nothing new; enough of them do. */
static void test_addresses_tell_where_it_runs(void **state)
{
	unsigned attempts;

	(void)state;
	follow_by_file("file");
	wait_until(status_of(1).state == SYMSRC_FAILED);
	attempts = status_of(1).attempts;
	assert_non_null(strstr(status_of(1).error.text, "0 sampled addresses"));
	for (int i = 0; i < 100; i++)
		offer(1, 1, 0x2400000, 0, SYMLOAD_SAMPLED_MIN - 1);
	assert_int_equal(status_of(1).attempts, attempts);
	offer(1, 2, 0x600000, 0, 64); /* of no boot that is known */
	offer(1, 1, 0x2400000, 0, 40);
	wait_ready(1);
	assert_int_equal(text_of(1, 1), LINKED + 0x2400000);
	assert_int_equal(status_of(1).attempts, attempts + 1);
}

/* Nobody said that it had booted, but its kernel is elsewhere: another epoch, whose symbols leave
 * those of the boot before as they were. */
static void test_addresses_tell_another_boot(void **state)
{
	(void)state;
	follow_by_file("file");
	wait_until(status_of(1).state == SYMSRC_FAILED);
	offer(1, 1, 0x2400000, 0, 40);
	wait_ready(1);
	offer(1, 1, 0x600000, 0, 40);
	wait_until(text_of(1, 2) != 0);
	assert_int_equal(epoch_of(1), 2);
	assert_int_equal(text_of(1, 1), LINKED + 0x2400000);
	assert_int_equal(text_of(1, 2), LINKED + 0x600000);
	offer(1, 1, 0x2400000, 0, 40); /* late, of the boot that is over */
	assert_int_equal(symload_refresh(sl, 1), 0);
	wait_until(status_of(1).attempts >= 1 && status_of(1).error.code != 0);
	assert_int_equal(epoch_of(1), 2);
	assert_int_equal(text_of(1, 2), LINKED + 0x600000);
}

/* The user says where the kernel runs, and is wrong: the samples of the same boot get the right
 * names, and the log of boots is not filled. */
static void test_addresses_prove_the_user_wrong(void **state)
{
	(void)state;
	follow_by_file("given");
	wait_ready(1);
	assert_int_equal(text_of(1, 1), LINKED + 0x800000);
	offer(1, 1, 0x2400000, 0, 10);
	offer(1, 1, 0x2400000, 10, 40);
	wait_until(text_of(1, 1) == LINKED + 0x2400000);
	assert_int_equal(epoch_of(1), 1);
	/* It boots elsewhere: as without that word. */
	offer(1, 1, 0x600000, 0, 40);
	wait_until(text_of(1, 2) != 0);
	assert_int_equal(text_of(1, 1), LINKED + 0x2400000);
}

/* Or it is not even that kernel. */
static void test_addresses_prove_another_kernel(void **state)
{
	(void)state;
	follow_by_file("given");
	wait_ready(1);
	offer(1, 1, 0x2400001, 0, 40);
	wait_until(status_of(1).state == SYMSRC_FAILED);
	assert_int_equal(status_of(1).error.code, -EKEYREJECTED);
	assert_int_equal(text_of(1, 1), 0);
}

static void test_refresh_brings_new_modules(void **state)
{
	static const char more[] = GUESTROOT_MODULES "xfs 4096 0 - Live 0xffffffffc0200000\n";
	uint64_t before;
	const struct symbols *s;

	(void)state;
	start(2);
	add_guest(1, "good");
	publish();
	wait_ready(1);
	before = status_of(1).fetched_ns;
	guestroot_set(root, "proc/modules", more, sizeof(more) - 1);
	assert_int_equal(symload_refresh(sl, 1), 0);
	wait_until(status_of(1).fetched_ns != before);
	s = symload_symbols(sl, 1, 1);
	assert_string_equal(s->modules->data, more);
	symbols_put(s);
	assert_int_equal(epoch_of(1), 1);
}

static char told[128];

static void note_retired(void *ctx, uint64_t serial, uint32_t epoch, const struct retired *r)
{
	uint64_t marked = retired_move(r, retired_number(r) - 1, 0xffffffffc0100010);
	struct symtab_hit h = {0};

	(void)ctx;
	retired_find(r, marked, &h);
	snprintf(told, sizeof(told), "guest %u epoch %u number %u: %.*s [%.*s]", (unsigned)serial,
		 epoch, retired_number(r), h.name_len, h.name, h.object_len, h.object);
}

static void set_modules(const char *text)
{
	uint64_t before = status_of(1).fetched_ns;

	guestroot_set(root, "proc/kallsyms", text, strlen(text));
	assert_int_equal(symload_refresh(sl, 1), 0);
	wait_until(status_of(1).fetched_ns != before && status_of(1).next_try_ns);
}

static uint32_t retired_of(uint32_t epoch)
{
	const struct symbols *s = symload_symbols(sl, 1, epoch);
	uint32_t number;

	assert_non_null(s);
	number = retired_number(s->retired);
	symbols_put(s);
	return number;
}

/* Names of modules that have gone are kept for the samples of before; of that boot alone. */
static void test_modules_that_go_leave_their_names(void **state)
{
	static const char with[] = "ffffffff81000000 T _text\nffffffffc0100000 t foo\t[a]\n";
	static const char other[] = "ffffffff81000000 T _text\nffffffffc0100000 t bar\t[b]\n";
	static const char none[] = "ffffffff81000000 T _text\n";

	(void)state;
	guestroot_set(root, "proc/kallsyms", with, sizeof(with) - 1);
	start(1);
	symload_on_retired(sl, note_retired, NULL);
	add_guest(1, "good");
	publish();
	wait_ready(1);
	assert_int_equal(retired_of(1), 0);
	set_modules(other);
	assert_string_equal(told, "guest 1 epoch 1 number 1: foo [a]");
	set_modules(other);
	assert_int_equal(retired_of(1), 1);
	set_modules(none);
	assert_string_equal(told, "guest 1 epoch 1 number 2: bar [b]");
	assert_int_equal(retired_of(1), 2);
	set_modules(with);
	assert_int_equal(retired_of(1), 2);
	guestroot_set(root, "proc/kallsyms", none, sizeof(none) - 1);
	set_boot_id(SECOND "\n");
	assert_int_equal(symload_refresh(sl, 1), 0);
	wait_until(status_of(1).epoch == 2 && status_of(1).state == SYMSRC_READY);
	assert_int_equal(retired_of(1), 2);
	assert_int_equal(retired_of(2), 0);
}

/* Nobody asks: the loader looks now and then, and fetches only when there is something new. */
static void test_changes_are_noticed(void **state)
{
	static const char more[] = GUESTROOT_MODULES "xfs 4096 0 - Live 0xffffffffc0200000\n";
	static const char used[] = "ext4 8192 7 - Live 0xffffffffc0100000\n"
				   "jbd2 4096 1 ext4, Live 0xffffffffc0000000\n";
	static const char bpf[] = "ffffffff81000000 T _text\n"
				  "ffffffffc0300000 t bpf_prog_6deef7357e7b4530\t[bpf]\n";
	uint64_t first;

	(void)state;
	start_checking(2, 50);
	add_guest(1, "good");
	publish();
	wait_ready(1);
	first = status_of(1).fetched_ns;
	guestroot_set(root, "proc/modules", used, sizeof(used) - 1); /* use counts only */
	guestroot_set(root, "proc/kallsyms", bpf, sizeof(bpf) - 1);  /* and a BPF program */
	wait_until(status_of(1).looks > 5);
	assert_true(status_of(1).fetched_ns == first);
	guestroot_set(root, "proc/modules", more, sizeof(more) - 1);
	wait_until(status_of(1).fetched_ns != first);
	assert_int_equal(epoch_of(1), 1);
	set_boot_id(SECOND "\n");
	wait_until(epoch_of(1) == 2);
	wait_until(status_of(1).epoch == 2 && status_of(1).state == SYMSRC_READY);
	assert_boot_id(1, 1, GUESTROOT_BOOT_ID);
	assert_boot_id(1, 2, SECOND);
	assert_int_equal(epoch_of(1), 2);
}

/* A look that fails does not take the symbols away, but is told. */
static void test_failing_look(void **state)
{
	(void)state;
	start_checking(2, 50);
	add_guest(1, "good");
	publish();
	wait_ready(1);
	guestroot_remove(root);
	wait_until(status_of(1).error.code != 0);
	assert_int_equal(status_of(1).error.code, -ENOENT);
	assert_int_equal(status_of(1).state, SYMSRC_READY);
	assert_boot_id(1, 0, GUESTROOT_BOOT_ID);
	wait_until(status_of(1).attempts >= 2); /* no look any more, but all anew */
	assert_int_equal(status_of(1).state, SYMSRC_READY);
	guestroot_create(root);
	wait_until(status_of(1).error.code == 0);
	assert_int_equal(epoch_of(1), 1);
}

static void test_subscribers(void **state)
{
	int fd = io_wake_create();
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int more[GUESTS_SUBSCRIBERS_MAX];

	(void)state;
	start(2);
	assert_int_equal(symload_subscribe(sl, fd), 0);
	add_guest(1, "good");
	publish();
	while (status_of(1).state != SYMSRC_READY) {
		assert_int_equal(poll(&p, 1, PATIENCE_S * 1000), 1);
		io_wake_clear(fd);
	}
	symload_unsubscribe(sl, fd);
	for (size_t i = 0; i < GUESTS_SUBSCRIBERS_MAX; i++) {
		more[i] = fd;
		assert_int_equal(symload_subscribe(sl, more[i]), 0);
	}
	assert_int_equal(symload_subscribe(sl, fd), -ENOSPC);
	symload_unsubscribe(sl, fd);
	close(fd);
}

/* ---- guests that hang ---------------------------------------------------------------------- */

static void wait_all_good(size_t first, size_t count)
{
	for (size_t i = first; i < first + count; i++)
		wait_ready(i);
}

static double seconds_since(uint64_t ns)
{
	return (double)(clock_now_ns() - ns) / NSEC_PER_SEC;
}

/* With fetches from the hung ones under way. */
static bool new_guest_is_served_at_once(void)
{
	uint64_t serial = published_count + 1;
	uint64_t began;

	for (uint64_t i = 1; i <= 20; i++)
		symload_refresh(sl, i);
	usleep(100000);
	add_guest(serial, "good");
	began = clock_now_ns();
	publish();
	wait_ready(serial);
	return seconds_since(began) < 2;
}

/* Twenty guests that never answer stand in front of twenty good ones, with four threads. */
static void test_hung_guests_do_not_starve_others(void **state)
{
	uint64_t began;

	(void)state;
	for (uint64_t i = 1; i <= 20; i++)
		add_guest(i, "hung");
	for (uint64_t i = 21; i <= 40; i++)
		add_guest(i, "good");
	publish();
	start(4);
	began = clock_now_ns();
	wait_all_good(21, 20);
	assert_true(seconds_since(began) < 40); /* one after the other would take 75 s */
	/* By now they are known, and may not have more than half of the threads: a new guest
	 * is served at once. */
	for (uint64_t i = 1; i <= 20; i++)
		wait_until(status_of(i).state == SYMSRC_FAILED);
	try_until(new_guest_is_served_at_once());
}

/* They greet, and hang in the middle of their answer. */
static void test_guests_that_hang_later_do_not_starve_others(void **state)
{
	(void)state;
	sshserver_set_fault(hung, SSHSERVER_HANG);
	for (uint64_t i = 1; i <= 8; i++)
		add_guest(i, "hung");
	for (uint64_t i = 9; i <= 20; i++)
		add_guest(i, "good");
	publish();
	start(4);
	wait_all_good(9, 12);
}

static bool stop_ends_running_fetches(void)
{
	unsigned before = sshserver_connections(hung);
	uint64_t began;
	bool done;

	start(4);
	for (uint64_t i = 1; i <= 4; i++)
		add_guest(i, "hung");
	publish();
	wait_until(sshserver_connections(hung) >= before + 4);
	began = clock_now_ns();
	done = symload_stop(sl) == 0 && seconds_since(began) < 2;
	end_loader();
	while (published_count > 0)
		drop_last_guest();
	return done;
}

static void test_stop_ends_running_fetches(void **state)
{
	(void)state;
	try_until(stop_ends_running_fetches());
}

static void test_going_ends_the_fetch(void **state)
{
	unsigned before = sshserver_connections(hung);
	uint64_t began;

	(void)state;
	sshserver_set_fault(hung, SSHSERVER_HANG);
	start(1);
	add_guest(1, "good");
	add_guest(2, "hung");
	publish();
	wait_ready(1);
	wait_until(sshserver_connections(hung) > before);
	began = clock_now_ns();
	drop_last_guest();
	symload_refresh(sl, 1);
	wait_until(status_of(1).attempts == 2); /* the only thread is free again */
	assert_true(seconds_since(began) < SSH_SILENCE_SEC / 2);
}

/* A reset while the old kernel's answer is awaited: the connection is dead, nobody says so. */
static void test_reboot_ends_the_fetch(void **state)
{
	unsigned before;
	uint64_t began;

	(void)state;
	sshserver_set_fault(hung, SSHSERVER_HANG);
	start(1);
	add_guest(1, "hung");
	before = sshserver_connections(hung);
	publish();
	wait_until(sshserver_connections(hung) == before + 1);
	usleep(300000);
	began = clock_now_ns();
	guests_new_epoch(gs, 1, 1, "QMP RESET");
	wait_until(sshserver_connections(hung) == before + 2);
	assert_true(seconds_since(began) < SSH_SILENCE_SEC / 2);
	assert_int_equal(status_of(1).epoch, 2);
	assert_int_equal(status_of(1).state, SYMSRC_WAITING);
}

static void test_guest_that_is_not_up_yet(void **state)
{
	(void)state;
	start(2);
	add_guest(1, "gone");
	publish();
	wait_until(status_of(1).attempts == 2);
	assert_int_equal(status_of(1).state, SYMSRC_FAILED);
	assert_int_equal(status_of(1).error.code, -ECONNREFUSED);
}

/* ---- all at once --------------------------------------------------------------------------- */

static void *ask_a_lot(void *arg)
{
	struct symsrc_status st;

	(void)arg;
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t serial = 1 + i % GUESTS_MOST;

		symbols_put(symload_symbols(sl, serial, 0));
		symload_status(sl, serial, &st);
		if (i % 100 == 0)
			symload_refresh(sl, serial);
		if (i % 500 == 0)
			guests_new_epoch(gs, serial, st.epoch, "test");
	}
	return NULL;
}

static void test_many(void **state)
{
	pthread_t threads[3];

	(void)state;
	guestroot_set(root, "proc/kallsyms", "ffffffff81000000 T _text\n", 25);
	start(8);
	for (uint64_t i = 1; i <= GUESTS_MOST; i++)
		add_guest(i, "good");
	publish();
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_a_lot, NULL), 0);
	while (published_count > GUESTS_MOST / 2) {
		usleep(3000);
		drop_last_guest();
	}
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	for (uint64_t i = 1; i <= GUESTS_MOST / 2; i++)
		wait_ready(i);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_pauses),
		cmocka_unit_test(test_quick_attempts_that_are_not),
		cmocka_unit_test(test_looks_are_cheap),
		TEST(test_a_guest_gets_its_symbols),
		TEST(test_a_guest_goes),
		TEST(test_failure_and_recovery),
		TEST(test_hidden_addresses),
		TEST(test_pointless),
		TEST(test_name_known_late),
		TEST(test_reboot_seen_by_discovery),
		TEST(test_false_alarm),
		TEST(test_reboot_seen_by_boot_id),
		TEST(test_look_now),
		TEST(test_old_boots_are_forgotten),
		TEST(test_old_boots_go_when_memory_is_short),
		TEST(test_who_takes_most_goes_without),
		TEST(test_addresses_tell_where_it_runs),
		TEST(test_addresses_tell_another_boot),
		TEST(test_addresses_prove_the_user_wrong),
		TEST(test_addresses_prove_another_kernel),
		TEST(test_refresh_brings_new_modules),
		TEST(test_modules_that_go_leave_their_names),
		TEST(test_changes_are_noticed),
		TEST(test_failing_look),
		TEST(test_subscribers),
		TEST(test_hung_guests_do_not_starve_others),
		TEST(test_guests_that_hang_later_do_not_starve_others),
		TEST(test_stop_ends_running_fetches),
		TEST(test_going_ends_the_fetch),
		TEST(test_reboot_ends_the_fetch),
		TEST(test_guest_that_is_not_up_yet),
		TEST(test_many),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
