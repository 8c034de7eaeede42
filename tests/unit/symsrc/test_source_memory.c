/* The memory source, alone and as a way of auto. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/source.h"
#include "symsrc/source_ssh.h"
#include "symsrc/vmmram.h"
#include "tests/unit/lib/collect.h"
#include "tests/unit/lib/guestroot.h"
#include "tests/unit/lib/kernelmaker.h"
#include "tests/unit/lib/modulemaker.h"
#include "tests/unit/lib/selfvmm.h"
#include "tests/unit/lib/sshserver.h"

#define RAM_SIZE (512u << 20)

static struct source_limits limits;
static struct errmsg why;
static struct collect got;
static struct kernelmaker *km;
static char used[SOURCE_USED_MAX], note[SOURCE_NOTE_MAX];

static int set_up(void **state)
{
	(void)state;
	source_ssh_init(NULL);
	limits = (struct source_limits){.deadline_ns = clock_now_ns() + 20 * NSEC_PER_SEC,
					.cancel_fd = -1};
	why = (struct errmsg){0};
	collect_init(&got);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	collect_deinit(&got);
	kernelmaker_destroy(km);
	km = NULL;
	return 0;
}

static int fetch(const char *uri, const struct source_target *target)
{
	const struct source_sink sink = collect_sink(&got);
	struct source *s = NULL;
	int r = source_create(uri, target, &s, &why);

	assert_int_equal(r, 0);
	r = s->ops->fetch(s, GUEST_FILES_ALL, &limits, &sink, &why);
	memcpy(used, s->used, sizeof(used));
	memcpy(note, s->note, sizeof(note));
	source_destroy(s);
	return r;
}

static int fetch_from(const char *uri, const struct guest *g, unsigned ssh_port)
{
	struct source_target target = {.pid = g->pid, .links = {.ssh_port = (uint16_t)ssh_port}};
	int r;

	assert_int_equal(vmmram_open("/proc", g, &target.ram, &why), 0);
	r = fetch(uri, &target);
	vmmram_put(target.ram);
	return r;
}

static void test_memory_that_may_not_be_read(void **state)
{
	struct source_target target = {0};

	(void)state;
	errmsg_set(&target.ram_why, -EPERM, "memory of VMM 1: not permitted");
	assert_int_equal(fetch("memory", &target), -EPERM);
	assert_string_equal(why.text, "memory of VMM 1: not permitted");
	assert_int_equal(got.begins, 0);
}

/* auto: no other way is known. */
static void test_auto_without_any_way(void **state)
{
	struct source_target target = {0};

	(void)state;
	errmsg_set(&target.ram_why, -EPERM, "memory of VMM 1: not permitted");
	assert_int_equal(fetch("auto", &target), -EPERM);
	assert_non_null(strstr(why.text, "memory of VMM 1: not permitted; no other way"));
}

/* What went wrong with ssh is the news: it stands first, and says when to try again. */
static void test_auto_says_both(void **state)
{
	struct source_target target = {.links = {.ssh_port = 1}};

	(void)state;
	errmsg_set(&target.ram_why, -EPERM, "memory of VMM 1: not permitted");
	assert_int_equal(fetch("auto", &target), -ECONNREFUSED);
	assert_memory_equal(why.text, "ssh://root@127.0.0.1:1: ", 24);
	assert_non_null(strstr(why.text, "; memory of VMM 1: not permitted"));
	assert_null(strchr(why.text, '\n'));
}

static void test_a_guest_that_has_not_begun(void **state)
{
	struct selfvmm v;

	(void)state;
	selfvmm_init(&v, RAM_SIZE);
	assert_int_equal(fetch_from("memory", v.guest, 0), -EAGAIN);
	assert_non_null(strstr(why.text, "no kernel yet"));
	selfvmm_deinit(&v);
}

/* Nobody in it can answer ssh: that would only cost time. */
static void test_auto_waits_for_a_guest_that_boots(void **state)
{
	struct selfvmm v;

	(void)state;
	selfvmm_init(&v, RAM_SIZE);
	limits.booting = true;
	assert_int_equal(fetch_from("auto", v.guest, 1), -EAGAIN);
	assert_null(strstr(why.text, "ssh"));
	/* It has been at it for a while: perhaps memory is wrong. */
	limits.booting = false;
	assert_int_equal(fetch_from("auto", v.guest, 1), -EAGAIN);
	assert_memory_equal(why.text, "ssh://root@127.0.0.1:1: ", 24);
	assert_non_null(strstr(why.text, "; guest memory: no kernel yet"));
	limits.quick = true;
	assert_int_equal(fetch_from("auto", v.guest, 1), -EAGAIN);
	assert_null(strstr(why.text, "ssh"));
	selfvmm_deinit(&v);
}

/* A scan of much RAM leaves time for ssh. On a busy machine not each try shows it. */
static void test_auto_scans_no_longer_than_half_of_the_time(void **state)
{
	bool in_time = false;
	struct selfvmm v;

	(void)state;
	selfvmm_init(&v, RAM_SIZE);
	memset(v.ram, 0x5a, RAM_SIZE);
	for (int i = 0; i < 10 && !in_time; i++) {
		limits.deadline_ns = clock_now_ns() + 160 * NSEC_PER_MSEC;
		fetch_from("auto", v.guest, 1);
		in_time = clock_now_ns() < limits.deadline_ns;
		assert_memory_equal(why.text, "ssh://root@127.0.0.1:1: ", 24);
		assert_non_null(strstr(why.text, "; the guest's memory: not read to the end"));
	}
	assert_true(in_time);
	selfvmm_deinit(&v);
}

/* ---- a kernel ------------------------------------------------------------------------------- */

static void run_kernel(struct selfvmm *v, const void *btf, size_t btf_len)
{
	struct kernelmaker_options o = kernelmaker_like(6, 12);

	o.btf = btf;
	o.btf_len = btf_len;
	km = kernelmaker_create(&o);
	memcpy(v->ram + o.text_pa, km->main, KERNELMAKER_END + KERNELMAKER_ROOM);
	memcpy(v->ram, km->low, KERNELMAKER_LOW_SIZE);
}

static void assert_core(void)
{
	collect_assert(&got, GUEST_FILE_KALLSYMS, 1, km->kallsyms, km->kallsyms_len);
	assert_int_equal(got.times[GUEST_FILE_MODULES], 0);
}

static void test_a_kernel(void **state)
{
	struct selfvmm v;
	size_t n;
	void *btf = modulemaker_btf(&modulemaker_layouts[MODULEMAKER_NEW], &n);

	(void)state;
	selfvmm_init(&v, RAM_SIZE);
	run_kernel(&v, btf, n);
	assert_int_equal(fetch_from("memory", v.guest, 0), 0);
	assert_string_equal(used, "memory");
	assert_string_equal(note, "");
	collect_assert(&got, GUEST_FILE_KALLSYMS, 1, km->kallsyms, km->kallsyms_len);
	collect_assert(&got, GUEST_FILE_BTF, 1, btf, n);
	/* auto is content with it, and asks nobody else. */
	collect_deinit(&got);
	collect_init(&got);
	assert_int_equal(fetch_from("auto", v.guest, 1), 0);
	assert_string_equal(used, "memory");
	assert_string_equal(note, "");
	selfvmm_deinit(&v);
	free(btf);
}

static void test_a_kernel_without_btf(void **state)
{
	struct selfvmm v;

	(void)state;
	selfvmm_init(&v, RAM_SIZE);
	run_kernel(&v, NULL, 0);
	assert_int_equal(fetch_from("memory", v.guest, 0), 0);
	assert_memory_equal(note, "core symbols only: ", 19);
	assert_core();
	selfvmm_deinit(&v);
}

/* The core's symbols are better than none. */
static void test_auto_without_btf_and_without_ssh(void **state)
{
	struct selfvmm v;

	(void)state;
	selfvmm_init(&v, RAM_SIZE);
	run_kernel(&v, NULL, 0);
	assert_int_equal(fetch_from("auto", v.guest, 1), 0);
	assert_string_equal(used, "memory");
	assert_memory_equal(note, "core symbols only: ", 19);
	assert_core();
	selfvmm_deinit(&v);
}

/* All of them are better than the core's. */
static void test_auto_without_btf_but_with_ssh(void **state)
{
	char dir[] = "/tmp/test_memory.XXXXXX", host_key[64], client_key[64], known[64], root[64],
	     uri[256];
	struct sshserver_config config = {.host_key = host_key, .client_key = client_key};
	struct sshserver *server;
	struct selfvmm v;

	(void)state;
	if (!sshserver_can_have_root())
		skip(); /* needs mount namespaces */
	assert_non_null(mkdtemp(dir));
	snprintf(root, sizeof(root), "%s/root", dir);
	snprintf(host_key, sizeof(host_key), "%s/host_key", dir);
	snprintf(client_key, sizeof(client_key), "%s/client_key", dir);
	snprintf(known, sizeof(known), "%s/known_hosts", dir);
	sshserver_make_key(host_key, NULL);
	sshserver_make_key(client_key, NULL);
	guestroot_create(root);
	config.root = root;
	server = sshserver_start(&config);
	sshserver_trust(server, host_key, known);
	selfvmm_init(&v, RAM_SIZE);
	run_kernel(&v, NULL, 0);
	snprintf(uri, sizeof(uri), "auto?identity=%s&known_hosts=%s", client_key, known);
	if (fetch_from(uri, v.guest, sshserver_port(server)) != 0)
		fail_msg("%s", why.text);
	assert_memory_equal(used, "ssh://", 6);
	/* Why it is not memory. */
	assert_non_null(strstr(note, "core symbols only: "));
	assert_int_equal(got.times[GUEST_FILE_KALLSYMS], 1);
	assert_true(got.times[GUEST_FILE_MODULES] > 0);
	selfvmm_deinit(&v);
	sshserver_stop(server);
	guestroot_remove(dir);
}

static void test_options_are_refused(void **state)
{
	(void)state;
	assert_int_equal(source_check_uri("memory", &why), 0);
	assert_int_equal(source_check_uri("memory?x=1", &why), -EINVAL);
	assert_int_equal(source_check_uri("memory:", &why), -EINVAL);
	assert_true(source_wants_ram("auto"));
	assert_true(source_wants_ram("auto?identity=/x"));
	assert_true(source_wants_ram("memory"));
	assert_false(source_wants_ram("ssh://memory"));
	assert_false(source_wants_ram("dir:/auto"));
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_memory_that_may_not_be_read),
		TEST(test_auto_without_any_way),
		TEST(test_auto_says_both),
		TEST(test_a_guest_that_has_not_begun),
		TEST(test_auto_waits_for_a_guest_that_boots),
		TEST(test_auto_scans_no_longer_than_half_of_the_time),
		TEST(test_a_kernel),
		TEST(test_a_kernel_without_btf),
		TEST(test_auto_without_btf_and_without_ssh),
		TEST(test_auto_without_btf_but_with_ssh),
		TEST(test_options_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
