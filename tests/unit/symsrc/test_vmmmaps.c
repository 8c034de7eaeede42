/* Which mappings are RAM, and where the guest sees them: QEMU's and others' as they were met, and
 * maps that nobody should write. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/vmmmaps.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

static struct ram_plan plan; /* of the test that runs */

static struct guest *make_guest(const char *vmm, enum guest_machine machine, uint64_t bytes)
{
	struct guest *g = guest_create();

	assert_non_null(g);
	snprintf(g->vmm, sizeof(g->vmm), "%s", vmm);
	g->ram.machine = machine;
	g->ram.base_bytes = bytes;
	return g;
}

static int choose_for(const struct guest *g, const char *maps)
{
	memset(&plan, 0xa5, sizeof(plan));
	return vmmmaps_choose(maps, strlen(maps), g, &plan);
}

static int choose(const char *vmm, enum guest_machine machine, uint64_t bytes, const char *maps)
{
	struct guest *g = make_guest(vmm, machine, bytes);
	int r = choose_for(g, maps);

	guest_put(g);
	return r;
}

static int qemu(enum guest_machine machine, uint64_t bytes, const char *maps)
{
	return choose("qemu-system-x86_64", machine, bytes, maps);
}

/* "GPA+LENGTH=HVA ...", all in hexadecimal. */
static void assert_layout(size_t index, const char *expected)
{
	const struct ram_layout *l = &plan.layouts[index];
	char text[1024] = "";
	size_t n = 0;

	assert_true(index < plan.layout_count);
	for (size_t i = 0; i < l->count; i++) {
		const struct ram_segment *s = &l->segments[i];

		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%llx+%llx=%llx", i ? " " : "",
				      (unsigned long long)s->gpa, (unsigned long long)s->len,
				      (unsigned long long)(plan.blocks[s->block].hva + s->at));
	}
	assert_string_equal(text, expected);
}

/* QEMU 7.2, -machine q35 -m 6G, with what stands around RAM there. */
#define QEMU_6G                                                                                 \
	"563569a51000-56356a548000 r--p 0099e000 fe:00 10977322  /usr/bin/qemu-system-x86_64\n" \
	"5635817f0000-563581895000 rw-p 00000000 00:00 0         [heap]\n"                      \
	"7f8bffa00000-7f8bffc00000 rw-p 00000000 00:00 0 \n"                                    \
	"7f8bffc00000-7f8bffc01000 ---p 00000000 00:00 0 \n"                                    \
	"7f8bffe00000-7f8d7fe00000 rw-p 00000000 00:00 0 \n"                                    \
	"7f8d7fe00000-7f8d7fe01000 ---p 00000000 00:00 0 \n"                                    \
	"7f8d88000000-7f8dc7fff000 rwxp 00000000 00:00 0 \n"                                    \
	"7f8dc7fff000-7f8dc8000000 ---p 00000000 00:00 0 \n"                                    \
	"7ffd1c8d4000-7ffd1c8f5000 rw-p 00000000 00:00 0         [stack]\n"                     \
	"7ffd1c9c7000-7ffd1c9c9000 r-xp 00000000 00:00 0         [vdso]\n"

static void test_qemu_machines(void **state)
{
	(void)state;
	assert_int_equal(qemu(GUEST_MACHINE_Q35, 6 * GIB, QEMU_6G), 0);
	assert_int_equal(plan.block_count, 1);
	assert_int_equal(plan.blocks[0].inode, 0);
	assert_layout(0, "0+80000000=7f8bffe00000 100000000+100000000=7f8c7fe00000");
	assert_layout(1, "0+80000000=7f8bffe00000 10000000000+100000000=7f8c7fe00000");
	assert_int_equal(plan.layout_count, 2);

	assert_int_equal(qemu(GUEST_MACHINE_PC, 6 * GIB, QEMU_6G), 0);
	assert_layout(0, "0+c0000000=7f8bffe00000 100000000+c0000000=7f8cbfe00000");
	/* Before pc-i440fx-2.0. */
	assert_layout(2, "0+e0000000=7f8bffe00000 100000000+a0000000=7f8cdfe00000");

	assert_int_equal(qemu(GUEST_MACHINE_MICROVM, 6 * GIB, QEMU_6G), 0);
	assert_layout(0, "0+c0000000=7f8bffe00000 100000000+c0000000=7f8cbfe00000");

	/* Not known: all of them. */
	assert_int_equal(qemu(GUEST_MACHINE_UNKNOWN, 6 * GIB, QEMU_6G), 0);
	assert_layout(0, "0+c0000000=7f8bffe00000 100000000+c0000000=7f8cbfe00000");
	assert_layout(1, "0+80000000=7f8bffe00000 100000000+100000000=7f8c7fe00000");
}

static void assert_lowmem(enum guest_machine m, uint64_t ram, uint64_t max, uint64_t expected)
{
	assert_int_equal(vmmmaps_qemu_lowmem(m, ram, max), expected);
}

/* Compared with `info mtree` of QEMU 7.2 for each of these. */
static void test_qemu_lowmem(void **state)
{
	(void)state;
	assert_lowmem(GUEST_MACHINE_PC, 512 * MIB, 0, 512 * MIB);
	assert_lowmem(GUEST_MACHINE_PC, 3500 * MIB, 0, 3500 * MIB);
	assert_lowmem(GUEST_MACHINE_PC, 3584 * MIB, 0, 0xc0000000);
	assert_lowmem(GUEST_MACHINE_PC, 8 * GIB, 0, 0xc0000000);
	assert_lowmem(GUEST_MACHINE_PC, 8 * GIB, 2 * GIB, 0x80000000);
	assert_lowmem(GUEST_MACHINE_PC, GIB, 2 * GIB, GIB);
	assert_lowmem(GUEST_MACHINE_Q35, 2815 * MIB, 0, 2815 * MIB);
	assert_lowmem(GUEST_MACHINE_Q35, 2816 * MIB, 0, 0x80000000);
	assert_lowmem(GUEST_MACHINE_Q35, 8 * GIB, 0, 0x80000000);
	assert_lowmem(GUEST_MACHINE_Q35, 8 * GIB, GIB, GIB);
	assert_lowmem(GUEST_MACHINE_Q35, 8 * GIB, 3 * GIB, 0x80000000);
	assert_lowmem(GUEST_MACHINE_MICROVM, 3 * GIB, 0, 3 * GIB);
	assert_lowmem(GUEST_MACHINE_MICROVM, 8 * GIB, 0, 0xc0000000);
}

/* madvise(MADV_HUGEPAGE) in the middle, a part that was made read-only, another that cannot be
 * read at all behind it. */
static void test_split_block(void **state)
{
	(void)state;
	assert_int_equal(qemu(GUEST_MACHINE_PC, 512 * MIB,
			      "7f0000000000-7f0008000000 rw-p 00000000 00:00 0 \n"
			      "7f0008000000-7f0008001000 r--p 00000000 00:00 0 \n"
			      "7f0008001000-7f0020000000 rw-p 00000000 00:00 0 \n"
			      "7f0020000000-7f0020001000 ---p 00000000 00:00 0 \n"),
			 0);
	assert_layout(0, "0+20000000=7f0000000000");
	assert_int_equal(plan.layout_count, 1);
}

/* The file goes on in the next mapping, or it does not. */
static void test_split_file(void **state)
{
	(void)state;
	assert_int_equal(
		qemu(GUEST_MACHINE_PC, 512 * MIB,
		     "7f0000000000-7f0008000000 rw-s 00000000 00:01 77 /memfd:ram (deleted)\n"
		     "7f0008000000-7f0020000000 rw-s 08000000 00:01 77 /memfd:ram (deleted)\n"
		     "7f0020000000-7f0020001000 ---p 00000000 00:00 0 \n"),
		0);
	assert_int_equal(plan.blocks[0].inode, 77);
	assert_int_equal(plan.blocks[0].minor, 1);
	assert_true(plan.blocks[0].shared);
	assert_int_equal(plan.blocks[0].map_end, 0x7f0008000000);
	assert_layout(0, "0+20000000=7f0000000000");

	/* One file twice: two mappings of 128 and 384 MiB, which are no block of 512. */
	assert_int_equal(
		qemu(GUEST_MACHINE_PC, 512 * MIB,
		     "7f0000000000-7f0008000000 rw-s 00000000 00:01 77 /memfd:ram (deleted)\n"
		     "7f0008000000-7f0020000000 rw-s 00000000 00:01 77 /memfd:ram (deleted)\n"),
		0);
	assert_true(plan.block_count > 1);
}

/* The stack of a thread that the kernel joined to RAM: RAM ends at the guard page. */
static void test_joined_to_its_neighbour(void **state)
{
	(void)state;
	assert_int_equal(qemu(GUEST_MACHINE_PC, 512 * MIB,
			      "7effff800000-7f0020000000 rw-p 00000000 00:00 0 \n"
			      "7f0020000000-7f0020001000 ---p 00000000 00:00 0 \n"),
			 0);
	assert_layout(0, "0+20000000=7f0000000000");
}

/* 511 MiB in huge pages of 2 MiB: RAM begins where the file does. */
static void test_ends_within_a_huge_page(void **state)
{
	(void)state;
	assert_int_equal(qemu(GUEST_MACHINE_PC, 511 * MIB,
			      "7f0000000000-7f0020000000 rw-p 00000000 00:2d 9 /dev/hugepages/ram\n"
			      "7f0020000000-7f0020001000 ---p 00000000 00:00 0 \n"),
			 0);
	assert_layout(0, "0+1ff00000=7f0000000000");
	assert_int_equal(plan.layout_count, 1);
}

/* Something else of the same size: QEMU's blocks have a guard page. */
static void test_two_that_fit(void **state)
{
	(void)state;
	assert_int_equal(qemu(GUEST_MACHINE_PC, 512 * MIB,
			      "7e0000000000-7e0020000000 rw-s 00000000 00:19 5 /dev/shm/shared\n"
			      "7f0000000000-7f0020000000 rw-p 00000000 00:00 0 \n"
			      "7f0020000000-7f0020001000 ---p 00000000 00:00 0 \n"),
			 0);
	assert_layout(0, "0+20000000=7f0000000000");
	assert_layout(1, "0+20000000=7e0000000000");
}

/* A memory device as large as base memory, which was made before it. */
static void test_device_of_the_same_size(void **state)
{
	struct guest *g = make_guest("qemu-system-x86_64", GUEST_MACHINE_Q35, 512 * MIB);

	(void)state;
	g->ram.part_count = 1;
	g->ram.parts[0] = (struct guest_ram_part){512 * MIB, 1};
	assert_int_equal(choose_for(g, "7d0000000000-7d0020000000 rw-p 00000000 00:00 0 \n"
				       "7d0020000000-7d0020001000 ---p 00000000 00:00 0 \n"
				       "7e0000000000-7e0020000000 rw-p 00000000 00:00 0 \n"
				       "7e0020000000-7e0020001000 ---p 00000000 00:00 0 \n"
				       "7f0000000000-7f0020000000 rw-p 00000000 00:00 0 \n"
				       "7f0020000000-7f0020001000 ---p 00000000 00:00 0 \n"),
			 0);
	assert_layout(0, "0+20000000=7e0000000000");
	assert_int_equal(plan.layout_count, 3); /* one was plugged in later */
	guest_put(g);
}

/* Two nodes, of which the kernel has joined the upper one to what was mapped below it. */
static void test_joined_node(void **state)
{
	struct guest *g = make_guest("qemu-system-x86_64", GUEST_MACHINE_Q35, 1024 * MIB);

	(void)state;
	g->ram.part_count = 2;
	g->ram.parts[0] = (struct guest_ram_part){512 * MIB, 0};
	g->ram.parts[1] = (struct guest_ram_part){512 * MIB, 1};
	assert_int_equal(choose_for(g, "7e0000000000-7e0020000000 rw-p 00000000 00:00 0 \n"
				       "7e0020000000-7e0020001000 ---p 00000000 00:00 0 \n"
				       "7effff800000-7f0020000000 rw-p 00000000 00:00 0 \n"
				       "7f0020000000-7f0020001000 ---p 00000000 00:00 0 \n"),
			 0);
	assert_layout(0, "0+20000000=7f0000000000 20000000+20000000=7e0000000000");
	guest_put(g);
}

static void test_numa_nodes(void **state)
{
	static const char maps[] = "7f0000000000-7f0080000000 rw-p 00000000 00:00 0 \n"
				   "7f0080000000-7f0080001000 ---p 00000000 00:00 0 \n"
				   "7f0100000000-7f0180000000 rw-p 00000000 00:00 0 \n"
				   "7f0180000000-7f0180001000 ---p 00000000 00:00 0 \n"
				   "7f0200000000-7f0240000000 rw-p 00000000 00:00 0 \n"
				   "7f0240000000-7f0240001000 ---p 00000000 00:00 0 \n";
	struct guest *g = make_guest("qemu-system-x86_64", GUEST_MACHINE_Q35, 5 * GIB);

	(void)state;
	/* Made in the order of the nodes: downwards. */
	g->ram.part_count = 3;
	g->ram.parts[0] = (struct guest_ram_part){2 * GIB, 0};
	g->ram.parts[1] = (struct guest_ram_part){GIB, 0};
	g->ram.parts[2] = (struct guest_ram_part){2 * GIB, 1};
	assert_int_equal(choose_for(g, maps), 0);
	assert_layout(0, "0+80000000=7f0100000000 100000000+40000000=7f0200000000 "
			 "140000000+80000000=7f0000000000");
	assert_layout(1, "0+80000000=7f0000000000 100000000+40000000=7f0200000000 "
			 "140000000+80000000=7f0100000000");

	/* The last node's was made first. */
	g->ram.parts[0].made = 1;
	g->ram.parts[2].made = 0;
	assert_int_equal(choose_for(g, maps), 0);
	assert_layout(0, "0+80000000=7f0000000000 100000000+40000000=7f0200000000 "
			 "140000000+80000000=7f0100000000");

	/* Nobody tells of the parts: those that add up. */
	g->ram.part_count = 0;
	assert_int_equal(choose_for(g, maps), 0);
	assert_int_equal(plan.block_count, 3);
	guest_put(g);
}

static void test_hole_within_a_node(void **state)
{
	struct guest *g = make_guest("qemu-system-x86_64", GUEST_MACHINE_PC, 5 * GIB);

	(void)state;
	g->ram.part_count = 2;
	g->ram.parts[0] = (struct guest_ram_part){GIB, 0};
	g->ram.parts[1] = (struct guest_ram_part){4 * GIB, 0};
	assert_int_equal(choose_for(g, "7f0000000000-7f0040000000 rw-p 00000000 00:00 0 \n"
				       "7f1000000000-7f1100000000 rw-p 00000000 00:00 0 \n"),
			 0);
	assert_layout(0, "0+40000000=7f0000000000 40000000+80000000=7f1000000000 "
			 "100000000+80000000=7f1080000000");
	guest_put(g);
}

static void test_told_over_qmp(void **state)
{
	static const char maps[] = "7f0000000000-7f0080000000 rw-p 00000000 00:00 0 \n"
				   "7f0100000000-7f0200000000 rw-s 00000000 00:01 7 /memfd:a\n";
	struct guest *g = make_guest("qemu-system-x86_64", GUEST_MACHINE_PC, 3 * GIB);

	(void)state;
	g->ram.block_count = 3;
	g->ram.blocks[0] = (struct guest_ram_block){0, 0x7f0100000000, 2 * GIB};
	g->ram.blocks[1] = (struct guest_ram_block){4 * GIB, 0x7f0180000000, GIB};
	g->ram.blocks[2] = (struct guest_ram_block){8 * GIB, 0x7f0000000000, 2 * GIB};
	assert_int_equal(choose_for(g, maps), 0);
	assert_int_equal(plan.layout_count, 1);
	assert_layout(0, "0+80000000=7f0100000000 100000000+40000000=7f0180000000 "
			 "200000000+80000000=7f0000000000");
	assert_int_equal(plan.blocks[1].offset, 2 * GIB);

	/* A device that was unplugged since. */
	g->ram.blocks[2].hva = 0x7a0000000000;
	assert_int_equal(choose_for(g, maps), 0);
	assert_layout(0, "0+80000000=7f0100000000 100000000+40000000=7f0180000000");

	/* Lies: out of order, beyond all addresses, nothing that is mapped. */
	g->ram.base_bytes = 2 * GIB;
	g->ram.blocks[1].gpa = 0;
	assert_int_equal(choose_for(g, maps), 0);
	assert_layout(0, "0+80000000=7f0000000000");
	g->ram.block_count = 1;
	g->ram.blocks[0] = (struct guest_ram_block){UINT64_MAX - 4096, 0x7f0000000000, 2 * GIB};
	assert_int_equal(choose_for(g, maps), 0);
	assert_layout(0, "0+80000000=7f0000000000");
	g->ram.blocks[0] = (struct guest_ram_block){0, UINT64_MAX - 4096, UINT64_MAX};
	assert_int_equal(choose_for(g, maps), 0);
	assert_layout(0, "0+80000000=7f0000000000");
	guest_put(g);
}

/* Guard pages on both sides, and no word of how much there is. */
static void test_firecracker(void **state)
{
	(void)state;
	assert_int_equal(choose("firecracker", GUEST_MACHINE_UNKNOWN, 0,
				"558ac0000000-558ac0100000 rw-p 00000000 00:00 0  [heap]\n"
				"7f0000000000-7f0040000000 rw-p 00000000 00:00 0 \n"
				"7f0050000000-7f0050010000 rw-p 00000000 00:00 0 \n"),
			 0);
	assert_layout(0, "0+40000000=7f0000000000");
	assert_int_equal(plan.layout_count, 1);

	assert_int_equal(choose("firecracker", GUEST_MACHINE_UNKNOWN, 0,
				"7f0000000000-7f0230000000 rw-p 00000000 00:00 0 \n"
				"7f0230000000-7f0230001000 ---p 00000000 00:00 0 \n"
				"7f0230001000-7f0300001000 rw-p 00000000 00:00 0 \n"
				"7f0300001000-7f0300002000 ---p 00000000 00:00 0 \n"),
			 0);
	assert_layout(0, "0+d0000000=7f0230001000 100000000+230000000=7f0000000000");
}

/* Without guard pages: the kernel has joined what lies side by side, the upper part first. */
static void test_joined_by_the_kernel(void **state)
{
	(void)state;
	assert_int_equal(choose("firecracker", GUEST_MACHINE_UNKNOWN, 0,
				"7f0000000000-7f0140000000 rw-p 00000000 00:00 0 \n"),
			 0);
	assert_layout(0, "0+d0000000=7f0000000000 100000000+70000000=7f00d0000000");
	assert_layout(1, "0+d0000000=7f0070000000 100000000+70000000=7f0000000000");
	assert_layout(2, "0+c0000000=7f0080000000 100000000+80000000=7f0000000000");
}

static void test_cloud_hypervisor(void **state)
{
	(void)state;
	assert_int_equal(choose("cloud-hypervisor", GUEST_MACHINE_UNKNOWN, 4 * GIB,
				"7f0000000000-7f0040000000 rw-s 00000000 00:01 9 /memfd:ch_ram\n"
				"7f0080000000-7f0140000000 rw-s 00000000 00:01 8 /memfd:ch_ram\n"),
			 0);
	assert_layout(0, "0+c0000000=7f0080000000 100000000+40000000=7f0000000000");
}

/* One mapping with the hole in it, which it made unreadable. */
static void test_kvmtool(void **state)
{
	(void)state;
	assert_int_equal(choose("lkvm", GUEST_MACHINE_UNKNOWN, 4 * GIB,
				"7f0000000000-7f00d0000000 rw-p 00000000 00:00 0 \n"
				"7f00d0000000-7f0100000000 ---p 00000000 00:00 0 \n"
				"7f0100000000-7f0130000000 rw-p 00000000 00:00 0 \n"),
			 0);
	assert_layout(0, "0+d0000000=7f0000000000 100000000+30000000=7f0100000000");
	assert_int_equal(choose("lkvm", GUEST_MACHINE_UNKNOWN, 256 * MIB,
				"7f0000000000-7f0010000000 rw-p 00000000 00:00 0 \n"),
			 0);
	assert_layout(0, "0+10000000=7f0000000000");
}

/* Two parts of one file, in its order. */
static void test_crosvm(void **state)
{
	(void)state;
	assert_int_equal(
		choose("crosvm", GUEST_MACHINE_UNKNOWN, 6 * GIB,
		       "7f0000000000-7f00b0000000 rw-s d0000000 00:01 9 /memfd:crosvm_guest\n"
		       "7f0100000000-7f01d0000000 rw-s 00000000 00:01 9 /memfd:crosvm_guest\n"),
		0);
	assert_layout(0, "0+d0000000=7f0100000000 100000000+b0000000=7f0000000000");
	assert_int_equal(
		choose("crosvm", GUEST_MACHINE_UNKNOWN, 2 * GIB,
		       "7f0000000000-7f0040000000 rw-s 00000000 00:01 9 /memfd:crosvm_guest\n"
		       "7f0100000000-7f0140000000 rw-s 40000000 00:01 9 /memfd:crosvm_guest\n"),
		0);
	assert_layout(0, "0+40000000=7f0000000000 40000000+40000000=7f0100000000");
}

static void test_nothing_fits(void **state)
{
	(void)state;
	assert_int_equal(qemu(GUEST_MACHINE_PC, GIB, ""), -ENOENT);
	assert_int_equal(qemu(GUEST_MACHINE_PC, GIB,
			      "7f0000000000-7f0080000000 r--p 00000000 00:00 0 \n"
			      "7f0100000000-7f0180000000 rwxp 00000000 00:00 0 \n"
			      "7f0200000000-7f0280000000 ---p 00000000 00:00 0 \n"
			      "7f0300000000-7f0380000000 rw-p 00000000 00:00 0  [heap]\n"
			      "7f0400000000-7f0400100000 rw-p 00000000 00:00 0 \n"),
			 -ENOENT);
}

static void test_other_size_than_told(void **state)
{
	(void)state;
	assert_int_equal(qemu(GUEST_MACHINE_PC, 128 * MIB, QEMU_6G), 0);
	assert_layout(0, "0+c0000000=7f8bffe00000 100000000+c0000000=7f8cbfe00000");
}

static void test_not_maps(void **state)
{
	static const char *const texts[] = {
		"x",
		"\n",
		"7f00-",
		"7f00-7f01",
		"7f0000000000-7f0080000000 rw-p",
		"7f0000000000-7f0080000000 rw-p 00000000 00:00",
		"7f0080000000-7f0000000000 rw-p 00000000 00:00 0 \n",
		"7f0000000000-7f0000000000 rw-p 00000000 00:00 0 \n",
		"-1-7f0000000000 rw-p 00000000 00:00 0 \n",
		"0-ffffffffffffffff rw-p 00000000 00:00 0 \n",
		"7f0000000000-17f0000000000000 rw-p 00000000 00:00 0 \n",
		"7f0000000000-7f0080000000 rw-p 00000000 100000000:00 0 \n",
		"7f0000000000-7f0080000000 rw-p 00000000 00:00 99999999999999999999 \n",
		"7f0100000000-7f0180000000 rw-p 00000000 00:00 0 \n"
		"7f0000000000-7f0080000000 rw-p 00000000 00:00 0 \n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(qemu(GUEST_MACHINE_PC, 2 * GIB, texts[i]), -EBADMSG);
	/* Any bytes in a name; no newline at the end. */
	assert_int_equal(
		qemu(GUEST_MACHINE_PC, 2 * GIB,
		     "7f0000000000-7f0080000000 rw-s 00000000 00:01 4 /a b-c rw-p\x01 0:0"),
		0);
}

/* The most mappings that a process may have by default, all in one run. */
static void test_many_mappings_are_quick(void **state)
{
	enum { COUNT = 65530 };
	char *text = malloc(COUNT * 64UL);
	uint64_t start = clock_now_ns();
	size_t n = 0;

	(void)state;
	for (unsigned long i = 0; i < COUNT; i++)
		n += (size_t)sprintf(text + n, "%lx-%lx rw-p 00000000 00:00 0 \n",
				     0x7f0000000000 + i * 4096, 0x7f0000001000 + i * 4096);
	assert_int_equal(qemu(GUEST_MACHINE_PC, 200 * MIB, text), 0);
	print_message("%d mappings: %.1f ms\n", COUNT, (double)(clock_now_ns() - start) / 1e6);
	assert_true(clock_now_ns() - start < 5 * NSEC_PER_SEC);
	free(text);
}

static void test_plans_differ(void **state)
{
	struct ram_plan a;

	(void)state;
	assert_int_equal(qemu(GUEST_MACHINE_PC, 6 * GIB, QEMU_6G), 0);
	a = plan;
	assert_int_equal(qemu(GUEST_MACHINE_PC, 6 * GIB, QEMU_6G), 0);
	assert_true(ram_plan_equals(&a, &plan));
	assert_int_equal(qemu(GUEST_MACHINE_Q35, 6 * GIB, QEMU_6G), 0);
	assert_false(ram_plan_equals(&a, &plan));
	plan = a;
	plan.blocks[0].shared = true;
	assert_false(ram_plan_equals(&a, &plan));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_qemu_machines),
		cmocka_unit_test(test_qemu_lowmem),
		cmocka_unit_test(test_split_block),
		cmocka_unit_test(test_split_file),
		cmocka_unit_test(test_joined_to_its_neighbour),
		cmocka_unit_test(test_ends_within_a_huge_page),
		cmocka_unit_test(test_two_that_fit),
		cmocka_unit_test(test_device_of_the_same_size),
		cmocka_unit_test(test_joined_node),
		cmocka_unit_test(test_numa_nodes),
		cmocka_unit_test(test_hole_within_a_node),
		cmocka_unit_test(test_told_over_qmp),
		cmocka_unit_test(test_firecracker),
		cmocka_unit_test(test_joined_by_the_kernel),
		cmocka_unit_test(test_cloud_hypervisor),
		cmocka_unit_test(test_kvmtool),
		cmocka_unit_test(test_crosvm),
		cmocka_unit_test(test_nothing_fits),
		cmocka_unit_test(test_other_size_than_told),
		cmocka_unit_test(test_not_maps),
		cmocka_unit_test(test_many_mappings_are_quick),
		cmocka_unit_test(test_plans_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
