/* Reading /proc/self/mountinfo, and refusing what cannot be mounted on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/mountpoint.h"

static const char info[] =
	"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	"23 22 0:21 / /proc rw - proc proc rw\n"
	"40 22 0:50 / /mnt/kvm rw,nosuid shared:5 master:7 - fuse.kvmprofs kvmprofs rw\n"
	"41 22 0:51 / /mnt/kvm rw - fuse.sshfs host: rw\n"
	"42 22 0:52 / /mnt/with\\040blank\\134 rw - fuse.kvmprofs kvmprofs rw\n"
	"43 22 0:53 / /mnt/nul\\000 rw - fuse.kvmprofs kvmprofs rw\n"
	"44 22 0:54 / /mnt/cut";

static void assert_type(const char *path, const char *want)
{
	char type[64] = "";

	if (want) {
		assert_int_equal(mountinfo_type_at(info, path, type, sizeof(type)), 0);
		assert_string_equal(type, want);
	} else {
		assert_int_equal(mountinfo_type_at(info, path, type, sizeof(type)), -ENOENT);
	}
}

static void test_the_top_mount_counts(void **state)
{
	(void)state;
	assert_type("/", "ext4");
	assert_type("/proc", "proc");
	assert_type("/mnt/kvm", "fuse.sshfs");
	assert_type("/mnt/with blank\\", "fuse.kvmprofs");
}

static void test_no_mount(void **state)
{
	(void)state;
	assert_type("/mnt", NULL);
	assert_type("/mnt/kv", NULL);
	assert_type("/mnt/kvm/", NULL);
	assert_type("/mnt/cut", NULL);
	/* Another NUL stands behind this one: it must not be reached. */
	assert_type("/mnt/nul\0", NULL);
	assert_type("", NULL);
}

static char dir[] = "/tmp/kvmprofs-test.XXXXXX";

static int prepare(const char *name, struct errmsg *why)
{
	char path[100], *absolute = NULL;
	int lock = -1;
	int r;

	snprintf(path, sizeof(path), "%s%s", dir, name);
	r = mountpoint_prepare(path, &absolute, &lock, why);
	free(absolute);
	if (lock >= 0)
		close(lock);
	return r;
}

static void test_refusals(void **state)
{
	char path[100];
	struct errmsg why;
	FILE *f;

	(void)state;
	assert_int_equal(prepare("/none", &why), -ENOENT);
	assert_non_null(strstr(why.text, "/none does not exist"));
	assert_int_equal(prepare("", &why), 0);
	snprintf(path, sizeof(path), "%s/file", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(prepare("/file", &why), -ENOTDIR);
	assert_non_null(strstr(why.text, "not a directory"));
	assert_int_equal(prepare("", &why), -ENOTEMPTY);
	assert_non_null(strstr(why.text, "not empty"));
	unlink(path);
}

static void test_a_mount_is_busy(void **state)
{
	char *absolute = NULL;
	struct errmsg why;
	int lock = -1;

	(void)state;
	assert_int_equal(mountpoint_prepare("/proc", &absolute, &lock, &why), -EBUSY);
	assert_non_null(strstr(why.text, "a proc file system is mounted there"));
}

static void test_two_at_once(void **state)
{
	char *absolute = NULL;
	struct errmsg why;
	int lock = -1;

	(void)state;
	assert_int_equal(mountpoint_prepare(dir, &absolute, &lock, &why), 0);
	assert_string_equal(absolute, dir);
	assert_int_equal(prepare("", &why), -EBUSY);
	close(lock);
	assert_int_equal(prepare("", &why), 0);
	free(absolute);
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_top_mount_counts),
		cmocka_unit_test(test_no_mount),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_a_mount_is_busy),
		cmocka_unit_test(test_two_at_once),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
