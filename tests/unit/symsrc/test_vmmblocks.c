/* QEMU's view of memory as it prints it, and as it might. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/vmmblocks.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

static struct guest_ram_block blocks[GUEST_RAM_BLOCKS_MAX];
static size_t count;

static void parse(const char *text, uint64_t base, const struct vmm_range *devices, size_t n)
{
	memset(blocks, 0xa5, sizeof(blocks));
	count = vmmblocks_parse(text, base, devices, n, blocks);
}

static void assert_block(size_t i, uint64_t gpa, uint64_t len)
{
	assert_true(i < count);
	assert_int_equal(blocks[i].gpa, gpa);
	assert_int_equal(blocks[i].len, len);
	assert_int_equal(blocks[i].hva, 0);
}

#define VIEW_OF_IO                                                            \
	"FlatView #0\r\n AS \"I/O\", root: io\r\n Root memory region: io\r\n" \
	"  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan\r\n\r\n"

/* QEMU 7.2, -machine q35 -m 6G, with a VGA adapter, under KVM. */
static void test_one_block(void **state)
{
	(void)state;
	parse(VIEW_OF_IO
	      "FlatView #1\r\n AS \"memory\", root: system\r\n AS \"cpu-memory-0\", root: "
	      "system\r\n"
	      " Root memory region: system\r\n"
	      "  0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM\r\n"
	      "  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem\r\n"
	      "  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom KVM\r\n"
	      "  00000000000e0000-00000000000fffff (prio 0, rom): pc.bios @0000000000020000 KVM\r\n"
	      "  0000000000100000-000000007fffffff (prio 0, ram): pc.ram @0000000000100000 KVM\r\n"
	      "  00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram KVM\r\n"
	      "  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic\r\n"
	      "  0000000100000000-00000001ffffffff (prio 0, ram): pc.ram @0000000080000000 KVM\r\n"
	      "  0000000800000000-0000000803ffffff (prio 1, ram): shmem KVM\r\n\r\n"
	      "FlatView #2\r\n AS \"cpu-smm-0\", root: memory\r\n"
	      "  0000000300000000-00000003ffffffff (prio 0, ram): pc.ram\r\n",
	      6 * GIB, NULL, 0);
	assert_int_equal(count, 2);
	assert_block(0, 0, 2 * GIB);
	assert_block(1, 4 * GIB, 4 * GIB);
}

/* After the firmware: it has made parts of the first MiB RAM. */
static void test_shadowed_firmware(void **state)
{
	(void)state;
	parse(" \n AS \"memory\", root: system\n"
	      "  0000000000000000-000000000009ffff (prio 0, ram): pc.ram\n"
	      "  00000000000c0000-00000000000c8fff (prio 0, rom): pc.ram @00000000000c0000\n"
	      "  00000000000c9000-00000000000cbfff (prio 0, ram): pc.ram @00000000000c9000\n"
	      "  00000000000cc000-00000000000effff (prio 0, rom): pc.ram @00000000000cc000\n"
	      "  00000000000f0000-000000001fffffff (prio 0, ram): pc.ram @00000000000f0000\n",
	      512 * MIB, NULL, 0);
	assert_int_equal(count, 1);
	assert_block(0, 0, 512 * MIB);
}

#define NODES                                                                                \
	" \n AS \"memory\", root: system\n"                                                  \
	"  0000000000000000-000000000009ffff (prio 0, ram): /objects/n0\n"                   \
	"  0000000000100000-000000007fffffff (prio 0, ram): /objects/n0 @0000000000100000\n" \
	"  0000000080000000-00000000bfffffff (prio 0, ram): /objects/n1\n"                   \
	"  0000000100000000-000000013fffffff (prio 0, ram): /objects/n1 @0000000040000000\n" \
	"  0000000140000000-000000017fffffff (prio 0, ram): /objects/d0\n"                   \
	"  0000000180000000-00000001ffffffff (prio 0, nv-ram): /objects/nv\n"                \
	"  0000000200000000-00000002ffffffff (prio 0, ram): /objects/vm\n"

static void test_nodes_and_devices(void **state)
{
	static const struct vmm_range devices[] = {{8 * GIB, 4 * GIB}, {5 * GIB, GIB}};

	(void)state;
	parse(NODES, 4 * GIB, devices, 2);
	assert_int_equal(count, 5);
	assert_block(0, 0, 2 * GIB);
	assert_block(1, 2 * GIB, GIB);
	assert_block(2, 4 * GIB, GIB);
	assert_block(3, 5 * GIB, GIB);
	assert_block(4, 8 * GIB, 4 * GIB);
	parse(NODES, 4 * GIB, NULL, 0);
	assert_int_equal(count, 3);
}

/* A part of base memory that is not listed: rather nothing than half of it. */
static void test_some_is_missing(void **state)
{
	(void)state;
	parse(NODES, 64 * GIB, NULL, 0);
	assert_int_equal(count, 0);
}

static void test_something_else(void **state)
{
	static const char *const texts[] = {
		"",
		"unknown command: 'info mtree'\r\n",
		VIEW_OF_IO,
		"\n AS \"memory\",",
		"\n AS \"memory\", root: system\n  No rendered FlatView\n",
		"\n AS \"memory\", root: system\n  0-ffffffffffffffff (prio 0, ram): a\n",
		"\n AS \"memory\", root: system\n  1000-0 (prio 0, ram): a\n",
		"\n AS \"memory\", root: system\n  0-fff (prio 0 ram): a\n",
		"\n AS \"memory\", root: system\n  0-fff (prio 0\n, ram): a\n",
		"\n AS \"memory\", root: system\n  0-fff (prio 0, ram):\n",
		"\n AS \"memory\", root: system\n  zzzz",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		parse(texts[i], GIB, NULL, 0);
		assert_int_equal(count, 0);
	}
}

static void test_too_many(void **state)
{
	static char text[200 * 80];
	size_t n = (size_t)sprintf(text, "\n AS \"memory\", root: system\n");

	(void)state;
	for (unsigned long long i = 0; i < 100; i++)
		n += (size_t)sprintf(text + n, "  %016llx-%016llx (prio 0, ram): r%llu\n",
				     4 * GIB + i * MIB, 4 * GIB + i * MIB + MIB - 1, i);
	parse(text, 64 * MIB, NULL, 0);
	assert_int_equal(count, GUEST_RAM_BLOCKS_MAX);
	parse(text, 100 * MIB, NULL, 0);
	assert_int_equal(count, 0);
}

static void test_hva(void **state)
{
	uint64_t v = 7;

	(void)state;
	assert_true(vmmblocks_parse_hva(
		"Host virtual address for 0x100000 (pc.ram) is 0x7f0fb3f00000\r\n", &v));
	assert_int_equal(v, 0x7f0fb3f00000);
	assert_false(vmmblocks_parse_hva("Memory at address 0x0 is not RAM\r\n", &v));
	assert_false(vmmblocks_parse_hva(" is 0x", &v));
	assert_false(vmmblocks_parse_hva(" is 0x0", &v));
	assert_false(vmmblocks_parse_hva(" is 0xfffffffffffffffff", &v));
	assert_int_equal(v, 0x7f0fb3f00000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_block),
		cmocka_unit_test(test_shadowed_firmware),
		cmocka_unit_test(test_nodes_and_devices),
		cmocka_unit_test(test_some_is_missing),
		cmocka_unit_test(test_something_else),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_hva),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
