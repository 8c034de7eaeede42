/* What a VMM answers to discovery's questions, true and not. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/vmmports.h"
#include "symsrc/vmmquery.h"
#include "tests/unit/lib/fakeqmp.h"

static char dir[64];
static char path[128];

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/kp-test-query-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/qmp.sock", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

/* Pairs of a command and its answer, ended by NULL. */
static char *answer(void *ctx, const char *command, const char *line)
{
	const char *const *pairs = ctx;

	/* "gpa2hva 0x0" and the like stand for the commands of the human monitor, what ends in a
	 * quote for arguments. */
	for (; *pairs; pairs += 2) {
		bool part = strcmp(command, "human-monitor-command") == 0 || strchr(pairs[0], '"');

		if (strcmp(command, pairs[0]) == 0 || (part && strstr(line, pairs[0])))
			return strdup(pairs[1]);
	}
	return NULL;
}

static int run(struct vmm_query *q)
{
	uint64_t deadline = clock_now_ns() + 10 * NSEC_PER_SEC;
	int r = vmm_query_process(q);

	while (r == 0 && clock_left_ms(deadline) > 0) {
		struct pollfd p = {.fd = vmm_query_fd(q), .events = vmm_query_events(q)};

		poll(&p, 1, clock_left_ms(deadline));
		r = vmm_query_process(q);
	}
	return r;
}

static const struct vmm_wanted little;

static struct vmm_answers ask_wanted(const char *const *pairs, const struct vmm_wanted *wanted)
{
	struct fakeqmp *server = fakeqmp_start(path, FAKEQMP_OK, answer, (void *)pairs);
	struct vmm_query *q = NULL;
	struct vmm_answers a;

	assert_int_equal(vmm_query_start(path, wanted, &q, NULL), 0);
	assert_int_equal(run(q), 1);
	a = vmm_query_take(q);
	vmm_query_destroy(q);
	fakeqmp_stop(server);
	return a;
}

static struct vmm_answers ask(const char *const *pairs)
{
	return ask_wanted(pairs, &little);
}

static void test_answers(void **state)
{
	static const char *const pairs[] = {
		"query-name",
		"{\"name\": \"a\"}",
		"query-uuid",
		"{\"UUID\": \"6F5e3a94-0000-0000-0000-0123456789ab\"}",
		"query-status",
		"{\"status\": \"paused\", \"running\": false}",
		"query-cpus-fast",
		"[{\"thread-id\": 207, \"cpu-index\": 1}, {\"thread-id\": 206, \"cpu-index\": 0}]",
		"query-memory-size-summary",
		"{\"base-memory\": 402653184}",
		NULL};
	struct vmm_answers a = ask(pairs);

	(void)state;
	assert_string_equal(a.name, "a");
	assert_string_equal(a.uuid, "6f5e3a94-0000-0000-0000-0123456789ab");
	assert_string_equal(a.state, "paused");
	assert_int_equal(a.memory_bytes, 384 << 20);
	assert_int_equal(a.vcpu_count, 2);
	assert_int_equal(a.vcpus[0].tid, 206);
	assert_int_equal(a.vcpus[1].tid, 207);
	vmm_answers_deinit(&a);
	vmm_answers_deinit(&a);
}

#define VIEW                                                                            \
	"\"FlatView #1\\r\\n AS \\\"memory\\\", root: system\\r\\n"                     \
	"  0000000000000000-000000000009ffff (prio 0, ram): n0\\r\\n"                   \
	"  0000000000100000-000000003fffffff (prio 0, ram): n0 @0000000000100000\\r\\n" \
	"  0000000100000000-000000013fffffff (prio 0, ram): n1\\r\\n"                   \
	"  0000000180000000-00000001bfffffff (prio 0, ram): d0\\r\\n"                   \
	"  0000000200000000-000000023fffffff (prio 0, ram): vm\\r\\n\""
#define DEVICES                                                                               \
	"[{\"type\": \"dimm\", \"data\": {\"addr\": 6442450944, \"size\": 1073741824}},"      \
	" {\"type\": \"nvdimm\", \"data\": {\"addr\": 1, \"size\": 1}}, {}, 5,"               \
	" {\"type\": \"dimm\", \"data\": {\"addr\": 0, \"size\": -1}}, {\"type\": \"dimm\"}," \
	" {\"type\": \"virtio-mem\","                                                         \
	"  \"data\": {\"memaddr\": 8589934592, \"max-size\": 1073741824, \"size\": 0}}]"

static const char *const memory_pairs[] = {
	"query-memory-size-summary",
	"{\"base-memory\": 2147483648, \"plugged-memory\": 1073741824}",
	"query-memory-devices",
	DEVICES,
	"info mtree -f",
	VIEW,
	"gpa2hva 0x0",
	"\"Host virtual address for 0x0 (n0) is 0x7f0000000000\\r\\n\"",
	"gpa2hva 0x100000000",
	"\"Host virtual address for 0x100000000 (n1) is 0x7f1000000000\\r\\n\"",
	"gpa2hva 0x180000000",
	"\"Memory at address 0x180000000 is not RAM\\r\\n\"",
	"gpa2hva 0x200000000",
	"\"Host virtual address for 0x200000000 (vm) is 0x7f2000000000\\r\\n\"",
	NULL};

static void test_where_memory_lies(void **state)
{
	struct vmm_answers a = ask(memory_pairs);

	(void)state;
	assert_int_equal(a.base_bytes, 2147483648);
	assert_int_equal(a.memory_bytes, 3221225472);
	assert_true(a.blocks_told);
	assert_int_equal(a.block_count, 3); /* one is not there any more */
	assert_int_equal(a.blocks[0].gpa, 0);
	assert_int_equal(a.blocks[0].len, 0x40000000);
	assert_int_equal(a.blocks[0].hva, 0x7f0000000000);
	assert_int_equal(a.blocks[1].gpa, 0x100000000);
	assert_int_equal(a.blocks[1].hva, 0x7f1000000000);
	assert_int_equal(a.blocks[2].gpa, 0x200000000);
	assert_int_equal(a.blocks[2].hva, 0x7f2000000000);
	vmm_answers_deinit(&a);
}

static void test_memory_is_known(void **state)
{
	struct vmm_answers a =
		ask_wanted(memory_pairs, &(const struct vmm_wanted){.known_bytes = 3221225472});

	(void)state;
	assert_false(a.blocks_told);
	assert_int_equal(a.block_count, 0);
	assert_int_equal(a.memory_bytes, 3221225472);
	vmm_answers_deinit(&a);
}

/* No human monitor, or one that says something else. */
static void test_memory_is_not_told(void **state)
{
	static const char *const odd[] = {"query-memory-size-summary",
					  "{\"base-memory\": 2147483648}", "info mtree -f",
					  "{\"a\": 1}", NULL};
	static const char *const no_hva[] = {"query-memory-size-summary",
					     "{\"base-memory\": 2147483648}",
					     "info mtree -f",
					     VIEW,
					     "gpa2hva",
					     "[]",
					     NULL};
	struct vmm_answers a;

	(void)state;
	for (const char *const *const *p = (const char *const *const[]){odd, no_hva, NULL}; *p;
	     p++) {
		a = ask(*p);
		assert_int_equal(a.block_count, 0);
		vmm_answers_deinit(&a);
	}
	a = ask((const char *const[]){odd[0], odd[1], NULL});
	assert_int_equal(a.base_bytes, 2147483648);
	assert_int_equal(a.block_count, 0);
	vmm_answers_deinit(&a);
}

static void is_empty(struct vmm_answers a)
{
	assert_string_equal(a.name, "");
	assert_string_equal(a.uuid, "");
	assert_string_equal(a.state, "");
	assert_int_equal(a.memory_bytes, 0);
	assert_int_equal(a.base_bytes, 0);
	assert_int_equal(a.block_count, 0);
	assert_int_equal(a.vcpu_count, 0);
	vmm_answers_deinit(&a);
}

static void test_nothing_is_known(void **state)
{
	static const char *const none[] = {NULL};

	(void)state;
	is_empty(ask(none));
}

static void test_answers_of_the_wrong_kind(void **state)
{
	static const char *const odd[] = {
		"query-name",
		"{\"name\": {\"a\": 1}}",
		"query-uuid",
		"[]",
		"query-status",
		"7",
		"query-cpus-fast",
		"[1, [], null, {}, {\"cpu-index\": -1, \"thread-id\": 5},"
		" {\"cpu-index\": 0, \"thread-id\": 0}, {\"cpu-index\": \"0\", \"thread-id\": 5},"
		" {\"cpu-index\": 99999999999, \"thread-id\": 5}]",
		"query-memory-size-summary",
		"{\"base-memory\": -1}",
		NULL};
	static const char *const odder[] = {"query-name",
					    "[[]]",
					    "query-uuid",
					    "{\"UUID\": \"6f5e3a94\"}",
					    "query-cpus-fast",
					    "{\"a\": []}",
					    "query-memory-size-summary",
					    "\"x\"",
					    NULL};

	(void)state;
	is_empty(ask(odd));
	is_empty(ask(odder));
}

static void test_long_answers_are_cut(void **state)
{
	char name[1000];
	char status[1000];
	char *cpus = malloc(6000 * 48);
	size_t n = 0;
	struct vmm_answers a;

	(void)state;
	snprintf(name, sizeof(name), "{\"name\": \"%0900d\"}", 0);
	snprintf(status, sizeof(status), "{\"status\": \"%0900d\"}", 0);
	for (int i = 0; i < 6000; i++)
		n += (size_t)sprintf(cpus + n, "%s{\"cpu-index\": %d, \"thread-id\": %d}",
				     i ? ", " : "[", i, i + 1);
	strcpy(cpus + n, "]");
	const char *const pairs[] = {"query-name", name, "query-status", status, "query-cpus-fast",
				     cpus,	   NULL};
	a = ask(pairs);
	assert_int_equal(strlen(a.name), sizeof(a.name) - 1);
	assert_int_equal(strlen(a.state), sizeof(a.state) - 1);
	assert_int_equal(a.vcpu_count, GUEST_VCPUS_MAX);
	vmm_answers_deinit(&a);
	free(cpus);
}

/* ---- ports ---------------------------------------------------------------------------------- */

static struct vmm_answers ask_ports(const char *const *pairs)
{
	return ask_wanted(pairs, &(const struct vmm_wanted){.ports = true});
}

#define CHARDEVS                                                                     \
	"[{\"label\": \"mon\", \"filename\": \"unix:/run/qmp,server=on\"}, 5, {},"   \
	" {\"label\": \"charchannel0\", \"filename\": \"unix:/run/a,b,server=on\"}," \
	" {\"label\": \"late\", \"filename\": \"disconnected:unix:rel/own,server=on\"}]"
#define NAMED                                                             \
	"[{\"name\": \"type\", \"type\": \"string\"}, 7,"                 \
	" {\"name\": \"disk\", \"type\": \"child<virtio-blk-pci>\"},"     \
	" {\"name\": \"channel0\", \"type\": \"child<virtserialport>\"}," \
	" {\"name\": \"other\", \"type\": \"child<virtserialport>\"}]"
#define UNNAMED "[{\"name\": \"device[1]\", \"type\": \"child<virtserialport>\"}]"

/* The agent's has an id and was there; our own was plugged in, without one. */
static void test_ports(void **state)
{
	static const char *const pairs[] = {"query-chardev",
					    CHARDEVS,
					    "peripheral\"",
					    NAMED,
					    "peripheral-anon\"",
					    UNNAMED,
					    "channel0\",\"property\":\"name\"",
					    "\"org.qemu.guest_agent.0\"",
					    "channel0\",\"property\":\"chardev\"",
					    "\"charchannel0\"",
					    "other\",\"property\":\"name\"",
					    "\"com.redhat.spice.0\"",
					    "device[1]\",\"property\":\"name\"",
					    "\"org.kvmprofs.0\"",
					    "device[1]\",\"property\":\"chardev\"",
					    "\"late\"",
					    NULL};
	struct vmm_answers a = ask_ports(pairs);

	(void)state;
	assert_string_equal(a.agent.path, "/run/a,b");
	assert_string_equal(a.port.path, "rel/own");
	vmm_answers_deinit(&a);
	a = ask(pairs); /* nobody wants to know */
	assert_string_equal(a.agent.path, "");
	vmm_answers_deinit(&a);
}

static void test_no_ports(void **state)
{
	static const char *const none[] = {NULL};
	static const char *const odd[] = {
		"query-chardev", CHARDEVS, "peripheral\"", "{\"a\": 1}", "peripheral-anon\"",
		"[[], 5]",	 NULL};
	static const char *const odder[] = {"query-chardev",
					    CHARDEVS,
					    "peripheral\"",
					    NAMED,
					    "channel0\",\"property\":\"name\"",
					    "\"org.qemu.guest_agent.0\"",
					    "channel0\",\"property\":\"chardev\"",
					    "7",
					    "other\",\"property\":\"name\"",
					    "{}",
					    NULL};
	static const char *const *const all[] = {none, odd, odder};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct vmm_answers a = ask_ports(all[i]);

		assert_string_equal(a.agent.path, "");
		assert_string_equal(a.port.path, "");
		vmm_answers_deinit(&a);
	}
}

/* As many as there may be are looked at, and that is all. */
static void test_many_ports(void **state)
{
	char list[16384];
	size_t n = (size_t)sprintf(list, "[");

	(void)state;
	for (int i = 0; i < 200; i++)
		n += (size_t)sprintf(list + n,
				     "%s{\"name\": \"p%d\", \"type\": \"child<virtserialport>\"}",
				     i ? "," : "", i);
	strcpy(list + n, "]");
	const char *const pairs[] = {"query-chardev",
				     CHARDEVS,
				     "peripheral\"",
				     list,
				     "p7\",\"property\":\"name\"",
				     "\"org.kvmprofs.0\"",
				     "p7\",\"property\":\"chardev\"",
				     "\"late\"",
				     NULL};
	struct vmm_answers a = ask_ports(pairs);

	assert_string_equal(a.port.path, "rel/own");
	vmm_answers_deinit(&a);
}

static void test_paths_of_chardevs(void **state)
{
	static const struct {
		const char *filename, *path;
	} cases[] = {
		{"unix:/run/a,server=on", "/run/a"},
		{"disconnected:unix:/run/a,server=on", "/run/a"},
		{"unix:/run/a,server", "/run/a"},
		{"unix:/run/a,server,nowait", "/run/a"},
		{"unix:/run/a,server=on <-> ", "/run/a"},
		{"unix:/run/,server,x,server=on", "/run/,server,x"},
		{"unix:a,server=on", "a"},
		{"unix:/run/a", ""},
		{"unix:,server=on", ""},
		{"disconnected:tcp:127.0.0.1:99,server=on", ""},
		{"pty:/dev/pts/3", ""},
		{"null", ""},
		{"", ""},
	};
	char out[32];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		vmmports_path(cases[i].filename, out, sizeof(out));
		assert_string_equal(out, cases[i].path);
	}
	vmmports_path("unix:/0123456789012345678901234567890,server=on", out, sizeof(out));
	assert_string_equal(out, ""); /* not cut: that would be another one */
}

static void test_connection_breaks(void **state)
{
	struct fakeqmp *server = fakeqmp_start(path, FAKEQMP_CLOSES_LATE, NULL, NULL);
	struct vmm_query *q = NULL;

	(void)state;
	assert_int_equal(vmm_query_start(path, &little, &q, NULL), 0);
	assert_int_equal(run(q), -ECONNRESET);
	assert_int_equal(vmm_query_error(q)->code, -ECONNRESET);
	vmm_query_destroy(q);
	fakeqmp_stop(server);
	assert_int_equal(vmm_query_start(path, &little, &q, NULL), -ENOENT);
	vmm_query_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_where_memory_lies),
		cmocka_unit_test(test_memory_is_known),
		cmocka_unit_test(test_memory_is_not_told),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_no_ports),
		cmocka_unit_test(test_many_ports),
		cmocka_unit_test(test_paths_of_chardevs),
		cmocka_unit_test(test_nothing_is_known),
		cmocka_unit_test(test_answers_of_the_wrong_kind),
		cmocka_unit_test(test_long_answers_are_cut),
		cmocka_unit_test(test_connection_breaks),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
