/* What a guest is doing while there is no kernel to be found, in one line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/memory/findkernel.h"
#include "tests/unit/lib/fakeram.h"

#define SIZE (8u << 20)

static struct fakeram f;
static struct ram_sights sights;
static struct errmsg why;

static int setup(void **state)
{
	(void)state;
	fakeram_init(&f, SIZE);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fakeram_deinit(&f);
	return 0;
}

static void put(uint64_t gpa, const char *text)
{
	fakeram_put(&f, gpa, text, strlen(text));
}

/* What is said, and its code. */
static void assert_says(int code, const char *text)
{
	struct kernel_candidate list[4];

	memset(&why, 0, sizeof(why));
	assert_int_equal(find_by_scan(&f.ram, UINT64_MAX, list, 4, &sights), 0);
	assert_int_equal(explain_sights(&sights, &why), code);
	assert_int_equal(why.code, code);
	if (!strstr(why.text, text))
		fail_msg("\"%s\" is not in: %s", text, why.text);
}

/* As SeaBIOS leaves itself and a network card's ROM below 1 MiB. */
static void put_seabios(void)
{
	put(0xf041f, "SeaBIOS (version 1.16.2)");
	put(0xca070, "iPXE (PCI 00:03.0)");
	put(0xca100, "iPXE> ");
}

static void test_firmware(void **state)
{
	(void)state;
	assert_says(-EAGAIN, "nothing has been written");
	put_seabios();
	assert_says(-EAGAIN, "firmware, SeaBIOS;");
}

static void test_uefi(void **state)
{
	(void)state;
	put(0x400000, "IBI SYST");
	assert_says(-EAGAIN, "firmware, UEFI;");
}

/* Only at a page's beginning: programs for UEFI have it among their constants. */
static void test_something_unknown(void **state)
{
	(void)state;
	put(0x400010, "IBI SYST");
	assert_says(-ENOENT, "4 KiB in use");
}

static void test_boot_loaders(void **state)
{
	static const struct {
		const char *text, *name;
	} loaders[] = {
		{"Welcome to GRUB!", "GRUB"},
		{"grub_disk_read", "GRUB"},
		{"#### LoaderInfo: systemd-boot 252 ####", "systemd-boot"},
		{"ISOLINUX 6.04 6.04", "ISOLINUX"},
		{"SYSLINUX 6.04", "SYSLINUX"},
		{"iPXE> ", "iPXE"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(loaders) / sizeof(loaders[0]); i++) {
		memset(f.bytes, 0, f.size);
		put_seabios();
		put(0x5ff003, loaders[i].text);
		assert_says(-EAGAIN, "boot loader, ");
		assert_non_null(strstr(why.text, loaders[i].name));
	}
}

static void test_other_systems(void **state)
{
	static const struct {
		const char *banner, *name;
	} systems[] = {
		{"FreeBSD 14.1-RELEASE releng/14.1-n267679 GENERIC\n", "FreeBSD 14.1-RELEASE,"},
		{"OpenBSD 7.5 (GENERIC.MP) #82", "OpenBSD 7.5,"},
		{"NetBSD 10.0 (GENERIC) #0", "NetBSD 10.0,"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(systems) / sizeof(systems[0]); i++) {
		memset(f.bytes, 0, f.size);
		put_seabios();
		put(0x600000, "grub_disk_read");
		put(0x500020, systems[i].banner);
		assert_says(-ENOTSUP, systems[i].name);
	}
	memset(f.bytes, 0, f.size);
	put_seabios();
	put(0x300123, "Memtest86+ v6.10");
	assert_says(-ENOTSUP, "Memtest86+, which is not Linux");
}

/* PROCESSOR_START_BLOCK, as it was seen in dumps of Windows 10. */
static void test_windows(void **state)
{
	(void)state;
	put_seabios();
	fakeram_put_u64(&f, 0x13000, 0x00000001000600e9ULL | 0x4d00);
	fakeram_put_u64(&f, 0x13000 + 0x70, 0xfffff8024a61fe50ULL);
	fakeram_put_u64(&f, 0x13000 + 0xa0, 0x1ad000);
	assert_says(-ENOTSUP, "Windows");
	fakeram_put_u64(&f, 0x13000 + 0xa0, 0x1ad001);
	assert_says(-EAGAIN, "SeaBIOS");
}

static void test_linux(void **state)
{
	(void)state;
	put_seabios();
	put(0x200000, "Welcome to GRUB!");
	put(0x500000, "Linux version %s (%s)");
	put(0x600010, "FreeBSD is mentioned here");
	assert_says(-EAGAIN, "GRUB");
	/* In a kernel's banner, a version follows; and before it there may be other systems'. */
	put(0x400010, "FreeBSD 14.1-RELEASE");
	put(0x500000, "Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org) (gcc");
	assert_says(-EAGAIN, "Linux 6.1.0-56-amd64 is just starting");
}

/* Where there is a trampoline, it is past that. */
static void test_linux_without_symbols(void **state)
{
	uint64_t table = fakeram_table(&f);

	(void)state;
	put(0x500000, "Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org) (gcc");
	fakeram_map(&f, table, 4, 0xffffffff81000000ULL, 0x400000, 21);
	fakeram_put_u64(&f, 0x9c000 + 8 * 511, fakeram_get_u64(&f, table + 8 * 511));
	assert_says(-ENODATA, "Linux 6.1.0-56-amd64 runs, but has no symbols");
	assert_non_null(strstr(why.text, "CONFIG_KALLSYMS"));
}

static void test_hostile_names(void **state)
{
	char banner[200] = "Linux version 6\x1b[31m\n\x7f";

	(void)state;
	put(0x500000, banner);
	assert_says(-EAGAIN, "Linux 6\\x1b[31m is");
	memset(banner + 14, '9', sizeof(banner) - 15);
	put(0x500000, banner);
	assert_says(-EAGAIN, "Linux 999");
	assert_true(strlen(sights.name[0]) < SIGHT_NAME_MAX);
	/* At the very end of RAM, where not all of it can be read. */
	memset(f.bytes, 0, f.size);
	fakeram_put(&f, f.size - 16, "Linux version 6.", 16);
	assert_says(-ENOENT, "nothing that is known");
}

static void test_swapped_out(void **state)
{
	(void)state;
	put_seabios();
	put(0x200000, "Welcome to GRUB!");
	f.bad_from = 0x9c000;
	f.bad_to = 0x9d000;
	f.bad_error = -EBUSY;
	assert_says(-EBUSY, "swapped out");
	put(0x500000, "OpenBSD 7.5 (GENERIC.MP)");
	assert_says(-ENOTSUP, "OpenBSD");
}

/* A system that is not known, and came out of a boot loader that is. */
static void test_much_in_use(void **state)
{
	(void)state;
	sights = (struct ram_sights){.seen = SIGHT_BOOT_LOADER | SIGHT_FIRMWARE,
				     .bytes = (uint64_t)3 << 30};
	assert_int_equal(explain_sights(&sights, &why), -ENOENT);
	assert_non_null(strstr(why.text, "3072 MiB in use"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_firmware),
		TEST(test_uefi),
		TEST(test_something_unknown),
		TEST(test_boot_loaders),
		TEST(test_other_systems),
		TEST(test_windows),
		TEST(test_linux),
		TEST(test_linux_without_symbols),
		TEST(test_hostile_names),
		TEST(test_swapped_out),
		TEST(test_much_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
