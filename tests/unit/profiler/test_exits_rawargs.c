/* Events are read from their arguments only where the kernel's types are those known here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <bpf/btf.h>

#include "profiler/exits/rawargs.h"

/* `typedef void (*btf_trace_NAME)(void *, ARGS)`, ARGS of these sizes. */
static struct btf *with_event(const char *name, const int *sizes, int count)
{
	struct btf *btf = btf__new_empty();
	char type[64];
	int bytes[9] = {0}, data, proto, ptr;

	assert_non_null(btf);
	for (int n = 1; n <= 8; n *= 2) {
		snprintf(type, sizeof(type), "u%d", n * 8);
		bytes[n] = btf__add_int(btf, type, (size_t)n, 0);
	}
	data = btf__add_ptr(btf, 0);
	proto = btf__add_func_proto(btf, 0);
	assert_int_equal(btf__add_func_param(btf, NULL, data), 0);
	for (int i = 0; i < count; i++)
		assert_int_equal(btf__add_func_param(btf, NULL, sizes[i] ? bytes[sizes[i]] : data),
				 0);
	ptr = btf__add_ptr(btf, proto);
	snprintf(type, sizeof(type), "btf_trace_%s", name);
	assert_true(btf__add_typedef(btf, type, ptr) > 0);
	return btf;
}

static void test_arguments_that_are_known(void **state)
{
	static const int mmio[] = {4, 4, 8, 0};
	struct btf *btf = with_event("kvm_mmio", mmio, 4);
	struct exits_fields f = {0};

	(void)state;
	assert_true(exits_rawargs_find(btf, "kvm_mmio", &f));
	assert_int_equal(f.mmio_type.offset, 0);
	assert_int_equal(f.mmio_type.size, 8);
	assert_int_equal(f.mmio_gpa.offset, 16);
	assert_int_equal(f.mmio_gpa.size, 8);
	btf__free(btf);
}

/* As of a kernel that is not written yet: an argument more in front, a wider one, a pointer
 * instead, or too few. What the format file has said stays. */
static void test_others_are_left_alone(void **state)
{
	static const int others[][4] = {{0, 4, 4, 8}, {4, 8, 8}, {4, 4, 0}, {4, 4}};
	static const int counts[] = {4, 3, 3, 2};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct btf *btf = with_event("kvm_mmio", others[i], counts[i]);
		struct exits_fields f = {.mmio_gpa = {.offset = 24, .size = 8}};

		assert_false(exits_rawargs_find(btf, "kvm_mmio", &f));
		assert_int_equal(f.mmio_gpa.offset, 24);
		btf__free(btf);
	}
}

static void test_without_types_or_event(void **state)
{
	static const int args[] = {4, 4, 8};
	struct btf *btf = with_event("kvm_exit", args, 3);
	struct exits_fields f = {0};

	(void)state;
	assert_false(exits_rawargs_find(NULL, "kvm_mmio", &f));
	assert_false(exits_rawargs_find(btf, "kvm_mmio", &f)); /* not in these types */
	assert_false(exits_rawargs_find(btf, "kvm_exit", &f)); /* nothing is known of it */
	btf__free(btf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments_that_are_known),
		cmocka_unit_test(test_others_are_left_alone),
		cmocka_unit_test(test_without_types_or_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
